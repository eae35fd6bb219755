"""A graph of ONNX run node by node, by gradloom's own functions; what hangs on shapes alone is done by NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradloom.onnx.reading.table import Call, find
from gradloom.onnx.reading.values import OnnxImportError, array, dtype_of, from_attribute, holds, to_tensor
from gradloom.tensor import Tensor

__all__ = ["Scope", "run_graph"]

SMALL = 4096  # elements of arrays that NumPy computes with, where all inputs of a node are such
_SPLIT = {"If", "Loop", "Scan", "SequenceMap"}


class Scope:
    """What a graph is run in: operator sets by domain, functions of the model, constants as tensors.

    outer : values by name of the graph around, which a subgraph sees.
    """

    def __init__(
        self,
        opsets: Mapping[str, int],
        functions: Mapping[tuple[str, str], Any],
        outer: Mapping[str, Any] | None = None,
    ) -> None:
        self.opsets, self.functions = dict(opsets), dict(functions)
        self.values: dict[str, Any] = dict(outer or {})
        self.tensors: dict[int, tuple[Any, Tensor]] = {}  # of arrays that stay, by id
        self.evaluators: dict[int, tuple[Any, Any]] = {}  # of nodes that NumPy runs, by id
        self.attributes: dict[int, tuple[Any, dict[str, Any]]] = {}

    def inside(self) -> Scope:
        """The scope of a subgraph."""
        made = Scope(self.opsets, self.functions, self.values)
        made.tensors, made.evaluators, made.attributes = self.tensors, self.evaluators, self.attributes
        return made

    def tensor(self, value: Any) -> Any:
        """A value as a tensor, if one holds it; arrays of the model are converted once."""
        if not isinstance(value, np.ndarray):
            return to_tensor(value)
        found = self.tensors.get(id(value))
        if found is None or found[0] is not value:
            made = to_tensor(value)
            if not isinstance(made, Tensor) or value.flags.writeable:
                return made
            found = self.tensors[id(value)] = (value, made)
        return found[1]

    def attributes_of(self, node: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes of a node, those of the function around it put in where it refers to them."""
        known = self.attributes.get(id(node))
        if known is None or known[0] is not node:
            own = {a.name: from_attribute(a) for a in node.attribute if not a.ref_attr_name}
            known = self.attributes[id(node)] = (node, own)
        out = dict(known[1])
        for a in node.attribute:
            if a.ref_attr_name and a.ref_attr_name in given:
                out[a.name] = given[a.ref_attr_name]
        return out


def run_graph(nodes: Sequence[Any], outputs: Sequence[str], scope: Scope, given: Mapping[str, Any]) -> list[Any]:
    """Run nodes in their order; the values of the named outputs. given: attributes of the function that this is."""
    values = scope.values
    for node in nodes:
        for name in node.input:
            if name and name not in values:
                raise OnnxImportError(
                    f"{node.op_type} {node.name!r} reads {name!r}, which nothing before it makes", code="onnx.order",
                    hint="nodes stand in the order of their computation: look at the file with onnx.checker",
                )  # fmt: skip
        ins = [values[n] if n else None for n in node.input]
        made = _run(node, ins, scope, given)
        for name, value in zip(node.output, made, strict=False):
            if name:
                values[name] = value
    return [values.get(n) if n else None for n in outputs]


def _run(node: Any, ins: list[Any], scope: Scope, given: Mapping[str, Any]) -> Sequence[Any]:
    domain = "" if node.domain == "ai.onnx" else node.domain
    opset = scope.opsets.get(domain, scope.opsets.get("", 1) if not domain else 1)
    own = scope.functions.get((domain, node.op_type))
    attributes = scope.attributes_of(node, given)
    if own is not None:
        return _function(own, ins, scope, attributes)
    if node.op_type == "Constant" and not domain:
        return [_constant(attributes)]
    found = find(domain, node.op_type, opset)
    plain = node.op_type not in _SPLIT and all(v is None or isinstance(v, np.ndarray) for v in ins)
    few = plain and all(v is None or v.size <= SMALL for v in ins)
    odd = any(isinstance(v, np.ndarray) and not holds(v) for v in ins) or _narrow(node, attributes)
    if odd:
        ins, plain = [array(v) for v in ins], True
    if odd or (found is None and plain) or (few and ins and node.op_type not in _DRAWING):
        made = _by_numpy(node, ins, scope, attributes, opset, domain)
        if made is not None:
            return made
    if found is not None:
        fn, host = found

        def inner(graph: Any, inputs: Sequence[Any]) -> list[Any]:
            return run_subgraph(graph, inputs, scope, given)

        def whole() -> list[Any]:
            return _by_body(_body(node, domain, opset, ins, attributes), node, ins, scope, attributes, opset, domain)

        call = Call(node, attributes, opset, inner, whole)
        ready = [v if k in host else scope.tensor(v) for k, v in enumerate(ins)]
        if opset < 7 and attributes.get("broadcast"):
            ready = _as_before(ready, attributes)
        made = fn(call, *ready)
        return made if isinstance(made, tuple) else (made,)
    body = _body(node, domain, opset, ins, attributes)
    if body is not None:
        return _by_body(body, node, ins, scope, attributes, opset, domain)
    made = _by_numpy(node, [array(v) for v in ins], scope, attributes, opset, domain)
    if made is not None:
        return [to_tensor(v) for v in made]
    raise OnnxImportError(
        f"{domain + '.' if domain else ''}{node.op_type} {node.name!r} of operator set {opset} is not known here",
        code="onnx.operator",
        hint="export the model with operators of the standard domain, or put the operator's function into the file",
    )


_DRAWING = {
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout",
}  # fmt: skip


def _as_before(ready: list[Any], attributes: Mapping[str, Any]) -> list[Any]:
    """Before operator set 7 the second operand's axes began at one of the first's; as today's rules have it."""
    if len(ready) != 2 or "axis" not in attributes:
        return ready
    a, b = ready
    axis = attributes["axis"]
    axis = axis + a.ndim if axis < 0 else axis
    return [a, b.reshape(*b.shape, *[1] * (a.ndim - axis - b.ndim))]


def _narrow(node: Any, attributes: Mapping[str, Any]) -> bool:
    """Whether a node makes numbers that no tensor holds."""
    code = attributes.get("to") if node.op_type in ("Cast", "BitCast") else attributes.get("output_dtype")
    return bool(code) and node.op_type in ("Cast", "BitCast", "QuantizeLinear") and dtype_of(int(code or 0)) is None


def run_subgraph(graph: Any, inputs: Sequence[Any], scope: Scope, given: Mapping[str, Any]) -> list[Any]:
    """Run the graph of a branch or of a loop's body, which sees the values around it."""
    from onnx import numpy_helper

    inside = scope.inside()
    for t in graph.initializer:
        inside.values[t.name] = numpy_helper.to_array(t)
    inside.values.update(zip((i.name for i in graph.input), inputs, strict=False))
    return run_graph(graph.node, [o.name for o in graph.output], inside, given)


def _function(proto: Any, ins: Sequence[Any], scope: Scope, attributes: Mapping[str, Any]) -> list[Any]:
    """Run a function of the model, or the body of an operator."""
    opsets = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in proto.opset_import}
    inside = Scope({**scope.opsets, **opsets}, scope.functions)
    inside.evaluators, inside.attributes = scope.evaluators, scope.attributes
    inside.values = dict(zip(proto.input, [*ins, *[None] * (len(proto.input) - len(ins))], strict=True))
    given = {a.name: from_attribute(a) for a in proto.attribute_proto}
    return run_graph(proto.node, list(proto.output), inside, {**given, **attributes})


def _by_body(
    body: Any, node: Any, ins: Sequence[Any], scope: Scope, attributes: Mapping[str, Any], opset: int, domain: str
) -> list[Any]:
    return _function(body, ins, scope, {**_defaults(domain, node.op_type, opset), **attributes})


def _constant(attributes: Mapping[str, Any]) -> Any:
    for name, dtype in (("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64),
                        ("value_ints", np.int64), ("value_string", object), ("value_strings", object)):  # fmt: skip
        if name in attributes:
            return np.array(attributes[name], dtype)
    if "value" in attributes:
        return attributes["value"]
    raise OnnxImportError("Constant: sparse values are not read", code="onnx.sparse", hint="store the dense array")


def _body(node: Any, domain: str, opset: int, ins: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """The operator as a function of others, where the standard gives one."""
    import onnx

    try:
        schema: Any = onnx.defs.get_schema(node.op_type, opset, domain)
    except onnx.defs.SchemaError:
        return None
    if schema.has_function:
        version = max((v for v in schema.function_opset_versions if v <= opset), default=None)
        if version is not None:
            return onnx.FunctionProto.FromString(schema.get_function_with_opset_version(version))
    if schema.has_context_dependent_function:
        version = max((v for v in schema.context_dependent_function_opset_versions if v <= opset), default=None)
        if version is not None:
            types = [_type(v) for v in ins]
            made = schema.get_context_dependent_function_with_opset_version(
                version, _alone(node, attributes).SerializeToString(), [t.SerializeToString() for t in types]
            )
            return onnx.FunctionProto.FromString(made)
    return None


def _alone(node: Any, attributes: Mapping[str, Any]) -> Any:
    """The node with attributes of its own where it refers to those of the function around it."""
    import onnx

    if not any(a.ref_attr_name for a in node.attribute):
        return node
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    del alone.attribute[:]
    for k, v in attributes.items():
        value = onnx.numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v
        alone.attribute.append(onnx.helper.make_attribute(k, value))
    return alone


def _type(value: Any) -> Any:
    import onnx

    if value is None:
        return onnx.TypeProto()
    if isinstance(value, list):
        return onnx.helper.make_sequence_type_proto(_type(value[0] if value else np.zeros(0, np.float32)))
    if isinstance(value, Tensor):
        code = onnx.helper.np_dtype_to_tensor_dtype(value.dtype.numpy)
        return onnx.helper.make_tensor_type_proto(code, list(value.shape))
    return onnx.helper.make_tensor_type_proto(onnx.helper.np_dtype_to_tensor_dtype(value.dtype), list(value.shape))


def _defaults(domain: str, name: str, opset: int) -> dict[str, Any]:
    import onnx

    schema = onnx.defs.get_schema(name, opset, domain)
    return {k: from_attribute(a.default_value) for k, a in schema.attributes.items() if a.default_value.name}


def _by_numpy(
    node: Any, ins: list[Any], scope: Scope, attributes: Mapping[str, Any], opset: int, domain: str
) -> Sequence[Any] | None:
    """The standard's reference in NumPy: for shapes, text, narrow numbers; None where it has no such operator."""
    from onnx.reference import ReferenceEvaluator

    known = scope.evaluators.get(id(node))
    if known is None or known[0] is not node:
        try:
            made: Any = ReferenceEvaluator(_alone(node, attributes), opsets={domain: opset})
        except Exception:  # of any kind: an operator that it does not know
            made = None
        known = scope.evaluators[id(node)] = (node, made)
    if known[1] is None:
        return None
    feeds = {n: v for n, v in zip(node.input, ins, strict=True) if n}
    try:
        return list(known[1].run(None, feeds))
    except Exception:
        return None
