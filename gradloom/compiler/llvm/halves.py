"""Conversions between float16 / bfloat16 and the floats that kernels compute in.

In registers the two halves are raw ``i16`` lanes; arithmetic is done in ``f32``. Rounding is to nearest even and a
NaN stays a NaN (quiet, its upper payload bits kept). ``f64`` goes down through a ``f32`` rounded to odd (Boldo and
Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008), so that the
second rounding gives the correctly rounded result.
"""

from __future__ import annotations

from gradloom.compiler.llvm.host import Host
from gradloom.compiler.llvm.text import Function, V, lanes, vec

__all__ = ["from_half", "to_half"]


def from_half(f: Function, host: Host, dtype: str, x: V) -> V:
    """``f32`` lanes of the raw ``i16`` lanes of a ``"f16"`` or ``"bf16"`` value; exact, subnormal values included."""
    n = lanes(x.ty)
    if dtype == "bf16":
        return f.cast("bitcast", f.shl(f.cast("zext", x, vec("i32", n)), 16), vec("float", n))
    if host.f16c:
        return f.cast("fpext", f.cast("bitcast", x, vec("half", n)), vec("float", n))
    wide = f.cast("zext", x, vec("i32", n))
    sign = f.shl(f.and_(wide, 0x8000), 16)
    rest = f.shl(f.and_(wide, 0x7FFF), 13)  # exponent and fraction at the places of f32, exponent 112 too small
    # A multiplication by 2**112 mends the exponent and normalises subnormals at once; inf and NaN need all ones.
    value = f.fmul(f.cast("bitcast", rest, vec("float", n)), f.const(vec("float", n), 2.0**112))
    special = f.icmp("uge", rest, 0x0F800000)
    bits = f.cast("bitcast", value, wide.ty)
    bits = f.select(special, f.or_(rest, 0x7F800000), bits)
    return f.cast("bitcast", f.or_(bits, sign), vec("float", n))


def to_half(f: Function, host: Host, dtype: str, x: V) -> V:
    """Raw ``i16`` lanes of ``"f16"`` or ``"bf16"`` nearest to the ``float`` or ``double`` lanes ``x``."""
    n = lanes(x.ty)
    if x.ty.endswith("double>") or x.ty == "double":
        x = _odd_float(f, x)
    if dtype == "bf16":
        bits = f.cast("bitcast", x, vec("i32", n))
        odd = f.and_(f.lshr(bits, 16), 1)
        near = f.lshr(f.add(f.add(bits, 0x7FFF), odd), 16)
        quiet = f.or_(f.lshr(bits, 16), 0x40)
        return f.cast("trunc", f.select(f.fcmp("uno", x, x), quiet, near), vec("i16", n))
    if host.f16c:
        return f.cast("bitcast", f.cast("fptrunc", x, vec("half", n)), vec("i16", n))
    bits = f.cast("bitcast", x, vec("i32", n))
    mag = f.and_(bits, 0x7FFFFFFF)
    sign = f.lshr(f.xor(bits, mag), 16)
    # Normal results: rebias the exponent and round to nearest even in the integer; a carry may grow the exponent.
    even = f.and_(f.lshr(mag, 13), 1)
    normal = f.lshr(f.add(f.add(mag, 0xFFF - (112 << 23)), even), 13)
    # Subnormal results: adding 1/2 puts the wanted last bit at the last place of the sum, which the adder rounds.
    half = f.const(vec("float", n), 0.5)
    summed = f.fadd(f.cast("bitcast", mag, vec("float", n)), half)
    subnormal = f.sub(f.cast("bitcast", summed, mag.ty), 0x3F000000)
    out = f.select(f.icmp("ult", mag, 113 << 23), subnormal, normal)
    out = f.select(f.icmp("uge", mag, 0x477FF000), f.const(mag.ty, 0x7C00), out)  # 65520 and beyond
    nan = f.or_(f.and_(f.lshr(mag, 13), 0x3FF), 0x7E00)
    out = f.select(f.icmp("ugt", mag, 0x7F800000), nan, out)
    return f.cast("trunc", f.or_(out, sign), vec("i16", n))


def _odd_float(f: Function, x: V) -> V:
    """``float`` lanes of ``double`` lanes, rounded to odd where they do not fit."""
    n = lanes(x.ty)
    near = f.cast("fptrunc", x, vec("float", n))
    back = f.cast("fpext", near, x.ty)
    bits = f.cast("bitcast", near, vec("i32", n))
    even = f.icmp("eq", f.and_(bits, 1), 0)
    inexact = f.fcmp("one", back, x)
    grown = f.fcmp("ogt", f.intrinsic("fabs", back), f.intrinsic("fabs", x))
    odd = f.select(grown, f.sub(bits, 1), f.or_(bits, 1))
    fix = f.and_(inexact, even)
    return f.cast("bitcast", f.select(fix, odd, bits), near.ty)
