"""What the tape is made of: recorded steps, what handles point to, closed rounds and their programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradloom.graph.node import Aval, Graph

if TYPE_CHECKING:
    from gradloom.runtime.buffers import Buffer

__all__ = ["LEAF", "SCALAR", "Entry", "Program", "Record", "Value"]


class Entry:
    """One recorded step, shared by every round that comes by."""

    __slots__ = (
        "abstract", "attrs", "aval", "branches", "closed", "depth", "end", "grad_mode", "inputs", "ins", "leaf",
        "leaves", "next", "outs", "parent", "prim", "programs", "rg", "segment", "zero",
    )  # fmt: skip

    def __init__(
        self, parent: Entry | None, prim: Any, ins: list[Entry], attrs: tuple, aval: Aval | None, rg: bool, gm: bool
    ) -> None:
        self.parent, self.prim, self.ins, self.attrs, self.aval = parent, prim, ins, attrs, aval
        self.rg, self.grad_mode = rg, gm
        self.zero = any(type(a) is float and a == 0 for a in attrs)  # equal attributes may differ in its sign
        # hangs on a placeholder of a function that is being recorded: it has no value
        self.abstract: bool = getattr(prim, "placeholder", False) or any(i.abstract for i in ins)
        self.depth: int = parent.depth + 1 if parent is not None else 0
        self.next: Entry | None = None
        self.branches: dict[tuple, Entry] | None = None
        self.programs: dict[tuple, tuple[Program, list[int] | None, tuple]] | None = None
        before = parent.inputs if parent is not None else 0
        self.leaf = before if prim is LEAF or prim is SCALAR else -1  # number of the input
        self.inputs: int = before + (self.leaf >= 0)  # inputs of a round that has come to this entry
        self.end: Entry | None = None  # composites: the last entry inside
        self.outs: Any = None
        self.segment: Entry | None = None  # the checkpoint that it belongs to: computed again where a gradient needs it
        self.leaves: list[int] | None = None  # cache: leaves that a gradient reaches
        self.closed: frozenset[Entry] | None = None  # cache: what a gradient of this passes through

    def through(self) -> frozenset[Entry]:
        """The entries, inputs excepted, that a gradient of this one passes through."""
        if self.closed is None:
            seen: set[Entry] = set()
            todo = [self]
            while todo:
                x = todo.pop()
                if x not in seen and x.rg and x.prim is not LEAF:
                    seen.add(x)
                    todo.extend(x.ins)
            self.closed = frozenset(seen)
        return self.closed


class Value:
    """What a handle points to: an entry of the present round, or memory. ``hist`` leads to its gradient."""

    __slots__ = ("__weakref__", "aval", "buf", "entry", "hist")

    def __init__(self, aval: Aval, entry: Entry | None = None, buf: Buffer | None = None) -> None:
        self.aval, self.entry, self.buf = aval, entry, buf
        self.hist: tuple[Record, Entry] | None = None


class Record:
    """What remains of a closed round for those who may still differentiate it: its inputs."""

    __slots__ = ("freed", "leaves", "scalars", "tensors")

    def __init__(self, leaves: list[Value | None], tensors: list[Any], scalars: dict[int, Any]) -> None:
        self.leaves, self.tensors, self.scalars = leaves, tensors, scalars
        self.freed = False


class Program:
    """A compiled round."""

    __slots__ = (
        "checks", "exe", "float_mem", "floats", "graph", "lasting", "outputs", "pointers", "runs", "whole", "whole_mem",
        "why",
    )  # fmt: skip

    checks: list[Entry]
    exe: Any
    graph: Graph
    outputs: int
    pointers: dict[int, int]
    floats: list[int]  # inputs that are Python floats, and where they are written
    float_mem: Any
    whole: list[int]  # likewise integers and truth values
    whole_mem: Any
    why: str

    def __init__(self) -> None:
        self.runs = 0
        self.lasting: list[int] = []  # inputs that are parameters or buffers of modules, where it writes none


class _Leaf:
    """Stands for the primitive of an input."""

    name = "leaf"
    vjp = None


class _Scalar:
    """Stands for the primitive of a Python number."""

    name = "scalar"
    vjp = None


LEAF, SCALAR = _Leaf(), _Scalar()
