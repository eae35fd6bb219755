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
