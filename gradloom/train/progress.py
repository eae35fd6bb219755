"""Progress of a run: one line an epoch, and the time that the whole run still takes.

On a terminal the line is drawn over itself, at most ten times a second; elsewhere (a file, a pipe, a notebook's log)
only the finished line of each epoch is written. A step costs one look at the clock.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

WIDTH = 20  # characters of the bar
EVERY = 0.1  # seconds between two drawings


def duration(seconds: float) -> str:
    """Seconds as a short text: ``0s``, ``59s``, ``1:05``, ``2:03:07``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, seconds_left = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds_left:02d}" if hours else f"{minutes}:{seconds_left:02d}"


def step_time(seconds: float) -> str:
    """Seconds a step as ``1s/step``, ``0.3ms/step`` or ``45us/step``."""
    if seconds >= 1:
        return f"{seconds:.0f}s/step"
    milli = seconds * 1e3
    if milli >= 10:
        return f"{milli:.0f}ms/step"
    return f"{milli:.1f}ms/step" if milli >= 0.1 else f"{seconds * 1e6:.0f}us/step"


def values_text(values: dict[str, float]) -> str:
    """`` - accuracy: 0.8213 - loss: 0.5021``, the metrics before the loss, very small values with an exponent."""
    names = sorted(values, key=lambda name: (name.startswith("val_"), name.endswith("loss"), name))
    parts = []
    for name in names:
        value = values[name]
        parts.append(f" - {name}: {value:.4e}" if 0 < abs(value) <= 1e-3 else f" - {name}: {value:.4f}")
    return "".join(parts)


class Progress:
    """What a run shows.

    Parameters
    ----------
    verbose : 0 shows nothing, 1 a line that moves where ``stream`` is a terminal, 2 one line an epoch.
    epochs, initial_epoch : epochs of the run, and the one it starts with.
    stream : where it is shown; standard output by default.
    clock : seconds, for tests.
    """

    def __init__(
        self,
        verbose: int,
        epochs: int = 1,
        initial_epoch: int = 0,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.stream = stream if stream is not None else sys.stdout
        self.shown = bool(verbose)
        self.moving = verbose == 1 and bool(getattr(self.stream, "isatty", lambda: False)())
        self.epochs, self.initial_epoch = epochs, initial_epoch
        self.clock = clock
        self.run_start = clock()
        self.start = self.run_start
        self.epoch = initial_epoch
        self.steps: int | None = None
        self._next = 0.0
        self._length = 0

    def begin_epoch(self, epoch: int, steps: int | None) -> None:
        """An epoch of ``steps`` steps (None: not known) starts."""
        self.epoch, self.steps = epoch, steps
        self.start = self.clock()
        self._next = self.start + EVERY

    def due(self) -> bool:
        """Whether it is time to draw again. This is all that a step pays."""
        return self.moving and self.clock() >= self._next

    def draw(self, done: int, values: dict[str, float]) -> None:
        """Draw the line after ``done`` steps of the epoch."""
        now = self.clock()
        self._next = now + EVERY
        per_step = (now - self.start) / max(done, 1)
        if self.steps is None:
            head = f"{done}/Unknown"
        else:
            filled = min(WIDTH, WIDTH * done // max(self.steps, 1))
            head = f"{done}/{self.steps} {'━' * filled}{' ' * (WIDTH - filled)}"
        left = self.time_left(done, now)
        tail = f" · {duration(left)} left" if left is not None else ""
        self._put(f"{self._title()}{head} {step_time(per_step)}{values_text(values)}{tail}")

    def end_epoch(self, done: int, values: dict[str, float]) -> None:
        """Write the finished line of the epoch."""
        if not self.shown:
            return
        now = self.clock()
        seconds = now - self.start
        total = self.steps if self.steps is not None else done
        left = self.time_left(done, now)
        tail = f" · {duration(left)} left" if left is not None and self.epoch + 1 < self.epochs else ""
        self._put(
            f"{self._title()}{done}/{total} {'━' * WIDTH} {duration(seconds)} {step_time(seconds / max(done, 1))}"
            f"{values_text(values)}{tail}"
        )
        self.close()

    def time_left(self, done: int, now: float) -> float | None:
        """Seconds until the whole run ends, None where the number of steps is not known.

        Whole epochs behind us say what an epoch takes, validation included; in the first, its steps so far do.
        """
        if not self.steps:
            return None
        finished = self.epoch - self.initial_epoch
        share = min(done / self.steps, 1.0)
        if finished + share == 0:
            return None
        return (now - self.run_start) / (finished + share) * (self.epochs - self.initial_epoch - finished - share)

    def close(self) -> None:
        """End the line that stands there, as after an interrupt."""
        if self._length:
            self.stream.write("\n")
            self.stream.flush()
            self._length = 0

    def _title(self) -> str:
        return f"Epoch {self.epoch + 1}/{self.epochs}  " if self.epochs else ""

    def _put(self, text: str) -> None:
        if self.moving:
            # blanks cover what a longer line left behind
            self.stream.write("\r" + text + " " * max(0, self._length - len(text)))
        else:
            self.stream.write(text)
        self.stream.flush()
        self._length = len(text)
