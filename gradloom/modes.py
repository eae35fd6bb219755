"""How the tape records and runs: with gradients or without, on which target; and what it ran last, explained."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gradloom.graph.node import show
from gradloom.tape import TAPE

__all__ = ["enable_grad", "explain", "is_grad_enabled", "no_grad", "set_grad_enabled", "set_target"]


@contextmanager
def _grad_mode(on: bool) -> Iterator[None]:
    before = TAPE.grad
    TAPE.grad = on
    try:
        yield
    finally:
        TAPE.grad = before


class _Mode:
    """A grad mode as a context manager and decorator."""

    def __init__(self, on: bool) -> None:
        self.on = on
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(TAPE.grad)
        TAPE.grad = self.on

    def __exit__(self, *exc: object) -> None:
        TAPE.grad = self._before.pop()

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def run(*args: Any, **kwargs: Any) -> Any:
            with _grad_mode(self.on):
                return fn(*args, **kwargs)

        return run


def no_grad(fn: Callable[..., Any] | None = None) -> Any:
    """Nothing recorded within can be differentiated. A context manager, and a decorator with or without brackets."""
    return _Mode(False)(fn) if callable(fn) else _Mode(False)


def enable_grad(fn: Callable[..., Any] | None = None) -> Any:
    """The opposite of :func:`no_grad`, inside it."""
    return _Mode(True)(fn) if callable(fn) else _Mode(True)


def set_grad_enabled(mode: bool) -> _Mode:
    """Set the grad mode; as a context manager it comes back at the end."""
    m = _Mode(mode)
    m._before.append(TAPE.grad)
    TAPE.grad = mode

    class _Set(_Mode):
        def __enter__(self) -> None:
            TAPE.grad = self.on

    s = _Set(mode)
    s._before = m._before
    return s


def is_grad_enabled() -> bool:
    """Whether what is recorded now can be differentiated."""
    return TAPE.grad


def set_target(name: str) -> None:
    """Run programs by ``"cpu"`` (compiled) or ``"reference"`` (NumPy, slowly and plainly)."""
    if name not in ("cpu", "reference"):
        raise ValueError(f"unknown target {name!r}; expected 'cpu' or 'reference'")
    TAPE.flush()
    TAPE.target = name


def explain(fn: Callable[..., Any] | None = None, *args: Any, **kwargs: Any) -> str:
    """What the last program, or that of calling ``fn(*args)``, is made of, and why programs were compiled.

    Returns the text: the instructions, the kernels, and one line for each of the latest compilations.
    """
    if fn is not None:
        TAPE.flush()
        result = fn(*args, **kwargs)
        TAPE.flush()
        del result
    p = TAPE.latest
    if p is None:
        return "nothing has run yet"
    lines = [f"program, run {p.runs} times", show(p.graph)]
    if p.exe is not None:
        lines.append(p.exe.describe())
    lines.append(f"programs built: {TAPE.compiled}; the latest, and why:")
    lines += [f"  {w}" for w in TAPE.history[-10:]]
    return "\n".join(lines)
