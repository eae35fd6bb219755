"""Checkpoints of a whole run: whatever the next step depends on, in one file that is replaced in one step."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gradloom.errors import GradloomError, StateError
from gradloom.io.files import load, save
from gradloom.random import default_generator
from gradloom.tensor import Tensor
from gradloom.train.finite import refuse_weights

FORMAT = 1


def generators() -> dict[str, Any]:
    """The states of gradloom's default generator, Python's and NumPy's."""
    version, words, gauss = random.getstate()
    name, keys, place, has_gauss, cached = np.random.get_state()
    return {
        "gradloom": list(default_generator.get_state()),
        "python": [version, list(words), gauss],
        "numpy": [str(name), np.asarray(keys), int(place), int(has_gauss), float(cached)],
    }


def set_generators(state: dict[str, Any]) -> None:
    """Put all three generators into states taken by :func:`generators`."""
    default_generator.set_state(tuple(state["gradloom"]))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, place, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.asarray(keys, np.uint32), place, has_gauss, cached))


def copied(value: Any) -> Any:
    """A nested value with copies of its tensors."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        made: Any = type(value)((k, copied(v)) for k, v in value.items())
        if hasattr(value, "_metadata"):
            made._metadata = value._metadata
        return made
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(copied(v) for v in value)
    return value


@contextlib.contextmanager
def restored_on_failure(trainer: Any) -> Iterator[None]:
    """Where taking over a state fails, the trainer has its own again, and a StateError says why."""
    kept = copied(trainer.state_dict())
    try:
        yield
    except Exception as error:
        trainer._load(kept)
        if isinstance(error, GradloomError):
            raise
        raise StateError(
            f"the state is damaged, or of another kind of trainer: {type(error).__name__} {error}",
            code="train.state", hint="use what Trainer.state_dict() gave, or start anew in another folder",
        ) from error  # fmt: skip


class Folder:
    """The checkpoints of a run: `last.ckpt`, and `best.ckpt` where there is a best.

    Parameters
    ----------
    path : folder; made if it is missing.
    steps : write after so many steps, None: not within an epoch.
    seconds : write where so many seconds have passed since the last time, None: whatever the time.
    """

    def __init__(self, path: str | os.PathLike[str], steps: int | None = None, seconds: float | None = None) -> None:
        if steps is not None and steps < 1:
            raise ValueError(f"save_every must be at least 1, got {steps}")
        if seconds is not None and seconds <= 0:
            raise ValueError(f"save_seconds must be positive, got {seconds}")
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.steps, self.seconds = steps, seconds
        self._last = time.monotonic()

    @property
    def last(self) -> Path:
        """The file of the latest state."""
        return self.path / "last.ckpt"

    @property
    def best(self) -> Path:
        """The file of the best model's state dict."""
        return self.path / "best.ckpt"

    def due(self, step: int) -> bool:
        """Whether to write after step `step` of the run, counted from 1."""
        if self.steps is not None and step % self.steps == 0:
            return True
        return self.seconds is not None and time.monotonic() - self._last >= self.seconds

    def write(self, state: dict[str, Any], check: bool = True) -> None:
        """Replace the latest state; a failure leaves the old one, and so do weights that are not finite."""
        if check:
            refuse_weights(state["model"], self.last)
        save({"format": FORMAT, **state}, self.last)
        self._last = time.monotonic()

    def read(self) -> dict[str, Any] | None:
        """The latest state; None where there is none.

        Raises StateError for a file of a later format.
        """
        if not self.last.exists():
            return None
        state: Any = load(self.last)
        found = state.get("format") if isinstance(state, dict) else None
        if found != FORMAT:
            raise StateError(
                f"{self.last} has format {found}, this version reads {FORMAT}",
                code="train.checkpoint",
                hint="use the version that wrote it, or start anew in another folder",
            )
        return dict(state)
