"""Non-maximum suppression: of boxes that overlap much, only the best stays.

Which boxes stay depends on values, so these functions look at them; the indices that they return have no gradient.
"""

from __future__ import annotations

import numpy as np

from gradloom.errors import ShapeError
from gradloom.tensor import Tensor, from_numpy
from gradloom.vision.ops.boxes import check_boxes

__all__ = ["batched_nms", "nms"]


def _check(name: str, boxes: Tensor, *others: Tensor) -> None:
    check_boxes(name, boxes, 2)
    for other in others:
        if tuple(other.shape) != (boxes.shape[0],):
            raise ShapeError(
                f"{name}: {boxes.shape[0]} boxes, and beside them shape {tuple(other.shape)}", code=f"shape.{name}",
                hint="scores and classes have one entry for each box",
            )  # fmt: skip


def _suppress(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Greedily: the best box that is left stays, and those that overlap it by more than the threshold go."""
    order = np.argsort(-scores, kind="stable")
    x1, y1, x2, y2 = boxes[order].T
    area = (x2 - x1) * (y2 - y1)
    alive, kept = np.arange(len(order)), []
    while alive.size:
        first, rest = alive[0], alive[1:]
        kept.append(first)
        width = np.minimum(x2[first], x2[rest]) - np.maximum(x1[first], x1[rest])
        height = np.minimum(y2[first], y2[rest]) - np.maximum(y1[first], y1[rest])
        common = np.maximum(width, 0) * np.maximum(height, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            overlap = common / (area[first] + area[rest] - common)
        alive = rest[~(overlap > threshold)]
    return order[np.array(kept, np.int64)]


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices, int64, of the boxes that stay, best first.

    Parameters
    ----------
    boxes : corners (N, 4). scores : (N,).
    iou_threshold : a box goes where its IoU with a better one that stays is above this.
    """
    _check("nms", boxes, scores)
    return from_numpy(_suppress(boxes.numpy(), scores.numpy(), iou_threshold))


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """:func:`nms` within each class alone; ``idxs`` (N,) are the classes."""
    _check("batched_nms", boxes, scores, idxs)
    b, s, classes = boxes.numpy(), scores.numpy(), idxs.numpy()
    kept = [np.zeros(0, np.int64)]
    for one in np.unique(classes):
        members = np.nonzero(classes == one)[0]
        kept.append(members[_suppress(b[members], s[members], iou_threshold)])
    found = np.concatenate(kept)
    return from_numpy(found[np.argsort(-s[found], kind="stable")].astype(np.int64))
