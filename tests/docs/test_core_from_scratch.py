"""The core told from scratch does what the package does."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np

import gradloom as gl

FILE = Path(__file__).resolve().parent.parent.parent / "docs" / "core_from_scratch.py"


def test_it_learns_what_the_package_learns_with_one_program() -> None:
    losses, programs = runpy.run_path(str(FILE))["main"]()
    assert programs == 1
    rng = np.random.default_rng(0)
    xs = rng.uniform(-1, 1, (64, 1))
    x, y = gl.tensor(xs), gl.tensor(np.sin(3 * xs))
    cells = [gl.tensor(rng.standard_normal(s), requires_grad=True) for s in ((1, 8), (8,), (8, 1), (1,))]
    w1, b1, w2, b2 = cells
    for step in range(50):
        loss = (((x @ w1 + b1).tanh() @ w2 + b2 - y) ** 2).sum() / 64
        gradients = gl.autograd.grad(loss, cells)
        with gl.no_grad():
            for w, g in zip(cells, gradients, strict=True):
                w -= g * (0.1 / (1 + step / 200))
        np.testing.assert_allclose(losses[step], loss.item(), rtol=1e-9)
