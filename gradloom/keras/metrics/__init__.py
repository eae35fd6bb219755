"""Metrics, by the names that Keras gives them."""

from __future__ import annotations

from typing import Any

from gradloom.keras import config
from gradloom.keras import losses as _losses
from gradloom.keras.losses.functions import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from gradloom.keras.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    accuracy_for,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from gradloom.keras.metrics.base import (
    Mean,
    MeanMetricWrapper,
    Metric,
    Sum,
)
from gradloom.keras.metrics.confusion import (
    AUC,
    FalseNegatives,
    FalsePositives,
    Precision,
    PrecisionAtRecall,
    Recall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    TrueNegatives,
    TruePositives,
)
from gradloom.keras.metrics.fscore import (
    F1Score,
    FBetaScore,
)
from gradloom.keras.metrics.iou import (
    BinaryIoU,
    IoU,
    MeanIoU,
    OneHotIoU,
    OneHotMeanIoU,
)
from gradloom.keras.metrics.probabilistic import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    ConcordanceCorrelation,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    PearsonCorrelation,
    Poisson,
    R2Score,
    RootMeanSquaredError,
    SparseCategoricalCrossentropy,
    SquaredHinge,
    concordance_correlation,
    pearson_correlation,
)
from gradloom.keras.names import from_identifier, identifier_of, lookup

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "BinaryIoU",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "ConcordanceCorrelation",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "IoU",
    "KLDivergence",
    "LogCoshError",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanIoU",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "OneHotIoU",
    "OneHotMeanIoU",
    "PearsonCorrelation",
    "Poisson",
    "Precision",
    "PrecisionAtRecall",
    "R2Score",
    "Recall",
    "RecallAtPrecision",
    "RootMeanSquaredError",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "deserialize",
    "get",
    "binary_accuracy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "concordance_correlation",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "pearson_correlation",
    "poisson",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "squared_hinge",
    "top_k_categorical_accuracy",
    "resolve",
    "serialize",
]

_CLASSES = [
    Accuracy, AUC, BinaryAccuracy, BinaryCrossentropy, BinaryIoU, CategoricalAccuracy, CategoricalCrossentropy,
    CategoricalHinge, ConcordanceCorrelation, CosineSimilarity, F1Score, FBetaScore, FalseNegatives, FalsePositives,
    Hinge, IoU, KLDivergence, LogCoshError, Mean, MeanAbsoluteError, MeanAbsolutePercentageError, MeanIoU,
    MeanMetricWrapper, MeanSquaredError, MeanSquaredLogarithmicError, OneHotIoU, OneHotMeanIoU, PearsonCorrelation,
    Poisson, Precision, PrecisionAtRecall, R2Score, Recall, RecallAtPrecision, RootMeanSquaredError,
    SensitivityAtSpecificity, SparseCategoricalAccuracy, SparseCategoricalCrossentropy, SparseTopKCategoricalAccuracy,
    SpecificityAtSensitivity, SquaredHinge, Sum, TopKCategoricalAccuracy, TrueNegatives, TruePositives,
]  # fmt: skip
_TABLE: dict[str, Any] = {}
for _cls in _CLASSES:
    _TABLE[_cls.__name__.lower()] = _cls
    _TABLE[config.snake_case(_cls.__name__)] = _cls
_TABLE |= {
    "mse": MeanSquaredError, "mae": MeanAbsoluteError, "mape": MeanAbsolutePercentageError, "bce": BinaryCrossentropy,
    "msle": MeanSquaredLogarithmicError, "rmse": RootMeanSquaredError, "kld": KLDivergence, "logcosh": LogCoshError,
    "auc": AUC, "cosine": CosineSimilarity, "log_cosh": LogCoshError,
}  # fmt: skip
_ACCURACY = ("accuracy", "acc")
_CROSS_ENTROPY = ("crossentropy", "cross_entropy", "ce")


def get(identifier: Any) -> Any:
    """The metric of a name or a configuration; an object is itself, a function is given back; None stays None."""
    if identifier is None or isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, type):
        return identifier()
    if callable(identifier):
        return identifier
    found = from_identifier("metric", identifier, _TABLE)
    return found() if isinstance(found, type) else found


def serialize(metric: Any) -> Any:
    """A metric as a configuration."""
    return identifier_of(metric)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The metric of a configuration."""
    found = from_identifier("metric", config, _TABLE, custom_objects)
    return found() if isinstance(found, type) else found


def check(metric: Any) -> None:
    """Refuse a name that is no metric's, before there is data."""
    if isinstance(metric, str):
        lookup("metric", metric, {**dict.fromkeys(_TABLE, True), **dict.fromkeys(_ACCURACY + _CROSS_ENTROPY, True)})
    elif metric is not None and not isinstance(metric, Metric | dict) and not callable(metric):
        lookup("metric", metric, _TABLE)


def resolve(metric: Any, loss: Any, output_shape: tuple[Any, ...], target_shape: tuple[Any, ...]) -> Any:
    """The metric that an entry of ``compile(metrics=...)`` means.

    "accuracy" (or "acc") is named after itself, and which accuracy it is follows the loss: sparse categorical,
    categorical or binary cross-entropy has its own; for other losses the shapes decide.

    Parameters
    ----------
    output_shape, target_shape : of the model's output and the answers, (n, ...).
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str) and metric.lower() in _ACCURACY + _CROSS_ENTROPY:
        accuracy = metric.lower() in _ACCURACY
        for kind, (by_accuracy, by_entropy) in _BY_LOSS.items():
            if isinstance(loss, kind):
                found = (by_accuracy if accuracy else by_entropy)(name=metric)
                if not accuracy and getattr(loss, "from_logits", False):
                    found._options["from_logits"] = True
                return found
        return accuracy_for(output_shape, target_shape, metric)
    found = get(metric)
    if isinstance(metric, str) and isinstance(found, Metric):
        found.name = metric
    return found if isinstance(found, Metric) else MeanMetricWrapper(found, getattr(found, "__name__", None))


_BY_LOSS: dict[type, Any] = {
    _losses.SparseCategoricalCrossentropy: (SparseCategoricalAccuracy, SparseCategoricalCrossentropy),
    _losses.CategoricalCrossentropy: (CategoricalAccuracy, CategoricalCrossentropy),
    _losses.BinaryCrossentropy: (BinaryAccuracy, BinaryCrossentropy),
}
