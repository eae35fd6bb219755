"""Operating points: the best of one rate where another is held, and the threshold that gives it.

`task` and `thresholds` as for the curves. `compute` gives (value, threshold), one of each a class for several classes;
0 and NaN where no threshold that holds what is asked for gives more than 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.metrics.base import result
from gradloom.metrics.curves import ScoreMetric
from gradloom.tensor import Tensor

Array = np.ndarray


class _OperatingPoint(ScoreMetric):
    _held = ""

    def __init__(self, least: float, task: str, **options: Any) -> None:
        super().__init__(task, **options)
        if not 0 <= least <= 1:
            raise ValueError(f"{self._held} lies in [0, 1], got {least}")
        self.least = least

    def _points(self) -> list[tuple[Array, Array, Array]]:
        """By column: what is wanted, what is held, thresholds."""
        raise NotImplementedError

    def compute(self) -> tuple[Tensor, Tensor]:
        """The value and the threshold: of several thresholds with the best value the one with most of the other."""
        found = []
        for wanted, held, thresholds in self._points():
            keep = np.nonzero((held >= self.least) & (wanted > 0))[0]  # NaN, a precision of nothing, holds nothing
            best = max(keep, key=lambda k: (wanted[k], held[k], thresholds[k]), default=None)
            found.append((0.0, np.nan) if best is None else (wanted[best], thresholds[best]))
        values = np.array(found, np.float64)
        if self.task == "binary":
            values = values[0]
        return result(values[..., 0]), result(values[..., 1])


class RecallAtFixedPrecision(_OperatingPoint):
    """The highest recall where precision is at least `min_precision`.

    Parameters
    ----------
    task, thresholds, num_classes, num_labels, ignore_index : as for the curves
    min_precision : float
    """

    _held = "min_precision"

    def __init__(self, task: str, min_precision: float, **options: Any) -> None:
        super().__init__(min_precision, task, **options)

    def _points(self) -> list[tuple[Array, Array, Array]]:
        return [(r[:-1], p[:-1], t) for p, r, t in self.rates("precision_recall")]


class PrecisionAtFixedRecall(_OperatingPoint):
    """The highest precision where recall is at least `min_recall`. Further parameters as for the curves."""

    _held = "min_recall"

    def __init__(self, task: str, min_recall: float, **options: Any) -> None:
        super().__init__(min_recall, task, **options)

    def _points(self) -> list[tuple[Array, Array, Array]]:
        return [(p[:-1], r[:-1], t) for p, r, t in self.rates("precision_recall")]


class SpecificityAtSensitivity(_OperatingPoint):
    """The highest specificity where sensitivity is at least `min_sensitivity`. Further parameters as for the curves."""

    _held = "min_sensitivity"

    def __init__(self, task: str, min_sensitivity: float, **options: Any) -> None:
        super().__init__(min_sensitivity, task, **options)

    def _points(self) -> list[tuple[Array, Array, Array]]:
        return [(1.0 - fpr, tpr, t) for fpr, tpr, t in self.rates("roc")]


class SensitivityAtSpecificity(_OperatingPoint):
    """The highest sensitivity where specificity is at least `min_specificity`. Further parameters as for the curves."""

    _held = "min_specificity"

    def __init__(self, task: str, min_specificity: float, **options: Any) -> None:
        super().__init__(min_specificity, task, **options)

    def _points(self) -> list[tuple[Array, Array, Array]]:
        return [(tpr, 1.0 - fpr, t) for fpr, tpr, t in self.rates("roc")]
