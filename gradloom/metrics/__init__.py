"""Metrics: how good the answers are, counted batch by batch and looked at only when somebody asks."""

from gradloom.metrics.accuracy import (
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    accuracy_for,
)
from gradloom.metrics.mean import Mean, MeanAbsoluteError, MeanMetric, MeanSquaredError, Metric

__all__ = [
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetric",
    "MeanSquaredError",
    "Metric",
    "SparseCategoricalAccuracy",
    "accuracy_for",
]
