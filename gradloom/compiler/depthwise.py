"""Convolutions whose groups have few channels as kernels: their place in the fuser, and how they are cut into tiles.

As for products, everything follows from extents and strides, never from the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

from gradloom import dtypes
from gradloom.compiler.contract_plan import short_body
from gradloom.compiler.correlations import Correlations, readable, wide_of
from gradloom.compiler.llvm.depthwise import PACKED, Depthwise
from gradloom.compiler.llvm.depthwise_filter import DepthwiseFilter
from gradloom.compiler.llvm.depthwise_tile import Reach
from gradloom.compiler.llvm.epilogue import SIZE
from gradloom.compiler.llvm.host import Host, detect_host
from gradloom.compiler.llvm.microkernel import BYTES
from gradloom.compiler.loops import Contract, Launch
from gradloom.compiler.views import View
from gradloom.dtypes import DType
from gradloom.graph.node import Node
from gradloom.ops.convolution import Geometry

__all__ = ["Depthwises", "Walk", "filter_pieces", "fits", "packed_lanes", "plan_depthwise"]

MOST_STEPS = 640  # multiply-adds written out in a tile
ACROSS = 14  # results of a row in a tile, at most
PAIR = 8  # the same where a tile has two rows
WIDE_FILTER = 3  # rows of a filter up to which tiles have two rows of results
INLINE_LENGTH = 8  # instructions and stores of a body that is written out for every result of a tile
CHUNKS = 32  # as many chunks as this are enough to level the load
CHUNK_WORK = 1 << 15  # multiply-adds below which another chunk is not worth it
PIECES = 16  # of the sums for a filter, at most
PIECE_WORK = 1 << 19  # multiply-adds below which another piece is not worth it
PIECE_PIXELS = 128  # results below which a piece's sums take longer to be added up than to be made
ZERO_BYTES = 1 << 20  # of the pixel outside of images
PACKED_BYTES = 3 << 10  # of the filters of a vector of channels from which on they are packed
NEAR_BYTES = 512 << 10  # of images that are in a cache near by when they are read
STRIDE = 4  # largest stride that images are computed from results with


@dataclass(frozen=True)
class Walk:
    """What a depthwise kernel is told beside its operands and body.

    size: rows and columns of results. count: of images; images: rows and columns of what is read. pieces: for the
    gradient of filters, images and rows that a piece of the sums is made over.
    """

    geometry: Geometry
    kernel: tuple[int, ...]
    part: int
    each: int
    size: tuple[int, ...]
    images: tuple[int, ...]
    count: int
    transposed: bool = False
    pieces: tuple[int, int] | None = None

    def reaches(self) -> list[Reach]:
        """How filters walk along both axes."""
        g = self.geometry
        return [
            Reach(k, s, d, p, self.transposed)
            for k, s, d, (p, _) in zip(self.kernel, g.stride, g.dilation, g.padding, strict=True)
        ]


class Depthwises(Correlations):
    """The part of the fuser that knows convolutions whose groups have few channels."""

    def _convolution(self, n: Node) -> None:
        assert n.prim is not None
        if n.aval.dtype.category != 2 or n.prim.name not in ("depthwise", "depthwise_filter"):
            super()._convolution(n)
        elif n.prim.name == "depthwise":
            self._depthwise(n)
        else:
            self._depthwise_filter(n)

    def _pixels(self, x: Node, n: Node) -> View:
        """An operand whose channels are read by vectors; packed filters lie together."""
        if not readable(x, n):
            return self.converted(x, wide_of(n))
        v = self.view(x)
        loose = len(v.shape) == PACKED and not v.contiguous
        return v if not loose and (v.strides[-1] == 1 or v.shape[-1] == 1) else self.compact(x)

    def _depthwise(self, n: Node) -> None:
        x, w = n.ins
        g, size, transposed = n.attrs
        *kernel, part, _ = w.aval.shape[-4:]
        wide = n.aval.shape[-1]
        walk = Walk(
            g, tuple(kernel), part, wide // g.groups, tuple(size), x.aval.shape[1:-1], x.aval.shape[0], transposed
        )
        self._channelwise(n, (self._pixels(x, n), self._pixels(w, n)), prod(kernel) * part, walk)

    def _depthwise_filter(self, n: Node) -> None:
        x, y = n.ins
        g, kernel, pieces, _ = n.attrs
        part, wide = n.aval.shape[-2], y.aval.shape[-1]
        sizes = y.aval.shape[1:-1], x.aval.shape[1:-1]
        walk = Walk(g, tuple(kernel), part, wide // g.groups, *sizes, x.aval.shape[0], pieces=pieces)
        terms = prod(y.aval.shape[:-1]) // n.aval.shape[0]
        self._channelwise(n, (self._pixels(x, n), self._pixels(y, n)), terms, walk)
        self.view(n)  # its sums are only written, for the kernel that adds up the pieces
        del self.at_hand[id(n)], self.home[id(n)]

    def _channelwise(self, n: Node, operands: tuple[View, View], terms: int, walk: Walk) -> None:
        g = self.open("contract", n.aval.shape)
        for v in operands:
            for writer in v.storage.writers:
                self.depend(g, writer)
        g.dot, g.walk = (*operands, terms, wide_of(n).code), walk
        dims = tuple(k if extent != 1 else None for k, extent in enumerate(n.aval.shape))
        self.put(g, n, g.body.add("acc", g.dot[3]), dims)


# -- what there is a kernel for ----------------------------------------------------------------------------
def fits(geometry: Geometry, kernel: Sequence[int], part: int, each: int, dtype: DType, transposed: bool) -> bool:
    """Whether there is a kernel for a convolution: groups in a vector, and tiles of a sensible size."""
    lanes = detect_host().lanes(64 if dtype is dtypes.float64 else 32)
    if len(kernel) != 2 or geometry.groups == 1 or lanes % each or part > lanes:
        return False
    if transposed and max(geometry.stride) > STRIDE:
        return False
    if geometry.groups * max(part * 8, each * 8) > ZERO_BYTES or geometry.groups * each < lanes // 2:
        return False
    rows = kernel[0] if transposed and max(geometry.stride) > 1 else 1  # of the filters that are written out
    return rows * kernel[1] * part <= MOST_STEPS


def packed_lanes(kernel: Sequence[int], part: int, wide: int, dtype: DType) -> int:
    """The lanes of the vectors by which filters are packed; 0 where they are not.

    Filters of many elements, far apart from one another, would push each other out of the cache.
    """
    size = 8 if dtype is dtypes.float64 else 4
    lanes = detect_host().lanes(8 * size)
    return lanes if wide % lanes == 0 and prod(kernel) * part * lanes * size >= PACKED_BYTES else 0


def filter_pieces(results: Sequence[int], kernel: Sequence[int], part: int) -> tuple[int, int]:
    """How many images and rows of results a piece of the sums for a filter is made over."""
    n, rows, cols, _ = results
    work = prod(results) * prod(kernel) * part
    wanted = max(1, min(PIECES, work // PIECE_WORK, n * rows * cols // PIECE_PIXELS))
    if wanted <= n:
        return ceil(n / wanted), rows
    own = ceil(rows / ceil(wanted / n))
    return 1, min(rows, own + own % 2)


# -- planning --------------------------------------------------------------------------------------------------
def plan_depthwise(
    spec: Contract, walk: Walk, extents: Sequence[int], ints: Sequence[Sequence[int]], buffers: list[int], host: Host
) -> list[Launch]:
    """The launch that computes a convolution. extents: of the result; ints: of the accesses, as they say."""
    if 0 in extents:
        return []
    down, across = walk.reaches()
    wide = extents[-1] if walk.pieces is None else prod(extents[1:]) // (prod(walk.kernel) * walk.part)
    ragged = wide % host.lanes(8 * BYTES[spec.dtype]) != 0
    head = [*walk.size, wide, *walk.images, wide // walk.each * walk.part]
    flat = [i for own in ints for i in own]
    far = walk.count * prod(walk.images) * head[-1] * SIZE[spec.accesses[0].dtype] > NEAR_BYTES
    if walk.pieces is not None:
        images, rows = walk.pieces
        some = max(1, min(walk.part, host.registers * 3 // 8 // walk.kernel[1]))
        tall, widths = _filter_tile(walk, rows, some, host)
        source = DepthwiseFilter(
            spec, down, across, walk.part, walk.each, tall, widths, some, ragged, far, len(extents) > 5
        )
        head += [walk.count, images, rows, prod(walk.kernel) * walk.part * wide]
        own = sum(a.ints for a in spec.accesses[:2]) + 1  # of the store only the offset: it is in C order
        return [Launch(source, list(buffers), [*head, *flat[:own]], extents[0])]
    tall, widths = _tile(walk, host)
    work = prod(extents) * prod(walk.kernel) * walk.part
    wanted = max(1, min(CHUNKS, work // CHUNK_WORK))
    n, high = extents[:2]
    blocks = max(1, min(ceil(high / tall[0]), ceil(wanted / n)))
    rows = ceil(ceil(high / blocks) / tall[0]) * tall[0]
    inline = short_body(spec, INLINE_LENGTH)
    kernel = Depthwise(spec, down, across, walk.part, walk.each, tall, widths, inline, ragged, far)
    return [Launch(kernel, list(buffers), [*head, rows, n, *flat], n * ceil(high / rows))]


def _pairs(walk: Walk, rows: int, host: Host) -> bool:
    """Whether tiles have two rows of results: then a row of pixels serves both."""
    low = walk.kernel[0] in range(2, WIDE_FILTER + 1) and walk.geometry.stride[0] == 1
    return low and rows % 2 == 0 and walk.part == 1 and host.registers >= 32


def _tile(walk: Walk, host: Host) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Heights and widths of tiles."""
    rows, across = walk.kernel
    tall, unit, most, steps = 1, 1, ACROSS, across * walk.part  # steps: for each column of results
    if walk.transposed and max(walk.geometry.stride) > 1:
        tall, unit = walk.geometry.stride
        steps = max(1, steps * rows // unit)
    elif _pairs(walk, walk.size[0], host):
        tall, most, steps = 2, PAIR, steps * rows * 2
    live = across * (min(rows, 3) if tall > 1 else 1)
    top = min(most, (host.registers - live - 3) // tall, MOST_STEPS // steps)
    return _parts(walk.size[0], tall, tall), _parts(walk.size[1], max(1, top), unit)


def _filter_tile(walk: Walk, rows: int, some: int, host: Host) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The same for the gradient of filters, where results are read; ``rows`` of them for a piece."""
    tall = 2 if _pairs(walk, rows, host) and walk.size[0] % rows == 0 else 1
    sums = prod(walk.kernel) if tall > 1 else walk.kernel[1] * some
    top = min(PAIR if tall > 1 else ACROSS, (host.registers - sums - 3) // tall)
    top = min(top, MOST_STEPS // (walk.kernel[1] * walk.part * (walk.kernel[0] * tall if tall > 1 else 1)))
    return (tall,), _parts(walk.size[1], max(1, top), 1)


def _parts(count: int, top: int, unit: int) -> tuple[int, ...]:
    """Sizes that make up ``count``, few and of nearly one size, a multiple of ``unit``; then the rest."""
    top = max(1, top // unit)
    units = ceil(count / unit)
    high = ceil(units / ceil(units / top)) * unit
    if high >= count:
        return (count,)
    return (high, count % high) if count % high else (high,)
