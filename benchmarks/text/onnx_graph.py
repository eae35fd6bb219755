"""BERT as an ONNX model, in the operators that PyTorch's exporter writes."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from benchmarks.text.workloads import Workload, value


def model(w: Workload) -> bytes:
    """Input "ids" (batch, length), one output (batch, classes)."""
    s = w.sizes
    width, heads, b, t = s["width"], s["heads"], w.batch, w.length
    constants, nodes = [], []

    def constant(array: np.ndarray, name: str) -> str:
        constants.append(numpy_helper.from_array(array.copy(), name))
        return name

    def put(op: str, ins: list[str], out: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, ins, [out], **attributes))
        return out

    def linear(x: str, name: str, rows: int, columns: int, part: slice = slice(None), tag: str = "") -> str:
        weight = value(f"{name}.weight", (rows, columns))[part].T
        y = put("MatMul", [x, constant(weight, f"{name}{tag}.w")], f"{name}{tag}.product")
        return put("Add", [y, constant(value(f"{name}.bias", (rows,))[part], f"{name}{tag}.b")], f"{name}{tag}.sum")

    def norm(x: str, name: str) -> str:
        scale, bias = (constant(value(f"{name}.{k}", (width,)), f"{name}.{k}") for k in ("weight", "bias"))
        return put("LayerNormalization", [x, scale, bias], f"{name}.out", axis=-1, epsilon=1e-5)

    split = constant(np.array([b, t, heads, width // heads]), "split")
    joined = constant(np.array([b, t, width]), "joined")
    root = constant(np.array((width // heads) ** 0.5, "f4"), "root")
    x = put("Gather", [constant(value("embedding.weight", (s["vocabulary"], width)), "words"), "ids"], "embedded")
    x = norm(put("Add", [x, constant(value("table", (t, width)), "table")], "placed"), "norm")
    for n in range(s["layers"]):
        at, parts = f"blocks.{n}", []
        for k, name in enumerate("qkv"):
            y = linear(x, f"{at}.qkv", 3 * width, width, slice(k * width, (k + 1) * width), f".{name}")
            y = put("Reshape", [y, split], f"{at}.{name}.split")
            parts.append(put("Transpose", [y], f"{at}.{name}", perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]))
        y = put("Div", [put("MatMul", parts[:2], f"{at}.scores"), root], f"{at}.scaled")
        y = put("MatMul", [put("Softmax", [y], f"{at}.shares", axis=-1), parts[2]], f"{at}.found")
        y = put("Reshape", [put("Transpose", [y], f"{at}.turned", perm=[0, 2, 1, 3]), joined], f"{at}.joined")
        x = norm(put("Add", [linear(y, f"{at}.out", width, width), x], f"{at}.first"), f"{at}.norm1")
        y = put("Gelu", [linear(x, f"{at}.up", s["inner"], width)], f"{at}.gelu")
        x = norm(put("Add", [linear(y, f"{at}.down", width, s["inner"]), x], f"{at}.second"), f"{at}.norm2")
    x = put("Gather", [x, constant(np.array(0), "zero")], "first", axis=1)
    x = put("Tanh", [linear(x, "pooler", width, width)], "pooled")
    out = linear(x, "head", s["classes"], width)
    given = helper.make_tensor_value_info("ids", TensorProto.INT64, (b, t))
    result = helper.make_tensor_value_info(out, TensorProto.FLOAT, (b, s["classes"]))
    graph = helper.make_graph(nodes, "bert", [given], [result], constants)
    opset = helper.make_opsetid("", 20)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()
