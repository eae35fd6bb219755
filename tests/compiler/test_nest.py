"""Emitted loop nests against the NumPy interpreter: host widths, any chunking, in place, odd strides, no elements."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from gradloom.compiler.interpret import NUMPY, interpret_nest
from gradloom.compiler.llvm import nest_info
from gradloom.compiler.llvm.host import Host, compile_object, detect_name, host_named, load_object
from gradloom.compiler.llvm.text import Module
from gradloom.compiler.loops import SCRATCH_BYTES, Access, Inst, Nest, check, show
from gradloom.compiler.nest_plan import pack_ints, plan_nest
from gradloom.compiler.nest_split import split_reduction

WIDTHS = {"avx512": ["avx512", "avx2", "sse4"], "avx2": ["avx2", "sse4"], "sse4": ["sse4"], "neon": ["neon"]}
HOSTS = WIDTHS[detect_name()]
KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
_scratch = np.zeros(SCRATCH_BYTES + 64, np.uint8)


def compiled(nest: Nest, host: Host):
    """A callable ``(buffers, ints, begin, end)`` of a nest."""
    check(nest)
    module = Module()
    nest.emit(module, "kernel", host)
    code = load_object(compile_object(module.text(), host, verify=True), host)
    fn = KERNEL(code.address("kernel"))

    def call(buffers, ints, begin, end, _keep=code):
        table = (ctypes.c_void_p * max(1, len(buffers)))(*[b.ctypes.data for b in buffers])
        numbers = (ctypes.c_int64 * len(ints))(*ints)
        scratch = -(-_scratch.ctypes.data // 64) * 64
        fn(ctypes.addressof(table), ctypes.addressof(numbers), scratch, begin, end)

    return call


@dataclass
class Case:
    """A nest with sizes and arrays."""

    nest: Nest
    extents: tuple[int, ...]
    ints: list[tuple[int, ...]]
    buffers: list[np.ndarray]

    def expected(self) -> list[np.ndarray]:
        out = [b.copy() for b in self.buffers]
        interpret_nest(self.nest, self.extents, self.ints, out)
        return out

    def run(self, host: Host, size: int = 0, rng: np.random.Generator | None = None) -> list[np.ndarray]:
        """Planned, or in chunks of ``size`` items taken in random order."""
        out = [b.copy() for b in self.buffers]
        kernel = compiled(self.nest, host)
        if not size:
            launch = plan_nest(self.nest, self.extents, self.ints, list(range(len(out))))
            kernel(out, launch.ints, 0, launch.chunks)
            return out
        items = [self.extents[k] for k, a in enumerate(self.nest.axes) if a == "p" and k != self.nest.vector]
        if not items and self.nest.axes[self.nest.vector] == "p":
            items = [self.extents[self.nest.vector]]
        chunks = -(-int(np.prod(items, dtype=np.int64)) // size)
        ints = pack_ints(self.nest, self.extents, size, self.ints)
        for c in rng.permutation(chunks):
            kernel(out, ints, int(c), int(c) + 1)
        return out


def assert_same(got: list[np.ndarray], want: list[np.ndarray], what: str = "") -> None:
    for g, w in zip(got, want, strict=True):
        kind = np.float64 if g.dtype.kind in "fV" else None
        np.testing.assert_array_equal(g.astype(kind) if kind else g, w.astype(kind) if kind else w, err_msg=what)


# -- random nests whose results are exact -------------------------------------------------------------
@dataclass
class Draw:
    """A random nest. Floats hold small integers and are kept small, so every order of summation is exact."""

    rng: np.random.Generator
    axes: tuple[str, ...] = ()
    extents: tuple[int, ...] = ()
    vector: int = 0
    dtype: str = "f32"
    accesses: list[Access] = field(default_factory=list)
    ints: list[tuple[int, ...]] = field(default_factory=list)
    buffers: list[np.ndarray] = field(default_factory=list)
    body: list[Inst] = field(default_factory=list)
    stores: list[tuple[int, int]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)  # values of the main dtype

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def case(self) -> Case:
        rng = self.rng
        rank = int(rng.integers(1, 5))
        self.axes = tuple(self.pick("ppr") for _ in range(rank))
        self.vector = int(rng.integers(rank))
        lengths = {self.vector: [0, 1, 3, 10, 16, 17, 33, 70, 131]}
        self.extents = tuple(self.pick(lengths.get(k, [1, 2, 3, 4, 5])) for k in range(rank))
        self.dtype = self.pick(["f32", "f32", "f32", "f64", "i32", "i8", "u8", "i64"])
        for _ in range(int(rng.integers(1, 4))):
            self.load()
        for _ in range(int(rng.integers(1, 4))):
            for _ in range(int(rng.integers(1, 5))):
                self.step()
            if "r" in self.axes and rng.random() < 0.7:
                kind = self.pick(["sum", "sum", "max", "min"])
                self.add(Inst("reduce", self.dtype, (self.pick(self.numbers),), (kind,)))
        self.step(use=len(self.body) - 1)
        nest = Nest(self.axes, self.vector, (), tuple(self.body), ())
        for v in {len(self.body) - 1, self.pick(range(len(self.body)))}:
            self.store(v, nest)
        nest = Nest(self.axes, self.vector, tuple(self.accesses), tuple(self.body), tuple(self.stores))
        return Case(nest, self.extents, self.ints, self.buffers)

    def add(self, inst: Inst) -> int:
        self.body.append(inst)
        if inst.dtype == self.dtype and inst.op != "const":
            self.numbers.append(len(self.body) - 1)
        return len(self.body) - 1

    def layout(self, axes: list[int], dtype: str, indexed: bool = False) -> int:
        """A new buffer and an access that walks it along ``axes``; the index, if any, has seven positions."""
        rng = self.rng
        order = [int(k) for k in rng.permutation(axes)]
        if self.vector in order and rng.random() < 0.6:
            order.remove(self.vector)
            order.append(self.vector)
        strides: dict[int, int] = {}
        steps = ["0"] * len(self.axes)
        size, offset = 1, int(rng.integers(0, 3))
        if indexed:
            size = 7
        for at, k in enumerate(reversed(order)):
            n = max(1, self.extents[k])
            if at == 0 and not indexed and rng.random() < 0.7:
                steps[k] = "1"
                size = n
            else:
                steps[k] = "s"
                gap = size + int(rng.integers(0, 2))
                sign = -1 if rng.random() < 0.2 else 1
                strides[k] = sign * gap
                offset += (n - 1) * gap if sign < 0 else 0
                size = gap * n
        ints = [offset, *(strides[k] for k in range(len(self.axes)) if steps[k] == "s"), *([1] if indexed else [])]
        if dtype == "bool":
            data = rng.integers(0, 2, size + offset + 8).astype(bool)
        elif NUMPY[dtype].kind in "iu":
            data = rng.integers(0, 7, size + offset + 8).astype(NUMPY[dtype])
        else:
            data = rng.integers(-4, 5, size + offset + 8).astype(NUMPY[dtype])
            if rng.random() < 0.2:
                data[rng.integers(0, data.size, 2)] = np.nan
        self.accesses.append(Access(len(self.buffers), dtype, tuple(steps), indexed))
        self.buffers.append(data)
        self.ints.append(tuple(ints))
        return len(self.accesses) - 1

    def load(self) -> None:
        rng = self.rng
        axes = [k for k in range(len(self.axes)) if rng.random() < 0.75]
        kind = rng.random()
        if kind < 0.12:
            at = self.add(Inst("iota", "i64", (), (int(rng.integers(len(self.axes))),)))
            self.add(Inst("cast", self.dtype, (at,)))
        elif kind < 0.3:
            index_type = self.pick(["i32", "i64", "u8"])
            at = self.add(Inst("load", index_type, (), (self.layout(axes, index_type),)))
            some = [k for k in axes if rng.random() < 0.5]
            self.add(Inst("load_at", self.dtype, (at,), (self.layout(some, self.dtype, indexed=True),)))
        elif kind < 0.45:
            other = self.pick(["f16", "bf16", "f32", "u8", "i32"] if self.dtype[0] == "f" else ["u8", "i16", "bool"])
            at = self.add(Inst("load", other, (), (self.layout(axes, other),)))
            if other != self.dtype:
                self.add(Inst("cast", self.dtype, (at,)))
        else:
            self.add(Inst("load", self.dtype, (), (self.layout(axes, self.dtype),)))

    def step(self, use: int | None = None) -> None:
        a, b = self.pick(self.numbers), self.pick(self.numbers)
        if use is not None and use in self.numbers:
            a = use
        op = self.pick(["add", "sub", "min", "max", "mul", "neg", "abs", "where", "const"])
        if op == "const":
            c = self.add(Inst("const", self.dtype, (), (self.pick([1, 2, 3]),)))
            self.add(Inst("add", self.dtype, (a, c)))
        elif op == "mul":
            top, low = (self.add(Inst("const", self.dtype, (), (c,))) for c in (8, 0 if self.dtype[0] == "u" else -8))
            a = self.add(Inst("max", self.dtype, (self.add(Inst("min", self.dtype, (a, top))), low)))
            self.add(Inst("mul", self.dtype, (a, a)))
        elif op == "where":
            c = self.add(Inst(self.pick(["lt", "ne", "ge"]), "bool", (a, b)))
            self.add(Inst("where", self.dtype, (c, a, b)))
        else:
            self.add(Inst(op, self.dtype, (a,) if op in ("neg", "abs") else (a, b)))

    def store(self, v: int, nest: Nest) -> None:
        from gradloom.compiler.loops import full

        nest = replace(nest, accesses=tuple(self.accesses))
        reduced = [k for k, a in enumerate(self.axes) if a == "r"] if full(nest)[v] else []
        axes = sorted([k for k, a in enumerate(self.axes) if a == "p"] + reduced)
        inst = self.body[v]
        loads = [
            i.attrs[0] for i in self.body
            if i.op == "load" and i.dtype == inst.dtype
            and [k for k, s in enumerate(self.accesses[i.attrs[0]].steps) if s != "0"] == axes
        ]  # fmt: skip
        loads = [a for a in loads if a not in [s for _, s in self.stores]]
        if loads and self.rng.random() < 0.5:  # in place
            self.stores.append((v, self.pick(loads)))
        else:
            self.stores.append((v, self.layout(axes, inst.dtype)))


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("seed", range(40))
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
def softmax_nest() -> Nest:
    rows = ("s", "1")
    body = (
        Inst("load", "f32", (), (0,)),
        Inst("reduce", "f32", (0,), ("max",)),
        Inst("sub", "f32", (0, 1)),
        Inst("exp", "f32", (2,)),
        Inst("reduce", "f32", (3,), ("sum",)),
        Inst("div", "f32", (3, 4)),
    )
    return Nest(("p", "r"), 1, (Access(0, "f32", rows), Access(1, "f32", rows)), body, ((5, 1),))


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


def sum_nest(dtype: str = "f32", axes: tuple[str, ...] = ("r",), vector: int = 0, steps=("1",), out=("0",)) -> Nest:
    body = (Inst("load", dtype, (), (0,)), Inst("reduce", dtype, (0,), ("sum",)))
    return Nest(axes, vector, (Access(0, dtype, steps), Access(1, dtype, out)), body, ((1, 1),))


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


# -- reductions cut in two ----------------------------------------------------------------------------
def run_split(nest: Nest, extents, ints, buffers: list[np.ndarray], host: Host) -> list[np.ndarray]:
    split = split_reduction(nest, extents)
    assert split is not None
    out = [b.copy() for b in buffers]
    temps = [np.full(n, 99, NUMPY[d]) for d, n in split.temps]
    table = out + temps
    launches = split.launches(ints, list(range(len(out))), [len(out) + k for k in range(len(temps))])
    assert launches[0].chunks >= 8
    for launch in launches:
        kernel = compiled(launch.source, host)
        for c in np.random.default_rng(0).permutation(launch.chunks):
            kernel([table[b] for b in launch.buffers], launch.ints, int(c), int(c) + 1)
    return out


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
