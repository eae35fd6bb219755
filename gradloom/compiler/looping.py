"""Loops in programs: the body's kernels, compiled once, run step by step without leaving native code.

A loop's operands are carries, sequences and captured values (:mod:`gradloom.ops.control`). Its body is fused and
lowered as a program of its own, with an address for each input and output that moves from step to step: along a
sequence, or from one carry to the next. Carries alternate between two places, or, where all of them are wanted, walk
along an array that holds them one after the other. What hangs on captured values alone, the packing of a weight in
front of its product, is done once before the loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gradloom.compiler.gathers import Gathers
from gradloom.compiler.groups import Storage
from gradloom.compiler.loops import Launch
from gradloom.compiler.program import Note
from gradloom.compiler.views import View
from gradloom.graph.node import Aval, Node
from gradloom.runtime.runner import Command, Loop

if TYPE_CHECKING:
    from gradloom.compiler.pipeline import Block
    from gradloom.compiler.prepared import Early

__all__ = ["Inner", "Job", "Looping", "Where", "launches_of", "loop_commands"]

Where = dict[int, tuple[int, int]]
"""For each slot of a block's memory its place: slot of the program's table and offset in bytes."""


class Inner:
    """A compiled body.

    block: its steps. inputs, outputs: their slots in the block's memory. first: launches before the loop, which fill
    ``kept`` (offsets of slots in so many ``bytes``) for all steps.
    """

    def __init__(
        self, block: Block, inputs: list[int], outputs: list[int], first: list[Launch], once: Early | None
    ) -> None:
        self.block, self.inputs, self.outputs, self.first = block, inputs, outputs, first
        self.kept, self.bytes = (once.kept, once.nbytes) if once is not None else ({}, 0)

    @property
    def notes(self) -> list[Note]:
        """One for each launch."""
        return [Note("pack")] * len(self.first) + self.block.notes


class Job:
    """A loop of a program.

    views: of the operands in memory. results: a storage each. keep: for each carry whether its result is all of them.
    spares, arena, kept: slots of the memory that carries, the body's temporaries and what is made once need.
    """

    def __init__(self, inner: Inner, attrs: tuple, views: list[View], results: list[Storage]) -> None:
        _, self.carries, self.sequences, self.length, self.reverse, _, _, self.keep = attrs
        self.inner, self.views, self.results = inner, views, results
        self.spares: list[int] = []
        self.arena = self.kept = 0

    def reserve(self, slot: Callable[[Storage], int], temp: Callable[[int], int]) -> None:
        """Reserve memory for what lives as long as the loop runs."""
        for s in (*(v.storage for v in self.views), *self.results):
            slot(s)
        self.spares = [0 if k else temp(r.nbytes) for k, r in zip(self.keep, self.results, strict=False)]
        self.arena = temp(max(self.inner.block.arena, 1))
        self.kept = temp(max(self.inner.bytes, 1))

    @property
    def work(self) -> int:
        """Elements times instructions of all steps."""
        return self.length * self.inner.block.work


class Looping(Gathers):
    """The part of the fuser that knows loops. jobs: by node."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[int, Job] = {}

    def _loop(self, n: Node) -> None:
        body, nc, nx = n.attrs[:3]
        if not all(u is not None and u.prim is not None and u.prim.kind == "unpack" for u in self.users[id(n)]):
            return self._host(n)  # type: ignore[attr-defined, no-any-return]
        inner = body.compiled_for(nc + nx)
        if inner is None:
            return self._host(n)  # type: ignore[attr-defined, no-any-return]
        length, reverse, avals, lead, keep = n.attrs[3:]
        g = self.open("loop", ())
        views, results = [], []
        for k, x in enumerate(n.ins):
            if k < nc and keep[k]:
                one = Aval((*lead, *avals[k].shape[1:]), avals[k].dtype)
                s = Storage(Node(None, (), (), one), size=one.size * (length + 1))
                row = View.whole(s, (length + 1, *one.shape))
                self.write(x, View(s, one.shape, row.strides[1:], length * one.size if reverse else 0))
                views.append(View(s, one.shape, row.strides[1:]))
                results.append(s)
                continue
            if k < nc:
                results.append(Storage(x))
            views.append(self._rows(x) if nc <= k < nc + nx else self._whole(x))
        for a in avals[nc:]:
            results.append(Storage(Node(None, (), (), Aval((*lead, *a.shape), a.dtype))))
        for v in views:
            for w in v.storage.writers:
                self.depend(g, w)
        g.loop = Job(inner, n.attrs, views, results)
        for s in results:
            s.writers.append(g)
        self.jobs[id(n)] = g.loop
        return None

    def _whole(self, x: Node) -> View:
        """A value in memory, in C order; where it lies so, as it lies."""
        v = self.view(x)
        return v if v.contiguous else self.compact(x)

    def _rows(self, x: Node) -> View:
        """A sequence in memory: every row in C order, the rows anywhere."""
        v = self.view(x)
        return v if View(v.storage, v.shape[1:], v.strides[1:]).contiguous else self.compact(x)

    def _unpack(self, n: Node) -> None:
        """One result of a loop: its storage, or where batch axes come before the steps, a view of it."""
        (packed,) = n.ins
        job = self.jobs.get(id(packed))
        if job is None:
            return self._host(n)  # type: ignore[attr-defined, no-any-return]
        from gradloom.ops.control import places

        _, nc, _, _, _, avals, lead, keep = packed.attrs
        starts = places(avals)[0]
        number = next(k for k, (s, a) in enumerate(zip(starts, avals, strict=True)) if (s, a) == n.attrs)
        s, shape, b = job.results[number], n.aval.shape, len(lead)
        if not b or (number < nc and not keep[number]):
            self.storages[id(n)] = s
            return None
        whole = View.whole(s, (shape[b], *shape[:b], *shape[b + 1 :]))
        order = (*range(1, b + 1), 0, *range(b + 1, len(shape)))
        self.views[id(n)] = View(s, shape, tuple(whole.strides[k] for k in order))
        return None


def loop_commands(
    job: Job, where: Where, slot: Callable[[Storage], int], fresh: Callable[[], int],
    command: Callable[[Launch, Where], Command], inner: Callable[[Block, Where], list[Command | Loop]],
) -> list[Command | Loop]:  # fmt: skip
    """What is done once, then the loop.

    where: places of the memory outside. slot: a storage's slot there. fresh: gives an unused slot of the table.
    command, inner: the command of a launch, the commands of a block, whose memory lies at given places.
    """
    own = job.inner
    inside: Where = {k: (where[job.arena][0], where[job.arena][1] + at) for k, at in own.block.offsets.items()}
    inside |= {k: (where[job.kept][0], where[job.kept][1] + at) for k, at in own.kept.items()}
    starts: list[tuple[int, int, int]] = []
    moves: list[tuple[int, int, int]] = []
    nc, last = job.carries, job.length - 1

    def moving(to: int, at: tuple[int, int], start: int, step: int) -> None:
        """Let a slot of the body walk through memory."""
        s = fresh()
        inside[to] = (s, 0)
        starts.append((s, at[0], at[1] + start))
        moves.append((s, s, step))

    for k, v in enumerate(job.views):
        at = where[slot(v.storage)]
        size = v.storage.itemsize
        mine = own.inputs[k]
        if k < nc and job.keep[k]:
            row = math.prod(v.shape) * size
            step = -row if job.reverse else row
            first = (last + 1) * row if job.reverse else 0
            moving(mine, at, first, step)
            moving(own.outputs[k], at, first + step, step)
        elif k < nc:
            given, new, spare = fresh(), fresh(), fresh()
            inside[mine], inside[own.outputs[k]] = (given, 0), (new, 0)
            places = [where[slot(job.results[k])], where[job.spares[k]]]
            a, b = places if job.length % 2 else places[::-1]  # so that the last step writes the result
            starts += [(given, at[0], at[1] + v.offset * size), (new, *a), (spare, *b)]
            moves += [(given, new, 0), (new, spare, 0), (spare, given, 0)]
        elif k < nc + job.sequences:
            step = v.strides[0] * size
            start = v.offset * size + (last * step if job.reverse else 0)
            moving(mine, at, start, -step if job.reverse else step)
        else:
            inside[mine] = (at[0], at[1] + v.offset * size)
    for k in range(nc, len(job.results)):
        row = job.results[k].nbytes // max(job.length, 1)
        start = last * row if job.reverse else 0
        moving(own.outputs[k], where[slot(job.results[k])], start, -row if job.reverse else row)
    return [*(command(x, inside) for x in own.first), Loop(job.length, starts, moves, inner(own.block, inside))]


def launches_of(steps: Sequence[Any]) -> list[Launch]:
    """All launches of a block, those in loops included."""
    out: list[Launch] = []
    for s in steps:
        if isinstance(s, list):
            out += s
        elif isinstance(s, Job):
            out += s.inner.first
            out += launches_of(s.inner.block.steps)
    return out
