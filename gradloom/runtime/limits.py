"""The limit of memory that programs are planned for."""

from __future__ import annotations

import os

__all__ = ["get_memory_limit", "set_memory_limit"]

_limit: list[int | None] = []


def get_memory_limit() -> int | None:
    """Bytes of temporaries that a program should get along with; None: as many as it is quickest with.

    At first what ``GRADLOOM_MEMORY_LIMIT`` in the environment says.
    """
    if not _limit:
        given = os.environ.get("GRADLOOM_MEMORY_LIMIT", "")
        _limit.append(int(given) if given.isdigit() and int(given) else None)
    return _limit[0]


def set_memory_limit(limit: int | None) -> None:
    """Trade time for memory where a program's temporaries would take more than ``limit`` bytes.

    Activations that are cheap to make again are then not kept for the backward pass. Programs compiled from now on heed
    it; one that cannot be made small enough warns, and runs. Inputs, parameters and results do not count.
    Raises ValueError for less than one byte.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"set_memory_limit: expects a number of bytes above 0, or None for no limit, got {limit}")
    _limit[:] = [limit]
