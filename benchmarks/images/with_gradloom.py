"""gradloom: the loop written by hand, and the compiled call."""

from __future__ import annotations

import numpy as np

import gradloom as gl
from benchmarks.images import torch_style
from benchmarks.images.workloads import Workload
from benchmarks.task import Task
from benchmarks.workloads import probe

VERSION = getattr(gl, "__version__", "")


def make(w: Workload, mode: str) -> Task:
    if w.kind == "train":
        checkpoint = gl.utils.checkpoint.checkpoint if mode == "checkpoint" else None
        return torch_style.training(gl, gl.nn, w, checkpoint=checkpoint)
    call = gl.compile(torch_style.network(gl, gl.nn, w.net).eval())
    x = gl.tensor(torch_style.image(w))

    def step(_: int) -> np.ndarray:
        with gl.no_grad():
            return call(x).numpy()

    return Task(step, each=True, check=lambda: probe(step(0)))
