"""Places of temporaries in one arena: first fit by lifetimes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["place"]

ALIGN = 64


def place(requests: Sequence[tuple[int, int, int]]) -> tuple[list[int], int]:
    """Offsets of blocks and the size of the arena, in bytes.

    requests: for each block its bytes and the first and last step that uses it, both included. Blocks whose steps
    overlap do not overlap in memory. Large blocks are placed first.
    """
    n = len(requests)
    sizes = [-(-max(r[0], 1) // ALIGN) * ALIGN for r in requests]
    offsets = [0] * n
    begin, end = np.empty(n, np.int64), np.empty(n, np.int64)  # of the blocks that are placed, in bytes
    first, last = np.empty(n, np.int64), np.empty(n, np.int64)  # and in steps
    total = 0
    for count, k in enumerate(sorted(range(n), key=lambda k: (-requests[k][0], k))):
        _, since, until = requests[k]
        there = np.flatnonzero((first[:count] <= until) & (last[:count] >= since))
        there = there[np.argsort(begin[there], kind="stable")]
        at = 0
        if len(there):
            reach = np.maximum.accumulate(end[there])  # below each block nothing is free but what is beyond this
            gaps = np.flatnonzero(begin[there][1:] - reach[:-1] >= sizes[k])
            at = 0 if begin[there[0]] >= sizes[k] else int(reach[gaps[0]] if len(gaps) else reach[-1])
        offsets[k] = at
        begin[count], end[count], first[count], last[count] = at, at + sizes[k], since, until
        total = max(total, at + sizes[k])
    return offsets, total
