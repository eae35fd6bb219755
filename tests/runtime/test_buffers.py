"""Memory: alignment, reuse, views, lifetimes, counts."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref

import ml_dtypes
import numpy as np
import pytest

from gradloom.runtime import buffers
from gradloom.runtime.buffers import allocate, as_numpy, empty_cache, from_numpy, memory_stats, set_pool_limit


@pytest.mark.parametrize(
    "nbytes", [0, 1, 63, 64, 65, 4000, 65536, 65537, 1 << 20, (2 << 20) - 1, 2 << 20, (5 << 20) + 1]
)
def test_alignment_and_size(nbytes):
    b = allocate(nbytes)
    assert b.nbytes == nbytes
    assert b.ptr % 64 == 0
    if nbytes >= 2 << 20:
        assert b.ptr % (2 << 20) == 0
    as_numpy(b, np.uint8, (nbytes,))[:] = 7  # all of it can be written
    assert buffers._round_up(max(nbytes, 1)) - nbytes <= max(64, nbytes / 8, 4096 * (nbytes > buffers.SMALL))


def test_buffers_do_not_overlap():
    rng = np.random.default_rng(0)
    sizes = [int(n) for n in np.exp(rng.uniform(0, np.log(3e6), 300))]
    live: list = []
    for k, n in enumerate(sizes):
        b = allocate(n)
        as_numpy(b, np.uint8, (n,))[:] = k % 251
        live.append((k, b))
        if len(live) > 40:
            live.pop(int(rng.integers(len(live))))
    for k, b in live:
        assert (as_numpy(b, np.uint8, (b.nbytes,)) == k % 251).all()


@pytest.mark.parametrize("nbytes", [100, 300_000, 4 << 20])
def test_memory_is_reused_and_zeroed_on_request(nbytes):
    b = allocate(nbytes)
    as_numpy(b, np.uint8, (nbytes,))[:] = 255
    ptr = b.ptr
    del b
    c = allocate(nbytes, zero=True)
    assert c.ptr == ptr
    assert not as_numpy(c, np.uint8, (nbytes,)).any()


def test_fresh_large_memory_is_zero():
    empty_cache()
    assert not as_numpy(allocate(3 << 20, zero=True), np.uint8, (3 << 20,)).any()


def test_from_numpy_shares_and_keeps_the_array():
    a = np.arange(12.0).reshape(3, 4)
    b = from_numpy(a)
    assert (b.ptr, b.nbytes) == (a.ctypes.data, 96)
    as_numpy(b, np.float64, (3, 4))[1, 2] = -1
    assert a[1, 2] == -1
    ref = weakref.ref(a)
    del a
    gc.collect()
    assert ref() is not None
    del b
    gc.collect()
    assert ref() is None


def test_from_numpy_refuses_strides():
    with pytest.raises(ValueError, match=r"C-contiguous.*ascontiguousarray"):
        from_numpy(np.zeros((4, 4))[:, ::2])


def test_read_only_stays_read_only():
    a = np.zeros(4)
    a.flags.writeable = False
    view = as_numpy(from_numpy(a), np.float64, (4,))
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1


def test_view_keeps_the_buffer():
    b = allocate(1000)
    ref = weakref.ref(b)
    view = as_numpy(b, np.float32, (250,))[10:20].reshape(5, 2)
    del b
    assert ref() is not None
    view[:] = 3
    del view
    assert ref() is None


def test_view_with_strides_and_offset():
    b = allocate(12 * 4)
    flat = as_numpy(b, np.int32, (12,))
    flat[:] = range(12)
    assert as_numpy(b, np.int32, (3, 4)).tolist() == flat.reshape(3, 4).tolist()
    assert as_numpy(b, np.int32, (4, 3), (4, 16)).tolist() == flat.reshape(3, 4).T.tolist()
    assert as_numpy(b, np.int32, (12,), (-4,), 44).tolist() == flat[::-1].tolist()
    assert as_numpy(b, np.int32, (3,), offset=8).tolist() == [2, 3, 4]
    assert as_numpy(b, np.int32, ()).tolist() == 0
    assert as_numpy(b, np.int32, (0, 4)).shape == (0, 4)
    for bad in [
        dict(shape=(13,)),
        dict(shape=(12,), offset=4),
        dict(shape=(2,), strides=(48,)),
        dict(shape=(2,), strides=(-4,)),
    ]:
        with pytest.raises((ValueError, TypeError)):
            as_numpy(b, np.int32, **bad)


def test_empty_buffer_has_an_empty_view():
    assert as_numpy(allocate(0), np.float32, (0, 3)).shape == (0, 3)
    assert as_numpy(from_numpy(np.zeros((0, 3))), np.float64, (0, 3)).shape == (0, 3)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.float16, np.complex64, np.bool_])
def test_dtypes(dtype):
    b = allocate(64)
    view = as_numpy(b, dtype, (4, 2))
    view[:] = 1
    assert view.dtype == dtype
    assert (view == np.ones((4, 2), dtype)).all()


def test_statistics_follow_live_buffers():
    before = memory_stats()["live"]
    small, large = [allocate(640) for _ in range(100)], allocate(10 << 20)
    stats = memory_stats()
    assert stats["live"] - before == 100 * 640 + (10 << 20)
    assert stats["peak"] >= stats["live"]
    del small, large
    after = memory_stats()
    assert after["live"] == before
    assert after["peak"] == stats["peak"]
    assert after["pooled"] >= 10 << 20


def test_pool_is_bounded():
    limit = memory_stats()["limit"]
    empty_cache()
    try:
        set_pool_limit(5 << 20)
        held = [allocate(2 << 20) for _ in range(6)]
        slabs = memory_stats()["pooled"]
        del held
        assert memory_stats()["pooled"] - slabs == 4 << 20
        set_pool_limit(0)
        assert memory_stats()["pooled"] == slabs
    finally:
        set_pool_limit(limit)


def test_least_recently_used_size_goes_first():
    limit = memory_stats()["limit"]
    empty_cache()
    try:
        a, b = allocate(2 << 20), allocate(3 << 20)
        pa, pb = a.ptr, b.ptr
        del a, b
        del_again = allocate(2 << 20)
        assert del_again.ptr == pa
        del del_again  # now the size of b was used longest ago
        set_pool_limit(2 << 20)
        assert pb not in buffers._maps
        assert pa in buffers._maps
    finally:
        set_pool_limit(limit)


EMPTIED = """
import numpy as np
from gradloom.runtime import buffers
from gradloom.runtime.buffers import allocate, as_numpy, empty_cache, memory_stats
size = buffers._round_up(51_000)
keep = allocate(size)
as_numpy(keep, np.uint8, (size,))[:] = 9
many = [allocate(size) for _ in range(100)]
many[50:51] = []
del many
empty_cache()
assert (as_numpy(keep, np.uint8, (size,)) == 9).all()
stats = memory_stats()
slab = buffers._slab_bytes(size)
assert len(buffers._slabs[size]) == 1, len(buffers._slabs[size])
assert len(buffers._free[size]) == slab // size - 1, len(buffers._free[size])
assert stats["pooled"] <= sum(len(s) * buffers._slab_bytes(n) for n, s in buffers._slabs.items())
again = {allocate(size).ptr for _ in range(5)}
assert keep.ptr not in again
"""


def test_empty_cache_returns_everything_free_and_nothing_else():
    # a process of its own: other tests' objects may live in the same class of sizes here
    done = subprocess.run([sys.executable, "-c", EMPTIED], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_negative_and_impossible_sizes():
    with pytest.raises(ValueError, match="-1"):
        allocate(-1)
    with pytest.raises(MemoryError):
        allocate(1 << 60)


def test_death_inside_the_allocator_is_queued():
    b = allocate(300_000)
    with buffers._lock:  # as if the collector ran within an allocation
        del b
        assert len(buffers._returned) == 1
    live = memory_stats()["live"]
    assert not buffers._returned
    c = allocate(300_000)
    assert memory_stats()["live"] > live
    del c


def test_threads_do_not_share_blocks():
    failures = []

    def work(mark):
        rng = np.random.default_rng(mark)
        for _ in range(300):
            n = int(rng.choice([64, 640, 5000, 70_000, 2 << 20]))
            b = allocate(n)
            view = as_numpy(b, np.uint8, (min(n, 256),))
            view[:] = mark
            gone = allocate(int(rng.integers(1, 4000)))
            del gone
            if not (view == mark).all():
                failures.append(mark)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 7)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_its_own_memory():
    b = allocate(3 << 20)
    view = as_numpy(b, np.uint8, (3 << 20,))
    view[:] = 1
    with buffers._lock:  # the child must not find it taken
        pid = os.fork()
        if pid == 0:
            view[:] = 2
            code = 0 if allocate(3 << 20).ptr != b.ptr else 1
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert (view == 1).all()


def test_import_is_light_and_exit_is_clean():
    code = (
        "import sys\n"
        "from gradloom.runtime import buffers\n"
        "assert 'llvmlite' not in sys.modules\n"
        "keep = [buffers.allocate(n) for n in (10, 1000, 100000, 3 << 20)]\n"
        "class Holder: pass\n"
        "h = Holder(); h.self = h; h.b = buffers.allocate(1 << 20)\n"
        "sys.keep = buffers.allocate(200000)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
