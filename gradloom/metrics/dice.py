"""Dice: twice what two regions have in common over the sum of their sizes."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.metrics import inputs
from gradloom.metrics.base import Metric, result
from gradloom.metrics.classification import AVERAGES, share
from gradloom.metrics.segmentation import region_pair
from gradloom.tensor import Tensor


class DiceScore(Metric):
    """Twice the intersection over the sum of the sizes (Dice 1945).

    Parameters
    ----------
    num_classes : int
    include_background : bool
        Whether class 0 counts.
    average : {"micro", "macro", "weighted", "none"}
        Over classes: all pixels together, the mean over classes that occur, weighted by their pixels, one value each.
    aggregation_level : {"samplewise", "global"}
        The mean over samples, or all pixels of the data together.
    input_format : {"one-hot", "index", "mixed"}
        Bits (N, C, ...), labels (N, ...), or one of each.
    """

    above: Tensor
    below: Tensor
    support: Tensor

    def __init__(
        self,
        num_classes: int,
        include_background: bool = True,
        average: str | None = "macro",
        aggregation_level: str = "samplewise",
        input_format: str = "one-hot",
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        inputs.checked_task("multiclass", num_classes, None)
        if average not in AVERAGES:
            raise ValueError(f"average is 'micro', 'macro', 'weighted' or 'none', not {average!r}")
        if aggregation_level not in ("samplewise", "global"):
            raise ValueError(f"aggregation_level is 'samplewise' or 'global', not {aggregation_level!r}")
        if input_format not in ("one-hot", "index", "mixed"):
            raise ValueError(f"input_format is 'one-hot', 'index' or 'mixed', not {input_format!r}")
        self.num_classes, self.average, self.input_format = num_classes, average or "none", input_format
        self.aggregation_level, self.first = aggregation_level, 0 if include_background else 1
        size = num_classes - self.first
        whole = aggregation_level == "global" or self.average == "none"
        for state in ("above", "below", "support"):
            self.add_state(state, np.zeros(size if whole else 1))

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch."""
        both = region_pair(self.name, preds, target, self.num_classes, self.input_format)
        p, t = (G.cast(x[:, self.first :], "float64") for x in both)
        above, support = 2.0 * G.sum(p * t, dim=2), G.sum(t, dim=2)
        below = G.sum(p, dim=2) + support
        if self.aggregation_level == "samplewise":
            above, below = self._of_samples(above, below, support)
        self.above = self.above + G.sum(above, dim=0)
        self.below = self.below + G.sum(below, dim=0)
        if self.aggregation_level == "global":
            self.support = self.support + G.sum(support, dim=0)

    def _of_samples(self, above: Tensor, below: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of samples, 0 where there is none, and whether there is one: (N, 1), or (N, C)."""
        if self.average == "micro":
            above, below = G.sum(above, dim=1, keepdim=True), G.sum(below, dim=1, keepdim=True)
        occurs = below > 0
        each = G.where(occurs, above / G.where(occurs, below, 1.0), 0.0)
        if self.average in ("micro", "none"):
            return each, G.cast(occurs, "float64")
        weight = support if self.average == "weighted" else G.cast(occurs, "float64")
        total = G.sum(weight, dim=1, keepdim=True)
        mean = G.sum(each * weight, dim=1, keepdim=True) / G.where(total > 0, total, 1.0)
        return mean, G.cast(G.any(occurs, dim=1, keepdim=True), "float64")

    def compute(self) -> Tensor:
        """0-d, or one value a class; NaN where nothing occurs."""
        above, below, support = self.above.numpy(), self.below.numpy(), self.support.numpy()
        if self.aggregation_level == "global" and self.average == "micro":
            return result(share(above.sum(), below.sum(), np.nan))
        each = share(above, below, np.nan)
        if self.average == "none":
            return result(each)
        if self.aggregation_level == "samplewise":
            return result(each[0])
        weight = support if self.average == "weighted" else (below > 0) * 1.0
        return result(share(np.nansum(each * weight), weight.sum(), np.nan))
