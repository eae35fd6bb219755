"""Steps run again without their Python: for training loops whose step is known to do the same every time.

A step that was recorded once (:meth:`Replay.record`) is a program, cells that it rewrites in place, arrays of the batch
and the numbers of the optimiser. Where the cells still hold what the last step left, and nobody else holds it, the
next step is that program on the next batch (:meth:`Replay.run`). In every other case the caller goes through the tape.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom.entries import Program, Value
from gradloom.graph.node import Aval
from gradloom.runtime.buffers import Buffer, from_numpy
from gradloom.runtime.kept import WATCHED, touched
from gradloom.tape import TAPE

__all__ = ["Replay"]

_getrefcount = sys.getrefcount
_HELD = 4  # a value by its cell, its buffer by the value; each by the plan, the loop's name and the call that counts
_ATTEMPTS = 8  # recordings without success, after which a step is taken to be one that cannot be replayed


class _Plan:
    """A step that can be run again."""

    __slots__ = ("arrays", "autocast", "avals", "cells", "checks", "exe", "floats", "pointers", "sources", "written")

    def __init__(self, program: Program, pointers: list[int]) -> None:
        self.exe, self.checks, self.floats = program.exe, program.checks, program.float_mem
        self.pointers = pointers
        self.autocast = TAPE.autocast
        self.cells: list[tuple[Any, Value, Buffer]] = []
        self.sources: list[tuple[int, int, Aval]] = []  # (input of the program, array of the batch, its aval)
        self.written: list[int] = []  # addresses of the cells that it rewrites
        self.arrays: list[np.ndarray] = []
        self.avals: list[tuple[tuple[int, ...], np.dtype]] = []

    def leaves(self) -> list[Value | None]:
        """The inputs of the program that are arrays of the batch, by place."""
        leaves: list[Value | None] = [None] * len(self.pointers)
        for at, source, aval in self.sources:
            leaves[at] = Value(aval, None, from_numpy(self.arrays[source]))
        return leaves


class Replay:
    """One step of a loop, for the shapes of its latest batch."""

    def __init__(self) -> None:
        self._plan: _Plan | None = None
        self._failures = 0

    def run(self, arrays: Sequence[np.ndarray], scalars: Sequence[float]) -> bool:
        """Do the step on a batch. False where nothing was done, and it must be recorded."""
        plan = self._plan
        if plan is None:
            return False
        with TAPE.lock:
            if TAPE.pos is not TAPE.root:
                TAPE.flush()
            for t, v, buf in plan.cells:
                if t._v is not v or t._views or _getrefcount(v) != _HELD or _getrefcount(buf) != _HELD:
                    self._plan = None
                    return False
            if TAPE.target != "cpu" or TAPE.autocast != plan.autocast or not self._take(plan, arrays):
                self._plan = None
                return False
            plan.floats[:] = scalars
            results = plan.exe.run(plan.pointers)
            if WATCHED:
                for ptr in plan.written:
                    touched(ptr)
            if plan.checks:
                TAPE.verify(plan.checks, results, plan.leaves)
            return True

    @staticmethod
    def _take(plan: _Plan, arrays: Sequence[np.ndarray]) -> bool:
        """Let the program read another batch."""
        held = plan.arrays
        for k, a in enumerate(arrays):
            if a is held[k]:
                continue
            if (a.shape, a.dtype) != plan.avals[k] or not a.flags.c_contiguous or not a.flags.aligned:
                return False
            held[k] = a
            for at, source, _ in plan.sources:
                if source == k:
                    plan.pointers[at] = a.ctypes.data
        return True

    def record(self, arrays: Sequence[np.ndarray], scalars: Sequence[float], step: Callable[[], None]) -> None:
        """Do the step by ``step()``, which goes through the tape, and keep it if it can be run again."""
        if self._failures >= _ATTEMPTS:
            step()
            return
        self._failures += 1
        with TAPE.lock:
            if TAPE.pos is not TAPE.root:
                TAPE.flush()
            seen: list[Any] = []
            TAPE.watch = seen.append
            try:
                step()
            finally:
                TAPE.watch = None
        if len(seen) == 1 and TAPE.target == "cpu":
            self._plan = _plan_of(seen[0], arrays, scalars)
            if self._plan is not None:
                self._failures = 0


def _plan_of(
    seen: tuple[Program, list[Value | None], list[Any], dict[int, Any], tuple[tuple[int, int], ...]],
    arrays: Sequence[np.ndarray],
    scalars: Sequence[float],
) -> _Plan | None:
    """What was recorded as a plan, or None where it is not a step of the kind that can be replayed."""
    program, leaves, tensors, numbers, donate = seen
    if program.outputs != len(donate) or program.whole or len(program.floats) != len(scalars):
        return None
    if [numbers[k] for k in program.floats] != list(scalars):
        return None
    plan = _Plan(program, [0] * len(leaves))
    written = {k for _, k in donate}
    for k in numbers:
        plan.pointers[k] = program.pointers[k]
    for k, (leaf, t) in enumerate(zip(leaves, tensors, strict=True)):
        if leaf is None:
            continue
        if leaf.buf is None:
            return None
        source = next((n for n, a in enumerate(arrays) if leaf.buf.keep is a), None)
        if source is not None:
            plan.sources.append((k, source, leaf.aval))
        elif t is None or t._v.buf is not leaf.buf or (k not in written and t._v is not leaf):
            return None  # a value that the step made anew, or one that it took and did not leave in its cell
        else:
            plan.cells.append((t, t._v, leaf.buf))
            if k in written:
                plan.written.append(leaf.buf.ptr)
        plan.pointers[k] = leaf.buf.ptr
    plan.arrays = list(arrays)
    plan.avals = [(a.shape, a.dtype) for a in arrays]
    return plan
