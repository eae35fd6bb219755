"""Panoptic segmentation: pictures whose pixels have a category and an instance (Kirillov et al. 2019).

Things are counted by instance, stuffs as one segment a picture. A found and a true segment of one category match where
their intersection over union is above a half.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from gradloom.errors import ShapeError
from gradloom.metrics.base import Metric, given, result
from gradloom.metrics.classification import share
from gradloom.tensor import Tensor

Array = np.ndarray


class PanopticQuality(Metric):
    """The mean intersection over union of matched segments, times the F1 of matching; the mean over categories.

    Parameters
    ----------
    things, stuffs : collections of int
        The categories, without one that is both.
    allow_unknown_preds_category : bool
        Found categories that are neither count as nothing, instead of being an error. In answers they always do.
    return_sq_and_rq : bool
        Give (quality, that of segments, that of recognition) in the last axis.
    return_per_class : bool
        One value for each category, things first, each in ascending order; 0 where it never came.
    """

    counts: Tensor
    _whole_stuffs = False

    def __init__(
        self,
        things: Collection[int],
        stuffs: Collection[int],
        allow_unknown_preds_category: bool = False,
        return_sq_and_rq: bool = False,
        return_per_class: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if not all(isinstance(c, int) for c in (*things, *stuffs)):
            raise TypeError("things and stuffs are collections of whole numbers")
        self.things, self.stuffs = sorted(set(things)), sorted(set(stuffs))
        if set(things) & set(stuffs):
            raise ValueError(f"both thing and stuff: {sorted(set(things) & set(stuffs))}")
        if not self.things and not self.stuffs:
            raise ValueError("things and stuffs are both empty")
        self.allow_unknown_preds_category = allow_unknown_preds_category
        self.return_sq_and_rq, self.return_per_class = return_sq_and_rq, return_per_class
        # by category: sum of intersections over unions, matched, found without a match, missed
        self.add_state("counts", np.zeros((len(self.things) + len(self.stuffs), 4)))

    def update(self, preds: Any, target: Any) -> None:
        """Add pictures: two tensors (n, ..., 2) of whole numbers; in the last axis category and instance."""
        p, t = (x.numpy() for x in (given(preds), given(target)))
        if p.shape != t.shape or p.ndim < 3 or p.shape[-1] != 2:
            raise ShapeError(
                f"{self.name}: {p.shape} and {t.shape}", code="shape.metric",
                hint="both are (n, ..., 2): category and instance of each pixel",
            )  # fmt: skip
        total = np.zeros(tuple(self.counts.shape))
        found, wanted = self._segments(p, self.allow_unknown_preds_category, "preds"), self._segments(t, True, "target")
        for one, answer in zip(found, wanted, strict=True):
            self._picture(one, answer, total)
        self.counts = self.counts + given(total)

    def _segments(self, x: Array, unknown: bool, what: str) -> Array:
        """(n, pixels, 2): place of the category, -1 for none, and instance, 0 for stuffs."""
        x = x.reshape(len(x), -1, 2).astype(np.int64)
        place = np.full(x.shape[:2], -1)
        for k, category in enumerate((*self.things, *self.stuffs)):
            place[x[..., 0] == category] = k
        if not unknown and (place < 0).any():
            raise ValueError(
                f"{self.name}: {what} has categories that are neither thing nor stuff: "
                f"{np.unique(x[..., 0][place < 0]).tolist()}"
            )
        instance = np.where((place >= 0) & (place < len(self.things)), x[..., 1], 0)
        return np.stack([place, instance], -1)

    def _picture(self, found: Array, answer: Array, total: Array) -> None:
        pairs, overlaps = np.unique(np.concatenate([found, answer], 1), axis=0, return_counts=True)
        both = {(tuple(row[:2]), tuple(row[2:])): n for row, n in zip(pairs.tolist(), overlaps.tolist(), strict=True)}
        areas: list[dict[tuple, int]] = [{}, {}]
        void: list[dict[tuple, int]] = [{}, {}]  # of each segment the pixels where the other side has nothing
        for pair, n in both.items():
            for side in (0, 1):
                areas[side][pair[side]] = areas[side].get(pair[side], 0) + n
                if pair[1 - side][0] < 0:
                    void[side][pair[side]] = void[side].get(pair[side], 0) + n
        matched: list[set[tuple]] = [set(), set()]
        for (own, true), n in both.items():
            if own[0] < 0 or own[0] != true[0]:
                continue
            union = areas[0][own] - void[0].get(own, 0) + areas[1][true] - void[1].get(true, 0) - n
            whole = self._whole_stuffs and true[0] >= len(self.things)
            if whole or n / union > 0.5:
                total[true[0], 0] += n / union
                total[true[0], 1] += not whole
                matched[0].add(own)
                matched[1].add(true)
        for side in (0, 1):
            for segment, area in areas[side].items():
                if segment[0] < 0:
                    continue
                if self._whole_stuffs and segment[0] >= len(self.things):
                    total[segment[0], 1] += side  # each true one counts
                elif segment not in matched[side] and void[side].get(segment, 0) / area <= 0.5:
                    total[segment[0], 2 + side] += 1

    def compute(self) -> Tensor:
        """0-d; with the options another axis for categories, and a last one of 3."""
        overlap, matched, false, missed = self.counts.numpy().T
        segments = share(overlap, matched)
        recognised = share(matched, matched + 0.5 * false + 0.5 * missed)
        each = np.stack([segments * recognised, segments, recognised], -1)
        if not self.return_per_class:
            seen = matched + false + missed > 0
            each = each[seen].mean(0) if seen.any() else np.full(3, np.nan)
        return result(each if self.return_sq_and_rq else each[..., 0])


class ModifiedPanopticQuality(PanopticQuality):
    """As `PanopticQuality`, but stuffs match whatever their overlap (Porzi et al. 2019).

    Parameters are things, stuffs and allow_unknown_preds_category.
    """

    _whole_stuffs = True

    def __init__(
        self,
        things: Collection[int],
        stuffs: Collection[int],
        allow_unknown_preds_category: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(things, stuffs, allow_unknown_preds_category, name=name)
