"""Cheap values that a later kernel wants are computed there again, instead of being written and read.

A product or convolution ends the kernels before it: what came before and is wanted behind it has to lie in memory.
Where that is a few additions and products on one large value that lies in memory itself (``x - mean`` of a norm, in its
backward pass), the users behind get an instruction of their own, done in whatever kernel wants it (:class:`Again`), and
only the large value is stored.
"""

from __future__ import annotations

from functools import lru_cache

from gradloom.compiler.passes.flatten import complete
from gradloom.graph.node import Graph, Node
from gradloom.ops.core import Elementwise

__all__ = ["HEAVY", "VIEWS", "is_view", "recompute"]

CHEAP = ("add", "sub", "mul", "neg", "relu", "maximum", "minimum", "cast")
HEAVY = ("contraction", "convolution", "tiling", "scatter", "host", "loop")
VIEWS = ("reshape", "permute", "expand", "slice")
LENGTH = 4  # instructions that are done again for one value at the most
SMALL = 16  # an operand with so many times fewer elements than the result costs nothing to read
LEAST = 4096  # elements; smaller values stay in the cache anyway


def is_view(n: Node) -> bool:
    """Whether an instruction only says how memory is walked."""
    return n.prim is not None and n.prim.kind == "movement" and n.prim.name in VIEWS


def _small(x: Node, n: Node) -> bool:
    """Whether an operand is a constant, or a parameter that is broadcast."""
    while is_view(x):
        x = x.ins[0]
    return x.aval.size * SMALL <= n.aval.size or (x.prim is not None and x.prim.kind == "create")


class Again(Elementwise):
    """An elementwise primitive of which the fuser makes no kernel: every kernel that wants its value computes it."""

    kind = "again"

    def __init__(self, prim: Elementwise) -> None:
        self.name = f"again {prim.name}"
        self.reference, self.body, self.result = prim.reference, prim.body, prim.result
        self.takes, self.operands, self.moves_bits = prim.takes, prim.operands, prim.moves_bits


_again = lru_cache(maxsize=64)(Again)


class _Again:
    """The new program while the old one is walked.

    epoch: products and convolutions on the longest way to a value. lengths: how many instructions make it from one that
    lies in memory in any case; 0 where it is not cheap. new: what became of old instructions.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.epoch: dict[int, int] = {id(n): 0 for n in graph.inputs}
        for n in graph.nodes:
            heavy = n.prim is not None and n.prim.kind in HEAVY
            self.epoch[id(n)] = max((self.epoch[id(i)] for i in n.ins), default=0) + heavy
        self.stored = {id(n) for n in (*graph.inputs, *graph.outputs)}
        self.summed: set[int] = set()  # values that a reduction reads before the next product
        self.later: set[int] = set()  # values that are read behind one; they are stored unless cheap themselves
        for n in reversed(graph.nodes):
            self._note(n)
        self.lengths: dict[int, int] = {}
        for n in graph.nodes:
            self.lengths[id(n)] = self._length(n)
        self.new: dict[int, Node] = {id(n): n for n in graph.inputs}
        self.made: dict[tuple[int, int], Node] = {}

    def _note(self, n: Node) -> None:
        """Note of the operands which have to lie in memory whatever is done here."""
        assert n.prim is not None
        kind = n.prim.kind
        for x in n.ins:
            same = self.epoch[id(x)] == self.epoch[id(n)]
            if is_view(n):
                self.stored |= {id(x)} if id(n) in self.stored else set()
                self.summed |= {id(x)} if id(n) in self.summed else set()
            elif kind not in ("elementwise", "reduce"):
                self.stored.add(id(x))
            elif same and (kind == "reduce" or id(n) in self.summed):
                self.summed.add(id(x))
            elif not same and kind == "elementwise" and len([i for i in n.ins if not _small(i, n)]) > 1:
                self.later.add(id(x))

    def _length(self, n: Node) -> int:
        assert n.prim is not None
        if n.prim.kind != "elementwise" or n.prim.name not in CHEAP or n.aval.size < LEAST or id(n) in self.stored:
            return 0
        large = [i for i in n.ins if not _small(i, n)]
        if not large or any(i is not large[0] for i in large):
            return 0
        x = large[0]
        if x.aval.size != n.aval.size or x.aval.dtype.itemsize > n.aval.dtype.itemsize:
            return 0
        length = self.lengths.get(id(x), 0)
        if not length and not any(id(x) in s for s in (self.stored, self.summed, self.later)):
            return 0  # then that would have to be stored for it
        return length + 1 if length < LENGTH else 0

    def again(self, n: Node, at: int) -> Node:
        """The value of an old instruction for one of epoch ``at``."""
        if not self.lengths.get(id(n)) or self.epoch[id(n)] >= at:
            return self.new[id(n)]
        key = (id(n), at)
        got = self.made.get(key)
        if got is None:
            prim = _again(n.prim)  # type: ignore[arg-type]
            got = self.made[key] = Node(prim, [self.again(i, at) for i in n.ins], n.attrs, n.aval)
        return got

    def run(self) -> Graph:
        """The program with those instructions."""
        nodes: list[Node] = []
        for n in self.graph.nodes:
            assert n.prim is not None
            wants = n.prim.kind in ("elementwise", "reduce")
            ins = [self.again(i, self.epoch[id(n)]) if wants else self.new[id(i)] for i in n.ins]
            same = all(a is b for a, b in zip(ins, n.ins, strict=True))
            self.new[id(n)] = n if same else Node(n.prim, ins, n.attrs, n.aval)
            nodes.append(self.new[id(n)])
        if not self.made:
            return self.graph
        outputs = [self.new[id(n)] for n in self.graph.outputs]
        return complete(Graph(self.graph.inputs, nodes, outputs, self.graph.donate))


def recompute(graph: Graph) -> Graph:
    """Compute cheap values again in the kernels that want them later."""
    if not any(n.prim is not None and n.prim.kind in HEAVY for n in graph.nodes):
        return graph
    return _Again(graph).run()
