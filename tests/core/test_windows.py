"""Window functions against SciPy's, under both of their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import windows as scipy_windows

import gradloom as gl
from gradloom.errors import ArgumentError, ShapeError
from gradloom.signal import windows as W

WINDOWS: dict[str, list[dict[str, Any]]] = {
    "bartlett": [{}], "blackman": [{}], "cosine": [{}], "hann": [{}], "hamming": [{}], "nuttall": [{}],
    "exponential": [{}, {"tau": 3.0}], "gaussian": [{"std": 1.0}, {"std": 2.5}],
    "general_cosine": [{"a": [0.5, 0.3, 0.2]}], "general_hamming": [{"alpha": 0.6}],
    "kaiser": [{"beta": 12.0}, {"beta": 0.0}],
}  # fmt: skip


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("sym", [True, False])
@pytest.mark.parametrize("M", [0, 1, 2, 7, 8])
def test_windows(name: str, sym: bool, M: int) -> None:
    for options in WINDOWS[name]:
        got = getattr(W, name)(M, sym=sym, dtype=gl.float64, **options).numpy()
        want = getattr(scipy_windows, name)(M, sym=sym, **options)
        np.testing.assert_allclose(got, want, atol=1e-7 if name == "nuttall" else 1e-12)


@pytest.mark.parametrize("name", ["bartlett", "blackman", "hamming", "hann", "kaiser"])
def test_older_names(name: str) -> None:
    ours, theirs = getattr(gl, name + "_window"), getattr(torch, name + "_window")
    for M in (0, 1, 2, 9):
        for periodic in (True, False):
            got, want = ours(M, periodic), theirs(M, periodic)
            assert got.dtype is gl.float32
            np.testing.assert_allclose(got.numpy(), want.numpy(), atol=2e-6)
    got, want = gl.hamming_window(5, True, 0.6, 0.3), torch.hamming_window(5, True, 0.6, 0.3)
    np.testing.assert_allclose(got.numpy(), want.numpy(), atol=1e-6)


def test_options() -> None:
    w = W.hann(4, dtype=gl.float64, requires_grad=True)
    assert w.dtype is gl.float64 and w.requires_grad and w.is_leaf
    np.testing.assert_allclose(W.exponential(5, center=0, sym=False).numpy(), np.exp(-np.arange(5)), rtol=1e-6)


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: W.hann(-1), ShapeError, "window of -1 points"),
    (lambda: W.hann(4, dtype=gl.int64), ArgumentError, "not floating"),
    (lambda: W.gaussian(4, std=0), ValueError, "std must be positive"),
    (lambda: W.exponential(4, tau=-1), ValueError, "tau must be positive"),
    (lambda: W.exponential(4, center=1), ValueError, "only with sym=False"),
    (lambda: W.kaiser(4, beta=-1), ValueError, "beta"),
    (lambda: W.general_cosine(4, a=[]), ValueError, "one or more, got"),
]


@pytest.mark.parametrize("call, error, text", REFUSED)
def test_refused(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
