"""Reductions, scans and normalisations that leave out elements: ``torch.masked`` on plain tensors with ``mask=``.

A mask is true where an element takes part; it broadcasts to the input. What is left out is replaced by what changes
nothing: 0 in sums, 1 in products, the lowest or highest number for extremes. Where nothing is left the result is that
replacement, and NaN for means, medians and variances. Masked tensors themselves are not offered: keep values and mask
side by side.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.errors import DTypeError, ShapeError
from gradloom.functions import reductions, scans, statistics
from gradloom.functions.base import axes_of, const
from gradloom.functions.linalg_norms import vector_norm
from gradloom.tensor import Tensor

__all__ = (
    "amax amin argmax argmin cumprod cumsum log_softmax logaddexp logsumexp mean median norm normalize prod softmax "
    "softmin std sum var"
).split()

_sum = reductions.sum


def _mask(input: Tensor, mask: Tensor) -> Tensor:
    """The mask as bool, of the input's shape. Raises ShapeError where it has more dimensions."""
    if mask.ndim > input.ndim:
        raise ShapeError(
            f"masked: a mask of {mask.ndim} dimensions does not fit an input of {input.ndim}", code="shape.mask"
        )
    return G.broadcast_to(G.cast(mask, dtypes.bool_), input.shape)


def _lowest(input: Tensor) -> float:
    d = input.dtype
    return -math.inf if d.category >= 2 else False if d.category == 0 else int(np.iinfo(d.numpy).min)


def _highest(input: Tensor) -> float:
    d = input.dtype
    return math.inf if d.category >= 2 else True if d.category == 0 else int(np.iinfo(d.numpy).max)


def _filled(input: Tensor, mask: Tensor | None, value: float) -> Tensor:
    """The input with ``value`` where the mask is false."""
    if mask is None:
        return input
    return G.where(_mask(input, mask), input, G.full((), value, dtype=input.dtype))


def _axes(dim: Any) -> Any:
    return None if isinstance(dim, (tuple, list)) and not dim else dim


# -- reductions ---------------------------------------------------------------------------------------
def sum(
    input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """Sum of the elements that take part; 0 where none does."""
    return _sum(_filled(input, mask, 0), _axes(dim), keepdim, dtype=dtype)


def prod(
    input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """Product of the elements that take part; 1 where none does."""
    return reductions.prod(_filled(input, mask, 1), _axes(dim), keepdim, dtype=dtype)


def _extreme(fn: Any, fill: float, input: Tensor, dim: Any, keepdim: bool, dtype: Any, mask: Tensor | None) -> Tensor:
    x = _filled(input, mask, fill)
    return fn(x if dtype is None else G.cast(x, dtype), _axes(dim), keepdim)


def amax(
    input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """Largest element that takes part; the lowest number where none does."""
    return _extreme(reductions.amax, _lowest(input), input, dim, keepdim, dtype, mask)


def amin(
    input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """Smallest element that takes part; the highest number where none does."""
    return _extreme(reductions.amin, _highest(input), input, dim, keepdim, dtype, mask)


def _position(fn: Any, fill: float, input: Tensor, dim: Any, keepdim: bool, dtype: Any, mask: Tensor | None) -> Tensor:
    return G.cast(fn(_filled(input, mask, fill), dim, keepdim), input.dtype if dtype is None else dtype)


def argmax(
    input: Tensor,
    dim: int | None = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Position of the largest element that takes part; in the input's dtype unless told, as PyTorch has it."""
    return _position(reductions.argmax, _lowest(input), input, dim, keepdim, dtype, mask)


def argmin(
    input: Tensor,
    dim: int | None = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Position of the smallest element that takes part; in the input's dtype unless told, as PyTorch has it."""
    return _position(reductions.argmin, _highest(input), input, dim, keepdim, dtype, mask)


def logsumexp(
    input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """log(sum(exp(x))) of the elements that take part, in the input's dtype unless told."""
    out = reductions.logsumexp(_filled(input, mask, _lowest(input)), _axes(dim), keepdim)
    return G.cast(out, input.dtype if dtype is None else dtype)


def logaddexp(
    input: Tensor,
    other: Tensor,
    *,
    dtype: Any = None,
    input_mask: Tensor | None = None,
    other_mask: Tensor | None = None,
) -> Tensor:
    """log(exp(input) + exp(other)); an operand counts as log(0) where its mask is false."""
    if input.dtype.category != 2 or other.dtype.category != 2:
        raise DTypeError("masked.logaddexp: takes floating operands", code="dtype.logaddexp", hint="use .float()")
    pair = (_filled(input, input_mask, -math.inf), _filled(other, other_mask, -math.inf))
    x, y = (G.broadcast_to(t, np.broadcast_shapes(*(t.shape for t in pair))) for t in pair)
    out = reductions.logsumexp(G.stack([x, y], 0), 0)
    return out if dtype is None else G.cast(out, dtype)


def _share(input: Tensor, dim: Any, keepdim: bool, mask: Tensor | None) -> Tensor:
    """How many elements take part."""
    if mask is None:
        axes = axes_of("masked", _axes(dim), input.ndim)
        return const(math.prod(input.shape[k] for k in axes))
    return _sum(_mask(input, mask), _axes(dim), keepdim)


def _real(input: Tensor, dtype: Any) -> Tensor:
    """The input in ``dtype``, in the default floating dtype where it is integer and none is given."""
    d = dtype if dtype is not None else None if input.dtype.category >= 2 else dtypes.default_float()
    return input if d is None else G.cast(input, d)


def mean(
    input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """Mean of the elements that take part; NaN where none does. Integers need a floating ``dtype``."""
    x = input if dtype is None else G.cast(input, dtype)
    if x.dtype.category == 1:
        raise DTypeError(f"masked.mean: dtype {x.dtype.name} is not floating", code="dtype.mean", hint="give dtype=")
    total = sum(x, dim, keepdim=keepdim, mask=mask)
    out = G.div(total, _share(input, dim, keepdim, mask))
    return G.cast(out, x.dtype) if x.dtype.category >= 2 else out


def median(
    input: Tensor, dim: int = -1, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """Lower median of the elements that take part, NaN ones left out; NaN where none does.

    Raises ValueError where the input is integer and nothing is left somewhere.
    """
    x = _real(input, None)
    out = statistics.nanmedian(_filled(x, mask, math.nan), dim, keepdim).values
    if input.dtype.is_floating:
        return out
    if bool(reductions.any(G.isnan(out))):
        raise ValueError("masked.median: nothing is left in some row of an integer input; convert it with .float()")
    return G.cast(out, input.dtype if dtype is None else dtype)


def _moments(
    input: Tensor, dim: Any, unbiased: bool | None, correction: float | None, keepdim: bool, dtype: Any,
    mask: Tensor | None,
) -> Tensor:  # fmt: skip
    if unbiased is not None and correction is not None:
        raise ValueError("masked.var: unbiased and correction say the same; give one of them")
    c = correction if correction is not None else 1.0 if unbiased is None else float(unbiased)
    x = _real(input, dtype)
    center = G.div(sum(x, dim, keepdim=True, mask=mask), _share(input, dim, True, mask))
    size = G.sub(x, center)
    size = G.abs(size) if x.dtype.is_complex else size
    total = sum(G.mul(size, size), dim, keepdim=keepdim, mask=mask)
    count = G.cast(_share(input, dim, keepdim, mask), x.dtype.to_real())
    return G.cast(G.div(total, G.clamp(G.sub(count, const(c)), 0.0)), x.dtype)


def var(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Variance of the elements that take part, divided by their number less ``correction`` (1)."""
    return _moments(input, dim, unbiased, correction, keepdim, dtype, mask)


def std(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The root of :func:`var`."""
    return G.sqrt(_moments(input, dim, unbiased, correction, keepdim, dtype, mask))


def norm(
    input: Tensor,
    ord: float | None = 2.0,
    dim: Any = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The ``ord``-norm of the elements that take part."""
    p = 2.0 if ord is None else float(ord)
    x = _filled(input, mask, math.inf if p == -math.inf else 0)
    x = x if dtype is None else G.cast(x, dtype)
    return vector_norm(x, p, _axes(dim), keepdim)


# -- along an axis ------------------------------------------------------------------------------------
def cumsum(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """Running sums, to which elements left out add nothing."""
    return scans.cumsum(_filled(input, mask, 0), dim, dtype=dtype)


def cumprod(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """Running products, which elements left out do not change."""
    return scans.cumprod(_filled(input, mask, 1), dim, dtype=dtype)


def softmax(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """Softmax over the elements that take part; 0 for the others, NaN where none does."""
    return reductions.softmax(_filled(input, mask, _lowest(input)), dim, dtype=dtype)


def log_softmax(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """The logarithm of :func:`softmax`."""
    return reductions.log_softmax(_filled(input, mask, _lowest(input)), dim, dtype=dtype)


def softmin(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """Softmax of the negative input over the elements that take part."""
    return reductions.softmax(G.neg(_filled(input, mask, _highest(input))), dim, dtype=dtype)


def normalize(
    input: Tensor, ord: float, dim: int, *, eps: float = 1e-12, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """Elements that take part divided by their ``ord``-norm along an axis, or by ``eps`` if that is larger."""
    size = norm(input, ord, dim, keepdim=True, dtype=dtype, mask=mask)
    return G.div(_filled(input, mask, 0), G.maximum(size, const(eps)))
