"""Tables of which a step looks up a few rows: what the gradient does not reach is neither computed nor written.

The gradient of a look-up, ``put(0, u, i)``, is zero in all rows that ``i`` does not name. What is computed from it by
element is, in those rows, what it is at zero: ``p + g * r`` is ``p``, ``s + g * g`` is ``s``, ``where(g != 0, a, b)``
is ``b``. Where an output is an input of the program in all other rows, only the rows named are computed, and written
into it; a sum over all rows adds up those alone. Zero times a number counts as zero: where that number is infinite or
NaN, the other rows stay as they are. What is something else in the other rows (a momentum that decays) is computed
there as before, and reads the gradient through a table of places instead of an array of zeros.

Rows that are named several times are added up first, in their order; each time that they are named computes the same
new row.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradloom import dtypes
from gradloom.compiler.passes.fold import folded
from gradloom.compiler.passes.looked_up import make, replaced
from gradloom.graph.node import Graph, Node
from gradloom.ops import elementwise as E
from gradloom.ops import structure as S
from gradloom.ops.gather import index_put, take, take_put

__all__ = ["update_by_rows"]

LEAST = 256  # rows of a table
FEW = 6  # a table with so many times more rows than are named, or more


def _full(value: float, like: Node, shape: tuple[int, ...] | None = None) -> Node:
    shape = like.aval.shape if shape is None else shape
    return make(S.full, (), (value, shape, like.aval.dtype, like.aval.weak))


def _constant(n: Node | None) -> bool:
    return n is not None and n.prim is S.full


def _is_zero(n: Node | None) -> bool:
    return _constant(n) and n.attrs[0] == 0  # type: ignore[union-attr]


def _alike(a: Node, b: Node) -> bool:
    return a.aval.shape == b.aval.shape and a.aval.dtype is b.aval.dtype


class Named:
    """The rows that an index names, in a table of a height.

    last: for each time that a row is named, the last time that this row is. once: whether this is that time.
    """

    def __init__(self, index: Node, height: int) -> None:
        self.index, self.height, (self.count,) = index, height, index.aval.shape
        self.order = make(S.iota, (), (self.count, dtypes.int32))
        table = make(S.blank, (), (0, (height,), dtypes.int32, False))
        self.last = make(take, (make(take_put, (table, self.order, index), (0, "set")), index), (0,))
        self.once = make(E.eq, (self.order, self.last))

    def rows(self, x: Node) -> Node:
        """The rows of an array, one for each time that it is named."""
        if x.prim is S.full:
            return _full(x.attrs[0], x, (self.count, *x.aval.shape[1:]))
        return make(take, (x, self.index), (0,))

    def alone(self, rows: Node, otherwise: float) -> Node:
        """Rows as they are the last time that they are named, before that a constant."""
        here = make(S.reshape, (self.once,), ((self.count,) + (1,) * (len(rows.aval.shape) - 1),))
        return make(E.where, (here, rows, _full(otherwise, rows)))

    def added(self, rows: Node, room: int = 0) -> Node:
        """The sum of all that goes with a row of the table, where that is named last; ``room`` rows of zeros more."""
        zero = _full(0, rows, (self.count + room, *rows.aval.shape[1:]))
        return make(take_put, (zero, rows, self.last), (0, "add"))

    def read(self, rows: Node) -> Node:
        """The array that they are added up to among zeros, as a look-up in what they add up to."""
        none = make(S.full, (), (self.count, (self.height,), dtypes.int32, False))
        places = make(take_put, (none, self.order, self.index), (0, "set"))
        return make(take, (self.added(rows, 1), places), (0,))


class _Pass:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.named: dict[tuple[int, int], Named] = {}
        self.joined: dict[tuple[Named, Named], Named] = {}  # of both
        self.of: dict[int, Named] = {}  # by instruction: the rows it differs in from what it is otherwise
        self.otherwise: dict[int, Node | None] = {}  # that, where it can be told
        self.updates: dict[int, Node] = {}  # of arrays of zeros to which rows are added
        self.known: dict[int, Node] = {}  # instructions in the rows named
        self.new: dict[int, Node] = {}

    # -- what there is --------------------------------------------------------------------------------
    def _names(self, index: Node, height: int) -> Named | None:
        while index.prim is S.reshape:
            index = index.ins[0]
        count = index.aval.size
        if not 0 < count * FEW <= height:
            return None
        key = (id(index), height)
        if key not in self.named:
            self.named[key] = Named(make(S.reshape, (index,), ((count,),)), height)
        return self.named[key]

    def _source(self, n: Node, named: Named, updates: Node) -> None:
        self.of[id(n)], self.otherwise[id(n)] = named, _full(0, n)
        self.updates[id(n)] = make(S.reshape, (updates,), ((named.count, *n.aval.shape[1:]),))

    def walk(self) -> None:
        """Find what differs from zero, or from something else, in a few rows only."""
        for n in self.graph.nodes:
            assert n.prim is not None
            if n.prim in (take_put, index_put):
                base, updates, index, *more = n.ins
                rows = n.prim.gather.of_rows(len(n.aval.shape), n.attrs[:-1])  # type: ignore[attr-defined]
                if rows and not more and n.attrs[-1] == "add" and _is_zero(base) and n.aval.shape[0] >= LEAST:
                    named = self._names(index, n.aval.shape[0])
                    if named is not None:
                        self._source(n, named, updates)
            elif any(id(i) in self.of for i in n.ins):
                if n.prim.kind == "elementwise":
                    self._elementwise(n)
                elif n.prim.kind == "reduce":
                    self._reduce(n)
                elif n.prim is S.expand and len(n.aval.shape) == len(n.ins[0].aval.shape):
                    self._follow(n, n.ins, self._expanded(n))
                elif n.prim is take and n.attrs == (0,) and id(n.ins[0]) in self.of:
                    self._looked_up(n)

    def _follow(self, n: Node, ins: Sequence[Node], otherwise: Node | None) -> None:
        named = next(self.of[id(i)] for i in ins if id(i) in self.of)
        self.of[id(n)], self.otherwise[id(n)] = named, otherwise

    def _expanded(self, n: Node) -> Node | None:
        before = self.otherwise[id(n.ins[0])]
        return _full(before.attrs[0], n) if _constant(before) else None  # type: ignore[union-attr]

    def _elementwise(self, n: Node) -> None:
        names = {self.of[id(i)] for i in n.ins if id(i) in self.of}
        height, rank = next(iter(names)).height, len(n.aval.shape)
        for i in n.ins:
            long = len(i.aval.shape) == rank and i.aval.shape[0] == height
            if not long and (id(i) in self.of or (len(i.aval.shape) == rank and i.aval.shape[0] != 1)):
                return
        if len(names) == 1:
            self._follow(n, n.ins, self._at_rest(n))
        elif n.prim is E.add and all(id(i) in self.of and _is_zero(self.otherwise[id(i)]) for i in n.ins):
            a, b = (self.of[id(i)] for i in n.ins)
            if (a.count + b.count) * FEW <= height and all(_alike(i, n) for i in n.ins):
                if (a, b) not in self.joined:
                    parts = [make(E.cast, (x.index,), (dtypes.int64,)) for x in (a, b)]
                    self.joined[a, b] = Named(make(S.cat, parts, (0,)), height)
                self._source(n, self.joined[a, b], make(S.cat, [self._alone(i) for i in n.ins], (0,)))

    def _alone(self, n: Node) -> Node:
        """Rows that add up to those of ``n``."""
        return self.updates.get(id(n)) or self.of[id(n)].alone(self.rows(n), 0)

    def _at_rest(self, n: Node) -> Node | None:
        """What ``n`` is in the rows that are not named; None where that is computed there."""
        ins = [self.otherwise[id(i)] if id(i) in self.of else i for i in n.ins]
        got: Node | None = None
        if n.prim is E.mul and any(map(_is_zero, ins)):
            return _full(0, n)
        if n.prim is E.div and _is_zero(ins[0]) and not _is_zero(ins[1]):
            return _full(0, n)
        if n.prim is E.where and _constant(ins[0]):
            got = ins[1] if ins[0].attrs[0] else ins[2]  # type: ignore[union-attr]
        elif n.prim is E.add and any(map(_is_zero, ins)):
            got = ins[1] if _is_zero(ins[0]) else ins[0]
        elif n.prim is E.sub and _is_zero(ins[1]):
            got = ins[0]
        if got is not None and _constant(got):
            return _full(got.attrs[0], n) if got.aval.dtype is n.aval.dtype else None
        if got is not None:
            return got if _alike(got, n) else None
        return _full(folded(n, ins), n) if all(map(_constant, ins)) else None  # type: ignore[arg-type]

    def _looked_up(self, n: Node) -> None:
        x, index = n.ins
        named = self.of[id(x)]
        if self._names(index, named.height) is named:
            self.new[id(n)] = make(S.reshape, (self.rows(x),), (n.aval.shape,))

    def _reduce(self, n: Node) -> None:
        axes, _, _ = n.attrs
        (x,) = n.ins
        rest, named = self.otherwise[id(x)], self.of[id(x)]
        value = rest.attrs[0] if _constant(rest) else None  # type: ignore[union-attr]
        fixed = {"sum": (0,), "prod": (0, 1), "any": (0, 1), "all": (0, 1)}.get(n.prim.name)  # type: ignore[union-attr]
        settled = value is not None and (fixed is None or value in fixed)
        if 0 not in axes:
            self._follow(n, n.ins, _full(value, n) if settled else None)  # type: ignore[arg-type]
            return
        neutral = {"sum": 0, "prod": 1, "any": 0, "all": 1}.get(n.prim.name)  # type: ignore[union-attr]
        if value is None or (neutral is not None and value != neutral):
            return
        got = make(n.prim, (named.alone(self.rows(x), value),), n.attrs)
        if neutral is None:  # an extreme, and there are rows that are not named
            got = make({"amax": E.maximum, "amin": E.minimum}[n.prim.name], (got, _full(value, got)))  # type: ignore[union-attr]
        self.new[id(n)] = got

    # -- the rows named -------------------------------------------------------------------------------
    def rows(self, n: Node) -> Node:
        """An instruction in the rows named, one for each time that they are."""
        todo = [n]
        while todo:
            x = todo[-1]
            missing = (
                [] if id(x) in self.updates else [i for i in x.ins if id(i) in self.of and id(i) not in self.known]
            )
            if id(x) in self.known or not missing:
                todo.pop()
                if id(x) not in self.known:
                    self.known[id(x)] = self._row(x)
            else:
                todo += missing
        return self.known[id(n)]

    def _row(self, n: Node) -> Node:
        named = self.of[id(n)]
        if id(n) in self.updates:
            return make(take, (named.added(self.updates[id(n)]), named.last), (0,))
        ins = []
        for i in n.ins:
            if id(i) in self.of:
                ins.append(self.known[id(i)])
            else:
                long = len(i.aval.shape) == len(n.aval.shape) and i.aval.shape[0] == named.height
                ins.append(named.rows(i) if long else i)
        attrs = ((named.count, *n.aval.shape[1:]),) if n.prim is S.expand else n.attrs
        return make(n.prim, ins, attrs)

    # -- what becomes of it ---------------------------------------------------------------------------
    def result(self) -> Graph:
        """The program by rows."""
        inputs = set(map(id, self.graph.inputs))
        for n in self.graph.outputs:
            base = self.otherwise.get(id(n))
            if base is not None and id(base) in inputs:
                named = self.of[id(n)]
                self.new[id(n)] = make(take_put, (base, self.rows(n), named.index), (0, "set"))
        for n in reversed(self.graph.nodes):
            if id(n) in self.updates:
                self._read(n)
        return replaced(self.graph, self.new) if self.new else self.graph

    def _read(self, n: Node) -> None:
        """An array of zeros with a few rows that is still read element by element: it is looked up instead."""
        wanted = self._wanted()
        if id(n) not in wanted:
            return
        named, updates = self.of[id(n)], self.updates[id(n)]
        if not any(n is x for x in self.graph.outputs):
            self.new[id(n)] = named.read(updates)
        elif n.prim is E.add:
            self.new[id(n)] = make(take_put, (_full(0, n), updates, named.index), (0, "add"))

    def _wanted(self) -> set[int]:
        """The instructions that the outputs still need."""
        seen: set[int] = set()
        todo = list(self.graph.outputs)
        while todo:
            n = todo.pop()
            if id(n) not in seen:
                seen.add(id(n))
                todo += self.new.get(id(n), n).ins
        return seen


def update_by_rows(graph: Graph) -> Graph:
    """Compute and write only the rows of large tables that a step names."""
    if not any(n.prim is take_put or n.prim is index_put for n in graph.nodes):
        return graph
    by_rows = _Pass(graph)
    by_rows.walk()
    return by_rows.result() if by_rows.of else graph
