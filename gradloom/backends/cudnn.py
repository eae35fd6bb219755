"""``torch.backends.cudnn``: not used here.

Programs set its switches without asking whether it is there, as they may in PyTorch: ``deterministic`` and
``benchmark`` are plain attributes. Results are deterministic whatever they say.
"""

from __future__ import annotations

__all__ = ["allow_tf32", "benchmark", "deterministic", "enabled", "is_available", "version"]

enabled = True
benchmark = False
deterministic = False
allow_tf32 = True


def is_available() -> bool:
    """False."""
    return False


def version() -> None:
    """None: it is not there."""
