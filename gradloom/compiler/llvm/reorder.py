"""The copy that brings runs of several axes into lines of one, or back, by squares transposed in registers."""

from __future__ import annotations

from dataclasses import dataclass

from .elementwise import memory_type
from .host import Host
from .pack import transpose
from .text import Module, V

__all__ = ["SIZE", "Reorder"]

SIZE = 4  # bytes of an element
HEAD = 8  # integers in front of the lines' offsets


@dataclass(frozen=True)
class Reorder:
    """Runs to lines, or lines to runs where ``gather``. Buffers: source, destination.

    ``ints``: rows, columns, bytes from one run to the next, byte offsets of both arrays, columns of a chunk, bytes from
    one block of both arrays to the next, then for each column the byte offset of its line. A chunk is a band of rows by
    some columns of a block; the last squares overlap others.
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

        rows, cols, step, src_at, dst_at, width, src_block, dst_block = (number(k) for k in range(HEAD))
        table = f.gep(f.arg("ints"), "i64", HEAD)
        src = f.gep(f.load("ptr", f.arg("bufs")), "i8", src_at)
        dst = f.gep(f.load("ptr", f.gep(f.arg("bufs"), "ptr", 1)), "i8", dst_at)
        bands = f.sdiv(f.add(rows, n - 1), n)
        each = f.mul(bands, f.sdiv(f.sub(f.add(cols, width), 1), width))  # chunks of a block
        with f.loop(f.arg("begin"), f.arg("end"), 1, name="chunk") as it:
            block, chunk = f.sdiv(it.i, each), f.srem(it.i, each)
            frm, to = f.gep(src, "i8", f.mul(block, src_block)), f.gep(dst, "i8", f.mul(block, dst_block))
            runs, lines = (to, frm) if self.gather else (frm, to)
            r = f.min_i(f.mul(f.srem(chunk, bands), n), f.sub(rows, n))
            first = f.mul(f.sdiv(chunk, bands), width)
            run, line = f.gep(runs, "i8", f.mul(r, step)), f.gep(lines, "i8", f.mul(r, SIZE))
            with f.loop(first, f.min_i(f.add(first, width), cols), n, name="square") as c:
                q = f.min_i(c.i, f.sub(cols, n))
                at = [f.gep(line, "i8", f.load("i64", f.gep(table, "i64", f.add(q, k)))) for k in range(n)]
                p = f.gep(run, "i8", f.mul(q, SIZE))
                ends = [p]
                for _ in range(n - 1):
                    ends.append(f.gep(ends[-1], "i8", step))
                given, places = (at, ends) if self.gather else (ends, at)
                for x, out in zip(transpose(f, [f.load(ty, x) for x in given]), places, strict=True):
                    f.store(x, out)
        f.ret()
