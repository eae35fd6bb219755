"""A limit of memory: activations are made again for the backward pass, results stay."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import gradloom as gl
import gradloom.nn.functional as F
from gradloom.compiler import pipeline
from gradloom.runtime.limits import get_memory_limit


@pytest.fixture
def arenas(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Bytes of temporaries of each program that is planned."""
    found: list[int] = []
    place = pipeline._place

    def noted(block: pipeline.Block, *args: object) -> None:
        place(block, *args)
        found.append(block.arena)

    monkeypatch.setattr(pipeline, "_place", noted)
    yield found
    gl.set_memory_limit(None)


def _step(width: int) -> list[np.ndarray]:
    """Gradients of a chain of convolutions, norms and activations with residual sums."""
    rng = np.random.default_rng(0)
    x = gl.tensor(rng.standard_normal((2, width, 32, 32)).astype("f4"))
    ws = [gl.tensor(rng.standard_normal((width, width, 3, 3)).astype("f4") * 0.1, requires_grad=True) for _ in range(8)]
    for k, w in enumerate(ws):
        y = F.relu(F.batch_norm(F.conv2d(x, w, padding=1), None, None, training=True))
        x = x + y if k % 2 else y
    x.square().mean().backward()
    return [w.grad.numpy() for w in ws]


def test_less_memory_same_gradients(arenas: list[int]) -> None:
    plain = _step(16)
    whole = max(arenas)
    arenas.clear()
    gl.set_memory_limit(whole // 2)
    again = _step(17)  # another shape, so that it is planned anew
    gl.set_memory_limit(None)
    other = _step(17)
    for a, b in zip(again, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert len(plain) == len(again)
    assert min(a for a in arenas if a > whole // 4) < 0.8 * max(arenas)


def test_setting() -> None:
    assert get_memory_limit() is None
    gl.set_memory_limit(1 << 30)
    assert gl.get_memory_limit() == 1 << 30
    gl.set_memory_limit(None)
    with pytest.raises(ValueError, match="set_memory_limit: expects a number of bytes above 0, or None for no limit"):
        gl.set_memory_limit(0)
