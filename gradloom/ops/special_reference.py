"""What the functions mean that NumPy lacks, in float64: for the reference target and for folding constants.

Slow and plain, good to a few units in the last place; the compiled functions have polynomials of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np

__all__ = ["digamma", "erf", "erfc", "erfinv", "lgamma"]

Array = np.ndarray


def _by_element(fn: Callable[[float], float]) -> Callable[[Any], Array]:
    run = np.frompyfunc(fn, 1, 1)

    def call(x: Any) -> Array:
        a = np.asarray(x)
        return np.asarray(run(a.astype(np.float64))).astype(a.dtype)

    return call


def _erfinv(x: float) -> float:
    """Newton's method from the normal quantile; on the complement where x is large, which has more digits there."""
    if not -1 < x < 1:
        return math.copysign(math.inf, x) if abs(x) == 1 else math.nan
    slope = 2 / math.sqrt(math.pi)
    a = abs(x)
    if a < 0.5:
        y = a / slope
        for _ in range(5):
            y -= (math.erf(y) - a) / (slope * math.exp(-y * y))
    else:
        y = NormalDist().inv_cdf((a + 1) / 2) / math.sqrt(2)
        for _ in range(5):
            y += (math.erfc(y) - (1 - a)) / (slope * math.exp(-y * y))
    return math.copysign(y, x)


def _lgamma(x: float) -> float:
    """Infinite at the poles, as in C."""
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):
        return math.inf


_BERNOULLI = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)  # B(2k) / 2k


def _digamma(x: float) -> float:
    """Reflection below 0, recurrence up to 10, the asymptotic series (Abramowitz and Stegun 6.3.5-6.3.18)."""
    if x == 0:
        return math.copysign(math.inf, -x)
    if not math.isfinite(x):
        return x if x > 0 else math.nan
    total = 0.0
    if x < 0:
        if x == math.floor(x):
            return math.nan
        total = -math.pi / math.tan(math.pi * math.fmod(x, 1.0))
        x = 1 - x
    while x < 10:
        total -= 1 / x
        x += 1
    q = 1 / (x * x)
    series = 0.0
    for b in reversed(_BERNOULLI):
        series = (series + b) * q
    return total + math.log(x) - 0.5 / x - series


erf, erfc = _by_element(math.erf), _by_element(math.erfc)
erfinv, lgamma, digamma = _by_element(_erfinv), _by_element(_lgamma), _by_element(_digamma)
