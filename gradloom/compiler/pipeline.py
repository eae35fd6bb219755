"""From a graph to an executable: passes, fusion, order, memory, kernels. Read down once and you know the compiler."""

from __future__ import annotations

import gc
import math
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from gradloom.compiler import plans
from gradloom.compiler.along import plan_along
from gradloom.compiler.bands import band_up
from gradloom.compiler.fuse import Fuser
from gradloom.compiler.groups import Storage
from gradloom.compiler.kernels import addresses, compiling_ahead, expect
from gradloom.compiler.llvm.host import detect_host
from gradloom.compiler.looping import Inner, Job, Where, launches_of, loop_commands
from gradloom.compiler.loops import Contract, Launch, Nest, show
from gradloom.compiler.lower import lower, settle_stores
from gradloom.compiler.memory import place
from gradloom.compiler.nest_plan import work_of
from gradloom.compiler.passes.by_rows import update_by_rows
from gradloom.compiler.passes.clean import common, dead, open_barriers, simplify
from gradloom.compiler.passes.convolve import lower_convolutions
from gradloom.compiler.passes.flatten import sink
from gradloom.compiler.passes.fold import fold
from gradloom.compiler.passes.grouped import by_group
from gradloom.compiler.passes.halves import by_halves
from gradloom.compiler.passes.joined import join
from gradloom.compiler.passes.layout import layout
from gradloom.compiler.passes.looked_up import look_up_products
from gradloom.compiler.passes.norms import fold_norms
from gradloom.compiler.passes.planes import split_complex
from gradloom.compiler.passes.recompute import recompute
from gradloom.compiler.passes.rounds import in_rounds
from gradloom.compiler.passes.spare import spare
from gradloom.compiler.pool import Pool
from gradloom.compiler.prepared import Prepared, derived, early
from gradloom.compiler.program import Executable, HostCall, Line, Note, Parts, host_call, told
from gradloom.compiler.rounds import repeated
from gradloom.compiler.schedule import Footprint, close, donations, order
from gradloom.graph.node import Graph
from gradloom.graph.node import show as show_graph
from gradloom.runtime.limits import get_memory_limit
from gradloom.runtime.runner import Command, Item

__all__ = ["PASSES", "compile_body", "compile_graph"]

PASSES: tuple[Callable[[Graph], Graph], ...] = (
    dead, split_complex, simplify, fold, join, look_up_products, update_by_rows, sink, simplify, layout,
    lower_convolutions, simplify,
    by_group, sink, simplify, common, by_halves, recompute, open_barriers, dead,
)  # fmt: skip
"""What is done to a program before its kernels are formed, in order."""

QUICK_WORK = 200_000
"""Programs with less work than this (elements times instructions) take some 20 microseconds at the most."""


def compile_graph(graph: Graph, lasting: Sequence[int] = ()) -> Executable:
    """Compile a program.

    lasting: the numbers of inputs that will rarely change; what depends on them alone is computed once and kept.
    Kernels are found in the caches of :mod:`gradloom.compiler.kernels` or compiled; a large program that an earlier
    process compiled is found whole (:mod:`gradloom.compiler.plans`). Raises what LLVM raises, and RuntimeError where
    the compiler has gone wrong.
    """
    with _undisturbed():
        name = plans.name_of(graph, lasting)
        if name is not None:
            found = plans.load(name, lambda: _compile(graph, lasting).describe())
            if found is not None:
                return found
        with compiling_ahead():
            exe = _compile(graph, lasting)
        if name is not None:
            plans.store(name, exe)
        return exe


def _compile(graph: Graph, lasting: Sequence[int]) -> Executable:
    """Compile a program that is not kept."""
    limit = get_memory_limit()
    fewer = in_rounds(graph, lasting) if lasting and limit is None else None
    if fewer is not None:
        exe = _program(fewer[0], lasting, None, fewer[1])
        if exe is not None:
            return exe
    exe = _program(graph, lasting, limit)
    assert exe is not None
    return exe


def _program(graph: Graph, lasting: Sequence[int], limit: int | None, rounds: int = 1) -> Executable | None:
    """Compile a program that runs in so many rounds; None where it has more than one and they are not native code."""
    for p in PASSES:
        if p is lower_convolutions and lasting:
            fixed = [graph.inputs[k] for k in lasting]
            graph = lower_convolutions(fold_norms(graph, fixed), fixed)
        else:
            graph = p(graph)
    whole = _assemble(graph, *_scheduled(graph), lasting, limit, rounds)
    if whole is not None or rounds > 1:
        return whole
    graph = spare(graph)
    exe = _assemble(graph, *_scheduled(graph), lasting, None)
    assert exe is not None and limit is not None
    if exe.arena_bytes > limit:
        warnings.warn(
            f"a program's temporaries take {exe.arena_bytes} bytes, the limit is {limit}: use smaller batches or "
            "gradloom.utils.checkpoint",
            ResourceWarning, stacklevel=2,
        )  # fmt: skip
    return exe


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without the collector of circular garbage, which looks through all these nodes again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def compile_body(graph: Graph, captured: int) -> Inner | None:
    """Compile the body of a loop, whose inputs from number ``captured`` on are the same in every step.

    None where NumPy has to do part of it.
    """
    for p in PASSES:
        graph = p(graph)
    fuser, sequence, _ = _scheduled(graph)
    memory = _Memory()
    inputs = [memory.fix(fuser.storages[id(n)], -1) for n in graph.inputs]
    outputs = [memory.fix(s, -1) for s in fuser.outputs]
    steady = {fuser.storages[id(n)] for n in graph.inputs[captured:]}
    block = _block(graph, fuser, sequence, {}, memory, steady)
    once = early(block, sequence, steady, 1, sys.maxsize)
    first = once.take(block) if once is not None else []
    _place(block, once.kept if once is not None else {})
    if any(isinstance(s, Footprint) for s in block.steps):
        return None
    return Inner(block, inputs, outputs, first, once)


def _scheduled(graph: Graph) -> tuple[Fuser, list[Footprint], dict[Storage, Storage]]:
    """Kernels, their order, and the outputs that are written into inputs."""
    fuser = Fuser(graph)
    prints = _footprints(fuser)
    in_place = donations(prints, fuser.outputs, [fuser.storages[id(n)] for n in graph.inputs], graph.donate)
    return fuser, [prints[k] for k in order(prints)], in_place


def _footprints(fuser: Fuser) -> list[Footprint]:
    """Reads and writes of the groups that write anything, with exact dependencies."""
    for g in fuser.groups:
        settle_stores(g)
    prints = [p for p in map(Footprint, fuser.groups) if p.writes]
    every = sum(q.group.bit for q in prints)
    for p in prints:
        for s in p.reads:
            for w in s.writers:
                if not w.before & p.group.bit:  # it writes over what this reads
                    p.before |= w.bit
        p.before |= p.group.before & every
        p.before &= ~p.group.bit
    close(prints)
    return prints


class _Memory:
    """Slots of storages and temporaries while launches are made; places come later."""

    def __init__(self) -> None:
        self.slots: dict[Storage, int] = {}
        self.bytes: dict[int, int] = {}
        self.fixed: dict[int, int] = {}  # slot here -> slot of the table
        self.span: dict[int, list[int]] = {}
        self.step = 0
        self.count = 0

    def new(self, nbytes: int) -> int:
        self.count += 1
        self.bytes[self.count] = nbytes
        self.span[self.count] = [self.step, self.step]
        return self.count

    def slot(self, s: Storage) -> int:
        if s not in self.slots:
            self.slots[s] = self.new(s.nbytes)
        k = self.slots[s]
        self.span[k][1] = self.step
        return k

    def fix(self, s: Storage, at: int) -> int:
        """Say that a storage is slot ``at`` of the table; the storage's slot here."""
        k = self.slot(s)
        self.fixed[k] = at
        return k


@dataclass
class Block:
    """Kernels in order, and where their memory is: that of a program, or of the body of a loop.

    steps: launches, loops, or what NumPy does. shared: steps that share the fork and join of the one before.
    notes: one for each launch and host call. offsets, arena: of the slots whose place is not fixed, and bytes of all.
    """

    memory: _Memory
    lines: list[Line]
    steps: list[list[Launch] | Job | Footprint] = field(default_factory=list)
    shared: set[int] = field(default_factory=set)
    notes: list[Note] = field(default_factory=list)
    work: int = 0
    offsets: dict[int, int] = field(default_factory=dict)
    arena: int = 0


def _together(before: list[Launch] | Job | Footprint, after: list[Launch]) -> bool:
    """Whether independent steps gain by one fork and join: one launch each, at least one of several chunks."""
    if not isinstance(before, list) or len(before) != 1 or len(after) != 1:
        return False
    return max(before[0].chunks, after[0].chunks) > 1


def _assemble(
    graph: Graph,
    fuser: Fuser,
    sequence: list[Footprint],
    in_place: dict[Storage, Storage],
    lasting: Sequence[int],
    limit: int | None,
    rounds: int = 1,
) -> Executable | None:
    """The program; None where its temporaries take more than ``limit`` bytes.

    rounds: how often it runs, each time on the next rows of its inputs and outputs; None where NumPy does part of it.
    """
    memory = _Memory()
    for k, n in enumerate(graph.inputs):
        memory.fix(fuser.storages[id(n)], k)
    slots = inputs = len(graph.inputs)
    outputs: list[int | None] = []
    for s in fuser.outputs:
        if s in in_place:
            memory.slots[s] = memory.slot(in_place[s])
            outputs.append(None)
        else:
            memory.fix(s, slots)
            outputs.append(slots)
            slots += 1
    pool = Pool()
    for s in pool.storages.values():
        memory.fix(s, slots + 2)  # behind the arena and what is kept
    fixed = {fuser.storages[id(graph.inputs[k])] for k in lasting}
    block = _block(graph, fuser, sequence, in_place, memory, lasting=derived(sequence, fixed), pool=pool)
    once = early(block, sequence, fixed) if lasting else None
    first = once.take(block) if once is not None else []
    _place(block, once.kept if once is not None else {})
    if limit is not None and block.arena > limit:
        return None
    where = {k: (slots, o) for k, o in block.offsets.items()}
    where |= {k: (at, 0) for k, at in memory.fixed.items()}
    flat = [*launches_of(block.steps), *first]
    code = dict(zip(map(id, flat), addresses([x.source for x in flat]), strict=True))  # type: ignore[misc]
    kept = slots + 1
    where |= {k: (kept, o) for k, o in once.kept.items()} if once is not None else {}
    table = count(kept + 2)  # slots for what moves from step to step of a loop
    segments: list[list[Item] | HostCall] = []
    for step in _items(block, where, code, table):
        if isinstance(step, HostCall):
            segments.append(step)
            continue
        if not segments or isinstance(segments[-1], HostCall):
            segments.append([])
        segments[-1].append(step)  # type: ignore[union-attr]
    sizes = [s.nbytes for s in fuser.outputs]
    quick = block.work < QUICK_WORK
    parts = Parts(
        segments or [[]], inputs, next(table), outputs, sizes, slots, block.arena, quick, block.lines, block.notes,
        pool.cells, slots + 2,
    )  # fmt: skip
    if rounds > 1:
        images = {k: n.aval for k, n in enumerate(graph.inputs) if k not in lasting and n.aval.shape}
        more = repeated(parts, rounds, {k: a.size * a.dtype.itemsize for k, a in images.items()})
        if more is None:
            return None
        parts = more
    if once is None:
        return Executable(parts)
    return Prepared(parts, [_command(x, where, code) for x in first], lasting, kept, once.nbytes)


def _command(x: Launch, where: Where, code: dict[int, int], group: bool = False) -> Command:
    return Command(code[id(x)], [where[b] for b in x.buffers], x.ints, x.chunks, group)


def _items(block: Block, where: Where, code: dict[int, int], table: Iterator[int]) -> list[Any]:
    """Commands, loops and host calls of a block whose slots lie at given places."""
    memory = block.memory
    out: list[Any] = []
    for at, step in enumerate(block.steps):
        if isinstance(step, Footprint):
            assert step.group.host is not None
            node, views, to = step.group.host
            args = [where[memory.slots[v.storage]] for v in views]
            out.append(host_call(node, views, args, to, where[memory.slots[to.storage]]))
        elif isinstance(step, Job):
            own = partial(_items, code=code, table=table)
            out += loop_commands(step, where, memory.slot, table.__next__, partial(_command, code=code), own)
        else:
            out += [_command(x, where, code, at in block.shared) for x in step]
    return out


def _block(
    graph: Graph,
    fuser: Fuser,
    sequence: list[Footprint],
    in_place: dict[Storage, Storage],
    memory: _Memory,
    steady: Container[Storage] = (),
    lasting: Container[Storage] = (),
    pool: Pool | None = None,
) -> Block:
    """The launches of groups in order.

    steady: storages that are the same in all steps of a loop. lasting: storages that are the same from run to run.
    """
    host = detect_host()
    block = Block(memory, [partial(show_graph, graph)])
    steps, notes, lines = block.steps, block.notes, block.lines
    batch: list[Footprint] = []  # independent of each other: they live at one step
    readers = Counter(s for p in sequence for s in p.reads)
    still = {s for p in sequence for s in p.reads if s in steady or s in lasting}
    done: list[Footprint] = []  # the groups of the steps
    for p in sequence:
        g = p.group
        joins = bool(batch) and g.kind not in ("host", "loop") and not any(p.before & q.group.bit for q in batch)
        if not joins:
            memory.step += 1
            batch = []
        done.append(p)
        if g.loop is not None:
            g.loop.reserve(memory.slot, memory.new)
            steps.append(g.loop)
            notes += g.loop.notes
            many = len(g.loop.strands)
            lines += [partial(_loop_lines, g.loop.length, i.block.lines, many) for i in g.loop.inners]
            block.work += g.loop.work
            batch = []
            continue
        if g.host is not None:
            for s in (*p.reads, *p.writes):
                memory.slot(s)
            along = plan_along(*g.host, memory.slot, memory.new, host)
            if along is not None:
                steps.append([along])
                notes.append(_note(p, along.source.op))  # type: ignore[attr-defined]
                batch = []
                lines.append(f"{along.source}\n  chunks {along.chunks}")
                block.work += 8 * g.host[0].aval.size
                continue
            steps.append(p)
            notes.append(_note(p, g.host[0].prim.name if g.host[0].prim else "host"))
            batch = []
            lines.append(f"host {g.host[0].prim}")
            block.work += QUICK_WORK
            continue
        launches, source = lower(g, memory.slot, memory.new, host, steady, lasting, pool)
        for x in launches:
            expect(x.source)  # type: ignore[arg-type]
        for s in p.writes:  # also where there was nothing to do
            memory.slot(s)
        note = _note(p, "scatter" if g.scatter is not None else _title(source))
        both = None
        if not any(s in in_place for s in p.writes):
            both = _banded(block, done, launches, partial(band_up, readers=readers, lasting=still, slot=memory.slot))
        if both is not None:
            before, launches, other = both
            note = _joined(other, note, before.writes)
            batch = [before, p]
        elif joins and _together(steps[-1], launches):
            block.shared.add(len(steps))
            batch.append(p)
        else:
            batch = [p]  # still at the step of the others, which only keeps their memory apart
        steps.append(launches)
        notes += [Note(note.name if g.dot is None else "pack")] * (len(launches) - 1)  # a sum takes several
        notes += [note] if launches else []
        block.work += work_of(source, g.extents or (1,)) if isinstance(source, Nest) else 0
        if g.dot is not None:
            block.work += g.size * g.dot[2] // 8
        if g.scatter is not None:
            block.work += 8 * math.prod(g.scatter.extents)
            lines.append(f"{launches[0].source}\n  extents {g.scatter.extents} chunks {launches[0].chunks}")
        if source is not None:
            how = " (in place)" if any(s in in_place for s in p.writes) else " (with the one before)" if both else ""
            chunks = ", ".join(str(x.chunks) for x in launches)
            lines.append(partial(_source_lines, source, f"extents {g.extents} chunks {chunks}{how}"))
    return block


def _banded(
    block: Block, done: Sequence[Footprint], launches: list[Launch], plan: Callable[..., Launch | None]
) -> tuple[Footprint, list[Launch], Note] | None:
    """What the last of ``done`` does together with the group whose results it reads: that group, the launches of both,
    and the former's note, which is taken away with its launches. None where they are to stay apart.

    What is handed from one to the other has no memory any more.
    """
    *others, p = done
    memory, steps = block.memory, block.steps
    if p.group.walk is None or p.group.dot is None:
        return None
    k = next((k for k, q in enumerate(others) if p.group.dot[0].storage in q.writes), None)
    own = None if k is None else steps[k]
    if k is None or not isinstance(own, list) or any(q.before & others[k].group.bit for q in others[k + 1 :]):
        return None
    both = plan(others[k], own, p, launches)
    if both is None:
        return None
    expect(both.source)  # type: ignore[arg-type]
    for b in {b for x in own for b in x.buffers}:
        memory.span[b][1] = memory.step
    for s in others[k].writes:
        gone = memory.slots.pop(s)
        del memory.bytes[gone], memory.span[gone]
    at = sum(len(x) if isinstance(x, list) else len(x.notes) if isinstance(x, Job) else 1 for x in steps[:k])
    note = block.notes[at + len(own) - 1]
    del block.notes[at : at + len(own)]
    steps[k] = []
    if k in block.shared:
        block.shared.remove(k)
    else:  # the first of those that shared its fork has one of its own
        block.shared.discard(next((j for j in range(k + 1, len(steps)) if steps[j]), k))
    return others[k], [*own[:-1], both], note


def _joined(a: Note, b: Note, between: Iterable[Storage]) -> Note:
    """What two kernels do in one, which keeps to itself what the first hands on."""
    name = " ".join(dict.fromkeys([*a.name.split(), *b.name.split()]))
    nbytes = a.nbytes + b.nbytes - 2 * sum(s.nbytes for s in between)
    return b._replace(name=name, flops=a.flops + b.flops, nbytes=nbytes)


def _loop_lines(length: int, inner: Sequence[Line], strands: int) -> str:
    text = "\n".join(told(inner))
    beside = f", of {strands} beside each other" if strands > 1 else ""
    return "\n".join([f"loop of {length} steps{beside}", *(f"  {x}" for x in text.split("\n"))])


def _source_lines(source: Nest | Contract, numbers: str) -> str:
    return f"{show(source)}\n  {numbers}"


def _place(block: Block, kept: Container[int] = ()) -> None:
    """Places in the arena for what is neither fixed nor kept."""
    memory = block.memory
    loose = [k for k in memory.bytes if k not in memory.fixed and k not in kept]
    offsets, block.arena = place([(memory.bytes[k], memory.span[k][0], memory.span[k][1]) for k in loose])
    block.offsets = dict(zip(loose, offsets, strict=True))


_SILENT = {"load", "load_at", "const", "iota", "cast", "acc"}


def _title(source: object) -> str:
    """A name for a kernel, of the instructions in its body."""
    body = getattr(source, "body", ())
    ops = [i.attrs[0] if i.op == "reduce" else i.op for i in body if i.op not in _SILENT]
    kind = "copy" if isinstance(source, Nest) and not ops else "" if isinstance(source, Nest) else "dot"
    return " ".join(dict.fromkeys(([kind] if kind else []) + ops))


def _note(p: Footprint, name: str) -> Note:
    """What a group does: twice the products of a contraction, one operation for each other instruction and element."""
    g = p.group
    products = 2 * g.size * g.dot[2] if g.dot is not None else 0
    each = len([w for w in name.split() if w not in ("dot", "copy")]) if g.host is None else 0
    shape = tuple(g.extents or ())
    nbytes = sum(s.nbytes for s in {*p.reads, *p.writes})
    return Note(name, products + each * math.prod(shape or (1,)), nbytes, shape, g.host is not None)
