"""What this machine can do at the most: measured once, when a table first wants to know."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["Limits", "machine_limits"]

CACHES = 16 << 20


class Limits(NamedTuple):
    """Operations a second of a large float32 product, and bytes a second of a copy larger than the caches."""

    flops: float
    nbytes: float

    def least(self, flops: float, nbytes: float) -> float:
        """The least seconds that the machine needs for this (the roofline model: Williams et al. 2009).

        Bytes count where they are more than caches hold; what is less may have been there already.
        """
        return max(flops / self.flops, nbytes / self.nbytes if nbytes > CACHES else 0.0)


@functools.cache
def machine_limits() -> Limits:
    """The limits, as NumPy's own product and copy reach them: the best of many tries, as the machine may be busy."""
    n = 320
    a = np.ones((n, n), np.float32)
    out = np.empty_like(a)
    source = np.ones(4 << 20, np.float32)
    target = np.zeros_like(source)
    product = _best(lambda: np.matmul(a, a, out))
    copy = _best(lambda: np.copyto(target, source))
    return Limits(2 * n**3 / product, 2 * source.nbytes / copy)


def _best(run: Callable[[], object], budget: float = 0.05, least: int = 8) -> float:
    """The shortest of as many runs as fit into a time, in seconds."""
    best, spent, tries = float("inf"), 0.0, 0
    while spent < budget or tries < least:
        start = time.perf_counter()
        run()
        took = time.perf_counter() - start
        best, spent, tries = min(best, took), spent + took, tries + 1
    return best
