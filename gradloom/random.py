"""Random numbers: counter-based (Philox4x32-10), keyed by seed and a stream that counts the calls.

The same seed and the same calls give the same numbers, whatever the number of threads.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Generator", "default_generator", "draws_told_to", "drawn_from", "initial_seed", "manual_seed"]

Draw = tuple[int, int]


class Generator:
    """A seed and the number of draws made from it."""

    def __init__(self, device: Any = None) -> None:
        self.seed_value = time.time_ns() & 0x7FFFFFFFFFFFFFFF
        self.offset = 0

    def manual_seed(self, seed: int) -> Generator:
        """Start anew from a seed."""
        self.seed_value = int(seed) & 0x7FFFFFFFFFFFFFFF
        self.offset = 0
        return self

    def seed(self) -> int:
        """Start anew from the clock; the seed."""
        self.manual_seed(time.time_ns())
        return self.seed_value

    def get_offset(self) -> int:
        """How many draws were made."""
        return self.offset

    def set_offset(self, offset: int) -> None:
        """Continue after so many draws."""
        self.offset = int(offset)

    def clone_state(self) -> Generator:
        """Another generator that goes on as this one does."""
        out = Generator()
        out.set_state(self.get_state())
        return out

    def initial_seed(self) -> int:
        """The seed."""
        return self.seed_value

    def get_state(self) -> tuple[int, int]:
        """(seed, draws made)."""
        return self.seed_value, self.offset

    def set_state(self, state: tuple[int, int]) -> None:
        """Continue from a state."""
        self.seed_value, self.offset = int(state[0]), int(state[1])

    def draw(self) -> tuple[int, int]:
        """Seed and stream of the next call."""
        self.offset += 1
        if _thread.told is not None:
            _thread.told(self, (self.seed_value, self.offset))
        return self.seed_value, self.offset


class _Thread(threading.local):
    generator: Generator | None = None
    told: Callable[[Generator, Draw], Any] | None = None


_thread = _Thread()


class _Default(Generator):
    """The default generator; within :func:`drawn_from` its draws are made from another one, in that thread alone."""

    def draw(self) -> tuple[int, int]:
        """Seed and stream of the next call."""
        other = _thread.generator
        return super().draw() if other is None else other.draw()


default_generator = _Default()


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """While entered, what this thread draws from the default generator depends on `seed` alone.

    The default generator's own state is neither used nor changed; other threads go on with it.
    """
    before, _thread.generator = _thread.generator, Generator().manual_seed(seed)
    try:
        yield
    finally:
        _thread.generator = before


@contextmanager
def draws_told_to(listener: Callable[[Generator, Draw], Any]) -> Iterator[None]:
    """While entered, each draw of this thread is told: the generator, and the seed and number that it gave."""
    before, _thread.told = _thread.told, listener
    try:
        yield
    finally:
        _thread.told = before


def manual_seed(seed: int) -> Generator:
    """Seed the default generator."""
    return default_generator.manual_seed(seed)


def initial_seed() -> int:
    """The default generator's seed."""
    return (_thread.generator or default_generator).seed_value


_SETTINGS = ("fork_rng", "get_rng_state", "seed", "set_rng_state")


def __getattr__(name: str) -> Any:
    """PyTorch's functions of states, and TensorFlow's, `tf.random.normal` and its kin: they are the faces'."""
    if name in _SETTINGS:
        return getattr(importlib.import_module("gradloom.settings"), name)
    functions = None if name.startswith("_") else importlib.import_module("gradloom.tensorflow.random")
    if functions is None or name not in functions.__all__:
        raise AttributeError(f"module 'gradloom.random' has no attribute {name!r}")
    return getattr(functions, name)
