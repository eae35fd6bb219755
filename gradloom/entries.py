"""What the tape is made of: modes, recorded steps, what handles point to, closed rounds and their programs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from gradloom.graph.node import Aval, Graph

if TYPE_CHECKING:
    from gradloom.runtime.buffers import Buffer

__all__ = ["LEAF", "MODES", "SCALAR", "Entry", "Program", "Record", "Value", "describe", "why"]


class Modes(threading.local):
    """What is asked of the calls of a thread; each thread begins with gradients, and without casts."""

    grad = True  # whether what is recorded can be differentiated
    inference = False  # inside of inference_mode
    autocast: Any = None  # inside of amp.autocast: what casts the operands of products and losses


MODES = Modes()


class Entry:
    """One recorded step, shared by every round that comes by."""

    __slots__ = (
        "abstract", "asked", "attrs", "aval", "branches", "closed", "depth", "end", "grad_mode", "ingredients",
        "inputs", "ins", "leaf", "leaves", "needs", "next", "outs", "parent", "prim", "programs", "rg", "segment",
        "sources", "zero",
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
        self.asked: tuple[Entry, ...] = ()  # of a round that ends here: what a backward pass computed again later
        self.sources: dict[tuple, list[Entry]] | None = None  # cache: what a later round computes this from again
        self.end: Entry | None = None  # composites: the last entry inside
        self.outs: Any = None
        self.segment: Entry | None = None  # the checkpoint that it belongs to: computed again where a gradient needs it
        self.leaves: list[int] | None = None  # cache: leaves that a gradient reaches
        self.ingredients: tuple[Entry, ...] | None = None  # cache: what a value of few rows is computed from
        self.closed: frozenset[Entry] | None = None  # cache: what a gradient of this passes through
        self.needs: dict[tuple[Entry, ...] | None, frozenset[Entry]] | None = None  # cache: of that, what needs values

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

    def saving(self, ends: tuple[Entry, ...] | None = None) -> frozenset[Entry]:
        """Those of them whose rules need values; with ``ends`` those that a gradient by these passes through alone."""
        if self.needs is None:
            self.needs = {}
        found = self.needs.get(ends)
        if found is None:
            path = self.through()
            if ends is not None:
                known, ordered = set(ends), sorted(path, key=lambda x: x.depth)
                leads: set[Entry] = set()
                for x in ordered:
                    if any(i in known or i in leads for i in x.ins):
                        leads.add(x)
                path = frozenset(leads)
            found = self.needs[ends] = frozenset(x for x in path if _saves(x))
        return found


def _saves(e: Entry) -> bool:
    rule = getattr(e.prim, "saves", True)
    return rule if type(rule) is bool else rule(e)


class Value:
    """What a handle points to: an entry of the present round, or memory. ``hist`` leads to its gradient."""

    __slots__ = ("__weakref__", "aval", "buf", "entry", "hist")

    def __init__(self, aval: Aval, entry: Entry | None = None, buf: Buffer | None = None) -> None:
        self.aval, self.entry, self.buf = aval, entry, buf
        self.hist: tuple[Record, Entry] | None = None


class Record:
    """What remains of a closed round for those who may still differentiate it: its inputs, its last entry.

    kept: values of steps that are not computed again. pulled: the entries whose values backward passes did not
    retain, by pass; None: nothing here can be differentiated.
    """

    __slots__ = ("end", "kept", "leaves", "pulled", "scalars", "tensors")

    def __init__(self, leaves: list[Value | None], tensors: list[Any], scalars: dict[int, Any], end: Entry) -> None:
        self.leaves, self.tensors, self.scalars, self.end = leaves, tensors, scalars, end
        self.kept: dict[Entry, Value] = {}
        self.pulled: list[frozenset[Entry]] | None = []

    def freed(self, e: Entry) -> bool:
        """Whether a gradient of this entry would pass through what a backward pass has freed."""
        if not self.pulled:
            return self.pulled is None
        path = e.saving()
        return any(not path.isdisjoint(p) for p in self.pulled)


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


def describe(e: Entry) -> str:
    """A step in a few words."""
    name = getattr(e.prim, "name", None) or getattr(e.prim, "__qualname__", None) or "composite"
    if e.aval is not None:
        return f"{name} -> {e.aval.dtype.name}{list(e.aval.shape)}"
    return str(name)


def why(path: list[Entry]) -> str:
    """Where the path of a round left those already known."""
    for e in path:
        p = e.parent
        assert p is not None
        if p.branches is not None and len(p.branches) > 1 and p.depth > 0:
            others = [o for o in p.branches.values() if o is not e]
            return f"{len(path)} steps; step {e.depth} is {describe(e)}, seen before at this place: " + "; ".join(
                describe(o) for o in others[-3:]
            )
    return f"{len(path)} steps; first time, or another set of values alive at its end"


class _Leaf:
    """Stands for the primitive of an input."""

    name = "leaf"
    vjp = None


class _Scalar:
    """Stands for the primitive of a Python number."""

    name = "scalar"
    vjp = None


LEAF, SCALAR = _Leaf(), _Scalar()
