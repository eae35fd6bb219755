"""Reductions against PyTorch: values, named results, dtypes, NaN, empty and 0-d tensors, gradients."""

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
from gradloom.testing import check_grads, check_reference

RNG = np.random.default_rng(5)
X = RNG.standard_normal((4, 5, 3)).round(3)
HOLES = X.copy()
HOLES[[0, 1, 3], [2, 2, 4], [0, 1, 2]] = np.nan
TIES = RNG.integers(-2, 3, (4, 6)).astype(np.float64)
WHOLE = RNG.integers(-5, 6, (3, 4))


def flat(x: Any) -> list[Any]:
    return [y for i in x for y in flat(i)] if isinstance(x, tuple) else [x]


def same(mine: Any, theirs: Any, rtol: float = 1e-6) -> None:
    a, b = flat(mine), flat(theirs)
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert tuple(x.shape) == tuple(y.shape)
        assert x.dtype.name == str(y.dtype).removeprefix("torch.")
        np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), rtol, 1e-7)
    if hasattr(theirs, "_fields"):
        assert mine._fields == theirs._fields


# (name, input, arguments)
CASES: list[tuple[str, np.ndarray, tuple, dict]] = [
    *[(n, X, a, k) for n in ("sum", "mean", "amax", "amin", "var", "std", "logsumexp", "nansum", "nanmean")
      for a, k in [((1,), {}), (((0, 2),), {}), ((-1,), {"keepdim": True})]],
    *[(n, X, ([],), {}) for n in ("sum", "mean", "amax", "var")],
    *[(n, X, (), k) for n in ("sum", "mean", "prod", "max", "min", "amax", "var", "std", "argmax", "argmin", "any",
                              "all", "count_nonzero", "aminmax", "nansum", "nanmean", "std_mean", "var_mean")
      for k in [{}]],
    *[(n, X, (1,), k) for n in ("prod", "max", "min", "argmax", "argmin", "any", "all", "count_nonzero")
      for k in [{}]],
    *[(n, TIES, (1,), {"keepdim": True}) for n in ("max", "min", "argmax", "argmin")],
    *[(n, HOLES, (1,), {}) for n in ("max", "min", "argmax", "argmin", "amax", "nansum", "nanmean")],
    *[(n, HOLES, (), {}) for n in ("max", "min", "argmax", "argmin", "aminmax", "nansum", "nanmean")],
    *[(n, WHOLE, (0,), {}) for n in ("sum", "prod", "max", "min", "argmax", "any", "count_nonzero", "logsumexp")],
    *[(n, WHOLE > 0, (0,), {}) for n in ("sum", "prod", "any", "all", "amax", "count_nonzero", "nansum")],
    *[(n, np.float64(2.5), (0,), {}) for n in ("sum", "prod", "max", "min", "argmax", "mean", "logsumexp", "softmax")],
    *[(n, np.zeros((0, 3)), (), {}) for n in ("sum", "prod", "mean", "any", "all", "std", "count_nonzero")],
    *[(n, np.zeros((0, 3)), (0,), {}) for n in ("sum", "prod", "mean", "var", "logsumexp", "nanmean")],
    *[("var", X, a, k) for a, k in [((False,), {}), ((1, False), {}), ((1,), {"correction": 2}),
                                    ((1,), {"correction": 9}), ((0, True, True), {}), ((), {"correction": None})]],
    ("std_mean", X, (1,), {"correction": 0, "keepdim": True}), ("aminmax", X, (), {"dim": 1, "keepdim": True}),
    ("any", WHOLE.astype(np.uint8), (1,), {}), ("all", WHOLE.astype(np.uint8), (), {}),
    ("sum", X, (1,), {"dtype": "float32"}), ("sum", X * 3, (1,), {"dtype": "int64"}),
    ("prod", X * 3, (1,), {"dtype": "int32"}), ("mean", WHOLE, (1,), {"dtype": "float64"}),
    ("softmax", X, (1,), {"dtype": "float32"}), ("log_softmax", X, (0,), {}), ("softmax", WHOLE, (1, "float64"), {}),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize(("name", "x", "args", "kwargs"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_like_pytorch(name: str, x: np.ndarray, args: tuple, kwargs: dict) -> None:
    x = np.asarray(x)

    def told(module: Any) -> tuple[tuple, dict]:
        def kind(v: Any) -> Any:
            return getattr(module, v) if isinstance(v, str) else v

        return tuple(map(kind, args)), {k: kind(v) for k, v in kwargs.items()}

    (a, k), (b, j) = told(gl), told(torch)
    same(getattr(gl, name)(gl.tensor(x), *a, **k), getattr(torch, name)(torch.tensor(x), *b, **j))


GRADIENTS: dict[str, tuple[Callable[..., Any], np.ndarray]] = {
    "sum": (lambda x: (x * x).sum(1), X[0]),
    "mean": (lambda x: (x * x).mean(0), X[0]),
    "prod": (lambda x: x.prod(1), np.array([[1.5, 0.0, -2.0], [0.0, 0.0, 3.0], [0.7, 2.0, -1.0]])),
    "prod of all": (lambda x: x.prod(), np.array([[1.5, -2.0], [0.5, 3.0]])),
    "prod over two": (lambda x: gl.prod(x, (0, 2), True), X[:2, :2]),
    "amax": (lambda x: (x * x).amax(1), X[0]),
    "max": (lambda x: (x * x).max(1).values, X[0]),
    "min": (lambda x: (x * x).min(0, True).values, X[0]),
    "var": (lambda x: x.var(1), X[0]),
    "std": (lambda x: x.std(1), X[0]),
    "std_mean": (lambda x: gl.std_mean(x, 1)[0] * gl.std_mean(x, 1)[1], X[0]),
    "logsumexp": (lambda x: x.logsumexp(1), X[0]),
    "softmax": (lambda x: x.softmax(1), X[0]),
    "log_softmax": (lambda x: x.log_softmax(1), X[0]),
    "nanmean": (lambda x: (x * x).nanmean(1), X[0]),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name: str) -> None:
    fn, x = GRADIENTS[name]
    check_grads(fn, [x[:3]], order=2, rtol=1e-4, atol=1e-4)
    check_reference(fn, [x])


def grad_of(module: Any, fn: Callable[..., Any], x: np.ndarray) -> np.ndarray:
    t = module.tensor(x, requires_grad=True)
    out = fn(t)
    out.backward(module.arange(1, out.numel() + 1).reshape(tuple(out.shape)).to(out.dtype))
    return t.grad.numpy()


CONVENTIONS = {
    "amax shares among equals": lambda x: x.amax(1),
    "max of all shares": lambda x: x.max(),
    "max along an axis picks": lambda x: x.max(1)[0],
    "min along an axis picks": lambda x: x.min(0)[0],
    "std of equals": lambda x: (x * 0).std(1),
    "nansum": lambda x: x.nansum(1),
}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_gradient_conventions(name: str) -> None:
    fn = CONVENTIONS[name]
    np.testing.assert_allclose(grad_of(gl, fn, TIES), grad_of(torch, fn, TIES))


def test_gradient_of_a_long_product() -> None:
    x = 1 + RNG.standard_normal(20_000) * 1e-3
    x[77] = 0
    np.testing.assert_allclose(grad_of(gl, lambda t: t.prod(), x), grad_of(torch, lambda t: t.prod(), x), rtol=1e-9)


@settings(max_examples=12, deadline=None)
@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=5), elements=st.floats(-9, 9)), st.data())
def test_any_axes(x: np.ndarray, data: st.DataObject) -> None:
    axes = tuple(data.draw(st.sets(st.integers(0, x.ndim - 1))))
    keep = data.draw(st.booleans())
    t = gl.tensor(x)
    np.testing.assert_allclose(gl.amax(t, axes or None, keep).numpy(), x.max(axes or None, keepdims=keep))
    np.testing.assert_allclose(gl.sum(t, axis=axes or None, keepdims=keep).numpy(), x.sum(axes or None, keepdims=keep))
    got = gl.var(t, axes or None, correction=0, keepdim=keep).numpy()
    np.testing.assert_allclose(got, x.var(axes or None, keepdims=keep), atol=1e-9)


def test_numpy_spellings() -> None:
    t = gl.tensor(X)
    np.testing.assert_allclose(gl.mean(t, axis=(0, 1), keepdims=True).numpy(), X.mean((0, 1), keepdims=True))
    np.testing.assert_array_equal(gl.argmax(t, axis=2).numpy(), X.argmax(2))
    np.testing.assert_array_equal(gl.max(t, axis=(0, 2)).numpy(), X.max((0, 2)))
    with pytest.raises(TypeError, match="axis and dim are the same parameter"):
        gl.sum(t, axis=0, dim=1)


ERRORS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "mean of integers": (lambda: gl.mean(gl.tensor([1, 2])), DTypeError, "not floating"),
    "var of integers": (lambda: gl.tensor([1, 2]).var(), DTypeError, "not floating"),
    "amax of nothing": (lambda: gl.amax(gl.zeros(0, 3), 0), ShapeError, "no identity"),
    "an axis twice": (lambda: gl.sum(gl.zeros(2, 3), (0, 0)), ShapeError, "given twice"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    fn, kind, text = ERRORS[name]
    with pytest.raises(kind, match=text):
        fn()
