"""Native code of scatters: see :mod:`gradloom.compiler.scatter` for what it does."""

from __future__ import annotations

from gradloom.compiler.body import register
from gradloom.compiler.llvm.elementwise import emit_inst, emit_load, emit_store
from gradloom.compiler.llvm.host import Host
from gradloom.compiler.llvm.nest_info import ELEMENT_BYTES
from gradloom.compiler.llvm.text import Function, Module, V, lanes, vec
from gradloom.compiler.loops import Inst
from gradloom.compiler.scatter import ScatterKernel

__all__ = ["emit_scatter"]

_BOOL = {"add": "or", "max": "or", "mul": "and", "min": "and"}


def emit_scatter(kernel: ScatterKernel, module: Module, name: str, host: Host) -> None:
    """Emit ``kernel`` as function ``name`` of ``module``; its signature is ``loops.ABI``."""
    args = [("ptr", "bufs"), ("ptr", "ints"), ("ptr", "scratch"), ("i64", "begin"), ("i64", "end")]
    f = module.function(name, "void", args)
    _Emitter(kernel, f, host).emit()
    f.ret()


class _Emitter:
    def __init__(self, kernel: ScatterKernel, f: Function, host: Host) -> None:
        self.k, self.f, self.host = kernel, f, host
        ints = iter([f.load("i64", f.gep(f.arg("ints"), "i64", k)) for k in range(20)])

        def take(n: int) -> list[V]:
            return [next(ints) for _ in range(n)]

        self.outer, self.scan, self.inner = take(3)
        self.wide, self.part, self.across = take(3)
        self.index, self.values, self.target = take(4), take(4), take(4)
        self.size, self.step = take(2)
        self.base = [f.load("ptr", f.gep(f.arg("bufs"), "ptr", b)) for b in range(3)]

    def emit(self) -> None:
        f = self.f
        with f.loop(f.arg("begin"), f.arg("end"), name="chunk") as c:
            o, v = f.bin("udiv", c.i, self.across), f.bin("urem", c.i, self.across)
            first, start = f.mul(o, self.wide), f.mul(v, self.part)
            last, stop = f.min_i(f.add(first, self.wide), self.outer), f.min_i(f.add(start, self.part), self.inner)
            with f.loop(first, last, name="outer") as it:
                self._scan(
                    [f.add(w[0], f.mul(it.i, w[1])) for w in (self.index, self.values, self.target)], start, stop
                )

    def _scan(self, at: list[V], start: V, stop: V) -> None:
        """All updates of one position of the outer axis; ``at``: offsets of index, updates and target there."""
        f, k = self.f, self.k
        if not k.inner:
            self._line(at, V("i64", "0"), self.scan, V("i64", "0"))
            return
        with f.loop(0, self.scan, name="scan") as it:
            i = f.add(at[0], f.mul(it.i, self.index[2]))
            v = f.add(at[1], f.mul(it.i, self.values[2]))
            if k.along[0] == "0" and k.along[2] == "1" and k.along[1] != "s":
                self._row(f.add(at[2], self._place(self._load(2, k.index, i, 1))), v, start, stop)
            else:
                self._line([i, v, at[2]], start, stop, self.target[3])

    def _line(self, at: list[V], start: V, stop: V, stride: V) -> None:
        """Updates along the scan, or along the inner axis, each at a place of its own; ``stride``: the target's."""
        f, k = self.f, self.k
        width = self.host.lanes(64)
        walks = [self.index[3], self.values[3]] if k.inner else [self.index[2], self.values[2]]
        begin = start
        for count in (width, 1) if k.along[0] == "1" and width > 1 else (1,):
            end = f.add(start, f.and_(f.sub(stop, start), -count)) if count > 1 else stop
            with f.loop(begin, end, count, name="line") as c:
                i, v = (self._walk(a, c.i, w, s) for a, w, s in zip(at, walks, k.along, strict=False))
                places = self._place(self._load(2, k.index, i, count))
                t = self._walk(at[2], c.i, stride, k.along[2])
                whole = self._load(1, k.dtype, v, count if k.along[1] == "1" else 1) if k.along[1] != "s" else None
                for n in range(count):
                    if whole is None:
                        u = self._load(1, k.dtype, f.add(v, f.mul(walks[1], n)), 1)
                    else:
                        u = f.extract(whole, n) if k.along[1] == "1" and count > 1 else whole
                    place = f.extract(places, n) if count > 1 else places
                    far = self._walk(t, f.i64(n), stride, k.along[2]) if n else t
                    self._one(f.add(far, place), u, 1)
            begin = end

    def _walk(self, at: V, i: V, stride: V, step: str) -> V:
        """The offset ``i`` steps on."""
        return at if step == "0" else self.f.add(at, i if step == "1" else self.f.mul(i, stride))

    def _row(self, t: V, v: V, start: V, stop: V) -> None:
        """The inner axis at one place: by vectors, four at a time, then one by one."""
        f, k = self.f, self.k
        width = self.host.lanes(8 * ELEMENT_BYTES[k.dtype])
        at = start
        for count, unroll in ((width, 4), (width, 1), (1, 1)):
            stride = count * unroll
            end = f.add(start, f.and_(f.sub(stop, start), -stride)) if stride > 1 else stop
            with f.loop(at, end, stride, name="row") as c:
                for n in range(unroll):
                    here = f.add(c.i, n * count)
                    if k.along[1] == "1":
                        u = self._load(1, k.dtype, f.add(v, here), count)
                    else:
                        u = f.splat(self._load(1, k.dtype, v, 1), count)
                    self._one(f.add(t, here), u, count)
            at = end

    def _place(self, k: V) -> V:
        """How far indices point into the target: counted from the front, and kept within it."""
        f = self.f
        n = lanes(k.ty)
        k = f.cast("sext" if self.k.index[0] == "i" else "zext", k, vec("i64", n))
        k = f.select(f.icmp("slt", k, 0), f.add(k, f.splat(self.size, n)), k)
        k = f.max_i(f.min_i(k, f.splat(f.sub(self.size, 1), n)), 0)
        return f.mul(k, f.splat(self.step, n)) if self.k.stepped else k

    def _pointer(self, buf: int, dtype: str, at: V) -> V:
        return self.f.gep(self.base[buf], f"i{8 * ELEMENT_BYTES[dtype]}", at)

    def _load(self, buf: int, dtype: str, at: V, count: int) -> V:
        return emit_load(self.f, self.host, dtype, self._pointer(buf, dtype, at), count)

    def _one(self, t: V, u: V, count: int) -> None:
        """Combine the target's elements from offset ``t`` on with updates."""
        f, dtype = self.f, self.k.dtype
        p = self._pointer(0, dtype, t)
        if self.k.how == "set":
            emit_store(f, self.host, dtype, u, p)
            return
        work = register(dtype)
        op = _BOOL[self.k.how] if dtype == "bool" else self.k.how

        def convert(x: V, frm: str, to: str) -> V:
            return x if frm == to else emit_inst(f, self.host, Inst("cast", to, (0,)), [frm], [x])

        pair = [convert(x, dtype, work) for x in (emit_load(f, self.host, dtype, p, count), u)]
        out = emit_inst(f, self.host, Inst(op, work, (0, 1)), [work, work], pair)
        emit_store(f, self.host, dtype, convert(out, work, dtype), p)
