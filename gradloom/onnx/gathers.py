"""Reading and writing by index, order along an axis, searching."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.onnx.builder import Builder
from gradloom.onnx.capture import Op, Value
from gradloom.onnx.elementwise import work_dtype

__all__ = ["GATHERS"]

_COMBINE = {"set": "none", "add": "add", "mul": "mul", "min": "min", "max": "max"}


def _index(b: Builder, v: Value) -> str:
    return b.name(v, v.aval.dtype if v.aval.dtype in (dtypes.int32, dtypes.int64) else dtypes.int64)


def _take(b: Builder, op: Op) -> None:
    (x, at), (axis,) = op.ins, op.attrs
    b.give(op.outs[0], b.add("Gather", [b.name(x), _index(b, at)], axis=axis))


def _take_along(b: Builder, op: Op) -> None:
    (x, at), (axis,) = op.ins, op.attrs
    b.give(op.outs[0], b.add("GatherElements", [b.name(x), _index(b, at)], axis=axis))


def _tuples(b: Builder, indices: Sequence[Value]) -> tuple[str, int]:
    """Index tensors as one with the coordinates of a place in its last axis, and the rank of the places."""
    rank = max(len(v.aval.shape) for v in indices)
    names = [b.name(v, dtypes.int64) for v in indices]
    shapes = {tuple(v.aval.shape) for v in indices}
    if len(shapes) > 1:
        total = names[0]
        zero = b.constant(np.int64(0))
        for n in names[1:]:
            total = b.add("Add", [total, n])
        total = b.add("Mul", [total, zero])
        names = [b.add("Add", [n, total]) for n in names]
    parts = [b.add("Unsqueeze", [n, b.ints([-1])]) for n in names]
    return (parts[0] if len(parts) == 1 else b.add("Concat", parts, axis=-1)), rank


def _by_pattern(b: Builder, op: Op) -> None:
    """NumPy's advanced indexing: the indexed axes come first, what they become goes to its place."""
    (x, *indices), (pattern,) = op.ins, op.attrs
    at = [k for k, p in enumerate(pattern) if p == "i"]
    if len(at) == 1:
        b.give(op.outs[0], b.add("Gather", [b.name(x), _index(b, indices[0])], axis=at[0]))
        return
    rest = [k for k in range(len(pattern)) if k not in at]
    together = at == list(range(at[0], at[0] + len(at)))
    places, rank = _tuples(b, indices)
    found = b.add("GatherND", [b.transposed(x, (*at, *rest)), places])
    first = at[0] if together else 0
    order = (*range(first, first + rank), *range(first), *range(first + rank, rank + len(rest)))
    b.give_transposed(op.outs[0], found, order)


def _put(b: Builder, op: Op) -> None:
    """Writes to places: ScatterND with the indexed axes in front."""
    (x, u, *indices), (*where, how) = op.ins, op.attrs
    rank = len(x.aval.shape)
    pattern = where[0] if op.name == "index_put" else tuple("i" if k == where[0] else ":" for k in range(rank))
    at = [k for k, p in enumerate(pattern) if p == "i"]
    rest = [k for k in range(rank) if k not in at]
    together = at == list(range(at[0], at[0] + len(at)))
    places, count = _tuples(b, indices)
    first = at[0] if together else 0
    order = (*range(first, first + count), *range(first), *range(first + count, count + len(rest)))
    work = _scattered(x, how)
    found = b.add(
        "ScatterND", [b.transposed(x, (*at, *rest), work), places, b.transposed(u, order, work)],
        reduction=_COMBINE[how],
    )  # fmt: skip
    b.give_transposed(op.outs[0], found, (*at, *rest), work)


def _along_put(b: Builder, op: Op) -> None:
    (x, u, at), (axis, how) = op.ins, op.attrs
    work = _scattered(x, how)
    names = [b.name(x, work), _index(b, at), b.name(u, work)]
    b.give(op.outs[0], b.add("ScatterElements", names, axis=axis, reduction=_COMBINE[how]), work)


def _scattered(x: Value, how: str) -> Any:
    work = x.aval.dtype if how == "set" else work_dtype(x.aval.dtype)
    return dtypes.int32 if how != "set" and work is dtypes.bool_ else work


# -- order --------------------------------------------------------------------------------------------------
def _top(b: Builder, x: Value, k: Any, axis: int, largest: bool, ordered: bool = True) -> tuple[str, str, Any]:
    """Values and positions of the k largest or smallest, and the dtype they are compared in."""
    work = work_dtype(x.aval.dtype)
    work = dtypes.int32 if work is dtypes.bool_ else work
    values, at = b.add(
        "TopK", [b.name(x, work), b.size(k)], 2, axis=axis, largest=int(largest), sorted=int(ordered)
    )  # fmt: skip
    return values, at, work


def _sort(b: Builder, op: Op) -> None:
    (x,), (axis, descending) = op.ins, op.attrs
    values, at, work = _top(b, x, x.aval.shape[axis], axis, descending)
    if op.name == "sort":
        b.give(op.outs[0], values, work)
    else:
        b.give(op.outs[0], at, dtypes.int64)


def _topk(b: Builder, op: Op) -> None:
    (x,), (axis, k, largest, ordered) = op.ins, op.attrs
    b.give(op.outs[0], _top(b, x, k, axis, largest, ordered)[1], dtypes.int64)


def _kth(b: Builder, op: Op) -> None:
    """The place of the k-th smallest: the first entry that equals the last of the k + 1 smallest."""
    (x,), (axis, k) = op.ins, op.attrs
    k = b.plain(k, "a rank")
    values, _, work = _top(b, x, k + 1, axis, False)
    value = b.add("Slice", [values, b.ints([k]), b.ints([k + 1]), b.ints([axis])])
    hit = b.add("Cast", [b.add("Equal", [b.name(x, work), value])], to=b.kind(dtypes.int32))
    b.give(op.outs[0], b.add("ArgMax", [hit], axis=axis, keepdims=1), dtypes.int64)


def _median(b: Builder, op: Op) -> None:
    (x,), (axis, ignore) = op.ins, op.attrs
    if ignore:
        raise b.refused("passes over NaN, which ONNX does not order", "use median")
    n = b.plain(x.aval.shape[axis], "a length")
    _kth(b, op._replace(attrs=(axis, (n - 1) // 2)))


# -- searching ------------------------------------------------------------------------------------------------
def _searchsorted(b: Builder, op: Op) -> None:
    """How many edges are below each value."""
    (edges, values), (right, _) = op.ins, op.attrs
    work = work_dtype(
        values.aval.dtype if values.aval.dtype.category >= edges.aval.dtype.category else edges.aval.dtype
    )
    rows = b.name(edges, work)
    if len(edges.aval.shape) > 1:
        rows = b.add("Unsqueeze", [rows, b.ints([-2])])
    wanted = b.add("Unsqueeze", [b.name(values, work), b.ints([-1])])
    below = b.add("LessOrEqual" if right else "Less", [rows, wanted])
    count = b.add("ReduceSum", [b.add("Cast", [below], to=b.kind(dtypes.int64)), b.ints([-1])], keepdims=0)
    b.give(op.outs[0], count, dtypes.int64)


def _isin(b: Builder, op: Op) -> None:
    (x, among), (invert,) = op.ins, op.attrs
    dtype = x.aval.dtype if x.aval.dtype.category >= among.aval.dtype.category else among.aval.dtype
    work = work_dtype(dtype)
    every = b.add("Reshape", [b.name(among, work), b.ints([-1])])
    hit = b.add("Equal", [b.add("Unsqueeze", [b.name(x, work), b.ints([-1])]), every])
    found = b.add("ReduceMax", [b.add("Cast", [hit], to=b.kind(dtypes.int32)), b.ints([-1])], keepdims=0)
    found = b.add("Cast", [found], to=b.kind(dtypes.bool_))
    b.give(op.outs[0], b.add("Not", [found]) if invert else found)


def _counts(b: Builder, op: Op) -> None:
    """How often each place occurs: ones, or weights, added up where places point; those below 0 go to a last one."""
    (places, *weights), (n, dtype) = op.ins, op.attrs
    n = b.plain(n, "a number of places")
    work = work_dtype(dtype)
    flat = b.ints([-1])
    at = b.add("Reshape", [b.name(places, dtypes.int64), flat])
    at = b.add("Where", [b.add("Less", [at, b.constant(np.int64(0))]), b.constant(np.int64(n)), at])
    if weights:
        more = b.add("Reshape", [b.name(weights[0], work), flat])
    else:
        more = b.add("Expand", [b.constant(np.ones(1, work.numpy)), b.add("Shape", [at])])
    none = b.constant(np.zeros(n + 1, work.numpy))
    total = b.add("ScatterElements", [none, at, more], axis=0, reduction="add")
    b.give(op.outs[0], b.add("Slice", [total, b.ints([0]), b.ints([n])]), work)


def _det(b: Builder, op: Op) -> None:
    work = op.outs[0].aval.dtype
    b.give(op.outs[0], b.add("Det", [b.name(op.ins[0], work)]), work)


GATHERS: dict[str, Callable[[Builder, Op], None]] = {
    "take": _take, "take_along": _take_along, "index": _by_pattern, "take_put": _put, "index_put": _put,
    "along_put": _along_put, "sort": _sort, "argsort": _sort, "topk_index": _topk, "kth_index": _kth,
    "median_index": _median, "searchsorted": _searchsorted, "isin": _isin, "counts": _counts, "det": _det,
}  # fmt: skip
"""By primitive."""
