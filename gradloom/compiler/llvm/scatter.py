"""Native code of scatters: see :mod:`gradloom.compiler.scatter` for what it does."""

from __future__ import annotations

from gradloom.compiler.body import register
from gradloom.compiler.llvm.elementwise import emit_inst, emit_load, emit_store
from gradloom.compiler.llvm.host import Host
from gradloom.compiler.llvm.nest_info import ELEMENT_BYTES
from gradloom.compiler.llvm.text import Function, Module, V
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
        f = self.f
        with f.loop(0, self.scan, name="scan") as it:
            i = f.add(at[0], f.mul(it.i, self.index[2]))
            v = f.add(at[1], f.mul(it.i, self.values[2]))
            if not self.k.inner:
                self._one(self._place(i, at[2]), self._value(v), 1)
            elif self.k.rows:
                self._row(self._place(i, at[2]), v, start, stop)
            else:
                with f.loop(start, stop, name="inner") as c:
                    t = f.add(at[2], f.mul(c.i, self.target[3]))
                    t = self._place(f.add(i, f.mul(c.i, self.index[3])), t)
                    self._one(t, self._value(f.add(v, f.mul(c.i, self.values[3]))), 1)

    def _row(self, t: V, v: V, start: V, stop: V) -> None:
        """The inner axis by vectors, four at a time, then one by one."""
        f = self.f
        width = self.host.lanes(8 * ELEMENT_BYTES[self.k.dtype])
        at = start
        for lanes, unroll in ((width, 4), (width, 1), (1, 1)):
            stride = lanes * unroll
            end = f.add(start, f.and_(f.sub(stop, start), -stride)) if stride > 1 else stop
            with f.loop(at, end, stride, name="row") as c:
                for n in range(unroll):
                    here = f.add(c.i, n * lanes)
                    source = f.add(v, here) if self.k.spread == "1" else v
                    self._one(f.add(t, here), self._value(source, lanes), lanes)
            at = end

    def _place(self, i: V, t: V) -> V:
        """The target's offset where the index at offset ``i`` points, counted from ``t``."""
        f = self.f
        k = emit_load(f, self.host, self.k.index, self._pointer(2, self.k.index, i), 1)
        k = f.cast("sext" if self.k.index[0] == "i" else "zext", k, "i64")
        k = f.select(f.icmp("slt", k, 0), f.add(k, self.size), k)
        k = f.max_i(f.min_i(k, f.sub(self.size, 1)), 0)
        return f.add(t, f.mul(k, self.step))

    def _pointer(self, buf: int, dtype: str, at: V) -> V:
        return self.f.gep(self.base[buf], f"i{8 * ELEMENT_BYTES[dtype]}", at)

    def _value(self, v: V, lanes: int = 1) -> V:
        """Updates from offset ``v`` on, one in every lane where they do not vary."""
        p = self._pointer(1, self.k.dtype, v)
        if lanes > 1 and self.k.spread == "0":
            return self.f.splat(emit_load(self.f, self.host, self.k.dtype, p, 1), lanes)
        return emit_load(self.f, self.host, self.k.dtype, p, lanes)

    def _one(self, t: V, u: V, lanes: int) -> None:
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

        pair = [convert(x, dtype, work) for x in (emit_load(f, self.host, dtype, p, lanes), u)]
        out = emit_inst(f, self.host, Inst(op, work, (0, 1)), [work, work], pair)
        emit_store(f, self.host, dtype, convert(out, work, dtype), p)
