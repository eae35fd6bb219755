"""From kernel sources to the addresses of their machine code: compile once, keep in memory and on disk.

A *source* is anything with a stable ``repr`` that tells all about it and ``emit(module, name, host)``, which adds the
function ``name`` to a text module. Sources of one ``repr`` share code (equality would not do: ``0.0 == -0.0`` and
``1 == True``). On disk an object's name is a hash of the ``repr``, of the host with LLVM's version, and of the files
of the code generator themselves, so a changed generator never finds old code. Code that was loaded stays for the
life of the process.

Environment: ``GRADLOOM_CACHE_DIR`` (folder of all caches) and ``GRADLOOM_CACHE_BYTES`` (most bytes of compiled kernels
on disk, default 512 MiB; 0 switches the disk cache off), ``GRADLOOM_PROGRESS`` (0: no line about long compilations).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gradloom.compiler.disk_cache import DiskCache, default_folder
from gradloom.compiler.llvm.text import Module
from gradloom.compiler.sources import sources_hash

if TYPE_CHECKING:
    from gradloom.compiler.llvm.host import Host
    from gradloom.compiler.llvm.loading import LoadedObjects

__all__ = [
    "Progress", "Source", "Stats", "addresses", "clear_memory_cache", "compiling_ahead", "disk", "expect", "ir",
    "name_at", "named", "on_compile", "stats",
]  # fmt: skip


class Source(Protocol):
    """What can be compiled. Its ``repr`` must tell all about it, the same in every process."""

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Add the function ``name`` to the module."""


@dataclass(frozen=True)
class Progress:
    """One kernel of a request was compiled: the ``done``-th of ``total`` that were in no cache."""

    done: int
    total: int
    source: object
    seconds: float


@dataclass
class Stats:
    """Counts since the process began.

    compiled, disk_hits, memory_hits : kernels by where they came from.
    programs_from_disk : programs whose kernels were not even planned (:mod:`gradloom.compiler.plans`).
    seconds : spent compiling. kernel_seconds : the same by kernel name, for those compiled.
    disk_failures : reads and writes of the disk cache that failed.
    """

    compiled: int = 0
    disk_hits: int = 0
    memory_hits: int = 0
    programs_from_disk: int = 0
    seconds: float = 0.0
    kernel_seconds: dict[str, float] = field(default_factory=dict)
    disk_failures: int = 0


_DEFAULT_LIMIT = 512 << 20
PATIENCE = 1.0  # seconds of compiling before a line on the terminal says how far it is

_lock = threading.RLock()
_memory: dict[Host, dict[str, int]] = {}  # by host, then by what _identity gives
_loaded: dict[str, int] = {}  # by name
_names: dict[int, str] = {}  # of all code that was ever loaded
_code: list[LoadedObjects] = []
# Worker threads may be inside this code while Python is torn down, so it is never unloaded.
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_code))
_hooks: list[Callable[[Progress], None]] = []
_stats = Stats()
_disks: dict[tuple[Path, int], DiskCache] = {}
_default_host: Host | None = None

_MOST_THREADS = 8
_local = threading.local()  # ahead: what this thread has begun
_under_way: set[Ahead] = set()


def _before_fork() -> None:
    _lock.acquire()
    for ahead in list(_under_way):
        ahead.settle()


def _in_child() -> None:
    for ahead in _under_way:
        ahead.alone()
    _lock.release()


if hasattr(os, "register_at_fork"):  # a child must not begin with LLVM in the middle of something
    os.register_at_fork(before=_before_fork, after_in_parent=_lock.release, after_in_child=_in_child)


def addresses(sources: Sequence[Source], host: Host | None = None) -> list[int]:
    """The address of each source's machine code, for this process's host unless another is named.

    Raises TypeError for a source whose ``repr`` holds an address, and whatever its ``emit`` or LLVM raises. Safe to
    call from several threads; kernels in memory are found without a lock.
    """
    if host is None:
        host = _default_host or _detect()
    known = _memory.get(host)
    if known is None:
        known = _memory.setdefault(host, {})
    keys = [_identity(s) for s in sources]
    try:
        found = [known[k] for k in keys]
    except KeyError:
        pass
    else:
        _stats.memory_hits += len(found)
        return found
    with _lock:
        missing = {k: s for k, s in zip(keys, sources, strict=True) if k not in known}
        _stats.memory_hits += len(sources) - len(missing)
        known.update(_obtain(missing, host))
        return [known[k] for k in keys]


def _identity(source: Source) -> str:
    own = getattr(source, "__dict__", None)
    if own is None:
        return f"{type(source).__module__}.{source!r}"
    found = own.get("_identity")
    if found is None:  # sources are not changed, and many launches share one
        found = own["_identity"] = f"{type(source).__module__}.{source!r}"
    return found


def _detect() -> Host:
    global _default_host
    from gradloom.compiler.llvm.host import detect_host

    _default_host = detect_host()
    return _default_host


def _obtain(sources: dict[str, Source], host: Host) -> dict[str, int]:
    """With the lock held: objects from disk or from LLVM, loaded together. Sources and addresses by identity."""
    if not sources:
        return {}
    ahead: Ahead | None = getattr(_local, "ahead", None)
    if ahead is None or ahead.host != host:
        ahead = Ahead(host, 1)
    names = {identity: _name(identity, host.key) for identity in sources}
    objects: dict[str, bytes] = {}
    todo: list[tuple[str, Source]] = []
    for identity, name in names.items():
        if name in _loaded:  # by a program that was not planned here
            _stats.memory_hits += 1
        elif ahead.ask(name, sources[identity]):
            todo.append((name, sources[identity]))
        else:
            objects[name] = ahead.stored[name]
            _stats.disk_hits += 1
    line = _Line(len(todo))
    store = disk()
    for done, (name, source) in enumerate(todo, 1):
        objects[name], seconds = ahead.get(name, source)
        _stats.compiled += 1
        _stats.seconds += seconds
        _stats.kernel_seconds[name] = _stats.kernel_seconds.get(name, 0.0) + seconds
        store.put(name, objects[name])
        for hook in list(_hooks):
            hook(Progress(done, len(todo), source, seconds))
        line.show(done)
    line.clear()
    _load(objects, host)
    return {identity: _loaded[name] for identity, name in names.items()}


class Ahead:
    """Kernels that will be asked for, compiled by other threads while their program is still being planned.

    stored: objects that were found on disk, by name.
    """

    def __init__(self, host: Host, threads: int) -> None:
        self.host, self.threads = host, threads
        self.stored: dict[str, bytes] = {}
        self._work: dict[str, Future[tuple[bytes, float]] | None] = {}
        self._pool: ThreadPoolExecutor | None = None

    def ask(self, name: str, source: Source) -> bool:
        """Begin with a kernel, unless that was done; with the lock held. False where it is on disk."""
        if name in self.stored:
            return False
        if name not in self._work:
            found = disk().get(name)
            if found is not None:
                self.stored[name] = found
                return False
            self._work[name] = None
            if self.threads > 1:
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(self.threads, "gradloom-compile")
                self._work[name] = self._pool.submit(_timed, source, name, self.host)
        return True

    def get(self, name: str, source: Source) -> tuple[bytes, float]:
        """The object of a kernel that was asked for, and the seconds that it took."""
        work = self._work[name]
        return _timed(source, name, self.host) if work is None else work.result()

    def settle(self) -> None:
        """Wait for what was begun."""
        wait([w for w in self._work.values() if w is not None])

    def alone(self) -> None:
        """In a child of the process: the other threads are not there any more."""
        self.threads, self._pool = 1, None

    def close(self) -> None:
        """Drop what was not begun, and wait for the rest."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


@contextmanager
def compiling_ahead() -> Iterator[None]:
    """Kernels that this thread names to :func:`expect` inside are compiled by others from then on.

    As many threads as kernels run on take part; with one, nothing is done ahead.
    """
    from gradloom.runtime.threads import get_num_threads

    before = getattr(_local, "ahead", None)
    mine = _local.ahead = Ahead(_default_host or _detect(), min(get_num_threads(), _MOST_THREADS))
    _under_way.add(mine)
    try:
        yield
    finally:
        _local.ahead = before
        _under_way.discard(mine)
        mine.close()


def expect(source: Source) -> None:
    """Say that a kernel will be asked for soon."""
    ahead: Ahead | None = getattr(_local, "ahead", None)
    if ahead is None or ahead.threads < 2:
        return
    identity = _identity(source)
    if identity in _memory.get(ahead.host, ()):
        return
    name = _name(identity, ahead.host.key)
    with _lock:
        if name not in _loaded:
            ahead.ask(name, source)


def _load(objects: dict[str, bytes], host: Host) -> None:
    """With the lock held."""
    if objects:
        from gradloom.compiler.llvm.loading import LoadedObjects

        made = LoadedObjects(objects, host)
        _code.append(made)
        _loaded.update(made.addresses)
        _names.update((address, name) for name, address in made.addresses.items())


def named(names: Sequence[str]) -> list[int] | None:
    """The addresses of kernels for this process's host by the names of their objects; None where one is nowhere."""
    with _lock:
        store = disk()
        objects: dict[str, bytes] = {}
        for name in names:
            if name not in _loaded:
                stored = store.get(name)
                if stored is None:
                    return None
                objects[name] = stored
        _stats.disk_hits += len(objects)
        _stats.memory_hits += len(names) - len(objects)
        _stats.programs_from_disk += 1
        _load(objects, _default_host or _detect())
        return [_loaded[name] for name in names]


def name_at(address: int) -> str | None:
    """The name of the object that holds the kernel at an address."""
    return _names.get(address)


class _Line:
    """One line on a terminal that says how far a long compilation is and how long it will take; silent elsewhere.

    Switched off by ``GRADLOOM_PROGRESS=0``.
    """

    def __init__(self, total: int) -> None:
        self.total, self.since, self.shown = total, time.perf_counter(), False
        self.on = bool(getattr(sys.stderr, "isatty", lambda: False)()) and os.environ.get("GRADLOOM_PROGRESS") != "0"

    def show(self, done: int) -> None:
        """Say so, once it has taken :data:`PATIENCE` seconds."""
        took = time.perf_counter() - self.since
        if self.on and took > PATIENCE:
            left = took / done * (self.total - done)
            sys.stderr.write(f"\r\x1b[Kcompiling kernel {done} of {self.total}, {left:.0f} s left")
            sys.stderr.flush()
            self.shown = True

    def clear(self) -> None:
        """Take the line away."""
        if self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _timed(source: Source, name: str, host: Host) -> tuple[bytes, float]:
    start = time.perf_counter()
    made = _compile(source, name, host)
    return made, time.perf_counter() - start


def _compile(source: Source, name: str, host: Host) -> bytes:
    from gradloom.compiler.llvm.host import compile_object

    return compile_object(ir(source, name, host), host)


def ir(source: Source, name: str = "kernel", host: Host | None = None) -> str:
    """The LLVM assembly that a source emits, for looking at."""
    module = Module()
    source.emit(module, name, host or _default_host or _detect())
    return module.text()


def _name(identity: str, host_key: str) -> str:
    if " object at 0x" in identity:
        raise TypeError(f"a kernel source needs a repr that is the same in every process, got {identity}")
    digest = hashlib.sha256(f"{_generator_hash()}|{host_key}|{identity}".encode())
    return f"k{digest.hexdigest()[:40]}"


def _generator_hash() -> str | None:
    """Hash of the files that decide what code a source becomes."""
    here = Path(__file__).parent
    return sources_hash(here / "loops.py", here / "llvm")


def disk() -> DiskCache:
    """The cache that the environment names now; one that is off where the code generator was changed under way."""
    try:
        limit = int(os.environ.get("GRADLOOM_CACHE_BYTES") or _DEFAULT_LIMIT)
    except ValueError:
        limit = _DEFAULT_LIMIT
    try:
        folder = default_folder()
    except RuntimeError:  # no home folder
        folder, limit = Path(), 0
    if _generator_hash() is None:
        limit = 0
    return _disks.setdefault((folder, limit), DiskCache(folder, limit))


def on_compile(hook: Callable[[Progress], None]) -> Callable[[], None]:
    """Call ``hook`` after each kernel that had to be compiled. Returns a function that ends this."""
    _hooks.append(hook)

    def end() -> None:
        if hook in _hooks:
            _hooks.remove(hook)

    return end


def stats() -> Stats:
    """A copy of the counts so far."""
    with _lock:
        copy = Stats(**{**vars(_stats), "kernel_seconds": dict(_stats.kernel_seconds)})
        copy.disk_failures = sum(d.failures for d in _disks.values())
        return copy


def clear_memory_cache() -> None:
    """Forget which sources are loaded, so that the next request looks on disk again. Loaded code stays valid."""
    with _lock:
        for known in _memory.values():
            known.clear()
        _loaded.clear()
