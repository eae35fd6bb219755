"""Convolution as a contraction whose sums jump: the register tiles of a product, reading images in place.

``C[b…, i, j] = sum_t sum_l A[b…, i, offset_t + l] B[offset'_t + l, j]``: rows are neighbouring pixels, a *tap* ``t``
is what a filter's element adds to a pixel's address (or, for the gradient of the filters, a row of pixels), ``l`` runs
over what is contiguous from there. Nothing is copied: a pixel is read by broadcasts wherever the tap finds it, the
filters by vectors. Batch axes that B ignores (images and their rows) are walked inside of a strip of columns, so that
the strip stays in the second level cache for all of them.

Halves are widened as they are read, or, bfloat16 on hosts that can, multiplied in pairs (see :mod:`.pairs`): then an
element of either operand, and a step of ``l``, is a pair.

Where the sums are cut (the gradient of the filters runs over all pixels of a batch), they wait in ``scratch``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..loops import Contract
from .contract import _ABI, _ceil_div, _clear, _coordinates, _int, _walk
from .epilogue import InlineBody, Strides, emit_epilogue
from .host import Host
from .microkernel import (
    BYTES,
    ELEMENT,
    PAIRS,
    STORAGE,
    Tile,
    TileBody,
    broadcast,
    load_vector,
    mask_words,
    masks_of,
    multiply_add,
    prefetch,
)
from .text import Module, V, vec

__all__ = ["Correlate", "emit_tile"]

_HEADER = 9  # integers before those of the batch
_TOUCH = 8  # which of them says whether C is far off


@dataclass(frozen=True)
class Correlate:
    """The kernel.

    spec: as of a product; ``shared`` of its batch axes, the last ones, B ignores. tile: heights that can make up any
    number of rows that comes. resume: sums pass through ``scratch``. inline: the body is part of the tiles. pairs: of
    bfloat16 are multiplied. together: how many shared places have their rows in one register tile; then its height is
    that of a place, and neither sums nor body are elsewhere than in ``scratch``.

    ``ints``: rows, cols, inner (steps of a tap), taps, rows of a chunk, columns of a chunk, shared places of a chunk,
    taps of a stretch, whether C is far off, the batch extents, those of the accesses in turn, then for each tap the
    byte offsets of A and of B.
    """

    spec: Contract
    tile: Tile
    shared: int
    resume: bool
    inline: bool
    pairs: bool = False
    together: int = 1

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Emit the kernel under ``name``."""
        _Emitter(self, module, name, host).run()


class _Emitter:
    def __init__(self, source: Correlate, module: Module, name: str, host: Host):
        self.s, self.m, self.name, self.host = source, module, name, host
        spec, tile = source.spec, source.tile
        self.width = tile.columns
        self.row_bytes = self.width * BYTES[spec.dtype]
        at = _HEADER + spec.batch
        ints_at = []
        for a in spec.accesses:
            ints_at.append(at)
            at += a.ints
        self.ints_at, self.table_at = ints_at, at
        body = InlineBody(host, spec, tuple(ints_at), _TOUCH) if source.inline else None
        stored = [PAIRS if source.pairs else x.dtype for x in spec.accesses[:2]]
        beside = spec.accesses[0].steps[-2] == "1" != spec.accesses[0].steps[-1]
        self.tiles = {
            h: emit_tile(
                module, f"{name}.tile.{h}", host, spec.dtype, stored, tile, h, source.resume, body, beside=beside
            )
            for h in tile.heights
        }
        if source.together > 1:
            high = tile.heights[0]
            self.joint = emit_tile(
                module,
                f"{name}.joint",
                host,
                spec.dtype,
                stored,
                tile,
                high,
                False,
                None,
                source.together,
                beside=beside,
            )
        if not source.inline:
            self.epilogue = emit_epilogue(module, f"{name}.epilogue", host, spec.dtype, spec.accesses, ints_at,
                                          spec.body, spec.stores, 1, self.width)  # fmt: skip

    def run(self) -> None:
        spec = self.s.spec
        f = self.f = self.m.function(self.name, "void", _ABI)
        ints = f.arg("ints")
        self.rows, self.cols, self.inner, self.taps, self.mc, self.nc, self.gc, self.tc = (
            _int(f, ints, n) for n in range(8)
        )
        extents = [_int(f, ints, _HEADER + b) for b in range(spec.batch)]
        cut = spec.batch - self.s.shared
        self.outer, self.places = extents[:cut], extents[cut:]
        self.strides = [Strides.read(f, ints, at, a) for at, a in zip(self.ints_at, spec.accesses, strict=True)]
        self.base = [
            f.gep(f.load("ptr", f.gep(f.arg("bufs"), "ptr", a.buf)), "i8", s.offset)
            for a, s in zip(spec.accesses, self.strides, strict=True)
        ]
        self.table = f.gep(ints, "i64", self.table_at)
        self.frame = f.alloca("i64", len(spec.accesses) + spec.batch)
        self.joined = f.alloca("ptr", self.s.together)
        count = f.const("i64", 1)
        for e in self.places:
            count = f.mul(count, e)
        row_blocks, col_blocks = _ceil_div(f, self.rows, self.mc), _ceil_div(f, self.cols, self.nc)
        blocks = _ceil_div(f, count, self.gc)
        with f.loop(f.arg("begin"), f.arg("end"), 1, name="chunk") as it:
            rest = f.sdiv(it.i, row_blocks)
            i0 = f.mul(f.srem(it.i, row_blocks), self.mc)
            j0 = f.mul(f.srem(rest, col_blocks), self.nc)
            rest = f.sdiv(rest, col_blocks)
            g0 = f.mul(f.srem(rest, blocks), self.gc)
            coords = _coordinates(f, f.sdiv(rest, blocks), self.outer)
            self._chunk(coords, g0, f.min_i(f.add(g0, self.gc), count), i0, j0)
        f.ret()

    def _chunk(self, outer: list[V], g0: V, g1: V, i0: V, j0: V) -> None:
        f = self.f
        rows = f.min_i(f.sub(self.rows, i0), self.mc)
        j1 = f.min_i(f.add(j0, self.nc), self.cols)
        bases = [_walk(f, p, s.axes, outer) for p, s in zip(self.base, self.strides, strict=True)]
        for b, c in enumerate(outer):
            f.store(c, f.gep(self.frame, "i64", len(bases) + b))
        room = f.mul(rows, self.row_bytes)
        with f.loop(0, self.taps, self.tc, name="stretch") as st:
            taps = f.min_i(f.sub(self.taps, st.i), self.tc)
            last = f.icmp("sge", f.add(st.i, self.tc), self.taps)
            table = f.gep(self.table, "i64", f.mul(st.i, 2))
            with f.loop(j0, j1, self.width, name="strip") as js:
                src = f.gep(bases[1], "i8", f.mul(js.i, self.strides[1].axes[-1]))
                cols = f.min_i(f.sub(j1, js.i), self.width)
                words = masks_of(f, cols, self.s.tile) if self.host.masks else []
                start = g0
                if self.s.together > 1:
                    with f.loop(g0, f.sub(g1, self.s.together - 1), self.s.together, name="joint") as g:
                        self._together(bases, len(outer), g.i, src, i0, rows, js.i, cols, taps, table, words)
                    start = g.i
                with f.loop(start, g1, 1, name="place") as g:
                    acc = f.arg("scratch")
                    if self.s.resume:
                        strip = f.mul(f.sdiv(f.sub(js.i, j0), self.width), f.sub(g1, g0))
                        acc = f.gep(acc, "i8", f.mul(f.add(strip, f.sub(g.i, g0)), room))
                        with f.if_(f.icmp("eq", st.i, 0)):
                            _clear(f, acc, room)
                    self._place(bases, len(outer), g.i, src, acc, i0, rows, js.i, cols, taps, table, words, last)

    def _walked(self, bases: list[V], outer: int, g: V) -> tuple[list[V], list[V]]:
        """Where a shared place is: the addresses of all accesses, and its coordinates."""
        coords = _coordinates(self.f, g, self.places)
        return [_walk(self.f, p, s.axes[outer:], coords) for p, s in zip(bases, self.strides, strict=True)], coords

    def _at(self, here: list[V], coords: list[V], outer: int) -> None:
        """Tell the body where it is."""
        f = self.f
        for n, x in [*enumerate(here), *enumerate(coords, len(here) + outer)]:
            f.store(x, f.gep(self.frame, "i64", n))

    def _together(
        self, bases: list[V], outer: int, g: V, src: V, i0: V, rows: V, j: V, cols: V, taps: V, table: V,
        words: list[V],
    ) -> None:  # fmt: skip
        """Places from ``g`` on that share a register tile."""
        f, s = self.f, self.strides
        row, step = s[0].axes[-2:]
        walked = [self._walked(bases, outer, f.add(g, q)) for q in range(self.s.together)]
        for q, (here, _) in enumerate(walked):
            f.store(f.gep(here[0], "i8", f.mul(i0, row)), f.gep(self.joined, "ptr", q))
        args = [self.joined, row, step, src, s[1].axes[-2], self.inner, f.arg("scratch"), taps, table, f.i64(0), row]
        f.call(self.joint, "void", [*args, *words])
        for q, (here, coords) in enumerate(walked):
            self._at(here, coords, outer)
            acc = f.gep(f.arg("scratch"), "i8", q * self.s.tile.heights[0] * self.row_bytes)
            f.call(self.epilogue, "void", [f.arg("ints"), self.frame, acc, i0, rows, j, cols])

    def _place(
        self, bases: list[V], outer: int, g: V, src: V, acc: V, i0: V, rows: V, j: V, cols: V, taps: V, table: V,
        words: list[V], last: V,
    ) -> None:  # fmt: skip
        f, s = self.f, self.strides
        here, coords = self._walked(bases, outer, g)
        self._at(here, coords, outer)
        row, step = s[0].axes[-2:]
        a = f.gep(here[0], "i8", f.mul(i0, row))
        start: V | int = 0
        for h in self.s.tile.heights:
            with f.loop(start, f.sub(rows, h - 1), h, name=f"rows{h}.") as it:
                out = f.gep(acc, "i8", f.mul(it.i, self.row_bytes))
                args = [f.gep(a, "i8", f.mul(it.i, row)), row, step, src, s[1].axes[-2], self.inner, out, taps, table]
                args += [s[0].axes[outer + len(self.places) - 1] if self.places else f.mul(row, h), row]
                more = [f.arg("ints"), self.frame, f.add(i0, it.i), j] if self.s.inline else []
                f.call(self.tiles[h], "void", [*args, *words, *more])
            start = it.i
        if not self.s.inline:
            with f.if_(last):
                f.call(self.epilogue, "void", [f.arg("ints"), self.frame, acc, i0, rows, j, cols])


def emit_tile(
    m: Module,
    name: str,
    host: Host,
    dtype: str,
    stored: Sequence[str],
    tile: Tile,
    height: int,
    resume: bool,
    body: TileBody | None,
    together: int = 1,
    asked: int = 0,
    beside: bool = False,
) -> str:
    """``void (ptr a, i64 row, i64 step, ptr b, i64 bstep, i64 inner, ptr acc, i64 taps, ptr table, i64 next, i64 pace
    …)``.

    As :func:`~.microkernel.emit_tiles`, in a loop over taps: ``table`` holds the byte offsets of A and of B for each.
    What will be read after this A is asked for, a line in each step: rows ``pace`` bytes apart, ``next`` bytes from A.
    stored: the dtype of A and of B, or PAIRS. together: above 1, ``a`` points to so many addresses, each of ``height``
    rows, and nothing is asked for. asked: how many rows are, a power of two; 0: as many as the tile has. beside: A's
    rows lie side by side and its steps far from each other, so every step needs lines of its own, which are asked for.
    """
    n, nv, size, wide = tile.lanes, tile.vectors, BYTES[dtype], STORAGE[stored[1]]
    ty = vec(ELEMENT[dtype], n)
    args = [("ptr", "a"), ("i64", "row"), ("i64", "step"), ("ptr", "b"), ("i64", "bstep"), ("i64", "inner")]
    args += [("ptr", "acc"), ("i64", "taps"), ("ptr", "table"), ("i64", "next"), ("i64", "pace")]
    if host.masks:
        args += [("i64", f"mask{w}") for w in range(mask_words(tile))]
    if body:
        args += [("ptr", "ints"), ("ptr", "frame"), ("i64", "i"), ("i64", "j")]
    f = m.function(name, "void", args, "internal", "nounwind noinline")
    masks = []
    if host.masks:
        for v in range(nv):
            bits = f.lshr(f.arg(f"mask{v * n // 64}"), v * n % 64)
            masks.append(f.cast("bitcast", f.cast("trunc", bits, f"i{n}"), f"<{n} x i1>"))
    if body and height == tile.heights[0]:
        body.start(f, height, nv * n)
    asks = together == 1 and not resume
    at = [f.gep(f.arg("acc"), "i8", k * n * size) for k in range(together * height * nv)]
    starts = [f.arg("a")] if together == 1 else [f.load("ptr", f.gep(f.arg("a"), "ptr", q)) for q in range(together)]
    first = [f.load(ty, p) if resume else f.zero(ty) for p in at]
    with f.loop(0, f.arg("taps"), 1, carry=first, name="tap") as tap:
        entry = f.gep(f.arg("table"), "i64", f.mul(tap.i, 2))
        offset = f.load("i64", entry)
        a0 = [f.gep(p, "i8", offset) for p in starts]
        b0 = f.gep(f.arg("b"), "i8", f.load("i64", f.gep(entry, "i64", 1)))
        with f.loop(0, f.arg("inner"), 1, carry=[*a0, b0, *tap.vals], name="k") as it:
            a, (b, *acc) = it.vals[:together], it.vals[together:]
            if tile.ahead:
                prefetch(f, f.gep(b, "i8", f.mul(f.arg("bstep"), tile.ahead)), nv * n * wide)
                if beside:
                    for p in a:
                        prefetch(f, f.gep(p, "i8", f.mul(f.arg("step"), tile.ahead)), height * STORAGE[stored[0]])
                elif asks:  # a line serves sixteen steps
                    line = f.and_(it.i, (asked or 1 << (height - 1).bit_length()) - 1)
                    prefetch(f, f.gep(a[0], "i8", f.add(f.mul(line, f.arg("pace")), f.arg("next"))), 1)
            bv = [
                load_vector(f, host, stored[1], dtype, f.gep(b, "i8", v * n * wide), n, masks[v] if masks else None)
                for v in range(nv)
            ]
            p = a[0]
            for r in range(together * height):
                p = f.gep(p, "i8", f.arg("row")) if r % height else a[r // height]
                x = broadcast(f, host, stored[0], dtype, p, n)
                for v in range(nv):
                    acc[r * nv + v] = multiply_add(f, x, bv[v], acc[r * nv + v])
            it.next([*(f.gep(p, "i8", f.arg("step")) for p in a), f.gep(b, "i8", f.arg("bstep")), *acc])
        tap.next(it.results[together + 1 :])
    sums = tap.results
    if body:
        body.finish(f, [sums[r * nv : (r + 1) * nv] for r in range(height)], masks)
    else:
        for p, x in zip(at, sums, strict=True):
            f.store(x, p)
    f.ret()
    return name
