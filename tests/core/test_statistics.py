"""Medians, quantiles, modes, histograms, counts, covariances and distances against NumPy, SciPy and PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.spatial.distance as sd
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gradloom as gl
from gradloom.errors import DTypeError, IndexRangeError, ShapeError
from gradloom.testing import check_grads, check_reference

RNG = np.random.default_rng(8)
X = RNG.permutation(30).reshape(5, 6) / 4.0
HOLES = X.copy()
HOLES[[0, 1, 3, 3], [2, 2, 4, 5]] = np.nan
COUNTS = RNG.integers(0, 4, (5, 9))
POINTS = RNG.standard_normal((7, 3))
OTHERS = RNG.standard_normal((4, 3))


def flat(x: Any) -> list[Any]:
    return [y for i in x for y in flat(i)] if isinstance(x, (tuple, list)) else [x]


def like_pytorch(fn: Callable[..., Any], *arrays: np.ndarray) -> None:
    mine, theirs = fn(gl, *map(gl.tensor, arrays)), fn(torch, *map(torch.tensor, arrays))
    for a, b in zip(flat(mine), flat(theirs), strict=True):
        assert tuple(a.shape) == tuple(b.shape)
        assert a.dtype.name == str(b.dtype).removeprefix("torch.")
        np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-6, 1e-9)


CASES: dict[str, tuple[Callable[..., Any], list[np.ndarray]]] = {
    "median": (lambda m, x: m.median(x), [X]),
    "median of rows": (lambda m, x: m.median(x, 1), [X]),
    "median with NaN": (lambda m, x: m.median(x, 1, True), [HOLES]),
    "median of all with NaN": (lambda m, x: m.median(x), [HOLES]),
    "median of integers": (lambda m, x: m.median(x, 0).values, [COUNTS]),
    "median of nothing": (lambda m, x: m.median(x), [np.zeros(0)]),
    "nanmedian": (lambda m, x: m.nanmedian(x, 1), [HOLES]),
    "nanmedian of all": (lambda m, x: m.nanmedian(x), [HOLES]),
    "nanmedian of NaN": (lambda m, x: m.nanmedian(x, 0), [np.full((3, 2), np.nan)]),
    "mode": (lambda m, x: m.mode(x, 1).values, [COUNTS]),
    "mode, keeping": (lambda m, x: m.mode(x, 0, True).values, [COUNTS]),
    "quantile": (lambda m, x: m.quantile(x, 0.3), [X]),
    "quantiles of rows": (lambda m, x: m.quantile(x, m.tensor([0.0, 0.21, 1.0], dtype=m.float64), 1), [X]),
    "quantiles, keeping": (lambda m, x: m.quantile(x, m.tensor([0.5], dtype=m.float64), 0, True), [X]),
    "quantile with NaN": (lambda m, x: m.quantile(x, 0.4, 1), [HOLES]),
    "nanquantile": (lambda m, x: m.nanquantile(x, 0.4, 1, True), [HOLES]),
    "nanquantile of all": (lambda m, x: m.nanquantile(x, m.tensor([0.2, 0.9], dtype=m.float64)), [HOLES]),
    "histc": (lambda m, x: m.histc(x, 5), [X]),
    "histc of a range": (lambda m, x: m.histc(x, 4, 1.0, 3.0), [HOLES]),
    "histc of one value": (lambda m, x: m.histc(x, 4), [np.full(3, 2.0)]),
    "histogram": (lambda m, x: m.histogram(x, 5), [X]),
    "histogram, weighted": (lambda m, x: m.histogram(x, 4, range=(1.0, 5.0), weight=x * x), [X]),
    "histogram by edges": (lambda m, x: m.histogram(x, m.tensor([0.0, 1.0, 5.0], dtype=m.float64), density=True), [X]),
    "histogramdd": (lambda m, x: m.histogramdd(x, [2, 3, 4]), [POINTS]),
    "histogramdd, dense": (lambda m, x: m.histogramdd(x, 2, range=[-1.0, 1.0] * 3, density=True), [POINTS]),
    "bincount": (lambda m, x: m.bincount(x, minlength=6), [COUNTS[0]]),
    "bincount, weighted": (lambda m, x, w: m.bincount(x, w), [COUNTS[0], RNG.random(9).astype(np.float32)]),
    "bincount of nothing": (lambda m, x: m.bincount(x), [np.zeros(0, np.int64)]),
    "cov": (lambda m, x: m.cov(x), [X]),
    "cov of one row": (lambda m, x: m.cov(x, correction=0), [X[0]]),
    "cov, weighted": (lambda m, x, f, a: m.cov(x, fweights=f, aweights=a), [X, np.arange(1, 7), RNG.random(6)]),
    "cov, counted": (lambda m, x, f: m.cov(x, fweights=f, correction=2), [X, np.arange(1, 7)]),
    "cov of integers": (lambda m, x: m.cov(x), [COUNTS]),
    "cov of complex numbers": (lambda m, x: m.cov(x), [POINTS + 1j * POINTS[::-1] ** 2]),
    "corrcoef of complex numbers": (lambda m, x: m.corrcoef(x), [POINTS + 1j * POINTS[::-1] ** 2]),
    "corrcoef": (lambda m, x: m.corrcoef(x), [X]),
    "corrcoef of one row": (lambda m, x: m.corrcoef(x), [X[0]]),
    "dist": (lambda m, x, y: m.dist(x, y, 3), [X, X[:1]]),
    "pairwise_distance": (lambda m, x, y: m.nn.functional.pairwise_distance(x, y, keepdim=True), [X, X[::-1].copy()]),
    **{
        f"quantile, {how}": (lambda m, x, how=how: m.quantile(x, 0.37, 1, interpolation=how), [X])
        for how in ("lower", "higher", "midpoint", "nearest")
    },
}


@pytest.mark.parametrize("name", CASES)
def test_like_pytorch(name: str) -> None:
    fn, arrays = CASES[name]
    like_pytorch(fn, *arrays)


@settings(max_examples=10, deadline=None)
@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=6), elements=st.floats(-9, 9)), st.floats(0, 1))
def test_quantiles_like_numpy(x: np.ndarray, q: float) -> None:
    np.testing.assert_allclose(gl.quantile(gl.tensor(x), q).numpy(), np.quantile(x, q), 1e-9, 1e-9)
    np.testing.assert_allclose(gl.quantile(gl.tensor(x), q, axis=0).numpy(), np.quantile(x, q, axis=0), 1e-9, 1e-9)


def test_infinite_quantiles() -> None:
    assert gl.quantile(gl.tensor([1.0, np.inf, np.inf]), 1.0).item() == np.inf


METRICS = {0.0: "hamming", 1.0: "cityblock", 2.0: "euclidean", np.inf: "chebyshev", 3.0: "minkowski", 0.5: "minkowski"}


@pytest.mark.parametrize("p", METRICS)
def test_distances_like_scipy(p: float) -> None:
    extra = {"p": p} if METRICS[p] == "minkowski" else {}
    scale = 3 if p == 0 else 1  # hamming is a share
    want = sd.cdist(POINTS, OTHERS, METRICS[p], **extra) * scale
    np.testing.assert_allclose(gl.cdist(gl.tensor(POINTS), gl.tensor(OTHERS), p).numpy(), want, 1e-9)
    want = sd.pdist(POINTS, METRICS[p], **extra) * scale
    np.testing.assert_allclose(gl.nn.functional.pdist(gl.tensor(POINTS), p).numpy(), want, 1e-9)


@pytest.mark.parametrize("mode", ["use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist", None])
def test_many_distances(mode: str | None) -> None:
    x, y = RNG.standard_normal((2, 30, 8)), RNG.standard_normal((2, 40, 8))
    got = gl.cdist(gl.tensor(x), gl.tensor(y), compute_mode=mode).numpy()
    np.testing.assert_allclose(got, [sd.cdist(a, b) for a, b in zip(x, y, strict=True)], 1e-8)


GRADIENTS: dict[str, tuple[Callable[..., Any], list[np.ndarray]]] = {
    "median": (lambda x: (x * x).median(1).values, [X]),
    "median of all": (lambda x: (x * x).median(), [X]),
    "nanmedian": (lambda x: (x * x).nanmedian(0).values, [X]),
    "quantile": (lambda x: gl.quantile(x * x, 0.3, 1), [X]),
    "nanquantile": (lambda x: gl.nanquantile(x * x, 0.7, 0), [X]),
    "cov": (lambda x: gl.cov(x), [X[:2]]),
    "corrcoef": (lambda x: gl.corrcoef(x), [X[:2]]),
    "dist": (lambda x, y: gl.dist(x, y, 3), [X[0], X[1] + 0.1]),
    "cdist": (lambda x, y: gl.cdist(x, y), [POINTS, OTHERS]),
    "cdist of order 1.5": (lambda x, y: gl.cdist(x, y, 1.5), [POINTS[:3], OTHERS]),
    "cdist by products": (lambda x, y: gl.cdist(x, y, 2.0, "use_mm_for_euclid_dist"), [POINTS[:3], OTHERS]),
    "pdist": (lambda x: gl.nn.functional.pdist(x), [POINTS[:4]]),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name: str) -> None:
    fn, xs = GRADIENTS[name]
    check_grads(fn, xs, order=2, rtol=1e-3, atol=1e-3)
    check_reference(fn, xs)


def test_gradient_of_equal_points_is_zero() -> None:
    for p in (0.0, 0.5, 1.0, 2.0, 3.0, np.inf):
        t = gl.tensor(np.ones((2, 3)), requires_grad=True)
        gl.cdist(t, gl.tensor(np.ones((2, 3))), p).sum().backward()
        np.testing.assert_array_equal(t.grad.numpy(), np.zeros((2, 3)), f"p = {p}")


def test_equals_share_the_gradient_of_the_median() -> None:
    x = np.array([1.0, 2.0, 2.0, 2.0, 5.0])
    t, u = gl.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    t.median().backward()
    u.median().backward()
    np.testing.assert_allclose(t.grad.numpy(), u.grad.numpy())


ERRORS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "median": (lambda: gl.median(gl.zeros(0, 2), 0), IndexRangeError, "is empty"),
    "mode": (lambda: gl.mode(gl.zeros(2, 0)), IndexRangeError, "is empty"),
    "level": (lambda: gl.quantile(gl.zeros(3), 1.5), ValueError, r"within \[0, 1\]"),
    "levels": (lambda: gl.quantile(gl.zeros(3), gl.tensor([-0.5])), ValueError, r"within \[0, 1\]"),
    "interpolation": (lambda: gl.quantile(gl.zeros(3), 0.5, interpolation="x"), ValueError, "one of linear"),
    "quantile of integers": (lambda: gl.quantile(gl.tensor([1]), 0.5), DTypeError, "not float32 or float64"),
    "bins": (lambda: gl.histc(gl.zeros(3), 0), ValueError, "at least 1"),
    "range": (lambda: gl.histc(gl.zeros(3), 2, 3.0, 1.0), ValueError, "ascending"),
    "coordinates": (lambda: gl.histogramdd(gl.zeros(3, 2), [1]), ShapeError, "points of 2 coordinates"),
    "bincount": (lambda: gl.bincount(gl.tensor([-1])), ValueError, "found -1"),
    "bincount of floats": (lambda: gl.bincount(gl.zeros(3)), DTypeError, "not an integer"),
    "observations": (lambda: gl.cov(gl.zeros(2, 3), fweights=gl.tensor([1])), ShapeError, "for 3 observations"),
    "cdist": (lambda: gl.cdist(gl.zeros(3, 2), gl.zeros(3, 4)), ShapeError, "equally many coordinates"),
    "order": (lambda: gl.cdist(gl.zeros(3, 2), gl.zeros(3, 2), -1.0), ValueError, "not be negative"),
    "compute_mode": (lambda: gl.cdist(gl.zeros(3, 2), gl.zeros(3, 2), compute_mode="x"), ValueError, "not known"),
    "pdist": (lambda: gl.nn.functional.pdist(gl.zeros(3)), ShapeError, "matrix"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    fn, kind, text = ERRORS[name]
    with pytest.raises(kind, match=text):
        fn()
