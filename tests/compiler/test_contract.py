"""Contractions against NumPy in float64: shapes, strides, batches, epilogues, blocks, hosts, chunk orders."""

from __future__ import annotations

import ctypes
import random
import threading
from math import prod

import ml_dtypes
import numpy as np
import pytest

from gradloom.compiler import contract_plan
from gradloom.compiler.contract_plan import Choice, Problem, plan_contract
from gradloom.compiler.llvm.contract import DIRECT, FAR, PACK_STRIP, PREPACKED
from gradloom.compiler.llvm.host import Host, compile_object, detect_name, host_named, load_object
from gradloom.compiler.llvm.text import Module
from gradloom.compiler.loops import SCRATCH_BYTES, Access, Contract, Inst, Launch

WIDER = {"avx512": ["avx512", "avx2", "sse4"], "avx2": ["avx2", "sse4"]}
HOSTS = WIDER.get(detect_name(), [detect_name()])
DTYPES = {np.dtype("f4"): "f32", np.dtype("f8"): "f64", np.dtype("f2"): "f16", np.dtype(ml_dtypes.bfloat16): "bf16"}
KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
_code: dict = {}


def kernel(source, host: Host):
    """The compiled function of a source."""
    if (source, host) not in _code:
        m = Module()
        source.emit(m, "kernel", host)
        loaded = load_object(compile_object(m.text(), host, verify=True), host)
        _code[source, host] = KERNEL(loaded.address("kernel")), loaded
    return _code[source, host][0]


def aligned(nbytes: int) -> np.ndarray:
    """Bytes at a 64-byte boundary, filled with a pattern that reads as NaN."""
    x = np.full(nbytes + 64, 0xFF, np.uint8)
    at = -x.ctypes.data % 64
    return x[at : at + nbytes]


def access(buf: int, x: np.ndarray, base: np.ndarray) -> tuple[Access, list[int]]:
    """How the view ``x`` of ``base`` is walked."""
    size = x.itemsize
    strides = [s // size for s in x.strides]
    steps = tuple({0: "0", 1: "1"}.get(s, "s") for s in strides)
    offset = (x.ctypes.data - base.ctypes.data) // size
    return Access(buf, DTYPES[x.dtype], steps), [offset, *(s for s in strides if s not in (0, 1))]


class Case:
    """Operands and results placed in buffers of odd layouts with guard elements around them."""

    def __init__(self, seed: int = 0):
        self.rng = np.random.default_rng(seed)
        self.bases: list[np.ndarray] = []
        self.views: list[np.ndarray] = []
        self.accesses: list[Access] = []
        self.ints: list[list[int]] = []

    def add(self, shape, order=None, gap=0, dtype="f4", lead=3, broadcast=(), values=True) -> np.ndarray:
        """A view of ``shape`` whose axes lie in memory in ``order`` (outermost first), ``gap`` extra elements a row."""
        n = len(shape)
        order = list(order or range(n))
        stored = [1 if a in broadcast else shape[a] for a in order]
        stored[-1] += gap
        base = np.full(lead + prod(stored) + 5, 7, dtype)
        x = base[lead : lead + prod(stored)].reshape(stored)
        x = x.transpose([order.index(a) for a in range(n)])
        x = x[tuple(slice(0, 1 if a in broadcast else shape[a]) for a in range(n))]
        if values:
            x[...] = self.rng.standard_normal(x.shape).astype(dtype)
        x = np.lib.stride_tricks.as_strided(x, shape, [0 if a in broadcast else s for a, s in enumerate(x.strides)])
        a, ints = access(len(self.bases), x, base)
        self.bases.append(base)
        self.views.append(x)
        self.accesses.append(a)
        self.ints.append(ints)
        return x

    def spec(self, body=None, stores=None, dtype="f32") -> Contract:
        body = body or (Inst("acc", dtype),)
        return Contract(dtype, len(self.accesses[0].steps) - 2, tuple(self.accesses), tuple(body), stores or ((0, 2),))

    def problem(self, spec: Contract) -> Problem:
        a, b = self.views[:2]
        n = max(len(v.shape) for v in self.views)
        batch = self.views[2].shape[: n - 2]
        extents = (*batch, a.shape[-2], b.shape[-1], a.shape[-1])
        return Problem(spec, extents, tuple(map(tuple, self.ints)))

    def run(
        self, spec: Contract, host: Host, choice: Choice | None = None, order=None, threads=1, **more
    ) -> list[Launch]:
        """Plan and run; ``choice`` overrules the planner, which is told ``more``."""
        temps: list[np.ndarray] = []

        def temp(nbytes: int) -> int:
            temps.append(aligned(nbytes))
            return len(self.bases) + len(temps) - 1

        p = self.problem(spec)
        slots = list(range(len(self.bases)))
        if choice is None:
            launches = plan_contract(spec, p.extents, p.ints, slots, temp, host, **more)
        else:
            launches = contract_plan.build(choice, slots, temp, host)
        table = [x.ctypes.data for x in [*self.bases, *temps]]
        for launch in launches:
            fn = kernel(launch.source, host)
            bufs = (ctypes.c_void_p * len(launch.buffers))(*[table[s] for s in launch.buffers])
            ints = (ctypes.c_int64 * len(launch.ints))(*launch.ints)
            chunks = list(range(launch.chunks))
            if order:
                order.shuffle(chunks)

            def work(mine, fn=fn, bufs=bufs, ints=ints):
                scratch = aligned(SCRATCH_BYTES)
                for c in mine:
                    fn(bufs, ints, scratch.ctypes.data, c, c + 1)

            if order is None and threads == 1:
                scratch = aligned(SCRATCH_BYTES)
                fn(bufs, ints, scratch.ctypes.data, 0, launch.chunks)
            else:
                workers = [threading.Thread(target=work, args=(chunks[t::threads],)) for t in range(threads)]
                for w in workers:
                    w.start()
                for w in workers:
                    w.join()
        return launches

    def guards(self) -> None:
        """What lies outside of the views is as it was."""
        for base, view in zip(self.bases, self.views, strict=True):
            seen = base.copy()
            at = (view.ctypes.data - base.ctypes.data) // view.itemsize
            inside = np.lib.stride_tricks.as_strided(seen[at:], view.shape, view.strides)
            inside[...] = 7
            assert np.all(seen == 7)


def close(got: np.ndarray, want: np.ndarray, k: int, dtype="f32") -> None:
    """Equal but for rounding: k additions to sums of size k**0.5, each wrong by less than eps of it."""
    eps = {"f32": 2.0**-23, "f64": 2.0**-52}[dtype]
    np.testing.assert_allclose(got, want, rtol=8 * eps, atol=eps * (8 + 2 * k))


def product(c: Case) -> np.ndarray:
    return np.matmul(c.views[0].astype("f8"), c.views[1].astype("f8"))


@pytest.fixture(params=HOSTS)
def host(request) -> Host:
    return host_named(request.param)


LAYOUTS = {  # (order of A, order of B, order of C)
    "NN": ((0, 1), (0, 1), (0, 1)),
    "NT": ((0, 1), (1, 0), (0, 1)),
    "TN": ((1, 0), (0, 1), (0, 1)),
    "TT": ((1, 0), (1, 0), (0, 1)),
    "NN>T": ((0, 1), (0, 1), (1, 0)),
}
SHAPES = [(1, 1, 1), (1, 37, 50), (37, 1, 50), (5, 7, 0), (3, 130, 17), (33, 10, 128), (31, 45, 19), (70, 66, 64)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_and_orders(host, shape, layout):
    m, n, k = shape
    orders = LAYOUTS[layout]
    c = Case()
    c.add((m, k), orders[0], gap=m % 3)
    c.add((k, n), orders[1], gap=n % 2)
    out = c.add((m, n), orders[2], gap=1, values=False)
    c.run(c.spec(), host)
    close(out, product(c), k)
    c.guards()


def random_case(rng: random.Random, seed: int) -> tuple[Case, int]:
    c = Case(seed)
    batch = tuple(rng.choice((1, 2, 3)) for _ in range(rng.choice((0, 0, 1, 2))))
    m, n, k = (rng.choice((1, 2, 5, 14, 16, 17, 33, 48, 61)) for _ in range(3))
    nb = len(batch)
    size = rng.choice(("f4", "f4", "f8"))

    def order():
        o = list(range(nb + 2))
        if rng.random() < 0.3:
            rng.shuffle(o)
        elif rng.random() < 0.5:
            o[-2:] = o[:-3:-1]
        return o

    def some():
        return tuple(a for a in range(nb) if rng.random() < 0.3)

    c.add((*batch, m, k), order(), rng.choice((0, 3)), size, broadcast=some())
    c.add((*batch, k, n), order(), rng.choice((0, 2)), size, broadcast=some())
    c.add((*batch, m, n), order(), rng.choice((0, 1)), size, values=False)
    return c, k


@pytest.mark.parametrize("seed", range(24))
def test_random_layouts_and_batches(host, seed):
    c, k = random_case(random.Random(seed), seed)
    dtype = c.accesses[2].dtype
    c.run(c.spec(dtype=dtype), host)
    close(c.views[2], product(c), k, dtype)
    c.guards()


def choices(p: Problem, host: Host):
    """Every structural choice with small blocks."""
    for q in (p, p.swapped()):
        b = q.spec.accesses[1]
        modes = [PACK_STRIP, PREPACKED] + ([DIRECT] if b.steps[-1] == "1" else [])
        for shape in ("wide", "narrow", "few"):
            width = contract_plan.tile_of(host, p.spec.dtype, shape).columns
            for mode in modes:
                for pack_a in (False, True):
                    for kc in (32, q.k):
                        yield Choice(q, shape, mode % 2, pack_a, mode, 33 if kc == 32 else 20, width, kc)
        if q.spec.accesses[0].steps[-1] == "1":
            for mode in [PACK_STRIP] + ([DIRECT] if b.steps[-2] == "1" else []):
                yield Choice(q, "dot", 0, False, mode, 50, 2, q.k)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_every_choice_agrees(host, dtype):
    c = Case()
    c.add((61, 75), (0, 1), gap=2, dtype=dtype)
    c.add((75, 67), (1, 0), gap=1, dtype=dtype)
    out = c.add((61, 67), dtype=dtype, values=False)
    spec = c.spec(dtype=DTYPES[np.dtype(dtype)])
    want = product(c)
    for n, choice in enumerate(choices(c.problem(spec), host)):
        if host.name != "avx512" and n % 5:
            continue
        out[...] = 7
        c.run(spec, host, choice)
        close(out, want, 75, spec.dtype)
        c.guards()


def test_epilogue_updates_in_place(host):
    """Adam's update, as the last step of a weight's gradient: p, m and v are read and written."""
    c = Case()
    k, m, n = 32, 45, 83
    c.add((m, k), (1, 0))
    c.add((k, n))
    p, mom, vel = (c.add((m, n), gap=g) for g in (0, 1, 0))
    vel[...] = abs(vel)
    lr = c.add((m, n), broadcast=(0, 1))
    lr[...] = 0.01
    f = "f32"
    body = (
        Inst("acc", f),
        Inst("load", f, (), (3,)),
        Inst("load", f, (), (4,)),
        Inst("load", f, (), (2,)),
        Inst("load", f, (), (5,)),
        Inst("const", f, (), (0.9,)),
        Inst("const", f, (), (0.1,)),
        Inst("mul", f, (1, 5)),
        Inst("fma", f, (0, 6, 7)),  # 8: momentum
        Inst("mul", f, (0, 0)),
        Inst("mul", f, (2, 5)),
        Inst("fma", f, (9, 6, 10)),  # 11: velocity
        Inst("sqrt", f, (11,)),
        Inst("div", f, (8, 12)),
        Inst("mul", f, (13, 4)),
        Inst("sub", f, (3, 14)),  # 15: parameter
    )
    g = product(c)
    want_m = 0.9 * mom.astype("f8") + 0.1 * g
    want_v = 0.9 * vel.astype("f8") + 0.1 * g * g
    want_p = p - 0.01 * want_m / np.sqrt(want_v)
    c.run(c.spec(body, ((8, 3), (11, 4), (15, 2))), host)
    for got, want in ((mom, want_m), (vel, want_v), (p, want_p)):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-5)
    c.guards()


@pytest.mark.parametrize("shape", [(32, 100, 64), (1, 100, 64), (32, 10, 64), (100, 3, 40)], ids=str)
@pytest.mark.parametrize("transposed", [False, True])
def test_epilogue_bias_relu_and_positions(host, shape, transposed):
    """A bias along n, one along m, relu, the positions along every axis, a strided input, two outputs."""
    m, n, k = shape
    c = Case()
    batch = 2
    c.add((batch, m, k))
    c.add((batch, k, n), (0, 2, 1), broadcast=(0,))
    out = c.add((batch, m, n), (0, 2, 1) if transposed else None, values=False)
    bias = c.add((batch, m, n), broadcast=(0, 1))
    scale = c.add((batch, m, n), broadcast=(0, 2))
    other = c.add((batch, m, n), (2, 0, 1))
    places = c.add((batch, m, n), (1, 2, 0), values=False)
    f = "f32"
    body = (
        Inst("acc", f),
        Inst("load", f, (), (3,)),
        Inst("load", f, (), (4,)),
        Inst("add", f, (0, 1)),
        Inst("mul", f, (3, 2)),
        Inst("const", f, (), (0.0,)),
        Inst("max", f, (4, 5)),
        Inst("load", f, (), (5,)),
        Inst("add", f, (6, 7)),  # 8
        *(Inst("iota", "i64", (), (a,)) for a in range(3)),  # 9, 10, 11
        Inst("const", "i64", (), (1000,)),
        Inst("mul", "i64", (9, 12)),
        Inst("add", "i64", (13, 10)),
        Inst("mul", "i64", (14, 12)),
        Inst("add", "i64", (15, 11)),
        Inst("cast", f, (16,)),
    )
    want = np.maximum((product(c) + bias) * scale, 0) + other
    c.run(c.spec(body, ((8, 2), (17, 6))), host)
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-4)
    b, i, j = np.indices(out.shape)
    np.testing.assert_array_equal(places, ((b * 1000 + i) * 1000 + j).astype("f4"))
    c.guards()


def test_epilogue_looks_up_rows(host):
    """``load_at``: one of the classes of each row."""
    c = Case()
    c.add((37, 20))
    c.add((20, 40))
    out = c.add((37, 40), values=False)
    table = c.rng.standard_normal((9, 50)).astype("f4")
    c.bases.append(table)
    c.views.append(table)
    c.accesses.append(Access(3, "f32", ("0", "1"), indexed=True))
    c.ints.append([4, 50])
    body = (
        Inst("acc", "f32"),
        Inst("iota", "i64", (), (0,)),
        Inst("const", "i64", (), (9,)),
        Inst("mod", "i64", (1, 2)),
        Inst("load_at", "f32", (3,), (3,)),
        Inst("add", "f32", (0, 4)),
    )
    c.run(c.spec(body, ((5, 2),)), host)
    want = product(c) + table[np.arange(37) % 9, 4:44]
    close(out, want, 20)


@pytest.mark.parametrize("kind", [np.dtype("f2"), np.dtype(ml_dtypes.bfloat16)], ids=str)
@pytest.mark.parametrize("shape", [(33, 40, 70), (1, 40, 70)], ids=str)
def test_half_storage(host, kind, shape):
    m, n, k = shape
    c = Case()
    c.add((m, k), dtype=kind)
    c.add((k, n), (1, 0), dtype=kind)
    out = c.add((m, n), (0, 1), dtype=kind, values=False)
    half = DTYPES[kind]
    body = (Inst("acc", "f32"), Inst("cast", half, (0,)))
    c.run(c.spec(body, ((1, 2),)), host)
    want = product(c)
    np.testing.assert_allclose(out.astype("f8"), want, rtol=2.0 ** (-8 if half == "bf16" else -10), atol=1e-4)
    c.guards()


@pytest.mark.parametrize("layout", ["NN", "NT"])
def test_same_bits_for_any_order_and_number_of_threads(host, layout):
    m, n, k = 150, 190, 130
    orders = LAYOUTS[layout]
    c = Case()
    c.add((2, m, k), (0, *(1 + a for a in orders[0])))
    c.add((2, k, n), (0, *(1 + a for a in orders[1])))
    out = c.add((2, m, n), values=False)
    launches = c.run(c.spec(), host)
    assert launches[-1].chunks > 3
    want = out.copy()
    for threads in (1, 2, 3):
        out[...] = 7
        c.run(c.spec(), host, order=random.Random(threads), threads=threads)
        assert out.tobytes() == want.tobytes()


def test_long_k_is_cut(host):
    c = Case()
    k = 2 * contract_plan.MAX_KC + 19
    c.add((40, k), (1, 0))
    c.add((k, 50), (1, 0))
    bias = c.add((40, 50), broadcast=(0,))
    out = c.add((40, 50), values=False)
    body = (Inst("acc", "f32"), Inst("load", "f32", (), (2,)), Inst("add", "f32", (0, 1)))
    c.run(c.spec(body, ((2, 3),)), host)
    close(out, product(c) + bias, k)


@pytest.mark.parametrize("rows", [128, 256, 512, 1024])
def test_two_threads_finish_together_where_k_is_cut(rows):
    """A layer from 3072 to 768: its packed rows leave no room for halves of them in two stretches of k."""
    host = host_named("avx512")
    steps = (("s", "1"), ("1", "s"), ("s", "1"))
    accesses = tuple(Access(n, "f32", s) for n, s in enumerate(steps))
    spec = Contract("f32", 0, accesses, (Inst("acc", "f32"),), ((0, 2),))
    c = contract_plan.choose(Problem(spec, (rows, 768, 3072), ((0, 3072), (0, 3072), (0, 768))), host)
    p = c.problem
    loads = [0, 0]
    for i in range(0, p.rows, c.mc):
        for j in range(0, p.cols, c.nc):
            loads[loads[0] > loads[1]] += min(c.mc, p.rows - i) * min(c.nc, p.cols - j)
    assert c.pack_a and c.kc < p.k
    assert max(loads) < 1.03 * sum(loads) / 2


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("rows", [4, 8, 14, 23])
def test_what_moves_on_is_asked_for(host, rows, fresh):
    """The sums are the same; tiles of four rows and more ask for what their body reads where it is fresh."""
    c = Case()
    c.add((rows, 64))
    c.add((64, 80), gap=1)
    old = c.add((rows, 80), gap=1)
    out = c.add((rows, 80), gap=2, values=False)
    body = (Inst("acc", "f32"), Inst("load", "f32", (), (2,)), Inst("add", "f32", (0, 1)))
    launches = c.run(c.spec(body, ((2, 3),)), host, fresh=fresh)
    assert launches[-1].ints[FAR] == int(fresh)
    close(out, product(c) + old, 64)
    c.guards()


def test_a_product_beyond_the_caches(host):
    c = Case()
    c.add((421, 50))
    c.add((50, 403))
    old = c.add((421, 403), gap=1)
    out = c.add((421, 403), gap=2, values=False)
    body = (Inst("acc", "f32"), Inst("load", "f32", (), (2,)), Inst("add", "f32", (0, 1)))
    c.run(c.spec(body, ((2, 3),)), host)
    close(out, product(c) + old, 50)
    c.guards()


def test_few_rows_of_a_large_matrix_are_streamed(host, monkeypatch):
    monkeypatch.setattr(contract_plan, "STREAM_BYTES", 1 << 12)
    for m in (1, 3):
        c = Case()
        c.add((m, 203))
        c.add((203, 190), gap=1)
        out = c.add((m, 190), values=False)
        launches = c.run(c.spec(), host)
        if m == 1:
            assert launches[0].source.resume and launches[0].source.tile.heights == (1,)
        close(out, product(c), 203)
        c.guards()


def test_empty_products_write_zero_and_empty_results_nothing(host):
    c = Case()
    c.add((4, 0))
    c.add((0, 6))
    out = c.add((4, 6))
    c.run(c.spec(), host)
    assert not out.any()
    for shape in ((0, 6, 3), (4, 0, 3)):
        c = Case()
        m, n, k = shape
        c.add((m, k))
        c.add((k, n))
        c.add((m, n))
        assert c.run(c.spec(), host) == []


def test_one_compilation_serves_a_ragged_batch(host):
    sources = []
    for m in (32, 27):
        c = Case()
        c.add((m, 784))
        c.add((784, 128), (1, 0))
        c.add((m, 128), values=False)
        launches = c.run(c.spec(), host)
        close(c.views[2], product(c), 784)
        sources.append([x.source for x in launches])
    assert sources[0] == sources[1]


def test_wrong_numbers_are_refused(host):
    c = Case()
    c.add((3, 4), gap=1)
    c.add((4, 5), gap=1)
    c.add((3, 5), gap=1)
    spec = c.spec()
    with pytest.raises(ValueError, match="3 extents"):
        plan_contract(spec, (2, 3, 5, 4), c.ints, [0, 1, 2], lambda n: 3, host)
    with pytest.raises(ValueError, match="access 1"):
        plan_contract(spec, (3, 5, 4), [c.ints[0], [0], c.ints[2]], [0, 1, 2], lambda n: 3, host)


@pytest.mark.parametrize("seed", range(4))
def test_batch_axes_that_compose_become_rows_or_columns(host, seed):
    """A linear layer over (batch, time, features) is one product, also with a bias and a residual added."""
    c = Case(seed)
    swap = seed % 2
    b, t, m, n, k = 2, 3, 5, 33, 20
    c.add((b, t, m, k))
    c.add((b, t, k, n), broadcast=(0, 1))
    out = c.add((b, t, m, n), values=False)
    bias = c.add((b, t, m, n), broadcast=(0, 1, 2))
    if swap:  # the transpose of all: columns take the batch
        for i in range(4):
            c.views[i] = c.views[i].swapaxes(-1, -2)
        c.views[:2] = c.views[1::-1]
        c.bases[:2] = c.bases[1::-1]
        for i, (x, base) in enumerate(zip(c.views, c.bases, strict=True)):
            c.accesses[i], c.ints[i] = access(i, x, base)
    iota = (Inst("iota", "i64", (), (3 - swap,)), Inst("cast", "f32", (3,)), Inst("add", "f32", (2, 4)))
    body = (Inst("acc", "f32"), Inst("load", "f32", (), (3,)), Inst("add", "f32", (0, 1)), *iota)
    launches = c.run(c.spec(body, ((5, 2),)), host)
    assert launches[-1].source.spec.batch == 0
    place = np.arange(n, dtype="f4")
    close(out, np.matmul(*(v.astype("f8") for v in (c.views[:2]))).swapaxes(-1, -2 if swap else -1) + bias + place, k)
    c.guards()


@pytest.mark.parametrize("kind", [np.dtype("f2"), np.dtype(ml_dtypes.bfloat16)], ids=str)
def test_half_weights_of_few_rows_are_not_packed(kind):
    host = host_named(HOSTS[0])
    for order, m in (((0, 1), 1), ((1, 0), 1), ((0, 1), 20)):
        c = Case()
        c.add((m, 70))
        c.add((70, 45), order, dtype=kind)
        out = c.add((m, 45), values=False)
        launches = c.run(c.spec(), host)
        if host.masks:
            assert len(launches) == 1 and not launches[0].source.pack_a and not launches[0].source.pack_b
        close(out, product(c), 70)
        c.guards()
