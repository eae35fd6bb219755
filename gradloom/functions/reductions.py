"""Sums, products, extremes and what is composed of them: means, variances, softmax."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import DType, as_dtype
from gradloom.errors import DTypeError
from gradloom.functions.base import Extreme, apply, axes_of, const
from gradloom.functions.complex_numbers import real
from gradloom.functions.creation import arange, full, zeros_like
from gradloom.functions.elementwise import (
    absolute,
    cast,
    detach,
    div,
    eq,
    exp,
    isfinite,
    isnan,
    log,
    logical_not,
    logical_or,
    maximum,
    minimum,
    mul,
    ne,
    sqrt,
    sub,
    where,
)
from gradloom.functions.movement import narrow, permute, reshape
from gradloom.functions.spellings import numpy_names
from gradloom.graph.node import Aval
from gradloom.ops import structure as S
from gradloom.ops.core import REGISTRY
from gradloom.ops.scan import cumprod
from gradloom.tape import MODES, composite
from gradloom.tensor import Tensor

__all__ = (
    "all allclose amax amin aminmax any argmax argmin count_nonzero equal log_softmax logsumexp max mean min nanmean "
    "nansum numel prod softmax std std_mean sum var var_mean"
).split()
INTERNAL = "fetch fit reduce sum_to wants_grad".split()
FUNCTION_ONLY = ["numel", "std_mean", "var_mean"]


class MinMax(NamedTuple):
    """The smallest (``min``) and the largest (``max``) elements."""

    min: Tensor
    max: Tensor


def reduce(prim: Any, x: Tensor, dim: Any, keepdim: bool, dtype: DType) -> Tensor:
    """A reducing primitive over the axes named (all without one)."""
    return apply(prim, (x,), (axes_of(prim.name, dim, x.ndim), bool(keepdim), dtype))


def wants_grad(x: Tensor) -> bool:
    """Whether what is recorded now for ``x`` is to be differentiated."""
    return MODES.grad and x.requires_grad


def fetch(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """``take_along`` of positions that are known to be in range; gradients go to the elements fetched."""
    return apply(REGISTRY["take_along"], (x, index), (axis,))


def listed(dim: Any) -> Any:
    """Axes as something hashable."""
    return tuple(dim) if isinstance(dim, list) else dim


def every(dim: Any) -> Any:
    """PyTorch's empty list of axes, which stands for all of them."""
    return None if isinstance(dim, (list, tuple)) and not dim else listed(dim)


def drop(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the axes."""
    return tuple(n for k, n in enumerate(shape) if k not in axes)


def total_dtype(input: Tensor, dtype: Any) -> DType:
    """The dtype of sums and products: as asked; int64 for bool and integers; else the input's."""
    return as_dtype(dtype) if dtype is not None else input.dtype if input.dtype.category >= 2 else dtypes.int64


# -- sums and products --------------------------------------------------------------------------------
@numpy_names
def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Sum over axes (all by default). Integers and bool sum in int64."""
    d = total_dtype(input, dtype)
    x = cast(input, d) if d.category >= 2 or input.dtype.category >= 2 else input
    return reduce(S.sum_, x, every(dim), keepdim, d)


@numpy_names
def prod(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Product over axes (all by default). Integers and bool multiply in int64. The gradient is exact at zeros."""
    d = total_dtype(input, dtype)
    x = cast(input, d) if d.category >= 2 or input.dtype.category >= 2 else input
    axes = axes_of("prod", dim, x.ndim)
    if not (wants_grad(x) and axes and x.numel()):
        return reduce(S.prod, x, axes, keepdim, d)
    # the last of the running products: their gradient is exact at zeros and takes one pass
    kept = tuple(k for k in range(x.ndim) if k not in axes)
    rows = reshape(permute(x, (*kept, *axes)), (*(x.shape[k] for k in kept), -1))
    running = apply(cumprod, (rows,), (len(kept), False))
    last = narrow(running, len(kept), rows.shape[-1] - 1, 1)
    return reshape(last, tuple(1 if k in axes else n for k, n in enumerate(x.shape) if keepdim or k not in axes))


@numpy_names
def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Sum over axes with NaN counted as zero."""
    x = where(isnan(input), const(0.0), input) if input.dtype.category >= 2 else input
    return sum(x, dim, keepdim, dtype=dtype)


@numpy_names
def count_nonzero(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """How many elements differ from zero, int64."""
    return sum(ne(input, const(0)), dim, keepdim)


# -- truth --------------------------------------------------------------------------------------------
def _truth(prim: Any, input: Tensor, dim: Any, keepdim: bool) -> Tensor:
    out = reduce(prim, cast(input, dtypes.bool_), dim, keepdim, dtypes.bool_)
    return cast(out, dtypes.uint8) if input.dtype is dtypes.uint8 else out  # as PyTorch has it


@numpy_names
def any(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether any element is true: bool, uint8 for uint8."""
    return _truth(S.any_, input, dim, keepdim)


@numpy_names
def all(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether all elements are true: bool, uint8 for uint8."""
    return _truth(S.all_, input, dim, keepdim)


# -- extremes -----------------------------------------------------------------------------------------
@numpy_names
def amax(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Largest element over axes; NaN where there is one. The gradient is shared evenly among equals."""
    return reduce(S.amax, input, every(dim), keepdim, input.dtype)


@numpy_names
def amin(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Smallest element over axes; NaN where there is one. The gradient is shared evenly among equals."""
    return reduce(S.amin, input, every(dim), keepdim, input.dtype)


def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> MinMax:
    """Smallest and largest element, of all or along an axis."""
    return MinMax(amin(input, dim, keepdim), amax(input, dim, keepdim))


@composite
def _arg(x: Tensor, dim: int | None, keepdim: bool, largest: bool) -> Tensor:
    whole = dim is None
    y = reshape(x, (-1,)) if whole else x
    axis = 0 if whole else axes_of("argmax" if largest else "argmin", dim, x.ndim)[0] if x.ndim else 0
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


@numpy_names
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Position of the first largest element (a NaN counts as largest); of the flattened tensor without ``dim``."""
    return _arg(detach(input), dim, keepdim, True)


@numpy_names
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Position of the first smallest element (a NaN counts as smallest)."""
    return _arg(detach(input), dim, keepdim, False)


def _extreme(input: Tensor, dim: Any, keepdim: bool, other: Any, largest: bool) -> Any:
    pair = other if other is not None else dim if isinstance(dim, Tensor) else None
    if pair is not None:
        return (maximum if largest else minimum)(input, pair)
    if dim is None or isinstance(dim, (tuple, list)):  # several axes have no one position: NumPy's meaning
        return (amax if largest else amin)(input, dim, keepdim)
    at = (argmax if largest else argmin)(input, dim, True)
    if wants_grad(input) and input.ndim:
        values = fetch(input, at, axes_of("max" if largest else "min", dim, input.ndim)[0])
    else:
        values = (amax if largest else amin)(input, dim, True)
    if keepdim or not input.ndim:
        return Extreme(values, at)
    shape = drop(input.shape, axes_of("max", dim, input.ndim))
    return Extreme(reshape(values, shape), reshape(at, shape))


@numpy_names
def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """Largest element; along an axis (values, indices); over several the values; of two tensors the larger elements.

    Along an axis the gradient goes to the element at the index; without one equals share it.
    """
    return _extreme(input, dim, keepdim, other, True)


@numpy_names
def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """Smallest element; along an axis (values, indices); of two tensors the elementwise minimum."""
    return _extreme(input, dim, keepdim, other, False)


# -- means and variances ------------------------------------------------------------------------------
@composite
def _mean(x: Tensor, dim: Any, keepdim: bool) -> Tensor:
    axes = axes_of("mean", dim, x.ndim)
    n = math.prod(x.shape[k] for k in axes)
    return mul(sum(x, axes, keepdim) if axes else x, const(1.0 / n if n else math.nan))


def _averaged(name: str, input: Tensor, dtype: Any) -> Tensor:
    x = cast(input, dtype) if dtype is not None else input
    if x.dtype.category < 2:
        raise DTypeError(
            f"{name}: dtype {x.dtype.name} is not floating", code=f"dtype.{name}", hint="convert with .float() first"
        )
    return x


@numpy_names
def mean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Mean over axes (all by default). Raises DTypeError for integers."""
    return _mean(_averaged("mean", input, dtype), every(dim), bool(keepdim))


@numpy_names
def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Mean over axes of what is no NaN; NaN where nothing is left."""
    x = _averaged("nanmean", input, dtype)
    return div(nansum(x, dim, keepdim), sum(logical_not(isnan(x)), dim, keepdim))


@composite
def _moments(x: Tensor, dim: Any, correction: float, keepdim: bool, root: bool) -> tuple[Tensor, Tensor]:
    """(variance or its root, mean): two passes, the mean first."""
    axes = axes_of("var", dim, x.ndim)
    n = math.prod(x.shape[k] for k in axes)
    center = mul(sum(x, axes, True) if axes else x, const(1.0 / n if n else math.nan))
    d = sub(x, center)
    size = absolute(d) if x.dtype.is_complex else d
    square = mul(size, size)
    k = n - correction
    v = mul(sum(square, axes, keepdim) if axes else square, const(1.0 / k if k > 0 else math.inf if n else math.nan))
    if root:  # a root of zero passes no gradient on
        flat = eq(v, const(0.0))
        v = where(flat, const(0.0), sqrt(where(flat, const(1.0), v)))
    return v, center if keepdim else reshape(center, drop(x.shape, axes))


def _spread(
    name: str, input: Tensor, dim: Any, unbiased: Any, keepdim: bool, correction: Any, root: bool
) -> tuple[Tensor, Tensor]:
    if isinstance(dim, bool):  # PyTorch's var(input, unbiased)
        dim, unbiased = None, dim
    c = correction if correction is not None else 1 if unbiased is None else int(unbiased)
    if math.prod(input.shape[k] for k in axes_of(name, every(dim), input.ndim)) <= c:
        warnings.warn(f"{name}: degrees of freedom is <= 0 with correction {c}", UserWarning, stacklevel=4)
    return _moments(_averaged(name, input, None), every(dim), c, bool(keepdim), root)


@numpy_names
def var(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> Tensor:
    """Variance over axes, divided by n - correction (1, or 0 with ``unbiased=False``)."""
    return _spread("var", input, dim, unbiased, keepdim, correction, False)[0]


@numpy_names
def std(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> Tensor:
    """Standard deviation: the root of :func:`var`; its gradient at zero is zero."""
    return _spread("std", input, dim, unbiased, keepdim, correction, True)[0]


@numpy_names
def var_mean(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> tuple[Tensor, Tensor]:
    """Variance and mean."""
    return _spread("var_mean", input, dim, unbiased, keepdim, correction, False)


@numpy_names
def std_mean(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean."""
    return _spread("std_mean", input, dim, unbiased, keepdim, correction, True)


# -- exponentials -------------------------------------------------------------------------------------
def _floating(input: Tensor, dtype: Any = None) -> Tensor:
    d = dtype if dtype is not None else None if input.dtype.category >= 2 else dtypes.default_float()
    return input if d is None else cast(input, d)


@composite
def _logsumexp(x: Tensor, dim: Any, keepdim: bool) -> Tensor:
    axes = axes_of("logsumexp", dim, x.ndim)
    kept = tuple(1 if k in axes else n for k, n in enumerate(x.shape))
    if math.prod(x.shape[k] for k in axes):
        m = real(detach(x)) if x.dtype.is_complex else detach(x)
        m = amax(m, axes, True) if axes else m
        m = where(isfinite(m), m, const(0.0))
        e = exp(sub(x, m))
        s = log(sum(e, axes, True) if axes else e) + m
    else:
        s = full(kept, -math.inf, dtype=x.dtype)
    return s if keepdim else reshape(s, drop(x.shape, axes))


@numpy_names
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """log(sum(exp(x))) over axes, without overflow. Integers become the default floating dtype."""
    return _logsumexp(_floating(input), every(dim), bool(keepdim))


@composite
def _softmax(x: Tensor, dim: int) -> Tensor:
    if not x.numel():
        return mul(x, const(1.0))
    e = exp(sub(x, amax(detach(x), dim, True)))
    return div(e, sum(e, dim, True))


@composite
def _log_softmax(x: Tensor, dim: int) -> Tensor:
    if not x.numel():
        return mul(x, const(1.0))
    z = sub(x, amax(detach(x), dim, True))
    return sub(z, log(sum(exp(z), dim, True)))


@numpy_names
def softmax(input: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
    """exp(x) normalised along an axis. ``dtype``: what the input is converted to first."""
    return _softmax(_floating(input, dtype), dim)


@numpy_names
def log_softmax(input: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
    """The logarithm of softmax, computed stably. ``dtype``: what the input is converted to first."""
    return _log_softmax(_floating(input, dtype), dim)


# -- for the library ----------------------------------------------------------------------------------
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
