"""Native code that sorts rows: least significant digit first, a byte at a time; see ``gradloom.compiler.along``.

Every element becomes an unsigned key whose order is that of the values (Herf, "Radix tricks", 2001: floating numbers
with the sign bit set have all bits inverted, the others that bit), NaN the largest. One pass counts all digits; then
each digit that is not the same in all keys distributes keys, and positions where they are asked for, in a stable pass.
Rows of a few elements are ranked by comparing each with each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradloom.compiler.llvm.text import Function, Module, V, vec

if TYPE_CHECKING:
    from gradloom.compiler.along import Radix
    from gradloom.compiler.llvm.host import Host

__all__ = ["emit_radix", "key_of"]

SHORT = 32
"""Rows up to this length are ranked; a bit of an i32 for each element."""

INFINITY = {"f16": 0x7C00, "bf16": 0x7F80, "f32": 0x7F800000, "f64": 0x7FF0000000000000}


def emit_radix(kernel: Radix, module: Module, name: str, host: Host) -> None:
    """Write ``kernel`` as function ``name``; its integers are those of ``Radix``."""
    args = [("ptr", "bufs"), ("ptr", "ints"), ("ptr", "scratch"), ("i64", "begin"), ("i64", "end")]
    f = module.function(name, "void", args)
    _Emitter(f, kernel).emit()
    f.ret()


def key_of(f: Function, dtype: str, bits: int, descending: bool, join_zeros: bool, x: V) -> V:
    """The unsigned key, of 32 bits at least, of an element's bits. join_zeros: -0.0 and 0.0 get the same."""
    sign = 1 << (bits - 1)
    if dtype in INFINITY:
        size = f.and_(x, sign - 1)
        if join_zeros:
            x = f.select(f.icmp("eq", size, 0), f.const(x.ty, 0), x)
        flip = f.or_(f.ashr(x, bits - 1), -sign)
        k = f.select(f.icmp("ugt", size, INFINITY[dtype]), f.const(x.ty, -1), f.xor(x, flip))
    elif dtype[0] == "i":
        k = f.xor(x, -sign)
    else:
        k = x
    if descending:
        k = f.xor(k, -1)
    return f.cast("zext", k, f"i{max(32, bits)}")


class _Emitter:
    def __init__(self, f: Function, kernel: Radix):
        self.f, self.k = f, kernel
        self.bits = kernel.bits
        self.item = f"i{self.bits}"
        self.key = f"i{max(32, self.bits)}"
        self.digits = -(-self.bits // 8)
        ints = [f.load("i64", f.gep(f.arg("ints"), "i64", j)) for j in range(6)]
        self.rows, self.n, self.size, offset, self.area, shared = ints
        bufs = [f.load("ptr", f.gep(f.arg("bufs"), "ptr", j)) for j in range(3)]
        self.source = f.gep(bufs[0], self.item, offset)
        self.target, self.temp = bufs[1], bufs[2]
        self.counts = f.arg("scratch")
        tables = 8 * 256 * self.digits
        mine = f.gep(f.arg("scratch"), "i8", tables)
        self.shared = f.icmp("ne", shared, 0)
        self.mine = mine

    def emit(self) -> None:
        f = self.f
        with f.loop(f.arg("begin"), f.arg("end"), name="chunk") as c:
            start = f.mul(c.i, self.size)
            stop = f.min_i(f.add(start, self.size), self.rows)
            area = f.select(self.shared, f.gep(self.temp, "i8", f.mul(c.i, self.area)), self.mine)
            with f.loop(start, stop, name="row") as it:
                base = f.mul(it.i, self.n)
                row = f.gep(self.source, self.item, base)
                out = f.gep(self.target, "i64" if self.k.positions else self.item, base)
                with f.if_else(f.icmp("sle", self.n, SHORT)) as arm:
                    self._rank(row, out, area)
                    arm.otherwise()
                    self._sort(row, out, area)

    # -- keys -------------------------------------------------------------------------------------
    def _key(self, x: V) -> V:
        return key_of(self.f, self.k.dtype, self.bits, self.k.descending, self.k.positions, x)

    def _value(self, k: V) -> V:
        """The bits of the element that a key stands for."""
        f, kind, bits = self.f, self.k.dtype, self.bits
        k = f.cast("trunc", k, self.item)
        if self.k.descending:
            k = f.xor(k, -1)
        sign = 1 << (bits - 1)
        if kind in INFINITY:
            return f.xor(k, f.or_(f.ashr(f.xor(k, -1), bits - 1), -sign))
        return f.xor(k, -sign) if kind[0] == "i" else k

    def _write(self, out: V, at: V, k: V, place: V) -> None:
        f = self.f
        if self.k.positions:
            f.store(f.cast("zext", place, "i64"), f.gep(out, "i64", at))
        else:
            f.store(self._value(k), f.gep(out, self.item, at))

    # -- few elements -----------------------------------------------------------------------------
    def _rank(self, row: V, out: V, area: V) -> None:
        """Each element's place is the number of those before it: all keys compared with one at a time."""
        f = self.f
        every = vec(self.key, SHORT)
        f.store(f.const(every, -1), area)
        with f.loop(0, self.n, name="key") as it:
            f.store(self._key(f.load(self.item, f.gep(row, self.item, it.i))), f.gep(area, self.key, it.i))
        keys = f.load(every, area)
        with f.loop(0, self.n, name="rank") as it:
            k = f.load(self.key, f.gep(area, self.key, it.i))
            one = f.splat(k, SHORT)
            place = f.cast("trunc", it.i, "i32")
            earlier = f.sub(f.shl(f.const("i32", 1), place), 1)
            less = f.cast("bitcast", f.icmp("ult", keys, one), "i32")
            equal = f.cast("bitcast", f.icmp("eq", keys, one), "i32")
            before = f.intrinsic("ctpop", f.or_(less, f.and_(equal, earlier)))
            self._write(out, f.cast("zext", before, "i64"), k, place)

    # -- many -------------------------------------------------------------------------------------
    def _table(self, digit: int) -> V:
        return self.f.gep(self.counts, "i64", 256 * digit)

    def _digit(self, k: V, digit: int) -> V:
        f = self.f
        d = f.and_(f.lshr(k, 8 * digit) if digit else k, 255)
        return f.cast("zext", d, "i64") if self.key != "i64" else d

    def _sort(self, row: V, out: V, area: V) -> None:
        f, n = self.f, self.n
        with f.loop(0, 256 * self.digits, name="zero") as it:
            f.store(f.i64(0), f.gep(self.counts, "i64", it.i))
        size = f.mul(n, int(self.key[1:]) // 8)
        keys = [area, f.gep(area, "i8", size)]
        places: list[V] = []
        if self.k.positions:
            first = f.gep(keys[1], "i8", size)
            places = [first, f.gep(first, "i32", n)]
        with f.loop(0, n, name="count") as it:
            k = self._key(f.load(self.item, f.gep(row, self.item, it.i)))
            f.store(k, f.gep(keys[0], self.key, it.i))
            if places:
                f.store(f.cast("trunc", it.i, "i32"), f.gep(places[0], "i32", it.i))
            for d in range(self.digits):
                p = f.gep(self._table(d), "i64", self._digit(k, d))
                f.store(f.add(f.load("i64", p), 1), p)
        pair = [*keys, *places]  # from, to, and the same of the positions
        for d in range(self.digits):
            some = self._digit(f.load(self.key, pair[0]), d)
            alike = f.icmp("eq", f.load("i64", f.gep(self._table(d), "i64", some)), n)
            with f.if_else(alike) as arm:
                arm.otherwise()
                self._distribute(d, pair)
            turned = [pair[j ^ 1] for j in range(len(pair))]
            pair = [arm.merge(a, b) for a, b in zip(pair, turned, strict=True)]
        with f.loop(0, n, name="write") as it:
            place = f.load("i32", f.gep(pair[2], "i32", it.i)) if places else it.i
            k = it.i if places else f.load(self.key, f.gep(pair[0], self.key, it.i))
            self._write(out, it.i, k, place)

    def _distribute(self, digit: int, pair: list[V]) -> None:
        f = self.f
        table = self._table(digit)
        with f.loop(0, 256, carry=[f.i64(0)], name="start") as it:
            p = f.gep(table, "i64", it.i)
            count = f.load("i64", p)
            f.store(it.vals[0], p)
            it.next([f.add(it.vals[0], count)])
        with f.loop(0, self.n, name="move") as it:
            k = f.load(self.key, f.gep(pair[0], self.key, it.i))
            p = f.gep(table, "i64", self._digit(k, digit))
            at = f.load("i64", p)
            f.store(f.add(at, 1), p)
            f.store(k, f.gep(pair[1], self.key, at))
            if len(pair) > 2:
                f.store(f.load("i32", f.gep(pair[2], "i32", it.i)), f.gep(pair[3], "i32", at))
