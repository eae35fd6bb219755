"""Curves over thresholds: over all of them, exact, from scores that are kept; or over some, from counts.

`thresholds` None keeps the scores, which are sorted when the value is asked for. A number stands for as many thresholds
from 0 to 1, evenly spaced, and a list or tensor for its values: then only the counts between them are kept, whatever
the number of batches. `task` as in `classification`. Several classes are judged one against the rest; scores of a batch
that are not all within [0, 1] go through a softmax first. `average` is "macro", "weighted", "micro" or "none".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.functions.sorting import searchsorted
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


def area_up_to(x: Array, y: Array, max_fpr: float | None = None) -> float:
    """The area under a ROC curve, or up to a false positive rate, standardised as scikit-learn does."""
    if max_fpr is None or max_fpr == 1:
        return area(x, y)
    stop = int(np.searchsorted(x, max_fpr, "right"))
    end = np.interp(max_fpr, x[stop - 1 : stop + 1], y[stop - 1 : stop + 1])
    part = area(np.r_[x[:stop], max_fpr], np.r_[y[:stop], end])
    least = max_fpr**2 / 2.0
    return 0.5 * (1.0 + (part - least) / (max_fpr - least))


def auroc(scores: Array, answers: Array, max_fpr: float | None = None) -> float:
    """The area under the ROC curve; NaN where only one answer occurs. max_fpr: as scikit-learn's, standardised."""
    if answers.all() or not answers.any():
        return np.nan
    return area_up_to(*roc(scores, answers)[:2], max_fpr)


def average_precision(scores: Array, answers: Array) -> float:
    """The mean of precision over steps in recall; NaN where nothing is positive."""
    if not answers.any():
        return np.nan
    precision, recall, _ = precision_recall(scores, answers)
    return float(-np.sum(np.diff(recall) * precision[:-1]))


def checked_thresholds(thresholds: Any) -> Array | None:
    """Thresholds, ascending. ValueError unless they are None, a number above 1, or values in [0, 1]."""
    if thresholds is None:
        return None
    if isinstance(thresholds, int) and not isinstance(thresholds, bool):
        if thresholds < 2:
            raise ValueError(f"thresholds, as a number, is at least 2, got {thresholds}")
        return np.linspace(0.0, 1.0, thresholds)
    values = np.asarray(thresholds.numpy() if isinstance(thresholds, Tensor) else thresholds, np.float64)
    if values.ndim != 1 or not values.size or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"thresholds are a number of them, or a list of values in [0, 1], not {thresholds!r}")
    return np.sort(values)


class ScoreMetric(Metric):
    """Base of the metrics over thresholds.

    Parameters
    ----------
    task : {"binary", "multiclass", "multilabel"}
    thresholds : int, list or tensor, optional
        Count at these thresholds only, instead of keeping all scores.
    num_classes, num_labels : int
    ignore_index : int, optional
    """

    preds: list[Tensor]
    target: list[Tensor]
    valid: list[Tensor]
    between: Tensor

    def __init__(
        self,
        task: str,
        thresholds: Any = None,
        num_classes: int | None = None,
        num_labels: int | None = None,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.task, self.ignore_index = task, ignore_index
        self.count = inputs.checked_task(task, num_classes, num_labels)
        self.thresholds = checked_thresholds(thresholds)
        if self.thresholds is None:
            for state in ("preds", "target", "valid"):
                self.add_state(state, [])
        else:
            # by column, by answer: how many scores reach just the first k thresholds
            columns = 1 if task == "binary" else self.count
            self.add_state("between", np.zeros((columns, 2, len(self.thresholds) + 1), np.int64))

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch."""
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
            p = inputs.class_probabilities(p) if p.dtype.is_floating else p
            t, valid = inputs.valid_labels(t, self.count, self.ignore_index)
        if self.thresholds is None:
            self.preds.append(p)
            self.target.append(t)
            self.valid.append(valid)
            return
        if self.task == "binary":
            p, t, valid = (G.unsqueeze(x, 1) for x in (p, t, valid))
        elif self.task == "multiclass":
            t = G.cast(G.unsqueeze(t, 1) == G.arange(self.count), "int64")
            valid = G.logical_and(G.unsqueeze(valid, 1), G.full_like(t, True, dtype="bool"))
        p = p if p.dtype.is_floating else G.cast(p, "float32")
        # compared in the scores' precision: a score equal to a threshold reaches it
        steps = G.cast(tensor(self.thresholds), p.dtype)
        reached = G.where(p == p, searchsorted(steps, p.contiguous(), right=True), 0)
        columns, _, bins = self.between.shape
        place = (G.arange(columns) * 2 + t) * bins + reached
        size = place.numel()
        found = G.scatter_add(
            G.zeros(columns * 2 * bins, dtype="int64"), 0, G.reshape(place, (size,)),
            G.reshape(G.cast(valid, "int64"), (size,)),
        )  # fmt: skip
        self.between = self.between + G.reshape(found, tuple(self.between.shape))

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

    def counts(self) -> Array:
        """By column: false and true positives at each threshold, and how many answers are negative and positive."""
        found = self.between.numpy().astype(np.float64)
        above = np.cumsum(found[..., :0:-1], -1)[..., ::-1]
        return np.concatenate([above, found.sum(-1, keepdims=True)], -1)

    def rates(self, kind: str) -> list[tuple[Array, Array, Array]]:
        """The curve ("roc" or "precision_recall") of each column."""
        if self.thresholds is None:
            exact = roc if kind == "roc" else precision_recall
            return [exact(s, y) for s, y in self.columns()]
        binned = binned_roc if kind == "roc" else binned_precision_recall
        return [binned(c, self.thresholds) for c in self.counts()]


def binned_roc(counts: Array, thresholds: Array) -> tuple[Array, Array, Array]:
    """False and true positive rates from the highest threshold down, and the thresholds."""
    rates = share(counts[:, :-1], counts[:, -1:])[:, ::-1]
    return rates[0], rates[1], thresholds[::-1]


def binned_precision_recall(counts: Array, thresholds: Array) -> tuple[Array, Array, Array]:
    """As `precision_recall`, at these thresholds; NaN is the precision where no score reaches one."""
    fp, tp = counts[:, :-1]
    return np.r_[share(tp, tp + fp, np.nan), 1.0], np.r_[share(tp, counts[1, -1]), 0.0], thresholds


class _Curve(ScoreMetric):
    _kind = ""

    def compute(self) -> tuple[Any, Any, Any]:
        """Three tensors; for several classes lists of them, or with `thresholds` (classes, points) and (points,)."""
        curves = self.rates(self._kind)
        if self.thresholds is not None and self.task != "binary":
            x, y = (result(np.stack([c[k] for c in curves])) for k in range(2))
            return x, y, result(curves[0][2].copy())
        found = [[tensor(np.ascontiguousarray(a)) for a in curve] for curve in curves]
        if self.task == "binary":
            return found[0][0], found[0][1], found[0][2]
        return [f[0] for f in found], [f[1] for f in found], [f[2] for f in found]


class ROC(_Curve):
    """False positive rate, true positive rate, thresholds."""

    _kind = "roc"


class PrecisionRecallCurve(_Curve):
    """Precision, recall, thresholds."""

    _kind = "precision_recall"


class _Area(ScoreMetric):
    def __init__(self, task: str, average: str | None = "macro", **options: Any) -> None:
        super().__init__(task, **options)
        if average not in ("micro", "macro", "weighted", "none", None):
            raise ValueError(f"average is 'micro', 'macro', 'weighted' or 'none', not {average!r}")
        self.average = average or "none"

    def _value(self, scores: Array, answers: Array) -> float:
        """Of all scores."""
        raise NotImplementedError

    def _of_counts(self, counts: Array) -> float:
        """Of counts at the thresholds."""
        raise NotImplementedError

    def compute(self) -> Tensor:
        """0-d, or one value a class where average is "none"; classes without a value do not count in a mean."""
        if self.thresholds is None:
            columns = self.columns()
            if self.average == "micro" and self.task != "binary":
                columns = [(np.concatenate([s for s, _ in columns]), np.concatenate([y for _, y in columns]))]
            each = np.array([self._value(s, y) for s, y in columns])
            positives = np.array([y.sum() for _, y in columns], np.float64)
        else:
            counts = self.counts()
            if self.average == "micro":
                counts = counts.sum(0, keepdims=True)
            each = np.array([self._of_counts(c) for c in counts])
            positives = counts[:, 1, -1]
        if len(each) == 1:
            return result(each[0])
        if self.average == "none":
            return result(each)
        known = ~np.isnan(each)
        weight = positives if self.average == "weighted" else np.ones(len(each))
        return result(share((each[known] * weight[known]).sum(), weight[known].sum(), np.nan))


class AUROC(_Area):
    """The area under the ROC curve: how often a positive stands above a negative.

    Parameters
    ----------
    task, average, thresholds, num_classes, num_labels, ignore_index : as above
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

    def _of_counts(self, counts: Array) -> float:
        if not counts[:, -1].all():
            return np.nan
        return area_up_to(*binned_roc(counts, np.zeros(0))[:2], self.max_fpr)


class AveragePrecision(_Area):
    """The mean of precision over steps in recall."""

    def _value(self, scores: Array, answers: Array) -> float:
        return average_precision(scores, answers)

    def _of_counts(self, counts: Array) -> float:
        if not counts[1, -1]:
            return np.nan
        precision, recall, _ = binned_precision_recall(counts, np.zeros(0))
        return float(-np.sum(np.diff(recall) * np.nan_to_num(precision[:-1])))
