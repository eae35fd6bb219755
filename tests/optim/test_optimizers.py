"""Optimisers against PyTorch's: twenty steps on a quadratic from the same start."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import optim
from gradloom.errors import ShapeError

START = [np.array([[1.0, -2.0, 0.5]], np.float32), np.array([3.0, -0.1, 0.0], np.float32)]
GOAL = [np.array([[0.0, 1.0, 2.0]], np.float32), np.array([-1.0, 1.0, 4.0], np.float32)]


def steps(lib: object, opt: object, ps: list, count: int, skip: object = lambda k: False) -> None:
    """Descend; where `skip(k)`, the second parameter has no gradient in step k."""
    for k in range(count):
        opt.zero_grad()
        loss = ((ps[0] - lib.tensor(GOAL[0])) ** 2).sum()
        if not skip(k):
            loss = loss + ((ps[1] - lib.tensor(GOAL[1])) ** 2).sum() * 3.0
        loss.backward()
        opt.step()


def params(lib: object) -> list:
    return [lib.tensor(a.copy(), requires_grad=True) for a in START]


def same(a: list, b: list, **tolerance: float) -> None:
    for x, y in zip(a, b):
        np.testing.assert_allclose(
            x.detach().numpy(), y.detach().numpy(), **(tolerance or {"rtol": 1e-5, "atol": 1e-6})
        )


CASES = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.02, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.02, "momentum": 0.8, "nesterov": True}),
    ("SGD", {"lr": 0.001, "maximize": True}),
    ("Adam", {"lr": 0.1}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.2}),
    ("Adam", {"lr": 0.3, "amsgrad": True}),
    ("Adam", {"lr": 0.01, "maximize": True}),
    ("AdamW", {"lr": 0.1}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.3, "amsgrad": True}),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_twenty_steps(name: str, options: dict) -> None:
    a, b = params(gl), params(torch)
    steps(gl, getattr(optim, name)(a, **options), a, 20)
    steps(torch, getattr(torch.optim, name)(b, **options), b, 20)
    same(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "options"), [CASES[1], CASES[2], CASES[5]])
def test_a_gradient_that_is_missing_at_times(name: str, options: dict) -> None:
    a, b = params(gl), params(torch)
    steps(gl, getattr(optim, name)(a, **options), a, 8, lambda k: k in (0, 1, 4))
    steps(torch, getattr(torch.optim, name)(b, **options), b, 8, lambda k: k in (0, 1, 4))
    same(a, b)


def test_groups_and_changed_rates() -> None:
    a, b = params(gl), params(torch)
    ours = optim.Adam([{"params": [a[0]], "lr": 0.01}, {"params": [a[1]], "weight_decay": 0.1}], lr=0.1)
    theirs = torch.optim.Adam([{"params": [b[0]], "lr": 0.01}, {"params": [b[1]], "weight_decay": 0.1}], lr=0.1)
    for lib, opt, ps in ((gl, ours, a), (torch, theirs, b)):
        steps(lib, opt, ps, 3)
        opt.param_groups[0]["lr"] = 0.2
        opt.param_groups[1]["weight_decay"] = 0.0
        steps(lib, opt, ps, 3)
    same(a, b)


@pytest.mark.parametrize(("name", "options"), [CASES[2], CASES[7]])
def test_saved_and_resumed_equals_not_interrupted_bit_for_bit(name: str, options: dict) -> None:
    make = getattr(optim, name)
    whole = params(gl)
    steps(gl, make(whole, **options), whole, 6)
    first = params(gl)
    opt = make(first, **options)
    steps(gl, opt, first, 3)
    second = [gl.tensor(p.detach().numpy().copy(), requires_grad=True) for p in first]
    resumed = make(second, lr=9.0)
    resumed.load_state_dict(opt.state_dict())
    steps(gl, resumed, second, 3)
    for x, y in zip(whole, second):
        np.testing.assert_array_equal(x.detach().numpy(), y.detach().numpy())


def test_the_state_has_pytorchs_names() -> None:
    a, b = params(gl), params(torch)
    ours, theirs = optim.Adam(a, amsgrad=True), torch.optim.Adam(b, amsgrad=True)
    steps(gl, ours, a, 2)
    steps(torch, theirs, b, 2)
    mine, reference = ours.state_dict(), theirs.state_dict()
    assert set(mine["state"][0]) == set(reference["state"][0])
    assert mine["state"][1]["step"] == 2
    assert mine["param_groups"][0]["params"] == [0, 1]
    numpy_state = {
        k: {n: (v.item() if n == "step" else v.numpy()) for n, v in s.items()} for k, s in reference["state"].items()
    }
    fresh = [gl.tensor(p.detach().numpy().copy(), requires_grad=True) for p in b]
    loaded = optim.Adam(fresh, amsgrad=True)
    loaded.load_state_dict({"state": numpy_state, "param_groups": mine["param_groups"]})
    steps(gl, loaded, fresh, 3)
    steps(torch, theirs, b, 3)
    same(fresh, b)


def test_refusals() -> None:
    a = params(gl)
    with pytest.raises(ValueError, match="empty"):
        optim.SGD([])
    with pytest.raises(TypeError, match="iterable"):
        optim.SGD(a[0])
    with pytest.raises(ValueError, match="lr"):
        optim.Adam(a, lr=-1.0)
    with pytest.raises(ValueError, match="nesterov"):
        optim.SGD(a, nesterov=True)
    with pytest.raises(ValueError, match="more than one parameter group"):
        optim.SGD([{"params": [a[0]]}, {"params": [a[0]]}])
    with pytest.warns(UserWarning, match="duplicate parameters"):
        optim.SGD([a[0], a[0]])
    with pytest.raises(ValueError, match="leaf"):
        optim.SGD([a[0] * 2])
    opt = optim.SGD(a)
    with pytest.raises(ValueError, match="groups"):
        opt.load_state_dict(optim.SGD([a[0]]).state_dict())
    with pytest.raises(ShapeError, match="shape"):
        opt.load_state_dict(
            {"state": {0: {"momentum_buffer": np.zeros(7)}}, "param_groups": opt.state_dict()["param_groups"]}
        )


def test_closure_and_zero_grad() -> None:
    a = params(gl)
    opt = optim.SGD(a, lr=0.1)

    def closure() -> gl.Tensor:
        opt.zero_grad()
        loss = (a[0] * a[0]).sum()
        loss.backward()
        return loss

    first = opt.step(closure)
    assert first.item() == pytest.approx(5.25)
    assert opt.step(closure).item() < 5.25
    opt.zero_grad(set_to_none=False)
    assert (a[0].grad.numpy() == 0).all()


def test_low_precision_parameters_keep_their_dtype() -> None:
    p = gl.tensor([1.0, 2.0], dtype=gl.float64, requires_grad=True)
    opt = optim.Adam([p], lr=0.1)
    (p * p).sum().backward()
    opt.step()
    assert p.dtype.name == "float64"
    np.testing.assert_allclose(p.detach().numpy(), [0.9, 1.9], rtol=1e-7)


def test_a_parameter_in_two_places_is_counted_once() -> None:
    for lib in (gl, torch):
        optimizer = lib.optim.SGD([lib.zeros(1, requires_grad=True), lib.zeros(2, requires_grad=True)], 0.1)
        optimizer.param_groups.extend(optimizer.param_groups)
        assert [group["params"] for group in optimizer.state_dict()["param_groups"]] == [[0, 1], [0, 1]]


def test_lbfgs_goes_on_without_a_gradient() -> None:
    for lib in (gl, torch):
        p = lib.ones(2, requires_grad=True)
        optimizer = lib.optim.LBFGS([p], lr=0.1, tolerance_grad=-1)

        def closure(lib=lib, p=p):
            loss = (p * 0).sum()
            loss.backward()
            return loss

        assert optimizer.step(closure).item() == 0.0
        assert p.tolist() == [1.0, 1.0]
