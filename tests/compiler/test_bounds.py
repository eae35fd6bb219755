"""Choices by comparisons with numbers become extremes where they are ones, and nowhere else."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gradloom import dtypes as D
from gradloom.compiler.passes.clean import dead, simplify
from gradloom.graph.node import Aval, Graph, Node, check
from gradloom.ops import elementwise as E
from gradloom.ops import structure as S
from gradloom.reference.interpreter import evaluate

VALUES = np.array([-np.inf, -7, -1, -0.0, 0, 0.5, 1, 5, 6, 7, np.inf, np.nan])


def node(prim, *ins, attrs=()):
    return Node(prim, ins, attrs, prim.infer([i.aval for i in ins], attrs))


def number(value):
    return node(S.full, attrs=(value, (), D.float64, True))


def simplified(x, out):
    """The names of what is left; the values are compared."""
    nodes = []

    def walk(n):
        if n is not x and n not in nodes:
            for i in n.ins:
                walk(i)
            nodes.append(n)

    walk(out)
    graph = Graph([x], nodes, [out])
    got = dead(simplify(graph))
    check(got)
    arrays = VALUES.astype(x.aval.dtype.numpy) if x.aval.dtype.category == 2 else np.arange(-8, 8)
    known = []
    for g in (graph, got):
        env = {id(x): arrays}
        for n in g.nodes:
            env[id(n)] = evaluate(n, [env[id(i)] for i in n.ins])
        known.append(env[id(g.outputs[0])])
    np.testing.assert_array_equal(*known)
    return [n.prim.name for n in got.nodes if n.prim is not S.full]


def image(dtype=D.float32):
    return Node(None, (), (), Aval((len(VALUES),) if dtype.category == 2 else (16,), dtype))


def held(x, low, high):
    y = node(E.where, node(E.lt, x, number(low)), number(low), x)
    return node(E.where, node(E.gt, y, number(high)), number(high), y)


@pytest.mark.parametrize("dtype", [D.float32, D.float64, D.float16])
def test_bounds(dtype):
    x = image(dtype)
    assert simplified(x, held(x, 0.0, 6.0)) == ["maximum", "minimum"]
    assert simplified(x, node(E.where, node(E.gt, x, number(6.0)), number(6.0), x)) == ["minimum"]


def test_choice_between_equals():
    """As relu6 is written, whose derivative is zero on both bounds."""
    x = image()
    inside = node(E.bitwise_and, node(E.gt, x, number(0.0)), node(E.lt, x, number(6.0)))
    assert simplified(x, node(E.where, inside, x, held(x, 0.0, 6.0))) == ["maximum", "minimum"]


@pytest.mark.parametrize(("low", "high"), list(itertools.product((0.0, -1.0, 0.5), (6.0, 7.0, 5.0))))
def test_other_bounds_are_another_choice(low, high):
    x = image()
    inside = node(E.bitwise_and, node(E.gt, x, number(low)), node(E.lt, x, number(high)))
    names = simplified(x, node(E.where, inside, x, held(x, 0.0, 6.0)))
    assert names[-1] == ("minimum" if (low, high) == (0.0, 6.0) else "where")


@pytest.mark.parametrize(
    ("compare", "bound", "instead"),
    [(E.lt, 1.0, 0.0), (E.le, 1.0, 1.0), (E.ge, 1.0, 1.0), (E.lt, float("nan"), float("nan"))],
)
def test_what_is_no_extreme(compare, bound, instead):
    x = image()
    out = node(E.where, node(compare, x, number(bound)), number(instead), x)
    assert "where" in simplified(x, out)


def test_a_mask_of_something_else():
    x = image()
    y = node(E.neg, x)
    assert "where" in simplified(x, node(E.where, node(E.lt, y, number(1.0)), number(1.0), x))
