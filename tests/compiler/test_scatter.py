"""Scatters and gathers in native code against what they mean, over ranks, dtypes, strides and ways to combine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradloom import dtypes as D
from gradloom.compiler.pipeline import compile_graph
from gradloom.graph.node import Aval, Graph, Node
from gradloom.ops import elementwise as E
from gradloom.ops import gather as I
from gradloom.ops import structure as S
from gradloom.reference.interpreter import run_graph
from gradloom.runtime.buffers import as_numpy
from gradloom.runtime.threads import get_num_threads, set_num_threads

WAYS = ("set", "add", "mul", "min", "max")


def both(prim: Any, arrays: list[np.ndarray], attrs: tuple, turn: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Compiled result and reference. turn: updates come transposed, so that their strides are no C order."""
    ins = [Node(None, (), (), Aval(a.shape, D.as_dtype(a.dtype))) for a in arrays]
    nodes: list[Node] = []
    args = list(ins)
    if turn and isinstance(prim, I.Scatter):
        back = Aval(arrays[1].T.shape, ins[1].aval.dtype)
        order = tuple(range(arrays[1].ndim))[::-1]
        ins[1].aval = back
        arrays = [arrays[0], np.ascontiguousarray(arrays[1].T), *arrays[2:]]
        args[1] = Node(S.permute, (ins[1],), (order,), Aval(back.shape[::-1], back.dtype))
        nodes.append(args[1])
    out = Node(prim, args, attrs, prim.infer([a.aval for a in args], attrs))
    graph = Graph(ins, [*nodes, out], [out], {})
    arrays = [np.ascontiguousarray(a) for a in arrays]
    given_ = [a.ctypes.data for a in arrays]
    got = compile_graph(graph).run(given_)[0]
    want = run_graph(graph, given_)[0]
    kind, shape = out.aval.dtype.numpy, out.aval.shape
    return as_numpy(got, kind, shape), as_numpy(want, kind, shape)


def numbers(rng: np.random.Generator, shape: tuple[int, ...], dtype: D.DType) -> np.ndarray:
    if dtype is D.bool_:
        return rng.random(shape) < 0.5
    if dtype.category == 1:
        return rng.integers(0, 100, shape).astype(dtype.numpy)
    return rng.standard_normal(shape).astype(dtype.numpy)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("dtype", [d for d in D.ALL if d.category < 3 and not d.storage_only], ids=lambda d: d.name)
def test_dtypes(how: str, dtype: D.DType) -> None:
    rng = np.random.default_rng(0)
    i = rng.integers(-7, 7, 40)
    for width in (1, 5, 70):
        x, u = numbers(rng, (7, width), dtype), numbers(rng, (40, width), dtype)
        got, want = both(I.take_put, [x, u, i], (0, how))
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("index", ["int32", "int64", "uint8", "int8"])
def test_index_dtypes(index: str) -> None:
    rng = np.random.default_rng(1)
    i = rng.integers(0 if index == "uint8" else -4, 4, (3, 5)).astype(index)
    got, want = both(I.along_put, [rng.random((3, 4)), rng.random((3, 5)), i], (1, "add"))
    np.testing.assert_array_equal(got, want)


@st.composite
def cases(draw: Any) -> tuple[Any, list[np.ndarray], tuple]:
    """A gather's operands by pattern or along an axis."""
    rank = draw(st.integers(1, 4))
    shape = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.standard_normal(shape)
    if draw(st.booleans()):
        axis = draw(st.integers(0, rank - 1))
        own = tuple(draw(st.integers(0, 5)) if k == axis else draw(st.integers(0, n)) for k, n in enumerate(shape))
        return "along", [x, rng.integers(-shape[axis], shape[axis], own)], (axis,)
    pattern = tuple(draw(st.sampled_from("i:")) for _ in range(rank))
    if "i" not in pattern:
        pattern = ("i", *pattern[1:])
    block = tuple(draw(st.integers(0, 3)) for _ in range(draw(st.integers(0, 2))))
    indices = []
    for p, n in zip(pattern, shape, strict=True):
        if p == "i":
            own = tuple(draw(st.sampled_from([b, 1])) for b in block)[draw(st.integers(0, len(block))) :]
            indices.append(rng.integers(-n, n, own))
    return "index", [x, *indices], (pattern,)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(), st.sampled_from(WAYS), st.booleans())
def test_shapes(case: Any, how: str, turn: bool) -> None:
    kind, (x, *indices), attrs = case
    get, put = (I.take_along, I.along_put) if kind == "along" else (I.index, I.index_put)
    got, want = both(get, [x, *indices], attrs)
    np.testing.assert_array_equal(got, want)
    u = np.random.default_rng(0).standard_normal(want.shape)
    got, want = both(put, [x, u, *indices], (*attrs, how), turn)
    np.testing.assert_array_equal(got, want)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    rng = np.random.default_rng(2)
    x, i = rng.standard_normal((50, 200)).astype(np.float32), rng.integers(0, 50, 3000)
    u = rng.standard_normal((3000, 200)).astype(np.float32)
    along = rng.integers(0, 200, (50, 4000))
    v = rng.standard_normal(along.shape).astype(np.float32)
    before = get_num_threads()
    try:
        for n in (1, 2, 5):
            set_num_threads(n)
            for got, want in (
                both(I.take_put, [x, u, i], (0, "add")),
                both(I.along_put, [x, v, along], (1, "add")),
            ):
                np.testing.assert_array_equal(got, want)
    finally:
        set_num_threads(before)


def test_whatever_an_index_says_nothing_else_is_touched() -> None:
    x = np.zeros((4, 3), np.float32)
    i = np.array([2**62, -(2**62), 1])
    got, want = both(I.take_put, [x, np.ones((3, 3), np.float32), i], (0, "add"))
    np.testing.assert_array_equal(got, want)
    got, want = both(I.take, [x + 1, i], (0,))
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("how", ["add", "set"])
def test_updates_in_another_order_go_by_rows(how: str) -> None:
    """As the gradient of an embedding whose sequences were turned: row by row, not an element at a time."""
    rng = np.random.default_rng(4)
    table, ids = rng.standard_normal((50, 96)).astype("f4"), rng.integers(0, 50, (12, 30))
    rows = rng.standard_normal((30, 12, 96)).astype("f4")
    x, u, i = (Node(None, (), (), Aval(a.shape, D.as_dtype(a.dtype))) for a in (table, rows, ids))
    turned = Node(S.permute, (u,), ((1, 0, 2),), Aval((12, 30, 96), D.float32))
    out = Node(I.take_put, (x, turned, i), (0, how), x.aval)
    graph = Graph([x, u, i], [turned, out], [out], {})
    given_ = [a.ctypes.data for a in (table, rows, ids)]
    exe = compile_graph(graph)
    assert "inner=True" in exe.describe() and "(1, 360, 96)" in exe.describe()
    got, want = (as_numpy(b[0], np.dtype("f4"), table.shape) for b in (exe.run(given_), run_graph(graph, given_)))
    np.testing.assert_array_equal(got, want)


def test_updates_that_are_computed() -> None:
    x, i = Node(None, (), (), Aval((6, 4), D.float32)), Node(None, (), (), Aval((3,), D.int64))
    y = Node(E.exp, (x,), (), x.aval)
    rows = Node(I.take, (y, i), (0,), Aval((3, 4), D.float32))
    twice = Node(E.add, (rows, rows), (), rows.aval)
    out = Node(I.take_put, (y, twice, i), (0, "add"), x.aval)
    total = Node(S.sum_, (out,), ((0, 1), False, D.float32), Aval((), D.float32))
    graph = Graph([x, i], [y, rows, twice, out, total], [out, total], {})
    a, k = np.random.default_rng(3).standard_normal((6, 4)).astype(np.float32), np.array([5, 0, 5])
    got = compile_graph(graph).run([a.ctypes.data, k.ctypes.data])
    want = np.exp(a)
    np.add.at(want, k, 2 * np.exp(a)[k])
    np.testing.assert_allclose(as_numpy(got[0], np.dtype("f4"), (6, 4)), want, rtol=1e-6)
    np.testing.assert_allclose(as_numpy(got[1], np.dtype("f4"), ()), want.sum(), rtol=1e-5)
