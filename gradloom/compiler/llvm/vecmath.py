"""Vector mathematics: the arithmetic that our polynomials for exp, log, sin, … are written in.

LLVM turns ``llvm.exp`` and its kin into one libm call per lane, or into nothing that links, so every function here is
branch-free code of plain instructions. The functions stand in ``vecmath_exp`` (exponentials and hyperbolics),
``vecmath_log`` (logarithms, powers), ``vecmath_trig`` and ``vecmath_special`` (error function, gamma). Each states its
measured error in units in the last place of the result. Polynomials are minimax (Remez exchange) fits made with mpmath
for the stated interval; the error beside one is relative, before its coefficients were rounded.

Strict IEEE arithmetic is assumed: no fast-math flag may be set on what a function emits. ``fma`` here is fused where
the target has it; where an algorithm needs an exact product it asks :meth:`Lanes.two_prod`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import wraps

from gradloom.compiler.llvm.host import Host
from gradloom.compiler.llvm.text import Function, V, lanes, scalar_of, vec

__all__ = ["Lanes", "literal", "widely"]


class Lanes:
    """Arithmetic on the lanes of one float type, in the spelling of formulas.

    Attributes
    ----------
    f, host: where code goes and what for.
    n: lanes. ty: ``float`` or ``double`` lanes. ity: integer lanes of the same width.
    double: True for ``double``. bits, fraction, bias: of the format (32, 23, 127 or 64, 52, 1023).
    """

    def __init__(self, f: Function, host: Host, ty: str):
        self.f = f
        self.host = host
        self.n = lanes(ty)
        self.ty = ty
        self.double = scalar_of(ty) == "double"
        self.bits, self.fraction, self.bias = (64, 52, 1023) if self.double else (32, 23, 127)
        self.ity = vec(f"i{self.bits}", self.n)

    @property
    def exact_fma(self) -> bool:
        """True where a fused multiply-add is an instruction."""
        return self.host.name in ("avx512", "avx2", "neon")

    def c(self, x: float) -> V:
        """A constant in every lane."""
        return self.f.const(self.ty, x)

    def _v(self, x: V | float) -> V:
        return x if isinstance(x, V) else self.f.const(self.ty, x)

    # -- floating-point ---------------------------------------------------------------------------
    def add(self, a: V | float, b: V | float) -> V:
        """Sum; a literal stands for itself in every lane, here and below."""
        return self.f.fadd(self._v(a), self._v(b))

    def sub(self, a: V | float, b: V | float) -> V:
        """Difference."""
        return self.f.fsub(self._v(a), self._v(b))

    def mul(self, a: V | float, b: V | float) -> V:
        """Product."""
        return self.f.fmul(self._v(a), self._v(b))

    def div(self, a: V | float, b: V | float) -> V:
        """Quotient."""
        return self.f.fdiv(self._v(a), self._v(b))

    def fma(self, a: V | float, b: V | float, c: V | float) -> V:
        """The sum a * b + c, in one rounding where the host has the instruction and in two elsewhere."""
        return self.f.fma(self._v(a), self._v(b), self._v(c))

    def neg(self, a: V) -> V:
        """The opposite sign."""
        return self.f.fneg(a)

    def abs(self, a: V) -> V:
        """Magnitude."""
        return self.f.intrinsic("fabs", a)

    def sqrt(self, a: V) -> V:
        """Square root, correctly rounded."""
        return self.f.intrinsic("sqrt", a)

    def rint(self, a: V) -> V:
        """Nearest integer, ties to even."""
        return self.f.intrinsic("roundeven", a)

    def floor(self, a: V) -> V:
        """Largest integer not above a."""
        return self.f.intrinsic("floor", a)

    def copysign(self, a: V, b: V) -> V:
        """Magnitude of a, sign of b."""
        return self.f.intrinsic("copysign", a, b)

    def min(self, x: V | float, y: V) -> V:
        """The lesser of x and y; y where either is NaN. One instruction on x86."""
        x = self._v(x)
        return self.f.select(self.f.fcmp("olt", x, y), x, y)

    def max(self, x: V | float, y: V) -> V:
        """The greater of x and y; y where either is NaN. One instruction on x86."""
        x = self._v(x)
        return self.f.select(self.f.fcmp("ogt", x, y), x, y)

    def poly(self, x: V, coefs: Sequence[float]) -> V:
        """``coefs[0] + coefs[1] x + coefs[2] x² + …`` by Horner's rule."""
        acc = self._v(coefs[-1])
        for c in reversed(coefs[:-1]):
            acc = self.fma(acc, x, c)
        return acc

    # -- exact sums and products ------------------------------------------------------------------
    def fast_two_sum(self, a: V, b: V) -> tuple[V, V]:
        """The rounded sum a + b and its error, where |a| >= |b| or a is 0 (Dekker 1971)."""
        s = self.add(a, b)
        return s, self.sub(b, self.sub(s, a))

    def two_sum(self, a: V, b: V) -> tuple[V, V]:
        """The rounded sum a + b and its error (Knuth, TAOCP 4.2.2)."""
        s = self.add(a, b)
        t = self.sub(s, a)
        return s, self.add(self.sub(a, self.sub(s, t)), self.sub(b, t))

    def two_prod(self, a: V, b: V) -> tuple[V, V]:
        """The rounded product a * b and its error; Dekker's splitting where there is no fused instruction."""
        p = self.mul(a, b)
        if self.exact_fma:
            return p, self.f.intrinsic("fma", a, b, self.neg(p))
        ah, al = self._split(a)
        bh, bl = self._split(b)
        e = self.sub(self.mul(ah, bh), p)
        e = self.add(self.add(e, self.mul(ah, bl)), self.mul(al, bh))
        return p, self.add(e, self.mul(al, bl))

    def _split(self, a: V) -> tuple[V, V]:
        t = self.mul(a, 134217729.0 if self.double else 4097.0)
        h = self.sub(t, self.sub(t, a))
        return h, self.sub(a, h)

    # -- comparison and choice --------------------------------------------------------------------
    def cmp(self, pred: str, a: V, b: V | float) -> V:
        """``fcmp``: ``olt``, ``oge``, ``oeq``, ``uno``, …"""
        return self.f.fcmp(pred, a, self._v(b))

    def isnan(self, a: V) -> V:
        """Where a is NaN."""
        return self.f.fcmp("uno", a, a)

    def select(self, c: V, a: V | float, b: V | float) -> V:
        """Lanes of a where c holds, of b elsewhere."""
        return self.f.select(c, self._v(a), self._v(b))

    # -- bits -------------------------------------------------------------------------------------
    def to_bits(self, a: V) -> V:
        """The same bits as integers."""
        return self.f.cast("bitcast", a, self.ity)

    def from_bits(self, a: V) -> V:
        """The same bits as floats."""
        return self.f.cast("bitcast", a, self.ty)

    # -- tables -----------------------------------------------------------------------------------
    @property
    def magic(self) -> float:
        """Added to a float it rounds to an integer, and leaves that in the low bits."""
        return 1.5 * 2.0**self.fraction

    @property
    def has_tables(self) -> bool:
        """True where a table of 32 floats fits two registers that one instruction picks from."""
        return self.host.name == "avx512" and not self.double and self.n == 16

    def lookup(self, t: V, table: Sequence[float]) -> V:
        """For each lane the entry of a table of 32 floats that the low five bits of ``t`` name."""
        entries = [f"float {self.f.const('float', x).ref}" for x in table]
        low, high = (V(self.ty, f"<{', '.join(half)}>") for half in (entries[:16], entries[16:]))
        return self.f.call("llvm.x86.avx512.vpermi2var.ps.512", self.ty, [low, self.to_bits(t), high])

    # -- the other width --------------------------------------------------------------------------
    def widened(self) -> Lanes:
        """The same lanes in ``double``."""
        return Lanes(self.f, self.host, vec("double", self.n))

    def widen(self, a: V) -> V:
        """Floats as doubles."""
        return self.f.cast("fpext", a, vec("double", self.n))

    def narrow(self, a: V) -> V:
        """Doubles as floats, rounded."""
        return self.f.cast("fptrunc", a, vec("float", self.n))


def literal(x: V) -> float | None:
    """The float in every lane of a literal, else None."""
    if x.ref == "zeroinitializer":
        return 0.0
    text = x.ref[:-1].split(" ")[-1] if x.ref.startswith("splat") else x.ref
    return struct.unpack(">d", bytes.fromhex(text[2:]))[0] if text.startswith("0x") else None


def widely(fn: Callable[..., V]) -> Callable[..., V]:
    """``fn`` of doubles for floats too: computed in double and rounded once, so wrong by half an ulp and a little."""

    @wraps(fn)
    def emit(m: Lanes, *args: V) -> V:
        if m.double:
            return fn(m, *args)
        return m.narrow(fn(m.widened(), *(m.widen(a) for a in args)))

    return emit
