"""What this machine can do at the most: measured once, when a table first wants to know."""

from __future__ import annotations

import functools
import time
from typing import NamedTuple

import numpy as np

__all__ = ["Limits", "machine_limits"]


class Limits(NamedTuple):
    """Operations a second of a large float32 product, and bytes a second of a copy larger than the caches."""

    flops: float
    nbytes: float

    def share(self, flops: float, nbytes: float, seconds: float) -> float:
        """The least time that the machine needs for this, as a share of the time taken (the roofline model)."""
        return max(flops / self.flops, nbytes / self.nbytes) / seconds if seconds > 0 else 0.0


@functools.cache
def machine_limits() -> Limits:
    """The limits, as NumPy's own product and copy reach them, the best of a few tries: some 50 ms."""
    n = 640
    a = np.ones((n, n), np.float32)
    out = np.empty_like(a)
    source = np.ones(8 << 20, np.float32)
    target = np.zeros_like(source)
    product = copy = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        np.matmul(a, a, out)
        middle = time.perf_counter()
        np.copyto(target, source)
        product, copy = min(product, middle - start), min(copy, time.perf_counter() - middle)
    return Limits(2 * n**3 / product, 2 * source.nbytes / copy)
