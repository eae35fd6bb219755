"""Order and statistics of tensors without elements: shapes and values as PyTorch has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl

CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "sort": lambda m, x: m.sort(x, -1), "argsort": lambda m, x: m.argsort(x, 0), "topk": lambda m, x: m.topk(x, 0, 0),
    "cumsum": lambda m, x: m.cumsum(x, 0), "cummax": lambda m, x: m.cummax(x, 0),
    "cumprod": lambda m, x: m.cumprod(x, -1), "logcumsumexp": lambda m, x: m.logcumsumexp(x, 0),
    "diff": lambda m, x: m.diff(x), "median": lambda m, x: m.median(x), "nanmedian": lambda m, x: m.nanmedian(x),
    "unique": lambda m, x: m.unique(x, return_inverse=True), "runs": lambda m, x: m.unique_consecutive(x),
    "search": lambda m, x: m.searchsorted(m.tensor([1.0, 2.0]), x),
    "buckets": lambda m, x: m.bucketize(x, m.zeros(0)), "isin": lambda m, x: m.isin(x, m.tensor([1.0])),
    "histc": lambda m, x: m.histc(x, 3), "histogram": lambda m, x: m.histogram(x, 3, range=(0.0, 1.0)),
    "logsumexp": lambda m, x: m.logsumexp(x, 0), "prod": lambda m, x: m.prod(x, 0), "dist": lambda m, x: m.dist(x, x),
    "count_nonzero": lambda m, x: m.count_nonzero(x, 0),
}  # fmt: skip


def flat(x: Any) -> list[Any]:
    return [y for i in x for y in flat(i)] if isinstance(x, (tuple, list)) else [x]


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 3)])
@pytest.mark.parametrize("name", CALLS)
def test_no_elements(name: str, shape: tuple[int, ...]) -> None:
    x = np.zeros(shape, np.float32)
    mine, theirs = CALLS[name](gl, gl.tensor(x)), CALLS[name](torch, torch.tensor(x))
    for a, b in zip(flat(mine), flat(theirs), strict=True):
        assert tuple(a.shape) == tuple(b.shape)
        np.testing.assert_array_equal(a.numpy(), b.numpy())
