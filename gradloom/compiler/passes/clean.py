"""Passes that leave the meaning as it is and the program shorter: copies, common subexpressions, dead code."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradloom.graph.node import Graph, Node
from gradloom.ops.elementwise import maximum, minimum
from gradloom.ops.structure import slice_

__all__ = ["common", "dead", "open_barriers", "rewrite", "simplify"]


def rewrite(graph: Graph, rule: Callable[[Node, Sequence[Node]], Node | None]) -> Graph:
    """The graph with each instruction replaced by what ``rule(node, operands)`` returns; None: rebuilt as it is."""
    new: dict[int, Node] = {id(n): n for n in graph.inputs}
    nodes: list[Node] = []
    made = set(new)
    changed: set[int] = set()  # instructions that became others: most programs have few of them
    for n in graph.nodes:
        ins: Sequence[Node] = n.ins
        same = True
        for i in ins:
            if id(i) in changed:
                ins, same = [new[id(i)] for i in ins], False
                break
        got = rule(n, ins)
        if got is None:
            got = n if same else Node(n.prim, ins, n.attrs, n.aval)
        new[id(n)] = got
        if got is not n:
            changed.add(id(n))
        if id(got) not in made:
            made.add(id(got))
            nodes.append(got)
    return Graph(graph.inputs, nodes, [new[id(n)] for n in graph.outputs], graph.donate)


def _is_full(n: Node, value: float) -> bool:
    return n.prim is not None and n.prim.name == "full" and n.attrs[0] == value


def _is(n: Node, name: str) -> bool:
    return n.prim is not None and n.prim.name == name


def _same(a: Node, n: Node) -> bool:
    return a.aval.shape == n.aval.shape and a.aval.dtype is n.aval.dtype


_SHORTER = {
    "detach", "cast", "reshape", "expand", "permute", "slice", "update_slice", "mul", "sub", "div", "add", "where",
}  # fmt: skip


def _simplify(n: Node, ins: Sequence[Node]) -> Node | None:
    if n.prim is None or n.prim.name not in _SHORTER:
        return None
    got = _shorter(n, ins)  # a Python number and a 0-d tensor differ in promotion
    return got if got is not None and got.aval.weak == n.aval.weak else None


def _shorter(n: Node, ins: Sequence[Node]) -> Node | None:
    assert n.prim is not None
    name = n.prim.name
    if name == "detach" or (name == "cast" and ins[0].aval.dtype is n.aval.dtype):
        return ins[0]
    if name in ("reshape", "expand") and ins[0].aval.shape == n.aval.shape:
        return ins[0]
    if name == "reshape" and ins[0].prim is not None and ins[0].prim.name == "reshape":
        if ins[0].ins[0].aval.shape == n.aval.shape:
            return ins[0].ins[0]
        return Node(n.prim, ins[0].ins, n.attrs, n.aval)
    if name == "permute":
        if n.attrs[0] == tuple(range(len(n.attrs[0]))):
            return ins[0]
        if ins[0].prim is not None and ins[0].prim.name == "permute":
            order = tuple(ins[0].attrs[0][k] for k in n.attrs[0])
            if order == tuple(range(len(order))):
                return ins[0].ins[0]
            return Node(n.prim, ins[0].ins, (order,), n.aval)
    if name == "slice" and ins[0].aval.shape == n.aval.shape and all(s == 1 for s in n.attrs[2]):
        return ins[0]
    if name == "slice" and _is(ins[0], "update_slice") and ins[0].attrs == n.attrs:
        return ins[0].ins[1]  # what was written there
    if name == "update_slice":
        base, x = ins
        if x.aval.shape == n.aval.shape:  # all of it, perhaps turned round
            return x if all(s == 1 for s in n.attrs[2]) else Node(slice_, (x,), n.attrs, n.aval)
        if _is(x, "slice") and x.ins[0] is base and x.attrs == n.attrs:
            return base
        if _is(base, "update_slice") and base.attrs == n.attrs:
            return Node(n.prim, (base.ins[0], x), n.attrs, n.aval)
    if name == "where":
        return _bounded(n, ins)
    floating = n.aval.dtype.category > 0
    if floating and name == "mul":  # x * 1; not x * 0, which is NaN for infinities
        for a, b in ((ins[0], ins[1]), (ins[1], ins[0])):
            if _is_full(b, 1) and _same(a, n):
                return a
    if floating and name in ("sub", "div") and _is_full(ins[1], 0 if name == "sub" else 1) and _same(ins[0], n):
        return ins[0] if name == "div" or str(ins[1].attrs[0])[0] != "-" else None
    if n.aval.dtype.category == 1 and name == "add":  # floats: -0.0 + 0.0 is 0.0
        for a, b in ((ins[0], ins[1]), (ins[1], ins[0])):
            if _is_full(b, 0) and _same(a, n):
                return a
    return None


def _number(n: Node) -> float | None:
    """The number that a value is; None for others, and for NaN."""
    value = n.attrs[0] if _is(n, "full") and not n.aval.shape else None
    return value if value == value and not isinstance(value, complex) else None


def _bounded(n: Node, ins: Sequence[Node]) -> Node | None:
    """What a choice by comparisons with numbers is: an extreme, or what its other branch is anyhow. NaN stays."""
    cond, a, x = ins
    if not _same(x, n) or n.aval.dtype.category not in (1, 2):
        return None
    bound = _number(a)
    for compare, extreme in (("lt", maximum), ("gt", minimum)):  # x < c ? c : x is the greater one
        if bound is not None and _is(cond, compare) and cond.ins[0] is x and _number(cond.ins[1]) == bound:
            return Node(extreme, (x, a), (), n.aval)
    if _is(cond, "bitwise_and") and _is(x, "minimum") and _is(x.ins[0], "maximum") and x.ins[0].ins[0] is a:
        # low < a < high ? a : min(max(a, low), high)
        low, high = (_number(e.ins[1]) for e in (x.ins[0], x))
        p, q = cond.ins
        if (
            _is(p, "gt") and _is(q, "lt") and p.ins[0] is a and q.ins[0] is a
            and _number(p.ins[1]) == low is not None and _number(q.ins[1]) == high is not None
        ):  # fmt: skip
            return x
    return None


def simplify(graph: Graph) -> Graph:
    """Drop movement and arithmetic that change nothing."""
    return rewrite(graph, _simplify)


def common(graph: Graph) -> Graph:
    """Compute equal instructions once."""
    known: dict[tuple, Node] = {}

    def rule(n: Node, ins: Sequence[Node]) -> Node | None:
        key = (id(n.prim), tuple(id(i) for i in ins), repr(n.attrs), n.aval.dtype.code, n.aval.weak)
        got = known.get(key)
        if got is None:
            got = known[key] = n if tuple(ins) == n.ins else Node(n.prim, ins, n.attrs, n.aval)
        return got

    return rewrite(graph, rule)


def open_barriers(graph: Graph) -> Graph:
    """Drop the barriers that kept :func:`common` from finding what is to be computed twice."""
    return rewrite(graph, lambda n, ins: ins[0] if n.prim is not None and n.prim.name == "barrier" else None)


def dead(graph: Graph) -> Graph:
    """Drop what no output needs."""
    live = {id(n) for n in graph.outputs}
    nodes: list[Node] = []
    for n in reversed(graph.nodes):
        if id(n) in live:
            live.update(id(i) for i in n.ins)
            nodes.append(n)
    return Graph(graph.inputs, nodes[::-1], graph.outputs, graph.donate)
