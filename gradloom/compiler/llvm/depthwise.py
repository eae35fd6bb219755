"""Convolutions whose groups have few channels: vectors along the channels, results of a tile in registers.

``y[n, i, j, o] = sum_k sum_c x[n, pixel(i, k), pixel(j, l), group(o) * part + c] w[k, l, c, o]``, followed by a body.
A tile of results (see :mod:`.depthwise_tile`) walks all channels; for each vector of them, pixels are loaded one after
the other and added to all results that see them. A tile of one row of results runs over the rows of the filters in a
loop; a tile of several has them written out, so that a pixel loaded serves several rows.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from ..loops import Contract
from .contract import _ABI, _ceil_div, _int
from .depthwise_tile import Channels, Link, Reach, ask_for, emit_table, lanes_below, load_pixels, zero
from .epilogue import SIZE, Strides, _Body, _open
from .host import Host
from .microkernel import BYTES, ELEMENT, load_vector
from .text import Module, V, vec

__all__ = ["PACKED", "Depthwise"]

_HEADER = 8  # integers before those of the accesses
PACKED = 5  # axes of packed filters
_CLEAR = 64  # bytes of zeros written at a time


@dataclass(frozen=True)
class Depthwise:
    """The kernel.

    spec: A is the images over ``(n, row, column, channel)``, B the filters over ``(row, column, c, channel)``, or
    packed, over ``(vector, row, column, c, lane)``; the other accesses and the body run over ``(n, row, column,
    channel)`` of the results. Channels of A and B have unit stride. down, across: how filters walk. tall, wide: rows of
    results in a tile and its columns; the larger first, then what is left. inline: the body is written out for every
    result of a tile. ragged: the last vector of channels is not full. far: the images are not in a cache near by.

    ``ints``: rows and columns and channels of the results, rows and columns and channels of the images, rows of a
    chunk, images; then those of the accesses.
    """

    spec: Contract
    down: Reach
    across: Reach
    part: int
    each: int
    tall: tuple[int, ...]
    wide: tuple[int, ...]
    inline: bool
    ragged: bool
    far: bool

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Emit the kernel under ``name``."""
        _Emitter(self, module, name, host).run()


class _Emitter:
    def __init__(self, source: Depthwise, module: Module, name: str, host: Host):
        self.s, self.m, self.name, self.host = source, module, name, host
        at = _HEADER
        self.ints_at = []
        for a in source.spec.accesses:
            self.ints_at.append(at)
            at += a.ints
        self.tiles = {(t, w): self._tile(f"{name}.tile.{t}.{w}", t, w) for t in source.tall for w in source.wide}

    def run(self) -> None:
        spec = self.s.spec
        f = self.m.function(self.name, "void", _ABI)
        ints = f.arg("ints")
        rows, cols, _, _, _, channels, chunk_rows, _ = (_int(f, ints, n) for n in range(_HEADER))
        frame = f.alloca("i64", len(spec.accesses) + 2)
        strides = [Strides.read(f, ints, at, a) for at, a in zip(self.ints_at, spec.accesses, strict=True)]
        base = [
            f.gep(f.load("ptr", f.gep(f.arg("bufs"), "ptr", a.buf)), "i8", s.offset)
            for a, s in zip(spec.accesses, strides, strict=True)
        ]
        f.store(base[1], f.gep(frame, "i64", 1))
        zeros = f.arg("scratch")
        with f.loop(0, f.mul(channels, SIZE[spec.accesses[0].dtype]), _CLEAR, name="clear") as it:
            f.store(f.zero(f"<{_CLEAR} x i8>"), f.gep(zeros, "i8", it.i))
        blocks = _ceil_div(f, rows, chunk_rows)
        with f.loop(f.arg("begin"), f.arg("end"), 1, name="chunk") as it:
            n = f.sdiv(it.i, blocks)
            i0 = f.mul(f.srem(it.i, blocks), chunk_rows)
            for a, (p, s) in enumerate(zip(base, strides, strict=True)):
                if a != 1:
                    f.store(f.gep(p, "i8", f.mul(n, s.axes[0])), f.gep(frame, "i64", a))
            f.store(n, f.gep(frame, "i64", len(base)))
            i1 = f.min_i(f.add(i0, chunk_rows), rows)
            for t in self.s.tall:
                with f.loop(i0, f.sub(i1, t - 1), t, name=f"rows{t}.") as row:
                    start: V | int = 0
                    for w in self.s.wide:
                        with f.loop(start, f.sub(cols, w - 1), w, name=f"tile{w}.") as col:
                            f.call(self.tiles[t, w], "void", [ints, frame, zeros, row.i, col.i])
                        start = col.i
                i0 = row.i
        f.ret()

    # -- a tile -----------------------------------------------------------------------------------
    def _tile(self, name: str, tall: int, wide: int) -> str:
        """``void (ptr ints, ptr frame, ptr zeros, i64 i, i64 j)``: the results from row i and column j on."""
        s, spec, host = self.s, self.s.spec, self.host
        args = [("ptr", "ints"), ("ptr", "frame"), ("ptr", "zeros"), ("i64", "i"), ("i64", "j")]
        f = self.f = self.m.function(name, "void", args, "internal", "nounwind noinline")
        self.height, self.width = tall, wide
        ints = f.arg("ints")
        _, _, channels, high, across, _, _, _ = (_int(f, ints, n) for n in range(_HEADER))
        x, w = (Strides.read(f, ints, self.ints_at[a], spec.accesses[a]) for a in (0, 1))
        self.filters, self.filter_steps = f.load("ptr", f.gep(f.arg("frame"), "ptr", 1)), w.axes[-4:]
        self.packed = w.axes[0] if len(w.axes) == PACKED else None
        self.cols = s.across.links(wide)
        down = s.down.links(tall)
        self.looped = tall == 1 and s.down.single and len(down) > 1
        if self.looped:
            rows = [p for _, p, _ in sorted(down, key=lambda link: link[2])]
        else:
            rows = sorted({p for _, p, _ in down})
        self.row_links = [[x for x in down if x[1] == p] for p in rows]
        self.places = sorted({p for _, p, _ in self.cols})
        first = (s.down.first(f, f.arg("i"), tall), s.across.first(f, f.arg("j"), wide))
        image = f.load("ptr", f.arg("frame"))
        self.table = emit_table(f, image, (high, across), (x.axes[1], x.axes[2]), first, rows, self.places,
                                f.arg("zeros"))  # fmt: skip
        self.bodies = self._bodies()
        self.next_rows, self.next_cols = len(s.down.fresh(tall)), len(s.across.fresh(wide))
        corner = f.gep(image, "i8", f.mul(f.add(first[0], s.down.fresh(tall).start), x.axes[1]))
        self.ahead = f.gep(corner, "i8", f.mul(first[1], x.axes[2])), (x.axes[1], x.axes[2])
        self.spot = None if s.inline else f.alloca(vec(ELEMENT[spec.dtype], self._lanes), tall * wide, align=64)
        n = self._lanes
        whole = f.and_(channels, -n) if s.ragged else channels
        far = SIZE[spec.accesses[0].dtype]
        with f.loop(0, whole, n, carry=[f.const("i64", 0)], name="vector") as it:
            c = Channels(s.part, s.each, n)
            self._vector(c, it.i, it.vals[0], None, None)
            it.next([f.add(it.vals[0], c.span * far)])
        if s.ragged and host.masks:
            rest = f.sub(channels, whole)
            with f.if_(f.icmp("sgt", rest, 0)):
                seen = f.mul(f.sdiv(rest, s.each), s.part)
                masks = lanes_below(f, rest, n), lanes_below(f, seen, c.span) if c.span > 1 else None
                self._vector(c, whole, it.results[0], *masks)
        elif s.ragged:
            with f.loop(whole, channels, 1, name="one") as it:
                at = f.mul(f.sdiv(it.i, s.each), s.part * far)
                self._vector(Channels(s.part, s.each, 1), it.i, at, None, None)
        f.ret()
        return name

    @property
    def _lanes(self) -> int:
        return self.host.lanes(8 * BYTES[self.s.spec.dtype])

    def _vector(self, c: Channels, o: V, far: V, mask: V | None, seen: V | None) -> None:
        """One vector of channels from ``o`` on; ``far``: bytes from a pixel's first channel to those that it sees."""
        f, s = self.f, self.s
        if s.far:
            self._look_ahead(c, o, far)
        sums = [zero(f, s.spec.dtype, c.lanes)] * (self.height * self.width)
        size = SIZE[s.spec.accesses[1].dtype]
        at = f.mul(o, size) if self.packed is None else f.mul(f.sdiv(o, c.lanes), self.packed)
        filters = f.gep(self.filters, "i8", at)
        if self.looped:
            step = len(self.places)
            with f.loop(0, s.down.taps, 1, carry=[self.table, filters, *sums], name="tap") as it:
                table, w, *sums = it.vals
                sums = self._row(c, far, mask, seen, table, [(0, w)], sums)
                it.next([f.gep(table, "ptr", step), f.gep(w, "i8", self.filter_steps[0]), *sums])
            sums = it.results[2:]
        else:
            for a, links in enumerate(self.row_links):
                table = f.gep(self.table, "ptr", a * len(self.places))
                taps = [(t, f.gep(filters, "i8", f.mul(self.filter_steps[0], k))) for t, _, k in links]
                sums = self._row(c, far, mask, seen, table, taps, sums)
        self._finish(sums, o, c.lanes, mask)

    def _row(
        self, c: Channels, far: V, mask: V | None, seen: V | None, table: V, rows: Sequence[tuple[int, V]],
        sums: Sequence[V],
    ) -> list[V]:  # fmt: skip
        """Add what a row of pixels gives. rows: rows of results that see it, and their row of the filters."""
        f, s, host = self.f, self.s, self.host
        a, b = (x.dtype for x in s.spec.accesses[:2])
        out, dtype = list(sums), s.spec.dtype
        known: dict[tuple[int, int, int], V] = {}

        def filters(n: int, k: int, channel: int) -> V:
            got = known.get((n, k, channel))
            if got is None:
                p = f.gep(rows[n][1], "i8", f.mul(self.filter_steps[1], k))
                p = f.gep(p, "i8", f.mul(self.filter_steps[2], channel))
                got = known[n, k, channel] = load_vector(f, host, b, dtype, p, c.lanes, mask)
            return got

        def pixel(place: int, channel: int) -> None:
            p = f.gep(f.load("ptr", f.gep(table, "ptr", self.places.index(place))), "i8", far)
            x = load_pixels(f, host, a, dtype, p, c, channel, seen)
            links: list[Link] = [y for y in self.cols if y[1] == place]
            for r, _, k in links:
                for n, (t, _) in enumerate(rows):
                    at = t * self.width + r
                    out[at] = f.fma(x, filters(n, k, channel), out[at])

        taps = len({k for _, _, k in self.cols}) * len(rows)
        if taps * s.part + len(sums) + 3 <= host.registers:  # all filters of the row stay in registers
            for place in self.places:
                for channel in range(s.part):
                    pixel(place, channel)
        elif c.each == c.lanes:  # pixels are broadcast: nothing but addresses tells the channels apart
            with f.loop(0, s.part, 1, carry=[far, *(w for _, w in rows), *out], name="channel") as it:
                far, filters_at, out = it.vals[0], it.vals[1 : 1 + len(rows)], it.vals[1 + len(rows) :]
                rows = [(t, w) for (t, _), w in zip(rows, filters_at, strict=True)]
                for place in self.places:
                    pixel(place, 0)
                after = [f.gep(w, "i8", self.filter_steps[2]) for w in filters_at]
                it.next([f.add(far, SIZE[a]), *after, *out])
            out = it.results[1 + len(rows) :]
        else:
            for channel in range(s.part):
                for place in self.places:
                    pixel(place, channel)
        return out

    def _look_ahead(self, c: Channels, o: V, far: V) -> None:
        """Ask for what the tile below this one will load and store."""
        f, spec = self.f, self.s.spec
        corner, steps = self.ahead
        size = c.span * SIZE[spec.accesses[0].dtype]
        ask_for(f, f.gep(corner, "i8", far), steps, self.next_rows, self.next_cols, size)
        b = self.bodies[-1]
        stored = {a for _, a in spec.stores}
        for a, p in b.base.items():
            access, walked = spec.accesses[a], b.strides[a].axes
            if access.steps[-1] == "1" and "0" not in access.steps[-3:-1]:
                p = f.gep(f.gep(p, "i8", walked[1]), "i8", f.mul(f.arg("j"), walked[2]))
                p = f.gep(p, "i8", f.mul(o, SIZE[access.dtype]))
                size = c.lanes * SIZE[access.dtype]
                ask_for(f, p, (walked[1], walked[2]), self.height, self.width, size, a in stored)

    # -- the body ---------------------------------------------------------------------------------
    def _bodies(self) -> list[_Body]:
        """The body for each row of results: with the addresses and the position of that row."""
        f, spec = self.f, self.s.spec
        b = _open(f, self.host, spec.accesses, self.ints_at, spec.body, spec.stores, 1)
        out = []
        for t in range(self.height):
            row, own = f.add(f.arg("i"), t), copy.copy(b)
            own.base = {a: f.gep(p, "i8", f.mul(row, b.strides[a].axes[1])) for a, p in b.base.items()}
            own.coords = [b.coords[0], row]
            out.append(own)
        return out

    def _finish(self, sums: Sequence[V], o: V, n: int, mask: V | None) -> None:
        f = self.f
        if self.spot is not None:
            for k, x in enumerate(sums):
                f.store(x, f.gep(self.spot, "i8", k * n * BYTES[self.s.spec.dtype]))
        for t, b in enumerate(self.bodies):
            top: dict[int, V] = {}
            b.values(b.level(set()), top, f.arg("j"), o, 1, None, None)
            top = {k: f.splat(x, n) for k, x in top.items()}
            b.values(b.level({1}), top, f.arg("j"), o, n, None, mask)
            if self.spot is None:
                for k in range(self.width):
                    self._written(b, dict(top), f.add(f.arg("j"), k), o, n, sums[t * self.width + k], mask)
                continue
            ty = vec(ELEMENT[self.s.spec.dtype], n)
            with f.loop(0, self.width, 1, name="result") as r:
                x = f.load(ty, f.gep(self.spot, ty, f.add(r.i, t * self.width)))
                self._written(b, dict(top), f.add(f.arg("j"), r.i), o, n, x, mask)

    def _written(self, b: _Body, env: dict[int, V], j: V, o: V, n: int, x: V, mask: V | None) -> None:
        b.values(b.level({0}, {0, 1}), env, j, o, n, x, mask)
        b.write(env, j, o, n, mask)
