"""What follows a convolution of groups is computed by group, before the channels are joined.

``reshape(correlate(…), (N, *S, groups * O))`` is followed by biases, norms, activations and padding. Done with groups
and channels of one as two axes they share the convolution's kernel; its last two axes are joined behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradloom.compiler.passes.clean import rewrite
from gradloom.compiler.passes.flatten import complete
from gradloom.graph.node import Graph, Node
from gradloom.ops.core import Primitive
from gradloom.ops.structure import reshape

__all__ = ["by_group"]


def _joined(n: Node) -> Node | None:
    """The value by group whose last two axes ``n`` joins."""
    if n.prim is not reshape or len(n.ins[0].aval.shape) < 3:
        return None
    x = n.ins[0]
    *lead, groups, each = x.aval.shape
    if n.aval.shape != (*lead, groups * each) or groups == 1 or each == 1:
        return None
    return x if x.prim is not None and x.prim.kind in ("convolution", "elementwise") else None


def _node(prim: Primitive, ins: Sequence[Node], *attrs: Any) -> Node:
    return Node(prim, ins, attrs, prim.infer([i.aval for i in ins], attrs))


def _split(n: Node, groups: int, each: int) -> Node:
    """An operand, broadcast from the last axis on, by group."""
    if not n.aval.shape:
        return n
    x = _joined(n)
    if x is not None and x.aval.shape[-2:] == (groups, each):
        return x
    last = (groups, each) if n.aval.shape[-1] != 1 else (1, 1)
    shape = (*n.aval.shape[:-1], *last)
    return Node(reshape, (n,), (shape,), n.aval._replace(shape=shape))


def _rule(n: Node, ins: Sequence[Node]) -> Node | None:
    prim = n.prim
    assert prim is not None
    found = [x for x in map(_joined, ins) if x is not None]
    if not found or n.aval.weak or ins[0].aval.weak:
        return None
    x = found[0]
    groups, each = x.aval.shape[-2:]
    if prim.kind == "elementwise":
        if n.aval.shape[-1] != groups * each or len(x.aval.shape) != len(n.aval.shape) + 1:
            return None
        inner = _node(prim, [_split(i, groups, each) for i in ins], *n.attrs)
    elif prim.kind == "reduce":
        axes, keep, dtype = n.attrs
        last = len(n.ins[0].aval.shape) - 1
        inner = _node(prim, [x], (*axes, last + 1) if last in axes else axes, keep, dtype)
    elif prim.name == "pad" and (n.attrs[0][-1], n.attrs[1][-1]) == (0, 0):
        inner = _node(prim, [x], (*n.attrs[0], 0), (*n.attrs[1], 0), n.attrs[2])
    else:
        return None
    return inner if inner.aval.shape == n.aval.shape else Node(reshape, (inner,), (n.aval.shape,), n.aval)


def by_group(graph: Graph) -> Graph:
    """Move joins of the channels of groups behind what is elementwise, reductions and padding."""
    if not any(n.prim is not None and n.prim.kind == "convolution" and n.aval.shape[-2] != 1 for n in graph.nodes):
        return graph
    return complete(rewrite(graph, _rule))
