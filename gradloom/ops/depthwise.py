"""What the compiler makes of convolutions whose groups have few channels: one depthwise.

Images lie channels-last and are not padded; what is outside of them counts as zero. Two spatial axes. A group has
``part`` channels of images and ``each`` of results; filters ``w (*K, part, groups * each)``, or packed by vectors of so
many ``lanes``: ``(groups * each / lanes, *K, part, lanes)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.graph.node import Aval
from gradloom.ops.convolution import Convolution, convolve, convolve_filter, convolve_input

__all__ = ["depthwise", "depthwise_filter"]

Array = np.ndarray
PACKED = 5  # axes of packed filters


def _turned(w: Array, groups: int) -> Array:
    """(*K, C, groups * O) to (*K, O, groups * C)."""
    *k, c, wide = w.shape
    return np.swapaxes(w.reshape(*k, c, groups, wide // groups), -3, -1).reshape(*k, wide // groups, groups * c)


def _plain(w: Array) -> Array:
    """Packed filters as others are."""
    return np.moveaxis(w, 0, -2).reshape(*w.shape[1:-1], -1) if w.ndim == PACKED else w


def _aval(a: Sequence[Aval], t: tuple) -> Aval:
    (x, w), (_, size, _) = a, t
    wide = w.shape[-1] * (w.shape[0] if len(w.shape) == PACKED else 1)
    return Aval((x.shape[0], *size, wide), dtypes.promote(x.dtype, w.dtype))


def _reference(arrays: Sequence[Array], t: tuple, v: Aval) -> Array:
    (x, w), (g, size, transposed) = (arrays[0], _plain(arrays[1])), t
    if transposed:
        return convolve_input.reference((x, _turned(w, g.groups)), (g, size), v)
    return convolve.reference((x, w), (g, ()), v)


def _blocks(count: int, step: int) -> list[slice]:
    return [slice(k, min(k + step, count)) for k in range(0, count, step)]


def _filter_aval(a: Sequence[Aval], t: tuple) -> Aval:
    (x, y), (g, size, (images, rows), lanes) = a, t
    pieces = len(_blocks(y.shape[0], images)) * len(_blocks(y.shape[1], rows))
    wide = dtypes.float64 if dtypes.promote(x.dtype, y.dtype) is dtypes.float64 else dtypes.float32
    part, channels = x.shape[-1] // g.groups, y.shape[-1]
    if lanes:
        return Aval((pieces, channels // lanes, *size, part, lanes), wide)
    return Aval((pieces, *size, part, channels), wide)


def _filter_reference(arrays: Sequence[Array], t: tuple, v: Aval) -> Array:
    (x, y), (g, size, (images, rows), lanes) = arrays, t
    each = v._replace(shape=(*size, x.shape[-1] // g.groups, y.shape[-1]))
    out = []
    for i in _blocks(y.shape[0], images):
        for r in _blocks(y.shape[1], rows):
            part: Any = np.zeros(y[i].shape, y.dtype)
            part[:, r] = y[i][:, r]
            out.append(convolve_filter.reference((x[i], part), (g, size), each))
    sums = np.stack(out)
    return np.moveaxis(sums.reshape(*sums.shape[:-1], -1, lanes), -2, 1) if lanes else sums


depthwise = Convolution("depthwise", _reference, _aval)
"""operands (x (N, H, W, groups * part), w) -> y (N, *size, groups * each); attrs (geometry, size, transposed):
transposed, the geometry is that of the convolution whose gradient for its images this is."""
depthwise_filter = Convolution("depthwise_filter", _filter_reference, _filter_aval)
"""operands (x, y) -> sums (pieces, *K, part, groups * each), in float32 or float64; attrs (geometry, size of w,
(images, rows) of y that a piece is summed over, lanes); packed as filters are unless lanes is 0."""
