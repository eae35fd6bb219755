"""Philox4x32-10 in NumPy (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011)."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["philox", "unit"]

_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox(seed: Any, stream: Any, index: np.ndarray) -> list[np.ndarray]:
    """The four words, uint32, of each counter (index, stream) under the key ``seed``; all are taken modulo 2**64."""
    seed, stream, index = (np.asarray(a).astype(np.int64).astype(np.uint64) for a in (seed, stream, index))
    k0, k1 = seed & _LOW, seed >> _HALF
    c = [index & _LOW, index >> _HALF, stream & _LOW, stream >> _HALF]
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(p1 >> _HALF) ^ c[1] ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c[3] ^ k1, p0 & _LOW]
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & _LOW, (k1 + np.uint64(0xBB67AE85)) & _LOW
    return [w.astype(np.uint32) for w in c]


def unit(word: np.ndarray) -> np.ndarray:
    """float32 in [0, 1) from the top 24 bits of a word."""
    return (word >> 8).astype(np.float32) * np.float32(2.0**-24)
