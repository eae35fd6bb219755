"""Products of rows that are looked up in a short table: the table is multiplied, and the products are looked up.

A text of characters looks some dozens of rows up thousands of times. ``take(E, i) @ W`` is ``take(E @ W, i)``; where
``S`` adds up rows of ``D`` that go with one row of the table, ``take(E, i)^T @ D`` is ``E^T @ S``, and the table's own
gradient, rows of ``D @ W`` added up, is ``S @ W``. Between the look-up and the product rows may be moved about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from gradloom.compiler.passes.flatten import complete
from gradloom.graph.node import Graph, Node
from gradloom.ops import structure as S
from gradloom.ops.gather import scale_gradient, take, take_put

__all__ = ["look_up_products", "make", "replaced"]

SHORT = 2  # a table with so many times fewer rows than are looked up
WIDE = 32  # least features of a row for which that pays


def make(prim: object, ins: Sequence[Node], attrs: tuple = ()) -> Node:
    """An instruction, its result as the primitive's rule says."""
    return Node(prim, ins, attrs, prim.infer([i.aval for i in ins], attrs))  # type: ignore[arg-type, attr-defined]


def _keeps_rows(n: Node) -> bool:
    """Whether an instruction only moves whole rows, the entries of the last axis, about."""
    before, after = n.ins[0].aval.shape if n.ins else (), n.aval.shape
    if n.prim is S.permute:
        return bool(n.attrs[0]) and n.attrs[0][-1] == len(n.attrs[0]) - 1
    return n.prim is S.reshape and bool(before) and bool(after) and before[-1] == after[-1]


def _moved(index: Node, ways: Sequence[Node]) -> Node:
    """Indices moved about as the rows are."""
    for n in ways:
        attrs = (n.attrs[0][:-1],) if n.prim is S.permute else (n.aval.shape[:-1],)
        index = make(n.prim, (index,), attrs)
    return index


def _moved_back(index: Node, ways: Sequence[Node]) -> Node:
    """Indices of moved rows as those of the rows before."""
    for n in reversed(ways):
        if n.prim is S.permute:
            order = n.attrs[0][:-1]
            index = make(S.permute, (index,), (tuple(order.index(k) for k in range(len(order))),))
        else:
            index = make(S.reshape, (index,), (n.ins[0].aval.shape[:-1],))
    return index


def _table(x: Node) -> tuple[Node, Node] | None:
    """The table and the indices (rows,) of a matrix of rows that are looked up; None where there are too many."""
    if len(x.aval.shape) != 2 or x.aval.shape[1] < WIDE:
        return None
    ways: list[Node] = []
    while True:
        if x.prim is scale_gradient and x.ins[0].aval.shape == x.aval.shape:
            x = x.ins[0]
        elif _keeps_rows(x):
            ways.append(x)
            x = x.ins[0]
        else:
            break
    if x.prim is not take or x.attrs != (0,) or len(x.ins[0].aval.shape) != 2:
        return None
    table, index = x.ins
    if table.aval.shape[0] * SHORT > index.aval.size:
        return None
    return table, _moved(index, ways[::-1])


def _added_up(rows: Node, index: Node, height: int) -> Node:
    """Rows added up by the row of the table that they go with."""
    zero = make(S.full, (), (0.0, (height, rows.aval.shape[1]), rows.aval.dtype, False))
    return make(take_put, (zero, rows, index), (0, "add"))


def _turned(x: Node) -> Node | None:
    """What a transposed matrix is the transpose of."""
    return x.ins[0] if x.prim is S.permute and x.attrs[0] == (1, 0) else None


def _product(n: Node) -> Node | None:
    a, b = n.ins
    if len(n.aval.shape) != 2 or any(x.aval.dtype is not n.aval.dtype for x in (a, b)):
        return None
    found = _table(a)
    if found is not None:
        table, index = found
        return make(take, (make(S.dot, (table, b)), index), (0,))
    under = _turned(a)
    found = None if under is None else _table(under)
    if found is not None and b.aval.shape[1] >= WIDE:
        table, index = found
        return make(S.dot, (make(S.permute, (table,), ((1, 0),)), _added_up(b, index, table.aval.shape[0])))
    found, rows = _table(b), _turned(a)
    if found is None or n.aval.shape[0] < WIDE:
        return None
    table, index = found
    rows = make(S.permute, (a,), ((1, 0),)) if rows is None else rows
    return make(S.dot, (make(S.permute, (_added_up(rows, index, table.aval.shape[0]),), ((1, 0),)), table))


def _gradient(n: Node, uses: Counter[int]) -> Node | None:
    base, rows, index = n.ins
    if n.attrs != (0, "add") or len(base.aval.shape) != 2 or base.prim is not S.full or base.attrs[0] != 0:
        return None
    ways: list[Node] = []
    while _keeps_rows(rows) and uses[id(rows)] == 1:
        ways.append(rows)
        rows = rows.ins[0]
    if rows.prim is not S.dot or len(rows.aval.shape) != 2 or uses[id(rows)] != 1:
        return None
    d, w = rows.ins
    height = base.aval.shape[0]
    if height * SHORT > rows.aval.shape[0] or min(d.aval.shape[1], w.aval.shape[1]) < WIDE:
        return None
    if any(x.aval.dtype is not n.aval.dtype for x in (d, w)):
        return None
    return make(S.dot, (_added_up(d, _moved_back(index, ways[::-1]), height), w))


def look_up_products(graph: Graph) -> Graph:
    """Multiply short tables instead of what is looked up in them."""
    if not any(n.prim is take or n.prim is take_put for n in graph.nodes):
        return graph
    uses = Counter(id(x) for n in graph.nodes for x in n.ins)
    uses.update(map(id, graph.outputs))
    new: dict[int, Node] = {}
    for n in graph.nodes:
        got = _product(n) if n.prim is S.dot else _gradient(n, uses) if n.prim is take_put else None
        if got is not None:
            new[id(n)] = got
    return replaced(graph, new) if new else graph


def replaced(graph: Graph, new: dict[int, Node]) -> Graph:
    """The program with others in the place of some instructions; operands of those are still old ones."""
    done: dict[int, Node] = {id(n): n for n in graph.inputs}
    for root in graph.outputs:
        todo = [root]
        while todo:
            n = todo[-1]
            source = new.get(id(n), n)
            missing = [i for i in source.ins if id(i) not in done]
            if id(n) not in done and not missing:
                ins = [done[id(i)] for i in source.ins]
                same = all(a is b for a, b in zip(ins, source.ins, strict=True))
                done[id(n)] = source if same else Node(source.prim, ins, source.attrs, source.aval)
            if id(n) in done:
                todo.pop()
            else:
                todo += missing
    outputs = [done[id(n)] for n in graph.outputs]
    return complete(Graph(graph.inputs, [], outputs, graph.donate))
