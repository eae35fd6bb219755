"""The native runner: walks a plan's commands and shares their chunks among parked workers.

Its entry points are emitted as kernels are, each a source of its own: ``run`` is called once per run of a plan,
``worker`` once per thread, and never returns while its thread is wanted. A third, ``apart``, is a kernel like others:
its chunks are lists of commands that do not hang on each other, each run by one thread from its first to its last.

How a command is shared is told in :mod:`.sharing_ir`: the owner of the pool, that is the thread that calls ``run``,
writes what is to be done and makes an offer of it; workers see the offer and do their parts. The owner does its own and
what others have not begun, and then waits for units in progress alone (``done``, which counts on and on, has gone up by
all that the owner did not do itself), never for a thread: a worker that comes late finds nothing left.

How threads wait
----------------
A worker without work spins for a bounded time (``spin_in`` while a plan runs, ``spin_out`` after), then counts itself
among ``sleepers`` and sleeps on ``seq``. The owner makes its offer before it reads ``sleepers``, the worker writes
``sleepers`` before it reads the offer again, both sequentially consistent, so one of them sees the other.
``sleepers`` is never less than the number of threads asleep: too many costs a needless wake, too few cannot happen.
The owner waits for the last units in the same way on ``done``, awake for ``spin_end`` at first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradloom.compiler.llvm.pool_ir import POOL, POOL_BYTES, WAITING, atomic_load, atomic_store, field
from gradloom.compiler.llvm.sharing_ir import (
    COUNT_BITS,
    EPOCH_AT,
    MOST_UNITS,
    RECORD,
    RECORD_BYTES,
    Sharing,
    rmw,
    swap,
    word_of,
)
from gradloom.compiler.llvm.text import Function, Module, V

__all__ = ["HEADER", "MOST_UNITS", "POOL", "POOL_BYTES", "RECORD", "WAITING", "RunnerSource"]

HEADER = {  # words of a plan's header
    "pool": 0, "end": 1, "commands": 2, "table": 3, "running": 4, "parallel": 5, "times": 6, "alone": 7,
}  # fmt: skip

MOVE = ("to", "from", "add")  # words of a move: table[to] = table[from] + add
"""A record without a kernel is an edge of a loop. ``chunks``: how often the loop runs where it begins, 0 where it ends;
``ints``: its moves, ``gather_count`` of them; ``bufs``: where rounds are counted; ``gather``: the record that a round
begins with. The moves are done, one after the other, before the first round, or before every other."""

OK, RUNNING, POOL_TAKEN, WORKERS_WANTED = range(4)
"""What ``run`` returns. All but OK: nothing was done."""


@dataclass(frozen=True)
class RunnerSource:
    """What is compiled.

    part: ``"run"``, that is ``i64 run(ptr plan)``; ``"worker"``, that is ``void worker(ptr pool, ptr scratch, i64
    index)``, where index -1 only wakes all workers; or ``"apart"``, a kernel whose integers are the table and, for each
    chunk, its first record and the end of its records. waiting: one of :data:`WAITING`.
    """

    part: str
    waiting: str

    def emit(self, module: Module, name: str, host: Any) -> None:
        """Add the function ``name`` and its helpers to a module."""
        e = _Emitter(module, name, host.triple, self.waiting)
        if self.part == "apart":
            e.apart()
            return
        e.system()
        e.share(owner=self.part == "run")
        {"run": e.run, "worker": e.worker}[self.part]()


class _Emitter(Sharing):
    # -- the worker -----------------------------------------------------------------------------------
    def worker(self) -> None:
        f = self.module.function(self.name, "void", [("ptr", "pool"), ("ptr", "scratch"), ("i64", "index")])
        pool, index = f.arg("pool"), f.arg("index")
        seq_at = self.pool(f, pool, "seq")
        offer_at = self.pool(f, pool, "offer")
        seen = f.alloca("i64")
        work, leave, park = (f.label(x) for x in ("work", "leave", "park"))
        with f.if_(f.icmp("slt", index, 0)):
            rmw(f, "add", seq_at, f.const("i32", 1))
            self.call_wake(f, pool, "seq", f.const("i32", 0x7FFFFFFF))
            f.br(leave)
            f.place(f.label("never"))
        f.br(work)

        f.place(work)
        offer = atomic_load(f, "i64", offer_at, "acquire")
        f.store(offer, seen)
        self.use(f, "share", "i64", pool, f.arg("scratch"), offer, f.add(index, 1))
        start = self.use(f, "now", "i64", pool)
        spin = f.label("spin")
        f.br(spin)
        f.place(spin)
        for _ in range(8):
            self.goto_if(f, f.icmp("ne", atomic_load(f, "i64", offer_at, "monotonic"), f.load("i64", seen)), work)
            self.pause(f)
        self.goto_if(f, self.surplus(f, pool, index), leave)
        active = atomic_load(f, "i32", self.pool(f, pool, "active"), "monotonic")
        budget = f.select(
            f.icmp("ne", active, 0),
            f.load("i64", self.pool(f, pool, "spin_in")),
            f.load("i64", self.pool(f, pool, "spin_out")),
        )
        spent = f.sub(self.use(f, "now", "i64", pool), start)
        f.cbr(f.icmp("slt", spent, budget), spin, park)

        f.place(park)
        seq = atomic_load(f, "i32", seq_at)
        rmw(f, "add", self.pool(f, pool, "sleepers"), f.const("i32", 1))
        self.goto_if(f, f.icmp("ne", atomic_load(f, "i64", offer_at), f.load("i64", seen)), work)
        self.goto_if(f, self.surplus(f, pool, index), leave)
        self.call_sleep(f, pool, "seq", seq)
        f.br(work)

        f.place(leave)
        f.ret()

    def surplus(self, f: Function, pool: V, index: V) -> V:
        """Whether this worker is one too many."""
        return f.icmp("sge", index, atomic_load(f, "i64", self.pool(f, pool, "limit")))

    # -- lists of commands ----------------------------------------------------------------------------
    def apart(self) -> None:
        """The kernel that runs lists of commands. Groups in them only say what is gathered at once."""
        args = [("ptr", "table"), ("ptr", "first"), ("ptr", "end"), ("ptr", "scratch")]
        f = self.helper("walk", "void", args)
        table, end = f.arg("table"), f.arg("end")
        cmd_at = f.alloca("ptr")
        f.store(f.arg("first"), cmd_at)
        head, body, edge, kernel, done = (f.label(x) for x in ("commands", "body", "edge", "kernel", "finished"))
        f.br(head)
        f.place(head)
        cmd = f.load("ptr", cmd_at)
        f.cbr(f.icmp("ult", cmd, end), body, done)
        f.place(body)
        f.cbr(f.icmp("eq", word_of(f, cmd, RECORD, "fn"), 0), edge, kernel)
        f.place(edge)
        f.store(self.turn(f, cmd, table), cmd_at)
        f.br(head)
        f.place(kernel)
        self.gather(f, cmd, table)
        self.do_group(f, cmd, f.arg("scratch"))
        f.store(f.gep(cmd, "i8", f.mul(word_of(f, cmd, RECORD, "group"), RECORD_BYTES)), cmd_at)
        f.br(head)
        f.place(done)
        f.ret()
        abi = [("ptr", "bufs"), ("ptr", "ints"), ("ptr", "scratch"), ("i64", "begin"), ("i64", "end")]
        f = self.module.function(self.name, "void", abi)
        ints = f.arg("ints")
        with f.loop(f.arg("begin"), f.arg("end"), name="list") as it:
            at = f.gep(ints, "{ ptr, ptr }", it.i)
            first, end = (f.load("ptr", f.gep(at, "ptr", 1 + k)) for k in range(2))
            self.use(f, "walk", "void", f.load("ptr", ints), first, end, f.arg("scratch"))
        f.ret()

    # -- the owner ------------------------------------------------------------------------------------
    def run(self) -> None:
        f = self.module.function(self.name, "i64", [("ptr", "plan")])
        plan = f.arg("plan")
        pool = word_of(f, plan, HEADER, "pool", "ptr")
        running_at = field(f, plan, 8 * HEADER["running"])
        scratch_at, cmd_at, time_at = f.alloca("ptr"), f.alloca("ptr"), f.alloca("ptr")

        def give_up(code: int) -> None:
            f.ret(f.i64(code))
            f.place(f.label("never"))

        generation = f.load("i64", self.pool(f, pool, "generation"))
        with f.if_(f.icmp("eq", rmw(f, "xchg", running_at, generation), generation)):
            give_up(RUNNING)
        limit = atomic_load(f, "i64", self.pool(f, pool, "limit"), "monotonic")
        want = atomic_load(f, "i64", self.pool(f, pool, "want"), "monotonic")
        parallel = word_of(f, plan, HEADER, "parallel")
        alone = word_of(f, plan, HEADER, "alone", "ptr")
        by_itself = f.icmp("ne", alone, V("ptr", "null"))
        f.store(alone, scratch_at)
        owner_at = self.pool(f, pool, "owner")
        active_at = self.pool(f, pool, "active")
        with f.if_(f.xor(by_itself, V("i1", "true"))):
            with f.if_(f.and_(f.icmp("ne", limit, want), f.icmp("ne", parallel, 0))):
                atomic_store(f, f.i64(0), running_at, "release")
                give_up(WORKERS_WANTED)
            taken = f.label("taken")
            got = f.label("got")
            f.cbr(swap(f, owner_at, f.const("i32", 0), f.const("i32", 1)), got, taken)
            f.place(taken)
            atomic_store(f, f.i64(0), running_at, "release")
            f.ret(f.i64(POOL_TAKEN))
            f.place(got)
            atomic_store(f, f.cast("trunc", parallel, "i32"), active_at, "monotonic")
            f.store(f.load("ptr", self.pool(f, pool, "scratch")), scratch_at)
        scratch = f.load("ptr", scratch_at)
        helped = f.and_(f.and_(f.icmp("ne", limit, 0), f.icmp("ne", parallel, 0)), f.xor(by_itself, V("i1", "true")))
        times = word_of(f, plan, HEADER, "times", "ptr")
        f.store(times, time_at)
        self.stamp(f, pool, time_at)

        f.store(word_of(f, plan, HEADER, "commands", "ptr"), cmd_at)
        end = word_of(f, plan, HEADER, "end", "ptr")
        table = word_of(f, plan, HEADER, "table", "ptr")
        head, body, done = f.label("commands"), f.label("body"), f.label("finished")
        f.br(head)
        f.place(head)
        cmd = f.load("ptr", cmd_at)
        f.cbr(f.icmp("ult", cmd, end), body, done)
        f.place(body)
        edge, kernel = f.label("edge"), f.label("kernel")
        f.cbr(f.icmp("eq", word_of(f, cmd, RECORD, "fn"), 0), edge, kernel)
        f.place(edge)
        f.store(self.turn(f, cmd, table), cmd_at)
        f.br(head)
        f.place(kernel)
        self.gather(f, cmd, table)
        group = word_of(f, cmd, RECORD, "group")
        units = word_of(f, cmd, RECORD, "units")
        with f.if_else(f.and_(helped, f.icmp("sgt", units, 1))) as br:
            offer = self.publish(f, pool, cmd, units)
            own = self.use(f, "share", "i64", pool, scratch, offer, f.i64(0))
            self.wait_for_rest(f, pool, f.sub(units, own))
            br.otherwise()
            self.do_group(f, cmd, scratch)
        f.store(f.gep(cmd, "i8", f.mul(group, RECORD_BYTES)), cmd_at)
        self.stamp(f, pool, time_at)
        f.br(head)

        f.place(done)
        with f.if_(f.xor(by_itself, V("i1", "true"))):
            atomic_store(f, f.const("i32", 0), active_at, "monotonic")
            atomic_store(f, f.const("i32", 0), owner_at, "release")
        atomic_store(f, f.i64(0), running_at, "release")
        f.ret(f.i64(OK))

    def do_group(self, f: Function, cmd: V, scratch: V) -> None:
        """Run the commands of a group, one after the other."""
        with f.loop(0, word_of(f, cmd, RECORD, "group"), name="member") as it:
            one = f.gep(cmd, "i8", f.mul(it.i, RECORD_BYTES))
            self.call_kernel(f, one, scratch, f.i64(0), word_of(f, one, RECORD, "chunks"))

    def stamp(self, f: Function, pool: V, time_at: V) -> None:
        """Where the run is profiled, note the time."""
        at = f.load("ptr", time_at)
        with f.if_(f.icmp("ne", at, V("ptr", "null"))):
            f.store(self.use(f, "now", "i64", pool), at)
            f.store(f.gep(at, "i64", 1), time_at)

    def turn(self, f: Function, cmd: V, table: V) -> V:
        """Do what an edge of a loop says; the record to go on with."""
        count = word_of(f, cmd, RECORD, "chunks")
        left_at = word_of(f, cmd, RECORD, "bufs", "ptr")
        left = f.select(f.icmp("ne", count, 0), count, f.sub(f.load("i64", left_at), 1))
        f.store(left, left_at)
        goes = f.icmp("sgt", left, 0)
        moves = word_of(f, cmd, RECORD, "ints", "ptr")
        n = f.select(goes, word_of(f, cmd, RECORD, "gather_count"), f.i64(0))
        with f.loop(0, n, name="move") as it:
            move = f.gep(moves, "{ i64, i64, i64 }", it.i)
            to, frm, add = (f.load("i64", f.gep(move, "i64", k)) for k in range(len(MOVE)))
            f.store(f.add(f.load("i64", f.gep(table, "i64", frm)), add), f.gep(table, "i64", to))
        return f.select(goes, word_of(f, cmd, RECORD, "gather", "ptr"), f.gep(cmd, "i8", RECORD_BYTES))

    def gather(self, f: Function, cmd: V, table: V) -> None:
        """Write the buffers' addresses, ``table[slot] + offset``, for a whole group.

        Those that are there already stay, so that workers find them in their own caches.
        """
        pairs = word_of(f, cmd, RECORD, "gather", "ptr")
        bufs = word_of(f, cmd, RECORD, "bufs", "ptr")
        with f.loop(0, word_of(f, cmd, RECORD, "gather_count"), name="gather") as it:
            pair = f.gep(pairs, "{ i64, i64 }", it.i)
            base = f.load("i64", f.gep(table, "i64", f.load("i64", pair)))
            address = f.add(base, f.load("i64", f.gep(pair, "i64", 1)))
            at = f.gep(bufs, "i64", it.i)
            with f.if_(f.icmp("ne", f.load("i64", at), address)):
                f.store(address, at)

    def publish(self, f: Function, pool: V, cmd: V, units: V) -> V:
        """Offer a group to the workers and wake as many sleepers as could be of use; the offer."""
        f.store(cmd, self.pool(f, pool, "group"))
        offer_at = self.pool(f, pool, "offer")
        limit = atomic_load(f, "i64", self.pool(f, pool, "limit"), "monotonic")
        parties = f.min_i(f.add(limit, 1), units)
        epoch = f.add(f.lshr(atomic_load(f, "i64", offer_at, "monotonic"), EPOCH_AT), 1)
        offer = f.or_(f.or_(f.shl(epoch, EPOCH_AT), f.shl(units, COUNT_BITS)), parties)
        atomic_store(f, offer, offer_at)
        sleepers_at = self.pool(f, pool, "sleepers")
        sleepers = atomic_load(f, "i32", sleepers_at)
        with f.if_(f.icmp("sgt", sleepers, 0)):
            n = f.min_i(sleepers, f.sub(f.cast("trunc", units, "i32"), 1))
            rmw(f, "sub", sleepers_at, n)
            rmw(f, "add", self.pool(f, pool, "seq"), f.const("i32", 1))
            self.call_wake(f, pool, "seq", n)
        return offer

    def wait_for_rest(self, f: Function, pool: V, others: V) -> None:
        """Wait until the units that others have taken are done: all are taken, so only for those in progress."""
        done_at = self.pool(f, pool, "done")
        asleep_at = self.pool(f, pool, "owner_asleep")
        before_at = self.pool(f, pool, "before")
        all_done = f.add(f.load("i32", before_at), f.cast("trunc", others, "i32"))
        f.store(all_done, before_at)
        first, spin, sleep, again, awake, through = (
            f.label(x) for x in ("first", "spin", "sleep", "again", "awake", "through")
        )
        f.cbr(f.icmp("eq", atomic_load(f, "i32", done_at, "acquire"), all_done), through, first)
        f.place(first)
        start = self.use(f, "now", "i64", pool)
        f.br(spin)
        f.place(spin)
        for _ in range(8):
            self.pause(f)
            self.goto_if(f, f.icmp("eq", atomic_load(f, "i32", done_at, "acquire"), all_done), through)
        spent = f.sub(self.use(f, "now", "i64", pool), start)
        f.cbr(f.icmp("slt", spent, f.load("i64", self.pool(f, pool, "spin_end"))), spin, sleep)

        f.place(sleep)
        atomic_store(f, f.const("i32", 1), asleep_at)
        f.br(again)
        f.place(again)
        done = atomic_load(f, "i32", done_at)
        self.goto_if(f, f.icmp("eq", done, all_done), awake)
        self.call_sleep(f, pool, "done", done)
        f.br(again)
        f.place(awake)
        atomic_store(f, f.const("i32", 0), asleep_at)
        f.br(through)
        f.place(through)
