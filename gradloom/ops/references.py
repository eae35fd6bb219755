"""What the error functions and the gamma functions mean in NumPy, without SciPy: for the reference target and folding.

Exact to a few units of the last place, except near the zeros of digamma and lgamma, where the error is small
against 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.dtypes import float64
from gradloom.ops.formulas import Arrays, Num
from gradloom.ops.special import quantile

__all__ = ["digamma", "erf", "erfc", "erfinv", "lgamma"]


def _lgamma(x: float) -> float:
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):  # a pole, or beyond the largest number
        return math.inf


def _each(fn: Callable[[float], float]) -> Callable[[Any], np.ndarray]:
    run = np.frompyfunc(fn, 1, 1)

    def call(x: Any) -> np.ndarray:
        a = np.asarray(x)
        return np.asarray(run(a.astype(np.float64))).astype(a.dtype)

    return call


erf, erfc, lgamma = _each(math.erf), _each(math.erfc), _each(_lgamma)


def erfinv(x: Any) -> np.ndarray:
    """Inverse of erf; ±inf at ±1, NaN beyond."""
    a = np.asarray(x)
    wide = a.astype(np.float64)
    e = Arrays(None, float64)
    out = quantile(Num(e, wide * 0.5), Num(e, (1 - np.abs(wide)) * 0.5)).v * math.sqrt(0.5)
    return np.asarray(out).astype(a.dtype)


# B(2k) / (2k), Bernoulli's numbers
_SERIES = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)


def digamma(x: Any) -> np.ndarray:
    """Derivative of lgamma: reflected below 0, recurrence up to 10, then the asymptotic series (A&S 6.3.18)."""
    a = np.asarray(x)
    wide = a.astype(np.float64)
    with np.errstate(all="ignore"):
        below = wide < 0
        z = np.where(below, 1 - wide, wide)
        total = np.zeros_like(z)
        for _ in range(10):
            low = z < 10
            total = np.where(low, total - 1 / z, total)
            z = np.where(low, z + 1, z)
        square = 1 / (z * z)
        rest = np.zeros_like(z)
        for c in reversed(_SERIES):
            rest = (rest + c) * square
        total = total + np.log(z) - 0.5 / z - rest
        turned = total - math.pi / np.tan(math.pi * (wide - np.floor(wide)))
        out = np.where(below, np.where(wide == np.floor(wide), np.nan, turned), total)
        out = np.where(wide == 0, np.copysign(np.inf, -wide), out)
    return np.asarray(out).astype(a.dtype)
