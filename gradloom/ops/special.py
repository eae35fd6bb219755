"""Functions of the normal distribution and relatives of erfc, as primitives. Worked in float64.

Errors against 40 digits: 5 ulp, and in log_ndtr's and erfcx's far tails what exp and log leave.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gradloom.ops.formulas import Num, chebyshev, formula, function, where

__all__ = ["entr", "erfcx", "log_ndtr", "ndtr", "ndtri", "quantile"]

exp, log, log1p, sqrt, erfc = map(function, ("exp", "log", "log1p", "sqrt", "erfc"))
INF, NAN = math.inf, math.nan
_HALF = math.sqrt(0.5)

# fmt: off
# (1 + 2x) e**(x²) erfc(x) in (x - 3.75) / (x + 3.75), x >= 0: 2**-54 (the form of Shepherd and Laframboise, 1981).
_ERFCX = (
    1.1775789345674017, -0.004590054580646478, -0.08424913336651792, 0.05920993999819189, -0.026658668435305753,
    0.009074997670705265, -0.002413163540417608, 0.0004907758365258086, -6.916973302501207e-05, 4.13902798607301e-06,
    7.74038306619849e-07, -2.1886401049234397e-07, 1.076499946567091e-08, 4.521959811218287e-09,
    -7.754400208831351e-10, -6.318088340886684e-11, 2.86879501093067e-11, 1.9455868545777347e-13,
    -9.65469674843344e-13, 3.25254814814874e-14, 3.3478119482868056e-14, -1.864562880419313e-15,
    -1.2507950530688648e-15, 7.418235256624044e-17, 5.068148904796111e-17,
)
# ndtri(1/2 + y) / y in y² on |y| <= 3/8: 2**-53.
_NDTRI_MID = (
    2.75626240773562, 0.2762559100066958, 0.030207156709674277, 0.004124957243077576, 0.000626201371068278,
    0.00010112940123524067, 1.7007480612069465e-05, 2.9431496228783427e-06, 5.202354291607284e-07,
    9.347554480275329e-08, 1.701559969437519e-08, 3.1303632648441214e-09, 5.809730753368261e-10,
    1.0862533348615106e-10, 2.04385966455798e-11, 3.866716242507591e-12, 7.350256475202629e-13,
    1.4030836200438666e-13, 2.688310341937328e-14, 5.1679344407063756e-15, 9.964365188597695e-16,
    1.9264240320283895e-16, 3.7334957521841835e-17,
)
# (ndtri(p) + r) r in 1/r with r = sqrt(-2 log p), 2 <= r <= 8 and 8 <= r <= 40: 2**-54.
_NDTRI_TAIL = (
    2.3008851594784043, -0.5941120182921841, 0.11006683445197578, -0.024801928633914557, 0.00622548865059585,
    -0.001662216908123309, 0.00046148811900442206, -0.00013167724786817693, 3.835043015562395e-05,
    -1.1349240896369258e-05, 3.4016032756249526e-06, -1.030075605322383e-06, 3.1458070376159936e-07,
    -9.675445407577635e-08, 2.9937900533013397e-08, -9.311466364744973e-09, 2.9091668354399317e-09,
    -9.125034063165029e-10, 2.8722245713293013e-10, -9.068911414226234e-11, 2.8714756014462076e-11,
    -9.114842762923006e-12, 2.8999126435900117e-12, -9.245357055810893e-13, 2.9531686732464634e-13,
    -9.449544730371547e-14, 3.028529976310157e-14, -9.720717328217945e-15, 3.1243745020430163e-15,
    -1.0055045864409075e-15, 3.239838761822799e-16, -1.0450739282682199e-16, 3.374613729662138e-17,
    -1.0907534233058777e-17,
)
_NDTRI_FAR = (
    3.6668498868789987, -0.7459548736492765, 0.14661851987327726, -0.03730721924496262, 0.010670788027941622,
    -0.0032575346886454157, 0.0010363324692625744, -0.0003391892131968695, 0.00011334194916317344,
    -3.847751485548683e-05, 1.3226205707605503e-05, -4.592392810480939e-06, 1.6078813562599396e-06,
    -5.668919819894953e-07, 2.010608591976264e-07, -7.1676825404572e-08, 2.566648512897432e-08,
    -9.226888649337745e-09, 3.328516012044544e-09, -1.2044517473239175e-09, 4.3705247171866133e-10,
    -1.5898839790439667e-10, 5.796738049260469e-11, -2.1178760695047027e-11, 7.7524592126014e-12,
    -2.8427152079837618e-12, 1.04405380057731e-12, -3.840214899190184e-13, 1.414439901535981e-13,
    -5.2163643731433784e-14, 1.9260527623812452e-14, -7.119530759499057e-15, 2.634430920830982e-15,
    -9.757682209726807e-16, 3.61747539715851e-16, -1.3422716600811294e-16, 4.984596263257314e-17,
    -1.8524856055118173e-17,
)
# fmt: on


def _erfcx_positive(a: Num) -> Num:
    return chebyshev((a - 3.75) / (a + 3.75), _ERFCX) / (a + a + 1.0)


def _erfcx(x: Num) -> Num:
    """e**(x²) erfc(x); below 0 as 2 e**(x²) less that of -x, the square with its rounding error."""
    a = where(abs(x) < 1e300, abs(x), 1e300)
    r = where(x == INF, 0.0, _erfcx_positive(a))
    b = where(a < 27.0, a, 27.0)
    square = b * b
    lost = b.op("fma", b, -square)
    e = exp(square)
    low = (e + e * lost) * 2.0 - r
    return where(x < 0.0, where(x < -26.7, INF, low), where(x == x, r, x))


def _log_ndtr(x: Num) -> Num:
    """Logarithm of the normal distribution function; below -1 by erfcx, so that its tail does not underflow."""
    a = where(x < -1.0, where(x > -1e150, -x, 1e150), 1.0) * _HALF
    tail = log(_erfcx_positive(a) * 0.5) - a * a
    body = log1p(erfc(x * _HALF) * -0.5)
    return where(x < -1.0, where(x == -INF, -INF, tail), body)


def quantile(y: Num, q: Num) -> Num:
    """The normal quantile of 1/2 + y, given also the smaller tail q; infinite at ±1/2, NaN beyond."""
    square = y * y
    square = where(square < 0.140625, square, 0.140625)
    mid = y * chebyshev(square * (2 / 0.140625) - 1.0, _NDTRI_MID)
    small = where(q > 0.0, where(q < 0.125, q, 0.125), 0.125)
    r = sqrt(log(small) * -2.0)
    u = 1.0 / r
    near = chebyshev((where(u > 0.125, u, 0.125) - 0.3125) * (1 / 0.1875), _NDTRI_TAIL)
    far = chebyshev((where(u < 0.125, u, 0.125) - 0.075) * 20.0, _NDTRI_FAR)
    tail = where(r < 8.0, near, far) * u - r
    tail = where(y > 0.0, -tail, tail)
    tail = where(q == 0.0, y * INF, tail)
    return where(abs(y) <= 0.375, mid, where(abs(y) <= 0.5, tail, NAN))


def _ndtri(p: Num) -> Num:
    """Inverse of the normal distribution function; -inf and inf at 0 and 1, NaN beyond."""
    y = p - 0.5
    return quantile(y, where(y > 0.0, 1.0 - p, p))


entr = formula("entr", lambda x: where(x > 0.0, -(x * log(x)), where(x == 0.0, 0.0, where(x == x, -INF, x))))
ndtr = formula("ndtr", lambda x: erfc(x * -_HALF) * 0.5, in_double=True)
erfcx = formula("erfcx", _erfcx, in_double=True)
log_ndtr = formula("log_ndtr", _log_ndtr, in_double=True)
ndtri = formula("ndtri", _ndtri, in_double=True)


def _declare() -> None:
    from gradloom import functions as G

    c = G.const
    density = 1 / math.sqrt(2 * math.pi)

    def bell(x: Any) -> Any:
        return G.mul(G.exp(G.mul(G.mul(x, x), c(-0.5))), c(density))

    def hazard(x: Any) -> Any:
        """The density over the distribution function, without 0 / 0 in the lower tail."""
        low = G.lt(x, c(0.0))
        tail = G.apply(erfcx, (G.mul(G.where(low, x, c(0.0)), c(-_HALF)),))
        body = G.apply(ndtr, (G.where(low, c(0.0), x),))
        return G.where(low, G.div(c(math.sqrt(2 / math.pi)), tail), G.div(bell(G.where(low, c(0.0), x)), body))

    slopes: dict[Any, Callable[[Any, Any], Any]] = {
        entr: lambda x, y: G.neg(G.add(G.log(x), c(1.0))),
        ndtr: lambda x, y: bell(x),
        erfcx: lambda x, y: G.sub(G.mul(G.mul(x, c(2.0)), y), c(2 / math.sqrt(math.pi))),
        log_ndtr: lambda x, y: hazard(x),
        ndtri: lambda x, y: G.mul(c(1 / density), G.exp(G.mul(G.mul(y, y), c(0.5)))),
    }
    for prim, d in slopes.items():
        prim.vjp = lambda ct, out, ins, attrs, d=d: (G.mul(ct, d(ins[0], out)),)


GRADIENTS = _declare
