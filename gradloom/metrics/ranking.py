"""Rankings of labels: how well scores put a sample's own labels before the others (Tsoumakas et al. 2010)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.errors import ShapeError
from gradloom.metrics.base import Metric, given, result
from gradloom.metrics.classification import share
from gradloom.tensor import Tensor, tensor

Array = np.ndarray


class _Ranking(Metric):
    """Base. num_labels : int. Samples with a label that is `ignore_index` are judged without it."""

    total: Tensor

    def __init__(self, num_labels: int, ignore_index: int | None = None, name: str | None = None) -> None:
        super().__init__(name)
        if num_labels < 2:
            raise ValueError(f"num_labels must be at least 2, got {num_labels}")
        self.num_labels, self.ignore_index = num_labels, ignore_index
        self.add_state("total", np.zeros(2))

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch: scores (n, num_labels) and bits of the same shape."""
        p, t = given(preds), given(target)
        if p.ndim != 2 or tuple(p.shape) != tuple(t.shape) or p.shape[1] != self.num_labels or not p.dtype.is_floating:
            raise ShapeError(
                f"{self.name}: {p.dtype.name} scores {tuple(p.shape)}, bits {tuple(t.shape)}", code="shape.metric",
                hint=f"both are (n, {self.num_labels}), the scores floats",
            )  # fmt: skip
        scores, bits = p.numpy(), t.numpy()
        found = 0.0
        for row, answers in zip(scores, bits, strict=True):
            keep = np.ones(len(row), bool) if self.ignore_index is None else answers != self.ignore_index
            found += self._of(row[keep], answers[keep] == 1)
        self.total = self.total + tensor(np.array([found, len(scores)]))

    def _of(self, scores: Array, relevant: Array) -> float:
        raise NotImplementedError

    def compute(self) -> Tensor:
        """The mean over samples; NaN before any batch."""
        found, size = self.total.numpy()
        return result(share(found, size, np.nan))


class MultilabelCoverageError(_Ranking):
    """How many of the highest scores must be taken to have all of a sample's labels."""

    def _of(self, scores: Array, relevant: Array) -> float:
        return float((scores >= scores[relevant].min()).sum()) if relevant.any() else 0.0


class MultilabelRankingAveragePrecision(_Ranking):
    """For each of a sample's labels the share of its labels among those that score as high; 1 where none or all are."""

    def _of(self, scores: Array, relevant: Array) -> float:
        if relevant.all() or not relevant.any():
            return 1.0
        own = scores[relevant]
        return float(np.mean([(own >= s).sum() / (scores >= s).sum() for s in own]))


class MultilabelRankingLoss(_Ranking):
    """The share of pairs of an own and another label that stand in the wrong order."""

    def _of(self, scores: Array, relevant: Array) -> float:
        own, other = scores[relevant], scores[~relevant]
        return float((own[:, None] <= other).mean()) if own.size and other.size else 0.0
