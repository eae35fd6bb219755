"""Packing: copying a strip of an operand into the order in which a register tile reads it.

A strip has ``width`` rows of A (or columns of B) and ``k`` steps. Packed, step ``i`` holds its ``width`` elements next
to each other, ``pitch`` elements after step ``i - 1``, in the dtype of the computation. There are three ways
of walking the source, by which of its axes has unit stride: along the width (copies of whole vectors), along k
(square blocks transposed in registers), or neither.
"""

from __future__ import annotations

from .host import Host
from .microkernel import BYTES, STORAGE, load_converted, shuffle_halves
from .text import Function, Module, V

__all__ = ["emit_pack", "transpose"]


def transpose(f: Function, rows: list[V]) -> list[V]:
    """The columns of a square block held as one vector per row (a power of two of them)."""
    rows = list(rows)
    d = 1
    while d < len(rows):
        for i in range(len(rows)):
            if not i & d:
                rows[i], rows[i | d] = shuffle_halves(f, rows[i], rows[i | d], d)
        d *= 2
    return rows


def emit_pack(m: Module, name: str, host: Host, storage: str, dtype: str, way: str, groups: int) -> str:
    """Emit the packing of one strip and return the function's name.

    ``void (ptr src, i64 wstride, i64 kstride, ptr dst, i64 width, i64 pitch, i64 k)``; source strides in bytes,
    ``width`` at most ``groups`` registers.

    way: ``"width"`` or ``"k"``, the axis of unit stride, or ``"none"``. With ``"k"`` each step writes whole registers:
    what lies past ``width`` has no meaning and may run over into the following steps, which are written later, and past
    the end by less than a register.
    """
    f = m.function(
        name,
        "void",
        [("ptr", "src"), ("i64", "ws"), ("i64", "ks"), ("ptr", "dst"), ("i64", "w"), ("i64", "pitch"), ("i64", "k")],
        "internal",
        "nounwind noinline",
    )
    n, size = host.lanes(8 * BYTES[dtype]), BYTES[dtype]
    pitch = f.mul(f.arg("pitch"), size)
    start: V | int = 0
    if way == "width":
        _copy(f, host, storage, dtype, groups, n, pitch)
    else:
        if way == "k":
            start = f.and_(f.arg("k"), -n)
            _transposed(f, host, storage, dtype, groups, n, pitch, start)
        _scalar(f, host, storage, dtype, n, pitch, start)
    f.ret()
    return name


def _copy(f: Function, host: Host, storage: str, dtype: str, groups: int, n: int, pitch: V) -> None:
    """Unit stride along the width: copy vectors, the last of them under a mask or element by element."""
    w, size = f.arg("w"), BYTES[dtype]
    masks = []
    if host.masks:
        lane = f.iota(f"<{n} x i32>")
        w32 = f.cast("trunc", w, "i32")
        masks = [f.icmp("slt", lane, f.splat(f.sub(w32, g * n), n)) for g in range(groups)]
    whole = f.sdiv(w, n)
    with f.loop(0, f.arg("k"), 1, carry=[f.arg("src"), f.arg("dst")], name="k") as it:
        src, dst = it.vals
        if host.masks:
            for g in range(groups):
                x = load_converted(f, host, storage, dtype, f.gep(src, "i8", g * n * STORAGE[storage]), n, masks[g])
                f.masked_store(x, f.gep(dst, "i8", g * n * size), masks[g])
        else:
            with f.loop(0, whole, 1, name="vector") as v:
                x = load_converted(f, host, storage, dtype, f.gep(src, "i8", f.mul(v.i, n * STORAGE[storage])), n)
                f.store(x, f.gep(dst, "i8", f.mul(v.i, n * size)))
            with f.loop(f.mul(whole, n), w, 1, name="one") as j:
                x = load_converted(f, host, storage, dtype, f.gep(src, "i8", f.mul(j.i, STORAGE[storage])), 1)
                f.store(x, f.gep(dst, "i8", f.mul(j.i, size)))
        it.next([f.gep(src, "i8", f.arg("ks")), f.gep(dst, "i8", pitch)])


def _transposed(f: Function, host: Host, storage: str, dtype: str, groups: int, n: int, pitch: V, whole: V) -> None:
    """Unit stride along k: transpose blocks of n rows and n steps for all the steps below ``whole``.

    Groups go from the last to the first, so what a partial group writes over the next step is put right afterwards.
    """
    w, ws = f.arg("w"), f.arg("ws")
    last = f.sub(w, 1)
    with f.loop(0, groups, 1, name="group") as it:
        g = f.sub(f.const("i64", groups - 1), it.i)
        base = f.mul(g, n)
        with f.if_(f.icmp("slt", base, w)):
            rows = []
            for r in range(n):  # rows past the width repeat the last one: they may not exist in memory
                i = f.min_i(f.add(base, r), last)
                rows.append(f.gep(f.arg("src"), "i8", f.mul(i, ws)))
            dst = f.gep(f.arg("dst"), "i8", f.mul(base, BYTES[dtype]))
            with f.loop(0, whole, n, carry=[dst], name="k") as k:
                off = f.mul(k.i, STORAGE[storage])
                block = [load_converted(f, host, storage, dtype, f.gep(p, "i8", off), n) for p in rows]
                out = k.vals[0]
                for x in transpose(f, block):
                    f.store(x, out)
                    out = f.gep(out, "i8", pitch)
                k.next([out])


def _scalar(f: Function, host: Host, storage: str, dtype: str, n: int, pitch: V, start: V | int) -> None:
    """One element at a time, from step ``start``."""
    src = f.gep(f.arg("src"), "i8", f.mul(f.arg("ks"), f.i64(start)))
    dst = f.gep(f.arg("dst"), "i8", f.mul(pitch, f.i64(start)))
    with f.loop(start, f.arg("k"), 1, carry=[src, dst], name="k") as it:
        with f.loop(0, f.arg("w"), 1, carry=[it.vals[0], it.vals[1]], name="one") as j:
            f.store(load_converted(f, host, storage, dtype, j.vals[0], 1), j.vals[1])
            j.next([f.gep(j.vals[0], "i8", f.arg("ws")), f.gep(j.vals[1], "i8", BYTES[dtype])])
        it.next([f.gep(it.vals[0], "i8", f.arg("ks")), f.gep(it.vals[1], "i8", pitch)])
