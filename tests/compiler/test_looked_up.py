"""Products of looked-up rows: the same numbers, and no product of all rows, wherever the rows have been moved to."""

from __future__ import annotations

import numpy as np
import pytest

from gradloom import dtypes as D
from gradloom.compiler.passes.clean import common, dead
from gradloom.compiler.passes.looked_up import look_up_products
from gradloom.graph.node import Aval, Graph, Node, check
from gradloom.ops import structure as S
from gradloom.ops.gather import take, take_put
from gradloom.reference.interpreter import evaluate

WORDS, BATCH, TIME, WIDE, OUT = 9, 7, 11, 40, 48


class Program:
    """A graph being written: the look-up of a text, and what becomes of it."""

    def __init__(self, words: int = WORDS, wide: int = WIDE, moved: bool = False) -> None:
        self.rng = np.random.default_rng(0)
        self.inputs: list[Node] = []
        self.arrays: list[np.ndarray] = []
        self.nodes: list[Node] = []
        self.wide, self.words = wide, words
        self.table, self.index = self.normal(words, wide), self.input(self.rng.integers(0, words, (BATCH, TIME)))
        self.turn = (1, 0, 2) if moved else (0, 1, 2)
        rows = self(S.permute, self(take, self.table, self.index, attrs=(0,)), attrs=(self.turn,))
        self.rows = self(S.reshape, rows, attrs=((BATCH * TIME, wide),))

    def input(self, array: np.ndarray) -> Node:
        self.inputs.append(Node(None, (), (), Aval(array.shape, D.int64 if array.dtype.kind == "i" else D.float64)))
        self.arrays.append(array)
        return self.inputs[-1]

    def normal(self, *shape: int) -> Node:
        return self.input(self.rng.normal(size=shape))

    def __call__(self, prim, *ins: Node, attrs: tuple = ()) -> Node:
        self.nodes.append(Node(prim, ins, attrs, prim.infer([i.aval for i in ins], attrs)))
        return self.nodes[-1]

    def turned(self, x: Node) -> Node:
        return self(S.permute, x, attrs=((1, 0),))

    def gradient(self, d: Node) -> Node:
        """That of the table, from the product's cotangent."""
        rows = self(S.dot, d, self.normal(OUT, self.wide))
        rows = self(S.reshape, rows, attrs=(tuple((BATCH, TIME)[k] for k in self.turn[:2]) + (self.wide,),))
        rows = self(S.permute, rows, attrs=(self.turn,))
        zero = self(S.full, attrs=(0.0, self.table.aval.shape, D.float64, False))
        return self(take_put, zero, rows, self.index, attrs=(0, "add"))

    def after(self, *outputs: Node) -> Graph:
        """What the pass makes of it; the values are compared."""
        graph = dead(Graph(self.inputs, self.nodes, list(outputs)))
        got = common(look_up_products(graph))
        check(got)
        for a, b in zip(self.values(graph), self.values(got), strict=True):
            np.testing.assert_allclose(a, b, 1e-12, 1e-12)
        return got

    def values(self, graph: Graph) -> list[np.ndarray]:
        known = {id(n): a for n, a in zip(self.inputs, self.arrays, strict=True)}
        for n in graph.nodes:
            known[id(n)] = evaluate(n, [known[id(i)] for i in n.ins])
        return [known[id(n)] for n in graph.outputs]


def products_of_all(graph: Graph) -> int:
    """Products with an axis of all rows that are looked up."""
    return sum(n.prim is S.dot and BATCH * TIME in {s for x in (n, *n.ins) for s in x.aval.shape} for n in graph.nodes)


@pytest.mark.parametrize("moved", [False, True])
def test_all_three_products_of_a_step(moved: bool) -> None:
    p = Program(moved=moved)
    d = p.normal(BATCH * TIME, OUT)
    outputs = (
        p(S.dot, p.rows, p.normal(WIDE, OUT)),
        p(S.dot, p.turned(p.rows), d),
        p(S.dot, p.turned(d), p.rows),
        p.gradient(d),
    )
    got = p.after(*outputs)
    assert products_of_all(got) == 0
    sums = [n for n in got.nodes if n.prim is take_put]
    assert len(sums) == 1, "rows of cotangents are added up once for all gradients"


def test_long_tables_and_narrow_rows_stay() -> None:
    for p in (Program(words=BATCH * TIME), Program(wide=16)):
        d = p.normal(BATCH * TIME, OUT)
        got = p.after(p(S.dot, p.rows, p.normal(p.wide, OUT)), p.gradient(d))
        assert products_of_all(got) == 2


def test_a_product_that_others_want_stays() -> None:
    p = Program()
    d = p.normal(BATCH * TIME, OUT)
    table = p.gradient(d)
    (rows,) = [n for n in p.nodes if n.prim is S.dot]
    assert products_of_all(p.after(table, rows)) == 1
