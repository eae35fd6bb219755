"""Means over samples: the shape of every metric that a training step can add up on its own.

``values(y_true, y_pred)`` is pure and gives one number a sample. A training step adds their sum to a 0-d tensor inside
its own native program; used by hand, ``update_state`` does the same, and ``result`` divides.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.metrics.base import Metric, result
from gradloom.modes import no_grad
from gradloom.tensor import Tensor, from_numpy


def as_tensor(value: Any) -> Tensor:
    """A tensor as it is; arrays and lists copied, since they are looked at later; float64 as float32."""
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    return from_numpy(np.array(array, np.float32 if array.dtype == np.float64 else array.dtype, order="C"))


class _Averaged(Metric):
    """A sum and the sum of its weights; Keras's names and TorchMetrics' for what can be done with them."""

    total: Tensor
    weight: Tensor

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.add_state("total", np.float64(0.0))
        self.add_state("weight", np.float64(0.0))

    def _add(self, values: Tensor, sample_weight: Any = None) -> None:
        rows = G.cast(values.detach(), "float64")
        if sample_weight is None:
            self.total = self.total + G.sum(rows)
            self.weight = self.weight + float(rows.numel())
        else:
            weight = G.cast(as_tensor(sample_weight), "float64")
            self.total = self.total + G.sum(rows * weight)
            self.weight = self.weight + G.sum(G.broadcast_to(weight, rows.shape))

    def result(self) -> float:
        """The mean of what was added, 0.0 where nothing was."""
        weight = float(self.weight.item())
        return float(self.total.item()) / weight if weight else 0.0

    def compute(self) -> Tensor:
        """The mean of what was added, NaN where nothing was."""
        weight = float(self.weight.item())
        return result(float(self.total.item()) / weight if weight else np.nan)

    def reset_state(self) -> None:
        """Forget everything that was added."""
        self.reset()


class Mean(_Averaged):
    """The mean of the numbers given to ``update``."""

    def __init__(self, name: str = "mean") -> None:
        super().__init__(name)

    def update(self, values: Any, weight: Any = None) -> None:
        """Add numbers of any shape, each with its weight where weights are given."""
        self._add(as_tensor(values), weight)

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add numbers of any shape, each with its weight where weights are given."""
        self.update(values, sample_weight)


class MeanMetric(_Averaged):
    """The mean over samples of a function of answers and predictions.

    ``by_rank`` says that only the order of the scores of one sample matters, so that scores before a softmax do as
    well as the probabilities behind it, and the softmax need not be computed.

    ``update_state`` and a call take answers first, as Keras has it; ``update`` and ``forward`` predictions first.
    """

    by_rank = False

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """One number a sample: y_true (n, ...), y_pred (n, ...) to (n, ...)."""
        raise NotImplementedError

    def update(self, preds: Any, target: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        with no_grad():
            self._add(self.values(as_tensor(target), as_tensor(preds)), sample_weight)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        self.update(y_pred, y_true, sample_weight)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        """Add a batch and give the mean so far."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()


def match_rank(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """y_true (n,) beside y_pred (n, 1) as (n, 1), and the other way round; otherwise as it is.

    Without this, the difference of the two would broadcast to (n, n) and be silently wrong.
    """
    if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
        return y_true.unsqueeze(-1)
    if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        return y_true.squeeze(-1)
    return y_true


class MeanSquaredError(MeanMetric):
    """Mean of (y_pred - y_true)² over the last axis and the samples."""

    def __init__(self, name: str = "mean_squared_error") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Per sample: the mean over the last axis."""
        difference = y_pred - match_rank(y_true, y_pred).to(y_pred.dtype)
        squared = difference * difference
        return squared.mean(-1) if squared.ndim > 1 else squared


class MeanAbsoluteError(MeanMetric):
    """Mean of |y_pred - y_true| over the last axis and the samples."""

    def __init__(self, name: str = "mean_absolute_error") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Per sample: the mean over the last axis."""
        distance = (y_pred - match_rank(y_true, y_pred).to(y_pred.dtype)).abs()
        return distance.mean(-1) if distance.ndim > 1 else distance
