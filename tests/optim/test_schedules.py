"""Schedules against PyTorch's, each over fifty epochs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import optim
from gradloom.optim import lr_scheduler as ours
from gradloom.optim.optimizer import Optimizer

theirs = torch.optim.lr_scheduler


def pair() -> tuple[Optimizer, torch.optim.Optimizer]:
    a, b = gl.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    return optim.SGD([a], lr=0.5), torch.optim.SGD([b], lr=0.5)


CASES = {
    "StepLR": {"step_size": 7, "gamma": 0.3},
    "MultiStepLR": {"milestones": [3, 10, 10, 30], "gamma": 0.5},
    "ExponentialLR": {"gamma": 0.9},
    "CosineAnnealingLR": {"T_max": 12, "eta_min": 0.01},
    "LinearLR": {"start_factor": 0.2, "end_factor": 0.9, "total_iters": 8},
    "LambdaLR": {"lr_lambda": lambda epoch: 1 / (1 + epoch)},
    "MultiplicativeLR": {"lr_lambda": lambda epoch: 0.9 if epoch % 2 else 1.02},
    "ConstantLR": {"factor": 0.25, "total_iters": 6},
    "PolynomialLR": {"total_iters": 20, "power": 1.7},
    "CosineAnnealingWarmRestarts": {"T_0": 4, "T_mult": 2, "eta_min": 0.02},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 5, "step_size_down": 8, "cycle_momentum": False},
    "OneCycleLR": {"max_lr": 0.7, "total_steps": 51, "cycle_momentum": False},
}


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("name", CASES)
def test_schedule(name: str) -> None:
    a, b = pair()
    mine, reference = getattr(ours, name)(a, **CASES[name]), getattr(theirs, name)(b, **CASES[name])
    for _ in range(50):
        assert mine.get_last_lr() == pytest.approx(reference.get_last_lr(), rel=1e-9)
        assert a.param_groups[0]["lr"] == mine.get_last_lr()[0]
        mine.step()
        reference.step()


@pytest.mark.filterwarnings("ignore:Detected call of")
def test_two_schedules_chain() -> None:
    a, b = pair()
    mine = [ours.LinearLR(a, 0.1, total_iters=5), ours.ExponentialLR(a, 0.95)]
    reference = [theirs.LinearLR(b, 0.1, total_iters=5), theirs.ExponentialLR(b, 0.95)]
    for _ in range(12):
        for s in mine + reference:
            s.step()
        assert a.param_groups[0]["lr"] == pytest.approx(b.param_groups[0]["lr"], rel=1e-9)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_reduce_on_plateau(mode: str, threshold_mode: str) -> None:
    a, b = pair()
    options = {"mode": mode, "factor": 0.4, "patience": 2, "threshold": 0.05, "threshold_mode": threshold_mode}
    mine = ours.ReduceLROnPlateau(a, cooldown=2, min_lr=0.01, **options)
    reference = theirs.ReduceLROnPlateau(b, cooldown=2, min_lr=0.01, **options)
    for value in np.random.default_rng(0).normal(1, 0.2, 60).cumsum() / np.arange(1, 61):
        mine.step(value)
        reference.step(value)
        assert a.param_groups[0]["lr"] == pytest.approx(b.param_groups[0]["lr"], rel=1e-9)
    assert a.param_groups[0]["lr"] < 0.5


def test_state_goes_on_where_it_was() -> None:
    a, _ = pair()
    whole = ours.CosineAnnealingLR(a, 10)
    for _ in range(3):
        whole.step()
    state, options = whole.state_dict(), a.state_dict()
    expected = []
    for _ in range(5):
        whole.step()
        expected.append(whole.get_last_lr())
    b, _ = pair()
    resumed = ours.CosineAnnealingLR(b, 10)
    b.load_state_dict(options)
    resumed.load_state_dict(state)
    for rates in expected:
        resumed.step()
        assert resumed.get_last_lr() == rates


def momentum_pair(name: str) -> tuple:
    a, b = gl.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    options = {"lr": 0.1, "momentum": 0.9} if name == "SGD" else {"lr": 0.1}
    return getattr(optim, name)([a], **options), getattr(torch.optim, name)([b], **options)


CYCLES = [
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 5, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 5, "mode": "exp_range", "gamma": 0.97}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 4, "scale_fn": lambda x: 1 / x}),
    ("OneCycleLR", {"max_lr": 0.7, "epochs": 3, "steps_per_epoch": 10, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.7, "total_steps": 30, "three_phase": True, "pct_start": 0.4}),
]


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("case", CYCLES, ids=lambda c: c[0] + "-" + "-".join(c[1]))
def test_cycles_move_the_momentum(case: tuple, optimizer: str) -> None:
    name, options = case
    a, b = momentum_pair(optimizer)
    mine, reference = getattr(ours, name)(a, **options), getattr(theirs, name)(b, **options)
    key = "momentum" if optimizer == "SGD" else "betas"
    for _ in range(29):
        assert mine.get_last_lr() == pytest.approx(reference.get_last_lr(), rel=1e-9)
        assert a.param_groups[0][key] == pytest.approx(b.param_groups[0][key], rel=1e-9)
        mine.step()
        reference.step()


@pytest.mark.filterwarnings("ignore:Detected call of")
def test_schedules_one_after_the_other() -> None:
    rates = []
    for lib, opt in zip((ours, theirs), pair()):
        warm = lib.LinearLR(opt, 0.1, total_iters=4)
        both = lib.ChainedScheduler([lib.ConstantLR(opt, 0.5, 3), lib.ExponentialLR(opt, 0.9)])
        last = lib.CosineAnnealingLR(opt, 6)
        schedule = lib.SequentialLR(opt, [warm, lib.StepLR(opt, 2, 0.7), last], milestones=[4, 9])
        found = []
        for _ in range(16):
            found += schedule.get_last_lr()
            schedule.step()
        for _ in range(5):
            both.step()
            found += both.get_last_lr()
        rates.append(found)
    assert rates[0] == pytest.approx(rates[1], rel=1e-9)


ALL = {**CASES, "SWALR": {"swa_lr": 0.05, "anneal_epochs": 6}}


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("name", ALL)
def test_every_state_goes_on_where_it_was(name: str) -> None:
    def make(opt: Optimizer) -> ours.LRScheduler:
        return getattr(optim.swa_utils if name == "SWALR" else ours, name)(opt, **ALL[name])

    a, _ = pair()
    whole = make(a)
    for _ in range(7):
        whole.step()
    state, options = whole.state_dict(), a.state_dict()
    b, _ = pair()
    resumed = make(b)
    b.load_state_dict(options)
    resumed.load_state_dict(dict(state))
    for _ in range(10):
        whole.step()
        resumed.step()
        assert resumed.get_last_lr() == whole.get_last_lr()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in CASES if n not in ("CyclicLR", "OneCycleLR", "MultiplicativeLR")])
def test_going_to_an_epoch(name: str) -> None:
    a, b = pair()
    mine, reference = getattr(ours, name)(a, **CASES[name]), getattr(theirs, name)(b, **CASES[name])
    for epoch in (3, 11, 5):
        mine.step(epoch)
        reference.step(epoch)
        assert mine.get_last_lr() == pytest.approx(reference.get_last_lr(), rel=1e-9)


class Halving(ours.LRScheduler):
    """As PyTorch's users write their own."""

    def get_lr(self) -> list[float]:
        return [base * 0.5**self.last_epoch for base in self.base_lrs]


def test_a_schedule_of_a_user_a_tensor_rate_and_the_order_of_steps() -> None:
    p = gl.zeros(2, requires_grad=True)
    opt = optim.SGD([p], lr=gl.tensor(0.5, dtype=gl.float64))
    schedule = Halving(opt)
    with pytest.warns(UserWarning, match="before"):
        schedule.step()
    assert isinstance(opt.param_groups[0]["lr"], gl.Tensor)
    p.grad = gl.ones(2)
    opt.step()
    np.testing.assert_allclose(p.detach().numpy(), -0.25)


def test_what_is_warned_of() -> None:
    opt = optim.SGD([gl.zeros(2, requires_grad=True)], lr=0.5)
    schedule = ours.StepLR(opt, 2)
    opt.step()
    schedule.step()
    with pytest.warns(UserWarning, match="epoch parameter") as seen:
        schedule.step(3)
    assert len(seen) == 1 and seen[0].filename == __file__
    with pytest.warns(UserWarning, match="epoch parameter"):
        ours.ReduceLROnPlateau(opt).step(1.0, epoch=2)
    opt = optim.SGD([gl.zeros(2, requires_grad=True)], lr=0.5)
    schedule = ours.StepLR(opt, 2)
    opt.step = lambda: None  # type: ignore[method-assign]
    opt.step()
    with pytest.warns(UserWarning, match="has been overridden"):
        schedule.step()


def test_refusals() -> None:
    a, _ = pair()
    with pytest.raises(TypeError, match="not an Optimizer"):
        ours.StepLR(object(), 2)
    with pytest.raises(KeyError, match="initial_lr"):
        ours.StepLR(a, 2, last_epoch=3)
    with pytest.raises(ValueError, match="momentum"):
        ours.OneCycleLR(optim.Adagrad([gl.zeros(1, requires_grad=True)]), 0.1, total_steps=5)
    with pytest.raises(ValueError, match="total_steps"):
        ours.OneCycleLR(a, 0.1)
    with pytest.raises(ValueError, match="Plateau"):
        ours.ChainedScheduler([ours.ReduceLROnPlateau(a)])
    with pytest.raises(ValueError, match="milestone"):
        ours.SequentialLR(a, [ours.StepLR(a, 2)], milestones=[3])
    with pytest.raises(ValueError, match="groups"):
        ours.CyclicLR(a, [0.1, 0.2], 0.3)
    one = ours.OneCycleLR(a, 0.1, total_steps=1, cycle_momentum=False)
    one.step()
    with pytest.raises(ValueError, match="1 steps"):
        one.step()
