"""What a second backward pass may go through, where gradients are added, and where there are none: as in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import nn
from gradloom.errors import GradientError

LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda t, x: (x + 1).sum(),
    "views": lambda t, x: x.reshape(3, 2).t()[1:].flip(0).unsqueeze(-1).mean(),
    "joined": lambda t, x: t.cat([x, -x, x - 2], 1).cumsum(1).sum(),
    "kept zeros": lambda t, x: x.floor().sum(),
    "cast": lambda t, x: x.double().sum(),
    "squared": lambda t, x: (x * x).sum(),
    "by a number": lambda t, x: (x * 2).sum(),
    "function": lambda t, x: x.exp().mean(),
    "relu": lambda t, x: x.relu().sum(),
    "product": lambda t, x: (x @ x.t()).sum(),
}


def _twice(t: Any, loss: Callable[[Any, Any], Any], look: bool) -> list[Any] | str:
    x = t.tensor([[1.0, -2.0, 3.0], [0.5, 4.0, 6.0]], requires_grad=True)
    y = loss(t, x)
    if look:
        y.item()
    y.backward()
    try:
        y.backward()
    except RuntimeError:
        return "freed"
    return x.grad.tolist()


@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_a_second_pass_is_refused_where_values_were_given_up(name: str, look: bool) -> None:
    mine, theirs = _twice(gl, LOSSES[name], look), _twice(torch, LOSSES[name], look)
    assert type(mine) is type(theirs)
    if not isinstance(mine, str):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)


def test_two_losses_may_share_what_needs_no_values() -> None:
    x = gl.tensor([1.0, 2.0], requires_grad=True)
    h = x + 1
    (h * h).sum().backward()
    (h * 3).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [7.0, 9.0])


def test_grad_gives_up_values_only_as_far_as_it_goes() -> None:
    x = gl.tensor([1.0, 2.0], requires_grad=True)
    h = x.exp()
    a, b = (h * h).sum(), (h * 3).sum()
    (g,) = gl.autograd.grad(a, h)
    b.backward()
    np.testing.assert_allclose(g.numpy(), 2 * np.exp([1.0, 2.0]), rtol=1e-6)
    np.testing.assert_allclose(x.grad.numpy(), 3 * np.exp([1.0, 2.0]), rtol=1e-6)
    with pytest.raises(GradientError, match="freed"):
        a.backward()
    with pytest.raises(GradientError, match="freed"):
        gl.autograd.grad(b, x)


def test_a_second_pass_is_refused_with_hooks_too() -> None:
    x = gl.tensor([1.0, 2.0], requires_grad=True)
    x.register_hook(lambda g: g)
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(GradientError, match="freed"):
        loss.backward()


def test_a_pass_gives_up_the_values_of_earlier_rounds_too() -> None:
    x = gl.tensor([1.0, 2.0], requires_grad=True)
    h = x * x
    assert h.tolist() == [1.0, 4.0]  # closes the round
    a, b = (h + 1).sum(), (h + 2).sum()
    a.backward()
    with pytest.raises(GradientError, match="freed"):
        b.backward()


class _Sum(gl.autograd.Function):
    """x + y, of which only x has a gradient; nothing is saved."""

    @staticmethod
    def forward(ctx: Any, x: gl.Tensor, y: gl.Tensor) -> gl.Tensor:
        return x + y

    @staticmethod
    def backward(ctx: Any, g: gl.Tensor) -> Any:
        return g, None


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_function_that_gives_none_leaves_grad_alone(rounds: int) -> None:
    x, y = (gl.ones(3, requires_grad=True) for _ in range(2))
    for k in range(rounds):
        _Sum.apply(x, y).sum().backward()
        assert y.grad is None
        assert x.grad.tolist() == [k + 1.0] * 3
    y.grad = kept = gl.full((3,), 5.0)
    _Sum.apply(x, y).sum().backward()
    assert y.grad is kept and kept.tolist() == [5.0] * 3
    loss = _Sum.apply(x, y).sum()
    loss.backward()
    loss.backward()  # it saved nothing
    assert x.grad.tolist() == [rounds + 3.0] * 3


# -- gradients are added where they are -------------------------------------------------------------------
def _passes(t: Any, x: Any, way: str) -> None:
    loss = (x * t.tensor([3.0, 4.0, 5.0])).sum()
    if way == "look":
        loss.item()
    if way == "hook":
        x.register_hook(lambda g: g * 1)
    loss.backward(inputs=[x] if way == "inputs" else None)


@pytest.mark.parametrize("way", ["plain", "look", "hook", "inputs"])
def test_a_gradient_is_added_to_the_tensor_that_is_there(way: str) -> None:
    x = gl.ones(3, requires_grad=True)
    for k in range(1, 4):
        _passes(gl, x, way)
        if k == 1:
            first = x.grad
        assert x.grad is first
        assert first.tolist() == [3.0 * k, 4.0 * k, 5.0 * k]


@pytest.mark.parametrize("way", ["plain", "look", "hook", "inputs"])
def test_gradients_may_be_parts_of_one_tensor(way: str) -> None:
    x, every = gl.ones(3, requires_grad=True), gl.zeros(5)
    x.grad = every[1:4]
    for _ in range(2):
        _passes(gl, x, way)
    assert every.tolist() == [0.0, 6.0, 8.0, 10.0, 0.0]


def test_leaves_that_get_the_same_cotangent_have_gradients_of_their_own() -> None:
    a, b = (gl.ones(2, requires_grad=True) for _ in range(2))
    loss = a + b
    loss.tolist()
    g = gl.ones(2)
    loss.backward(g)
    a.grad.mul_(5)
    assert (a.grad.tolist(), b.grad.tolist(), g.tolist()) == ([5.0, 5.0], [1.0, 1.0], [1.0, 1.0])


def test_a_recorded_pass_leaves_the_old_gradient_as_it_was() -> None:
    x = gl.ones(2, requires_grad=True)
    (x**2).sum().backward(create_graph=True)
    first = x.grad
    (x**2).sum().backward(create_graph=True)
    assert first.tolist() == [2.0, 2.0] and x.grad.tolist() == [4.0, 4.0] and x.grad.requires_grad


def test_zeros_are_written_where_the_gradient_is() -> None:
    layer = nn.Linear(2, 1)
    optimizer = gl.optim.SGD(layer.parameters(), lr=0.1)
    layer(gl.ones(1, 2)).sum().backward(create_graph=True)
    held = layer.weight.grad
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad is held and held.tolist() == [[0.0, 0.0]] and not held.requires_grad
    layer(gl.ones(1, 2)).sum().backward()
    optimizer.zero_grad(set_to_none=False)
    assert layer.weight.grad is held and held.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("options", [{}, {"scale_grad_by_freq": True}])
def test_no_nan_reaches_the_row_of_padding(options: dict[str, Any]) -> None:
    layer = nn.Embedding(4, 2, padding_idx=1, **options)
    layer(gl.tensor([0, 1, 3])).backward(gl.tensor([[1.0, 2.0], [np.nan, np.inf], [3.0, 4.0]]))
    assert layer.weight.grad.tolist() == [[1.0, 2.0], [0.0, 0.0], [0.0, 0.0], [3.0, 4.0]]


@pytest.mark.parametrize("name", ["floor", "ceil", "round", "trunc", "sign"])
def test_no_nan_comes_through_a_step_function(name: str) -> None:
    x = gl.tensor([1.5, -2.5], requires_grad=True)
    getattr(x, name)().backward(gl.tensor([np.nan, np.inf]))
    assert x.grad.tolist() == [0.0, 0.0]
