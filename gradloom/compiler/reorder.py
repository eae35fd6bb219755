"""Copies that bring an array into another order of axes where one side walks several axes in short steps.

Filters as PyTorch keeps them, (O, C, KH, KW), become (KH, KW, C, O) for the kernels and back: on one side runs of
C * KH * KW neighbours, on the other lines of O neighbours. Squares are transposed in registers; where each line lies is
a table among the launch's integers. Filters in panels, (O / 32, KH, KW, C, 32), are blocks of that kind.

Pictures as PyTorch keeps them, (N, 3, H, W), become (N, H, W, 3): planes are woven in registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from gradloom.compiler.llvm.host import Host
from gradloom.compiler.llvm.interleave import Interleave
from gradloom.compiler.llvm.reorder import SIZE, Reorder
from gradloom.compiler.loops import Launch, Nest

__all__ = ["plan_reorder"]

WORDS = {"f32", "i32", "u32"}
COLUMNS = 1024  # of a chunk
PLANES = 4  # at most, that are woven
WOVEN = 1 << 13  # elements of a chunk of these


def plan_reorder(
    nest: Nest, extents: Sequence[int], ints: Sequence[Sequence[int]], slots: Sequence[int], host: Host
) -> Launch | None:
    """The launch for a nest that only copies, where this way suits it; None: another way is meant."""
    if len(nest.body) != 1 or len(nest.stores) != 1 or nest.body[0].op != "load" or "r" in nest.axes:
        return None
    load, store = nest.accesses[nest.body[0].attrs[0]], nest.accesses[nest.stores[0][1]]
    if load.dtype not in WORDS or load.dtype != store.dtype:
        return None
    walks = []
    for k in (nest.body[0].attrs[0], nest.stores[0][1]):
        given = iter(ints[k][1:])
        walks.append([next(given) if s == "s" else int(s) for s in nest.accesses[k].steps])
    src, dst = walks
    src_at, dst_at = ints[nest.body[0].attrs[0]][0], ints[nest.stores[0][1]][0]
    buffers = [slots[load.buf], slots[store.buf]]
    woven = _woven(extents, src, dst, src_at, dst_at, buffers, host)
    if woven is not None:
        return woven
    for gather, runs, lines in ((False, src, dst), (True, dst, src)):
        found = _runs(extents, runs, lines, host.lanes(8 * SIZE))
        if found is None:
            continue
        row, axes, block = found
        start = sum(min(0, (extents[k] - 1) * runs[k]) for k in axes)  # runs that go backwards begin at their end
        table = [0]
        for k in axes:  # the nearest first
            places = range(extents[k]) if runs[k] > 0 else range(extents[k] - 1, -1, -1)
            table = [t + i * lines[k] for i in places for t in table]
        run_at, line_at = (dst_at, src_at) if gather else (src_at, dst_at)
        run_at += start
        begin = (line_at, run_at) if gather else (run_at, line_at)
        n, rows, cols = host.lanes(8 * SIZE), extents[row], len(table)
        chunks = -(-rows // n) * -(-cols // COLUMNS) * (1 if block is None else extents[block])
        apart = (0, 0) if block is None else (src[block] * SIZE, dst[block] * SIZE)
        head = [rows, cols, runs[row] * SIZE, begin[0] * SIZE, begin[1] * SIZE, COLUMNS, *apart]
        return Launch(Reorder(gather), buffers, [*head, *(t * SIZE for t in table)], chunks)
    return None


def _runs(
    extents: Sequence[int], runs: Sequence[int], lines: Sequence[int], n: int
) -> tuple[int, list[int], int | None] | None:
    """The axis along the lines, the axes that make up a run, nearest first, and one of blocks beside; None where the
    axes are no such thing.
    """
    row = next((k for k, (e, s) in enumerate(zip(extents, lines, strict=True)) if s == 1 and e >= n), None)
    if row is None or runs[row] == 1:
        return None
    axes: list[int] = []
    blocks: list[int] = []
    step = 1
    for k in sorted((k for k in range(len(extents)) if k != row), key=lambda k: abs(runs[k])):
        if abs(runs[k]) != step:
            blocks.append(k)
            continue
        axes.append(k)
        step *= extents[k]
    if len(blocks) > 1 or len(axes) < 2 or step < n or prod(extents) < 1 << 12:
        return None
    return row, axes, blocks[0] if blocks else None


def _woven(
    extents: Sequence[int], src: Sequence[int], dst: Sequence[int], src_at: int, dst_at: int, buffers: list[int],
    host: Host,
) -> Launch | None:  # fmt: skip
    """The launch that weaves planes into pixels; None where it is another copy."""
    plane = next((k for k, e in enumerate(extents) if dst[k] == 1 and 1 < e <= PLANES), None)
    if plane is None:
        return None
    planes = extents[plane]
    across = next((k for k in range(len(extents)) if k != plane and src[k] == 1 and dst[k] == planes), None)
    if across is None or extents[across] < host.lanes(8 * SIZE) or src[plane] == 0:
        return None
    outer = [k for k in range(len(extents)) if k not in (plane, across)]
    if len(outer) > 2:
        return None
    n, high = [1] * (2 - len(outer)) + [extents[k] for k in outer]
    steps = [0] * (2 - len(outer)) + [src[k] for k in outer], [0] * (2 - len(outer)) + [dst[k] for k in outer]
    rows, cols = n * high, extents[across]
    each = max(1, WOVEN // (cols * planes))
    (a, b), (c, d) = ([SIZE * s for s in own] for own in steps)
    head = [rows, high, cols, each, a, b, src[plane] * SIZE, src_at * SIZE, c, d, dst_at * SIZE]
    return Launch(Interleave(planes), buffers, head, -(-rows // each))
