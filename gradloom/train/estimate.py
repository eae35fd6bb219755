"""What a run will take, found out before it starts by a few of its steps, which are undone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.errors import StateError
from gradloom.runtime.buffers import memory_stats
from gradloom.tape import TAPE
from gradloom.tensor import Tensor
from gradloom.train.checkpoints import copied
from gradloom.train.loop import steps_of
from gradloom.train.progress import duration, step_time

if TYPE_CHECKING:
    from gradloom.train.trainer import Trainer

__all__ = ["Estimate", "estimate"]


@dataclass(frozen=True)
class Estimate:
    """What a run will take. Bytes and seconds; None where the data do not say how many batches they have.

    Attributes
    ----------
    parameters, parameter_bytes : numbers that are trained, their bytes. optimizer_bytes : of the optimiser's state.
    memory : bytes that tensors and programs of the step hold at its peak. available : bytes the machine has left.
    compile_seconds : of the first step, above a later one. step_seconds : of a later one.
    steps : of the whole run. seconds : of the whole run, validation included.
    """

    parameters: int
    parameter_bytes: int
    optimizer_bytes: int
    memory: int
    available: int | None
    compile_seconds: float
    step_seconds: float
    steps: int | None
    seconds: float | None

    def __str__(self) -> str:
        mb = 2.0**20
        room = "" if self.available is None else f" of {self.available / mb:,.0f} MB that are free"
        whole = "" if self.seconds is None else f", {self.steps:,} steps: about {duration(self.seconds)}"
        return (
            f"{self.parameters:,} parameters ({self.parameter_bytes / mb:.1f} MB, optimiser "
            f"{self.optimizer_bytes / mb:.1f} MB)\nmemory: {self.memory / mb:,.0f} MB{room}\n"
            f"time: compiled in {self.compile_seconds:.1f} s; {step_time(self.step_seconds)}{whole}"
        )


def estimate(trainer: Trainer, data: Iterable[Any], epochs: int, validation: Iterable[Any] | None) -> Estimate:
    """Do a few steps on the first batches, measure, and put everything back; see `Trainer.estimate`."""
    for given in (data, validation):
        if given is not None and iter(given) is given:
            raise StateError(
                "an estimate takes batches away from data that can be gone through only once",
                code="train.estimate", hint="give a DataLoader, or a list of batches",
            )  # fmt: skip
    trainer._data = data
    kept = copied(trainer.state_dict())
    before = memory_stats()
    try:
        trainer.set_training(True)
        trainer.reset()
        first, later = _timed(trainer.train_step, data, 3 * trainer.accumulate, 4 * trainer.accumulate)
        stats, used = memory_stats(), _slots(trainer.optimizer)
        judged = 0.0
        if validation is not None:
            trainer.set_training(False)
            judged = _timed(trainer.test_step, validation, 3, 3)[1]
    finally:
        trainer.optimizer.zero_grad()
        trainer.load_state_dict(kept)
    parameters = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    steps = steps_of(data)
    total = None
    if steps is not None:
        total = epochs * (steps * later + judged * (steps_of(validation) or 0)) + first
    return Estimate(
        parameters=sum(p.numel() for p in parameters),
        parameter_bytes=sum(p.numel() * p.element_size() for p in parameters),
        optimizer_bytes=used,
        memory=max(stats["live"] + stats["pooled"] - before["pooled"], stats["live"]),
        available=_available(),
        compile_seconds=first,
        step_seconds=later,
        steps=None if steps is None else steps * epochs,
        seconds=total,
    )


def _timed(step: Any, data: Iterable[Any], warm: int, count: int) -> tuple[float, float]:
    """Seconds of the first `warm` steps above the later ones, and of one of those."""
    seconds: list[float] = []
    while len(seconds) < warm + count:
        before = len(seconds)
        began = time.perf_counter()
        for batch in data:  # what reading takes is part of a step
            step(tuple(batch) if isinstance(batch, tuple | list) else (batch,))
            TAPE.flush()
            now = time.perf_counter()
            seconds.append(now - began)
            if len(seconds) == warm + count:
                break
            began = now
        if len(seconds) == before:
            raise StateError("there are no batches to estimate by", code="train.empty", hint="look at len(data)")
    later = float(np.median(seconds[warm:]))
    return max(0.0, sum(seconds[:warm]) - warm * later), later


def _slots(optimizer: Any) -> int:
    """Bytes of an optimiser's state."""
    return sum(t.numel() * t.element_size() for t in _tensors(optimizer.state_dict()["state"]))


def _tensors(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _tensors(one)


def _available() -> int | None:
    """Bytes that the machine could still give, None where it does not say."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
