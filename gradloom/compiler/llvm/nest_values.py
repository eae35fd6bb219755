"""Where the values of a nest's body live while its loops are written, and how loads and stores become instructions.

A :class:`Scope` is one running loop: pointers advanced to its iteration, the values computed in it, and the scope
around it. A :class:`Block` says how many elements of the vector axis are done at once. :class:`Writer` emits the
instructions of one loop level into a scope.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gradloom.compiler.llvm.elementwise import emit_const, emit_inst, emit_load, emit_store, register_type
from gradloom.compiler.llvm.nest_info import ELEMENT_BYTES, Info
from gradloom.compiler.llvm.text import Function, V, lanes
from gradloom.compiler.loops import Access

__all__ = ["Block", "Scope", "Strides", "Writer"]


@dataclass(frozen=True)
class Block:
    """``unroll`` vectors of ``lanes`` elements; lanes beyond ``mask`` do not exist. ``stream``: bypass the cache."""

    lanes: int
    unroll: int
    mask: V | None = None
    stream: bool = False


SCALAR = Block(1, 1)


@dataclass
class Scope:
    """Pointers, positions and values of one loop level; what is not here is looked up around it."""

    outer: Scope | None = None
    pointers: dict[int, V] = field(default_factory=dict)
    index: dict[int, V] = field(default_factory=dict)
    values: dict[tuple[int, int], V] = field(default_factory=dict)
    splats: dict[tuple[int, int], V] = field(default_factory=dict)

    def _find(self, table: str, key: object) -> V | None:
        s: Scope | None = self
        while s is not None:
            hit = getattr(s, table).get(key)
            if hit is not None:
                return hit
            s = s.outer
        return None

    def pointer(self, access: int) -> V:
        """Address of the current element of an access, as far as the loops entered so far say."""
        p = self._find("pointers", access)
        assert p is not None
        return p

    def position(self, axis: int) -> V:
        """Current position along an axis whose loop is running."""
        i = self._find("index", axis)
        assert i is not None
        return i

    def value(self, n: int, u: int) -> V | None:
        """Value ``n`` of vector ``u``, if some loop around has it."""
        return self._find("values", (n, u))

    def splatted(self, n: int, width: int) -> V | None:
        """Scalar value ``n`` in ``width`` lanes, if some loop around has it."""
        return self._find("splats", (n, width))


@dataclass(frozen=True)
class Strides:
    """The run-time integers of an access: ``axes[k]`` is the stride of axis ``k`` or None, in elements."""

    offset: V
    axes: tuple[V | None, ...]
    index: V | None

    @staticmethod
    def read(f: Function, ints: V, at: int, access: Access) -> Strides:
        """Load them from ``ints[at]`` on."""

        def take() -> V:
            nonlocal at
            at += 1
            return f.load("i64", f.gep(ints, "i64", at - 1))

        offset = take()
        axes: list[V | None] = []
        for s in access.steps:
            axes.append(take() if s == "s" else V("i64", "1") if s == "1" else None)
        return Strides(offset, tuple(axes), take() if access.indexed else None)


class Writer:
    """Emits values, loads and stores of a nest into a function."""

    def __init__(self, f: Function, info: Info, strides: list[Strides]):
        self.f = f
        self.info = info
        self.nest = info.nest
        self.host = info.host
        self.strides = strides
        # An access that a tile has brought into fast memory: its steps there and the type of its elements.
        self.steps = [a.steps for a in self.nest.accesses]

    # -- addresses --------------------------------------------------------------------------------
    def advance(self, access: int, p: V, i: V | int, stride: V | int = 1) -> V:
        """The address ``i * stride`` elements after ``p``."""
        f = self.f
        ty = f"i{8 * ELEMENT_BYTES[self.nest.accesses[access].dtype]}"
        if isinstance(stride, V) and stride.ref == "1":
            stride = 1
        if isinstance(i, int) and (i == 0 or not isinstance(stride, V)):
            return f.gep(p, ty, i * stride if not isinstance(stride, V) else 0)
        iv = f.i64(i)
        return f.gep(p, ty, f.mul(iv, stride) if isinstance(stride, V) or stride != 1 else iv)

    def enter(self, outer: Scope, axis: int, i: V, only: Iterable[int] | None = None) -> Scope:
        """The scope of iteration ``i`` of a loop over ``axis``; ``only``: accesses that will be used in it."""
        s = Scope(outer)
        s.index[axis] = i
        for a in range(len(self.nest.accesses)) if only is None else only:
            stride = self.strides[a].axes[axis]
            if stride is not None:
                s.pointers[a] = self.advance(a, outer.pointer(a), i, stride)
        return s

    def _step(self, access: int) -> str:
        return self.steps[access][self.info.nest.vector]

    # -- values -----------------------------------------------------------------------------------
    def get(self, scope: Scope, n: int, u: int, width: int) -> V:
        """Value ``n`` for vector ``u`` of a block, in ``width`` lanes."""
        if self.info.wide[n]:
            v = scope.value(n, u)
            assert v is not None, f"value {n} was not computed"
            return v
        inst = self.nest.body[n]
        if inst.op == "const":
            return emit_const(self.f, inst.dtype, inst.attrs[0], width)
        v = scope.value(n, 0)
        assert v is not None, f"value {n} was not computed"
        if width == 1:
            return v
        wide = scope.splatted(n, width)
        if wide is None:
            wide = scope.splats[n, width] = self.f.splat(v, width)
        return wide

    def put(self, scope: Scope, n: int, u: int, v: V) -> None:
        """Keep a value; a scalar that vectors will want is splatted here, outside of their loop."""
        scope.values[n, u] = v
        if n in self.info.splat and not self.info.wide[n] and self.info.lanes > 1:
            scope.splats[n, self.info.lanes] = self.f.splat(v, self.info.lanes)

    def emit(self, scope: Scope, insts: Iterable[int], block: Block) -> None:
        """Emit instructions (in the order of the body) into ``scope``, each for every vector of the block."""
        for n in sorted(insts):
            inst = self.nest.body[n]
            if inst.op == "const" or scope.value(n, 0) is not None:
                continue
            wide = self.info.wide[n]
            for u in range(block.unroll if wide else 1):
                width = block.lanes if wide else 1
                if inst.op == "load":
                    v = self._load(scope, inst.attrs[0], scope.pointer(inst.attrs[0]), u, block, wide)
                elif inst.op == "load_at":
                    v = self._load_at(scope, n, u, block)
                elif inst.op == "iota":
                    v = self._iota(scope, inst.attrs[0], u, width)
                else:
                    args = [self.get(scope, a, u, width) for a in inst.args]
                    v = emit_inst(self.f, self.host, inst, [self.nest.body[a].dtype for a in inst.args], args)
                self.put(scope, n, u, v)

    def _iota(self, scope: Scope, axis: int, u: int, width: int) -> V:
        f = self.f
        i = scope.position(axis)
        if axis != self.nest.vector:
            return i
        start = f.add(i, u * width)
        return f.add(f.splat(start, width), f.iota(f"<{width} x i64>")) if width > 1 else start

    # -- memory -----------------------------------------------------------------------------------
    def _lane_pointers(self, access: int, p: V, u: int, width: int) -> list[V]:
        """Addresses of the lanes of vector ``u`` of an access with a stride on the vector axis."""
        stride = self.strides[access].axes[self.nest.vector]
        assert stride is not None
        out = [self.advance(access, p, u * width, stride)]
        times = [self.f.mul(stride, k) for k in range(1, 5)]  # lanes in fours, so that no chain is long
        for k in range(1, width):
            out.append(self.advance(access, out[(k - 1) // 4 * 4], 1, times[(k - 1) % 4]))
        return out

    def _gather(self, access: int, pointers: list[V]) -> V:
        dtype = self.nest.accesses[access].dtype
        f = self.f
        if len(pointers) == 1:
            return emit_load(f, self.host, dtype, pointers[0], 1)
        raw = "u8" if dtype == "bool" else dtype
        v = f.poison(register_type(raw, len(pointers)))
        for k, p in enumerate(pointers):
            v = f.insert(v, emit_load(f, self.host, raw, p, 1), k)
        return f.icmp("ne", v, 0) if dtype == "bool" else v

    def _load(self, scope: Scope, access: int, p: V, u: int, block: Block, wide: bool) -> V:
        dtype = self.nest.accesses[access].dtype
        if not wide or self._step(access) == "0":
            return emit_load(self.f, self.host, dtype, p, 1)
        if self._step(access) == "s":
            return self._gather(access, self._lane_pointers(access, p, u, block.lanes))
        return emit_load(self.f, self.host, dtype, self.advance(access, p, u * block.lanes), block.lanes, block.mask)

    def _load_at(self, scope: Scope, n: int, u: int, block: Block) -> V:
        f = self.f
        inst = self.nest.body[n]
        (index,), access = inst.args, inst.attrs[0]
        along = self.strides[access].index
        assert along is not None
        signed = self.nest.body[index].dtype[0] == "i"
        p = scope.pointer(access)
        if not self.info.wide[index]:
            i = self._wide_int(self.get(scope, index, 0, 1), signed)
            return self._load(scope, access, self.advance(access, p, i, along), u, block, self.info.wide[n])
        at = self._wide_int(self.get(scope, index, u, block.lanes), signed)
        if self._step(access) == "0":
            base = [p] * block.lanes
        elif self._step(access) == "1":
            base = [self.advance(access, p, u * block.lanes + k) for k in range(block.lanes)]
        else:
            base = self._lane_pointers(access, p, u, block.lanes)
        ix = [at] if block.lanes == 1 else [f.extract(at, k) for k in range(block.lanes)]
        return self._gather(access, [self.advance(access, b, i, along) for b, i in zip(base, ix, strict=True)])

    def _wide_int(self, v: V, signed: bool) -> V:
        """An index as 64-bit lanes."""
        ty = "i64" if lanes(v.ty) == 1 else f"<{lanes(v.ty)} x i64>"
        return v if v.ty == ty else self.f.cast("sext" if signed else "zext", v, ty)

    def store(self, scope: Scope, k: int, block: Block) -> None:
        """Emit store ``k`` of the nest."""
        self.store_value(scope, *self.nest.stores[k], block)

    def load_value(self, scope: Scope, n: int, access: int, block: Block) -> None:
        """Take value ``n`` from memory, where :meth:`store_value` put it."""
        for u in range(block.unroll):
            self.put(scope, n, u, self._load(scope, access, scope.pointer(access), u, block, True))

    def store_value(self, scope: Scope, n: int, access: int, block: Block) -> None:
        """Emit the store of value ``n`` through an access."""
        f = self.f
        dtype = self.nest.accesses[access].dtype
        p = scope.pointer(access)
        step = self._step(access)
        if step == "0":
            v = self.get(scope, n, 0, block.lanes if self.info.wide[n] else 1)
            emit_store(f, self.host, dtype, v if lanes(v.ty) == 1 else f.extract(v, 0), p)
            return
        for u in range(block.unroll):
            v = self.get(scope, n, u, block.lanes)
            if step == "1":
                q = self.advance(access, p, u * block.lanes)
                if block.stream and block.mask is None:
                    self._store_past_cache(dtype, v, q)
                else:
                    emit_store(f, self.host, dtype, v, q, block.mask)
                continue
            for lane, q in enumerate(self._lane_pointers(access, p, u, block.lanes)):
                emit_store(f, self.host, dtype, v if block.lanes == 1 else f.extract(v, lane), q)

    def _store_past_cache(self, dtype: str, v: V, p: V) -> None:
        """A store that does not read the line first; the address is a multiple of the vector's size."""
        f = self.f
        if dtype == "bool":
            v = f.cast("zext", v, f"<{lanes(v.ty)} x i8>")
        f.store(v, p, align=lanes(v.ty) * ELEMENT_BYTES[dtype], meta=", !nontemporal !{i32 1}")
