"""Logarithms, inverse hyperbolic functions and powers on vectors.

A positive x is taken apart as ``2**e * m`` with ``sqrt(1/2) <= m < sqrt(2)``. Doubles use ``log m = 2 atanh(s)`` with
``s = f / (2 + f)``, ``f = m - 1``, summed in the order of
Sun's fdlibm so that little is lost; floats use a polynomial in f.
"""

from __future__ import annotations

from collections.abc import Callable

from gradloom.compiler.llvm.text import V
from gradloom.compiler.llvm.vecmath import Lanes, literal, widely

__all__ = ["FUNCTIONS", "log", "log1p"]

_LN2 = {False: (0.693359375, -2.12194440e-4), True: (6.93147180369123816490e-01, 1.90821492927058770002e-10)}
_SQRT_HALF = {False: 0x3F3504F3, True: 0x3FE6A09E667F3BCD}

# (log(1 + f) - f + f**2/2) / f**3 on 1 + f in [sqrt(1/2), sqrt(2)]: 2**-27.4.
_LOG32 = (0.3333333, -0.25000823, 0.20001228, -0.16623354, 0.14201717, -0.13160186, 0.12761867, -0.07634832)
# log2(1 + f) / f and log10(1 + f) / f, there too: 2**-27.9.
_LOG2_32 = (
    1.442695, -0.72134733, 0.48089823, -0.36069664, 0.28856742, -0.23961729, 0.2046002, -0.19106333, 0.186178,
    -0.109951854,
)  # fmt: skip
_LOG10_32 = (
    0.4342945, -0.21714719, 0.1447648, -0.108580515, 0.08686745, -0.07213199, 0.0615908, -0.057515793, 0.05604516,
    -0.033098806,
)  # fmt: skip
# (2 atanh(s) / s - 2) / s**2 in s**2: log m to 2**-59.5.
_LOG64 = (
    0.6666666666666734, 0.3999999999941435, 0.2857142874246819, 0.22222198564188228, 0.18183564829034787,
    0.1531403683149823, 0.14796095107714566,
)  # fmt: skip
# ((atanh(s) / s - 1) / s**2 - 1/3) / s**2 in s**2: atanh s to 2**-73.5.
_POW64 = (
    0.1999999999999999, 0.14285714285722556, 0.11111111108768322, 0.09090909435146126, 0.0769227843626627,
    0.06668158680100449, 0.05837409846309087, 0.05994501688894621,
)  # fmt: skip
# log2(1 + f) / f to 2**-35.8, and (2**r - 1) / r on |r| <= 1/2 to 2**-34.3: for powers of floats, in double.
_LOG2_POW32 = (
    1.4426950408686965, -0.7213475208688244, 0.48089836140108816, -0.36067367481865253, 0.2885372929364714,
    -0.24045316553296328, 0.20617537725807197, -0.1803006225119075, 0.1587695665538942, -0.143155981961051,
    0.1447493739170969, -0.1428423206407037, 0.07737219330675227,
)  # fmt: skip
_EXP2_POW32 = (
    0.6931471807045463, 0.24022651066605988, 0.055504103659542905, 0.00961803812472426, 0.001333393506974341,
    0.00015466758867790402, 1.5196157609949197e-05,
)  # fmt: skip
_EXP2_POW64 = (
    0.6931471805599453, 0.2402265069591013, 0.055504108664820084, 0.009618129107594115, 0.0013333558146774668,
    0.00015403530457119556, 1.5252733493092518e-05, 1.3215435278272363e-06, 1.0178199581422962e-07,
    7.073783989892885e-09, 4.434770627125151e-10,
)  # fmt: skip


def _split(m: Lanes, x: V, subnormal: bool = True) -> tuple[V, V, V]:
    """Of a positive finite x: e as a float, m - 1, and the bits of x less those of sqrt(1/2), exponent biased."""
    f = m.f
    magic = 2.0**m.fraction
    less = m.c(magic + m.bias)
    if subnormal:
        tiny = m.cmp("olt", x, 2.0 ** (1 - m.bias))
        lift = m.fraction + 1
        x = m.select(tiny, m.mul(x, 2.0**lift), x)
        less = m.select(tiny, magic + m.bias + lift, less)
    root = _SQRT_HALF[m.double]
    bits = f.add(m.to_bits(x), (m.bias << m.fraction) - root)
    biased = f.lshr(bits, m.fraction)
    e = m.sub(m.from_bits(f.or_(biased, (m.bias + m.fraction) << m.fraction)), less)
    mantissa = m.from_bits(f.add(f.and_(bits, (1 << m.fraction) - 1), root))
    return e, m.sub(mantissa, 1.0), biased


def _edges(m: Lanes, x: V, r: V) -> V:
    """The logarithm r of x, mended where x is not a positive number: -inf at 0, NaN below, inf and NaN kept."""
    inf = float("inf")
    outside = m.select(m.cmp("oeq", x, 0.0), -inf, float("nan"))
    return m.select(m.cmp("ogt", x, 0.0), m.select(m.cmp("olt", x, inf), r, x), outside)


def _tail64(m: Lanes, f: V) -> tuple[V, V]:
    """f**2/2 and s (f**2/2 + R), whose difference is f - log(1 + f); doubles."""
    half = m.mul(m.mul(f, f), 0.5)
    s = m.div(f, m.add(f, 2.0))
    z = m.mul(s, s)
    return half, m.mul(s, m.fma(z, m.poly(z, _LOG64), half))


def _log_sum(m: Lanes, e: V, f: V) -> V:
    """The sum ``e ln 2 + log(1 + f)``."""
    hi, lo = _LN2[m.double]
    if m.double:
        half, rest = _tail64(m, f)
        return m.fma(e, hi, m.sub(f, m.sub(half, m.fma(e, lo, rest))))
    z = m.mul(f, f)
    y = m.mul(m.mul(z, f), m.poly(f, _LOG32))
    y = m.fma(z, -0.5, m.fma(e, lo, y))
    return m.fma(e, hi, m.add(f, y))


def log(m: Lanes, x: V) -> V:
    """Natural logarithm. f32: 0.9 ulp, f64: 0.9 ulp."""
    e, f, _ = _split(m, x)
    return _edges(m, x, _log_sum(m, e, f))


def log2(m: Lanes, x: V) -> V:
    """Logarithm to base 2, exact at powers of two. f32: 1.7 ulp, f64: 1.3 ulp."""
    e, f, _ = _split(m, x)
    if m.double:
        r = _scaled64(m, f, 1.4426950408889634, 2.0355273740931033e-17, e)
    else:
        r = m.fma(f, m.poly(f, _LOG2_32), e)
    return _edges(m, x, r)


def log10(m: Lanes, x: V) -> V:
    """Logarithm to base 10. f32: 1.8 ulp, f64: 1.2 ulp."""
    e, f, _ = _split(m, x)
    if m.double:
        low = m.mul(e, 3.69423907715893078616e-13)
        r = _scaled64(m, f, 0.4342944819032518, 1.098319650216765e-17, low)
        r = m.fma(e, 3.01029995663611771306e-01, r)
    else:
        r = m.fma(f, m.poly(f, _LOG10_32), m.mul(e, 4.605038981195214e-06))
        r = m.fma(e, 0.301025390625, r)
    return _edges(m, x, r)


def _scaled64(m: Lanes, f: V, hi: float, lo: float, more: V) -> V:
    """log(1 + f) * (hi + lo) + more."""
    half, rest = _tail64(m, f)
    h, low = m.fast_two_sum(f, m.sub(rest, half))
    return m.add(m.fma(h, hi, more), m.fma(h, lo, m.mul(low, hi)))


def log1p(m: Lanes, x: V) -> V:
    """log(1 + x). f32: 1.5 ulp, f64: 1.4 ulp."""
    u, lost = m.two_sum(m.c(1.0), x)
    e, f, biased = _split(m, u, subnormal=False)
    # What 1 + x lost is added to f at the scale of m: then f is x itself where nothing was taken out.
    down = m.from_bits(m.f.shl(m.f.sub(m.f.const(m.ity, 2 * m.bias), biased), m.fraction))
    f = m.add(f, m.select(m.cmp("olt", x, 2.0**60), m.mul(lost, down), 0.0))
    return m.copysign(_edges(m, u, _log_sum(m, e, f)), x)


def _asinh(m: Lanes, x: V) -> V:
    """Inverse hyperbolic sine. f32: 0.51 ulp, f64: 1.7 ulp."""
    a = m.abs(x)
    big = m.cmp("ogt", a, 2.0**60)
    square = m.mul(a, a)
    y = m.add(a, m.div(square, m.add(m.sqrt(m.add(square, 1.0)), 1.0)))
    r = log1p(m, m.select(big, a, y))
    return m.copysign(m.add(r, m.select(big, 0.6931471805599453, 0.0)), x)


def _acosh(m: Lanes, x: V) -> V:
    """Inverse hyperbolic cosine; NaN below 1. f32: 0.51 ulp, f64: 2.1 ulp."""
    big = m.cmp("ogt", x, 2.0**60)
    t = m.sub(x, 1.0)
    y = m.add(t, m.sqrt(m.fma(t, t, m.add(t, t))))
    r = m.add(log1p(m, m.select(big, x, y)), m.select(big, 0.6931471805599453, 0.0))
    return m.select(m.cmp("olt", x, 1.0), float("nan"), r)


def _atanh(m: Lanes, x: V) -> V:
    """Inverse hyperbolic tangent; ±inf at ±1, NaN beyond. f32: 0.51 ulp, f64: 1.7 ulp."""
    a = m.abs(x)
    r = log1p(m, m.div(m.add(a, a), m.sub(1.0, a)))
    r = m.select(m.cmp("ogt", a, 1.0), float("nan"), m.mul(r, 0.5))
    return m.copysign(m.select(m.cmp("olt", a, 2.0**-27), a, r), x)


def _log2_pair(m: Lanes, x: V) -> tuple[V, V]:
    """log2 of a positive finite double as an unevaluated sum, good to about 2**-66 of it."""
    e, f, _ = _split(m, x)
    d, d_low = m.fast_two_sum(m.c(2.0), f)
    s = m.div(f, d)
    p, p_low = m.two_prod(s, d)
    s_low = m.div(m.sub(m.sub(m.sub(f, p), p_low), m.mul(s, d_low)), d)
    z, z_low = m.two_prod(s, s)
    z_low = m.fma(m.add(s, s), s_low, z_low)
    # atanh(s) / s = 1 + z (1/3 + z Q(z)), the bracket and its product with z and s in pairs
    q = m.mul(z, m.poly(z, _POW64))
    b, b_low = m.fast_two_sum(m.c(1.0 / 3.0), q)
    b_low = m.add(b_low, 1.850371707708594e-17)
    c, c_low = m.two_prod(z, b)
    c_low = m.add(c_low, m.fma(z, b_low, m.mul(z_low, b)))
    t, t_low = m.two_prod(s, c)
    t_low = m.add(t_low, m.fma(s, c_low, m.mul(s_low, c)))
    a, a_low = m.fast_two_sum(s, t)
    a_low = m.add(a_low, m.add(s_low, t_low))
    two_log2e, two_log2e_low = 2.8853900817779268, 4.0710547481862066e-17
    g, g_low = m.two_prod(a, m.c(two_log2e))
    g_low = m.add(g_low, m.fma(a, two_log2e_low, m.mul(a_low, two_log2e)))
    h, h_low = m.two_sum(e, g)
    return m.fast_two_sum(h, m.add(h_low, g_low))


def _abs_pow(m: Lanes, x: V, y: V, single: bool) -> V:
    """x**y of doubles, x positive and finite. ``single``: precise enough to be rounded to a float."""
    y = m.max(-1e25, m.min(1e25, y))
    if single:
        e, f, _ = _split(m, x, subnormal=False)
        p, low = m.mul(y, m.fma(f, m.poly(f, _LOG2_POW32), e)), None
    else:
        h, h_low = _log2_pair(m, x)
        p, low = m.two_prod(y, h)
        low = m.fma(y, h_low, low)
    bound = 300.0 if single else 1100.0
    near = m.cmp("olt", m.abs(p), bound)
    p = m.max(-bound, m.min(bound, p))
    magic = 1.5 * 2.0**52
    t = m.add(p, magic)
    r = m.sub(p, m.sub(t, magic))
    if low is not None:
        r = m.add(r, m.select(near, low, 0.0))
    v = m.poly(r, (1.0, *(_EXP2_POW32 if single else _EXP2_POW64)))
    bits = m.to_bits(t)
    half = m.f.shl(m.f.lshr(bits, 1), 52)
    one = 1023 << 52
    if single:
        return m.mul(v, m.from_bits(m.f.add(m.f.shl(bits, 52), one)))
    rest = m.f.sub(m.f.shl(bits, 52), half)
    return m.mul(m.mul(v, m.from_bits(m.f.add(half, one))), m.from_bits(m.f.add(rest, one)))


def power(m: Lanes, x: V, y: V) -> V:
    """x**y with C99's special values: 1 where x is 1 or y is 0, NaN for negative x with a fraction in y.

    f32: 0.52 ulp (through double), f64: 1.3 ulp (log2 x in two doubles). Literal exponents -1, 0, 1, 2, 3
    and 1/2 are multiplications, a division or a square root.
    """
    known = literal(y)
    if known == 2.0:
        return m.mul(x, x)
    if known == 3.0:
        return m.mul(m.mul(x, x), x)
    if known == 1.0:
        return x
    if known == 0.0:
        return m.c(1.0)
    if known == -1.0:
        return m.div(1.0, x)
    inf = float("inf")
    if known == 0.5:
        return m.select(m.cmp("oeq", x, -inf), inf, m.sqrt(m.add(x, 0.0)))
    a = m.abs(x)
    if m.double:
        r = _abs_pow(m, a, y, single=False)
    else:
        w = m.widened()
        r = m.narrow(_abs_pow(w, m.widen(a), m.widen(y), single=True))
    f = m.f
    one = m.cmp("oeq", a, 1.0)
    zero = m.cmp("oeq", a, 0.0)
    rising = f.xor(m.cmp("ogt", y, 0.0), zero)
    ends = f.or_(zero, m.cmp("oeq", a, inf))
    r = m.select(ends, m.select(rising, inf, 0.0), r)
    r = m.select(one, 1.0, r)
    whole = m.cmp("oeq", m.rint(y), y)
    half = m.mul(y, 0.5)
    odd = f.and_(whole, m.cmp("une", m.rint(half), half))
    negative = f.icmp("slt", m.to_bits(x), 0)
    r = m.select(f.and_(odd, negative), m.neg(r), r)
    lost = f.and_(f.and_(m.cmp("olt", x, 0.0), m.cmp("ogt", x, -inf)), f.xor(whole, f.const(whole.ty, True)))
    r = m.select(lost, float("nan"), r)
    r = m.select(m.cmp("uno", x, y), m.add(x, y), r)
    return m.select(f.or_(m.cmp("oeq", y, 0.0), m.cmp("oeq", x, 1.0)), 1.0, r)


def _hypot(m: Lanes, x: V, y: V) -> V:
    """sqrt(x**2 + y**2) without overflow on the way; inf beside NaN. f32: 0.51 ulp, f64: 1.2 ulp."""
    inf = float("inf")
    a, b = m.abs(x), m.abs(y)
    big = m.max(a, b)
    scale = m.select(m.cmp("ogt", big, 2.0**500), 2.0**-600, m.select(m.cmp("olt", big, 2.0**-500), 2.0**600, 1.0))
    back = m.select(m.cmp("ogt", big, 2.0**500), 2.0**600, m.select(m.cmp("olt", big, 2.0**-500), 2.0**-600, 1.0))
    a, b = m.mul(a, scale), m.mul(b, scale)
    r = m.mul(m.sqrt(m.fma(a, a, m.mul(b, b))), back)
    return m.select(m.f.or_(m.cmp("oeq", a, inf), m.cmp("oeq", b, inf)), inf, r)


FUNCTIONS: dict[str, Callable[..., V]] = {
    "log": log,
    "log2": log2,
    "log10": log10,
    "log1p": log1p,
    "asinh": widely(_asinh),
    "acosh": widely(_acosh),
    "atanh": widely(_atanh),
    "pow": power,
    "hypot": widely(_hypot),
}
