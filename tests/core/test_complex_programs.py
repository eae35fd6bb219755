"""Random programs of complex and real values: compiled as planes, they give what NumPy's complex arithmetic gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl

ROWS, COLS = 3, 4
ONE: list[Callable[[Any], Any]] = [
    lambda x: x.conj(), lambda x: x * x, lambda x: x.abs(), lambda x: x.real, lambda x: x * 1j + 0.5,
    lambda x: (x * 0.1).exp(), lambda x: x.sum(0, keepdim=True) * 0.2 + x, lambda x: x.mean(1, keepdim=True) - x,
    lambda x: gl.flip(x, (1,)), lambda x: x[:, [2, 0, 3, 1]], lambda x: x.reshape(COLS, ROWS).T.contiguous(),
    lambda x: gl.cat([x[1:], x[:1]], 0), lambda x: gl.cumsum(x * 0.3, 1), lambda x: gl.sgn(x),
    lambda x: (x * x + 2).sqrt(),
    lambda x: x @ (gl.ones(COLS, COLS, dtype=x.dtype) * 0.2), lambda x: gl.view_as_real(x + 0j).sum(-1),
    lambda x: x.reciprocal() * 0.1 + x, lambda x: x.cdouble().cfloat().cdouble(),
]  # fmt: skip
TWO: list[Callable[[Any, Any], Any]] = [
    lambda x, y: x + y, lambda x, y: x - 0.5 * y, lambda x, y: x * y * 0.3, lambda x, y: x / (y.abs() + 1),
    lambda x, y: gl.where(x.abs() > y.abs(), x, y), lambda x, y: gl.complex(x.real + 0.0, y.real * 0.5),
    lambda x, y: x / (y + 3j), lambda x, y: gl.stack([x, y], 0).sum(0), lambda x, y: x * (y == x),
]  # fmt: skip


def written(x: Any, y: Any) -> Any:
    """A copy with a part overwritten through views."""
    z = x.clone() + 0j
    z[1:, ::2] = y[1:, ::2]
    z.imag[0] = 0.25
    return z


def program(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    values = [
        gl.tensor(rng.standard_normal((ROWS, COLS)) + 1j * rng.standard_normal((ROWS, COLS))),
        gl.tensor(rng.standard_normal((ROWS, COLS)) + 1j * rng.standard_normal((ROWS, COLS))),
        gl.tensor(rng.standard_normal((ROWS, COLS))),
    ]
    for _ in range(8):
        a, b = (values[k] for k in rng.integers(0, len(values), 2))
        pick = int(rng.integers(0, len(ONE) + len(TWO) + 1))
        if pick < len(ONE):
            out = ONE[pick](a)
        elif pick < len(ONE) + len(TWO):
            out = TWO[pick - len(ONE)](a, b)
        else:
            out = written(a, b)
        values.append(out)
    kept = values[3:]
    del values  # inputs stay, the rest is temporary
    return [v.numpy().copy() for v in kept[rng.integers(0, 4) :]]


@pytest.mark.parametrize("seed", range(24))
def test_compiled_as_the_reference(seed: int) -> None:
    mine = program(seed)
    gl.set_target("reference")
    theirs = program(seed)
    for got, want in zip(mine, theirs, strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        np.testing.assert_allclose(got, want, 1e-9, 1e-9)
