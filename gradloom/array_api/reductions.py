"""Sums, extremes, searching, sorting and sets, with the standard's signatures and dtypes of results."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.array_api.promotion import common, pair
from gradloom.dtypes import DType
from gradloom.errors import ShapeError
from gradloom.functions import PUBLIC as G
from gradloom.functions.sets import UniqueAll, UniqueCounts, UniqueInverse
from gradloom.tensor import Tensor, from_numpy

__all__ = [
    "all", "any", "argmax", "argmin", "argsort", "count_nonzero", "cumulative_prod", "cumulative_sum", "diff", "isin",
    "max", "mean", "min", "nonzero", "prod", "searchsorted", "sort", "std", "sum", "unique_all", "unique_counts",
    "unique_inverse", "unique_values", "var",
]  # fmt: skip

Axes = int | tuple[int, ...] | None


def _wide(x: Tensor, dtype: DType | None) -> DType:
    """The dtype of a sum: integers widen to the default integer of their kind, all else stays."""
    if dtype is not None:
        return dtype
    kind = x.dtype.numpy.kind
    return dtypes.uint64 if kind == "u" else dtypes.int64 if kind in "ib" else x.dtype


def _over(name: str, x: Tensor, axis: Axes, keepdims: bool, **kwargs: Any) -> Tensor:
    """A reduction; over no axes at all it is the array itself."""
    if axis == ():
        raise ShapeError(f"{name}: no axes given", code="shape.axis", hint="use axis=None for all of them")
    out: Tensor = G[name](x, axis, keepdims, **kwargs)
    return out


def sum(x: Tensor, /, *, axis: Axes = None, dtype: DType | None = None, keepdims: bool = False) -> Tensor:
    """Sums; small integers sum in 64 bits, unsigned ones in uint64."""
    d = _wide(x, dtype)
    return x.to(d).clone() if axis == () else _over("sum", x.to(d), axis, keepdims, dtype=d)


def prod(x: Tensor, /, *, axis: Axes = None, dtype: DType | None = None, keepdims: bool = False) -> Tensor:
    """Products; dtypes as in :func:`sum`."""
    d = _wide(x, dtype)
    y = x.to(d)
    if axis == ():
        return y.clone()
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    for k in sorted((a % x.ndim for a in axes), reverse=True) if x.ndim else ():
        y = G["prod"](y, k, True, dtype=d)
    return _drop(y, axis, keepdims)


def _drop(y: Tensor, axis: Axes, keepdims: bool) -> Tensor:
    """Without the axes that were reduced, which are of size 1."""
    if keepdims:
        return y
    gone = set(range(y.ndim)) if axis is None else {a % y.ndim for a in ((axis,) if isinstance(axis, int) else axis)}
    return G["reshape"](y, tuple(n for k, n in enumerate(y.shape) if k not in gone))


def mean(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Means."""
    return x.clone() if axis == () else _over("mean", x, axis, keepdims)


def max(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Largest elements; NaN where there is one. Raises ShapeError for an empty array."""
    return x.clone() if axis == () else _over("amax", x, axis, keepdims)


def min(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Smallest elements; NaN where there is one. Raises ShapeError for an empty array."""
    return x.clone() if axis == () else _over("amin", x, axis, keepdims)


def var(x: Tensor, /, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Variances, divided by n - correction."""
    if axis == ():
        return G["mul"](G["sub"](x, x), 1.0 / (1 - correction) if correction != 1 else float("nan"))
    return G["var"](x, axis, correction=correction, keepdim=keepdims)


def std(x: Tensor, /, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Standard deviations: the roots of :func:`var`."""
    return G["sqrt"](var(x, axis=axis, correction=correction, keepdims=keepdims))


def all(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether all elements are true."""
    return x.to(dtypes.bool_).clone() if axis == () else _over("all", x.to(dtypes.bool_), axis, keepdims)


def any(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether any element is true."""
    return x.to(dtypes.bool_).clone() if axis == () else _over("any", x.to(dtypes.bool_), axis, keepdims)


def count_nonzero(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """How many elements are not zero."""
    return sum(x.to(dtypes.bool_), axis=axis, keepdims=keepdims, dtype=dtypes.int64)


def argmax(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Position of the first largest element; of the flattened array with ``axis=None``."""
    return G["argmax"](x, axis, keepdims)


def argmin(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Position of the first smallest element; of the flattened array with ``axis=None``."""
    return G["argmin"](x, axis, keepdims)


def cumulative_sum(
    x: Tensor, /, *, axis: int | None = None, dtype: DType | None = None, include_initial: bool = False
) -> Tensor:
    """Running sums; with ``include_initial`` they begin with 0."""
    return _running("cumsum", x, axis, dtype, include_initial, 0)


def cumulative_prod(
    x: Tensor, /, *, axis: int | None = None, dtype: DType | None = None, include_initial: bool = False
) -> Tensor:
    """Running products; with ``include_initial`` they begin with 1."""
    return _running("cumprod", x, axis, dtype, include_initial, 1)


def _running(name: str, x: Tensor, axis: int | None, dtype: DType | None, initial: bool, start: int) -> Tensor:
    if axis is None:
        if x.ndim != 1:
            raise ShapeError(f"{name}: shape {tuple(x.shape)} needs an axis", code="shape.axis", hint="pass axis=")
        axis = 0
    d = _wide(x, dtype)
    out = G[name](x.to(d), axis, dtype=d)
    if not initial:
        return out
    shape = list(out.shape)
    shape[axis] = 1
    return G["cat"]([G["full"](tuple(shape), start, dtype=d), out], axis)


def diff(
    x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """Differences of neighbours, n times over."""
    return G["diff"](x, n, axis, prepend, append)


def nonzero(x: Tensor, /) -> tuple[Tensor, ...]:
    """Indices of the elements that are not zero, an array for each axis. Raises ShapeError for 0-d arrays."""
    if not x.ndim:
        raise ShapeError("nonzero: a 0-d array has no indices", code="shape.nonzero", hint="reshape it to (1,)")
    return tuple(G["nonzero"](x, as_tuple=True))


def searchsorted(x1: Tensor, x2: Any, /, *, side: str = "left", sorter: Tensor | None = None) -> Tensor:
    """Where values belong in a sorted array."""
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: side {side!r}; expected 'left' or 'right'")
    a, b = pair(x1, x2)
    return G["searchsorted"](a, b, right=side == "right", sorter=sorter)


def sort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Elements in order along an axis."""
    return G["sort"](x, axis, descending, stable)[0]


def argsort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The indices that put elements in order along an axis."""
    return G["argsort"](x, axis, descending, stable)


def isin(x1: Any, x2: Any, /, *, invert: bool = False) -> Tensor:
    """Whether each element of the first is among those of the second."""
    a, b = pair(x1, x2)
    return G["isin"](a, b, invert=invert)


def unique_all(x: Tensor, /) -> UniqueAll:
    """The different elements in order, with places and counts. NaNs are all different, 0.0 and -0.0 are the same."""
    (x,) = common([x])
    a = x.detach().numpy()
    _, first, inverse, counts = np.unique(
        a, return_index=True, return_inverse=True, return_counts=True, equal_nan=False
    )
    places = from_numpy(first.astype(np.int64))
    values = G["take"](G["reshape"](x, (-1,)), places, 0)
    return UniqueAll(
        values, places, from_numpy(inverse.reshape(a.shape).astype(np.int64)), from_numpy(counts.astype(np.int64))
    )


def unique_counts(x: Tensor, /) -> UniqueCounts:
    """The different elements in order, and how often each occurs."""
    u = unique_all(x)
    return UniqueCounts(u.values, u.counts)


def unique_inverse(x: Tensor, /) -> UniqueInverse:
    """The different elements in order, and each element's place among them."""
    u = unique_all(x)
    return UniqueInverse(u.values, u.inverse_indices)


def unique_values(x: Tensor, /) -> Tensor:
    """The different elements, in order."""
    return unique_all(x).values
