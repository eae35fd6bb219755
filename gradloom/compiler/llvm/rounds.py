"""The kernel that runs other kernels: a chunk is a whole round of a program, done by one thread from end to end.

Each round reads and writes its own rows of what moves from round to round, and has temporary memory to itself while it
runs. How many rounds run at once is the threads' matter; a bit for each piece of memory says whether it is free.
"""

from __future__ import annotations

from dataclasses import dataclass

from .host import Host
from .text import Function, Module, V

__all__ = ["ARENAS", "FREE", "HEAD", "MOST_BUFFERS", "RoundsSource"]

ARENAS = 62  # pieces of temporary memory, at most: bits of a word
MOST_BUFFERS = 64  # of a kernel
FREE, COMMANDS, PLACES, HEAD = range(4)
"""Words of the integers: which pieces of memory are free, a bit each; how many commands; how many places, that is
buffers of this kernel. Then for each place two steps in bytes, from round to round and from one piece of temporary
memory to the next; then the commands, each: the kernel's address, its chunks, how many buffers and integers it has,
for each buffer the place and an offset in bytes, the integers."""


@dataclass(frozen=True)
class RoundsSource:
    """Does the rounds ``begin <= c < end``. Buffers: the places."""

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Emit the kernel under ``name``."""
        args = [("ptr", "bufs"), ("ptr", "ints"), ("ptr", "scratch"), ("i64", "begin"), ("i64", "end")]
        f = module.function(name, "void", args)
        ints, bufs = f.arg("ints"), f.arg("bufs")
        free = f.gep(ints, "i64", FREE)
        commands, places = (f.load("i64", f.gep(ints, "i64", n)) for n in (COMMANDS, PLACES))
        steps = f.gep(ints, "i64", HEAD)
        first = f.gep(steps, "i64", f.mul(places, 2))
        mine = f.alloca("ptr", MOST_BUFFERS, align=64)
        bit, number = _taken(f, free, host)
        with f.loop(f.arg("begin"), f.arg("end"), 1, name="round") as turn:
            with f.loop(0, commands, 1, carry=[first], name="command") as it:
                at = it.vals[0]
                fn, chunks, count, more = (f.load(t, f.gep(at, "i64", n)) for n, t in enumerate(["ptr"] + ["i64"] * 3))
                pairs = f.gep(at, "i64", 4)
                with f.loop(0, count, 1, carry=[pairs], name="buffer") as b:
                    place = f.load("i64", b.vals[0])
                    moved = f.gep(steps, "i64", f.mul(place, 2))
                    p = f.gep(f.load("ptr", f.gep(bufs, "ptr", place)), "i8", f.load("i64", f.gep(b.vals[0], "i64", 1)))
                    p = f.gep(p, "i8", f.mul(f.load("i64", moved), turn.i))
                    p = f.gep(p, "i8", f.mul(f.load("i64", f.gep(moved, "i64", 1)), number))
                    f.store(p, f.gep(mine, "ptr", b.i))
                    b.next([f.gep(b.vals[0], "i64", 2)])
                own = f.gep(pairs, "i64", f.mul(count, 2))
                f.line(
                    f"call void {fn.ref}(ptr {mine.ref}, ptr {own.ref}, ptr {f.arg('scratch').ref}, i64 0, "
                    f"i64 {chunks.ref})"
                )
                it.next([f.gep(own, "i64", more)])
        f.op("i64", f"atomicrmw or ptr {free.ref}, i64 {bit.ref} seq_cst")
        f.ret()


def _taken(f: Function, free: V, host: Host) -> tuple[V, V]:
    """Take a piece of memory: its bit and its number, the least that is free; waits where there is none."""
    look, take, wait, got = (f.label(x) for x in ("look", "take", "wait", "got"))
    f.br(look)
    f.place(look)
    now = f.op("i64", f"load atomic i64, ptr {free.ref} monotonic, align 8")
    f.cbr(f.icmp("eq", now, 0), wait, take)
    f.place(wait)
    if host.triple.startswith(("x86_64", "amd64")):
        f.call("llvm.x86.sse2.pause", "void", [])
    f.br(look)
    f.place(take)
    bit = f.and_(now, f.sub(f.const("i64", 0), now))
    pair = f.op("{ i64, i1 }", f"cmpxchg ptr {free.ref}, i64 {now.ref}, i64 {f.xor(now, bit).ref} seq_cst monotonic")
    f.cbr(f.op("i1", f"extractvalue {pair.ty} {pair.ref}, 1"), got, look)
    f.place(got)
    return bit, f.call("llvm.cttz.i64", "i64", [bit, V("i1", "true")])
