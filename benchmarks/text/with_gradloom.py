"""gradloom: the loop written by hand, the compiled call, and generation."""

from __future__ import annotations

import numpy as np

import gradloom as gl
from benchmarks.task import Task
from benchmarks.text import torch_style, workloads
from benchmarks.text.workloads import DECODED, PROMPT, Workload
from benchmarks.workloads import probe

VERSION = getattr(gl, "__version__", "")


def make(w: Workload, mode: str) -> Task:
    if w.kind == "train":
        return torch_style.training(gl, gl.nn, w)
    if w.kind == "decode":
        return decoding(w)
    call = gl.compile(torch_style.network(gl, gl.nn, w).eval())
    x = gl.tensor(workloads.ids(w)[0][:, :-1])

    def step(_: int) -> np.ndarray:
        with gl.no_grad():
            return call(x).numpy()

    return Task(step, each=True, check=lambda: probe(step(0)))


def decoding(w: Workload) -> Task:
    """The likeliest tokens, as a user asks for them."""
    from gradloom.text import generate
    from gradloom.text.models import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config()).eval()
    prompt = workloads.ids(w)[0][:, :PROMPT]
    return Task(lambda _: generate(model, prompt, DECODED).numpy(), steps=DECODED, each=True)
