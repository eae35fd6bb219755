"""ONNX Runtime: inference of the model as a graph of Gemm and Relu."""

from __future__ import annotations

import os

import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.task import Task
from benchmarks.workloads import Workload, batches, probe, weights

VERSION = onnxruntime.__version__


def make(w: Workload, mode: str) -> Task:
    nodes, constants, name = [], [], "x"
    for number, (weight, bias) in enumerate(weights(w), 1):
        constants += [numpy_helper.from_array(weight, f"w{number}"), numpy_helper.from_array(bias, f"b{number}")]
        nodes.append(helper.make_node("Gemm", [name, f"w{number}", f"b{number}"], [f"y{number}"]))
        name = f"y{number}"
        if number < len(w.sizes) - 1:
            nodes.append(helper.make_node("Relu", [name], [f"h{number}"]))
            name = f"h{number}"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (w.batch, w.sizes[0]))
    y = helper.make_tensor_value_info(name, TensorProto.FLOAT, (w.batch, w.sizes[-1]))
    graph = helper.make_graph(nodes, "mlp", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["BENCH_THREADS"])
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"x": batches(w)[0][0]}
    return Task(lambda _: session.run(None, feed), check=lambda: probe(session.run(None, feed)[0]))
