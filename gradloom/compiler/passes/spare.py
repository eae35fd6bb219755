"""Memory traded for time: values that wait long for their last use are computed again instead (Chen et al. 2016).

In a training step the activations of the forward pass wait for the backward pass. One that is elementwise in values
which wait anyway (a norm with its activation, in the result of a convolution) need not wait itself: its late users get
a copy of its instructions, placed before the first of them. A chain may go through other such values, so that of a
residual stream every few sums are kept. Done only where a limit of memory is set and exceeded.
"""

from __future__ import annotations

from gradloom.compiler.passes.recompute import HEAVY, VIEWS, is_view
from gradloom.graph.node import Graph, Node
from gradloom.ops import structure as S

__all__ = ["spare"]

FAR = 6  # a use is late that comes so many heavy instructions after the value,
SHARE = 8  # and this part of all
LONGEST = 24  # instructions of a chain
LEAST = 1 << 14  # elements
SMALL = 16  # a value with so many times fewer elements may wait


class _Sparing:
    """The positions and late uses of a program's values."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.at = {id(n): k for k, n in enumerate(graph.nodes)}
        self.heavy: list[int] = []  # heavy instructions before each position
        count = 0
        for n in graph.nodes:
            self.heavy.append(count)
            count += n.prim is not None and n.prim.kind in HEAVY
        self.far = max(FAR, count // SHARE)
        self.users: dict[int, list[int]] = {}
        for k, n in enumerate(graph.nodes):
            for x in n.ins:
                self.users.setdefault(id(x), []).append(k)
        self.last: dict[int, int] = {}  # the position of the last use, views looked through
        for k in range(len(graph.nodes) - 1, -1, -1):
            n = graph.nodes[k]
            until = self.last.get(id(n), k) if is_view(n) else k
            for x in n.ins:
                self.last[id(x)] = max(self.last.get(id(x), 0), until)
        self.outputs = {id(n) for n in graph.outputs}
        self.kept: set[int] = set()  # elementwise values that do wait

    def late(self, n: Node) -> list[int]:
        """Positions of the users of a value that come long after it."""
        here = self.heavy[self.at[id(n)]]
        return [k for k in self.users.get(id(n), ()) if self.heavy[k] - here >= self.far]

    def cheap(self, n: Node) -> bool:
        """Whether an instruction may be done twice."""
        prim = n.prim
        if prim is None or id(n) in self.outputs:
            return False
        return prim.kind in ("elementwise", "again", "create") or (
            prim.kind == "movement" and prim.name in (*VIEWS, "pad")
        )

    def chain(self, n: Node, until: int) -> list[Node] | None:
        """The instructions that make a value from what is there at a position anyway; None where it takes too many."""
        found: list[Node] = []
        seen: set[int] = set()
        stack = [n]
        while stack:
            x = stack.pop()
            if id(x) in seen:
                continue
            seen.add(id(x))
            found.append(x)
            if len(found) > LONGEST or not self.cheap(x):
                return None
            stack += [i for i in x.ins if not self.waits(i, until, n)]
        return sorted(found, key=lambda x: self.at[id(x)])

    def waits(self, x: Node, until: int, n: Node) -> bool:
        """Whether a value is in memory at a position whatever is done here."""
        if x.prim is None or id(x) in self.outputs or x.aval.size * SMALL <= n.aval.size:
            return True
        base = x
        while is_view(base):
            base = base.ins[0]
        if base.prim is None:
            return True
        if base.prim.kind in ("create", "again") or (self.cheap(base) and id(base) not in self.kept):
            return False
        return self.last.get(id(base), 0) >= until

    def run(self) -> Graph:
        """The program with copies before late users."""
        copies: dict[int, list[Node]] = {}  # by the position that they stand before
        instead: dict[tuple[int, int], Node] = {}  # (position of a user, operand): what it reads
        for n in self.graph.nodes:
            if n.aval.size < LEAST or not self.cheap(n) or n.prim.kind in ("create", "again"):  # type: ignore[union-attr]
                continue
            late = self.late(n)
            if not late:
                continue
            first = min(late)
            chain = self.chain(n, first)
            if chain is None or all(is_view(x) for x in chain):
                self.kept.add(id(n))
                continue
            new: dict[int, Node] = {}
            line = copies.setdefault(first, [])
            for x in chain:
                ins = []
                for i in x.ins:
                    got = new.get(id(i))
                    if got is None:
                        plain = i.prim is None or i.prim.kind == "create" or i.aval.size == 1
                        got = i if plain else Node(S.apart, (i,), (), i.aval)
                        if got is not i:
                            line.append(got)
                        new[id(i)] = got
                    ins.append(got)
                new[id(x)] = Node(x.prim, ins, x.attrs, x.aval)
                line.append(new[id(x)])
            for k in late:
                instead[k, id(n)] = new[id(n)]
        if not instead:
            return self.graph
        now: dict[int, Node] = {id(n): n for n in self.graph.inputs}
        nodes: list[Node] = []
        for k, n in enumerate(self.graph.nodes):
            for x in copies.get(k, ()):
                nodes.append(_with(x, now))
                now[id(x)] = nodes[-1]
            ins = [now[id(instead.get((k, id(i)), i))] for i in n.ins]
            got = n if all(a is b for a, b in zip(ins, n.ins, strict=True)) else Node(n.prim, ins, n.attrs, n.aval)
            now[id(n)] = got
            nodes.append(got)
        return Graph(self.graph.inputs, nodes, [now[id(n)] for n in self.graph.outputs], self.graph.donate)


def _with(x: Node, now: dict[int, Node]) -> Node:
    return Node(x.prim, [now[id(i)] for i in x.ins], x.attrs, x.aval)


def spare(graph: Graph) -> Graph:
    """Let cheap values be computed again by who wants them long after."""
    return _Sparing(graph).run()
