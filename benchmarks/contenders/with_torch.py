"""PyTorch: eager (Adam as it comes, and fused), and compiled."""

from __future__ import annotations

import os

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.contenders import torch_style
from benchmarks.task import Task
from benchmarks.workloads import Workload, batches, probe

VERSION = torch.__version__
torch.set_num_threads(int(os.environ["BENCH_THREADS"]))


def make(w: Workload, mode: str) -> Task:
    wrap = torch.compile if mode == "compile" else lambda f: f
    if w.kind == "train":
        return torch_style.training(torch, nn, w, wrap, **({} if mode == "eager" else {"fused": True}))
    if w.kind == "infer":
        model = torch_style.mlp(torch, nn, w).eval()
        x = torch.tensor(batches(w)[0][0])
        if mode == "compile":
            from torch._inductor import config  # brings the compiler along

            config.freezing = True
            model = torch.compile(model)

        def step(_: int) -> torch.Tensor:
            with torch.inference_mode() if mode == "eager" else torch.no_grad():
                return model(x)

        return Task(step, each=True, check=lambda: probe(step(0).numpy()))
    call, arguments = torch_style.expression(torch, F, w)
    call = wrap(call)

    def without_tape(*values: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return call(*values)

    return torch_style.op_task(without_tape, arguments, lambda y: y)
