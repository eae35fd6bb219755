"""Native code that finds the k largest or smallest of each row; see ``gradloom.compiler.along``.

One pass keeps the best so far in order. An element is compared with the last of them, and few pass: of n in random
order about k (1 + ln(n / k)) do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradloom.compiler.llvm.radix import key_of
from gradloom.compiler.llvm.text import Function, Module, V

if TYPE_CHECKING:
    from gradloom.compiler.along import Top
    from gradloom.compiler.llvm.host import Host

__all__ = ["emit_top"]


def emit_top(kernel: Top, module: Module, name: str, host: Host) -> None:
    """Write ``kernel`` as function ``name``; its integers are those of ``Top``."""
    args = [("ptr", "bufs"), ("ptr", "ints"), ("ptr", "scratch"), ("i64", "begin"), ("i64", "end")]
    f = module.function(name, "void", args)
    rows, n, count, size, offset = [f.load("i64", f.gep(f.arg("ints"), "i64", j)) for j in range(5)]
    source, target = (f.load("ptr", f.gep(f.arg("bufs"), "ptr", j)) for j in range(2))
    item, key = f"i{kernel.bits}", f"i{max(32, kernel.bits)}"
    keys = f.arg("scratch")
    places = f.gep(keys, "i64", count)
    first = f.mul(f.arg("begin"), size)
    last = f.min_i(f.mul(f.arg("end"), size), rows)
    shift = f.alloca("i64")
    with f.loop(first, last, name="row") as it:
        row = f.gep(f.gep(source, item, offset), item, f.mul(it.i, n))
        with f.loop(0, n, carry=[f.const(key, -1)], name="element") as e:
            k = key_of(f, kernel.dtype, kernel.bits, kernel.largest, True, f.load(item, f.gep(row, item, e.i)))
            filling = f.icmp("slt", e.i, count)
            with f.if_else(f.or_(filling, f.icmp("ult", k, e.vals[0]))) as arm:
                # a new element takes the place behind the last when there is room, else that of the last
                f.store(f.select(filling, e.i, f.sub(count, 1)), shift)
                _insert(f, keys, places, key, k, e.i, shift)
                full = f.icmp("sge", e.i, f.sub(count, 1))
                worst = f.load(key, f.gep(keys, key, f.sub(count, 1)))
                bound = f.select(full, worst, f.const(key, -1))
                arm.otherwise()
            e.next([arm.merge(bound, e.vals[0])])
        out = f.gep(target, "i64", f.mul(it.i, count))
        with f.loop(0, count, name="write") as w:
            f.store(f.load("i64", f.gep(places, "i64", w.i)), f.gep(out, "i64", w.i))
    f.ret()


def _insert(f: Function, keys: V, places: V, key: str, k: V, place: V, shift: V) -> None:
    """Move what is behind ``k`` by one, from the free slot in ``shift`` on, and put it there."""
    head, look, move, done = f.label("head"), f.label("look"), f.label("move"), f.label("put")
    f.br(head)
    f.place(head)
    at = f.load("i64", shift)
    f.cbr(f.icmp("sgt", at, 0), look, done)
    f.place(look)
    before = f.sub(at, 1)
    other = f.load(key, f.gep(keys, key, before))
    f.cbr(f.icmp("ugt", other, k), move, done)
    f.place(move)
    f.store(other, f.gep(keys, key, at))
    f.store(f.load("i64", f.gep(places, "i64", before)), f.gep(places, "i64", at))
    f.store(before, shift)
    f.br(head)
    f.place(done)
    here = f.load("i64", shift)
    f.store(k, f.gep(keys, key, here))
    f.store(place, f.gep(places, "i64", here))
