"""What programs are planned for: the limit of memory, and whether convolutions may be transformed."""

from __future__ import annotations

import os

__all__ = ["WINOGRAD", "get_memory_limit", "get_winograd", "set_memory_limit", "set_winograd"]

WINOGRAD = ("auto", "on", "off")

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


_winograd: list[str] = []


def get_winograd() -> str:
    """When 3x3 filters go by Winograd's transforms: ``"auto"``, ``"on"`` or ``"off"``.

    At first what ``GRADLOOM_WINOGRAD`` in the environment says, or ``"auto"``.
    """
    if not _winograd:
        given = os.environ.get("GRADLOOM_WINOGRAD", "")
        _winograd.append(given if given in WINOGRAD else "auto")
    return _winograd[0]


def set_winograd(mode: str) -> None:
    """Set it, for programs compiled from now on. Raises ValueError for another mode."""
    if mode not in WINOGRAD:
        raise ValueError(f"set_winograd: expects one of {', '.join(map(repr, WINOGRAD))}, got {mode!r}")
    _winograd[:] = [mode]
