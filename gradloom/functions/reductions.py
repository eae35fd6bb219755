"""Sums, products, extremes and what is composed of them: means, variances, softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import DType, as_dtype
from gradloom.errors import DTypeError
from gradloom.functions.base import Extreme, apply, axes_of, const, pick
from gradloom.functions.creation import arange, zeros_like
from gradloom.functions.elementwise import (
    cast,
    detach,
    div,
    eq,
    exp,
    isfinite,
    isnan,
    log,
    logical_or,
    maximum,
    minimum,
    mul,
    sqrt,
    sub,
    where,
)
from gradloom.functions.movement import reshape
from gradloom.graph.node import Aval
from gradloom.ops import structure as S
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = (
    "all allclose amax amin any argmax argmin equal log_softmax logsumexp max mean min numel prod softmax std sum var"
).split()
INTERNAL = "fit reduce sum_to".split()
FUNCTION_ONLY = ["numel"]


def reduce(prim: Any, x: Tensor, dim: Any, keepdim: bool, dtype: DType) -> Tensor:
    """A reducing primitive over the axes named (all without one)."""
    return apply(prim, (x,), (axes_of(prim.name, dim, x.ndim), bool(keepdim), dtype))


def sum(
    input: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
    *,
    axis: Any = None,
    keepdims: bool = False,
) -> Tensor:
    """Sum over axes (all by default). Integers and bool sum in int64."""
    d = as_dtype(dtype) if dtype is not None else input.dtype if input.dtype.is_floating else dtypes.int64
    x = cast(input, d) if d.is_floating else input
    return reduce(S.sum_, x, pick(dim, axis), keepdim or keepdims, d)


def prod(
    input: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
    *,
    axis: Any = None,
    keepdims: bool = False,
) -> Tensor:
    """Product over axes (all by default)."""
    d = as_dtype(dtype) if dtype is not None else input.dtype if input.dtype.is_floating else dtypes.int64
    x = cast(input, d) if d.is_floating else input
    return reduce(S.prod, x, pick(dim, axis), keepdim or keepdims, d)


def amax(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Largest element over axes; NaN where there is one."""
    return reduce(S.amax, input, pick(dim, axis), keepdim or keepdims, input.dtype)


def amin(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Smallest element over axes; NaN where there is one."""
    return reduce(S.amin, input, pick(dim, axis), keepdim or keepdims, input.dtype)


def any(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether any element is true."""
    return reduce(S.any_, cast(input, dtypes.bool_), pick(dim, axis), keepdim or keepdims, dtypes.bool_)


def all(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether all elements are true."""
    return reduce(S.all_, cast(input, dtypes.bool_), pick(dim, axis), keepdim or keepdims, dtypes.bool_)


@composite
def _mean(x: Tensor, dim: Any, keepdim: bool) -> Tensor:
    axes = axes_of("mean", dim, x.ndim)
    n = math.prod(x.shape[k] for k in axes)
    return mul(sum(x, axes, keepdim), const(1.0 / n if n else math.nan))


def mean(
    input: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
    *,
    axis: Any = None,
    keepdims: bool = False,
) -> Tensor:
    """Mean over axes (all by default). Raises DTypeError for integers."""
    x = cast(input, dtype) if dtype is not None else input
    if not x.dtype.is_floating:
        raise DTypeError(
            f"mean: dtype {x.dtype.name} is not floating", code="dtype.mean", hint="convert with .float() first"
        )
    d = pick(dim, axis)
    return _mean(x, tuple(d) if isinstance(d, list) else d, keepdim or keepdims)


@composite
def _var(x: Tensor, dim: Any, correction: float, keepdim: bool) -> Tensor:
    axes = axes_of("var", dim, x.ndim)
    n = math.prod(x.shape[k] for k in axes)
    d = sub(x, mul(sum(x, axes, True), const(1.0 / n if n else math.nan)))
    k = n - correction
    return mul(sum(mul(d, d), axes, keepdim), const(1.0 / k if k > 0 else math.nan if k == 0 else math.inf))


def var(
    input: Tensor, dim: Any = None, *, correction: float = 1, unbiased: bool | None = None, keepdim: bool = False,
    axis: Any = None, keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """Variance over axes, divided by n - correction."""
    c = correction if unbiased is None else int(unbiased)
    d = pick(dim, axis)
    return _var(input, tuple(d) if isinstance(d, list) else d, c, keepdim or keepdims)


def std(input: Tensor, dim: Any = None, **kwargs: Any) -> Tensor:
    """Standard deviation: the root of :func:`var`."""
    return sqrt(var(input, dim, **kwargs))


@composite
def _arg(x: Tensor, dim: int | None, keepdim: bool, largest: bool) -> Tensor:
    whole = dim is None
    y = reshape(x, (-1,)) if whole else x
    axis = 0 if whole else axes_of("argmax", dim, x.ndim)[0] if x.ndim else 0
    if not y.ndim:
        return zeros_like(y, dtype=dtypes.int64)
    n = y.shape[axis]
    best = (amax if largest else amin)(y, axis, True)
    hit = eq(y, best)
    if y.dtype.is_floating:
        hit = logical_or(hit, isnan(y))
    at = reshape(arange(n), tuple(n if k == axis else 1 for k in range(y.ndim)))
    out = amin(where(hit, at, const(n)), axis, keepdim and not whole)
    return reshape(out, (1,) * x.ndim) if whole and keepdim else out


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None) -> Tensor:
    """Position of the first largest element (a NaN counts as largest); of the flattened tensor without ``dim``."""
    return _arg(input, pick(dim, axis), keepdim, True)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None) -> Tensor:
    """Position of the first smallest element (a NaN counts as smallest)."""
    return _arg(input, pick(dim, axis), keepdim, False)


@composite
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """log(sum(exp(x))) over axes, without overflow."""
    m = amax(detach(input), dim, True)
    m = where(isfinite(m), m, const(0.0))
    s = log(sum(exp(sub(input, m)), dim, True)) + m
    axes = axes_of("logsumexp", dim, input.ndim)
    return s if keepdim else reshape(s, tuple(n for k, n in enumerate(input.shape) if k not in axes))


@composite
def softmax(input: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
    """exp(x) normalised along an axis."""
    x = cast(input, dtype) if dtype is not None else input
    if not x.numel():
        return mul(x, const(1.0))
    e = exp(sub(x, amax(detach(x), dim, True)))
    return div(e, sum(e, dim, True))


@composite
def log_softmax(input: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
    """The logarithm of softmax, computed stably."""
    x = cast(input, dtype) if dtype is not None else input
    if not x.numel():
        return mul(x, const(1.0))
    z = sub(x, amax(detach(x), dim, True))
    return sub(z, log(sum(exp(z), dim, True)))


def sum_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Summed back to a shape that broadcasting started from."""
    if x.shape == shape:
        return x
    lead = x.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(
        k + lead for k, n in enumerate(shape) if n == 1 and x.shape[k + lead] != 1
    )  # fmt: skip
    if axes:
        x = reduce(S.sum_, x, axes, False, x.dtype)
    return reshape(x, shape)


def fit(ct: Tensor, aval: Aval) -> Tensor:
    """A cotangent brought to the shape and dtype of its operand."""
    return cast(sum_to(ct, aval.shape), aval.dtype)


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether all elements agree within atol + rtol * |other|."""
    return bool(np.allclose(input.numpy(), other.numpy(), rtol, atol, equal_nan))


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shape and all elements are the same."""
    return input.shape == other.shape and bool(np.array_equal(input.numpy(), other.numpy()))


def numel(input: Tensor) -> int:
    """Number of elements."""
    return input.numel()


def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Largest element; along an axis (values, indices); of two tensors the elementwise maximum."""
    d = pick(dim, axis)
    if isinstance(d, Tensor):
        return maximum(input, d)
    if d is None:
        return amax(input, None, keepdim or keepdims)
    return Extreme(amax(input, d, keepdim or keepdims), argmax(input, d, keepdim or keepdims))


def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Smallest element; along an axis (values, indices); of two tensors the elementwise minimum."""
    d = pick(dim, axis)
    if isinstance(d, Tensor):
        return minimum(input, d)
    if d is None:
        return amin(input, None, keepdim or keepdims)
    return Extreme(amin(input, d, keepdim or keepdims), argmin(input, d, keepdim or keepdims))
