"""PyTorch: epochs by hand, over its loader or over slices of a permutation; its files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.fitting import torch_style
from benchmarks.fitting.workloads import BATCH, BIG, SIZES, STEPS, Workload, data
from benchmarks.task import Task

VERSION = torch.__version__
torch.set_num_threads(int(os.environ["BENCH_THREADS"]))


def make(w: Workload, mode: str) -> Task:
    if w.kind in ("save", "load"):
        return _file(w)
    x, y = map(torch.tensor, data())
    model = torch_style.mlp(torch.nn, SIZES)
    optimizer = torch.optim.Adam(model.parameters(), fused=mode.endswith("fused"))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), BATCH, shuffle=True)
    loss_of = None
    if mode == "sliced_compiled":
        criterion = torch.nn.CrossEntropyLoss()
        loss_of = torch.compile(lambda images, labels: criterion(model(images), labels))

    def slices() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for rows in torch.randperm(len(x)).split(BATCH):
            yield x[rows], y[rows]

    def epoch(_: int) -> float:
        return torch_style.loop(torch, model, optimizer, slices() if mode.startswith("sliced") else loader, loss_of)

    return Task(epoch, steps=STEPS)


def _file(w: Workload) -> Task:
    model = torch_style.mlp(torch.nn, BIG)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(4, BIG[0])).sum().backward()
    optimizer.step()
    path = Path(tempfile.mkdtemp()) / "state.pt"

    def save(_: int) -> None:
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)

    def load(_: int) -> None:
        state = torch.load(path)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])

    save(0)
    return Task(save if w.kind == "save" else load, facts={"bytes": path.stat().st_size})
