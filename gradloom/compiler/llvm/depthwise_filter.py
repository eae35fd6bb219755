"""The gradient of the filters of convolutions whose groups have few channels: a sum for each tap in registers.

``w[k, l, c, o] = sum x[n, pixel(i, k), pixel(j, l), group(o) * part + c] y[n, i, j, o]`` over images and rows of a
piece. A tile of results is loaded once, and every pixel is multiplied by all results that see it; sums of taps lie in
memory between tiles. Pieces are summed by whoever reads them, always in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..loops import Contract
from .contract import _ABI, _ceil_div, _clear, _int
from .depthwise_tile import Channels, Reach, ask_for, emit_table, lanes_below, load_pixels
from .epilogue import SIZE, Strides
from .host import Host
from .microkernel import BYTES, ELEMENT, load_vector
from .text import Module, V, vec

__all__ = ["DepthwiseFilter"]

_HEADER = 10  # integers before those of the accesses
_CLEAR = 64  # bytes of zeros written at a time


@dataclass(frozen=True)
class DepthwiseFilter:
    """The kernel.

    spec: A is the images, B the results, both over ``(n, row, column, channel)`` with channels of unit stride; its one
    store, in C order, is over ``(piece, row, column, c, channel)`` of the filters, or where they are packed over
    ``(piece, vector, row, column, c, lane)``. down, across, tall, wide, ragged, far: as of
    :class:`~.depthwise.Depthwise`. some: channels of a group whose sums are in registers at once.

    ``ints``: rows and columns and channels of the results, rows and columns and channels of the images, images; images
    and rows of a piece; elements of a piece; then those of the first two accesses and the offset of the store.
    """

    spec: Contract
    down: Reach
    across: Reach
    part: int
    each: int
    tall: tuple[int, ...]
    wide: tuple[int, ...]
    some: int
    ragged: bool
    far: bool
    packed: bool

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Emit the kernel under ``name``."""
        _Emitter(self, module, name, host).run()


class _Emitter:
    def __init__(self, source: DepthwiseFilter, module: Module, name: str, host: Host):
        self.s, self.m, self.name, self.host = source, module, name, host
        a, b = source.spec.accesses[:2]
        self.ints_at = (_HEADER, _HEADER + a.ints, _HEADER + a.ints + b.ints)
        self.size = BYTES[source.spec.dtype]
        self.tiles = {(t, w): self._tile(f"{name}.tile.{t}.{w}", t, w) for t in source.tall for w in source.wide}

    def run(self) -> None:
        s, spec = self.s, self.s.spec
        f = self.m.function(self.name, "void", _ABI)
        ints = f.arg("ints")
        rows, cols, _, _, _, channels, images, own_images, own_rows, total = (_int(f, ints, n) for n in range(_HEADER))
        x, y = (Strides.read(f, ints, self.ints_at[a], spec.accesses[a]) for a in (0, 1))
        bufs = [f.load("ptr", f.gep(f.arg("bufs"), "ptr", a.buf)) for a in spec.accesses]
        images_at, results_at = f.gep(bufs[0], "i8", x.offset), f.gep(bufs[1], "i8", y.offset)
        sums_at = f.gep(bufs[2], "i8", f.mul(_int(f, ints, self.ints_at[2]), self.size))
        zeros = f.arg("scratch")
        with f.loop(0, f.mul(channels, SIZE[spec.accesses[0].dtype]), _CLEAR, name="clear") as it:
            f.store(f.zero(f"<{_CLEAR} x i8>"), f.gep(zeros, "i8", it.i))
        blocks = _ceil_div(f, rows, own_rows)
        with f.loop(f.arg("begin"), f.arg("end"), 1, name="piece") as it:
            n0 = f.mul(f.sdiv(it.i, blocks), own_images)
            i0 = f.mul(f.srem(it.i, blocks), own_rows)
            i1 = f.min_i(f.add(i0, own_rows), rows)
            sums = f.gep(sums_at, "i8", f.mul(f.mul(it.i, total), self.size))
            _clear(f, sums, f.mul(total, self.size))
            with f.loop(n0, f.min_i(f.add(n0, own_images), images), 1, name="image") as n:
                image = f.gep(images_at, "i8", f.mul(n.i, x.axes[0]))
                result = f.gep(results_at, "i8", f.mul(n.i, y.axes[0]))
                i = i0
                for t in s.tall:
                    with f.loop(i, f.sub(i1, t - 1), t, name=f"rows{t}.") as row:
                        start: V | int = 0
                        for w in s.wide:
                            with f.loop(start, f.sub(cols, w - 1), w, name=f"tile{w}.") as col:
                                f.call(self.tiles[t, w], "void", [ints, image, result, sums, zeros, row.i, col.i])
                            start = col.i
                    i = row.i
        f.ret()

    def _tile(self, name: str, tall: int, wide: int) -> str:
        """``void (ptr ints, ptr x, ptr y, ptr sums, ptr zeros, i64 i, i64 j)``, x and y those of one image."""
        s, spec = self.s, self.s.spec
        args = [("ptr", n) for n in ("ints", "x", "y", "sums", "zeros")] + [("i64", "i"), ("i64", "j")]
        f = self.f = self.m.function(name, "void", args, "internal", "nounwind noinline")
        self.width = wide
        ints = f.arg("ints")
        _, _, self.channels, high, across, *_ = (_int(f, ints, n) for n in range(_HEADER))
        x, y = (Strides.read(f, ints, self.ints_at[a], spec.accesses[a]) for a in (0, 1))
        self.cols = s.across.links(wide)
        self.places = sorted({p for _, p, _ in self.cols})
        down = s.down.links(tall)
        self.looped = tall == 1 and len(down) > 1
        rows = [p for _, p, _ in down] if self.looped else sorted({p for _, p, _ in down})
        self.row_links = [[x for x in down if x[1] == p] for p in rows]
        first = (s.down.first(f, f.arg("i"), tall), s.across.first(f, f.arg("j"), wide))
        self.table = emit_table(f, f.arg("x"), (high, across), (x.axes[1], x.axes[2]), first, rows, self.places,
                                f.arg("zeros"))  # fmt: skip
        below = f.gep(f.arg("x"), "i8", f.mul(f.add(first[0], s.down.fresh(tall).start), x.axes[1]))
        below = f.gep(below, "i8", f.mul(first[1], x.axes[2]))
        corner = f.gep(f.arg("y"), "i8", f.mul(f.arg("i"), y.axes[1]))
        corner = f.gep(corner, "i8", f.mul(f.arg("j"), y.axes[2]))
        self.results = [
            f.gep(f.gep(corner, "i8", f.mul(y.axes[1], t)), "i8", f.mul(y.axes[2], r))
            for t in range(tall)
            for r in range(wide)
        ]
        under = f.gep(corner, "i8", f.mul(y.axes[1], tall))
        self.ahead = [
            (0, below, (x.axes[1], x.axes[2]), len(s.down.fresh(tall)), len(s.across.fresh(wide))),
            (1, under, (y.axes[1], y.axes[2]), tall, wide),
        ]
        n = self.host.lanes(8 * self.size)
        whole = f.and_(self.channels, -n) if s.ragged else self.channels
        far = SIZE[spec.accesses[0].dtype]
        c = Channels(s.part, s.each, n)
        with f.loop(0, whole, n, carry=[f.const("i64", 0)], name="vector") as it:
            self._vector(c, it.i, it.vals[0], None, None)
            it.next([f.add(it.vals[0], c.span * far)])
        if s.ragged and self.host.masks:
            rest = f.sub(self.channels, whole)
            with f.if_(f.icmp("sgt", rest, 0)):
                seen = f.mul(f.sdiv(rest, s.each), s.part)
                masks = lanes_below(f, rest, n), lanes_below(f, seen, c.span) if c.span > 1 else None
                self._vector(c, whole, it.results[0], *masks)
        elif s.ragged:
            with f.loop(whole, self.channels, 1, name="one") as it:
                at = f.mul(f.sdiv(it.i, s.each), s.part * far)
                self._vector(Channels(s.part, s.each, 1), it.i, at, None, None)
        f.ret()
        return name

    def _vector(self, c: Channels, o: V, far: V, mask: V | None, seen: V | None) -> None:
        """One vector of channels from ``o`` on; ``far``: bytes from a pixel's first channel to those that it sees."""
        f, s, b = self.f, self.s, self.s.spec.accesses[1].dtype
        near = f.mul(o, SIZE[b])
        for a, p, steps, rows, cols in self.ahead if s.far else ():
            count, at = (c.span, far) if a == 0 else (c.lanes, near)
            ask_for(f, f.gep(p, "i8", at), steps, rows, cols, count * SIZE[s.spec.accesses[a].dtype])
        ys = [load_vector(f, self.host, b, s.spec.dtype, f.gep(p, "i8", near), c.lanes, mask) for p in self.results]
        row_bytes, step = f.mul(self.channels, self.size), self.size
        if s.packed:
            row_bytes, step = f.const("i64", c.lanes * self.size), self.size * s.down.taps * s.across.taps * s.part
        corner = f.gep(f.arg("sums"), "i8", f.mul(o, step))
        for channel in range(0, s.part, s.some):
            own = range(channel, min(channel + s.some, s.part))
            sums = f.gep(corner, "i8", f.mul(row_bytes, channel))
            self._sums(c, ys, far, mask, seen, sums, row_bytes, own)

    def _sums(
        self, c: Channels, ys: Sequence[V], far: V, mask: V | None, seen: V | None, sums: V, step: V,
        own: Sequence[int],
    ) -> None:  # fmt: skip
        """Add to the sums of the channels ``own`` of each group. step: bytes from one channel's sums to the next."""
        f, s = self.f, self.s
        across, ty = s.across.taps, vec(ELEMENT[s.spec.dtype], c.lanes)

        def place(p: V, k: int, m: int) -> V:
            return f.gep(p, "i8", f.mul(step, k * s.part + m))

        def load(p: V) -> V:
            return f.load(ty, p) if mask is None else f.masked_load(ty, p, mask)

        def store(x: V, p: V) -> None:
            if mask is None:
                f.store(x, p)
            else:
                f.masked_store(x, p, mask)

        def row(table: V, at: dict[tuple[int, int, int], V], taps: Sequence[tuple[int, int]]) -> None:
            """Multiply a row of pixels. at: the sums by row of the filters, column and channel; taps: see row_links."""
            for b, q in enumerate(self.places):
                p = f.gep(f.load("ptr", f.gep(table, "ptr", b)), "i8", far)
                for m, channel in enumerate(own):
                    x = load_pixels(f, self.host, s.spec.accesses[0].dtype, s.spec.dtype, p, c, channel, seen)
                    for t, k in taps:
                        for r, _, l in (y for y in self.cols if y[1] == q):
                            at[k, l, m] = f.fma(x, ys[t * self.width + r], at[k, l, m])

        each = [(l, m) for l in range(across) for m in range(len(own))]
        if self.looped:
            with f.loop(0, s.down.taps, 1, carry=[self.table, sums], name="tap") as it:
                table, p = it.vals
                at = {(0, l, m): load(place(p, l, m)) for l, m in each}
                row(table, at, [(0, 0)])
                for l, m in each:
                    store(at[0, l, m], place(p, l, m))
                it.next([f.gep(table, "ptr", len(self.places)), place(p, across, 0)])
            return
        keys = [(k, l, m) for k in range(s.down.taps) for l, m in each]
        at = {(k, l, m): load(place(sums, k * across + l, m)) for k, l, m in keys}
        for a, links in enumerate(self.row_links):
            row(f.gep(self.table, "ptr", a * len(self.places)), at, [(t, k) for t, _, k in links])
        for k, l, m in keys:
            store(at[k, l, m], place(sums, k * across + l, m))
