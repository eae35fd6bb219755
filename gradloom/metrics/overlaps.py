"""Overlap of boxes found and boxes wanted: intersection over union and its kin, over pairs of one label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradloom.errors import ShapeError
from gradloom.metrics.base import Metric, gathered, given, result
from gradloom.metrics.detection import box_area, corners, overlaps
from gradloom.tensor import Tensor, tensor

Array = np.ndarray
_NOBODY = -(2**62)  # the label of a box that nothing was wanted for


def box_overlaps(found: Array, wanted: Array, kind: str) -> Array:
    """Of each found box to each wanted (found, wanted), as corners: kind "iou", "giou", "diou" or "ciou".

    Rezatofighi et al. 2019 (giou); Zheng et al. 2020 (diou, ciou).
    """
    plain = overlaps(found, wanted, np.zeros(len(wanted), bool))
    if kind == "iou":
        return plain
    low = np.minimum(found[:, None, :2], wanted[None, :, :2])
    high = np.maximum(found[:, None, 2:], wanted[None, :, 2:])
    if kind == "giou":
        hull = np.prod(np.clip(high - low, 0.0, None), 2)
        both = box_area(found)[:, None] + box_area(wanted)[None]
        union = both / (1.0 + plain)
        return plain - np.where(hull > 0, (hull - union) / np.where(hull > 0, hull, 1.0), 0.0)
    eps = 1e-7
    across = (np.clip(high - low, 0.0, None) ** 2).sum(2) + eps
    middles = [(b[:, :2] + b[:, 2:]) / 2 for b in (found, wanted)]
    away = ((middles[0][:, None] - middles[1][None]) ** 2).sum(2)
    near = plain - away / across
    if kind == "diou":
        return near
    slopes = [np.arctan((b[:, 2] - b[:, 0]) / (b[:, 3] - b[:, 1])) for b in (found, wanted)]
    form = 4.0 / np.pi**2 * (slopes[1][None] - slopes[0][:, None]) ** 2
    return near - form * form / (1.0 - plain + form + eps)


class IntersectionOverUnion(Metric):
    """The mean over pairs of a found and a wanted box of an image of their overlap.

    Parameters
    ----------
    box_format : {"xyxy", "xywh", "cxcywh"}
    iou_threshold : float, optional
        Pairs that overlap less do not count.
    class_metrics : bool
        Give values for each class too.
    respect_labels : bool
        Only pairs of one label count. In an image where nothing was found, or nothing wanted, each box counts as 0.
    """

    values: list[Tensor]
    owners: list[Tensor]
    seen: list[Tensor]

    _kind = "iou"

    def __init__(
        self,
        box_format: str = "xyxy",
        iou_threshold: float | None = None,
        class_metrics: bool = False,
        respect_labels: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if box_format not in ("xyxy", "xywh", "cxcywh"):
            raise ValueError(f"box_format is 'xyxy', 'xywh' or 'cxcywh', not {box_format!r}")
        self.box_format, self.iou_threshold = box_format, iou_threshold
        self.class_metrics, self.respect_labels = class_metrics, respect_labels
        for state in ("values", "owners", "seen"):
            self.add_state(state, [])

    def update(self, preds: Sequence[Mapping[str, Any]], target: Sequence[Mapping[str, Any]]) -> None:
        """Add images: dictionaries with "boxes" (n, 4) and "labels" (n,) for each."""
        if len(preds) != len(target):
            raise ShapeError(
                f"{self.name}: {len(preds)} images found, {len(target)} wanted", code="shape.metric",
                hint="one dictionary for each image in both",
            )  # fmt: skip
        for p, t in zip(preds, target, strict=True):
            (found, own), (wanted, labels) = self._one(p), self._one(t)
            self.seen.append(tensor(np.concatenate([own, labels])))
            if len(found) and len(wanted):
                each = box_overlaps(found, wanted, self._kind)
                counts = np.full(each.shape, True) if self.iou_threshold is None else each >= self.iou_threshold
                if self.respect_labels:
                    counts &= own[:, None] == labels[None]
                owner = np.broadcast_to(labels[None], each.shape)
            else:
                lone = len(found) + len(wanted)
                each, counts = np.zeros((lone, lone)), np.full((lone, lone), not self.respect_labels)
                np.fill_diagonal(counts, True)
                owner = np.broadcast_to(labels[None] if len(wanted) else _NOBODY, each.shape)
            self.values.append(tensor(each[counts]))
            self.owners.append(tensor(owner[counts].astype(np.int64)))

    def _one(self, image: Mapping[str, Any]) -> tuple[Array, Array]:
        if "boxes" not in image or "labels" not in image:
            raise ValueError(f"{self.name}: an image has 'boxes' and 'labels', given {sorted(image)}")
        boxes, labels = given(image["boxes"]).numpy(), given(image["labels"]).numpy()
        boxes = boxes.astype(np.float64).reshape(-1, 4) if boxes.size else np.zeros((0, 4))
        if len(boxes) != labels.size:
            raise ShapeError(
                f"{self.name}: {len(boxes)} boxes, {labels.size} labels", code="shape.metric", hint="one for each"
            )
        return corners(boxes, self.box_format), labels.reshape(-1).astype(np.int64)

    def compute(self) -> dict[str, Tensor]:
        """{"iou": mean}, with class_metrics "iou/cl_0" and so on; 0 where no pair counts."""
        values = gathered(self.values) if self.values else np.zeros(0)
        found = {self._kind: result(values.mean() if values.size else 0.0)}
        if self.class_metrics and self.seen:
            owners = gathered(self.owners)
            for label in np.unique(gathered(self.seen)):
                part = values[owners == label]
                found[f"{self._kind}/cl_{int(label)}"] = result(part.mean() if part.size else 0.0)
        return found


class GeneralizedIntersectionOverUnion(IntersectionOverUnion):
    """The overlap less the part of the hull that is in neither (Rezatofighi et al. 2019). Parameters: see there."""

    _kind = "giou"


class DistanceIntersectionOverUnion(IntersectionOverUnion):
    """The overlap less the squared distance of the middles over the hull's diagonal (Zheng et al. 2020)."""

    _kind = "diou"


class CompleteIntersectionOverUnion(IntersectionOverUnion):
    """The overlap less distance of the middles and difference of forms (Zheng et al. 2020)."""

    _kind = "ciou"
