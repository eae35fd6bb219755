"""The pool of worker threads: its shared state, its system calls, and how threads come and go.

Workers are Python daemon threads, each inside one call of the native worker loop
(:mod:`gradloom.compiler.llvm.runner_ir`), so they hold no interpreter lock. They start when a plan first wants them.
The state is one block of memory for the life of the process: native code keeps its address.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import platform
import sys
import threading

from gradloom.compiler.llvm import runner_ir as ir
from gradloom.compiler.loops import SCRATCH_BYTES
from gradloom.runtime.buffers import Buffer, allocate

__all__ = ["Pool", "pool"]

SPIN_IN_NS = 60_000
"""How long a worker waits awake for the next command of a running plan: about as long as waking it would take."""
SPIN_OUT_NS = 150_000
"""How long a worker waits awake for the next plan."""
SPIN_END_NS = 50_000
"""How long the owner waits awake for the last chunks of a command. Waking a thread takes 30 to 100 microseconds on a
virtual machine; a worker that had to be woken ends its chunk so much later, and an owner asleep would add as much."""


def default_waiting() -> str:
    """How threads sleep on this system: one of :data:`runner_ir.WAITING`."""
    if sys.platform == "win32":
        return "windows"
    known = platform.machine().lower() in ("x86_64", "amd64", "aarch64", "arm64")
    return "futex" if sys.platform.startswith("linux") and known else "pthread"


class Pool:
    """Worker threads and the state they share with the owner of a run.

    waiting: how threads sleep; the system's own way where None. The process has one, :func:`pool`; tests make others.
    """

    def __init__(self, waiting: str | None = None) -> None:
        from gradloom.compiler.kernels import addresses

        self.waiting = waiting or default_waiting()
        sources = [ir.RunnerSource(part, self.waiting) for part in ("run", "worker", "apart")]
        run, worker, self.apart = addresses(sources)  # type: ignore[arg-type]
        self.run = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(run)
        self.run_holding = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(run)
        self._worker = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(worker)
        self._memory = allocate(ir.POOL_BYTES, zero=True)
        self._scratch = allocate(SCRATCH_BYTES)
        self._spare: list[Buffer] = []  # scratch of callers that found the pool taken
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._wanted = 0
        self._generation = 0
        self.address = self._memory.ptr
        # Daemon threads may look at the state and the scratch until the process is gone.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)
        atexit.register(self._at_exit)

    # -- state ----------------------------------------------------------------------------------------
    def _set(self, name: str, value: int) -> None:
        ctypes.c_int64.from_address(self.address + ir.POOL[name]).value = value

    def _get(self, name: str) -> int:
        return ctypes.c_int64.from_address(self.address + ir.POOL[name]).value

    def _reset(self) -> None:
        """The state of a pool without workers."""
        ctypes.memset(self.address, 0, ir.POOL_BYTES)
        self._generation += 1
        self._set("generation", self._generation)  # plans that ran when the process forked do not run in the child
        self._set("scratch", self._scratch.ptr)
        self._set("want", self._wanted)
        ticks = 1.0
        if self.waiting == "windows":
            ticks = self._link_windows()
        else:
            self._link_posix()
        self._ticks = ticks
        self.set_spin(SPIN_IN_NS, SPIN_OUT_NS, SPIN_END_NS)

    def _link_posix(self) -> None:
        import time

        libc = ctypes.CDLL(None)

        def link(name: str, symbol: str) -> None:
            self._set(name, ctypes.cast(getattr(libc, symbol), ctypes.c_void_p).value or 0)

        link("clock", "clock_gettime")
        self._set("clock_id", time.CLOCK_MONOTONIC)
        if self.waiting == "futex":
            link("wait", "syscall")
            link("wake", "syscall")
            return
        link("lock", "pthread_mutex_lock")
        link("unlock", "pthread_mutex_unlock")
        link("wait", "pthread_cond_wait")
        link("wake", "pthread_cond_broadcast")
        for word in ("seq", "done"):
            libc.pthread_mutex_init(ctypes.c_void_p(self.address + ir.POOL[f"{word}_mutex"]), None)
            libc.pthread_cond_init(ctypes.c_void_p(self.address + ir.POOL[f"{word}_cond"]), None)

    def _link_windows(self) -> float:
        """Returns the ticks of the clock per nanosecond."""
        kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]
        synch = ctypes.WinDLL("api-ms-win-core-synch-l1-2-0")  # type: ignore[attr-defined]
        for name, function in (
            ("clock", kernel.QueryPerformanceCounter),
            ("wait", synch.WaitOnAddress),
            ("wake", synch.WakeByAddressAll),
        ):
            self._set(name, ctypes.cast(function, ctypes.c_void_p).value or 0)
        frequency = ctypes.c_int64()
        kernel.QueryPerformanceFrequency(ctypes.byref(frequency))
        return frequency.value / 1e9

    def set_spin(self, inside_ns: int, outside_ns: int, end_ns: int) -> None:
        """How long threads wait awake: workers within a running plan, workers for the next, the owner for workers."""
        self._set("spin_in", int(inside_ns * self._ticks))
        self._set("spin_out", int(outside_ns * self._ticks))
        self._set("spin_end", int(end_ns * self._ticks))

    @property
    def ticks_per_ns(self) -> float:
        """Ticks of the clock that profiles are taken with, per nanosecond."""
        return self._ticks

    # -- threads --------------------------------------------------------------------------------------
    @property
    def workers(self) -> int:
        """Worker threads that exist now."""
        return len(self._threads)

    def want(self, workers: int) -> None:
        """Ask for so many workers beside the calling thread. Surplus ones end now, missing ones start when needed."""
        with self._lock:
            self._wanted = workers
            self._set("want", workers)
            if workers < len(self._threads):
                self._adjust()

    def bring_up(self) -> None:
        """Start the workers that are wanted."""
        with self._lock:
            self._adjust()

    def _adjust(self) -> None:
        """With the lock held: make the threads as many as are wanted."""
        want = self._wanted
        self._set("limit", want)
        if len(self._threads) > want:
            surplus = self._threads[want:]
            del self._threads[want:]
            self._worker(self.address, None, -1)
            for thread in surplus:  # an index is given again only when its last thread is gone
                thread.join()
        while len(self._threads) < want:
            index = len(self._threads)
            thread = threading.Thread(target=self._enter, args=(index,), name=f"gradloom-{index + 1}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads: go on with those there are
                self._wanted = index
                self._set("want", index)
                self._set("limit", index)
                break
            self._threads.append(thread)

    def _enter(self, index: int) -> None:
        scratch = allocate(SCRATCH_BYTES)
        self._worker(self.address, scratch.ptr, index)

    def borrow_scratch(self) -> Buffer:
        """Scratch for a caller that runs its plan without the pool; hand it to :meth:`return_scratch`."""
        try:
            return self._spare.pop()
        except IndexError:
            return allocate(SCRATCH_BYTES)

    def return_scratch(self, scratch: Buffer) -> None:
        """Take borrowed scratch back."""
        if len(self._spare) < 64:
            self._spare.append(scratch)

    def _after_fork(self) -> None:
        """A child has this thread alone; its workers start when it first wants them."""
        self._lock = threading.Lock()
        self._threads = []
        self._reset()

    def _at_exit(self) -> None:
        """Workers leave before the interpreter goes; one still busy for another thread is left to the system."""
        self._wanted = 0
        self._set("want", 0)
        self._set("limit", 0)
        self._worker(self.address, None, -1)
        for thread in self._threads:
            thread.join(1.0)


_pool: Pool | None = None
_pool_lock = threading.Lock()


def pool() -> Pool:
    """The process's pool, made at the first call (which compiles the runner or finds it in the cache)."""
    global _pool
    if _pool is None:
        with _pool_lock:
            if _pool is None:
                from gradloom.runtime.threads import get_num_threads

                made = Pool()
                made.want(get_num_threads() - 1)
                _pool = made
    return _pool


def existing_pool() -> Pool | None:
    """The process's pool if it was made already."""
    return _pool
