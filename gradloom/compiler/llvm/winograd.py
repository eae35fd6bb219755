"""Winograd's convolution of 3x3 filters as one kernel: tiles of images transformed, multiplied, transformed back.

A chunk is a block of tiles, and columns of the results. It transforms the tiles' images into ``scratch``; then, for
one strip of columns after the other, it multiplies what lies at each place of the tiles with that place of the
filters, transforms the products back, a row of tiles at a time, and lets the body run over the results: bias,
activation, a sum. What lies between these steps never leaves the second level cache.

The filters are transformed before, by a kernel of their own. What is computed for one tile does not depend on the
block that it is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..loops import Contract
from .contract import _ABI, _ceil_div, _int, _walk
from .correlate import emit_tile
from .epilogue import SIZE, Strides, emit_epilogue
from .host import Host
from .microkernel import BYTES, ELEMENT, STORAGE, Tile, load_vector, masks_of, prefetch
from .text import Module, V, vec
from .transforms import Matrix, Vectors, transform

__all__ = ["Winograd"]

TAPS = 3
LINE = 64  # bytes that a prefetch brings
PIXELS = 16  # that a product asks for
_HEADER = 13  # integers before those of the accesses


@dataclass(frozen=True)
class Winograd:
    """The kernel.

    spec: a contraction over (images, rows, columns | channels of the results), float32, whose A is padded images
    (N, rows, columns, C), float32 or halves, and whose B the transformed filters (places, panels, C, columns of a
    panel), both with unit stride along their last axis. images, results: the matrices of the transforms.

    ``ints``: tiles down, tiles across, tiles in all; rows, columns and channels of the results; channels of the
    images; tiles of a block, channels of the results of a chunk, columns of a panel; bytes between tiles of transformed
    images; where in ``scratch`` products and results begin; then those of the accesses. Channels of the images are a
    multiple of a register's lanes, and so are those of the results on hosts without masks.
    """

    spec: Contract
    tile: Tile
    images: Matrix
    results: Matrix

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Emit the kernel under ``name``."""
        _Emitter(self, module, name, host).run()


class _Emitter:
    def __init__(self, source: Winograd, module: Module, name: str, host: Host):
        self.s, self.m, self.name, self.host = source, module, name, host
        spec, tile = source.spec, source.tile
        self.width = tile.columns
        self.row_bytes = self.width * BYTES[spec.dtype]
        self.ints_at, at = [], _HEADER
        for a in spec.accesses:
            self.ints_at.append(at)
            at += a.ints
        self.tiles = {
            h: emit_tile(
                module, f"{name}.tile.{h}", host, spec.dtype, [spec.dtype] * 2, tile, h, False, None, 1, PIXELS
            )
            for h in tile.heights
        }
        self.into = _emit_in(module, f"{name}.in", host, spec.accesses[0].dtype, spec.dtype, source.images)
        stored = {a for _, a in spec.stores}
        used = stored | {i.attrs[0] for i in spec.body if i.op == "load"}
        steps = {a: spec.accesses[a].steps for a in sorted(used)}
        self.asked = {a: a in stored for a, s in steps.items() if s[-1] == "1" and s[-2] != "0"}
        sizes = [(BYTES[spec.dtype] // SIZE[spec.accesses[a].dtype] or 1, write) for a, write in self.asked.items()]
        self.back = _emit_back(module, f"{name}.back", spec.dtype, tile, source.results, sizes)
        self.epilogue = emit_epilogue(module, f"{name}.epilogue", host, spec.dtype, spec.accesses, self.ints_at,
                                      spec.body, spec.stores, 1, self.width)  # fmt: skip
        self.side = len(source.results)
        self.places = len(source.images) ** 2

    def run(self) -> None:
        spec = self.s.spec
        f = self.f = self.m.function(self.name, "void", _ABI)
        ints = f.arg("ints")
        (self.down, self.across, self.total, self.height, self.wide, self.cols, self.channels, self.block, self.nc,
         self.panel, self.pitch, products, results) = (_int(f, ints, n) for n in range(_HEADER))  # fmt: skip
        self.strides = [Strides.read(f, ints, at, a) for at, a in zip(self.ints_at, spec.accesses, strict=True)]
        self.base = [
            f.gep(f.load("ptr", f.gep(f.arg("bufs"), "ptr", a.buf)), "i8", s.offset)
            for a, s in zip(spec.accesses, self.strides, strict=True)
        ]
        self.products, self.results = (f.gep(f.arg("scratch"), "i8", at) for at in (products, results))
        self.image_place, self.product_place = f.mul(self.block, self.pitch), f.mul(self.block, self.row_bytes)
        self.table = f.alloca("i64", 2)  # of the one tap: nothing is added to either operand
        for k in range(2):
            f.store(f.i64(0), f.gep(self.table, "i64", k))
        self.frame = f.alloca("i64", len(spec.accesses) + spec.batch)
        col_blocks = _ceil_div(f, self.cols, self.nc)
        with f.loop(f.arg("begin"), f.arg("end"), 1, name="chunk") as it:
            t0 = f.mul(f.sdiv(it.i, col_blocks), self.block)
            t1 = f.min_i(f.add(t0, self.block), self.total)
            j0 = f.mul(f.srem(it.i, col_blocks), self.nc)
            self._images(t0, t1)
            with f.loop(j0, f.min_i(f.add(j0, self.nc), self.cols), self.width, name="strip") as js:
                self._multiply(t0, t1, js.i)
                self._finish(t0, t1, js.i)
        f.ret()

    def _images(self, t0: V, t1: V) -> None:
        """Transform the images of a block."""
        f, s = self.f, self.strides[0]
        with f.loop(t0, t1, 1, name="tile") as t:
            row = f.sdiv(t.i, self.across)
            place = [f.sdiv(row, self.down), f.mul(f.srem(row, self.down), self.side)]
            src = _walk(f, self.base[0], s.axes, [*place, f.mul(f.srem(t.i, self.across), self.side)])
            dst = f.gep(f.arg("scratch"), "i8", f.mul(f.sub(t.i, t0), self.pitch))
            f.call(self.into, "void", [src, s.axes[1], s.axes[2], dst, self.image_place, self.channels])

    def _multiply(self, t0: V, t1: V, j: V) -> None:
        """The products of a block with a strip of the filters, place by place."""
        f, s = self.f, self.strides[1]
        panel = f.sdiv(j, self.panel)
        b = f.gep(self.base[1], "i8", f.mul(panel, s.axes[1]))
        b = f.gep(b, "i8", f.mul(f.sub(j, f.mul(panel, self.panel)), s.axes[3]))
        words = masks_of(f, f.min_i(f.sub(self.cols, j), self.width), self.s.tile) if self.host.masks else []
        step, one = f.const("i64", BYTES[self.s.spec.dtype]), f.i64(1)
        tiles = f.sub(t1, t0)
        with f.loop(0, self.places, 1, carry=[f.i64(0)], name="place") as p:
            left = f.gep(f.arg("scratch"), "i8", f.mul(p.i, self.image_place))
            right = f.gep(b, "i8", f.mul(p.i, s.axes[0]))
            out = f.gep(self.products, "i8", f.mul(p.i, self.product_place))
            start: V | int = 0
            count = p.vals[0]
            for h in self.s.tile.heights:
                with f.loop(start, f.sub(tiles, h - 1), h, carry=[count], name=f"rows{h}.") as it:
                    a, to = f.gep(left, "i8", f.mul(it.i, self.pitch)), f.gep(out, "i8", f.mul(it.i, self.row_bytes))
                    soon, pace = self._soon(it.vals[0], t0, tiles, j)
                    ahead = f.sub(f.cast("ptrtoint", soon, "i64"), f.cast("ptrtoint", a, "i64"))
                    args = [a, self.pitch, step, right, s.axes[2], self.channels, to, one, self.table, ahead, pace]
                    f.call(self.tiles[h], "void", [*args, *words])
                    it.next([f.add(it.vals[0], 1)])
                start, count = it.i, it.results[0]
            p.next([count])

    def _soon(self, k: V, t0: V, tiles: V, j: V) -> tuple[V, V]:
        """What product number ``k`` of a strip asks for: a row of pixels, and the bytes between them.

        First of the results, for the body to write, then of the images of the next block, then the results again.
        """
        f = self.f
        mine = f.icmp("slt", k, tiles) if self.asked else V("i1", "false")
        group = f.select(mine, k, f.sub(k, tiles) if self.asked else k)
        t = f.add(t0, f.mul(f.sdiv(group, self.side), PIXELS // self.side))
        t = f.min_i(f.select(mine, t, f.add(t, tiles)), f.sub(self.total, 1))
        row, y = f.sdiv(t, self.across), f.srem(group, self.side)
        place = [f.sdiv(row, self.down), f.add(f.mul(f.srem(row, self.down), self.side), y)]
        place.append(f.mul(f.sub(t, f.mul(row, self.across)), self.side))
        images = _walk(f, self.base[0], self.strides[0].axes, place)
        if not self.asked:
            return images, self.strides[0].axes[2]
        last = max(self.asked, key=lambda a: (self.asked[a], a))
        results = _walk(f, self.base[last], self.strides[last].axes, [*place, j])
        return f.select(mine, results, images), f.select(mine, self.strides[last].axes[2], self.strides[0].axes[2])

    def _finish(self, t0: V, t1: V, j: V) -> None:
        """Transform the products of a strip back, and let the body run, for each row of tiles in the block."""
        f = self.f
        cols = f.min_i(f.sub(self.cols, j), self.width)
        with f.loop(f.sdiv(t0, self.across), _ceil_div(f, t1, self.across), 1, name="row") as row:
            start = f.mul(row.i, self.across)
            first, last = f.max_i(start, t0), f.min_i(f.add(start, self.across), t1)
            count = f.mul(f.sub(last, first), self.side)
            line = f.mul(count, self.row_bytes)
            n, y0 = f.sdiv(row.i, self.down), f.mul(f.srem(row.i, self.down), self.side)
            x0 = f.mul(f.sub(first, start), self.side)
            wanted = [_walk(f, self.base[a], self.strides[a].axes, [n, y0, x0, j]) for a in self.asked]
            steps = [self.strides[a].axes[1:3] for a in self.asked]
            with f.loop(first, last, 1, carry=wanted, name="tile") as t:
                src = f.gep(self.products, "i8", f.mul(f.sub(t.i, t0), self.row_bytes))
                dst = f.gep(self.results, "i8", f.mul(f.sub(t.i, first), self.side * self.row_bytes))
                ask = [x for p, s in zip(t.vals, steps, strict=True) for x in (p, *s)]
                f.call(self.back, "void", [src, self.product_place, dst, line, *ask])
                t.next([f.gep(p, "i8", f.mul(s[1], self.side)) for p, s in zip(t.vals, steps, strict=True)])
            left = f.min_i(count, f.sub(self.wide, x0))
            with f.loop(y0, f.min_i(f.add(y0, self.side), self.height), 1, name="line") as y:
                for k, (p, s) in enumerate(zip(self.base, self.strides, strict=True)):
                    f.store(p if k < 2 else _walk(f, p, s.axes, [n, y.i]), f.gep(self.frame, "i64", k))
                for k, x in enumerate((n, y.i), len(self.base)):
                    f.store(x, f.gep(self.frame, "i64", k))
                at = f.gep(self.results, "i8", f.mul(f.sub(y.i, y0), line))
                f.call(self.epilogue, "void", [f.arg("ints"), self.frame, at, x0, left, j, cols])


def _emit_in(m: Module, name: str, host: Host, storage: str, dtype: str, matrix: Matrix) -> str:
    """``void (ptr src, i64 down, i64 across, ptr dst, i64 place, i64 channels)``: one tile, a register at a time.

    down, across: bytes between pixels; place: bytes between the places of the transformed tile. What the next tile to
    the right adds is asked for meanwhile.
    """
    args = [("ptr", "src"), ("i64", "down"), ("i64", "across"), ("ptr", "dst"), ("i64", "place"), ("i64", "channels")]
    f = m.function(name, "void", args, "internal", "nounwind noinline")
    q, size, n, on = len(matrix), STORAGE[storage], host.lanes(8 * BYTES[dtype]), Vectors(f)
    fresh = q - TAPS + 1  # columns of pixels that the next tile adds
    next_tile = f.mul(f.arg("across"), q)
    with f.loop(0, f.arg("channels"), n, carry=[f.arg("src"), f.arg("dst")], name="lanes") as it:
        src, dst = it.vals
        column, to = src, dst
        columns = []
        start = f.gep(f.gep(f.arg("src"), "i8", next_tile), "i8", f.mul(it.i, fresh * size))
        ahead = [f.gep(start, "i8", at) for at in range(0, fresh * n * size, LINE)]
        for k in range(q):
            p, values = column, []
            for _ in range(q):
                values.append(load_vector(f, host, storage, dtype, p, n, None))
                if 0 <= k - TAPS + 1 < len(ahead):
                    prefetch(f, ahead[k - TAPS + 1], 1, 3)
                    ahead[k - TAPS + 1] = f.gep(ahead[k - TAPS + 1], "i8", f.arg("down"))
                p = f.gep(p, "i8", f.arg("down"))
            columns.append(transform(on, matrix, values))
            column = f.gep(column, "i8", f.arg("across"))
        for i in range(q):
            for x in transform(on, matrix, [c[i] for c in columns]):
                f.store(x, to)
                to = f.gep(to, "i8", f.arg("place"))
        it.next([f.gep(src, "i8", n * size), f.gep(dst, "i8", n * BYTES[dtype])])
    f.ret()
    return name


def _emit_back(m: Module, name: str, dtype: str, tile: Tile, matrix: Matrix, asked: Sequence[tuple[int, bool]]) -> str:
    """``void (ptr src, i64 place, ptr dst, i64 line [, ptr at, i64 down, i64 across]…)``: one tile, a strip's columns.

    place: bytes between places of the tile; line: bytes between the rows of results. at, down, across: of what the body
    reads and writes of the tile, and asked for meanwhile; asked: of how much smaller size than the sums, and whether to
    be written.
    """
    args = [("ptr", "src"), ("i64", "place"), ("ptr", "dst"), ("i64", "line")]
    for k in range(len(asked)):
        args += [("ptr", f"at{k}"), ("i64", f"down{k}"), ("i64", f"across{k}")]
    f = m.function(name, "void", args, "internal", "nounwind noinline")
    q, size, n = len(matrix[0]), BYTES[dtype], tile.lanes
    ty, on = vec(ELEMENT[dtype], n), Vectors(f)
    row = tile.columns * size
    with f.loop(0, row, n * size, name="lanes") as it:
        p = f.gep(f.arg("src"), "i8", it.i)
        rows = []
        for _ in range(q):
            values = []
            for _ in range(q):
                values.append(f.load(ty, p))
                p = f.gep(p, "i8", f.arg("place"))
            rows.append(transform(on, matrix, values))
        to = f.gep(f.arg("dst"), "i8", it.i)
        wanted = [f.gep(f.arg(f"at{k}"), "i8", f.sdiv(it.i, part)) for k, (part, _) in enumerate(asked)]
        for k in range(len(matrix)):  # a column of results at a time
            down = list(wanted)
            for i, x in enumerate(transform(on, matrix, [r[k] for r in rows])):
                f.store(x, f.gep(f.gep(to, "i8", f.mul(f.arg("line"), i)), "i8", k * row))
                for a, (_, write) in enumerate(asked):
                    prefetch(f, down[a], 1, 3, write)
                    down[a] = f.gep(down[a], "i8", f.arg(f"down{a}"))
            wanted = [f.gep(w, "i8", f.arg(f"across{a}")) for a, w in enumerate(wanted)]
    f.ret()
    return name
