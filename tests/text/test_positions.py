"""Positions: known values, and that rotated products hang on differences alone."""

from __future__ import annotations

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ShapeError
from gradloom.text import RotaryEmbedding, SinusoidalPositions, alibi_mask, alibi_slopes, rotate, sinusoids

RNG = np.random.default_rng(0)


def test_sinusoids() -> None:
    t = sinusoids(6, 4).numpy()
    np.testing.assert_allclose(t[3], [np.sin(3), np.cos(3), np.sin(0.03), np.cos(0.03)], 1e-6)
    layer = SinusoidalPositions(4, 6)
    np.testing.assert_allclose(layer(gl.zeros(2, 5, 4)).numpy()[1], t[:5])
    assert not layer.state_dict()
    with pytest.raises(ShapeError, match="has 6 positions"):
        layer(gl.zeros(1, 7, 4))
    with pytest.raises(ShapeError, match="odd"):
        sinusoids(3, 5)


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotation(interleaved: bool) -> None:
    a, b = RNG.standard_normal((2, 6))
    layer = RotaryEmbedding(100.0, interleaved)

    def product(i: int, j: int) -> float:
        x, y = (rotate(gl.tensor(v[None]), gl.tensor([p]), 100.0, interleaved).numpy() for v, p in ((a, i), (b, j)))
        return float((x * y).sum())

    assert abs(product(7, 4) - product(13, 10)) < 1e-9
    assert abs(product(7, 4) - product(7, 5)) > 1e-3
    x = RNG.standard_normal((2, 3, 6))
    angles = np.arange(3)[:, None] * 100.0 ** (-np.arange(3) / 3)
    z = (x[..., 0::2] + 1j * x[..., 1::2] if interleaved else x[..., :3] + 1j * x[..., 3:]) * np.exp(1j * angles)
    want = np.stack([z.real, z.imag], -1).reshape(2, 3, 6) if interleaved else np.concatenate([z.real, z.imag], -1)
    np.testing.assert_allclose(layer(gl.tensor(x)).numpy(), want, 1e-7, 1e-9)
    with pytest.raises(ShapeError, match="pair up"):
        layer(gl.ones(2, 5))


def test_alibi() -> None:
    np.testing.assert_allclose(alibi_slopes(8), 2.0 ** -np.arange(1, 9))
    np.testing.assert_allclose(alibi_slopes(3), [2.0**-4, 2.0**-8, 2.0**-2])
    m = alibi_mask(2, 2, 3).numpy()
    np.testing.assert_allclose(m[0], [[-(2.0**-4), 0, -np.inf], [-2 * 2.0**-4, -(2.0**-4), 0]])
    assert np.isfinite(alibi_mask(2, 3, 3, causal=False).numpy()).all()
