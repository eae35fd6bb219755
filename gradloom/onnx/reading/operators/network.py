"""Convolutions, pooling and norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradloom as gl
from gradloom.onnx.reading.table import Call, op
from gradloom.onnx.reading.values import integers

F = gl.nn.functional
_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def pads_of(
    call: Call, size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Any:
    """The padding of each axis as (low, high)."""
    nd = len(kernel)
    auto = call("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        pads = call("pads") or [0] * (2 * nd)
        return [(pads[k], pads[k + nd]) for k in range(nd)]
    if auto == "VALID":
        return [(0, 0)] * nd
    out = []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        need = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        small = need // 2
        out.append((small, need - small) if auto == "SAME_UPPER" else (need - small, small))
    return out


def flat(pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Pairs by axis in the order that ``pad`` takes them."""
    return [v for pair in reversed(pairs) for v in pair]


def convolution(call: Call, x: Any, w: Any, b: Any = None, fill: Any = 0.0) -> Any:
    """A convolution with the attributes of the node."""
    nd = x.ndim - 2
    if nd not in _CONV:
        raise call.fail(f"images of {nd} axes; 1 to 3 are read")
    kernel = tuple(w.shape[2:])
    stride, dilation = call("strides") or [1] * nd, call("dilations") or [1] * nd
    pads = pads_of(call, tuple(x.shape[2:]), kernel, stride, dilation)
    if any(a != b for a, b in pads) or fill:
        x, pads = F.pad(x, flat(pads), value=fill), [(0, 0)] * nd
    return _CONV[nd](x, w, b, tuple(stride), tuple(a for a, _ in pads), tuple(dilation), call("group", 1))


@op("Conv")
def _conv(call: Call, x: Any, w: Any, b: Any = None) -> Any:
    return convolution(call, x, w, b)


@op("ConvTranspose")
def _conv_transpose(call: Call, x: Any, w: Any, b: Any = None) -> Any:
    nd = x.ndim - 2
    kernel = tuple(w.shape[2:])
    stride, dilation = call("strides") or [1] * nd, call("dilations") or [1] * nd
    extra = list(call("output_padding") or [0] * nd)
    whole = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(x.shape[2:], stride, dilation, kernel, strict=True)]
    want = call("output_shape")
    auto = call("auto_pad", "NOTSET")
    if want is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        want = [n * s for n, s in zip(x.shape[2:], stride, strict=True)]
    if want is not None:
        want = list(want)[-nd:]
        total = [w0 + e - n for w0, e, n in zip(whole, extra, want, strict=True)]
        halves = [int(t / 2) for t in total]  # towards zero; what is missing is added at the end
        pads = [(h, t - h) if auto == "SAME_UPPER" or t < 0 else (t - h, h) for t, h in zip(total, halves, strict=True)]
    else:
        given = (call("pads") or [0] * (2 * nd)) if auto != "VALID" else [0] * (2 * nd)
        pads = [(given[k], given[k + nd]) for k in range(nd)]
    group = call("group", 1)
    y = _TRANSPOSED[nd](x, w, b, tuple(stride), 0, 0, group, tuple(dilation))
    missing = [max(0, e - h) for e, (_, h) in zip(extra, pads, strict=True)]
    if any(missing):
        filled = F.pad(y, flat([(0, m) for m in missing]))
        if b is not None:  # what no filter reaches is the bias alone
            ones = F.pad(gl.zeros_like(y), flat([(0, m) for m in missing]), value=1.0)
            filled = filled + ones * b.reshape(1, -1, *[1] * nd)
        y = filled
    index = [slice(None)] * 2
    for n, e, m, (low, high) in zip(y.shape[2:], extra, missing, pads, strict=True):
        index.append(slice(low, n - m + e - high))
    grown = [max(0, -low) for low, _ in pads]
    if any(grown) or any(high < e and low < 0 for (low, high), e in zip(pads, extra, strict=True)):
        y = F.pad(y, flat([(max(0, -low), max(0, -high)) for low, high in pads]))
        index = [slice(None)] * 2 + [
            slice(max(0, low), n - max(0, high)) for n, (low, high) in zip(y.shape[2:], pads, strict=True)
        ]
    return y[tuple(index)]


# -- pooling --------------------------------------------------------------------------------------------
def _windows(call: Call, x: Any) -> tuple[list[int], list[int], list[int], list[tuple[int, int]], list[int]]:
    """Kernel, stride, dilation, padding, and how many places more ``ceil_mode`` asks for at the end."""
    kernel = list(call("kernel_shape"))
    nd = len(kernel)
    stride, dilation = list(call("strides") or [1] * nd), list(call("dilations") or [1] * nd)
    size = tuple(x.shape[2:])
    pads = pads_of(call, size, kernel, stride, dilation)
    more = [0] * nd
    if call("ceil_mode", 0) and call("auto_pad", "NOTSET") in ("NOTSET", ""):
        for k in range(nd):
            room = size[k] + sum(pads[k]) - dilation[k] * (kernel[k] - 1) - 1
            count = -(-room // stride[k]) + 1
            if (count - 1) * stride[k] >= size[k] + pads[k][0]:
                count -= 1  # no window begins behind the image
            more[k] = max(0, (count - 1) * stride[k] - room)
    return kernel, stride, dilation, pads, more


def _seen(x: Any, kernel: list[int], stride: list[int], dilation: list[int]) -> Any:
    """The windows of padded images, (N, C, *places, *kernel)."""
    nd = len(kernel)
    for k in range(nd):
        x = x.unfold(2 + k, dilation[k] * (kernel[k] - 1) + 1, stride[k])
    index = tuple([slice(None)] * (2 + nd) + [slice(None, None, d) for d in dilation])
    return x[index]


@op("MaxPool")
def _max_pool(call: Call, x: Any) -> Any:
    kernel, stride, dilation, pads, more = _windows(call, x)
    nd = len(kernel)
    ends = [(a, b + m) for (a, b), m in zip(pads, more, strict=True)]
    if not x.dtype.is_floating:
        low = int(x.dtype.numpy.type(0)) if x.dtype is gl.uint8 else -128
        y = _max_pool_of(call, x.to(gl.float32), kernel, stride, dilation, ends, float(low))
        return tuple(v if k else v.to(x.dtype) for k, v in enumerate(y)) if isinstance(y, tuple) else y.to(x.dtype)
    pool = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}.get(nd)
    plain = all(a == b and 2 * a <= k for (a, b), k in zip(ends, kernel, strict=True))
    if pool is not None and plain and not call.wants(1):
        return pool(x, tuple(kernel), tuple(stride), tuple(a for a, _ in ends), tuple(dilation))
    return _max_pool_of(call, x, kernel, stride, dilation, ends, float("-inf"))


def _max_pool_of(
    call: Call, x: Any, kernel: list[int], stride: list[int], dilation: list[int], ends: Any, fill: float
) -> Any:
    nd = len(kernel)
    flat_windows = _seen(F.pad(x, flat(ends), value=fill), kernel, stride, dilation).flatten(-nd)
    y = gl.amax(flat_windows, -1)
    if not call.wants(1):
        return y
    size = tuple(x.shape[2:])
    order = range(nd) if not call("storage_order", 0) else range(nd)[::-1]
    strides, step = [0] * nd, 1
    for k in reversed(list(order)):
        strides[k], step = step, step * size[k]
    numbers = sum(gl.arange(size[k]).reshape([-1 if j == k else 1 for j in range(nd)]) * strides[k] for k in range(nd))
    numbers = numbers.reshape(1, 1, *size).to(gl.float64)
    places = _seen(F.pad(numbers, flat(ends), value=-1.0), kernel, stride, dilation).flatten(-nd)
    chosen = gl.argmax(flat_windows, -1, keepdim=True)
    found = gl.gather(places.expand(flat_windows.shape), -1, chosen).squeeze(-1).to(gl.int64)
    images = gl.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * nd)
    return y, found + images * step


@op("AveragePool")
def _average_pool(call: Call, x: Any) -> Any:
    kernel, stride, dilation, pads, more = _windows(call, x)
    nd = len(kernel)
    inside = F.pad(
        gl.ones(1, 1, *x.shape[2:], dtype=x.dtype), flat(pads), value=1.0 if call("count_include_pad", 0) else 0.0
    )
    inside = F.pad(inside, flat([(0, m) for m in more]))
    ends = [(a, b + m) for (a, b), m in zip(pads, more, strict=True)]
    total = _seen(F.pad(x, flat(ends)), kernel, stride, dilation).flatten(-nd).sum(-1)
    return total / _seen(inside, kernel, stride, dilation).flatten(-nd).sum(-1)


@op("LpPool")
def _lp_pool(call: Call, x: Any) -> Any:
    kernel, stride, dilation, pads, more = _windows(call, x)
    p = call("p", 2)
    ends = [(a, b + m) for (a, b), m in zip(pads, more, strict=True)]
    windows = _seen(F.pad(gl.abs(x), flat(ends)), kernel, stride, dilation).flatten(-len(kernel))
    return gl.pow(gl.pow(windows, p).sum(-1), 1.0 / p)


@op("GlobalAveragePool")
def _global_average(call: Call, x: Any) -> Any:
    return gl.mean(x, tuple(range(2, x.ndim)), keepdim=True)


@op("GlobalMaxPool")
def _global_max(call: Call, x: Any) -> Any:
    return gl.amax(x, tuple(range(2, x.ndim)), keepdim=True)


@op("GlobalLpPool")
def _global_lp(call: Call, x: Any) -> Any:
    p = call("p", 2)
    return gl.pow(gl.pow(gl.abs(x), p).sum(tuple(range(2, x.ndim)), keepdim=True), 1.0 / p)


@op("MaxUnpool", host=(2,))
def _max_unpool(call: Call, x: Any, index: Any, shape: Any = None) -> Any:
    kernel = call("kernel_shape")
    nd = len(kernel)
    stride = call("strides") or [1] * nd
    pads = call("pads") or [0] * (2 * nd)
    size = [
        (n - 1) * s + k - pads[j] - pads[j + nd]
        for j, (n, s, k) in enumerate(zip(x.shape[2:], stride, kernel, strict=True))
    ]
    own = [*x.shape[:2], *size]
    total = 1
    for n in own:
        total *= n
    flat_image = gl.scatter(gl.zeros(total, dtype=x.dtype), 0, index.reshape(-1).to(gl.int64), x.reshape(-1))
    image = flat_image.reshape(own)
    if shape is None:
        return image
    more = [n - m for n, m in zip(integers(shape), own, strict=True)]
    return F.pad(image, flat([(0, m) for m in more]))


# -- norms ----------------------------------------------------------------------------------------------
@op("BatchNormalization")
def _batch_norm(call: Call, x: Any, scale: Any, bias: Any, mean: Any, var: Any) -> Any:
    eps = call("epsilon", 1e-5)
    if not call("training_mode", 0):
        return F.batch_norm(x, mean, var, scale, bias, False, 0.0, eps)
    axes = (0, *range(2, x.ndim))
    now, spread = gl.mean(x, axes), gl.var(x, axes, correction=0)
    momentum = call("momentum", 0.9)
    y = F.batch_norm(x, now, spread, scale, bias, False, 0.0, eps)
    return y, mean * momentum + now * (1 - momentum), var * momentum + spread * (1 - momentum)


@op("InstanceNormalization")
def _instance_norm(call: Call, x: Any, scale: Any, bias: Any) -> Any:
    return F.instance_norm(x, weight=scale, bias=bias, eps=call("epsilon", 1e-5))


@op("GroupNormalization", since=21)
def _group_norm(call: Call, x: Any, scale: Any, bias: Any) -> Any:
    return F.group_norm(x, call("num_groups"), scale, bias, call("epsilon", 1e-5))


@op("LayerNormalization")
def _layer_norm(call: Call, x: Any, scale: Any, bias: Any = None) -> Any:
    axis = call("axis", -1)
    axis = axis + x.ndim if axis < 0 else axis
    eps = call("epsilon", 1e-5)
    if not call.wants(1) and not call.wants(2):
        return F.layer_norm(
            x,
            tuple(x.shape[axis:]),
            scale.expand(x.shape[axis:]),
            None if bias is None else bias.expand(x.shape[axis:]),
            eps,
        )
    axes = tuple(range(axis, x.ndim))
    wide = x.to(gl.float32)
    mean = gl.mean(wide, axes, keepdim=True)
    inverse = gl.rsqrt(gl.mean((wide - mean) ** 2, axes, keepdim=True) + eps)
    y = ((wide - mean) * inverse).to(x.dtype) * scale
    return (y if bias is None else y + bias), mean, inverse


@op("RMSNormalization")
def _rms_norm(call: Call, x: Any, scale: Any) -> Any:
    axis = call("axis", -1)
    axes = tuple(range(axis + x.ndim if axis < 0 else axis, x.ndim))
    wide = x.to(gl.float32) if x.dtype.itemsize < 4 else x
    y = wide * gl.rsqrt(gl.mean(wide * wide, axes, keepdim=True) + call("epsilon", 1e-5))
    return y.to(x.dtype) * scale


@op("LRN")
def _lrn(call: Call, x: Any) -> Any:
    size = call("size")
    low, high = (size - 1) // 2, size - 1 - (size - 1) // 2
    squares = F.pad((x * x).movedim(1, -1), [low, high]).unfold(-1, size, 1).sum(-1).movedim(-1, 1)
    return x / gl.pow(call("bias", 1.0) + call("alpha", 1e-4) / size * squares, call("beta", 0.75))
