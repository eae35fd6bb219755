"""Metrics, by the names that Keras gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradloom.keras.losses import BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy
from gradloom.keras.names import lookup
from gradloom.metrics import (
    BinaryAccuracy,
    CategoricalAccuracy,
    Mean,
    MeanAbsoluteError,
    MeanMetric,
    MeanSquaredError,
    Metric,
    SparseCategoricalAccuracy,
    accuracy_for,
)
from gradloom.tensor import Tensor

__all__ = [
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetric",
    "MeanSquaredError",
    "Metric",
    "SparseCategoricalAccuracy",
    "resolve",
]


class FunctionMetric(MeanMetric):
    """The mean of a function of (y_true, y_pred)."""

    def __init__(self, function: Any) -> None:
        super().__init__(getattr(function, "__name__", "metric"))
        self.function = function

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """What the function gives."""
        return self.function(y_true, y_pred)


_TABLE: dict[str, Callable[[str], MeanMetric]] = {
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
}


def check(metric: Any) -> None:
    """Refuse a name that is no metric's, before there is data."""
    if not (isinstance(metric, MeanMetric) or callable(metric)):
        lookup("metric", metric, {**dict.fromkeys(_TABLE, True), "accuracy": True, "acc": True})


def resolve(metric: Any, loss: Any, output_shape: tuple[int, ...], target_shape: tuple[int, ...]) -> MeanMetric:
    """The metric that an entry of ``compile(metrics=...)`` means.

    "accuracy" (or "acc") is named after itself, and which accuracy it is follows the loss: sparse categorical,
    categorical or binary cross-entropy has its own; for other losses the shapes decide.

    Parameters
    ----------
    output_shape, target_shape : of the model's output and the answers, (n, ...).
    """
    if isinstance(metric, MeanMetric):
        return metric
    if isinstance(metric, str) and metric.lower() in ("accuracy", "acc"):
        for kind, accuracy in _BY_LOSS.items():
            if isinstance(loss, kind):
                return accuracy(metric)
        return accuracy_for(output_shape, target_shape, metric)
    if isinstance(metric, str):
        return lookup("metric", metric, _TABLE)(metric)
    return FunctionMetric(metric)


_BY_LOSS: dict[type, Callable[[str], MeanMetric]] = {
    SparseCategoricalCrossentropy: SparseCategoricalAccuracy,
    CategoricalCrossentropy: CategoricalAccuracy,
    BinaryCrossentropy: BinaryAccuracy,
}
