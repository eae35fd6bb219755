"""Pieces that are put in their places among zeros and added up become one array joined from them.

That is what the reverse pass makes of a value that was cut along an axis, the gates of a recurrent step or the heads of
an attention: ``update_slice(0, a, …) + update_slice(0, b, …) + …``.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradloom.compiler.passes.clean import rewrite
from gradloom.graph.node import Graph, Node
from gradloom.ops import structure as S

__all__ = ["join"]


def _place(n: Node) -> tuple[int, int, int, Node] | None:
    """A piece among zeros: its axis, where it starts and ends there, and what it is."""
    if n.prim is not S.update_slice or len(n.aval.shape) == 0:
        return None
    base, x = n.ins
    if base.prim is None or base.prim.name != "full" or base.attrs[0] != 0:
        return None
    starts, stops, steps = n.attrs
    cut = [k for k, (a, b, s) in enumerate(zip(starts, stops, n.aval.shape, strict=True)) if (a, b) != (0, s)]
    if len(cut) != 1 or any(s != 1 for s in steps) or x.aval.dtype is not n.aval.dtype:
        return None
    (k,) = cut
    return k, starts[k], stops[k], x


def _join(n: Node, ins: Sequence[Node]) -> Node | None:
    if n.prim is None or n.prim.name != "add" or any(i.aval != ins[0].aval for i in ins):
        return None
    pieces: list[tuple[int, int, int, Node]] = []
    todo = list(ins)
    while todo:
        x = todo.pop()
        if x.prim is not None and x.prim.name == "add" and all(i.aval == x.aval for i in x.ins):
            todo += x.ins
            continue
        piece = _place(x)
        if piece is None or len(pieces) == 32:
            return None
        pieces.append(piece)
    axis = pieces[0][0]
    if any(p[0] != axis for p in pieces):
        return None
    pieces.sort(key=lambda p: p[1])
    ends = [0, *(p[2] for p in pieces)]
    if any(p[1] != e for p, e in zip(pieces, ends, strict=False)) or ends[-1] != n.aval.shape[axis]:
        return None
    return Node(S.cat, [p[3] for p in pieces], (axis,), n.aval)


def join(graph: Graph) -> Graph:
    """Replace sums of pieces among zeros that fill an axis."""
    return rewrite(graph, _join)
