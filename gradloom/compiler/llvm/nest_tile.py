"""Squares for nests that read along one axis and write along another: transposes, permutes, layout changes.

Where some access is contiguous along a parallel axis other than the vector axis, walking it element by element would
use one element of a cache line and come back for the next much later. Instead a square of both axes is brought into
fast memory first, transposed in registers, so that whole lines are read; the body then works on the square as on
any contiguous array. Stores of that kind leave through a square likewise. Where the nest only moves elements, squares
go straight from buffer to buffer.

Squares are as wide as fast memory allows: a line of 256 elements is long enough for the hardware to read ahead.
Measured on Zen 4, 2048 x 2048 floats, one thread: 2.4 ms in squares of 64, 1.4 ms in squares of 256, which is the
speed of a plain copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gradloom.compiler.llvm.host import Host
from gradloom.compiler.llvm.nest_info import ELEMENT_BYTES, Info
from gradloom.compiler.llvm.nest_values import Scope, Writer
from gradloom.compiler.llvm.pack import transpose
from gradloom.compiler.llvm.text import Function, Module, V, vec

SIDE = 256
ROOM = 1 << 19
"""Bytes of a thread's scratch that squares may fill: half of a small second-level cache."""

__all__ = ["copies_squares", "emit_copy", "emit_tiles", "tile_axis"]


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
    return best if _side(info, best) >= 16 else None


def _side(info: Info, axis: int) -> int:
    """Elements along each side of a square, such that all squares have room."""
    size = sum(ELEMENT_BYTES[info.nest.accesses[a].dtype] for a in _crossing(info, axis))
    side = SIDE
    while side * side * size > ROOM:
        side //= 2
    return side


def copies_squares(info: Info, axis: int) -> bool:
    """Whether the nest only moves elements, from rows along one of the two axes to rows along the other."""
    nest = info.nest
    if len(nest.stores) != 1 or nest.body[nest.stores[0][0]].op != "load":
        return False
    source, target = nest.body[nest.stores[0][0]].attrs[0], nest.stores[0][1]
    along = (nest.accesses[source].steps[nest.vector], nest.accesses[target].steps[nest.vector])
    return (
        along in (("s", "1"), ("1", "s"))
        and nest.accesses[source].steps[axis] == ("1" if along[0] == "s" else "s")
        and nest.accesses[target].steps[axis] == ("s" if along[0] == "s" else "1")
    )


def emit_copy(w: Writer, scope: Scope, axis: int, start: V, stop: V, extents: list[V]) -> None:
    """A nest of :func:`copies_squares` over ``axis`` from ``start`` to ``stop`` and the whole vector axis."""
    f, nest = w.f, w.nest
    v = nest.vector
    source, target = nest.body[nest.stores[0][0]].attrs[0], nest.stores[0][1]
    with f.loop(start, stop, SIDE, name="down") as down, f.loop(0, extents[v], SIDE, name="across") as across:
        height = f.min_i(f.sub(stop, down.i), SIDE)
        width = f.min_i(f.sub(extents[v], across.i), SIDE)
        corner = w.enter(w.enter(scope, axis, down.i), v, across.i)
        src, dst = corner.pointer(source), corner.pointer(target)
        if nest.accesses[source].steps[v] == "s":
            _move(
                w, source, src, w.strides[source].axes[v], dst, w.strides[target].axes[axis], width, height, nest.stream
            )
        else:
            _move(
                w, source, src, w.strides[source].axes[axis], dst, w.strides[target].axes[v], height, width, nest.stream
            )


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
    side = _side(info, axis)
    place: dict[int, V] = {}
    at = 0
    for a in crossing:
        place[a] = f.gep(scratch, "i8", at)
        at += side * side * ELEMENT_BYTES[nest.accesses[a].dtype]

    inner = Writer(f, info, list(w.strides))
    for a in crossing:
        axes = list(w.strides[a].axes)
        axes[v], axes[axis] = V("i64", "1"), None
        inner.strides[a] = replace(w.strides[a], axes=tuple(axes))
        steps = list(nest.accesses[a].steps)
        steps[v] = "1"
        inner.steps[a] = tuple(steps)

    with f.loop(start, stop, side, name="down") as down, f.loop(0, extents[v], side, name="across") as across:
        end = f.min_i(f.add(down.i, side), stop)
        edge = f.min_i(f.add(across.i, side), extents[v])
        height, width = f.sub(end, down.i), f.sub(edge, across.i)
        corner = w.enter(w.enter(scope, axis, down.i, crossing), v, across.i, crossing)
        for a in crossing:
            if a in loaded:
                _move(
                    w, a, corner.pointer(a), w.strides[a].axes[v], place[a], V("i64", str(side)), width, height, False
                )
        with f.loop(down.i, end, name="line") as line:
            row = inner.enter(scope, axis, line.i)
            offset = f.sub(f.mul(f.sub(line.i, down.i), side), across.i)  # the vector loop adds its position
            for a in crossing:
                row.pointers[a] = inner.advance(a, place[a], offset)
            yield inner, row, across.i, edge
        for a in crossing:
            if a in stored:
                _move(
                    w,
                    a,
                    place[a],
                    V("i64", str(side)),
                    corner.pointer(a),
                    w.strides[a].axes[v],
                    height,
                    width,
                    nest.stream,
                )


def _move(
    w: Writer, a: int, src: V, sstride: V | None, dst: V, dstride: V | None, rows: V, cols: V, stream: bool
) -> None:
    """``dst[c][r] = src[r][c]``; strides between rows in elements of access ``a``."""
    f = w.f
    size = ELEMENT_BYTES[w.nest.accesses[a].dtype]
    assert sstride is not None and dstride is not None
    args = [src, sstride, dst, dstride, rows, cols]
    line = _square(w.host, size) * size
    if stream and line == LINE:
        bits = f.or_(f.cast("ptrtoint", dst, "i64"), f.mul(dstride, size))
        with f.if_else(f.icmp("eq", f.and_(bits, line - 1), 0)) as br:
            _call(w, size, args, True)
            br.otherwise()
            _call(w, size, args, False)
    else:
        _call(w, size, args, False)


LINE = 64
"""Bytes of a cache line. Only whole ones are worth writing past the cache."""


def _square(host: Host, size: int) -> int:
    """Elements along each side of what is transposed in registers."""
    return min(16, host.vector_bytes // size)


def _call(w: Writer, size: int, args: list[V], stream: bool) -> None:
    name = f"{w.f.name}_{'stream' if stream else 'transpose'}{size}"
    if not any(g.name == name for g in w.f.module.functions):
        _emit_transpose(w.f.module, name, size, w.host, stream)
    w.f.line(f"call void @{name}({', '.join(f'{x.ty} {x.ref}' for x in args)})")


def _emit_transpose(module: Module, name: str, size: int, host: Host, stream: bool) -> None:
    """``void name(src, sstride, dst, dstride, rows, cols)``: by squares in registers, the rim one by one."""
    args = [("ptr", "src"), ("i64", "ss"), ("ptr", "dst"), ("i64", "ds"), ("i64", "rows"), ("i64", "cols")]
    f = module.function(name, "void", args, "internal", "nounwind noinline")
    src, ss, dst, ds, rows, cols = (f.arg(n) for _, n in args)
    ty = f"i{8 * size}"
    n = _square(host, size)
    down, right = f.and_(rows, -n), f.and_(cols, -n)
    with f.loop(0, down, n) as r, f.loop(0, right, n) as c:
        p, q = f.gep(f.gep(src, ty, f.mul(r.i, ss)), ty, c.i), f.gep(f.gep(dst, ty, f.mul(c.i, ds)), ty, r.i)
        found: list[V] = []
        for _ in range(n):
            found.append(f.load(vec(ty, n), p))
            p = f.gep(p, ty, ss)
        for x in transpose(f, found):
            if stream:
                f.store(x, q, align=LINE, meta=", !nontemporal !{i32 1}")
            else:
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
