"""Medians, quantiles, modes, histograms, counts, covariances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from gradloom import dtypes
from gradloom.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError
from gradloom.functions.base import Extreme, apply, axes_of, const, operand
from gradloom.functions.complex_numbers import complex as complex_of
from gradloom.functions.complex_numbers import conj, imag, real
from gradloom.functions.contraction import matmul
from gradloom.functions.creation import arange, full, zeros_like
from gradloom.functions.elementwise import (
    add,
    cast,
    ceil,
    clamp,
    detach,
    div,
    eq,
    floor,
    ge,
    isnan,
    le,
    logical_and,
    logical_not,
    logical_or,
    lt,
    mul,
    ne,
    round,
    sqrt,
    sub,
    where,
)
from gradloom.functions.movement import broadcast_to, cat, narrow, permute, reshape, swap_last, unsqueeze
from gradloom.functions.reductions import amax, amin, any, argmax, drop, fetch, sum, wants_grad
from gradloom.functions.scans import cummax
from gradloom.functions.sorting import argsort, ordered, searchsorted, selected
from gradloom.functions.spellings import numpy_names
from gradloom.ops import sorting as S
from gradloom.ops import structure
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = ("bincount corrcoef cov histc histogram histogramdd median mode nanmedian nanquantile quantile").split()
FUNCTION_ONLY = ["histogramdd"]


class Histogram(NamedTuple):
    """Counts and the edges of the bins."""

    hist: Tensor
    bin_edges: Any


# -- medians and modes --------------------------------------------------------------------------------
def _median(input: Tensor, dim: Any, keepdim: bool, ignore_nan: bool) -> Any:
    if dim is not None:
        (axis,) = axes_of("median", dim, input.ndim) or (0,)
        if input.ndim and not input.shape[axis]:
            raise IndexRangeError(f"median: axis {axis} of {tuple(input.shape)} is empty", code="index.median")
        return selected(S.median_index, input, axis, (ignore_nan,), keepdim)
    flat = reshape(input, (-1,))
    if not flat.numel():
        return full((), math.nan if input.dtype.is_floating else 0, dtype=input.dtype)
    value = selected(S.median_index, detach(flat), 0, (ignore_nan,), False).values
    if not wants_grad(input):
        return value
    # the elements that equal the median share its gradient
    hit = logical_or(eq(flat, value), logical_and(isnan(flat), isnan(value)))
    return div(sum(where(hit, flat, const(0.0))), sum(hit))


@numpy_names
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median: of all elements, or along an axis as (values, indices). NaN where there is one."""
    return _median(input, dim, keepdim, False)


@numpy_names
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median of what is no NaN: of all elements, or along an axis as (values, indices)."""
    return _median(input, dim, keepdim, True)


@numpy_names
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Extreme:
    """The most frequent element of an axis, the smallest of several, and its last position: (values, indices)."""
    (axis,) = axes_of("mode", dim, input.ndim) or (0,)
    if input.ndim and not input.shape[axis]:
        raise IndexRangeError(f"mode: axis {axis} of {tuple(input.shape)} is empty", code="index.mode")
    if not input.ndim:
        return Extreme(input.clone(), zeros_like(input, dtype=dtypes.int64))
    at = _mode(detach(input), axis)
    values = fetch(input, at, axis)
    if keepdim:
        return Extreme(values, at)
    shape = drop(input.shape, (axis,))
    return Extreme(reshape(values, shape), reshape(at, shape))


@composite
def _mode(x: Tensor, axis: int) -> Tensor:
    """The position of the end of the longest run in order, the first of equally long ones."""
    n = x.shape[axis]
    order = argsort(x, axis)
    v = fetch(x, order, axis)
    here = reshape(arange(n), tuple(n if k == axis else 1 for k in range(x.ndim)))
    before = cat([narrow(v, axis, 0, 1), narrow(v, axis, 0, n - 1)], axis)
    begin = cummax(where(ne(v, before), here, const(0)), axis).values
    return fetch(order, argmax(sub(here, begin), axis, True), axis)


# -- quantiles ----------------------------------------------------------------------------------------
INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _levels(name: str, q: Any, x: Tensor) -> Tensor:
    """The levels as a tensor of the input's dtype. Raises ArgumentError outside of [0, 1]."""
    if isinstance(q, Tensor):
        if q.ndim > 1:
            raise ShapeError(f"{name}: q must be a number or have one dimension, not {q.ndim}", code="shape.quantile")
        if q.dtype is not x.dtype:
            raise DTypeError(f"{name}: q is {q.dtype.name}, the input {x.dtype.name}", code="dtype.quantile")
        values = detach(q).numpy()
        if values.size and not ((values >= 0) & (values <= 1)).all():
            raise ArgumentError(f"{name}: q must be within [0, 1], got {values.min()} to {values.max()}")
        return q
    if not 0 <= q <= 1:
        raise ArgumentError(f"{name}: q must be within [0, 1], got {q}")
    return cast(operand(q), x.dtype)


def _quantile(name: str, x: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str) -> Tensor:
    if interpolation not in INTERPOLATIONS:
        raise ArgumentError(f"{name}: interpolation {interpolation!r} is not known; one of {', '.join(INTERPOLATIONS)}")
    if x.dtype not in (dtypes.float32, dtypes.float64):
        raise DTypeError(f"{name}: dtype {x.dtype.name} is not float32 or float64", code="dtype.quantile")
    level = _levels(name, q, x)
    axis = 0 if dim is None else (axes_of(name, dim, x.ndim) or (0,))[0]
    kept = (1,) * x.ndim if dim is None else tuple(1 if k == axis else n for k, n in enumerate(x.shape))
    y = reshape(x, (-1,)) if dim is None or not x.ndim else x
    if not y.shape[axis]:
        raise ShapeError(f"{name}: there are no elements to choose from", code="shape.quantile")
    y = permute(y, (*(k for k in range(y.ndim) if k != axis), axis))
    n = y.shape[-1]
    bad = isnan(detach(y))
    count = reshape(level, (-1,)).shape[0]
    if name == "nanquantile":
        good = cast(sum(logical_not(bad), -1, True), x.dtype)
        rank = clamp(mul(reshape(level, (-1,)), sub(good, const(1.0))), 0.0)
    else:  # NaN stands last, where every level of such a row goes
        rank = where(any(bad, -1, True), const(float(n - 1)), mul(reshape(level, (-1,)), const(float(n - 1))))
    rank = broadcast_to(rank, (*y.shape[:-1], count))
    rows = ordered(y, y.ndim - 1)

    def at(places: Tensor) -> Tensor:
        return fetch(rows, cast(detach(places), dtypes.int64), y.ndim - 1)

    if interpolation in ("lower", "higher", "nearest"):
        out = at({"lower": floor, "higher": ceil, "nearest": round}[interpolation](rank))
    else:
        low, high = at(floor(rank)), at(ceil(rank))
        share = sub(rank, floor(rank))
        if interpolation == "midpoint":
            share = where(ne(detach(share), const(0.0)), const(0.5), const(0.0))
        whole = eq(detach(share), const(0.0))  # an infinite element is then itself
        out = where(whole, low, add(low, mul(sub(high, low), share)))
    out = permute(out, (out.ndim - 1, *range(out.ndim - 1)))
    return reshape(
        out, (*level.shape, *(kept if keepdim else drop(kept, (axis,)) if dim is not None and x.ndim else ()))
    )


@numpy_names
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """Values below which the shares ``q`` of the elements lie: of all, or along an axis. NaN where there is one.

    q: a number or a tensor of one dimension, which becomes the first axis of the result.
    interpolation: between two elements ``"linear"``, ``"lower"``, ``"higher"``, ``"midpoint"`` or ``"nearest"``.
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation)


@numpy_names
def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """As :func:`quantile`, of what is no NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation)


# -- histograms ---------------------------------------------------------------------------------------
def _span(name: str, x: Tensor, low: float, high: float, room: float) -> tuple[Tensor, Tensor]:
    """The range of the bins: as given, or the data's where both are equal, with ``room`` around a single value."""
    if low > high or not (math.isfinite(low) and math.isfinite(high)):
        raise ArgumentError(f"{name}: the range must be finite and ascending, got {low} to {high}")
    if low != high or not x.numel():
        a, b = cast(operand(float(low)), x.dtype), cast(operand(float(high)), x.dtype)
    else:
        a, b = amin(x), amax(x)
    same = eq(a, b)
    return where(same, sub(a, const(room)), a), where(same, add(b, const(room)), b)


def _count(places: Tensor, n: int, weight: Tensor | None, dtype: Any) -> Tensor:
    args = (places,) if weight is None else (places, weight)
    return apply(S.counts, args, (n, dtype))


def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements lie in each of ``bins`` equal parts of [min, max]; of the data's range where both are equal.

    The result has the input's dtype. Elements outside, and NaN, are not counted.
    """
    if bins < 1:
        raise ArgumentError(f"histc: bins must be at least 1, got {bins}")
    x = detach(input)
    low, high = _span("histc", x, min, max, 1.0)
    part = div(mul(sub(x, low), const(float(bins))), sub(high, low))
    inside = logical_and(ge(x, low), le(x, high))
    place = clamp(cast(floor(where(inside, part, const(0.0))), dtypes.int64), None, bins - 1)
    return _count(where(inside, place, const(-1)), int(bins), None, x.dtype)


def _even_edges(low: Tensor, high: Tensor, bins: int) -> Tensor:
    """``bins + 1`` edges, counted from the nearer end so that both ends are exact."""
    k = cast(arange(bins + 1), low.dtype)
    step = div(sub(high, low), const(float(bins)))
    return where(lt(k, const(bins / 2)), add(low, mul(k, step)), sub(high, mul(sub(const(float(bins)), k), step)))


def _bin(x: Tensor, edges: Tensor) -> Tensor:
    """The bin of each element, -1 outside; the last bin holds its upper edge."""
    n = edges.shape[0] - 1
    low, high = narrow(edges, 0, 0, 1), narrow(edges, 0, n, 1)
    shape = (1,) * x.ndim
    inside = logical_and(ge(x, reshape(low, shape)), le(x, reshape(high, shape)))
    place = clamp(sub(searchsorted(edges, x, right=True), const(1)), None, n - 1)
    return where(inside, place, const(-1))


def histogramdd(
    input: Tensor, bins: Any, *, range: Sequence[float] | None = None, weight: Tensor | None = None,
    density: bool = False,
) -> Histogram:  # fmt: skip
    """How many points lie in each cell of a grid: (hist, bin_edges).

    Parameters
    ----------
    input: (..., D), points of D coordinates. bins: parts along each coordinate: one number, D numbers, or D tensors of
    edges. range: lowest and highest edge of each coordinate in turn, the data's without it. weight: of each point.
    density: scaled so that the integral is 1.
    """
    if input.ndim < 2:
        raise ShapeError(
            f"histogramdd: input {tuple(input.shape)} needs two dimensions or more", code="shape.histogram"
        )
    x = reshape(detach(input), (-1, input.shape[-1]))
    dims = x.shape[1]
    given = list(bins) if isinstance(bins, (list, tuple)) else [bins] * dims
    if len(given) != dims or (range is not None and len(range) != 2 * dims):
        raise ShapeError(
            f"histogramdd: points of {dims} coordinates, {len(given)} bins and {len(range or ())} range values",
            code="shape.histogram", hint="one number of bins and two range values for each coordinate",
        )  # fmt: skip
    edges: list[Tensor] = []
    place: Tensor | None = None
    outside: Tensor | None = None
    for d, b in enumerate(given):
        column = reshape(narrow(x, 1, d, 1), (-1,))
        if isinstance(b, Tensor):
            edges.append(detach(b))
        else:
            if int(b) < 1:
                raise ArgumentError(f"histogram: bins must be at least 1, got {b}")
            low, high = range[2 * d : 2 * d + 2] if range is not None else (0, 0) if column.numel() else (0, 1)
            edges.append(_even_edges(*_span("histogramdd", column, low, high, 0.5), int(b)))
        k = _bin(column, edges[-1])
        out = lt(k, const(0))
        n = edges[-1].shape[0] - 1
        place = k if place is None else add(mul(place, const(n)), k)
        outside = out if outside is None else logical_or(outside, out)
    assert place is not None and outside is not None
    shape = tuple(e.shape[0] - 1 for e in edges)
    w = None if weight is None else reshape(detach(weight), (-1,))
    hist = reshape(_count(where(outside, const(-1), place), math.prod(shape), w, x.dtype), shape)
    if density:
        hist = div(hist, sum(hist))
        for d, e in enumerate(edges):
            n = shape[d]
            width = sub(narrow(e, 0, 1, n), narrow(e, 0, 0, n))
            hist = div(hist, reshape(width, tuple(n if k == d else 1 for k in _range(dims))))
    return Histogram(hist, tuple(edges))


_range = range


def histogram(
    input: Tensor, bins: Any, *, range: Sequence[float] | None = None, weight: Tensor | None = None,
    density: bool = False,
) -> Histogram:  # fmt: skip
    """How many elements lie in each bin: (hist, bin_edges). ``bins``: a number of equal parts, or the edges.

    range: lowest and highest edge, the data's without it. weight: of each element. density: integral 1.
    """
    if weight is not None and weight.shape != input.shape:
        raise ShapeError(
            f"histogram: weight {tuple(weight.shape)} and input {tuple(input.shape)} differ", code="shape.histogram"
        )
    points = reshape(input, (-1, 1))
    out = histogramdd(points, [bins], range=range, weight=weight, density=density)
    return Histogram(out.hist, out.bin_edges[0])


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each number from 0 up occurs, or the sum of its weights. The largest number decides the length.

    Raises
    ------
    DTypeError: for input that is not integer. ShapeError: for more than one dimension, or weights of another shape.
    ValueError: for a negative number.
    """
    if input.dtype.category != 1:
        raise DTypeError(f"bincount: dtype {input.dtype.name} is not an integer dtype", code="dtype.bincount")
    if input.ndim != 1 or (weights is not None and weights.shape != input.shape):
        raise ShapeError(
            f"bincount: expects one dimension and weights alike, got {tuple(input.shape)}"
            + ("" if weights is None else f" and {tuple(weights.shape)}"),
            code="shape.bincount",
        )
    if minlength < 0:
        raise ArgumentError(f"bincount: minlength must not be negative, got {minlength}")
    a = input.numpy()
    if a.size and a.min() < 0:
        raise ArgumentError(f"bincount: the numbers must not be negative, found {a.min()}")
    n = max(int(a.max()) + 1 if a.size else 0, minlength)
    if weights is None:
        return _count(input, n, None, dtypes.int64)
    d = weights.dtype if weights.dtype is dtypes.float32 else dtypes.float64
    return _count(input, n, detach(weights), d)


# -- covariance ---------------------------------------------------------------------------------------
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """Covariances of the rows (variables) over the columns (observations).

    Parameters
    ----------
    correction: what the number of observations is lowered by. fweights: how often each observation counts, integers.
    aweights: its relative importance.
    """
    if input.ndim > 2:
        raise ShapeError(f"cov: expects at most two dimensions, got {tuple(input.shape)}", code="shape.cov")
    x = input if input.dtype.category >= 2 else cast(input, dtypes.default_float())
    x = reshape(x, (1, -1)) if x.ndim < 2 else x
    n = x.shape[1]
    for name, given in (("fweights", fweights), ("aweights", aweights)):
        if given is not None and tuple(given.shape) != (n,):
            raise ShapeError(f"cov: {name} {tuple(given.shape)} for {n} observations", code="shape.cov")
        if given is not None and (given < 0).any():
            raise ArgumentError(f"cov: {name} must not be negative, the least is {given.min().item()}")
    if fweights is not None and fweights.dtype.category != 1:
        raise DTypeError(
            f"cov: fweights count observations, got dtype {fweights.dtype.name}", code="dtype.cov",
            hint="give integers, or give them as aweights",
        )  # fmt: skip
    weights = fweights
    if aweights is not None:
        weights = aweights if fweights is None else mul(fweights, aweights)
    if weights is None:
        d = sub(x, mul(sum(x, 1, True), const(1.0 / n if n else math.nan)))
        size: Tensor = const(float(max(n - correction, 0)))
        weighted = d
    else:
        if weights.dtype.is_floating:
            x = cast(x, dtypes.promote(x.dtype, weights.dtype))
        w = cast(weights, x.dtype.to_real())
        total = sum(w)
        d = sub(x, div(sum(mul(x, w), 1, True), total))
        weighted = mul(d, w)
        if aweights is not None and correction:
            share = div(sum(mul(w, aweights)), total)
            size = sub(total, mul(share, const(float(correction))))
        else:
            size = sub(total, const(float(correction)))
        size = clamp(size, 0.0)
    weighted = conj(weighted) if x.dtype.is_complex else weighted
    c = div(matmul(d, swap_last(weighted)), cast(size, x.dtype))
    return reshape(c, ()) if x.shape[0] == 1 else c


def corrcoef(input: Tensor) -> Tensor:
    """Pearson's correlation coefficients of the rows (variables) over the columns (observations)."""
    c = cov(input)
    if not c.ndim:
        return div(c, c)
    n = c.shape[0]
    scale = sqrt(apply(structure.slice_, (reshape(c, (-1,)),), ((0,), (n * n,), (n + 1,))))
    out = div(div(c, unsqueeze(scale, 1)), unsqueeze(scale, 0))
    if out.dtype.is_complex:
        return complex_of(clamp(real(out), -1.0, 1.0), clamp(imag(out), -1.0, 1.0))
    return clamp(out, -1.0, 1.0)
