"""Copies that bring an array into another order of axes where one side walks several axes in short steps.

Filters as PyTorch keeps them, (O, C, KH, KW), become (KH, KW, C, O) for the kernels and back: on one side runs of
C * KH * KW neighbours, on the other lines of O neighbours. Squares are transposed in registers; where each line lies is
a table among the launch's integers. Filters in panels, (O / 32, KH, KW, C, 32), are blocks of that kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from gradloom.compiler.llvm.host import Host
from gradloom.compiler.llvm.reorder import SIZE, Reorder
from gradloom.compiler.loops import Launch, Nest

__all__ = ["plan_reorder"]

WORDS = {"f32", "i32", "u32"}
COLUMNS = 1024  # of a chunk


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
        buffers = [slots[load.buf], slots[store.buf]]
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
