"""Compiled programs against the reference of every primitive, node by node."""

from __future__ import annotations

import itertools
import time

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradloom import dtypes as D
from gradloom.compiler import pipeline
from gradloom.compiler.memory import place
from gradloom.compiler.pipeline import compile_graph
from gradloom.compiler.views import View, move
from gradloom.graph.node import Aval, Graph, Node, check
from gradloom.ops import elementwise as E
from gradloom.ops import gather as I
from gradloom.ops import structure as S
from gradloom.ops.core import Primitive
from gradloom.runtime.buffers import as_numpy

F32 = D.float32


class Program:
    """A graph being written, with values for its inputs."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.inputs: list[Node] = []
        self.arrays: list[np.ndarray] = []
        self.nodes: list[Node] = []

    def array(self, a: np.ndarray) -> Node:
        a = np.array(a, order="C")
        n = Node(None, (), (), Aval(a.shape, D.as_dtype(a.dtype)))
        self.inputs.append(n)
        self.arrays.append(a)
        return n

    def normal(self, *shape: int, dtype="f4") -> Node:
        return self.array(self.rng.normal(size=shape).astype(dtype))

    def __call__(self, prim, *ins: Node, attrs: tuple = ()) -> Node:
        n = Node(prim, ins, attrs, prim.infer([i.aval for i in ins], attrs))
        self.nodes.append(n)
        return n

    def full(self, value, shape=(), dtype=F32, weak=True) -> Node:
        return self(S.full, attrs=(value, shape, dtype, weak))

    def sum(self, x: Node, *axes: int, keep: bool = False, prim=S.sum_, dtype=None) -> Node:
        return self(prim, x, attrs=(axes or tuple(range(len(x.aval.shape))), keep, dtype or x.aval.dtype))

    def t(self, x: Node) -> Node:
        order = list(range(len(x.aval.shape)))
        return self(S.permute, x, attrs=((*order[:-2], order[-1], order[-2]),))

    def reshape(self, x: Node, *shape: int) -> Node:
        return self(S.reshape, x, attrs=(shape,))

    def expand(self, x: Node, *shape: int) -> Node:
        return self(S.expand, x, attrs=(shape,))

    def expected(self) -> dict[int, np.ndarray]:
        return evaluate(self.inputs, self.nodes, self.arrays)

    def run(self, *outs: Node, donate=None, rtol=2e-5, atol=2e-5, times=1):
        """Compile, run and compare; the executable."""
        g = Graph(self.inputs, self.nodes, list(outs), donate)
        check(g)
        want = self.expected()
        exe = compile_graph(g)
        for _ in range(times):
            arrays = [a.copy() for a in self.arrays]
            got = exe.run([a.ctypes.data for a in arrays])
            results = [
                arrays[g.donate[k]] if b is None else as_numpy(b, n.aval.dtype.numpy, n.aval.shape)
                for k, (b, n) in enumerate(zip(got, outs, strict=True))
            ]
            for n, r in zip(outs, results, strict=True):
                same(r, want[id(n)], n.aval.dtype, rtol, atol, exe)
            for k, (a, b) in enumerate(zip(arrays, self.arrays, strict=True)):
                if k not in [g.donate[o] for o in exe.in_place]:
                    np.testing.assert_array_equal(a.view(np.uint8) if a.ndim else a, b.view(np.uint8) if b.ndim else b)
        return exe


def evaluate(inputs, nodes, arrays) -> dict[int, np.ndarray]:
    """The reference of every node."""
    value = {id(n): a for n, a in zip(inputs, arrays, strict=True)}
    with np.errstate(all="ignore"):
        for n in nodes:
            args = [value[id(i)] for i in n.ins]
            if n.prim.kind == "elementwise" and n.prim.operands != "keep":
                c = n.prim.compute_dtype([i.aval for i in n.ins], n.attrs).numpy
                first = 1 if n.prim.operands == "tail" else 0
                half = c in (np.float16, ml_dtypes.bfloat16)
                wide = np.float32 if half else c
                args = [a.astype(bool) if k < first else a.astype(c).astype(wide) for k, a in enumerate(args)]
            value[id(n)] = np.asarray(n.prim.reference(args, n.attrs, n.aval)).reshape(n.aval.shape)
    return value


def same(got, want, dtype, rtol, atol, exe) -> None:
    assert got.shape == want.shape
    if dtype.category < 2:
        np.testing.assert_array_equal(got, want, err_msg=exe.describe())
        return
    eps = {"float16": 2e-3, "bfloat16": 2e-2}.get(dtype.name, 0)
    np.testing.assert_allclose(
        got.astype("f8"), want.astype("f8"), rtol=max(rtol, eps), atol=max(atol, eps), err_msg=exe.describe()
    )


@pytest.fixture(autouse=True)
def checked(monkeypatch):
    """The graph is legal after every pass."""

    def wrap(p):
        def run(g):
            out = p(g)
            check(out)
            return out

        return run

    monkeypatch.setattr(pipeline, "PASSES", tuple(wrap(p) for p in pipeline.PASSES))


# -- models -------------------------------------------------------------------------------------------
def cross_entropy(p: Program, logits: Node, labels: Node) -> tuple[Node, Node]:
    """Mean loss and its gradient with respect to the logits."""
    n, c = logits.aval.shape
    shifted = p(E.sub, logits, p.sum(logits, 1, keep=True, prim=S.amax))
    e = p(E.exp, shifted)
    total = p.sum(e, 1, keep=True)
    logp = p(E.sub, shifted, p(E.log, total))
    hit = p(E.eq, p(S.iota, attrs=(c, D.int64)), p.reshape(labels, n, 1))
    loss = p(E.neg, p(E.div, p.sum(p(E.where, hit, logp, p.full(0.0))), p.full(float(n))))
    grad = p(E.div, p(E.sub, p(E.div, e, total), p(E.cast, hit, attrs=(F32,))), p.full(float(n)))
    return loss, grad


def adam(p: Program, w: Node, m: Node, v: Node, g: Node) -> tuple[Node, Node, Node]:
    m2 = p(E.add, p(E.mul, m, p.full(0.9)), p(E.mul, g, p.full(0.1)))
    v2 = p(E.add, p(E.mul, v, p.full(0.999)), p(E.mul, p(E.mul, g, g), p.full(0.001)))
    step = p(E.div, p(E.mul, m2, p.full(0.01)), p(E.add, p(E.sqrt, v2), p.full(1e-8)))
    return p(E.sub, w, step), m2, v2


def mlp(batch=64, sizes=(20, 33, 10)):
    p = Program()
    x = p.normal(batch, sizes[0])
    y = p.array(p.rng.integers(0, sizes[-1], batch))
    ws = [p.array((p.rng.normal(size=s) * 0.2).astype("f4")) for s in itertools.pairwise(sizes)]
    bs = [p.normal(s) for s in sizes[1:]]
    params = [*ws, *bs]
    moments = [p.array(np.abs(p.rng.normal(size=w.aval.shape)).astype("f4") + 0.1) for w in params for _ in (0, 1)]
    h, acts, pres = x, [x], []
    for k, (w, b) in enumerate(zip(ws, bs, strict=True)):
        z = p(E.add, p(S.dot, h, w), b)
        pres.append(z)
        h = p(E.relu, z) if k < len(ws) - 1 else z
        acts.append(h)
    loss, ct = cross_entropy(p, h, y)
    dws, dbs = [], []
    for k in reversed(range(len(ws))):
        dws.insert(0, p(S.dot, p.t(acts[k]), ct))
        dbs.insert(0, p.sum(ct, 0))
        if k:
            ct = p(S.dot, ct, p.t(ws[k]))
            ct = p(E.where, p(E.gt, pres[k - 1], p.full(0.0)), ct, p.full(0.0))
    outs, donate = [loss], {}
    for k, (w, g) in enumerate(zip(params, [*dws, *dbs], strict=True)):
        new = adam(p, w, moments[2 * k], moments[2 * k + 1], g)
        for out, src in zip(new, (w, moments[2 * k], moments[2 * k + 1]), strict=True):
            donate[len(outs)] = p.inputs.index(src)
            outs.append(out)
    return p, outs, donate


def test_mlp_training_step_updates_in_place() -> None:
    p, outs, donate = mlp()
    exe = p.run(*outs, donate=donate, times=2)
    assert exe.in_place == set(donate)
    assert exe.table is not None and exe.input_slots == list(range(len(p.inputs)))
    text = exe.describe()
    assert text.count("contract f32") == 5
    assert text.count("nest ") == 4  # softmax and loss per row, the mean, two bias gradients with their updates


def test_compile_and_run_are_quick() -> None:
    p, outs, donate = mlp(4, (3, 4, 3))
    g = Graph(p.inputs, p.nodes, outs, donate)
    exe = compile_graph(g)
    best = min(_seconds(lambda: compile_graph(g)) for _ in range(5))
    assert best < 0.2, f"compiling again took {best:.3f} s"
    pointers = [a.ctypes.data for a in p.arrays]
    exe.run(pointers)
    best = min(_seconds(lambda: exe.run(pointers)) for _ in range(50))
    assert best < 200e-6, f"a run took {best * 1e6:.0f} us"


def _seconds(fn) -> float:
    t = time.perf_counter()
    fn()
    return time.perf_counter() - t


def test_layer_norm_forward_and_backward() -> None:
    p = Program()
    x, gain, bias, ct = p.normal(6, 5, 32), p.normal(32), p.normal(32), p.normal(6, 5, 32)
    n = p.full(32.0)
    centred = p(E.sub, x, p(E.div, p.sum(x, 2, keep=True), n))
    var = p(E.div, p.sum(p(E.mul, centred, centred), 2, keep=True), n)
    r = p(E.rsqrt, p(E.add, var, p.full(1e-5)))
    hat = p(E.mul, centred, r)
    y = p(E.add, p(E.mul, hat, gain), bias)
    dhat = p(E.mul, ct, gain)
    s1, s2 = p.sum(dhat, 2, keep=True), p.sum(p(E.mul, dhat, hat), 2, keep=True)
    dx = p(E.mul, p(E.div, r, n), p(E.sub, p(E.sub, p(E.mul, dhat, n), s1), p(E.mul, hat, s2)))
    exe = p.run(y, dx, p.sum(p(E.mul, ct, hat), 0, 1), p.sum(ct, 0, 1), atol=1e-4)
    assert exe.describe().count("nest ") <= 3


def test_attention() -> None:
    p = Program()
    q, k, v = (p.reshape(p.normal(2, 7, 12), 2, 7, 3, 4) for _ in range(3))
    q, k, v = (p(S.permute, x, attrs=((0, 2, 1, 3),)) for x in (q, k, v))
    s = p(E.mul, p(S.dot, q, p.t(k)), p.full(0.5))
    e = p(E.exp, p(E.sub, s, p.sum(s, 3, keep=True, prim=S.amax)))
    a = p(E.div, e, p.sum(e, 3, keep=True))
    o = p.reshape(p(S.permute, p(S.dot, a, v), attrs=((0, 2, 1, 3),)), 2, 7, 12)
    p.run(p(S.dot, p.reshape(o, 14, 12), p.normal(12, 5)), o, a)


def test_biases_and_norms_join_the_product_of_a_flattened_batch() -> None:
    p = Program()
    x, w, w2, b, gain = p.normal(3, 5, 8), p.normal(8, 16), p.normal(16, 4), p.normal(16), p.normal(1, 1, 16)
    h = p.reshape(p(S.dot, p.reshape(x, 15, 8), w), 3, 5, 16)
    h = p(E.mul, p(E.relu, p(E.add, h, b)), gain)
    u = p(S.uniform, p.array(np.array(5)), p.array(np.array(6)), attrs=((3, 5, 16), F32))
    h = p(E.mul, h, p(E.cast, p(E.lt, u, p.full(0.5)), attrs=(F32,)))
    y = p.reshape(p(S.dot, p.reshape(h, 15, 16), w2), 3, 5, 4)
    c = p(E.sub, y, p.sum(y, 2, keep=True, prim=S.amax))
    exe = p.run(c, p.sum(h, 0, 1), p.sum(y, 1), p(E.add, y, p.normal(5, 4)))
    text = exe.describe()
    assert "reshape" not in text.split("contract")[1]
    first = text[text.index("contract") :].split("contract")[1].split("nest")[0]
    assert "philox" in first and "max" in first


# -- movement -----------------------------------------------------------------------------------------
def test_views_and_copies() -> None:
    p = Program()
    x = p.normal(4, 6, 5)
    back = p(S.slice_, x, attrs=((3, 5, 1), (-1, -1, 5), (-2, -1, 3)))
    y = p(E.exp, p(S.permute, back, attrs=((2, 0, 1),)))
    flat = p.reshape(p(S.permute, x, attrs=((2, 1, 0),)), 30, 4)
    wide = p.expand(p.reshape(p.sum(x, 1), 4, 1, 5), 2, 4, 3, 5)
    p.run(back, y, flat, wide, p(E.neg, flat), x, p(E.add, x, p.reshape(p.t(x), 4, 6, 5)))


def test_outputs_have_memory_of_their_own() -> None:
    p = Program()
    x = p.normal(4, 6)
    y = p(E.exp, x)
    c = p.full(2.0, (3,))
    exe = p.run(y, y, p.reshape(y, 24), p.t(y), x, c, p(S.iota, attrs=(5, D.int32)), p.expand(p.full(1.5), 2, 2))
    arrays = [a.copy() for a in p.arrays]
    got = exe.run([a.ctypes.data for a in arrays])
    assert len({b.ptr for b in got}) == len(got)


@pytest.mark.parametrize("of_inputs", [True, False])
def test_cat_pad_update(of_inputs: bool) -> None:
    p = Program()
    a, b = p.normal(3, 4), p.normal(3, 2)
    if not of_inputs:
        a, b = p(E.exp, a), p(E.neg, b)
    c = p(S.cat, a, p.full(7.0, (3, 1)), b, a, attrs=(1,))
    q = p(S.pad, a, attrs=((1, 0), (2, 3), -1.5))
    u = p(S.update_slice, a, b, attrs=((0, 3), (3, -1), (1, -2)))
    z = p(S.update_slice, p.full(0.0, (3, 8)), a, attrs=((0, 1), (3, 8), (1, 2)))
    p.run(c, q, u, z, p(E.add, q, p.full(1.0)), p.sum(c, 1), p(S.dot, p.t(u), z), p(E.add, a, u))


def test_cat_of_a_value_with_itself_in_one_kernel() -> None:
    p = Program()
    y = p(E.exp, p.normal(5, 5))
    p.run(p(S.cat, y, p.t(y), attrs=(0,)), p.sum(p(E.mul, y, p.t(y)), 0))


@pytest.mark.parametrize("dtype", ["i4", "i8", "u1"])
def test_gathers(dtype: str) -> None:
    p = Program()
    x = p.normal(5, 6, 3)
    i = p.array(np.array([[0, 4, 2, 1], [3, 3, 0, 1]], dtype))
    neg = p.array(np.array([-1, 2, -6], "i8"))
    along = p.array(p.rng.integers(0, 6, (5, 2, 3)))
    y = p(I.take, x, i, attrs=(0,))
    p.run(
        y,
        p(E.exp, p(I.take, x, neg, attrs=(1,))),
        p(I.take, p.t(p(E.exp, x)), i, attrs=(1,)),
        p(I.take_along, x, along, attrs=(1,)),
        p(I.take, x, p.array(np.array(2)), attrs=(2,)),
        p.sum(y, 0, 1),
    )


def test_scatters_between_kernels() -> None:
    p = Program()
    x = p.normal(6, 3)
    i = p.array(np.array([1, 1, 5], "i8"))
    rows = p(E.exp, p.normal(3, 3))
    y = p(I.take_put, p(E.mul, x, p.full(2.0)), p.t(rows), i, attrs=(0, "add"))
    z = p(I.index, y, i, p.array(np.array([0, 2, 1])), attrs=(("i", "i"),))
    assert p.run(p(E.neg, y), z, p.sum(z), times=2).table is not None


REVERSED = Primitive("test_reversed", lambda a, t, v: a[0][::-1], lambda a, t: a[0])


def test_host_primitives_between_kernels() -> None:
    p = Program()
    y = p(REVERSED, p(E.exp, p.t(p.normal(6, 3))))
    assert p.run(p(E.neg, y), p.sum(y), times=2).table is None


# -- random, dtypes, edges ----------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [D.float32, D.float64, D.float16, D.bfloat16])
def test_uniform_is_exact_and_fuses(dtype) -> None:
    p = Program()
    seed, stream = p.array(np.array(2**40 + 3)), p.array(np.array(77))
    u = p(S.uniform, seed, stream, attrs=((6, 1, 35), dtype))
    x = p(S.dot, p.normal(6, 1, 4), p.normal(6, 4, 35))
    keep = p(E.lt, u, p.full(0.5))
    y = p(E.where, keep, p(E.mul, x, p.full(2.0)), p.full(0.0))
    exe = p.run(u, keep, y, rtol=1e-5, atol=1e-5)
    assert exe.describe().count("nest ") == 0  # drawn where the product is made
    g = Graph(p.inputs, p.nodes, [u])
    got = as_numpy(compile_graph(g).run([a.ctypes.data for a in p.arrays])[0], dtype.numpy, u.aval.shape)
    np.testing.assert_array_equal(got, p.expected()[id(u)])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_rounded_after_every_operation(dtype) -> None:
    p = Program()
    x, y = p.normal(40, 9, dtype=dtype), p.normal(9, dtype=dtype)
    a = p(E.add, p(E.mul, x, y), p.full(0.1))
    b = p(E.sub, p(E.mul, a, a), p(E.relu, x))
    want = p.expected()[id(b)]
    exe = compile_graph(Graph(p.inputs, p.nodes, [b]))
    got = as_numpy(exe.run([v.ctypes.data for v in p.arrays])[0], dtype, b.aval.shape)
    np.testing.assert_array_equal(got.astype("f4"), want.astype("f4"))
    c = p(S.dot, x, p.normal(9, 4, dtype=dtype))
    p.run(c, p.sum(b, 0), p.sum(x, prim=S.amax), p(E.exp, c), p(S.dot, x, p.normal(9, 4)))


def test_integers_and_bools() -> None:
    p = Program()
    i, j = p.array(p.rng.integers(-9, 9, (4, 6))), p.array(p.rng.integers(1, 5, 6).astype("i4"))
    u = p.array(p.rng.integers(0, 255, (4, 6)).astype("u1"))
    m = p(E.gt, i, j)
    k = p.array(p.rng.integers(-3, 4, (6, 5)))
    p.run(
        p(E.add, i, u), p(E.floordiv, i, j), p(E.mod, i, j), p(E.sign, i), p(E.maximum, u, u),
        m, p(E.bitwise_not, m), p(E.add, m, m), p.sum(m, 1, dtype=D.int64), p.sum(m, 0, prim=S.any_, dtype=D.bool_),
        p.sum(i, 0, prim=S.prod), p.sum(i, prim=S.amin), p(S.dot, i, k), p.sum(u, dtype=D.int64),
        p(E.cast, i, attrs=(D.bool_,)), p(E.cast, i, attrs=(D.float16,)), p.sum(i, 1, prim=S.all_, dtype=D.bool_),
        p(E.where, i, j, p.full(0, dtype=D.int64)), p(E.div, i, j), p(E.isnan, i), p(E.floor, i),
        p.sum(m, 1, prim=S.amax),
    )  # fmt: skip


def test_scalars_broadcasts_and_empty() -> None:
    p = Program()
    s, x, e = p.normal(), p.normal(3, 1, 4), p.array(np.zeros((0, 4), "f4"))
    t = p.array(np.zeros((3, 0), "f4"))
    p.run(
        p(E.exp, s), p(E.mul, s, x), p(E.add, x, p.normal(5, 1)), p(E.add, p.reshape(s, 1, 1), p.full(2.0)),
        p(E.neg, e), p.sum(e, 0), p.sum(e), p(S.dot, t, e), p.sum(t, 1, keep=True),
        p(S.cat, e, p.normal(2, 4), attrs=(0,)),
        p.sum(x, 1), p.sum(p.expand(s, 7)), p.sum(p.expand(p.normal(5, 1), 5, 4), 0, 1), p.sum(p.full(2.0, (9,))),
        p(E.add, p.sum(x, keep=True), x),
    )  # fmt: skip
    q = Program()
    q.run(q(E.exp, q.array(np.zeros((0,), "f4"))))
    q = Program()
    q.run(
        q.sum(q.normal(3), 0), q(S.dot, q.normal(1, 1), q.normal(1, 1)), q(S.dot, q.normal(4, 2, 3), q.normal(4, 3, 1))
    )


def test_wide_dot_of_mixed_dtypes() -> None:
    p = Program()
    x, y = p.normal(5, 6), p.normal(6, 3, dtype="f8")
    p.run(p(S.dot, x, y), p(S.dot, p.array(np.arange(30).reshape(5, 6)), y), rtol=1e-12, atol=1e-12)


def test_a_shared_scalar_is_no_reason_to_share_a_kernel() -> None:
    p = Program()
    s, b = p.normal(), p.normal(6)
    x, y, z = p.normal(4, 6), p.normal(4, 6), p.normal(4, 6)
    exe = p.run(p.sum(p(E.mul, p(E.mul, x, s), b), 1), p(E.mul, y, s), p(E.mul, z, b))
    assert exe.describe().count("nest ") == 3


# -- donation -----------------------------------------------------------------------------------------
def test_donation_waits_for_other_readers() -> None:
    p = Program()
    x, w = p.normal(4, 4), p.normal(4, 4)
    new = p(E.sub, w, p.full(1.0))
    late = p(S.dot, x, w)
    exe = p.run(new, late, p(E.exp, p.t(w)), donate={0: 1}, times=2)
    assert exe.in_place == {0}


def test_donation_is_refused_where_it_would_be_wrong() -> None:
    for build in (
        lambda p, w: p(E.add, w, p.t(w)),
        lambda p, w: p(S.dot, w, w),
        lambda p, w: p(S.dot, p(E.exp, p(E.neg, w)), w),
        lambda p, w: p(E.add, w, p(I.take, w, p.array(np.array([3, 2, 1, 0])), attrs=(0,))),
        lambda p, w: p(E.add, p(S.slice_, w, attrs=((3, 0), (-1, 4), (-1, 1))), w),
    ):
        p = Program()
        w = p.normal(4, 4)
        p.run(build(p, w), donate={0: 0}, times=2)
    p = Program()
    w = p.normal(4, 4)
    a = p(E.neg, w)
    b = p(E.add, p(S.dot, a, w), w)  # reads w as an operand after a could have replaced it
    assert not p.run(a, b, donate={0: 0}, times=2).in_place
    p = Program()
    w = p.normal(40, 8)
    total = p.sum(w, 0)
    p.run(p(E.mul, w, total), p(E.add, w, total), donate={0: 0, 1: 0}, times=2)


ROWS, LATER = ((1, 0), (3, 4), (1, 1)), ((2, 0), (4, 4), (1, 1))
WRITES = {  # of parts of a donated input, and whether they can be done in its memory
    "a part": (lambda p, w, u: p(S.update_slice, w, u, attrs=ROWS), True),
    "two parts": (lambda p, w, u: p(S.update_slice, p(S.update_slice, w, u, attrs=ROWS), u, attrs=LATER), True),
    "places": (lambda p, w, u: p(I.take_put, w, u, p.array(np.array([3, 1])), attrs=(0, "add")), True),
    "a part and places": (
        lambda p, w, u: p(
            S.update_slice, p(I.take_put, w, u, p.array(np.array([3, 1])), attrs=(0, "set")), u, attrs=ROWS
        ),
        True,
    ),
    "what it replaces": (
        lambda p, w, u: p(S.update_slice, w, p(E.exp, p(S.slice_, w, attrs=ROWS)), attrs=ROWS),
        True,
    ),
    "what moved": (lambda p, w, u: p(S.update_slice, w, p(S.slice_, w, attrs=ROWS), attrs=LATER), False),
    "places that moved": (
        lambda p, w, u: p(I.take_put, w, p(S.slice_, w, attrs=ROWS), p.array(np.array([3, 1])), attrs=(0, "add")),
        False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITES)
def test_parts_of_a_donated_input_are_written_in_place(name: str) -> None:
    build, possible = WRITES[name]
    p = Program()
    w, u = p.normal(4, 4), p.normal(2, 4)
    exe = p.run(build(p, w, u), donate={0: 0}, times=2)
    assert bool(exe.in_place) == possible


def test_a_value_that_is_needed_later_is_not_written_over() -> None:
    p = Program()
    w, u = p.normal(4, 4), p.normal(2, 4)
    y = p(E.exp, w)
    z = p(S.update_slice, y, u, attrs=ROWS)
    v = p(I.take_put, z, u, p.array(np.array([0, 0])), attrs=(0, "max"))
    p.run(z, v, p(E.add, y, z), p.sum(v), times=2)
    p.run(v, times=2)


def test_an_output_in_two_places() -> None:
    p = Program()
    w = p.normal(3, 3)
    y = p(E.exp, w)
    p.run(y, y, w, donate={0: 0}, times=2)


# -- passes, views, memory ----------------------------------------------------------------------------
def test_passes_clean_up() -> None:
    p = Program()
    x = p.normal(3, 4)
    y = p(E.mul, p(E.cast, p(E.detach, x), attrs=(F32,)), p(E.add, p.full(0.25), p.full(0.75)))
    z = p.reshape(p.reshape(y, 12), 4, 3)
    w = p(E.exp, p.t(p.t(z)))
    v = p(E.exp, p.reshape(x, 4, 3))
    g = Graph(p.inputs, p.nodes, [w, v])
    for rule in pipeline.PASSES:
        g = rule(g)
    assert [n.prim.name for n in g.nodes] == ["reshape", "exp"]
    p.run(w, v)


def test_negative_zero_survives() -> None:
    p = Program()
    x = p.array(np.array([-0.0, 1.0], "f4"))
    g = Graph(p.inputs, p.nodes, [])
    y = p(E.add, x, p.full(0.0))
    z = p(E.mul, x, p.full(-0.0))
    g.outputs = [y, z]
    got = compile_graph(g).run([a.ctypes.data for a in p.arrays])
    for b, n in zip(got, (y, z), strict=True):
        want = np.signbit(p.expected()[id(n)])
        np.testing.assert_array_equal(np.signbit(as_numpy(b, np.float32, (2,))), want)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_views_move_as_numpy_does(data) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    x = np.arange(np.prod(shape)).reshape(shape)
    base, v = x.ravel(), View.whole(None, shape)
    for _ in range(data.draw(st.integers(1, 4))):
        x, name, attrs = draw_move(data, x)
        w = move(v, name, attrs)
        if w is None:
            return
        v = w
        assert v.shape == x.shape
        at = v.offset + sum(
            np.arange(n).reshape([-1 if k == j else 1 for j in range(len(v.shape))]) * s
            for k, (n, s) in enumerate(zip(v.shape, v.strides, strict=True))
        )
        np.testing.assert_array_equal(np.broadcast_to(base[at], x.shape), x)


def draw_move(data, x: np.ndarray) -> tuple[np.ndarray, str, tuple]:
    kind = data.draw(st.sampled_from(["permute", "reshape", "slice", "expand"]))
    if kind == "permute":
        order = tuple(data.draw(st.permutations(range(x.ndim))))
        return x.transpose(order), kind, (order,)
    if kind == "slice":
        starts, stops, steps = [], [], []
        for n in x.shape:
            a, b = sorted((data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n - 1))))
            s = data.draw(st.sampled_from([1, 2, -1]))
            starts.append(a if s > 0 else b)
            stops.append(b + 1 if s > 0 else a - 1)
            steps.append(s)
        attrs = (tuple(starts), tuple(stops), tuple(steps))
        return x[S.as_slices(*attrs)], kind, attrs
    if kind == "expand":
        shape = (data.draw(st.integers(1, 3)), *(n if n > 1 else data.draw(st.integers(1, 3)) for n in x.shape))
        return np.broadcast_to(x, shape), kind, (shape,)
    shape, rest = [], x.size
    while rest > 1 and len(shape) < 4:
        d = data.draw(st.sampled_from([k for k in range(1, rest + 1) if rest % k == 0]))
        shape.append(d)
        rest //= d
    shape.append(rest)
    return x.reshape(shape), kind, (tuple(shape),)


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_temporaries_never_overlap_in_time_and_space(blocks) -> None:
    blocks = [(n, min(a, b), max(a, b)) for n, a, b in blocks]
    offsets, total = place(blocks)
    for k, (n, a, b) in enumerate(blocks):
        assert offsets[k] % 64 == 0 and offsets[k] + n <= total
        for j in range(k):
            m, c, d = blocks[j]
            if c <= b and a <= d and n and m:
                assert offsets[k] + n <= offsets[j] or offsets[j] + m <= offsets[k]


# -- random programs ----------------------------------------------------------------------------------
UNARY = [E.neg, E.abs_, E.relu, E.tanh, E.sigmoid]
BINARY = [E.add, E.sub, E.mul, E.maximum, E.minimum]


@st.composite
def programs(draw):
    """Random graphs whose values stay small."""
    p = Program(draw(st.integers(0, 99)))
    dims = draw(st.lists(st.sampled_from([1, 2, 3, 4, 6, 17]), min_size=2, max_size=3))
    values = [p.normal(*dims), p.normal(*(d if draw(st.booleans()) else 1 for d in dims)), p.normal(dims[-1])]
    for _ in range(draw(st.integers(2, 14))):
        x = draw(st.sampled_from(values[-6:]))
        shape, nd = x.aval.shape, len(x.aval.shape)
        kind = draw(st.integers(0, 9))
        if kind <= 1:
            y = p(draw(st.sampled_from(UNARY)), x)
        elif kind <= 4:
            fits = [v for v in values if _broadcasts(v.aval.shape, shape)]
            y = p(E.tanh, p(draw(st.sampled_from(BINARY)), x, draw(st.sampled_from(fits))))
        elif kind == 5 and nd:
            axes = tuple(sorted(draw(st.sets(st.integers(0, nd - 1), min_size=1))))
            count = float(np.prod([shape[k] for k in axes]))
            prim = draw(st.sampled_from([S.sum_, S.amax, S.amin]))
            y = p(prim, x, attrs=(axes, draw(st.booleans()), F32))
            y = p(E.div, y, p.full(count)) if prim is S.sum_ else y
        elif kind == 6 and nd:
            y = p(S.permute, x, attrs=(tuple(draw(st.permutations(range(nd)))),))
        elif kind == 7 and nd >= 2:
            y = p(E.tanh, p(S.dot, x, p.t(x)))
        elif kind == 8 and nd:
            k = draw(st.integers(0, nd - 1))
            pick = draw(st.integers(0, 3))
            if pick == 0:
                y = p(S.cat, x, x, attrs=(k,))
            elif pick == 1:
                y = p(S.pad, x, attrs=(tuple(int(j == k) for j in range(nd)), (0,) * nd, 0.5))
            elif pick == 2:
                y = p(S.slice_, x, attrs=(tuple(n - 1 for n in shape), (-1,) * nd, (-1,) * nd))
            else:
                y = p.reshape(x, int(np.prod(shape)))
        elif nd and shape[0] % 2 == 0:
            y = p.reshape(x, 2, shape[0] // 2, *shape[1:])
        else:
            y = p.expand(x, 2, *shape) if nd < 3 else p(E.neg, x)
        if y.aval.size <= 5000:
            values.append(y)
    outs = draw(st.lists(st.sampled_from(values[-5:]), min_size=1, max_size=4))
    donate = {k: 0 for k, o in enumerate(outs) if o.aval.shape == tuple(dims)}
    return p, outs, donate


def _broadcasts(a, b) -> bool:
    try:
        return np.prod(np.broadcast_shapes(a, b)) <= 5000
    except ValueError:
        return False


@given(programs())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_programs(case) -> None:
    p, outs, donate = case
    p.run(*outs, donate=donate, rtol=1e-4, atol=1e-4)
