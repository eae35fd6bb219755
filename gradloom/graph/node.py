"""Programs in static single assignment form: what a value is, what an instruction is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gradloom.dtypes import DType

if TYPE_CHECKING:
    from gradloom.ops.core import Primitive

__all__ = ["Aval", "Graph", "Node", "check", "show"]


class Aval(NamedTuple):
    """What is known of a value before it is computed.

    weak: the value came from a Python number and yields to tensors in promotion.
    """

    shape: tuple[int, ...]
    dtype: DType
    weak: bool = False

    @property
    def rank(self) -> int:
        """Its rank in promotion: 0 Python number, 1 0-d tensor, 2 tensor with dimensions."""
        return 0 if self.weak else 1 if not self.shape else 2

    @property
    def size(self) -> int:
        """Number of elements."""
        n = 1
        for s in self.shape:
            n *= s
        return n


class Node:
    """An instruction. ``prim`` is None for an input of the program."""

    __slots__ = ("attrs", "aval", "ins", "prim")

    def __init__(self, prim: Primitive | None, ins: Sequence[Node], attrs: tuple, aval: Aval) -> None:
        self.prim, self.ins, self.attrs, self.aval = prim, tuple(ins), attrs, aval


class Graph:
    """A program: inputs, instructions in order, outputs, and which output may take which input's memory."""

    def __init__(
        self, inputs: list[Node], nodes: list[Node], outputs: list[Node], donate: dict[int, int] | None = None
    ) -> None:
        self.inputs, self.nodes, self.outputs = inputs, nodes, outputs
        self.donate = donate or {}


def show(graph: Graph) -> str:
    """The program in readable lines."""
    names: dict[int, str] = {id(n): f"in{k}" for k, n in enumerate(graph.inputs)}
    lines = [f"{names[id(n)]}: {n.aval.dtype.name}{list(n.aval.shape)}" for n in graph.inputs]
    for k, n in enumerate(graph.nodes):
        names[id(n)] = f"%{k}"
        args = [names[id(i)] for i in n.ins] + [_short(a) for a in n.attrs]
        name = n.prim.name if n.prim else "input"
        lines.append(f"%{k} = {name}({', '.join(args)}): {n.aval.dtype.name}{list(n.aval.shape)}")
    lines.append("return " + ", ".join(names[id(n)] for n in graph.outputs))
    return "\n".join(lines)


def _short(a: Any) -> str:
    text = repr(a)
    return text if len(text) <= 40 else text[:37] + "..."


def check(graph: Graph) -> None:
    """Raise ValueError where a graph is not legal: uses before definitions, avals that the shape rule denies."""
    seen = {id(n) for n in graph.inputs}
    for n in graph.nodes:
        if n.prim is None:
            raise ValueError("an input stands among the instructions")
        for i in n.ins:
            if id(i) not in seen:
                raise ValueError(f"{n.prim.name} uses a value that is not computed yet")
        got = n.prim.infer([i.aval for i in n.ins], n.attrs)
        if got.shape != n.aval.shape or got.dtype is not n.aval.dtype:
            raise ValueError(f"{n.prim.name}: declared {n.aval}, its shape rule says {got}")
        seen.add(id(n))
    for n in graph.outputs:
        if id(n) not in seen:
            raise ValueError("an output is never computed")
