"""Boxes as tensors (..., 4): area, overlap, conversion, clipping. All but the choice of boxes is differentiable."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gradloom import dtypes
from gradloom.errors import DTypeError, ShapeError
from gradloom.functions import PUBLIC, clamp, maximum, minimum
from gradloom.functions.creation import zeros
from gradloom.tensor import Tensor, from_numpy

__all__ = [
    "box_area", "box_convert", "box_iou", "clip_boxes_to_image", "complete_box_iou", "distance_box_iou",
    "generalized_box_iou", "masks_to_boxes", "remove_small_boxes",
]  # fmt: skip

_FORMATS = ("xyxy", "xywh", "cxcywh")


def check_boxes(name: str, boxes: Tensor, ndim: int | None = None) -> Tensor:
    """Boxes of shape (..., 4), as floating numbers where they are integers. Raises ShapeError for another shape."""
    if not boxes.ndim or boxes.shape[-1] != 4 or (ndim is not None and boxes.ndim != ndim):
        raise ShapeError(
            f"{name}: boxes have shape {'(N, 4)' if ndim == 2 else '(..., 4)'}, got {tuple(boxes.shape)}",
            code=f"shape.{name}",
            hint="a box is four numbers on the last axis; reshape with boxes.reshape(-1, 4)",
        )
    if boxes.dtype is dtypes.bool_ or boxes.dtype.is_complex:
        raise DTypeError(f"{name}: boxes of dtype {boxes.dtype.name}", code=f"dtype.{name}", hint="use .float()")
    return boxes


def _format(name: str, fmt: str) -> str:
    if fmt not in _FORMATS:
        raise ValueError(f"{name}: formats of boxes are {', '.join(_FORMATS)}, got {fmt!r}")
    return fmt


def _wide(x: Tensor) -> Tensor:
    """Products of coordinates overflow narrow dtypes: at least float32, integers at least int32."""
    if x.dtype.is_floating:
        return x if x.dtype in (dtypes.float32, dtypes.float64) else x.float()
    return x if x.dtype in (dtypes.int32, dtypes.int64) else x.int()


def box_area(boxes: Tensor, fmt: str = "xyxy") -> Tensor:
    """(..., 4) to (...): width times height."""
    check_boxes("box_area", boxes)
    a = _wide(boxes)
    if _format("box_area", fmt) == "xyxy":
        return (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])
    return a[..., 2] * a[..., 3]


def box_convert(boxes: Tensor, in_fmt: str, out_fmt: str) -> Tensor:
    """Boxes (..., 4) from one format to another.

    The formats are ``xyxy`` (two corners), ``xywh`` (a corner, width, height) and ``cxcywh`` (the centre, width,
    height). Raises ValueError for another; torchvision's formats of rotated boxes are not offered.
    """
    check_boxes("box_convert", boxes)
    _format("box_convert", in_fmt)
    _format("box_convert", out_fmt)
    if in_fmt == out_fmt:
        return boxes.clone()
    a, b, c, d = (boxes[..., k] for k in range(4))
    if in_fmt == "xyxy":
        x1, y1, x2, y2 = a, b, c, d
    elif in_fmt == "xywh":
        x1, y1, x2, y2 = a, b, a + c, b + d
    else:
        x1, y1, x2, y2 = a - 0.5 * c, b - 0.5 * d, a + 0.5 * c, b + 0.5 * d
    w, h = x2 - x1, y2 - y1
    if out_fmt == "xyxy":
        parts = (x1, y1, x2, y2)
    elif out_fmt == "xywh":
        parts = (x1, y1, w, h)
    else:
        parts = ((x1 + x2) / 2, (y1 + y2) / 2, w, h)
    return PUBLIC["stack"](parts, -1).to(boxes.dtype)


def _pairs(name: str, boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    check_boxes(name, boxes1)
    check_boxes(name, boxes2)
    return boxes1[..., :, None, :], boxes2[..., None, :, :]


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection and union of boxes that broadcast."""
    sides = clamp(_wide(minimum(a[..., 2:], b[..., 2:]) - maximum(a[..., :2], b[..., :2])), min=0)
    common = sides[..., 0] * sides[..., 1]
    return common, box_area(a) + box_area(b) - common


def _hull(a: Tensor, b: Tensor) -> Tensor:
    """Width and height of the smallest box around both, (..., 2)."""
    return clamp(_wide(maximum(a[..., 2:], b[..., 2:]) - minimum(a[..., :2], b[..., :2])), min=0)


def box_iou(boxes1: Tensor, boxes2: Tensor, fmt: str = "xyxy") -> Tensor:
    """Intersection over union of every pair: (..., N, 4) and (..., M, 4) to (..., N, M)."""
    if _format("box_iou", fmt) != "xyxy":
        boxes1, boxes2 = box_convert(boxes1, fmt, "xyxy"), box_convert(boxes2, fmt, "xyxy")
    common, union = _overlap(*_pairs("box_iou", boxes1, boxes2))
    return common / union


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """IoU less the share of the common hull that neither box fills (Rezatofighi et al. 2019), of every pair."""
    a, b = _pairs("generalized_box_iou", boxes1, boxes2)
    common, union = _overlap(a, b)
    sides = _hull(a, b)
    hull = sides[..., 0] * sides[..., 1]
    return common / union - (hull - union) / hull


def distance_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """IoU less the squared distance of the centres over the hull's squared diagonal (Zheng et al. 2020), pairwise."""
    a, b = _pairs("distance_box_iou", _wide(boxes1), _wide(boxes2))
    common, union = _overlap(a, b)
    sides = _hull(a, b)
    diagonal = (sides * sides).sum(-1) + eps
    apart = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    return common / union - (apart * apart).sum(-1) / diagonal


def complete_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """:func:`distance_box_iou` less a term for different aspect ratios (Zheng et al. 2020), of every pair."""
    a, b = _pairs("complete_box_iou", _wide(boxes1), _wide(boxes2))
    common, union = _overlap(a, b)
    angles = [PUBLIC["atan"]((x[..., 2] - x[..., 0]) / (x[..., 3] - x[..., 1])) for x in (a, b)]
    shape = (4 / math.pi**2) * (angles[0] - angles[1]) ** 2
    weight = (shape / (1 - common / union + shape + eps)).detach()
    return distance_box_iou(boxes1, boxes2, eps) - weight * shape


def clip_boxes_to_image(boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Corners (..., 4) moved to the nearest place inside an image of ``size`` (height, width)."""
    check_boxes("clip_boxes_to_image", boxes)
    height, width = size
    limits = from_numpy(np.array([width, height, width, height], boxes.dtype.numpy))
    return minimum(clamp(boxes, min=0), limits)


def remove_small_boxes(boxes: Tensor, min_size: float) -> Tensor:
    """Indices, int64, of the boxes (N, 4) whose width and height are both at least ``min_size``."""
    a = check_boxes("remove_small_boxes", boxes, 2).numpy()
    keep = ((a[:, 2] - a[:, 0]) >= min_size) & ((a[:, 3] - a[:, 1]) >= min_size)
    return from_numpy(np.nonzero(keep)[0].astype(np.int64))


def masks_to_boxes(masks: Tensor) -> Tensor:
    """The smallest boxes around masks: (N, H, W) to corners (N, 4), float32; a mask without a pixel gives zeros."""
    if masks.ndim != 3:
        raise ShapeError(
            f"masks_to_boxes: masks have shape (N, H, W), got {tuple(masks.shape)}", code="shape.masks_to_boxes",
            hint="one mask needs masks.unsqueeze(0)",
        )  # fmt: skip
    if not masks.numel():
        return zeros(masks.shape[0], 4)
    there = masks.numpy() != 0
    columns, rows = there.any(1), there.any(2)
    edges = []
    for line in (columns, rows):
        edges.append((line.argmax(1), line.shape[1] - 1 - line[:, ::-1].argmax(1)))
    (left, right), (top, bottom) = edges
    boxes = np.stack([left, top, right, bottom], 1) * columns.any(1)[:, None]
    return from_numpy(boxes.astype(np.float32))
