"""Images made larger and smaller, sampled at grids, and regions of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import gradloom as gl
from gradloom.onnx.reading.table import Call, op
from gradloom.onnx.reading.values import floats, integers, normal

F = gl.nn.functional


class _Axis:
    """How one axis of ``n`` elements becomes one of ``m``."""

    def __init__(self, call: Call, n: int, m: int, scale: float, roi: tuple[float, float]) -> None:
        self.call, self.n, self.m, self.scale, self.roi = call, n, m, scale, roi
        self.how = call("coordinate_transformation_mode", "half_pixel")

    def origin(self, k: int) -> float:
        """Where the output's element ``k`` lies among the input's."""
        n, s = self.n, self.scale
        m = n * s  # not whole where scales were given
        if self.how == "asymmetric":
            return k / s
        if self.how == "align_corners":
            return 0.0 if m == 1 else k * (n - 1) / (m - 1)
        if self.how == "pytorch_half_pixel":
            return (k + 0.5) / s - 0.5 if m > 1 else -0.5
        if self.how == "tf_half_pixel_for_nn":
            return (k + 0.5) / s
        if self.how == "half_pixel_symmetric":
            adjust = self.m / m
            center = n / 2
            return center * (1 - adjust) + (k + 0.5) / s - 0.5
        if self.how == "tf_crop_and_resize":
            a, b = self.roi
            if m == 1:
                return 0.5 * (a + b) * (n - 1)
            return a * (n - 1) + k * (b - a) * (n - 1) / (m - 1)
        return (k + 0.5) / s - 0.5

    def taps(self, x: float) -> tuple[list[int], list[float]]:
        """Places around ``x`` and their weights."""
        mode = self.call("mode", "nearest")
        if mode == "nearest":
            return [self._nearest(x)], [1.0]
        smooth = bool(self.call("antialias", 0)) and self.scale < 1
        shrink = self.scale if smooth else 1.0
        if mode == "linear":
            reach, weight = 1.0, lambda d: max(0.0, 1 - abs(d))
        else:
            a = self.call("cubic_coeff_a", -0.75)
            reach, weight = 2.0, lambda d: _cubic(abs(d), a)
        span = reach / shrink
        first, last = math.floor(x - span) + 1, math.ceil(x + span) - 1
        if not smooth:  # the places that the formula names, also where x is whole
            base = math.floor(x)
            first, last = (base, base + 1) if mode == "linear" else (base - 1, base + 2)
        places = list(range(first, last + 1))
        weights = [weight((p - x) * shrink) for p in places]
        if self.call("exclude_outside", 0) or smooth:
            if self.call("exclude_outside", 0):
                weights = [w if 0 <= p < self.n else 0.0 for w, p in zip(weights, places, strict=True)]
            total = sum(weights)
            weights = [w / total for w in weights]
        return places, weights

    def _nearest(self, x: float) -> int:
        how = self.call("nearest_mode", "round_prefer_floor")
        if how == "floor":
            return math.floor(x)
        if how == "ceil":
            return math.ceil(x)
        if x == math.floor(x):
            return math.floor(x)
        return math.ceil(x - 0.5) if how == "round_prefer_floor" else math.floor(x + 0.5)

    def matrix(self) -> tuple[np.ndarray, np.ndarray]:
        """(m, n) weights, and which elements lie outside of what is cut out."""
        out = np.zeros((self.m, self.n))
        outside = np.zeros(self.m, bool)
        for k in range(self.m):
            x = self.origin(k)
            if self.how == "tf_crop_and_resize" and not 0 <= x <= self.n - 1:
                outside[k] = True
                continue
            for place, w in zip(*self.taps(x), strict=True):
                out[k, min(max(place, 0), self.n - 1)] += w
        return out, outside


def _cubic(d: float, a: float) -> float:
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def _resized(call: Call, x: Any, sizes: list[int], scales: list[float], axes: list[int], roi: list[float]) -> Any:
    gone = None
    dtype = x.dtype
    y = x
    for k, a in enumerate(axes):
        n, m = x.shape[a], sizes[k]
        axis = _Axis(call, n, m, scales[k], (roi[k], roi[k + len(axes)]) if roi else (0.0, 1.0))
        matrix, outside = axis.matrix()
        if outside.any():
            shape = [1] * x.ndim
            shape[a] = m
            here = outside.reshape(shape)
            gone = here if gone is None else gone | here
        if n == m and np.array_equal(matrix, np.eye(n)):
            continue
        hot = matrix.argmax(1)
        if np.array_equal(matrix, np.eye(n)[hot]):
            y = y.index_select(a, gl.tensor(hot))
            continue
        kind = y.dtype if y.dtype.is_floating else gl.float32
        y = (y.to(kind).movedim(a, -1) @ gl.tensor(matrix.T).to(kind)).movedim(-1, a)
    if gone is not None:
        fill = gl.full((), call("extrapolation_value", 0.0), dtype=y.dtype)
        y = gl.where(gl.tensor(np.broadcast_to(gone, tuple(y.shape)).copy()), fill, y)
    if not dtype.is_floating and y.dtype.is_floating:
        y = gl.round(y)
    return y.to(dtype)


@op("Resize", host=(1, 2, 3), since=11)
def _resize(call: Call, x: Any, roi: Any = None, scales: Any = None, sizes: Any = None) -> Any:
    axes = [normal(a, x.ndim) for a in (call("axes") or range(x.ndim))]
    have = [x.shape[a] for a in axes]
    factors, want = floats(scales), integers(sizes)
    if want:
        policy = call("keep_aspect_ratio_policy", "stretch")
        factors = [w / h for w, h in zip(want, have, strict=True)]
        if policy != "stretch":
            one = min(factors) if policy == "not_larger" else max(factors)
            factors = [one] * len(axes)
            want = [math.floor(one * h + 0.5) for h in have]
    else:
        want = [math.floor(h * f) for h, f in zip(have, factors, strict=True)]
    return _resized(call, x, want, factors, axes, floats(roi))


@op("Resize", host=(1,), since=10)
@op("Upsample", host=(1,), since=9)
def _upsample(call: Call, x: Any, scales: Any) -> Any:
    factors = floats(scales)
    want = [math.floor(h * f) for h, f in zip(x.shape, factors, strict=True)]
    old = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor", **call.attributes}
    return _resized(Call(call.node, old, call.opset, call.run, call.whole), x, want, factors, list(range(x.ndim)), [])


@op("GridSample")
def _grid_sample(call: Call, x: Any, grid: Any) -> Any:
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(call("mode", "linear"), call("mode", "linear"))
    return F.grid_sample(x, grid, mode, call("padding_mode", "zeros"), bool(call("align_corners", 0)))


@op("RoiAlign")
def _roi_align(call: Call, x: Any, rois: Any, batch: Any) -> Any:
    if call("mode", "avg") != "avg":
        return _roi_by_numpy(call, x, rois, batch)
    aligned = (
        call("coordinate_transformation_mode", "half_pixel" if call.opset >= 16 else "output_half_pixel")
        == "half_pixel"
    )
    boxes = gl.cat([batch.to(x.dtype).reshape(-1, 1), rois], 1)
    size = (call("output_height", 1), call("output_width", 1))
    return gl.vision.ops.roi_align(x, boxes, size, call("spatial_scale", 1.0), call("sampling_ratio", 0) or -1, aligned)


def _roi_by_numpy(call: Call, x: Any, rois: Any, batch: Any) -> Any:
    from onnx.reference import ReferenceEvaluator

    names = list(call.node.input)
    feeds = dict(zip(names, (v.detach().numpy() for v in (x, rois, batch)), strict=True))
    found: Any = ReferenceEvaluator(call.node, opsets={"": call.opset}).run(None, feeds)
    return gl.tensor(found[0])


@op("Col2Im", host=(1, 2))
def _col2im(call: Call, x: Any, image: Any, block: Any) -> Any:
    size, kernel = integers(image), integers(block)
    nd = len(size)
    stride, dilation = call("strides") or [1] * nd, call("dilations") or [1] * nd
    pads = call("pads") or [0] * (2 * nd)
    padded = [n + pads[k] + pads[k + nd] for k, n in enumerate(size)]
    counts = [(n - d * (k - 1) - 1) // s + 1 for n, d, k, s in zip(padded, dilation, kernel, stride, strict=True)]
    n = x.shape[0]
    c = x.shape[1] // math.prod(kernel)
    numbers = np.zeros([1] * (2 * nd), np.int64)
    for k in range(nd):
        at = np.arange(kernel[k])[:, None] * dilation[k] + np.arange(counts[k])[None] * stride[k]
        shape = [1] * (2 * nd)
        shape[k], shape[nd + k] = kernel[k], counts[k]
        numbers = numbers * padded[k] + at.reshape(shape)
    flat = gl.tensor(np.broadcast_to(numbers, (*kernel, *counts)).reshape(-1).copy())
    image_ = (
        gl.zeros(n, c, math.prod(padded), dtype=x.dtype).index_add(2, flat, x.reshape(n, c, -1)).reshape(n, c, *padded)
    )
    window = [slice(None)] * 2 + [slice(pads[k], pads[k] + m) for k, m in enumerate(size)]
    return image_[tuple(window)]
