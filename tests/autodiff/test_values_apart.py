"""Gradients of values that were computed, copied or looked at together, and have nothing to do with each other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import gradloom as gl
from gradloom import nn
from gradloom.errors import GradientError


def _copied(a: gl.Tensor, b: gl.Tensor) -> None:
    with gl.no_grad():
        b.copy_(a)


def _set(a: gl.Tensor, b: gl.Tensor) -> None:
    with gl.no_grad():
        b[:] = a


def _through_data(a: gl.Tensor, b: gl.Tensor) -> None:
    b.data.copy_(a)


def _data(a: gl.Tensor, b: gl.Tensor) -> None:
    b.data = a.data


@pytest.mark.parametrize("how", [_copied, _set, _through_data, _data])
def test_a_copied_parameter_has_a_gradient_of_its_own(how: Callable[[gl.Tensor, gl.Tensor], None]) -> None:
    a, b = nn.Linear(3, 1, bias=False), nn.Linear(3, 1, bias=False)  # their first values are still to be drawn
    how(a.weight, b.weight)
    x = gl.ones(2, 3)
    first, second = a(x).sum(), 3 * b(x).sum()
    first.backward()
    assert b.weight.grad is None
    second.backward()
    np.testing.assert_array_equal(a.weight.grad.numpy(), [[2.0, 2.0, 2.0]])
    np.testing.assert_array_equal(b.weight.grad.numpy(), [[6.0, 6.0, 6.0]])
    np.testing.assert_array_equal(a.weight.detach().numpy(), b.weight.detach().numpy())


def test_copies_that_ask_for_gradients_later() -> None:
    a = gl.randn(3)
    b = gl.empty(3).copy_(a)
    a.requires_grad_()
    b.requires_grad_()
    ((2 * a).sum() + (3 * b).sum()).backward()
    np.testing.assert_array_equal(a.grad.numpy(), [2.0, 2.0, 2.0])
    np.testing.assert_array_equal(b.grad.numpy(), [3.0, 3.0, 3.0])


def test_losses_of_one_round_are_freed_apart() -> None:
    x, w = gl.tensor([1.0, 2.0], requires_grad=True), gl.tensor([3.0, 4.0], requires_grad=True)
    one, two = (x * x).sum(), (w * w).sum()
    assert (one.item(), two.item()) == (5.0, 25.0)  # closes the round that both stand in
    one.backward()
    two.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2.0, 4.0])
    np.testing.assert_array_equal(w.grad.numpy(), [6.0, 8.0])
    for loss in (one, two):
        with pytest.raises(GradientError, match="freed"):
            loss.backward()


def test_what_two_losses_share_is_freed_by_the_first() -> None:
    x = gl.tensor([1.0, 2.0], requires_grad=True)
    h = x.exp()
    one, two = (2 * h).sum(), (3 * h).sum()
    assert one.item() < two.item()
    one.backward()
    with pytest.raises(GradientError, match="freed"):
        two.backward()


def test_a_loss_of_a_later_round_through_one_that_was_freed_in_part() -> None:
    x, w = gl.tensor([1.0, 2.0], requires_grad=True), gl.tensor([3.0, 4.0], requires_grad=True)
    used, left = x * x, w * w
    assert used.sum().item() == 5.0
    used.sum().backward()
    assert left.sum().item() == 25.0
    (left * 2).sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), [12.0, 16.0])
