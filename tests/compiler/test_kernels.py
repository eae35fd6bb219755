"""Kernel caches: memory, disk, damage, other processes, limits."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import stat
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from gradloom.compiler import kernels, sources
from gradloom.compiler.disk_cache import DiskCache, default_folder
from gradloom.compiler.kernels import (
    addresses,
    clear_memory_cache,
    compiling_ahead,
    expect,
    ir,
    on_compile,
    stats,
)


@dataclass(frozen=True)
class Constant:
    """A function without arguments that returns ``value``."""

    value: float

    def emit(self, module, name, host):
        f = module.function(name, "double", [])
        f.ret(f.const("double", self.value))


@dataclass(frozen=True)
class Broken:
    def emit(self, module, name, host):
        module.function(name, "double", []).line("this is no instruction")


class Nameless:
    def emit(self, module, name, host):
        Constant(0).emit(module, name, host)


def call(address):
    return ctypes.CFUNCTYPE(ctypes.c_double)(address)()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("GRADLOOM_CACHE_BYTES", raising=False)
    monkeypatch.setattr(sources, "_SINCE", float("inf"))  # whatever somebody edits while the tests run
    sources.sources_hash.cache_clear()
    clear_memory_cache()
    yield tmp_path / "kernels"
    clear_memory_cache()
    sources.sources_hash.cache_clear()


class Counts:
    """What happened since the last look: (compiled, from disk, from memory, failures)."""

    def __init__(self):
        self.last = self.now()

    def now(self):
        s = stats()
        return (s.compiled, s.disk_hits, s.memory_hits, s.disk_failures)

    def since(self):
        last, self.last = self.last, self.now()
        return tuple(b - a for a, b in zip(last, self.last, strict=True))


def test_compile_then_memory_then_disk(folder):
    counts = Counts()
    sources = [Constant(1.5), Constant(2.5), Constant(1.5)]
    a = addresses(sources)
    assert [call(x) for x in a] == [1.5, 2.5, 1.5]
    assert a[0] == a[2]
    assert counts.since() == (2, 0, 1, 0)
    assert addresses([Constant(2.5), Constant(1.5)]) == [a[1], a[0]]
    assert counts.since() == (0, 0, 2, 0)
    clear_memory_cache()
    again = addresses([*sources, Constant(3.5)])
    assert [call(x) for x in again] == [1.5, 2.5, 1.5, 3.5]
    assert [call(x) for x in a] == [1.5, 2.5, 1.5]  # code already handed out stays
    assert counts.since() == (1, 2, 1, 0)
    assert addresses([]) == []


def test_sources_that_compare_equal_but_differ_get_their_own_code(folder):
    import math

    plus, minus, again = (call(a) for a in addresses([Constant(0.0), Constant(-0.0), Constant(0.0)]))
    assert [math.copysign(1, x) for x in (plus, minus, again)] == [1, -1, 1]
    nan = float("nan")
    counts = Counts()
    addresses([Constant(nan)])
    addresses([Constant(nan)])
    assert counts.since()[:3] == (1, 0, 1)


def test_hosts_do_not_share_code(folder):
    from gradloom.compiler.llvm.host import detect_name, host_named

    if detect_name() not in ("avx512", "avx2"):
        pytest.skip("needs a host with a narrower one beside it")
    counts = Counts()
    wide, narrow = addresses([Constant(4.5)]), addresses([Constant(4.5)], host_named("sse4"))
    assert wide != narrow
    assert counts.since()[0] == 2
    assert call(wide[0]) == call(narrow[0]) == 4.5


def test_a_changed_generator_finds_no_old_code(folder, monkeypatch):
    addresses([Constant(5.5)])
    clear_memory_cache()
    counts = Counts()
    monkeypatch.setattr(kernels, "_generator_hash", lambda: "another version")
    addresses([Constant(5.5)])
    assert counts.since()[:2] == (1, 0)


def damage(path, how):
    data = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "cut": data[: len(data) // 2],
            "flipped": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
            "other": b"\x7fELF" + data,
            "header only": data[:36],
        }[how]
    )


@pytest.mark.parametrize("how", ["empty", "cut", "flipped", "other", "header only"])
def test_damaged_files_are_replaced(folder, how):
    addresses([Constant(6.5)])
    (path,) = folder.glob("*.o")
    good = path.read_bytes()
    damage(path, how)
    clear_memory_cache()
    counts = Counts()
    assert call(addresses([Constant(6.5)])[0]) == 6.5
    assert counts.since() == (1, 0, 0, 1)
    assert path.read_bytes() == good
    clear_memory_cache()
    addresses([Constant(6.5)])
    assert counts.since() == (0, 1, 0, 0)


def test_a_folder_that_cannot_be_made_is_harmless(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", str(tmp_path / "file"))
    clear_memory_cache()
    counts = Counts()
    assert call(addresses([Constant(7.5)])[0]) == 7.5
    compiled, hits, _, failures = counts.since()
    assert (compiled, hits) == (1, 0)
    assert failures > 0


def test_a_folder_that_cannot_be_written_is_harmless(folder, monkeypatch):
    addresses([Constant(8.5)])

    def refuse(*args, **kwargs):
        raise PermissionError("read-only")

    monkeypatch.setattr("gradloom.compiler.disk_cache.tempfile.mkstemp", refuse)
    clear_memory_cache()
    counts = Counts()
    assert [call(a) for a in addresses([Constant(8.5), Constant(9.5)])] == [8.5, 9.5]
    assert counts.since() == (1, 1, 0, 1)


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_a_folder_open_to_all_is_not_trusted(folder):
    addresses([Constant(10.5)])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    clear_memory_cache()
    kernels._disks.clear()  # as a new process would
    counts = Counts()
    addresses([Constant(10.5)])
    assert counts.since()[:2] == (1, 0)


def test_the_disk_cache_can_be_switched_off(folder, monkeypatch):
    monkeypatch.setenv("GRADLOOM_CACHE_BYTES", "0")
    assert call(addresses([Constant(11.5)])[0]) == 11.5
    assert not folder.exists()


def test_size_is_bounded_and_the_oldest_go_first(tmp_path):
    cache = DiskCache(tmp_path, limit=10_000)
    now = time.time()
    for k in range(30):
        cache.put(f"k{k}", bytes([k]) * 964)
        os.utime(tmp_path / f"k{k}.o", (now - 1000 + k, now - 1000 + k))
    names = {p.name for p in tmp_path.iterdir()}
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 10_000
    assert names == {f"k{k}.o" for k in range(30 - len(names), 30)}
    assert len(names) >= 8
    assert cache.get("k29") == bytes([29]) * 964
    assert cache.get("k0") is None
    assert cache.failures == 0


def test_reading_keeps_a_file_young(tmp_path):
    cache = DiskCache(tmp_path, limit=1 << 20)
    cache.put("a", b"object")
    long_ago = time.time() - 1e7
    os.utime(tmp_path / "a.o", (long_ago, long_ago))
    cache.get("a")
    assert time.time() - (tmp_path / "a.o").stat().st_mtime < 60


def test_leftovers_of_dead_writers_are_removed(tmp_path):
    old, young = tmp_path / "x.tmp", tmp_path / "y.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    DiskCache(tmp_path, limit=1 << 20).put("a", b"object")
    assert not old.exists()
    assert young.exists()


def test_default_folder(monkeypatch):
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", "/somewhere")
    assert default_folder() == Path("/somewhere/kernels")
    monkeypatch.delenv("GRADLOOM_CACHE_DIR")
    if sys.platform.startswith("linux"):
        monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
        assert default_folder() == Path("/xdg/gradloom/kernels")
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert default_folder() == Path.home() / ".cache" / "gradloom" / "kernels"


def test_progress(folder):
    seen = []
    end = on_compile(seen.append)
    try:
        addresses([Constant(20.5), Constant(21.5)])
        addresses([Constant(20.5)])
    finally:
        end()
    addresses([Constant(22.5)])
    assert [(p.done, p.total, p.source) for p in seen] == [(1, 2, Constant(20.5)), (2, 2, Constant(21.5))]
    assert all(p.seconds > 0 for p in seen)
    recorded = stats()
    assert recorded.seconds == pytest.approx(sum(recorded.kernel_seconds.values()))


def test_errors_leave_the_cache_usable(folder):
    with pytest.raises(RuntimeError):
        addresses([Constant(23.5), Broken()])
    with pytest.raises(TypeError, match="same in every process"):
        addresses([Nameless()])
    counts = Counts()
    assert call(addresses([Constant(23.5)])[0]) == 23.5
    assert counts.since()[:2] == (0, 1)  # what was compiled before the error is not lost


def test_ir_can_be_read():
    text = ir(Constant(2.0), "two")
    assert "define double @two()" in text


def test_threads_compile_once(folder):
    counts = Counts()
    results = []

    def work():
        results.append(addresses([Constant(30.5), Constant(31.5)]))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(results) == 8
    assert all(r == results[0] for r in results)
    assert counts.since()[0] == 2


@pytest.fixture
def two_threads():
    from gradloom.runtime.threads import get_num_threads, set_num_threads

    before = get_num_threads()
    set_num_threads(2)
    yield
    set_num_threads(before)


@dataclass(frozen=True)
class Watched(Constant):
    """Says by which thread it was emitted."""

    def emit(self, module, name, host):
        _emitted_by.append(threading.current_thread())
        super().emit(module, name, host)


_emitted_by: list[threading.Thread] = []


def test_kernels_that_are_expected_are_compiled_by_other_threads(folder, two_threads):
    _emitted_by.clear()
    counts = Counts()
    seen = []
    end = on_compile(seen.append)
    sources = [Watched(k + 50.5) for k in range(6)]
    try:
        with compiling_ahead():
            for s in sources:
                expect(s)
            expect(sources[0])
            got = addresses([*sources, Watched(60.5)])
    finally:
        end()
    assert [call(a) for a in got] == [*(k + 50.5 for k in range(6)), 60.5]
    assert counts.since() == (7, 0, 0, 0)
    assert [(p.done, p.total) for p in seen] == [(k, 7) for k in range(1, 8)]
    assert len(_emitted_by) == 7 and threading.current_thread() not in _emitted_by
    assert len(list(folder.glob("*.o"))) == 7
    assert not any(t.is_alive() for t in _emitted_by)  # they end with the program
    with compiling_ahead():
        for s in sources:
            expect(s)  # in memory
        clear_memory_cache()
        for s in sources:
            expect(s)  # on disk
        addresses(sources)
    assert counts.since() == (0, 6, 0, 0)


def test_with_one_thread_nothing_is_done_ahead(folder):
    from gradloom.runtime.threads import get_num_threads, set_num_threads

    before = get_num_threads()
    set_num_threads(1)
    _emitted_by.clear()
    try:
        with compiling_ahead():
            expect(Watched(70.5))
            assert not _emitted_by
            addresses([Watched(70.5)])
    finally:
        set_num_threads(before)
    assert _emitted_by == [threading.current_thread()]


def test_errors_of_other_threads_arrive_where_the_kernel_is_asked_for(folder, two_threads):
    with compiling_ahead():
        expect(Broken())
        expect(Constant(71.5))
        assert call(addresses([Constant(71.5)])[0]) == 71.5
        with pytest.raises(RuntimeError):
            addresses([Broken()])
    with pytest.raises(KeyError), compiling_ahead():
        for k in range(30):
            expect(Constant(k + 0.75))
        raise KeyError  # planning failed: what nobody asked for is dropped
    expect(Broken())  # outside, nothing happens
    assert call(addresses([Constant(0.75)])[0]) == 0.75


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_while_kernels_are_compiled_ahead(folder, two_threads):
    with compiling_ahead():
        for k in range(20):
            expect(Constant(k + 0.0625))
        pid = os.fork()
        if pid == 0:
            ok = call(addresses([Constant(3.0625)])[0]) == 3.0625 and call(addresses([Constant(41.5)])[0]) == 41.5
            os._exit(0 if ok else 1)
        assert [call(a) for a in addresses([Constant(k + 0.0625) for k in range(20)])] == [
            k + 0.0625 for k in range(20)
        ]
    assert os.waitpid(pid, 0)[1] == 0


def _compile_many(folder, queue):
    os.environ["GRADLOOM_CACHE_DIR"] = folder
    queue.put([call(a) for a in addresses([Constant(k + 0.25) for k in range(12)])])


def test_processes_share_a_folder(folder):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=_compile_many, args=(str(folder.parent), queue)) for _ in range(2)]
    for p in processes:
        p.start()
    results = [queue.get(timeout=60) for _ in processes]
    for p in processes:
        p.join()
    assert results == [[k + 0.25 for k in range(12)]] * 2
    counts = Counts()
    addresses([Constant(k + 0.25) for k in range(12)])
    assert counts.since() == (0, 12, 0, 0)
    assert not list(folder.glob("*.tmp"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_while_another_thread_compiles(folder):
    thread = threading.Thread(target=lambda: addresses([Constant(k + 0.125) for k in range(20)]))
    thread.start()
    pid = os.fork()
    if pid == 0:
        ok = call(addresses([Constant(40.5)])[0]) == 40.5
        os._exit(0 if ok else 1)
    thread.join()
    assert os.waitpid(pid, 0)[1] == 0


def test_import_loads_no_llvm():
    code = "import gradloom.compiler.kernels, sys; assert 'llvmlite' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_long_compilations_tell_how_far_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setattr(kernels, "PATIENCE", -1.0)
    monkeypatch.setattr(kernels.sys, "stderr", stream)
    line = kernels._Line(4)
    line.show(1)
    line.clear()
    assert "compiling kernel 1 of 4, " in stream.getvalue() and stream.getvalue().endswith("\r\x1b[K")
    monkeypatch.setenv("GRADLOOM_PROGRESS", "0")
    assert not kernels._Line(4).on
