"""How good probabilities are: calibration error, Brier score, log loss; and the hinge loss of scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.functions.conversion import finfo
from gradloom.metrics import inputs
from gradloom.metrics.base import Metric, given, result
from gradloom.metrics.classification import share
from gradloom.tensor import Tensor


class _Probabilities(Metric):
    """Base: probabilities of the binary task (N, ...) or of several classes (N, C, ...), and answers."""

    def __init__(
        self, task: str, num_classes: int | None = None, ignore_index: int | None = None, name: str | None = None
    ) -> None:
        super().__init__(name)
        if task == "multilabel":
            raise ValueError(f"{type(self).__name__} is for the tasks 'binary' and 'multiclass'")
        self.task, self.ignore_index = task, ignore_index
        self.count = inputs.checked_task(task, num_classes, None)

    def _rows(self, preds: Any, target: Any, scores: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities (rows,) or (rows, C) in float64, labels, and which count. scores: leave them as they are."""
        p, t = given(preds), given(target)
        if self.task == "binary":
            inputs.same_shapes(self.name, p, t)
            p, t = G.reshape(p, (p.numel(),)), G.reshape(t, (t.numel(),))
        else:
            p, t = inputs.class_rows(self.name, p, t, self.count)
        labels, valid = inputs.valid_labels(t, self.count, self.ignore_index)
        p = G.cast(p, "float64")
        if scores:
            return p, labels, valid
        if self.task == "binary":
            return inputs.probabilities(p), labels, valid
        return inputs.class_probabilities(p), labels, valid


class CalibrationError(_Probabilities):
    """How far confidence and accuracy lie apart, in bins of confidence (Guo et al. 2017).

    Parameters
    ----------
    task : {"binary", "multiclass"}
        The binary task bins the probability of 1 against how often 1 is the answer.
    n_bins : int
    norm : {"l1", "l2", "max"}
        The mean distance, the root of the mean square, the largest.
    num_classes, ignore_index : int
    """

    confidence: Tensor
    right: Tensor
    size: Tensor

    def __init__(
        self,
        task: str,
        n_bins: int = 15,
        norm: str = "l1",
        num_classes: int | None = None,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(task, num_classes, ignore_index, name)
        if norm not in ("l1", "l2", "max"):
            raise ValueError(f"norm is 'l1', 'l2' or 'max', not {norm!r}")
        if n_bins < 1:
            raise ValueError(f"n_bins must be positive, got {n_bins}")
        self.n_bins, self.norm = n_bins, norm
        for state in ("confidence", "right", "size"):
            self.add_state(state, np.zeros(n_bins))

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch."""
        p, labels, valid = self._rows(preds, target)
        if self.task == "binary":
            confidence, right = p, labels == 1
        else:
            confidence, right = G.amax(p, dim=1), G.argmax(p, dim=1) == labels
        place = G.clamp(G.cast(G.floor(confidence * self.n_bins), "int64"), 0, self.n_bins - 1)
        weight = G.cast(valid, "float64")
        none = G.zeros(self.n_bins, dtype="float64")
        for state, values in (("confidence", confidence * weight), ("size", weight)):
            setattr(self, state, getattr(self, state) + G.scatter_add(none, 0, place, values))
        self.right = self.right + G.scatter_add(none, 0, place, G.cast(right, "float64") * weight)

    def compute(self) -> Tensor:
        """0 is perfect."""
        size = self.size.numpy()
        gap = np.abs(share(self.right.numpy(), size) - share(self.confidence.numpy(), size))
        weight = share(size, size.sum())
        if self.norm == "max":
            return result(gap.max())
        return result((gap * weight).sum() if self.norm == "l1" else np.sqrt((gap**2 * weight).sum()))


class _MeanOfRows(_Probabilities):
    total: Tensor
    size: Tensor

    def __init__(
        self, task: str, num_classes: int | None = None, ignore_index: int | None = None, name: str | None = None
    ) -> None:
        super().__init__(task, num_classes, ignore_index, name)
        self.add_state("total", np.float64(0.0))
        self.add_state("size", np.int64(0))

    def _cost(self, preds: Any, target: Any) -> tuple[Tensor, Tensor]:
        """One value a row, and which rows count."""
        raise NotImplementedError

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch."""
        cost, valid = self._cost(preds, target)
        self.total = self.total + G.sum(G.where(valid, cost, 0.0))
        self.size = self.size + G.sum(G.cast(valid, "int64"))

    def compute(self) -> Tensor:
        """The mean over rows."""
        return result(share(self.total.numpy(), self.size.numpy(), np.nan))


class BrierScore(_MeanOfRows):
    """The mean squared distance of probabilities from the answer, summed over classes (Brier 1950)."""

    def _cost(self, preds: Any, target: Any) -> tuple[Tensor, Tensor]:
        p, labels, valid = self._rows(preds, target)
        if self.task == "binary":
            gap = p - G.cast(labels, "float64")
            return gap * gap, valid
        gap = p - G.cast(G.unsqueeze(labels, 1) == G.arange(self.count), "float64")
        return G.sum(gap * gap, dim=1), valid


class LogLoss(_MeanOfRows):
    """Minus the mean logarithm of the probability of the answer; probabilities are held within the resolution."""

    def _cost(self, preds: Any, target: Any) -> tuple[Tensor, Tensor]:
        kind = given(preds).dtype
        least = finfo(kind).eps if kind.is_floating else 1e-7
        p, labels, valid = self._rows(preds, target)
        if self.task == "binary":
            p = G.clamp(p, least, 1.0 - least)
            return -G.log(G.where(labels == 1, p, 1.0 - p)), valid
        p = G.clamp(p, least, 1.0 - least)
        own = G.unsqueeze(labels, 1) == G.arange(self.count)
        return -G.log(G.sum(G.where(own, p, 0.0), dim=1)), valid


class HingeLoss(_MeanOfRows):
    """max(0, 1 - margin) of scores: y·score with y = ±1, or the answer's score minus the best of the others."""

    def __init__(
        self,
        task: str,
        squared: bool = False,
        num_classes: int | None = None,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(task, num_classes, ignore_index, name)
        self.squared = squared

    def _cost(self, preds: Any, target: Any) -> tuple[Tensor, Tensor]:
        s, labels, valid = self._rows(preds, target, scores=True)
        if self.task == "binary":
            margin = s * (G.cast(labels, "float64") * 2.0 - 1.0)
        else:
            own = G.unsqueeze(labels, 1) == G.arange(self.count)
            margin = G.sum(G.where(own, s, 0.0), dim=1) - G.amax(G.where(own, -np.inf, s), dim=1)
        cost = G.clamp(1.0 - margin, 0.0)
        return cost * cost if self.squared else cost, valid
