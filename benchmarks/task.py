"""One prepared piece of work and how it is timed. Runs inside a contender's process."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

GROUP_SECONDS = 0.02


@dataclass
class Task:
    """What a contender made of a workload.

    Attributes
    ----------
    step : the work, given a running number; returns a handle at once where the framework computes in the background.
    sync : waits until the work behind a handle is done.
    steps : training steps in one call.
    each : wait after every call (latency) rather than after a group of calls (throughput).
    check : runs a few steps from the start and returns numbers that must agree between contenders.
    facts : what else stands in the row, such as the size of a file.
    """

    step: Callable[[int], Any]
    sync: Callable[[Any], Any] = lambda handle: None
    steps: int = 1
    each: bool = False
    check: Callable[[], list[float]] | None = None
    facts: dict[str, float] = field(default_factory=dict)


class Timer:
    """Times a task in rounds; the number of calls between two readings of the clock is found once."""

    def __init__(self, task: Task, warm: float = 0.4) -> None:
        self.task = task
        self.calls = 0
        self._run(1)
        start, count = time.perf_counter(), 0
        while count < 2 or time.perf_counter() - start < warm:
            self._run(1)
            count += 1
        self.group = max(1, int(GROUP_SECONDS * count / (time.perf_counter() - start)))

    def _run(self, count: int) -> None:
        task, handle = self.task, None
        for number in range(self.calls, self.calls + count):
            handle = task.step(number)
            if task.each:
                task.sync(handle)
                handle = None  # as in a loop that uses a result and forgets it: its memory is free for the next
        if not task.each:
            task.sync(handle)
        self.calls += count

    def round(self, seconds: float, least: int = 3) -> dict[str, float]:
        """One round of about ``seconds`` seconds, of ``least`` groups at least.

        Returns
        -------
        ms : median over the round's groups of the milliseconds a step.
        best_ms : the quickest group.
        own_cores, other_cores : processor use during the round, by this process and by everything else.
        """
        times = []
        busy, own, start = machine_seconds(), own_seconds(), time.perf_counter()
        while len(times) < least or time.perf_counter() - start < seconds:
            t = time.perf_counter()
            self._run(self.group)
            times.append((time.perf_counter() - t) * 1e3 / (self.group * self.task.steps))
        wall = time.perf_counter() - start
        own = own_seconds() - own
        busy = machine_seconds() - busy
        return {
            "ms": statistics.median(times),
            "best_ms": min(times),
            "own_cores": own / wall,
            "other_cores": max(0.0, busy - own) / wall,
        }


def machine_seconds() -> float:
    """Processor seconds that the whole machine has spent so far, stolen ones included, idle ones not."""
    try:
        with open("/proc/stat") as file:
            ticks = [int(v) for v in file.readline().split()[1:9]]
    except OSError:
        return own_seconds()
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Processor seconds of this process and its children."""
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system
