"""Writes in place: through cells, views and views of views, as in NumPy and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import gradloom as gl
from gradloom import nn
from gradloom.errors import GradientError


def test_in_place_operators_change_every_name() -> None:
    x = gl.tensor([1.0, 2.0])
    y = x
    x += 1
    x *= 2
    x -= 1
    x /= 3
    assert y is x
    np.testing.assert_allclose(y.numpy(), [1.0, 5 / 3], rtol=1e-6)


def test_in_place_keeps_the_dtype() -> None:
    x = gl.tensor([1, 2, 3], dtype=gl.int32)
    x += 1
    assert x.dtype is gl.int32
    h = gl.ones(2, dtype=gl.float16)
    h *= gl.tensor([2.0, 3.0], dtype=gl.float64)
    assert h.dtype is gl.float16
    np.testing.assert_array_equal(h.numpy(), np.array([2, 3], np.float16))


def test_a_result_computed_before_a_write_keeps_its_value() -> None:
    x = gl.tensor([1.0, 2.0])
    y = x * 10
    x += 1
    np.testing.assert_array_equal(y.numpy(), [10.0, 20.0])
    np.testing.assert_array_equal(x.numpy(), [2.0, 3.0])


def test_writes_through_views_reach_the_base() -> None:
    a = np.arange(12, dtype=np.float32).reshape(3, 4)
    x, n = gl.tensor(a), a.copy()
    x[1] += 10
    n[1] += 10
    x[:, 2].mul_(2)
    n[:, 2] *= 2
    x.reshape(-1)[3] = -1.0
    n.reshape(-1)[3] = -1.0
    x.T[0] = gl.tensor([7.0, 8.0, 9.0])
    n.T[0] = [7.0, 8.0, 9.0]
    x[::2][1].zero_()
    n[::2][1] = 0
    x[0].unsqueeze(0)[:, 1:3] += 100
    n[0][None][:, 1:3] += 100
    np.testing.assert_array_equal(x.numpy(), n)


def test_views_see_writes_to_the_base() -> None:
    x = gl.zeros(2, 3)
    row, flat, turned, part = x[0], x.reshape(6), x.T, x[:, 1:]
    x += 1
    x[0, 1] = 5.0
    np.testing.assert_array_equal(row.numpy(), [1, 5, 1])
    np.testing.assert_array_equal(flat.numpy(), [1, 5, 1, 1, 1, 1])
    np.testing.assert_array_equal(turned.numpy(), [[1, 1], [5, 1], [1, 1]])
    np.testing.assert_array_equal(part.numpy(), [[5, 1], [1, 1]])


def test_a_write_through_one_view_is_seen_by_another() -> None:
    x = gl.zeros(4)
    a, b = x[:3], x[1:]
    a[2] = 7.0
    np.testing.assert_array_equal(b.numpy(), [0, 7, 0])
    b += 1
    np.testing.assert_array_equal(a.numpy(), [0, 1, 8])


def test_overlapping_copies() -> None:
    x = gl.tensor([1.0, 2.0, 3.0, 4.0])
    x[1:] = x[:-1]
    np.testing.assert_array_equal(x.numpy(), [1, 1, 2, 3])


def test_clone_and_copy_are_apart() -> None:
    x = gl.tensor([1.0, 2.0])
    c = x.clone()
    x.zero_()
    np.testing.assert_array_equal(c.numpy(), [1, 2])
    x.copy_(c)
    c.fill_(9.0)
    np.testing.assert_array_equal(x.numpy(), [1, 2])


def test_an_array_that_was_handed_out_is_left_alone() -> None:
    x = gl.tensor([1.0, 2.0])
    seen = x.numpy()
    for _ in range(5):
        x += 1
        x.sum().item()
    np.testing.assert_array_equal(seen, [1.0, 2.0])
    np.testing.assert_array_equal(x.numpy(), [6.0, 7.0])


def test_parameters_are_written_through_data_and_under_no_grad() -> None:
    p = nn.Parameter(gl.tensor([1.0, 2.0]))
    p.data.mul_(3)
    np.testing.assert_array_equal(p.detach().numpy(), [3.0, 6.0])
    p.data[0] = 0.5
    with gl.no_grad():
        p += 1
        p[1].zero_()
    np.testing.assert_array_equal(p.detach().numpy(), [1.5, 0.0])
    assert p.requires_grad and p.is_leaf
    (p * p).sum().backward()
    np.testing.assert_array_equal(p.grad.numpy(), [3.0, 0.0])
    p.grad.zero_()
    np.testing.assert_array_equal(p.grad.numpy(), [0.0, 0.0])


def test_data_can_be_replaced() -> None:
    p = nn.Parameter(gl.tensor([1.0, 2.0]))
    p.data = gl.tensor([5.0, 6.0])
    (p * 2).sum().backward()
    np.testing.assert_array_equal(p.detach().numpy(), [5.0, 6.0])
    np.testing.assert_array_equal(p.grad.numpy(), [2.0, 2.0])


def test_a_leaf_is_not_written_in_place_while_recording() -> None:
    w = gl.tensor([1.0, 2.0], requires_grad=True)
    for write in (lambda: w.add_(1), lambda: w.mul_(2), lambda: w.__setitem__(0, 3.0), lambda: w[0].zero_()):
        with pytest.raises(GradientError, match="leaf"):
            write()
    np.testing.assert_array_equal(w.detach().numpy(), [1.0, 2.0])


def test_in_place_steps_of_a_calculation_are_differentiated() -> None:
    w = gl.tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)
    y = w * 2
    y += 1
    y[1] = 0.0
    y *= w
    y.sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), [4 + 1, 0.0, 12 + 1])


def test_a_differentiable_value_written_into_a_buffer() -> None:
    w = gl.tensor(np.array([1.0, 2.0]), requires_grad=True)
    out = gl.zeros(4, dtype=gl.float64)
    out[1:3] = w * w
    (out * gl.tensor(np.array([1.0, 2.0, 3.0, 4.0]))).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), [4.0, 12.0])


def test_sampling_in_place() -> None:
    gl.manual_seed(1)
    x = gl.zeros(1000)
    x.uniform_(2, 3)
    assert 2 <= x.numpy().min() and x.numpy().max() < 3
    x.normal_(5, 0.1)
    assert abs(x.numpy().mean() - 5) < 0.05
