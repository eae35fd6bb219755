"""Order along an axis: sorting, ranks, selection, searching, membership and counting in bins.

NaN is larger than every number, as in NumPy and PyTorch. What gives positions gives the first of equals, except where
PyTorch says otherwise. Where a gradient is wanted values are fetched by position, so it flows to the elements chosen
and nothing here needs a rule of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.graph.node import Aval
from gradloom.ops.core import Primitive

Arrays = Sequence[np.ndarray]


def _plain(x: np.ndarray) -> np.ndarray:
    """Half precision as float32, which NumPy orders quickly; the rest as it is."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x


def _order(x: np.ndarray, descending: bool) -> np.ndarray:
    """Positions that sort the last axis; equals stay in their order."""
    if not descending:
        return np.argsort(x, -1, kind="stable")
    return x.shape[-1] - 1 - np.argsort(x[..., ::-1], -1, kind="stable")[..., ::-1]


def _along(fn: Callable[..., np.ndarray]) -> Callable[[Arrays, tuple, Aval], np.ndarray]:
    """A reference written for the last axis, as one for the axis that the attrs begin with."""

    def run(arrays: Arrays, attrs: tuple, aval: Aval) -> np.ndarray:
        axis, *rest = attrs
        return np.moveaxis(fn(np.moveaxis(_plain(arrays[0]), axis, -1), *rest), -1, axis)

    return run


def _same(avals: Sequence[Aval], attrs: tuple) -> Aval:
    return Aval(avals[0].shape, avals[0].dtype)


def _positions(avals: Sequence[Aval], attrs: tuple) -> Aval:
    return Aval(avals[0].shape, dtypes.int64)


def _kept(count: int | None) -> Callable[[Sequence[Aval], tuple], Aval]:
    """int64 with the axis cut to ``count`` positions; to the second attribute where that is None."""

    def infer(avals: Sequence[Aval], attrs: tuple) -> Aval:
        shape = list(avals[0].shape)
        shape[attrs[0]] = attrs[1] if count is None else count
        return Aval(tuple(shape), dtypes.int64)

    return infer


def _sorted(x: np.ndarray, descending: bool) -> np.ndarray:
    out = np.sort(x, -1)
    return out[..., ::-1] if descending else out


sort = Primitive("sort", _along(_sorted), _same)
"""Values in order. attrs: (axis, descending)."""
argsort = Primitive("argsort", _along(_order), _positions)
"""Positions in order, equals in the order they stand. attrs: (axis, descending)."""


# -- selection ------------------------------------------------------------------------------------------
def _first(hit: np.ndarray) -> np.ndarray:
    return np.argmax(hit, -1)[..., None]


def _kth(x: np.ndarray, k: int) -> np.ndarray:
    value = np.partition(x, k, -1)[..., k, None]
    return _first((x == value) | ((x != x) & (value != value)))


def _median(x: np.ndarray, ignore_nan: bool) -> np.ndarray:
    if x.dtype.kind != "f" or not (bad := np.isnan(x)).any():
        return _kth(x, (x.shape[-1] - 1) // 2)
    if not ignore_nan:
        return np.where(bad.any(-1, keepdims=True), _first(bad), _kth(x, (x.shape[-1] - 1) // 2))
    order = _order(x, False)
    good = x.shape[-1] - bad.sum(-1, keepdims=True)
    return np.take_along_axis(order, np.maximum(good - 1, 0) // 2, -1)


BLOCK = 512


def _largest(x: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k largest of a vector without NaN, the first of equals, in the order of the vector."""
    n = x.size
    rows = n // BLOCK
    at = np.arange(n)
    if k * 4 < rows:
        # the k-th largest of the blocks' largest is at most the k-th largest of all: few elements reach it
        tops = x[: rows * BLOCK].reshape(rows, BLOCK).max(-1)
        at = np.flatnonzero(x >= np.partition(tops, rows - k)[rows - k])
    few = x[at]
    least = np.partition(few, few.size - k)[few.size - k]
    more = at[few > least]
    return np.sort(np.concatenate([more, at[few == least][: k - more.size]]))


def _topk(x: np.ndarray, k: int, largest: bool, ordered: bool) -> np.ndarray:
    n = x.shape[-1]
    if n < 2 * BLOCK or k == 0 or x.dtype.kind not in "iuf" or (x.dtype.kind == "f" and np.isnan(x).any()):
        return _order(x, largest)[..., :k]
    rows = x.reshape(-1, n)
    if not largest:
        rows = -rows if x.dtype.kind == "f" else ~rows
    out = np.array([_largest(row, k) for row in rows])
    if ordered:
        out = np.take_along_axis(out, _order(np.take_along_axis(rows, out, -1), True), -1)
    return out.reshape(*x.shape[:-1], k)


kth_index = Primitive("kth_index", _along(_kth), _kept(1))
"""Position of the k-th smallest, counted from 0. attrs: (axis, k)."""
median_index = Primitive("median_index", _along(_median), _kept(1))
"""Position of the lower median; of the first NaN where there is one and it counts. attrs: (axis, ignore_nan)."""
topk_index = Primitive("topk_index", _along(_topk), _kept(None))
"""Positions of the k largest or smallest. attrs: (axis, k, largest, sorted)."""


# -- searching ------------------------------------------------------------------------------------------
def _search(arrays: Arrays, attrs: tuple, aval: Aval) -> np.ndarray:
    edges, values = (_plain(a) for a in arrays)
    n = edges.shape[-1]

    def find(row: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        return np.asarray(np.searchsorted(row, wanted, "right" if attrs[0] else "left"))

    if edges.ndim == 1:
        out = find(edges, values)
    else:
        count = math.prod(edges.shape[:-1])  # not -1: tables may be empty
        table, wanted = edges.reshape(count, n), values.reshape(count, values.shape[-1])
        out = np.array([find(e, v) for e, v in zip(table, wanted, strict=True)]).reshape(aval.shape)
    if values.dtype.kind == "f" and not attrs[0]:
        out = np.where(np.isnan(values), n, out)
    return out.astype(aval.dtype.numpy)


searchsorted = Primitive("searchsorted", _search, lambda a, t: Aval(a[1].shape, t[1]))
"""Where values would stand in ascending rows. operands (rows, values), attrs (right, dtype). NaN stands at the end."""
isin = Primitive(
    "isin",
    lambda a, t, v: np.isin(_plain(a[0]), _plain(a[1]), invert=t[0]),
    lambda a, t: Aval(a[0].shape, dtypes.bool_),
)
"""Whether elements of the first operand are among those of the second. attrs: (invert,)."""


# -- counting -------------------------------------------------------------------------------------------
def _counts(arrays: Arrays, attrs: tuple, aval: Aval) -> np.ndarray:
    places, *weights = (a.ravel() for a in arrays)
    if places.size and places.min() < 0:
        kept = places >= 0
        places, weights = places[kept], [w[kept] for w in weights]
    given = weights[0].astype(np.float64) if weights else None
    total = np.bincount(places, given, minlength=attrs[0])
    return total.astype(aval.dtype.numpy)


counts = Primitive("counts", _counts, lambda a, t: Aval((t[0],), t[1]))
"""How often each place occurs, or its weights' sum; below 0 none. operands (places[, weights]), attrs (n, dtype)."""


# -- batches: an axis in front ------------------------------------------------------------------------
def _search_batch(args: Sequence[Any], flags: Sequence[bool], attrs: tuple, avals: Sequence[Aval], n: int) -> Any:
    from gradloom import functions as G

    rows, values = args
    if len(avals[0].shape) == 1 and not flags[0]:
        return G.apply(searchsorted, (rows, values), attrs)
    rows, values = (x if f else G.broadcast_to(x, (n, *a.shape)) for x, f, a in zip(args, flags, avals, strict=True))
    shape = values.shape
    if rows.ndim == 2:  # one row for each of the batch: its values may have any shape
        values = G.reshape(values, (n, math.prod(shape[1:])))
    return G.reshape(G.apply(searchsorted, (rows, values), attrs), shape)


for _prim in (sort, argsort, kth_index, median_index, topk_index):
    _prim.batch = "axis"
searchsorted.batch = _search_batch
