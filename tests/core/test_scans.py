"""Running results against NumPy and PyTorch: lengths around the width of a register, axes, NaN, zeros, gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gradloom as gl
from gradloom.errors import DTypeError, ShapeError
from gradloom.functions.scans import recurrence
from gradloom.testing import check_grads, check_reference

RNG = np.random.default_rng(6)
ZEROS = np.array([[1.5, 0.0, -2.0, 0.5, 0.0], [0.7, 2.0, -1.0, 3.0, 0.25]])
X = RNG.standard_normal((3, 5)).round(3)

SHAPES = [(0,), (1,), (37,), (7, 9), (2, 9, 70)]  # tests/compiler/test_along.py has more
DTYPES = ["float32", "float64", "int32", "int64", "uint8"]
NAMES = ["cumsum", "cumprod", "cummax", "cummin"]


def values(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    x = RNG.integers(0, 9, shape)
    return (x / 4 + 0.1).astype(dtype) if dtype.startswith("f") else x.astype(dtype)


def pair(out: Any) -> list[Any]:
    return list(out) if isinstance(out, tuple) else [out]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_like_pytorch(name: str, dtype: str) -> None:
    for shape in SHAPES:
        x = values(shape, dtype)
        if name == "cumprod" and dtype.startswith("f"):
            x = 1 + (x - 1) / 50
        for dim in range(len(shape)):
            ours, theirs = getattr(gl.tensor(x), name)(dim), getattr(torch.tensor(x), name)(dim)
            for a, b in zip(pair(ours), pair(theirs), strict=True):
                assert a.dtype.name == str(b.dtype).removeprefix("torch.")
                np.testing.assert_allclose(a.numpy(), b.numpy(), 2e-6, err_msg=f"{shape} along {dim}")


@pytest.mark.parametrize("name", ["cummax", "cummin"])
@pytest.mark.parametrize("shape", [(37,), (5, 37), (37, 5), (19, 70)])
def test_extremes_keep_nan(name: str, shape: tuple[int, ...]) -> None:
    x = RNG.standard_normal(shape)
    x.ravel()[[3, 20]] = np.nan
    x.ravel()[[5, 6]] = -np.inf, np.inf
    for dim in range(len(shape)):
        ours, theirs = getattr(gl, name)(gl.tensor(x), dim), getattr(torch, name)(torch.tensor(x), dim)
        np.testing.assert_array_equal(ours.values.numpy(), theirs.values.numpy())
        np.testing.assert_array_equal(ours.indices.numpy(), theirs.indices.numpy())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "bool"])
def test_narrow_dtypes(dtype: str) -> None:
    x = np.array([[1, 0, 1], [1, 1, 0]])
    mine, theirs = gl.tensor(x, dtype=getattr(gl, dtype)), torch.tensor(x, dtype=getattr(torch, dtype))
    for name in NAMES:
        for a, b in zip(pair(getattr(mine, name)(1)), pair(getattr(theirs, name)(1)), strict=True):
            assert a.dtype.name == str(b.dtype).removeprefix("torch.")
            np.testing.assert_array_equal(a.float().numpy(), b.float().numpy())


def test_long_sums_are_exact_enough() -> None:
    x = RNG.random(1_000_000).astype(np.float32)
    got = gl.cumsum(gl.tensor(x), 0).numpy()
    np.testing.assert_allclose(got, np.cumsum(x, dtype=np.float64), 2e-7)


def test_same_bits_for_any_number_of_threads() -> None:
    x = gl.tensor(RNG.standard_normal((400, 300)).astype(np.float32))
    before = gl.get_num_threads()
    found = []
    for n in (1, 2, 3):
        gl.set_num_threads(n)
        found.append([t.numpy().tobytes() for t in (x.cumsum(0), x.cumsum(1), x.cumprod(1), x.logcumsumexp(0))])
    gl.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_logcumsumexp() -> None:
    x = np.array([[-np.inf, -np.inf, 900.0, 901.0], [-800.0, -1000.0, np.inf, 3.0], [np.nan, 1.0, 2.0, -5.0]])
    for a in (x, x.T, X, X[:, 0], np.float64(2.0)):
        got, want = gl.logcumsumexp(gl.tensor(a), 0), torch.logcumsumexp(torch.tensor(a), 0)
        np.testing.assert_allclose(got.numpy(), want.numpy(), 1e-12)


@settings(max_examples=8, deadline=None)
@given(
    hnp.arrays(np.float64, (3, 6), elements=st.floats(-2, 2)), hnp.arrays(np.float64, (3, 6), elements=st.floats(-9, 9))
)
def test_recurrence(a: np.ndarray, b: np.ndarray) -> None:
    for dim, reverse in ((0, False), (1, False), (1, True)):
        y = recurrence(gl.tensor(a), gl.tensor(b), dim, reverse).numpy()
        p, q, r = (np.moveaxis(v, dim, 0)[:: -1 if reverse else 1] for v in (a, b, y))
        carried = np.zeros_like(q[0])
        for t in range(len(q)):
            carried = (p[t] * carried if t else 0) + q[t]
            np.testing.assert_allclose(r[t], carried, 1e-12, 1e-12)


GRADIENTS: dict[str, tuple[Callable[..., Any], list[np.ndarray]]] = {
    "cumsum": (lambda x: (x * x).cumsum(1), [X]),
    "cumprod": (lambda x: x.cumprod(1), [X]),
    "cumprod with zeros": (lambda x: x.cumprod(1), [ZEROS]),
    "cumprod of columns": (lambda x: x.cumprod(0), [ZEROS]),
    "cummax": (lambda x: (x * x).cummax(1).values, [X]),
    "cummin": (lambda x: (x * x).cummin(0).values, [X]),
    "logcumsumexp": (lambda x: x.logcumsumexp(1), [X]),
    "recurrence": (lambda a, b: recurrence(a, b, 1) ** 2, [X / 2, X[::-1].copy()]),
    "recurrence reversed": (lambda a, b: recurrence(a, b, 0, True) ** 2, [X / 2, X[::-1].copy()]),
    "diff": (lambda x: (x * x).diff(2), [X]),
    "trapezoid": (lambda y, x: gl.trapezoid(y * y, x * x), [X, np.sort(X)]),
    "gradient": (lambda x: gl.gradient(x * x, dim=1, edge_order=2)[0], [X]),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name: str) -> None:
    fn, xs = GRADIENTS[name]
    check_grads(fn, xs, order=2, rtol=1e-4, atol=1e-4)
    check_reference(fn, xs)


def test_gradient_of_logcumsumexp_far_out() -> None:
    x = np.array([-900.0, 900.0, -np.inf, 0.0, 899.0])
    t, u = gl.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    t.logcumsumexp(0)[1:].sum().backward()
    u.logcumsumexp(0)[1:].sum().backward()
    np.testing.assert_allclose(t.grad.numpy(), u.grad.numpy(), 1e-9)


DIFFERENCES: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "diff": (lambda m, x: m.diff(x), lambda n, x: n.diff(x)),
    "diff of rows": (lambda m, x: m.diff(x, n=2, dim=0), lambda n, x: n.diff(x, 2, 0)),
    "diff too often": (lambda m, x: m.diff(x, n=9), lambda n, x: n.diff(x, 9)),
    "diff of none": (lambda m, x: m.diff(x, n=0), lambda n, x: n.diff(x, 0)),
    "diff padded": (lambda m, x: m.diff(x, prepend=x, append=x), lambda n, x: n.diff(x, prepend=x, append=x)),
    "trapezoid": (lambda m, x: m.trapezoid(x, dx=0.5, dim=0), lambda n, x: n.trapezoid(x, dx=0.5, axis=0)),
    "trapezoid at points": (lambda m, x: m.trapezoid(x, x[0] * 3), lambda n, x: n.trapezoid(x, x[0] * 3)),
    "gradient": (lambda m, x: m.gradient(x, spacing=0.5)[1], lambda n, x: n.gradient(x, 0.5)[1]),
    "gradient of order 2": (lambda m, x: m.gradient(x, dim=0, edge_order=2)[0],
                            lambda n, x: n.gradient(x, axis=0, edge_order=2)),
    "cumulative_sum": (lambda m, x: m.cumulative_sum(x, axis=1, include_initial=True),
                       lambda n, x: n.cumulative_sum(x, axis=1, include_initial=True)),
    "cumulative_prod": (lambda m, x: m.cumulative_prod(x, axis=0), lambda n, x: n.cumulative_prod(x, axis=0)),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENCES)
def test_differences_like_numpy(name: str) -> None:
    ours, theirs = DIFFERENCES[name]
    np.testing.assert_allclose(ours(gl, gl.tensor(X)).numpy(), theirs(np, X), 1e-12, 1e-12)


def test_uneven_slopes_and_running_areas() -> None:
    at = np.sort(RNG.random(5))
    got = gl.gradient(gl.tensor(X), spacing=[gl.tensor(at)], dim=1, edge_order=2)[0]
    np.testing.assert_allclose(got.numpy(), np.gradient(X, at, axis=1, edge_order=2), 1e-10)
    area = gl.cumulative_trapezoid(gl.tensor(X), gl.tensor(at))
    want = torch.cumulative_trapezoid(torch.tensor(X), torch.tensor(at))
    np.testing.assert_allclose(area.numpy(), want.numpy(), 1e-12)


ERRORS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "logcumsumexp of integers": (lambda: gl.logcumsumexp(gl.tensor([1, 2]), 0), DTypeError, "not floating"),
    "diff of a number": (lambda: gl.diff(gl.tensor(1.0)), ShapeError, "at least one dimension"),
    "gradient of one": (lambda: gl.gradient(gl.zeros(1)), ShapeError, "needs 2"),
    "spacings": (lambda: gl.gradient(gl.zeros(3, 3), spacing=[1.0]), ShapeError, "1 spacings for 2 axes"),
    "points": (lambda: gl.trapezoid(gl.zeros(3), gl.zeros(4)), ShapeError, "x has 4 points"),
    "no axis": (lambda: gl.cumulative_sum(gl.zeros(2, 2)), ShapeError, "axis is needed"),
    "operands differ": (lambda: recurrence(gl.zeros(3), gl.zeros(4)), ShapeError, "differ"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    fn, kind, text = ERRORS[name]
    with pytest.raises(kind, match=text):
        fn()
