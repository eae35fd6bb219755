"""Constant folding: elementwise instructions on constants, and movement of constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom.compiler.passes.clean import rewrite
from gradloom.compiler.views import MOVES
from gradloom.graph.node import Graph, Node

__all__ = ["fold", "folded"]


def _is_full(n: Node) -> bool:
    return n.prim is not None and n.prim.name == "full"


def folded(n: Node, ins: Sequence[Node]) -> Any:
    """The value of every element of an elementwise instruction on constants."""
    prim = n.prim
    avals = [i.aval for i in ins]
    compute = prim.compute_dtype(avals, n.attrs)  # type: ignore[union-attr]
    with np.errstate(all="ignore"):
        args = [np.full((1,), i.attrs[0], i.attrs[2].numpy) for i in ins]
        keep = getattr(prim, "operands", "promote")
        first = 1 if keep == "tail" else 0
        if keep != "keep":
            args = [a if k < first else a.astype(compute.numpy) for k, a in enumerate(args)]
        if compute.code in ("f16", "bf16"):
            args = [a.astype(np.float32) if a.dtype == compute.numpy else a for a in args]
        return np.asarray(prim.reference(args, n.attrs, n.aval)).reshape(-1)[0].item()  # type: ignore[union-attr]


def _fold(n: Node, ins: Sequence[Node]) -> Node | None:
    prim = n.prim
    assert prim is not None
    if not ins or not all(_is_full(i) for i in ins):
        return None
    full = ins[0].prim
    if prim.kind == "movement" and prim.name in MOVES:
        value = ins[0].attrs[0]
    elif prim.kind == "elementwise":
        value = folded(n, ins)
    else:
        return None
    return Node(full, (), (value, n.aval.shape, n.aval.dtype, n.aval.weak), n.aval)


def fold(graph: Graph) -> Graph:
    """Replace what depends on constants alone by a constant."""
    return rewrite(graph, _fold)
