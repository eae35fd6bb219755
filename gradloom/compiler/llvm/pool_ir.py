"""The state that threads of a pool share, and what they ask of the system: the time, sleep and waking others.

Sleeping is a futex on Linux, ``WaitOnAddress`` on Windows and a mutex with a condition variable elsewhere; their
addresses come in the pool's state, so the code has no relocations.
"""

from __future__ import annotations

from gradloom.compiler.llvm.text import Function, Module, V

__all__ = ["LINE", "MOST_THREADS", "POOL", "POOL_BYTES", "WAITING", "System", "atomic_load", "atomic_store", "field"]

WAITING = ("futex", "pthread", "windows")

LINE = 128  # bytes that what different threads write stands apart
MOST_THREADS = 1024

POOL = {  # byte offsets in the pool's state
    "offer": 0, "group": 8,
    "done": 128, "owner_asleep": 132,
    "seq": 256, "sleepers": 260,
    "owner": 384, "active": 388, "before": 392,
    "limit": 512, "want": 520, "generation": 536, "scratch": 544, "spin_in": 552, "spin_out": 560, "spin_end": 568,
    "clock": 576, "clock_id": 584, "wait": 592, "wake": 600, "lock": 608, "unlock": 616,
    "seq_mutex": 640, "seq_cond": 768, "done_mutex": 896, "done_cond": 1024,
    "shares": 1152,
}  # fmt: skip
POOL_BYTES = POOL["shares"] + LINE * MOST_THREADS


def field(f: Function, base: V, offset: int) -> V:
    """The address ``offset`` bytes behind another."""
    return f.gep(base, "i8", offset)


def atomic_load(f: Function, ty: str, p: V, order: str = "seq_cst") -> V:
    """Load a word that other threads write."""
    return f.op(ty, f"load atomic {ty}, ptr {p.ref} {order}, align {8 if ty in ('i64', 'ptr') else 4}")


def atomic_store(f: Function, v: V, p: V, order: str = "seq_cst") -> None:
    """Store a word that other threads read."""
    f.line(f"store atomic {v.ty} {v.ref}, ptr {p.ref} {order}, align {8 if v.ty in ('i64', 'ptr') else 4}")


class System:
    """What emitted code asks of the system, as helpers of one module."""

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
        """Where a word of the pool's state is."""
        return field(f, pool, POOL[name])

    def helper(self, name: str, ret: str, args: list[tuple[str, str]]) -> Function:
        """Begin a helper."""
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

    def goto_if(self, f: Function, cond: V, label: str) -> None:
        """Leave for a label where a condition holds."""
        on = f.label("on")
        f.cbr(cond, label, on)
        f.place(on)

    # -- time and sleep -------------------------------------------------------------------------------
    def system(self) -> None:
        """Emit the helpers."""
        self.now()
        self.sleep()
        self.wake()

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
            with f.if_(f.icmp("eq", atomic_load(f, "i32", word), expected)):
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
        """The system call on a word of 32 bits."""
        f.op(
            "i64",
            f"call i64 {syscall.ref}(i64 {self.futex_number}, ptr {word.ref}, i64 {what}, i64 {value.ref}, ptr null, "
            "ptr null, i64 0)",
        )

    def call_sleep(self, f: Function, pool: V, word: str, expected: V) -> None:
        """Sleep while the pool's ``seq`` or ``done`` is what is expected."""
        parts = [self.pool(f, pool, f"{word}{end}") for end in ("", "_mutex", "_cond")]
        self.use(f, "sleep", "void", pool, parts[0], expected, *parts[1:])

    def call_wake(self, f: Function, pool: V, word: str, count: V) -> None:
        """Wake threads that sleep on the pool's ``seq`` or ``done``."""
        parts = [self.pool(f, pool, f"{word}{end}") for end in ("", "_mutex", "_cond")]
        self.use(f, "wake", "void", pool, parts[0], count, *parts[1:])
