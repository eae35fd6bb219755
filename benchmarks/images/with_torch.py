"""PyTorch: eager in its own layout and channels-last, and compiled (channels-last); the fused optimiser everywhere."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from benchmarks.images import torch_style
from benchmarks.images.workloads import Workload
from benchmarks.task import Task
from benchmarks.workloads import probe

VERSION = torch.__version__
torch.set_num_threads(int(os.environ["BENCH_THREADS"]))


def channels_last(x: Any) -> Any:
    return x.to(memory_format=torch.channels_last)


def make(w: Workload, mode: str) -> Task:
    layout = (lambda x: x) if mode == "eager" else channels_last
    if w.kind == "train":
        wrap = torch.compile if mode == "compile" else lambda f: f
        kept = checkpoint if mode == "checkpoint" else None
        return torch_style.training(torch, nn, w, layout, wrap, kept, fused=True)
    model = layout(torch_style.network(torch, nn, w.net).eval())
    x = layout(torch.tensor(torch_style.image(w)))
    if mode == "compile":
        from torch._inductor import config  # brings the compiler along

        config.freezing = True
        model = torch.compile(model)

    def step(_: int) -> torch.Tensor:
        with torch.no_grad() if mode == "compile" else torch.inference_mode():
            return model(x)

    return Task(step, each=True, check=lambda: probe(step(0).contiguous().numpy()))
