"""Pixels computed between pixels: separable resizing, and sampling along an affine map.

Filters: triangle, and Keys' cubic (1981) with a = -0.75, or -0.5 where the filter widens against aliasing, as Pillow
and PyTorch have them.
"""

from __future__ import annotations

import functools

import numpy as np

from gradloom.vision.transforms.images import InterpolationMode

__all__ = ["affine_sample", "resize_array"]


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


@functools.lru_cache(maxsize=256)
def _weights(before: int, after: int, mode: InterpolationMode, antialias: bool) -> np.ndarray:
    """The matrix (after, before) of one axis."""
    scale = before / after
    rows = np.arange(after)
    matrix = np.zeros((after, before))
    if mode in (InterpolationMode.NEAREST, InterpolationMode.NEAREST_EXACT):
        shift = 0.5 if mode is InterpolationMode.NEAREST_EXACT else 0.0
        matrix[rows, np.minimum(((rows + shift) * scale).astype(np.int64), before - 1)] = 1
        return matrix
    centres = (rows + 0.5) * scale
    radius = 1 if mode is InterpolationMode.BILINEAR else 2
    if antialias:
        wide = max(scale, 1.0)
        support = radius * wide
        first = np.maximum((centres - support + 0.5).astype(np.int64), 0)
        last = np.minimum((centres + support + 0.5).astype(np.int64), before)
        at = np.arange(before)[None, :]
        x = (at - centres[:, None] + 0.5) / wide
        matrix = _triangle(x) if radius == 1 else _cubic(x, -0.5)
        matrix = np.where((at >= first[:, None]) & (at < last[:, None]), matrix, 0.0)
        return matrix / matrix.sum(1, keepdims=True)
    source = centres - 0.5
    if radius == 1:
        source = np.maximum(source, 0)
    base = np.floor(source).astype(np.int64)
    for step in range(1 - radius, radius + 1):
        x = source - (base + step)
        weight = _triangle(x) if radius == 1 else _cubic(x, -0.75)
        np.add.at(matrix, (rows, np.clip(base + step, 0, before - 1)), weight)  # the border is repeated
    return matrix


def resize_array(a: np.ndarray, size: tuple[int, int], mode: InterpolationMode, antialias: bool) -> np.ndarray:
    """(..., H, W) to (..., *size); integers are rounded and kept in range. Raises ValueError for another mode."""
    if mode not in (
        InterpolationMode.NEAREST, InterpolationMode.NEAREST_EXACT, InterpolationMode.BILINEAR,
        InterpolationMode.BICUBIC,
    ):  # fmt: skip
        raise ValueError(f"tensors are not resized by {mode.value!r}; take nearest, bilinear or bicubic")
    if a.shape[-2:] == size:
        return a
    if mode in (InterpolationMode.NEAREST, InterpolationMode.NEAREST_EXACT):
        rows, columns = (_weights(n, m, mode, False).argmax(1) for n, m in zip(a.shape[-2:], size, strict=True))
        return a[..., rows[:, None], columns]
    work = a.dtype if a.dtype in (np.float32, np.float64) else np.dtype(np.float32)
    down, across = (_weights(n, m, mode, antialias).astype(work) for n, m in zip(a.shape[-2:], size, strict=True))
    return _cast(down @ (a.astype(work, copy=False) @ across.T), a.dtype)


def _cast(a: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Back to the dtype of the image: integers are rounded and cut to their range."""
    if dtype.kind not in "iu":
        return a.astype(dtype, copy=False)
    info = np.iinfo(dtype)
    return np.clip(np.rint(a), info.min, info.max).astype(dtype)


def affine_sample(
    a: np.ndarray, matrix: np.ndarray, size: tuple[int, int], mode: InterpolationMode, fill: np.ndarray | None
) -> np.ndarray:
    """(..., C, H, W) to (..., C, *size): the pixel (x, y), from the middle, is read at ``matrix @ (x, y, 1)``.

    What lies outside of the image is ``fill`` (C, 1, 1), or 0; between pixels it is mixed in.
    """
    if mode not in (InterpolationMode.NEAREST, InterpolationMode.BILINEAR):
        raise ValueError(f"tensors are not rotated by {mode.value!r}; take nearest or bilinear")
    h, w = a.shape[-2:]
    x = np.arange(size[1]) - (size[1] - 1) / 2
    y = (np.arange(size[0]) - (size[0] - 1) / 2)[:, None]
    u = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] + (w - 1) / 2
    v = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] + (h - 1) / 2
    work = a.dtype if a.dtype in (np.float32, np.float64) else np.dtype(np.float32)
    source = a.astype(work, copy=False)
    out = np.zeros((*a.shape[:-2], *size), work)
    cover = np.zeros(size, work)
    if mode is InterpolationMode.NEAREST:
        corners = [(np.rint(v).astype(np.int64), np.rint(u).astype(np.int64), np.ones(size, work))]
    else:
        top, left = np.floor(v).astype(np.int64), np.floor(u).astype(np.int64)
        fy, fx = (v - top).astype(work), (u - left).astype(work)
        corners = [
            (top + i, left + j, (fy if i else 1 - fy) * (fx if j else 1 - fx)) for i in (0, 1) for j in (0, 1)
        ]  # fmt: skip
    for row, column, share in corners:
        weight = share * ((row >= 0) & (row < h) & (column >= 0) & (column < w))
        out += source[..., np.clip(row, 0, h - 1), np.clip(column, 0, w - 1)] * weight
        cover += weight
    if fill is not None:
        rest = np.broadcast_to(fill.astype(work), out.shape)
        nearest = mode is InterpolationMode.NEAREST
        out = np.where(cover < 0.5, rest, out) if nearest else out * cover + (1 - cover) * rest
    return _cast(out, a.dtype)
