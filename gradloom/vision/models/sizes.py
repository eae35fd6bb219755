"""Widths rounded to multiples, and depths scaled, as the mobile networks do it."""

from __future__ import annotations

import math

__all__ = ["make_divisible", "scaled_depth"]


def make_divisible(v: float, divisor: int = 8, min_value: int | None = None) -> int:
    """The nearest multiple of the divisor, but never less than 0.9 of the width."""
    low = divisor if min_value is None else min_value
    rounded = max(low, int(v + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * v else rounded


def scaled_depth(layers: int, multiplier: float) -> int:
    """So many layers times the multiplier, rounded up."""
    return math.ceil(layers * multiplier)
