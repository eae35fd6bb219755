"""Accuracy: the share of samples whose answer is right. What right means depends on how the answers are written."""

from __future__ import annotations

from gradloom import dtypes
from gradloom.metrics.mean import MeanMetric, match_rank
from gradloom.tensor import Tensor


class SparseCategoricalAccuracy(MeanMetric):
    """Answers are class numbers (n,), predictions scores (n, classes): the highest score must be the answer's."""

    by_rank = True

    def __init__(self, name: str = "sparse_categorical_accuracy") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """1.0 where right, shape (n, ...)."""
        found = y_pred.argmax(-1)
        if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
            y_true = y_true.squeeze(-1)
        return (found == y_true.to(found.dtype)).to(dtypes.float32)


class CategoricalAccuracy(MeanMetric):
    """Answers are one-hot or probabilities (n, classes): the highest score must stand where the highest answer does."""

    by_rank = True

    def __init__(self, name: str = "categorical_accuracy") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """1.0 where right, shape (n, ...)."""
        return (y_pred.argmax(-1) == y_true.argmax(-1)).to(dtypes.float32)


class BinaryAccuracy(MeanMetric):
    """Answers are 0 or 1: the prediction must lie on the same side of the threshold. The mean over the last axis.

    Parameters
    ----------
    threshold : predictions above it count as 1.
    """

    def __init__(self, name: str = "binary_accuracy", threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = threshold

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The share that is right, per sample: (n, k) to (n,)."""
        y_true = match_rank(y_true, y_pred).to(y_pred.dtype)
        right = ((y_pred > self.threshold).to(y_pred.dtype) == y_true).to(dtypes.float32)
        return right.mean(-1) if right.ndim > 1 else right


def accuracy_for(output_shape: tuple[int, ...], target_shape: tuple[int, ...], name: str = "accuracy") -> MeanMetric:
    """The accuracy that ``metrics=["accuracy"]`` means for a model and its answers, named ``name``.

    One output, or as many answers as outputs while the answers are single bits, is binary; answers of the outputs'
    shape are one-hot; answers with one axis less (or a last axis of 1) are class numbers.

    Parameters
    ----------
    output_shape : of the model's output, with or without known batch size, (n, ...).
    target_shape : of the answers, (n, ...).
    """
    if len(output_shape) < 2 or output_shape[-1] == 1:
        return BinaryAccuracy(name)
    if len(target_shape) == len(output_shape) and target_shape[-1] == output_shape[-1]:
        return CategoricalAccuracy(name)
    return SparseCategoricalAccuracy(name)
