"""Images brought to a size: every interpolation as two products with matrices of weights."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.functions.einsum import einsum
from gradloom.keras import config
from gradloom.keras.names import lookup
from gradloom.tensor import Tensor, from_numpy


def _box(x: np.ndarray) -> np.ndarray:
    return (np.abs(x) <= 0.5).astype(float)


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(0, 1 - np.abs(x))


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys 1981 with a = -1/2."""
    x = np.abs(x)
    near, far = ((1.5 * x - 2.5) * x) * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def _lanczos(x: np.ndarray, radius: float) -> np.ndarray:
    return np.where(np.abs(x) < radius, np.sinc(x) * np.sinc(x / radius), 0)


KERNELS: dict[str, Any] = {
    "bilinear": _triangle,
    "bicubic": _cubic,
    "lanczos3": lambda x: _lanczos(x, 3.0),
    "lanczos5": lambda x: _lanczos(x, 5.0),
    "nearest": _box,
}


@functools.lru_cache(maxsize=64)
def weights(size: int, wanted: int, kind: str, antialias: bool) -> np.ndarray:
    """The matrix (wanted, size) that resamples an axis, centres of pixels at halves."""
    at = (np.arange(wanted) + 0.5) * (size / wanted) - 0.5
    if kind == "nearest":
        chosen = np.minimum(np.floor(at + 0.5 + 1e-9).astype(int), size - 1)
        return (chosen[:, None] == np.arange(size)).astype(np.float32)
    wide = max(size / wanted, 1.0) if antialias else 1.0
    found = KERNELS[kind]((at[:, None] - np.arange(size)) / wide)
    total = found.sum(1, keepdims=True)
    found = np.where(np.abs(total) > 1e-8, found / np.where(total == 0, 1, total), 0)
    return found.astype(np.float32)


def resize(images: Tensor, size: Any, interpolation: str = "bilinear", antialias: bool = False,
           data_format: Any = None) -> Tensor:  # fmt: skip
    """Images (..., height, width, channels) in another size, in float32 at least but for "nearest"."""
    lookup("interpolation", interpolation, KERNELS)
    first = config.checked_format(data_format) == "channels_first"
    x = images if images.dtype.is_floating else images.to(config.as_dtype("float32"))
    axes = (x.ndim - 2, x.ndim - 1) if first else (x.ndim - 3, x.ndim - 2)
    letters = "abcdefgh"[: x.ndim]
    for axis, wanted in zip(axes, size):
        if x.shape[axis] != wanted:
            w = from_numpy(weights(x.shape[axis], int(wanted), interpolation, antialias)).to(x.dtype)
            out = letters.replace(letters[axis], "z")
            x = einsum(f"{letters},z{letters[axis]}->{out}", x, w)
    if interpolation == "nearest" and x.dtype is not images.dtype:
        x = x.to(images.dtype)
    return x


def cropped(images: Tensor, top: int, left: int, height: int, width: int, first: bool) -> Tensor:
    """A part of images."""
    if first:
        return images[..., :, top : top + height, left : left + width]
    return images[..., top : top + height, left : left + width, :]


def folded(at: Tensor, size: int, fill_mode: str) -> tuple[Tensor, Any]:
    """Positions inside of an axis; for "constant" where they were inside already too, None else."""
    if fill_mode == "constant":
        return G.clamp(at, 0, size - 1), G.logical_and(at >= 0, at <= size - 1)
    if fill_mode == "nearest":
        return G.clamp(at, 0, size - 1), None
    if fill_mode == "wrap":
        return G.remainder(at, size), None
    if fill_mode == "mirror":  # the edge is not repeated
        at = G.remainder(at, max(2 * size - 2, 1))
        return G.where(at < size, at, (2 * size - 2) - at), None
    at = G.remainder(at, 2 * size)
    return G.where(at < size, at, (2 * size - 1) - at), None


def transformed(x: Tensor, rows: Tensor, columns: Tensor, fill_mode: str, interpolation: str, fill: float) -> Tensor:
    """Images (n, h, w, c) looked at in other places: rows and columns (n, h, w), by interpolation."""
    n, h, w, c = x.shape
    flat = x.reshape(n * h * w, c)
    start = (G.arange(n) * (h * w)).reshape(n, 1, 1)

    def pixel(i: Tensor, j: Tensor) -> Tensor:
        (i, a), (j, b) = folded(i, h, fill_mode), folded(j, w, fill_mode)
        found = G.index_select(flat, 0, (start + i * w + j).reshape(-1)).reshape(n, h, w, c)
        if a is None:
            return found
        inside = G.logical_and(a, b).unsqueeze(-1)
        return G.where(inside, found, found * 0.0 + fill)

    whole = config.as_dtype("int64")
    if interpolation == "nearest":
        return pixel(G.floor(rows + 0.5).to(whole), G.floor(columns + 0.5).to(whole))
    i, j = G.floor(rows), G.floor(columns)
    di, dj = (rows - i).unsqueeze(-1), (columns - j).unsqueeze(-1)
    i, j = i.to(whole), j.to(whole)
    top = pixel(i, j) * (1.0 - dj) + pixel(i, j + 1) * dj
    bottom = pixel(i + 1, j) * (1.0 - dj) + pixel(i + 1, j + 1) * dj
    return top * (1.0 - di) + bottom * di


def fitted(size: tuple[int, int], wanted: tuple[int, int], inside: bool) -> tuple[int, int]:
    """The largest size of the wanted proportions inside of an image, or the one that fits around it."""
    h, w = size
    ratio = wanted[0] / wanted[1]
    if inside:
        return (min(h, max(1, int(w * ratio))), min(w, max(1, int(h / ratio))))
    return max(h, math.ceil(w * ratio - 1e-9)), max(w, math.ceil(h / ratio - 1e-9))
