"""Steps run again without their Python: for training loops whose step is known to do the same every time.

A step that was recorded (:meth:`Replay.record`) is a program, cells that it rewrites in place, the batch, the numbers
of the optimiser, and draws from generators. Where the cells still hold what the last step left, and nobody else holds
it, the next step is that program on the next batch (:meth:`Replay.run`). In every other case the caller goes through
the tape. What else a step reads must have been the same in two recordings: the very same cells, and equal numbers
where neither the optimiser nor a generator accounts for them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom.compiler.repeated import Repeated, can_repeat, repeated
from gradloom.entries import Program, Value
from gradloom.graph.node import Aval
from gradloom.random import Generator, draws_told_to
from gradloom.runtime.buffers import Buffer, as_numpy, from_numpy
from gradloom.runtime.kept import WATCHED, touched
from gradloom.tape import MODES, TAPE
from gradloom.tensor import Tensor

__all__ = ["Replay"]

Part = np.ndarray | Tensor  # of a batch

_getrefcount = sys.getrefcount
_HELD = 4  # a value by its cell, its buffer by the value; each by the plan, the loop's name and the call that counts
_ATTEMPTS = 8  # recordings without success, after which a step is taken to be one that cannot be replayed


class _Plan:
    """A step that can be run again."""

    __slots__ = (
        "autocast", "avals", "cells", "checks", "draws", "exe", "floats", "own_floats", "own_whole", "parts",
        "pointers", "program", "sources", "whole", "written",
    )  # fmt: skip

    def __init__(self, program: Program, pointers: list[int]) -> None:
        self.program, self.exe, self.checks = program, program.exe, program.checks
        self.floats, self.whole = program.float_mem, program.whole_mem
        self.pointers = pointers
        self.autocast = MODES.autocast
        self.cells: list[tuple[Any, Value, Buffer]] = []
        self.sources: list[tuple[int, int, Aval]] = []  # (input of the program, part of the batch, its aval)
        self.written: list[int] = []  # addresses of the cells that it rewrites
        self.parts: list[Part] = []
        self.avals: list[Any] = []  # of each part: an array's shape and dtype, a tensor's aval
        self.own_floats: list[float] = []  # those that stand before the optimiser's
        self.own_whole: list[int] = []
        self.draws: list[tuple[int, Generator]] = []  # where among the whole ones a generator's two numbers go

    def leaves(self) -> list[Value | None]:
        """The inputs of the program that are parts of the batch, by place."""
        leaves: list[Value | None] = [None] * len(self.pointers)
        for at, source, aval in self.sources:
            part = self.parts[source]
            leaves[at] = part._v if isinstance(part, Tensor) else Value(aval, None, from_numpy(part))
        return leaves


class Replay:
    """One step of a loop, for the shapes of its latest batch."""

    def __init__(self) -> None:
        self._plan: _Plan | None = None
        self._failures = 0
        self._before: list[Any] = []  # what the last recording read beside batch, optimiser's numbers and draws

    def run(self, batch: Sequence[Part], scalars: Sequence[float]) -> bool:
        """Do the step on a batch. False where nothing was done, and it must be recorded."""
        with TAPE.lock:
            plan = self._untouched()
            if plan is None or not self._take(plan, batch):
                self._plan = None
                return False
            plan.floats[:] = [*plan.own_floats, *scalars]
            if plan.own_whole:
                for at, generator in plan.draws:
                    plan.own_whole[at : at + 2] = generator.draw()
                plan.whole[:] = plan.own_whole
            results = plan.exe.run(plan.pointers)
            if WATCHED:
                for ptr in plan.written:
                    touched(ptr)
            if plan.checks:
                TAPE.verify(plan.checks, results, plan.leaves)
            return True

    def _untouched(self) -> _Plan | None:
        """The plan, where all cells are as the last step left them."""
        plan = self._plan
        if plan is None:
            return None
        if TAPE.pos is not TAPE.root:
            TAPE.flush()
        for t, v, buf in plan.cells:
            if t._v is not v or t._views or _getrefcount(v) != _HELD or _getrefcount(buf) != _HELD:
                return None
        return plan if TAPE.target == "cpu" and MODES.autocast == plan.autocast else None

    def run_several(self, arrays: Sequence[np.ndarray], count: int, scalars: Callable[[], Sequence[float]]) -> bool:
        """Do ``count`` steps by one native call on arrays that hold their batches one after the other.

        scalars : called for each step, in order. False where nothing was done and nothing was called.
        """
        with TAPE.lock:
            plan = self._untouched()
            if plan is None or not can_repeat(plan.exe):
                return False
            starts = []
            for a, known in zip(arrays, plan.avals, strict=True):
                if isinstance(known, Aval):
                    return False
                shape, dtype = known
                fits = a.shape[0] == count * shape[0] and a.shape[1:] == shape[1:] and a.dtype == dtype
                if not fits or not a.flags.c_contiguous or not a.flags.aligned:
                    return False
                starts.append((a.ctypes.data, a.nbytes // count))
            floats = np.array([[*plan.own_floats, *scalars()] for _ in range(count)], np.float64)
            whole = np.array([plan.own_whole] * count, np.int64)
            for row in whole:
                for at, generator in plan.draws:
                    row[at : at + 2] = generator.draw()
            pointers, moves = list(plan.pointers), {}
            for at, source, _ in plan.sources:
                pointers[at], moves[at] = starts[source]
            for inputs, numbers in ((plan.program.floats, floats), (plan.program.whole, whole)):
                for k, at in enumerate(inputs):
                    pointers[at], moves[at] = numbers.ctypes.data + 8 * k, numbers.strides[0]
            several = repeated(plan.exe, count, moves)
            results = several.run(pointers)
            if WATCHED:
                for ptr in plan.written:
                    touched(ptr)
            if plan.checks:
                self._verify(plan, several, results, arrays)
            return True

    @staticmethod
    def _verify(plan: _Plan, several: Repeated, results: list[Any], arrays: Sequence[np.ndarray]) -> None:
        """Look at the flags of all steps' checks; the first step's that are raised, as those of a single one."""
        both = list(zip(results, several.strides, strict=True))[-len(plan.checks) :]
        flags = [(b, by) for b, by in both if by is not None]
        if not any(as_numpy(b, np.uint8, (several.count, by))[:, 0].any() for b, by in flags):
            return
        for step in range(several.count):
            parts = [a[step * len(a) // several.count : (step + 1) * len(a) // several.count] for a in arrays]
            one = [Buffer(b.ptr + step * by, 1, keep=b) for b, by in flags]
            plan.parts = list(parts)
            TAPE.verify(plan.checks, one, plan.leaves)

    @staticmethod
    def _take(plan: _Plan, batch: Sequence[Part]) -> bool:
        """Let the program read another batch."""
        held = plan.parts
        for k, a in enumerate(batch):
            if isinstance(a, Tensor):
                v = a._v
                if v.aval != plan.avals[k] or v.buf is None or v.hist is not None or a._rg:
                    return False
                ptr = v.buf.ptr
            else:
                if a is held[k]:
                    continue
                if (a.shape, a.dtype) != plan.avals[k] or not a.flags.c_contiguous or not a.flags.aligned:
                    return False
                ptr = a.ctypes.data
            held[k] = a
            for at, source, _ in plan.sources:
                if source == k:
                    plan.pointers[at] = ptr
        return True

    def record(self, batch: Sequence[Part], scalars: Sequence[float] | None, step: Callable[[], None]) -> None:
        """Do the step by ``step()``, which goes through the tape, and keep it if it can be run again.

        scalars : what the optimiser hands to its update, the last floats of the program; None where that is not known.
        """
        if self._failures >= _ATTEMPTS or scalars is None:
            step()
            return
        self._failures += 1
        with TAPE.lock:
            if TAPE.pos is not TAPE.root:
                TAPE.flush()
            seen: list[Any] = []
            drawn: list[tuple[Generator, tuple[int, int]]] = []
            TAPE.watch = seen.append
            try:
                with draws_told_to(lambda *draw: drawn.append(draw)):
                    step()
            finally:
                TAPE.watch = None
        if len(seen) != 1 or TAPE.target != "cpu":
            return
        program, _, _, numbers, _ = seen[0]
        floats, whole = [numbers[k] for k in program.floats], [int(numbers[k]) for k in program.whole]
        own = len(floats) - len(scalars)
        draws = _accounted(whole, drawn)
        if own < 0 or floats[own:] != list(scalars) or draws is None:
            return
        plan = _plan_of(seen[0], batch)
        if plan is None:
            return
        at = {k for first, _ in draws for k in (first, first + 1)}
        now = [
            program,
            floats[:own],
            [x for k, x in enumerate(whole) if k not in at],
            [_Same(t) for t, _, _ in plan.cells],
        ]
        before, self._before = self._before, now
        if before == now:
            plan.own_floats, plan.own_whole, plan.draws = floats[:own], whole, draws
            self._plan, self._failures = plan, 0


class _Same:
    """Equal to nothing but what holds the same object."""

    __slots__ = ("held",)

    def __init__(self, held: Any) -> None:
        self.held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.held is other.held

    __hash__ = None  # type: ignore[assignment]


def _accounted(whole: list[int], drawn: list[tuple[Generator, tuple[int, int]]]) -> list[tuple[int, Generator]] | None:
    """Where each draw's two numbers stand among the program's; None where one is missing."""
    found, at = [], 0
    for generator, draw in drawn:
        while at + 1 < len(whole) and (whole[at], whole[at + 1]) != draw:
            at += 1
        if at + 1 >= len(whole):
            return None
        found.append((at, generator))
        at += 2
    return found


def _plan_of(
    seen: tuple[Program, list[Value | None], list[Any], dict[int, Any], tuple[tuple[int, int], ...]],
    batch: Sequence[Part],
) -> _Plan | None:
    """What was recorded as a plan, or None where it is not a step of the kind that can be replayed."""
    program, leaves, tensors, numbers, donate = seen
    if program.outputs != len(donate):
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
        source = next(
            (n for n, a in enumerate(batch) if (leaf is a._v if isinstance(a, Tensor) else leaf.buf.keep is a)), None
        )
        if source is not None:
            plan.sources.append((k, source, leaf.aval))
        elif t is None or t._v.buf is not leaf.buf or (k not in written and t._v is not leaf):
            return None  # a value that the step made anew, or one that it took and did not leave in its cell
        else:
            plan.cells.append((t, t._v, leaf.buf))
            if k in written:
                plan.written.append(leaf.buf.ptr)
        plan.pointers[k] = leaf.buf.ptr
    plan.parts = list(batch)
    plan.avals = [a._v.aval if isinstance(a, Tensor) else (a.shape, a.dtype) for a in batch]
    return plan
