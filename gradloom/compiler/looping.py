"""Loops in programs: the body's kernels, compiled once, run step by step without leaving native code.

A loop's operands are carries, sequences and captured values (:mod:`gradloom.ops.control`). Its body is fused and
lowered as a program of its own, with an address for each input and output that moves from step to step: along a
sequence, or from one carry to the next. Carries alternate between two places, or, where all of them are wanted, walk
along an array that holds them one after the other. What the body only moves around before it is multiplied, a
transposed weight, is laid out once in front of the loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gradloom.compiler.gathers import Gathers
from gradloom.compiler.groups import Storage
from gradloom.compiler.loops import Launch
from gradloom.compiler.passes.clean import dead, rewrite
from gradloom.compiler.views import View
from gradloom.graph.node import Aval, Graph, Node
from gradloom.runtime.runner import Command, Loop

if TYPE_CHECKING:
    from gradloom.compiler.pipeline import Block

__all__ = ["Inner", "Job", "Looping", "Where", "laid_out", "launches_of", "loop_commands"]

Where = dict[int, tuple[int, int]]
"""For each slot of a block's memory its place: slot of the program's table and offset in bytes."""


class Inner:
    """A compiled body.

    block: its steps. inputs, outputs: their slots in the block's memory. moved: inputs made of captured ones before the
    loop, behind the others: (number of the operand, order of its axes).
    """

    def __init__(self, block: Block, inputs: list[int], outputs: list[int], moved: list[tuple[int, tuple]]) -> None:
        self.block, self.inputs, self.outputs, self.moved = block, inputs, outputs, moved


class Job:
    """A loop of a program.

    views: of the operands in memory, then of what the body has moved. results: a storage each. keep: for each carry
    whether its result is all of them. spares, arena: slots of the memory that carries and the body's temporaries need.
    """

    def __init__(self, inner: Inner, attrs: tuple, views: list[View], results: list[Storage]) -> None:
        _, self.carries, self.sequences, self.length, self.reverse, _, _, self.keep = attrs
        self.inner, self.views, self.results = inner, views, results
        self.spares: list[int] = []
        self.arena = 0

    def reserve(self, slot: Callable[[Storage], int], temp: Callable[[int], int]) -> None:
        """Reserve memory for what lives as long as the loop runs."""
        for s in (*(v.storage for v in self.views), *self.results):
            slot(s)
        self.spares = [0 if k else temp(r.nbytes) for k, r in zip(self.keep, self.results, strict=False)]
        self.arena = temp(max(self.inner.block.arena, 1))

    @property
    def work(self) -> int:
        """Elements times instructions of all steps."""
        return self.length * self.inner.block.work


def laid_out(graph: Graph, captured: int) -> tuple[Graph, list[tuple[int, tuple]]]:
    """The body with transposed captured operands of products as inputs of their own, and what those are."""
    at = {id(n): k for k, n in enumerate(graph.inputs) if k >= captured}
    fed = {id(i) for n in graph.nodes if n.prim is not None and n.prim.kind == "contraction" for i in n.ins}
    moved: list[tuple[int, tuple]] = []
    new: list[Node] = []

    def rule(n: Node, ins: Sequence[Node]) -> Node | None:
        if n.prim is None or n.prim.name != "permute" or id(n) not in fed or id(ins[0]) not in at:
            return None
        x = Node(None, (), (), n.aval)
        moved.append((at[id(ins[0])], n.attrs[0]))
        new.append(x)
        return x

    out = rewrite(graph, rule)
    made = set(map(id, new))
    nodes = [n for n in out.nodes if id(n) not in made]
    return dead(Graph([*graph.inputs, *new], nodes, out.outputs)), moved


class Looping(Gathers):
    """The part of the fuser that knows loops. jobs: by node. made: nodes that are not the graph's, kept alive."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[int, Job] = {}
        self.made: list[Node] = []

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
        for k, order in inner.moved:
            x = n.ins[k]
            shape = tuple(x.aval.shape[d] for d in order)
            self.made.append(Node(_permute(), (x,), (order,), Aval(shape, x.aval.dtype)))
            views.append(self._whole(self.made[-1]))
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


def _permute() -> Any:
    from gradloom.ops import structure

    return structure.permute


def loop_commands(
    job: Job, where: Where, slot: Callable[[Storage], int], fresh: Callable[[], int],
    inner: Callable[[Block, Where], list[Command | Loop]],
) -> Loop:  # fmt: skip
    """The commands of a loop.

    where: places of the memory outside. slot: a storage's slot there. fresh: gives an unused slot of the table.
    inner: the commands of a block whose memory lies at given places.
    """
    own = job.inner
    inside: Where = {k: (where[job.arena][0], where[job.arena][1] + at) for k, at in own.block.offsets.items()}
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
    return Loop(job.length, starts, moves, inner(own.block, inside))


def launches_of(steps: Sequence[Any]) -> list[Launch]:
    """All launches of a block, those in loops included."""
    out: list[Launch] = []
    for s in steps:
        if isinstance(s, list):
            out += s
        elif isinstance(s, Job):
            out += launches_of(s.inner.block.steps)
    return out
