"""Plans: a program's kernels, in order, run by one native call.

A plan holds a table of addresses, one for each slot, and its commands. A command names a kernel, where its buffers are
(a slot and a byte offset each), its integers, and how many chunks of work it has. Running the plan reads the table,
so the same plan runs on other memory once the table's entries are changed. A loop runs its commands again and again,
between rounds changing entries of the table, so that they read and write the next rows; nothing of that is Python.
Lists of commands that do not hang on each other are shared among the threads whole.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

from gradloom.compiler.llvm import runner_ir as ir
from gradloom.runtime.buffers import allocate
from gradloom.runtime.native import Pool, pool

__all__ = ["Apart", "Command", "Item", "Loop", "Plan", "Rounds"]


@dataclass(frozen=True, slots=True)
class Command:
    """One kernel call.

    fn : the kernel's address (:data:`gradloom.compiler.loops.ABI`).
    buffers : for each of its buffers the slot of the table and an offset in bytes.
    ints : its run-time integers.
    chunks : how many chunks of work there are. One chunk is never offered to other threads.
    group : whether it is independent of the command before it and shares that one's fork and join.
    """

    fn: int
    buffers: Sequence[tuple[int, int]]
    ints: Sequence[int]
    chunks: int = 1
    group: bool = False


@dataclass(frozen=True, slots=True)
class Loop:
    """Commands that run ``count`` times.

    starts, moves : triples (to, from, add), done in order: ``table[to] = table[from] + add``; ``starts`` before the
        first round, ``moves`` before every other one.
    """

    count: int
    starts: Sequence[tuple[int, int, int]]
    moves: Sequence[tuple[int, int, int]]
    body: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Apart:
    """Lists of commands, each run by one thread from its first to its last, on several threads at once.

    They share no memory that one of them writes, nor entries of the table that their loops change. kinds: a number for
    each list; those of one number hold the same commands at other places.
    """

    lists: Sequence[Sequence[Item]]
    kinds: Sequence[int]


@dataclass(frozen=True, slots=True)
class Rounds:
    """Commands that run ``count`` times, rounds in any order and at once: a thread does a whole round.

    fn : the address of the kernel that does so (:mod:`gradloom.compiler.llvm.rounds`).
    moves : triples (to, from, add): in round number r the body's slot ``to``, which nobody else uses, is
        ``table[from] + r add``.
    arena, apart : the slot of temporary memory, and how many bytes of it a round has to itself; ``arenas`` of these.
    """

    fn: int
    count: int
    moves: Sequence[tuple[int, int, int]]
    arena: int
    apart: int
    arenas: int
    body: Sequence[Command]

    def command(self) -> Command:
        """All of it as one command."""
        moved = {to: (frm, step) for to, frm, step in self.moves}
        used = dict.fromkeys(slot for c in self.body for slot, _ in c.buffers)
        number = {slot: k for k, slot in enumerate(used)}
        steps = [n for s in used for n in (moved.get(s, (s, 0))[1], self.apart if s == self.arena else 0)]
        words: list[int] = []
        for c in self.body:
            words += c.fn, c.chunks, len(c.buffers), len(c.ints)
            words += (w for slot, offset in c.buffers for w in (number[slot], offset))
            words += c.ints
        head = [(1 << self.arenas) - 1, len(self.body), len(used)]
        return Command(self.fn, [(moved.get(s, (s, 0))[0], 0) for s in used], [*head, *steps, *words], self.count)

    def loop(self) -> Loop:
        """The same, rounds one after the other and threads sharing each command."""
        return Loop(
            self.count, [(to, frm, 0) for to, frm, _ in self.moves], [(to, to, n) for to, _, n in self.moves], self.body
        )


Item: TypeAlias = Command | Loop | Apart | Rounds


class _Edge:
    """Where a loop begins (``count`` of its rounds) or ends (0)."""

    def __init__(self, count: int, moves: Sequence[tuple[int, int, int]], begin: _Edge | None = None) -> None:
        self.count, self.moves, self.begin, self.at = count, moves, begin, 0


class Plan:
    """Commands ready to run.

    Attributes
    ----------
    table : a ctypes array of int64, one address for each slot; fill it before :meth:`run`. The plan does not keep the
        memory alive that the addresses name.
    items : what was given. commands : those among them and in loops, in order; of lists of one kind the first's.
    """

    def __init__(self, items: Sequence[Item], slots: int, quick: bool = False, on: Pool | None = None) -> None:
        """Raises ValueError for a slot outside of the table, a command without a chunk, or a group without a first.

        slots: size of the table. quick: True for a program of less than about 30 microseconds; it runs without
        releasing the interpreter lock (taking the lock back can cost milliseconds where other Python threads are
        busy). Its kernels must not call Python. on: the pool to use where not the process's own.
        """
        self.items = tuple(items)
        self.commands = tuple(_told(self.items))
        self._pool = on or pool()
        records, starts, lists = _laid_out(self.items, self._pool.apart)
        self._quick = quick
        self._ungrouped: Plan | None = None
        _check(records, starts, slots)

        # One block of int64: header, table, records, (slot, offset) pairs, gathered addresses, integers.
        n, end = len(records), min(starts, default=len(records))
        n_buffers = sum(len(c.buffers) for c in records if isinstance(c, Command))
        n_ints = sum(len(c.ints) if isinstance(c, Command) else 1 + len(ir.MOVE) * len(c.moves) for c in records)
        table_at = 16
        records_at = table_at + slots
        pairs_at = records_at + n * len(ir.RECORD)
        bufs_at = pairs_at + 2 * n_buffers
        ints_at = bufs_at + n_buffers
        self._memory = allocate(8 * (ints_at + n_ints), zero=True)
        base = self._memory.ptr

        words: list[int] = []
        pair_words: list[int] = []
        int_words: list[int] = []
        parallel = False
        phases: list[int] = []
        for k, c in enumerate(records):
            ints = base + 8 * (ints_at + len(int_words))
            if k in lists:
                own = lists[k]
                places = [base + 8 * (records_at + len(ir.RECORD) * x) for pair in own for x in pair]
                c = replace(c, ints=[base + 8 * table_at, *places])  # type: ignore[type-var]
            if isinstance(c, _Edge):
                c.at = ints  # rounds are counted in front of the moves of the beginning
                first = c if c.begin is None else c.begin
                start = base + 8 * (records_at + (records.index(first) + 1) * len(ir.RECORD))
                words += 0, ints + 8, first.at, start, len(c.moves), c.count, 0, 0, 0
                int_words += [0, *(w for m in c.moves for w in m)]
                continue
            group, gather_count, units = 0, 0, 0
            if not c.group:
                members = [c]
                for at in range(k + 1, n):
                    d = records[at]
                    if isinstance(d, _Edge) or not d.group or at in starts:
                        break
                    members.append(d)
                group = len(members)
                gather_count = sum(len(d.buffers) for d in members)
                units = _units(members)
                parallel = parallel or (units > 1 and k < end)
                phases = _phases(members, units)
            words += (
                c.fn, ints,
                base + 8 * (bufs_at + len(pair_words) // 2),
                base + 8 * (pairs_at + len(pair_words)),
                gather_count, c.chunks, group, units, phases.pop(0),
            )  # fmt: skip
            for pair in c.buffers:
                pair_words += pair
            int_words += c.ints
        self.table = (ctypes.c_int64 * slots).from_address(base + 8 * table_at)
        _write(base + 8 * records_at, words)
        _write(base + 8 * pairs_at, pair_words)
        _write(base + 8 * ints_at, int_words)
        header = {
            "pool": self._pool.address,
            "end": base + 8 * (records_at + len(ir.RECORD) * end),
            "commands": base + 8 * records_at,
            "table": base + 8 * table_at,
            "parallel": int(parallel),
        }
        _write(base, [header.get(name, 0) for name in ir.HEADER])
        self._header = base
        self._call = self._pool.run_holding if quick else self._pool.run

    def run(self) -> None:
        """Run all commands, in order, and return when they are done.

        Different plans may run in different threads at once: one of them has the workers, the others run on their
        calling threads alone. Raises RuntimeError if this plan is running already.
        """
        code = self._call(self._header)
        if code:
            self._resolve(code)

    def _resolve(self, code: int) -> None:
        """Do what a run that did not take place was lacking, and run."""
        while code:
            if code == ir.RUNNING:
                raise RuntimeError("this plan is running in another thread; make one plan for each thread")
            if code == ir.WORKERS_WANTED:
                self._pool.bring_up()
                code = self._call(self._header)
            else:
                code = self._run_alone()

    def _run_alone(self) -> int:
        scratch = self._pool.borrow_scratch()
        alone = ctypes.c_int64.from_address(self._header + 8 * ir.HEADER["alone"])
        alone.value = scratch.ptr
        try:
            return self._call(self._header)
        finally:
            alone.value = 0
            self._pool.return_scratch(scratch)

    def run_profiled(self) -> list[int]:
        """Run, and return the nanoseconds that each command took, in all rounds of its loops.

        Commands of a group, lists of commands, and rounds run one after the other.
        """
        plan = self
        apart = any(isinstance(x, Apart) for x in _flat(self.items)) or any(isinstance(x, Rounds) for x in self.items)
        if apart or any(c.group for c in self.commands):
            if self._ungrouped is None:
                self._ungrouped = Plan(_alone(self.items), len(self.table), self._quick, self._pool)
            plan = self._ungrouped
            _write(ctypes.addressof(plan.table), list(self.table))
        sequence = list(_executed(self.items, iter(range(len(self.commands)))))
        stamps = (ctypes.c_int64 * (len(sequence) + 1))()
        times = ctypes.c_int64.from_address(plan._header + 8 * ir.HEADER["times"])
        times.value = ctypes.addressof(stamps)
        try:
            plan.run()
        finally:
            times.value = 0
        out = [0] * len(self.commands)
        for k, (a, b) in zip(sequence, pairwise(stamps), strict=True):
            out[k] += b - a
        ticks = self._pool.ticks_per_ns
        return [int(x / ticks) for x in out]


def _units(members: Sequence[Command]) -> int:
    """How many units a group is shared out in: no command has more chunks, but for those that have very many."""
    return min(max(len(members), *(d.chunks for d in members)), ir.MOST_UNITS)


def _phases(members: Sequence[Command], units: int) -> list[int]:
    """For each command of a group what shifts its chunks among the units, so that single ones are not all in one."""
    few = [k for k, d in enumerate(members) if d.chunks < units]
    out = [0] * len(members)
    for n, k in enumerate(few):
        out[k] = units - 1 - n * units // len(few)
    return out


def _flat(items: Sequence[Item]) -> Iterator[Command | Apart | _Edge]:
    """What becomes a record, in order."""
    for x in items:
        if isinstance(x, Loop):
            begin = _Edge(x.count, x.starts)
            yield begin
            yield from _flat(x.body)
            yield _Edge(0, x.moves, begin)
        else:
            yield x.command() if isinstance(x, Rounds) else x


def _laid_out(
    items: Sequence[Item], apart: int
) -> tuple[list[Command | _Edge], set[int], dict[int, list[tuple[int, int]]]]:
    """The records, those of lists behind the others; where lists start; and for each record that is lists, where those
    start and end. apart: the kernel that runs lists.
    """
    todo = list(_flat(items))
    records: list[Command | _Edge] = []
    starts: set[int] = set()
    lists: dict[int, list[tuple[int, int]]] = {}
    behind = len(todo)
    for k, x in enumerate(todo):
        if isinstance(x, Apart):
            records.append(Command(apart, (), [0] * (1 + 2 * len(x.lists)), len(x.lists)))
            lists[k] = []
            for own in x.lists:
                flat = list(_flat(own))
                todo += flat
                starts.add(behind)
                lists[k].append((behind, behind + len(flat)))
                behind += len(flat)
        else:
            records.append(x)
    return records, starts, lists


def _told(items: Sequence[Item]) -> Iterator[Command]:
    """The commands that a profile tells of."""
    for x in items:
        if isinstance(x, Command):
            yield x
        elif isinstance(x, Loop | Rounds):
            yield from _told(x.body)
        else:
            for k, own in enumerate(x.lists):
                if x.kinds.index(x.kinds[k]) == k:
                    yield from _told(own)


def _alone(items: Sequence[Item]) -> list[Item]:
    """The same without groups and lists; rounds as loops."""
    out: list[Item] = []
    for x in items:
        if isinstance(x, Command):
            out.append(replace(x, group=False))
        elif isinstance(x, Loop | Rounds):
            loop = x.loop() if isinstance(x, Rounds) else x
            out.append(replace(loop, body=_alone(loop.body)))
        else:
            out += [y for own in x.lists for y in _alone(own)]
    return out


def _executed(items: Sequence[Item], numbers: Iterator[int]) -> list[int]:
    """The numbers of the commands as they run."""
    out: list[int] = []
    for x in items:
        if isinstance(x, Command):
            out.append(next(numbers))
        elif isinstance(x, Loop | Rounds):
            out += _executed(x.body, numbers) * x.count
        else:
            kinds: dict[int, list[int]] = {}
            for kind, own in zip(x.kinds, x.lists, strict=True):
                if kind not in kinds:
                    kinds[kind] = _executed(own, numbers)
                out += kinds[kind]
    return out


def _check(records: Sequence[Command | _Edge], starts: set[int], slots: int) -> None:
    for k, c in enumerate(records):
        if isinstance(c, _Edge):
            named = [s for m in c.moves for s in m[:2]]
            if c.begin is None and c.count < 1:
                raise ValueError(f"a loop of {c.count} rounds; at least one is needed")
        else:
            named = [slot for slot, _ in c.buffers]
            if c.chunks < 1:
                raise ValueError(f"command {k} has {c.chunks} chunks; at least one is needed")
            if not c.fn:
                raise ValueError(f"command {k} has no kernel address")
            if c.group and (k == 0 or k in starts or isinstance(records[k - 1], _Edge)):
                raise ValueError("the first command has no command before it to share a group with")
        for slot in named:
            if not 0 <= slot < slots:
                raise ValueError(f"command {k} names slot {slot} of a table of {slots}")


def _write(address: int, words: list[int]) -> None:
    (ctypes.c_int64 * len(words)).from_address(address)[:] = words  # type: ignore[assignment]
