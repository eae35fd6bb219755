"""ONNX Runtime: inference with all its graph optimisations."""

from __future__ import annotations

import os

import onnxruntime

from benchmarks.images.onnx_graph import model
from benchmarks.images.workloads import Workload, batches
from benchmarks.task import Task
from benchmarks.workloads import probe

VERSION = onnxruntime.__version__


def make(w: Workload, mode: str) -> Task:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["BENCH_THREADS"])
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(model(w), options, providers=["CPUExecutionProvider"])
    feed = {"x": batches(w)[0][0]}
    return Task(lambda _: session.run(None, feed), each=True, check=lambda: probe(session.run(None, feed)[0]))
