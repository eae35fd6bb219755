"""Emitted loop nests against the NumPy interpreter: host widths, any chunking, in place, odd strides, no elements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from nest_samples import HOSTS, Case, Draw, assert_same, compiled, softmax_nest, sum_nest

from gradloom.compiler.interpret import NUMPY
from gradloom.compiler.llvm import nest_info
from gradloom.compiler.llvm.host import host_named
from gradloom.compiler.loops import Access, Inst, Nest, show
from gradloom.compiler.nest_plan import pack_ints, plan_nest


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("seed", range(24))
def test_random_nest(seed: int, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 2:  # keep cheap values between passes too, or the exact nests here would never keep any
        monkeypatch.setattr(nest_info, "KEEP_FROM", 1)
    rng = np.random.default_rng(seed)
    case = Draw(rng).case()
    want = case.expected()
    what = f"{show(case.nest)}\nextents {case.extents} ints {case.ints}"
    assert_same(case.run(host_named(host)), want, what)
    assert_same(case.run(host_named(host), int(rng.integers(1, 40)), rng), want, what)


# -- particular nests ---------------------------------------------------------------------------------
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("columns", [1, 10, 16, 63, 1000, 3000])
def test_softmax(host: str, columns: int) -> None:
    rng = np.random.default_rng(columns)
    x = rng.normal(0, 3, (9, columns)).astype(np.float32)
    case = Case(softmax_nest(), x.shape, [(0, columns)] * 2, [x, np.zeros_like(x)])
    whole = case.run(host_named(host))
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    np.testing.assert_allclose(whole[1], e / e.sum(1, keepdims=True), rtol=2e-6, atol=1e-30)
    pieces = case.run(host_named(host), 2, rng)
    assert whole[1].tobytes() == pieces[1].tobytes()
    in_place = Case(case.nest, x.shape, case.ints, [x, x])
    kernel = compiled(case.nest, host_named(host))
    y = x.copy()
    launch = plan_nest(case.nest, in_place.extents, in_place.ints, [0, 0])
    kernel([y, y], launch.ints, 0, launch.chunks)
    assert y.tobytes() == whole[1].tobytes()


@pytest.mark.parametrize("host", HOSTS)
def test_long_sum_is_accurate(host: str) -> None:
    for x in (np.ones(1 << 24, np.float32), np.random.default_rng(0).random(1 << 24, dtype=np.float32)):
        out = Case(sum_nest(), x.shape, [(0,), (0,)], [x, np.zeros(1, np.float32)]).run(host_named(host))[1][0]
        exact = x.sum(dtype=np.float64)
        assert abs(out - exact) <= 1e-6 * exact


@pytest.mark.parametrize("host", HOSTS)
def test_long_column_sum_is_accurate(host: str) -> None:
    x = np.random.default_rng(0).random((1 << 18, 10), dtype=np.float32)
    nest = sum_nest("f32", ("r", "p"), 1, ("s", "1"), ("0", "1"))
    case = Case(nest, x.shape, [(0, 10), (0,)], [x, np.zeros(10, np.float32)])
    np.testing.assert_allclose(case.run(host_named(host))[1], x.sum(0, dtype=np.float64), rtol=2e-6)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("dtype", ["f32", "f64", "i8", "i16"])
@pytest.mark.parametrize("shape", [(64, 64), (200, 131), (3, 500), (17, 16), (1, 1), (0, 5)])
@pytest.mark.parametrize("way", ["load", "store"])
def test_transpose(host: str, dtype: str, shape: tuple[int, int], way: str) -> None:
    rows, columns = shape
    rng = np.random.default_rng(rows)
    x = rng.integers(-100, 100, (columns, rows) if way == "load" else shape).astype(NUMPY[dtype])
    body = (Inst("load", dtype, (), (0,)), Inst("neg", dtype, (0,)))
    across, along = Access(0, dtype, ("1", "s")), Access(1, dtype, ("s", "1"))
    ints = [(0, rows), (0, columns)]
    if way == "store":
        across, along = replace(along, buf=0), replace(across, buf=1)
        ints = ints[::-1]
    nest = Nest(("p", "p"), 1, (across, along), body, ((1, 1),))
    case = Case(nest, shape, ints, [x, np.zeros(x.T.shape, x.dtype)])
    np.testing.assert_array_equal(case.run(host_named(host))[1], -x.T)
    np.testing.assert_array_equal(case.run(host_named(host), 37, rng)[1], -x.T)


@pytest.mark.parametrize("host", HOSTS)
def test_empty_reduction_gives_the_identity(host: str) -> None:
    for axes, vector in ((("p", "r"), 1), (("r", "p"), 1), (("p", "r"), 0)):
        extents = tuple(0 if a == "r" else 5 for a in axes)
        steps = tuple("1" if k == vector else "s" for k in range(2))
        out = tuple("1" if a == "p" else "0" for a in axes)
        nest = sum_nest("f32", axes, vector, steps, out)
        case = Case(nest, extents, [(0, 1), (0,)], [np.zeros(1, np.float32), np.full(5, 7, np.float32)])
        np.testing.assert_array_equal(case.run(host_named(host))[1], np.zeros(5))


@pytest.mark.parametrize("host", HOSTS)
def test_nan_reaches_max_and_comparisons(host: str) -> None:
    x = np.arange(40, dtype=np.float32)
    x[[3, 38]] = np.nan
    nest = replace(sum_nest(), body=(Inst("load", "f32", (), (0,)), Inst("reduce", "f32", (0,), ("max",))))
    case = Case(nest, x.shape, [(0,), (0,)], [x, np.zeros(1, np.float32)])
    assert np.isnan(case.run(host_named(host))[1][0])


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("offset", [0, 3])
def test_streaming_stores_change_nothing(host: str, offset: int) -> None:
    x = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    body = (Inst("load", "f32", (), (0,)), Inst("add", "f32", (0, 0)))
    nest = Nest(("p",), 0, (Access(0, "f32", ("1",)), Access(1, "f32", ("1",))), body, ((1, 1),), stream=True)
    room = np.zeros(1100, np.float32)
    out = room[(-room.ctypes.data % 64) // 4 :]
    kernel = compiled(nest, host_named(host))
    kernel([x, out], pack_ints(nest, (1000,), 1000, [(0,), (offset,)]), 0, 1)
    np.testing.assert_array_equal(out[offset : offset + 1000], x + x)
    assert not out[:offset].any() and not out[offset + 1000 :].any()


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("offset", [0, 16, 3])
def test_streaming_transposes_change_nothing(host: str, offset: int) -> None:
    x = np.arange(100 * 64, dtype=np.float32).reshape(64, 100)
    accesses = (Access(0, "f32", ("1", "s")), Access(1, "f32", ("s", "1")))
    nest = Nest(("p", "p"), 1, accesses, (Inst("load", "f32", (), (0,)),), ((0, 1),), stream=True)
    room = np.zeros(6500 + 64, np.float32)
    out = room[(-room.ctypes.data % 64) // 4 :]
    compiled(nest, host_named(host))([x, out], pack_ints(nest, (100, 64), 100, [(0, 100), (offset, 64)]), 0, 1)
    np.testing.assert_array_equal(out[offset : offset + 6400].reshape(100, 64), x.T)
    assert not out[:offset].any() and not out[offset + 6400 :].any()


def test_plan_does_not_depend_on_threads_and_is_bounded() -> None:
    nest = softmax_nest()
    big = plan_nest(nest, (100000, 1000), [(0, 1000)] * 2, [0, 1])
    assert 32 <= big.chunks <= 64
    assert big.ints[:3] == [100000, 1000, -(-100000 // 64)]
    assert plan_nest(nest, (8, 10), [(0, 10)] * 2, [0, 1]).chunks == 1
    double = (Inst("load", "f32", (), (0,)), Inst("add", "f32", (0, 0)))
    plain = Nest(("p",), 0, tuple(Access(k, "f32", ("1",)) for k in (0, 1)), double, ((1, 1),))
    assert plan_nest(plain, (1 << 24,), [(0,), (0,)], [0, 1]).source == replace(plain, stream=True)
    assert plan_nest(plain, (1 << 24,), [(0,), (0,)], [5, 5]).source == plain  # in place
    assert plan_nest(plain, (1 << 20,), [(0,), (0,)], [0, 1]).source == plain
    with pytest.raises(ValueError, match="access 0 takes 2 integers"):
        plan_nest(nest, (8, 10), [(0,), (0, 10)], [0, 1])
