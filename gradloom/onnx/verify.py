"""An exported graph's numbers beside gradloom's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from gradloom.onnx.capture import OnnxExporterError
from gradloom.tensor import Tensor, from_numpy

__all__ = ["compare", "run"]

RTOL, ATOL = 1e-3, 1e-4
"""Of each number, and of the largest of its output."""
HALF = (8, 2)
"""The same in roundings of a dtype of half precision."""


def run(model: Any, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What ONNX Runtime computes, or onnx' own reference where there is none, or where it lacks an operator."""
    try:
        import onnxruntime
    except ImportError:
        return _by_reference(model, inputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    wide, given, kinds = _widened(model, inputs)
    try:
        session = onnxruntime.InferenceSession(wide.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found = session.run(None, {i.name: given[i.name] for i in session.get_inputs()})
    except Exception as error:
        if "NOT_IMPLEMENTED" not in str(error):
            raise OnnxExporterError(f"export: ONNX Runtime refuses the graph: {error}", code="onnx.runtime") from error
        return _by_reference(model, inputs)
    return [np.asarray(x).astype(k) for x, k in zip(found, kinds)]


def _widened(model: Any, inputs: dict[str, np.ndarray]) -> tuple[Any, dict[str, np.ndarray], list[np.dtype]]:
    """The model with inputs and outputs of single precision where they are bfloat16, which NumPy and the runtime do not
    hand to each other; the inputs so; and the dtypes of its outputs.
    """
    import onnx

    helper, bf16, f32 = onnx.helper, onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT
    kinds = [helper.tensor_dtype_to_np_dtype(o.type.tensor_type.elem_type) for o in model.graph.output]
    if all(v.type.tensor_type.elem_type != bf16 for v in (*model.graph.input, *model.graph.output)):
        return model, inputs, kinds
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    graph, nodes, given = wide.graph, list(wide.graph.node), dict(inputs)
    for v in graph.input:
        if v.type.tensor_type.elem_type == bf16:
            v.type.tensor_type.elem_type, name = f32, v.name
            v.name = f"{name}.wide"
            given[v.name] = given.pop(name).astype(np.float32)
            nodes.insert(0, helper.make_node("Cast", [v.name], [name], to=bf16))
    for v in graph.output:
        if v.type.tensor_type.elem_type == bf16:
            v.type.tensor_type.elem_type, name = f32, v.name
            v.name = f"{name}.wide"
            nodes.append(helper.make_node("Cast", [name], [v.name], to=f32))
    del graph.node[:]
    graph.node.extend(nodes)
    return wide, given, kinds


def _by_reference(model: Any, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    from onnx.reference import ReferenceEvaluator

    return list(ReferenceEvaluator(model).run(None, inputs))


def compare(
    model: Any, names: Sequence[str], arrays: Sequence[np.ndarray], ours: Callable[[list[Tensor]], list[np.ndarray]]
) -> None:
    """Raise OnnxExporterError where an output is not what gradloom computes."""
    wanted = ours([from_numpy(a.copy()) for a in arrays])
    found = run(model, dict(zip(names, arrays)))
    for info, a, b in zip(model.graph.output, wanted, found, strict=True):
        b = np.asarray(b)
        if a.shape != b.shape or not _close(a, b):
            gap = "" if a.shape != b.shape else f", off by {np.max(np.abs(_wide(a) - _wide(b)), initial=0):.3g}"
            raise OnnxExporterError(
                f"export: output {info.name!r} of the exported graph is not what gradloom computes: shape {b.shape} "
                f"and {a.shape}{gap}; nothing was written", code="onnx.numbers",
                hint="a model that depends on the order of its sums may differ more than is allowed: look at "
                "export(..., verify=False)",
            )  # fmt: skip


def _wide(a: np.ndarray) -> np.ndarray:
    return a.astype(np.float64)


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    if a.dtype.kind in "biu":
        return bool(np.array_equal(a, b))
    x, y = _wide(a), _wide(b)
    finite = np.abs(x[np.isfinite(x)])
    most = float(finite.max(initial=0.0))
    rtol, atol = RTOL, ATOL
    if a.dtype.itemsize < 4:
        rtol, atol = (n * float(ml_dtypes.finfo(a.dtype).eps) for n in HALF)
    return bool(np.allclose(y, x, rtol=rtol, atol=atol * most, equal_nan=True))
