"""OpenVINO: inference in float32 (on hosts with bfloat16 products it would take those unasked), hint "latency"."""

from __future__ import annotations

import os

import numpy as np
import openvino

from benchmarks.images.onnx_graph import model
from benchmarks.images.workloads import Workload, batches
from benchmarks.task import Task
from benchmarks.workloads import probe

VERSION = openvino.__version__


def make(w: Workload, mode: str) -> Task:
    core = openvino.Core()
    given = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": int(os.environ["BENCH_THREADS"]),
    }
    request = core.compile_model(core.read_model(model(w)), "CPU", given).create_infer_request()
    x = batches(w)[0][0]

    def step(_: int) -> np.ndarray:
        return request.infer([x], share_inputs=True, share_outputs=True)[0]

    return Task(step, each=True, check=lambda: probe(step(0)))
