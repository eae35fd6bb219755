"""Squares for nests that read along one axis and write along another: transposes, permutes, layout changes.

Where some access is contiguous along a parallel axis other than the vector axis, walking it element by element would
use one element of a cache line and come back for the next much later. Instead a square of both axes is brought into
fast memory first, transposed in registers, so that whole lines are read; the body then works on the square as on
any contiguous array. Stores of that kind leave through a square likewise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gradloom.compiler.llvm.host import Host
from gradloom.compiler.llvm.nest_info import ELEMENT_BYTES, TILE, Info
from gradloom.compiler.llvm.nest_values import Scope, Writer
from gradloom.compiler.llvm.pack import transpose
from gradloom.compiler.llvm.text import Function, Module, V, vec
from gradloom.compiler.loops import SCRATCH_BYTES

__all__ = ["emit_tiles", "tile_axis"]


def _crossing(info: Info, axis: int) -> list[int]:
    """Accesses that are contiguous along ``axis`` and strided along the vector axis."""
    nest = info.nest
    return [
        a
        for a, access in enumerate(nest.accesses)
        if access.steps[axis] == "1" and access.steps[nest.vector] == "s" and not access.indexed
    ]


def tile_axis(info: Info) -> int | None:
    """The axis that forms squares with the vector axis, if squares help."""
    if info.vector_reduced or info.reduced or info.lanes == 1:
        return None
    best = max(info.items, key=lambda k: len(_crossing(info, k)), default=None)
    if best is None or not _crossing(info, best):
        return None
    need = sum(TILE * TILE * ELEMENT_BYTES[info.nest.accesses[a].dtype] for a in _crossing(info, best))
    return best if need <= SCRATCH_BYTES else None


def emit_tiles(
    w: Writer, scratch: V, scope: Scope, axis: int, start: V, stop: V, extents: list[V]
) -> Iterator[tuple[Writer, Scope, V, V]]:
    """Loops over squares of ``axis`` (from ``start`` to ``stop``) and the vector axis.

    Yields once, inside of the loop over the positions of ``axis`` in a square: the writer to use there, the scope,
    and the range of the vector axis to do.
    """
    f, info, nest = w.f, w.info, w.nest
    v = nest.vector
    crossing = _crossing(info, axis)
    loaded = {i.attrs[0] for i in nest.body if i.op == "load"}
    stored = {a for _, a in nest.stores}
    place: dict[int, V] = {}
    at = 0
    for a in crossing:
        place[a] = f.gep(scratch, "i8", at)
        at += TILE * TILE * ELEMENT_BYTES[nest.accesses[a].dtype]

    inner = Writer(f, info, list(w.strides))
    for a in crossing:
        axes = list(w.strides[a].axes)
        axes[v], axes[axis] = V("i64", "1"), None
        inner.strides[a] = replace(w.strides[a], axes=tuple(axes))
        steps = list(nest.accesses[a].steps)
        steps[v] = "1"
        inner.steps[a] = tuple(steps)

    with f.loop(start, stop, TILE, name="down") as down, f.loop(0, extents[v], TILE, name="across") as across:
        end = f.min_i(f.add(down.i, TILE), stop)
        edge = f.min_i(f.add(across.i, TILE), extents[v])
        height, width = f.sub(end, down.i), f.sub(edge, across.i)
        corner = w.enter(w.enter(scope, axis, down.i, crossing), v, across.i, crossing)
        for a in crossing:
            if a in loaded:
                _move(w, a, corner.pointer(a), w.strides[a].axes[v], place[a], V("i64", str(TILE)), width, height)
        with f.loop(down.i, end, name="line") as line:
            row = inner.enter(scope, axis, line.i)
            offset = f.sub(f.mul(f.sub(line.i, down.i), TILE), across.i)  # the vector loop adds its position
            for a in crossing:
                row.pointers[a] = inner.advance(a, place[a], offset)
            yield inner, row, across.i, edge
        for a in crossing:
            if a in stored:
                _move(w, a, place[a], V("i64", str(TILE)), corner.pointer(a), w.strides[a].axes[v], height, width)


def _move(w: Writer, a: int, src: V, sstride: V | None, dst: V, dstride: V | None, rows: V, cols: V) -> None:
    """``dst[c][r] = src[r][c]``; strides between rows in elements of access ``a``."""
    size = ELEMENT_BYTES[w.nest.accesses[a].dtype]
    assert sstride is not None and dstride is not None
    name = f"{w.f.name}_transpose{size}"
    if not any(g.name == name for g in w.f.module.functions):
        _emit_transpose(w.f.module, name, size, w.host)
    args = [src, sstride, dst, dstride, rows, cols]
    w.f.line(f"call void @{name}({', '.join(f'{x.ty} {x.ref}' for x in args)})")


def _emit_transpose(module: Module, name: str, size: int, host: Host) -> None:
    """``void name(src, sstride, dst, dstride, rows, cols)``: by squares in registers, the rim one by one."""
    args = [("ptr", "src"), ("i64", "ss"), ("ptr", "dst"), ("i64", "ds"), ("i64", "rows"), ("i64", "cols")]
    f = module.function(name, "void", args, "internal", "nounwind noinline")
    src, ss, dst, ds, rows, cols = (f.arg(n) for _, n in args)
    ty = f"i{8 * size}"
    n = min(16, host.vector_bytes // size)
    down, right = f.and_(rows, -n), f.and_(cols, -n)
    with f.loop(0, down, n) as r, f.loop(0, right, n) as c:
        p, q = f.gep(f.gep(src, ty, f.mul(r.i, ss)), ty, c.i), f.gep(f.gep(dst, ty, f.mul(c.i, ds)), ty, r.i)
        found: list[V] = []
        for _ in range(n):
            found.append(f.load(vec(ty, n), p))
            p = f.gep(p, ty, ss)
        for x in transpose(f, found):
            f.store(x, q)
            q = f.gep(q, ty, ds)
    _copy(f, ty, V("i64", "0"), down, right, cols, (src, ss, dst, ds))
    _copy(f, ty, down, rows, V("i64", "0"), cols, (src, ss, dst, ds))
    f.ret()


def _copy(f: Function, ty: str, r0: V, r1: V, c0: V, c1: V, where: tuple[V, V, V, V]) -> None:
    """The part of a transpose with rows ``r0 <= r < r1`` and columns ``c0 <= c < c1``, element by element."""
    src, ss, dst, ds = where
    with f.loop(r0, r1) as r, f.loop(c0, c1) as c:
        x = f.load(ty, f.gep(f.gep(src, ty, f.mul(r.i, ss)), ty, c.i))
        f.store(x, f.gep(f.gep(dst, ty, f.mul(c.i, ds)), ty, r.i))
