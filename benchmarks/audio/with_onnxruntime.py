"""ONNX Runtime: the encoder, exported by PyTorch."""

from __future__ import annotations

import io
import os

import onnxruntime
import torch

from benchmarks.audio import workloads
from benchmarks.audio.network import Whisper
from benchmarks.audio.with_torch import features
from benchmarks.audio.workloads import Workload
from benchmarks.task import Task
from benchmarks.workloads import probe

VERSION = onnxruntime.__version__


def make(w: Workload, mode: str) -> Task:
    x = features(torch.tensor(workloads.sound()), torch.tensor(workloads.mel_bank()), torch.hann_window(400))
    file = io.BytesIO()
    torch.onnx.export(Whisper().eval().encoder, (x,), file, input_names=["x"], dynamo=False, opset_version=17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["BENCH_THREADS"])
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    given = {"x": x.numpy()}
    return Task(lambda _: session.run(None, given), each=True, check=lambda: probe(session.run(None, given)[0]))
