"""The kernels of a contraction: packing of B ahead of time, and the blocked product with its epilogue.

``C[b…, i, j]`` is cut into blocks of ``mc x nc``; a chunk computes one block over the whole of k, so which thread does
it cannot change a bit. Within a chunk, strips of columns go through the register tiles one after the other, each
against all the rows of the block, and the epilogue then runs over the strip while its sums are in the first or
second level cache. Where k is cut too, the sums wait in ``scratch`` between one stretch of k and the next.

What is compiled depends on the unit strides, the tile and the body; whether operands are read in place or packed,
and every block size, are run-time integers.

Products of bfloat16 may run on pairs of steps (see :mod:`.pairs`). Then ``k``, ``kc`` and all places along k count
pairs, B is packed, and A is packed too unless k is even and its unit stride is along k.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..loops import Access, Contract
from .epilogue import InlineBody, Strides, emit_ask, emit_epilogue
from .host import Host
from .microkernel import BYTES, PAIRS, Tile, emit_tiles, masks_of
from .pack import emit_pack, emit_pack_pairs
from .text import Function, Module, V

__all__ = ["DIRECT", "FAR", "PACK_STRIP", "PREPACKED", "Multiply", "PackColumns", "strip_bytes"]

DIRECT, PACK_STRIP, PREPACKED = 0, 1, 2
"""How B is read: in place; each strip packed by the chunk that needs it; packed by an earlier launch."""

_HEADER = 12  # integers before those of the batch
FAR = 10  # which of them says whether what the body touches is far off
_PACK_STEPS = 32  # of k that are packed for one tile of rows before the next
_ABI = [("ptr", "bufs"), ("ptr", "ints"), ("ptr", "scratch"), ("i64", "begin"), ("i64", "end")]


def pack_way(access: Access, width_axis: int) -> str:
    """Which axis of an operand has unit stride, in the words of :func:`emit_pack`."""
    width, k = access.steps[width_axis], access.steps[-3 - width_axis]
    return "width" if width == "1" else "k" if k == "1" else "none"


def strip_bytes(tile: Tile, dtype: str, k: int) -> int:
    """Bytes of one packed strip of B over ``k`` steps."""
    return tile.columns * BYTES[dtype] * k


def _int(f: Function, ints: V, at: int) -> V:
    return f.load("i64", f.gep(ints, "i64", at))


def _ceil_div(f: Function, a: V, b: V | int) -> V:
    b = b if isinstance(b, V) else f.const("i64", b)
    return f.sdiv(f.sub(f.add(a, b), 1), b)


def _coordinates(f: Function, index: V, extents: Sequence[V]) -> list[V]:
    """The place along each batch axis of a flat index, the last axis fastest."""
    out = []
    for k, extent in reversed(list(enumerate(extents))):
        if k == 0:
            out.append(index)
        else:
            out.append(f.srem(index, extent))
            index = f.sdiv(index, extent)
    return out[::-1]


def _walk(f: Function, p: V, strides: Sequence[V], coords: Sequence[V]) -> V:
    for s, c in zip(strides, coords, strict=False):
        p = f.gep(p, "i8", f.mul(s, c))
    return p


@dataclass(frozen=True)
class PackColumns:
    """Packs every strip of B into a temporary, strip after strip.

    access: B over (b…, k, n). Buffers: B, the temporary. A chunk packs a stretch of k of a group of strips: long groups
    and short stretches read rows of B from end to end, short groups and long stretches read columns.
    ``ints``: cols, k, strips in a group, steps in a stretch, each batch extent, then those of the access. pairs: k is
    of elements; a stretch counts pairs.
    """

    access: Access
    dtype: str
    tile: Tile
    pairs: bool = False

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Emit the kernel under ``name``."""
        batch, width = len(self.access.steps) - 2, self.tile.columns
        way = pack_way(self.access, -1)
        pack = _emit_pack(module, f"{name}.pack", host, self.access, self.dtype, way, self.tile.vectors, self.pairs)
        f = module.function(name, "void", _ABI)
        ints = f.arg("ints")
        cols, elements, group, stretch = (_int(f, ints, n) for n in range(4))
        each = 2 if self.pairs else 1
        k = _ceil_div(f, elements, each) if self.pairs else elements
        extents = [_int(f, ints, 4 + b) for b in range(batch)]
        s = Strides.read(f, ints, 4 + batch, self.access)
        src0 = f.gep(f.load("ptr", f.arg("bufs")), "i8", s.offset)
        dst0 = f.load("ptr", f.gep(f.arg("bufs"), "ptr", 1))
        strips = _ceil_div(f, cols, width)
        groups, stretches = _ceil_div(f, strips, group), _ceil_div(f, k, stretch)
        step_bytes = width * BYTES[self.dtype]
        strip_size = f.mul(k, step_bytes)
        with f.loop(f.arg("begin"), f.arg("end"), 1, name="chunk") as it:
            rest = f.sdiv(it.i, stretches)
            flat, first = f.sdiv(rest, groups), f.mul(f.srem(rest, groups), group)
            k0 = f.mul(f.srem(it.i, stretches), stretch)
            steps = f.min_i(f.sub(k, k0), stretch)
            src = _walk(f, src0, s.axes, _coordinates(f, flat, extents))
            src = f.gep(src, "i8", f.mul(f.mul(k0, each), s.axes[-2]))
            count = f.min_i(f.sub(elements, f.mul(k0, 2)), f.mul(stretch, 2)) if self.pairs else steps
            dst = f.gep(f.gep(dst0, "i8", f.mul(f.mul(flat, strips), strip_size)), "i8", f.mul(k0, step_bytes))
            with f.loop(first, f.min_i(f.add(first, group), strips), 1, name="strip") as p:
                j = f.mul(p.i, width)
                to = f.gep(dst, "i8", f.mul(p.i, strip_size))
                ks, ws = s.axes[-2:]
                left, size = f.sub(cols, j), f.mul(steps, step_bytes)
                _pack_strip(f, host, pack, f.gep(src, "i8", f.mul(j, ws)), ws, ks, to, left, width, count, size)
        f.ret()


def _emit_pack(m: Module, name: str, host: Host, access: Access, dtype: str, way: str, groups: int, pairs: bool) -> str:
    if pairs:
        return emit_pack_pairs(m, name, host, way, groups)
    return emit_pack(m, name, host, access.dtype, dtype, way, groups)


def _pack_strip(
    f: Function, host: Host, pack: str, src: V, ws: V, ks: V, dst: V, left: V, width: int, k: V, size: V
) -> None:
    """Pack up to ``width`` of ``left`` columns. Hosts without masks read whole strips: the rest must be numbers."""
    if not host.masks:
        with f.if_(f.icmp("slt", left, width)):
            _clear(f, dst, size)
    f.call(pack, "void", [src, ws, ks, dst, f.min_i(left, width), f.const("i64", width), k])


def _clear(f: Function, p: V, size: V) -> None:
    with f.loop(0, size, 4, name="clear") as it:
        f.store(f.const("i32", 0), f.gep(p, "i8", it.i))


@dataclass(frozen=True)
class Multiply:
    """The product and its epilogue.

    spec: the contraction, B's columns being the vector axis. tile: the register tiles. axis: of the epilogue's vectors.
    resume: k is cut, sums pass through ``scratch``. pack_a, pack_b: whether the code for packing A, and B's strips, is
    there. raw: the operand that tiles read by vectors is widened as it is read (and never packed).
    inline: the body is part of the tiles and runs on sums in registers. pairs: bfloat16 is multiplied in pairs of
    steps. Buffers: those of ``spec``, then the prepacked B (or anything).

    ``ints``: rows, cols, k, mc, nc, kc, whether A is packed, how B is read, scratch offsets (bytes) of the packed A and
    of the packed strip, whether what the body touches is far off, k in elements, the batch extents, the prepacked B's
    batch strides (bytes), then those of the accesses in turn.
    """

    spec: Contract
    tile: Tile
    axis: int
    resume: bool
    pack_a: bool
    pack_b: bool
    raw: bool = False
    inline: bool = False
    pairs: bool = False

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Emit the kernel under ``name``."""
        _Emitter(self, module, name, host).run()


class _Emitter:
    def __init__(self, source: Multiply, module: Module, name: str, host: Host):
        self.s, self.m, self.name, self.host = source, module, name, host
        spec, tile = source.spec, source.tile
        self.size = BYTES[spec.dtype]
        self.width = tile.columns
        self.row_bytes = self.width * self.size
        at = _HEADER + 2 * spec.batch
        self.ints_at = []
        for a in spec.accesses:
            self.ints_at.append(at)
            at += a.ints
        vector = spec.accesses[0 if tile.dot else 1].dtype if source.raw else spec.dtype
        vector = PAIRS if source.pairs else vector
        body = InlineBody(host, spec, tuple(self.ints_at), FAR) if source.inline else None
        self.tiles = emit_tiles(module, f"{name}.tile", host, spec.dtype, tile, source.resume, vector, body)
        groups = -(-tile.heights[0] // tile.lanes)
        a, b = spec.accesses[:2]
        self.pack_a = self.pack_b = ""
        if source.pack_a:
            way = pack_way(a, -2)
            self.pack_a = _emit_pack(module, f"{name}.packa", host, a, spec.dtype, way, groups, source.pairs)
        if source.pack_b:
            way = pack_way(b, -1)
            self.pack_b = _emit_pack(module, f"{name}.packb", host, b, spec.dtype, way, tile.vectors, source.pairs)
        self.ask = ""
        if not (source.inline or source.resume or source.axis == 0):
            self.ask = emit_ask(module, f"{name}.ask", spec, self.ints_at, tile.heights[0], tile.columns)
        if not source.inline:
            self.epilogue = emit_epilogue(module, f"{name}.epilogue", host, spec.dtype, spec.accesses, self.ints_at,
                                      spec.body, spec.stores, source.axis, self.width)  # fmt: skip

    def run(self) -> None:
        spec = self.s.spec
        f = self.f = self.m.function(self.name, "void", _ABI)
        ints, scratch = f.arg("ints"), f.arg("scratch")
        self.rows, self.cols, self.k, self.mc, self.nc, self.kc, packed, self.b_mode, a_at, b_at = (
            _int(f, ints, n) for n in range(10)
        )
        self.elements = _int(f, ints, FAR + 1)
        self.each = 2 if self.s.pairs else 1  # elements of a step
        self.a_packed = f.icmp("ne", packed, 0)
        self.far = f.icmp("ne", _int(f, ints, FAR), 0)
        self.extents = [_int(f, ints, _HEADER + b) for b in range(spec.batch)]
        self.prepacked = [_int(f, ints, _HEADER + spec.batch + b) for b in range(spec.batch)]
        self.a_space, self.b_space = f.gep(scratch, "i8", a_at), f.gep(scratch, "i8", b_at)
        self.strides = [Strides.read(f, ints, at, a) for at, a in zip(self.ints_at, spec.accesses, strict=True)]
        self.base = [
            f.gep(f.load("ptr", f.gep(f.arg("bufs"), "ptr", a.buf)), "i8", s.offset)
            for a, s in zip(spec.accesses, self.strides, strict=True)
        ]
        self.b_temp = f.load("ptr", f.gep(f.arg("bufs"), "ptr", 1 + max(a.buf for a in spec.accesses)))
        self.frame = f.alloca("i64", len(spec.accesses) + spec.batch)
        row_blocks, col_blocks = _ceil_div(f, self.rows, self.mc), _ceil_div(f, self.cols, self.nc)
        blocks = f.mul(row_blocks, col_blocks)
        half = f.sub(row_blocks, f.ashr(row_blocks, 1))
        with f.loop(f.arg("begin"), f.arg("end"), 1, name="chunk") as it:
            coords = _coordinates(f, f.sdiv(it.i, blocks), self.extents)
            # the upper half of the rows first, columns by columns, then the lower: threads that share a product work
            # on rows of their own, which they have in their caches
            place, upper = f.srem(it.i, blocks), f.mul(half, col_blocks)
            below = f.icmp("sge", place, upper)
            place = f.sub(place, f.select(below, upper, f.i64(0)))
            high = f.max_i(f.select(below, f.sub(row_blocks, half), half), 1)
            row = f.add(f.srem(place, high), f.select(below, half, f.i64(0)))
            self._chunk(coords, f.mul(row, self.mc), f.mul(f.sdiv(place, high), self.nc))
        f.ret()

    def _chunk(self, coords: list[V], i0: V, j0: V) -> None:
        f = self.f
        bases = [_walk(f, p, s.axes, coords) for p, s in zip(self.base, self.strides, strict=True)]
        for n, x in enumerate([*bases, *coords]):
            f.store(x, f.gep(self.frame, "i64", n))
        rows = f.min_i(f.sub(self.rows, i0), self.mc)
        j1 = f.min_i(f.add(j0, self.nc), self.cols)
        a = f.gep(bases[0], "i8", f.mul(i0, self.strides[0].axes[-2]))
        temp = _walk(f, self.b_temp, self.prepacked, coords)
        # at least one round, so that the epilogue runs where k is 0
        with f.loop(0, f.max_i(self.k, 1), self.kc, name="stretch") as it:
            k0 = it.i
            k = f.min_i(f.sub(self.k, k0), self.kc)
            ak = f.gep(a, "i8", f.mul(f.mul(k0, self.each), self.strides[0].axes[-1]))
            if self.pack_a:
                with f.if_(self.a_packed):
                    self._pack_rows(rows, ak, k0, k)
            with f.loop(j0, j1, self.width, name="strip") as js:
                self._strip(bases[1], temp, ak, i0, rows, j0, js.i, f.sub(j1, js.i), k0, k)

    def _for_tiles(self, rows: V, body: Callable[[int, V], None]) -> None:
        """``body(height, row)`` for a run of each height, largest first."""
        f = self.f
        start: V | int = 0
        for h in self.s.tile.heights:
            with f.loop(start, f.sub(rows, h - 1), h, name=f"rows{h}.") as it:
                body(h, it.i)
            start = it.i

    def _elements(self, start: V, steps: V) -> V:
        """How many elements of k so many steps from ``start`` on stand for."""
        if not self.s.pairs:
            return steps
        f = self.f
        return f.min_i(f.sub(self.elements, f.mul(start, 2)), f.mul(steps, 2))

    def _pack_rows(self, rows: V, a: V, k0: V, k: V) -> None:
        f, (ws, ks) = self.f, self.strides[0].axes[-2:]
        along_k = pack_way(self.s.spec.accesses[0], -2) == "k"
        # where k is the far axis, a few rows of memory at a time for all tiles: few pages are in use at once
        stretch = k if along_k else f.const("i64", _PACK_STEPS)
        with f.loop(0, k, f.max_i(stretch, 1), name="pack") as it:
            src = f.gep(a, "i8", f.mul(f.mul(it.i, self.each), ks))
            steps = self._elements(f.add(k0, it.i), f.min_i(f.sub(k, it.i), stretch))

            def one(h: int, i: V) -> None:
                to = f.gep(self.a_space, "i8", f.mul(f.add(f.mul(i, k), f.mul(it.i, h)), self.size))
                height = f.const("i64", h)
                f.call(self.pack_a, "void", [f.gep(src, "i8", f.mul(i, ws)), ws, ks, to, height, height, steps])

            self._for_tiles(rows, one)

    def _strip(self, b: V, temp: V, a: V, i0: V, rows: V, j0: V, j: V, left: V, k0: V, k: V) -> None:
        f, tile, host = self.f, self.s.tile, self.host
        ks, js = self.strides[1].axes[-2:]
        cols = f.min_i(left, self.width)
        direct = f.gep(f.gep(b, "i8", f.mul(j, js)), "i8", f.mul(f.mul(k0, self.each), ks))
        ahead = f.gep(temp, "i8", f.mul(f.add(f.mul(f.sdiv(j, self.width), self.k), k0), self.row_bytes))
        is_ahead = f.icmp("eq", self.b_mode, PREPACKED)
        src, step = f.select(is_ahead, ahead, direct), f.select(is_ahead, f.const("i64", self.row_bytes), ks)
        if self.pack_b:
            now = f.icmp("eq", self.b_mode, PACK_STRIP)
            if not host.masks:  # a partial strip must not be read past its end
                now = f.or_(now, f.and_(f.icmp("eq", self.b_mode, DIRECT), f.icmp("slt", cols, self.width)))
            with f.if_(now):
                _pack_strip(f, host, self.pack_b, direct, js, ks, self.b_space, left, self.width,
                            self._elements(k0, k), f.mul(k, self.row_bytes))  # fmt: skip
            src = f.select(now, self.b_space, src)
            step = f.select(now, f.const("i64", self.row_bytes), step)
        words = masks_of(f, cols, tile) if host.masks and not tile.dot else []
        acc = f.arg("scratch")
        if self.s.resume:
            room = f.mul(f.and_(f.add(self.mc, tile.lanes - 1), -tile.lanes), self.row_bytes)
            acc = f.gep(acc, "i8", f.mul(f.sdiv(f.sub(j, j0), self.width), room))
            with f.if_(f.icmp("eq", k0, 0)):
                _clear(f, acc, f.mul(rows, self.row_bytes))
        row, col = self.strides[0].axes[-2:]
        col = f.mul(col, self.each)
        es = f.const("i64", self.size)

        def tile_at(h: int, i: V) -> None:
            p, rs, cs = f.gep(a, "i8", f.mul(i, row)), row, col
            if self.pack_a:
                p = f.select(self.a_packed, f.gep(self.a_space, "i8", f.mul(f.mul(i, k), self.size)), p)
                rs = f.select(self.a_packed, es, row)
                cs = f.select(self.a_packed, f.const("i64", h * self.size), col)
            out = f.gep(acc, "i8", f.mul(i, self.row_bytes))
            at = [f.arg("ints"), self.frame, f.add(i0, i), j]
            place = at if self.s.inline else []
            if self.ask and h == self.s.tile.heights[0]:
                with f.if_(self.far):
                    f.call(self.ask, "void", at)
            f.call(self.tiles[h], "void", [p, rs, cs, src, step, k, out, *words, *place])

        self._for_tiles(rows, tile_at)
        if self.s.inline:
            return
        with f.if_(f.icmp("sge", f.add(k0, k), self.k)):
            args = [f.arg("ints"), self.frame, acc, i0, rows, j, cols]
            f.call(self.epilogue, "void", args)
