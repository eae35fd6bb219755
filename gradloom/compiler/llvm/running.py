"""Native code of running results along an axis of (outer, n, inner) values; see ``gradloom.compiler.along``.

Columns (``inner`` > 1) run side by side in vector registers. A contiguous row of a sum, product or extreme is taken a
register at a time: log2(lanes) shifted combinations give the running results inside of it (Hillis and Steele, "Data
parallel algorithms", 1986), to which what came before is added. float32 adds and multiplies in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradloom.compiler.llvm.elementwise import combine, emit_load, emit_store, identity, register_type
from gradloom.compiler.llvm.text import Function, Module, V, lanes, vec

if TYPE_CHECKING:
    from gradloom.compiler.along import Running
    from gradloom.compiler.llvm.host import Host

__all__ = ["block_of", "emit_running"]

UNROLL = 4
FLOATS = ("f32", "f64")


def block_of(kernel: Running, host: Host) -> int:
    """Columns that are taken side by side."""
    return host.lanes(_bits(kernel)) * UNROLL


def _wide(kernel: Running) -> bool:
    return kernel.dtype == "f32" and kernel.op in ("sum", "prod", "linear")


def _bits(kernel: Running) -> int:
    """Bits of an element as it is carried."""
    return 64 if _wide(kernel) else int(kernel.dtype[1:])


def neutral(f: Function, op: str, dtype: str, width: int) -> V:
    """What leaves others alone; for floating sums -0.0, which leaves -0.0 alone too (and is not the zero vector, whose
    shuffles LLVM turns into slow expansions).
    """
    if op == "sum" and dtype in FLOATS:
        return f.const(register_type(dtype, width), -0.0)
    return identity(f, op, dtype, width)


def emit_running(kernel: Running, module: Module, name: str, host: Host) -> None:
    """Write ``kernel`` as function ``name``; its integers are those of ``Running``."""
    args = [("ptr", "bufs"), ("ptr", "ints"), ("ptr", "scratch"), ("i64", "begin"), ("i64", "end")]
    f = module.function(name, "void", args)
    _Emitter(f, kernel, host).emit()
    f.ret()


class _Emitter:
    def __init__(self, f: Function, kernel: Running, host: Host):
        self.f, self.k, self.host = f, kernel, host
        self.work = "f64" if _wide(kernel) else kernel.dtype
        self.bits = _bits(kernel)
        ints = [f.load("i64", f.gep(f.arg("ints"), "i64", j)) for j in range(4 + kernel.operands)]
        self.outer, self.n, self.inner, self.size, *offsets = ints
        item = register_type(kernel.dtype, 1)
        bufs = [f.load("ptr", f.gep(f.arg("bufs"), "ptr", j)) for j in range(kernel.operands + 1)]
        self.sources = [f.gep(b, item, o) for b, o in zip(bufs, offsets, strict=False)]
        self.target = bufs[-1]
        self.item = item
        self.index = kernel.op.endswith("_index")

    def emit(self) -> None:
        f = self.f
        wide = self.host.lanes(self.bits)
        span = f.i64(wide * UNROLL)
        blocks = f.i64(1) if self.k.row else f.sdiv(f.add(self.inner, f.sub(span, 1)), span)
        first = f.mul(f.arg("begin"), self.size)
        last = f.min_i(f.mul(f.arg("end"), self.size), f.mul(self.outer, blocks))
        with f.loop(first, last, name="item") as it:
            if self.k.row:
                (self._row_index if self.index else self._row)(f.mul(it.i, self.n), wide)
            else:
                column = f.mul(f.srem(it.i, blocks), span)
                base = f.add(f.mul(f.mul(f.sdiv(it.i, blocks), self.n), self.inner), column)
                rest = f.sub(self.inner, column)
                with f.if_else(f.icmp("sge", rest, span)) as arm:
                    self._columns(base, wide, UNROLL)
                    arm.otherwise()
                    whole = f.and_(rest, -wide)
                    with f.loop(0, whole, wide, name="vector") as v:
                        self._columns(f.add(base, v.i), wide, 1)
                    with f.loop(whole, rest, 1, name="single") as v:
                        self._columns(f.add(base, v.i), 1, 1)

    # -- values -----------------------------------------------------------------------------------
    def _load(self, source: V, at: V, width: int) -> V:
        f = self.f
        x = emit_load(f, self.host, self.k.dtype, f.gep(source, self.item, at), width)
        return x if self.work == self.k.dtype else f.cast("fpext", x, vec("double", width))

    def _store(self, x: V, at: V) -> None:
        f = self.f
        if self.index:
            f.store(x, f.gep(self.target, "i64", at))
            return
        if self.work != self.k.dtype:
            x = f.cast("fptrunc", x, vec("float", lanes(x.ty)))
        emit_store(f, self.host, self.k.dtype, x, f.gep(self.target, self.item, at))

    def _place(self, t: V) -> V:
        """The position of round ``t``: from the end where the scan is reversed."""
        return self.f.sub(self.f.sub(self.n, 1), t) if self.k.reverse else t

    # -- columns ----------------------------------------------------------------------------------
    def _columns(self, base: V, width: int, unroll: int) -> None:
        """``width * unroll`` neighbouring columns from front to end."""
        f = self.f
        with f.loop(0, self.n, carry=self._start(width, unroll), name="scan") as it:
            place = self._place(it.i)
            at = f.add(base, f.mul(place, self.inner))
            nexts: list[V] = []
            for u in range(unroll):
                here = f.add(at, u * width)
                xs = [self._load(s, here, width) for s in self.sources]
                nexts += self._advance(it.vals[u * self._carried : (u + 1) * self._carried], xs, place, it.i, width)
                self._store(nexts[-1], here)
            it.next(nexts)

    @property
    def _carried(self) -> int:
        """Values that a column carries; the last of them is its result."""
        return 2 if self.index else 1

    def _start(self, width: int, unroll: int) -> list[V]:
        f, op = self.f, self.k.op
        if self.index:
            # no element is below this but for NaN, which the comparison treats by itself
            one = [neutral(f, op.removesuffix("_index"), self.work, width), f.zero(vec("i64", width))]
        elif op == "linear":
            one = [f.zero(register_type(self.work, width))]
        else:
            one = [neutral(f, op, self.work, width)]
        return one * unroll

    def _advance(self, before: list[V], xs: list[V], place: V, t: V, width: int) -> list[V]:
        f, op = self.f, self.k.op
        if op == "linear":
            a, b = xs
            if self.work in FLOATS:
                # a[0] has nothing to multiply; whatever it is, infinite or NaN, it must not show
                kept = f.select(f.icmp("eq", t, 0), f.zero(b.ty), f.fmul(a, before[0]))
                return [f.fadd(kept, b)]
            return [f.add(f.mul(a, before[0]), b)]
        (x,) = xs
        if not self.index:
            return [combine(f, self.host, op, self.work, before[0], x)]
        best, where = before
        if self.work in FLOATS:
            better = f.or_(f.fcmp("oge" if op == "max_index" else "ole", x, best), f.fcmp("uno", x, x))
        else:
            sign = "u" if self.work[0] == "u" else "s"
            better = f.icmp(sign + ("ge" if op == "max_index" else "le"), x, best)
        return [f.select(better, x, best), f.select(better, f.splat(place, width), where)]

    # -- rows -------------------------------------------------------------------------------------
    def _row(self, base: V, width: int) -> None:
        """A contiguous row, a register at a time, then what is left one by one."""
        f, op = self.f, self.k.op
        whole = f.and_(self.n, -width)
        none = neutral(f, op, self.work, width)
        backwards = list(range(width))[::-1]
        with f.loop(0, whole, width, carry=[none], name="row") as it:
            start = f.sub(f.sub(self.n, width), it.i) if self.k.reverse else it.i
            at = f.add(base, start)
            x = self._load(self.sources[0], at, width)
            if self.k.reverse:
                x = f.shuffle(x, None, backwards)
            x = self._within(op, self.work, x)
            total = f.shuffle(x, None, [width - 1] * width)
            y = combine(f, self.host, op, self.work, it.vals[0], x)
            self._store(f.shuffle(y, None, backwards) if self.k.reverse else y, at)
            it.next([combine(f, self.host, op, self.work, it.vals[0], total)])
        carried = f.extract(it.results[0], 0)
        with f.loop(whole, self.n, 1, carry=[carried], name="tail") as it:
            at = f.add(base, self._place(it.i))
            y = combine(f, self.host, op, self.work, it.vals[0], self._load(self.sources[0], at, 1))
            self._store(y, at)
            it.next([y])

    def _within(self, op: str, dtype: str, x: V) -> V:
        """Running results inside of a register."""
        f, width = self.f, lanes(x.ty)
        none = neutral(f, op, dtype, width)
        step = 1
        while step < width:
            moved = f.shuffle(x, none, [k - step if k >= step else width for k in range(width)])
            x = combine(f, self.host, op, dtype, moved, x)
            step *= 2
        return x

    def _row_index(self, base: V, width: int) -> None:
        """Where the running extreme of a contiguous row stands: the last lane that equals it, or what came before."""
        f = self.f
        op = self.k.op.removesuffix("_index")
        lane = f"i{self.bits}"
        whole = f.and_(self.n, -width)
        last = [width - 1] * width
        start = [neutral(f, op, self.work, width), f.zero(vec("i64", width))]
        with f.loop(0, whole, width, carry=start, name="row") as it:
            best, where = it.vals
            x = self._load(self.sources[0], f.add(base, it.i), width)
            y = combine(f, self.host, op, self.work, best, self._within(op, self.work, x))
            if self.work in FLOATS:
                hit = f.or_(f.fcmp("oeq", x, y), f.fcmp("uno", x, x))  # NaN is where it came
            else:
                hit = f.icmp("eq", x, y)
            here = f.select(hit, f.iota(vec(lane, width)), f.const(vec(lane, width), -1))
            here = self._within("max", lane, here)
            at = f.add(f.cast("sext", here, vec("i64", width)), f.splat(it.i, width))
            at = f.select(f.icmp("slt", here, 0), where, at)
            f.store(at, f.gep(self.target, "i64", f.add(base, it.i)))
            it.next([f.shuffle(y, None, last), f.shuffle(at, None, last)])
        carried = [f.extract(v, 0) for v in it.results]
        with f.loop(whole, self.n, 1, carry=carried, name="tail") as it:
            at = f.add(base, it.i)
            nexts = self._advance(it.vals, [self._load(self.sources[0], at, 1)], it.i, it.i, 1)
            f.store(nexts[-1], f.gep(self.target, "i64", at))
            it.next(nexts)
