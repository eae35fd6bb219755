"""Classification by counts: true and false positives and negatives, by class, and all that follows from them.

`task` is "binary" (scores or bits of any shape), "multiclass" (scores (N, C, ...) or labels (N, ...)) or "multilabel"
(scores or bits (N, labels, ...)). Scores that are not all within [0, 1] go through a sigmoid first. `average` is
"micro" (all decisions in one), "macro" (the mean over classes that occur), "weighted" (by how often they are the
answer) or "none" (one value a class). `ignore_index` is an answer that does not count. Names and defaults are those of
TorchMetrics; values those of scikit-learn.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.metrics import inputs
from gradloom.metrics.base import Metric, gathered, given, result
from gradloom.tensor import Tensor

AVERAGES = ("micro", "macro", "weighted", "none", None)
Array = np.ndarray


def share(above: Any, below: Any, empty: float = 0.0) -> Array:
    """The quotient; `empty` where there is nothing below."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    return np.where(below != 0, above / np.where(below != 0, below, 1.0), empty)


class ConfusionMatrix(Metric):
    """How often each answer (row) got each decision (column).

    Parameters
    ----------
    task : {"binary", "multiclass", "multilabel"}
        Multilabel gives (labels, 2, 2).
    threshold : float
        Of probabilities.
    num_classes, num_labels : int
    normalize : {None, "true", "pred", "all"}
        Divide by rows, by columns, or by all.
    ignore_index : int, optional
    """

    matrix: Tensor

    def __init__(
        self,
        task: str,
        threshold: float = 0.5,
        num_classes: int | None = None,
        num_labels: int | None = None,
        normalize: str | None = None,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if normalize not in (None, "none", "true", "pred", "all"):
            raise ValueError(f"normalize is None, 'true', 'pred' or 'all', not {normalize!r}")
        self.task, self.threshold, self.normalize, self.ignore_index = task, threshold, normalize, ignore_index
        self.count = inputs.checked_task(task, num_classes, num_labels)
        shape = (self.count, 2, 2) if task == "multilabel" else (self.count, self.count)
        self.add_state("matrix", np.zeros(shape, np.int64))

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch."""
        place, valid, size = self._places(preds, target)
        found = G.scatter_add(G.zeros(size, dtype="int64"), 0, place, G.cast(valid, "int64"))
        self.matrix = self.matrix + G.reshape(found, tuple(self.matrix.shape))

    def _matrices(self, preds: Any, target: Any) -> Tensor:
        """The matrix of each sample of (N, ...): (N, *matrix)."""
        samples = int(given(target).shape[0])
        place, valid, size = self._places(preds, target)
        each = G.reshape(G.reshape(place, (samples, -1)) + G.reshape(G.arange(samples) * size, (samples, 1)), (-1,))
        found = G.scatter_add(G.zeros(samples * size, dtype="int64"), 0, each, G.cast(valid, "int64"))
        return G.reshape(found, (samples, *self.matrix.shape))

    def _places(self, preds: Any, target: Any) -> tuple[Tensor, Tensor, int]:
        """The place of each decision in the matrix, which of them count, and how many places there are."""
        if self.task == "multilabel":
            p, t, valid = inputs.multilabel(self.name, preds, target, self.count, self.threshold, self.ignore_index)
            offset = G.arange(self.count) * 4
            place, size = G.reshape(t * 2 + p + offset, (p.numel(),)), 4 * self.count
            valid = G.reshape(valid, (p.numel(),))
        else:
            if self.task == "binary":
                p, t, valid = inputs.binary(self.name, preds, target, self.threshold, self.ignore_index)
            else:
                p, t, valid = inputs.multiclass(self.name, preds, target, self.count, self.ignore_index)
            place, size = t * self.count + p, self.count * self.count
        return place, valid, size

    def _counts(self) -> Array:
        return self.matrix.numpy().astype(np.float64)

    def compute(self) -> Tensor:
        """The matrix: (C, C), (2, 2) or (labels, 2, 2)."""
        m = self._counts()
        if self.normalize in (None, "none"):
            return self.matrix.clone()
        axes = {"true": (-1,), "pred": (-2,), "all": (-2, -1)}[self.normalize]
        return result(share(m, m.sum(axes, keepdims=True)))


class CohenKappa(ConfusionMatrix):
    """Agreement beyond chance (Cohen 1960). weights: None, "linear" or "quadratic" costs of a distance."""

    def __init__(
        self,
        task: str,
        threshold: float = 0.5,
        num_classes: int | None = None,
        weights: str | None = None,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        if task == "multilabel":
            raise ValueError("CohenKappa is for the tasks 'binary' and 'multiclass'")
        if weights not in (None, "none", "linear", "quadratic"):
            raise ValueError(f"weights is None, 'linear' or 'quadratic', not {weights!r}")
        super().__init__(task, threshold, num_classes, None, None, ignore_index, name)
        self.weights = weights

    def compute(self) -> Tensor:
        """Between -1 and 1."""
        m = self._counts()
        expected = np.outer(m.sum(1), m.sum(0)) / max(m.sum(), 1.0)
        away = np.abs(np.subtract.outer(np.arange(len(m)), np.arange(len(m)))).astype(np.float64)
        cost = away**2 if self.weights == "quadratic" else away if self.weights == "linear" else (away > 0) * 1.0
        return result(1.0 - share((cost * m).sum(), (cost * expected).sum(), np.nan))


class MatthewsCorrCoef(ConfusionMatrix):
    """The correlation of answers and decisions (Matthews 1975; Gorodkin 2004 for several classes)."""

    def __init__(
        self,
        task: str,
        threshold: float = 0.5,
        num_classes: int | None = None,
        num_labels: int | None = None,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(task, threshold, num_classes, num_labels, None, ignore_index, name)

    def compute(self) -> Tensor:
        """Between -1 and 1; 0 where answers or decisions do not vary."""
        m = self._counts()
        if m.ndim == 3:
            m = m.sum(0)
        total, right = m.sum(), np.trace(m)
        answers, decided = m.sum(1), m.sum(0)
        above = right * total - answers @ decided
        below = np.sqrt(total**2 - decided @ decided) * np.sqrt(total**2 - answers @ answers)
        return result(share(above, below))


class StatScores(ConfusionMatrix):
    """True positives, false positives, true negatives, false negatives and support, by class or together.

    Parameters
    ----------
    task : {"binary", "multiclass", "multilabel"}
    threshold : float
    num_classes, num_labels : int
    average : {"micro", "macro", "weighted", "none"}
    top_k : int
        A decision is right where the answer is among the k highest scores; for accuracy and recall of "multiclass".
    multidim_average : {"global", "samplewise"}
        All decisions together, or a value for each sample of (N, ...).
    ignore_index : int, optional
    """

    hits: Tensor
    misses: Tensor
    by_sample: list[Tensor]

    _top_k = False

    def __init__(
        self,
        task: str,
        threshold: float = 0.5,
        num_classes: int | None = None,
        num_labels: int | None = None,
        average: str | None = "micro",
        multidim_average: str = "global",
        top_k: int = 1,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        if multidim_average not in ("global", "samplewise"):
            raise ValueError(f"multidim_average is 'global' or 'samplewise', not {multidim_average!r}")
        if average not in AVERAGES:
            raise ValueError(f"average is 'micro', 'macro', 'weighted' or 'none', not {average!r}")
        super().__init__(task, threshold, num_classes, num_labels, None, ignore_index, name)
        self.average, self.top_k = average or "none", top_k
        self.multidim_average = multidim_average
        if multidim_average == "samplewise":
            if top_k != 1:
                raise ValueError("top_k is for multidim_average='global'")
            self.add_state("by_sample", [])
        if top_k != 1:
            if not self._top_k or task != "multiclass":
                raise ValueError("top_k is for accuracy and recall of the task 'multiclass'")
            if not 1 <= top_k <= self.count:
                raise ValueError(f"top_k lies between 1 and {self.count}, got {top_k}")
            self.add_state("hits", np.zeros(self.count, np.int64))
            self.add_state("misses", np.zeros(self.count, np.int64))

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch."""
        if self.multidim_average == "samplewise":
            self.by_sample.append(self._matrices(preds, target))
            return
        if self.top_k == 1:
            super().update(preds, target)
            return
        scores, labels = inputs.class_rows(self.name, given(preds), given(target), self.count)
        labels, valid = inputs.valid_labels(labels, self.count, self.ignore_index)
        right = inputs.hits_of_best(scores, labels, self.top_k)
        none = G.zeros(self.count, dtype="int64")
        for state, flag in (("hits", right), ("misses", G.logical_not(right))):
            found = G.scatter_add(none, 0, labels, G.cast(G.logical_and(flag, valid), "int64"))
            setattr(self, state, getattr(self, state) + found)

    def scores(self) -> tuple[Array, Array, Array, Array]:
        """tp, fp, tn, fn: one value a class; for the binary task one value."""
        if self.top_k != 1:
            hits, misses = (x.numpy().astype(np.float64) for x in (self.hits, self.misses))
            return hits, np.full_like(hits, np.nan), np.full_like(hits, np.nan), misses
        return self._scores_of(self._counts())

    def _scores_of(self, m: Array) -> tuple[Array, Array, Array, Array]:
        """Of a matrix of counts."""
        if self.task == "binary":
            m = m[None]
        if m.ndim == 3:
            return m[:, 1, 1], m[:, 0, 1], m[:, 0, 0], m[:, 1, 0]
        tp = np.diag(m)
        fp, fn = m.sum(0) - tp, m.sum(1) - tp
        return tp, fp, m.sum() - tp - fp - fn, fn

    def ratio(self, tp: Array, fp: Array, tn: Array, fn: Array) -> Array:
        """The metric's formula."""
        return np.stack([tp, fp, tn, fn, tp + fn], -1)

    def compute(self) -> Tensor:
        """0-d, or one value a class where average is "none"; "samplewise" for each sample, on the first axis."""
        if self.multidim_average == "samplewise":
            each = [self._value(*self._scores_of(m.astype(np.float64))) for m in gathered(self.by_sample)]
            return result(np.stack([v.numpy() for v in each]))
        return self._value(*self.scores())

    def _value(self, tp: Array, fp: Array, tn: Array, fn: Array) -> Tensor:
        if self.task == "binary":
            return result(self.ratio(tp, fp, tn, fn)[0])
        if self.average == "micro":
            return result(self.ratio(*(x.sum(keepdims=True) for x in (tp, fp, tn, fn)))[0])
        each = self.ratio(tp, fp, tn, fn)
        if self.average == "none":
            return result(each)
        support = tp + fn
        if self.average == "macro":
            # shares of classes that are neither answered nor decided for say nothing; labels always count
            occurs = support + (0.0 if self.top_k != 1 else fp) > 0
            plain = self.task == "multilabel" or type(self).ratio is StatScores.ratio  # counts of nothing are 0
            weight = np.ones_like(tp) if plain else occurs.astype(np.float64)
        else:
            weight = support
        weight = weight.reshape((-1, *([1] * (each.ndim - 1))))
        return result(share((each * weight).sum(0), weight.sum()))


class Accuracy(StatScores):
    """The share of right decisions; "macro" is the mean over classes of the share of their answers that were found."""

    _top_k = True

    def ratio(self, tp: Array, fp: Array, tn: Array, fn: Array) -> Array:
        """(tp + tn)/all; tp/(tp + fn) for classes."""
        return share(tp, tp + fn) if self.task == "multiclass" else share(tp + tn, tp + fp + tn + fn)


class Precision(StatScores):
    """The share of the positive decisions that are right."""

    def ratio(self, tp: Array, fp: Array, tn: Array, fn: Array) -> Array:
        """tp/(tp + fp)."""
        return share(tp, tp + fp)


class Recall(StatScores):
    """The share of the positives that are found."""

    _top_k = True

    def ratio(self, tp: Array, fp: Array, tn: Array, fn: Array) -> Array:
        """tp/(tp + fn)."""
        return share(tp, tp + fn)


class Specificity(StatScores):
    """The share of the negatives that are left alone."""

    def ratio(self, tp: Array, fp: Array, tn: Array, fn: Array) -> Array:
        """tn/(tn + fp)."""
        return share(tn, tn + fp)


class NegativePredictiveValue(StatScores):
    """The share of the negative decisions that are right."""

    def ratio(self, tp: Array, fp: Array, tn: Array, fn: Array) -> Array:
        """tn/(tn + fn)."""
        return share(tn, tn + fn)


class FBetaScore(StatScores):
    """The weighted harmonic mean of precision and recall; beta says how many times recall counts more.

    Parameters
    ----------
    task, threshold, num_classes, num_labels, average, ignore_index : as for `StatScores`
    beta : float
    zero_division : float
        The value where nothing is answered, decided for or missed.
    """

    def __init__(self, task: str, beta: float = 1.0, zero_division: float = 0.0, **options: Any) -> None:
        super().__init__(task, **options)
        if beta <= 0:
            raise ValueError(f"beta must be positive, got {beta}")
        self.beta, self.zero_division = beta, zero_division

    def ratio(self, tp: Array, fp: Array, tn: Array, fn: Array) -> Array:
        """(1 + β²)·tp/((1 + β²)·tp + β²·fn + fp)."""
        b = self.beta**2
        return share((1 + b) * tp, (1 + b) * tp + b * fn + fp, self.zero_division)


class F1Score(FBetaScore):
    """The harmonic mean of precision and recall. zero_division : the value where there is neither."""

    def __init__(self, task: str, zero_division: float = 0.0, **options: Any) -> None:
        super().__init__(task, 1.0, zero_division, **options)


class JaccardIndex(StatScores):
    """Intersection over union of answers and decisions; "macro" unless said otherwise.

    zero_division : the value where nothing is answered or decided for.
    """

    def __init__(
        self, task: str, average: str | None = "macro", zero_division: float = 0.0, **options: Any
    ) -> None:  # fmt: skip
        super().__init__(task, average=average, **options)
        self.zero_division = zero_division

    def ratio(self, tp: Array, fp: Array, tn: Array, fn: Array) -> Array:
        """tp/(tp + fp + fn)."""
        return share(tp, tp + fp + fn, self.zero_division)


class HammingDistance(StatScores):
    """The share of wrong decisions, 1 - accuracy."""

    def ratio(self, tp: Array, fp: Array, tn: Array, fn: Array) -> Array:
        """(fp + fn)/all; fn/(tp + fn) for classes."""
        if self.task == "multiclass":
            return 1.0 - share(tp, tp + fn)
        return 1.0 - share(tp + tn, tp + fp + tn + fn)


class ExactMatch(Metric):
    """The share of samples of which every decision is right: all places of (N, ...), or all labels of a row.

    Parameters
    ----------
    task : {"multiclass", "multilabel"}
    threshold : float
    num_classes, num_labels : int
    ignore_index : int, optional
        Such places count as right.
    """

    right: Tensor
    size: Tensor

    def __init__(
        self,
        task: str,
        threshold: float = 0.5,
        num_classes: int | None = None,
        num_labels: int | None = None,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if task == "binary":
            raise ValueError("ExactMatch is for the tasks 'multiclass' and 'multilabel'")
        self.count = inputs.checked_task(task, num_classes, num_labels)
        self.task, self.threshold, self.ignore_index = task, threshold, ignore_index
        self.add_state("right", np.int64(0))
        self.add_state("size", np.int64(0))

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch."""
        if self.task == "multilabel":
            p, t, valid = inputs.multilabel(self.name, preds, target, self.count, self.threshold, self.ignore_index)
        else:
            t = given(target)
            shape = (t.shape[0], t.numel() // max(t.shape[0], 1))
            found = inputs.multiclass(self.name, preds, t, self.count, self.ignore_index)
            p, t, valid = (G.reshape(x, shape) for x in found)
        right = G.all(G.logical_or(p == t, G.logical_not(valid)), dim=1)
        self.right = self.right + G.sum(G.cast(right, "int64"))
        self.size = self.size + right.numel()

    def compute(self) -> Tensor:
        """Between 0 and 1; NaN before any batch."""
        return result(share(self.right.numpy(), self.size.numpy(), np.nan))
