"""From a recorded program to native code; and what PyTorch's ``torch.compiler`` is asked by programs."""

from __future__ import annotations

__all__ = ["is_compiling", "is_dynamo_compiling", "is_exporting"]


def is_compiling() -> bool:
    """False: Python runs as it is written, also where its steps are compiled."""
    return False


def is_dynamo_compiling() -> bool:
    """False, as :func:`is_compiling`."""
    return False


def is_exporting() -> bool:
    """False, as :func:`is_compiling`."""
    return False
