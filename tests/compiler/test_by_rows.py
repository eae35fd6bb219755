"""Tables of which few rows are named: the same numbers, and nothing over all rows where the others stay as they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gradloom import dtypes as D
from gradloom.compiler.passes.by_rows import update_by_rows
from gradloom.compiler.passes.clean import common, dead
from gradloom.graph.node import Aval, Graph, Node, check
from gradloom.ops import elementwise as E
from gradloom.ops import structure as S
from gradloom.ops.gather import index_put, take, take_put
from gradloom.reference.interpreter import evaluate

ROWS, WIDE = 300, 4


class Program:
    """A graph being written: a table, what looks rows of it up, and the gradient of that."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.inputs: list[Node] = []
        self.arrays: list[np.ndarray] = []
        self.nodes: list[Node] = []
        self.table = self.input(self.rng.normal(size=(ROWS, WIDE)))
        self.state = self.input(self.rng.random((ROWS, WIDE)))
        self.rate = self.input(np.array(0.5))
        self.index = self.input(self.rng.integers(-9, 9, (5, 4)))

    def input(self, array: np.ndarray) -> Node:
        self.inputs.append(Node(None, (), (), Aval(array.shape, D.int64 if array.dtype.kind == "i" else D.float64)))
        self.arrays.append(array)
        return self.inputs[-1]

    def __call__(self, prim: object, *ins: Node, attrs: tuple = ()) -> Node:
        self.nodes.append(Node(prim, ins, attrs, prim.infer([i.aval for i in ins], attrs)))  # type: ignore
        return self.nodes[-1]

    def zero(self, shape: tuple[int, ...] = (ROWS, WIDE)) -> Node:
        return self(S.full, attrs=(0.0, shape, D.float64, False))

    def gradient(self, index: Node | None = None) -> Node:
        index = self.index if index is None else index
        rows = self.input(self.rng.normal(size=(*index.aval.shape, WIDE)))
        return self(take_put, self.zero(), rows, index, attrs=(0, "add"))

    def values(self, graph: Graph) -> list[np.ndarray]:
        known = {id(n): a for n, a in zip(self.inputs, self.arrays, strict=True)}
        for n in graph.nodes:
            known[id(n)] = evaluate(n, [known[id(i)] for i in n.ins])
        return [known[id(n)] for n in graph.outputs]

    def after(self, *outputs: Node) -> Graph:
        """What the pass makes of it; the values are compared."""
        graph = dead(Graph(self.inputs, self.nodes, list(outputs)))
        got = common(update_by_rows(graph))
        check(got)
        for a, b in zip(self.values(graph), self.values(got), strict=True):
            np.testing.assert_allclose(a, b, 1e-12, 1e-12)
        return got


def whole(graph: Graph) -> int:
    """Instructions that compute, or fill, as much as a table."""
    return sum(
        n.aval.size >= ROWS * WIDE and n.prim is not None and n.prim.kind in ("elementwise", "create", "gather")
        for n in graph.nodes
    )


def descend(p: Program, g: Node) -> list[Node]:
    return [p(E.add, p.table, p(E.mul, g, p.rate))]


def adapt(p: Program, g: Node) -> list[Node]:
    total = p(E.add, p.state, p(E.mul, g, g))
    return [p(E.sub, p.table, p(E.div, g, p(E.add, p(E.sqrt, total), p.rate))), total]


def lazily(p: Program, g: Node) -> list[Node]:
    here = p(S.any_, p(E.ne, g, p.zero(())), attrs=((1,), True, D.bool_))
    return [p(E.where, here, p(E.mul, p(E.sub, p.state, g), p.rate), p.state)]


def clipped(p: Program, g: Node) -> list[Node]:
    norm = p(E.sqrt, p(S.sum_, p(E.mul, g, g), attrs=((0, 1), False, D.float64)))
    return descend(p, p(E.div, g, norm))


def measured(p: Program, g: Node) -> list[Node]:
    total = p(S.sum_, g, attrs=((0,), True, D.float64))
    low = p(S.amin, g, attrs=((0, 1), False, D.float64))
    finite = p(S.all_, p(E.eq, g, g), attrs=((0, 1), False, D.bool_))
    return [total, low, finite]


def counted(p: Program, g: Node) -> list[Node]:
    flat = p(S.reshape, p.index, attrs=((20,),))
    ones = p(S.full, attrs=(1.0, (20,), D.float64, False))
    times = p(take_put, p.zero((ROWS,)), ones, flat, attrs=(0, "add"))
    return [p(take, times, p.index, attrs=(0,))]


def twice(p: Program, g: Node) -> list[Node]:
    other = p.gradient(p.input(p.rng.integers(0, 9, 11)))
    return descend(p, p(E.add, p(E.mul, g, p.rate), other))


@pytest.mark.parametrize(
    "update", [descend, adapt, lazily, clipped, measured, counted, twice], ids=lambda f: f.__name__
)
def test_what_leaves_rows_alone_goes_by_rows(update: Callable[[Program, Node], list[Node]]) -> None:
    p = Program()
    assert whole(p.after(*update(p, p.gradient()))) == 0


def test_by_an_index_of_one_axis() -> None:
    p = Program()
    rows = p.input(p.rng.normal(size=(5, 4, WIDE)))
    g = p(index_put, p.zero(), rows, p.index, attrs=(("i", ":"), "add"))
    assert whole(p.after(*descend(p, g))) == 0


def test_what_changes_all_rows_reads_the_gradient_where_it_lies() -> None:
    p = Program()
    g = p.gradient()
    mean = p(E.add, p(E.mul, p.state, p.rate), g)
    got = p.after(mean, p(E.add, p.table, mean))
    assert not any(n.prim is S.full and n.aval.size >= ROWS * WIDE for n in got.nodes)


def test_what_stays() -> None:
    p = Program()
    many = p.gradient(p.input(p.rng.integers(0, ROWS, ROWS)))
    columns = p(
        take_put, p.zero(), p.input(p.rng.normal(size=(ROWS, 3))), p.input(np.array([0, 2, 2])), attrs=(1, "add")
    )
    dense = p(E.add, p.gradient(), p.input(p.rng.normal(size=(ROWS, WIDE))))
    for g in (many, columns, dense):
        assert whole(p.after(*descend(p, g)))
    g = p.gradient()
    assert p.after(g).nodes[-1].prim is take_put, "a gradient that somebody wants is an array"
