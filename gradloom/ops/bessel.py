"""Bessel functions of orders 0 and 1, the spherical one of order 0, and Airy's function, as primitives.

The real axis is cut where the function changes its kind: near the origin a series in x² (with the zeros there taken
out, so that results near them are accurate to their last bits), far out Hankel's or the exponential form (Abramowitz
and Stegun 9.2.5-9.2.10, 9.7, 10.4.59-10.4.60) with the slowly varying factors as Chebyshev series.
Worked in float64. Errors against 40 digits: 4 ulp where the function has one sign; where it oscillates, beyond the
zeros taken out, 1e-15 of the amplitude, growing with x as the argument of sine and cosine does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gradloom.ops import bessel_tables as T
from gradloom.ops.formulas import Num, chebyshev, formula, function, where

__all__ = [
    "airy_ai", "airy_ai_slope", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "i0", "i0e", "i1", "i1e",
    "modified_bessel_k0", "modified_bessel_k1", "scaled_modified_bessel_k0", "scaled_modified_bessel_k1",
    "spherical_bessel_j0",
]  # fmt: skip

exp, log, sin, cos, sqrt = map(function, ("exp", "log", "sin", "cos", "sqrt"))
INF, NAN = math.inf, math.nan
_TWO_PI = 2 / math.pi
# zeros as sums of two doubles
_J0_ZEROS = ((2.404825557695773, -1.176691651530894e-16), (5.520078110286311, 8.088597146146722e-17))
_J1_ZEROS = ((3.8317059702075125, -1.5269184090088067e-16), (7.015586669815619, -9.414165653410389e-17))
_AI_ZEROS = ((-2.338107410459767, -3.912260409818305e-17), (-4.08794944413097, -3.387261694242901e-16))
_AI_SLOPE_ZEROS = (
    (-1.018792971647471, -2.0609116444448518e-17), (-3.2481975821798366, 2.435739819073974e-17),
    (-4.820099211178736, 1.0363240414277874e-16),
)  # fmt: skip


def _within(x: Num, low: float, high: float) -> Num:
    return where(x < low, low, where(x > high, high, x))


def _without(x: Num, zeros: Any, squares: bool) -> Num:
    """The product of ``x - zero``, or of ``x² - zero²``."""
    product: Any = None
    for hi, lo in zeros:
        factor = (x - hi) - lo
        if squares:
            factor = factor * (x + hi)
        product = factor if product is None else product * factor
    return product


# -- J and Y ------------------------------------------------------------------------------------------
def _near_j(a: Num, order: int) -> Num:
    t = a * a * (1 / 32) - 1.0
    if order == 0:
        return chebyshev(t, T.J0) * _without(a, _J0_ZEROS, True)
    return chebyshev(t, T.J1) * _without(a, _J1_ZEROS, True) * a


def _far(a: Num, order: int) -> tuple[Num, Num]:
    """J and Y for a >= 8. cos and sin of a - pi/4 or a - 3 pi/4 by sums of cos a and sin a."""
    t = 128.0 / (a * a) - 1.0
    p = chebyshev(t, T.P1 if order else T.P0)
    q = chebyshev(t, T.Q1 if order else T.Q0) / a
    s, c = sin(a), cos(a)
    c, s = (s - c, -(s + c)) if order else (c + s, s - c)
    scale = 1.0 / sqrt(a * math.pi)
    return (p * c - q * s) * scale, (p * s + q * c) * scale


def _at_least(x: Num, low: float) -> Num:
    return where(x < low, low, x)


def _j(order: int) -> Callable[[Num], Num]:
    def fn(x: Num) -> Num:
        a = abs(x)
        r = where(a < 8.0, _near_j(_within(a, 0.0, 8.0), order), _far(_at_least(a, 8.0), order)[0])
        r = where(a == INF, 0.0, r)
        return where(x < 0.0, -r, r) if order else r

    return fn


def _y(order: int) -> Callable[[Num], Num]:
    def fn(x: Num) -> Num:
        a = _within(x, 0.0, 8.0)
        t = a * a * (1 / 32) - 1.0
        if order == 0:
            near = chebyshev(t, T.Y0) + log(a) * _near_j(a, 0) * _TWO_PI
        else:
            near = chebyshev(t, T.Y1) * a + (log(a) * _near_j(a, 1) - 1.0 / a) * _TWO_PI
        r = where(x < 8.0, near, _far(_at_least(x, 8.0), order)[1])
        r = where(x == INF, 0.0, where(x == 0.0, -INF, r))
        return where(x < 0.0, NAN, r)

    return fn


def _spherical_j0(x: Num) -> Num:
    """sin(x) / x."""
    return where(x == 0.0, 1.0, where(abs(x) == INF, 0.0, sin(x) / x))


# -- I and K ------------------------------------------------------------------------------------------
def _scaled_i(order: int) -> Callable[[Num], Num]:
    """e**-|x| I(x)."""

    def fn(x: Num) -> Num:
        a = abs(x)
        b = _within(a, 0.0, 8.0)
        near = chebyshev(b * 0.25 - 1.0, T.I1_NEAR if order else T.I0_NEAR)
        far = _at_least(a, 8.0)
        far = chebyshev(16.0 / far - 1.0, T.I1_FAR if order else T.I0_FAR) / sqrt(far)
        r = where(a < 8.0, near * b if order else near, far)
        return where(x < 0.0, -r, r) if order else r

    return fn


def _i(order: int) -> Callable[[Num], Num]:
    scaled = _scaled_i(order)

    def fn(x: Num) -> Num:
        half = exp(abs(x) * 0.5)  # e**x alone would overflow before I does
        return where(abs(x) == INF, x if order else abs(x), half * scaled(x) * half)

    return fn


def _k(order: int, scaled: bool) -> Callable[[Num], Num]:
    def fn(x: Num) -> Num:
        a = _within(x, 0.0, 2.0)
        t = a * a * 0.5 - 1.0
        if order == 0:
            near = chebyshev(t, T.K0_SMALL) - log(a * 0.5) * chebyshev(t, T.I0_SMALL)
        else:
            near = (chebyshev(t, T.K1_SMALL) + log(a * 0.5) * chebyshev(t, T.I1_SMALL)) * a + 1.0 / a
        b = _at_least(x, 2.0)
        far = chebyshev(4.0 / b - 1.0, T.K1_FAR if order else T.K0_FAR) / sqrt(b)
        if scaled:
            near = near * exp(a)
        else:
            far = far * exp(-b)
        r = where(x <= 2.0, near, far)
        return where(x < 0.0, NAN, where(x == 0.0, INF, r))

    return fn


# -- Airy ---------------------------------------------------------------------------------------------
def _airy(slope: bool) -> Callable[[Num], Num]:
    """Ai or its derivative."""
    zeros = _AI_SLOPE_ZEROS if slope else _AI_ZEROS
    middle, right = (T.AIP_MID, T.AIP_RIGHT) if slope else (T.AI_MID, T.AI_RIGHT)
    first, second = (T.AIP_P, T.AIP_Q) if slope else (T.AI_P, T.AI_Q)

    def fn(x: Num) -> Num:
        m = _within(x, -5.0, 2.0)
        mid = chebyshev((m + 1.5) * (1 / 3.5), middle) * _without(m, zeros, False)
        r = _at_least(x, 2.0)
        root = sqrt(r)
        z = r * root * (2 / 3)
        e = chebyshev(2 * 1.8856180831641267 / z - 1.0, right) * exp(-z)
        up = -e * sqrt(root) if slope else e / sqrt(root)
        n = _at_least(-x, 5.0)
        root = sqrt(n)
        z = n * root * (2 / 3)
        t = 2 * 7.453559924999299**2 / (z * z) - 1.0
        p, q = chebyshev(t, first), chebyshev(t, second) / z
        s, c = sin(z), cos(z)
        c, s = c + s, s - c  # of z - pi/4, times sqrt(2)
        wave = p * s - q * c if slope else p * c + q * s
        wave = wave * (1 / math.sqrt(2 * math.pi))
        down = wave * sqrt(root) if slope else wave / sqrt(root)
        out = where(x < -5.0, down, where(x <= 2.0, mid, up))
        out = where(x == INF, -0.0 if slope else 0.0, out)
        return where(x == -INF, NAN if slope else 0.0, out)

    return fn


def _primitive(name: str, fn: Callable[[Num], Num]) -> Any:
    return formula(name, fn, in_double=True)


bessel_j0, bessel_j1 = _primitive("bessel_j0", _j(0)), _primitive("bessel_j1", _j(1))
bessel_y0, bessel_y1 = _primitive("bessel_y0", _y(0)), _primitive("bessel_y1", _y(1))
spherical_bessel_j0 = _primitive("spherical_bessel_j0", _spherical_j0)
i0, i1 = _primitive("i0", _i(0)), _primitive("i1", _i(1))
i0e, i1e = _primitive("i0e", _scaled_i(0)), _primitive("i1e", _scaled_i(1))
modified_bessel_k0 = _primitive("modified_bessel_k0", _k(0, False))
modified_bessel_k1 = _primitive("modified_bessel_k1", _k(1, False))
scaled_modified_bessel_k0 = _primitive("scaled_modified_bessel_k0", _k(0, True))
scaled_modified_bessel_k1 = _primitive("scaled_modified_bessel_k1", _k(1, True))
airy_ai, airy_ai_slope = _primitive("airy_ai", _airy(False)), _primitive("airy_ai_slope", _airy(True))


def _declare() -> None:
    from gradloom import functions as G

    def call(prim: Any, x: Any) -> Any:
        return G.apply(prim, (x,))

    def over(y: Any, x: Any, at_zero: float) -> Any:
        """The quotient y / x of an odd function y, with its limit at 0."""
        zero = G.eq(x, G.const(0.0))
        return G.where(zero, G.const(at_zero), G.div(y, G.where(zero, G.const(1.0), x)))

    sub, add, neg = G.sub, G.add, G.neg
    slopes: dict[Any, Callable[[Any, Any], Any]] = {
        bessel_j0: lambda x, y: neg(call(bessel_j1, x)),
        bessel_j1: lambda x, y: sub(call(bessel_j0, x), over(y, x, 0.5)),
        bessel_y0: lambda x, y: neg(call(bessel_y1, x)),
        bessel_y1: lambda x, y: sub(call(bessel_y0, x), G.div(y, x)),
        spherical_bessel_j0: lambda x, y: G.div(
            G.floats.sinc_slope(G.mul(x, G.const(1 / math.pi)), y), G.const(math.pi)
        ),
        i0: lambda x, y: call(i1, x),
        i1: lambda x, y: sub(call(i0, x), over(y, x, 0.5)),
        i0e: lambda x, y: sub(call(i1e, x), G.mul(G.sign(x), y)),
        i1e: lambda x, y: sub(sub(call(i0e, x), over(y, x, 0.5)), G.mul(G.sign(x), y)),
        modified_bessel_k0: lambda x, y: neg(call(modified_bessel_k1, x)),
        modified_bessel_k1: lambda x, y: neg(add(call(modified_bessel_k0, x), G.div(y, x))),
        scaled_modified_bessel_k0: lambda x, y: sub(y, call(scaled_modified_bessel_k1, x)),
        scaled_modified_bessel_k1: lambda x, y: sub(
            y, add(call(scaled_modified_bessel_k0, x), G.div(y, x))
        ),
        airy_ai: lambda x, y: call(airy_ai_slope, x),
        airy_ai_slope: lambda x, y: G.mul(x, call(airy_ai, x)),
    }  # fmt: skip
    for prim, d in slopes.items():
        prim.vjp = lambda ct, out, ins, attrs, d=d: (G.mul(ct, d(ins[0], out)),)


GRADIENTS = _declare
