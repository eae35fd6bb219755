"""Exponentials and the hyperbolic functions on vectors.

``e**x = 2**k e**r`` with ``k = round(x / ln 2)`` and ``|r| <= ln 2 / 2``. Adding ``1.5 * 2**fraction`` rounds to
the integer and leaves it in the low bits at once, so the scale ``2**k`` is made with a shift, without a conversion.
"""

from __future__ import annotations

from collections.abc import Callable

from gradloom.compiler.llvm.text import V
from gradloom.compiler.llvm.vecmath import Lanes

__all__ = ["FUNCTIONS", "exp", "exp_coarse"]

_LOG2E = 1.4426950408889634
_LN2 = {False: (0.693359375, -2.12194440e-4), True: (6.93147180369123816490e-01, 1.90821492927058770002e-10)}
_MAGIC = {False: 1.5 * 2.0**23, True: 1.5 * 2.0**52}

# (e**r - 1 - r) / r**2 on |r| <= ln 2 / 2. Errors of e**r: 2**-28.3 and 2**-57.9.
_EXP = {
    False: (0.49999994, 0.16666521, 0.04166839, 0.008368717, 0.0013814598),
    True: (
        0.5000000000000011, 0.16666666666666413, 0.041666666666530155, 0.00833333333349446, 0.0013888888943630738,
        0.00019841269506584328, 2.48014930982825e-05, 2.7557586368827615e-06, 2.763024859585353e-07,
        2.5000063166282562e-08,
    ),
}  # fmt: skip
# The same, weighted for e**r - 1: 2**-32.0 and 2**-61.7.
_EXPM1 = {
    False: (0.5, 0.16666667, 0.041666355, 0.008333273, 0.0013941008, 0.0001991417),
    True: (
        0.5, 0.16666666666666677, 0.0416666666666667, 0.008333333333321615, 0.0013888888888866852,
        0.0001984126988615868, 2.4801587360523034e-05, 2.7557244181783665e-06, 2.7557242791624844e-07,
        2.510904493869055e-08, 2.0924432716200714e-09,
    ),
}  # fmt: skip
# (2**r - 1) / r on |r| <= 1/2. Errors of 2**r: 2**-28.9 and 2**-58.0.
_EXP2 = {
    False: (0.6931472, 0.24022648, 0.055503324, 0.009618437, 0.0013398877, 0.00015353362),
    True: (
        0.6931471805599453, 0.2402265069591013, 0.055504108664820084, 0.009618129107594115, 0.0013333558146774668,
        0.00015403530457119556, 1.5252733493092518e-05, 1.3215435278272363e-06, 1.0178199581422962e-07,
        7.073783989892885e-09, 4.434770627125151e-10,
    ),
}  # fmt: skip
# A short e**r where only 2**-23 of it is needed, and (tanh(x) / x - 1) / x**2 in x**2 on |x| <= 0.6: 2**-28.
_EXP_COARSE = (0.4999923, 0.16667114, 0.04189015, 0.008312501)
_TANH = (-0.333333, 0.13331959, -0.053786684, 0.020805383, -0.0059058676)


def _round(m: Lanes, x: V, factor: float) -> tuple[V, V]:
    """``k = round(x * factor)`` as a float, and the float that holds k in its low bits."""
    magic = _MAGIC[m.double]
    t = m.fma(x, factor, magic)
    return m.sub(t, magic), t


def _reduce(m: Lanes, x: V) -> tuple[V, V, V]:
    """k, the float that holds it, and r of ``x = k ln 2 + r``."""
    k, t = _round(m, x, _LOG2E)
    hi, lo = _LN2[m.double]
    r = m.fma(k, -hi, x)
    return k, t, m.fma(k, -lo, r)


def _pow2(m: Lanes, t: V, less: int = 0) -> V:
    """2**(k - less) of the k in the low bits of ``t``, for exponents of normal numbers."""
    return m.from_bits(m.f.add(m.f.shl(m.to_bits(t), m.fraction), (m.bias - less) << m.fraction))


def _scale(m: Lanes, p: V, k: V, t: V) -> V:
    """The product ``p * 2**k`` with gradual underflow and overflow to inf, rounded once."""
    if m.host.name == "avx512" and m.n * m.bits == 512:
        kind, mask = ("pd", "i8") if m.double else ("ps", "i16")
        rounding = V("i32", "4")  # the current mode
        return m.f.call(f"llvm.x86.avx512.mask.scalef.{kind}.512", m.ty, [p, k, p, V(mask, "-1"), rounding])
    f = m.f
    bits = m.to_bits(t)
    half = f.shl(f.lshr(bits, 1), m.fraction)  # floor(k / 2) in the exponent's place
    rest = f.sub(f.shl(bits, m.fraction), half)
    one = m.bias << m.fraction
    return m.mul(m.mul(p, m.from_bits(f.add(half, one))), m.from_bits(f.add(rest, one)))


def _exp_poly(m: Lanes, r: V) -> V:
    return m.poly(r, (1.0, 1.0, *_EXP[m.double]))


def exp(m: Lanes, x: V) -> V:
    """e**x. f32: 1.2 ulp, f64: 1.3 ulp, subnormal results included."""
    low, high = (-746.0, 710.0) if m.double else (-104.0, 89.0)
    x = m.min(high, m.max(low, x))
    k, t, r = _reduce(m, x)
    return _scale(m, _exp_poly(m, r), k, t)


def exp_coarse(m: Lanes, x: V) -> V:
    """e**x of floats with ``|x| < 87`` to 2**-23, for sums in which it is the small part."""
    _, t, r = _reduce(m, x)
    return m.mul(m.poly(r, (1.0, 1.0, *_EXP_COARSE)), _pow2(m, t))


def exp2(m: Lanes, x: V) -> V:
    """2**x, exact at integers. f32: 1.3 ulp, f64: 1.3 ulp."""
    low, high = (-1076.0, 1025.0) if m.double else (-151.0, 129.0)
    x = m.min(high, m.max(low, x))
    k, t = _round(m, x, 1.0)
    return _scale(m, m.poly(m.sub(x, k), (1.0, *_EXP2[m.double])), k, t)


def _expm1_scaled(m: Lanes, x: V, less: int) -> V:
    """(e**x - 1) / 2**less for x within what ``2**(k - less)`` can hold."""
    _, t, r = _reduce(m, x)
    q = m.fma(m.mul(r, r), m.poly(r, _EXPM1[m.double]), r)
    s = _pow2(m, t, less)
    return m.fma(q, s, m.sub(s, 2.0**-less))


def expm1(m: Lanes, x: V) -> V:
    """e**x - 1. f32: 1.5 ulp, f64: 2.0 ulp."""
    low, high = (-40.0, 710.0) if m.double else (-20.0, 89.0)
    h = _expm1_scaled(m, m.min(high, m.max(low, x)), 1)
    tiny = 2.0**-54 if m.double else 2.0**-25
    return m.select(m.cmp("olt", m.abs(x), tiny), x, m.add(h, h))


def sinh(m: Lanes, x: V) -> V:
    """Hyperbolic sine. f32: 2.0 ulp, f64: 2.4 ulp."""
    a = m.abs(x)
    g = _expm1_scaled(m, m.min(710.5 if m.double else 89.5, a), 2)  # (e**a - 1) / 4 cannot overflow
    h = m.add(g, m.div(g, m.fma(g, 4.0, 1.0)))
    tiny = 2.0**-27 if m.double else 2.0**-13
    return m.select(m.cmp("olt", a, tiny), x, m.copysign(m.add(h, h), x))


def cosh(m: Lanes, x: V) -> V:
    """Hyperbolic cosine. f32: 1.6 ulp, f64: 1.6 ulp."""
    a = m.min(710.5 if m.double else 89.5, m.abs(x))
    _, t, r = _reduce(m, a)
    c = m.mul(_exp_poly(m, r), _pow2(m, t, 2))  # e**a / 4
    h = m.add(c, m.div(0.0625, c))
    return m.add(h, h)


def tanh(m: Lanes, x: V) -> V:
    """Hyperbolic tangent. f32: 2.0 ulp, f64: 2.6 ulp. Never beyond ±1."""
    a = m.abs(x)
    if not m.double:
        u = m.mul(a, a)
        near = m.fma(m.mul(a, u), m.poly(u, _TANH), a)
        e = exp_coarse(m, m.mul(m.min(10.0, a), 2.0))
        far = m.sub(1.0, m.div(2.0, m.add(e, 1.0)))
        return m.copysign(m.select(m.cmp("olt", a, 0.6), near, far), x)
    e = _expm1_scaled(m, m.max(-40.0, m.mul(a, -2.0)), 0)
    return m.copysign(m.div(e, m.add(e, 2.0)), x)


def sigmoid(m: Lanes, x: V) -> V:
    """1 / (1 + e**-x), relatively accurate in both tails. f32: 2.2 ulp, f64: 2.3 ulp."""
    a = m.neg(m.abs(x))
    k, t, r = _reduce(m, m.max(-746.0 if m.double else -104.0, a))
    e = _scale(m, _exp_poly(m, r), k, t)  # e**-|x| cannot overflow
    return m.div(m.select(m.cmp("olt", x, 0.0), e, 1.0), m.add(e, 1.0))


FUNCTIONS: dict[str, Callable[..., V]] = {
    "exp": exp,
    "exp2": exp2,
    "expm1": expm1,
    "sinh": sinh,
    "cosh": cosh,
    "tanh": tanh,
    "sigmoid": sigmoid,
}
