"""Numbers drawn for one image: from the default generator's seed and count of draws, without a program for each."""

from __future__ import annotations

import numpy as np

from gradloom.random import default_generator

__all__ = ["chance", "integer", "normal", "permutation", "uniform"]


def _next() -> np.random.Generator:
    seed, stream = default_generator.draw()
    return np.random.Generator(np.random.Philox(key=seed, counter=stream << 64))


def uniform(low: float = 0.0, high: float = 1.0) -> float:
    """A number of [low, high)."""
    return float(_next().uniform(low, high))


def chance(p: float) -> bool:
    """True with probability p."""
    return uniform() < p


def integer(low: int, high: int) -> int:
    """An integer of low <= i < high."""
    return int(_next().integers(low, high))


def permutation(n: int) -> list[int]:
    """0 to n - 1 in a random order."""
    return [int(k) for k in _next().permutation(n)]


def normal(shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers, float32."""
    return _next().standard_normal(shape, np.float32)
