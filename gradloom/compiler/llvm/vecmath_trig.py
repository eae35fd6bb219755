"""Sine, cosine, tangent and their inverses on vectors.

The argument is reduced by multiples of pi/2 whose pieces have 22 bits each, so that their products with the quotient
are exact without a fused multiply-add (Cody and Waite, "Software manual for the elementary functions", 1980). That
holds while ``|x| < 2**31``; vectors with a larger lane take a branch, see ``trig_huge``.
"""

from __future__ import annotations

from collections.abc import Callable

from gradloom.compiler.llvm.text import V
from gradloom.compiler.llvm.trig_huge import reduce_huge
from gradloom.compiler.llvm.vecmath import Lanes, widely

__all__ = ["FUNCTIONS", "sincospi"]

_PIO2 = (1.570796012878418, 3.139164164167596e-07, 6.223371969669989e-14, 2.0222662487959506e-21)
_MAGIC = 1.5 * 2.0**52
_PIO4 = 0.7853981633974483

# (sin r / r - 1) / r**2 and (cos r - 1 + r**2/2) / r**4 in r**2 on |r| <= pi/4. Errors of floats 2**-28 and 2**-33,
# of doubles 2**-58 and 2**-64.
_SIN = {
    False: (-0.16666655, 0.008332173, -0.00019516656),
    True: (
        -0.16666666666666632, 0.008333333333322316, -0.00019841269829725178, 2.7557313662045095e-06,
        -2.505075326234211e-08, 1.5896504813622626e-10,
    ),
}  # fmt: skip
_COS = {
    False: (0.041666646, -0.0013887362, 2.443773e-05),
    True: (
        0.0416666666666666, -0.001388888888887399, 2.480158728939493e-05, -2.755731432603077e-07,
        2.0875719558633443e-09, -1.1359448672890009e-11,
    ),
}  # fmt: skip
# (atan t / t - 1) / t**2 in t**2 on |t| <= tan(pi/8): 2**-59.5.
_ATAN = (
    -0.333333333333332, 0.19999999999953771, -0.1428571428021563, 0.11111110784418578, -0.09090897785077233,
    0.07692060692222219, -0.06663109320152953, 0.05847926245057473, -0.05039463925041168, 0.03806841009196082,
    -0.01791120342659878,
)  # fmt: skip
# (asin t / t - 1) / t**2 in t**2 on |t| <= 1/2: 2**-59.8.
_ASIN = (
    0.16666666666666763, 0.07499999999970094, 0.04464285717529009, 0.03038194267510489, 0.022372215910393557,
    0.017351595426358075, 0.013981019345745416, 0.011397286946001908, 0.010789352840001407, 0.003672073399709632,
    0.02179090240079099, -0.02111706059125053, 0.032702364654736235,
)  # fmt: skip


def _reduce(m: Lanes, x: V) -> tuple[V, V, V]:
    """``x = q pi/2 + r + l`` with ``|r| <= pi/4``: the float that holds q in its low bits, r, l. Doubles only."""
    t = m.fma(x, 0.6366197723675814, _MAGIC)
    q = m.sub(t, _MAGIC)
    r = x
    for piece in _PIO2[:2]:
        r = m.fma(q, -piece, r)  # exact
    p = m.mul(q, _PIO2[2])  # exact
    high = m.sub(r, p)
    low = m.fma(q, -_PIO2[3], m.sub(m.sub(r, high), p))
    high, low = m.fast_two_sum(high, low)
    return reduce_huge(m, x, t, high, low)


def _sin_cos(m: Lanes, r: V, low: V | None) -> tuple[V, V]:
    """Sine and cosine of r + low, ``|r| <= pi/4``."""
    z = m.mul(r, r)
    s = m.mul(m.mul(z, r), m.poly(z, _SIN[m.double]))
    c = m.mul(m.mul(z, z), m.poly(z, _COS[m.double]))
    half = m.mul(z, 0.5)
    w = m.sub(1.0, half)
    c = m.add(c, m.sub(m.sub(1.0, w), half))
    if low is not None:
        s = m.fma(low, w, s)
        c = m.fma(m.neg(low), r, c)
    return m.add(r, s), m.add(w, c)


def _parts(m: Lanes, x: V) -> tuple[V, V, V]:
    """The quarter turns of x in the low bits of integer lanes, and sine and cosine of the rest."""
    if m.double:
        t, r, low = _reduce(m, x)
        return m.to_bits(t), *_sin_cos(m, r, low)
    w = m.widened()
    t, r, low = _reduce(w, m.widen(x))
    turns = m.f.cast("trunc", w.to_bits(t), m.ity)
    return turns, *_sin_cos(m, m.narrow(w.add(r, low)), None)


def _quarter(m: Lanes, turns: V, s: V, c: V) -> V:
    """Sine of ``turns`` quarters and the angle whose sine and cosine are given."""
    f = m.f
    odd = f.icmp("ne", f.and_(turns, 1), 0)
    flip = f.shl(f.and_(turns, 2), m.bits - 2)
    return m.from_bits(f.xor(m.to_bits(f.select(odd, c, s)), flip))


def sin(m: Lanes, x: V) -> V:
    """Sine. f32: 1.6 ulp, f64: 0.9 ulp."""
    turns, s, c = _parts(m, x)
    return m.select(m.cmp("oeq", x, 0.0), x, _quarter(m, turns, s, c))


def cos(m: Lanes, x: V) -> V:
    """Cosine. f32: 1.6 ulp, f64: 0.9 ulp."""
    turns, s, c = _parts(m, x)
    return _quarter(m, m.f.add(turns, 1), s, c)


def _tan(m: Lanes, x: V) -> V:
    """Tangent. f32: 0.51 ulp, f64: 2.1 ulp."""
    turns, s, c = _parts(m, x)
    odd = m.f.icmp("ne", m.f.and_(turns, 1), 0)
    t = m.div(m.select(odd, m.neg(c), s), m.select(odd, s, c))
    return m.select(m.cmp("oeq", x, 0.0), x, t)


def sincospi(m: Lanes, x: V) -> tuple[V, V]:
    """sin(pi x) and cos(pi x), exact where they are 0 or ±1; doubles with ``|x| < 2**50``."""
    t = m.fma(x, 2.0, _MAGIC)
    r = m.mul(m.fma(m.sub(t, _MAGIC), -0.5, x), 3.141592653589793)
    s, c = _sin_cos(m, r, None)
    turns = m.to_bits(t)
    return _quarter(m, turns, s, c), _quarter(m, m.f.add(turns, 1), s, c)


def _atan_ratio(m: Lanes, small: V, big: V) -> V:
    """atan(small / big) for ``0 <= small <= big``."""
    over = m.cmp("ogt", small, m.mul(big, 0.41421356237309503))
    num = m.select(over, m.sub(small, big), small)
    den = m.select(over, m.add(small, big), big)
    t = m.div(num, den)
    z = m.mul(t, t)
    low = m.select(over, 3.061616997868383e-17, 0.0)
    r = m.add(t, m.fma(m.mul(t, z), m.poly(z, _ATAN), low))
    return m.add(m.select(over, _PIO4, 0.0), r)


def _atan(m: Lanes, x: V) -> V:
    """Arc tangent. f32: 0.51 ulp, f64: 1.6 ulp."""
    a = m.abs(x)
    inverse = m.cmp("ogt", a, 1.0)
    bounded = m.min(1e300, a)
    r = _atan_ratio(m, m.select(inverse, 1.0, a), m.select(inverse, bounded, 1.0))
    r = m.select(inverse, m.add(m.sub(1.5707963267948966, r), 6.123233995736766e-17), r)
    return m.copysign(r, x)


def _atan2(m: Lanes, y: V, x: V) -> V:
    """Angle of (x, y), with C99's values for zeros and infinities. f32: 0.51 ulp, f64: 1.9 ulp."""
    ay, ax = m.abs(y), m.abs(x)
    # Scaled by a power of two where sums could overflow or quotients of subnormal numbers lose bits.
    big = m.cmp("ogt", m.max(ay, ax), 1e300)
    scale = m.select(big, 2.0**-60, 2.0**60)
    tiny = m.cmp("olt", m.max(ay, ax), 1e-280)
    scale = m.select(m.f.or_(big, tiny), scale, 1.0)
    sy, sx = m.mul(ay, scale), m.mul(ax, scale)
    steep = m.cmp("ogt", sy, sx)
    small, large = m.select(steep, sx, sy), m.select(steep, sy, sx)
    infinite = m.cmp("oeq", large, float("inf"))
    both = m.cmp("oeq", small, float("inf"))
    small = m.select(infinite, m.select(both, 1.0, 0.0), small)
    large = m.select(m.f.or_(infinite, m.cmp("oeq", large, 0.0)), 1.0, large)
    r = _atan_ratio(m, small, large)
    r = m.select(steep, m.add(m.sub(1.5707963267948966, r), 6.123233995736766e-17), r)
    left = m.f.icmp("slt", m.to_bits(x), 0)
    r = m.select(left, m.add(m.sub(3.141592653589793, r), 1.2246467991473532e-16), r)
    return m.select(m.cmp("uno", x, y), m.add(x, y), m.copysign(r, y))


def _asin_parts(m: Lanes, x: V) -> tuple[V, V, V]:
    """Whether ``|x| > 1/2``; s, the sine that is looked up (``|x|`` or sqrt((1 - |x|) / 2)); asin(s) - s."""
    a = m.abs(x)
    far = m.cmp("ogt", a, 0.5)
    z = m.select(far, m.mul(m.sub(1.0, a), 0.5), m.mul(a, a))
    s = m.select(far, m.sqrt(z), a)
    return far, s, m.mul(m.mul(s, z), m.poly(z, _ASIN))


def _asin(m: Lanes, x: V) -> V:
    """Arc sine; NaN beyond ±1. f32: 0.51 ulp, f64: 2.1 ulp."""
    far, s, p = _asin_parts(m, x)
    r = m.add(s, p)
    turned = m.add(m.sub(1.5707963267948966, m.mul(r, 2.0)), 6.123233995736766e-17)
    return m.copysign(m.select(far, turned, r), x)


def _acos(m: Lanes, x: V) -> V:
    """Arc cosine; NaN beyond ±1. f32: 0.51 ulp, f64: 1.2 ulp."""
    far, s, p = _asin_parts(m, x)
    r = m.add(s, p)
    negative = m.cmp("olt", x, 0.0)
    double = m.mul(r, 2.0)
    outer = m.select(negative, m.add(m.sub(3.141592653589793, double), 1.2246467991473532e-16), double)
    signed = m.copysign(r, x)
    inner = m.add(1.5707963267948966, m.sub(6.123233995736766e-17, signed))
    return m.select(far, outer, inner)


FUNCTIONS: dict[str, Callable[..., V]] = {
    "sin": sin,
    "cos": cos,
    "tan": widely(_tan),
    "asin": widely(_asin),
    "acos": widely(_acos),
    "atan": widely(_atan),
    "atan2": widely(_atan2),
}
