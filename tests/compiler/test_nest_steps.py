"""Reductions cut in two and nests done stage by stage, against the NumPy interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from nest_samples import HOSTS, Draw, assert_same, compiled, softmax_nest, sum_nest

from gradloom.compiler import nest_split
from gradloom.compiler.interpret import NUMPY, interpret_nest
from gradloom.compiler.llvm.host import Host, detect_host, host_named
from gradloom.compiler.loops import Access, Inst, Launch, Nest, show
from gradloom.compiler.nest_split import split_reduction
from gradloom.compiler.nest_steps import plan_steps


def run_launches(launches: list[Launch], arrays: list[np.ndarray], temps, host: Host) -> list[np.ndarray]:
    """Copies of the arrays after the launches, whose chunks are taken in random order."""
    out = [b.copy() for b in arrays]
    table = out + [np.full(n, 99).astype(NUMPY[d]) for d, n in temps]
    for launch in launches:
        kernel = compiled(launch.source, host)
        for c in np.random.default_rng(0).permutation(launch.chunks):
            kernel([table[b] for b in launch.buffers], launch.ints, int(c), int(c) + 1)
    return out


def run_split(nest: Nest, extents, ints, buffers: list[np.ndarray], host: Host) -> list[np.ndarray]:
    split = split_reduction(nest, extents)
    assert split is not None
    slots = [len(buffers) + k for k in range(len(split.temps))]
    launches = split.launches(ints, list(range(len(buffers))), slots)
    assert launches[0].chunks >= 8
    return run_launches(launches, buffers, split.temps, host)


def run_steps(nest: Nest, extents, ints, buffers: list[np.ndarray], host: Host) -> tuple[int, list[np.ndarray]]:
    steps = plan_steps(nest, extents)
    slots = [len(buffers) + k for k in range(len(steps.temps))]
    launches = steps.launches(ints, list(range(len(buffers))), slots)
    return len(launches), run_launches(launches, buffers, steps.temps, host)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("n", [1 << 20, 1000003])
def test_split_full_reduction(host: str, n: int) -> None:
    """sum(x * x) / 3 + w and max(x), with the full product stored as well."""
    rng = np.random.default_rng(n)
    x = rng.integers(-3, 4, n).astype(np.float32)
    body = (
        Inst("load", "f32", (), (0,)),
        Inst("mul", "f32", (0, 0)),
        Inst("reduce", "f32", (1,), ("sum",)),
        Inst("reduce", "f32", (0,), ("max",)),
        Inst("load", "f32", (), (1,)),
        Inst("add", "f32", (2, 4)),
    )
    accesses = (Access(0, "f32", ("s",)), *(Access(k, "f32", ("0",)) for k in (1, 2, 3)), Access(4, "f32", ("1",)))
    nest = Nest(("r",), 0, accesses, body, ((5, 2), (3, 3), (1, 4)))
    buffers = [x, np.full(1, 3, np.float32), np.zeros(1, np.float32), np.zeros(1, np.float32), np.zeros(n, np.float32)]
    ints = [(n - 1, -1), (0,), (0,), (0,), (0,)]
    got = run_split(nest, (n,), ints, buffers, host_named(host))
    assert got[2][0] == (x * x).sum(dtype=np.float64) + 3
    assert got[3][0] == 3
    np.testing.assert_array_equal(got[4], (x * x)[::-1])


@pytest.mark.parametrize("host", HOSTS)
def test_split_columns_and_rows(host: str) -> None:
    rng = np.random.default_rng(5)
    x = rng.integers(-3, 4, (100001, 10)).astype(np.float32)
    columns = sum_nest("f32", ("r", "p"), 1, ("s", "1"), ("0", "1"))
    got = run_split(columns, x.shape, [(0, 10), (0,)], [x, np.zeros(10, np.float32)], host_named(host))
    np.testing.assert_array_equal(got[1], x.sum(0))
    rows = sum_nest("f32", ("p", "r", "r"), 2, ("s", "s", "1"), ("1", "0", "0"))
    y = np.ascontiguousarray(x[:99999].reshape(3, 33333, 10))
    got = run_split(rows, y.shape, [(0, 333330, 10), (0,)], [y, np.zeros(3, np.float32)], host_named(host))
    np.testing.assert_array_equal(got[1], y.sum((1, 2)))


def test_what_cannot_or_need_not_be_split() -> None:
    softmax = softmax_nest()
    assert split_reduction(softmax, (1, 1 << 22)) is None  # a full value needs the finished sum
    assert split_reduction(sum_nest(), (1000,)) is None  # small
    rows = sum_nest("f32", ("p", "r"), 1, ("s", "1"), ("1", "0"))
    assert split_reduction(rows, (4096, 1024)) is None  # parallel already
    body = (Inst("iota", "i64", (), (0,)), Inst("cast", "f32", (0,)), Inst("reduce", "f32", (1,), ("sum",)))
    assert split_reduction(Nest(("r",), 0, (Access(0, "f32", ("0",)),), body, ((2, 0),)), (1 << 24,)) is None


# -- stage by stage -----------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(30))
def test_random_nests_in_steps(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ENOUGH_CHUNKS", 1 << 40), ("SPLIT_WORK", 0), ("PARTS", 3), ("GRAIN", 2)):
        monkeypatch.setattr(nest_split, name, value)
    case = Draw(np.random.default_rng(2030 + seed)).case()
    what = f"{show(case.nest)}\nextents {case.extents} ints {case.ints}"
    _, got = run_steps(case.nest, case.extents, case.ints, case.buffers, detect_host())
    assert_same(got, case.expected(), what)


@pytest.mark.parametrize("host", HOSTS)
def test_one_long_softmax_row(host: str) -> None:
    x = np.random.default_rng(0).normal(0, 3, (1, 1000003)).astype(np.float32)
    count, got = run_steps(softmax_nest(), x.shape, [(0, 0)] * 2, [x, np.zeros_like(x)], host_named(host))
    assert count == 7  # max and sum in three launches each, then a map
    e = np.exp(x.astype(np.float64) - x.max())
    np.testing.assert_allclose(got[1], e / e.sum(), rtol=2e-6)


def test_many_rows_stay_whole() -> None:
    steps = plan_steps(softmax_nest(), (4096, 1000))
    assert not steps.temps
    assert len(steps.launches([(0, 1000)] * 2, [0, 1], [])) == 1


@pytest.mark.parametrize("host", HOSTS)
def test_batch_norm_updates_its_average_in_place(host: str) -> None:
    """y = x - mean(x), in place, and running = (running + mean) / 2, in place, over a few channels."""
    x = np.random.default_rng(0).integers(-8, 8, (1 << 16, 10)).astype(np.float32)
    body = (
        Inst("load", "f32", (), (0,)),
        Inst("reduce", "f32", (0,), ("sum",)),
        Inst("const", "f32", (), (2.0**-16,)),
        Inst("mul", "f32", (1, 2)),
        Inst("sub", "f32", (0, 3)),
        Inst("load", "f32", (), (1,)),
        Inst("add", "f32", (5, 3)),
        Inst("const", "f32", (), (0.5,)),
        Inst("mul", "f32", (6, 7)),
    )
    accesses = (Access(0, "f32", ("s", "1")), Access(1, "f32", ("0", "1")))
    nest = Nest(("r", "p"), 1, accesses, body, ((4, 0), (8, 1)))
    running = np.arange(10, dtype=np.float32)
    want = [x.copy(), running.copy()]
    interpret_nest(nest, x.shape, [(0, 10), (0,)], want)
    count, got = run_steps(nest, x.shape, [(0, 10), (0,)], [x, running], host_named(host))
    assert count == 4
    assert_same(got, want)
