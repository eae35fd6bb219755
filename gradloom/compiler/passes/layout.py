"""Layout: values between convolutions are computed and stored in the order of axes that convolutions work in.

A user's images are (N, C, H, W), a convolution's (N, H, W, C): the program is full of permutations. Memory is in C
order of a value's shape, so this pass changes shapes: each value gets an order of its axes, instructions are rewritten
to work on permuted operands, and the permutations between them cancel.

Axes that are one by elementwise instructions, movement and reductions are the same *atom*; a dimension that is split or
joined by a reshape is a sequence of atoms. Values whose atoms are connected form a *region*. Each region takes one
order of its atoms: that for which the fewest elements are walked out of their order in memory by what cannot choose
(convolutions and outputs count most), or stays as it is where no order gains. Results keep their bits, except that
reductions over several axes add up in the order of memory. Random draws are by position in their own shape and stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from gradloom.compiler.passes.flatten import complete
from gradloom.compiler.passes.regions import Atom, Regions
from gradloom.graph.node import Graph, Node
from gradloom.ops.structure import full, permute, reshape

__all__ = ["layout"]

Order = tuple[int, ...]

VIEWS = ("reshape", "permute", "expand", "slice", "windows")
FREE = (*VIEWS, "pad", "cat", "update_slice", "barrier")
HEAVY = 4  # what an element out of order counts for a convolution and for an output, beside 1 for all else
CANDIDATES = 12


def _is(n: Node, name: str) -> bool:
    return n.prim is not None and n.prim.name == name


def _free(n: Node) -> bool:
    """Whether an instruction can work on permuted operands."""
    if n.prim is None or n.aval.weak or any(i.aval.weak and i.aval.size > 1 and not _is(i, "full") for i in n.ins):
        return False  # movement would make a tensor of what yields to tensors in promotion
    return n.prim.kind in ("elementwise", "reduce") or n.prim.name in FREE


def _weight(n: Node) -> int:
    return HEAVY if n.prim is not None and n.prim.kind == "convolution" else 1


class _Plan:
    """Regions of a program and the order of atoms that each takes: ``orders`` has those that are changed."""

    def __init__(self, graph: Graph) -> None:
        self.regions = Regions(graph, _free)
        self.free = {id(n) for n in graph.nodes if _free(n)}
        self.as_is: dict[int, int] = {}
        self.votes: dict[int, dict[tuple[Atom, ...], int]] = {}
        self._ask(graph)
        self.orders: dict[int, dict[Atom, int]] = {}
        for region, votes in self.votes.items():
            order = self._best(votes, self.as_is.get(region, 0))
            if order is not None:
                self.orders[region] = order

    def _ask(self, graph: Graph) -> None:
        """Note what every use of a value costs as it is, and what order those want that cannot choose."""
        outputs = [Node(None, (n,), (), n.aval) for n in graph.outputs]
        for n in (*graph.nodes, *outputs):
            free = id(n) in self.free
            if free and n.prim is not None and n.prim.name in VIEWS:
                continue
            for x in n.ins:
                base, chain = x, []
                while id(base) in self.free and base.prim is not None and base.prim.name in VIEWS:
                    chain.append(base)
                    base = base.ins[0]
                choice = id(base) in self.free
                if x.aval.size < 2 or _is(base, "full") or not (free or choice):
                    continue
                weight = HEAVY if n.prim is None else _weight(n)
                before, after = self.regions.sequence(base), self.regions.sequence(x)
                region = self.regions.of(x)
                if region is None:
                    continue
                common = set(before) & set(after)
                moved = [a for a in before if a in common] != [a for a in after if a in common]
                if moved:
                    cost = x.aval.size * max(weight, _weight(base))
                    self.as_is[region] = self.as_is.get(region, 0) + cost
                votes = self.votes.setdefault(region, {})
                if not free:
                    votes[after] = votes.get(after, 0) + x.aval.size * weight
                elif not choice and self.regions.of(base) == region:
                    votes[before] = votes.get(before, 0) + x.aval.size * _weight(base)

    @staticmethod
    def _best(votes: dict[tuple[Atom, ...], int], as_is: int) -> dict[Atom, int] | None:
        """The order that costs least; None where none costs less than ``as_is``."""
        best, cost = None, as_is
        ranked = sorted(votes, key=lambda s: votes[s], reverse=True)
        for first in ranked[:CANDIDATES] if as_is else ():
            total = list(first)
            for s in ranked:
                _insert(total, s)
            order = {a: k for k, a in enumerate(total)}
            c = sum(w for s, w in votes.items() if not _ascending([order[a] for a in s]))
            if c < cost:
                best, cost = order, c
        return best

    def order(self, n: Node) -> Order:
        """The dimensions of a value in the order that they are stored in."""
        nd = len(n.aval.shape)
        plain = tuple(range(nd))
        region = self.regions.of(n)
        places = self.orders.get(region) if region is not None else None
        if places is None or id(n) not in self.free:
            return plain
        order = _sorted(self.regions.labels(n), sorted(places, key=lambda a: places[a]))
        return plain if _long(n, order) == _long(n, plain) else order

    def changed(self, n: Node) -> bool:
        """Whether an instruction works in a region that takes another order."""
        if id(n) not in self.free:
            return False
        reduces = n.prim is not None and n.prim.kind == "reduce"
        return self.regions.of(n.ins[0] if reduces else n) in self.orders


def _sorted(labels: Sequence[Sequence[Atom]], walked: Sequence[Atom]) -> Order:
    """Dimensions in the order in which their first atoms are walked, then those that are not walked.

    Those of size 1 stay behind the one before.
    """
    place = {a: k for k, a in enumerate(walked)}
    keys: list[tuple[int, int]] = []
    for k, atoms in enumerate(labels):
        known = [place[a] for a in atoms if a in place]
        keys.append((known[0] if known else len(walked) if atoms else keys[-1][0] if keys else -1, k))
    return tuple(sorted(range(len(labels)), key=lambda k: keys[k]))


def _walk(labels: Sequence[Sequence[Atom]], order: Order) -> list[Atom]:
    """The atoms of dimensions in an order."""
    return [a for k in order for a in labels[k]]


def _insert(total: list[Atom], s: Sequence[Atom]) -> None:
    """Add the atoms of ``s`` that ``total`` lacks, each behind the one before it, or before the next that is there."""
    for k, a in enumerate(s):
        if a in total:
            continue
        if k:
            total.insert(total.index(s[k - 1]) + 1, a)
        else:
            after = [total.index(b) for b in s if b in total]
            total.insert(min(after, default=len(total)), a)


def _ascending(places: Sequence[int]) -> bool:
    return all(a < b for a, b in pairwise(places))


def _long(n: Node, order: Sequence[int]) -> list[int]:
    """The dimensions in ``order`` that are not of size 1."""
    return [k for k in order if n.aval.shape[k] != 1]


class _Rewriter:
    """The new program while the old one is walked. have: for each old value a node and the order of its dimensions."""

    def __init__(self, graph: Graph, plan: _Plan) -> None:
        self.plan = plan
        self.have: dict[int, tuple[Node, Order]] = {id(n): (n, tuple(range(len(n.aval.shape)))) for n in graph.inputs}
        self.made: dict[tuple, Node] = {}
        nodes: list[Node] = []
        for n in graph.nodes:
            if plan.changed(n):
                self.have[id(n)] = self._change(n)
            else:
                ins = [self.plain(i) for i in n.ins]
                same = all(a is b for a, b in zip(ins, n.ins, strict=True))
                new = n if same else Node(n.prim, ins, n.attrs, n.aval)
                self.have[id(n)] = new, tuple(range(len(n.aval.shape)))
            nodes.append(self.have[id(n)][0])
        outputs = [self.plain(n) for n in graph.outputs]
        self.graph = complete(Graph(graph.inputs, [n for n in nodes if n.prim is not None], outputs, graph.donate))

    # -- operands ---------------------------------------------------------------------------------
    def plain(self, n: Node) -> Node:
        """A value in its own order."""
        return self.take(n, range(len(n.aval.shape)))

    def take(self, n: Node, want: Sequence[int | None]) -> Node:
        """A value with its dimensions as listed; None stands for one of size 1 that it does not have."""
        shape = tuple(1 if k is None else n.aval.shape[k] for k in want)
        key = (id(n), tuple(want))
        got = self.made.get(key)
        if got is None:
            got = self.made[key] = self._take(n, [k for k in want if k is not None], shape)
        return got

    def _take(self, n: Node, want: list[int], shape: tuple[int, ...]) -> Node:
        x, order = self.have[id(n)]
        if tuple(want) == order and x.aval.shape == shape:
            return x
        if _is(n, "full"):
            value, _, dtype, weak = n.attrs
            return Node(full, (), (value, shape, dtype, weak), n.aval._replace(shape=shape))
        have = _long(n, order)
        target = [k for k in want if n.aval.shape[k] != 1]
        if target != have:
            turn = tuple(order.index(k) for k in want)
            x = Node(permute, (x,), (turn,), permute.infer([x.aval], (turn,)))
        if x.aval.shape != shape:
            x = Node(reshape, (x,), (shape,), x.aval._replace(shape=shape))
        return x

    def aligned(self, n: Node, order: Order) -> Node:
        """An operand, broadcast from the last dimension on to a value that is computed in ``order``."""
        lead = len(order) - len(n.aval.shape)
        if not n.aval.shape:
            return self.plain(n)
        return self.take(n, [None if k < lead else k - lead for k in order])

    # -- instructions -----------------------------------------------------------------------------
    def _change(self, n: Node) -> tuple[Node, Order]:
        """An instruction on permuted operands, and the order of the dimensions of its result."""
        assert n.prim is not None
        if n.prim.kind == "elementwise" or n.prim.name == "barrier":
            order = self.plan.order(n)
            ins = [self.aligned(i, order) for i in n.ins]
            return self._new(n, ins, n.attrs, order), order
        if n.prim.kind == "reduce":
            return self._reduce(n)
        return getattr(self, f"_{n.prim.name}")(n)

    @staticmethod
    def _new(n: Node, ins: Sequence[Node], attrs: tuple, order: Order) -> Node:
        return Node(n.prim, ins, attrs, n.aval._replace(shape=tuple(n.aval.shape[k] for k in order)))

    def _reduce(self, n: Node) -> tuple[Node, Order]:
        axes, keep, dtype = n.attrs
        x, order = self.have[id(n.ins[0])]
        kept = [
            k for k in range(len(order)) if keep or k not in axes
        ]  # dimensions of the operand in the result's order
        out = tuple(kept.index(k) for k in order if k in kept)
        moved = tuple(sorted(order.index(k) for k in axes))
        return self._new(n, (x,), (moved, keep, dtype), out), out

    def _permute(self, n: Node) -> tuple[Node, Order]:
        x, order = self.have[id(n.ins[0])]
        return x, tuple(n.attrs[0].index(k) for k in order)

    def _reshape(self, n: Node) -> tuple[Node, Order]:
        """The same elements in another order of dimensions, one in which memory is walked in order where there is."""
        operand, regions = n.ins[0], self.plan.regions
        x, order = self.have[id(operand)]
        labels, own = regions.labels(operand), regions.labels(n)
        plain = tuple(range(len(own)))
        if id(n) not in regions.traced:
            return self._new(n, (self.plain(operand),), n.attrs, plain), plain
        walked = _walk(labels, order)
        out = _sorted(own, walked)
        if _walk(own, out) == walked:
            shape = tuple(n.aval.shape[k] for k in out)
            return (x if x.aval.shape == shape else self._new(n, (x,), (shape,), out)), out
        for out in (self.plan.order(n), plain):  # brought into an order in which that is so
            walked = _walk(own, out)
            into = _sorted(labels, walked)
            if _walk(labels, into) == walked:
                break
        return self._new(n, (self.take(operand, into),), (tuple(n.aval.shape[k] for k in out),), out), out

    def _expand(self, n: Node) -> tuple[Node, Order]:
        order = self.plan.order(n)
        shape = tuple(n.aval.shape[k] for k in order)
        if not n.ins[0].aval.shape:
            return self._new(n, (self.plain(n.ins[0]),), (shape,), order), order
        return self._new(n, (self.aligned(n.ins[0], order),), (shape,), order), order

    def _slice(self, n: Node) -> tuple[Node, Order]:
        x, order = self.have[id(n.ins[0])]
        return self._new(n, (x,), tuple(tuple(a[k] for k in order) for a in n.attrs), order), order

    def _windows(self, n: Node) -> tuple[Node, Order]:
        x, order = self.have[id(n.ins[0])]
        axes, *how = n.attrs
        out = (*order, *range(len(order), len(n.aval.shape)))  # the entries of windows come last as they are
        return self._new(n, (x,), (tuple(order.index(k) for k in axes), *how), out), out

    def _pad(self, n: Node) -> tuple[Node, Order]:
        low, high, value = n.attrs
        order = self.plan.order(n)
        attrs = (tuple(low[k] for k in order), tuple(high[k] for k in order), value)
        return self._new(n, (self.take(n.ins[0], order),), attrs, order), order

    def _cat(self, n: Node) -> tuple[Node, Order]:
        order = self.plan.order(n)
        return self._new(n, [self.take(i, order) for i in n.ins], (order.index(n.attrs[0]),), order), order

    def _update_slice(self, n: Node) -> tuple[Node, Order]:
        order = self.plan.order(n)
        attrs = tuple(tuple(a[k] for k in order) for a in n.attrs)
        return self._new(n, [self.take(i, order) for i in n.ins], attrs, order), order


def layout(graph: Graph) -> Graph:
    """Choose the order in which the axes of values lie in memory."""
    if not any(_is(n, "permute") and prod(n.aval.shape) > 1 for n in graph.nodes):
        return graph
    plan = _Plan(graph)
    return _Rewriter(graph, plan).graph if plan.orders else graph
