"""Programs of writes: through names, views and views of views, by slices, indices and masks, as NumPy does them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.tape import flush
from gradloom.testing import check_grads

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
SLICES = [slice(None), slice(1, None), slice(None, -1), slice(None, None, 2), slice(None, None, -1), slice(1, 3)]


@QUICK
@given(st.data())
def test_programs_of_writes(data: Any) -> None:
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    start = rng.integers(0, 9, (4, 6)).astype(np.float32)
    pairs: list[tuple[Any, Any]] = [(gl.tensor(start), start.copy())]
    for _ in range(draw(st.integers(1, 8))):
        x, n = pairs[draw(st.integers(0, len(pairs) - 1))]
        kind = draw(st.sampled_from(["view", "view", "set", "add", "index", "mask", "scale", "copy", "look"]))
        if not n.ndim or not n.size:
            kind = "scale"
        if kind == "view":
            index = tuple(draw(st.sampled_from(SLICES)) for _ in range(draw(st.integers(0, n.ndim))))
            turned = draw(st.booleans())
            if draw(st.booleans()) and n.ndim > 1:
                index = (draw(st.integers(-n.shape[0], n.shape[0] - 1)), *index[1:])
            x, n = x[index], n[index]
            pairs.append((x.T, n.T) if turned and n.ndim == 2 else (x, n))
        elif kind == "set":
            part = draw(st.sampled_from(SLICES))
            value = rng.integers(0, 9, n[part].shape).astype(np.float32)
            x[part], n[part] = gl.tensor(value), value
        elif kind == "add":
            part = draw(st.sampled_from(SLICES))
            x[part] += 1
            n[part] += 1
        elif kind == "index":
            i = rng.integers(-n.shape[0], n.shape[0], 3)
            value = rng.integers(0, 9, n[i].shape).astype(np.float32)
            x[gl.tensor(i)] = gl.tensor(value)
            n[i] = value
        elif kind == "mask":
            x[x > 4] = 0.0
            n[n > 4] = 0
        elif kind == "scale":
            x *= 2
            n *= 2
        elif kind == "copy" and n.ndim and len(n) > 1:
            x[1:] = x[:-1]
            n[1:] = n[:-1].copy()
        elif kind == "look":
            np.testing.assert_array_equal(x.numpy(), n)
    for x, n in pairs:
        np.testing.assert_array_equal(x.numpy(), n)


def test_writes_in_a_loop_are_done_in_place() -> None:
    x, n = gl.tensor(np.zeros((50, 7), np.float32)), np.zeros((50, 7), np.float32)
    i = np.array([3, 3, 9])
    k, u = gl.tensor(i), gl.ones(3, 7)
    place = x._buffer().ptr
    for step in range(4):
        x[step] = float(step)
        x[step + 1 :: 5] = u[0]
        x.index_add_(0, k, u)
        n[step] = step
        n[step + 1 :: 5] = 1
        np.add.at(n, i, 1)
        flush()
        assert x._buffer().ptr == place
        x[2:4] *= 2
        n[2:4] *= 2
        flush()
        assert x._buffer().ptr == place
    np.testing.assert_array_equal(x.numpy(), n)


def test_gradients_pass_through_chains_of_writes() -> None:
    def fn(x: gl.Tensor, u: gl.Tensor) -> gl.Tensor:
        y = x * 2
        y[1:3][:, ::2][0] = u[:2]
        y.T[3] *= u[2]
        y[[0, 2], [1, 1]] = u[3] * y[0, 0]
        y.reshape(-1)[5] += u[1] * u[0]
        y[x > 0.3] *= 3.0
        return y * y

    rng = np.random.default_rng(0)
    check_grads(fn, [rng.standard_normal((4, 4)), rng.standard_normal(4)], order=2)


def test_a_value_saved_for_backward_keeps_its_value() -> None:
    """PyTorch refuses the gradient here; a value that was used is never overwritten underneath."""
    a = np.array([1.0, 2.0, 3.0])
    w = gl.tensor(a, requires_grad=True)
    y = w.exp()
    z = y * y
    y[1:] = 0.0
    y.mul_(5)
    z.sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), 2 * np.exp(2 * a))
    v = torch.tensor(a, requires_grad=True)
    t = v.exp()
    r = t * t
    t[1:] = 0.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        r.sum().backward()


def test_a_base_starts_to_require_grad_by_what_is_written_into_it() -> None:
    base, w = gl.zeros(4, dtype=gl.float64), gl.tensor(np.array([1.0, 2.0]), requires_grad=True)
    view = base[1:]
    base[[0, 2]] = w * w
    assert base.requires_grad and view.requires_grad and not base.is_leaf
    (view * gl.tensor(np.array([5.0, 6.0, 7.0]))).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), [0.0, 2 * 2 * 6.0])


def test_a_look_between_a_write_and_the_backward_pass_keeps_what_the_gradient_needs() -> None:
    rng = np.random.default_rng(11)
    w = gl.tensor(rng.standard_normal((4, 3)), requires_grad=True)
    u = gl.tensor(rng.standard_normal(3))
    w.detach().numpy(), u.numpy()
    with gl.no_grad():
        u.copy_((u * 2 + 1).tanh())
    y = (w @ u.clone()).square().sum()
    y.item()  # closes the round: the backward pass computes parts of it again
    y.backward()
    values = w.detach().numpy(), u.numpy()
    np.testing.assert_allclose(w.grad.numpy(), 2 * np.outer(values[0] @ values[1], values[1]), rtol=1e-12)
