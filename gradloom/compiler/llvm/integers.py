"""Integer arithmetic on vectors: division that cannot trap, shifts of any amount, powers.

Every emitter has the signature ``(f, dtype, *args) -> V``; ``dtype`` tells width and signedness. Results wrap.
"""

from __future__ import annotations

from collections.abc import Callable

from gradloom.compiler.llvm.text import Function, V, lanes, vec

__all__ = ["OPS", "literal", "wrap"]


def wrap(x: int, bits: int) -> int:
    """``x`` modulo 2**bits as the signed integer LLVM's literals are."""
    x &= (1 << bits) - 1
    return x - (1 << bits) if x >> (bits - 1) else x


def literal(x: V) -> int | None:
    """The integer in every lane of a literal, else None."""
    if x.ref.startswith("%") or x.ref == "poison" or x.ref.startswith("<"):
        return None
    if x.ref == "zeroinitializer":
        return 0
    text = x.ref[:-1].split(" ")[-1] if x.ref.startswith("splat") else x.ref
    return int(text)


def _quotient(f: Function, dtype: str, a: V, b: V) -> V:
    """C's division; 0 where b is 0, wrapped where the least integer is divided by -1.

    Vectors have no integer division: up to 32 bits the division is done in floats wide enough that truncation of the
    rounded quotient is exact (a quotient not an integer is further than half an ulp from the next one).
    """
    n, bits, signed = lanes(a.ty), int(dtype[1:]), dtype[0] == "i"
    known = literal(b)
    if known is not None and wrap(known, bits) not in (0, -1):
        return f.bin("sdiv" if signed else "udiv", a, b)
    zero = f.icmp("eq", b, 0)
    special = f.or_(zero, f.icmp("eq", b, -1)) if signed else zero
    divisor = f.select(special, f.const(b.ty, 1), b)
    if n > 1 and bits <= 32:
        fty = vec("float" if bits <= 16 else "double", n)
        to, back = ("sitofp", "fptosi") if signed else ("uitofp", "fptoui")
        q = f.fdiv(f.cast(to, a, fty), f.cast(to, divisor, fty))
        if bits < 32:
            q = f.cast("trunc", f.cast("fptosi", q, vec("i32", n)), a.ty)
        else:
            q = f.cast(back, q, a.ty)
    else:
        q = f.bin("sdiv" if signed else "udiv", a, divisor)
    if signed:
        q = f.select(f.icmp("eq", b, -1), f.sub(f.zero(a.ty), a), q)
    return f.select(zero, f.zero(a.ty), q)


def _remainder(f: Function, b: V, a: V, q: V) -> V:
    """The rest ``a - q b``, and 0 where b is 0."""
    return f.select(f.icmp("eq", b, 0), f.zero(a.ty), f.sub(a, f.mul(q, b)))


def _fmod(f: Function, dtype: str, a: V, b: V) -> V:
    return _remainder(f, b, a, _quotient(f, dtype, a, b))


def _wants_floor(f: Function, r: V, b: V) -> V:
    """Where truncation and floor differ: a remainder of the other sign than the divisor's."""
    return f.and_(f.icmp("ne", r, 0), f.icmp("slt", f.xor(r, b), 0))


def _floordiv(f: Function, dtype: str, a: V, b: V) -> V:
    q = _quotient(f, dtype, a, b)
    if dtype[0] == "u":
        return q
    r = _remainder(f, b, a, q)
    return f.select(_wants_floor(f, r, b), f.sub(q, 1), q)


def _mod(f: Function, dtype: str, a: V, b: V) -> V:
    r = _fmod(f, dtype, a, b)
    return r if dtype[0] == "u" else f.select(_wants_floor(f, r, b), f.add(r, b), r)


def _pow(f: Function, dtype: str, a: V, b: V) -> V:
    """Powers by repeated squaring, wrapped. A negative exponent gives what truncation gives: 0, or ±1 for ±1."""
    n, bits, signed = lanes(a.ty), int(dtype[1:]), dtype[0] == "i"
    one = f.const(a.ty, 1)
    known = literal(b)
    if known is not None and (known >= 0 or not signed):
        known &= (1 << bits) - 1
        out, base = None, a
        while known:
            if known & 1:
                out = base if out is None else f.mul(out, base)
            known >>= 1
            if known:
                base = f.mul(base, base)
        return one if out is None else out
    out, base = one, a
    for k in range(bits - signed):
        if k:
            base = f.mul(base, base)
        bit = f.cast("trunc", f.lshr(b, k) if k else b, vec("i1", n))
        out = f.select(bit, f.mul(out, base), out)
    if not signed:
        return out
    odd = f.cast("trunc", b, vec("i1", n))
    unit = f.select(f.icmp("eq", a, 1), one, f.zero(a.ty))
    unit = f.select(f.icmp("eq", a, -1), f.select(odd, f.const(a.ty, -1), one), unit)
    return f.select(f.icmp("slt", b, 0), unit, out)


def _shl(f: Function, dtype: str, a: V, b: V) -> V:
    return f.select(f.icmp("ult", b, int(dtype[1:])), f.shl(a, b), f.zero(a.ty))


def _shr(f: Function, dtype: str, a: V, b: V) -> V:
    bits = int(dtype[1:])
    if dtype[0] == "u":
        return f.select(f.icmp("ult", b, bits), f.lshr(a, b), f.zero(a.ty))
    return f.ashr(a, f.intrinsic("umin", b, f.const(b.ty, bits - 1)))


def _extreme(kind: str) -> Callable[[Function, str, V, V], V]:
    return lambda f, dtype, a, b: f.intrinsic(("s" if dtype[0] == "i" else "u") + kind, a, b)


def _abs(f: Function, dtype: str, a: V) -> V:
    return f.select(f.icmp("slt", a, 0), f.sub(f.zero(a.ty), a), a) if dtype[0] == "i" else a


def _sign(f: Function, dtype: str, a: V) -> V:
    if dtype[0] == "u":
        return f.intrinsic("umin", a, f.const(a.ty, 1))
    return f.intrinsic("smax", f.intrinsic("smin", a, f.const(a.ty, 1)), f.const(a.ty, -1))


def _same(f: Function, dtype: str, a: V) -> V:
    return a


OPS: dict[str, Callable[..., V]] = {
    "add": lambda f, dtype, a, b: f.bin("add", a, b),
    "sub": lambda f, dtype, a, b: f.bin("sub", a, b),
    "mul": lambda f, dtype, a, b: f.bin("mul", a, b),
    "fma": lambda f, dtype, a, b, c: f.bin("add", f.mul(a, b), c),
    "neg": lambda f, dtype, a: f.sub(f.zero(a.ty), a),
    "abs": _abs,
    "sign": _sign,
    "div": _quotient,
    "truncdiv": _quotient,
    "floordiv": _floordiv,
    "fmod": _fmod,
    "mod": _mod,
    "min": _extreme("min"),
    "max": _extreme("max"),
    "fmin": _extreme("min"),
    "fmax": _extreme("max"),
    "pow": _pow,
    "floor": _same,
    "ceil": _same,
    "trunc": _same,
    "round": _same,
    "and": lambda f, dtype, a, b: f.bin("and", a, b),
    "or": lambda f, dtype, a, b: f.bin("or", a, b),
    "xor": lambda f, dtype, a, b: f.bin("xor", a, b),
    "shl": _shl,
    "shr": _shr,
}
