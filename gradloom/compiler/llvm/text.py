"""Textual LLVM IR, written the way the loop it makes reads.

A :class:`Module` gathers functions and declarations; a :class:`Function` emits
instructions in static single assignment form. Every value is a :class:`V`: an
LLVM type (a string such as ``"float"``, ``"<16 x float>"``, ``"i64"``, ``"ptr"``)
and a reference (``"%7"`` or a literal). Nothing here knows of tensors.

>>> m = Module()
>>> f = m.function("double", "void", [("ptr", "p"), ("i64", "n")])
>>> with f.loop(0, f.arg("n")) as it:
...     q = f.gep(f.arg("p"), "float", it.i)
...     f.store(f.fmul(f.load("float", q), f.const("float", 2.0)), q)
>>> f.ret()
>>> text = m.text()
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Function", "Loop", "Module", "V", "float_literal", "lanes", "scalar_of", "vec"]

Int = "int | V"


@dataclass(frozen=True, slots=True)
class V:
    """A value: its LLVM type and how the text refers to it."""

    ty: str
    ref: str


def vec(ty: str, n: int) -> str:
    """The type of ``n`` lanes of ``ty``; one lane is the scalar type itself."""
    return ty if n == 1 else f"<{n} x {ty}>"


def lanes(ty: str) -> int:
    """Number of lanes of a scalar or vector type."""
    return int(ty[1 : ty.index(" x ")]) if ty.startswith("<") else 1


def scalar_of(ty: str) -> str:
    """Element type of a scalar or vector type."""
    return ty[ty.index(" x ") + 3 : -1] if ty.startswith("<") else ty


def float_literal(ty: str, x: float) -> str:
    """An exact literal of a Python float for ``half``, ``float`` or ``double``."""
    if ty == "half":
        return "0xH" + struct.pack(">e", x).hex().upper()
    if ty == "float":
        try:
            x = struct.unpack("<f", struct.pack("<f", x))[0]
        except OverflowError:
            x = float("inf") if x > 0 else float("-inf")
    return "0x" + struct.pack(">d", x).hex().upper()


class Module:
    """Functions, declarations and globals of one LLVM module."""

    def __init__(self) -> None:
        self.functions: list[Function] = []
        self._heads: dict[str, str] = {}

    def declare(self, name: str, ret: str, args: Sequence[str]) -> None:
        """Declare an external function or intrinsic once."""
        self._heads.setdefault(name, f"declare {ret} @{name}({', '.join(args)})")

    def define_global(self, name: str, text: str) -> None:
        """Define ``@name`` with the given right-hand side once."""
        self._heads.setdefault(name, f"@{name} = {text}")

    def function(
        self, name: str, ret: str, args: Sequence[tuple[str, str]], linkage: str = "", attrs: str = "nounwind"
    ) -> Function:
        """Start a function. A pointer's attributes may stand in its type: ``"ptr noalias"``."""
        f = Function(self, name, ret, args, linkage, attrs)
        self.functions.append(f)
        return f

    def text(self) -> str:
        """The whole module as LLVM assembly."""
        own = {f.name for f in self.functions}
        heads = [text for name, text in self._heads.items() if name not in own]
        return "\n".join([*heads, "", *(f.text() for f in self.functions), ""])


class Loop:
    """A running loop: its index ``i``, its carried values ``vals``, and ``next`` to set those of the next round."""

    def __init__(self, i: V, vals: list[V]):
        self.i = i
        self.vals = vals
        self.nexts: list[V] | None = None
        self.results: list[V] = []

    def next(self, vals: Sequence[V]) -> None:
        self.nexts = list(vals)


class Function:
    """One function under construction."""

    def __init__(
        self, module: Module, name: str, ret: str, args: Sequence[tuple[str, str]], linkage: str, attrs: str
    ) -> None:
        self.module = module
        self.name = name
        self._args = {n: V(t.split(" ", 1)[0] if t.startswith("ptr") else t, f"%{n}") for t, n in args}
        params = ", ".join(f"{t} %{n}" for t, n in args)
        self._head = f"define {linkage + ' ' if linkage else ''}{ret} @{name}({params}) {attrs} {{"
        self._entry: list[str] = []  # allocas
        self._lines: list[str] = []
        self._n = 0
        self._block = "entry"

    # -- plumbing ---------------------------------------------------------------------------------
    def arg(self, name: str) -> V:
        """The argument of that name."""
        return self._args[name]

    def fresh(self) -> str:
        self._n += 1
        return f"%v{self._n}"

    def op(self, ty: str, text: str) -> V:
        """Emit ``%new = text`` and return the new value of type ``ty``."""
        r = self.fresh()
        self._lines.append(f"  {r} = {text}")
        return V(ty, r)

    def line(self, text: str) -> None:
        """Emit a line without a result."""
        self._lines.append("  " + text)

    def label(self, hint: str = "b") -> str:
        self._n += 1
        return f"{hint}{self._n}"

    def place(self, label: str) -> None:
        """Start the block ``label`` here."""
        self._lines.append(f"{label}:")
        self._block = label

    def br(self, label: str) -> None:
        self.line(f"br label %{label}")

    def cbr(self, cond: V, yes: str, no: str, likely: bool | None = None) -> None:
        self.line(f"br i1 {cond.ref}, label %{yes}, label %{no}")

    def ret(self, v: V | None = None) -> None:
        self.line("ret void" if v is None else f"ret {v.ty} {v.ref}")

    def text(self) -> str:
        return "\n".join([self._head, "entry:", *self._entry, *self._lines, "}"])

    # -- constants --------------------------------------------------------------------------------
    def const(self, ty: str, x: float | int | bool) -> V:
        """A literal, splatted over a vector type."""
        s = scalar_of(ty)
        lit = float_literal(s, float(x)) if s in ("half", "float", "double") else str(int(x))
        return V(ty, f"splat ({s} {lit})" if ty.startswith("<") else lit)

    def i64(self, x: int | V) -> V:
        return x if isinstance(x, V) else V("i64", str(x))

    def zero(self, ty: str) -> V:
        return V(ty, "zeroinitializer" if ty.startswith("<") else self.const(ty, 0).ref)

    def poison(self, ty: str) -> V:
        return V(ty, "poison")

    def iota(self, ty: str) -> V:
        """0, 1, 2, … over the lanes of an integer vector type."""
        s = scalar_of(ty)
        n = lanes(ty)
        return self.const(ty, 0) if n == 1 else V(ty, "<" + ", ".join(f"{s} {k}" for k in range(n)) + ">")

    # -- arithmetic -------------------------------------------------------------------------------
    def bin(self, opcode: str, a: V, b: V | int) -> V:
        """A two-operand instruction, such as ``bin("add nsw", a, 4)``."""
        if not isinstance(b, V):
            b = self.const(a.ty, b)
        return self.op(a.ty, f"{opcode} {a.ty} {a.ref}, {b.ref}")

    def add(self, a: V, b: V | int) -> V:
        if isinstance(b, int) and b == 0:
            return a
        return self.bin("add", a, b)

    def sub(self, a: V, b: V | int) -> V:
        return self.bin("sub", a, b)

    def mul(self, a: V, b: V | int) -> V:
        return self.bin("mul", a, b)

    def sdiv(self, a: V, b: V | int) -> V:
        return self.bin("sdiv", a, b)

    def srem(self, a: V, b: V | int) -> V:
        return self.bin("srem", a, b)

    def and_(self, a: V, b: V | int) -> V:
        return self.bin("and", a, b)

    def or_(self, a: V, b: V | int) -> V:
        return self.bin("or", a, b)

    def xor(self, a: V, b: V | int) -> V:
        return self.bin("xor", a, b)

    def shl(self, a: V, b: V | int) -> V:
        return self.bin("shl", a, b)

    def lshr(self, a: V, b: V | int) -> V:
        return self.bin("lshr", a, b)

    def ashr(self, a: V, b: V | int) -> V:
        return self.bin("ashr", a, b)

    def fadd(self, a: V, b: V, flags: str = "") -> V:
        return self.bin(f"fadd {flags}".rstrip(), a, b)

    def fsub(self, a: V, b: V, flags: str = "") -> V:
        return self.bin(f"fsub {flags}".rstrip(), a, b)

    def fmul(self, a: V, b: V, flags: str = "") -> V:
        return self.bin(f"fmul {flags}".rstrip(), a, b)

    def fdiv(self, a: V, b: V, flags: str = "") -> V:
        return self.bin(f"fdiv {flags}".rstrip(), a, b)

    def fneg(self, a: V) -> V:
        return self.op(a.ty, f"fneg {a.ty} {a.ref}")

    def call(self, name: str, ret: str, args: Sequence[V], flags: str = "") -> V:
        """Call an intrinsic, an external function (declaring it) or one of this module. ``ret`` may be ``"void"``."""
        self.module.declare(name, ret, [a.ty for a in args])
        text = f"call {flags + ' ' if flags else ''}{ret} @{name}({', '.join(f'{a.ty} {a.ref}' for a in args)})"
        if ret == "void":
            self.line(text)
            return V("void", "")
        return self.op(ret, text)

    def intrinsic(self, name: str, *args: V, flags: str = "") -> V:
        """``llvm.<name>.<type of the first argument>``, returning that type: fma, sqrt, floor, fabs, …"""
        ty = args[0].ty
        return self.call(f"llvm.{name}.{self.mangle(ty)}", ty, args, flags)

    @staticmethod
    def mangle(ty: str) -> str:
        """The suffix LLVM gives an overloaded intrinsic for this type."""
        s = {"float": "f32", "double": "f64", "half": "f16", "bfloat": "bf16", "ptr": "p0"}
        e = scalar_of(ty)
        return (f"v{lanes(ty)}" if ty.startswith("<") else "") + s.get(e, e)

    def fma(self, a: V, b: V, c: V) -> V:
        """a*b + c, fused where the target has it (contractable multiply-add elsewhere)."""
        return self.intrinsic("fmuladd", a, b, c)

    def icmp(self, pred: str, a: V, b: V | int) -> V:
        if not isinstance(b, V):
            b = self.const(a.ty, b)
        return self.op(vec("i1", lanes(a.ty)), f"icmp {pred} {a.ty} {a.ref}, {b.ref}")

    def fcmp(self, pred: str, a: V, b: V) -> V:
        return self.op(vec("i1", lanes(a.ty)), f"fcmp {pred} {a.ty} {a.ref}, {b.ref}")

    def select(self, c: V, a: V, b: V) -> V:
        return self.op(a.ty, f"select {c.ty} {c.ref}, {a.ty} {a.ref}, {b.ty} {b.ref}")

    def min_i(self, a: V, b: V | int) -> V:
        """Signed minimum of integers."""
        b = b if isinstance(b, V) else self.const(a.ty, b)
        return self.intrinsic("smin", a, b)

    def max_i(self, a: V, b: V | int) -> V:
        """Signed maximum of integers."""
        b = b if isinstance(b, V) else self.const(a.ty, b)
        return self.intrinsic("smax", a, b)

    def cast(self, opcode: str, a: V, ty: str) -> V:
        """A conversion: ``cast("sitofp", x, "<16 x float>")``; ``bitcast``, ``zext``, ``trunc``, ``fpext``, …"""
        return a if a.ty == ty else self.op(ty, f"{opcode} {a.ty} {a.ref} to {ty}")

    # -- vectors ----------------------------------------------------------------------------------
    def splat(self, a: V, n: int) -> V:
        """A scalar copied into ``n`` lanes."""
        if n == 1:
            return a
        ty = vec(a.ty, n)
        one = self.op(ty, f"insertelement {ty} poison, {a.ty} {a.ref}, i64 0")
        return self.op(ty, f"shufflevector {ty} {one.ref}, {ty} poison, <{n} x i32> zeroinitializer")

    def extract(self, a: V, i: int | V) -> V:
        ix = self.i64(i)
        return self.op(scalar_of(a.ty), f"extractelement {a.ty} {a.ref}, i64 {ix.ref}")

    def insert(self, a: V, x: V, i: int | V) -> V:
        ix = self.i64(i)
        return self.op(a.ty, f"insertelement {a.ty} {a.ref}, {x.ty} {x.ref}, i64 {ix.ref}")

    def shuffle(self, a: V, b: V | None, mask: Sequence[int]) -> V:
        """``shufflevector``; lanes of ``b`` are numbered after those of ``a``."""
        ty = vec(scalar_of(a.ty), len(mask))
        second = f"{a.ty} poison" if b is None else f"{b.ty} {b.ref}"
        idx = ", ".join(f"i32 {k}" for k in mask)
        return self.op(ty, f"shufflevector {a.ty} {a.ref}, {second}, <{len(mask)} x i32> <{idx}>")

    # -- memory -----------------------------------------------------------------------------------
    def gep(self, p: V, ty: str, i: V | int) -> V:
        """Address of element ``i`` of an array of ``ty`` at ``p``."""
        if isinstance(i, int) and i == 0:
            return p
        ix = self.i64(i)
        return self.op("ptr", f"getelementptr inbounds {ty}, ptr {p.ref}, {ix.ty} {ix.ref}")

    def load(self, ty: str, p: V, align: int | None = None, meta: str = "") -> V:
        """Load ``ty``; the alignment defaults to that of one element."""
        a = align or _size(scalar_of(ty))
        return self.op(ty, f"load {ty}, ptr {p.ref}, align {a}{meta}")

    def store(self, v: V, p: V, align: int | None = None, meta: str = "") -> None:
        a = align or _size(scalar_of(v.ty))
        self.line(f"store {v.ty} {v.ref}, ptr {p.ref}, align {a}{meta}")

    def masked_load(self, ty: str, p: V, mask: V, other: V | None = None) -> V:
        """Lanes whose mask is false are not touched and give ``other`` (default zero)."""
        o = other or self.zero(ty)
        s = self.mangle(ty)
        a = _size(scalar_of(ty))
        self.module.declare(f"llvm.masked.load.{s}.p0", ty, ["ptr", mask.ty, ty])
        return self.op(
            ty, f"call {ty} @llvm.masked.load.{s}.p0(ptr align {a} {p.ref}, {mask.ty} {mask.ref}, {ty} {o.ref})"
        )

    def masked_store(self, v: V, p: V, mask: V) -> None:
        """Store only the lanes whose mask is true."""
        s = self.mangle(v.ty)
        a = _size(scalar_of(v.ty))
        self.module.declare(f"llvm.masked.store.{s}.p0", "void", [v.ty, "ptr", mask.ty])
        self.line(f"call void @llvm.masked.store.{s}.p0({v.ty} {v.ref}, ptr align {a} {p.ref}, {mask.ty} {mask.ref})")

    def alloca(self, ty: str, n: int = 1, align: int | None = None) -> V:
        """Stack memory, reserved at the function's entry."""
        r = self.fresh()
        count = f", i64 {n}" if n != 1 else ""
        self._entry.append(f"  {r} = alloca {ty}{count}{f', align {align}' if align else ''}")
        return V("ptr", r)

    # -- control flow -----------------------------------------------------------------------------
    @contextmanager
    def loop(
        self, start: V | int, stop: V | int, step: V | int = 1, carry: Sequence[V] = (), name: str = "loop"
    ) -> Iterator[Loop]:
        """``for i in range(start, stop, step)`` (``step`` > 0), with values carried from round to round.

        Inside, ``it.i`` is the index and ``it.vals`` the carried values; call ``it.next([...])`` with those of
        the next round. After the block ``it.results`` holds the last ones (the first ones if no round was made).
        """
        a, b, s = self.i64(start), self.i64(stop), self.i64(step)
        head, body, done = self.label(name), self.label("body"), self.label("done")
        before = self._block
        self.br(head)
        self.place(head)
        phi_at = len(self._lines)
        i = V(a.ty, self.fresh())
        vals = [V(c.ty, self.fresh()) for c in carry]
        cond = self.icmp("slt", i, b)
        self.cbr(cond, body, done)
        self.place(body)
        it = Loop(i, vals)
        yield it
        nexts = it.nexts if it.nexts is not None else vals
        if len(nexts) != len(vals):
            raise ValueError(f"loop carries {len(vals)} values, next() gave {len(nexts)}")
        j = self.op(a.ty, f"add nsw {a.ty} {i.ref}, {s.ref}")
        end = self._block
        self.br(head)
        phis = [f"  {i.ref} = phi {a.ty} [ {a.ref}, %{before} ], [ {j.ref}, %{end} ]"]
        for v, c, n in zip(vals, carry, nexts, strict=True):
            phis.append(f"  {v.ref} = phi {v.ty} [ {c.ref}, %{before} ], [ {n.ref}, %{end} ]")
        self._lines[phi_at:phi_at] = phis
        self.place(done)
        it.results = vals

    @contextmanager
    def if_(self, cond: V) -> Iterator[None]:
        """Run the block where ``cond`` holds."""
        yes, done = self.label("then"), self.label("endif")
        self.cbr(cond, yes, done)
        self.place(yes)
        yield
        self.br(done)
        self.place(done)

    @contextmanager
    def if_else(self, cond: V) -> Iterator[IfElse]:
        """``with f.if_else(c) as br: …; br.otherwise(); …``; ``br.merge(a, b)`` after the block joins two values."""
        yes, no, done = self.label("then"), self.label("else"), self.label("endif")
        self.cbr(cond, yes, no)
        self.place(yes)
        br = IfElse(self, no, done)
        yield br
        if br.then_end is None:
            br.otherwise()
        br.else_end = self._block
        self.br(done)
        self.place(done)


class IfElse:
    """The two arms of a branch and how their values are joined."""

    def __init__(self, f: Function, no: str, done: str):
        self._f, self._no, self._done = f, no, done
        self.then_end: str | None = None
        self.else_end: str | None = None

    def otherwise(self) -> None:
        """End the first arm and start the second."""
        self.then_end = self._f._block
        self._f.br(self._done)
        self._f.place(self._no)

    def merge(self, a: V, b: V) -> V:
        """The value ``a`` of the first arm or ``b`` of the second. Call right after the block."""
        return self._f.op(a.ty, f"phi {a.ty} [ {a.ref}, %{self.then_end} ], [ {b.ref}, %{self.else_end} ]")


def _size(ty: str) -> int:
    """Bytes of a scalar type, also its natural alignment."""
    sizes = {"float": 4, "double": 8, "half": 2, "bfloat": 2, "ptr": 8, "i1": 1}
    return sizes[ty] if ty in sizes else max(1, int(ty[1:]) // 8)
