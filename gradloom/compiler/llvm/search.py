"""Native code that finds places in sorted rows by halving; see ``gradloom.compiler.along``.

The steps are the same for all values (powers of two downward, taken where the element there is still before the value),
so several searches run side by side without branches and wait for memory together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradloom.compiler.llvm.elementwise import emit_load, register_type
from gradloom.compiler.llvm.text import Function, Module, V

if TYPE_CHECKING:
    from gradloom.compiler.along import Search
    from gradloom.compiler.llvm.host import Host

__all__ = ["emit_search"]

TOGETHER = 8


def emit_search(kernel: Search, module: Module, name: str, host: Host) -> None:
    """Write ``kernel`` as function ``name``; its integers are those of ``Search``."""
    args = [("ptr", "bufs"), ("ptr", "ints"), ("ptr", "scratch"), ("i64", "begin"), ("i64", "end")]
    f = module.function(name, "void", args)
    item = register_type(kernel.dtype, 1)
    total, n, m, size, off_rows, off_values, top = [f.load("i64", f.gep(f.arg("ints"), "i64", j)) for j in range(7)]
    bufs = [f.load("ptr", f.gep(f.arg("bufs"), "ptr", j)) for j in range(3)]
    rows, values = f.gep(bufs[0], item, off_rows), f.gep(bufs[1], item, off_values)

    def find(at: list[V]) -> None:
        wanted = [emit_load(f, host, kernel.dtype, f.gep(values, item, i), 1) for i in at]
        starts = [f.gep(rows, item, f.mul(f.sdiv(i, m), n)) if kernel.batched else rows for i in at]
        with f.loop(0, top, carry=[f.i64(0)] * len(at), name="halve") as it:
            step = f.shl(f.i64(1), f.sub(f.sub(top, 1), it.i))
            nexts = []
            for here, start, v in zip(it.vals, starts, wanted, strict=True):
                there = f.add(here, step)
                safe = f.sub(f.min_i(there, n), 1)
                x = emit_load(f, host, kernel.dtype, f.gep(start, item, safe), 1)
                before = f.and_(_before(f, kernel, x, v), f.icmp("sle", there, n))
                nexts.append(f.select(before, there, here))
            it.next(nexts)
        for i, place in zip(at, it.results, strict=True):
            out = place if kernel.result == "i64" else f.cast("trunc", place, "i32")
            f.store(out, f.gep(bufs[2], kernel.result, i))

    first = f.mul(f.arg("begin"), size)
    last = f.min_i(f.mul(f.arg("end"), size), total)
    with f.if_(f.icmp("slt", first, last)):
        whole = f.add(first, f.and_(f.sub(last, first), -TOGETHER))
        with f.loop(first, whole, TOGETHER, name="several") as it:
            find([f.add(it.i, k) for k in range(TOGETHER)])
        with f.loop(whole, last, 1, name="one") as it:
            find([it.i])
    f.ret()


def _before(f: Function, kernel: Search, x: V, v: V) -> V:
    """Whether row element ``x`` stands before the place of ``v``. NaN goes to the end."""
    if kernel.dtype in ("f32", "f64"):
        return f.fcmp("ule" if kernel.right else "ult", x, v)
    sign = "u" if kernel.dtype[0] in "ub" else "s"
    return f.icmp(sign + ("le" if kernel.right else "lt"), x, v)
