"""Every optimiser with every combination of options in PyTorch's database, step by step; states that go both ways."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing._internal.common_optimizers import optim_db

import gradloom as gl
from gradloom import optim
from gradloom.tape import TAPE

RNG = np.random.default_rng(7)
SHAPES = [(3, 4), (5,), (2, 3, 2)]
START = [RNG.normal(size=s) for s in SHAPES]
GOAL = [RNG.normal(size=s) for s in SHAPES]
CURVE = [RNG.uniform(0.2, 3.0, s) for s in SHAPES]

CASES = [
    (info.optim_cls.__name__, case.kwargs, case.desc)
    for info in optim_db
    if info.optim_cls.__name__ != "SparseAdam"
    for case in info.optim_inputs_func(device="cpu")
]


def only(name: str) -> list[int]:
    return [0] if name == "Muon" else [0, 1, 2]


def params(lib: Any, which: list[int], kind: Any = np.float64) -> list:
    return [lib.tensor(START[k].astype(kind), requires_grad=True) for k in which]


def train(lib: Any, opt: Any, ps: list, which: list[int], count: int) -> None:
    goals = [lib.tensor(GOAL[k].astype(np.float64)) for k in which]
    curves = [lib.tensor(CURVE[k].astype(np.float64)) for k in which]

    def closure() -> Any:
        opt.zero_grad()
        loss = sum((c * (p - g) ** 2).sum() for p, g, c in zip(ps, goals, curves))
        loss.backward()
        return loss

    for _ in range(count):
        opt.step(closure)


def close(name: str, a: list, b: list) -> None:
    # PyTorch's Muon rounds to bfloat16
    tolerance = {"rtol": 0.0, "atol": 2e-3} if name == "Muon" else {"rtol": 1e-6, "atol": 1e-9}
    if name in ("NAdam", "ASGD"):  # whose running products are kept in single precision
        tolerance = {"rtol": 1e-5, "atol": 1e-7}
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), **tolerance)


def options(kwargs: dict, lib: Any) -> dict:
    return {k: lib.tensor(v.item()) if isinstance(v, torch.Tensor) else v for k, v in kwargs.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{c[2].replace(' ', '_')}")
def test_six_steps(case: tuple) -> None:
    name, kwargs, _ = case
    which = only(name)
    a, b = params(gl, which), params(torch, which)
    train(gl, getattr(optim, name)(a, **options(kwargs, gl)), a, which, 6)
    train(torch, getattr(torch.optim, name)(b, **options(kwargs, torch)), b, which, 6)
    close(name, a, b)


BY_NAME = {name: kwargs for name, kwargs, _ in CASES if not any(isinstance(v, torch.Tensor) for v in kwargs.values())}
BY_NAME["Adam"] = {"amsgrad": True, "weight_decay": 0.1}
BY_NAME["SGD"] = {"momentum": 0.9, "dampening": 0.4}
BY_NAME["RMSprop"] = {"momentum": 0.1, "centered": True}


def state_to_torch(state: Any) -> Any:
    if isinstance(state, gl.Tensor):
        return torch.tensor(state.numpy())
    if isinstance(state, dict):
        return {k: state_to_torch(v) for k, v in state.items()}
    return [state_to_torch(v) for v in state] if isinstance(state, list) else state


@pytest.mark.parametrize("name", BY_NAME)
def test_states_of_pytorch_load_and_ours_load_there(name: str) -> None:
    kwargs, which = BY_NAME[name], only(name)
    a, b = params(gl, which), params(torch, which)
    ours, theirs = getattr(optim, name)(a, **kwargs), getattr(torch.optim, name)(b, **kwargs)
    train(gl, ours, a, which, 3)
    train(torch, theirs, b, which, 3)
    mine, reference = ours.state_dict(), theirs.state_dict()
    assert set(mine) == set(reference)
    assert set(mine["state"][0]) | {"al"} == set(reference["state"][0]) | {"al"}
    assert set(mine["param_groups"][0]) == set(reference["param_groups"][0])
    # theirs into ours
    c = [gl.tensor(p.detach().numpy().copy(), requires_grad=True) for p in b]
    loaded = getattr(optim, name)(c, lr=99.0)
    loaded.load_state_dict(reference)
    # ours into theirs
    d = [torch.tensor(p.detach().numpy().copy(), requires_grad=True) for p in a]
    back = getattr(torch.optim, name)(d, lr=99.0)
    back.load_state_dict(state_to_torch(mine))
    train(gl, ours, a, which, 3)
    train(torch, theirs, b, which, 3)
    train(gl, loaded, c, which, 3)
    train(torch, back, d, which, 3)
    close(name, c, b)
    close(name, a, d)


OWN = {
    "Lion": {"weight_decay": 0.1},
    "LAMB": {"weight_decay": 0.1},
    "Adan": {"weight_decay": 0.1},
    "AdamWScheduleFree": {"warmup_steps": 2},
    "SparseAdam": {},
}


@pytest.mark.parametrize("name", [*BY_NAME, *OWN])
def test_resumed_equals_not_interrupted_bit_for_bit(name: str) -> None:
    kwargs, which = {**BY_NAME, **OWN}[name], only(name)
    whole, first = params(gl, which, np.float32), params(gl, which, np.float32)
    make = getattr(optim, name)
    train(gl, make(whole, **kwargs), whole, which, 6)
    opt = make(first, **kwargs)
    train(gl, opt, first, which, 3)
    second = [gl.tensor(p.detach().numpy().copy(), requires_grad=True) for p in first]
    resumed = make(second, lr=99.0)
    resumed.load_state_dict(opt.state_dict())
    train(gl, resumed, second, which, 3)
    for x, y in zip(whole, second, strict=True):
        np.testing.assert_array_equal(x.detach().numpy(), y.detach().numpy())


@pytest.mark.parametrize("name", [n for n in [*BY_NAME, *OWN] if n != "LBFGS"])
def test_one_program_for_all_steps(name: str) -> None:
    """Rates, counters and bias corrections are numbers of the program: it is compiled only while the state is new."""
    kwargs, which = {**BY_NAME, **OWN}[name], only(name)
    ps = params(gl, which, np.float32)
    opt = getattr(optim, name)(ps, **{"lr": 0.01, **kwargs})
    schedule = optim.lr_scheduler.ExponentialLR(opt, 0.9)
    goals = [gl.tensor(GOAL[k].astype(np.float32)) for k in which]

    def step() -> None:
        opt.zero_grad()
        sum(((p - g) ** 2).sum() for p, g in zip(ps, goals)).backward()
        opt.step()
        schedule.step()

    for _ in range(3):
        step()
    compiled, rounds = TAPE.compiled, TAPE.rounds
    for _ in range(6):
        step()
    assert TAPE.compiled == compiled
    assert TAPE.rounds == rounds + 6


COMPLEX = ["SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "Adagrad", "Adadelta", "RMSprop", "Rprop", "ASGD"]


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_parameters(name: str) -> None:
    start = RNG.normal(size=3) + 1j * RNG.normal(size=3)
    results = []
    for lib, module in ((gl, optim), (torch, torch.optim)):
        p = lib.tensor(start, requires_grad=True)
        opt = getattr(module, name)([p], lr=0.01)
        for _ in range(4):
            opt.zero_grad()
            (p * p.conj()).real.sum().backward()
            opt.step()
        results.append(p.detach().numpy())
    np.testing.assert_allclose(*results, rtol=1e-5)


def test_sparse_adam_leaves_rows_alone() -> None:
    table = RNG.normal(size=(6, 3))
    a, b = gl.tensor(table, requires_grad=True), torch.tensor(table, requires_grad=True)
    ours, theirs = optim.SparseAdam([a], lr=0.1), torch.optim.SparseAdam([b], lr=0.1)
    for rows in ([0, 2], [2, 3, 3], [5]):
        for lib, opt, p in ((gl, ours, a), (torch, theirs, b)):
            opt.zero_grad()
            kind = {"sparse": True} if lib is torch else {}
            found = lib.nn.functional.embedding(lib.tensor(np.array(rows)), p, **kind)
            (found**2).sum().backward()
            opt.step()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-6)
