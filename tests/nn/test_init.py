"""Initialisers: bounds and moments from the papers' formulas, and the gains against PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import gradloom as gl
import gradloom.nn.functional as F
from gradloom.errors import ShapeError
from gradloom.nn import init

SHAPE = (60, 20, 3, 3)
FAN_IN, FAN_OUT = 180, 540


@pytest.mark.parametrize(
    ("fill", "std", "bounded"),
    [
        (lambda t: init.xavier_uniform_(t, 2.0), 2 * math.sqrt(2 / (FAN_IN + FAN_OUT)), True),
        (lambda t: init.xavier_normal_(t), math.sqrt(2 / (FAN_IN + FAN_OUT)), False),
        (lambda t: init.kaiming_uniform_(t, a=math.sqrt(5)), math.sqrt(1 / 3 / FAN_IN), True),
        (lambda t: init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"), math.sqrt(2 / FAN_OUT), False),
        (lambda t: init.normal_(t, 0.0, 0.3), 0.3, False),
    ],
)
def test_spread(fill: object, std: float, bounded: bool) -> None:
    gl.manual_seed(1)
    values = fill(gl.empty(*SHAPE)).numpy()
    assert abs(values.std() / std - 1) < 0.03
    assert abs(values.mean()) < 0.05 * std
    assert (np.abs(values).max() <= std * math.sqrt(3) * 1.0001) is np.True_ or not bounded


def test_constants_and_gains() -> None:
    assert (init.ones_(gl.empty(3)).numpy() == 1).all()
    assert (init.constant_(gl.empty(3), 0.5).numpy() == 0.5).all()
    for name, param in [("relu", None), ("tanh", None), ("leaky_relu", 0.2), ("selu", None), ("conv2d", None)]:
        assert init.calculate_gain(name, param) == pytest.approx(torch.nn.init.calculate_gain(name, param))
    with pytest.raises(ValueError, match="gain"):
        init.calculate_gain("step")
    with pytest.raises(ShapeError, match="fan"):
        init.xavier_normal_(gl.empty(3))


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 2, 2)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    m = init.orthogonal_(gl.empty(*shape), gain=2.0).numpy().reshape(shape[0], -1)
    small = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-5)


def test_layer_norm_and_friends() -> None:
    x = np.random.default_rng(0).normal(2, 3, (4, 5, 6)).astype(np.float32)
    w, b = np.linspace(0.5, 2, 6, dtype=np.float32), np.linspace(-1, 1, 6, dtype=np.float32)
    ours = F.layer_norm(gl.tensor(x), (6,), gl.tensor(w), gl.tensor(b)).numpy()
    theirs = torch.nn.functional.layer_norm(torch.tensor(x), (6,), torch.tensor(w), torch.tensor(b)).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    for p in (1.0, 2.0, 3.0, math.inf):
        theirs = torch.nn.functional.normalize(torch.tensor(x), p).numpy()
        np.testing.assert_allclose(F.normalize(gl.tensor(x), p).numpy(), theirs, rtol=1e-5, atol=1e-6)
    theirs = torch.nn.functional.cosine_similarity(torch.tensor(x), torch.tensor(x[::-1].copy())).numpy()
    ours = F.cosine_similarity(gl.tensor(x), gl.tensor(x[::-1].copy())).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert F.one_hot(gl.tensor([0, 2]), 3).tolist() == [[1, 0, 0], [0, 0, 1]]
    with pytest.raises(ShapeError, match="does not end"):
        F.layer_norm(gl.tensor(x), (5,))
