"""Mean average precision of boxes by COCO's rules (Lin et al. 2014, and its evaluation code's conventions)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradloom.errors import ShapeError
from gradloom.metrics.base import Metric, given, result
from gradloom.tensor import Tensor, tensor

Array = np.ndarray
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
RECALLS = np.linspace(0.0, 1.0, 101)


def corners(boxes: Array, box_format: str) -> Array:
    """Boxes (n, 4) as x1, y1, x2, y2."""
    if box_format == "xyxy":
        return boxes
    x, y, w, h = boxes.T
    return np.stack([x, y, x + w, y + h] if box_format == "xywh" else [x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)


def box_area(boxes: Array) -> Array:
    """Areas (n,)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def overlaps(found: Array, wanted: Array, crowd: Array) -> Array:
    """Intersection over union (found, wanted); over the found box alone where the wanted is a crowd."""
    low = np.maximum(found[:, None, :2], wanted[None, :, :2])
    high = np.minimum(found[:, None, 2:], wanted[None, :, 2:])
    common = np.prod(np.clip(high - low, 0.0, None), 2)
    own = box_area(found)[:, None]
    union = np.where(crowd[None], own, own + box_area(wanted)[None] - common)
    return np.where(union > 0, common / np.where(union > 0, union, 1.0), 0.0)


class MeanAveragePrecision(Metric):
    """Precision averaged over recalls, classes and overlaps.

    Parameters
    ----------
    box_format : {"xyxy", "xywh", "cxcywh"}
    iou_thresholds : sequence of float, optional
        0.5, 0.55, ... 0.95 if not given.
    max_detection_thresholds : three numbers
        Boxes of an image and class that count, for `mar_1`, `mar_10` and `mar_100`; the last for the rest.
    class_metrics : bool
        Give values for each class too.
    """

    def __init__(
        self,
        box_format: str = "xyxy",
        iou_thresholds: Sequence[float] | None = None,
        max_detection_thresholds: Sequence[int] = (1, 10, 100),
        class_metrics: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if box_format not in ("xyxy", "xywh", "cxcywh"):
            raise ValueError(f"box_format is 'xyxy', 'xywh' or 'cxcywh', not {box_format!r}")
        if len(max_detection_thresholds) != 3:
            raise ValueError(f"max_detection_thresholds are three numbers, got {max_detection_thresholds}")
        self.box_format, self.class_metrics = box_format, class_metrics
        self.thresholds = np.linspace(0.5, 0.95, 10) if iou_thresholds is None else np.asarray(iou_thresholds, float)
        self.limits = sorted(max_detection_thresholds)
        for state in ("found_boxes", "scores", "found_labels", "boxes", "labels", "crowds", "areas"):
            self.add_state(state, [])

    def update(self, preds: Sequence[Mapping[str, Any]], target: Sequence[Mapping[str, Any]]) -> None:
        """Add images.

        preds : for each image {"boxes": (n, 4), "scores": (n,), "labels": (n,)}
        target : {"boxes": (m, 4), "labels": (m,)}, and optionally "iscrowd" (m,) and "area" (m,)
        """
        if len(preds) != len(target):
            raise ShapeError(
                f"{self.name}: {len(preds)} predictions, {len(target)} targets",
                code="shape.metric",
                hint="one dict for each image in both lists",
            )
        for p, t in zip(preds, target, strict=True):
            found, boxes = self._boxes(p["boxes"]), self._boxes(t["boxes"])
            count = len(boxes)
            crowd = np.asarray(_numbers(t.get("iscrowd", np.zeros(count))), bool)
            area = _numbers(t["area"]) if "area" in t else np.zeros(count)
            area = np.where(area > 0, area, box_area(boxes))
            rows = [
                ("found_boxes", found),
                ("scores", _numbers(p["scores"]).astype(np.float64)),
                ("found_labels", _numbers(p["labels"]).astype(np.int64)),
                ("boxes", boxes),
                ("labels", _numbers(t["labels"]).astype(np.int64)),
                ("crowds", crowd),
                ("areas", area.astype(np.float64)),
            ]
            for state, values in rows:
                expected = len(found) if state in ("found_boxes", "scores", "found_labels") else count
                if len(values) != expected:
                    raise ShapeError(
                        f"{self.name}: {state} has {len(values)} entries, there are {expected} boxes",
                        code="shape.metric",
                        hint="one entry for each box",
                    )
            for state, values in rows:
                getattr(self, state).append(tensor(values))

    def _boxes(self, boxes: Any) -> Array:
        a = _numbers(boxes).astype(np.float64)
        if a.size == 0:
            return np.zeros((0, 4))
        if a.ndim != 2 or a.shape[1] != 4:
            raise ShapeError(f"{self.name}: boxes of shape {a.shape}", code="shape.boxes", hint="boxes are (n, 4)")
        return corners(a, self.box_format)

    def compute(self) -> dict[str, Tensor]:
        """map, map_50, map_75, by size, mar by limit and size, and "classes"; -1 where nothing was to be found."""
        images = [
            [x.numpy() for x in image]
            for image in zip(*(getattr(self, state) for state in self._defaults), strict=True)
        ]
        kinds = [k for image in images for k in (image[2], image[4])]
        classes = np.unique(np.concatenate(kinds)) if kinds else np.zeros(0, np.int64)
        most = self.limits[-1]
        table: dict[tuple[str, int], tuple[Array, Array]] = {}
        for area in AREAS:
            judged = {c: [self._image(image, int(c), AREAS[area]) for image in images] for c in classes}
            for limit in self.limits if area == "all" else [most]:
                each = [self._curve(judged[c], limit) for c in classes]
                precision = np.stack([e[0] for e in each], 1) if each else np.full((len(self.thresholds), 0), -1.0)
                recall = np.stack([e[1] for e in each], 1) if each else np.full((len(self.thresholds), 0), -1.0)
                table[area, limit] = (precision, recall)
        whole = table["all", most][0]
        values = {"map": _mean(whole)}
        for label, threshold in (("map_50", 0.5), ("map_75", 0.75)):
            at = np.nonzero(np.isclose(self.thresholds, threshold))[0]
            values[label] = _mean(whole[at]) if len(at) else -1.0
        for area in ("small", "medium", "large"):
            values[f"map_{area}"] = _mean(table[area, most][0])
        for limit in self.limits:
            values[f"mar_{limit}"] = _mean(table["all", limit][1])
        for area in ("small", "medium", "large"):
            values[f"mar_{area}"] = _mean(table[area, most][1])
        out = {k: result(v) for k, v in values.items()}
        if self.class_metrics:
            out["map_per_class"] = result([_mean(whole[:, k]) for k in range(len(classes))])
            recall = table["all", most][1]
            out[f"mar_{most}_per_class"] = result([_mean(recall[:, k]) for k in range(len(classes))])
        out["classes"] = tensor(classes.astype(np.int64))
        return out

    def _image(
        self, image: list[Array], kind: int, area: tuple[float, float]
    ) -> tuple[Array, Array, Array, int] | None:
        """Scores, matches and ignored flags (thresholds, found) of an image and class, and how many were wanted."""
        found, scores, found_labels, boxes, labels, crowds, areas = image
        mine, theirs = found_labels == kind, labels == kind
        if not mine.any() and not theirs.any():
            return None
        order = np.argsort(-scores[mine], kind="stable")[: self.limits[-1]]
        found, scores = found[mine][order], scores[mine][order]
        boxes, crowd, size = boxes[theirs], crowds[theirs], areas[theirs]
        ignore = crowd | (size < area[0]) | (size > area[1])
        order = np.argsort(ignore, kind="stable")  # what counts is offered first
        boxes, crowd, ignore = boxes[order], crowd[order], ignore[order]
        iou = overlaps(found, boxes, crowd)
        count = len(self.thresholds)
        matched, left_out = np.zeros((count, len(found)), bool), np.zeros((count, len(found)), bool)
        for t, threshold in enumerate(self.thresholds):
            taken = np.zeros(len(boxes), bool)
            for d in range(len(found)):
                best, at = min(threshold, 1 - 1e-10), -1
                for g in range(len(boxes)):
                    if taken[g] and not crowd[g]:
                        continue
                    if at > -1 and not ignore[at] and ignore[g]:
                        break
                    if iou[d, g] >= best:
                        best, at = iou[d, g], g
                if at > -1:
                    taken[at] = matched[t, d] = True
                    left_out[t, d] = ignore[at]
        outside = (box_area(found) < area[0]) | (box_area(found) > area[1])
        return scores, matched, left_out | (~matched & outside), int((~ignore).sum())

    def _curve(self, judged: list[Any], limit: int) -> tuple[Array, Array]:
        """Precision averaged over recalls, and the final recall, by threshold; -1 where nothing was wanted."""
        there = [j for j in judged if j is not None]
        none = np.full(len(self.thresholds), -1.0)
        wanted = sum(j[3] for j in there)
        if not wanted:
            return none, none
        scores = np.concatenate([j[0][:limit] for j in there])
        order = np.argsort(-scores, kind="stable")
        matched = np.concatenate([j[1][:, :limit] for j in there], 1)[:, order]
        counts = ~np.concatenate([j[2][:, :limit] for j in there], 1)[:, order]
        precisions, recalls = none.copy(), none.copy()
        for t in range(len(self.thresholds)):
            tp, fp = np.cumsum(matched[t] & counts[t]), np.cumsum(~matched[t] & counts[t])
            recall = tp / wanted
            precision = tp / np.maximum(tp + fp, np.spacing(1))
            precision = np.maximum.accumulate(precision[::-1])[::-1]  # the best at this recall or beyond
            at = np.searchsorted(recall, RECALLS, side="left")
            held = np.append(precision, 0.0)[np.minimum(at, len(precision))]
            precisions[t] = held.mean()
            recalls[t] = recall[-1] if len(recall) else 0.0
        return precisions, recalls


def _numbers(x: Any) -> Array:
    return given(x).numpy()


def _mean(values: Array) -> float:
    """The mean of what is there; -1 of nothing."""
    there = values[values > -1]
    return float(there.mean()) if there.size else -1.0
