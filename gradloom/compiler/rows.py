"""Bodies of loops taken apart by rows, so that a thread goes through all steps of its rows without meeting others.

In a recurrent layer every row of the batch goes its own way: no step reads another row. Where that holds for a body
(:func:`taken_apart` looks at each instruction), a loop over 32 rows is four loops over 8 rows, at other places of the
same arrays, with a small memory of their own that stays in a core's cache. Two directions in one body hang on each
other as little: what shares neither carries nor computed values is a loop of its own too.

How many rows a piece has follows from the sizes, whether a loop is taken apart also from the number of threads: sums
run in the same order over the same operands either way, and no bit of a result depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradloom.graph.node import Aval, Graph, Node

__all__ = ["Piece", "blocks", "taken_apart"]

ROWS = 8  # that a piece has at least: as many as a register tile takes at its best
PIECES = 32  # more of them level no load
NEAR = 6 << 20  # bytes of captured values above which to read them for eight rows costs more than meeting other threads
THIN = 4  # columns of a product up to which sums may be made in another order for fewer rows


class Piece:
    """What of a body hangs together.

    graph: the body with the outputs of numbers ``outputs``. rows: how many there are; 0 where they do not go their own
    ways. along: for each input whether its first axis is the rows'. captured: bytes that every row needs.
    """

    def __init__(self, whole: Graph, outputs: Sequence[int], carries: int, moving: int) -> None:
        nodes, needed = _reached(whole, outputs)
        self.outputs = tuple(outputs)
        self.graph = Graph(whole.inputs, nodes, [whole.outputs[k] for k in outputs])
        self.used = [id(n) in needed or k in outputs for k, n in enumerate(whole.inputs)]
        self._way = self._rows(carries, moving)
        self.rows = 0 if self._way is None else self._way.rows
        self.along = [self._way is not None and id(n) in self._way.axes for n in whole.inputs]
        rest = zip(whole.inputs[moving:], self.used[moving:], self.along[moving:], strict=True)
        self.captured = sum(n.aval.size * n.aval.dtype.itemsize for n, used, along in rest if used and not along)

    def of(self, rows: int) -> Graph:
        """The graph for so many rows."""
        return self.graph if rows == self.rows or self._way is None else self._way.resized(rows)

    def _rows(self, carries: int, moving: int) -> _Rows | None:
        graph = self.graph
        shapes = [graph.inputs[k].aval.shape for k in self.outputs if k < carries]
        sizes = {s[0] if s else 0 for s in shapes}
        rows = max(sizes, default=0)
        if len(sizes) != 1 or rows < 2 or not all(map(_fixed, graph.nodes)):
            return None
        forced = {
            id(n): 0 for k, n in enumerate(graph.inputs[:moving])
            if self.used[k] and n.aval.shape and n.aval.shape[0] == rows
        }  # fmt: skip
        while True:
            try:
                way = _Rows(graph, rows, forced)
            except _Wanted as w:
                if w.node.prim is None and (w.axis or w.node in graph.inputs[:moving]):
                    return None
                forced[id(w.node)] = w.axis
            except _Mixed:
                return None
            else:
                return way if all(way.axes.get(id(n)) == 0 for n in graph.outputs) else None


def taken_apart(graph: Graph, carries: int, moving: int) -> list[Piece]:
    """The pieces of a body. Its first ``carries`` inputs and outputs are carries; inputs up to ``moving`` move."""
    return [Piece(graph, outputs, carries, moving) for outputs in _components(graph, carries, moving)]


def _fixed(n: Node) -> bool:
    """Whether an instruction's sums, if it makes some, are made in the same order for any number of rows."""
    if n.prim is None or n.prim.kind != "contraction":
        return True
    return n.aval.shape[-1] > THIN and all(i.aval.dtype.code in ("f32", "f64") for i in n.ins)


def blocks(pieces: Sequence[Piece], threads: int) -> list[tuple[int, int, int]]:
    """(piece, first row, rows) of the loops to run beside each other; none where it is better left whole."""
    out = []
    for number, p in enumerate(pieces):
        size = p.rows
        if p.captured <= NEAR:
            size = min(p.rows, ROWS * max(1, math.ceil(p.rows * len(pieces) / (ROWS * PIECES))))
        count = p.rows // size if size else 1  # the last one takes the rest too: a few rows run badly
        out += [(number, k * size, p.rows - k * size if k == count - 1 else size) for k in range(count)]
    return out if len(out) >= max(2, threads) else []


# -- what hangs together ----------------------------------------------------------------------------
def _reached(graph: Graph, outputs: Sequence[int]) -> tuple[list[Node], set[int]]:
    """The instructions that outputs need, in order, and the ids of all nodes that they need."""
    needed = {id(graph.outputs[k]) for k in outputs}
    nodes = []
    for n in reversed(graph.nodes):
        if id(n) in needed:
            nodes.append(n)
            needed.update(map(id, n.ins))
    return nodes[::-1], needed


def _components(graph: Graph, carries: int, moving: int) -> list[list[int]]:
    """Numbers of outputs by what they hang on: two lists share no carry, and nothing that is computed in each step."""
    inputs = {id(n): k for k, n in enumerate(graph.inputs)}
    moved = {id(n) for n in graph.inputs[:moving]}
    for n in graph.nodes:
        if any(id(i) in moved for i in n.ins):
            moved.add(id(n))
    groups: list[tuple[set[int], set[int]]] = []  # outputs; ids of what must not be in two lists
    for k in range(len(graph.outputs)):
        _, needed = _reached(graph, [k])
        mine = {v for v in needed & moved if inputs.get(v, 0) < carries}
        if k < carries:
            mine.add(id(graph.inputs[k]))
        outputs = {k}
        rest = []
        for o, v in groups:
            if v & mine:
                outputs |= o
                mine |= v
            else:
                rest.append((o, v))
        groups = [*rest, (outputs, mine)]
    return sorted(sorted(o) for o, _ in groups)


# -- which axis is that of the rows -------------------------------------------------------------------
class _Mixed(Exception):
    """Rows do not go their own ways."""


class _Wanted(Exception):
    """A captured or made value must have rows along an axis."""

    def __init__(self, node: Node, axis: int) -> None:
        self.node, self.axis = node, axis


class _Rows:
    """The axis of the rows in each value of a graph. axes: by node; values without one are the same for all rows.

    forced: axes of inputs, and of values that are the same for all rows but meet values that have them. Raises _Mixed
    where rows do not go their own ways, and _Wanted where a value must be forced.
    """

    def __init__(self, graph: Graph, rows: int, forced: dict[int, int]) -> None:
        self.graph, self.rows, self.forced = graph, rows, forced
        self.axes: dict[int, int] = {id(n): forced[id(n)] for n in graph.inputs if id(n) in forced}
        for n in graph.nodes:
            axis = self._axis(n)
            if axis is not None:
                if n.aval.shape[axis] != rows or forced.get(id(n), axis) != axis:
                    raise _Mixed
                self.axes[id(n)] = axis

    def _axis(self, n: Node) -> int | None:
        assert n.prim is not None
        found = [self.axes.get(id(i)) for i in n.ins]
        if all(a is None for a in found):
            return self.forced.get(id(n))
        rule = getattr(self, f"_{n.prim.name}", None) or getattr(self, f"_{n.prim.kind}", None)
        if rule is None:
            raise _Mixed
        return rule(n, found)  # type: ignore[no-any-return]

    def _want(self, n: Node, axis: int) -> None:
        """Ask for rows along an axis of a value that has none."""
        if n.prim is None or n.prim.name == "full":
            raise _Wanted(n, axis)
        if n.prim.name != "expand" and n.prim.kind != "elementwise":
            raise _Mixed
        for x in n.ins:
            at = axis - (len(n.aval.shape) - len(x.aval.shape))
            if at >= 0 and x.aval.shape[at] == self.rows:
                self._want(x, at)
        raise _Wanted(n, axis)  # of an expand from one row

    # -- by kind ------------------------------------------------------------------------------------
    def _elementwise(self, n: Node, found: Sequence[int | None]) -> int:
        d = len(n.aval.shape)
        own = {d - len(i.aval.shape) + a for i, a in zip(n.ins, found, strict=True) if a is not None}
        if len(own) != 1:
            raise _Mixed
        (axis,) = own
        for i, a in zip(n.ins, found, strict=True):
            at = axis - (d - len(i.aval.shape))
            if a is None and at >= 0 and i.aval.shape[at] != 1:
                self._want(i, at)
        return axis

    def _reduce(self, n: Node, found: Sequence[int | None]) -> int:
        axes, keep, dtype = n.attrs
        (a,) = found
        assert a is not None
        if a in axes or (n.prim.op in ("sum", "prod") and dtype.category > 1):  # type: ignore[union-attr]
            raise _Mixed  # the order of a sum may hang on how many rows there are
        return a if keep else a - sum(k < a for k in axes)

    def _contraction(self, n: Node, found: Sequence[int | None]) -> int:
        d = len(n.aval.shape)
        a, b = found
        if (a is not None and a < d - 2) or (b is not None and b < d - 2):  # of a batch of products
            axis = a if a is not None else b
            assert axis is not None
            for x, own in zip(n.ins, found, strict=True):
                if own is None:
                    self._want(x, axis)
                elif own != axis:
                    raise _Mixed
            return axis
        if a == d - 2 and b is None:
            return a
        if b == d - 1 and a is None:
            return b
        raise _Mixed

    # -- movement -----------------------------------------------------------------------------------
    def _reshape(self, n: Node, found: Sequence[int | None]) -> int:
        (a,) = found
        before = math.prod(n.ins[0].aval.shape[:a])
        for k, size in enumerate(n.aval.shape):
            if size == self.rows and math.prod(n.aval.shape[:k]) == before:
                return k
        raise _Mixed

    def _permute(self, n: Node, found: Sequence[int | None]) -> int:
        return n.attrs[0].index(found[0])  # type: ignore[no-any-return]

    def _expand(self, n: Node, found: Sequence[int | None]) -> int:
        (a,) = found
        assert a is not None
        return a + len(n.aval.shape) - len(n.ins[0].aval.shape)

    def _slice(self, n: Node, found: Sequence[int | None]) -> int:
        (a,) = found
        assert a is not None
        if any(x[a] != y for x, y in zip(n.attrs, (0, self.rows, 1), strict=True)):
            raise _Mixed
        return a

    def _pad(self, n: Node, found: Sequence[int | None]) -> int:
        (a,) = found
        assert a is not None
        if n.attrs[0][a] or n.attrs[1][a]:
            raise _Mixed
        return a

    def _cat(self, n: Node, found: Sequence[int | None]) -> int:
        (axis,) = n.attrs
        own = {a for a in found if a is not None}
        if len(own) != 1 or axis in own:
            raise _Mixed
        (a,) = own
        for x, known in zip(n.ins, found, strict=True):
            if known is None:
                self._want(x, a)
        return a

    def _update_slice(self, n: Node, found: Sequence[int | None]) -> int:
        own = {a for a in found if a is not None}
        if len(own) != 1:
            raise _Mixed
        (a,) = own
        if any(x[a] != y for x, y in zip(n.attrs, (0, self.rows, 1), strict=True)):
            raise _Mixed
        for x, known in zip(n.ins, found, strict=True):
            if known is None:
                self._want(x, a)
        return a

    def _apart(self, n: Node, found: Sequence[int | None]) -> int | None:
        return found[0]

    # -- another number of rows -----------------------------------------------------------------------
    def resized(self, rows: int) -> Graph:
        """The graph for so many rows."""
        new: dict[int, Node] = {}

        def aval(n: Node) -> Aval:
            axis = self.axes.get(id(n))
            if axis is None:
                return n.aval
            return n.aval._replace(shape=(*n.aval.shape[:axis], rows, *n.aval.shape[axis + 1 :]))

        for n in self.graph.inputs:
            new[id(n)] = Node(None, (), (), aval(n))
        nodes = []
        for n in self.graph.nodes:
            assert n.prim is not None
            attrs, own = n.attrs, aval(n)
            axis = self.axes.get(id(n))
            if axis is not None:
                if n.prim.name in ("reshape", "expand"):
                    attrs = (own.shape,)
                elif n.prim.name == "full":
                    attrs = (attrs[0], own.shape, *attrs[2:])
                elif n.prim.name in ("slice", "update_slice"):
                    stops = (*attrs[1][:axis], rows, *attrs[1][axis + 1 :])
                    attrs = (attrs[0], stops, attrs[2])
            new[id(n)] = Node(n.prim, [new[id(i)] for i in n.ins], attrs, own)
            nodes.append(new[id(n)])
        return Graph([new[id(n)] for n in self.graph.inputs], nodes, [new[id(n)] for n in self.graph.outputs])
