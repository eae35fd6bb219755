"""Hurwitz' zeta function, the derivatives of digamma, and the incomplete gamma functions, as primitives.

Zeta and the incomplete gamma functions take loops whose length depends on the values, so they run in NumPy between
native kernels; the derivatives of digamma are compiled. Everything is worked in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.errors import GradientError
from gradloom.ops.floats import HostMap
from gradloom.ops.formulas import Num, formula, where

__all__ = ["igamma", "igammac", "polygamma", "zeta"]

Array = np.ndarray
EPS = 2.0**-53
# B(2j) / (2j)!, the coefficients of the sum formula of Euler and Maclaurin
_BERNOULLI = (
    1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000, 1 / 74724249600,
    -3617 / 10670622842880000, 43867 / 5109094217170944000, -174611 / 802857662698291200000,
)  # fmt: skip
_TERMS = 12


# -- zeta(s, q) = sum of (q + k)**-s --------------------------------------------------------------------
def _zeta_positive(s: Array, q: Array) -> Array:
    """For s > 1 and q > 0, by Euler and Maclaurin's formula behind twelve terms (Johansson 2015, section 2)."""
    total = np.zeros(np.shape(q))
    for k in range(_TERMS):
        total = total + np.power(q + k, -s)
    z = q + _TERMS
    last = np.power(z, -s)
    tail = last * (z / (s - 1) + 0.5)
    step = last * s / z
    for j, b in enumerate(_BERNOULLI):
        term = b * step
        tail = tail + np.where(np.isfinite(term), term, 0.0)
        step = step * ((s + 2 * j + 1) / z) * ((s + 2 * j + 2) / z)
    return np.where(np.isinf(q), 0.0, total + tail)


def _zeta(s: Array, q: Array) -> Array:
    """Below 0 the terms of negative base are summed by themselves: their magnitudes are two sums of the same kind."""
    s, q = s.astype(np.float64), q.astype(np.float64)
    above = q > 0
    fraction = q - np.floor(q)
    f = np.where(fraction == 0, 1.0, fraction)
    ok = np.where(s > 1, s, 2.0)
    r = _zeta_positive(ok, np.where(above, q, f))
    if not above.all():
        sign = np.where(np.floor(ok / 2) * 2 == ok, 1.0, -1.0)
        beyond = _zeta_positive(ok, np.where(f == 1.0, 1.0, 1.0 - f)) - _zeta_positive(
            ok, np.where(above, 1.0, 1.0 - q)
        )
        r = np.where(above, r, r + sign * beyond)
        r = np.where(above | (ok == np.floor(ok)), r, np.nan)
        r = np.where(~above & (q == np.floor(q)), np.inf, r)
    r = np.where(s == 1, np.inf, np.where(s > 1, r, np.nan))
    return np.where(np.isnan(s) | np.isnan(q), np.nan, r)


zeta = HostMap("zeta", _zeta)


# -- derivatives of digamma -----------------------------------------------------------------------------
def _zeta_of(n: int, q: Num) -> Num:
    """zeta(n, q) for an integer n >= 2 and q > 0, by products instead of powers."""

    def down(x: Num) -> Num:
        inverse: Any = 1.0 / x
        power: Any = None
        square, e = inverse, n
        while e:
            if e & 1:
                power = square if power is None else power * square
            e >>= 1
            if e:
                square = square * square
        return power

    total = down(q)
    for k in range(1, _TERMS):
        total = total + down(q + float(k))
    z = q + float(_TERMS)
    last = down(z)
    inverse = 1.0 / z
    square = inverse * inverse
    coefs, rising = [], float(n)
    for j, b in enumerate(_BERNOULLI):
        coefs.append(b * rising)
        rising *= (n + 2 * j + 1.0) * (n + 2 * j + 2.0)
    series: Any = coefs[-1]
    for c in reversed(coefs[:-1]):
        series = square.op("fma", series, c)
    return total + last * (z * (1.0 / (n - 1)) + series * inverse + 0.5)


def _polygamma(x: Num, n: int) -> Num:
    """(-1)**(n+1) n! zeta(n + 1, x); below 0 as :func:`_zeta` has it."""
    s = n + 1
    below = x <= 0.0
    f = x - x.op("floor")
    f = where(f == 0.0, 1.0, f)
    r = _zeta_of(s, where(below, f, x))
    beyond = _zeta_of(s, where(f == 1.0, 1.0, 1.0 - f)) - _zeta_of(s, where(below, 1.0 - x, 1.0))
    r = where(below, r + beyond if s % 2 == 0 else r - beyond, r)
    r = where(below, where(f == 1.0, math.inf, r), r)
    r = where(x == math.inf, 0.0, r)
    return r * ((1.0 if n % 2 else -1.0) * math.factorial(n))


polygamma = formula("polygamma", _polygamma, in_double=True)


# -- incomplete gamma functions -------------------------------------------------------------------------
# Powers of eta in Temme's expansion (NIST DLMF 8.12.7, 8.12.11), a row for each power of 1/a.
_TEMME = (
    (-0.3333333333333333, 0.08333333333333333, -0.014814814814814815, 0.0011574074074074073, 0.0003527336860670194,
     -0.0001787551440329218, 3.919263178522438e-05, -2.185448510679992e-06, -1.85406221071516e-06,
     8.296711340953087e-07, -1.7665952736826078e-07, 6.707853543401498e-09, 1.0261809784240309e-08,
     -4.382036018453353e-09, 9.14769958223679e-10, -2.5514193994946248e-11, -5.830772132550426e-11,
     2.4361948020667415e-11),
    (-0.001851851851851852, -0.003472222222222222, 0.0026455026455026454, -0.0009902263374485596,
     0.00020576131687242798, -4.018775720164609e-07, -1.8098550334489977e-05, 7.64916091608111e-06,
     -1.6120900894563446e-06, 4.647127802807434e-09, 1.378633446915721e-07, -5.752545603517705e-08,
     1.1951628599778148e-08, -1.7543241719747647e-11, -1.0091543710600413e-09, 4.162792991842583e-10),
    (0.004133597883597883, -0.0026813271604938273, 0.0007716049382716049, 2.0093878600823047e-06,
     -0.0001073665322636516, 5.2923448829120125e-05, -1.2760635188618728e-05, 3.423578734096138e-08,
     1.3721957309062934e-06, -6.298992138380055e-07, 1.4280614206064242e-07, -2.0477098421990866e-10,
     -1.409252991086752e-08, 6.228974084922022e-09),
    (0.0006494341563786008, 0.00022947209362139917, -0.0004691894943952557, 0.00026772063206283885,
     -7.561801671883977e-05, -2.396505113867297e-07, 1.1082654115347302e-05, -5.6749528269915965e-06,
     1.4230900732435883e-06, -2.7861080291528143e-11, -1.6958404091930278e-07, 8.099464905388083e-08),
    (-0.0008618882909167117, 0.0007840392217200666, -0.0002990724803031902, -1.4638452578843418e-06,
     6.641498215465122e-05, -3.968365047179435e-05, 1.1375726970678419e-05, 2.507497226237533e-10,
     -1.6954149536558305e-06),
    (-0.00033679855336635813, -6.972813758365857e-05, 0.0002772753244959392, -0.00019932570516188847,
     6.797780477937208e-05, 1.419062920643967e-07),
)  # fmt: skip
_lgamma = np.frompyfunc(math.lgamma, 1, 1)
_erfc = np.frompyfunc(math.erfc, 1, 1)


def _log_less(a: Array, x: Array) -> Array:
    """log(x / a) - (x - a) / a, accurate near x = a."""
    m = (x - a) / a
    near = np.abs(m) < 0.5
    u = np.where(near, m, 0.0)
    s = u / (2 + u)
    square = s * s
    series = np.zeros_like(s)
    for k in range(41, 1, -2):
        series = (series + 1 / k) * square
    return np.where(near, s * (2 * series - u), np.log(np.where(near, 1.0, x / a)) - m)


def _front(a: Array, x: Array) -> Array:
    """x**a e**-x / gamma(a + 1); for a >= 10 by Stirling's series and log(x / a) - (x - a) / a (Loader 2000)."""
    big = a >= 10
    b = np.where(big, a, 10.0)
    inverse = 1 / (b * b)
    rest: Any = 1 / 156
    for c in (-691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12):
        rest = rest * inverse + c
    large = np.exp(b * _log_less(b, x) - rest / b) / np.sqrt(2 * math.pi * b)
    s = np.where(big, 1.0, a)
    small = np.exp(s * np.log(x) - x - _lgamma(s + 1).astype(np.float64))
    return np.where(big, large, small)


def _series(a: Array, x: Array) -> Array:
    """P(a, x) by its power series, for x <= a + 1 or so."""
    total = term = np.ones_like(a)
    k = a
    while term.size and (term > total * EPS).any():
        k = k + 1
        term = term * (x / k)
        total = total + term
    return total * _front(a, x)


def _fraction(a: Array, x: Array) -> Array:
    """Q(a, x) by Legendre's continued fraction, evaluated as Lentz does, for x > a + 1 or so."""
    b = x + 1 - a
    c = np.full_like(x, 1e300)
    d = 1 / b
    h = d
    for i in range(1, 3000):
        n = -i * (i - a)
        b = b + 2
        d = n * d + b
        c = b + n / c
        d = 1 / np.where(d == 0, 1e-300, d)
        c = np.where(c == 0, 1e-300, c)
        step = c * d
        h = h * step
        if not (np.abs(step - 1) > EPS * 2).any():
            break
    return h * _front(a, x) * a


_ZETAS = _zeta_positive(np.arange(2.0, 54.0), np.ones(52))


def _upper_of_small(a: Array, x: Array) -> Array:
    """Q(a, x) for a < 1 and x <= 1.1 without taking P from 1 (NIST DLMF 8.7.3)."""
    total, term = np.zeros_like(a), np.ones_like(a)
    for n in range(1, 40):
        term = term * (-x / n)
        total = total + term / (a + n)
    u = np.where(a < 0.5, a, a - 1)  # log gamma(1 + a) by its series about 1, or about 2
    rest = np.zeros_like(u)
    for k in range(53, 1, -1):
        rest = rest * -u + _ZETAS[k - 2] / k
    about = u * (rest * u - 0.5772156649015329)
    about = about + np.where(a < 0.5, 0.0, np.log1p(u))
    power = a * np.log(x) - about
    return -np.expm1(power) - np.exp(power) * a * total


def _uniform(a: Array, x: Array, upper: bool) -> Array:
    """P or Q for large a near x = a, by Temme's expansion (NIST DLMF 8.12)."""
    half = -_log_less(a, x)  # eta**2 / 2
    eta = np.copysign(np.sqrt(2 * half), x - a)
    total = np.zeros_like(a)
    for row in reversed(_TEMME):
        total = total / a + np.polynomial.polynomial.polyval(eta, row)
    rest = np.exp(-a * half) / np.sqrt(2 * math.pi * a) * total
    side = eta * np.sqrt(a / 2)
    return 0.5 * _erfc(side if upper else -side).astype(np.float64) + (rest if upper else -rest)


def _incomplete(upper: bool) -> Any:
    def fn(a: Array, x: Array) -> Array:
        shape = a.shape
        a, x = a.astype(np.float64).ravel(), x.astype(np.float64).ravel()
        out = np.full(a.shape, np.nan)
        usual = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
        out[(x == 0) & (a > 0)] = float(upper)
        out[(a == 0) & (x > 0)] = out[np.isinf(x) & (x > 0) & (a >= 0) & np.isfinite(a)] = float(not upper)
        out[np.isinf(a) & (a > 0) & np.isfinite(x) & (x >= 0)] = float(upper)

        def fill(where: Array, value: Any, of_upper: bool) -> None:
            if where.any():
                v = value(a[where], x[where])
                out[where] = v if of_upper == upper else 1 - v

        uniform = usual & (a > 500) & (np.abs(x - a) < 0.3 * a)
        if uniform.any():
            out[uniform] = _uniform(a[uniform], x[uniform], upper)
        rest = usual & ~uniform
        small = rest & (a < 1) & (x <= 1.1) & upper
        fill(small, _upper_of_small, True)
        rest &= ~small
        low = x <= np.maximum(a, 1.0)
        fill(rest & low, _series, False)
        fill(rest & ~low, _fraction, True)
        return out.reshape(shape)

    return fn


igamma, igammac = HostMap("igamma", _incomplete(False), takes=(2,)), HostMap("igammac", _incomplete(True), takes=(2,))


def _declare() -> None:
    from gradloom import functions as G

    def refuse(name: str, x: Any) -> None:
        if x.requires_grad:
            raise GradientError(
                f"{name} has no derivative in its first argument", code="gradient.special", hint="pass it detached"
            )

    def zeta_vjp(ct: Any, out: Any, ins: Any, attrs: Any) -> Any:
        s, q = ins
        refuse("zeta", s)
        return None, G.neg(G.mul(ct, G.mul(s, G.apply(zeta, (G.add(s, G.const(1.0)), q)))))

    def lower(sign: float, name: str) -> Any:
        def rule(ct: Any, out: Any, ins: Any, attrs: Any) -> Any:
            a, x = ins
            refuse(name, a)
            power = G.sub(G.mul(G.sub(a, G.const(1.0)), G.log(x)), G.add(x, G.lgamma(a)))
            return None, G.mul(G.mul(ct, G.const(sign)), G.exp(power))

        return rule

    zeta.vjp = zeta_vjp
    igamma.vjp, igammac.vjp = lower(1.0, "igamma"), lower(-1.0, "igammac")
    polygamma.vjp = lambda ct, out, ins, attrs: (G.mul(ct, G.apply(polygamma, ins, (attrs[0] + 1,))),)


GRADIENTS = _declare
