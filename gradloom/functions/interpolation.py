"""Axes resampled: each new position is a weighted sum of a few old ones, by a table that sizes alone decide.

The transposed table is the adjoint, so a gradient of any order is again a resampling and needs no scatter.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import DType
from gradloom.functions.base import apply
from gradloom.functions.elementwise import add, mul
from gradloom.functions.movement import broadcast_to, permute, reshape, slice_axis
from gradloom.functions.reductions import sum
from gradloom.ops import gather as I
from gradloom.ops import windows as W
from gradloom.tape import composite
from gradloom.tensor import Tensor, tensor

__all__: list[str] = []
INTERNAL = "Resize repeated resized".split()

UNROLLED = 8
"""Sums of so many terms are written out; longer ones are reduced."""


class Resize(NamedTuple):
    """How an axis is brought from ``old`` positions to ``new`` ones.

    mode: nearest, nearest-exact, linear or cubic. scale: the factor that was asked for, None where the sizes say it.
    align: the corners' centres stay where they are. smooth: the filter is widened when shrinking (antialias).
    double: worked in float64; else in float32, roundings included.
    """

    mode: str
    old: int
    new: int
    scale: float | None
    align: bool
    smooth: bool
    double: bool


# -- tables ------------------------------------------------------------------------------------------------
Table = tuple[np.ndarray, np.ndarray]  # positions int32 and weights, both (terms, new)


def _ratio(r: Resize) -> np.floating:
    real = np.float64 if r.double else np.float32
    if r.align and r.mode in ("linear", "cubic"):
        return real(r.old - 1) / real(r.new - 1) if r.new > 1 else real(0)
    return real(1.0 / r.scale) if r.scale else real(r.old) / real(r.new)


def _cubic(t: np.ndarray, a: float) -> np.ndarray:
    """The cubic convolution kernel at distances t (Keys 1981)."""
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((t - 5) * t + 8) * t * a - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


def _triangle(t: np.ndarray) -> np.ndarray:
    return np.maximum(0, 1 - np.abs(t))


def _table(r: Resize) -> Table:
    ratio = _ratio(r)
    real = type(ratio)
    o = np.arange(r.new).astype(real)
    half = real(0.5)
    if r.mode in ("nearest", "nearest-exact"):
        at = np.floor((o if r.mode == "nearest" else o + half) * ratio).astype(np.int64)
        if r.mode == "nearest" and r.new in (r.old, 2 * r.old):  # whatever the factor that was asked for
            at = np.arange(r.new) // (r.new // r.old)
        return np.clip(at, 0, r.old - 1)[None], np.ones((1, r.new))
    if r.smooth:
        return _smooth(r, ratio)
    at = o * ratio if r.align else (o + half) * ratio - half
    if r.mode == "cubic":
        first = np.floor(at)
        t = (at - first).astype(np.float64)
        taps = np.arange(-1, 3)[:, None]
        return np.clip(first.astype(np.int64) + taps, 0, r.old - 1), _cubic(taps - t, -0.75)
    at = np.maximum(at, 0) if r.old != r.new else o
    first = np.minimum(np.floor(at).astype(np.int64), r.old - 1)
    t = np.clip(at - first.astype(real), 0, 1).astype(np.float64)
    return np.stack([first, np.minimum(first + 1, r.old - 1)]), np.stack([1 - t, t])


def _smooth(r: Resize, ratio: np.floating) -> Table:
    """A filter over as much of the input as an output covers."""
    kernel: Callable[[np.ndarray], np.ndarray] = _triangle if r.mode == "linear" else lambda t: _cubic(t, -0.5)
    scale = float(ratio)
    reach = (1 if r.mode == "linear" else 2) * max(scale, 1.0)
    centre = scale * (np.arange(r.new) + 0.5)
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + reach + 0.5).astype(np.int64), r.old)
    taps = np.arange(max(1, int((last - first).max())))[:, None]
    weights = np.where(first + taps < last, kernel((first + taps - centre + 0.5) / max(scale, 1.0)), 0)
    total = weights.sum(0)
    return np.minimum(first + taps, np.maximum(last - 1, first)), weights / np.where(total == 0, 1, total)


def _transposed(table: Table, old: int) -> Table:
    """The table of the adjoint; where an old position feeds fewer terms than others, its last one with weight 0."""
    at, weights = table
    terms, new = at.shape
    source, target = np.tile(np.arange(new), terms), at.reshape(-1)
    w = weights.reshape(-1)
    keep = w != 0
    source, target, w = source[keep], target[keep], w[keep]
    order = np.lexsort((source, target))
    source, target, w = source[order], target[order], w[order]
    counts = np.bincount(target, minlength=old)
    place = np.arange(len(target)) - np.repeat(np.cumsum(counts) - counts, counts)
    back = np.zeros((max(1, int(counts.max(initial=0))), old), np.int64)
    out = np.zeros(back.shape)
    back[place, target], out[place, target] = source, w
    for k in range(1, len(back)):
        back[k] = np.where(k < counts, back[k], back[k - 1])
    return back, out


@functools.lru_cache(maxsize=256)
def _arrays(r: Resize, back: bool) -> Table:
    table = _table(r)
    return _transposed(table, r.old) if back else table


@functools.lru_cache(maxsize=256)
def _tensors(r: Resize, back: bool, dtype: DType) -> tuple[Tensor, Tensor]:
    at, weights = _arrays(r, back)
    return tensor(at.astype(np.int32)), tensor(weights.astype(dtype.numpy))


# -- resampling ----------------------------------------------------------------------------------------------
@composite
def _weighted(x: Tensor, at: Tensor, weights: Tensor, axis: int, plain: bool) -> Tensor:
    terms, new = at.shape
    if plain:
        return apply(I.take, (x, reshape(at, (new,))), (axis,))
    column = tuple(new if k == axis else 1 for k in range(x.ndim))
    if terms > UNROLLED:
        flat = apply(I.take, (x, permute(at, (1, 0))), (axis,))
        w = reshape(permute(weights, (1, 0)), (*column[: axis + 1], terms, *column[axis + 1 :]))
        return sum(mul(flat, w), axis + 1, dtype=x.dtype)
    total: Tensor | None = None
    for t in range(terms):
        v = apply(I.take, (x, reshape(slice_axis(at, 0, t, t + 1), (new,))), (axis,))
        v = mul(v, reshape(slice_axis(weights, 0, t, t + 1), column))
        total = v if total is None else add(total, v)
    assert total is not None
    return total


def resampled(x: Tensor, axis: int, r: Resize, back: bool = False) -> Tensor:
    """An axis resampled; ``back``: the adjoint of that. float32 or float64, or any dtype for the nearest."""
    at, weights = _tensors(r, back, x.dtype if x.dtype.is_floating else dtypes.float32)
    value = _weighted(x, at, weights, axis, at.shape[0] == 1 and (not back or r.old == r.new))
    return apply(W.resample, (value, x), (axis, r, back))


@composite
def repeated(x: Tensor, axis: int, times: int) -> Tensor:
    """Every entry of an axis several times in a row."""
    shape = tuple(x.shape)
    wide = reshape(x, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
    wide = broadcast_to(wide, (*shape[: axis + 1], times, *shape[axis + 1 :]))
    return reshape(wide, (*shape[:axis], shape[axis] * times, *shape[axis + 1 :]))


def resized(x: Tensor, axis: int, r: Resize) -> Tensor:
    """An axis brought to another size."""
    table = _arrays(r, False)[0]
    if r.mode.startswith("nearest"):
        if r.new % r.old == 0 and np.array_equal(table[0], np.repeat(np.arange(r.old), r.new // r.old)):
            return x if r.new == r.old else repeated(x, axis, r.new // r.old)
        return resampled(x, axis, r)
    if r.new == r.old and (r.mode == "linear" and not r.smooth):
        return x
    return resampled(x, axis, r)
