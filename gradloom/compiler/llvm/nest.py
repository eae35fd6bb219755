"""Native code of a loop nest: :func:`emit_nest` writes one function with the signature ``loops.ABI``.

The function does a run of work items. Around the body stand, outermost first, the loop over items (with an odometer
for their axes, so no division is done per item), the loops over blocks of the vector axis, and the passes over
reduced axes (see :mod:`gradloom.compiler.llvm.nest_reduce`). ``gradloom.compiler.llvm.nest_info`` decides what is
computed in which of them.

Memory. A buffer that is written may be the very buffer that is read, provided that both are walked by equal accesses
(work in place): a block's loads come before its stores, passes over a row before the last do not store, and nothing
is declared free of aliases. Any other overlap of a written buffer is the caller's mistake.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gradloom.compiler.llvm.host import Host
from gradloom.compiler.llvm.nest_info import ELEMENT_BYTES, Info, analyse
from gradloom.compiler.llvm.nest_reduce import Pass, tail_mask
from gradloom.compiler.llvm.nest_tile import copies_squares, emit_copy, emit_tiles, tile_axis
from gradloom.compiler.llvm.nest_values import SCALAR, Block, Scope, Strides, Writer
from gradloom.compiler.llvm.text import Function, Module, V
from gradloom.compiler.loops import Nest

__all__ = ["emit_nest"]


def emit_nest(nest: Nest, module: Module, name: str, host: Host) -> None:
    """Emit ``nest`` as function ``name`` of ``module``.

    Parameters
    ----------
    nest: a legal nest (:func:`gradloom.compiler.loops.check`).
    module: where to. name: of the function; its signature is ``loops.ABI``.
    host: widths and instructions to use. The bits of a result may differ from host to host, never from call to call.
    """
    args = [("ptr", "bufs"), ("ptr", "ints"), ("ptr", "scratch"), ("i64", "begin"), ("i64", "end")]
    f = module.function(name, "void", args)
    _Emitter(f, analyse(nest, host)).emit()
    f.ret()


class _Emitter:
    def __init__(self, f: Function, info: Info):
        self.f = f
        self.info = info
        self.nest = info.nest
        ints = f.arg("ints")
        axes = len(self.nest.axes)
        self.extents = [f.load("i64", f.gep(ints, "i64", k)) for k in range(axes)]
        self.size = f.load("i64", f.gep(ints, "i64", axes))
        strides: list[Strides] = []
        at = axes + 1
        for a in self.nest.accesses:
            strides.append(Strides.read(f, ints, at, a))
            at += a.ints
        self.w = Writer(f, info, strides)
        self.live = info.closure(v for v, _ in self.nest.stores)

    # -- items ------------------------------------------------------------------------------------
    def emit(self) -> None:
        f, info = self.f, self.info
        total: V = V("i64", "1")
        for k in info.items:
            total = f.mul(total, self.extents[k])
        if not info.items and not info.vector_reduced:
            total = self.extents[self.nest.vector]
        first = f.mul(f.arg("begin"), self.size)
        last = f.min_i(f.mul(f.arg("end"), self.size), total)
        with f.if_(f.icmp("slt", first, last)):
            root = Scope()
            base = [f.load("ptr", f.gep(f.arg("bufs"), "ptr", b)) for b in range(self.nest.buffers)]
            for a, access in enumerate(self.nest.accesses):
                root.pointers[a] = self.w.advance(a, base[access.buf], self.w.strides[a].offset)
            self._values(root, 0)
            tile = tile_axis(info)
            if tile is not None:
                self._tiles(root, first, last, tile)
            elif info.items:
                with self._odometer(root, list(info.items), first, last) as (scope, _):
                    self._values(scope, 1)
                    self._item(scope, V("i64", "0"), self.extents[self.nest.vector])
            else:
                self._item(root, first, last)
            if self.nest.stream and "x86" in self.info.host.triple:
                f.call("llvm.x86.sse.sfence", "void", [])

    def _values(self, scope: Scope, level: int) -> None:
        """The values of the first stage that live in a loop outside of rows."""
        info = self.info
        self.w.emit(scope, [n for n in self.live if info.level[n] == level and info.stage[n] == 0], SCALAR)

    @contextmanager
    def _odometer(self, root: Scope, axes: list[int], first: V, last: V) -> Iterator[tuple[Scope, V]]:
        """``for n in range(first, last)`` over ``axes`` flattened; yields the scope and ``n``. One division a run."""
        f = self.f
        several = len(axes) > 1
        with f.loop(first, last, carry=self._start(first, axes) if several else (), name="item") as it:
            at = it.vals if several else [it.i] * len(axes)
            scope = root
            for k, i in zip(axes, at, strict=True):
                scope = self.w.enter(scope, k, i)
            yield scope, it.i
            if several:
                it.next(self._tick(axes, at))

    def _start(self, item: V, axes: list[int]) -> list[V]:
        """Positions along ``axes`` of an item."""
        f = self.f
        out: list[V] = []
        for k in reversed(axes[1:]):
            out.append(f.bin("urem", item, self.extents[k]))
            item = f.bin("udiv", item, self.extents[k])
        return [item, *reversed(out)]

    def _tick(self, axes: list[int], at: list[V]) -> list[V]:
        """The next positions along ``axes``."""
        f = self.f
        out: list[V] = []
        carry = V("i64", "1")
        for k, i in zip(reversed(axes[1:]), reversed(at[1:]), strict=True):
            moved = f.add(i, carry)
            wrap = f.icmp("eq", moved, self.extents[k])
            out.append(f.select(wrap, f.i64(0), moved))
            carry = f.cast("zext", wrap, "i64")
        return [f.add(at[0], carry), *reversed(out)]

    def _tiles(self, root: Scope, first: V, last: V, tile: int) -> None:
        """Items in runs that differ only along axis ``tile``, which is counted fastest; each run goes by squares."""
        f = self.f
        extent = self.extents[tile]
        others = [k for k in self.info.items if k != tile]
        begin = f.bin("udiv", first, extent)
        end = f.add(f.bin("udiv", f.sub(last, 1), extent), 1)
        with self._odometer(root, others, begin, end) as (scope, run):
            at = f.mul(run, extent)
            start, stop = f.max_i(f.sub(first, at), 0), f.min_i(f.sub(last, at), extent)
            if copies_squares(self.info, tile):
                emit_copy(self.w, scope, tile, start, stop, self.extents)
                return
            whole = self.w
            for writer, inner, a, b in emit_tiles(whole, f.arg("scratch"), scope, tile, start, stop, self.extents):
                self.w = writer
                self._values(inner, 1)
                self._vector_loop(inner, a, b)
            self.w = whole

    # -- one item ---------------------------------------------------------------------------------
    def _item(self, scope: Scope, start: V, stop: V) -> None:
        if self.info.vector_reduced:
            self._row(scope, SCALAR)
        else:
            self._vector_loop(scope, start, stop, self.nest.stream)

    def _row(self, scope: Scope, block: Block) -> None:
        """Values, passes and stores of a row (or of a block of neighbouring rows)."""
        info = self.info
        for stage in range(info.last_stage + 2):
            row = [n for n in self.live if not info.full(n) and info.stage[n] == stage]
            self.w.emit(scope, [n for n in row if self.nest.body[n].op != "reduce"], block)
            if stage <= info.last_stage:
                Pass(self.w, self.extents, stage, scope, block).emit()
        for k in range(len(self.nest.stores)):
            if not info.full_store(k):
                self.w.store(scope, k, block)

    def _vector_loop(self, scope: Scope, start: V, stop: V, stream: bool = False) -> None:
        """The vector axis from ``start`` to ``stop``: full blocks, smaller ones, what is left; ``stream``: see Nest."""
        f, info = self.f, self.info
        width = info.lanes
        v = self.nest.vector

        def sweep(a: V, b: V, block: Block) -> None:
            with f.loop(a, b, block.lanes * block.unroll, name="vector") as it:
                self._row(self.w.enter(scope, v, it.i), block)

        at = start
        if width > 1:
            sizes = {info.unroll, min(info.unroll, 4)}  # with masks the last loop takes single vectors as well
            blocks = sorted(sizes | {1} if info.scalar_tail or stream else sizes, reverse=True)

            def sweeps(stream: bool) -> V:
                at = start
                for unroll in blocks:
                    full = f.add(start, f.and_(f.sub(stop, start), -(unroll * width)))
                    sweep(at, full, Block(width, unroll, stream=stream))
                    at = full
                return at

            if stream:
                with f.if_else(self._aligned(scope, start)) as br:
                    sweeps(True)
                    br.otherwise()
                    sweeps(False)
                at = f.add(start, f.and_(f.sub(stop, start), -(blocks[-1] * width)))
            else:
                at = sweeps(False)
        if info.scalar_tail:
            sweep(at, stop, SCALAR)
        else:
            with f.loop(at, stop, width, name="tail") as it:
                mask = tail_mask(self.w, f.sub(stop, it.i), width)
                self._row(self.w.enter(scope, v, it.i), Block(width, 1, mask))

    def _aligned(self, scope: Scope, start: V) -> V:
        """Whether all contiguous stores of a row begin at a multiple of their vector's size."""
        f = self.f
        bits = V("i64", "0")
        for _, a in self.nest.stores:
            access = self.nest.accesses[a]
            if access.steps[self.nest.vector] == "1":
                p = self.w.advance(a, scope.pointer(a), start)
                line = self.info.lanes * ELEMENT_BYTES[access.dtype]
                bits = f.or_(bits, f.and_(f.cast("ptrtoint", p, "i64"), line - 1))
        return f.icmp("eq", bits, 0)
