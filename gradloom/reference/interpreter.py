"""Evaluate a program instruction by instruction with each primitive's NumPy reference."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from gradloom.graph.node import Aval, Graph, Node
from gradloom.runtime.buffers import Buffer, allocate, as_numpy

__all__ = ["evaluate", "run_graph"]


def evaluate(node: Node, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The value of one instruction."""
    prim = node.prim
    assert prim is not None
    with np.errstate(all="ignore"):
        return prim.evaluate(arrays, [i.aval for i in node.ins], node.attrs, node.aval)


def run_graph(graph: Graph, pointers: Sequence[int]) -> list[Buffer]:
    """Run a program on inputs at ``pointers``; every output comes in memory of its own."""
    values: dict[int, np.ndarray] = {}
    for node, p in zip(graph.inputs, pointers, strict=True):
        values[id(node)] = _view(p, node.aval)
    for node in graph.nodes:
        values[id(node)] = evaluate(node, [values[id(i)] for i in node.ins])
    out = []
    for node in graph.outputs:
        buf = allocate(max(1, node.aval.size * node.aval.dtype.itemsize))
        as_numpy(buf, node.aval.dtype.numpy, node.aval.shape)[...] = values[id(node)]
        out.append(buf)
    return out


def _view(pointer: int, aval: Aval) -> np.ndarray:
    n = aval.size * aval.dtype.itemsize
    if n == 0:
        return np.zeros(aval.shape, aval.dtype.numpy)
    raw = (ctypes.c_char * n).from_address(pointer)
    flat = np.frombuffer(raw, np.uint8)  # type: ignore[call-overload]
    return flat.view(aval.dtype.numpy).reshape(aval.shape)
