"""What the programs under texts/ share in both libraries: the same initial weights, and the times of their steps."""

from __future__ import annotations

import time

import numpy as np

TICKS: list[float] = []


def fill(module, seed: int = 0, scale: float | None = None):
    """Give every parameter of a module of either library the same seeded values; returns the module."""
    rng = np.random.default_rng(seed)
    for parameter in module.parameters():
        fan = int(np.prod(parameter.shape[1:])) if parameter.dim() > 1 else 16
        bound = scale if scale is not None else fan**-0.5
        values = rng.uniform(-bound, bound, tuple(parameter.shape))
        parameter.data.copy_(parameter.detach().new_tensor(values))
    return module


def tick() -> None:
    """Note that a step of the training loop is over."""
    TICKS.append(time.perf_counter())
