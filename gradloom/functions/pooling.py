"""What pooling, unfolding and their gradients are made of: sums and extremes of windows, and windows summed into place.

All of it is slices, elementwise work and joins, which the compiler makes loop nests of. Long windows are views reduced.
Several axes are done at once where their windows do not overlap, else one after the other: an extreme or a sum over a
box is one over its rows, then over those. Nothing is padded as long as few windows reach beyond an axis: windows that
reach equally far share a piece of the result.

A *place* in a window is told by its distance from the window's first position; over several axes, by the flat number of
that distance in a box of the steps' sizes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import DType
from gradloom.functions.base import apply, const
from gradloom.functions.creation import arange, full
from gradloom.functions.elementwise import (
    add,
    cast,
    clamp,
    eq,
    ge,
    gt,
    logical_and,
    logical_or,
    lt,
    mul,
    ne,
    remainder,
    where,
)
from gradloom.functions.movement import broadcast_to, cat, permute, reshape, slice_axis
from gradloom.functions.reductions import amax, amin, sum
from gradloom.ops import elementwise as E
from gradloom.ops import structure as S
from gradloom.ops import windows as W
from gradloom.ops.windows import Span
from gradloom.tensor import Tensor

__all__: list[str] = []
INTERNAL = "Best drop first_largest moved_windows overlap_add pick spread window_max window_sum windows_of".split()

Axes = tuple[int, ...]
Spans = tuple[Span, ...]

UNROLLED = 16
"""Windows of so many entries are written out entry by entry; longer ones are reduced."""
PIECES = 3
"""A result is put together of so many pieces at most; where that is not enough the axis is padded."""


# -- pieces --------------------------------------------------------------------------------------------
class _Piece(NamedTuple):
    """Windows (or cells) from ``start`` to ``stop`` and the range of entries that they have inside of the axis."""

    start: int
    stop: int
    first: int
    last: int


def _runs(first: np.ndarray, last: np.ndarray) -> list[_Piece]:
    """Neighbours with equal ranges, together."""
    last = np.maximum(first, last)
    cuts = [0, *(np.flatnonzero(np.diff(first) | np.diff(last)) + 1).tolist(), len(first)]
    return [_Piece(a, b, int(first[a]), int(last[a])) for a, b in itertools.pairwise(cuts)]


def _pieces(s: Span) -> list[_Piece]:
    at = np.arange(s.number) * s.step - s.low  # of the first entry
    first = np.maximum(0, -(at // s.dilation))
    return _runs(np.minimum(first, s.size), np.clip((s.length - 1 - at) // s.dilation + 1, 0, s.size))


def _is_tiled(s: Span) -> bool:
    """Whether windows lie apart and whole within the axis."""
    return s.low == 0 and s.step >= s.extent and (s.number - 1) * s.step + s.extent <= s.length


def _groups(axes: Axes, spans: Spans) -> list[tuple[Axes, Spans]]:
    """Axes that are done at once."""
    if all(map(_is_tiled, spans)) and math.prod(s.size for s in spans) <= UNROLLED:
        return [(axes, spans)]
    return [((k,), (s,)) for k, s in reversed(list(zip(axes, spans, strict=True)))]


def _edges(x: Tensor, axis: int, low: int, high: int, value: float) -> Tensor:
    """An axis with more positions at its ends."""
    parts = [x]
    for n, at in ((low, 0), (high, 2)):
        if n > 0:
            shape = (*x.shape[:axis], n, *x.shape[axis + 1 :])
            parts.insert(at, full(shape, value, dtype=x.dtype))
    return cat(parts, axis) if len(parts) > 1 else x


def _fit(x: Tensor, axis: int, s: Span, value: float) -> tuple[Tensor, Span]:
    """An axis padded so that all windows lie inside."""
    high = max(0, (s.number - 1) * s.step - s.low + s.extent - s.length)
    return _edges(x, axis, s.low, high, value), s._replace(length=s.length + s.low + high, low=0)


def _entry(x: Tensor, axes: Axes, spans: Spans, pieces: Sequence[_Piece], entry: Sequence[int]) -> Tensor:
    """One entry of each window."""
    starts, stops, steps = [0] * x.ndim, list(x.shape), [1] * x.ndim
    for k, s, p, i in zip(axes, spans, pieces, entry, strict=True):
        starts[k] = p.start * s.step - s.low + i * s.dilation
        stops[k] = starts[k] + (p.stop - p.start - 1) * s.step + 1
        steps[k] = s.step
    return apply(S.slice_, (x,), (tuple(starts), tuple(stops), tuple(steps)))


def _entries(spans: Spans, pieces: Sequence[_Piece]) -> Iterator[tuple[tuple[int, ...], int]]:
    """Entries of the windows of a piece in order, and the places they are told by."""
    for entry in itertools.product(*(range(p.first, p.last) for p in pieces)):
        place = 0
        for s, i in zip(spans, entry, strict=True):
            place = (place * s.step if len(spans) > 1 else 0) + i * s.dilation
        yield entry, place


def _blocks(axes: Axes, spans: Spans) -> list[list[_Piece]]:
    """The pieces of a group: several of one axis, one of several."""
    if len(axes) > 1:
        return [[_pieces(s)[0] for s in spans]]
    return [[p] for p in _pieces(spans[0])]


def _reach(spans: Spans) -> int:
    """How many places a window has."""
    return math.prod(s.step for s in spans) if len(spans) > 1 else spans[0].extent


def _place_dtype(spans: Spans) -> DType:
    return dtypes.uint8 if _reach(spans) <= 256 else dtypes.int32


def _lowest(dtype: DType) -> float:
    return -math.inf if dtype.is_floating else int(np.iinfo(dtype.numpy).min)


def _unrolls(axes: Axes, spans: Spans) -> bool:
    return len(axes) > 1 or spans[0].size <= UNROLLED


def _is_padded(axes: Axes, spans: Spans) -> bool:
    return len(axes) == 1 and (spans[0].size > UNROLLED or len(_pieces(spans[0])) > PIECES)


def _settled(xs: Sequence[tuple[Tensor, float]], axes: Axes, spans: Spans) -> tuple[list[Tensor], Spans]:
    """Values, each with what stands outside of them: padded where that would be put together of too many pieces."""
    if not _is_padded(axes, spans):
        return [x for x, _ in xs], spans
    fitted = [_fit(x, axes[0], spans[0], value) for x, value in xs]
    return [x for x, _ in fitted], (fitted[0][1],)


# -- windows as views ------------------------------------------------------------------------------------
def moved_windows(x: Tensor, axes: Axes, sizes: Axes, steps: Axes, dilations: Axes) -> Tensor:
    """Each axis counts its windows; one axis for the entries of each comes last."""
    return apply(W.windows, (x,), (axes, sizes, steps, dilations))


def windows_of(x: Tensor, axes: Axes, spans: Spans, value: float = 0) -> Tensor:
    """The same by spans; what is outside of an axis reads as ``value``."""
    fitted = []
    for k, s in zip(axes, spans, strict=True):
        x, t = _fit(x, k, s, value)
        n = (t.number - 1) * t.step + t.extent  # what no window reaches is left out
        x = slice_axis(x, k, 0, n)
        fitted.append(t)
    return moved_windows(
        x, axes, tuple(s.size for s in fitted), tuple(s.step for s in fitted), tuple(s.dilation for s in fitted)
    )


# -- sums ------------------------------------------------------------------------------------------------
def window_sum(x: Tensor, axes: Axes, spans: Spans) -> Tensor:
    """The sum of each window; nothing outside of an axis counts."""
    if all(s.dilation == 1 and s.low == 0 and s.size == s.step and s.number * s.step == s.length for s in spans) and (
        math.prod(s.size for s in spans) > UNROLLED
    ):
        shape = list(x.shape)
        for k, s in reversed(list(zip(axes, spans, strict=True))):
            shape[k : k + 1] = [s.number, s.size]
        return sum(reshape(x, tuple(shape)), tuple(_cell_axis(axes, j) for j in range(len(axes))), dtype=x.dtype)
    for group in _groups(axes, spans):
        x = apply(W.windows_sum, (_summed(x, *group), x), group)
    return x


def _summed(x: Tensor, axes: Axes, spans: Spans) -> Tensor:
    if not _unrolls(axes, spans):
        return sum(windows_of(x, axes, spans), -1, dtype=x.dtype)
    (x,), spans = _settled([(x, 0)], axes, spans)
    parts = []
    for pieces in _blocks(axes, spans):
        total: Tensor | None = None
        for entry, _ in _entries(spans, pieces):
            v = _entry(x, axes, spans, pieces, entry)
            total = v if total is None else add(total, v)
        parts.append(_nothing(x, axes, pieces, 0) if total is None else total)
    return cat(parts, axes[0]) if len(parts) > 1 else parts[0]


def _nothing(x: Tensor, axes: Axes, pieces: Sequence[_Piece], value: float, dtype: DType | None = None) -> Tensor:
    shape = list(x.shape)
    for k, p in zip(axes, pieces, strict=True):
        shape[k] = p.stop - p.start
    return full(tuple(shape), value, dtype=dtype or x.dtype)


def spread(y: Tensor, axes: Axes, spans: Spans) -> Tensor:
    """Every entry added to all positions of its window: the adjoint of :func:`window_sum`."""
    for a, s in reversed(_groups(axes, spans)):
        y = apply(W.windows_spread, (_dropped(_spread_term, [y], a, s), y), (a, s))
    return y


# -- extremes --------------------------------------------------------------------------------------------
class Best(NamedTuple):
    """The largest of each window, and its position counted over the axes (None unless asked for)."""

    values: Tensor
    positions: Tensor | None


def window_max(x: Tensor, axes: Axes, spans: Spans, positions: bool = False) -> Best:
    """The largest entry of each window, NaN where there is one. Its gradient goes to the first of equals.

    positions: also where each stands, int64, flat over ``axes``; of several NaN the last is meant, as in PyTorch.
    """
    at: Tensor | None = None
    for a, s in _groups(axes, spans):
        value, place, at = _largest(x, a, s, at)
        if positions:
            at = _positions(place, a, s, axes, spans, at)
        x = apply(W.windows_pick, (value, x, place), (a, s))
    return Best(x, cast(at, dtypes.int64) if at is not None else None)


def _largest(x: Tensor, axes: Axes, spans: Spans, at: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """(largest, place, what ``at`` says of it) for each window of a group."""
    if not _unrolls(axes, spans):
        return _reduced(x, axes[0], spans[0], at)
    code = _place_dtype(spans)
    (x, *carried), spans = _settled([(x, _lowest(x.dtype)), *([] if at is None else [(at, 0)])], axes, spans)
    at = carried[0] if carried else None
    parts: list[list[Tensor]] = []
    for pieces in _blocks(axes, spans):
        best: list[Tensor] = []
        for entry, place in _entries(spans, pieces):
            v = _entry(x, axes, spans, pieces, entry)
            new = [v, full((), place, dtype=code)]
            if at is not None:
                new.append(_entry(at, axes, spans, pieces, entry))
            if not best:
                best = [v, full(v.shape, place, dtype=code), *new[2:]]
                continue
            hit = gt(v, best[0])
            if x.dtype.is_floating:
                hit = logical_or(hit, ne(v, v))
            best = [where(hit, n, b) for n, b in zip(new, best, strict=True)]
        if not best:
            best = [_nothing(x, axes, pieces, _lowest(x.dtype)), _nothing(x, axes, pieces, 0, code)]
            best += [] if at is None else [_nothing(at, axes, pieces, 0)]
        parts.append(best)
    whole = [cat(p, axes[0]) if len(parts) > 1 else p[0] for p in zip(*parts, strict=True)]
    return whole[0], whole[1], whole[2] if at is not None else None


def first_largest(x: Tensor) -> tuple[Tensor, Tensor]:
    """The largest along the last axis, NaN where there is one; and its place, the first of equals, the last NaN."""
    n = x.shape[-1]
    best = amax(x, -1)
    i = arange(n, dtype=dtypes.int32)
    place = amin(where(eq(x, reshape(best, (*best.shape, 1))), i, const(n)), -1)
    if x.dtype.is_floating:
        place = where(ne(best, best), amax(where(ne(x, x), i, const(0)), -1), place)
    return best, place


def _reduced(x: Tensor, axis: int, s: Span, at: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """As :func:`_largest` for long windows of one axis."""
    best, place = first_largest(windows_of(x, (axis,), (s,), _lowest(x.dtype)))
    if at is not None:
        mine = eq(arange(s.size, dtype=dtypes.int32), reshape(place, (*place.shape, 1)))
        at = sum(where(mine, windows_of(at, (axis,), (s,)), const(0)), -1, dtype=at.dtype)
    place = cast(mul(place, const(s.dilation)), _place_dtype((s,)))
    return best, place, at


def _along(n: int, axis: int, ndim: int, step: int = 1, offset: int = 0) -> Tensor:
    """``arange(n) * step + offset`` (int32) along an axis."""
    i = arange(n, dtype=dtypes.int32)
    if step != 1:
        i = mul(i, const(step))
    if offset:
        i = add(i, const(offset))
    return reshape(i, tuple(n if k == axis else 1 for k in range(ndim)))


def _positions(
    place: Tensor, axes: Axes, spans: Spans, every: Axes, all_spans: Spans, at: Tensor | None
) -> Tensor:  # fmt: skip
    """Where the places of a group are, flat over all axes; ``at``: what is known of the axes done before."""
    strides: dict[int, int] = {}
    stride = 1
    for k, s in reversed(list(zip(every, all_spans, strict=True))):
        strides[k] = stride
        stride *= s.length
    rest = cast(place, dtypes.int32 if stride < 1 << 31 else dtypes.int64)
    out = at
    cell = math.prod(s.step for s in spans)
    for k, s in zip(axes, spans, strict=True):
        here = rest
        if len(axes) > 1:
            cell //= s.step
            here = apply(E.floordiv, (rest, const(cell))) if cell > 1 else rest
            rest = remainder(rest, const(cell))
        here = add(here, _along(s.number, k, place.ndim, s.step, -s.low))
        if _is_padded(axes, spans):  # windows of nothing but what equals the padding
            here = clamp(here, const(0), const(s.length - 1))
        here = mul(here, const(strides[k])) if strides[k] != 1 else here
        out = here if out is None else add(out, here)
    assert out is not None
    return out


def pick(x: Tensor, place: Tensor, axes: Axes, spans: Spans) -> Tensor:
    """Of each window of a group the entry at its place: the adjoint of :func:`drop`."""
    if _unrolls(axes, spans):
        (inside,), fitted = _settled([(x, 0)], axes, spans)
        parts = []
        for pieces in _blocks(axes, fitted):
            got: Tensor | None = None
            here = place
            if len(axes) == 1:
                here = slice_axis(place, axes[0], pieces[0].start, pieces[0].stop)
            for entry, at in _entries(fitted, pieces):
                v = _entry(inside, axes, fitted, pieces, entry)
                got = v if got is None else where(eq(here, const(at)), v, got)
            parts.append(_nothing(inside, axes, pieces, 0) if got is None else got)
        value = cat(parts, axes[0]) if len(parts) > 1 else parts[0]
    else:
        i = mul(arange(spans[0].size, dtype=dtypes.int32), const(spans[0].dilation))
        mine = eq(reshape(place, (*place.shape, 1)), i)
        value = sum(where(mine, windows_of(x, axes, spans), const(0)), -1, dtype=x.dtype)
    return apply(W.windows_pick, (value, x, place), (axes, spans))


def drop(y: Tensor, place: Tensor, axes: Axes, spans: Spans) -> Tensor:
    """Every entry added where its window's place is: the adjoint of :func:`pick`."""
    value = _dropped(_drop_term, [y, place], axes, spans)
    return apply(W.windows_drop, (value, y, place), (axes, spans))


# -- into place --------------------------------------------------------------------------------------------
# An axis of positions is cells of as many positions as windows are apart. Window o adds to the cells o + b for a few
# distances b: its entry at place a of that cell stands b * step + low + a behind the window's start.
Term = Callable[[list[Tensor], Axes, Spans, int], Tensor]  # (slices with cell axes, axes, spans, b) -> what is added


def _dropped(term: Term, sources: list[Tensor], axes: Axes, spans: Spans, rank: int | None = None) -> Tensor:
    """The sum over windows of what ``term`` makes of the sources, which count windows along the axes of a group.

    rank: how many axes of the sources the result has; all unless told.
    """
    lead, dtype = tuple(sources[0].shape[:rank]), sources[0].dtype
    if len(axes) > 1:
        out = term([_celled(x, axes) for x in sources], axes, spans, 0)
        return _uncelled(out, axes, spans)
    (k,), (s,) = axes, spans
    cells = -(-s.length // s.step)
    near, far = -((s.low + s.step - 1) // s.step), (s.extent - 1 - s.low) // s.step
    reach = [b for b in range(near, far + 1) if _fills(s, b).any()]
    if not reach:
        return full((*lead[:k], s.length, *lead[k + 1 :]), 0, dtype=dtype)
    q = np.arange(cells)
    inside = np.stack([(q - b >= 0) & (q - b < s.number) for b in reach], 1)
    number = inside @ (1 << np.arange(len(reach), dtype=object)) if len(reach) < 63 else q
    cuts = [0, *(np.flatnonzero(number[1:] != number[:-1]) + 1).tolist(), cells]
    if len(cuts) - 1 > PIECES:
        low, high = max(reach), cells - 1 - min(reach) - (s.number - 1)
        sources = [_edges(x, k, max(low, 0), max(high, 0), 0) for x in sources]
        shift, cuts, inside = max(low, 0), [0, cells], np.ones_like(inside)
    else:
        shift = 0
    parts = []
    for start, stop in itertools.pairwise(cuts):
        total: Tensor | None = None
        for b, there in zip(reach, inside[start], strict=True):
            if there:
                mine = [slice_axis(x, k, start - b + shift, stop - b + shift) for x in sources]
                t = term([_celled(x, axes) for x in mine], axes, spans, b)
                total = t if total is None else add(total, t)
        if total is None:
            total = full((*lead[:k], stop - start, s.step, *lead[k + 1 :]), 0, dtype=dtype)
        parts.append(total)
    return _uncelled(cat(parts, k) if len(parts) > 1 else parts[0], axes, spans)


def _celled(x: Tensor, axes: Axes) -> Tensor:
    """An axis of one entry, for the places of a cell, behind each axis."""
    shape: list[int] = []
    for k, n in enumerate(x.shape):
        shape += [n, 1] if k in axes else [n]
    return reshape(x, tuple(shape))


def _uncelled(x: Tensor, axes: Axes, spans: Spans) -> Tensor:
    """Cells as positions, cut or filled up to the axes' lengths."""
    shape = list(x.shape)
    for k, _ in zip(axes, spans, strict=True):  # axes before k are joined already
        shape[k : k + 2] = [shape[k] * shape[k + 1]]
    x = reshape(x, tuple(shape))
    for k, s in zip(axes, spans, strict=True):
        n = x.shape[k]
        x = slice_axis(x, k, 0, s.length) if n > s.length else _edges(x, k, 0, s.length - n, 0)
    return x


def _cell_axis(axes: Axes, j: int) -> int:
    """The place axis of the j-th axis once all have one."""
    return axes[j] + j + 1


def _fills(s: Span, b: int) -> np.ndarray:
    """Which places of a cell a window adds to that is ``b`` cells before."""
    i = b * s.step + s.low + np.arange(s.step)
    return (i >= 0) & (i < s.extent) & (i % s.dilation == 0)


def _drop_term(xs: list[Tensor], axes: Axes, spans: Spans, b: int) -> Tensor:
    y, place = xs
    number: Tensor | None = None
    least = most = 0
    for j, s in enumerate(spans):
        first = b * s.step + s.low
        i = _along(s.step, _cell_axis(axes, j), y.ndim, 1, first)
        if len(spans) > 1:
            number = i if number is None else add(mul(number, const(s.step)), i)
        else:
            number = i
        least, most = least * s.step + first, most * s.step + first + s.step - 1
    assert number is not None
    # places are compared as they lie in memory, unless a number that is none of them would wrap round to one
    narrow = place.dtype is dtypes.int32 or (least >= _reach(spans) - 256 and most < 256)
    hit = eq(place, cast(number, place.dtype)) if narrow else eq(cast(place, dtypes.int32), number)
    return where(hit, y, const(0))


def _spread_term(xs: list[Tensor], axes: Axes, spans: Spans, b: int) -> Tensor:
    (y,) = xs
    shape = list(y.shape)
    for j, s in enumerate(spans):
        shape[_cell_axis(axes, j)] = s.step
    for j, s in enumerate(spans):
        if _fills(s, b).all():
            continue
        i = _along(s.step, _cell_axis(axes, j), y.ndim, 1, b * s.step + s.low)
        here = logical_and(ge(i, const(0)), lt(i, const(s.extent)))
        if s.dilation > 1:
            here = logical_and(here, eq(remainder(i, const(s.dilation)), const(0)))
        y = where(here, y, const(0))
    return broadcast_to(y, tuple(shape))


def overlap_add(y: Tensor, axes: Axes, spans: Spans) -> Tensor:
    """Windows summed back into place: the adjoint of :func:`windows_of`.

    y: as that gives it, axes that count windows and, last, one axis of entries for each.
    """
    x, n = y, len(axes)
    for j in reversed(range(n)):
        x = _overlapped(x, axes[j], spans[j])
    return apply(W.overlap_add, (x, y), (axes, spans))


def _overlapped(y: Tensor, k: int, s: Span) -> Tensor:
    """One axis of windows, their entries in the last one."""
    last = y.ndim - 1
    if s.dilation > 1:  # zeros between the entries
        wide = reshape(y, (*y.shape, 1))
        wide = _edges(wide, last + 1, 0, s.dilation - 1, 0)
        y = slice_axis(reshape(wide, (*y.shape[:-1], s.size * s.dilation)), last, 0, s.extent)
    near, far = -((s.low + s.step - 1) // s.step), (s.extent - 1 - s.low) // s.step
    first = near * s.step + s.low
    y = _edges(y, last, -first, (far + 1) * s.step + s.low - s.extent, 0)
    order = (*range(k + 1), last, *range(k + 1, last))

    def term(xs: list[Tensor], axes: Axes, spans: Spans, b: int) -> Tensor:
        at = (b - near) * s.step
        x = slice_axis(xs[0], xs[0].ndim - 1, at, at + s.step)  # (..., windows, 1, ..., entries)
        shape = (*x.shape[: k + 1], *x.shape[k + 2 :])
        return permute(reshape(x, shape), order)

    dense = s._replace(size=s.extent, dilation=1)
    return _dropped(term, [y], (k,), (dense,), last)
