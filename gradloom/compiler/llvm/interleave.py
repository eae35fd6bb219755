"""The copy that brings planes into pixels: a few channels of a picture, one plane each, side by side."""

from __future__ import annotations

from dataclasses import dataclass

from .elementwise import memory_type
from .host import Host
from .text import Function, Module, V

__all__ = ["HEAD", "SIZE", "Interleave"]

SIZE = 4  # bytes of an element
HEAD = 11  # integers


@dataclass(frozen=True)
class Interleave:
    """So many planes to pixels. Buffers: source, destination.

    ``ints``: rows in all, rows of a picture, columns, rows of a chunk; bytes from picture to picture, from row to row
    and from plane to plane of the source, its byte offset; bytes from picture to picture and from row to row of the
    destination, its byte offset. Columns are neighbours, at least as many as a register has lanes; the last vectors of
    a row overlap others.
    """

    planes: int

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Emit the kernel under ``name``."""
        n = host.lanes(8 * SIZE)
        ty = memory_type("f32", n)
        args = [("ptr", "bufs"), ("ptr", "ints"), ("ptr", "scratch"), ("i64", "begin"), ("i64", "end")]
        f = module.function(name, "void", args)
        rows, high, cols, each, src_picture, src_row, plane, src_at, dst_picture, dst_row, dst_at = (
            f.load("i64", f.gep(f.arg("ints"), "i64", k)) for k in range(HEAD)
        )
        src = f.gep(f.load("ptr", f.arg("bufs")), "i8", src_at)
        dst = f.gep(f.load("ptr", f.gep(f.arg("bufs"), "ptr", 1)), "i8", dst_at)
        first, last = (f.mul(f.arg(k), each) for k in ("begin", "end"))
        with f.loop(first, f.min_i(last, rows), 1, name="row") as it:
            picture, row = f.sdiv(it.i, high), f.srem(it.i, high)
            frm = f.gep(f.gep(src, "i8", f.mul(picture, src_picture)), "i8", f.mul(row, src_row))
            to = f.gep(f.gep(dst, "i8", f.mul(picture, dst_picture)), "i8", f.mul(row, dst_row))
            with f.loop(0, cols, n, name="columns") as c:
                j = f.min_i(c.i, f.sub(cols, n))
                p, q = f.gep(frm, "i8", f.mul(j, SIZE)), f.gep(to, "i8", f.mul(j, SIZE * self.planes))
                given = []
                for _ in range(self.planes):
                    given.append(f.load(ty, p))
                    p = f.gep(p, "i8", plane)
                for k in range(self.planes):
                    f.store(self._woven(f, given, k, n), f.gep(q, "i8", k * n * SIZE))
        f.ret()

    def _woven(self, f: Function, given: list[V], number: int, n: int) -> V:
        """One of the vectors of pixels: lane after lane from plane after plane."""
        places = [divmod(number * n + lane, self.planes) for lane in range(n)]  # (pixel, plane)
        x = given[0]
        taken = [pixel if plane == 0 else 0 for pixel, plane in places]
        for k in range(1, self.planes):
            lanes = []
            for lane, (pixel, plane) in enumerate(places):
                own = taken[lane] if k == 1 else lane  # where the first operand has what is there already
                lanes.append(n + pixel if plane == k else own)
            x = f.shuffle(x, given[k], lanes)
        return x
