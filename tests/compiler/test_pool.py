"""Numbers that hang on shapes are read at run time: another length or image size compiles no kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom.compiler import kernels
from gradloom.compiler.loops import Inst
from gradloom.compiler.pool import liftable
from gradloom.tape import TAPE

nn = gl.nn


class Sentences(nn.Module):
    """Words of any number to classes, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 32)
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 2, 48, 0.1, batch_first=True), 1)
        self.head = nn.Linear(32, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.layers(self.words(x)).mean(1))


class Images(nn.Module):
    """Images of any size to classes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()
        )
        self.head = nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x).mean((2, 3)))


def words(k: int) -> Any:
    return gl.randint(0, 50, (4, 70 + k))


def images(k: int) -> Any:
    return gl.randn(4, 3, 20 + k, 37 + k)


@pytest.mark.parametrize(("model", "make"), [(Sentences, words), (Images, images)])
def test_another_size_compiles_no_kernel(model: Any, make: Any) -> None:
    net = model()
    optimizer = gl.optim.Adam(net.parameters())
    y = gl.tensor([0, 1, 2, 0])
    compiled: list[list[str]] = []
    end = kernels.on_compile(lambda p: compiled[-1].append(type(p.source).__name__))
    try:
        for k in range(1, 22, 2):
            compiled.append([])
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(make(k)), y)
            loss.backward()
            optimizer.step()
            loss.item()
    finally:
        end()
    # convolutions cut rows by their length; of all else there are few kinds, which the first sizes bring
    late = [name for names in compiled[4:] for name in names if name != "Correlate"]
    assert len(late) <= 3, compiled


@pytest.mark.parametrize("size", [3, 7, 30, 77, 1000])
def test_numbers_are_right(size: int) -> None:
    x = np.random.default_rng(size).normal(size=(5, size)).astype(np.float32)
    a, b = gl.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    index = np.arange(0, size, 3)
    for t, L in ((a, gl), (b, torch)):
        picked = t[:, L.tensor(index)]
        (t.mean(1) * 0.3183098861 + t.var(1, correction=1) + picked.sum(1) / 7.7).square().sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=2e-5, atol=1e-6)


def test_masks_are_those_of_the_reference_target() -> None:
    """Elements are numbered by strides that are read at run time; the interpreter numbers them itself."""

    def draw() -> np.ndarray:
        gl.manual_seed(5)
        return nn.functional.dropout(gl.ones(3, 5, 41), 0.4).permute(2, 0, 1).contiguous().numpy()

    native = draw()
    gl.set_target("reference")
    try:
        np.testing.assert_array_equal(draw(), native)
    finally:
        gl.set_target("cpu")


def test_what_stays_in_the_code() -> None:
    def const(value: float | int, dtype: str = "f32") -> Inst:
        return Inst("const", dtype, (), (value,))

    stay = [const(v) for v in (0.0, 1.0, -0.5, 0.75, 10.0, float("inf"))] + [const(16, "i64"), const(5, "i32")]
    go = [const(v) for v in (0.1, 1 / 49, 1 / 64, 323.0, 1e-5)] + [const(17, "i64")]
    insts = [*stay, *go]
    assert liftable(insts, [True] * len(insts)) == set(range(len(stay), len(insts)))
    assert liftable(insts, [False] * len(insts)) == set()
    divided = [const(49, "i64"), Inst("iota", "i64", (), (0,)), Inst("mod", "i64", (1, 0), ())]
    assert liftable(divided, [True] * 3) == set()  # a known divisor is a product


def test_a_kept_program_has_its_numbers(tmp_path: Any) -> None:
    """A new process that finds the program whole on disk computes the same."""
    source = """
import gradloom as gl
from gradloom.compiler import pipeline
made = []
plan = pipeline._compile
pipeline._compile = lambda *a: made.append(1) or plan(*a)
gl.manual_seed(0)
x = gl.linspace(-1, 1, 7 * 23).reshape(7, 23)
net = gl.nn.Sequential(gl.nn.Linear(23, 31), gl.nn.LayerNorm(31), gl.nn.GELU(), gl.nn.Linear(31, 3))
for _ in range(2):
    loss = net(x).softmax(-1).log().mean() * 0.123
    loss.backward()
    found = [p.grad.numpy().sum() for p in net.parameters()]
print(len(made), found)
"""
    runs = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", source], capture_output=True, text=True, timeout=120,
            env={**os.environ, "GRADLOOM_CACHE_DIR": str(tmp_path), "GRADLOOM_PLAN_CACHE": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        runs.append(done.stdout.split(" ", 1))
    assert int(runs[1][0]) < int(runs[0][0])
    assert runs[1][1] == runs[0][1]


def test_the_programs_cells_are_few() -> None:
    gl.randn(3, 7).mean().item()
    assert TAPE.latest is not None
    assert len(TAPE.latest.exe._parts.pool) <= 2
