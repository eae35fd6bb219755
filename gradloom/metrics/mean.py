"""Means over samples: the shape of every metric that a training step can add up on its own.

``values(y_true, y_pred)`` is pure and gives one number a sample. A training step adds their sum to a 0-d tensor inside
its own native program; used by hand, ``update_state`` does the same, and ``result`` divides.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.modes import no_grad
from gradloom.tensor import Tensor, from_numpy


def as_tensor(value: Any) -> Tensor:
    """A tensor as it is; arrays and lists as tensors, float64 as float32."""
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    return from_numpy(np.ascontiguousarray(array, np.float32 if array.dtype == np.float64 else array.dtype))


class Metric:
    """A number kept over batches: ``update_state``, ``result``, ``reset_state``.

    Parameters
    ----------
    name : under which it is reported.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._total = 0.0
        self._count = 0.0

    def reset_state(self) -> None:
        """Forget everything that was added."""
        self._total = self._count = 0.0

    def result(self) -> float:
        """The mean of what was added, 0.0 where nothing was."""
        return self._total / self._count if self._count else 0.0

    def _add(self, values: Tensor, sample_weight: Any = None) -> None:
        array = np.asarray(values.detach().numpy(), np.float64)
        if sample_weight is None:
            self._total += float(array.sum())
            self._count += array.size
        else:
            weight = np.broadcast_to(np.asarray(sample_weight, np.float64), array.shape)
            self._total += float((array * weight).sum())
            self._count += float(weight.sum())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


class Mean(Metric):
    """The mean of the numbers given to ``update_state``."""

    def __init__(self, name: str = "mean") -> None:
        super().__init__(name)

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add numbers of any shape, each with its weight where weights are given."""
        self._add(as_tensor(values), sample_weight)


class MeanMetric(Metric):
    """The mean over samples of a function of answers and predictions.

    ``by_rank`` says that only the order of the scores of one sample matters, so that scores before a softmax do as
    well as the probabilities behind it, and the softmax need not be computed.
    """

    by_rank = False

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """One number a sample: y_true (n, ...), y_pred (n, ...) to (n, ...)."""
        raise NotImplementedError

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        with no_grad():
            self._add(self.values(as_tensor(y_true), as_tensor(y_pred)), sample_weight)

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
