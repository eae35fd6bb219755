"""Where creation takes its dtype from, numbers beyond 64 bits, and results without entries: as PyTorch has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom.errors import DTypeError

CASES: dict[str, Callable[[Any], Any]] = {
    "full into integers": lambda T: T.full((2,), 3.5, out=T.empty(2, dtype=T.int64)),
    "arange into floats": lambda T: T.arange(3, out=T.empty(0)),
    "linspace into doubles": lambda T: T.linspace(0, 1, 4, out=T.empty(0, dtype=T.float64)),
    "linspace into integers": lambda T: T.linspace(0, 5, 3, out=T.empty(3, dtype=T.int64)),
    "zeros into booleans": lambda T: T.zeros(2, out=T.ones(2, dtype=T.bool)),
    "logspace of integers": lambda T: T.logspace(0, 6, steps=9, base=2, dtype=T.int64),
    "logspace between fractions": lambda T: T.logspace(0.7, 3.2, steps=5, base=2, dtype=T.int64),
    "a large integer": lambda T: T.tensor(2**64, dtype=T.float64),
    "large integers": lambda T: T.tensor([2**65, 1.5], dtype=T.float32),
    "a large truth": lambda T: T.tensor([2**64, float("nan"), 0], dtype=T.bool),
    "vander of no powers": lambda T: T.vander(T.arange(3.0), 0),
    "block_diag of nothing": lambda T: T.block_diag(),
    "no window of a scalar": lambda T: T.tensor(0.5).unfold(0, 0, 2),
    "the window of a scalar": lambda T: T.tensor(0.5).unfold(0, 1, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_as_pytorch(name: str) -> None:
    ours, theirs = CASES[name](gl), CASES[name](torch)
    assert tuple(ours.shape) == tuple(theirs.shape) and ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)


def test_random_numbers_have_the_dtype_of_out() -> None:
    draws = []
    for out in (None, gl.empty(0, dtype=gl.float64)):
        gl.manual_seed(1)
        draws.append(gl.rand(4, dtype=gl.float64) if out is None else gl.rand(4, out=out))
    np.testing.assert_array_equal(draws[0].numpy(), draws[1].numpy())


@pytest.mark.parametrize(("low", "high"), [(0, 2**63), (-(2**62), 2**62), (5, 2**60 + 5), (-3, 2**53 + 10)])
def test_integers_of_a_wide_range(low: int, high: int) -> None:
    gl.manual_seed(0)
    t = gl.empty(20_000, dtype=gl.int64)
    a = t.random_().numpy() if high == 2**63 else t.random_(low, high).numpy()
    assert a.min() >= low and int(a.max()) < high
    share = (a.astype(np.float64) - low) / (high - low)
    np.testing.assert_allclose(np.histogram(share, 10, (0, 1))[0] / a.size, 0.1, atol=0.01)
    assert len(np.unique(a & 1023)) == 1024  # the last bits are drawn too


def test_what_no_dtype_holds_is_refused() -> None:
    for dtype in (None, gl.int64):
        with pytest.raises(DTypeError):
            gl.tensor(2**64, dtype=dtype)
