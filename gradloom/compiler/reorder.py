"""Copies that bring an array into another order of axes where one side walks several axes in short steps.

Filters as PyTorch keeps them, (O, C, KH, KW), become (KH, KW, C, O) for the kernels and back: on one side runs of
C * KH * KW neighbours, on the other lines of O neighbours. Squares are transposed in registers; where each line lies is
a table among the launch's integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from gradloom.compiler.llvm.elementwise import memory_type
from gradloom.compiler.llvm.host import Host
from gradloom.compiler.llvm.pack import transpose
from gradloom.compiler.llvm.text import Module, V
from gradloom.compiler.loops import Launch, Nest

__all__ = ["Reorder", "plan_reorder"]

WORDS = {"f32", "i32", "u32"}
SIZE = 4
COLUMNS = 1024  # of a chunk


@dataclass(frozen=True)
class Reorder:
    """Runs to lines, or lines to runs where ``gather``. Buffers: source, destination.

    ``ints``: rows, columns, bytes from one run to the next, byte offsets of both arrays, columns of a chunk, then for
    each column the byte offset of its line. A chunk is a band of rows by some columns; the last squares overlap others.
    """

    gather: bool

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Emit the kernel under ``name``."""
        n = host.lanes(8 * SIZE)
        ty = memory_type("f32", n)
        args = [("ptr", "bufs"), ("ptr", "ints"), ("ptr", "scratch"), ("i64", "begin"), ("i64", "end")]
        f = module.function(name, "void", args)

        def number(at: int) -> V:
            return f.load("i64", f.gep(f.arg("ints"), "i64", at))

        rows, cols, step, src_at, dst_at, width = (number(k) for k in range(6))
        table = f.gep(f.arg("ints"), "i64", 6)
        src = f.gep(f.load("ptr", f.arg("bufs")), "i8", src_at)
        dst = f.gep(f.load("ptr", f.gep(f.arg("bufs"), "ptr", 1)), "i8", dst_at)
        runs, lines = (dst, src) if self.gather else (src, dst)
        bands = f.sdiv(f.add(rows, n - 1), n)
        with f.loop(f.arg("begin"), f.arg("end"), 1, name="chunk") as it:
            r = f.min_i(f.mul(f.srem(it.i, bands), n), f.sub(rows, n))
            first = f.mul(f.sdiv(it.i, bands), width)
            run, line = f.gep(runs, "i8", f.mul(r, step)), f.gep(lines, "i8", f.mul(r, SIZE))
            with f.loop(first, f.min_i(f.add(first, width), cols), n, name="square") as c:
                q = f.min_i(c.i, f.sub(cols, n))
                at = [f.gep(line, "i8", f.load("i64", f.gep(table, "i64", f.add(q, k)))) for k in range(n)]
                p = f.gep(run, "i8", f.mul(q, SIZE))
                ends = [p]
                for _ in range(n - 1):
                    ends.append(f.gep(ends[-1], "i8", step))
                frm, to = (at, ends) if self.gather else (ends, at)
                for x, out in zip(transpose(f, [f.load(ty, x) for x in frm]), to, strict=True):
                    f.store(x, out)
        f.ret()


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
        row, axes = found
        start = sum(min(0, (extents[k] - 1) * runs[k]) for k in axes)  # runs that go backwards begin at their end
        table = [0]
        for k in axes:  # the nearest first
            places = range(extents[k]) if runs[k] > 0 else range(extents[k] - 1, -1, -1)
            table = [t + i * lines[k] for i in places for t in table]
        run_at, line_at = (dst_at, src_at) if gather else (src_at, dst_at)
        run_at += start
        begin = (line_at, run_at) if gather else (run_at, line_at)
        n, rows, cols = host.lanes(8 * SIZE), extents[row], len(table)
        chunks = -(-rows // n) * -(-cols // COLUMNS)
        head = [rows, cols, runs[row] * SIZE, begin[0] * SIZE, begin[1] * SIZE, COLUMNS]
        buffers = [slots[load.buf], slots[store.buf]]
        return Launch(Reorder(gather), buffers, [*head, *(t * SIZE for t in table)], chunks)
    return None


def _runs(extents: Sequence[int], runs: Sequence[int], lines: Sequence[int], n: int) -> tuple[int, list[int]] | None:
    """The axis along the lines, and the axes that make up a run, nearest first; None where they do not."""
    row = next((k for k, (e, s) in enumerate(zip(extents, lines, strict=True)) if s == 1 and e >= n), None)
    if row is None or runs[row] == 1:
        return None
    rest = sorted((k for k in range(len(extents)) if k != row), key=lambda k: abs(runs[k]))
    step = 1
    for k in rest:
        if abs(runs[k]) != step:
            return None
        step *= extents[k]
    if len(rest) < 2 or step < n or prod(extents) < 1 << 12:
        return None
    return row, rest
