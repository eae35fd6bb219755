"""Native loops: what is the same in all steps is done once, and profiles still tell every kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import control
from gradloom.compiler import pipeline
from gradloom.compiler.llvm.contract import FAR, Multiply, PackColumns
from gradloom.compiler.looping import Inner
from gradloom.graph.node import Graph
from gradloom.nn import functional as F
from gradloom.profiler import profile

RNG = np.random.default_rng(0)


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> list[Inner]:
    """The loops' bodies that are compiled."""
    found: list[Inner] = []
    compile_body = pipeline.compile_body

    def noted(*args: Any) -> Inner | None:
        found.append(compile_body(*args))
        return found[-1]

    monkeypatch.setattr(pipeline, "compile_body", noted)
    return found


def expected(h: np.ndarray, xs: np.ndarray, w: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    for x in xs:
        h = np.tanh(h @ w.T + x + np.exp(b + c))
    return h


@pytest.mark.parametrize("length", [1, 6])
def test_weights_are_packed_and_steady_values_made_once(bodies: list[Inner], length: int) -> None:
    wide = 70 + length  # sizes of its own: bodies compiled before would not be seen
    arrays = [RNG.normal(size=s) for s in ((5, wide), (length, 5, wide), (wide, wide), (wide,), (wide,))]
    h, xs, w, b, c = (gl.tensor(a) for a in arrays)

    def step(h: gl.Tensor, x: gl.Tensor) -> tuple[gl.Tensor, gl.Tensor]:
        h = gl.tanh(h @ w.T + x + gl.exp(b + c))
        return h, h

    def run() -> np.ndarray:
        return control.scan(step, h, xs)[0].numpy()

    np.testing.assert_allclose(run(), expected(*arrays), 1e-12, 1e-12)
    (inner,) = bodies
    assert any(isinstance(x.source, PackColumns) for x in inner.first)
    inside = [x for s in inner.block.steps if isinstance(s, list) for x in s]
    assert not any(isinstance(x.source, PackColumns) for x in inside)
    (multiply,) = (x for x in inside if isinstance(x.source, Multiply))
    assert multiply.ints[FAR] == 1  # the sequence's row, which no step before has read
    assert len(inner.block.notes) == len(inside)
    with profile() as p:
        run()
    kernels = [e for e in p.events() if e.name != "program"]
    assert len(kernels) >= len(inner.first) + len(inside)
    assert [e.name for e in kernels if e.name == "pack"]


def test_loops_in_loops(bodies: list[Inner]) -> None:
    w = gl.tensor(RNG.normal(size=(40, 40)) * 0.1)
    x = gl.tensor(RNG.normal(size=(3, 4, 5, 40)))

    def inner(h: gl.Tensor, x: gl.Tensor) -> tuple[gl.Tensor, gl.Tensor]:
        h = gl.tanh(h @ w + x)
        return h, h

    def outer(h: gl.Tensor, xs: gl.Tensor) -> tuple[gl.Tensor, gl.Tensor]:
        h = control.scan(inner, h, xs)[0]
        return h, h

    got = control.scan(outer, gl.zeros(5, 40, dtype=gl.float64), x)[0].numpy()
    h = np.zeros((5, 40))
    for block in x.numpy():
        for row in block:
            h = np.tanh(h @ w.numpy() + row)
    np.testing.assert_allclose(got, h, 1e-12, 1e-12)


def test_attention_of_another_length_compiles_nothing() -> None:
    from gradloom.compiler import kernels

    def step(n: int) -> None:
        q = gl.randn(1, 2, n, 32, requires_grad=True)
        F.scaled_dot_product_attention(q, q, q, is_causal=True).square().sum().backward()
        q.grad.numpy()

    for n in (96, 160, 256):
        step(n)
    before = kernels.stats().compiled + kernels.stats().disk_hits
    for n in (128, 192, 352, 544):
        step(n)
    assert kernels.stats().compiled + kernels.stats().disk_hits == before


def test_what_joins_pieces_of_a_step_is_joined_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The three gates' cotangents of a GRU are stacked once for its input and once for its state, in no pieces."""
    graphs: list[Graph] = []
    compile_body = pipeline.compile_body

    def noted(graph: Graph, captured: int) -> Inner | None:
        graphs.append(graph)
        return compile_body(graph, captured)

    monkeypatch.setattr(pipeline, "compile_body", noted)
    layer = gl.nn.GRU(5, 37)
    x = gl.tensor(RNG.normal(size=(6, 3, 5)).astype("f4"), requires_grad=True)
    layer(x)[0].square().sum().backward()
    x.grad.numpy()
    assert [n.aval.shape for n in graphs[-1].outputs] == [(3, 37), (3, 111), (3, 111)]
