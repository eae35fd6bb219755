"""The elementwise body that follows a contraction, run over a finished block of sums.

The block lies in fast memory, row after row of ``pitch`` elements. The body runs with a vector along the columns, or
along the rows where the arrays that it reads and writes are contiguous that way; then squares of the block are
transposed in registers first. Every load of a vector is emitted before its stores, so an array may be updated in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..loops import Access, Contract, Inst
from .elementwise import emit_const, emit_inst, emit_load, emit_store, memory_type
from .host import Host
from .microkernel import BYTES, ELEMENT, prefetch
from .pack import transpose
from .text import Function, Module, V, lanes, vec

__all__ = ["SIZE", "InlineBody", "Strides", "emit_ask", "emit_epilogue"]

SIZE = {"f16": 2, "bf16": 2, "f32": 4, "f64": 8, "bool": 1} | {f"{s}{b}": b // 8 for s in "iu" for b in (8, 16, 32, 64)}


@dataclass
class Strides:
    """An access's integers as values: byte offset, byte stride of each axis and of the index."""

    offset: V
    axes: list[V]
    index: V | None

    @staticmethod
    def read(f: Function, ints: V, at: int, access: Access) -> Strides:
        """Load them from ``ints[at:]``."""
        size = SIZE[access.dtype]

        def take() -> V:
            nonlocal at
            x = f.load("i64", f.gep(ints, "i64", at))
            at += 1
            return f.mul(x, size)

        offset = take()
        fixed = {"0": 0, "1": size}
        axes = [take() if s == "s" else f.const("i64", fixed[s]) for s in access.steps]
        return Strides(offset, axes, take() if access.indexed else None)


class _Body:
    """Emits the instructions of a body for vectors along ``axis`` (0: rows, 1: columns)."""

    def __init__(
        self,
        f: Function,
        host: Host,
        accesses: Sequence[Access],
        body: Sequence[Inst],
        stores: Sequence[tuple[int, int]],
        axis: int,
        frame: V,
        strides: dict[int, Strides],
    ):
        self.f, self.host, self.accesses, self.body, self.stores, self.axis = f, host, accesses, body, stores, axis
        self.strides = strides
        self.batch = len(accesses[0].steps) - 2
        self.base = {a: f.load("ptr", f.gep(frame, "ptr", a)) for a in strides}
        self.coords = [f.load("i64", f.gep(frame, "i64", len(accesses) + b)) for b in range(self.batch)]
        self.depends = self._dependencies()

    def _dependencies(self) -> list[set[int]]:
        out: list[set[int]] = []
        for inst in self.body:
            d = set().union(*(out[a] for a in inst.args))
            if inst.op == "acc":
                d |= {0, 1}
            elif inst.op in ("load", "load_at"):
                steps = self.accesses[inst.attrs[0]].steps
                d |= {k for k in (0, 1) if steps[self.batch + k] != "0"}
            elif inst.op == "iota":
                d |= {inst.attrs[0] - self.batch} & {0, 1}
            out.append(d)
        return out

    def level(self, *sets: set[int]) -> list[int]:
        """Instructions that vary with just one of these sets of axes."""
        return [n for n, d in enumerate(self.depends) if d in sets]

    def values(
        self, which: Sequence[int], env: dict[int, V], i: V, j: V, n: int, acc: V | None, mask: V | None
    ) -> None:
        """Emit the instructions ``which`` for ``n`` lanes from (row i, column j) on."""
        f = self.f
        for k in which:
            inst = self.body[k]
            if inst.op == "acc":
                assert acc is not None
                env[k] = acc
            elif inst.op == "const":
                env[k] = emit_const(f, inst.dtype, inst.attrs[0], n)
            elif inst.op == "iota":
                env[k] = self._iota(inst.attrs[0], i, j, n)
            elif inst.op == "load":
                env[k] = self._load(inst.attrs[0], i, j, n, mask, None)
            elif inst.op == "load_at":
                env[k] = self._load(inst.attrs[0], i, j, n, mask, env[inst.args[0]])
            else:
                dtypes = [self.body[a].dtype for a in inst.args]
                env[k] = emit_inst(f, self.host, inst, dtypes, [env[a] for a in inst.args])

    def _iota(self, axis: int, i: V, j: V, n: int) -> V:
        f, local = self.f, axis - self.batch
        x = f.splat((i, j)[local] if local >= 0 else self.coords[axis], n)
        return f.add(x, f.iota(vec("i64", n))) if local == self.axis and n > 1 else x

    def _at(self, a: int, i: V, j: V) -> V:
        f, s = self.f, self.strides[a]
        p = f.gep(self.base[a], "i8", f.mul(i, s.axes[self.batch]))
        return f.gep(p, "i8", f.mul(j, s.axes[self.batch + 1]))

    def _lane_pointers(self, a: int, p: V, n: int, index: V | None) -> V:
        """A vector of addresses from ``p`` along the vector axis, plus those of ``index``."""
        f, s = self.f, self.strides[a]
        ty = vec("i64", n)
        off = f.mul(f.iota(ty), f.splat(s.axes[self.batch + self.axis], n))
        if index is not None:
            assert s.index is not None
            wide = index if index.ty == ty else f.cast("sext", index, ty)
            off = f.add(off, f.mul(wide, f.splat(s.index, n)))
        return f.op(f"<{n} x ptr>", f"getelementptr i8, ptr {p.ref}, {ty} {off.ref}")

    def _load(self, a: int, i: V, j: V, n: int, mask: V | None, index: V | None) -> V:
        f, host, access = self.f, self.host, self.accesses[a]
        p = self._at(a, i, j)
        step = access.steps[self.batch + self.axis]
        if n == 1:
            if index is not None:
                stride = self.strides[a].index
                assert stride is not None
                wide = index if index.ty == "i64" else f.cast("sext", index, "i64")
                p = f.gep(p, "i8", f.mul(wide, stride))
            return emit_load(f, host, access.dtype, p, 1)
        if index is None and step == "1":
            return emit_load(f, host, access.dtype, p, n, mask)
        if index is None and step == "0":
            return f.splat(emit_load(f, host, access.dtype, p, 1), n)
        ty = memory_type(access.dtype, n)
        ptrs = self._lane_pointers(a, p, n, index)
        m = mask or f.const(f"<{n} x i1>", True)
        s = f"{f.mangle(ty)}.v{n}p0"
        f.module.declare(f"llvm.masked.gather.{s}", ty, [ptrs.ty, m.ty, ty])
        size = SIZE[access.dtype]
        operands = f"{ptrs.ty} align {size} {ptrs.ref}, {m.ty} {m.ref}, {ty} zeroinitializer"
        x = f.op(ty, f"call {ty} @llvm.masked.gather.{s}({operands})")
        spot = f.alloca(ty, align=64)
        f.store(x, spot)
        return emit_load(f, host, access.dtype, spot, n)

    def write(self, env: dict[int, V], i: V, j: V, n: int, mask: V | None) -> None:
        """Emit the stores."""
        f, host = self.f, self.host
        for value, a in self.stores:
            access = self.accesses[a]
            p = self._at(a, i, j)
            if n == 1:
                emit_store(f, host, access.dtype, env[value], p)
            elif access.steps[self.batch + self.axis] == "1":
                emit_store(f, host, access.dtype, env[value], p, mask)
            else:
                ty = memory_type(access.dtype, n)
                spot = f.alloca(ty, align=64)
                emit_store(f, host, access.dtype, env[value], spot)
                x, ptrs = f.load(ty, spot), self._lane_pointers(a, p, n, None)
                m = mask or f.const(f"<{n} x i1>", True)
                s = f"{f.mangle(ty)}.v{n}p0"
                f.module.declare(f"llvm.masked.scatter.{s}", "void", [ty, ptrs.ty, m.ty])
                operands = f"{ty} {x.ref}, {ptrs.ty} align {SIZE[access.dtype]} {ptrs.ref}, {m.ty} {m.ref}"
                f.line(f"call void @llvm.masked.scatter.{s}({operands})")


def _open(
    f: Function,
    host: Host,
    accesses: Sequence[Access],
    ints_at: Sequence[int],
    body: Sequence[Inst],
    stores: Sequence[tuple[int, int]],
    axis: int,
) -> _Body:
    """A body in a function with the arguments ``ints`` and ``frame``."""
    used = sorted({i.attrs[0] for i in body if i.op in ("load", "load_at")} | {a for _, a in stores})
    strides = {a: Strides.read(f, f.arg("ints"), ints_at[a], accesses[a]) for a in used}
    return _Body(f, host, accesses, body, stores, axis, f.arg("frame"), strides)


@dataclass(frozen=True)
class InlineBody:
    """The body as the end of a register tile (see :class:`~.microkernel.TileBody`), sums still in registers.

    ints_at: where each access's integers are. touch_at: the integer that says whether C is worth asking for early,
    because it is not in a cache near by.
    """

    host: Host
    spec: Contract
    ints_at: tuple[int, ...]
    touch_at: int

    def start(self, f: Function, height: int, columns: int) -> None:
        """Ask for what the body will load and store, so that it arrives while the sums are made."""
        with f.if_(f.icmp("ne", f.load("i64", f.gep(f.arg("ints"), "i64", self.touch_at)), 0)):
            _ask(f, self.spec, self.ints_at, height, columns, 3)

    def finish(self, f: Function, sums: list[list[V]], masks: list[V]) -> None:
        """Emit the body, row by row."""
        spec = self.spec
        b = _open(f, self.host, spec.accesses, self.ints_at, spec.body, spec.stores, 1)
        i0, j0, n = f.arg("i"), f.arg("j"), lanes(sums[0][0].ty)
        top: dict[int, V] = {}
        b.values(b.level(set()), top, i0, j0, 1, None, None)
        top = {k: f.splat(x, n) for k, x in top.items()}
        columns = []
        for v, mask in enumerate(masks):
            columns.append(dict(top))
            b.values(b.level({1}), columns[v], i0, f.add(j0, v * n), n, None, mask)
        for r, row in enumerate(sums):
            i = f.add(i0, r)
            across = dict(top)
            b.values(b.level({0}), across, i, j0, n, None, None)
            for v, x in enumerate(row):
                env, j = columns[v] | across, f.add(j0, v * n)
                b.values(b.level({0, 1}), env, i, j, n, x, masks[v])
                b.write(env, i, j, n, masks[v])


def _ask(f: Function, spec: Contract, ints_at: Sequence[int], height: int, columns: int, level: int) -> None:
    """Ask for what the body loads and stores in a tile at (i, j), in a function with ``ints, frame, i, j``."""
    stored = {a for _, a in spec.stores}
    far = stored | {i.attrs[0] for i in spec.body if i.op == "load"}
    for a in sorted(far):
        access = spec.accesses[a]
        if access.steps[-1] != "1" or access.steps[-2] == "0":
            continue
        s = Strides.read(f, f.arg("ints"), ints_at[a], access)
        p = f.load("ptr", f.gep(f.arg("frame"), "ptr", a))
        p = f.gep(f.gep(p, "i8", f.mul(f.arg("i"), s.axes[-2])), "i8", f.mul(f.arg("j"), s.axes[-1]))
        with f.loop(0, height, 1, carry=[p], name="touch") as it:
            # asking for lines to be written brings them into the first level, where the operands of the product are
            prefetch(f, it.vals[0], columns * SIZE[access.dtype], level, level == 3 and a in stored)
            it.next([f.gep(it.vals[0], "i8", s.axes[-2])])


def emit_ask(m: Module, name: str, spec: Contract, ints_at: Sequence[int], height: int, columns: int) -> str:
    """Emit what asks the second level cache for all that the body of a tile will touch; the function's name.

    ``void (ptr ints, ptr frame, i64 i, i64 j)``. The body comes when a whole strip of tiles is done.
    """
    args = [("ptr", "ints"), ("ptr", "frame"), ("i64", "i"), ("i64", "j")]
    f = m.function(name, "void", args, "internal", "nounwind noinline")
    _ask(f, spec, ints_at, height, columns, 2)
    f.ret()
    return name


def emit_epilogue(
    m: Module,
    name: str,
    host: Host,
    dtype: str,
    accesses: Sequence[Access],
    ints_at: Sequence[int],
    body: Sequence[Inst],
    stores: Sequence[tuple[int, int]],
    axis: int,
    pitch: int,
) -> str:
    """Emit the body over a block and return the function's name.

    ``void (ptr ints, ptr frame, ptr acc, i64 i, i64 rows, i64 j, i64 cols)``: ``frame`` holds a pointer for each access
    (offset and batch included), then the batch coordinates; ``acc`` the sums, ``pitch`` elements a row; (i, j) is the
    place of the block in C, cols at most ``pitch``. Where ``axis`` is 0 (vectors along the rows) the block may be read
    up to a multiple of a register's lanes in both directions.
    """
    args = [("ptr", p) for p in ("ints", "frame", "acc")] + [("i64", n) for n in ("i", "rows", "j", "cols")]
    f = m.function(name, "void", args, "internal", "nounwind noinline")
    b = _open(f, host, accesses, ints_at, body, stores, axis)
    n = host.lanes(8 * BYTES[dtype])
    by_rows = _along_columns if axis == 1 else (_along_rows if pitch > 1 else _single_column)
    by_rows(f, b, host, dtype, n, pitch)
    f.ret()
    return name


def _lane_mask(f: Function, left: V, n: int) -> V:
    """Lanes below ``left``, an i64."""
    count = f.cast("trunc", f.min_i(left, n), "i32")
    return f.icmp("slt", f.iota(f"<{n} x i32>"), f.splat(count, n))


def _along_columns(f: Function, b: _Body, host: Host, dtype: str, n: int, pitch: int) -> None:
    elem, size = ELEMENT[dtype], BYTES[dtype]
    i0, j0, cols = f.arg("i"), f.arg("j"), f.arg("cols")
    whole = cols if host.masks else f.and_(cols, -n)
    top: dict[int, dict[int, V]] = {}
    for count in (n,) if host.masks else (n, 1):
        top[count] = {}
        b.values(b.level(set()), top[count], i0, j0, count, None, None)
    with f.loop(0, f.arg("rows"), 1, carry=[f.arg("acc")], name="row") as r:
        i = f.add(i0, r.i)
        row = r.vals[0]
        for count in top:
            env = dict(top[count])
            b.values(b.level({0}), env, i, j0, count, None, None)
            with f.loop(0 if count == n else whole, whole if count == n else cols, count, name="col") as c:
                x = f.load(vec(elem, count), f.gep(row, elem, c.i))
                mask = _lane_mask(f, f.sub(cols, c.i), n) if host.masks else None
                j = f.add(j0, c.i)
                inner = dict(env)
                b.values(b.level({1}, {0, 1}), inner, i, j, count, x, mask)
                b.write(inner, i, j, count, mask)
        r.next([f.gep(row, "i8", pitch * size)])


def _along_rows(f: Function, b: _Body, host: Host, dtype: str, n: int, pitch: int) -> None:
    elem, size = ELEMENT[dtype], BYTES[dtype]
    i0, j0, rows, cols, acc = f.arg("i"), f.arg("j"), f.arg("rows"), f.arg("cols"), f.arg("acc")
    ty = vec(elem, n)
    square = f.alloca(ty, n, align=64)
    whole = rows if host.masks else f.and_(rows, -n)
    top: dict[int, V] = {}
    b.values(b.level(set()), top, i0, j0, n, None, None)
    with f.loop(0, whole, n, name="rows") as r:
        i = f.add(i0, r.i)
        mask = _lane_mask(f, f.sub(rows, r.i), n) if host.masks else None
        env = dict(top)
        b.values(b.level({0}), env, i, j0, n, None, mask)
        corner = f.gep(acc, "i8", f.mul(r.i, pitch * size))
        with f.loop(0, cols, n, name="cols") as c:
            p = f.gep(corner, elem, c.i)
            block = [f.load(ty, f.gep(p, "i8", q * pitch * size)) for q in range(n)]
            for q, x in enumerate(transpose(f, block)):
                f.store(x, f.gep(square, "i8", q * n * size))
            with f.loop(0, f.min_i(f.sub(cols, c.i), n), 1, name="col") as c1:
                j = f.add(f.add(j0, c.i), c1.i)
                inner = dict(env)
                b.values(b.level({1}, {0, 1}), inner, i, j, n, f.load(ty, f.gep(square, ty, c1.i)), mask)
                b.write(inner, i, j, n, mask)
    if not host.masks:
        _one_by_one(f, b, elem, whole, pitch)


def _single_column(f: Function, b: _Body, host: Host, dtype: str, n: int, pitch: int) -> None:
    elem = ELEMENT[dtype]
    i0, j, rows, acc = f.arg("i"), f.arg("j"), f.arg("rows"), f.arg("acc")
    whole = rows if host.masks else f.and_(rows, -n)
    with f.loop(0, whole, n, name="rows") as r:
        i = f.add(i0, r.i)
        mask = _lane_mask(f, f.sub(rows, r.i), n) if host.masks else None
        env: dict[int, V] = {}
        b.values(range(len(b.body)), env, i, j, n, f.load(vec(elem, n), f.gep(acc, elem, r.i)), mask)
        b.write(env, i, j, n, mask)
    if not host.masks:
        _one_by_one(f, b, elem, whole, pitch)


def _one_by_one(f: Function, b: _Body, elem: str, start: V, pitch: int) -> None:
    with f.loop(start, f.arg("rows"), 1, name="row") as row, f.loop(0, f.arg("cols"), 1, name="col") as col:
        i, j = f.add(f.arg("i"), row.i), f.add(f.arg("j"), col.i)
        x = f.load(elem, f.gep(f.arg("acc"), elem, f.add(f.mul(row.i, pitch), col.i)))
        env: dict[int, V] = {}
        b.values(range(len(b.body)), env, i, j, 1, x, None)
        b.write(env, i, j, 1, None)
