"""Cheap values computed again behind a product: the same numbers, and nothing but the large value is stored."""

from __future__ import annotations

import numpy as np

from gradloom import dtypes as D
from gradloom.compiler.passes.clean import dead
from gradloom.compiler.passes.recompute import recompute
from gradloom.compiler.pipeline import compile_graph
from gradloom.graph.node import Aval, Graph, Node, check
from gradloom.ops import elementwise as E
from gradloom.ops import structure as S
from gradloom.reference.interpreter import evaluate
from gradloom.runtime.buffers import as_numpy

ROWS, WIDE = 128, 64


class Program:
    """A graph being written, with values for its inputs."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.inputs: list[Node] = []
        self.arrays: list[np.ndarray] = []
        self.nodes: list[Node] = []

    def normal(self, *shape: int) -> Node:
        self.inputs.append(Node(None, (), (), Aval(shape, D.float32)))
        self.arrays.append(self.rng.normal(size=shape).astype("f4"))
        return self.inputs[-1]

    def __call__(self, prim, *ins: Node, attrs: tuple = ()) -> Node:
        self.nodes.append(Node(prim, ins, attrs, prim.infer([i.aval for i in ins], attrs)))
        return self.nodes[-1]

    def mean(self, x: Node) -> Node:
        total = self(S.sum_, x, attrs=((0,), True, D.float32))
        return self(E.mul, total, self(S.full, attrs=(1 / ROWS, (), D.float64, True)))

    def again(self, *outputs: Node) -> list[str]:
        """What is computed again; the values are compared before and after, and with those of kernels."""
        graph = Graph(self.inputs, self.nodes, list(outputs))
        check(graph)
        got = dead(recompute(graph))
        check(got)
        want = self.values(graph)
        for a, b in zip(want, self.values(got), strict=True):
            np.testing.assert_array_equal(a, b)
        results = compile_graph(graph).run([a.ctypes.data for a in self.arrays])
        for a, b, n in zip(want, results, outputs, strict=True):
            np.testing.assert_allclose(as_numpy(b, np.float32, n.aval.shape), a, rtol=1e-4, atol=1e-3)
        return [n.prim.name for n in got.nodes if n.prim.kind == "again"]

    def values(self, graph: Graph) -> list[np.ndarray]:
        known = {id(n): a for n, a in zip(self.inputs, self.arrays, strict=True)}
        for n in graph.nodes:
            known[id(n)] = evaluate(n, [known[id(i)] for i in n.ins])
        return [known[id(n)] for n in graph.outputs]


def norm(p: Program):
    """A product, its deviations from the mean, and what they are scaled to."""
    x = p(S.dot, p.normal(ROWS, 32), p.normal(32, WIDE))
    d = p(E.sub, x, p.mean(x))
    return x, d, p(E.mul, d, p(E.rsqrt, p.mean(p(E.mul, d, d))))


def test_deviations_of_a_norm():
    p = Program()
    _, d, y = norm(p)
    ct = p(S.dot, p(S.dot, y, p.normal(WIDE, WIDE)), p.normal(WIDE, WIDE))
    assert p.again(p.mean(p(E.mul, ct, d)), p(E.add, ct, d)) == ["again sub"]


def test_chains():
    p = Program()
    _, d, _ = norm(p)
    s = p(E.mul, p(E.neg, d), p.normal(WIDE))
    ct = p(S.dot, d, p.normal(WIDE, WIDE))  # d lies in memory now
    assert p.again(p(E.mul, ct, s)) == ["again neg", "again mul"]


def test_what_lies_in_memory_anyway_is_read():
    p = Program()
    _, d, y = norm(p)
    ct = p(S.dot, y, p.normal(WIDE, WIDE))
    assert p.again(d, p(E.mul, ct, d)) == []  # an output
    p = Program()
    x = p(S.dot, p.normal(ROWS, 32), p.normal(32, WIDE))
    y = p(E.add, x, p.normal(WIDE))  # the product itself would have to be stored instead
    assert p.again(p(E.mul, y, p(S.dot, p(E.tanh, y), p.normal(WIDE, WIDE)))) == []


def test_dear_values_are_stored():
    p = Program()
    _, d, y = norm(p)
    e = p(E.tanh, d)
    ct = p(S.dot, y, p.normal(WIDE, WIDE))
    assert p.again(p(E.mul, ct, e)) == []


def test_several_values_of_one():
    """GELU's derivative wants two functions of its argument behind products: the argument is stored, they are not."""
    p = Program()
    x = p(E.add, p(S.dot, p.normal(ROWS, 32), p.normal(32, WIDE)), p.normal(WIDE))
    bell, step = p(E.exp, p(E.neg, p(E.mul, x, x))), p(E.erf, x)
    ct = p(S.dot, p(E.mul, x, step), p.normal(WIDE, WIDE))
    again = p.again(p(E.add, p(E.mul, ct, step), p(E.mul, p(E.mul, ct, x), bell)))
    assert sorted(again) == ["again erf", "again exp", "again mul", "again neg"]


def test_several_values_of_one_that_cost_too_much():
    p = Program()
    x = p(E.add, p(S.dot, p.normal(ROWS, 32), p.normal(32, WIDE)), p.normal(WIDE))
    dear = [p(E.tanh, x), p(E.tanh, p(E.neg, p(E.tanh, p(E.exp, x))))]
    ct = p(S.dot, p(S.dot, x, p.normal(WIDE, WIDE)), p.normal(WIDE, WIDE))
    y = p(E.add, p(E.mul, ct, dear[0]), p(E.mul, ct, dear[1]))
    assert "again exp" in p.again(y)  # x lies in memory: both are saved
    p = Program()
    x = p(E.add, p(S.dot, p.normal(ROWS, 32), p.normal(32, WIDE)), p.normal(WIDE))
    dear = [p(E.tanh, x), p(E.tanh, p(E.neg, p(E.tanh, p(E.exp, x))))]
    ct = p(S.dot, p.normal(ROWS, WIDE), p.normal(WIDE, WIDE))
    ct = p(S.dot, p(E.add, ct, p(E.add, *dear)), p.normal(WIDE, WIDE))
    assert p.again(p(E.add, p(E.mul, ct, dear[0]), p(E.mul, ct, dear[1]))) == []


def stack(p: Program, shift: Node):
    """Deviations of products (8, 16, WIDE) from something, and a cotangent (ROWS, WIDE) that comes back to them."""
    x = p(S.dot, p.normal(8, 16, 32), p.normal(8, 32, WIDE))
    d = p(E.sub, x, shift)
    total = p(S.sum_, p(E.mul, d, d), attrs=((0, 1), False, D.float32))
    y = p(S.reshape, p(E.mul, d, p(E.rsqrt, total)), attrs=((ROWS, WIDE),))
    return d, p(S.dot, p(S.dot, y, p.normal(WIDE, WIDE)), p.normal(WIDE, WIDE))


def test_axes_that_are_joined_later():
    """Rows that come back as one axis: deviations are computed in that shape, and so is what hangs on them alone."""
    p = Program()
    d, ct = stack(p, p.normal(1, 1, WIDE))
    rows = p(S.reshape, d, attrs=((ROWS, WIDE),))
    total = p(S.reshape, p(S.sum_, ct, attrs=((0,), False, D.float32)), attrs=((1, 1, WIDE),))
    part = p(S.reshape, p(E.mul, d, total), attrs=((ROWS, WIDE),))
    outputs = p(E.mul, ct, rows), p(E.sub, ct, part)
    assert p.again(*outputs) == ["again sub"]
    got = recompute(Graph(p.inputs, p.nodes, list(outputs)))
    assert [n.aval.shape for n in got.outputs[1].ins[1].ins] == [(ROWS, WIDE), (WIDE,)]
    assert got.outputs[0].ins[1] is got.outputs[1].ins[1].ins[0]


def test_axes_that_cannot_be_joined():
    p = Program()
    d, ct = stack(p, p.normal(1, 16, 1))
    assert p.again(p(E.mul, ct, p(S.reshape, d, attrs=((ROWS, WIDE),)))) == []
