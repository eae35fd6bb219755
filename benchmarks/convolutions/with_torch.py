"""PyTorch's convolution and its two gradients, images and filters channels-last."""

from __future__ import annotations

import os

import torch
import torch.nn.functional as F

from benchmarks.convolutions.workloads import Workload, operands
from benchmarks.task import Task
from benchmarks.workloads import probe

VERSION = torch.__version__
torch.set_num_threads(int(os.environ["BENCH_THREADS"]))


def make(w: Workload, mode: str) -> Task:
    s = w.shape
    x, f, y = (torch.from_numpy(a).contiguous(memory_format=torch.channels_last) for a in operands(w))
    ways = [s.stride] * 2, [s.padding] * 2, [s.dilation] * 2

    def call() -> torch.Tensor:
        with torch.no_grad():
            if w.direction == "forward":
                return F.conv2d(x, f, None, *ways, s.groups)
            wanted = [w.direction == "input", w.direction == "filter", False]
            found = torch.ops.aten.convolution_backward(y, x, f, None, *ways, False, [0, 0], s.groups, wanted)
            return found[0] if wanted[0] else found[1]

    return Task(lambda _: call(), each=True, check=lambda: probe(call().contiguous().numpy()))
