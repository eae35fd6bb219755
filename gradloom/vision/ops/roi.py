"""Regions of interest cut from maps at a fixed size.

The values of the boxes decide which elements are read, so these functions look at them; what is read from the map is
gathered and weighed by ordinary operations, through which gradients reach the map. Boxes have no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom import dtypes, nn
from gradloom.errors import DTypeError, ShapeError
from gradloom.functions import PUBLIC
from gradloom.tensor import Tensor, from_numpy

__all__ = [
    "PSRoIAlign", "PSRoIPool", "RoIAlign", "RoIPool", "ps_roi_align", "ps_roi_pool", "roi_align", "roi_pool",
]  # fmt: skip

Boxes = Tensor | Sequence[Tensor]


def _regions(name: str, input: Tensor, boxes: Boxes) -> np.ndarray:
    """Rows (image, x1, y1, x2, y2) in the dtype of the map."""
    if input.ndim != 4:
        raise ShapeError(
            f"{name}: the map has shape (N, C, H, W), got {tuple(input.shape)}", code=f"shape.{name}",
            hint="one map needs input.unsqueeze(0)",
        )  # fmt: skip
    if not input.dtype.is_floating:
        raise DTypeError(
            f"{name}: the map has dtype {input.dtype.name}", code=f"dtype.{name}", hint="convert it with .float()"
        )
    if isinstance(boxes, Tensor):
        if boxes.ndim != 2 or boxes.shape[1] != 5:
            raise ShapeError(
                f"{name}: boxes in one tensor have shape (K, 5), image and corners; got {tuple(boxes.shape)}",
                code=f"shape.{name}", hint="or give a list with one tensor (L, 4) for each image",
            )  # fmt: skip
        rows = boxes.numpy()
    else:
        for b in boxes:
            if b.ndim != 2 or b.shape[1] != 4:
                raise ShapeError(
                    f"{name}: boxes of an image have shape (L, 4), got {tuple(b.shape)}", code=f"shape.{name}",
                    hint="corners x1, y1, x2, y2",
                )  # fmt: skip
        if len(boxes) != input.shape[0]:
            raise ShapeError(
                f"{name}: {len(boxes)} tensors of boxes for {input.shape[0]} images", code=f"shape.{name}",
                hint="the list has one tensor for each image",
            )  # fmt: skip
        parts = [np.insert(b.numpy(), 0, k, axis=1) for k, b in enumerate(boxes)]
        rows = np.concatenate(parts) if parts else np.zeros((0, 5))
    work = np.float64 if input.dtype is dtypes.float64 else np.float32
    rows = rows.astype(work)
    image = rows[:, 0]
    if rows.size and (image.min() < 0 or image.max() >= input.shape[0]):
        raise ShapeError(
            f"{name}: boxes of images {int(image.min())} to {int(image.max())}, there are {input.shape[0]}",
            code=f"index.{name}", hint="the first column is the number of the image",
        )  # fmt: skip
    return rows


def _nothing(input: Tensor, size: tuple[int, int]) -> Tensor:
    """The result for no boxes, (0, C, ph, pw), through which gradients pass all the same."""
    return input[:0, :, :1, :1].expand(0, input.shape[1], *size)


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    h, w = (size, size) if isinstance(size, int) else (int(n) for n in size)
    return h, w


def _samples(
    start: np.ndarray, length: np.ndarray, bins: int, ratio: int, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where bilinear samples along one axis fall: indices and weights (K, bins, samples, 2), and their number (K,).

    A sample further than one pixel outside counts as zero. Boxes with fewer samples than the most have zeros behind.
    """
    each = length / bins
    number = np.full(len(start), ratio) if ratio > 0 else np.maximum(np.ceil(each), 0).astype(np.int64)
    most = int(number.max(initial=0)) or 1
    step = np.arange(most)
    per = np.maximum(number, 1)[:, None, None]
    at = (
        start[:, None, None]
        + np.arange(bins)[None, :, None] * each[:, None, None]
        + (step + start.dtype.type(0.5)) * each[:, None, None] / per
    )
    inside = (at >= -1) & (at <= size) & (step < number[:, None, None])
    at = np.clip(at, 0, None)
    low = np.minimum(at.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    share = np.where(low >= size - 1, 0, at - low).astype(start.dtype)
    weight = np.stack([1 - share, share], -1) * inside[..., None]
    return np.stack([low, high], -1), weight.astype(start.dtype), number


def _weighed(input: Tensor, index: np.ndarray, weight: np.ndarray) -> Tensor:
    """Sums over the last axis of elements of the flattened map times weights."""
    flat = input.reshape(-1)
    picked = PUBLIC["take"](flat, from_numpy(np.ascontiguousarray(index)))
    return (picked * from_numpy(np.ascontiguousarray(weight)).to(input.dtype)).sum(-1)


def _aligned(
    input: Tensor, rows: np.ndarray, size: tuple[int, int], origin: np.ndarray, extent: np.ndarray, ratio: int
) -> tuple[np.ndarray, np.ndarray]:
    """Index within one plane and weight, (K, ph, pw, T), of means of bilinear samples; origin and extent are (K, 2)."""
    h, w = input.shape[2:]
    (iy, wy, ny), (ix, wx, nx) = (
        _samples(origin[:, axis], extent[:, axis], size[axis], ratio, (h, w)[axis]) for axis in (0, 1)
    )
    k = len(rows)
    iy, wy = (a.reshape(k, size[0], 1, -1, 1) for a in (iy, wy))
    ix, wx = (a.reshape(k, 1, size[1], 1, a.shape[2] * 2) for a in (ix, wx))
    count = np.maximum(ny * nx, 1).astype(wy.dtype)[:, None, None, None, None]
    shape = (k, *size, iy.shape[3] * ix.shape[4])
    return (iy * w + ix).reshape(shape), (wy * wx / count).reshape(shape)


def roi_align(
    input: Tensor, boxes: Boxes, output_size: int | Sequence[int], spatial_scale: float = 1.0,
    sampling_ratio: int = -1, aligned: bool = False,
) -> Tensor:  # fmt: skip
    """Means of bilinear samples in the bins of each box (He et al. 2017): (N, C, H, W) to (K, C, ph, pw).

    Parameters
    ----------
    boxes : (K, 5) with the number of the image before the corners, or a list with (L, 4) for each image.
    output_size : ph, pw.
    spatial_scale : from the boxes' coordinates to the map's.
    sampling_ratio : samples in a bin along each axis; as many as it has pixels where not positive.
    aligned : move the boxes by half a pixel, so that pixel centres fall where they are.
    """
    rows = _regions("roi_align", input, boxes)
    size = _pair(output_size)
    if not rows.size or not input.numel():
        return _nothing(input, size)
    scaled = rows[:, 1:] * rows.dtype.type(spatial_scale) - rows.dtype.type(0.5 if aligned else 0.0)
    origin, extent = scaled[:, 1::-1], scaled[:, :1:-1] - scaled[:, 1::-1]
    if not aligned:
        extent = np.maximum(extent, 1)
    index, weight = _aligned(input, rows, size, origin, extent, sampling_ratio)
    n, c, h, w = input.shape
    # rows of the map with its channels last: one index serves all channels
    pixels = input.permute(0, 2, 3, 1).reshape(n * h * w, c)
    image = rows[:, 0].astype(np.int64)[:, None, None, None]
    picked = PUBLIC["index_select"](pixels, 0, from_numpy((image * (h * w) + index).reshape(-1)))
    picked = picked.reshape(*index.shape, c) * from_numpy(weight[..., None]).to(input.dtype)
    return picked.sum(3).permute(0, 3, 1, 2)


def ps_roi_align(
    input: Tensor, boxes: Boxes, output_size: int | Sequence[int], spatial_scale: float = 1.0, sampling_ratio: int = -1
) -> Tensor:
    """:func:`roi_align` where each bin has channels of its own (Dai et al. 2016): to (K, C / (ph * pw), ph, pw)."""
    rows, size, channel = _position_sensitive("ps_roi_align", input, boxes, output_size)
    if not rows.size or not input.numel():
        return _nothing(input[:, : len(channel)], size)
    scaled = rows[:, 1:] * rows.dtype.type(spatial_scale) - rows.dtype.type(0.5)
    index, weight = _aligned(input, rows, size, scaled[:, 1::-1], scaled[:, :1:-1] - scaled[:, 1::-1], sampling_ratio)
    return _from_channels(input, rows, channel, index, weight)


def _position_sensitive(
    name: str, input: Tensor, boxes: Boxes, output_size: int | Sequence[int]
) -> tuple[np.ndarray, tuple[int, int], np.ndarray]:
    """Rows, size, and the channel (C / (ph * pw), ph, pw) that each bin reads."""
    rows = _regions(name, input, boxes)
    ph, pw = size = _pair(output_size)
    c = input.shape[1]
    if c % (ph * pw):
        raise ShapeError(
            f"{name}: {c} channels do not divide among {ph} x {pw} bins", code=f"shape.{name}",
            hint="channels must be a multiple of the number of bins",
        )  # fmt: skip
    return rows, size, np.arange(c).reshape(c // (ph * pw), ph, pw)


def _from_channels(
    input: Tensor, rows: np.ndarray, channel: np.ndarray, index: np.ndarray, weight: np.ndarray
) -> Tensor:
    _, c, h, w = input.shape
    image = rows[:, 0].astype(np.int64)[:, None, None, None]
    plane = ((image * c + channel) * (h * w))[..., None]  # (K, c, ph, pw, 1)
    return _weighed(
        input, plane + index[:, None], np.broadcast_to(weight[:, None], (*plane.shape[:-1], index.shape[-1]))
    )


def _bins(start: np.ndarray, length: np.ndarray, bins: int, size: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """First pixel of each bin and the one behind its last, (K, bins), cut to the map."""
    each = (length / start.dtype.type(bins))[:, None]
    low = np.floor(np.arange(bins, dtype=start.dtype) * each).astype(np.int64)
    high = np.ceil((np.arange(bins, dtype=start.dtype) + 1) * each).astype(np.int64)
    begin = start.astype(np.int64)[:, None]
    return np.clip(low + begin, 0, last), np.clip(high + begin, 0, last)


def _rounded(x: np.ndarray) -> np.ndarray:
    """Half away from zero, as C's round."""
    return np.trunc(x + np.copysign(x.dtype.type(0.5), x))


def roi_pool(input: Tensor, boxes: Boxes, output_size: int | Sequence[int], spatial_scale: float = 1.0) -> Tensor:
    """Maxima of the bins of each box, whose corners are rounded to pixels (Girshick 2015): to (K, C, ph, pw).

    A bin without a pixel is 0. The gradient goes to the first of the largest elements.
    """
    rows = _regions("roi_pool", input, boxes)
    ph, pw = _pair(output_size)
    if not rows.size or not input.numel():
        return _nothing(input, (ph, pw))
    c, h, w = input.shape[1:]
    corners = _rounded(rows[:, 1:] * rows.dtype.type(spatial_scale))
    extent = np.maximum(corners[:, 2:] - corners[:, :2] + 1, 1)
    top, bottom = _bins(corners[:, 1], extent[:, 1], ph, h, h)
    left, right = _bins(corners[:, 0], extent[:, 0], pw, w, w)
    maps = input.detach().numpy()
    found = np.zeros((len(rows), c, ph, pw), np.int64)
    filled = np.zeros((len(rows), 1, ph, pw), bool)
    for k, image in enumerate(rows[:, 0].astype(np.int64)):
        for i in range(ph):
            for j in range(pw):
                y, x, width = top[k, i], left[k, j], right[k, j] - left[k, j]
                if bottom[k, i] <= y or width <= 0:
                    continue
                best = maps[image, :, y : bottom[k, i], x : right[k, j]].reshape(c, -1).argmax(1)
                found[k, :, i, j] = ((image * c + np.arange(c)) * h + y + best // width) * w + x + best % width
                filled[k, 0, i, j] = True
    picked = PUBLIC["take"](input.reshape(-1), from_numpy(found))
    return PUBLIC["where"](from_numpy(filled), picked, 0.0)


def ps_roi_pool(input: Tensor, boxes: Boxes, output_size: int | Sequence[int], spatial_scale: float = 1.0) -> Tensor:
    """Means of the bins of each box, each bin with channels of its own (Dai et al. 2016).

    (N, C, H, W) to (K, C / (ph * pw), ph, pw).
    """
    rows, (ph, pw), channel = _position_sensitive("ps_roi_pool", input, boxes, output_size)
    if not rows.size or not input.numel():
        return _nothing(input[:, : len(channel)], (ph, pw))
    h, w = input.shape[2:]
    corners = _rounded(rows[:, 1:] * rows.dtype.type(spatial_scale))
    extent = np.maximum(corners[:, 2:] - corners[:, :2], 1)
    top, bottom = _bins(corners[:, 1], extent[:, 1], ph, h, h - 1)
    left, right = _bins(corners[:, 0], extent[:, 0], pw, w, w - 1)
    tall, wide = int((bottom - top).max(initial=1)), int((right - left).max(initial=1))
    y, x = top[..., None] + np.arange(tall), left[..., None] + np.arange(wide)
    ny, nx = (np.minimum(np.maximum(b - a, 0), n) for a, b, n in ((top, bottom, tall), (left, right, wide)))
    wy, wx = (np.arange(m) < c[..., None] for m, c in ((tall, ny), (wide, nx)))
    shape = (len(rows), ph, pw, tall * wide)
    index = (np.minimum(y, h - 1)[:, :, None, :, None] * w + np.minimum(x, w - 1)[:, None, :, None, :]).reshape(shape)
    weight = (wy[:, :, None, :, None] & wx[:, None, :, None, :]).reshape(shape).astype(rows.dtype)
    weight /= np.maximum(ny[:, :, None] * nx[:, None, :], 1)[..., None].astype(rows.dtype)
    return _from_channels(input, rows, channel, index, weight)


class _Region(nn.Module):
    """One of the functions above with its options."""

    def __init__(self, output_size: int | Sequence[int], spatial_scale: float, **options: Any) -> None:
        super().__init__()
        self.output_size, self.spatial_scale = output_size, spatial_scale
        self._options = options
        for name, value in options.items():
            setattr(self, name, value)

    def extra_repr(self) -> str:
        """The options."""
        rest = "".join(f", {name}={value}" for name, value in self._options.items())
        return f"output_size={self.output_size}, spatial_scale={self.spatial_scale}{rest}"


class RoIAlign(_Region):
    """:func:`roi_align` as a layer."""

    def __init__(
        self, output_size: int | Sequence[int], spatial_scale: float, sampling_ratio: int, aligned: bool = False
    ) -> None:
        super().__init__(output_size, spatial_scale, sampling_ratio=sampling_ratio, aligned=aligned)

    def forward(self, input: Tensor, rois: Boxes) -> Tensor:
        """(N, C, H, W) and boxes to (K, C, ph, pw)."""
        return roi_align(input, rois, self.output_size, self.spatial_scale, **self._options)


class RoIPool(_Region):
    """:func:`roi_pool` as a layer."""

    def __init__(self, output_size: int | Sequence[int], spatial_scale: float) -> None:
        super().__init__(output_size, spatial_scale)

    def forward(self, input: Tensor, rois: Boxes) -> Tensor:
        """(N, C, H, W) and boxes to (K, C, ph, pw)."""
        return roi_pool(input, rois, self.output_size, self.spatial_scale)


class PSRoIAlign(_Region):
    """:func:`ps_roi_align` as a layer."""

    def __init__(self, output_size: int | Sequence[int], spatial_scale: float, sampling_ratio: int) -> None:
        super().__init__(output_size, spatial_scale, sampling_ratio=sampling_ratio)

    def forward(self, input: Tensor, rois: Boxes) -> Tensor:
        """(N, C, H, W) and boxes to (K, C / (ph * pw), ph, pw)."""
        return ps_roi_align(input, rois, self.output_size, self.spatial_scale, **self._options)


class PSRoIPool(_Region):
    """:func:`ps_roi_pool` as a layer."""

    def __init__(self, output_size: int | Sequence[int], spatial_scale: float) -> None:
        super().__init__(output_size, spatial_scale)

    def forward(self, input: Tensor, rois: Boxes) -> Tensor:
        """(N, C, H, W) and boxes to (K, C / (ph * pw), ph, pw)."""
        return ps_roi_pool(input, rois, self.output_size, self.spatial_scale)
