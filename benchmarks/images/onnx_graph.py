"""A network as an ONNX model, for the engines that only infer."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from benchmarks.images.networks import Step
from benchmarks.images.workloads import Workload

PLAIN = {"relu": "Relu", "flatten": "Flatten", "add": "Add"}


def model(w: Workload) -> bytes:
    """Input "x", one output; sizes are fixed, as the engines like best."""
    constants, nodes = [], []
    if any(s.op == "relu6" for s in w.net.steps):
        constants = [numpy_helper.from_array(np.array(n, "f4"), name) for name, n in (("zero", 0), ("six", 6))]
    for s, values in zip(w.net.steps, w.net.weights()):
        names = [f"v{i}" if i else "x" for i in s.inputs]
        for key, array in values.items():
            constants.append(numpy_helper.from_array(array, f"{key}{s.output}"))
            names.append(f"{key}{s.output}")
        nodes += _nodes(s, names, f"v{s.output}")
    last = w.net.steps[-1]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (w.batch, *w.net.shapes[0]))
    y = helper.make_tensor_value_info(f"v{last.output}", TensorProto.FLOAT, (w.batch, *last.after))
    graph = helper.make_graph(nodes, w.network, [x], [y], constants)
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def _nodes(s: Step, names: list[str], out: str) -> list[object]:
    window = {"kernel_shape": [s.kernel] * 2, "strides": [s.stride] * 2, "pads": [s.padding] * 4}
    if s.op == "conv":
        return [helper.make_node("Conv", names, [out], group=s.groups, **window)]
    if s.op == "deconv":
        return [helper.make_node("ConvTranspose", names, [out], **window)]
    if s.op == "linear":
        return [helper.make_node("Gemm", names, [out], transB=1)]
    if s.op == "norm":
        return [helper.make_node("BatchNormalization", names, [out], epsilon=1e-5)]
    if s.op == "maxpool":
        return [helper.make_node("MaxPool", names, [out], **window)]
    if s.op == "relu6":
        return [helper.make_node("Clip", [*names, "zero", "six"], [out])]
    if s.op == "mean":
        pooled = f"{out}_pooled"
        return [
            helper.make_node("GlobalAveragePool", names, [pooled]),
            helper.make_node("Flatten", [pooled], [out]),
        ]
    if s.op == "concat":
        return [helper.make_node("Concat", names, [out], axis=1)]
    return [helper.make_node(PLAIN[s.op], names, [out])]
