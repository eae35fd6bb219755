"""Calls of a compiled function that are like the one before, and those that are not."""

from __future__ import annotations

import numpy as np
import pytest

import gradloom as gl


def test_shapes_dtypes_and_modes_are_told_apart() -> None:
    f = gl.compile(lambda x, y: x * 2.0 + y.sum())
    for _ in range(3):
        for shape in ((3,), (2, 3), ()):
            for dtype in (gl.float32, gl.float64):
                x, y = gl.ones(shape, dtype=dtype), gl.ones(shape, dtype=dtype)
                for _ in range(3):
                    out = f(x, y)
                    assert out.dtype is dtype and out.shape == shape
                    np.testing.assert_allclose(out.numpy(), 2.0 + y.numel())


def test_an_argument_that_requires_a_gradient_gets_one() -> None:
    f = gl.compile(lambda x: (x * x).sum())
    plain, leaf = gl.tensor([1.0, 2.0]), gl.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        assert f(plain).item() == 5 and not f(plain).requires_grad
        leaf.grad = None
        f(leaf).backward()
        assert leaf.grad is not None and leaf.grad.tolist() == [2.0, 4.0]
        with gl.no_grad():
            assert not f(leaf).requires_grad


def test_captured_tensors_are_read_as_they_are_now() -> None:
    w = gl.tensor([1.0, 1.0])
    f = gl.compile(lambda x: (x * w, x + w))
    x = gl.tensor([3.0, 4.0])
    for k in range(4):
        a, b = f(x)
        assert a.tolist() == [3.0 * (1 + k), 4.0 * (1 + k)] and b.tolist() == [4.0 + k, 5.0 + k]
        w += 1
    with gl.no_grad():
        assert f(gl.tensor([1.0, 1.0]) * 2)[0].tolist() == [10.0, 10.0]


def test_under_transformations_and_on_the_reference() -> None:
    f = gl.compile(lambda x: (x**3).sum())
    x = gl.tensor([1.0, 2.0])
    f(x), f(x)
    assert gl.func.grad(f)(x).tolist() == [3.0, 12.0]
    assert gl.func.vmap(f)(gl.ones(3, 2)).tolist() == [2.0, 2.0, 2.0]
    gl.set_target("reference")
    try:
        assert f(x).item() == 9
    finally:
        gl.set_target("cpu")


def test_indices_are_checked_in_every_call() -> None:
    f = gl.compile(lambda x, i: x[i])
    x, good, bad = gl.tensor([1.0, 2.0, 3.0]), gl.tensor([0, 2]), gl.tensor([0, 3])
    for _ in range(4):
        assert f(x, good).tolist() == [1.0, 3.0]
    for _ in range(2):
        with pytest.raises(gl.errors.IndexRangeError, match="index 3 at position 1"):
            f(x, bad)
        assert f(x, good).tolist() == [1.0, 3.0]
