"""Plans and the pool: every chunk once, commands in order, any number of threads, callers, forks and exits."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from kernels_for_tests import Affine, Count, Scratch, Who

from gradloom.compiler.kernels import addresses
from gradloom.compiler.llvm.runner_ir import MOST_UNITS, RunnerSource
from gradloom.compiler.llvm.text import Module
from gradloom.compiler.loops import SCRATCH_BYTES
from gradloom.runtime.native import SPIN_END_NS, SPIN_IN_NS, SPIN_OUT_NS, Pool
from gradloom.runtime.runner import Apart, Command, Loop, Plan, _phases, _units
from gradloom.runtime.threads import get_num_threads, set_num_threads

SPIN = (SPIN_IN_NS, SPIN_OUT_NS, SPIN_END_NS)
LINUX = sys.platform.startswith("linux")


@pytest.fixture(scope="module", params=["futex", "pthread"] if LINUX else [None])
def pool(request):
    made = Pool(request.param)
    yield made
    made.want(0)


@pytest.fixture(scope="module")
def kernels():
    names = {"count": Count(), "slow": Count(40_000), "affine": Affine(), "scratch": Scratch(SCRATCH_BYTES // 8)}
    names |= {"who": Who()}
    return dict(zip(names, addresses(list(names.values())), strict=True))


def counting_plan(rng, fn, out, pool, quick):
    """A random plan of counting commands, and how often it should count every cell."""
    expected = np.zeros_like(out)
    commands = []
    for _ in range(int(rng.integers(0, 9))):
        chunks = int(rng.choice([1, 1, 2, 3, 7, 8, 40]))
        first = int(rng.integers(0, 20))
        offset = 8 * int(rng.integers(0, 20))
        commands.append(Command(fn, [(1, offset)], [first], chunks, group=False))
        start = first + offset // 8
        expected[start : start + chunks] += 1
    plan = Plan(commands, 2, quick=quick, on=pool)
    plan.table[1] = out.ctypes.data
    return plan, expected


def disjoint_groups(rng, fn, out, pool):
    """A random plan whose commands come in groups that count different cells."""
    expected = np.zeros_like(out)
    commands = []
    for _ in range(int(rng.integers(1, 5))):
        for member in range(int(rng.integers(1, 5))):
            chunks = int(rng.integers(1, 20))
            commands.append(Command(fn, [(0, 8 * 20 * member)], [0], chunks, group=member > 0))
            expected[20 * member : 20 * member + chunks] += 1
    plan = Plan(commands, 1, on=pool)
    plan.table[0] = out.ctypes.data
    return plan, expected


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("spin", [SPIN, (0, 0, 0)], ids=["spin", "park"])
def test_every_chunk_exactly_once(pool, kernels, threads, spin):
    rng = np.random.default_rng(threads)
    pool.want(threads - 1)
    pool.set_spin(*spin)
    out = np.zeros(128, np.int64)
    for k in range(250):
        if k % 2:
            plan, expected = counting_plan(rng, kernels["count"], out, pool, quick=bool(k % 3))
        else:
            plan, expected = disjoint_groups(rng, kernels["count"], out, pool)
        for _ in range(10):
            out[:] = 0
            plan.run()
            assert np.array_equal(out, expected)
    assert pool.workers == threads - 1


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_commands_wait_for_those_before(pool, kernels, threads):
    rng = np.random.default_rng(0)
    pool.want(threads - 1)
    pool.set_spin(*SPIN)
    for n in (1, 2, 50, 1000):
        arrays = [rng.integers(-9, 9, n) for _ in range(3)]
        expected = [a.copy() for a in arrays]
        commands = []
        for _ in range(60):
            to, source = (int(i) for i in rng.choice(3, 2, replace=False))
            a, b, shift = (int(i) for i in rng.integers(0, 9, 3))
            commands.append(Command(kernels["affine"], [(to, 0), (source, 0)], [a, b, n, shift], n))
            expected[to] = a * np.roll(expected[source], -shift) + b
        plan = Plan(commands, 3, on=pool)
        plan.table[:] = [a.ctypes.data for a in arrays]
        plan.run()
        for got, want in zip(arrays, expected, strict=True):
            assert np.array_equal(got, want)


def test_each_thread_begins_with_its_own_part(pool, kernels):
    """The caller with the first chunk, the worker with the first of the second half, in groups as well."""
    pool.want(1)
    pool.set_spin(*SPIN)
    for chunks in ((16,), (7,), (16, 5, 2)):
        out, here = np.zeros(32, np.uint64), np.zeros(1, np.int64)
        slots = [(0, 8 * sum(chunks[:k])) for k in range(len(chunks))]
        members = [Command(kernels["who"], [s, (1, 0)], [2], n, k > 0) for k, (s, n) in enumerate(zip(slots, chunks))]
        plan = Plan(members, 2, on=pool)
        plan.table[:] = [out.ctypes.data, here.ctypes.data]
        for _ in range(20):
            here[:] = 0
            plan.run()
            assert out[0] == pool._scratch.ptr
            assert out[-(-chunks[0] // 2)] not in (0, pool._scratch.ptr)


def test_who_is_late_is_not_waited_for(pool, kernels):
    """Workers that are counted on and never come: the caller does their parts."""
    without = Pool(pool.waiting)
    for name in ("want", "limit"):
        without._set(name, 3)
    for chunks in (2, 3, 16, 35):
        out, here = np.zeros(chunks, np.uint64), np.zeros(1, np.int64)
        plan = Plan([Command(kernels["who"], [(0, 0), (1, 0)], [0], chunks)] * 2, 2, on=without)
        plan.table[:] = [out.ctypes.data, here.ctypes.data]
        plan.run()
        assert (out == without._scratch.ptr).all()


@pytest.mark.parametrize("chunks", [[1, 1], [1] * 6, [1, 2, 9], [4, 1, 1, 1, 1, 1], [64, 64, 3], [9000, 5000, 1]])
def test_units_of_a_group(chunks):
    """Every chunk is in one unit, units hold about equal parts of each command, and single chunks are spread."""
    members = [Command(1, [], [], n, group=k > 0) for k, n in enumerate(chunks)]
    units = _units(members)
    assert len(members) <= units <= MOST_UNITS
    loads = np.zeros(units, int)
    for n, phase in zip(chunks, _phases(members, units), strict=True):
        edges = [(n * u + phase) // units for u in range(units + 1)]
        assert (edges[0], edges[-1]) == (0, n)
        each = np.diff(edges)
        assert each.max() - each.min() <= 1
        if n < units:
            loads += each
    assert loads.max() <= -(-sum(n for n in chunks if n < units) // units) + 1


def test_epochs_begin_again(pool, kernels):
    """The count of epochs overflows after 2**40 of them, with shares of old ones about."""
    pool.want(2)
    pool.set_spin(*SPIN)
    out = np.zeros(50, np.int64)
    plan = Plan([Command(kernels["count"], [(0, 0)], [0], n) for n in (50, 2, 3)], 1, on=pool)
    plan.table[0] = out.ctypes.data
    plan.run()
    pool._set("offer", -(5 << 24))
    for _ in range(5):
        plan.run()
    assert out.tolist() == [18, 18, 12, *[6] * 47]


def test_more_chunks_than_a_word_counts(pool, kernels):
    pool.want(2)
    out = np.zeros(300_100, np.int64)
    commands = [
        Command(kernels["count"], [(0, 0)], [7], 200_001),
        Command(kernels["count"], [(0, 8 * 200_010)], [0], 3, group=True),
        Command(kernels["count"], [(0, 8 * 200_020)], [0], 99_000, group=True),
    ]
    plan = Plan(commands, 1, on=pool)
    plan.table[0] = out.ctypes.data
    plan.run()
    expected = np.zeros_like(out)
    expected[7 : 7 + 200_001] = 1
    expected[200_010:200_013] += 1
    expected[200_020 : 200_020 + 99_000] += 1
    assert np.array_equal(out, expected)


def test_the_table_is_read_at_each_run(pool, kernels):
    a, b = np.zeros(3, np.int64), np.zeros(3, np.int64)
    plan = Plan([Command(kernels["count"], [(2, 8)], [0], 2)], 4, on=pool)
    plan.table[2] = a.ctypes.data
    plan.run()
    plan.table[2] = b.ctypes.data
    plan.run()
    plan.run()
    assert a.tolist() == [0, 1, 1]
    assert b.tolist() == [0, 2, 2]


def test_every_thread_has_its_own_scratch(pool, kernels):
    pool.want(3)
    words = SCRATCH_BYTES // 8
    out = np.zeros(24, np.int64)
    plan = Plan([Command(kernels["scratch"], [(0, 0)], [], 24)], 1, on=pool)
    plan.table[0] = out.ctypes.data
    plan.run()
    assert out.tolist() == [words * (words - 1) // 2 + c for c in range(24)]


def test_workers_do_take_part(pool, kernels):
    """With chunks far longer than a wake, a second thread must have done some of them: its processor time grows."""
    if len(os.sched_getaffinity(0)) < 2 or not LINUX:
        pytest.skip("needs two processors and /proc")
    pool.want(1)
    out = np.zeros(64, np.int64)
    plan = Plan([Command(kernels["slow"], [(0, 0)], [0], 64)], 1, on=pool)
    plan.table[0] = out.ctypes.data
    plan.run()
    (worker,) = pool._threads
    for _ in range(40):
        before = _cpu_seconds(worker)
        plan.run()
        if _cpu_seconds(worker) > before:
            return
    pytest.fail("the worker never worked")


def _cpu_seconds(thread):
    with open(f"/proc/self/task/{thread.native_id}/schedstat") as f:
        return int(f.read().split()[0]) / 1e9


def test_idle_workers_sleep(pool, kernels):
    if not LINUX:
        pytest.skip("needs /proc")
    pool.want(1)
    pool.set_spin(*SPIN)
    out = np.zeros(8, np.int64)
    plan = Plan([Command(kernels["count"], [(0, 0)], [0], 8)], 1, on=pool)
    plan.table[0] = out.ctypes.data
    plan.run()
    time.sleep(0.02)
    (worker,) = pool._threads
    before = _cpu_seconds(worker)
    time.sleep(0.05)
    assert _cpu_seconds(worker) - before < 0.002


def test_many_threads_run_different_plans(pool, kernels):
    pool.want(2)
    pool.set_spin(*SPIN)
    errors = []
    words = SCRATCH_BYTES // 8

    def work(mark):
        rng = np.random.default_rng(mark)
        out = np.zeros(128, np.int64)
        sums = np.zeros(3, np.int64)
        scratchy = Plan([Command(kernels["scratch"], [(0, 0)], [], 3)], 1, on=pool)
        scratchy.table[0] = sums.ctypes.data
        for k in range(60):
            plan, expected = counting_plan(rng, kernels["slow" if k % 10 == 0 else "count"], out, pool, bool(k % 2))
            for _ in range(5):
                out[:] = 0
                plan.run()
                if not np.array_equal(out, expected):
                    errors.append((mark, k))
            if k % 20 == 0:
                scratchy.run()
                if sums.tolist() != [words * (words - 1) // 2 + c for c in range(3)]:
                    errors.append((mark, "scratch"))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors


def test_the_number_of_threads_may_change_during_runs(pool, kernels):
    stop = threading.Event()
    out = np.zeros(50, np.int64)
    plan = Plan([Command(kernels["count"], [(0, 0)], [0], 50)] * 4, 1, on=pool)
    plan.table[0] = out.ctypes.data
    runs = 0

    def change():
        rng = np.random.default_rng(1)
        while not stop.is_set():
            pool.want(int(rng.integers(0, 5)))
            time.sleep(0.0005)

    changer = threading.Thread(target=change)
    changer.start()
    end = time.perf_counter() + 0.5
    while time.perf_counter() < end:
        plan.run()
        runs += 1
    stop.set()
    changer.join()
    assert (out == 4 * runs).all()


def test_one_plan_is_not_run_twice_at_once(pool, kernels):
    out = np.zeros(1, np.int64)
    plan = Plan([Command(kernels["slow"], [(0, 0)], [0], 1)] * 3000, 1, on=pool)
    plan.table[0] = out.ctypes.data
    thread = threading.Thread(target=plan.run)
    thread.start()
    while not out[0]:  # until it is well inside
        pass
    with pytest.raises(RuntimeError, match="one plan for each thread"):
        plan.run()
    assert thread.is_alive()  # so the run refused was at the same time
    thread.join()
    plan.run()  # and afterwards it runs again


def test_profile(pool, kernels):
    pool.want(1)
    out = np.zeros(16, np.int64)
    commands = [
        Command(kernels["count"], [(0, 0)], [0], 8),
        Command(kernels["slow"], [(0, 64)], [0], 4, group=True),
        Command(kernels["count"], [(0, 0)], [0], 1),
    ]
    plan = Plan(commands, 1, on=pool)
    plan.table[0] = out.ctypes.data
    start = time.perf_counter_ns()
    times = plan.run_profiled()
    whole = time.perf_counter_ns() - start
    assert len(times) == 3
    assert min(times) >= 0
    assert sum(times) <= whole
    assert times[1] > times[2]
    assert out.tolist() == [2] + [1] * 11 + [0] * 4
    plan.run()
    assert out.tolist() == [4] + [2] * 11 + [0] * 4
    assert Plan([], 0, on=pool).run_profiled() == []


def test_illegal_plans(pool, kernels):
    fn = kernels["count"]
    with pytest.raises(ValueError, match="slot 2 of a table of 2"):
        Plan([Command(fn, [(2, 0)], [])], 2, on=pool)
    with pytest.raises(ValueError, match="0 chunks"):
        Plan([Command(fn, [], [], 0)], 1, on=pool)
    with pytest.raises(ValueError, match="no kernel"):
        Plan([Command(0, [], [])], 1, on=pool)
    with pytest.raises(ValueError, match="first command"):
        Plan([Command(fn, [], [], group=True)], 1, on=pool)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork(pool, kernels):
    pool.want(2)
    out = np.zeros(64, np.int64)
    plan = Plan([Command(kernels["count"], [(0, 0)], [0], 64)] * 5, 1, on=pool)
    plan.table[0] = out.ctypes.data
    plan.run()
    # as if another thread had been running this plan, with the pool, when the process forked
    pool._set("owner", 1)
    ctypes.c_int64.from_address(plan._header + 32).value = pool._get("generation")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            assert pool.workers == 0
            plan.run()
            assert pool.workers == 2
            assert (out == 10).all()
            code = 0
        finally:
            os._exit(code)
    pool._set("owner", 0)
    ctypes.c_int64.from_address(plan._header + 32).value = 0
    assert os.waitpid(pid, 0)[1] == 0
    plan.run()
    assert (out == 10).all()


def test_number_of_threads_of_the_process():
    before = get_num_threads()
    try:
        set_num_threads(3)
        assert get_num_threads() == 3
        (fn,) = addresses([Count()])
        out = np.zeros(9, np.int64)
        plan = Plan([Command(fn, [(0, 0)], [0], 9)], 1)
        plan.table[0] = out.ctypes.data
        plan.run()
        assert plan._pool.workers == 2
        set_num_threads(1)
        assert plan._pool.workers == 0
        plan.run()
        assert (out == 2).all()
        for bad in (0, -1, 2000):
            with pytest.raises(ValueError, match="from 1 to 1024"):
                set_num_threads(bad)
    finally:
        set_num_threads(before)


@pytest.mark.parametrize("triple", ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "x86_64-pc-windows-msvc"])
@pytest.mark.parametrize("waiting", ["futex", "pthread", "windows"])
@pytest.mark.parametrize("part", ["run", "worker", "apart"])
def test_the_runner_compiles_for_other_machines(triple, waiting, part):
    """No symbol may be left to resolve: the system's functions come by address."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = Module()
    RunnerSource(part, waiting).emit(module, "entry", SimpleNamespace(triple=triple))
    machine = llvm.Target.from_triple(triple).create_target_machine()
    parsed = llvm.parse_assembly(module.text())
    parsed.triple = triple
    parsed.verify()
    outside = {f.name for f in parsed.functions if f.is_declaration and not f.name.startswith("llvm.")}
    assert not outside
    assert len(machine.emit_object(parsed)) > 500


EXIT = """
import sys, threading, numpy as np
sys.path.insert(0, {here!r})
from kernels_for_tests import Count
from gradloom.compiler.kernels import addresses
from gradloom.runtime.runner import Apart, Command, Loop, Plan, _phases, _units
from gradloom.runtime.threads import set_num_threads
set_num_threads(4)
fn, slow = addresses([Count(), Count(40_000)])
out = np.zeros(64, np.int64)
plan = Plan([Command(fn, [(0, 0)], [0], 64)], 1)
plan.table[0] = out.ctypes.data
plan.run()
if {busy}:
    def forever():
        long = Plan([Command(slow, [(0, 0)], [0], 64)] * 10, 1)
        long.table[0] = out.ctypes.data
        while True:
            long.run()
    threading.Thread(target=forever, daemon=True).start()
    plan.run()
"""


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_exit_is_clean(busy):
    here = os.path.dirname(__file__)
    code = EXIT.format(here=here, busy=busy)
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_loops_run_their_commands_with_moving_slots(kernels, pool):
    """Rows of a running sum: carries walk along the rows, inputs likewise, backwards too; loops in loops."""
    n, t = 5, 7
    rng = np.random.default_rng(0)
    xs = rng.integers(-9, 9, (t, n))
    out = np.zeros((t + 1, n), np.int64)
    # out[k + 1] = 2 * out[k] + 3, n chunks a step; slots 2 and 3 walk along the rows of slot 1
    affine = Command(kernels["affine"], [(3, 0), (2, 0)], [2, 3, n, 0], n)
    row = 8 * n
    loop = Loop(t, [(2, 1, 0), (3, 2, row)], [(2, 3, 0), (3, 3, row)], [affine])
    plan = Plan([loop], 4, on=pool)
    out[0] = xs[0]
    plan.table[1] = out.ctypes.data
    want = [xs[0]]
    for _ in range(t):
        want.append(2 * want[-1] + 3)
    for _ in range(3):
        out[1:] = 0
        plan.run()
        np.testing.assert_array_equal(out, want)
    out[1:] = 0
    assert len(plan.run_profiled()) == 1 and plan.run_profiled()[0] > 0
    np.testing.assert_array_equal(out, want)

    count = np.zeros(3 * 4, np.int64)
    hit = Command(kernels["count"], [(2, 0)], [0])
    inner = Loop(3, [(2, 1, 0)], [(2, 2, 8)], [hit, hit])
    outer = Loop(4, [], [(1, 1, 24)], [inner, Command(kernels["count"], [(1, 0)], [0])])
    plan = Plan([outer], 3, on=pool)
    plan.table[1] = count.ctypes.data
    plan.run()
    np.testing.assert_array_equal(count, [3, 2, 2] * 4)
    with pytest.raises(ValueError, match="0 rounds"):
        Plan([Loop(0, [], [], [hit])], 3, on=pool)
    with pytest.raises(ValueError, match="names slot 7"):
        Plan([Loop(1, [(7, 1, 0)], [], [hit])], 3, on=pool)
    with pytest.raises(ValueError, match="no command before it"):
        Plan([Loop(1, [], [], [Command(kernels["count"], [(2, 0)], [0], group=True)])], 3, on=pool)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_lists_run_beside_each_other_and_each_in_order(kernels, pool, threads):
    """Each list has a loop over its own rows; one holds lists again; what stands behind waits for all of them."""
    pool.want(threads - 1)
    n, t, many = 5, 40, 7
    row = 8 * n
    out = np.zeros((many, t + 1, n), np.int64)
    total = np.zeros(n, np.int64)

    def rounds(k, slot):
        affine = Command(kernels["affine"], [(slot + 1, 0), (slot, 0)], [2 + k % 2, k, n, 1], n)
        starts = [(slot, 0, k * out[0].nbytes), (slot + 1, slot, row)]
        return [Loop(t, starts, [(slot, slot + 1, 0), (slot + 1, slot + 1, row)], [affine])]

    lists = [rounds(k, 2 + 2 * k) for k in range(many - 2)]
    lists.append([Apart([rounds(k, 2 + 2 * k) for k in (many - 2, many - 1)], [0, 1])])
    count = Command(kernels["count"], [(1, 0)], [0], n)
    plan = Plan([count, Apart(lists, [0, 1, 0, 1, 0, 2]), count], 2 + 2 * many, on=pool)
    plan.table[:2] = [out.ctypes.data, total.ctypes.data]
    out[:, 0] = first = np.random.default_rng(0).integers(-9, 9, (many, n))
    want = np.zeros_like(out)
    want[:, 0] = first
    for k in range(many):
        for step in range(t):
            want[k, step + 1] = (2 + k % 2) * np.roll(want[k, step], -1) + k
    for _ in range(20):
        out[:, 1:] = 0
        plan.run()
        np.testing.assert_array_equal(out, want)
    assert total.tolist() == [40] * n
    out[:, 1:] = 0
    times = plan.run_profiled()
    np.testing.assert_array_equal(out, want)
    assert len(times) == len(plan.commands) == 6  # lists of one kind are told of once


def test_a_list_does_not_begin_with_a_shared_command(kernels, pool):
    count, more = (Command(kernels["count"], [(0, 0)], [0], 2, group=g) for g in (False, True))
    with pytest.raises(ValueError, match="first command"):
        Plan([Apart([[count], [more]], [0, 0])], 1, on=pool)
