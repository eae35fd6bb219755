"""Products of bfloat16: pairs of neighbouring steps of k in one 32-bit lane, multiplied and summed by one instruction.

``VDPBF16PS`` adds two products of bfloat16 to each float32 of a register, twice the work of a multiply-add in the same
time (117 and 232 billion operations a second and core, measured on Zen 4). Rounding is to nearest even; subnormal
operands and results count as zero. A pair is treated like one float32 element: packed operands, strides and tiles are
those of a float32 product with half the steps. Where k is odd, the last pair's second half is zero in both operands.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..loops import Access
from .contract import _ABI, _ceil_div, _coordinates, _int, _walk, pack_way
from .epilogue import Strides
from .host import Host
from .pack import emit_pack_pairs
from .text import Module

__all__ = ["PAIR_BYTES", "GatherTaps", "JoinHalves", "PackTaps"]

PAIR_BYTES = 4


@dataclass(frozen=True)
class PackTaps:
    """Packs the filters of a convolution, strip after strip, tap after tap, as pairs along the inner sums.

    access: B over (b…, inner, columns). vectors, lanes: of a strip. Buffers: B, the temporary, whose parts for the
    batch axes lie one after the other. A chunk packs one tap of one strip. ``ints``: columns, inner, taps, each batch
    extent, those of the access, then the byte offset of each tap.
    """

    access: Access
    vectors: int
    lanes: int

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Emit the kernel under ``name``."""
        batch, width = len(self.access.steps) - 2, self.vectors * self.lanes
        pack = emit_pack_pairs(module, f"{name}.pack", host, pack_way(self.access, -1), self.vectors)
        f = module.function(name, "void", _ABI)
        ints = f.arg("ints")
        cols, inner, taps = (_int(f, ints, n) for n in range(3))
        extents = [_int(f, ints, 3 + b) for b in range(batch)]
        s = Strides.read(f, ints, 3 + batch, self.access)
        table = f.gep(ints, "i64", 3 + batch + self.access.ints)
        src = f.gep(f.load("ptr", f.arg("bufs")), "i8", s.offset)
        dst = f.load("ptr", f.gep(f.arg("bufs"), "ptr", 1))
        strips, size = _ceil_div(f, cols, width), f.mul(_ceil_div(f, inner, 2), width * PAIR_BYTES)
        with f.loop(f.arg("begin"), f.arg("end"), 1, name="chunk") as it:
            rest, tap = f.sdiv(it.i, taps), f.srem(it.i, taps)
            at = f.gep(src, "i8", f.load("i64", f.gep(table, "i64", tap)))
            at = _walk(f, at, s.axes, _coordinates(f, f.sdiv(rest, strips), extents))
            j = f.mul(f.srem(rest, strips), width)
            ks, ws = s.axes[-2:]
            count = f.min_i(f.sub(cols, j), width)
            args = [f.gep(at, "i8", f.mul(j, ws)), ws, ks, f.gep(dst, "i8", f.mul(it.i, size)), count]
            f.call(pack, "void", [*args, f.const("i64", width), inner])
        f.ret()


@dataclass(frozen=True)
class JoinHalves:
    """Pairs of elements that lie a fixed distance apart: ``out[i] = (x[i], x[i + distance])``.

    Buffers: x, the temporary. ``ints``: count, elements of a chunk, byte offset of x, distance in bytes.
    """

    lanes: int

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Emit the kernel under ``name``."""
        n = self.lanes
        f = module.function(name, "void", _ABI)
        count, size, offset, distance = (_int(f, f.arg("ints"), k) for k in range(4))
        x = f.gep(f.load("ptr", f.arg("bufs")), "i8", offset)
        y = f.gep(x, "i8", distance)
        out = f.load("ptr", f.gep(f.arg("bufs"), "ptr", 1))
        wide, narrow = f"<{n} x i32>", f"<{n} x i16>"
        start = f.mul(f.arg("begin"), size)
        end = f.min_i(f.mul(f.arg("end"), size), count)
        with f.loop(start, end, n, name="i") as it:
            left = f.cast("trunc", f.min_i(f.sub(end, it.i), n), "i32")
            mask = f.icmp("slt", f.iota(wide), f.splat(left, n))
            at = f.mul(it.i, 2)
            low, high = (f.cast("zext", f.masked_load(narrow, f.gep(p, "i8", at), mask), wide) for p in (x, y))
            f.masked_store(f.or_(low, f.shl(high, 16)), f.gep(out, "i8", f.mul(it.i, PAIR_BYTES)), mask)
        f.ret()


@dataclass(frozen=True)
class GatherTaps:
    """Copies what each tap of small images reads, so that sums over taps become one sum: ``(b…, tap, inner, rows)``.

    access: A over (b…, rows, inner), halves, unit stride along the rows. Buffers: A, the temporary. A chunk copies one
    tap of one place. ``ints``: rows, inner, taps, each batch extent, those of the access, then the byte offset of each
    tap.
    """

    access: Access
    lanes: int

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Emit the kernel under ``name``."""
        batch, n = len(self.access.steps) - 2, self.lanes
        f = module.function(name, "void", _ABI)
        ints = f.arg("ints")
        rows, inner, taps = (_int(f, ints, k) for k in range(3))
        extents = [_int(f, ints, 3 + b) for b in range(batch)]
        s = Strides.read(f, ints, 3 + batch, self.access)
        table = f.gep(ints, "i64", 3 + batch + self.access.ints)
        src = f.gep(f.load("ptr", f.arg("bufs")), "i8", s.offset)
        dst = f.load("ptr", f.gep(f.arg("bufs"), "ptr", 1))
        width = f.mul(rows, 2)
        half, lane = f"<{n} x i16>", f.iota(f"<{n} x i32>")
        with f.loop(f.arg("begin"), f.arg("end"), 1, name="chunk") as it:
            place, tap = f.sdiv(it.i, taps), f.srem(it.i, taps)
            at = _walk(f, src, s.axes, _coordinates(f, place, extents))
            at = f.gep(at, "i8", f.load("i64", f.gep(table, "i64", tap)))
            to = f.gep(dst, "i8", f.mul(f.mul(it.i, inner), width))
            with f.loop(0, inner, 1, carry=[at, to], name="pixel") as pixel:
                with f.loop(0, rows, n, name="row") as row:
                    left = f.cast("trunc", f.min_i(f.sub(rows, row.i), n), "i32")
                    mask, off = f.icmp("slt", lane, f.splat(left, n)), f.mul(row.i, 2)
                    x = f.masked_load(half, f.gep(pixel.vals[0], "i8", off), mask)
                    f.masked_store(x, f.gep(pixel.vals[1], "i8", off), mask)
                pixel.next([f.gep(pixel.vals[0], "i8", s.axes[-1]), f.gep(pixel.vals[1], "i8", width)])
        f.ret()
