"""Small kernels written by hand."""

from __future__ import annotations

from dataclasses import dataclass

from gradloom.compiler.llvm.text import Function, Module

ARGS = [("ptr", "bufs"), ("ptr", "ints"), ("ptr", "scratch"), ("i64", "begin"), ("i64", "end")]


def start(module: Module, name: str) -> Function:
    return module.function(name, "void", ARGS)


@dataclass(frozen=True)
class Count:
    """``out[ints[0] + chunk] += 1`` for every chunk, after ``spin`` rounds of counting in volatile memory."""

    spin: int = 0

    def emit(self, module, name, host):
        f = start(module, name)
        cell = f.alloca("i64")
        out = f.load("ptr", f.arg("bufs"))
        first = f.load("i64", f.arg("ints"))
        with f.loop(f.arg("begin"), f.arg("end")) as it:
            if self.spin:
                with f.loop(0, self.spin) as turn:
                    f.line(f"store volatile i64 {turn.i.ref}, ptr {cell.ref}")
            p = f.gep(out, "i64", f.add(first, it.i))
            f.store(f.add(f.load("i64", p), 1), p)
        f.ret()


@dataclass(frozen=True)
class Affine:
    """``out[c] = a * x[(c + shift) % n] + b`` in i64, an element a chunk; ints (a, b, n, shift), buffers (out, x).

    Every chunk reads what another chunk of the command before wrote, so a fork that begins too early shows.
    """

    def emit(self, module, name, host):
        f = start(module, name)
        out, x = f.load("ptr", f.arg("bufs")), f.load("ptr", f.gep(f.arg("bufs"), "ptr", 1))
        a, b, n, shift = (f.load("i64", f.gep(f.arg("ints"), "i64", k)) for k in range(4))
        with f.loop(f.arg("begin"), f.arg("end")) as it:
            source = f.bin("urem", f.add(it.i, shift), n)
            f.store(f.add(f.mul(a, f.load("i64", f.gep(x, "i64", source))), b), f.gep(out, "i64", it.i))
        f.ret()


@dataclass(frozen=True)
class Scratch:
    """``out[c] = sum of 0 .. n-1 + c``, computed by way of all of the scratch memory; n = ``words``."""

    words: int

    def emit(self, module, name, host):
        f = start(module, name)
        out, scratch = f.load("ptr", f.arg("bufs")), f.arg("scratch")
        with f.loop(f.arg("begin"), f.arg("end")) as it:
            with f.loop(0, self.words) as k:
                f.line(f"store volatile i64 {k.i.ref}, ptr {f.gep(scratch, 'i64', k.i).ref}")
            with f.loop(0, self.words, carry=[it.i]) as k:
                value = f.op("i64", f"load volatile i64, ptr {f.gep(scratch, 'i64', k.i).ref}")
                k.next([f.add(k.vals[0], value)])
            f.store(k.results[0], f.gep(out, "i64", it.i))
        f.ret()


@dataclass(frozen=True)
class Who:
    """``out[c] = scratch``, which tells the thread that did a chunk.

    ints (n,), buffers (out, here): ``here`` counts calls, and a call returns when ``n`` have begun (or never would).
    """

    def emit(self, module, name, host):
        f = start(module, name)
        out, here = f.load("ptr", f.arg("bufs")), f.load("ptr", f.gep(f.arg("bufs"), "ptr", 1))
        with f.loop(f.arg("begin"), f.arg("end")) as it:
            f.store(f.arg("scratch"), f.gep(out, "i64", it.i))
        f.op("i64", f"atomicrmw add ptr {here.ref}, i64 1 seq_cst")
        wanted = f.load("i64", f.arg("ints"))
        wait, on, out = f.label("wait"), f.label("on"), f.label("out")
        turns = f.alloca("i64")
        f.store(f.i64(0), turns)
        f.br(wait)
        f.place(wait)
        came = f.op("i64", f"load atomic i64, ptr {here.ref} seq_cst, align 8")
        f.cbr(f.icmp("slt", came, wanted), on, out)
        f.place(on)
        turn = f.add(f.load("i64", turns), 1)
        f.store(turn, turns)
        f.cbr(f.icmp("slt", turn, 10_000_000_000), wait, out)
        f.place(out)
        f.ret()
