"""Products with weights that the same program updates are summed in two halves, one for each half of the weights' rows.

``x @ W`` of few rows shares its columns, or its rows, among threads, so that each reads lines of all rows of W; the
update of W shares the rows. Lines that one core has changed then move to another's cache and back in every step, and
what stands in both must be given up before it is written. That costs ten times what reading it does, and more where the
cores have no cache in common. With the sum cut in two, ``x[:, :h] @ W[:h] + x[:, h:] @ W[h:]``, the chunks of the
product come in the order of W's rows, and so does every thread's part of them: each reads what it has written itself.

``x @ W.T`` needs none of this: W's rows are the columns of the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradloom import dtypes
from gradloom.compiler.passes.clean import rewrite
from gradloom.compiler.passes.flatten import complete
from gradloom.graph.node import Graph, Node
from gradloom.ops import structure as S
from gradloom.ops.core import Primitive

__all__ = ["by_halves"]

LEAST, MOST = 128 << 10, 16 << 20  # bytes of weights: below it is not worth a sum, above they stay in no core's cache
SHARE = 8  # how many times smaller than the weights the product is


def _node(prim: Primitive, ins: Sequence[Node], *attrs: Any) -> Node:
    return Node(prim, ins, attrs, prim.infer([i.aval for i in ins], attrs))


def _updated(graph: Graph) -> set[int]:
    """Inputs that an output of their shape is computed from, element by element."""
    inputs = {id(n) for n in graph.inputs}
    found: set[int] = set()
    for out in graph.outputs:
        if len(out.aval.shape) != 2 or 4 * out.aval.size < LEAST:
            continue
        todo, seen = [out], set[int]()
        while todo:
            n = todo.pop()
            if id(n) in seen or n.aval.shape != out.aval.shape:
                continue
            seen.add(id(n))
            if id(n) in inputs:
                found.add(id(n))
            elif n.prim is not None and n.prim.kind == "elementwise":
                todo += n.ins
    return found


def by_halves(graph: Graph) -> Graph:
    """Sum products with weights that are updated in two halves.

    Whether the old weights' memory is taken for the new ones does not count: it must not change a bit.
    """
    updated = _updated(graph)
    if not updated:
        return graph

    def rule(n: Node, ins: Sequence[Node]) -> Node | None:
        if n.prim is not S.dot or len(n.aval.shape) != 2 or id(n.ins[1]) not in updated:
            return None
        x, w = ins
        (rows, k), cols = x.aval.shape, w.aval.shape[1]
        if k % 2 or not x.aval.dtype is w.aval.dtype is dtypes.float32:
            return None
        if not LEAST <= 4 * w.aval.size <= MOST or SHARE * rows * cols > w.aval.size:
            return None
        halves = _node(S.permute, [_node(S.reshape, [x], (rows, 2, k // 2))], (1, 0, 2))
        both = _node(S.dot, [halves, _node(S.reshape, [w], (2, k // 2, cols))])
        return _node(S.sum_, [both], (0,), False, n.aval.dtype)

    return complete(rewrite(graph, rule))
