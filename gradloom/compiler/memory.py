"""Places of temporaries in one arena: first fit by lifetimes."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["place"]

ALIGN = 64


def place(requests: Sequence[tuple[int, int, int]]) -> tuple[list[int], int]:
    """Offsets of blocks and the size of the arena, in bytes.

    requests: for each block its bytes and the first and last step that uses it, both included. Blocks whose steps
    overlap do not overlap in memory. Large blocks are placed first.
    """
    offsets = [0] * len(requests)
    done: list[int] = []
    total = 0
    for k in sorted(range(len(requests)), key=lambda k: (-requests[k][0], k)):
        nbytes, first, last = requests[k]
        nbytes = -(-max(nbytes, 1) // ALIGN) * ALIGN
        taken = sorted(
            (offsets[j], offsets[j] + -(-max(requests[j][0], 1) // ALIGN) * ALIGN)
            for j in done
            if requests[j][1] <= last and first <= requests[j][2]
        )
        at = 0
        for a, b in taken:
            if at + nbytes <= a:
                break
            at = max(at, b)
        offsets[k] = at
        total = max(total, at + nbytes)
        done.append(k)
    return offsets, total
