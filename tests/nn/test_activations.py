"""Activations, values and gradients, against PyTorch, on both sides of every kink and on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import nn
from gradloom.errors import ShapeError

X = np.concatenate([np.linspace(-8, 8, 41), [-3, 3, -1, 1, 0, 6, 1e-4, -1e-4, 25, -25]]).astype(np.float32)

LAYERS = {
    "ReLU": {}, "LeakyReLU": {"negative_slope": 0.2}, "ELU": {"alpha": 0.7}, "SELU": {}, "GELU": {}, "SiLU": {},
    "Sigmoid": {}, "Tanh": {}, "Softplus": {"beta": 1.5, "threshold": 10.0}, "Hardtanh": {}, "ReLU6": {},
    "Hardsigmoid": {}, "Hardswish": {}, "Mish": {}, "Softsign": {}, "LogSigmoid": {}, "Tanhshrink": {},
    "Threshold": {"threshold": 0.5, "value": 2.0}, "PReLU": {},
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_activation(name: str) -> None:
    a, b = gl.tensor(X, requires_grad=True), torch.tensor(X, requires_grad=True)
    ours, theirs = getattr(nn, name)(**LAYERS[name])(a), getattr(torch.nn, name)(**LAYERS[name])(b)
    ours.sum().backward()
    theirs.sum().backward()
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [("Softmax", {"dim": 1}), ("LogSoftmax", {"dim": 0}), ("Softmin", {"dim": -1}), ("GLU", {"dim": 1}),
     ("GELU", {"approximate": "tanh"}), ("PReLU", {"num_parameters": 6})],
)  # fmt: skip
def test_along_an_axis(name: str, options: dict) -> None:
    x = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32) * 3
    a, b = gl.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ours, theirs = getattr(nn, name)(**options)(a), getattr(torch.nn, name)(**options)(b)
    scale = np.random.default_rng(1).normal(size=tuple(theirs.shape)).astype(np.float32)
    (ours * gl.tensor(scale)).sum().backward()
    (theirs * torch.tensor(scale)).sum().backward()
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-4, atol=1e-5)


def test_inplace_overwrites_the_input() -> None:
    x = gl.tensor([-1.0, 2.0])
    assert nn.ReLU(inplace=True)(x) is x
    np.testing.assert_array_equal(x.numpy(), [0.0, 2.0])


def test_refusals() -> None:
    with pytest.raises(ShapeError, match="halved"):
        nn.GLU(1)(gl.zeros(2, 3))
    with pytest.raises(ValueError, match="approximate"):
        nn.GELU("fast")(gl.zeros(2))


@pytest.mark.parametrize(
    "name", ["Softmax", "GELU", "ELU", "Hardtanh", "Softplus", "GLU", "LeakyReLU", "ReLU", "Threshold"]
)
def test_repr(name: str) -> None:
    options = LAYERS.get(name) or ({"dim": 1} if name in ("Softmax", "GLU") else {})
    assert repr(getattr(nn, name)(**options)) == repr(getattr(torch.nn, name)(**options))
