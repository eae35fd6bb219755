"""Winograd's convolution for 3x3 filters with stride 1, where it needs less time than summing directly.

All three directions are the same three steps: tiles of both operands transformed, 36 matrix products, tiles transformed
back. The gradient of the filters takes the transposed transforms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradloom import dtypes
from gradloom.graph.node import Aval, Node
from gradloom.ops import structure as S
from gradloom.ops.convolution import Geometry
from gradloom.ops.tiling import RESULTS, TAPS, tiles_in, tiles_out

if TYPE_CHECKING:
    from gradloom.compiler.passes.convolve import Lowering

__all__ = ["filter_gradient", "fits", "forward"]

TILE = RESULTS + TAPS - 1
LEAST_CHANNELS = 32  # of both operands
LEAST_TILES = 14
CACHE_BYTES = 16 << 20  # of transformed tiles and products that are on their way at once


def fits(images: Aval, out: Aval, kernel: tuple[int, ...], g: Geometry) -> bool:
    """Whether a convolution of these images (N, H, W, C) to these results should be done this way."""
    if kernel != (TAPS, TAPS) or g.groups != 1 or {*g.stride, *g.dilation} != {1}:
        return False
    if images.dtype is not dtypes.float32:  # half precision has too few digits, float64 wants all of its own
        return False
    n, h, w, o = out.shape
    down, across = -(-h // RESULTS), -(-w // RESULTS)
    useful = h * w / (down * across * RESULTS**2)
    tiles = n * down * across
    return min(images.shape[-1], o) >= LEAST_CHANNELS and tiles >= LEAST_TILES and useful > 0.55


def _whole(low: Lowering, x: Node, padding: tuple, out: Aval) -> tuple[Node, tuple[int, int, int]]:
    """Padded images made up to whole tiles, and the grid of these."""
    n, h, w, _ = out.shape
    down, across = -(-h // RESULTS), -(-w // RESULTS)
    (p, q), (r, s) = padding
    more = ((p, q + down * RESULTS - h), (r, s + across * RESULTS - w))
    return low.padded(x, more), (n, down, across)


def _bands(images: int, each: int) -> list[tuple[int, int]]:
    """Images that are done together: as many as keep what lies between the steps in the last cache."""
    count = max(1, -(-images * each // CACHE_BYTES))
    size = -(-images // count)
    return [(a, min(a + size, images)) for a in range(0, images, size)]


def _images(low: Lowering, x: Node, band: tuple[int, int]) -> Node:
    shape = x.aval.shape
    if band == (0, shape[0]):
        return x
    starts, stops = (band[0], *(0,) * (len(shape) - 1)), (band[1], *shape[1:])
    return low.node(S.slice_, [x], starts, stops, (1,) * len(shape))


def forward(low: Lowering, x: Node, w: Node, g: Geometry, out: Aval) -> Node:
    """Results from images (N, H, W, C) and filters (3, 3, C, O)."""
    *_, c, o = w.aval.shape
    xp, (n, down, across) = _whole(low, x, g.padding, out)
    u = low.node(tiles_in, [low.reshape(w, (1, TAPS, TAPS, c * o))], "filters", TAPS, "forward")
    u = low.reshape(u, (TILE * TILE, c, o))
    parts = []
    for a, b in _bands(n, down * across * TILE * TILE * (c + o) * x.aval.dtype.itemsize):
        v = low.node(tiles_in, [_images(low, xp, (a, b))], "images", RESULTS, "forward")
        m = low.node(S.dot, [v, u])
        parts.append(low.node(tiles_out, [m], "results", (b - a, down, across)))
    y = parts[0] if len(parts) == 1 else low.node(S.cat, parts, 0)
    return y if y.aval.shape == out.shape else low.cut(y, [0, 0], out.shape[1:3], [1, 1])


def filter_gradient(low: Lowering, x: Node, y: Node, g: Geometry, out: Aval) -> Node:
    """The filters (3, 3, C, O) from images and the results' gradient."""
    *_, c, o = out.shape
    xp, (_, down, across) = _whole(low, x, g.padding, y.aval)
    _, h, w, _ = y.aval.shape
    yp = low.padded(y, ((0, down * RESULTS - h), (0, across * RESULTS - w)))
    v = low.node(tiles_in, [xp], "images", RESULTS, "filters")
    t = low.node(tiles_in, [yp], "results turned", RESULTS, "filters")
    u = low.node(S.dot, [low.permute(v, (0, 2, 1)), t])
    back = low.node(tiles_out, [low.reshape(u, (TILE * TILE, 1, c * o))], "filters turned", (1, 1, 1))
    return low.reshape(back, out.shape)
