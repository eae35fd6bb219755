"""Programs ready to run: kernels in plans, work done by NumPy between them, memory and where outputs go."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gradloom.compiler.views import View
from gradloom.graph.node import Node
from gradloom.runtime.buffers import Buffer, allocate
from gradloom.runtime.runner import Command, Plan

__all__ = ["Executable", "HostCall", "Parts", "host_call"]


@dataclass
class HostCall:
    """A primitive that NumPy does. args, out: (slot, byte offset, shape, dtype)."""

    node: Node
    args: list[tuple[int, int, tuple[int, ...], np.dtype]]
    out: tuple[int, int, tuple[int, ...], np.dtype]

    def run(self, table: Sequence[int]) -> None:
        """Compute it; ``table`` holds the addresses of the slots."""
        arrays = [_array(table[s] + o, shape, d) for s, o, shape, d in self.args]
        assert self.node.prim is not None
        slot, offset, shape, dtype = self.out
        _array(table[slot] + offset, shape, dtype)[...] = self.node.prim.reference(
            arrays, self.node.attrs, self.node.aval
        )


def _array(address: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    nbytes = math.prod(shape) * dtype.itemsize
    if not nbytes:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, (ctypes.c_char * nbytes).from_address(address))  # type: ignore[arg-type]


@dataclass
class Parts:
    """What an :class:`Executable` is made from.

    segments: lists of commands, and host calls, in order. slots: size of the table: inputs, outputs, the arena.
    outputs: for each output its slot, or None where it is written into an input. out_bytes: their sizes.
    """

    segments: list[list[Command] | HostCall]
    inputs: int
    slots: int
    outputs: list[int | None]
    out_bytes: list[int]
    arena_slot: int
    arena_bytes: int
    quick: bool
    lines: list[str] = field(default_factory=list)


class Executable:
    """A compiled program.

    Attributes
    ----------
    input_slots: the table's slot of each input. table: addresses of the slots (None where NumPy does part of it).
    plan: the one native plan, or None likewise.
    in_place: outputs that are written into the memory of an input. out_bytes: size of each output.
    """

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
        self._arena = allocate(parts.arena_bytes) if parts.arena_bytes else None
        if self._arena is not None:
            for t in self._tables:
                t[parts.arena_slot] = self._arena.ptr

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

    def _run_steps(self, inputs: Sequence[int]) -> list[Buffer | None]:
        table = [*inputs] + [0] * (self._parts.slots - len(inputs))
        if self._arena is not None:
            table[self._parts.arena_slot] = self._arena.ptr
        out: list[Buffer | None] = []
        for o in self._outs:
            b = None if o is None else allocate(o[1])
            if o is not None and b is not None:
                table[o[0]] = b.ptr
            out.append(b)
        for t in self._tables:
            t[:] = table  # type: ignore[assignment]
        for step in self._steps:
            if isinstance(step, Plan):
                step.run()
            else:
                step.run(table)
        return out

    def describe(self) -> str:
        """The program, its kernels and what is done in place, in readable lines."""
        return "\n".join(self._parts.lines)


def host_call(node: Node, views: list[View], args: list[tuple[int, int]], out: tuple[int, int]) -> HostCall:
    """A host call from operand views and where their storages lie (slot, byte offset)."""
    given = [
        (slot, at + v.offset * x.aval.dtype.itemsize, v.shape, x.aval.dtype.numpy)
        for x, v, (slot, at) in zip(node.ins, views, args, strict=True)
    ]
    return HostCall(node, given, (*out, node.aval.shape, node.aval.dtype.numpy))
