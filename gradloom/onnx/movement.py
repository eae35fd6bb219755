"""Movement, reductions, creation and running results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.onnx.builder import BACK, FRONT, Builder, order_of
from gradloom.onnx.capture import Op, Value
from gradloom.onnx.elementwise import work_dtype
from gradloom.onnx.sizes import Varying, fixed

__all__ = ["MOVEMENT", "reshaped"]


def _reshape(b: Builder, op: Op) -> None:
    b.give(op.outs[0], reshaped(b, b.name(op.ins[0]), op.ins[0].aval.shape, op.attrs[0]))


def reshaped(b: Builder, name: str, old: Sequence[Any], new: Sequence[Any]) -> str:
    """A value in another shape. One open size is left to ONNX; of several those that stay where they are are copied."""
    if tuple(old) == tuple(new):
        return name
    if fixed(tuple(new)):
        empty = {"allowzero": 1} if 0 in new else {}
        return str(b.add("Reshape", [name, b.ints(new)], **empty))
    if 0 in new:
        return str(b.add("Reshape", [name, b.vector(new)], allowzero=1))
    dims: list[Any] = list(new)
    for k, n in enumerate(dims):
        if isinstance(n, Varying) and k < len(old) and old[k] == n:
            dims[k] = 0
    left = [k for k, n in enumerate(dims) if isinstance(n, Varying)]
    if left:
        dims[left[0]] = -1
    return str(b.add("Reshape", [name, b.vector(dims)]))


def _permute(b: Builder, op: Op) -> None:
    b.give_view(op.outs[0], op.ins[0], tuple(op.attrs[0]))


def _expand(b: Builder, op: Op) -> None:
    (x,), shape = op.ins, op.attrs[0]
    lead = len(shape) - len(x.aval.shape)
    old = (1,) * lead + tuple(x.aval.shape)
    if old == tuple(shape) and not lead:
        b.give(op.outs[0], b.name(x))
        return
    dims = [1 if a == n else n for a, n in zip(old, shape)]
    b.give(op.outs[0], b.add("Expand", [b.name(x), b.vector(dims)]))


def _slice(b: Builder, op: Op) -> None:
    x = op.ins[0]
    b.give(op.outs[0], sliced(b, b.name(x), x.aval.shape, *op.attrs))


def sliced(b: Builder, name: str, shape: Sequence[Any], starts: Any, stops: Any, steps: Any) -> str:
    """A region; bounds that are an end of the axis, or a fixed way from it, are said so."""
    axes, begin, end, by = [], [], [], []
    for k, (n, first, last, step) in enumerate(zip(shape, starts, stops, steps)):
        step = b.plain(step, "a step")
        if first == 0 and last == n and step == 1:
            continue
        axes.append(k)
        by.append(step)
        begin.append(_bound(n, first))
        past = not isinstance(last, Varying) and last < 0
        end.append(FRONT if past else BACK if last == n else _bound(n, last))
    if not axes:
        return name
    return str(b.add("Slice", [name, b.vector(begin), b.vector(end), b.ints(axes), b.ints(by)]))


def _bound(n: Any, at: Any) -> Any:
    """A bound of a slice; counted from the end where that makes it fixed."""
    if isinstance(at, Varying) and isinstance(n, Varying):
        away = {a - m for a, m in zip(at.values, n.values)}
        if len(away) == 1 and max(away) < 0:
            return away.pop()
    return at


def _pad(b: Builder, op: Op) -> None:
    (x,), (low, high, value) = op.ins, op.attrs
    order = b.common_order([x], len(x.aval.shape))
    if order is None:
        b.give(op.outs[0], padded(b, b.name(x), low, high, value, x))
        return
    back = order_of(order)
    first, last = ([pads[k] for k in back] for pads in (low, high))
    found = padded(b, b.in_order(x, order, x.aval.dtype), first, last, value, x)
    b.give_transposed(op.outs[0], found, back)


def padded(b: Builder, name: str, low: Any, high: Any, value: Any, x: Value) -> str:
    """An axis' ends filled with a value; negative numbers cut off."""
    dtype = x.aval.dtype
    work = dtypes.int32 if dtype is dtypes.bool_ else dtype
    inner = b.cast(name, dtype, work)
    filled = b.add("Pad", [inner, b.vector((*low, *high)), b.constant(np.asarray(value, work.numpy))])
    return b.cast(filled, work, dtype)


def _update_slice(b: Builder, op: Op) -> None:
    """Written by ScatterND: the axes of which only a part is written come first, so that the others may be open."""
    (x, u), (starts, stops, steps) = op.ins, op.attrs
    shape = x.aval.shape
    part = [
        k for k, (n, first, last, step) in enumerate(zip(shape, starts, stops, steps))
        if not (first == 0 and last == n and step == 1)
    ]  # fmt: skip
    if not part:
        b.give(op.outs[0], b.name(u))
        return
    ranges = []
    for k in part:
        bounds = b.plain((starts[k], stops[k], steps[k]), "a region")
        ranges.append(np.arange(bounds[0], bounds[1], bounds[2], dtype=np.int64))
    order = (*part, *(k for k in range(len(shape)) if k not in part))
    grid = np.stack(np.meshgrid(*ranges, indexing="ij"), -1)
    found = b.add("ScatterND", [b.transposed(x, order), b.constant(grid), b.transposed(u, order)])
    b.give_transposed(op.outs[0], found, order)


def _cat(b: Builder, op: Op) -> None:
    (out,), (axis,), dtype = op.outs, op.attrs, op.outs[0].aval.dtype
    order = b.common_order(op.ins, len(out.aval.shape))
    if order is None or any(v.array is not None for v in op.ins):
        b.give(out, b.add("Concat", [b.name(v) for v in op.ins], axis=axis))
        return
    found = b.add("Concat", [b.in_order(v, order, dtype) for v in op.ins], axis=order[axis])
    b.give_transposed(out, found, order_of(order))


def _interleave(b: Builder, op: Op) -> None:
    raise b.refused("has no counterpart in ONNX", "this step is the compiler's own")


def _windows(b: Builder, op: Op) -> None:
    """Each axis by a look-up of its windows' entries; entries go to the end."""
    (x,), (axes, sizes, steps, dilations) = op.ins, op.attrs
    name, rank = b.name(x), len(x.aval.shape)
    for done, (axis, size, step, dilation) in enumerate(zip(axes, sizes, steps, dilations)):
        number = op.outs[0].aval.shape[axis]
        entries = np.arange(b.plain(size, "a window"), dtype=np.int64) * b.plain(dilation, "a dilation")
        if isinstance(number, Varying):
            one = b.add("Squeeze", [b.size(number)])
            first = b.add("Range", [b.constant(np.int64(0)), one, b.constant(np.int64(1))])
            first = b.add("Unsqueeze", [b.add("Mul", [first, b.ints([step])]), b.ints([1])])
            at = b.add("Add", [first, b.constant(entries)])
        else:
            at = b.constant(np.arange(number, dtype=np.int64)[:, None] * b.plain(step, "a step") + entries)
        total = rank + done + 1
        name = b.add("Gather", [name, at], axis=axis)
        name = b.reorder(name, (*range(axis + 1), *range(axis + 2, total), axis + 1))
    b.give(op.outs[0], name)


def _same(b: Builder, op: Op) -> None:
    b.give(op.outs[0], b.name(op.ins[0]))


# -- reductions -------------------------------------------------------------------------------------------
_REDUCTIONS = {
    "sum": "ReduceSum", "prod": "ReduceProd", "amax": "ReduceMax", "amin": "ReduceMin", "any": "ReduceMax",
    "all": "ReduceMin",
}  # fmt: skip


def _reduce(b: Builder, op: Op) -> None:
    (x,), (axes, keep, dtype), out = op.ins, op.attrs, op.outs[0]
    if not axes:
        b.give(out, b.name(x, dtype))
        return
    order = b.common_order([x], len(x.aval.shape)) if keep else None
    work = work_dtype(dtype)
    if op.name in ("any", "all"):
        name, work = b.cast(b.name(x, dtypes.bool_), dtypes.bool_, dtypes.int32), dtypes.int32
        order = None
    else:
        work = dtypes.int32 if work is dtypes.bool_ else work
        name = b.name(x, work) if order is None else b.in_order(x, order, work)
    if op.name in ("any", "all", "prod", "sum") and any(x.aval.shape[k] == 0 for k in axes):
        b.give(out, _of_nothing(b, op, work), work)
        return
    if order is not None:
        found = b.add(_REDUCTIONS[op.name], [name, b.ints([order[k] for k in axes])], keepdims=1)
        b.give_transposed(out, found, order_of(order), work)
        return
    found = b.add(_REDUCTIONS[op.name], [name, b.ints(axes)], keepdims=int(keep))
    b.give(out, found, work)


def _of_nothing(b: Builder, op: Op, work: Any) -> str:
    """A reduction over nothing: what it begins with."""
    value = 1 if op.name in ("all", "prod") else 0
    return str(b.add("Expand", [b.constant(np.asarray(value, work.numpy)), b.vector(op.outs[0].aval.shape)]))


# -- creation -----------------------------------------------------------------------------------------------
def _full(b: Builder, op: Op) -> None:
    value, shape, dtype, _ = op.attrs
    one = b.number(value, dtype)
    b.give(op.outs[0], one if not shape else b.add("Expand", [one, b.vector(shape)]))


def _iota(b: Builder, op: Op) -> None:
    n, _ = op.attrs
    one = b.add("Squeeze", [b.size(n)])
    found = b.add("Range", [b.constant(np.int64(0)), one, b.constant(np.int64(1))])
    b.give(op.outs[0], found, dtypes.int64)


# -- running results ------------------------------------------------------------------------------------------
def _cumsum(b: Builder, op: Op) -> None:
    (x,), (axis, reverse) = op.ins, op.attrs
    work = work_dtype(x.aval.dtype)
    found = b.add("CumSum", [b.name(x, work), b.constant(np.int64(axis))], reverse=int(reverse))
    b.give(op.outs[0], found, work)


def _running(step: Callable[[Builder, list[str]], str], first: float | None) -> Callable[[Builder, Op], None]:
    """A running result by ONNX' Scan over the axis. first: what it begins with; None: with the first entry."""

    def emit(b: Builder, op: Op) -> None:
        axis, reverse = op.attrs
        work = work_dtype(op.outs[0].aval.dtype)
        rank = len(op.ins[0].aval.shape)
        order = (axis, *(k for k in range(rank) if k != axis))
        rows = [b.transposed(v, order, work) for v in op.ins]
        if first is None:
            edge = [-1, BACK] if reverse else [0, 1]
            begin = b.add("Slice", [rows[0], b.ints(edge[:1]), b.ints(edge[1:]), b.ints([0])])
            begin = b.add("Squeeze", [begin, b.ints([0])])
        else:
            dims = tuple(op.ins[0].aval.shape[k] for k in order[1:])
            begin = b.add("Expand", [b.constant(np.asarray(first, work.numpy)), b.vector(dims)])
        inner = Builder(b.onnx, b.opset, b.recordings, b)
        inner.layer, inner.op = b.layer, b.op
        kind, helper = b.kind(work), b.onnx.helper
        shape = [None] * (rank - 1)
        state, *xs = (inner.fresh("state"), *(inner.fresh("row") for _ in rows))
        new = step(inner, [state, *xs])
        ends = [inner.add("Identity", [new]) for _ in range(2)]
        graph = helper.make_graph(
            inner.nodes, inner.fresh("body"),
            [helper.make_tensor_value_info(n, kind, shape) for n in (state, *xs)],
            [helper.make_tensor_value_info(n, kind, shape) for n in ends],
        )  # fmt: skip
        _, found = b.add(
            "Scan", [begin, *rows], 2, body=graph, num_scan_inputs=len(rows),
            scan_input_directions=[int(reverse)] * len(rows), scan_output_directions=[int(reverse)],
        )  # fmt: skip
        b.give_transposed(op.outs[0], found, order, work)

    return emit


def _running_place(kind: str) -> Callable[[Builder, Op], None]:
    """The latest place of the running extreme: the last one so far at which the entry is the extreme."""
    extremes, places = _running(_step(kind), None), (_running(_step("Max"), None), _running(_step("Min"), None))

    def emit(b: Builder, op: Op) -> None:
        (x,), (axis, reverse), (out,) = op.ins, op.attrs, op.outs
        best, at = Value(x.aval), Value(out.aval)
        extremes(b, op._replace(outs=[best]))
        n = b.add("Squeeze", [b.size(x.aval.shape[axis])])
        first, one = b.constant(np.int64(0)), b.constant(np.int64(1))
        column = [-1 if k == axis else 1 for k in range(len(x.aval.shape))]
        counted = b.add("Reshape", [b.add("Range", [first, n, one]), b.ints(column)])
        none = b.add("Sub", [n, one]) if reverse else first
        work = work_dtype(x.aval.dtype)
        hit = b.add("Equal", [b.name(x, work), b.name(best, work)])
        b.give(at, b.add("Where", [hit, counted, none]))
        places[reverse](b, op._replace(ins=[at]))

    return emit


def _linear(b: Builder, a: list[str]) -> str:
    """Operands (state, factor, term)."""
    return str(b.add("Add", [b.add("Mul", [a[1], a[0]]), a[2]]))


def _step(kind: str) -> Callable[[Builder, list[str]], str]:
    return lambda b, a: str(b.add(kind, a))


MOVEMENT: dict[str, Callable[[Builder, Op], None]] = {
    "reshape": _reshape, "permute": _permute, "expand": _expand, "slice": _slice, "pad": _pad,
    "update_slice": _update_slice, "cat": _cat, "interleave": _interleave, "windows": _windows, "apart": _same,
    "full": _full, "blank": _full, "iota": _iota, "cumsum": _cumsum, "cumprod": _running(_step("Mul"), 1.0),
    "cummax": _running(_step("Max"), None), "cummin": _running(_step("Min"), None),
    "cummax_index": _running_place("Max"), "cummin_index": _running_place("Min"),
    "recurrence": _running(_linear, 0.0), **dict.fromkeys(_REDUCTIONS, _reduce),
}  # fmt: skip
"""By primitive."""
