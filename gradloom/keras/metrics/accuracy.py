"""Accuracies: the share of samples whose answer is right. What right means depends on how the answers are written."""

from __future__ import annotations

from typing import Any

from gradloom import dtypes
from gradloom import functions as G
from gradloom.keras.losses.functions import squeeze_or_expand
from gradloom.keras.metrics.base import MeanMetricWrapper
from gradloom.keras.operations import as_tensor
from gradloom.tape import composite
from gradloom.tensor import Tensor


def accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """1.0 where answer and prediction are equal."""
    p = as_tensor(y_pred)
    y, p = squeeze_or_expand(as_tensor(y_true).to(p.dtype), p)
    return (y == p).to(dtypes.float32)


@composite
def _sided(y: Tensor, p: Tensor, threshold: float) -> Tensor:
    return G.cast(G.eq(G.cast(p > threshold, p.dtype), y), dtypes.float32)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Tensor:
    """1.0 where the prediction lies on the answer's side of the threshold."""
    p = as_tensor(y_pred)
    y, p = squeeze_or_expand(as_tensor(y_true).to(p.dtype), p)
    return _sided(y, p, float(threshold))


def categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """1.0 where the highest score stands at the answer's one."""
    y, p = as_tensor(y_true), as_tensor(y_pred)
    return (p.argmax(-1) == y.argmax(-1)).to(dtypes.float32)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """1.0 where the highest score is that of the answer, a class number."""
    y, p = as_tensor(y_true), as_tensor(y_pred)
    if y.ndim == p.ndim and y.shape[-1] == 1:
        y = y.reshape(*y.shape[:-1])
    found = p.argmax(-1)
    return (found == y.to(found.dtype)).to(dtypes.float32)


@composite
def _among_top(index: Tensor, p: Tensor, k: int) -> Tensor:
    mine = G.gather(p, -1, G.unsqueeze(index, -1))
    higher = G.sum(G.cast(p > mine, dtypes.float32), -1)
    finite = G.isfinite(mine.squeeze(-1))
    return G.cast(G.logical_and(higher < float(k), finite), dtypes.float32)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Tensor:
    """1.0 where the answer, one-hot, is among the k highest scores."""
    return sparse_top_k_categorical_accuracy(as_tensor(y_true).argmax(-1), y_pred, k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False) -> Tensor:
    """1.0 where the answer, a class number, is among the k highest scores, or among the first k sorted numbers."""
    y, p = as_tensor(y_true), as_tensor(y_pred)
    if y.ndim == p.ndim and y.shape[-1] == 1:
        y = y.reshape(*y.shape[:-1])
    if from_sorted_ids:
        first = p[..., :k].to(dtypes.int64)
        return (first == y.to(dtypes.int64).unsqueeze(-1)).to(dtypes.float32).amax(-1)
    return _among_top(y.to(dtypes.int64), p, int(k))


class Accuracy(MeanMetricWrapper):
    """How often answer and prediction are equal."""

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(accuracy, name, dtype)


class BinaryAccuracy(MeanMetricWrapper):
    """Answers are 0 or 1: the prediction must lie on the same side of the threshold.

    Parameters
    ----------
    threshold : predictions above it count as 1.
    """

    def __init__(self, name: str = "binary_accuracy", dtype: Any = None, threshold: float = 0.5) -> None:
        if threshold is not None and not 0 < threshold < 1:
            raise ValueError(f"threshold={threshold}: it must lie between 0 and 1")
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)
        self.threshold = threshold


class CategoricalAccuracy(MeanMetricWrapper):
    """Answers are one-hot or probabilities (n, classes)."""

    by_rank = True

    def __init__(self, name: str = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(categorical_accuracy, name, dtype)


class SparseCategoricalAccuracy(MeanMetricWrapper):
    """Answers are class numbers (n,), predictions scores (n, classes)."""

    by_rank = True

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(sparse_categorical_accuracy, name, dtype)


class TopKCategoricalAccuracy(MeanMetricWrapper):
    """The answer, one-hot, is among the k highest scores."""

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(top_k_categorical_accuracy, name, dtype, k=k)
        self.k = k


class SparseTopKCategoricalAccuracy(MeanMetricWrapper):
    """The answer, a class number, is among the k highest scores."""

    def __init__(
        self,
        k: int = 5,
        name: str = "sparse_top_k_categorical_accuracy",
        dtype: Any = None,
        from_sorted_ids: bool = False,
    ) -> None:
        super().__init__(sparse_top_k_categorical_accuracy, name, dtype, k=k, from_sorted_ids=from_sorted_ids)
        self.k, self.from_sorted_ids = k, from_sorted_ids

    def get_config(self) -> dict[str, Any]:
        """Name, dtype and options."""
        return super().get_config()


def accuracy_for(output_shape: tuple[Any, ...], target_shape: tuple[Any, ...], name: str = "accuracy") -> Any:
    """The accuracy that ``metrics=["accuracy"]`` means for a model and its answers, named ``name``.

    One output, or as many answers as outputs while the answers are single bits, is binary; answers of the outputs'
    shape are one-hot; answers with one axis less (or a last axis of 1) are class numbers.
    """
    if len(output_shape) < 2 or output_shape[-1] == 1:
        return BinaryAccuracy(name)
    if len(target_shape) == len(output_shape) and target_shape[-1] == output_shape[-1]:
        return CategoricalAccuracy(name)
    return SparseCategoricalAccuracy(name)
