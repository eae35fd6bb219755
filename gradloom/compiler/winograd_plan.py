"""Planning of Winograd's convolution: how many tiles a block has, and how work is cut into chunks.

Everything follows from extents, never from the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

from gradloom.ops.tiling import MATRICES

from .contract_plan import round_up
from .llvm.host import Host
from .llvm.microkernel import BYTES, Tile, tile_of
from .llvm.winograd import Winograd
from .loops import SCRATCH_BYTES, Contract, Launch

__all__ = ["block_of", "plan_winograd"]

IMAGE_BYTES = 512 << 10  # of transformed images that a block has, beside the filters in the second level cache
MOST_BYTES = 1 << 20  # that it has where fewer tiles would not fill a register tile, or where there are no more
TILES = 28  # of a block, at most
ENOUGH, FEW = 8, 4  # chunks that are wanted where they cost little, and at any price
CHUNK_WORK = 1 << 17  # multiply-adds below which another chunk is not worth it
NEAR_BYTES = 1 << 20  # of filters that every block may read again
APART = 64  # bytes between tiles of transformed images, so that neighbours do not lie in the same sets of the cache


def _tile(host: Host, dtype: str, block: int, total: int) -> Tile:
    """Register tiles for blocks of so many tiles and what is left of the last."""
    tile = replace(tile_of(host, dtype, "wide"), vectors=2)
    high = ceil(block / ceil(block / tile.heights[0]))
    heights = {high, block % high, total % block % high} - {0}
    return replace(tile, heights=tuple(sorted(heights, reverse=True)))


def block_of(channels: int, places: int, total: int, top: int, size: int) -> int:
    """The most tiles that a block may have: their transformed images stay in the second level cache."""
    tile = places * (channels * size + APART)
    most = max(1, min(TILES, MOST_BYTES // tile))
    return total if total <= most else max(min(TILES, IMAGE_BYTES // tile) // top * top, min(most, top))


def plan_winograd(
    spec: Contract,
    side: int,
    extents: Sequence[int],
    operands: Sequence[Sequence[int]],
    access_ints: Sequence[Sequence[int]],
    buffers: list[int],
    host: Host,
) -> list[Launch]:
    """The launch that computes a convolution.

    side: results along a side of a tile. extents: images, rows, columns, channels of the results. operands: shapes of
    the padded images and of the transformed filters, as :class:`~.llvm.winograd.Winograd` has them. access_ints,
    buffers: as :func:`~.contract_plan.plan_contract` has them.
    """
    n, height, wide, cols = extents
    channels, panel = operands[0][-1], operands[1][-1]
    into, back = MATRICES[f"images {side}"], MATRICES[f"results {side}"]
    places, size = len(into) ** 2, BYTES[spec.dtype]
    down, across = ceil(height / side), ceil(wide / side)
    total = n * down * across
    columns = _tile(host, spec.dtype, total, total).columns
    top = tile_of(host, spec.dtype, "wide").heights[0]
    strips = ceil(cols / columns)

    pitch = channels * size + APART
    work = total * places * channels * cols
    wanted = max(1, work // CHUNK_WORK)
    most = block_of(channels, places, total, top, size)
    blocks = ceil(total / most)
    each = strips  # of a chunk
    near = places * channels * cols * size <= NEAR_BYTES
    while (chunks := blocks * ceil(strips / each)) < min(wanted, ENOUGH):
        few = chunks < min(wanted, FEW)
        if near and total / blocks > top:
            blocks *= 2
        elif each > (1 if few else 2):  # each chunk of columns transforms the images again
            each = ceil(each / 2)
        elif few and total / blocks > top:  # each block reads the filters again
            blocks *= 2
        else:
            break
    block = ceil(total / blocks)
    if block > top:
        block = min(most, round_up(block, ceil(block / ceil(block / top))))
    at = round_up(places * block * pitch, 4096)
    out = round_up(at + places * block * columns * size, 4096)
    end = out + block * side * side * columns * size
    if end > SCRATCH_BYTES:
        raise ValueError(f"a block of {block} tiles needs {end} bytes of scratch: {spec}")
    source = Winograd(spec, _tile(host, spec.dtype, block, total), into, back)
    head = [down, across, total, height, wide, cols, channels, block, each * columns, panel, pitch, at, out]
    chunks = ceil(total / block) * ceil(strips / each)
    return [Launch(source, list(buffers), [*head, *(i for own in access_ints for i in own)], chunks)]
