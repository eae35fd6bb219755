"""How a contraction is cut into chunks: rows, columns and steps of k of a block.

From extents alone, never from the number of threads, so that no bit of a result hangs on it; but such that two threads
finish together.
"""

from __future__ import annotations

from math import ceil, prod
from typing import TYPE_CHECKING

from gradloom.compiler.llvm.contract import PACK_STRIP
from gradloom.compiler.llvm.microkernel import BYTES, Tile

if TYPE_CHECKING:
    from gradloom.compiler.contract_plan import Problem, Structure

__all__ = ["L2_BYTES", "block_sizes", "compute_cycles", "round_up"]

L2_BYTES = 512 << 10  # a B or C that stays in the second level cache
A_BYTES = 384 << 10  # packed rows of A that stay in the second level cache beside a strip of B and C
HALVES_BYTES = 1 << 20  # a B that may be read for each half of the rows
C_BYTES = 512 << 10  # sums that wait in scratch where k is cut
CHUNK_CYCLES = 10_000  # smallest chunk worth handing to another thread
CHUNKS = 32  # as many chunks as this are enough to level the load
PACK_STRIPS = 32  # of B that pay for packing the rows of A once more
FEW_CHUNKS = 8  # with fewer than this, packing A more often is the lesser evil
UNEVEN = 0.96  # of the busier thread's work: to get below that is worth another cut of k
STRIPS = 32  # of B in a block, at most: longer blocks of C leave the cache before the next row of tiles


def round_up(n: int, unit: int) -> int:
    """The least multiple of ``unit`` that is not below ``n``."""
    return -(-n // unit) * unit


def compute_cycles(p: Problem, tile: Tile) -> float:
    """Cycles of the register tiles: multiply-adds, 4 cycles of latency at the least, then storing the sums."""
    rows, k = p.rows, max(1, p.k)
    if tile.dot:
        return p.cols * rows * (ceil(k / tile.lanes) * 2 + 6)
    out = 0.0
    for h in tile.heights:
        sums = h * tile.vectors
        out += rows // h * (k * (2 * sums if h == 1 else max(sums, 4)) + 3 * sums + 30)
        rows %= h
    return out * ceil(p.cols / tile.columns)


def block_sizes(p: Problem, s: Structure, tile: Tile) -> tuple[int, int, int]:
    """Block sizes (mc, nc, kc): chunks enough to level the load, whose operands stay in the second level cache."""
    k = max(1, p.k)
    cuts = ceil(k / s.max_kc)
    if cuts == 1:
        return _blocks_of(p, s, tile, k)
    way, other = (_blocks_of(p, s, tile, _stretch(k, n, s.max_kc)) for n in (cuts, cuts + 1))
    # shorter stretches leave room for more packed rows, and so for blocks with which two threads finish together
    uneven = s.pack_a and prod(p.batch) == 1 and _longest(p, other) < UNEVEN * _longest(p, way)
    return other if uneven else way


def _stretch(k: int, cuts: int, most: int) -> int:
    """The length of so many stretches of k."""
    return min(k, round_up(ceil(k / cuts), min(most, 16)))


def _longest(p: Problem, way: tuple[int, int, int]) -> int:
    """Elements of C that the busier one of two threads computes."""
    mc, nc, _ = way
    loads = [0, 0]
    for row in range(0, p.rows, mc):
        for col in range(0, p.cols, nc):
            loads[loads[0] > loads[1]] += min(mc, p.rows - row) * min(nc, p.cols - col)
    return max(loads)


def _blocks_of(p: Problem, s: Structure, tile: Tile, kc: int) -> tuple[int, int, int]:
    """The same for stretches of k of length ``kc``."""
    size, rows, k, top = BYTES[p.spec.dtype], p.rows, max(1, p.k), tile.heights[0]
    strips = ceil(p.cols / tile.columns)
    matrices = prod(p.batch)
    wanted = ceil(max(1, min(CHUNKS, int(compute_cycles(p, tile) * matrices / CHUNK_CYCLES))) / matrices)

    most = 512 if tile.dot or s.b_mode == PACK_STRIP else 8 * top
    if s.pack_a:
        most = min(8 * top, max(1, A_BYTES // (kc * size * top)) * top)
    row_blocks = ceil(rows / most)
    col_blocks = 1 if s.shape == "stream" else ceil(strips / STRIPS)
    least = 1
    if s.pack_a:
        least = PACK_STRIPS
    elif s.shape == "stream":
        least = max(1, 4096 // (tile.columns * size))  # whole pages of B's rows
    if row_blocks * col_blocks < wanted:
        col_blocks = max(col_blocks, min(strips // least, ceil(wanted / row_blocks)))
    if row_blocks * col_blocks < wanted and s.b_mode != PACK_STRIP:
        # a strip far off is fetched again for every block of rows: let it serve several tiles in a row
        strip = kc * tile.columns * size
        near = strip <= 32 << 10 or kc * p.cols * size <= L2_BYTES
        short = top * (1 if near else 2 if strip < 64 << 10 else 4)
        row_blocks = max(row_blocks, min(max(1, rows // short), ceil(wanted / col_blocks)))
    if s.pack_a and row_blocks * col_blocks < min(wanted, FEW_CHUNKS):
        col_blocks = max(col_blocks, min(strips // 4, ceil(FEW_CHUNKS / row_blocks)))
    by_rows = s.shape == "wide" and not s.pack_a and s.b_mode != PACK_STRIP and kc * p.cols * size <= HALVES_BYTES
    if by_rows and wanted > 1 and row_blocks % 2 and rows >= 2 * top:
        # halves of the rows: two threads find in their own caches what they wrote in the product before
        row_blocks += 1
        col_blocks = max(ceil(strips / STRIPS), min(strips, ceil(wanted / row_blocks)))
    mc = min(rows, most, round_up(ceil(rows / row_blocks), 2))
    if 3 * top <= mc < rows:
        mc = _fair(rows, mc, most, col_blocks * matrices, tile)
    nc = ceil(strips / col_blocks)
    if kc < k:  # the waiting sums must fit beside the operands
        nc = min(nc, max(1, C_BYTES // (round_up(mc, tile.lanes) * tile.columns * size)))
    return mc, nc * tile.columns, kc


def _fair(rows: int, mc: int, most: int, others: int, tile: Tile) -> int:
    """A number of rows near ``mc`` that lets two threads finish together; no short tile, which would wait for B."""
    top, second = tile.heights[:2]
    near = range(mc * 3 // 4, min(most, mc * 5 // 4) + 1)
    good = [c for c in near if c % top in (0, second)] or [mc]
    return min(good, key=lambda c: (ceil(ceil(rows / c) * others / 2) * c, -c))
