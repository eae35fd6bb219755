"""Plans: a program's kernels, in order, run by one native call.

A plan holds a table of addresses, one for each slot, and its commands. A command names a kernel, where its buffers are
(a slot and a byte offset each), its integers, and how many chunks of work it has. Running the plan reads the table,
so the same plan runs on other memory once the table's entries are changed. A loop runs its commands again and again,
between rounds changing entries of the table, so that they read and write the next rows; nothing of that is Python.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from gradloom.compiler.llvm import runner_ir as ir
from gradloom.runtime.buffers import allocate
from gradloom.runtime.native import Pool, pool

__all__ = ["Command", "Loop", "Plan"]

_UNITS = 0xFFFF  # a ticket counts units in 16 bits; a unit is more than one chunk where there are more


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
    body: Sequence[Command | Loop]


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
    items : what was given. commands : those among them and in loops, in order.
    """

    def __init__(
        self, items: Sequence[Command | Loop], slots: int, quick: bool = False, on: Pool | None = None
    ) -> None:
        """Raises ValueError for a slot outside of the table, a command without a chunk, or a group without a first.

        slots: size of the table. quick: True for a program of less than about 30 microseconds; it runs without
        releasing the interpreter lock (taking the lock back can cost milliseconds where other Python threads are
        busy). Its kernels must not call Python. on: the pool to use where not the process's own.
        """
        self.items = tuple(items)
        records = list(_flat(self.items))
        self.commands = tuple(c for c in records if isinstance(c, Command))
        self._pool = on or pool()
        self._quick = quick
        self._ungrouped: Plan | None = None
        _check(records, slots)

        # One block of int64: header, table, records, (slot, offset) pairs, gathered addresses, integers.
        n = len(records)
        n_buffers = sum(len(c.buffers) for c in self.commands)
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
        for k, c in enumerate(records):
            ints = base + 8 * (ints_at + len(int_words))
            if isinstance(c, _Edge):
                c.at = ints  # rounds are counted in front of the moves of the beginning
                first = c if c.begin is None else c.begin
                start = base + 8 * (records_at + (records.index(first) + 1) * len(ir.RECORD))
                words += 0, ints + 8, first.at, start, len(c.moves), c.count, 0, 0, 0, 0
                int_words += [0, *(w for m in c.moves for w in m)]
                continue
            group, gather_count, total = 0, 0, 0
            if not c.group:
                members = [c]
                for d in records[k + 1 :]:
                    if isinstance(d, _Edge) or not d.group:
                        break
                    members.append(d)
                group = len(members)
                gather_count = sum(len(d.buffers) for d in members)
                total = sum(d.chunks for d in members)
                parallel = parallel or total > 1
            per = max(1, -(-total // _UNITS))
            words += (
                c.fn, ints,
                base + 8 * (bufs_at + len(pair_words) // 2),
                base + 8 * (pairs_at + len(pair_words)),
                gather_count, c.chunks, group, total, -(-total // per), per,
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
            "end": base + 8 * pairs_at,
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

        Commands of a group run one after the other.
        """
        plan = self
        if any(c.group for c in self.commands):
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


def _flat(items: Sequence[Command | Loop]) -> Iterator[Command | _Edge]:
    """Commands in order, and the edges of loops among them."""
    for x in items:
        if isinstance(x, Command):
            yield x
        else:
            begin = _Edge(x.count, x.starts)
            yield begin
            yield from _flat(x.body)
            yield _Edge(0, x.moves, begin)


def _alone(items: Sequence[Command | Loop]) -> list[Command | Loop]:
    """The same without groups."""
    return [replace(x, group=False) if isinstance(x, Command) else replace(x, body=_alone(x.body)) for x in items]


def _executed(items: Sequence[Command | Loop], numbers: Iterator[int]) -> list[int]:
    """The numbers of the commands as they run."""
    out: list[int] = []
    for x in items:
        out += [next(numbers)] if isinstance(x, Command) else _executed(x.body, numbers) * x.count
    return out


def _check(records: Sequence[Command | _Edge], slots: int) -> None:
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
            if c.group and (k == 0 or isinstance(records[k - 1], _Edge)):
                raise ValueError("the first command has no command before it to share a group with")
        for slot in named:
            if not 0 <= slot < slots:
                raise ValueError(f"command {k} names slot {slot} of a table of {slots}")


def _write(address: int, words: list[int]) -> None:
    (ctypes.c_int64 * len(words)).from_address(address)[:] = words  # type: ignore[assignment]
