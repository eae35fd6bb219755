"""Inference mode: no gradients, as ``no_grad``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradloom.modes import within
from gradloom.tape import MODES

__all__ = ["inference_mode", "is_inference_mode_enabled"]


class inference_mode:
    """Nothing recorded within can be differentiated. A context manager, and a decorator with or without brackets.

    ``inference_mode(False)`` is the opposite within. Tensors made within are ordinary ones: recording costs nothing
    where no gradient is asked for, so there is nothing more to save than with ``no_grad``.
    """

    def __new__(cls, mode: Any = True) -> Any:
        """A mode, or the decorated function."""
        if callable(mode):
            return cls()(mode)
        return super().__new__(cls)

    def __init__(self, mode: bool = True) -> None:
        self.mode = bool(mode)
        self._before: list[tuple[bool, bool]] = []

    def __enter__(self) -> None:
        self._before.append((MODES.grad, MODES.inference))
        MODES.grad, MODES.inference = not self.mode, self.mode

    def __exit__(self, *exc: object) -> None:
        MODES.grad, MODES.inference = self._before.pop()

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """The function, run in this mode."""
        return within(lambda: inference_mode(self.mode), fn)


def is_inference_mode_enabled() -> bool:
    """Whether inference mode is on."""
    return MODES.inference
