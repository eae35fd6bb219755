"""Bodies of loops and branches: a recorded function as a value of its own, compiled once and called from programs.

Two recordings alike are one body, found by their structure, so a loop of another length compiles nothing. What a
function reads besides its arguments, and what does not hang on them, is computed outside and handed in: *captured*.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.autodiff.levels import PLACEHOLDER
from gradloom.autodiff.vmap import Trace
from gradloom.entries import Entry
from gradloom.errors import IndexRangeError, NotSupportedError
from gradloom.graph.node import Aval, Graph, Node
from gradloom.ops import elementwise as E
from gradloom.ops.batching import is_random
from gradloom.runtime.buffers import as_numpy
from gradloom.tape import MODES, TAPE
from gradloom.tensor import Tensor

__all__ = ["Body", "record"]

STRIDE = 1 << 32  # between the random streams of two steps


class Body:
    """A function of arrays: steps over inputs, and which values it gives.

    steps: (primitive, operands, attrs, aval, grad mode); operands and outputs count inputs first, then steps.
    derived: what others have made of it, so that a loop of another length finds it.
    """

    known: dict[tuple, Body] = {}
    compiled = 0

    def __init__(self, inputs: tuple[Aval, ...], steps: tuple, outputs: tuple[int, ...], checks: tuple) -> None:
        self.inputs, self.steps, self.outputs, self.checks = inputs, steps, outputs, checks
        self._exe: Any = None
        self._inner: dict[int, Any] = {}
        self.derived: dict[tuple, Any] = {}
        self._graph: Graph | None = None

    @staticmethod
    def of(inputs: Sequence[Aval], steps: Sequence[tuple], outputs: Sequence[int], checks: Sequence[tuple]) -> Body:
        """The body of this structure."""
        exact = tuple((p, i, tuple((type(a), repr(a) if isinstance(a, float) else a) for a in t), v, g)
                      for p, i, t, v, g in steps)  # fmt: skip
        key = (tuple(inputs), exact, tuple(outputs), tuple(checks))
        found = Body.known.get(key)
        if found is None:
            if len(Body.known) > 1024:
                Body.known.clear()
            found = Body.known[key] = Body(tuple(inputs), tuple(steps), tuple(outputs), tuple(checks))
        return found

    def aval(self, k: int) -> Aval:
        """Of an input or step."""
        return self.inputs[k] if k < len(self.inputs) else self.steps[k - len(self.inputs)][3]

    @property
    def avals(self) -> list[Aval]:
        """Of the outputs."""
        return [Aval(a.shape, a.dtype) for a in map(self.aval, self.outputs)]

    def graph(self) -> Graph:
        """The body as a program: outputs, then flags that tell of an index out of range."""
        if self._graph is None:
            values = [Node(None, (), (), a) for a in self.inputs]
            inputs, nodes = list(values), []
            wanted = [*self.outputs, *(c[0] for c in self.checks)]
            needed = set(wanted)
            base = len(inputs)
            for k in range(len(self.steps) - 1, -1, -1):
                if base + k in needed:
                    prim, ins = self.steps[k][:2]
                    needed.update(ins[:1] if prim.alias else ins)
            for k, (prim, ins, attrs, aval, _) in enumerate(self.steps):
                if base + k not in needed:
                    values.append(None)  # type: ignore[arg-type]
                elif prim.alias:
                    values.append(values[ins[0]])
                else:
                    node = Node(prim, [values[i] for i in ins], attrs, aval)
                    values.append(node)
                    nodes.append(node)
            self._graph = Graph(inputs, nodes, [values[k] for k in wanted])
        return self._graph

    def compiled_for(self, captured: int) -> Any:
        """The body compiled for a native loop in which inputs from ``captured`` on stay the same; None: it cannot."""
        if captured not in self._inner:
            from gradloom.compiler.pipeline import compile_body

            Body.compiled += 1
            self._inner[captured] = compile_body(self.graph(), captured)
        return self._inner[captured]

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The values for contiguous arrays."""
        held = [
            np.asarray(a, v.dtype.numpy) if a.dtype != v.dtype.numpy else a
            for a, v in zip(arrays, self.inputs, strict=True)
        ]
        pointers = [a.ctypes.data for a in held]
        graph = self.graph()
        if TAPE.target == "reference":
            from gradloom.reference.interpreter import run_graph

            buffers: Any = run_graph(graph, pointers)
        else:
            if self._exe is None:
                from gradloom.compiler.pipeline import compile_graph

                Body.compiled += 1
                self._exe = compile_graph(graph)
            buffers = self._exe.run(pointers)
        n = len(self.outputs)
        for (_, attrs), flag in zip(self.checks, buffers[n:], strict=True):
            if ctypes.c_uint8.from_address(flag.ptr).value:
                code, low, high, what = attrs[:4]
                raise IndexRangeError(f"{what} out of range in a loop, expected {low} <= {what} < {high}", code=code)
        return [
            as_numpy(b, node.aval.dtype.numpy, node.aval.shape)
            for b, node in zip(buffers[:n], graph.outputs, strict=False)
        ]

    def call(self, args: Sequence[Tensor]) -> list[Tensor]:
        """The same recorded on the tape, differentiable."""
        values: list[Any] = list(args)
        mode = MODES.grad
        try:
            for prim, ins, attrs, _, grad_mode in self.steps:
                MODES.grad = mode and grad_mode
                values.append(TAPE.apply(prim, [values[i] for i in ins], attrs))
        finally:
            MODES.grad = mode
        return [values[k] for k in self.outputs]


def record(trace: Trace, outs: Sequence[Tensor], counter: int | None = None) -> tuple[Body, list[Tensor]]:
    """The body that a trace recorded, and the tensors that it captured: its inputs behind the trace's own.

    counter: the number of the trace's input that counts the steps, for random numbers that differ from step to step;
    without one they are drawn outside where they hang on nothing inside.
    """
    steps = trace.steps()
    number = {id(p._v.entry): k for k, p in enumerate(trace.ins)}
    ours = set(number)
    foreign: set[int] = set()
    hanging: set[int] = set(ours)
    needed = {id(o._v.entry) for o in outs}
    checks: list[Entry] = []
    for e in steps:
        if e.aval is None:
            continue
        drawn = getattr(e.prim, "kind", "") == "create" or (is_random(e.prim) and counter is not None)
        if e.prim is PLACEHOLDER or any(id(i) in foreign for i in e.ins):
            foreign.add(id(e))
        elif drawn or any(id(i) in hanging for i in e.ins):
            hanging.add(id(e))
            if getattr(e.prim, "is_check", False):
                checks.append(e)
                needed.update(id(i) for i in e.ins[:1])
    for e in reversed(steps):
        if id(e) in needed:
            needed.update(map(id, e.ins))
    body = [e for e in steps if id(e) in needed and id(e) in hanging and not getattr(e.prim, "is_check", False)]
    captured: list[Entry] = []
    for i in [*(i for x in body for i in x.ins), *(o._v.entry for o in outs), *(c.ins[0] for c in checks)]:
        assert i is not None
        if id(i) not in hanging and id(i) not in number:
            number[id(i)] = len(trace.ins) + len(captured)
            captured.append(i)
    inputs = [*(p._v.aval for p in trace.ins), *(e.aval for e in captured)]
    made: list[tuple] = []

    def add(prim: Any, ins: Sequence[int], attrs: tuple, aval: Aval, mode: bool) -> int:
        made.append((prim, tuple(ins), attrs, aval, mode))
        return len(inputs) + len(made) - 1

    for e in body:
        ins = [number[id(i)] for i in e.ins]
        assert e.aval is not None
        if is_random(e.prim) and counter is not None:
            stream = Aval((), dtypes.int64)
            ins[1] = add(E.add, [ins[1], counter], (), stream, False)
        number[id(e)] = add(e.prim, ins, e.attrs, e.aval, e.grad_mode)
    flags = [(number[id(c.ins[0])], c.attrs) for c in checks]
    made_body = Body.of(inputs, made, [number[id(o._v.entry)] for o in outs], flags)  # type: ignore[arg-type]
    return made_body, [TAPE.handle(e) for e in captured]


def draws(trace: Trace) -> bool:
    """Whether the function draws random numbers."""
    return any(is_random(e.prim) for e in trace.steps())


def refuse_draws(trace: Trace, what: str) -> None:
    """Raise NotSupportedError where the function draws random numbers."""
    if draws(trace):
        raise NotSupportedError(
            f"{what}: random numbers drawn inside would be the same in every step", code="transform.random",
            hint="use scan or fori_loop, or draw them before and pass them in",
        )  # fmt: skip
