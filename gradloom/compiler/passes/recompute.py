"""Cheap values that a later kernel wants are computed there again, instead of being written and read.

A product or convolution ends the kernels before it: what came before and is wanted behind it has to lie in memory.
Where that is a few additions and products on one large value that lies in memory itself (``x - mean`` of a norm, in its
backward pass), the users behind get an instruction of their own, done in whatever kernel wants it (:class:`Again`), and
only the large value is stored. Functions are done again too where that saves more memory than it costs: behind a
product, GELU's derivative wants three values that hang on one, its argument.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from gradloom.compiler.passes.flatten import complete, flat
from gradloom.graph.node import Graph, Node
from gradloom.ops.core import Elementwise

__all__ = ["HEAVY", "VIEWS", "is_view", "recompute"]

CHEAP = ("add", "sub", "mul", "neg", "relu", "maximum", "minimum", "cast")
HEAVY = ("contraction", "convolution", "tiling", "scatter", "host", "loop")
VIEWS = ("reshape", "permute", "expand", "slice")
COSTS = {
    **dict.fromkeys((*CHEAP, "abs", "sign", "where", "eq", "ne", "lt", "le", "gt", "ge", "square"), 0.03),
    "div": 0.08, "reciprocal": 0.08, "sqrt": 0.1, "rsqrt": 0.1, "exp": 0.15, "sigmoid": 0.25, "expm1": 0.25,
    "log": 0.2, "log1p": 0.3, "erf": 0.25, "tanh": 0.4,
}  # fmt: skip
"""What may be done again because several values hang on one: nanoseconds for each float32 on one core of Zen 4."""
KEPT = 0.8  # writing and reading an element of float32
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


def _joins(n: Node) -> int:
    """How many leading axes of its operand a reshape makes one; 0 where it does something else."""
    if n.prim is None or n.prim.name != "reshape":
        return 0
    before, after = n.ins[0].aval.shape, n.aval.shape
    lead = len(before) - len(after) + 1
    return lead if lead > 1 and after and after[1:] == before[lead:] else 0


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
    lies in memory in any case; 0 where it is not cheap. uses: how often a value is an operand or an output. new: what
    became of old instructions.
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
        self.uses = Counter(id(x) for n in graph.nodes for x in n.ins)
        self.uses.update(map(id, graph.outputs))
        for n in reversed(graph.nodes):
            self._note(n)
        self.region = self._regions()
        self.lengths: dict[int, int] = {}
        for n in graph.nodes:
            self.lengths[id(n)] = self._length(n)
        self.new: dict[int, Node] = {id(n): n for n in graph.inputs}
        self.made: dict[tuple[int, ...], Node] = {}

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

    def _regions(self) -> set[int]:
        """Instructions that are done again because several values that are wanted later hang on one."""
        ways: dict[int, tuple[Node, ...]] = {}  # to a value: large values on all ways to it, itself first
        members: dict[int, list[Node]] = {}
        nodes = {id(n): n for n in self.graph.nodes}
        for n in self.graph.nodes:
            ways[id(n)] = (n, *self._behind(n, ways))
            if id(n) in self.later and id(n) not in self.stored and n.aval.size >= LEAST:
                for x in ways[id(n)][1:]:
                    members.setdefault(id(x), []).append(n)
        out: set[int] = set()
        gains = []
        for k, (root, own) in enumerate(members.items()):
            if len(own) > 1:
                cost = sum(COSTS[nodes[m].prim.name] for m in self._between(root, own))  # type: ignore[union-attr, misc]
                saved = len(own) - (root not in self.stored and root not in self.later)
                gains.append((KEPT * saved - cost, -k, root, own))
        for gain, _, root, own in sorted(gains, key=lambda g: g[:2], reverse=True):
            if gain > 0 and root not in out and not any(id(n) in out for n in own):
                out |= self._between(root, own)
                self.later.add(root)
        return out

    def _behind(self, n: Node, ways: dict[int, tuple[Node, ...]]) -> tuple[Node, ...]:
        """The large values that all ways to an instruction's operands pass, nearest first."""
        assert n.prim is not None
        if n.prim.kind != "elementwise" or n.prim.name not in COSTS or id(n) in self.stored:
            return ()
        large = [i for i in n.ins if not _small(i, n)]
        if not large or any(i.aval.size != n.aval.size or self.epoch[id(i)] != self.epoch[id(n)] for i in large):
            return ()
        if any(i.aval.dtype.itemsize > n.aval.dtype.itemsize for i in large):
            return ()
        first, *others = [ways.get(id(i), (i,)) for i in large]
        common = {id(x) for x in first}.intersection(*({id(x) for x in w} for w in others))
        return tuple(x for x in first if id(x) in common)

    def _between(self, root: int, ends: list[Node]) -> set[int]:
        """The instructions behind a value that lead to others."""
        out: set[int] = set()
        todo = list(ends)
        while todo:
            n = todo.pop()
            if id(n) != root and id(n) not in out and id(n) not in self.stored:
                out.add(id(n))
                todo += [i for i in n.ins if not _small(i, n)]
        return out

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
        if self.epoch[id(n)] >= at:
            return self.new[id(n)]
        if lead := _joins(n):
            return self._joined(n.ins[0], lead, n, at) or self.new[id(n)]
        if not self._cheap(n):
            return self.new[id(n)]
        key = (id(n), at)
        got = self.made.get(key)
        if got is None:
            prim = _again(n.prim)  # type: ignore[arg-type]
            got = self.made[key] = Node(prim, [self.again(i, at) for i in n.ins], n.attrs, n.aval)
        return got

    def _cheap(self, n: Node) -> bool:
        return bool(self.lengths.get(id(n))) or id(n) in self.region

    def _joined(self, n: Node, lead: int, joins: Node, at: int) -> Node | None:
        """The value of a cheap instruction with its first ``lead`` axes joined; None where it is not, or cannot be."""
        if not self._cheap(n):
            return None
        key = (id(n), at, lead)
        if key not in self.made:
            ins = [
                self._joined(i, lead, joins, at) or flat(self.new[id(i)], lead, n.aval.shape, joins, 0) for i in n.ins
            ]
            if any(i is None for i in ins):
                return None
            prim = _again(n.prim)  # type: ignore[arg-type]
            self.made[key] = Node(prim, ins, n.attrs, n.aval._replace(shape=joins.aval.shape))  # type: ignore[arg-type]
        return self.made[key]

    def _done_joined(self, n: Node, lead: int, joins: Node) -> Node | None:
        """An instruction done with its first ``lead`` axes joined; None where that gains nothing, or cannot be.

        It gains where all it works on is computed again here: it shares its kernel with what wants it joined.
        """
        if n.prim is None or n.prim.kind != "elementwise" or self.uses[id(n)] != 1:
            return None
        ins: list[Node | None] = []
        for i in n.ins:
            if _small(i, n):
                ins.append(flat(self.new[id(i)], lead, n.aval.shape, joins, 0))
            elif self.epoch[id(i)] < self.epoch[id(n)]:
                ins.append(self._joined(i, lead, joins, self.epoch[id(n)]))
            else:
                ins.append(self._done_joined(i, lead, joins))
        if any(i is None for i in ins):
            return None
        return Node(n.prim, ins, n.attrs, n.aval._replace(shape=joins.aval.shape))  # type: ignore[arg-type]

    def run(self) -> Graph:
        """The program with those instructions."""
        nodes: list[Node] = []
        for n in self.graph.nodes:
            assert n.prim is not None
            wants = n.prim.kind in ("elementwise", "reduce")
            new = self._done_joined(n.ins[0], lead, n) if (lead := _joins(n)) else None
            if new is None:
                ins = [self.again(i, self.epoch[id(n)]) if wants else self.new[id(i)] for i in n.ins]
                same = all(a is b for a, b in zip(ins, n.ins, strict=True))
                new = n if same else Node(n.prim, ins, n.attrs, n.aval)
            self.new[id(n)] = new
            nodes.append(new)
        if not self.made:
            return self.graph
        outputs = [self.new[id(n)] for n in self.graph.outputs]
        return complete(Graph(self.graph.inputs, nodes, outputs, self.graph.donate))


def recompute(graph: Graph) -> Graph:
    """Compute cheap values again in the kernels that want them later."""
    if not any(n.prim is not None and n.prim.kind in HEAVY for n in graph.nodes):
        return graph
    return _Again(graph).run()
