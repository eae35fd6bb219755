"""How the tape records and runs: with gradients or without, on which target; and what it ran last, explained."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gradloom.graph.node import show
from gradloom.tape import MODES, TAPE

__all__ = ["enable_grad", "explain", "is_grad_enabled", "no_grad", "set_grad_enabled", "set_target"]


def within(mode: Callable[[], Any], fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function that runs in a context of its own each time; a generator whenever it goes on, not its caller."""
    if not inspect.isgeneratorfunction(fn):

        @functools.wraps(fn)
        def run(*args: Any, **kwargs: Any) -> Any:
            with mode():
                return fn(*args, **kwargs)

        return run

    @functools.wraps(fn)
    def generate(*args: Any, **kwargs: Any) -> Any:
        generator = fn(*args, **kwargs)
        go_on, given = generator.send, None
        while True:
            try:
                with mode():
                    value = go_on(given)
            except StopIteration as end:
                return end.value
            try:
                go_on, given = generator.send, (yield value)
            except GeneratorExit:
                with mode():
                    generator.close()
                raise
            except BaseException as error:
                go_on, given = generator.throw, error

    return generate


@contextmanager
def _grad_mode(on: bool) -> Iterator[None]:
    before = MODES.grad
    MODES.grad = on
    try:
        yield
    finally:
        MODES.grad = before


class _Mode:
    """A grad mode as a context manager and decorator."""

    def __init__(self, on: bool) -> None:
        self.on = on
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(MODES.grad)
        MODES.grad = self.on

    def __exit__(self, *exc: object) -> None:
        MODES.grad = self._before.pop()

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        return within(lambda: _grad_mode(self.on), fn)


class _Set(_Mode):
    """A grad mode that holds already."""

    def __enter__(self) -> None:
        MODES.grad = self.on

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """The function, run in this mode; here the mode before it comes back."""
        MODES.grad = self._before.pop()
        return super().__call__(fn)


def no_grad(fn: Callable[..., Any] | None = None) -> Any:
    """Nothing recorded within can be differentiated. A context manager, and a decorator with or without brackets."""
    return _Mode(False)(fn) if callable(fn) else _Mode(False)


def enable_grad(fn: Callable[..., Any] | None = None) -> Any:
    """The opposite of :func:`no_grad`, inside it."""
    return _Mode(True)(fn) if callable(fn) else _Mode(True)


def set_grad_enabled(mode: bool) -> _Mode:
    """Set the grad mode. As a context manager it comes back at the end; as a decorator it is the function's alone."""
    s = _Set(mode)
    s._before.append(MODES.grad)
    MODES.grad = mode
    return s


def is_grad_enabled() -> bool:
    """Whether what is recorded now can be differentiated."""
    return MODES.grad


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
