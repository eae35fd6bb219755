"""Reshapes sink: what follows the split of a leading axis is computed before it.

A product of a flattened batch, ``reshape(dot(x, w), (b, t, n))``, is followed by biases, activations and norms over the
last axis. Done before the reshape they share the product's kernel, and the next product needs no reshape at all.

What has to wait for sums over the joined axes (a batch norm) is no part of that kernel. It stays in the shape of images
and can be written into the borders that the next convolution wants around them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradloom.compiler.passes.clean import rewrite
from gradloom.graph.node import Aval, Graph, Node

__all__ = ["complete", "flat", "sink"]

NEAR = 64  # instructions that are looked at behind a value
DEPTH = 4  # of what is recomputed in the flat shape: a random mask


def _is(n: Node, name: str) -> bool:
    return n.prim is not None and n.prim.name == name


def _split(n: Node) -> int:
    """How many leading axes of a reshape come from the first axis of its operand; 0 where it is another reshape."""
    if not _is(n, "reshape"):
        return 0
    before, after = n.ins[0].aval.shape, n.aval.shape
    lead = len(after) - len(before) + 1
    if lead < 2 or not before or after[lead:] != before[1:] or math.prod(after[:lead]) != before[0]:
        return 0
    return lead if n.aval.size and before[0] > 1 else 0


def flat(n: Node, lead: int, shape: tuple[int, ...], reshape: Node, depth: int = DEPTH) -> Node | None:
    """Operand ``n`` of a value of ``shape`` with the first ``lead`` axes joined; None where it cannot be."""
    own = n.aval.shape
    here = lead - (len(shape) - len(own))  # how many of the joined axes the operand has
    if here <= 0:
        return n
    rest = own[here:]
    if all(s == 1 for s in own[:here]):
        joined: tuple[int, ...] = rest or (1,)  # not 0-d, which promotes differently
    elif here == lead and own[:lead] == shape[:lead]:
        joined = (math.prod(shape[:lead]), *rest)
    else:
        return None
    if n.prim is not None and depth and own[:here] != (1,) * here:
        if n.prim.kind == "random" and own == shape:
            return Node(n.prim, n.ins, (joined, *n.attrs[1:]), n.aval._replace(shape=joined))
        if n.prim.kind == "elementwise" and all(i.aval.size == 1 or _cheap(i) for i in n.ins):
            ins = [flat(i, lead, own, reshape, depth - 1) for i in n.ins]
            if all(i is not None for i in ins):
                return Node(n.prim, ins, n.attrs, n.aval._replace(shape=joined))  # type: ignore[arg-type]
    if _is(n, "reshape") and n.ins[0].aval.shape == joined:
        return n.ins[0]
    return Node(reshape.prim, (n,), (joined,), n.aval._replace(shape=joined))


def _cheap(n: Node) -> bool:
    """Whether a value is drawn or computed from draws alone."""
    for _ in range(DEPTH):
        if n.prim is None:
            return False
        if n.prim.kind == "random":
            return True
        large = [i for i in n.ins if i.aval.size != 1]
        if n.prim.kind != "elementwise" or len(large) != 1:
            return False
        n = large[0]
    return False


def _sums_up(n: Node, reshape: Node, lead: int) -> bool:
    """Whether an operand beside what is reshaped is made of all of that and the same along the split axes: a mean."""
    own = n.aval.shape
    if n is reshape or any(s != 1 for s in own[: max(0, lead + len(own) - len(reshape.aval.shape))]):
        return False
    ends = (reshape, reshape.ins[0])
    todo, seen = [n], {id(n)}
    while todo and len(seen) < NEAR:
        for i in todo.pop().ins:
            if any(i is end for end in ends):
                return True
            if id(i) not in seen:
                seen.add(id(i))
                todo.append(i)
    return False


def sink(graph: Graph) -> Graph:
    """Move reshapes that split a leading axis behind elementwise instructions and reductions."""

    def rule(n: Node, ins: Sequence[Node]) -> Node | None:
        prim = n.prim
        assert prim is not None
        if prim.kind == "elementwise":
            for r in ins:
                lead = _split(r)
                if not lead or r.aval.shape != n.aval.shape or any(_sums_up(i, r, lead) for i in ins):
                    continue
                operands = [flat(i, lead, n.aval.shape, r) for i in ins]
                if any(x is None for x in operands):
                    continue
                shape = (r.ins[0].aval.shape[0], *n.aval.shape[lead:])
                return _back(Node(prim, operands, n.attrs, n.aval._replace(shape=shape)), r, n)  # type: ignore[arg-type]
        if prim.kind == "reduce" and (lead := _split(ins[0])):
            axes, keep, dtype = n.attrs
            joined = [k for k in axes if k < lead]
            if len(joined) not in (0, lead):
                return None
            moved = (*([0] if joined else []), *(k - lead + 1 for k in axes if k >= lead))
            x = ins[0].ins[0]
            shape = tuple(1 if k in moved else s for k, s in enumerate(x.aval.shape) if keep or k not in moved)
            return _back(Node(prim, (x,), (moved, keep, dtype), Aval(shape, dtype)), ins[0], n)
        if prim.name == "expand" and _is(ins[0], "reshape") and len(ins[0].aval.shape) == len(n.aval.shape):
            r, x = ins[0], ins[0].ins[0]
            lead = next((k for k, (a, b) in enumerate(zip(r.aval.shape, n.aval.shape, strict=True)) if a != b), 0)
            if lead < 2 or not x.aval.shape or not n.aval.size or math.prod(r.aval.shape[:lead]) != x.aval.shape[0]:
                return None
            rows = Node(r.prim, (x,), ((x.aval.shape[0], *r.aval.shape[lead:]),), n.aval)
            rows.aval = rows.aval._replace(shape=rows.attrs[0])
            wide = (x.aval.shape[0], *n.aval.shape[lead:])
            return _back(Node(prim, (rows,), (wide,), n.aval._replace(shape=wide)), r, n)
        return None

    def _back(inner: Node, r: Node, n: Node) -> Node:
        if inner.aval.shape == n.aval.shape:
            return inner
        return Node(r.prim, (inner,), (n.aval.shape,), inner.aval._replace(shape=n.aval.shape))

    return complete(rewrite(graph, rule))


def complete(graph: Graph) -> Graph:
    """List the nodes that a rule made beside those it returned, each before its first use."""
    seen = {id(n) for n in graph.inputs}
    nodes: list[Node] = []
    for root in (*graph.nodes, *graph.outputs):
        stack = [root]
        while stack:
            n = stack[-1]
            if id(n) in seen:
                stack.pop()
                continue
            todo = [i for i in n.ins if id(i) not in seen]
            if todo:
                stack += todo
            else:
                seen.add(id(n))
                nodes.append(n)
                stack.pop()
    return Graph(graph.inputs, nodes, graph.outputs, graph.donate)
