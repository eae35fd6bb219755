"""``torch.cond``: the branch of :mod:`gradloom.control` with PyTorch's signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradloom.autodiff.control import cond as _cond

__all__ = ["cond"]


def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Sequence[Any] = ()) -> Any:
    """``true_fn(*operands)`` where the condition holds, else ``false_fn(*operands)``; only one of them is computed."""
    return _cond(pred, true_fn, false_fn, *operands)
