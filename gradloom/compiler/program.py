"""Programs ready to run: kernels in plans, work done by NumPy between them, memory and where outputs go."""

from __future__ import annotations

import ctypes
import math
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gradloom.compiler.views import View
from gradloom.dtypes import DType
from gradloom.graph.node import Node
from gradloom.runtime.buffers import Buffer, allocate
from gradloom.runtime.runner import Item, Plan

__all__ = ["Executable", "HostCall", "Line", "Parts", "Note", "host_call", "told"]


class Place(NamedTuple):
    """An array in the program's memory: a storage's slot, its start and bytes there, and how its elements lie in it."""

    slot: int
    start: int
    nbytes: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype

    @staticmethod
    def of(view: View, dtype: DType, where: tuple[int, int]) -> Place:
        """The place of a view whose storage lies at (slot, byte offset). Strides and offset are in bytes here."""
        size = dtype.itemsize
        strides = tuple(size * s for s in view.strides)
        return Place(*where, view.storage.nbytes, view.offset * size, view.shape, strides, dtype.numpy)

    def array(self, table: Sequence[int]) -> np.ndarray:
        """The array; ``table`` holds the addresses of the slots."""
        if not math.prod(self.shape):
            return np.empty(self.shape, self.dtype)
        memory = (ctypes.c_char * self.nbytes).from_address(table[self.slot] + self.start)
        return np.ndarray(self.shape, self.dtype, memory, self.offset, self.strides)  # type: ignore[arg-type]


Line: TypeAlias = "str | Callable[[], str]"
"""Of a program's description: text, or what makes it when it is asked for."""


def told(lines: Iterable[Line]) -> list[str]:
    """Lines as text."""
    return [x if isinstance(x, str) else x() for x in lines]


@dataclass
class HostCall:
    """A primitive that NumPy does. args, out: where operands and result lie."""

    node: Node
    args: list[Place]
    out: Place

    def run(self, table: Sequence[int]) -> None:
        """Compute it; ``table`` holds the addresses of the slots."""
        n = self.node
        assert n.prim is not None
        arrays = [p.array(table) for p in self.args]
        with np.errstate(all="ignore"):
            self.out.array(table)[...] = n.prim.evaluate(arrays, [i.aval for i in n.ins], n.attrs, n.aval)


class Note(NamedTuple):
    """What a kernel or host call does: a name made of its operations, its arithmetic, the bytes it reads and writes.

    shape: the extents that it runs over. host: whether NumPy does it.
    """

    name: str
    flops: int = 0
    nbytes: int = 0
    shape: tuple[int, ...] = ()
    host: bool = False


@dataclass
class Parts:
    """What an :class:`Executable` is made from.

    segments: lists of commands and loops, and host calls, in order. slots: size of the table: inputs, outputs, the
    arena, what moves with the steps of loops.
    outputs: for each output its slot, or None where it is written into an input. out_bytes: their sizes.
    notes: what each command and host call does, in order. pool: numbers of eight bytes that kernels read, at pool_slot.
    """

    segments: list[list[Item] | HostCall]
    inputs: int
    slots: int
    outputs: list[int | None]
    out_bytes: list[int]
    arena_slot: int
    arena_bytes: int
    quick: bool
    lines: list[Line] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    pool: list[int | float] = field(default_factory=list)
    pool_slot: int = -1


class Executable:
    """A compiled program.

    Attributes
    ----------
    input_slots: the table's slot of each input. table: addresses of the slots (None where NumPy does part of it).
    plan: the one native plan, or None likewise.
    in_place: outputs that are written into the memory of an input. out_bytes: size of each output.
    kept: what it computes from lasting inputs alone (:class:`gradloom.compiler.prepared.Prepared`), or None.
    """

    kept: Any = None

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.input_slots = list(range(parts.inputs))
        self.in_place = {k for k, s in enumerate(parts.outputs) if s is None}
        self.out_bytes = list(parts.out_bytes)
        self._outs = [None if s is None else (s, b) for s, b in zip(parts.outputs, parts.out_bytes, strict=True)]
        self._steps: list[Plan | HostCall] = [
            s if isinstance(s, HostCall) else Plan(s, parts.slots, parts.quick) for s in parts.segments
        ]
        plans = [s for s in self._steps if isinstance(s, Plan)]
        self._tables = [p.table for p in plans]
        native = len(self._steps) == 1 and len(plans) == 1
        self.table = plans[0].table if native else None
        self.plan = plans[0] if native else None
        self._run = plans[0].run if native else None
        self._last: list[int] = []
        self._fixed: dict[int, int] = {}
        self.arena_bytes = parts.arena_bytes
        self._arena = allocate(parts.arena_bytes) if parts.arena_bytes else None
        if self._arena is not None:
            self.place_at(parts.arena_slot, self._arena.ptr)
        self._pool = allocate(8 * len(parts.pool)) if parts.pool else None
        if self._pool is not None:
            cells = b"".join(struct.pack("=q" if type(x) is int else "=d", x) for x in parts.pool)
            ctypes.memmove(self._pool.ptr, cells, len(cells))
            self.place_at(parts.pool_slot, self._pool.ptr)

    def place_at(self, slot: int, ptr: int) -> None:
        """Say where a slot's memory is from now on."""
        if self._fixed.get(slot) != ptr:
            self._fixed[slot] = ptr
            for t in self._tables:
                t[slot] = ptr

    def run(self, inputs: Sequence[int]) -> list[Buffer | None]:
        """Run the program on inputs given by their addresses.

        Returns a buffer for each output, or None where it was written into the memory of a donated input. One
        executable runs in one thread at a time.
        """
        run = self._run
        if run is None:
            return self._run_steps(inputs)
        table = self.table
        assert table is not None
        if inputs != self._last:
            self._last = last = list(inputs)
            table[: len(last)] = last  # type: ignore[assignment]
        out: list[Buffer | None] = []
        for o in self._outs:
            if o is None:
                out.append(None)
            else:
                b = allocate(o[1])
                table[o[0]] = b.ptr
                out.append(b)
        run()
        return out

    def run_timed(self, inputs: Sequence[int]) -> tuple[list[Buffer | None], list[tuple[Note, int, int]]]:
        """Run it kernel by kernel: the outputs, and for each kernel its note, start and duration in nanoseconds.

        Starts count from the beginning of the run's clock (``time.perf_counter_ns``).
        """
        spans: list[tuple[int, int]] = []
        out = self._run_steps(inputs, spans)
        return out, [(n, *s) for n, s in zip(self._parts.notes, spans, strict=True)]

    def _run_steps(self, inputs: Sequence[int], spans: list[tuple[int, int]] | None = None) -> list[Buffer | None]:
        table = [*inputs] + [0] * (self._parts.slots - len(inputs))
        for slot, ptr in self._fixed.items():
            table[slot] = ptr
        out: list[Buffer | None] = []
        for o in self._outs:
            b = None if o is None else allocate(o[1])
            if o is not None and b is not None:
                table[o[0]] = b.ptr
            out.append(b)
        for t in self._tables:
            t[:] = table  # type: ignore[assignment]
        for step in self._steps:
            if spans is not None:
                _time(step, table, spans)
            elif isinstance(step, Plan):
                step.run()
            else:
                step.run(table)
        return out

    def describe(self) -> str:
        """The program, its kernels and what is done in place, in readable lines."""
        return "\n".join(told(self._parts.lines))


def _time(step: Plan | HostCall, table: list[int], spans: list[tuple[int, int]]) -> None:
    """Run one step and note start and duration of each of its kernels."""
    at = time.perf_counter_ns()
    if isinstance(step, Plan):
        for took in step.run_profiled():
            spans.append((at, took))
            at += took
    else:
        step.run(table)
        spans.append((at, time.perf_counter_ns() - at))


def host_call(
    node: Node, views: list[View], args: list[tuple[int, int]], out: View, where: tuple[int, int]
) -> HostCall:
    """A host call from the views of operands and result and where their storages lie (slot, byte offset)."""
    given = [Place.of(v, x.aval.dtype, at) for x, v, at in zip(node.ins, views, args, strict=True)]
    return HostCall(node, given, Place.of(out, node.aval.dtype, where))
