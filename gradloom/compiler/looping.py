"""Loops in programs: the body's kernels, compiled once, run step by step without leaving native code.

A loop's operands are carries, sequences and captured values (:mod:`gradloom.ops.control`). Its body is fused and
lowered as a program of its own, with an address for each input and output that moves from step to step: along a
sequence, or from one carry to the next. Carries alternate between two places, or, where all of them are wanted, walk
along an array that holds them one after the other. What hangs on captured values alone, the packing of a weight in
front of its product, is done once before the loop.

A body whose rows go their own ways runs as several loops beside each other (:mod:`gradloom.compiler.rows`): the same
for fewer rows, at other places of the same arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gradloom.compiler.gathers import Gathers
from gradloom.compiler.groups import Storage
from gradloom.compiler.loops import Launch
from gradloom.compiler.program import Note
from gradloom.compiler.rows import blocks, taken_apart
from gradloom.compiler.views import View
from gradloom.graph.node import Aval, Node
from gradloom.runtime.runner import Apart, Command, Item, Loop
from gradloom.runtime.threads import get_num_threads

if TYPE_CHECKING:
    from gradloom.compiler.pipeline import Block
    from gradloom.compiler.prepared import Early

__all__ = ["Inner", "Job", "Looping", "Strand", "Where", "launches_of", "loop_commands"]

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


class Strand(NamedTuple):
    """A part of a loop that runs from its first step to its last on one thread; or, where it is alone, on all.

    inner: its body. numbers: the loop's results that it makes. used: for each operand whether it is needed. along:
    whether it has the rows, of which this strand takes ``rows`` of ``total`` from ``first`` on; 0 where it takes all.
    """

    inner: Inner
    numbers: Sequence[int]
    used: Sequence[bool]
    along: Sequence[bool]
    first: int = 0
    rows: int = 0
    total: int = 0


class Job:
    """A loop of a program.

    strands: run beside each other. views: of the operands in memory. results: a storage each. keep: for each carry
    whether its result is all of them. spares: slots of the memory that carries need besides their results; arenas: of
    strands' temporaries; kept: of what is made once, by body.
    """

    def __init__(self, strands: Sequence[Strand], attrs: tuple, views: list[View], results: list[Storage]) -> None:
        _, self.carries, self.sequences, self.length, self.reverse, _, _, self.keep = attrs
        self.strands, self.views, self.results = strands, views, results
        self.inners = list(dict.fromkeys(s.inner for s in strands))
        self.spares: list[int] = []
        self.arenas: list[int] = []
        self.kept: dict[Inner, int] = {}

    def reserve(self, slot: Callable[[Storage], int], temp: Callable[[int], int]) -> None:
        """Reserve memory for what lives as long as the loop runs."""
        for s in (*(v.storage for v in self.views), *self.results):
            slot(s)
        self.spares = [0 if k else temp(r.nbytes) for k, r in zip(self.keep, self.results, strict=False)]
        self.arenas = [temp(max(s.inner.block.arena, 1)) for s in self.strands]
        self.kept = {i: temp(max(i.bytes, 1)) for i in self.inners}

    @property
    def notes(self) -> list[Note]:
        """One for each launch: what is done once, then the bodies."""
        return [
            *(Note("pack") for i in self.inners for _ in i.first),
            *(n for i in self.inners for n in i.block.notes),
        ]

    @property
    def work(self) -> int:
        """Elements times instructions of all steps."""
        return self.length * sum(s.inner.block.work for s in self.strands)


class Looping(Gathers):
    """The part of the fuser that knows loops. jobs: by node."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[int, Job] = {}

    def _loop(self, n: Node) -> None:
        body, nc, nx = n.attrs[:3]
        if not all(u is not None and u.prim is not None and u.prim.kind == "unpack" for u in self.users[id(n)]):
            return self._host(n)  # type: ignore[attr-defined, no-any-return]
        strands = _strands(body, nc, nx) if n.attrs[3] > 1 else []
        if not strands:
            inner = body.compiled_for(nc + nx)
            if inner is None:
                return self._host(n)  # type: ignore[attr-defined, no-any-return]
            every = [True] * len(n.ins)
            strands = [Strand(inner, range(len(body.outputs)), every, every)]
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
        g.loop = Job(strands, n.attrs, views, results)
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


def _strands(body: Any, nc: int, nx: int) -> list[Strand]:
    """The strands of a loop over a body; none where all of it is to be done step by step."""
    from gradloom.compiler.pipeline import compile_body

    derived = body.derived
    if ("pieces", nc, nx) not in derived:
        derived["pieces", nc, nx] = taken_apart(body.graph(), nc, nc + nx)
    pieces = derived["pieces", nc, nx]
    out = []
    for number, first, rows in blocks(pieces, get_num_threads()):
        piece, key = pieces[number], ("piece", nc, nx, number, rows)
        if key not in derived:
            derived[key] = compile_body(piece.of(rows), nc + nx)
        if derived[key] is None:
            return []
        out.append(Strand(derived[key], piece.outputs, piece.used, piece.along, first, rows, piece.rows))
    return out


APART = 16  # unused entries of the table between those of two strands: no two threads write to one line of a cache


def loop_commands(
    job: Job, where: Where, slot: Callable[[Storage], int], fresh: Callable[[], int],
    command: Callable[[Launch, Where], Command], inner: Callable[[Block, Where], list[Item]],
) -> list[Item]:  # fmt: skip
    """What is done once, then the loop.

    where: places of the memory outside. slot: a storage's slot there. fresh: gives an unused slot of the table.
    command, inner: the command of a launch, the commands of a block, whose memory lies at given places.
    """
    first: list[Item] = []
    done: set[Inner] = set()
    loops: list[list[Item]] = []
    for strand, arena in zip(job.strands, job.arenas, strict=True):
        own = strand.inner
        inside: Where = {k: (where[arena][0], where[arena][1] + at) for k, at in own.block.offsets.items()}
        kept = where[job.kept[own]]
        inside |= {k: (kept[0], kept[1] + at) for k, at in own.kept.items()}
        starts, moves = _moves(job, strand, where, slot, fresh, inside)
        if own not in done:
            done.add(own)
            first += [command(x, inside) for x in own.first]
        loops.append([Loop(job.length, starts, moves, inner(own.block, inside))])
        if len(job.strands) > 1:
            for _ in range(APART):
                fresh()
    if len(loops) == 1:
        return [*first, *loops[0]]
    return [*first, Apart(loops, [job.inners.index(s.inner) for s in job.strands])]


def _moves(
    job: Job, strand: Strand, where: Where, slot: Callable[[Storage], int], fresh: Callable[[], int], inside: Where
) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """Where a strand's operands and results begin and how they move from step to step; notes their slots inside."""
    own = strand.inner
    starts: list[tuple[int, int, int]] = []
    moves: list[tuple[int, int, int]] = []
    nc, last = job.carries, job.length - 1

    def moving(to: int, at: tuple[int, int], start: int, step: int) -> None:
        """Let a slot of the body walk through memory."""
        s = fresh()
        inside[to] = (s, 0)
        starts.append((s, at[0], at[1] + start))
        moves.append((s, s, step))

    def beside(k: int, shape: Sequence[int], size: int) -> int:
        """Bytes from the first row of a value to this strand's."""
        return strand.first * math.prod(shape[1:]) * size if strand.rows and strand.along[k] else 0

    outputs = dict(zip(strand.numbers, own.outputs, strict=True))
    for k, v in enumerate(job.views):
        if not strand.used[k]:
            continue
        at = where[slot(v.storage)]
        size = v.storage.itemsize
        mine = own.inputs[k]
        if k < nc and job.keep[k]:
            row = math.prod(v.shape) * size
            step = -row if job.reverse else row
            begin = ((last + 1) * row if job.reverse else 0) + beside(k, v.shape, size)
            moving(mine, at, begin, step)
            moving(outputs[k], at, begin + step, step)
        elif k < nc:
            given, new, spare = fresh(), fresh(), fresh()
            inside[mine], inside[outputs[k]] = (given, 0), (new, 0)
            places = [where[slot(job.results[k])], where[job.spares[k]]]
            a, b = places if job.length % 2 else places[::-1]  # so that the last step writes the result
            offset = beside(k, v.shape, size)
            starts += [(given, at[0], at[1] + v.offset * size + offset)]
            starts += [(new, a[0], a[1] + offset), (spare, b[0], b[1] + offset)]
            moves += [(given, new, 0), (new, spare, 0), (spare, given, 0)]
        elif k < nc + job.sequences:
            step = v.strides[0] * size
            start = v.offset * size + (last * step if job.reverse else 0) + beside(k, v.shape[1:], size)
            moving(mine, at, start, -step if job.reverse else step)
        else:
            inside[mine] = (at[0], at[1] + v.offset * size + beside(k, v.shape, size))
    for k, to in outputs.items():
        if k >= nc:
            row = job.results[k].nbytes // max(job.length, 1)
            start = last * row if job.reverse else 0
            offset = strand.first * (row // strand.total) if strand.rows else 0
            moving(to, where[slot(job.results[k])], start + offset, -row if job.reverse else row)
    return starts, moves


def launches_of(steps: Sequence[Any]) -> list[Launch]:
    """All launches of a block, those in loops included."""
    out: list[Launch] = []
    for s in steps:
        if isinstance(s, list):
            out += s
        elif isinstance(s, Job):
            for inner in s.inners:
                out += inner.first
                out += launches_of(inner.block.steps)
    return out
