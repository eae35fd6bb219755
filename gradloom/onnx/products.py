"""Products, convolutions, pooling, softmax, norms and attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.onnx.builder import Builder, order_of
from gradloom.onnx.capture import Op, Value
from gradloom.onnx.elementwise import work_dtype
from gradloom.onnx.movement import padded, reshaped
from gradloom.onnx.sizes import Varying

__all__ = ["PRODUCTS"]


def _dot(b: Builder, op: Op) -> None:
    x, y = op.ins
    work = work_dtype(op.outs[0].aval.dtype)
    b.give(op.outs[0], b.add("MatMul", [b.name(x, work), b.name(y, work)]), work)


def _linear(b: Builder, op: Op) -> None:
    """Input times the weight (out, in) turned, plus a bias: Gemm for matrices."""
    x, w, *bias = op.ins
    work = work_dtype(op.outs[0].aval.dtype)
    if len(x.aval.shape) == 2 and len(w.aval.shape) == 2 and work.is_floating and len(op.outs[0].aval.shape) == 2:
        names = [b.name(x, work), b.name(w, work), *(b.name(v, work) for v in bias)]
        b.give(op.outs[0], b.add("Gemm", names, transB=1), work)
        return
    turned = b.transposed(w, (1, 0), work) if len(w.aval.shape) == 2 else b.name(w, work)
    found = b.add("MatMul", [b.name(x, work), turned])
    b.give(op.outs[0], b.add("Add", [found, b.name(bias[0], work)]) if bias else found, work)


# -- convolution ------------------------------------------------------------------------------------------
def _first(rank: int) -> tuple[int, ...]:
    """Channels last to channels first."""
    return (0, rank - 1, *range(1, rank - 1))


def _convolved(op: Op) -> Any:
    """The dtype that it is computed in: ONNX has convolutions of floating numbers."""
    dtype = op.outs[0].aval.dtype
    return dtype if dtype.is_floating and dtype.itemsize >= 4 else dtypes.float32


def _filters(b: Builder, w: Value, work: Any) -> str:
    """(*K, C / groups, O) as (O, C / groups, *K)."""
    n = len(w.aval.shape)
    return b.transposed(w, (n - 1, n - 2, *range(n - 2)), work)


def _convolve(b: Builder, op: Op) -> None:
    (x, w), (g, _) = op.ins, op.attrs
    g = b.plain(g, "a geometry")
    work = _convolved(op)
    order = _first(len(x.aval.shape))
    name = b.transposed(x, order, work)
    low, high = ([p[end] for p in g.padding] for end in (0, 1))
    if min((*low, *high)) < 0:  # what is negative cuts off
        name = padded(b, name, (0, 0, *low), (0, 0, *high), 0, Value(x.aval._replace(dtype=work)))
        low = high = [0] * len(low)
    found = b.add(
        "Conv", [name, _filters(b, w, work)], strides=list(g.stride), dilations=list(g.dilation), group=g.groups,
        pads=[*low, *high], kernel_shape=list(b.plain(w.aval.shape[:-2], "a kernel")),
    )  # fmt: skip
    b.give_transposed(op.outs[0], found, order, work)


def _convolve_input(b: Builder, op: Op) -> None:
    """The transposed convolution; what ONNX' ``output_padding`` does not tell is cut off, or zeros are put there."""
    (y, w), (g, size) = op.ins, op.attrs
    g = b.plain(g, "a geometry")
    kernel = b.plain(w.aval.shape[:-2], "a kernel")
    more, low, high = [], [], []
    for n, s, d, p, count, span in zip(size, g.stride, g.dilation, g.padding, y.aval.shape[1:-1], kernel):
        least = _minus(n, count, s)
        if isinstance(least, Varying):
            raise b.refused("has an output size that does not follow from its input's", "give output_padding, not size")
        behind = (span - 1) * d + 1 - s - least - p[0]  # entries behind the end of what is asked for
        low.append(p[0])
        high.append(max(behind, 0))
        more.append(max(-behind, 0))
    plain = min(low) >= 0 and all(m < max(s, d) for m, s, d in zip(more, g.stride, g.dilation))
    pads, rest = ([*low, *high], more) if plain else ([0] * 2 * len(low), [0] * len(low))
    order = _first(len(y.aval.shape))
    work = _convolved(op)
    found = b.add(
        "ConvTranspose", [b.transposed(y, order, work), _filters(b, w, work)], strides=list(g.stride),
        dilations=list(g.dilation), group=g.groups, pads=pads, output_padding=rest, kernel_shape=list(kernel),
    )  # fmt: skip
    if not plain:
        ends = [m - h for m, h in zip(more, high)]
        found = padded(b, found, (0, 0, *(-n for n in low)), (0, 0, *ends), 0, Value(y.aval._replace(dtype=work)))
    b.give_transposed(op.outs[0], found, order, work)


def _minus(n: Any, count: Any, stride: int) -> Any:
    """``n - stride * count``, where it is the same at all sizes."""
    if not isinstance(n, Varying) and not isinstance(count, Varying):
        return n - stride * count
    if isinstance(n, Varying) and isinstance(count, Varying):
        away = {a - stride * c for a, c in zip(n.values, count.values)}
        if len(away) == 1:
            return away.pop()
    return Varying((n, count))


def add_bias(b: Builder, op: Op) -> bool:
    """Whether an addition was a convolution's bias, and has become part of it."""
    if op.name != "add":
        return False
    for v, bias in (op.ins, op.ins[::-1]):
        base = v.view[0] if v.view is not None else v
        node = b.nodes[-1] if b.nodes else None
        if (
            node is None or node.op_type not in ("Conv", "ConvTranspose") or len(node.input) > 2 or v.uses != 1
            or node.output[0] != base.name or bias.array is None or bias.aval.dtype is not v.aval.dtype
        ):  # fmt: skip
            continue
        shape, rank = tuple(bias.aval.shape), len(v.aval.shape)
        channels = v.view[1].index(1) if v.view is not None else 1
        at = channels - rank + len(shape)
        if v.aval != op.outs[0].aval or len(shape) > rank or at < 0:
            continue
        if any(n != 1 for k, n in enumerate(shape) if k != at):
            continue
        if shape[at] != v.aval.shape[channels]:
            continue
        row = bias if len(shape) == 1 else Value(bias.aval._replace(shape=(shape[at],)), bias.array.reshape(-1))
        name = b.name(row)
        node.input.append(name)
        op.outs[0].name, op.outs[0].view = None, v.view
        if v.view is None:
            op.outs[0].name = v.name
        return True
    return False


# -- pooling ------------------------------------------------------------------------------------------------
def _pool_order(rank: int, axes: Sequence[int]) -> tuple[int, ...]:
    """Batch and channels in front, then the axes of windows; an axis that no window is over is one of both."""
    rest = [k for k in range(rank) if k not in axes]
    return (*rest, *axes)


def _pooled(
    b: Builder, op: Op, kind: str, x: Value, axes: Sequence[int], spans: Sequence[Any], times: Any = 1, **attrs: Any
) -> None:  # fmt: skip
    """MaxPool or AveragePool over some axes: those in between are joined to two in front. times: a factor."""
    shape, out = x.aval.shape, op.outs[0]
    rank = len(shape)
    order = _pool_order(rank, axes)
    rest = [shape[k] for k in order[: rank - len(axes)]]
    work = dtypes.float32 if x.aval.dtype.itemsize < 4 else x.aval.dtype
    if not work.is_floating:
        work = dtypes.float64 if kind == "MaxPool" and work.itemsize == 8 else dtypes.float32
    name = b.transposed(x, order, work)
    windows = [shape[k] for k in axes]
    joined = rest
    if len(rest) != 2:
        joined = [1, 1] if not rest else [1, rest[0]] if len(rest) == 1 else [*_product(b, rest[:-1]), rest[-1]]
        name = reshaped(b, name, (*rest, *windows), (*joined, *windows))
    low, high = [], []
    for s in spans:
        size, step, dilation, first = b.plain((s.size, s.step, s.dilation, s.low), "a window")
        reach = [(size - 1) * dilation + 1 + (n - 1) * step - first - m
                 for n, m in zip(_every(s.number, b), _every(s.length, b))]  # fmt: skip
        low.append(first)
        high.append(max(0, *reach))
    sizes = [s.size for s in spans]
    steps = [s.step for s in spans]
    dilations = [s.dilation for s in spans]
    if dilations != [1] * len(spans):
        attrs["dilations"] = dilations
    if any(p >= (n - 1) * d + 1 for p, n, d in zip((*low, *high), sizes * 2, dilations * 2)):
        filler = -math.inf if kind == "MaxPool" else 0
        name = padded(b, name, (0, 0, *low), (0, 0, *high), filler, Value(x.aval._replace(dtype=work)))
        low = high = [0] * len(spans)
    name = b.add(kind, [name], kernel_shape=sizes, strides=steps, pads=[*low, *high], **attrs)
    if times != 1:
        name = b.add("Mul", [name, b.constant(np.asarray(times, work.numpy))])
        name = name if x.aval.dtype.is_floating else b.add("Round", [name])
    numbers = [out.aval.shape[k] for k in axes]
    if len(rest) != 2:
        name = reshaped(b, name, (*joined, *numbers), (*rest, *numbers))
    b.give_transposed(out, name, order, work)


def _every(n: Any, b: Builder) -> Sequence[int]:
    return n.values if isinstance(n, Varying) else (n,) * b.recordings


def _product(b: Builder, dims: Sequence[Any]) -> list[Any]:
    rows = [math.prod(r) for r in zip(*(_every(n, b) for n in dims))]
    return [rows[0] if all(r == rows[0] for r in rows) else Varying(tuple(rows))]


def _global_mean(b: Builder, op: Op) -> None:
    """The mean over all axes between batch and channels, which come last."""
    (x,), (out,) = op.ins, op.outs
    work = work_dtype(out.aval.dtype)
    order = _first(len(x.aval.shape))
    b.give_transposed(out, b.add("GlobalAveragePool", [b.transposed(x, order, work)]), order, work)


def _max_pool(b: Builder, op: Op) -> None:
    _pooled(b, op, "MaxPool", op.ins[0], *op.attrs)


def _windows_pick(b: Builder, op: Op) -> None:
    """The largest of windows: nothing else notes it."""
    _pooled(b, op, "MaxPool", op.ins[0], *op.attrs)


def _windows_sum(b: Builder, op: Op) -> None:
    (x,), (axes, spans) = op.ins, op.attrs
    out = op.outs[0]
    if all(s.number == 1 and s.low == 0 and s.size == s.length and s.dilation == 1 for s in spans):
        work = work_dtype(x.aval.dtype)
        order = b.common_order([x], len(x.aval.shape))
        if order is None:
            b.give(out, b.add("ReduceSum", [b.name(x, work), b.ints(axes)], keepdims=1), work)
            return
        found = b.add("ReduceSum", [b.in_order(x, order, work), b.ints([order[k] for k in axes])], keepdims=1)
        b.give_transposed(out, found, order_of(order), work)
        return
    _pooled(b, op, "AveragePool", x, axes, spans, math.prod(s.size for s in spans), count_include_pad=1)


# -- softmax, norms, attention --------------------------------------------------------------------------------
def _softmax(kind: str) -> Callable[[Builder, Op], None]:
    def emit(b: Builder, op: Op) -> None:
        work = work_dtype(op.outs[0].aval.dtype)
        b.give(op.outs[0], b.add(kind, [b.name(op.ins[0], work)], axis=op.attrs[0]), work)

    return emit


def _layer_norm(b: Builder, op: Op) -> None:
    (x, *rest), (count, eps) = op.ins, op.attrs
    work = work_dtype(op.outs[0].aval.dtype)
    names = [b.name(v, work) for v in (x, *rest)]
    b.give(op.outs[0], b.add("LayerNormalization", names, axis=-count, epsilon=eps), work)


def _batch_norm(b: Builder, op: Op) -> None:
    work = work_dtype(op.outs[0].aval.dtype)
    names = [b.name(v, work) for v in op.ins]
    b.give(op.outs[0], b.add("BatchNormalization", names, epsilon=op.attrs[0]), work)


def _clip(b: Builder, op: Op) -> None:
    work = work_dtype(op.outs[0].aval.dtype)
    bounds = [b.constant(np.asarray(n, work.numpy)) for n in op.attrs]
    b.give(op.outs[0], b.add("Clip", [b.name(op.ins[0], work), *bounds]), work)


def _as_is(kind: str, **attrs: Any) -> Callable[[Builder, Op], None]:
    """An operator of one operand, on its base where that has its axes in another order."""

    def emit(b: Builder, op: Op) -> None:
        (x,), (out,) = op.ins, op.outs
        work = work_dtype(out.aval.dtype)
        order = b.common_order([x], len(x.aval.shape))
        if order is None:
            b.give(out, b.add(kind, [b.name(x, work)], **attrs), work)
        else:
            b.give_transposed(out, b.add(kind, [b.in_order(x, order, work)], **attrs), order_of(order), work)

    return emit


def _attention(b: Builder, op: Op) -> None:
    """Softmax of scores; a row that is masked as a whole gives 0. Query heads may share key heads."""
    (q, k, v, *mask), (causal, scale) = op.ins, op.attrs
    out = op.outs[0]
    work = work_dtype(q.aval.dtype)
    rank = len(q.aval.shape)
    turn = (*range(rank - 2), rank - 1, rank - 2)
    scaled = b.add("Mul", [b.name(q, work), b.constant(np.asarray(scale, work.numpy))])
    lead, own = q.aval.shape[:-2], k.aval.shape[:-2]
    rows, width = q.aval.shape[-2], q.aval.shape[-1]
    keys = k.aval.shape[-2]
    grouped = lead != own
    if grouped:
        joined = (*own, *_product(b, _over(b, lead, own, rows)))
        scaled = reshaped(b, scaled, q.aval.shape, (*joined, width))
    scores = b.add("MatMul", [scaled, b.transposed(k, turn, work)])
    if grouped:
        scores = reshaped(b, scores, (*joined, keys), (*lead, rows, keys))
    hidden = b.constant(np.asarray(-math.inf, work.numpy))
    for m in mask:
        if m.aval.dtype is dtypes.bool_:
            scores = b.add("Where", [b.name(m), scores, hidden])
        else:
            scores = b.add("Add", [scores, b.name(m, work)])
    if causal:
        places = [_counted(b, n) for n in (rows, keys)]
        column = b.add("Unsqueeze", [places[0], b.ints([1])])
        scores = b.add("Where", [b.add("GreaterOrEqual", [column, places[1]]), scores, hidden])
    p = b.add("Softmax", [scores], axis=-1)
    if mask:
        p = b.add("Where", [b.add("Equal", [p, p]), p, b.constant(np.asarray(0, work.numpy))])
    if grouped:
        p = reshaped(b, p, (*lead, rows, keys), (*joined, keys))
    found = b.add("MatMul", [p, b.name(v, work)])
    if grouped:
        found = reshaped(b, found, (*joined, v.aval.shape[-1]), out.aval.shape)
    b.give(out, found, work)


def _over(b: Builder, lead: Sequence[Any], own: Sequence[Any], rows: Any) -> list[Any]:
    """Query heads of one key head, and queries."""
    heads, keys = _product(b, lead)[0], _product(b, own)[0]
    each = {a // c for a, c in zip(_every(heads, b), _every(keys, b))}
    return [each.pop(), rows]


def _counted(b: Builder, n: Any) -> str:
    if not isinstance(n, Varying):
        return b.constant(np.arange(n, dtype=np.int64))
    return str(b.add("Range", [b.constant(np.int64(0)), b.add("Squeeze", [b.size(n)]), b.constant(np.int64(1))]))


def _arg(b: Builder, op: Op) -> None:
    axis, keep, largest = op.attrs
    x = op.ins[0]
    work = work_dtype(x.aval.dtype)
    if work in (dtypes.int64, dtypes.bool_):
        work = dtypes.int32 if work is dtypes.bool_ else dtypes.float64
    kind = "ArgMax" if largest else "ArgMin"
    b.give(op.outs[0], b.add(kind, [b.name(x, work)], axis=axis, keepdims=int(keep)), dtypes.int64)


PRODUCTS: dict[str, Callable[[Builder, Op], None]] = {
    "dot": _dot, "linear": _linear, "convolve": _convolve, "convolve_input": _convolve_input, "max_pool": _max_pool,
    "windows_pick": _windows_pick, "windows_sum": _windows_sum, "softmax": _softmax("Softmax"),
    "log_softmax": _softmax("LogSoftmax"), "layer_norm": _layer_norm, "attention": _attention, "arg": _arg,
    "batch_norm": _batch_norm, "clip": _clip, "hardswish": _as_is("HardSwish"),
    "hardsigmoid": _as_is("HardSigmoid", alpha=1 / 6, beta=0.5), "global_mean": _global_mean,
}  # fmt: skip
"""By primitive or fused composite."""
