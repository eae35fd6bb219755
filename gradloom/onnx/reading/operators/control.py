"""Branches, loops, sequences and optional values; conditions are looked at, so the loops are Python's."""

from __future__ import annotations

from typing import Any

import numpy as np

import gradloom as gl
from gradloom.onnx.reading.table import Call, op
from gradloom.onnx.reading.values import array, integers, normal, number, numpy_dtype, to_tensor


@op("If", host=(0,))
def _if(call: Call, condition: Any) -> Any:
    return tuple(call.run(call("then_branch") if bool(number(condition)) else call("else_branch"), []))


@op("Loop", host=range(64))
def _loop(call: Call, most: Any, condition: Any, *state: Any) -> Any:
    body = call("body")
    limit = int(number(most)) if most is not None else None
    on = bool(number(condition)) if condition is not None else True
    kept = len(state)
    rows: list[list[Any]] = [[] for _ in range(len(body.output) - 1 - kept)]
    k = 0
    while on and (limit is None or k < limit):
        found = call.run(body, [np.array(k, np.int64), np.array(on), *state])
        on = bool(number(found[0]))
        state = tuple(found[1 : 1 + kept])
        for row, value in zip(rows, found[1 + kept :], strict=True):
            row.append(value)
        k += 1
    return (*state, *(_stacked(r, body.output[1 + kept + j], 0) for j, r in enumerate(rows)))


def _stacked(rows: list[Any], info: Any, axis: int) -> Any:
    if rows:
        if all(isinstance(r, np.ndarray) for r in rows):
            return np.stack(rows, axis)
        return gl.stack([to_tensor(r) for r in rows], axis)
    kind = info.type.tensor_type
    sizes = [d.dim_value for d in kind.shape.dim]
    return np.zeros((0, *sizes), numpy_dtype(kind.elem_type))


@op("Scan", host=range(64), since=9)
def _scan(call: Call, *values: Any) -> Any:
    body = call("body")
    count = call("num_scan_inputs")
    kept = len(values) - count
    state, inputs = list(values[:kept]), [to_tensor(v) for v in values[kept:]]
    outputs = len(body.output) - kept
    axes = [normal(a, x.ndim) for a, x in zip(call("scan_input_axes") or [0] * count, inputs, strict=True)]
    back = call("scan_input_directions") or [0] * count
    length = inputs[0].shape[axes[0]]
    rows: list[list[Any]] = [[] for _ in range(outputs)]
    for t in range(length):
        now = [x.select(a, length - 1 - t if d else t) for x, a, d in zip(inputs, axes, back, strict=True)]
        found = call.run(body, [*state, *now])
        state = found[:kept]
        for row, value in zip(rows, found[kept:], strict=True):
            row.append(value)
    turned = call("scan_output_directions") or [0] * outputs
    to = call("scan_output_axes") or [0] * outputs
    made = []
    for j, (row, d, a) in enumerate(zip(rows, turned, to, strict=True)):
        row = row[::-1] if d else row
        ndim = (len(row[0].shape) if row else len(body.output[kept + j].type.tensor_type.shape.dim)) + 1
        made.append(_stacked(row, body.output[kept + j], normal(a, ndim)))
    return (*state, *made)


@op("Scan", host=range(64), since=8)
def _scan_of_batches(call: Call, lengths: Any, *values: Any) -> Any:
    """Operator set 8: batches in front, and the same axes for all."""
    body = call("body")
    count = call("num_scan_inputs")
    kept = len(values) - count
    batch = values[0].shape[0]
    back = call("directions") or [0] * count
    results: list[list[Any]] = []
    for b in range(batch):
        state = [to_tensor(v)[b] for v in values[:kept]]
        inputs = [to_tensor(v)[b] for v in values[kept:]]
        length = inputs[0].shape[0] if lengths is None else integers(lengths)[b]
        rows: list[list[Any]] = [[] for _ in range(len(body.output) - kept)]
        for t in range(length):
            found = call.run(
                body, [*state, *(x[length - 1 - t if d else t] for x, d in zip(inputs, back, strict=True))]
            )
            state = found[:kept]
            for row, value in zip(rows, found[kept:], strict=True):
                row.append(value)
        results.append([*state, *(gl.stack([to_tensor(v) for v in row]) for row in rows)])
    return tuple(gl.stack([to_tensor(r[j]) for r in results]) for j in range(len(results[0])))


# -- sequences ------------------------------------------------------------------------------------------
@op("SequenceEmpty")
def _empty(call: Call) -> Any:
    return []


@op("SequenceConstruct", host=range(64))
def _construct(call: Call, *values: Any) -> Any:
    return list(values)


@op("SequenceInsert", host=(0, 1, 2))
def _insert(call: Call, sequence: Any, value: Any, place: Any = None) -> Any:
    made = list(sequence)
    at = len(made) if place is None else int(number(place))
    made.insert(at + len(made) if at < 0 else at, value)
    return made


@op("SequenceErase", host=(0, 1))
def _erase(call: Call, sequence: Any, place: Any = None) -> Any:
    made = list(sequence)
    del made[-1 if place is None else int(number(place))]
    return made


@op("SequenceAt", host=(0, 1))
def _at(call: Call, sequence: Any, place: Any) -> Any:
    at = int(number(place))
    if not -len(sequence) <= at < len(sequence):
        raise call.fail(f"there is no element {at} in a sequence of {len(sequence)}")
    return sequence[at]


@op("SequenceLength", host=(0,))
def _length(call: Call, sequence: Any) -> Any:
    return np.array(len(sequence), np.int64)


@op("SplitToSequence", host=(1,))
def _split_to_sequence(call: Call, x: Any, split: Any = None) -> Any:
    axis = normal(call("axis", 0), x.ndim)
    n = x.shape[axis]
    if split is None:
        parts = list(gl.split(x, 1, axis))
        return parts if call("keepdims", 1) else [p.squeeze(axis) for p in parts]
    sizes = integers(split)
    if np.asarray(array(split)).ndim == 0:
        return list(gl.split(x, sizes[0], axis)) if n else []
    return list(gl.split(x, sizes, axis))


@op("ConcatFromSequence", host=(0,))
def _concat_from(call: Call, sequence: Any) -> Any:
    join = gl.stack if call("new_axis", 0) else gl.cat
    return join([to_tensor(v) for v in sequence], call("axis"))


@op("Optional", host=(0,))
def _optional(call: Call, value: Any = None) -> Any:
    return value


@op("OptionalHasElement", host=(0,))
def _has(call: Call, value: Any = None) -> Any:
    return np.array(value is not None)


@op("OptionalGetElement", host=(0,))
def _get(call: Call, value: Any = None) -> Any:
    if value is None:
        raise call.fail("the optional value is empty", "ask OptionalHasElement first")
    return value


@op("SequenceMap", host=range(64))
def _map(call: Call, sequence: Any, *more: Any) -> Any:
    body = call("body")
    found = []
    for k, value in enumerate(sequence):
        found.append(call.run(body, [value, *(m[k] if isinstance(m, list) else m for m in more)]))
    if not found:
        return tuple([] for _ in body.output)
    return tuple([row[j] for row in found] for j in range(len(found[0])))
