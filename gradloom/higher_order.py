"""``torch.cond`` and ``torch.while_loop``: branch and loop of :mod:`gradloom.control` with PyTorch's signatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradloom.autodiff.control import cond as _cond
from gradloom.autodiff.control import while_loop as _while_loop

__all__ = ["cond", "while_loop"]


def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Sequence[Any] = ()) -> Any:
    """``true_fn(*operands)`` where the condition holds, else ``false_fn(*operands)``; only one of them is computed."""
    return _cond(pred, true_fn, false_fn, *operands)


def while_loop(cond_fn: Callable[..., Any], body_fn: Callable[..., Any], carried_inputs: Sequence[Any]) -> Any:
    """``carried = body_fn(*carried)`` as long as ``cond_fn(*carried)`` holds. It has no derivative."""
    return _while_loop(lambda c: cond_fn(*c), lambda c: tuple(body_fn(*c)), tuple(carried_inputs))
