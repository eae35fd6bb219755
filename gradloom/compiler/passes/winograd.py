"""Winograd's convolution for 3x3 filters with stride 1, where it needs less time than summing directly.

Forward, and for the gradient of the images, it is one kernel, ``winograd``, on filters that were transformed before.
The gradient of the filters takes the transposed transforms: tiles of both operands transformed, 36 matrix products,
tiles transformed back.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from gradloom import dtypes
from gradloom.compiler.llvm.host import detect_host
from gradloom.compiler.llvm.microkernel import tile_of
from gradloom.compiler.winograd_plan import block_of
from gradloom.graph.node import Aval, Node
from gradloom.ops import elementwise as E
from gradloom.ops import structure as S
from gradloom.ops.convolution import Geometry
from gradloom.ops.tiling import RESULTS, TAPS, tiles_in, tiles_out, winograd
from gradloom.runtime.limits import get_winograd

if TYPE_CHECKING:
    from gradloom.compiler.passes.convolve import Lowering

__all__ = ["filter_gradient", "filter_gradient_fits", "forward", "way"]

TILE = RESULTS + TAPS - 1
LEAST_CHANNELS, MOST_CHANNELS = 32, 4096  # of both operands
UNIT = 16  # channels of both operands are a multiple of this: whole registers on every host
LEAST_TILES = 14
SIDES = (4, 2)
# the costs below are cycles of one core of Zen 4
LANES = 16  # multiply-adds
DIRECT_SHARE, SHARE = 0.92, 0.85  # of the peak that products reach
TRANSFORM = 9.0  # of a register at one place of a tile, both ways together
STREAM = 6.0  # bytes of filters that come from far off
NEAR_BYTES = 1 << 20  # of filters that do not
FILTERS = 0.8  # of an element of filters that is brought into this form in each run, beyond what direct sums need
WORTH = 0.9  # of the direct sums' time
HALVES = (dtypes.bfloat16, dtypes.float16)  # widened as they are read, and rounded once at the end


def _suits(images: Aval, out: Aval, kernel: tuple[int, ...], g: Geometry) -> bool:
    if get_winograd() == "off" or kernel != (TAPS, TAPS) or g.groups != 1 or {*g.stride, *g.dilation} != {1}:
        return False
    return all(LEAST_CHANNELS <= x.shape[-1] <= MOST_CHANNELS for x in (images, out))


def way(images: Aval, out: Aval, kernel: tuple[int, ...], g: Geometry, steady: bool) -> int:
    """How many results along a side the tiles of a convolution (N, H, W, C) to (N, H, W, O) have; 0: sum directly.

    steady: whether the filters stay the same from run to run, transformed once.
    """
    c, o, host = images.shape[-1], out.shape[-1], detect_host()
    if not _suits(images, out, kernel, g) or c % UNIT or o % UNIT:
        return 0
    # float64 wants all of its digits; float16 should be widened by one instruction
    if images.dtype not in (dtypes.float32, *HALVES) or (images.dtype is dtypes.float16 and not host.f16c):
        return 0
    n, h, w, _ = out.shape
    top = tile_of(host, "f32", "wide").heights[0]
    pairs = host.bf16 and images.dtype is dtypes.bfloat16

    def far(places: int, size: int = dtypes.float32.itemsize) -> float:
        """Cycles that the filters take to come."""
        nbytes = places * c * o * size
        return nbytes / STREAM if nbytes > NEAR_BYTES else 0.0

    def transformed(side: int) -> float:
        tiles, places = n * ceil(h / side) * ceil(w / side), (side + TAPS - 1) ** 2
        products = places * max(4, tiles) * c * o / LANES / SHARE
        more = 0.0 if steady else FILTERS * places * c * o
        blocks = ceil(tiles / block_of(c, places, tiles, top, dtypes.float32.itemsize))
        return max(products, blocks * far(places)) + tiles * places * (c + o) / LANES * TRANSFORM + more

    products = TAPS * TAPS * n * h * w * c * o / LANES / DIRECT_SHARE / (2 if pairs else 1)
    direct = max(products, far(TAPS * TAPS, images.dtype.itemsize))
    best = min(SIDES, key=transformed)
    return best if get_winograd() == "on" or transformed(best) < WORTH * direct else 0


def filter_gradient_fits(images: Aval, out: Aval, kernel: tuple[int, ...], g: Geometry) -> bool:
    """Whether the gradient of the filters should be made this way, of images (N, H, W, C) and results."""
    if not _suits(images, out, kernel, g) or images.dtype is not dtypes.float32:
        return False
    n, h, w, _ = out.shape
    down, across = ceil(h / RESULTS), ceil(w / RESULTS)
    useful = h * w / (down * across * RESULTS**2)
    return get_winograd() == "on" or (n * down * across >= LEAST_TILES and useful > 0.55)


def _whole(low: Lowering, x: Node, padding: tuple, out: Aval, side: int) -> Node:
    """Padded images made up to whole tiles."""
    _, h, w, _ = out.shape
    (p, q), (r, s) = padding
    return low.padded(x, ((p, q + -h % side), (r, s + -w % side)))


def forward(low: Lowering, x: Node, w: Node, g: Geometry, out: Aval, side: int) -> Node:
    """Results from images (N, H, W, C) and filters (3, 3, C, O)."""
    *_, c, o = w.aval.shape
    places = (side + TAPS - 1) ** 2
    wide = 2 * tile_of(detect_host(), "f32", "wide").lanes  # columns that are multiplied together
    panel = wide if o % wide == 0 else o
    if w.aval.dtype is not dtypes.float32:
        w = low.node(E.cast, [w], dtypes.float32)
    w = low.reshape(w, (TAPS, TAPS, c, o // panel, panel))
    w = low.reshape(low.permute(w, (3, 0, 1, 2, 4)), (o // panel, TAPS, TAPS, c * panel))
    u = low.node(tiles_in, [w], f"filters {side}", TAPS, "panels")
    u = low.reshape(u, (places, o // panel, c, panel))
    return low.node(winograd, [_whole(low, x, g.padding, out, side), u], side, out.shape)


def filter_gradient(low: Lowering, x: Node, y: Node, g: Geometry, out: Aval) -> Node:
    """The filters (3, 3, C, O) from images and the results' gradient."""
    *_, c, o = out.shape
    _, h, w, _ = y.aval.shape
    xp = _whole(low, x, g.padding, y.aval, RESULTS)
    yp = low.padded(y, ((0, -h % RESULTS), (0, -w % RESULTS)))
    v = low.node(tiles_in, [xp], f"images {RESULTS}", RESULTS, "filters")
    t = low.node(tiles_in, [yp], f"results turned {RESULTS}", RESULTS, "filters")
    u = low.node(S.dot, [low.permute(v, (0, 2, 1)), t])
    back = low.node(tiles_out, [low.reshape(u, (TILE * TILE, 1, c * o))], f"filters turned {RESULTS}", (1, 1, 1))
    return low.reshape(back, out.shape)
