"""``profile``: while it is open, programs run kernel by kernel and every kernel's time is kept."""

from __future__ import annotations

import contextlib
import enum
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

from gradloom.entries import Program
from gradloom.errors import DeviceError, StateError
from gradloom.profiler.events import COMPILE, HOST, KERNEL, PROGRAM, USER, Event, EventList, trace_of
from gradloom.runtime.buffers import memory_stats
from gradloom.tape import TAPE

__all__ = [
    "ProfilerAction", "ProfilerActivity", "profile", "record_function", "schedule", "tensorboard_trace_handler",
]  # fmt: skip

_PACKAGE = str(Path(__file__).parent.parent)


class ProfilerActivity(enum.Enum):
    """What to watch. There is the CPU only."""

    CPU = 0
    CUDA = 2


class ProfilerAction(enum.Enum):
    """What a profile does in a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0
) -> Callable[[int], ProfilerAction]:
    """Which steps are recorded: ``skip_first`` are not; then ``wait`` not, ``warmup`` not, ``active`` are, and again.

    repeat: how many such cycles; 0 for no end. Raises ValueError for negative numbers, or nothing active.
    """
    if min(wait, warmup, repeat, skip_first) < 0 or active < 1:
        raise ValueError(
            f"schedule: wait={wait}, warmup={warmup}, repeat={repeat}, skip_first={skip_first} must not be negative, "
            f"active={active} must be at least 1"
        )
    cycle = wait + warmup + active

    def action(step: int) -> ProfilerAction:
        step -= skip_first
        if step < 0 or (repeat and step >= repeat * cycle) or step % cycle < wait:
            return ProfilerAction.NONE
        at = step % cycle
        if at < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if at < cycle - 1 else ProfilerAction.RECORD_AND_SAVE

    return action


class profile:
    """Record where time goes, as a context manager or between ``start()`` and ``stop()``.

    Parameters
    ----------
    activities: ``ProfilerActivity.CPU``, the only one. schedule: which steps are recorded, told apart by ``step()``;
    all without one. on_trace_ready: called with this object when a cycle of the schedule, or all, is done.
    record_shapes: tell the extents of kernels. profile_memory: the bytes that each program leaves in use. with_stack:
    the line that closed each program. with_flops, with_modules: accepted; arithmetic is always counted.

    Kernels run one after the other while a profile is open, so what overlaps without one does not here.
    Raises DeviceError for CUDA, StateError where another profile is open.
    """

    def __init__(
        self,
        *,
        activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[profile], Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        with_modules: bool = False,
    ) -> None:
        if any(a is not ProfilerActivity.CPU for a in activities or ()):
            raise DeviceError(
                "profile: only ProfilerActivity.CPU can be watched; found: cpu", code="device.missing",
                hint="activities=[ProfilerActivity.CPU]",
            )  # fmt: skip
        self._schedule = schedule
        self._ready = on_trace_ready
        self._shapes, self._memory, self._stacks = record_shapes, profile_memory, with_stack
        self._events: list[Event] = []
        self.step_num = 0
        self.current_action = self._action()

    def _action(self) -> ProfilerAction:
        return self._schedule(self.step_num) if self._schedule is not None else ProfilerAction.RECORD_AND_SAVE

    # -- opening and closing --------------------------------------------------------------------------------
    def start(self) -> None:
        """Begin to record."""
        global _open
        TAPE.flush()
        if _open is not None or TAPE.runner is not None or TAPE.target != "cpu":
            raise StateError(
                "a profile is open already, or programs run on another target", code="profiler.open",
                hint="close the other profile, or debug.check_finite, first",
            )  # fmt: skip
        _open = self
        TAPE.runner, TAPE.target = self._run, "watched"

    def stop(self) -> None:
        """Record no more, and hand over what was recorded."""
        global _open
        if _open is not self:
            return
        try:
            TAPE.flush()
        finally:
            _open = None
            TAPE.runner, TAPE.target = None, "cpu"
        if self._ready is not None and self._recording and self._events:
            self._ready(self)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def _recording(self) -> bool:
        return self.current_action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)

    def step(self) -> None:
        """Tell that a step of the loop is done; the schedule says what the next one is for."""
        TAPE.flush()
        before = self.current_action
        if before is ProfilerAction.RECORD_AND_SAVE and self._schedule is not None and self._ready is not None:
            self._ready(self)
        self.step_num += 1
        self.current_action = self._action()
        if self._schedule is not None and before is ProfilerAction.RECORD_AND_SAVE and self._recording:
            self._events = []
        elif self.current_action is ProfilerAction.WARMUP:
            self._events = []

    # -- recording --------------------------------------------------------------------------------------------
    def _run(self, program: Program, pointers: list[int]) -> list[Any]:
        start = time.perf_counter_ns()
        if program.exe is None:
            from gradloom.compiler.pipeline import compile_graph

            program.exe = compile_graph(program.graph)
            if self._recording:
                self._add(Event("program", COMPILE, start, time.perf_counter_ns() - start))
        if not self._recording:
            plain: list[Any] = program.exe.run(pointers)
            return plain
        live = memory_stats()["live"] if self._memory else 0
        start = time.perf_counter_ns()
        results, spans = program.exe.run_timed(pointers)
        whole = Event("program", PROGRAM, start, time.perf_counter_ns() - start, stack=self._line())
        whole.memory = memory_stats()["live"] - live if self._memory else 0
        self._add(whole)
        for note, at, took in spans:
            kind = HOST if note.host else KERNEL
            shape = note.shape if self._shapes else ()
            self._add(Event(note.name, kind, at, took, note.flops, note.nbytes, shape))
        out: list[Any] = results
        return out

    def _add(self, e: Event) -> None:
        e.thread = threading.get_ident()
        self._events.append(e)

    def _line(self) -> str:
        frame = sys._getframe(1) if self._stacks else None
        while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
            frame = frame.f_back
        return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""

    # -- reading ------------------------------------------------------------------------------------------------
    def events(self) -> EventList:
        """Everything recorded, in order."""
        TAPE.flush()
        return EventList(self._events)

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0) -> EventList:
        """Sums over the events of one name: ``.table(sort_by=…)`` shows them.

        Raises ValueError for ``group_by_stack_n``: kernels are fused from many lines.
        """
        if group_by_stack_n:
            raise ValueError("key_averages: kernels are fused from many lines and have no stack to be grouped by")
        return EventList.averages(self.events(), group_by_input_shape)

    def export_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write a trace for ``chrome://tracing`` or https://ui.perfetto.dev ."""
        self.events().export_chrome_trace(path)


_open: profile | None = None


class record_function(contextlib.ContextDecorator):
    """A named stretch of the program, as a context manager or decorator; it shows in the open profile's trace.

    While a profile is open, what was recorded runs at both ends, so that its time falls into its stretch.
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name, self.args = name, args
        self._starts: list[int] = []

    def __enter__(self) -> Self:
        if _open is not None:
            TAPE.flush()
        self._starts.append(time.perf_counter_ns())
        return self

    def __exit__(self, *exc: object) -> None:
        start = self._starts.pop()
        if _open is not None:
            TAPE.flush()
            if _open._recording:
                _open._add(Event(self.name, USER, start, time.perf_counter_ns() - start, stack=self.args or ""))


def tensorboard_trace_handler(
    dir_name: str | os.PathLike[str], worker_name: str | None = None
) -> Callable[[profile], None]:
    """For ``on_trace_ready``: write each trace into a folder, where TensorBoard's profiler looks for it."""
    folder = Path(dir_name)

    def write(p: profile) -> None:
        import json
        import socket

        folder.mkdir(parents=True, exist_ok=True)
        worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        name = f"{worker}.{time.time_ns() // 1_000_000}.pt.trace.json"
        (folder / name).write_text(json.dumps(trace_of(p.events())), encoding="utf-8")

    return write
