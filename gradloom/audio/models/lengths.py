"""Rows of different lengths: which frames are there, and what becomes of lengths."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.tensor import Tensor, tensor

__all__ = ["features_of", "present", "reversed_rows", "strided"]


def features_of(name: str, x: Tensor, lengths: Any, width: int) -> Tensor | None:
    """Lengths as a tensor, or None. Raises ShapeError for features that are not (batch, time, width)."""
    if x.ndim != 3 or x.shape[2] != width or not x.shape[1]:
        raise ShapeError(
            f"{name}: features of shape {tuple(x.shape)}, expected (batch, time, {width})", code="shape.audio",
            hint="transforms give (batch, bands, time): swap the last two axes",
        )  # fmt: skip
    if lengths is None:
        return None
    t = lengths if isinstance(lengths, Tensor) else tensor(np.asarray(lengths, np.int64))
    if tuple(t.shape) != (x.shape[0],):
        raise ShapeError(f"{name}: lengths of shape {tuple(t.shape)} for {x.shape[0]} rows", code="shape.audio")
    G.check_range(t, 1, x.shape[1] + 1, f"{name}: lengths", "index.audio")
    return t


def present(lengths: Tensor, count: int) -> Tensor:
    """(batch, count): whether a row has a frame."""
    return G.arange(count) < G.unsqueeze(lengths, 1)


def strided(lengths: Tensor | None, stride: int) -> Tensor | None:
    """Lengths behind a convolution that keeps them but for its stride: ceil(n / stride)."""
    return None if lengths is None else G.floor_divide(lengths + (stride - 1), stride)


def reversed_rows(x: Tensor, lengths: Tensor | None) -> Tensor:
    """(batch, time, width) with time turned round; padding stays behind."""
    batch, count, width = x.shape
    if lengths is None:
        return G.flip(x, (1,))
    n, t = G.unsqueeze(lengths, 1), G.arange(count)
    rows = G.where(t < n, n - 1 - t, t) + G.unsqueeze(G.arange(batch), 1) * count
    flat = G.index_select(G.reshape(x, (batch * count, width)), 0, G.reshape(rows, (batch * count,)))
    return G.reshape(flat, (batch, count, width))
