"""PyTorch: eager and compiled, the fused optimiser everywhere."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from benchmarks.task import Task
from benchmarks.text import torch_style, workloads
from benchmarks.text.workloads import DECODED, PROMPT, Workload
from benchmarks.workloads import probe

VERSION = torch.__version__
torch.set_num_threads(int(os.environ["BENCH_THREADS"]))


def make(w: Workload, mode: str) -> Task:
    if w.kind == "train":
        return torch_style.training(torch, nn, w, torch.compile if mode == "compile" else lambda f: f, fused=True)
    if w.kind == "decode":
        return decoding(w, mode == "compile")
    model = torch_style.network(torch, nn, w).eval()
    x = torch.tensor(workloads.ids(w)[0][:, :-1])
    if mode == "compile":
        from torch._inductor import config  # brings the compiler along

        config.freezing = True
        model = torch.compile(model)

    def step(_: int) -> torch.Tensor:
        with torch.no_grad() if mode == "compile" else torch.inference_mode():
            return model(x)

    return Task(step, each=True, check=lambda: probe(step(0).contiguous().numpy()))


class Decoder(nn.Module):
    """GPT-2 with its keys and values kept: joined at each step, or, to be compiled, written into buffers."""

    def __init__(self, s: dict[str, int], capacity: int, fixed: bool) -> None:
        super().__init__()
        width, self.heads, self.fixed = s["width"], s["heads"], fixed
        self.words, self.places = nn.Embedding(s["vocabulary"], width), nn.Embedding(1024, width)
        self.blocks = nn.ModuleList()
        for _ in range(s["layers"]):
            parts = {
                "norm1": nn.LayerNorm(width), "qkv": nn.Linear(width, 3 * width), "out": nn.Linear(width, width),
                "norm2": nn.LayerNorm(width), "up": nn.Linear(width, s["inner"]), "down": nn.Linear(s["inner"], width),
            }  # fmt: skip
            self.blocks.append(nn.ModuleDict(parts))
        self.norm = nn.LayerNorm(width)
        shape = (1, self.heads, capacity if fixed else 0, width // self.heads)
        self.kept = [(torch.zeros(shape), torch.zeros(shape)) for _ in self.blocks]

    def forward(self, ids: Any, places: Any) -> Any:
        x = self.words(ids) + self.places(places)
        mask = places[:, None] >= torch.arange(self.kept[0][0].shape[2]) if self.fixed else None
        for n, b in enumerate(self.blocks):
            q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in b["qkv"](b["norm1"](x)).chunk(3, -1))
            if self.fixed:
                k, v = (kept.index_copy_(2, places, new) for kept, new in zip(self.kept[n], (k, v)))
            else:
                k, v = (torch.cat([kept, new], 2) for kept, new in zip(self.kept[n], (k, v)))
                self.kept[n] = (k, v)
            y = nn.functional.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None and len(places) > 1)
            x = x + b["out"](y.transpose(1, 2).flatten(2))
            x = x + b["down"](nn.functional.gelu(b["up"](b["norm2"](x)), approximate="tanh"))
        return nn.functional.linear(self.norm(x[:, -1]), self.words.weight)


def decoding(w: Workload, compiled: bool) -> Task:
    model = Decoder(w.sizes, PROMPT + DECODED, compiled).eval()
    call = torch.compile(model) if compiled else model
    prompt = torch.tensor(workloads.ids(w)[0][:, :PROMPT])
    empty = list(model.kept)

    def step(_: int) -> Any:
        with torch.no_grad():
            if not compiled:
                model.kept = list(empty)
            ids, found = prompt, [prompt]
            for n in range(DECODED):
                first = 0 if n == 0 else PROMPT + n - 1
                run = model if n == 0 else call  # the prompt is one call of another length
                ids = run(ids, torch.arange(first, first + ids.shape[1])).argmax(-1, keepdim=True)
                found.append(ids)
            return torch.cat(found, 1).numpy()

    return Task(step, steps=DECODED, each=True)
