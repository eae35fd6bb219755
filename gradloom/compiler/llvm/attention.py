"""Native attention in blocks of queries and keys (Dao et al. 2022, FlashAttention; Rabe and Staats 2021).

Products are register tiles (:mod:`.microkernel`); between them the rows of a block of scores, which lie in the first
level cache, become probabilities. Forward, a row's largest score and the sum of its exponentials are carried along
the keys, and what has been summed up is scaled down when a larger score comes (Milakov and Gimelshein 2018). Backward,
scores are computed again, probabilities come from the logarithms of those sums, and one walk over blocks of keys gives
all three cotangents. Of causal attention, blocks in the future are left out, and tiles end at their last row's key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gradloom.compiler.llvm.elementwise import emit_inst, emit_load, emit_store, philox_words
from gradloom.compiler.llvm.microkernel import BYTES, ELEMENT, emit_tiles, mask_words, tile_of
from gradloom.compiler.llvm.text import Function, Module, V, vec
from gradloom.compiler.loops import Inst

if TYPE_CHECKING:
    from gradloom.compiler.attention import Attend
    from gradloom.compiler.llvm.host import Host

__all__ = ["QUERIES", "emit_attention"]

QUERIES = 4
"""Tiles of rows in a block of queries."""
KEYS = 4
"""Strips of columns in a block of keys."""

_ABI = [("ptr", "bufs"), ("ptr", "ints"), ("ptr", "scratch"), ("i64", "begin"), ("i64", "end")]
_INTS = (
    "heads", "group", "rows", "keys", "padded", "f", "g", "fp", "gp", "blocks", "record", "m_front", "m_head", "m_row",
    "own", "drawing", "key_step", "least", "growth",
)  # fmt: skip


def emit_attention(kernel: Attend, module: Module, name: str, host: Host) -> None:
    """Write ``kernel`` as function ``name``."""
    e = _Emitter(kernel, module, name, host)
    {"attend": e.forward, "attend_back": e.backward}[kernel.op]()


class _Emitter:
    def __init__(self, kernel: Attend, module: Module, name: str, host: Host) -> None:
        self.k, self.m, self.name, self.host = kernel, module, name, host
        self.tile = tile_of(host, kernel.dtype, "wide")
        self.top, self.width, self.n = self.tile.heights[0], self.tile.columns, self.tile.lanes
        self.block = KEYS * self.width
        self.size, self.elem = BYTES[kernel.dtype], ELEMENT[kernel.dtype]
        self.ty = vec(self.elem, self.n)
        self.fresh = emit_tiles(module, f"{name}.fresh", host, kernel.dtype, self.tile, False, kernel.dtype)
        self.more = emit_tiles(module, f"{name}.more", host, kernel.dtype, self.tile, True, kernel.dtype)
        words = mask_words(self.tile) if host.masks else 0
        self.whole = [V("i64", "-1")] * words

    # -- small pieces ---------------------------------------------------------------------------------
    def exp(self, f: Function, x: V) -> V:
        return emit_inst(f, self.host, Inst("exp", self.k.dtype, (0,)), (self.k.dtype,), [x])

    def log(self, f: Function, x: V) -> V:
        return emit_inst(f, self.host, Inst("log", self.k.dtype, (0,)), (self.k.dtype,), [x])

    def larger(self, f: Function, a: V, b: V) -> V:
        return f.select(f.fcmp("ogt", a, b), a, b)

    def at(self, f: Function, p: V, *terms: V | int) -> V:
        """The address so many elements further on."""
        for t in terms:
            p = f.gep(p, self.elem, t)
        return p

    def bytes_of(self, f: Function, x: V | int) -> V:
        return f.mul(x, self.size) if isinstance(x, V) else f.const("i64", x * self.size)

    def tile_call(
        self, f: Function, tiles: dict[int, str], h: int, a: V, row: V | int, step: V | int, b: V, b_row: V | int, k: V,
        acc: V,
    ) -> None:  # fmt: skip
        """A register tile. row, step, b_row: strides in elements."""
        strides = [self.bytes_of(f, x) for x in (row, step, b_row)]
        f.call(tiles[h], "void", [a, strides[0], strides[1], b, strides[2], k, acc, *self.whole])

    def for_tiles(self, f: Function, rows: V, body: Callable[[int, V], None]) -> None:
        """``body(height, row)`` for a run of each height, largest first."""
        start: V | int = 0
        for h in self.tile.heights:
            with f.loop(start, f.sub(rows, h - 1), h, name=f"rows{h}.") as it:
                body(h, it.i)
            start = it.i

    def clear(self, f: Function, p: V, count: V) -> None:
        with f.loop(0, count, self.n, name="clear") as it:
            f.store(f.zero(self.ty), self.at(f, p, it.i))

    def strips_of(self, f: Function, count: V) -> V:
        """Columns up to the end of the last strip that is touched."""
        return f.and_(f.add(count, self.width - 1), -self.width)

    # -- a block of scores ----------------------------------------------------------------------------
    def masked(self, f: Function, x: V, j: V, limit: V, mask: V | None) -> tuple[V, V]:
        """Scores at columns from ``j`` on with the mask added, and which of them count."""
        left = f.splat(f.cast("trunc", f.sub(limit, j), "i32"), self.n)
        inside = f.icmp("slt", f.iota(left.ty), left)
        if mask is None:
            return x, inside
        if self.k.mask == "bool":
            seen = emit_load(f, self.host, "bool", f.gep(mask, "i8", j), self.n)
            return x, f.and_(inside, seen)
        return f.fadd(x, emit_load(f, self.host, self.k.dtype, self.at(f, mask, j), self.n)), inside

    def more_args(self) -> list[tuple[str, str]]:
        """What a function that reads the mask, or which probabilities are kept, is told."""
        mask = [("ptr", "mask"), ("i64", "mask_row")] if self.k.mask else []
        return [*mask, *([("ptr", "kept")] if self.k.drop else [])]

    def mask_at(self, f: Function, r: V) -> V | None:
        if not self.k.mask:
            return None
        return f.gep(f.arg("mask"), "i8" if self.k.mask == "bool" else self.elem, f.mul(r, f.arg("mask_row")))

    def kept_at(self, f: Function, r: V) -> V | None:
        """Which probabilities of a row are kept."""
        return f.gep(f.arg("kept"), "i8", f.mul(r, self.block)) if self.k.drop else None

    def kept(self, f: Function, row: V | None, j: V, x: V) -> V:
        """``x`` where probabilities are kept."""
        if row is None:
            return x
        return f.select(emit_load(f, self.host, "bool", f.gep(row, "i8", j), self.n), x, f.zero(self.ty))

    def grown(self, f: Function, row: V | None, j: V, x: V) -> V:
        """``x`` times what its probability was multiplied with."""
        return x if row is None else f.fmul(self.kept(f, row, j, x), f.splat(f.arg("growth"), self.n))

    def limit_of(self, f: Function, r: V) -> V:
        """How many columns of a block count in its row ``r``."""
        limit = f.arg("limit")
        return f.min_i(limit, f.add(f.arg("first"), r)) if self.k.causal else limit

    def columns(self, f: Function, upto: V, body: Callable[[V, V], None], name: str) -> None:
        """``body(column, place in the strips of a tile)`` for each vector of the strips up to a column."""
        with f.loop(0, upto, self.width, name=name) as it:
            place = f.mul(it.i, self.top)
            for v in range(self.tile.vectors):
                body(f.add(it.i, v * self.n), f.add(place, v * self.n))

    def softmax(self) -> str:
        """A tile of scores becomes probabilities up to a factor.

        ``void (s, p, most, sums, out, i64 strip, strips, rows, upto, limit, first[, mask, mask_row][, kept])``:
        scores in strips, probabilities in rows; for each row its largest score so far and the sums of its lanes;
        ``out``, the results so far, in ``strips`` strips, one every ``strip`` elements. limit: keys left; first:
        those that row 0 of causal attention sees; kept: bytes in rows, 0 where a probability is dropped.
        """
        name = f"{self.name}.softmax"
        args = [("ptr", p) for p in ("s", "p", "most", "sums", "out")]
        args += [("i64", x) for x in ("strip", "strips", "rows", "upto", "limit", "first")]
        f = self.m.function(name, "void", [*args, *self.more_args()], "internal", "nounwind noinline")
        n, low = self.n, f.const(self.ty, float("-inf"))
        with f.loop(0, f.arg("rows"), name="row") as r:
            limit, mask = self.limit_of(f, r.i), self.mask_at(f, r.i)
            s = self.at(f, f.arg("s"), f.mul(r.i, self.width))
            p = self.at(f, f.arg("p"), f.mul(r.i, self.block))
            best = f.alloca(self.ty, align=64)
            f.store(low, best)

            def largest(j: V, place: V, s: V = s, limit: V = limit, mask: V | None = mask, best: V = best) -> None:
                spot = self.at(f, s, place)
                x, counts = self.masked(f, f.load(self.ty, spot), j, limit, mask)
                x = f.select(counts, x, low)
                f.store(x, spot)
                f.store(self.larger(f, x, f.load(self.ty, best)), best)

            self.columns(f, f.arg("upto"), largest, "max")
            before = f.load(self.elem, self.at(f, f.arg("most"), r.i))
            top = self.larger(f, f.call(f"llvm.vector.reduce.fmax.{f.mangle(self.ty)}", self.elem,
                                        [f.load(self.ty, best)], "nnan"), before)  # fmt: skip
            f.store(top, self.at(f, f.arg("most"), r.i))
            none = f.fcmp("oeq", top, f.const(self.elem, float("-inf")))
            base = f.splat(f.select(none, f.const(self.elem, 0.0), top), n)
            total = f.alloca(self.ty, align=64)
            f.store(f.zero(self.ty), total)

            kept = self.kept_at(f, r.i)

            def power(
                j: V, place: V, s: V = s, p: V = p, base: V = base, total: V = total, kept: V | None = kept
            ) -> None:
                e = self.exp(f, f.fsub(f.load(self.ty, self.at(f, s, place)), base))
                f.store(self.kept(f, kept, j, e), self.at(f, p, j))
                f.store(f.fadd(f.load(self.ty, total), e), total)

            self.columns(f, f.arg("upto"), power, "exp")
            sums = self.at(f, f.arg("sums"), f.mul(r.i, n))
            with f.if_else(f.fcmp("oeq", top, before)) as br:
                f.store(f.fadd(f.load(self.ty, sums), f.load(self.ty, total)), sums)
                br.otherwise()
                less = self.exp(f, f.fsub(f.splat(before, n), base))
                f.store(f.fma(f.load(self.ty, sums), less, f.load(self.ty, total)), sums)
                self.scale(f, self.at(f, f.arg("out"), f.mul(r.i, self.width)), f.arg("strip"), f.arg("strips"), less)
        f.ret()
        return name

    def scale(self, f: Function, row: V, strip: V, strips: V, by: V) -> None:
        """Multiply a row of results."""
        with f.loop(0, strips, name="strip") as it:
            p = self.at(f, row, f.mul(it.i, strip))
            for v in range(self.tile.vectors):
                q = self.at(f, p, v * self.n)
                f.store(f.fmul(f.load(self.ty, q), by), q)

    def slopes(self) -> str:
        """A tile of scores and of cotangents of probabilities becomes probabilities and cotangents of scores.

        ``void (s, d, p, ds, logs, means, i64 rows, upto, limit, first[, mask, mask_row][, kept, growth])``: the first
        two in strips, the results in rows, zeros from column ``upto`` to the end of the block.
        """
        name = f"{self.name}.slopes"
        args = [("ptr", p) for p in ("s", "d", "p", "ds", "logs", "means")]
        args += [("i64", x) for x in ("rows", "upto", "limit", "first")]
        growth = [(self.elem, "growth")] if self.k.drop else []
        f = self.m.function(name, "void", [*args, *self.more_args(), *growth], "internal", "nounwind noinline")
        n, zero = self.n, f.zero(self.ty)
        with f.loop(0, f.arg("rows"), name="row") as r:
            limit, mask, kept = self.limit_of(f, r.i), self.mask_at(f, r.i), self.kept_at(f, r.i)
            s, d = (self.at(f, f.arg(x), f.mul(r.i, self.width)) for x in ("s", "d"))
            p, ds = (self.at(f, f.arg(x), f.mul(r.i, self.block)) for x in ("p", "ds"))
            logs, mean = (f.splat(f.load(self.elem, self.at(f, f.arg(x), r.i)), n) for x in ("logs", "means"))

            def one(
                j: V, place: V, s: V = s, d: V = d, p: V = p, ds: V = ds, logs: V = logs, mean: V = mean,
                limit: V = limit, mask: V | None = mask, kept: V | None = kept,
            ) -> None:  # fmt: skip
                x, counts = self.masked(f, f.load(self.ty, self.at(f, s, place)), j, limit, mask)
                e = f.select(counts, self.exp(f, f.fsub(x, logs)), zero)
                slope = f.fmul(e, f.fsub(self.grown(f, kept, j, f.load(self.ty, self.at(f, d, place))), mean))
                f.store(self.grown(f, kept, j, e), self.at(f, p, j))
                f.store(f.select(counts, slope, zero), self.at(f, ds, j))

            self.columns(f, f.arg("upto"), one, "key")
            with f.loop(f.arg("upto"), self.block, n, name="rest") as it:
                for x in (p, ds):
                    f.store(zero, self.at(f, x, it.i))
        f.ret()
        return name

    def draws(self) -> str:
        """Random bits say which probabilities of a block are kept.

        ``void (kept, i64 quads, columns, key, first, step, least)``: to rows of bytes, four rows from each counter;
        ``first`` is the first counter, ``step`` later come those of the next four rows.
        """
        name = f"{self.name}.draws"
        args = [("i64", x) for x in ("quads", "columns", "key", "first", "step", "least")]
        f = self.m.function(name, "void", [("ptr", "kept"), *args], "internal", "nounwind noinline")
        n = self.host.lanes(64)
        key, least = (f.splat(f.arg(x), n) for x in ("key", "least"))
        with f.loop(0, f.arg("quads"), name="quad") as q:
            first = f.add(f.arg("first"), f.mul(q.i, f.arg("step")))
            rows = f.gep(f.arg("kept"), "i8", f.mul(q.i, 4 * self.block))
            with f.loop(0, f.arg("columns"), n, name="column") as it:
                place = f.add(f.splat(f.add(first, it.i), n), f.iota(vec("i64", n)))
                for w, word in enumerate(philox_words(f, key, f.zero(place.ty), place)):
                    keep = f.icmp("uge", f.and_(word, 0xFFFFFFFF), least)
                    emit_store(f, self.host, "bool", keep, f.gep(rows, "i8", f.add(it.i, w * self.block)))
        f.ret()
        return name

    # -- kernels --------------------------------------------------------------------------------------
    def start(self, operands: int) -> None:
        """The kernel's function with its integers, its operands, the record and the mask as values."""
        f = self.f = self.m.function(self.name, "void", _ABI)
        ints = f.arg("ints")
        self.i = {x: f.load("i64", f.gep(ints, "i64", k)) for k, x in enumerate(_INTS)}
        count = operands + bool(self.k.mask) + self.k.drop
        bufs = [f.load("ptr", f.gep(f.arg("bufs"), "ptr", k)) for k in range(count + 1)]
        offsets = [f.load("i64", f.gep(ints, "i64", len(_INTS) + k)) for k in range(count)]
        self.operands = [self.at(f, b, o) for b, o in zip(bufs[:operands], offsets[:operands], strict=True)]
        self.mask_elem = "i8" if self.k.mask == "bool" else self.elem
        self.mask = f.gep(bufs[operands], self.mask_elem, offsets[operands]) if self.k.mask else None
        self.keys = f.gep(bufs[-2], "i64", offsets[-1]) if self.k.drop else None
        self.out = bufs[-1]
        self.spent = 0
        if self.k.drop:
            growth = f.load("double", f.gep(ints, "i64", _INTS.index("growth")))
            self.growth = growth if self.elem == "double" else f.cast("fptrunc", growth, self.elem)
            self.kept_rows = self.room(QUERIES * self.top * self.block)
            self.quads = f.lshr(f.add(self.i["rows"], 3), 2)

    def room(self, elements: int) -> V:
        """So many elements of scratch memory."""
        at = self.spent
        self.spent += -(-elements * self.size // 64) * 64
        return self.f.gep(self.f.arg("scratch"), "i8", at)

    def mask_of(self, head: V, g: V, row: V) -> V | None:
        """The mask from a query of a head on."""
        if self.mask is None:
            return None
        f, i = self.f, self.i
        front = f.mul(f.sdiv(head, i["own"]), i["m_front"])
        place = f.mul(f.add(f.mul(f.srem(head, i["own"]), i["group"]), g), i["m_head"])
        return f.gep(self.mask, self.mask_elem, f.add(f.add(front, place), f.mul(row, i["m_row"])))

    def mask_values(self, mask: V | None, r: V, j: V) -> list[V]:
        """What a function that reads the mask is told, from (r, j) on."""
        if mask is None:
            return []
        f, row = self.f, self.i["m_row"]
        return [f.gep(mask, self.mask_elem, f.add(f.mul(r, row), j)), row]

    def draw(self, draws: str, head: V, g: V, first: V, rows: V, j: V, columns: V) -> None:
        """Which probabilities of a block of so many rows and columns are kept; both begin at a multiple of four."""
        if self.keys is None:
            return
        f, i = self.f, self.i
        key = f.load("i64", f.gep(self.keys, "i64", f.mul(f.sdiv(head, i["drawing"]), i["key_step"])))
        own = f.add(f.mul(f.srem(head, i["drawing"]), i["group"]), g)
        quad = f.add(f.mul(own, self.quads), f.lshr(first, 2))
        place = f.add(f.mul(quad, i["keys"]), j)
        quads = f.lshr(f.add(rows, 3), 2)
        f.call(draws, "void", [self.kept_rows, quads, columns, key, place, i["keys"], i["least"]])

    def kept_value(self, r: V) -> list[V]:
        """What a function that asks which probabilities are kept is told, from row ``r`` of the block on."""
        return [self.f.gep(self.kept_rows, "i8", self.f.mul(r, self.block))] if self.k.drop else []

    def needed(self, end: V, j: V) -> V:
        """How many columns of the block at ``j`` a tile looks at whose last row sees the keys before ``end``."""
        f = self.f
        return f.max_i(f.min_i(f.sub(end, j), self.block), 0)

    def products(self, h: int, a: V, row: V, k: V, b: V, upto: V, out: V) -> None:
        """``a`` times columns of ``b``, to strips."""
        f = self.f
        with f.loop(0, upto, self.width, name="strip") as it:
            to = self.at(f, out, f.mul(it.i, self.top))
            self.tile_call(f, self.fresh, h, a, row, 1, self.at(f, b, it.i), self.i["padded"], k, to)

    def added(self, h: int, a: V, row: V | int, step: V | int, k: V, b: V, b_row: V, out: V, strip: V) -> None:
        """``out += a @ b``, where ``out`` and ``b`` have as many strips as fit in a row of ``b``."""
        f = self.f
        with f.loop(0, b_row, self.width, name="strip") as it:
            to = self.at(f, out, f.mul(f.sdiv(it.i, self.width), strip))
            self.tile_call(f, self.more, h, a, row, step, self.at(f, b, it.i), b_row, k, to)

    def forward(self) -> None:
        """A chunk: a block of queries against all keys that they see."""
        softmax, draws = self.softmax(), self.draws() if self.k.drop else ""
        self.start(3)
        f, i, (q0, k0, v0) = self.f, self.i, self.operands
        most_rows = QUERIES * self.top
        s, p = self.room(self.top * self.block), self.room(self.top * self.block)
        most, sums = self.room(most_rows), self.room(most_rows * self.n)
        all_rows = f.mul(i["group"], i["rows"])
        strip = f.mul(all_rows, self.width)
        strips = f.sdiv(i["gp"], self.width)
        with f.loop(f.arg("begin"), f.arg("end"), name="chunk") as c:
            rest = f.sdiv(c.i, i["blocks"])
            head, g = f.sdiv(rest, i["group"]), f.srem(rest, i["group"])
            first = f.mul(f.srem(c.i, i["blocks"]), most_rows)
            rows = f.min_i(f.sub(i["rows"], first), most_rows)
            row = f.add(f.mul(g, i["rows"]), first)
            q = self.at(f, q0, f.mul(f.add(f.mul(head, all_rows), row), i["fp"]))
            keys = self.at(f, k0, f.mul(f.mul(head, i["f"]), i["padded"]))
            values = self.at(f, v0, f.mul(f.mul(head, i["padded"]), i["gp"]))
            record = self.at(f, self.out, f.mul(head, i["record"]))
            out = self.at(f, record, f.mul(row, self.width))
            mask = self.mask_of(head, g, first)
            with f.loop(0, strips, name="strip") as it:
                self.clear(f, self.at(f, out, f.mul(it.i, strip)), f.mul(rows, self.width))
            self.clear(f, sums, f.mul(rows, self.n))
            with f.loop(0, rows, name="row") as it:
                f.store(f.const(self.elem, float("-inf")), self.at(f, most, it.i))
            stop = f.min_i(i["keys"], f.add(first, rows)) if self.k.causal else i["keys"]
            with f.loop(0, stop, self.block, name="keys") as it:
                j = it.i
                self.draw(draws, head, g, first, rows, j, f.min_i(f.sub(stop, j), self.block))

                def tile(h: int, r: V, j: V = j) -> None:
                    end = f.min_i(i["keys"], f.add(f.add(first, r), h)) if self.k.causal else i["keys"]
                    need = self.needed(end, j)
                    upto = self.strips_of(f, need)
                    self.products(h, self.at(f, q, f.mul(r, i["fp"])), i["fp"], i["f"], self.at(f, keys, j), upto, s)
                    here = self.at(f, out, f.mul(r, self.width))
                    seen = f.add(f.sub(f.add(first, r), j), 1)
                    f.call(softmax, "void", [s, p, self.at(f, most, r), self.at(f, sums, f.mul(r, self.n)), here,
                                             strip, strips, f.const("i64", h), upto, f.sub(i["keys"], j), seen,
                                             *self.mask_values(mask, r, j), *self.kept_value(r)])  # fmt: skip
                    self.added(h, p, self.block, 1, need, self.at(f, values, f.mul(j, i["gp"])), i["gp"], here, strip)

                self.for_tiles(f, rows, tile)
            logs = self.at(f, record, f.mul(strips, strip), row)
            with f.loop(0, rows, name="row") as it:
                total = f.call(f"llvm.vector.reduce.fadd.{f.mangle(self.ty)}", self.elem, [
                    f.const(self.elem, 0.0), f.load(self.ty, self.at(f, sums, f.mul(it.i, self.n)))
                ], "reassoc")  # fmt: skip
                empty = f.fcmp("oeq", total, f.const(self.elem, 0.0))
                total = f.select(empty, f.const(self.elem, 1.0), total)
                log = f.fadd(f.load(self.elem, self.at(f, most, it.i)), self.log(f, total))
                f.store(f.select(empty, f.const(self.elem, float("inf")), log), self.at(f, logs, it.i))
                by = f.splat(f.fdiv(self.growth if self.k.drop else f.const(self.elem, 1.0), total), self.n)
                self.scale(f, self.at(f, out, f.mul(it.i, self.width)), strip, strips, by)
        f.ret()

    def backward(self) -> None:
        """A chunk: every so many-th block of keys of a head, each against all queries that see it."""
        slopes, draws = self.slopes(), self.draws() if self.k.drop else ""
        self.start(6)
        f, i, (q0, kt0, k0, vt0, ct0, stats0) = self.f, self.i, self.operands
        most_rows = QUERIES * self.top
        s, d = self.room(self.top * self.block), self.room(self.top * self.block)
        p, ds = self.room(most_rows * self.block), self.room(most_rows * self.block)
        all_rows = f.mul(i["group"], i["rows"])
        q_strip, k_strip = f.mul(all_rows, self.width), f.mul(i["padded"], self.width)
        dq_size = f.mul(all_rows, i["fp"])
        dk_size = f.mul(i["padded"], i["fp"])
        with f.loop(f.arg("begin"), f.arg("end"), name="part") as c:
            head, part = f.sdiv(c.i, i["blocks"]), f.srem(c.i, i["blocks"])
            q = self.at(f, q0, f.mul(f.mul(head, all_rows), i["fp"]))
            ct = self.at(f, ct0, f.mul(f.mul(head, all_rows), i["gp"]))
            keys_t = self.at(f, kt0, f.mul(f.mul(head, i["f"]), i["padded"]))
            values_t = self.at(f, vt0, f.mul(f.mul(head, i["g"]), i["padded"]))
            keys = self.at(f, k0, f.mul(f.mul(head, i["padded"]), i["fp"]))
            logs = self.at(f, stats0, f.mul(f.mul(head, 2), all_rows))
            means = self.at(f, logs, all_rows)
            record = self.at(f, self.out, f.mul(head, i["record"]))
            dq = self.at(f, record, f.mul(part, dq_size))
            dk = self.at(f, record, f.mul(i["blocks"], dq_size))
            dv = self.at(f, dk, dk_size)
            self.clear(f, dq, dq_size)
            stride = f.mul(i["blocks"], self.block)
            with (
                f.loop(f.mul(part, self.block), i["keys"], stride, name="keys") as it,
                f.loop(0, i["group"], name="group") as gs,
            ):
                j, g = it.i, gs.i
                own = f.min_i(f.sub(i["keys"], j), self.block)
                with f.if_(f.icmp("eq", g, 0)):
                    for out, wide in ((dk, "fp"), (dv, "gp")):
                        with f.loop(0, i[wide], self.width, name="strip") as st:
                            place = f.add(f.mul(f.sdiv(st.i, self.width), k_strip), f.mul(j, self.width))
                            self.clear(f, self.at(f, out, place), f.mul(own, self.width))
                begin = f.mul(f.sdiv(j, most_rows), most_rows) if self.k.causal else f.i64(0)
                with f.loop(begin, i["rows"], most_rows, name="queries") as qs:
                    first = qs.i
                    rows = f.min_i(f.sub(i["rows"], first), most_rows)
                    row = f.add(f.mul(g, i["rows"]), first)
                    mask = self.mask_of(head, g, first)
                    self.draw(draws, head, g, first, rows, j, own)

                    def tile(h: int, r: V, j: V = j, first: V = first, row: V = row, mask: V | None = mask) -> None:
                        end = f.min_i(i["keys"], f.add(f.add(first, r), h)) if self.k.causal else i["keys"]
                        need = self.needed(end, j)
                        upto = self.strips_of(f, need)
                        at = f.add(row, r)
                        mine = self.at(f, q, f.mul(at, i["fp"]))
                        self.products(h, mine, i["fp"], i["f"], self.at(f, keys_t, j), upto, s)
                        theirs = self.at(f, ct, f.mul(at, i["gp"]))
                        self.products(h, theirs, i["gp"], i["g"], self.at(f, values_t, j), upto, d)
                        here = f.mul(r, self.block)
                        seen = f.add(f.sub(f.add(first, r), j), 1)
                        f.call(slopes, "void", [s, d, self.at(f, p, here), self.at(f, ds, here), self.at(f, logs, at),
                                                self.at(f, means, at), f.const("i64", h), upto, f.sub(i["keys"], j),
                                                seen, *self.mask_values(mask, r, j), *self.kept_value(r),
                                                *([self.growth] if self.k.drop else [])])  # fmt: skip
                        to = self.at(f, dq, f.mul(at, self.width))
                        block = self.at(f, keys, f.mul(j, i["fp"]))
                        self.added(h, self.at(f, ds, here), self.block, 1, need, block, i["fp"], to, q_strip)

                    self.for_tiles(f, rows, tile)

                    def turned(h: int, t: V, j: V = j, first: V = first, row: V = row, rows: V = rows) -> None:
                        # earlier queries do not see these keys
                        start = f.max_i(f.sub(f.add(j, t), first), 0) if self.k.causal else f.i64(0)
                        at, left = f.add(row, start), f.sub(rows, start)
                        corner, to = f.add(f.mul(start, self.block), t), f.mul(f.add(j, t), self.width)
                        for a, b, wide, out in ((p, ct, "gp", dv), (ds, q, "fp", dk)):
                            self.added(h, self.at(f, a, corner), 1, self.block, left, self.at(f, b, f.mul(at, i[wide])),
                                       i[wide], self.at(f, out, to), k_strip)  # fmt: skip

                    seen = f.min_i(own, f.sub(f.add(first, rows), j)) if self.k.causal else own
                    self.for_tiles(f, seen, turned)
        f.ret()
