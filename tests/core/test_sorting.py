"""Sorting, selection and searching against NumPy and PyTorch: every dtype, length and axis, NaN, equals, gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gradloom as gl
from gradloom.errors import DTypeError, IndexRangeError, ShapeError
from gradloom.testing import check_grads, check_reference

RNG = np.random.default_rng(7)
DTYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "bool"]
SHAPES = [(0,), (1,), (33,), (2, 50, 4)]  # tests/compiler/test_along.py has more
X = RNG.permutation(24).reshape(4, 6) / 7.0


def order(x: np.ndarray, dim: int, descending: bool) -> np.ndarray:
    """Positions that sort an axis, equals in their order."""
    if not descending:
        return np.argsort(x, dim, kind="stable")
    return x.shape[dim] - 1 - np.flip(np.argsort(np.flip(x, dim), dim, kind="stable"), dim)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sort(dtype: str) -> None:
    for shape in SHAPES:
        x = RNG.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)
        if dtype.startswith(("i", "f")):
            x = x - np.asarray(50, dtype)
        for dim in range(len(shape)):
            for descending in (False, True):
                got = gl.sort(gl.tensor(x), dim, descending)
                at = order(x, dim, descending)
                np.testing.assert_array_equal(got.indices.numpy(), at, f"{shape} along {dim}")
                np.testing.assert_array_equal(got.values.numpy(), np.take_along_axis(x, at, dim))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("n", [20, 300])
def test_nan_infinities_and_signed_zeros(dtype: str, n: int) -> None:
    x = RNG.standard_normal(n)
    x[[1, 4, 7, 9, 12, 15]] = np.nan, -np.inf, np.inf, -0.0, 0.0, -0.0
    kind = getattr(torch, dtype)
    mine, theirs = gl.tensor(x, dtype=getattr(gl, dtype)), torch.tensor(x, dtype=kind)
    for descending in (False, True):
        got, want = mine.sort(0, descending), torch.sort(theirs, dim=0, descending=descending, stable=True)
        np.testing.assert_array_equal(got.values.float().numpy(), want.values.float().numpy())
        np.testing.assert_array_equal(got.indices.numpy(), want.indices.numpy())
        k, w = mine.topk(5, largest=descending), torch.topk(theirs, 5, largest=descending)
        np.testing.assert_array_equal(k.values.float().numpy(), w.values.float().numpy())


@settings(max_examples=10, deadline=None)
@given(hnp.arrays(np.int64, hnp.array_shapes(max_dims=2, max_side=70), elements=st.integers(-(2**63), 2**63 - 1)))
def test_extreme_integers(x: np.ndarray) -> None:
    np.testing.assert_array_equal(gl.sort(gl.tensor(x)).values.numpy(), np.sort(x))
    np.testing.assert_array_equal(gl.msort(gl.tensor(x)).numpy(), np.sort(x, 0))


@pytest.mark.parametrize("shape", [(5,), (40, 100), (3, 2000), (70_000,)])
@pytest.mark.parametrize("k", [0, 5, 34])
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
def test_topk(shape: tuple[int, ...], k: int, dtype: str) -> None:
    k = min(k, shape[-1])
    x = RNG.integers(0, 200, shape).astype(dtype)
    for largest in (True, False):
        got = gl.topk(gl.tensor(x), k, largest=largest)
        at = order(x, -1, largest)[..., :k]
        np.testing.assert_array_equal(got.indices.numpy(), at)
        np.testing.assert_array_equal(got.values.numpy(), np.take_along_axis(x, at, -1))
    across = gl.topk(gl.tensor(x.T if x.ndim > 1 else x), k, 0).values.numpy()
    np.testing.assert_array_equal(across.T if x.ndim > 1 else across, -np.sort(-x.astype(np.float64))[..., :k])


@pytest.mark.parametrize("k", [1, 3, 6])
def test_kthvalue(k: int) -> None:
    for dim, keep in ((0, False), (-1, True)):
        if k > X.shape[dim]:
            continue
        got, want = gl.kthvalue(gl.tensor(X), k, dim, keep), torch.kthvalue(torch.tensor(X), k, dim, keep)
        np.testing.assert_array_equal(got.values.numpy(), want.values.numpy())
        np.testing.assert_array_equal(got.indices.numpy(), want.indices.numpy())


@pytest.mark.parametrize("dtype", ["float64", "int32", "uint8"])
@pytest.mark.parametrize("n", [7, 64])
def test_searchsorted(dtype: str, n: int) -> None:
    rows = np.sort(RNG.integers(0, 60, (3, 2, n)).astype(dtype))
    wanted = RNG.integers(0, 70, (3, 2, 11)).astype(dtype)
    for right in (False, True):
        for r, v in ((rows[0, 0], wanted), (rows, wanted)):
            got = gl.searchsorted(gl.tensor(r), gl.tensor(v), right=right, out_int32=n == 7)
            want = torch.searchsorted(torch.tensor(r), torch.tensor(v), right=right, out_int32=n == 7)
            assert got.dtype.name == str(want.dtype).removeprefix("torch.")
            np.testing.assert_array_equal(got.numpy(), want.numpy())
    shuffled = RNG.permuted(rows, axis=-1)
    sorter = np.argsort(shuffled, kind="stable")
    got = gl.searchsorted(gl.tensor(shuffled), gl.tensor(wanted), sorter=gl.tensor(sorter), side="right")
    np.testing.assert_array_equal(got.numpy(), torch.searchsorted(torch.tensor(rows), torch.tensor(wanted), right=True))


def test_search_of_the_unusual() -> None:
    edges = gl.tensor([1.0, 2.0, 4.0])
    np.testing.assert_array_equal(gl.bucketize(gl.tensor([np.nan, np.inf, -np.inf, 2.0]), edges).numpy(), [3, 3, 0, 1])
    np.testing.assert_array_equal(gl.bucketize(gl.tensor([[2, 3]]), edges, right=True).numpy(), [[2, 2]])
    assert gl.searchsorted(edges, 2.5).item() == 2
    assert gl.searchsorted(gl.zeros(0), gl.tensor([1.0])).tolist() == [0]


def test_single_numbers() -> None:
    t = gl.tensor(3.5)
    for out in (t.sort(), t.topk(1), t.kthvalue(1), t.sort(0, True)):
        assert out.values.item() == 3.5 and out.indices.item() == 0 and not out.values.ndim
    assert t.argsort().item() == 0
    assert t.topk(0).values.shape == ()  # as PyTorch has it


GRADIENTS: dict[str, Callable[..., Any]] = {
    "sort": lambda x: (x * x).sort(1).values,
    "sort down columns": lambda x: (x * x).sort(0, descending=True)[0],
    "msort": lambda x: (x * x).msort(),
    "topk": lambda x: (x * x).topk(2).values,
    "topk of columns": lambda x: (x * x).topk(2, 0, largest=False)[0],
    "kthvalue": lambda x: (x * x).kthvalue(2, 1).values,
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name: str) -> None:
    check_grads(GRADIENTS[name], [X], order=2, rtol=1e-4, atol=1e-4)
    check_reference(GRADIENTS[name], [X])


def test_values_alone_need_no_positions() -> None:
    text = gl.explain(lambda: gl.sort(gl.tensor(X)).values)
    assert "positions=False" in text and "positions=True" not in text


ERRORS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "topk": (lambda: gl.topk(gl.zeros(3), 4), IndexRangeError, "k = 4 is out of range for an axis of 3"),
    "kthvalue": (lambda: gl.kthvalue(gl.zeros(3), 0), IndexRangeError, "k = 0 is out of range"),
    "axis": (lambda: gl.sort(gl.zeros(3), 1), IndexRangeError, "axis 1 is out of range"),
    "complex": (lambda: gl.sort(gl.zeros(3, dtype=gl.complex64)), DTypeError, "no order"),
    "rows": (lambda: gl.searchsorted(gl.zeros(2, 3), gl.zeros(4)), ShapeError, "leading axes"),
    "sorter": (lambda: gl.searchsorted(gl.zeros(3), gl.zeros(4), sorter=gl.tensor([0])), ShapeError, "sorter"),
    "side": (lambda: gl.searchsorted(gl.zeros(3), 1.0, right=True, side="left"), ValueError, "do not go together"),
    "boundaries": (lambda: gl.bucketize(gl.zeros(3), gl.zeros(2, 2)), ShapeError, "one dimension"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    fn, kind, text = ERRORS[name]
    with pytest.raises(kind, match=text):
        fn()
