"""A model as one list of operations: recorded on placeholders at one or several sizes, what nobody wants left out.

What the tape knows as one composite (a convolution, a norm, attention) may stay one operation: see
:mod:`gradloom.onnx.composites`. Everything else is primitives.
"""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradloom.autodiff.bodies import Body
from gradloom.autodiff.trees import flatten
from gradloom.autodiff.vmap import Trace
from gradloom.entries import LEAF, SCALAR, Entry
from gradloom.entries import Value as Held
from gradloom.errors import GradientError, NotSupportedError
from gradloom.graph.node import Aval
from gradloom.modes import no_grad
from gradloom.nn import Module
from gradloom.onnx.composites import RULES, Call, Fused
from gradloom.onnx.sizes import Differs, Varying, merged
from gradloom.ops.control import places
from gradloom.tape import MODES, TAPE
from gradloom.tensor import Tensor

__all__ = ["Inner", "OnnxExporterError", "Op", "Program", "Recording", "Value", "merge", "record"]


class OnnxExporterError(NotSupportedError):
    """A model that cannot be exported as it is."""

    default_code = "onnx"


class Value:
    """A value of the exported program. array: where it is a constant; name: its parameter, or what the graph calls it.

    number: where it is a number that depends on sizes. view: the value whose axes it has in another order, and that
    order. uses: how many operations take it.
    """

    __slots__ = ("array", "aval", "name", "number", "uses", "view")

    def __init__(
        self, aval: Aval, array: np.ndarray | None = None, name: str | None = None, number: Varying | None = None
    ) -> None:
        self.aval, self.array, self.name, self.number = aval, array, name, number
        self.uses = 0
        self.view: tuple[Value, tuple[int, ...]] | None = None


class Op(NamedTuple):
    """One operation. name: of a primitive or of a fused composite; prim: None for the latter; layer: where it stood."""

    name: str
    prim: Any
    ins: list[Value]
    attrs: tuple
    outs: list[Value]
    layer: str


class Inner(NamedTuple):
    """The body of a loop or branch: a program of its own."""

    inputs: list[Value]
    ops: list[Op]
    outputs: list[Value]


class Program(NamedTuple):
    """The whole: constants are values with an array."""

    inputs: list[Value]
    ops: list[Op]
    outputs: list[Value]
    tree: Any


class _Raw(NamedTuple):
    """An operation of one recording; ins: ("in", k), ("op", k, output), ("leaf", k)."""

    name: str
    prim: Any
    ins: list[tuple]
    attrs: tuple
    avals: list[Aval]
    layer: str


class Recording(NamedTuple):
    """A model at one size."""

    inputs: list[Aval]
    ops: list[_Raw]
    outputs: list[tuple]
    leaves: list[tuple[Aval, Any, Any]]  # aval, the tensor (None for a number), the array or number
    tree: Any
    keep: Any


# -- recording ------------------------------------------------------------------------------------------
def record(call: Callable[[list[Tensor]], Any], avals: Sequence[Aval], module: Module | None) -> Recording:
    """What ``call`` does with tensors of these shapes. Raises OnnxExporterError where it hangs on their values."""
    with TAPE.lock:
        TAPE.flush()
        spans: list[tuple[int, int, str]] = []
        with no_grad(), _noted(module, spans):
            trace = Trace(avals, [False] * len(avals))
            try:
                with trace:
                    found = call(trace.ins)
                    results, tree = flatten(found)
            except GradientError as error:
                if error.code != "transform.value":
                    raise
                raise OnnxExporterError(
                    "export: the model looks at the value of a tensor that depends on its input", code="onnx.value",
                    hint="Python's if, while, int() and .item() cannot depend on it: use where, gradloom.cond or "
                    "while_loop; what the graph is to hold must not change with the data",
                ) from error  # fmt: skip
        for k, r in enumerate(results):
            if not isinstance(r, Tensor):
                raise OnnxExporterError(
                    f"export: output {k} is a {type(r).__name__}, expected a tensor", code="onnx.output",
                    hint="return tensors, or tuples, lists and dicts of them",
                )  # fmt: skip
        written = [t for t, v in zip(TAPE.tensors, TAPE.leaves) if t is not None and t._v is not v]
        if written:
            raise OnnxExporterError(
                f"export: the model writes into a tensor of shape {tuple(written[0].shape)} that it keeps",
                code="onnx.state", hint="call model.eval(), or return the new state as an output",
            )  # fmt: skip
        try:
            return _planned(trace, [_bound(r) for r in results], avals, tree, spans)
        finally:
            del results, found
            TAPE.flush()


def _bound(r: Tensor) -> Entry:
    """The entry of an output, also where it is a parameter as it is."""
    e = r._v.entry
    return e if e is not None else TAPE.entries_of([r])[0]


@contextlib.contextmanager
def _noted(module: Module | None, spans: list[tuple[int, int, str]]) -> Iterator[None]:
    """Note for each call of a layer the steps that it recorded."""
    handles: list[Any] = []
    open_: list[int] = []
    if module is not None:
        for name, m in module.named_modules():
            if name:
                handles.append(m.register_forward_pre_hook(lambda m, a: open_.append(TAPE.pos.depth)))
                handles.append(
                    m.register_forward_hook(
                        lambda m, a, out, name=name: spans.append((open_.pop(), TAPE.pos.depth, name))
                    )
                )
    try:
        yield
    finally:
        for h in handles:
            h.remove()


def _planned(
    trace: Trace, outs: list[Entry], avals: Sequence[Aval], tree: Any, spans: list[tuple[int, int, str]]
) -> Recording:
    steps = trace.steps()
    at = {id(e): k for k, e in enumerate(steps)}
    fused: dict[int, tuple[Fused, int]] = {}
    if MODES.autocast is None:
        for k, e in enumerate(steps):
            rule = RULES.get(getattr(e.prim, "name", "")) if e.aval is None and e.end is not None else None
            if rule is None or not any(i.abstract for i in e.ins):
                continue
            made = rule(Call(e, steps[k + 1 : at.get(id(e.end), k) + 1]))
            if made is not None:
                made = made._replace(at=k)
                for n, o in enumerate(made.outs):
                    fused.setdefault(id(o), (made, n))
    inputs = {id(t._v.entry): ("in", k) for k, t in enumerate(trace.ins)}
    plan = _Plan(steps, at, fused, inputs, spans)
    plan.collect(outs)
    return Recording(list(avals), plan.ops, [plan.ref(e) for e in outs], plan.leaves, tree, (steps, plan))


KEPT_ALIASES = ("windows_pick", "windows_sum")
"""Primitives that only note what their operand is, and that tell more than it."""


class _Plan:
    """What the outputs need, in order."""

    def __init__(self, steps: list[Entry], at: dict[int, int], fused: Any, inputs: Any, spans: Any) -> None:
        self.steps, self.at, self.fused, self.inputs, self.spans = steps, at, fused, inputs, sorted(spans)
        self.ops: list[_Raw] = []
        self.leaves: list[tuple[Aval, Any, Any]] = []
        self.where: dict[int, tuple] = dict(inputs)  # id of an entry to its ref

    def resolved(self, e: Entry) -> Entry:
        """The entry that has the value: what only notes something is its first operand."""
        while True:
            known = id(e) in self.fused
            alias = getattr(e.prim, "alias", False) and not (e.prim.name in KEPT_ALIASES and e.abstract)
            if known or not alias:
                return e
            e = e.ins[0]

    def collect(self, outs: list[Entry]) -> None:
        needed: dict[int, tuple[int, Any]] = {}  # id of what makes it: (order, entry or fused)
        todo = list(outs)
        seen: set[int] = set()
        while todo:
            e = self.resolved(todo.pop())
            if id(e) in seen or id(e) in self.inputs:
                continue
            seen.add(id(e))
            if id(e) in self.fused:
                made, _ = self.fused[id(e)]
                needed[id(made.outs[0])] = (made.at, made)
                todo.extend(made.ins)
                continue
            if e.prim is LEAF or e.prim is SCALAR:
                self._leaf(e)
                continue
            needed[id(e)] = (self.at[id(e)], e)
            todo.extend(e.ins[1:2] if e.prim.name in KEPT_ALIASES else e.ins)
        for order, made in sorted(needed.values(), key=lambda p: p[0]):
            self._add(order, made)

    def _leaf(self, e: Entry) -> None:
        self.where[id(e)] = ("leaf", len(self.leaves))
        if e.prim is SCALAR:
            self.leaves.append((e.aval, None, TAPE.scalars[e.leaf]))  # type: ignore[arg-type]
        else:
            held = TAPE.leaves[e.leaf]
            assert held is not None
            copy = TAPE.make_tensor(Held(held.aval, None, held.buf))
            self.leaves.append((e.aval, TAPE.tensors[e.leaf], copy))  # type: ignore[arg-type]

    def ref(self, e: Entry) -> tuple:
        return self.where[id(self.resolved(e))]

    def _add(self, order: int, made: Any) -> None:
        k = len(self.ops)
        layer = self._layer(self.steps[order].depth)
        if isinstance(made, Fused):
            ins = [self.ref(i) for i in made.ins]
            avals = [o.aval for o in made.outs]
            for n, o in enumerate(made.outs):
                self.where[id(o)] = ("op", k, n)
            self.ops.append(_Raw(made.name, None, ins, made.attrs, avals, layer))  # type: ignore[arg-type]
            return
        e: Entry = made
        name, attrs, given, avals = e.prim.name, e.attrs, e.ins, [e.aval]
        if name in KEPT_ALIASES:
            given = e.ins[1:2]
        elif name == "scan":
            body, carries, sequences, length, reverse, results, lead, keep = attrs
            attrs, avals = (body, carries, sequences, length, reverse, lead, keep), list(results)
        elif name == "cond":
            bodies, operands, captured, results, lead = attrs
            attrs, avals = (*bodies, operands, captured, lead), list(results)
        elif name == "while":
            test, body, carries, captured, results, lead = attrs
            attrs, avals = (test, body, carries, captured, lead), list(results)
        elif name == "unpack":
            source = self.ref(e.ins[0])
            if source[0] == "op" and self.ops[source[1]].name in ("scan", "cond", "while"):
                starts = places(self.ops[source[1]].avals)[0]
                where = [n for n, (s, a) in enumerate(zip(starts, self.ops[source[1]].avals))
                         if s == attrs[0] and a == attrs[1]]  # fmt: skip
                self.where[id(e)] = ("op", source[1], where[0])
                return
        self.where[id(e)] = ("op", k, 0)
        self.ops.append(_Raw(name, e.prim, [self.ref(i) for i in given], attrs, avals, layer))  # type: ignore[arg-type]

    def _layer(self, depth: int) -> str:
        """The innermost layer whose call recorded a step."""
        best = ""
        for k in range(bisect.bisect_left(self.spans, (depth,)) - 1, -1, -1):
            start, stop, name = self.spans[k]
            if start < depth <= stop and len(name) > len(best):
                best = name
        return best


# -- several recordings as one ----------------------------------------------------------------------------
def merge(recordings: Sequence[Recording], names: dict[int, str]) -> Program:
    """One program for all sizes. Raises OnnxExporterError naming the first operation that is not the same.

    names: what tensors are called, by identity.
    """
    first = recordings[0]
    for k, ops in enumerate(zip(*(r.ops for r in recordings))):
        if any(o.name != ops[0].name or o.ins != ops[0].ins for o in ops):
            raise _not_alike(recordings, k, "is another step at another size")
    if any(len(r.ops) != len(first.ops) or r.outputs != first.outputs for r in recordings):
        raise _not_alike(recordings, min(len(r.ops) for r in recordings), "is another step at another size")
    inputs = [Value(_aval([r.inputs[k] for r in recordings])) for k in range(len(first.inputs))]
    leaves = [_leaf([r.leaves[k] for r in recordings], names) for k in range(len(first.leaves))]
    made: list[list[Value]] = []

    def value(ref: tuple) -> Value:
        return inputs[ref[1]] if ref[0] == "in" else leaves[ref[1]] if ref[0] == "leaf" else made[ref[1]][ref[2]]

    found: list[Op] = []
    for k, raws in enumerate(zip(*(r.ops for r in recordings))):
        raw = raws[0]
        try:
            outs = [Value(_aval(list(a))) for a in zip(*(r.avals for r in raws))]
            attrs = tuple(_attribute([r.attrs[n] for r in raws]) for n in range(len(raw.attrs)))
        except Differs:
            raise _not_alike(recordings, k, "has settings that depend on it") from None
        ins = [value(i) for i in raw.ins]
        for v in ins:
            v.uses += 1
        made.append(outs)
        found.append(Op(raw.name, raw.prim, ins, attrs, outs, raw.layer))
    outputs = [value(ref) for ref in first.outputs]
    for v in outputs:
        v.uses += 1
    return Program(inputs, found, outputs, first.tree)


def _aval(avals: list[Aval]) -> Aval:
    found: Aval = merged(avals)
    return found


def _attribute(values: list[Any]) -> Any:
    return _body(values) if isinstance(values[0], Body) else merged(values)


def _body(bodies: list[Body]) -> Inner:
    """The bodies of one loop at several sizes as one. Raises Differs."""
    graphs = [b.graph() for b in bodies]
    if len({len(g.nodes) for g in graphs}) > 1:
        raise Differs
    known: list[dict[int, int]] = [{} for _ in graphs]
    values: list[Value] = []

    def add(nodes: Sequence[Any]) -> Value:
        made = Value(_aval([n.aval for n in nodes]))
        for where, n in zip(known, nodes):
            where[id(n)] = len(values)
        values.append(made)
        return made

    inputs = [add(nodes) for nodes in zip(*(g.inputs for g in graphs))]
    ops: list[Op] = []
    for nodes in zip(*(g.nodes for g in graphs)):
        n = nodes[0]
        refs = [[where[id(i)] for i in node.ins] for where, node in zip(known, nodes)]
        if any(r != refs[0] or node.prim is not n.prim for r, node in zip(refs, nodes)):
            raise Differs
        ins = [values[r] for r in refs[0]]
        for v in ins:
            v.uses += 1
        attrs = tuple(_attribute([node.attrs[k] for node in nodes]) for k in range(len(n.attrs)))
        ops.append(Op(n.prim.name, n.prim, ins, attrs, [add(nodes)], ""))
    count = len(bodies[0].outputs)
    outputs = [values[known[0][id(n)]] for n in graphs[0].outputs[:count]]
    for v in outputs:
        v.uses += 1
    return Inner(inputs, ops, outputs)


def _leaf(found: list[tuple[Aval, Any, Any]], names: dict[int, str]) -> Value:
    aval, tensor, held = found[0]
    if tensor is None:
        number = merged([h for _, _, h in found])
        if isinstance(number, Varying):
            return Value(aval, number=number)
        return Value(aval, np.asarray(number, aval.dtype.numpy))
    array = held.detach().numpy() if not aval.dtype.is_complex else np.asarray(held.detach().resolve_conj().numpy())
    if any(t is not tensor for _, t, _ in found):
        others = [h.detach().numpy() for _, _, h in found]
        if any(o.shape != array.shape or not np.array_equal(o, array, equal_nan=o.dtype.kind == "f") for o in others):
            if not aval.shape and aval.dtype.category == 1:
                return Value(aval, number=Varying(tuple(int(o) for o in others)))
            raise OnnxExporterError(
                f"export: a tensor of shape {array.shape} that the model makes from Python numbers depends on the size "
                "of an open axis", code="onnx.dynamic",
                hint="make it with functions of gradloom (arange, ones, full), or leave the axis out of dynamic_shapes",
            )  # fmt: skip
    return Value(aval, array, names.get(id(tensor)))


def _not_alike(recordings: Sequence[Recording], k: int, what: str) -> OnnxExporterError:
    ops = [r.ops[k] for r in recordings if k < len(r.ops)]
    op = ops[0]
    shapes = " and ".join(dict.fromkeys(str(tuple(o.avals[0].shape)) for o in ops))
    where = f" in layer {op.layer!r}" if op.layer else ""
    return OnnxExporterError(
        f"export: {op.name}{where} (result {shapes}) {what}, so the axes cannot be left open", code="onnx.dynamic",
        hint="leave the axis out of dynamic_shapes or dynamic_axes, or write the layer so that it does the same "
        "steps at every size",
    )  # fmt: skip
