"""From the merged program to an ONNX model: one emitter for each operation, constants folded on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom.onnx.builder import Builder
from gradloom.onnx.capture import Op, Program, Value
from gradloom.onnx.elementwise import elementwise
from gradloom.onnx.gathers import GATHERS
from gradloom.onnx.loops import LOOPS
from gradloom.onnx.movement import MOVEMENT
from gradloom.onnx.products import PRODUCTS, add_bias
from gradloom.onnx.sizes import Varying, fixed

__all__ = ["EMITTERS", "emit_all", "model_of"]

EMITTERS: dict[str, Callable[[Builder, Op], None]] = {**MOVEMENT, **PRODUCTS, **GATHERS, **LOOPS}
"""By primitive or fused composite; what is elementwise has a table of its own."""

FOLDED = 4096  # elements that a constant may grow to by folding; it may not outgrow its operands otherwise


def emit_all(b: Builder, ops: Sequence[Op]) -> None:
    """Emit operations in order. Raises OnnxExporterError naming the first that ONNX cannot express."""
    outer = b.op, b.layer
    for op in ops:
        if _folded(op):
            continue
        b.op = op
        if op.layer:
            b.layer = op.layer
        if add_bias(b, op):
            continue
        emit = EMITTERS.get(op.name) or (elementwise if getattr(op.prim, "kind", "") == "elementwise" else None)
        if emit is None:
            raise b.refused("has no counterpart in ONNX", _hint(op))
        emit(b, op)
    b.op, b.layer = outer


def _hint(op: Op) -> str:
    if getattr(op.prim, "kind", "") == "random" or op.name in ("uniform", "permutation", "poisson", "binomial"):
        return "random numbers cannot be drawn in an exported graph: call model.eval(), or pass them in"
    return "compute it outside of the exported model, or write it with other operations"


def _folded(op: Op) -> bool:
    """Whether an operation on constants alone was computed: its result is a constant."""
    prim, out = op.prim, op.outs[0]
    if len(op.outs) == 1 and fixed(tuple(out.aval)) and not out.aval.size and not out.aval.dtype.is_complex:
        out.array = np.zeros(out.aval.shape, out.aval.dtype.numpy)  # nothing is in it
        return True
    if prim is None or op.name in ("scan", "cond", "while", "uniform") or len(op.outs) > 1:
        return False
    if any(v.array is None for v in op.ins) or not fixed(op.attrs) or not fixed(tuple(out.aval)):
        return False
    arrays = [v.array for v in op.ins if v.array is not None]
    if op.name == "permute":  # stays a view of the parameter: an operator that wants it turned back finds it whole
        (v,) = op.ins
        if v.name is not None:
            out.view, out.array = (v, tuple(op.attrs[0])), arrays[0].transpose(op.attrs[0])
            return True
    if out.aval.size > max(FOLDED, *(a.size for a in arrays), 0) if arrays else out.aval.size > FOLDED:
        return False
    with np.errstate(all="ignore"):
        found = prim.evaluate(arrays, [v.aval for v in op.ins], op.attrs, out.aval)
    out.array = np.asarray(found, out.aval.dtype.numpy).reshape(out.aval.shape)
    return True


def model_of(
    onnx: Any, program: Program, *, opset: int, recordings: int, input_names: Sequence[str],
    output_names: Sequence[str], symbols: dict[tuple[int, ...], str], weights: bool = True,
) -> Any:  # fmt: skip
    """The ONNX model of a program. symbols: names of open sizes by their values in the recordings."""
    b = Builder(onnx, opset, recordings)
    for name in (*input_names, *output_names):
        b.taken.add(name)
    infos = []
    for v, name in zip(program.inputs, input_names):
        v.name = name
        b.note_sizes(v, name)
        infos.append(_info(b, v, name, symbols))
    emit_all(b, program.ops)
    outputs = []
    for v, name in zip(program.outputs, output_names):
        b.add("Identity", [b.name(v)], [name])
        outputs.append(_info(b, v, name, symbols))
    _renamed(b, set(output_names))
    helper = onnx.helper
    used = _used(b.nodes)
    initialisers = [
        onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in b.initialisers.items() if name in used
    ]
    graph = helper.make_graph(b.nodes, "main_graph", infos, outputs, initialisers)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="gradloom")
    model.ir_version = min(model.ir_version, helper.find_min_ir_version_for(opsets))
    return model


def _info(b: Builder, v: Value, name: str, symbols: dict[tuple[int, ...], str]) -> Any:
    shape = [symbols.get(n.values) if isinstance(n, Varying) else n for n in v.aval.shape]
    return b.onnx.helper.make_tensor_value_info(name, b.kind(v.aval.dtype), shape)


def _inner(node: Any) -> list[Any]:
    return [a.g for a in node.attribute if a.HasField("g")]


def _used(nodes: Sequence[Any]) -> set[str]:
    """Names that nodes, and the bodies in them, read."""
    found: set[str] = set()
    todo = list(nodes)
    while todo:
        node = todo.pop()
        found.update(node.input)
        for graph in _inner(node):
            todo.extend(graph.node)
    return found


def _renamed(b: Builder, outputs: set[str]) -> None:
    """Take out the copies that only give an output its name, where a node of the graph gives the value."""
    made = {o: n for n in b.nodes for o in n.output}
    kept, given = [], {}
    for n in b.nodes:
        source = n.input[0] if n.op_type == "Identity" else None
        plain = source in made and source not in given and n.output[0] in outputs
        if plain and made[source].op_type != "Identity":
            given[source] = n.output[0]
        else:
            kept.append(n)
    todo = list(kept)
    while todo:
        n = todo.pop()
        for names in (n.input, n.output):
            for k, name in enumerate(names):
                if name in given:
                    names[k] = given[name]
        for graph in _inner(n):
            todo.extend(graph.node)
    b.nodes[:] = kept
