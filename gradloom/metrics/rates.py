"""Values read off ROC curves: where both errors are equal, and the area over a range of small false positive rates.

`task`, `thresholds` and the other parameters as for the curves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.metrics.base import result
from gradloom.metrics.curves import ScoreMetric, area
from gradloom.tensor import Tensor

Array = np.ndarray


class EER(ScoreMetric):
    """The equal error rate: the mean of both errors at the threshold where they differ least."""

    def compute(self) -> Tensor:
        """0-d; one a class or label for several."""
        found = []
        for fpr, tpr, _ in self.rates("roc"):
            k = np.abs(fpr - (1.0 - tpr)).argmin()
            found.append((fpr[k] + 1.0 - tpr[k]) / 2.0)
        return result(found[0] if self.task == "binary" else np.array(found))


class LogAUC(ScoreMetric):
    """The area under the ROC curve over the logarithm of the false positive rate, over the area that could be.

    fpr_range : (float, float)
        The rates between which it is taken.
    average : {"macro", "none"}
        One value a class or label unless given.
    """

    def __init__(
        self, task: str, fpr_range: tuple[float, float] = (0.001, 0.1), average: str | None = None, **options: Any
    ) -> None:
        super().__init__(task, **options)
        if len(fpr_range) != 2 or not 0 < fpr_range[0] < fpr_range[1] <= 1:
            raise ValueError(f"fpr_range is two rates, 0 < low < high <= 1, not {fpr_range!r}")
        if average not in ("macro", "none", None):
            raise ValueError(f"average is 'macro' or 'none', not {average!r}")
        self.fpr_range, self.average = (float(fpr_range[0]), float(fpr_range[1])), average or "none"

    def compute(self) -> Tensor:
        """0-d, or one a class where average is "none"."""
        low, high = self.fpr_range
        found = []
        for fpr, tpr, _ in self.rates("roc"):
            inside = (fpr >= low) & (fpr <= high)
            x = np.r_[low, fpr[inside], high]
            y = np.r_[np.interp(low, fpr, tpr), tpr[inside], np.interp(high, fpr, tpr)]
            found.append(area(np.log10(x), y) / np.log10(high / low))
        if self.task == "binary":
            return result(found[0])
        each = np.array(found)
        return result(each if self.average == "none" else np.nanmean(each))
