"""What a profile recorded: single events, and sums over those of one name, as a table and as a Chrome trace."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gradloom.profiler.limits import machine_limits

__all__ = ["Average", "Event", "EventList"]

KERNEL, HOST, PROGRAM, COMPILE, USER = "kernel", "host", "program", "compile", "user"


@dataclass
class Event:
    """Something that took time. start, duration: nanoseconds. kind: kernel, host, program, compile or user."""

    name: str
    kind: str
    start: int
    duration: int
    flops: int = 0
    nbytes: int = 0
    shape: tuple[int, ...] = ()
    thread: int = 0
    memory: int = 0
    stack: str = ""

    @property
    def cpu_time(self) -> float:
        """Microseconds."""
        return self.duration / 1000

    cpu_time_total = self_cpu_time_total = cpu_time


@dataclass
class Average:
    """Events of one name (and shape, where asked for) together. Times are microseconds."""

    key: str
    kind: str
    count: int = 0
    cpu_time_total: float = 0.0
    flops: int = 0
    nbytes: int = 0
    input_shapes: tuple[int, ...] = ()
    memory: int = 0
    stack: str = ""
    events: list[Event] = field(default_factory=list, repr=False)

    @property
    def cpu_time(self) -> float:
        """Microseconds of one event, on average."""
        return self.cpu_time_total / self.count if self.count else 0.0

    @property
    def self_cpu_time_total(self) -> float:
        """The same as ``cpu_time_total`` for kernels; nothing for what only contains them."""
        return self.cpu_time_total if self.kind in (KERNEL, HOST, COMPILE) else 0.0

    @property
    def limit_share(self) -> float:
        """The least time that the machine needs for this work, as a share of the time taken."""
        limits = machine_limits()
        seconds = self.cpu_time_total * 1e-6
        return sum(limits.least(e.flops, e.nbytes) for e in self.events) / seconds if seconds > 0 else 0.0

    def add(self, e: Event) -> None:
        """Take one more event in."""
        self.count += 1
        self.cpu_time_total += e.cpu_time
        self.flops += e.flops
        self.nbytes += e.nbytes
        self.memory += e.memory
        self.stack = self.stack or e.stack
        self.events.append(e)


_SORT = {
    "cpu_time_total": lambda a: -a.cpu_time_total, "self_cpu_time_total": lambda a: -a.self_cpu_time_total,
    "cpu_time": lambda a: -a.cpu_time, "count": lambda a: -a.count, "flops": lambda a: -a.flops,
    "bytes": lambda a: -a.nbytes, "cpu_memory_usage": lambda a: -a.memory, "self_cpu_memory_usage": lambda a: -a.memory,
}  # fmt: skip


class EventList(list):
    """Events or averages, with PyTorch's methods."""

    @staticmethod
    def averages(events: Iterable[Event], by_shape: bool = False) -> EventList:
        """Sums over the events of one name."""
        found: dict[tuple, Average] = {}
        for e in events:
            key = (e.name, e.kind, e.shape if by_shape else ())
            if key not in found:
                found[key] = Average(e.name, e.kind, input_shapes=e.shape if by_shape else ())
            found[key].add(e)
        return EventList(found.values())

    def total_average(self) -> Average:
        """All kernels and host calls as one."""
        out = Average("total", KERNEL)
        for a in self:
            for e in a.events if isinstance(a, Average) else [a]:
                if e.kind in (KERNEL, HOST):
                    out.add(e)
        return out

    def table(
        self,
        sort_by: str | None = None,
        row_limit: int = 100,
        max_name_column_width: int = 48,
        header: str | None = None,
    ) -> str:
        """The averages as text, longest first.

        sort_by: one of cpu_time_total, self_cpu_time_total, cpu_time, count, flops, bytes, cpu_memory_usage.
        Columns: the share of all kernels' time; arithmetic and bytes a second; the share of the machine's limit.
        """
        from rich.console import Console
        from rich.table import Table

        if sort_by is not None and sort_by not in _SORT:
            raise ValueError(f"table: sort_by {sort_by!r}; expected one of {', '.join(_SORT)}")
        rows = sorted(self, key=_SORT[sort_by or "self_cpu_time_total"])
        total = sum(a.self_cpu_time_total for a in rows if a.kind != COMPILE) or 1.0
        shapes = any(a.input_shapes for a in rows)
        memory = any(a.memory for a in rows)
        stacks = any(a.stack for a in rows)
        t = Table(title=header, show_edge=False)
        t.add_column("Name", max_width=max_name_column_width, no_wrap=True)
        for name in (
            "Self CPU %",
            "Self CPU",
            "CPU total",
            "CPU time avg",
            "# of Calls",
            "GFLOP/s",
            "GB/s",
            "of limit",
        ):
            t.add_column(name, justify="right", no_wrap=True)
        for name, wanted in (("Shape", shapes), ("Memory", memory), ("Source", stacks)):
            if wanted:
                t.add_column(name, no_wrap=True)
        for a in rows[:row_limit]:
            own, seconds = a.self_cpu_time_total, a.cpu_time_total * 1e-6
            work = a.kind in (KERNEL, HOST) and seconds > 0
            cells = [
                a.key if a.kind in (KERNEL, USER) else f"[{a.kind}] {a.key}",
                f"{100 * own / total:.1f}%" if own and a.kind != COMPILE else "",
                _time(own), _time(a.cpu_time_total), _time(a.cpu_time), str(a.count),
                f"{a.flops / seconds / 1e9:.2f}" if work and a.flops else "",
                f"{a.nbytes / seconds / 1e9:.2f}" if work and a.nbytes else "",
                f"{100 * a.limit_share:.0f}%" if work and a.limit_share else "",
            ]  # fmt: skip
            cells += [str(list(a.input_shapes))] if shapes else []
            cells += [f"{a.memory} b" if a.memory else ""] if memory else []
            cells += [a.stack] if stacks else []
            t.add_row(*(c.replace("[", "\\[") for c in cells))
        text = io.StringIO()
        console = Console(file=text, width=240, color_system=None, force_terminal=False, legacy_windows=False)
        console.print(t)
        lines = [line.rstrip() for line in text.getvalue().splitlines()]
        return "\n".join([*lines, f"Self CPU time total: {_time(total)}"])

    def export_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write the events as a trace for ``chrome://tracing`` or https://ui.perfetto.dev ."""
        with open(path, "w", encoding="utf-8") as f:
            json.dump(trace_of(self), f)


def trace_of(events: Iterable[Event]) -> dict[str, Any]:
    """The Chrome trace of events: times in microseconds from the first."""
    listed = sorted(events, key=lambda e: (e.start, -e.duration))
    zero = listed[0].start if listed else 0
    lanes = {KERNEL: 2, HOST: 2, PROGRAM: 1, COMPILE: 1, USER: 0}
    names = {0: "user", 1: "programs", 2: "kernels"}
    pid = os.getpid()
    out: list[dict[str, Any]] = [
        {"ph": "M", "name": "thread_name", "pid": pid, "tid": lane, "args": {"name": name}}
        for lane, name in names.items()
    ]
    for e in listed:
        given = {"flops": e.flops, "bytes": e.nbytes, "shape": list(e.shape), "memory": e.memory, "source": e.stack}
        out.append(
            {
                "ph": "X", "cat": e.kind, "name": e.name, "pid": pid, "tid": lanes[e.kind],
                "ts": (e.start - zero) / 1000, "dur": e.duration / 1000, "args": {k: v for k, v in given.items() if v},
            }
        )  # fmt: skip
    return {"displayTimeUnit": "ms", "traceEvents": out}


def _time(us: float) -> str:
    if not us:
        return ""
    return f"{us:.3f}us" if us < 1e3 else f"{us / 1e3:.3f}ms" if us < 1e6 else f"{us / 1e6:.3f}s"
