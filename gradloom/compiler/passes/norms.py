"""Norms in inference are folded into the filters before them.

``(x * w - mean) * scale + beta`` with factors and terms that depend on lasting inputs alone is
``x * (w scale) + (beta - mean scale)``: the new filters are computed once and kept (:mod:`gradloom.compiler.prepared`),
and one addition is left. The results differ by rounding, a few units in the last place.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from gradloom.compiler.passes.flatten import complete
from gradloom.graph.node import Graph, Node
from gradloom.ops import elementwise as E
from gradloom.ops import structure as S
from gradloom.ops.core import Primitive

__all__ = ["fold_norms"]

LEAST = 32 << 10  # bytes of filters below which nothing is kept, and so nothing gained
PURE = ("elementwise", "movement", "reduce", "create", "contraction")


def _node(prim: Primitive, ins: Sequence[Node], *attrs: Any) -> Node:
    return Node(prim, ins, attrs, prim.infer([i.aval for i in ins], attrs))


class _Chain:
    """What is done to a product, channel by channel: ``y * scale + shift``; last: the instruction that has it."""

    def __init__(self, product: Node) -> None:
        self.product = self.last = product
        self.scale: Node | None = None
        self.shift: Node | None = None
        self.wide = product.aval.shape[-1]

    def take(self, n: Node, known: Collection[int]) -> bool:
        """Go on with one more instruction; False where it is of another kind."""
        name = n.prim.name if n.prim is not None else ""
        if name not in ("add", "sub", "mul") or n.aval[:2] != self.product.aval[:2]:
            return False
        a, b = n.ins
        if a is not self.last and name != "sub":
            a, b = b, a
        if a is not self.last or b is self.last or id(b) not in known:
            return False
        long = [k for k, s in enumerate(b.aval.shape, len(n.aval.shape) - len(b.aval.shape)) if s != 1]
        if long not in ([], [len(n.aval.shape) - 1]):
            return False
        if b.aval.shape:
            b = _node(S.reshape, [b], (b.aval.size,))
        if name == "mul":
            self.scale = b if self.scale is None else _node(E.mul, [self.scale, b])
            self.shift = None if self.shift is None else _node(E.mul, [self.shift, b])
        elif self.shift is None:
            self.shift = b if name == "add" else _node(E.neg, [b])
        else:
            self.shift = _node(n.prim, [self.shift, b])  # type: ignore[arg-type]
        self.last = n
        return True

    def folded(self, x: Node, w: Node) -> Node:
        """The same from a product with other filters."""
        p = self.product
        assert self.scale is not None
        y = Node(p.prim, [x, _node(E.mul, [w, self.scale])], p.attrs, p.aval)
        return y if self.shift is None else _node(E.add, [y, self.shift])


def fold_norms(graph: Graph, lasting: Sequence[Node]) -> Graph:
    """Fold scales and shifts that depend on ``lasting`` inputs alone into the filters of products and convolutions."""
    known = {id(n) for n in lasting}
    users: dict[int, list[Node | None]] = {}
    for n in graph.nodes:
        if n.prim is not None and n.prim.kind in PURE and all(id(i) in known for i in n.ins):
            known.add(id(n))
        for i in n.ins:
            users.setdefault(id(i), []).append(n)
    for n in graph.outputs:
        users.setdefault(id(n), []).append(None)
    chains: dict[int, _Chain] = {}
    for n in graph.nodes:
        if n.prim is None or id(n) in known or n.aval.dtype.category != 2 or id(n.ins[-1]) not in known:
            continue
        if n.prim.name != "convolve" and not (n.prim.name == "dot" and len(n.aval.shape) == 2):
            continue
        chain = _Chain(n)
        while len(after := users.get(id(chain.last), [])) == 1 and after[0] is not None:
            if not chain.take(after[0], known):
                break
        if chain.scale is not None and n.ins[1].aval.dtype is n.aval.dtype:
            chains[id(chain.last)] = chain
    if sum(c.product.ins[1].aval.size * c.product.aval.dtype.itemsize for c in chains.values()) < LEAST:
        return graph
    new: dict[int, Node] = {id(n): n for n in graph.inputs}
    nodes: list[Node] = []
    for n in graph.nodes:
        chain = chains.get(id(n))  # type: ignore[assignment]
        if chain is not None:
            new[id(n)] = chain.folded(*(new[id(i)] for i in chain.product.ins))
        else:
            ins = [new[id(i)] for i in n.ins]
            same = all(a is b for a, b in zip(ins, n.ins, strict=True))
            new[id(n)] = n if same else Node(n.prim, ins, n.attrs, n.aval)
        nodes.append(new[id(n)])
    return complete(Graph(graph.inputs, nodes, [new[id(n)] for n in graph.outputs], graph.donate))
