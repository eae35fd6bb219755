"""Operators that move elements: shapes, slices, gathers, pads, sequences of pieces."""

from __future__ import annotations

from typing import Any

import numpy as np

import gradloom as gl
from gradloom.onnx.reading.table import Call, op
from gradloom.onnx.reading.values import array, integers, normal, number

F = gl.nn.functional


@op("Reshape", host=(1,))
def _reshape(call: Call, x: Any, shape: Any = None) -> Any:
    sizes = list(call("shape")) if shape is None else integers(shape)
    if not call("allowzero", 0):
        sizes = [x.shape[k] if n == 0 else n for k, n in enumerate(sizes)]
    return x.reshape(sizes)


@op("Flatten")
def _flatten(call: Call, x: Any) -> Any:
    axis = normal(call("axis", 1), x.ndim)
    return x.reshape(int(np.prod(tuple(x.shape[:axis]))), int(np.prod(tuple(x.shape[axis:]))))


@op("Transpose")
def _transpose(call: Call, x: Any) -> Any:
    return x.permute(*(call("perm") or range(x.ndim)[::-1])) if x.ndim else x


@op("Squeeze", host=(1,))
def _squeeze(call: Call, x: Any, axes: Any = None) -> Any:
    found = call("axes") if axes is None else integers(axes)
    return x.squeeze() if found is None else x.squeeze(tuple(found))


@op("Unsqueeze", host=(1,))
def _unsqueeze(call: Call, x: Any, axes: Any = None) -> Any:
    found = call("axes") if axes is None else integers(axes)
    for axis in sorted(normal(a, x.ndim + len(found)) for a in found):
        x = x.unsqueeze(axis)
    return x


@op("Expand", host=(1,))
def _expand(call: Call, x: Any, shape: Any) -> Any:
    return x.expand(np.broadcast_shapes(tuple(x.shape), tuple(integers(shape))))


@op("Tile", host=(1,), since=6)
def _tile(call: Call, x: Any, repeats: Any) -> Any:
    return gl.tile(x, integers(repeats))


@op("Concat")
def _concat(call: Call, *xs: Any) -> Any:
    return gl.cat(xs, call("axis", 1))


@op("Split", host=(1,))
def _split(call: Call, x: Any, split: Any = None) -> Any:
    axis = call("axis", 0)
    sizes = call("split") if split is None else integers(split)
    if sizes is None:
        count = call("num_outputs") or call.outputs
        each = -(-x.shape[axis] // count)
        sizes = [max(0, min(each, x.shape[axis] - k * each)) for k in range(count)]
    return tuple(gl.split(x, sizes, axis))


@op("Slice", host=(1, 2, 3, 4))
def _slice(call: Call, x: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None) -> Any:
    if starts is None:
        first, last, along = call("starts"), call("ends"), call("axes")
    else:
        first, last, along = integers(starts), integers(ends), integers(axes) if axes is not None else None
    along = list(range(len(first))) if along is None else along
    by = [1] * len(first) if steps is None else integers(steps)
    index = [slice(None)] * x.ndim
    turned = []
    for a, b, axis, step in zip(first, last, along, by, strict=True):
        axis = normal(axis, x.ndim)
        n = x.shape[axis]
        begin, end, step = slice(a, None if step < 0 and b <= -n - 1 else b, step).indices(n)
        if step < 0:  # the same elements from the other side
            count = len(range(begin, end, step))
            low = begin + (count - 1) * step
            begin, end, step = (low, begin + 1, -step) if count else (0, 0, 1)
            turned.append(axis)
        index[axis] = slice(begin, max(begin, end), step)
    y = x[tuple(index)]
    return y.flip(turned) if turned else y


@op("Gather")
def _gather(call: Call, x: Any, index: Any) -> Any:
    axis = normal(call("axis", 0), x.ndim)
    index = index.to(gl.int64)
    flat = gl.where(index < 0, index + x.shape[axis], index).reshape(-1)
    picked = x.index_select(axis, flat)
    return picked.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def _wrapped(index: Any, n: int) -> Any:
    index = index.to(gl.int64)
    return gl.where(index < 0, index + n, index)


@op("GatherElements")
def _gather_elements(call: Call, x: Any, index: Any) -> Any:
    axis = normal(call("axis", 0), x.ndim)
    return gl.gather(x, axis, _wrapped(index, x.shape[axis]))


@op("GatherND")
def _gather_nd(call: Call, x: Any, index: Any) -> Any:
    b = call("batch_dims", 0)
    index = index.to(gl.int64)
    lead = tuple(x.shape[:b])
    depth = index.shape[-1]
    at = [gl.arange(n).reshape([-1 if k == j else 1 for j in range(index.ndim - 1)]) for k, n in enumerate(lead)]
    at += [_wrapped(index[..., k], x.shape[b + k]) for k in range(depth)]
    return x[tuple(at)]


_REDUCE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@op("ScatterElements", "Scatter")
def _scatter_elements(call: Call, x: Any, index: Any, updates: Any) -> Any:
    axis = normal(call("axis", 0), x.ndim)
    index = _wrapped(index, x.shape[axis])
    how = call("reduction", "none")
    if how == "none":
        return gl.scatter(x, axis, index, updates)
    return gl.scatter_reduce(x, axis, index, updates, _REDUCE[how], include_self=True)


@op("ScatterND")
def _scatter_nd(call: Call, x: Any, index: Any, updates: Any) -> Any:
    depth = index.shape[-1]
    inner = tuple(x.shape[depth:])
    size = int(np.prod(inner))
    places = gl.zeros(*index.shape[:-1], dtype=gl.int64)
    for k in range(depth):
        places = places * x.shape[k] + _wrapped(index[..., k], x.shape[k])
    flat = x.reshape(-1, size)
    rows = places.reshape(-1, 1).expand(-1, size)
    values = updates.reshape(-1, size)
    how = call("reduction", "none")
    if how == "none":
        done = gl.scatter(flat, 0, rows, values)
    else:
        done = gl.scatter_reduce(flat, 0, rows, values, _REDUCE[how], include_self=True)
    return done.reshape(x.shape)


@op("TensorScatter")
def _tensor_scatter(call: Call, past: Any, update: Any, places: Any = None) -> Any:
    axis = normal(call("axis", -2), past.ndim)
    n, m = past.shape[axis], update.shape[axis]
    batch = past.shape[0]
    start = gl.zeros(batch, dtype=gl.int64) if places is None else places.to(gl.int64)
    at = start.reshape(-1, 1) + gl.arange(m).reshape(1, -1)
    at = at % n if call("mode", "linear") == "circular" else at
    at = at.reshape(batch, *[m if k == axis else 1 for k in range(1, past.ndim)]).expand(update.shape)
    return gl.scatter(past, axis, at, update)


@op("Pad", host=(1, 2, 3))
def _pad(call: Call, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
    found = call("pads") if pads is None else integers(pads)
    fill = call("value", 0.0) if pads is None else number(value) if value is not None else 0
    along = list(range(x.ndim)) if axes is None else [normal(a, x.ndim) for a in integers(axes)]
    low, high = [0] * x.ndim, [0] * x.ndim
    for k, a in enumerate(along):
        low[a], high[a] = found[k], found[k + len(along)]
    cut = tuple(slice(max(0, -a), n - max(0, -b)) for n, a, b in zip(x.shape, low, high, strict=True))
    if any(a < 0 or b < 0 for a, b in zip(low, high, strict=True)):
        x = x[cut]
    low, high = [max(0, a) for a in low], [max(0, b) for b in high]
    mode = call("mode", "constant")
    if mode == "constant":
        return F.pad(x, [v for a, b in zip(low[::-1], high[::-1], strict=True) for v in (a, b)], value=fill)
    for k, (a, b) in enumerate(zip(low, high, strict=True)):
        if a or b:
            x = x.index_select(k, gl.tensor(_places(x.shape[k], a, b, mode)))
    return x


def _places(n: int, low: int, high: int, mode: str) -> np.ndarray:
    how = {"edge": "edge", "reflect": "reflect", "wrap": "wrap"}[mode]
    return np.pad(np.arange(n), (low, high), mode=how)  # type: ignore[call-overload,no-any-return]


@op("DepthToSpace")
def _depth_to_space(call: Call, x: Any) -> Any:
    n, c, h, w = x.shape
    b = call("blocksize")
    if call("mode", "DCR") == "CRD":
        y = x.reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    else:
        y = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return y.reshape(n, c // b**2, h * b, w * b)


@op("SpaceToDepth")
def _space_to_depth(call: Call, x: Any) -> Any:
    n, c, h, w = x.shape
    b = call("blocksize")
    order = (0, 1, 3, 5, 2, 4) if call("mode", "DCR") == "CRD" else (0, 3, 5, 1, 2, 4)
    return x.reshape(n, c, h // b, b, w // b, b).permute(*order).reshape(n, c * b * b, h // b, w // b)


@op("Trilu", host=(1,))
def _trilu(call: Call, x: Any, k: Any = None) -> Any:
    diagonal = number(k) if k is not None else 0
    return gl.triu(x, diagonal) if call("upper", 1) else gl.tril(x, diagonal)


@op("Compress", host=(1,))
def _compress(call: Call, x: Any, condition: Any) -> Any:
    axis = call("axis")
    keep = np.flatnonzero(np.asarray(array(condition)))
    if axis is None:
        return x.reshape(-1).index_select(0, gl.tensor(keep))
    return x.index_select(normal(axis, x.ndim), gl.tensor(keep))


@op("OneHot", host=(1,))
def _one_hot(call: Call, index: Any, depth: Any, values: Any) -> Any:
    n = int(number(depth))
    axis = normal(call("axis", -1), index.ndim + 1)
    index = index.to(gl.int64)
    index = gl.where(index < 0, index + n, index).unsqueeze(axis)
    places = gl.arange(n).reshape([-1 if k == axis else 1 for k in range(index.ndim)])
    return gl.where(index == places, values[1], values[0])


@op("ReverseSequence", host=(1,))
def _reverse_sequence(call: Call, x: Any, lengths: Any) -> Any:
    time, batch = call("time_axis", 0), call("batch_axis", 1)
    n = x.shape[time]
    rows = np.tile(np.arange(n), (x.shape[batch], 1))
    for k, m in enumerate(integers(lengths)):
        rows[k, :m] = rows[k, :m][::-1]
    index = rows if batch < time else rows.T
    shape = [1] * x.ndim
    shape[time], shape[batch] = n, x.shape[batch]
    return gl.gather(x, time, gl.tensor(np.ascontiguousarray(index).reshape(shape)).expand(x.shape))


@op("NonZero")
def _nonzero(call: Call, x: Any) -> Any:
    return gl.nonzero(x).T if x.ndim else gl.tensor(np.array(np.nonzero(np.atleast_1d(x.numpy())), np.int64))


@op("Unique")
def _unique(call: Call, x: Any) -> Any:
    axis = call("axis")
    values, first, inverse, counts = np.unique(
        array(x), return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not call("sorted", 1):
        order = np.argsort(first)
        back = np.argsort(order)
        values = np.take(values, order, axis if axis is not None else 0)
        first, counts, inverse = first[order], counts[order], back[inverse]
    rest = (gl.tensor(v.astype(np.int64)) for v in (first, inverse, counts))
    return (gl.tensor(values), *rest)


@op("CenterCropPad", host=(1,))
def _center_crop_pad(call: Call, x: Any, shape: Any) -> Any:
    axes = call("axes")
    along = list(range(x.ndim)) if axes is None else [normal(a, x.ndim) for a in axes]
    for axis, want in zip(along, integers(shape), strict=True):
        have = x.shape[axis]
        if have > want:
            x = gl.narrow(x, axis, (have - want) // 2, want)
        elif have < want:
            low = (want - have) // 2
            x = F.pad(x, [0, 0] * (x.ndim - 1 - axis) + [low, want - have - low])
    return x
