"""ONNX Runtime: inference with all its graph optimisations."""

from __future__ import annotations

import os

import onnxruntime

from benchmarks.task import Task
from benchmarks.text.onnx_graph import model
from benchmarks.text.workloads import Workload, ids
from benchmarks.workloads import probe

VERSION = onnxruntime.__version__


def make(w: Workload, mode: str) -> Task:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["BENCH_THREADS"])
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(model(w), options, providers=["CPUExecutionProvider"])
    feed = {"ids": ids(w)[0][:, :-1]}
    return Task(lambda _: session.run(None, feed), each=True, check=lambda: probe(session.run(None, feed)[0]))
