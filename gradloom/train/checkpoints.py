"""Checkpoints of a whole run: whatever the next step depends on, in one file that is replaced in one step."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np

from gradloom.errors import StateError
from gradloom.io.files import load, save
from gradloom.random import default_generator

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

    def write(self, state: dict[str, Any]) -> None:
        """Replace the latest state; a failure leaves the old one."""
        save({"format": FORMAT, **state}, self.last)
        self._last = time.monotonic()

    def read(self) -> dict[str, Any] | None:
        """The latest state; None where there is none.

        Raises StateError for a file of a later format.
        """
        if not self.last.exists():
            return None
        state: dict[str, Any] = load(self.last)
        if state.get("format") != FORMAT:
            raise StateError(
                f"{self.last} has format {state.get('format')}, this version reads {FORMAT}",
                code="train.checkpoint",
                hint="use the version that wrote it, or start anew in another folder",
            )
        return state
