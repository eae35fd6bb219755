"""Curves over all thresholds, exact: scores are kept, and sorted when the value is asked for.

`task` as in `classification`. Several classes are judged one against the rest, and scores of a class are taken as they
are: bring them through a softmax first. `average` is "macro", "weighted", "micro" or "none".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.metrics import inputs
from gradloom.metrics.base import Metric, gathered, given, result
from gradloom.metrics.classification import share
from gradloom.tensor import Tensor, tensor

Array = np.ndarray


def counts_by_threshold(scores: Array, answers: Array) -> tuple[Array, Array, Array]:
    """False and true positives at or above each distinct score, from the highest down, and those scores."""
    order = np.argsort(-scores, kind="stable")
    scores, answers = scores[order], answers[order]
    last = np.r_[np.nonzero(np.diff(scores))[0], len(scores) - 1] if len(scores) else np.zeros(0, np.int64)
    tp = np.cumsum(answers)[last].astype(np.float64)
    return 1.0 + last - tp, tp, scores[last]


def roc(scores: Array, answers: Array) -> tuple[Array, Array, Array]:
    """False and true positive rates, and thresholds; the first threshold is above every score."""
    fp, tp, thresholds = counts_by_threshold(scores, answers)
    fp, tp = np.r_[0.0, fp], np.r_[0.0, tp]
    return share(fp, fp[-1]), share(tp, tp[-1]), np.r_[np.inf, thresholds]


def precision_recall(scores: Array, answers: Array) -> tuple[Array, Array, Array]:
    """Precision and recall from the lowest threshold up, closed by (1, 0), and the thresholds."""
    fp, tp, thresholds = counts_by_threshold(scores, answers)
    precision = share(tp, tp + fp)
    recall = tp / tp[-1] if len(tp) and tp[-1] else np.ones_like(tp)
    return np.r_[precision[::-1], 1.0], np.r_[recall[::-1], 0.0], thresholds[::-1]


def area(x: Array, y: Array) -> float:
    """The area under a line through points."""
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2.0))


def auroc(scores: Array, answers: Array, max_fpr: float | None = None) -> float:
    """The area under the ROC curve; NaN where only one answer occurs. max_fpr: as scikit-learn's, standardised."""
    if answers.all() or not answers.any():
        return np.nan
    x, y, _ = roc(scores, answers)
    if max_fpr is None or max_fpr == 1:
        return area(x, y)
    stop = int(np.searchsorted(x, max_fpr, "right"))
    end = np.interp(max_fpr, x[stop - 1 : stop + 1], y[stop - 1 : stop + 1])
    part = area(np.r_[x[:stop], max_fpr], np.r_[y[:stop], end])
    least = max_fpr**2 / 2.0
    return 0.5 * (1.0 + (part - least) / (max_fpr - least))


def average_precision(scores: Array, answers: Array) -> float:
    """The mean of precision over steps in recall; NaN where nothing is positive."""
    if not answers.any():
        return np.nan
    precision, recall, _ = precision_recall(scores, answers)
    return float(-np.sum(np.diff(recall) * precision[:-1]))


class ScoreMetric(Metric):
    """Base of the metrics that keep all scores and answers.

    Parameters
    ----------
    task : {"binary", "multiclass", "multilabel"}
    num_classes, num_labels : int
    ignore_index : int, optional
    """

    preds: list[Tensor]
    target: list[Tensor]
    valid: list[Tensor]

    def __init__(
        self,
        task: str,
        num_classes: int | None = None,
        num_labels: int | None = None,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.task, self.ignore_index = task, ignore_index
        self.count = inputs.checked_task(task, num_classes, num_labels)
        for state in ("preds", "target", "valid"):
            self.add_state(state, [])

    def update(self, preds: Any, target: Any) -> None:
        """Keep a batch."""
        p, t = given(preds), given(target)
        if self.task == "multilabel":
            p, t, valid = inputs.multilabel(self.name, p, t, self.count, None, self.ignore_index)
        elif self.task == "binary":
            inputs.same_shapes(self.name, p, t)
            t, valid = inputs.valid_labels(t, 2, self.ignore_index)
            p = inputs.probabilities(p) if p.dtype.is_floating else p
            p, t, valid = (G.reshape(x, (x.numel(),)) for x in (p, t, valid))
        else:
            p, t = inputs.class_rows(self.name, p, t, self.count)
            t, valid = inputs.valid_labels(t, self.count, self.ignore_index)
        self.preds.append(p)
        self.target.append(t)
        self.valid.append(valid)

    def columns(self) -> list[tuple[Array, Array]]:
        """(scores, whether it is the answer) of each class or label; one column for the binary task."""
        if not self.preds:
            raise ValueError(f"{self.name}: compute() before any update()")
        p, t, valid = gathered(self.preds).astype(np.float64), gathered(self.target), gathered(self.valid)
        if self.task == "binary":
            return [(p[valid], t[valid] == 1)]
        if self.task == "multilabel":
            return [(p[valid[:, k], k], t[valid[:, k], k] == 1) for k in range(self.count)]
        return [(p[valid, k], t[valid] == k) for k in range(self.count)]


class _Curve(ScoreMetric):
    @staticmethod
    def _curve(scores: Array, answers: Array) -> tuple[Array, Array, Array]:
        raise NotImplementedError

    def compute(self) -> tuple[Any, Any, Any]:
        """Three tensors; for several classes three lists of them."""
        found = [[tensor(np.ascontiguousarray(a)) for a in self._curve(s, y)] for s, y in self.columns()]
        if self.task == "binary":
            return found[0][0], found[0][1], found[0][2]
        return [f[0] for f in found], [f[1] for f in found], [f[2] for f in found]


class ROC(_Curve):
    """False positive rate, true positive rate, thresholds."""

    _curve = staticmethod(roc)


class PrecisionRecallCurve(_Curve):
    """Precision, recall, thresholds."""

    _curve = staticmethod(precision_recall)


class _Area(ScoreMetric):
    def __init__(self, task: str, average: str | None = "macro", **options: Any) -> None:
        super().__init__(task, **options)
        if average not in ("micro", "macro", "weighted", "none", None):
            raise ValueError(f"average is 'micro', 'macro', 'weighted' or 'none', not {average!r}")
        self.average = average or "none"

    def _value(self, scores: Array, answers: Array) -> float:
        raise NotImplementedError

    def compute(self) -> Tensor:
        """0-d, or one value a class where average is "none"; classes without a value do not count in a mean."""
        columns = self.columns()
        if self.task == "binary":
            return result(self._value(*columns[0]))
        if self.average == "micro":
            scores, answers = (np.concatenate(parts) for parts in zip(*columns, strict=True))
            return result(self._value(scores, answers))
        each = np.array([self._value(s, y) for s, y in columns])
        if self.average == "none":
            return result(each)
        known = ~np.isnan(each)
        weight = (
            np.array([y.sum() for _, y in columns], np.float64) if self.average == "weighted" else np.ones(len(each))
        )
        return result(share((each[known] * weight[known]).sum(), weight[known].sum(), np.nan))


class AUROC(_Area):
    """The area under the ROC curve: how often a positive stands above a negative.

    Parameters
    ----------
    task, average, num_classes, num_labels, ignore_index : as above
    max_fpr : float, optional
        For the binary task: the area up to this false positive rate, standardised (McClish 1989).
    """

    def __init__(self, task: str, average: str | None = "macro", max_fpr: float | None = None, **options: Any) -> None:
        super().__init__(task, average, **options)
        if max_fpr is not None and (task != "binary" or not 0 < max_fpr <= 1):
            raise ValueError(f"max_fpr is for the binary task and lies above 0 and at most at 1, got {max_fpr}")
        self.max_fpr = max_fpr

    def _value(self, scores: Array, answers: Array) -> float:
        return auroc(scores, answers, self.max_fpr)


class AveragePrecision(_Area):
    """The mean of precision over steps in recall."""

    def _value(self, scores: Array, answers: Array) -> float:
        return average_precision(scores, answers)
