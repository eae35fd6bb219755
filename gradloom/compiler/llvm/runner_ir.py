"""The native runner: walks a plan's commands and shares their chunks among parked workers.

Two entry points are emitted as kernels are, each a source of its own: ``run`` is called once per run of a plan,
``worker`` once per thread, and never returns while its thread is wanted.

How a command is shared
-----------------------
The pool's *ticket* is one 64-bit word, ``epoch << 32 | units << 16 | next``. The owner of the pool writes what is to
be done (the first command's record) and then the ticket with a new epoch; whoever swaps ``next`` for ``next + n`` has
taken the units between. The owner takes units too, and afterwards waits for units in progress alone (``done ==
units``), never for a thread: a worker that comes late finds the ticket empty. Reading the record after the swap is
safe, because the owner writes no other before the unit taken is done; an old ticket cannot be swapped, because its
epoch is over. How many units one swap takes falls with the number left (guided self-scheduling, Polychronopoulos and
Kuck 1987).

How threads wait
----------------
A worker without work spins for a bounded time (``spin_in`` while a plan runs, ``spin_out`` after), then counts itself
among ``sleepers`` and sleeps on ``seq``. The owner publishes the ticket before it reads ``sleepers``, the worker writes
``sleepers`` before it reads the ticket again, both sequentially consistent, so one of them sees the other.
``sleepers`` is never less than the number of threads asleep: too many costs a needless wake, too few cannot happen.
The owner waits for the last units in the same way on ``done``, awake for ``spin_end`` at first. Sleeping is a futex on
Linux, ``WaitOnAddress`` on Windows and a mutex with a condition variable elsewhere; their addresses come in the pool's
state, so the code has no relocations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradloom.compiler.llvm.text import Function, Module, V

__all__ = ["HEADER", "POOL_BYTES", "POOL", "RECORD", "RunnerSource", "WAITING"]

WAITING = ("futex", "pthread", "windows")

POOL = {  # byte offsets in the pool's state; what different threads write stands 128 bytes apart
    "ticket": 0, "group": 8, "per": 16, "total": 24,
    "done": 128, "owner_asleep": 132,
    "seq": 256, "sleepers": 260,
    "owner": 384, "active": 388,
    "limit": 512, "want": 520, "shift": 528, "generation": 536, "scratch": 544, "spin_in": 552, "spin_out": 560,
    "spin_end": 568,
    "clock": 576, "clock_id": 584, "wait": 592, "wake": 600, "lock": 608, "unlock": 616,
    "seq_mutex": 640, "seq_cond": 768, "done_mutex": 896, "done_cond": 1024,
}  # fmt: skip
POOL_BYTES = 1152

HEADER = {  # words of a plan's header
    "pool": 0, "end": 1, "commands": 2, "table": 3, "running": 4, "parallel": 5, "times": 6, "alone": 7,
}  # fmt: skip

RECORD = {  # words of a command's record. group, gather_count, total, units, per: of the group that starts here
    "fn": 0, "ints": 1, "bufs": 2, "gather": 3, "gather_count": 4, "chunks": 5, "group": 6, "total": 7, "units": 8,
    "per": 9,
}  # fmt: skip
RECORD_BYTES = 8 * len(RECORD)

MOVE = ("to", "from", "add")  # words of a move: table[to] = table[from] + add
"""A record without a kernel is an edge of a loop. ``chunks``: how often the loop runs where it begins, 0 where it ends;
``ints``: its moves, ``gather_count`` of them; ``bufs``: where rounds are counted; ``gather``: the record that a round
begins with. The moves are done, one after the other, before the first round, or before every other."""

OK, RUNNING, POOL_TAKEN, WORKERS_WANTED = range(4)
"""What ``run`` returns. All but OK: nothing was done."""


@dataclass(frozen=True)
class RunnerSource:
    """What is compiled.

    part: ``"run"``, that is ``i64 run(ptr plan)``, or ``"worker"``, that is ``void worker(ptr pool, ptr scratch, i64
    index)``, where index -1 only wakes all workers. waiting: one of :data:`WAITING`.
    """

    part: str
    waiting: str

    def emit(self, module: Module, name: str, host: Any) -> None:
        """Add the function ``name`` and its helpers to a module."""
        e = _Emitter(module, name, host.triple, self.waiting)
        e.helpers()
        {"run": e.run, "worker": e.worker}[self.part]()


def _field(f: Function, base: V, offset: int) -> V:
    return f.gep(base, "i8", offset)


def _atomic_load(f: Function, ty: str, p: V, order: str = "seq_cst") -> V:
    return f.op(ty, f"load atomic {ty}, ptr {p.ref} {order}, align {8 if ty in ('i64', 'ptr') else 4}")


def _atomic_store(f: Function, v: V, p: V, order: str = "seq_cst") -> None:
    f.line(f"store atomic {v.ty} {v.ref}, ptr {p.ref} {order}, align {8 if v.ty in ('i64', 'ptr') else 4}")


def _rmw(f: Function, what: str, p: V, v: V) -> V:
    """Read, modify, write at once; the value before."""
    return f.op(v.ty, f"atomicrmw {what} ptr {p.ref}, {v.ty} {v.ref} seq_cst")


def _swap(f: Function, p: V, old: V, new: V) -> V:
    """Compare and exchange: whether it succeeded."""
    pair = f.op(f"{{ {old.ty}, i1 }}", f"cmpxchg ptr {p.ref}, {old.ty} {old.ref}, {new.ty} {new.ref} seq_cst seq_cst")
    return f.op("i1", f"extractvalue {pair.ty} {pair.ref}, 1")


class _Emitter:
    def __init__(self, module: Module, name: str, triple: str, waiting: str) -> None:
        if waiting not in WAITING:
            raise ValueError(f"unknown way of waiting {waiting!r}; expected one of {', '.join(WAITING)}")
        self.module = module
        self.name = name
        self.x86 = triple.startswith(("x86_64", "amd64"))
        self.futex_number = 202 if self.x86 else 98
        self.waiting = waiting

    # -- small pieces ---------------------------------------------------------------------------------
    def pool(self, f: Function, pool: V, name: str) -> V:
        return _field(f, pool, POOL[name])

    def word(self, f: Function, base: V, words: dict[str, int], name: str, ty: str = "i64") -> V:
        return f.load(ty, _field(f, base, 8 * words[name]), 8)

    def helper(self, name: str, ret: str, args: list[tuple[str, str]]) -> Function:
        return self.module.function(f"{self.name}_{name}", ret, args, linkage="internal", attrs="nounwind noinline")

    def use(self, f: Function, name: str, ret: str, *args: V) -> V:
        """Call a helper."""
        text = f"call {ret} @{self.name}_{name}({', '.join(f'{a.ty} {a.ref}' for a in args)})"
        if ret == "void":
            f.line(text)
            return V("void", "")
        return f.op(ret, text)

    def pause(self, f: Function) -> None:
        """Tell the processor that this is a waiting loop."""
        if self.x86:
            f.call("llvm.x86.sse2.pause", "void", [])
        else:
            f.call("llvm.aarch64.hint", "void", [f.const("i32", 1)])

    def has_work(self, f: Function, ticket: V) -> V:
        return f.icmp("ult", f.and_(ticket, 0xFFFF), f.and_(f.lshr(ticket, 16), 0xFFFF))

    def helpers(self) -> None:
        self.now()
        self.sleep()
        self.wake()
        self.share()

    # -- the system -----------------------------------------------------------------------------------
    def now(self) -> None:
        """``i64 now(pool)``: the clock, in nanoseconds (Windows: in ticks of its performance counter)."""
        f = self.helper("now", "i64", [("ptr", "pool")])
        pool = f.arg("pool")
        out = f.alloca("i64", 2, 16)
        clock = f.load("ptr", self.pool(f, pool, "clock"))
        if self.waiting == "windows":
            f.op("i32", f"call i32 {clock.ref}(ptr {out.ref})")
            f.ret(f.load("i64", out))
            return
        which = f.load("i32", self.pool(f, pool, "clock_id"))
        f.op("i32", f"call i32 {clock.ref}(i32 {which.ref}, ptr {out.ref})")
        f.ret(f.add(f.mul(f.load("i64", out), 1_000_000_000), f.load("i64", f.gep(out, "i64", 1))))

    def sleep(self) -> None:
        """``void sleep(pool, word, expected, mutex, cond)``: sleep while ``word`` is ``expected``; may return early."""
        args = [("ptr", "pool"), ("ptr", "word"), ("i32", "expected"), ("ptr", "mutex"), ("ptr", "cond")]
        f = self.helper("sleep", "void", args)
        pool, word, expected = f.arg("pool"), f.arg("word"), f.arg("expected")
        wait = f.load("ptr", self.pool(f, pool, "wait"))
        if self.waiting == "futex":
            value = f.cast("zext", expected, "i64")
            self.futex(f, wait, word, 128, value)  # FUTEX_WAIT | FUTEX_PRIVATE_FLAG
        elif self.waiting == "windows":
            copy = f.alloca("i32")
            f.store(expected, copy)
            f.op("i32", f"call i32 {wait.ref}(ptr {word.ref}, ptr {copy.ref}, i64 4, i32 -1)")
        else:
            mutex, cond = f.arg("mutex"), f.arg("cond")
            lock = f.load("ptr", self.pool(f, pool, "lock"))
            unlock = f.load("ptr", self.pool(f, pool, "unlock"))
            f.op("i32", f"call i32 {lock.ref}(ptr {mutex.ref})")
            with f.if_(f.icmp("eq", _atomic_load(f, "i32", word), expected)):
                f.op("i32", f"call i32 {wait.ref}(ptr {cond.ref}, ptr {mutex.ref})")
            f.op("i32", f"call i32 {unlock.ref}(ptr {mutex.ref})")
        f.ret()

    def wake(self) -> None:
        """``void wake(pool, word, count, mutex, cond)``: wake ``count`` threads that sleep on ``word`` (or more)."""
        args = [("ptr", "pool"), ("ptr", "word"), ("i32", "count"), ("ptr", "mutex"), ("ptr", "cond")]
        f = self.helper("wake", "void", args)
        pool, word, count = f.arg("pool"), f.arg("word"), f.arg("count")
        wake = f.load("ptr", self.pool(f, pool, "wake"))
        if self.waiting == "futex":
            self.futex(f, wake, word, 129, f.cast("zext", count, "i64"))  # FUTEX_WAKE | FUTEX_PRIVATE_FLAG
        elif self.waiting == "windows":
            f.line(f"call void {wake.ref}(ptr {word.ref})")
        else:  # the word has changed before; taking the mutex waits for those between looking at it and sleeping
            mutex, cond = f.arg("mutex"), f.arg("cond")
            lock = f.load("ptr", self.pool(f, pool, "lock"))
            unlock = f.load("ptr", self.pool(f, pool, "unlock"))
            f.op("i32", f"call i32 {lock.ref}(ptr {mutex.ref})")
            f.op("i32", f"call i32 {wake.ref}(ptr {cond.ref})")
            f.op("i32", f"call i32 {unlock.ref}(ptr {mutex.ref})")
        f.ret()

    def futex(self, f: Function, syscall: V, word: V, what: int, value: V) -> None:
        f.op(
            "i64",
            f"call i64 {syscall.ref}(i64 {self.futex_number}, ptr {word.ref}, i64 {what}, i64 {value.ref}, ptr null, "
            "ptr null, i64 0)",
        )

    def call_sleep(self, f: Function, pool: V, word: str, expected: V) -> None:
        parts = [self.pool(f, pool, f"{word}{end}") for end in ("", "_mutex", "_cond")]
        self.use(f, "sleep", "void", pool, parts[0], expected, *parts[1:])

    def call_wake(self, f: Function, pool: V, word: str, count: V) -> None:
        parts = [self.pool(f, pool, f"{word}{end}") for end in ("", "_mutex", "_cond")]
        self.use(f, "wake", "void", pool, parts[0], count, *parts[1:])

    # -- taking units ---------------------------------------------------------------------------------
    def share(self) -> None:
        """``i64 share(pool, scratch)``: take and do units until none is left; 1 if any was done."""
        f = self.helper("share", "i64", [("ptr", "pool"), ("ptr", "scratch")])
        pool, scratch = f.arg("pool"), f.arg("scratch")
        any_done = f.alloca("i64")
        f.store(f.i64(0), any_done)
        ticket_at = self.pool(f, pool, "ticket")
        again, out = f.label("again"), f.label("out")
        f.br(again)
        f.place(again)
        ticket = _atomic_load(f, "i64", ticket_at, "acquire")
        start = f.and_(ticket, 0xFFFF)
        units = f.and_(f.lshr(ticket, 16), 0xFFFF)
        left = f.sub(units, start)
        work = f.label("work")
        f.cbr(f.icmp("sgt", left, 0), work, out)
        f.place(work)
        n = f.max_i(f.lshr(left, f.load("i64", self.pool(f, pool, "shift"))), 1)
        mine = f.label("mine")
        f.cbr(_swap(f, ticket_at, ticket, f.add(ticket, n)), mine, again)
        f.place(mine)
        f.store(f.i64(1), any_done)
        per = f.load("i64", self.pool(f, pool, "per"))
        begin = f.mul(start, per)
        end = f.min_i(f.add(begin, f.mul(n, per)), f.load("i64", self.pool(f, pool, "total")))
        self.do_range(f, f.load("ptr", self.pool(f, pool, "group")), scratch, begin, end)
        before = _rmw(f, "add", self.pool(f, pool, "done"), f.cast("trunc", n, "i32"))
        last = f.icmp("eq", f.add(f.cast("zext", before, "i64"), n), units)
        with f.if_(last):
            asleep = _atomic_load(f, "i32", self.pool(f, pool, "owner_asleep"))
            with f.if_(f.icmp("ne", asleep, 0)):
                self.call_wake(f, pool, "done", f.const("i32", 1))
        f.cbr(last, out, again)
        f.place(out)
        f.ret(f.load("i64", any_done))

    def do_range(self, f: Function, group: V, scratch: V, begin: V, end: V) -> None:
        """Do the chunks ``begin <= c < end`` of a group, counted through its commands."""
        cmd_at, base_at = f.alloca("ptr"), f.alloca("i64")
        f.store(group, cmd_at)
        f.store(f.i64(0), base_at)
        head, body, done = f.label("command"), f.label("body"), f.label("ranged")
        f.br(head)
        f.place(head)
        base = f.load("i64", base_at)
        f.cbr(f.icmp("slt", base, end), body, done)
        f.place(body)
        cmd = f.load("ptr", cmd_at)
        chunks = self.word(f, cmd, RECORD, "chunks")
        lo = f.sub(f.max_i(begin, base), base)
        hi = f.min_i(f.sub(end, base), chunks)
        with f.if_(f.icmp("slt", lo, hi)):
            self.call_kernel(f, cmd, scratch, lo, hi)
        f.store(f.add(base, chunks), base_at)
        f.store(_field(f, cmd, RECORD_BYTES), cmd_at)
        f.br(head)
        f.place(done)

    def call_kernel(self, f: Function, cmd: V, scratch: V, lo: V, hi: V) -> None:
        fn, bufs, ints = (self.word(f, cmd, RECORD, n, "ptr") for n in ("fn", "bufs", "ints"))
        f.line(f"call void {fn.ref}(ptr {bufs.ref}, ptr {ints.ref}, ptr {scratch.ref}, i64 {lo.ref}, i64 {hi.ref})")

    # -- the worker -----------------------------------------------------------------------------------
    def worker(self) -> None:
        f = self.module.function(self.name, "void", [("ptr", "pool"), ("ptr", "scratch"), ("i64", "index")])
        pool, index = f.arg("pool"), f.arg("index")
        seq_at = self.pool(f, pool, "seq")
        ticket_at = self.pool(f, pool, "ticket")
        work, idle, leave, park = (f.label(x) for x in ("work", "idle", "leave", "park"))
        with f.if_(f.icmp("slt", index, 0)):
            _rmw(f, "add", seq_at, f.const("i32", 1))
            self.call_wake(f, pool, "seq", f.const("i32", 0x7FFFFFFF))
            f.br(leave)
            f.place(f.label("never"))
        f.br(work)

        f.place(work)
        did = self.use(f, "share", "i64", pool, f.arg("scratch"))
        f.cbr(f.icmp("ne", did, 0), work, idle)

        f.place(idle)
        start = self.use(f, "now", "i64", pool)
        spin = f.label("spin")
        f.br(spin)
        f.place(spin)
        for _ in range(8):
            self.pause(f)
            self.goto_if(f, self.has_work(f, _atomic_load(f, "i64", ticket_at, "monotonic")), work)
        self.goto_if(f, self.surplus(f, pool, index), leave)
        active = _atomic_load(f, "i32", self.pool(f, pool, "active"), "monotonic")
        budget = f.select(
            f.icmp("ne", active, 0),
            f.load("i64", self.pool(f, pool, "spin_in")),
            f.load("i64", self.pool(f, pool, "spin_out")),
        )
        spent = f.sub(self.use(f, "now", "i64", pool), start)
        f.cbr(f.icmp("slt", spent, budget), spin, park)

        f.place(park)
        seq = _atomic_load(f, "i32", seq_at)
        _rmw(f, "add", self.pool(f, pool, "sleepers"), f.const("i32", 1))
        self.goto_if(f, self.has_work(f, _atomic_load(f, "i64", ticket_at)), work)
        self.goto_if(f, self.surplus(f, pool, index), leave)
        self.call_sleep(f, pool, "seq", seq)
        f.br(work)

        f.place(leave)
        f.ret()

    def surplus(self, f: Function, pool: V, index: V) -> V:
        """Whether this worker is one too many."""
        return f.icmp("sge", index, _atomic_load(f, "i64", self.pool(f, pool, "limit")))

    def goto_if(self, f: Function, cond: V, label: str) -> None:
        on = f.label("on")
        f.cbr(cond, label, on)
        f.place(on)

    # -- the owner ------------------------------------------------------------------------------------
    def run(self) -> None:
        f = self.module.function(self.name, "i64", [("ptr", "plan")])
        plan = f.arg("plan")
        pool = self.word(f, plan, HEADER, "pool", "ptr")
        running_at = _field(f, plan, 8 * HEADER["running"])
        scratch_at, cmd_at, time_at = f.alloca("ptr"), f.alloca("ptr"), f.alloca("ptr")

        def give_up(code: int) -> None:
            f.ret(f.i64(code))
            f.place(f.label("never"))

        generation = f.load("i64", self.pool(f, pool, "generation"))
        with f.if_(f.icmp("eq", _rmw(f, "xchg", running_at, generation), generation)):
            give_up(RUNNING)
        limit = _atomic_load(f, "i64", self.pool(f, pool, "limit"), "monotonic")
        want = _atomic_load(f, "i64", self.pool(f, pool, "want"), "monotonic")
        parallel = self.word(f, plan, HEADER, "parallel")
        alone = self.word(f, plan, HEADER, "alone", "ptr")
        by_itself = f.icmp("ne", alone, V("ptr", "null"))
        f.store(alone, scratch_at)
        owner_at = self.pool(f, pool, "owner")
        active_at = self.pool(f, pool, "active")
        with f.if_(f.xor(by_itself, V("i1", "true"))):
            with f.if_(f.and_(f.icmp("ne", limit, want), f.icmp("ne", parallel, 0))):
                _atomic_store(f, f.i64(0), running_at, "release")
                give_up(WORKERS_WANTED)
            taken = f.label("taken")
            got = f.label("got")
            f.cbr(_swap(f, owner_at, f.const("i32", 0), f.const("i32", 1)), got, taken)
            f.place(taken)
            _atomic_store(f, f.i64(0), running_at, "release")
            f.ret(f.i64(POOL_TAKEN))
            f.place(got)
            _atomic_store(f, f.cast("trunc", parallel, "i32"), active_at, "monotonic")
            f.store(f.load("ptr", self.pool(f, pool, "scratch")), scratch_at)
        scratch = f.load("ptr", scratch_at)
        helped = f.and_(f.and_(f.icmp("ne", limit, 0), f.icmp("ne", parallel, 0)), f.xor(by_itself, V("i1", "true")))
        times = self.word(f, plan, HEADER, "times", "ptr")
        f.store(times, time_at)
        self.stamp(f, pool, time_at)

        f.store(self.word(f, plan, HEADER, "commands", "ptr"), cmd_at)
        end = self.word(f, plan, HEADER, "end", "ptr")
        table = self.word(f, plan, HEADER, "table", "ptr")
        head, body, done = f.label("commands"), f.label("body"), f.label("finished")
        f.br(head)
        f.place(head)
        cmd = f.load("ptr", cmd_at)
        f.cbr(f.icmp("ult", cmd, end), body, done)
        f.place(body)
        edge, kernel = f.label("edge"), f.label("kernel")
        f.cbr(f.icmp("eq", self.word(f, cmd, RECORD, "fn"), 0), edge, kernel)
        f.place(edge)
        f.store(self.turn(f, cmd, table), cmd_at)
        f.br(head)
        f.place(kernel)
        self.gather(f, cmd, table)
        total = self.word(f, cmd, RECORD, "total")
        group = self.word(f, cmd, RECORD, "group")
        with f.if_else(f.and_(helped, f.icmp("sgt", total, 1))) as br:
            self.publish(f, pool, cmd, total)
            self.use(f, "share", "i64", pool, scratch)
            self.wait_for_rest(f, pool, cmd)
            br.otherwise()
            with f.loop(0, group, name="member") as it:
                one = f.gep(cmd, "i8", f.mul(it.i, RECORD_BYTES))
                self.call_kernel(f, one, scratch, f.i64(0), self.word(f, one, RECORD, "chunks"))
        f.store(f.gep(cmd, "i8", f.mul(group, RECORD_BYTES)), cmd_at)
        self.stamp(f, pool, time_at)
        f.br(head)

        f.place(done)
        with f.if_(f.xor(by_itself, V("i1", "true"))):
            _atomic_store(f, f.const("i32", 0), active_at, "monotonic")
            _atomic_store(f, f.const("i32", 0), owner_at, "release")
        _atomic_store(f, f.i64(0), running_at, "release")
        f.ret(f.i64(OK))

    def stamp(self, f: Function, pool: V, time_at: V) -> None:
        """Where the run is profiled, note the time."""
        at = f.load("ptr", time_at)
        with f.if_(f.icmp("ne", at, V("ptr", "null"))):
            f.store(self.use(f, "now", "i64", pool), at)
            f.store(f.gep(at, "i64", 1), time_at)

    def turn(self, f: Function, cmd: V, table: V) -> V:
        """Do what an edge of a loop says; the record to go on with."""
        count = self.word(f, cmd, RECORD, "chunks")
        left_at = self.word(f, cmd, RECORD, "bufs", "ptr")
        left = f.select(f.icmp("ne", count, 0), count, f.sub(f.load("i64", left_at), 1))
        f.store(left, left_at)
        goes = f.icmp("sgt", left, 0)
        moves = self.word(f, cmd, RECORD, "ints", "ptr")
        n = f.select(goes, self.word(f, cmd, RECORD, "gather_count"), f.i64(0))
        with f.loop(0, n, name="move") as it:
            move = f.gep(moves, "{ i64, i64, i64 }", it.i)
            to, frm, add = (f.load("i64", f.gep(move, "i64", k)) for k in range(len(MOVE)))
            f.store(f.add(f.load("i64", f.gep(table, "i64", frm)), add), f.gep(table, "i64", to))
        return f.select(goes, self.word(f, cmd, RECORD, "gather", "ptr"), f.gep(cmd, "i8", RECORD_BYTES))

    def gather(self, f: Function, cmd: V, table: V) -> None:
        """Write the buffers' addresses, ``table[slot] + offset``, for a whole group."""
        pairs = self.word(f, cmd, RECORD, "gather", "ptr")
        bufs = self.word(f, cmd, RECORD, "bufs", "ptr")
        with f.loop(0, self.word(f, cmd, RECORD, "gather_count"), name="gather") as it:
            pair = f.gep(pairs, "{ i64, i64 }", it.i)
            base = f.load("i64", f.gep(table, "i64", f.load("i64", pair)))
            f.store(f.add(base, f.load("i64", f.gep(pair, "i64", 1))), f.gep(bufs, "i64", it.i))

    def publish(self, f: Function, pool: V, cmd: V, total: V) -> None:
        """Offer a group to the workers and wake as many sleepers as could be of use."""
        units = self.word(f, cmd, RECORD, "units")
        f.store(cmd, self.pool(f, pool, "group"))
        f.store(self.word(f, cmd, RECORD, "per"), self.pool(f, pool, "per"))
        f.store(total, self.pool(f, pool, "total"))
        _atomic_store(f, f.const("i32", 0), self.pool(f, pool, "done"), "monotonic")
        ticket_at = self.pool(f, pool, "ticket")
        epoch = f.add(f.lshr(_atomic_load(f, "i64", ticket_at, "monotonic"), 32), 1)
        _atomic_store(f, f.or_(f.shl(epoch, 32), f.shl(units, 16)), ticket_at)
        sleepers_at = self.pool(f, pool, "sleepers")
        sleepers = _atomic_load(f, "i32", sleepers_at)
        with f.if_(f.icmp("sgt", sleepers, 0)):
            n = f.min_i(sleepers, f.sub(f.cast("trunc", units, "i32"), 1))
            _rmw(f, "sub", sleepers_at, n)
            _rmw(f, "add", self.pool(f, pool, "seq"), f.const("i32", 1))
            self.call_wake(f, pool, "seq", n)

    def wait_for_rest(self, f: Function, pool: V, cmd: V) -> None:
        """Wait until every unit is done: all are taken, so only for those in progress."""
        units = f.cast("trunc", self.word(f, cmd, RECORD, "units"), "i32")
        done_at = self.pool(f, pool, "done")
        asleep_at = self.pool(f, pool, "owner_asleep")
        first, spin, sleep, again, awake, through = (
            f.label(x) for x in ("first", "spin", "sleep", "again", "awake", "through")
        )
        f.cbr(f.icmp("eq", _atomic_load(f, "i32", done_at, "acquire"), units), through, first)
        f.place(first)
        start = self.use(f, "now", "i64", pool)
        f.br(spin)
        f.place(spin)
        for _ in range(8):
            self.pause(f)
            self.goto_if(f, f.icmp("eq", _atomic_load(f, "i32", done_at, "acquire"), units), through)
        spent = f.sub(self.use(f, "now", "i64", pool), start)
        f.cbr(f.icmp("slt", spent, f.load("i64", self.pool(f, pool, "spin_end"))), spin, sleep)

        f.place(sleep)
        _atomic_store(f, f.const("i32", 1), asleep_at)
        f.br(again)
        f.place(again)
        done = _atomic_load(f, "i32", done_at)
        self.goto_if(f, f.icmp("eq", done, units), awake)
        self.call_sleep(f, pool, "done", done)
        f.br(again)
        f.place(awake)
        _atomic_store(f, f.const("i32", 0), asleep_at)
        f.br(through)
        f.place(through)
