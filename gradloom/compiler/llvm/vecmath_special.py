"""Error functions and the logarithm of the gamma function with its derivative, on vectors.

All but the float error function compute in double. Where intervals need different formulas all of them are computed
and selected from, as no lane can branch.
"""

from __future__ import annotations

from collections.abc import Callable

from gradloom.compiler.llvm.text import V
from gradloom.compiler.llvm.vecmath import Lanes, widely
from gradloom.compiler.llvm.vecmath_exp import exp, exp_coarse
from gradloom.compiler.llvm.vecmath_log import log
from gradloom.compiler.llvm.vecmath_trig import sincospi

__all__ = ["FUNCTIONS"]

# For floats: erf(x) / x - 1 in x**2 on |x| <= 1, 2**-27.7; log erfc(x) on [0.95, 4], good for erf to 2**-26.7.
_ERF_NEAR = (0.12837917, -0.37612626, 0.112835854, -0.026853811, 0.0051883277, -0.00080101937, 7.853861e-05)
_ERF_FAR = (
    0.0001824593, -1.129552, -0.6332724, -0.10836154, 0.025171803, -0.0041908533, 0.00043852945, -2.1445521e-05,
)  # fmt: skip
# erf(x) / x in r = 7.75 x - j about each of 32 points j / 7.75, |r| <= 1/2: one row of coefficients a power.
_ERF_TABLE = (
    (
        1.1283792,
        1.122148,
        1.1038228,
        1.0744647,
        1.0357078,
        0.9895814,
        0.9383036,
        0.8840788,
        0.8289246,
        0.7745477,
        0.72227484,
        0.6730376,
        0.62739974,
        0.5856132,
        0.54768825,
        0.51346505,
        0.48267773,
        0.4550065,
        0.43011588,
        0.40768015,
        0.3873982,
        0.36900073,
        0.35225174,
        0.3369474,
        0.3229128,
        0.30999842,
        0.2980763,
        0.2870368,
        0.2767856,
        0.26724136,
        0.25833333,
        0.25,
    ),
    (
        -2.364327e-16,
        -0.012400112,
        -0.024071459,
        -0.03436934,
        -0.042802565,
        -0.049077053,
        -0.05310818,
        -0.05500307,
        -0.055019666,
        -0.053512797,
        -0.050878167,
        -0.047503345,
        -0.043731637,
        -0.039840966,
        -0.036036644,
        -0.032454964,
        -0.029173622,
        -0.026225168,
        -0.0236106,
        -0.021311166,
        -0.019297611,
        -0.01753667,
        -0.01599521,
        -0.014642547,
        -0.013451484,
        -0.012398571,
        -0.011463911,
        -0.010630769,
        -0.009885115,
        -0.009215186,
        -0.008611099,
        -0.008064512,
    ),
    (
        -0.0062622475,
        -0.0060764244,
        -0.0055406117,
        -0.0047159716,
        -0.0036926477,
        -0.0025749435,
        -0.0014654599,
        -0.00045138207,
        0.00040474598,
        0.0010687367,
        0.0015332972,
        0.0018127455,
        0.001935745,
        0.0019378504,
        0.001855205,
        0.0017201147,
        0.0015586293,
        0.0013898384,
        0.00122637,
        0.0010755548,
        0.00094080553,
        0.00082291465,
        0.00072110957,
        0.0006338219,
        0.0005591934,
        0.00049537444,
        0.0004406765,
        0.00039363155,
        0.00035299952,
        0.00031774945,
        0.0002870308,
        0.00026014342,
    ),
    (
        2.7455667e-15,
        0.00012243187,
        0.00023068233,
        0.00031304732,
        0.00036219842,
        0.00037609227,
        0.00035776055,
        0.0003141452,
        0.00025436046,
        0.00018784915,
        0.0001228435,
        6.538803e-5,
        1.899221e-5,
        -1.51799095e-5,
        -3.777276e-5,
        -5.0565446e-5,
        -5.5835244e-5,
        -5.5865654e-5,
        -5.2637388e-5,
        -4.768816e-5,
        -4.2098178e-5,
        -3.655087e-5,
        -3.1425374e-5,
        -2.68906e-5,
        -2.298455e-5,
        -1.9673083e-5,
        -1.688908e-5,
        -1.4555916e-5,
        -1.2599951e-5,
        -1.0956041e-5,
        -9.5691075e-6,
        -8.393737e-6,
    ),
    (
        3.1239953e-5,
        2.941137e-5,
        2.4248533e-5,
        1.6643844e-5,
        7.852866e-6,
        -7.8244153e-7,
        -8.104731e-6,
        -1.3339013e-5,
        -1.6177954e-5,
        -1.6752041e-5,
        -1.551329e-5,
        -1.3078268e-5,
        -1.007653e-5,
        -7.037606e-6,
        -4.3310206e-6,
        -2.156341e-6,
        -5.6902854e-7,
        4.758989e-7,
        1.0781383e-6,
        1.3545579e-6,
        1.4141389e-6,
        1.3451047e-6,
        1.2113779e-6,
        1.0547673e-6,
        8.9975146e-7,
        7.5869826e-7,
        6.3634633e-7,
        5.331331e-7,
        4.473994e-7,
        3.7670506e-7,
        3.1852997e-7,
        2.705941e-7,
    ),
)
# erf(x) / x in x**2 on |x| <= 1: 2**-62.7.
_ERF64 = (
    1.1283791670955126, -0.3761263890318375, 0.11283791670954857, -0.026866170645072896, 0.0052239776247808714,
    -0.0008548326978742333, 0.0001205533103689949, -1.4925593506785727e-05, 1.646097281395217e-06,
    -1.6350025177572493e-07, 1.4657879468739191e-08, -1.1365664293049705e-09, 5.945258612266519e-11,
)  # fmt: skip
# erfc(x) e**(x**2) (1 + 2x) in t = (x - 3.75) / (x + 3.75), 0 <= x <= 28: 2**-59.1. The form is that of Shepherd and
# Laframboise, "Chebyshev approximation of (1 + 2x) exp(x**2) erfc x", Mathematics of Computation 36, 1981.
_ERFC = (
    1.2375126308378275, -0.140240598585547, 0.003585415485462958, 0.08227673849014837, -0.10880393014166136,
    0.09230432116030815, -0.058693398591671726, 0.02836227741932214, -0.009746579533675047, 0.001755625857555801,
    0.0002937134951065607, -0.0002901541586351415, 5.164984254379929e-05, 2.238474210054627e-05,
    -1.1446213485455854e-05, -9.753790371294504e-07, 1.755240350496506e-06, -5.32282597739968e-08,
    -2.622989995478951e-07, 1.7986889818900967e-08, 4.0230548154071594e-08, 1.351480658911111e-10,
    -4.821029918938391e-09, -9.086773482269208e-10,
)  # fmt: skip
# erfinv(x) / x in 0.75**2 - x**2 on |x| <= 0.75: 2**-62.9.
_ERFINV_MID = (
    (
        1.0845597967968248, 7.256697582138418, 18.572083387060204, 22.796794593205714, 13.775458349746517,
        3.7618089105747585, 0.362027492747565, 0.005495848495761123,
    ),
    (
        1.0, 7.2096632331236155, 20.24471347066483, 27.99310742696046, 19.855419921005, 6.834161097813086,
        0.9617491510786311, 0.035136345160612856,
    ),
)  # fmt: skip
# erfinv(x) in sqrt(-log((1 - x) / 2)) - 1.44…, from x = 0.75 to the last double below 1: 2**-60.8.
_ERFINV_START = 1.440584859714282
_ERFINV_TAIL = (
    (
        0.8116339006407118, 3.25760067856871, 5.061695161188214, 4.147098288366948, 2.0096078384118092,
        0.5996638157467764, 0.1087003427066515, 0.01113436897287663, 0.0005500406374415895, 9.108098254188729e-06,
    ),
    (
        1.0, 2.4875077569855475, 2.5747351021946034, 1.447963102359446, 0.4813327606782826, 0.0949606751530113,
        0.010388841619968165, 0.0005369647274919677, 9.107911245648421e-06,
    ),
)  # fmt: skip
# lgamma(2 + u) / u on |u| <= 1/2: 2**-60.3.
_LGAMMA = (
    (
        0.42278433509846713, 0.9513768193446002, 0.7656272336407531, 0.28263305667138744, 0.04907042615443178,
        0.0035417554125503504, 6.963655287878019e-05,
    ),
    (
        1.0, 1.487542781768423, 0.8356412417299035, 0.21943794408014186, 0.02687422607085435, 0.0013079822574490947,
        1.5027133125759013e-05,
    ),
)  # fmt: skip
# (lgamma(x) - (x - 1/2) log x + x - log(2 pi) / 2) x in 1 / x**2, x >= 8: 2**-60.6.
_STIRLING = (
    0.08333333333333333, -0.0027777777777740994, 0.0007936507898352399, -0.0005952366070683142, 0.0008414728647398189,
    -0.0018905408719538505, 0.005069269168951549,
)  # fmt: skip
# digamma(1 + u) / (1 + u - root), 0 <= u <= 1: 2**-65.7.
_DIGAMMA = (
    (
        1.2503801375034054, 1.870002556761951, 0.9743379643520462, 0.21768086097154996, 0.020179375973325506,
        0.0005912150808842446, 1.1203175345688129e-06,
    ),
    (
        1.0, 2.179094049593632, 1.6669545891367352, 0.5736315191591467, 0.09182479027700786, 0.006176527453971355,
        0.00012271948881450347,
    ),
)  # fmt: skip
_ROOT, _ROOT_LOW = 1.4616321449683622, 9.549995429965697e-17
# (log x - 1 / (2x) - digamma x) x**2 in 1 / x**2, x >= 8: 2**-56.7.
_DIGAMMA_FAR = (
    0.08333333333333333, -0.008333333333280431, 0.003968253913289084, -0.004166645186674493, 0.007571734405732655,
    -0.020700530824519517, 0.06367569062700591,
)  # fmt: skip
_PI = 3.141592653589793


def _ratio(m: Lanes, x: V, coefs: tuple[tuple[float, ...], tuple[float, ...]]) -> V:
    return m.div(m.poly(x, coefs[0]), m.poly(x, coefs[1]))


def _erfc_positive(m: Lanes, a: V) -> V:
    """The complement of erf for non-negative doubles."""
    a = m.min(28.0, a)
    t = m.div(m.sub(a, 3.75), m.add(a, 3.75))
    square, low = m.two_prod(a, a)
    e = exp(m, m.neg(square))
    e = m.sub(e, m.mul(e, low))  # e**-(square + low)
    return m.mul(e, m.div(m.poly(t, _ERFC), m.fma(a, 2.0, 1.0)))


def erf(m: Lanes, x: V) -> V:
    """Error function. f32: 2.3 ulp (1.3 ulp without tables), f64: 1.5 ulp. Never beyond ±1."""
    if m.has_tables:
        a = m.min(4.0, m.abs(x))
        t = m.fma(a, 7.75, m.magic)
        r = m.fma(a, 7.75, m.neg(m.sub(t, m.magic)))
        acc = m.lookup(t, _ERF_TABLE[-1])
        for row in reversed(_ERF_TABLE[:-1]):
            acc = m.fma(acc, r, m.lookup(t, row))
        return m.copysign(m.min(1.0, m.mul(a, acc)), x)
    if not m.double:
        a = m.abs(x)
        near = m.fma(a, m.poly(m.mul(a, a), _ERF_NEAR), a)
        far = m.sub(1.0, exp_coarse(m, m.poly(m.min(4.0, a), _ERF_FAR)))
        return m.copysign(m.select(m.cmp("olt", a, 1.0), near, far), x)
    a = m.abs(x)
    near = m.mul(x, m.poly(m.mul(x, x), _ERF64))
    far = m.copysign(m.sub(1.0, _erfc_positive(m, a)), x)
    return m.select(m.cmp("olt", a, 1.0), near, far)


def _erfc(m: Lanes, x: V) -> V:
    """1 - erf(x), relatively accurate in the tail. f32: 0.51 ulp, f64: 3.4 ulp."""
    a = m.abs(x)
    r = _erfc_positive(m, a)
    far = m.select(m.cmp("olt", x, 0.0), m.sub(2.0, r), r)
    near = m.sub(1.0, m.mul(x, m.poly(m.mul(x, x), _ERF64)))
    return m.select(m.cmp("olt", a, 0.5), near, far)


def _erfinv(m: Lanes, x: V) -> V:
    """Inverse of erf; ±inf at ±1, NaN beyond. f32: 0.51 ulp, f64: 5.7 ulp."""
    a = m.abs(x)
    mid = m.mul(x, _ratio(m, m.sub(0.5625, m.mul(a, a)), _ERFINV_MID))
    r = m.sqrt(m.neg(log(m, m.mul(m.sub(1.0, a), 0.5))))
    tail = _ratio(m, m.sub(r, _ERFINV_START), _ERFINV_TAIL)
    tail = m.select(m.cmp("oeq", a, 1.0), float("inf"), tail)
    return m.select(m.cmp("olt", a, 0.75), mid, m.copysign(tail, x))


def _lgamma(m: Lanes, x: V) -> V:
    """Logarithm of ``|gamma(x)|``; inf at 0 and the negative integers. f32: 0.51 ulp, f64: 5.9 ulp for x > 0.

    Below 0 by reflection; near the zeros there the error is small against 1, not against the result.
    """
    f = m.f
    a = m.abs(x)
    n = m.floor(m.add(a, 0.5))
    u = m.sub(a, n)  # a = n + u; the polynomial is for 2 + u
    product = m.select(m.cmp("olt", n, 2.0), a, 1.0)  # up to 2 + u from a, or up to a from 2 + u
    product = m.select(m.cmp("olt", n, 1.0), m.mul(a, m.add(a, 1.0)), product)
    for k in range(2, 8):
        product = m.select(m.cmp("ogt", n, float(k)), m.mul(product, m.add(u, float(k))), product)
    far = m.cmp("oge", a, 8.0)
    lg = log(m, m.select(far, a, product))
    near = m.mul(u, _ratio(m, u, _LGAMMA))
    near = m.add(near, m.select(m.cmp("olt", n, 2.0), m.neg(lg), lg))
    inverse = m.div(1.0, a)
    rest = m.fma(inverse, m.poly(m.mul(inverse, inverse), _STIRLING), 0.9189385332046727 - 0.5)
    stirling = m.fma(m.sub(a, 0.5), m.sub(lg, 1.0), rest)
    r = m.select(far, stirling, near)
    s, _ = sincospi(m, a)
    reflected = m.sub(log(m, m.div(_PI, m.mul(a, m.abs(s)))), r)
    r = m.select(f.and_(m.cmp("olt", x, 0.0), m.cmp("ogt", a, 2.0**-60)), reflected, r)  # -log a nearer to 0
    infinite = f.or_(m.cmp("oeq", a, float("inf")), m.cmp("oeq", a, 0.0))
    pole = f.and_(m.cmp("olt", x, 0.0), m.cmp("oeq", m.floor(a), a))
    return m.select(f.or_(infinite, pole), float("inf"), r)


def _digamma(m: Lanes, x: V) -> V:
    """Derivative of lgamma; ∓inf at ±0, NaN at the negative integers. f32: 0.51 ulp, f64: 4.4 ulp for x > 0.

    Below 0 by reflection, as lgamma.
    """
    negative = m.cmp("olt", x, 0.0)
    a = m.select(negative, m.sub(1.0, x), x)
    n = m.floor(a)
    z = m.add(m.sub(a, n), 1.0)  # in [1, 2)
    # digamma(a) = digamma(z) + sum of 1 / (z + j) for 0 <= j < n - 1, as one fraction; - 1 / a where a < 1
    small = m.cmp("olt", a, 1.0)
    top, bottom = m.select(small, -1.0, 0.0), m.select(small, a, 1.0)
    for j in range(6):
        more = m.cmp("ogt", n, j + 1.0)
        step = m.add(z, float(j))
        top = m.select(more, m.fma(top, step, bottom), top)
        bottom = m.select(more, m.mul(bottom, step), bottom)
    near = m.mul(m.sub(m.sub(z, _ROOT), _ROOT_LOW), _ratio(m, m.sub(z, 1.0), _DIGAMMA))
    near = m.add(near, m.div(top, bottom))
    inverse = m.div(1.0, a)
    square = m.mul(inverse, inverse)
    tail = m.fma(inverse, 0.5, m.mul(square, m.poly(square, _DIGAMMA_FAR)))
    r = m.select(m.cmp("oge", a, 8.0), m.sub(log(m, a), tail), near)
    s, c = sincospi(m, x)
    turned = m.sub(r, m.mul(_PI, m.div(c, s)))
    r = m.select(negative, turned, r)
    r = m.select(m.cmp("oeq", x, 0.0), m.copysign(m.c(float("inf")), m.neg(x)), r)
    pole = m.f.and_(negative, m.cmp("oeq", m.floor(x), x))
    return m.select(pole, float("nan"), r)


FUNCTIONS: dict[str, Callable[..., V]] = {
    "erf": erf,
    "erfc": widely(_erfc),
    "erfinv": widely(_erfinv),
    "lgamma": widely(_lgamma),
    "digamma": widely(_digamma),
}
