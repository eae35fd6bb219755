"""Order along an axis: sorting, the k largest, the k-th smallest, and where values stand in sorted rows.

NaN is larger than every number. Equal elements stay in their order, asked for (``stable``) or not.
"""

from __future__ import annotations

from typing import Any

from gradloom import dtypes
from gradloom.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError
from gradloom.functions.base import Extreme, apply, axes_of, operand
from gradloom.functions.creation import zeros_like
from gradloom.functions.elementwise import cast, detach
from gradloom.functions.movement import narrow, permute, reshape
from gradloom.functions.reductions import drop, fetch, wants_grad
from gradloom.functions.spellings import numpy_names
from gradloom.ops import sorting as S
from gradloom.ops.core import Primitive
from gradloom.tensor import Tensor, as_tensor

__all__ = "argsort bucketize kthvalue msort searchsorted sort topk".split()
INTERNAL = "ordered selected".split()
FUNCTION_ONLY = ["bucketize", "searchsorted"]


FEW, LONG = 32, 1 << 16
"""Of rows, up to ``FEW`` elements are selected in one pass; of ``LONG`` ones a small share without sorting the rest."""


def _check_order(name: str, x: Tensor) -> None:
    if x.dtype.is_complex:
        raise DTypeError(f"{name}: complex numbers have no order", code="dtype.complex", hint="order x.abs() instead")


def last(x: Tensor, axis: int) -> Tensor:
    """An axis brought to the end, where kernels and NumPy find rows."""
    return x if axis == x.ndim - 1 else permute(x, (*(k for k in range(x.ndim) if k != axis), axis))


def back(x: Tensor, axis: int) -> Tensor:
    """The last axis brought to where it was before :func:`last`."""
    n = x.ndim - 1
    return x if axis == n else permute(x, (*range(axis), n, *range(axis, n)))


def on_rows(prim: Primitive, x: Tensor, axis: int, *attrs: Any) -> Tensor:
    """A primitive that works on rows, for another axis; no gradient passes."""
    return back(apply(prim, (last(detach(x), axis),), (x.ndim - 1, *attrs)), axis)


def ordered(x: Tensor, axis: int, descending: bool = False) -> Tensor:
    """Values of an axis in order, by position where a gradient is wanted."""
    if wants_grad(x):
        return fetch(x, on_rows(S.argsort, x, axis, descending), axis)
    return on_rows(S.sort, x, axis, descending)


def selected(prim: Primitive, x: Tensor, axis: int, attrs: tuple, keepdim: bool) -> Extreme:
    """The element that a primitive gives the position of: (value, index)."""
    if not x.ndim:
        return Extreme(x.clone(), zeros_like(x, dtype=dtypes.int64))
    at = on_rows(prim, x, axis, *attrs)
    values = fetch(x, at, axis)
    if keepdim:
        return Extreme(values, at)
    shape = drop(x.shape, (axis,))
    return Extreme(reshape(values, shape), reshape(at, shape))


@numpy_names
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Extreme:
    """An axis in order and where each element stood: (values, indices)."""
    _check_order("sort", input)
    if not input.ndim:
        axes_of("sort", dim, 0)
        return Extreme(input.clone(), zeros_like(input, dtype=dtypes.int64))
    (axis,) = axes_of("sort", dim, input.ndim)
    return Extreme(ordered(input, axis, bool(descending)), argsort(input, axis, descending))


@numpy_names
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The positions that put an axis in order, int64."""
    _check_order("argsort", input)
    if not input.ndim:
        axes_of("argsort", dim, 0)
        return zeros_like(input, dtype=dtypes.int64)
    (axis,) = axes_of("argsort", dim, input.ndim)
    return on_rows(S.argsort, input, axis, bool(descending))


def msort(input: Tensor) -> Tensor:
    """The first axis in order."""
    return sort(input, 0).values


@numpy_names
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Extreme:
    """The ``k`` largest elements of an axis (or smallest) and where they stand: (values, indices)."""
    _check_order("topk", input)
    (axis,) = axes_of("topk", dim, input.ndim) or (0,)
    n = input.shape[axis] if input.ndim else 1
    if not 0 <= k <= n:
        raise IndexRangeError(f"topk: k = {k} is out of range for an axis of {n} elements", code="index.topk")
    if not input.ndim:
        return sort(input)
    if k <= FEW or (n >= LONG and k * 2048 <= n):
        at = on_rows(S.topk_index, input, axis, int(k), bool(largest), bool(sorted))
    else:  # so many that the whole axis may as well be sorted
        at = narrow(on_rows(S.argsort, input, axis, bool(largest)), axis, 0, int(k))
    return Extreme(fetch(input, at, axis), at)


@numpy_names
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Extreme:
    """The ``k``-th smallest element of an axis, counted from 1, and where it stands: (values, indices)."""
    _check_order("kthvalue", input)
    (axis,) = axes_of("kthvalue", dim, input.ndim) or (0,)
    n = input.shape[axis] if input.ndim else 1
    if not 1 <= k <= n:
        raise IndexRangeError(
            f"kthvalue: k = {k} is out of range for an axis of {n} elements", code="index.kthvalue",
            hint="k counts from 1, the smallest",
        )  # fmt: skip
    return selected(S.kth_index, input, axis, (int(k) - 1,), keepdim)


def searchsorted(
    sorted_sequence: Tensor,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Where values would stand in sorted rows so that the rows stay sorted.

    Parameters
    ----------
    sorted_sequence: (n,), or (..., n) with one row for each row of ``input``. input: a number or a tensor.
    right, side: behind equals (``right=True``, ``side="right"``) or before them. out_int32: int32 rather than int64.
    sorter: the positions that sort ``sorted_sequence``, of its shape, where it is not in order.

    Raises
    ------
    ShapeError: where the leading axes differ. ValueError: where ``side`` and ``right`` contradict each other.
    """
    rows, values = sorted_sequence, as_tensor(input) if isinstance(input, (list, tuple)) else operand(input)
    if side not in (None, "left", "right") or (side == "left" and right):
        raise ArgumentError(
            f"searchsorted: side {side!r} and right={right} do not go together; side is 'left' or 'right'"
        )
    if rows.ndim == 0:
        raise ShapeError("searchsorted: sorted_sequence needs at least one dimension", code="shape.searchsorted")
    if rows.ndim > 1 and tuple(values.shape[:-1]) != tuple(rows.shape[:-1]):
        raise ShapeError(
            f"searchsorted: rows {tuple(rows.shape)} and values {tuple(values.shape)} differ in their leading axes",
            code="shape.searchsorted",
            hint="give one row of values for each sorted row, or a single sorted row",
        )
    if sorter is not None:
        if sorter.shape != rows.shape:
            raise ShapeError(
                f"searchsorted: sorter {tuple(sorter.shape)} and sorted_sequence {tuple(rows.shape)} differ",
                code="shape.searchsorted",
            )
        rows = fetch(rows, sorter, rows.ndim - 1)
    d = dtypes.promote(rows.dtype, values.dtype)
    kind = dtypes.int32 if out_int32 else dtypes.int64
    return apply(S.searchsorted, (cast(detach(rows), d), cast(detach(values), d)), (right or side == "right", kind))


def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The bucket that each value falls in, between ascending boundaries; ``right``: a boundary opens its bucket."""
    if boundaries.ndim != 1:
        raise ShapeError(
            f"bucketize: boundaries must have one dimension, not {boundaries.ndim}", code="shape.bucketize"
        )
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)
