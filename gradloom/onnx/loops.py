"""Recurrences, loops and branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.onnx.builder import SMALL, Builder
from gradloom.onnx.capture import Inner, Op, Value
from gradloom.onnx.elementwise import work_dtype
from gradloom.onnx.sizes import Varying

__all__ = ["LOOPS"]


def _shape(v: Value) -> list[Any]:
    return [None if isinstance(n, Varying) else n for n in v.aval.shape]


def _info(b: Builder, name: str, v: Value) -> Any:
    return b.onnx.helper.make_tensor_value_info(name, b.kind(v.aval.dtype), _shape(v))


def _inside(b: Builder, inner: Inner, captured: Sequence[Value]) -> Builder:
    """A builder for a body; what it reads from outside has its name there."""
    below = Builder(b.onnx, b.opset, b.recordings, b)
    below.layer, below.op = b.layer, b.op
    own = len(inner.inputs) - len(captured)
    for v, outside in zip(inner.inputs[own:], captured):
        _captured(b, v, outside)
    return below


def _captured(b: Builder, v: Value, outside: Value) -> None:
    """Let a body's value be one from outside: small constants are constants there too."""
    small = outside.array is not None and outside.array.size <= SMALL
    v.array, v.name = (outside.array, None) if small else (None, b.name(outside))


def _named(below: Builder, inner: Inner, count: int) -> list[str]:
    """Names for the first inputs."""
    for v in inner.inputs[:count]:
        v.name, v.array = below.fresh("in"), None
    return [v.name for v in inner.inputs[:count] if v.name is not None]


def _results(below: Builder, outputs: Sequence[Value]) -> list[str]:
    """Outputs of a body: each a name of its own that a node in it gives."""
    return [below.add("Identity", [below.name(v)]) for v in outputs]


def _scan(b: Builder, op: Op) -> None:
    from gradloom.onnx.emit import emit_all

    inner, carries, sequences, _, reverse, lead, keep = op.attrs
    if lead:
        raise b.refused("is a loop within vmap", "export the function that is mapped, or write the batch axis out")
    given, xs, captured = op.ins[:carries], op.ins[carries : carries + sequences], op.ins[carries + sequences :]
    below = _inside(b, inner, captured)
    names = _named(below, inner, carries + sequences)
    emit_all(below, inner.ops)
    ends = _results(below, inner.outputs)
    kept = [k for k in range(carries) if keep[k]]
    more = _results(below, [inner.outputs[k] for k in kept])
    stacked = [*(inner.outputs[carries:]), *(inner.outputs[k] for k in kept)]
    graph = b.onnx.helper.make_graph(
        below.nodes, below.fresh("body"),
        [_info(b, n, v) for n, v in zip(names, inner.inputs)],
        [_info(b, n, v) for n, v in zip([*ends, *more], [*inner.outputs, *(inner.outputs[k] for k in kept)])],
    )  # fmt: skip
    way = int(reverse)
    ways = {"scan_input_directions": [way] * sequences}
    if stacked:
        ways["scan_output_directions"] = [way] * len(stacked)
    names = [b.name(v) for v in (*given, *xs)]
    outs = b.add("Scan", names, len(ends) + len(more), body=graph, num_scan_inputs=sequences, **ways)
    outs = [outs] if isinstance(outs, str) else outs
    for k, (v, name) in enumerate(zip(op.outs, outs)):
        if k in kept:  # all of them: the first, and those after each step
            first = b.add("Unsqueeze", [b.name(given[k]), b.ints([0])])
            every = outs[len(ends) + kept.index(k)]
            name = b.add("Concat", [every, first] if reverse else [first, every], axis=0)
        b.give(v, name)


def _cond(b: Builder, op: Op) -> None:
    from gradloom.onnx.emit import emit_all

    first, second, operands, captured, lead = op.attrs
    if lead:
        raise b.refused("is a branch within vmap", "use where")
    which, rest = op.ins[0], op.ins[1:]
    shared, own = rest[:operands], rest[operands:]
    sides = []
    for inner, taken in ((first, own[: captured[0]]), (second, own[captured[0] :])):
        below = _inside(b, inner, [*shared, *taken])
        emit_all(below, inner.ops)
        ends = _results(below, inner.outputs)
        infos = [_info(b, n, v) for n, v in zip(ends, inner.outputs)]
        sides.append(b.onnx.helper.make_graph(below.nodes, below.fresh("branch"), [], infos))
    flag = b.add("Reshape", [b.name(which, dtypes.bool_), b.constant(np.zeros(0, np.int64))])
    outs = b.add("If", [flag], len(op.outs), then_branch=sides[0], else_branch=sides[1])
    for v, name in zip(op.outs, [outs] if isinstance(outs, str) else outs):
        b.give(v, name)


def _while(b: Builder, op: Op) -> None:
    """Loop: the condition is computed before the first step and behind each."""
    from gradloom.onnx.emit import emit_all

    test, inner, carries, captured, lead = op.attrs
    if lead:
        raise b.refused("is a loop within vmap", "write the batch axis out")
    given, own, rest = op.ins[:carries], op.ins[carries : carries + captured], op.ins[carries + captured :]

    def flag(at: Builder, state: Sequence[str]) -> str:
        for v, outside in zip(test.inputs[carries:], own):
            _captured(b, v, outside)
        for v, name in zip(test.inputs, state):
            v.name, v.array = name, None
        for o in test.ops:
            for v in o.outs:
                v.name = v.view = None
        emit_all(at, test.ops)
        return str(at.add("Reshape", [at.name(test.outputs[0], dtypes.bool_), at.constant(np.zeros(0, np.int64))]))

    names = [b.name(v) for v in given]
    going = flag(b, names)
    below = _inside(b, inner, rest)
    inside = _named(below, inner, carries)
    emit_all(below, inner.ops)
    ends = _results(below, inner.outputs)
    helper = b.onnx.helper
    count, before = below.fresh("step"), below.fresh("going")
    again = flag(below, ends)
    truth = b.kind(dtypes.bool_)
    graph = helper.make_graph(
        below.nodes, below.fresh("body"),
        [helper.make_tensor_value_info(count, b.kind(dtypes.int64), []),
         helper.make_tensor_value_info(before, truth, []), *(_info(b, n, v) for n, v in zip(inside, inner.inputs))],
        [helper.make_tensor_value_info(again, truth, []), *(_info(b, n, v) for n, v in zip(ends, inner.outputs))],
    )  # fmt: skip
    outs = b.add("Loop", ["", going, *names], carries, body=graph)
    for v, name in zip(op.outs, [outs] if isinstance(outs, str) else outs):
        b.give(v, name)


# -- recurrent layers as one operator ---------------------------------------------------------------------------
_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}  # ours by place of ONNX': iofc of ifgo, zrh of rzn


def _recurrent(b: Builder, op: Op) -> None:
    """LSTM, GRU or RNN over (time, batch, input)."""
    (x, *tensors), (mode, directions, bias) = op.ins, op.attrs
    work = work_dtype(op.outs[0].aval.dtype)
    states = 2 if mode == "LSTM" else 1
    begin, rest = tensors[: states * directions], tensors[states * directions :]
    each = 2 + 2 * bias
    gates = _GATES.get(mode, (0,))

    def ordered(v: Value) -> str:
        """A weight with its gates in ONNX' order."""
        if v.array is not None:
            parts = np.split(v.array, len(gates))
            again = np.concatenate([parts[k] for k in gates])
            if len(gates) == 1 and v.name is not None:
                return b.name(v, work)
            hint = f"{v.name}_gates" if v.name is not None else "gates"
            return b.constant(again.astype(work.numpy), None, hint)
        n = v.aval.shape[0] // len(gates)
        parts = b.add("Split", [b.name(v, work), b.ints([n] * len(gates))], len(gates), axis=0)
        return parts if isinstance(parts, str) else str(b.add("Concat", [parts[k] for k in gates], axis=0))

    def together(names: Sequence[str]) -> str:
        """One direction behind the other, along a new first axis."""
        wide = [b.add("Unsqueeze", [n, b.ints([0])]) for n in names]
        return wide[0] if len(wide) == 1 else str(b.add("Concat", wide, axis=0))

    weights = [rest[each * d : each * (d + 1)] for d in range(directions)]
    inputs = [b.name(x, work), *(together([ordered(w[k]) for w in weights]) for k in (0, 1))]
    inputs.append(
        together([b.add("Concat", [ordered(w[2]), ordered(w[3])], axis=0) for w in weights]) if bias else ""
    )  # fmt: skip
    inputs.append("")
    for s in range(states):
        inputs.append(together([b.name(begin[s + states * d], work) for d in range(directions)]))
    hidden = begin[0].aval.shape[-1]
    attrs: dict[str, Any] = {"hidden_size": hidden, "direction": "bidirectional" if directions == 2 else "forward"}
    kind = mode
    if mode == "GRU":
        attrs["linear_before_reset"] = 1
    elif mode != "LSTM":
        kind = "RNN"
        attrs["activations"] = ["Tanh" if mode == "RNN_TANH" else "Relu"] * directions
    y, *last = b.add(kind, inputs, 1 + states, **attrs)
    out = op.outs[0]
    if directions == 1:
        b.give(out, b.add("Squeeze", [y, b.ints([1])]), work)
    else:
        turned = b.add("Transpose", [y], perm=[0, 2, 1, 3])
        b.give(out, b.add("Reshape", [turned, b.ints([0, 0, -1])]), work)
    for d in range(directions):
        for s in range(states):
            v = op.outs[1 + states * d + s]
            b.give(v, b.add("Gather", [last[s], b.constant(np.int64(d))], axis=0), work)


LOOPS: dict[str, Callable[[Builder, Op], None]] = {
    "scan": _scan, "cond": _cond, "while": _while, "recurrent": _recurrent,
}  # fmt: skip
"""By primitive or fused composite."""
