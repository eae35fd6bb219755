"""Packing: copying a strip of an operand into the order in which a register tile reads it.

A strip has ``width`` rows of A (or columns of B) and ``k`` steps. Packed, step ``i`` holds its ``width`` elements next
to each other, ``pitch`` elements after step ``i - 1``, in the dtype of the computation. There are three ways
of walking the source, by which of its axes has unit stride: along the width (copies of whole vectors), along k
(square blocks transposed in registers), or neither.

Pairs (see :mod:`.pairs`) are packed in the same order, two steps of bfloat16 in each element of 32 bits.
"""

from __future__ import annotations

from .host import Host
from .microkernel import BYTES, STORAGE, load_converted, shuffle_halves
from .text import Function, Module, V

__all__ = ["emit_pack", "emit_pack_pairs", "transpose"]


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


def emit_pack_pairs(m: Module, name: str, host: Host, way: str, groups: int) -> str:
    """Emit the packing of one strip of bfloat16 as pairs along k and return the function's name.

    As :func:`emit_pack`, for hosts with masks; ``k`` counts elements of the source, and ``pitch`` pairs.
    """
    args = [("ptr", "src"), ("i64", "ws"), ("i64", "ks"), ("ptr", "dst"), ("i64", "w"), ("i64", "pitch"), ("i64", "k")]
    f = m.function(name, "void", args, "internal", "nounwind noinline")
    emit = {"width": _pairs_copied, "k": _pairs_transposed, "none": _pairs_scalar}[way]
    emit(f, host.lanes(32), groups, f.mul(f.arg("pitch"), 4))
    f.ret()
    return name


def _below(f: Function, count: V, n: int) -> V:
    """Lanes below ``count``, an i64."""
    near = f.cast("trunc", f.min_i(f.max_i(count, 0), n), "i32")
    return f.icmp("slt", f.iota(f"<{n} x i32>"), f.splat(near, n))


def _pairs_copied(f: Function, n: int, groups: int, pitch: V) -> None:
    """Unit stride along the width: two rows of vectors become one."""
    masks = [_below(f, f.sub(f.arg("w"), g * n), n) for g in range(groups)]
    half, wide = f"<{n} x i16>", f"<{n} x i32>"

    def row(p: V, g: int) -> V:
        return f.cast("zext", f.masked_load(half, f.gep(p, "i8", g * n * 2), masks[g]), wide)

    even = f.and_(f.arg("k"), -2)
    with f.loop(0, even, 2, carry=[f.arg("src"), f.arg("dst")], name="k") as it:
        src, dst = it.vals
        after = f.gep(src, "i8", f.arg("ks"))
        for g in range(groups):
            pair = f.or_(row(src, g), f.shl(row(after, g), 16))
            f.masked_store(pair, f.gep(dst, "i8", g * n * 4), masks[g])
        it.next([f.gep(after, "i8", f.arg("ks")), f.gep(dst, "i8", pitch)])
    with f.if_(f.icmp("slt", even, f.arg("k"))):
        for g in range(groups):
            f.masked_store(row(it.results[0], g), f.gep(it.results[1], "i8", g * n * 4), masks[g])


def _pairs_transposed(f: Function, n: int, groups: int, pitch: V) -> None:
    """Unit stride along k: blocks of n rows and n pairs are transposed."""
    w, k = f.arg("w"), f.arg("k")
    last, block = f.sub(w, 1), 2 * n
    whole = f.and_(k, -block)
    with f.loop(0, groups, 1, name="group") as it:
        base = f.mul(f.sub(f.const("i64", groups - 1), it.i), n)
        with f.if_(f.icmp("slt", base, w)):
            # rows past the width repeat the last one: they may not exist in memory
            rows = [
                f.gep(f.arg("src"), "i8", f.mul(f.min_i(f.add(base, r), last), f.arg("ws"))) for r in range(n)
            ]  # fmt: skip
            dst = f.gep(f.arg("dst"), "i8", f.mul(base, 4))
            with f.loop(0, whole, block, carry=[dst], name="k") as it_k:
                out = it_k.vals[0]
                for x in transpose(f, [f.load(f"<{n} x i32>", f.gep(p, "i8", f.mul(it_k.i, 2)), 2) for p in rows]):
                    f.store(x, out, 4)
                    out = f.gep(out, "i8", pitch)
                it_k.next([out])
            out, left = it_k.results[0], f.sub(k, whole)
            with f.if_(f.icmp("sgt", left, 0)):
                near = f.cast("trunc", left, "i16")
                mask = f.icmp("slt", f.iota(f"<{block} x i16>"), f.splat(near, block))
                tail = [f.masked_load(f"<{block} x i16>", f.gep(p, "i8", f.mul(whole, 2)), mask) for p in rows]
                for q, x in enumerate(transpose(f, [f.cast("bitcast", x, f"<{n} x i32>") for x in tail])):
                    with f.if_(f.icmp("slt", f.const("i64", 2 * q), left)):
                        f.store(x, f.gep(out, "i8", f.mul(pitch, q)), 4)


def _pairs_scalar(f: Function, n: int, groups: int, pitch: V) -> None:
    """One pair at a time."""
    k, ks = f.arg("k"), f.arg("ks")
    with f.loop(0, k, 2, carry=[f.arg("src"), f.arg("dst")], name="k") as it:
        odd = f.icmp("sge", f.add(it.i, 1), k)
        with f.loop(0, f.arg("w"), 1, carry=list(it.vals), name="one") as j:
            src, dst = j.vals
            low = f.cast("zext", f.load("i16", src), "i32")
            after = f.select(odd, src, f.gep(src, "i8", ks))
            high = f.select(odd, f.const("i32", 0), f.cast("zext", f.load("i16", after), "i32"))
            f.store(f.or_(low, f.shl(high, 16)), dst)
            j.next([f.gep(src, "i8", f.arg("ws")), f.gep(dst, "i8", 4)])
        it.next([f.gep(it.vals[0], "i8", f.mul(ks, 2)), f.gep(it.vals[1], "i8", pitch)])
