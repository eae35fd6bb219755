"""From a recorded program to native code; and what PyTorch's ``torch.compiler`` is asked by programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["disable", "is_compiling", "is_dynamo_compiling", "is_exporting"]


def disable(fn: Callable[..., Any] | None = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """``fn`` itself, or a decorator that gives it back: Python always runs as written, so none is taken out of it."""
    return fn if fn is not None else lambda function: function


def is_compiling() -> bool:
    """False: Python runs as it is written, also where its steps are compiled."""
    return False


def is_dynamo_compiling() -> bool:
    """False, as :func:`is_compiling`."""
    return False


def is_exporting() -> bool:
    """False, as :func:`is_compiling`."""
    return False
