"""Distinct elements, runs and membership against NumPy and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gradloom as gl
from gradloom.errors import IndexRangeError, ShapeError

RNG = np.random.default_rng(9)
ROWS = RNG.integers(0, 2, (6, 3))
INPUTS: dict[str, np.ndarray] = {
    "integers": RNG.integers(-3, 4, (4, 5)),
    "floats": RNG.integers(-3, 4, (4, 5)) / 2.0,
    "bool": np.array([True, False, True]),
    "bytes": RNG.integers(0, 5, 40).astype(np.uint8),
    "many": RNG.integers(0, 500, 3000),
    "one": np.array(3),
    "none": np.zeros(0, np.float32),
    "NaN": np.array([1.0, np.nan, 1.0, np.nan, -np.inf]),
    "runs": np.array([1, 1, 2, 2, 2, 1, 3, 3]),
}


def flat(x: Any) -> list[Any]:
    return list(x) if isinstance(x, tuple) else [x]


def same(mine: Any, theirs: Any) -> None:
    for a, b in zip(flat(mine), flat(theirs), strict=True):
        assert a.dtype.name == str(b.dtype).removeprefix("torch.")
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("function", ["unique", "unique_consecutive"])
def test_like_pytorch(function: str, name: str) -> None:
    x = INPUTS[name]
    for inverse in (False, True):
        for counts in (False, True):
            asked = {"return_inverse": inverse, "return_counts": counts}
            same(getattr(gl, function)(gl.tensor(x), **asked), getattr(torch, function)(torch.tensor(x), **asked))


@pytest.mark.parametrize("function", ["unique", "unique_consecutive"])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_slices(function: str, dim: int) -> None:
    asked = {"return_inverse": True, "return_counts": True, "dim": dim}
    for x in (ROWS, ROWS / 2, ROWS.reshape(3, 2, 3)):
        same(getattr(gl.tensor(x), function)(**asked), getattr(torch.tensor(x), function)(**asked))


@settings(max_examples=15, deadline=None)
@given(hnp.arrays(np.int64, hnp.array_shapes(max_dims=2, max_side=9), elements=st.integers(-4, 4)))
def test_array_api(x: np.ndarray) -> None:
    t = gl.tensor(x)
    values, indices, inverse, counts = np.unique_all(x)
    np.testing.assert_array_equal(gl.unique_values(t).numpy(), values)
    got = gl.unique_all(t)
    np.testing.assert_array_equal(got.values.numpy(), values)
    np.testing.assert_array_equal(got.indices.numpy(), indices)
    np.testing.assert_array_equal(got.inverse_indices.numpy(), inverse)
    np.testing.assert_array_equal(gl.unique_counts(t).counts.numpy(), counts)
    np.testing.assert_array_equal(gl.unique_inverse(t).inverse_indices.numpy(), inverse)
    np.testing.assert_array_equal(got.values.numpy()[got.inverse_indices.numpy()], x)


@settings(max_examples=10, deadline=None)
@given(hnp.arrays(np.int64, (3, 4), elements=st.integers(-9, 9)), hnp.arrays(np.int64, 5, elements=st.integers(-9, 9)))
def test_isin(x: np.ndarray, among: np.ndarray) -> None:
    for invert in (False, True):
        got = gl.isin(gl.tensor(x), gl.tensor(among), invert=invert)
        np.testing.assert_array_equal(got.numpy(), np.isin(x, among, invert=invert))


def test_isin_of_numbers() -> None:
    assert gl.isin(2, gl.tensor([1, 2])).item() is True
    np.testing.assert_array_equal(gl.isin(gl.tensor([1.0, 2.0]), 2).numpy(), [False, True])


def test_distinct_values_carry_no_gradient() -> None:
    assert not gl.unique(gl.tensor([2.0, 1.0], requires_grad=True)).requires_grad


def test_errors() -> None:
    with pytest.raises(ShapeError, match="slices without elements"):
        gl.unique(gl.zeros(3, 0), dim=0)
    with pytest.raises(IndexRangeError, match="axis 2"):
        gl.unique(gl.zeros(3, 3), dim=2)


@pytest.mark.parametrize("function", ["unique", "unique_consecutive"])
def test_no_slices(function: str) -> None:
    x = np.zeros((0, 3))
    same(getattr(gl, function)(gl.tensor(x), dim=0), getattr(torch, function)(torch.tensor(x), dim=0))
