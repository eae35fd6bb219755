"""Products with weights that are updated: summed in two halves, the same numbers, the same bits on all threads."""

from __future__ import annotations

import numpy as np
import pytest

import gradloom as gl
from gradloom import dtypes as D
from gradloom.compiler.passes.clean import dead
from gradloom.compiler.passes.halves import by_halves
from gradloom.graph.node import Aval, Graph, Node, check
from gradloom.ops import elementwise as E
from gradloom.ops import structure as S
from gradloom.reference.interpreter import evaluate

IN, OUT, ROWS = 256, 192, 8


def _program(
    rows: int = ROWS, inside: int = IN, dtype: D.DType = D.float32, turned: bool = False, updated: bool = True
) -> Graph:
    """``x @ w`` or ``x @ w.T``, and a step of gradient descent."""
    shape = (OUT, inside) if turned else (inside, OUT)
    x, w, g = (Node(None, (), (), Aval(s, dtype)) for s in ((rows, inside), shape, shape))
    nodes: list[Node] = []

    def new(prim, *ins: Node, attrs: tuple = ()) -> Node:
        nodes.append(Node(prim, ins, attrs, prim.infer([i.aval for i in ins], attrs)))
        return nodes[-1]

    y = new(S.dot, x, new(S.permute, w, attrs=((1, 0),)) if turned else w)
    after = new(E.sub, w, new(E.mul, g, g)) if updated else new(S.permute, new(E.sub, w, g), attrs=((1, 0),))
    return Graph([x, w, g], nodes, [y, after], {1: 1} if updated else {})


def _values(graph: Graph, arrays: list[np.ndarray]) -> list[np.ndarray]:
    known = {id(n): a for n, a in zip(graph.inputs, arrays, strict=True)}
    for n in graph.nodes:
        known[id(n)] = evaluate(n, [known[id(i)] for i in n.ins])
    return [known[id(n)] for n in graph.outputs]


def _products(graph: Graph) -> list[tuple[int, ...]]:
    return [n.aval.shape for n in graph.nodes if n.prim is S.dot]


def test_the_sum_is_cut_and_stays_what_it_was() -> None:
    graph = _program()
    cut = dead(by_halves(graph))
    check(cut)
    assert _products(cut) == [(2, ROWS, OUT)]
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=i.aval.shape).astype(np.float32) for i in graph.inputs]
    for a, b in zip(_values(graph, arrays), _values(cut, arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_memory_that_is_taken_over_does_not_count() -> None:
    graph = _program()
    graph.donate = {}
    assert _products(by_halves(graph)) == [(2, ROWS, OUT)]


@pytest.mark.parametrize(
    "kind",
    [{"updated": False}, {"turned": True}, {"inside": IN + 1}, {"dtype": D.float64}, {"rows": 200}, {"inside": 64}],
    ids=lambda k: next(iter(k)),
)
def test_others_are_left_alone(kind: dict) -> None:
    graph = _program(**kind)
    assert _products(by_halves(graph)) == _products(graph)


def test_training_is_the_same_on_one_thread_and_two() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(16, 300)).astype(np.float32), rng.integers(0, 4, 16)
    ends = []
    was = gl.get_num_threads()
    try:
        for threads in (1, 2):
            gl.set_num_threads(threads)
            gl.manual_seed(0)
            layers = [gl.keras.layers.Dense(256, activation="relu"), gl.keras.layers.Dense(4)]
            model = gl.keras.Sequential([gl.keras.Input((300,)), *layers])
            model.compile("adam", gl.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            model.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0)
            ends.append([np.array(w) for w in model.get_weights()])
    finally:
        gl.set_num_threads(was)
    for a, b in zip(*ends, strict=True):
        np.testing.assert_array_equal(a, b)
