"""Inference mode: no gradients, as ``no_grad``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from gradloom.tape import TAPE

__all__ = ["inference_mode", "is_inference_mode_enabled"]

_depth: list[bool] = []


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
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(TAPE.grad)
        _depth.append(self.mode)
        TAPE.grad = not self.mode

    def __exit__(self, *exc: object) -> None:
        _depth.pop()
        TAPE.grad = self._before.pop()

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """The function, run in this mode."""

        @functools.wraps(fn)
        def run(*args: Any, **kwargs: Any) -> Any:
            with inference_mode(self.mode):
                return fn(*args, **kwargs)

        return run


def is_inference_mode_enabled() -> bool:
    """Whether inference mode is on."""
    return bool(_depth) and _depth[-1]
