"""``keras.utils.bounding_boxes``: boxes in nine formats, moved with their images, compared with each other.

Boxes are (boxes, 4) or (n, boxes, 4). x runs to the right and y downward: in pixels, or, in formats whose names begin
with ``rel_``, in shares of the image's width and height. With their classes they are a dictionary
``{"boxes": ..., "labels": ...}``; a label of -1 says that there is no box.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.keras import config
from gradloom.keras.operations import as_tensor
from gradloom.tensor import Tensor

__all__ = [
    "affine_transform", "clip_to_image_size", "compute_ciou", "compute_iou", "convert_format", "crop",
    "decode_deltas_to_boxes", "encode_box_to_deltas", "pad",
]  # fmt: skip

FORMATS = (
    "xyxy", "yxyx", "xywh", "center_xywh", "center_yxhw", "rel_xyxy", "rel_yxyx", "rel_xywh", "rel_center_xywh",
)  # fmt: skip


def _parts(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four numbers of each box, (..., 1) each."""
    return boxes[..., 0:1], boxes[..., 1:2], boxes[..., 2:3], boxes[..., 3:4]


def _turned(parts: Any, kind: str) -> Any:
    """Change between x before y and y before x where a format begins with y."""
    a, b, c, d = parts
    return (b, a, d, c) if kind.removeprefix("center_").startswith("yx") else (a, b, c, d)


def _corners(boxes: Tensor, kind: str) -> Any:
    """Left, top, right and bottom edges."""
    a, b, c, d = _turned(_parts(boxes), kind)
    if kind.startswith("center"):
        return a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0
    return (a, b, a + c, b + d) if kind == "xywh" else (a, b, c, d)


def _described(x1: Any, y1: Any, x2: Any, y2: Any, kind: str) -> Tensor:
    """Edges as a format has them."""
    if kind.startswith("center"):
        found = (x1 + (x2 - x1) / 2.0, y1 + (y2 - y1) / 2.0, x2 - x1, y2 - y1)
    else:
        found = (x1, y1, x2 - x1, y2 - y1) if kind == "xywh" else (x1, y1, x2, y2)
    return G.cat(list(_turned(found, kind)), -1)


def convert_format(
    boxes: Any, source: str, target: str, height: Any = None, width: Any = None, dtype: Any = "float32"
) -> Any:
    """Boxes, or the boxes of a dictionary, in another format.

    Parameters
    ----------
    boxes : (..., 4), or a dictionary with such "boxes".
    source, target : "xyxy", "yxyx", "xywh", "center_xywh", "center_yxhw", "rel_xyxy", "rel_yxyx", "rel_xywh" or
        "rel_center_xywh".
    height, width : the image's, wanted between pixels and shares; numbers, or tensors that broadcast.

    Raises
    ------
    ValueError : a format that is not known, boxes of another length than 4, or a size that is wanted and missing.
    """
    if isinstance(boxes, dict):
        return boxes | {"boxes": convert_format(boxes["boxes"], source, target, height, width, dtype)}
    x = as_tensor(boxes)
    if x.shape[-1] != 4:
        raise ValueError(f"`boxes` must be a tensor with the last dimension of 4. Received: boxes.shape="
                         f"{tuple(x.shape)}")  # fmt: skip
    source, target = source.lower(), target.lower()
    if source not in FORMATS or target not in FORMATS:
        raise ValueError(f"Invalid source or target format. Supported formats: {FORMATS}. Received: source={source}, "
                         f"target={target}")  # fmt: skip
    shares = source.startswith("rel_"), target.startswith("rel_")
    if any(shares) and (height is None or width is None):
        raise ValueError("convert_format() must receive `height` and `width` transforming between relative and "
                         f"absolute formats. Received: source={source}, target={target}, height={height}, "
                         f"width={width}")  # fmt: skip
    x = x.to(config.as_dtype(dtype))
    if source == target:
        return x
    x1, y1, x2, y2 = _corners(x, source.removeprefix("rel_"))
    if shares == (True, False):
        x1, y1, x2, y2 = x1 * width, y1 * height, x2 * width, y2 * height
    elif shares == (False, True):
        x1, y1, x2, y2 = x1 / width, y1 / height, x2 / width, y2 / height
    return _described(x1, y1, x2, y2, target.removeprefix("rel_"))


def between(x: Tensor, low: Any, high: Any) -> Tensor:
    """``x`` within limits, which may be tensors."""
    return G.minimum(G.maximum(x, as_tensor(low, x.dtype.name)), as_tensor(high, x.dtype.name))


def clip_to_image_size(
    bounding_boxes: dict[str, Any], height: Any = None, width: Any = None, bounding_box_format: str = "xyxy"
) -> dict[str, Any]:
    """Boxes cut at the image's edges; the labels of those of which nothing is left become -1.

    Parameters
    ----------
    bounding_boxes : "boxes" (..., boxes, 4) in format "xyxy" or "rel_xyxy", and perhaps "labels" (..., boxes).
    height, width : wanted for "xyxy".
    """
    if bounding_box_format not in ("xyxy", "rel_xyxy"):
        raise NotImplementedError(f"bounding_box_format={bounding_box_format!r}: convert to 'xyxy' or 'rel_xyxy' first")
    if bounding_box_format == "rel_xyxy":
        height = width = 1.0
    elif height is None or width is None:
        raise ValueError("`height` and `width` must be set if `format='xyxy'`.")
    x1, y1, x2, y2 = _parts(as_tensor(bounding_boxes["boxes"]))
    x1, x2 = between(x1, 0, width), between(x2, 0, width)
    y1, y2 = between(y1, 0, height), between(y2, 0, height)
    found = bounding_boxes | {"boxes": G.cat([x1, y1, x2, y2], -1)}
    if bounding_boxes.get("labels") is not None:
        labels = as_tensor(bounding_boxes["labels"])
        area = ((x2 - x1) * (y2 - y1)).squeeze(-1)
        found["labels"] = G.where(area > 0, labels, G.full_like(labels, -1))
    return found


def _only_corners(kind: str) -> None:
    if kind != "xyxy":
        raise NotImplementedError(f"bounding_box_format={kind!r}: convert to 'xyxy' first")


def affine_transform(
    boxes: Any, angle: Any, translate_x: Any, translate_y: Any, scale: Any, shear_x: Any, shear_y: Any, height: Any,
    width: Any, center_x: Any = None, center_y: Any = None, bounding_box_format: str = "xyxy",
) -> Tensor:  # fmt: skip
    """The boxes around boxes (n, boxes, 4) that were turned, sheared, scaled and shifted about a centre.

    Parameters
    ----------
    angle, shear_x, shear_y : in degrees, (n,). translate_x, translate_y : as shares of width and height, (n,).
    scale : (n,). center_x, center_y : shares of width and height; the middle where None.
    """
    _only_corners(bounding_box_format)
    x = as_tensor(boxes)
    angle, scale, shear_x, shear_y, translate_x, translate_y = (
        as_tensor(v, "float32") for v in (angle, scale, shear_x, shear_y, translate_x, translate_y)
    )
    cx = (0.5 if center_x is None else center_x) * (width - 1)
    cy = (0.5 if center_y is None else center_y) * (height - 1)
    turn, sx, sy = (v * (-math.pi / 180.0) for v in (angle, shear_x, shear_y))
    a = G.cos(turn - sy) / G.cos(sy)
    b = a * G.tan(sx) + G.sin(turn)
    c = -G.sin(turn - sy) / G.cos(sy)
    d = G.cos(turn) - c * G.tan(sx)
    a0, a1, b0, b1 = (v.reshape(-1, 1, 1) for v in (d * scale, -b * scale, -c * scale, a * scale))
    from_x = (cx - translate_x * (width - 1)).reshape(-1, 1, 1)
    from_y = (cy - translate_y * (height - 1)).reshape(-1, 1, 1)
    xs = G.stack([x[..., 0], x[..., 2], x[..., 0], x[..., 2]], -1).to(angle.dtype)
    ys = G.stack([x[..., 1], x[..., 1], x[..., 3], x[..., 3]], -1).to(angle.dtype)
    to_x = a0 * (xs - from_x) + a1 * (ys - from_y) + cx
    to_y = b0 * (xs - from_x) + b1 * (ys - from_y) + cy
    return around(to_x, to_y)


def around(xs: Tensor, ys: Tensor) -> Tensor:
    """The boxes (..., 4) around points, (..., points) each."""
    return G.stack([G.amin(xs, -1), G.amin(ys, -1), G.amax(xs, -1), G.amax(ys, -1)], -1)


def crop(boxes: Any, top: Any, left: Any, height: Any, width: Any, bounding_box_format: str = "xyxy") -> Tensor:
    """Boxes (..., 4) in a part of the image, which begins at (top, left) and is of this size."""
    _only_corners(bounding_box_format)
    x1, y1, x2, y2 = _parts(as_tensor(boxes))
    x1, x2 = between(x1 - left, 0, width), between(x2 - left, 0, width)
    y1, y2 = between(y1 - top, 0, height), between(y2 - top, 0, height)
    return G.cat([x1, y1, x2, y2], -1)


def pad(
    boxes: Any, top: Any, left: Any, height: Any = None, width: Any = None, bounding_box_format: str = "xyxy"
) -> Tensor:
    """Boxes (..., 4) in an image that was widened at its top and left; ``height`` and ``width`` change nothing."""
    _only_corners(bounding_box_format)
    x1, y1, x2, y2 = _parts(as_tensor(boxes))
    return G.cat([x1 + left, y1 + top, x2 + left, y2 + top], -1)


# -- anchors and likeness --------------------------------------------------------------------------------------------


def _centred(name: str, value: str) -> None:
    if value not in ("center_xywh", "center_yxhw"):
        raise ValueError(f"`{name}` should be one of 'center_xywh' or 'center_yxhw', got {value}")


def _spread(variance: Any) -> Any:
    if variance is None:
        return None
    found = as_tensor(np.asarray(variance, np.float32))
    if found.shape[-1:] != (4,):
        raise ValueError(f"`variance` must be length 4, got {variance}")
    return found


def _size(image_shape: Any) -> tuple[Any, Any]:
    return (None, None) if image_shape is None else tuple(image_shape[:2])


def encode_box_to_deltas(
    anchors: Any, boxes: Any, anchor_format: str, box_format: str, encoding_format: str = "center_yxhw",
    variance: Any = None, image_shape: Any = None,
) -> Tensor:  # fmt: skip
    """Boxes as shifts and scales from anchors (Girshick et al. 2014): (..., 4).

    Parameters
    ----------
    variance : four numbers that the result is divided by. image_shape : (height, width, channels), wanted for shares.
    """
    spread = _spread(variance)
    _centred("encoding_format", encoding_format)
    height, width = _size(image_shape)
    a = convert_format(anchors, anchor_format, encoding_format, height, width)
    b = convert_format(boxes, box_format, encoding_format, height, width)
    size, wanted = (G.clamp(v[..., 2:], min=config.epsilon()) for v in (a, b))
    found = G.cat([(b[..., :2] - a[..., :2]) / size, G.log(wanted / size)], -1)
    return found if spread is None else found / spread


def decode_deltas_to_boxes(
    anchors: Any, boxes_delta: Any, anchor_format: str, box_format: str, encoded_format: str = "center_yxhw",
    variance: Any = None, image_shape: Any = None,
) -> Any:  # fmt: skip
    """The boxes of :func:`encode_box_to_deltas`; for dictionaries by level, a dictionary."""
    if isinstance(anchors, dict) and isinstance(boxes_delta, dict):
        return {
            level: decode_deltas_to_boxes(
                anchor, boxes_delta[level], anchor_format, box_format, encoded_format, variance, image_shape
            )
            for level, anchor in anchors.items()
        }
    spread = _spread(variance)
    _centred("encoded_format", encoded_format)
    height, width = _size(image_shape)
    a = convert_format(anchors, anchor_format, encoded_format, height, width)
    delta = as_tensor(boxes_delta)
    delta = delta if spread is None else delta * spread
    found = G.cat([delta[..., :2] * a[..., 2:] + a[..., :2], G.exp(delta[..., 2:]) * a[..., 2:]], -1)
    return convert_format(found, encoded_format, box_format, height, width)


def compute_iou(
    boxes1: Any, boxes2: Any, bounding_box_format: str, use_masking: bool = False, mask_val: Any = -1,
    image_shape: Any = None,
) -> Tensor:  # fmt: skip
    """Intersection over union of each with each: (boxes1, boxes2), or (n, boxes1, boxes2) for batches.

    Parameters
    ----------
    use_masking : whether pairs with a box of negative numbers get ``mask_val``.
    image_shape : (height, width, channels), wanted for formats of shares.
    """
    a, b = as_tensor(boxes1), as_tensor(boxes2)
    for name, x in (("boxes1", a), ("boxes2", b)):
        if x.ndim not in (2, 3):
            raise ValueError(f"compute_iou() expects {name} to be batched, or to be unbatched: rank 3 or 2. Received "
                             f"len({name}.shape)={x.ndim}")  # fmt: skip
    if "rel" in bounding_box_format and image_shape is None:
        raise ValueError("When using relative bounding box formats (e.g. `rel_yxyx`) the `image_shape` argument must "
                         f"be provided. Received `image_shape`: {image_shape}")  # fmt: skip
    height, width = _size(image_shape)
    a, b = (convert_format(x, bounding_box_format, "xyxy", height, width) for x in (a, b))
    p, q = a.unsqueeze(-2), b.unsqueeze(-3)
    inner = G.clamp(G.minimum(p[..., 2:], q[..., 2:]) - G.maximum(p[..., :2], q[..., :2]), min=0.0)
    common = inner[..., 0] * inner[..., 1]
    areas = [(x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1]) for x in (p, q)]
    found = common / (areas[0] + areas[1] - common + config.epsilon())
    if not use_masking:
        return found
    absent = G.logical_or(G.amax(p, -1) < 0.0, G.amax(q, -1) < 0.0)
    return G.where(absent, G.full_like(found, float(mask_val)), found)


def compute_ciou(boxes1: Any, boxes2: Any, bounding_box_format: str, image_shape: Any = None) -> Tensor:
    """Complete IoU (Zheng et al. 2020) of boxes (..., 4) with their partners: overlap less distance and proportions."""
    height, width = _size(image_shape)
    if "rel" in bounding_box_format and image_shape is None:
        raise ValueError("When using relative bounding box formats (e.g. `rel_yxyx`) the `image_shape` argument must "
                         f"be provided. Received `image_shape`: {image_shape}")  # fmt: skip
    a, b = (convert_format(x, bounding_box_format, "xyxy", height, width) for x in (boxes1, boxes2))
    eps = config.epsilon()
    sizes = [(x[..., 2] - x[..., 0], x[..., 3] - x[..., 1] + eps) for x in (a, b)]
    inner = G.clamp(G.minimum(a[..., 2:], b[..., 2:]) - G.maximum(a[..., :2], b[..., :2]), min=0.0)
    common = inner[..., 0] * inner[..., 1]
    union = sizes[0][0] * sizes[0][1] + sizes[1][0] * sizes[1][1] - common + eps
    iou = common / (union + eps)
    outer = G.maximum(a[..., 2:], b[..., 2:]) - G.minimum(a[..., :2], b[..., :2])
    centres = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2.0
    apart = G.sum(centres * centres, -1) / (G.sum(outer * outer, -1) + eps)
    slant = G.atan(sizes[1][0] / sizes[1][1]) - G.atan(sizes[0][0] / sizes[0][1])
    unlike = slant * slant * (4.0 / math.pi**2)
    return iou - (apart + unlike * (unlike / (unlike - iou + (1.0 + eps))))


# -- dictionaries ----------------------------------------------------------------------------------------------------


def dense(bounding_boxes: Any, batched: bool) -> dict[str, Any]:
    """A dictionary of tensors; lists of different lengths are filled up with zeros, and labels of -1.

    Raises
    ------
    ValueError : no dictionary of boxes and labels, or shapes that do not belong together.
    """
    if not isinstance(bounding_boxes, dict) or not {"boxes", "labels"} <= bounding_boxes.keys():
        raise ValueError("Expected `bounding_boxes` to be a dict with keys 'boxes' and 'labels'. Received: "
                         f"bounding_boxes={bounding_boxes}")  # fmt: skip
    boxes, labels = bounding_boxes["boxes"], bounding_boxes["labels"]
    if isinstance(boxes, list):
        if not isinstance(labels, list):
            raise ValueError("If `bounding_boxes['boxes']` is a list, then `bounding_boxes['labels']` must also be a "
                             f"list. Received: bounding_boxes['labels']={labels}")  # fmt: skip
        if len(boxes) != len(labels):
            raise ValueError("If `bounding_boxes['boxes']` and `bounding_boxes['labels']` are both lists, they must "
                             f"have the same length. Received: {len(boxes)} and {len(labels)}")  # fmt: skip
        if batched:
            most = max((len(b) for b in boxes), default=0)
            rows = [np.asarray(b, np.float32).reshape(-1, 4) for b in boxes]
            boxes = np.stack([np.concatenate([b, np.zeros((most - len(b), 4), np.float32)]) for b in rows])
            labels = np.array([[*v, *[-1] * (most - len(v))] for v in labels], np.int32)
        else:
            boxes, labels = np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(labels, np.int32)
    boxes, labels = as_tensor(boxes, "float32"), as_tensor(labels)
    if boxes.ndim not in (2, 3) or labels.ndim not in (boxes.ndim - 1, boxes.ndim):
        raise ValueError("Expected `bounding_boxes['boxes']` to have rank 2 or 3, with shape (num_boxes, 4) or "
                         "(batch_size, num_boxes, 4), and `bounding_boxes['labels']` one less. Received: "
                         f"bounding_boxes['boxes'].shape={tuple(boxes.shape)}, bounding_boxes['labels'].shape="
                         f"{tuple(labels.shape)}")  # fmt: skip
    return bounding_boxes | {"boxes": boxes, "labels": labels}
