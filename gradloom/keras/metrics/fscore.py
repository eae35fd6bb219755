"""F scores: precision and recall in one number, class by class."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.keras.metrics.base import Metric, number
from gradloom.keras.operations import as_tensor
from gradloom.modes import no_grad


class FBetaScore(Metric):
    """(1 + β²) precision · recall / (β² precision + recall), for one-hot answers (n, classes).

    Parameters
    ----------
    average : None (each class), "micro", "macro" or "weighted".
    beta : weight of recall.
    threshold : predictions above it count as 1; None: the highest of each sample.
    """

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str = "fbeta_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(dtype, name)
        if average not in (None, "micro", "macro", "weighted"):
            raise ValueError("Invalid `average` argument value. Expected one of: {None, 'micro', 'macro', 'weighted'}. "
                             f"Received: average={average}")  # fmt: skip
        if not isinstance(beta, float):
            raise ValueError(f"Invalid `beta` argument value. It should be a Python float. Received: beta={beta}")
        if beta <= 0:
            raise ValueError(f"Invalid `beta` argument value. It should be > 0. Received: beta={beta}")
        if threshold is not None and not isinstance(threshold, float):
            raise ValueError("Invalid `threshold` argument value. It should be a Python float. Received: "
                             f"threshold={threshold} of type '{type(threshold)}'")  # fmt: skip
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError("Invalid `threshold` argument value. It should verify 0 < threshold <= 1. Received: "
                             f"threshold={threshold}")  # fmt: skip
        self.average, self.beta, self.threshold = average, beta, threshold
        self.axis = None if average == "micro" else 0
        self._built = False

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        with no_grad():
            p = as_tensor(y_pred)
            y = as_tensor(y_true).to(p.dtype)
            if y.ndim != 2 or p.ndim != 2 or None in (y.shape[-1], p.shape[-1]):
                raise ValueError(f"FBetaScore takes (n, classes), got {tuple(y.shape)} and {tuple(p.shape)}")
            if not self._built:
                shape = () if self.axis is None else (p.shape[1],)
                self.true_positives = self.add_variable(shape, name="true_positives")
                self.false_positives = self.add_variable(shape, name="false_positives")
                self.false_negatives = self.add_variable(shape, name="false_negatives")
                self.intermediate_weights = self.add_variable(shape, name="intermediate_weights")
                self._built = True
            if self.threshold is None:
                limit = G.amax(p, -1, True)
                chosen = G.logical_and(p >= limit, G.abs(p) > 1e-9)
            else:
                chosen = p > self.threshold
            q = chosen.to(dtypes.float32)
            y = y.to(dtypes.float32)
            w = None if sample_weight is None else as_tensor(sample_weight).to(dtypes.float32).reshape(-1, 1)

            def total(x: Any) -> Any:
                x = x if w is None else x * w
                return x.sum() if self.axis is None else x.sum(0)

            found = (total(q * y), total(q * (1 - y)), total((1 - q) * y), total(y))
            kept = (self.true_positives, self.false_positives, self.false_negatives, self.intermediate_weights)
            for v, more in zip(kept, found):
                v._write(v.detach() + more)

    def result(self) -> Any:
        """The score, or one for each class."""
        tp, fp, fn = (v.numpy() for v in (self.true_positives, self.false_positives, self.false_negatives))
        precision, recall = tp / (tp + fp + 1e-7), tp / (tp + fn + 1e-7)
        b = self.beta**2
        score = precision * recall * (1 + b) / (precision * b + recall + 1e-7)
        if self.average == "weighted":
            w = self.intermediate_weights.numpy()
            score = (score * (w / (w.sum() + 1e-7))).sum()
        elif self.average is not None:
            score = np.mean(score)
        return number(score)

    def reset_state(self) -> None:
        """Forget everything that was added."""
        if self._built:
            super().reset_state()

    def get_config(self) -> dict[str, Any]:
        """Name, dtype and options."""
        options = {"average": self.average, "beta": self.beta, "threshold": self.threshold}
        return {"name": self.name, "dtype": self.dtype, **options}


class F1Score(FBetaScore):
    """The F score with β = 1."""

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str = "f1_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        """Name, dtype and options."""
        found = super().get_config()
        del found["beta"]
        return found
