"""Metrics that count true and false positives and negatives at thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.functions.sorting import argsort
from gradloom.keras.losses.functions import squeeze_or_expand
from gradloom.keras.metrics.base import Metric, number
from gradloom.keras.operations import as_tensor
from gradloom.modes import no_grad
from gradloom.tape import composite
from gradloom.tensor import Tensor, from_numpy

TINY = 1e-7


@composite
def _counted(y: Tensor, p: Tensor, t: Tensor, w: Tensor | None = None, labels: bool = False) -> tuple[Tensor, ...]:
    """True positives, false positives, true and false negatives at each threshold: (thresholds, [labels])."""
    above = p > t.reshape(-1, *([1] * p.ndim))
    axes = 1 if labels else tuple(range(1, p.ndim + 1))
    real = y > 0.5

    def count(a: Tensor, b: Tensor) -> Tensor:
        hits = G.cast(G.logical_and(a, b), dtypes.float32)
        return G.sum(hits if w is None else hits * w, axes)

    not_real, below = G.logical_not(real), G.logical_not(above)
    return count(above, real), count(above, not_real), count(below, not_real), count(below, real)


@composite
def _only_top(p: Tensor, k: int) -> Tensor:
    """The k highest of each row, the first of equal ones; all others far below any threshold."""
    order = argsort(p, dim=-1, descending=True, stable=True)
    rank = argsort(order, dim=-1)
    return G.where(rank < k, p, G.mul(p, 0.0) - 1e10)


def counts(
    y_true: Any,
    y_pred: Any,
    thresholds: np.ndarray,
    sample_weight: Any = None,
    top_k: int | None = None,
    class_id: int | None = None,
    labels: bool = False,
    label_weights: Any = None,
) -> tuple[Tensor, ...]:
    """True positives, false positives, true negatives, false negatives, each (thresholds,) or (thresholds, labels)."""
    p = as_tensor(y_pred)
    p = p if p.dtype.is_floating else p.to(dtypes.float32)
    y, p = squeeze_or_expand(as_tensor(y_true).to(p.dtype), p)
    if tuple(y.shape) != tuple(p.shape):
        raise ValueError(f"answers of shape {tuple(y.shape)} do not go with predictions of shape {tuple(p.shape)}")
    if top_k is not None:
        p = _only_top(p, top_k)
    if class_id is not None:
        if p.ndim < 2:
            raise ValueError(
                "When class_id is provided, y_pred must be a 2D array with shape (num_samples, num_classes), found "
                f"shape: {tuple(p.shape)}"
            )
        y, p = y[..., class_id], p[..., class_id]
    w = None
    if sample_weight is not None:
        w = as_tensor(sample_weight).to(dtypes.float32)
        if w.ndim == p.ndim + 1:
            w = w.reshape(*w.shape[:-1])
        while 0 < w.ndim < p.ndim:
            w = w.unsqueeze(-1)
    if label_weights is not None:
        lw = as_tensor(label_weights).to(dtypes.float32)
        w = lw if w is None else w * lw
    t = from_numpy(np.asarray(thresholds, np.float32)).to(p.dtype)
    if w is None:
        return _counted(y, p, t, labels=labels)
    return _counted(y, p, t, w, labels=labels)


def _thresholds(values: Any, default: float) -> list[float]:
    found = [default] if values is None else list(values) if isinstance(values, list | tuple) else [values]
    bad = [t for t in found if t is None or not (0 <= t <= 1 or t == -1e10)]
    if bad:
        raise ValueError(f"Threshold values must be in [0, 1]. Received: {bad}")
    return [float(t) for t in found]


class _Count(Metric):
    """One of the four counts."""

    which = 0

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(dtype, name)
        self.init_thresholds = thresholds
        self.thresholds = _thresholds(thresholds, 0.5)
        self.accumulator = self.add_variable((len(self.thresholds),), name="accumulator")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        with no_grad():
            found = counts(y_true, y_pred, np.array(self.thresholds), sample_weight)[self.which]
            self.accumulator._write(self.accumulator.detach() + found)

    def result(self) -> Any:
        """The count, or one for each threshold."""
        found = self.accumulator.numpy()
        return number(found[0] if len(self.thresholds) == 1 else found)

    def get_config(self) -> dict[str, Any]:
        """Name, dtype and thresholds."""
        return {**super().get_config(), "thresholds": self.init_thresholds}


class TruePositives(_Count):
    """How many answers 1 were predicted as 1."""


class FalsePositives(_Count):
    """How many answers 0 were predicted as 1."""

    which = 1


class TrueNegatives(_Count):
    """How many answers 0 were predicted as 0."""

    which = 2


class FalseNegatives(_Count):
    """How many answers 1 were predicted as 0."""

    which = 3


class _Share(Metric):
    """Two of the counts, the first over the sum of both."""

    second = 1

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(dtype, name)
        self.init_thresholds, self.top_k, self.class_id = thresholds, top_k, class_id
        self.thresholds = _thresholds(thresholds, 0.5 if top_k is None else -1e10)
        shape = (len(self.thresholds),)
        self.true_positives = self.add_variable(shape, name="true_positives")
        self.others = self.add_variable(shape, name="false_positives" if self.second == 1 else "false_negatives")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        with no_grad():
            found = counts(y_true, y_pred, np.array(self.thresholds), sample_weight, self.top_k, self.class_id)
            self.true_positives._write(self.true_positives.detach() + found[0])
            self.others._write(self.others.detach() + found[self.second])

    def result(self) -> Any:
        """The share, or one for each threshold; 0 where nothing counts."""
        hits, others = self.true_positives.numpy(), self.others.numpy()
        found = _ratio(hits, hits + others)
        return number(found[0] if len(self.thresholds) == 1 else found)

    def get_config(self) -> dict[str, Any]:
        """Name, dtype and options."""
        options = {"thresholds": self.init_thresholds, "top_k": self.top_k, "class_id": self.class_id}
        return {**super().get_config(), **options}


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A / b, 0 where b is 0."""
    return np.divide(a, b, out=np.zeros_like(a, dtype=np.float32), where=b != 0)


class Precision(_Share):
    """Of what was predicted as 1, the share that is."""

    @property
    def false_positives(self) -> Any:
        """What was predicted as 1 and is 0."""
        return self.others


class Recall(_Share):
    """Of the answers 1, the share that was predicted as 1."""

    second = 3

    @property
    def false_negatives(self) -> Any:
        """What was predicted as 0 and is 1."""
        return self.others


def _grid(num_thresholds: int) -> list[float]:
    """Thresholds spread over [0, 1], the outer ones beyond it."""
    inner = [(i + 1) / (num_thresholds - 1) for i in range(num_thresholds - 2)]
    return [0.0 - TINY, *inner, 1.0 + TINY]


class _Curve(Metric):
    """All four counts at many thresholds."""

    def __init__(self, thresholds: list[float], class_id: int | None, name: str | None, dtype: Any) -> None:
        super().__init__(dtype, name)
        self.class_id, self._points = class_id, np.array(thresholds, np.float32)
        self._labels, self._label_weights, self._logits = False, None, False
        self._made = False

    def _make(self, shape: tuple[int, ...]) -> None:
        self.true_positives = self.add_variable(shape, name="true_positives")
        self.false_positives = self.add_variable(shape, name="false_positives")
        self.true_negatives = self.add_variable(shape, name="true_negatives")
        self.false_negatives = self.add_variable(shape, name="false_negatives")
        self._made = True

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        with no_grad():
            p = as_tensor(y_pred)
            if not self._made:
                points = (len(self._points),)
                self._make((*points, p.shape[-1]) if self._labels else points)
            if self._logits:
                p = G.sigmoid(p)
            found = counts(
                y_true, p, self._points, sample_weight, None, self.class_id, self._labels, self._label_weights
            )
            kept = (self.true_positives, self.false_positives, self.true_negatives, self.false_negatives)
            for v, more in zip(kept, found):
                v._write(v.detach() + more)

    def _numbers(self) -> tuple[np.ndarray, ...]:
        if not self._made:
            zero = np.zeros(len(self._points), np.float32)
            return zero, zero, zero, zero
        kept = (self.true_positives, self.false_positives, self.true_negatives, self.false_negatives)
        return tuple(v.numpy() for v in kept)


class _AtPoint(_Curve):
    """The best of one quantity where another reaches a value."""

    def __init__(
        self,
        value: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        if not 0 <= value <= 1:
            raise ValueError(f"Argument `{self.option}` must be in the range [0, 1]. Received: {self.option}={value}")
        if num_thresholds <= 0:
            raise ValueError(f"Argument `num_thresholds` must be an integer > 0. Received: {num_thresholds}")
        self.value, self.num_thresholds = value, num_thresholds
        points = [0.5] if num_thresholds == 1 else _grid(num_thresholds)
        super().__init__(points, class_id, name, dtype)
        self._make((len(points),))

    option = "value"

    def get_config(self) -> dict[str, Any]:
        """Name, dtype and options."""
        options = {"num_thresholds": self.num_thresholds, self.option: self.value, "class_id": self.class_id}
        return {**super().get_config(), **options}

    def _best(self, wanted: np.ndarray, held: np.ndarray) -> Any:
        fits = held >= self.value
        return number(wanted[fits].max() if fits.any() else 0.0)


class SensitivityAtSpecificity(_AtPoint):
    """The highest sensitivity where the specificity is at least the given one."""

    option = "specificity"

    def __init__(self, specificity: float, num_thresholds: int = 200, class_id: Any = None, name: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        super().__init__(specificity, num_thresholds, class_id, name, dtype)
        self.specificity = specificity

    def result(self) -> Any:
        """The sensitivity."""
        tp, fp, tn, fn = self._numbers()
        return self._best(_ratio(tp, tp + fn), _ratio(tn, tn + fp))


class SpecificityAtSensitivity(_AtPoint):
    """The highest specificity where the sensitivity is at least the given one."""

    option = "sensitivity"

    def __init__(self, sensitivity: float, num_thresholds: int = 200, class_id: Any = None, name: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)
        self.sensitivity = sensitivity

    def result(self) -> Any:
        """The specificity."""
        tp, fp, tn, fn = self._numbers()
        return self._best(_ratio(tn, tn + fp), _ratio(tp, tp + fn))


class PrecisionAtRecall(_AtPoint):
    """The highest precision where the recall is at least the given one."""

    option = "recall"

    def __init__(self, recall: float, num_thresholds: int = 200, class_id: Any = None, name: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        super().__init__(recall, num_thresholds, class_id, name, dtype)
        self.recall = recall

    def result(self) -> Any:
        """The precision."""
        tp, fp, _, fn = self._numbers()
        return self._best(_ratio(tp, tp + fp), _ratio(tp, tp + fn))


class RecallAtPrecision(_AtPoint):
    """The highest recall where the precision is at least the given one."""

    option = "precision"

    def __init__(self, precision: float, num_thresholds: int = 200, class_id: Any = None, name: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        super().__init__(precision, num_thresholds, class_id, name, dtype)
        self.precision = precision

    def result(self) -> Any:
        """The recall."""
        tp, fp, _, fn = self._numbers()
        return self._best(_ratio(tp, tp + fn), _ratio(tp, tp + fp))


class AUC(_Curve):
    """The area under the ROC or the precision-recall curve, by a Riemann sum over thresholds.

    Parameters
    ----------
    num_thresholds : the more, the nearer to the exact area.
    curve : "ROC", "PR" or "PRGAIN".
    summation_method : "interpolation", "minoring" or "majoring"; with "PR" the first follows Davis and Goadrich 2006.
    thresholds : given ones in place of evenly spread ones, between 0 and 1.
    multi_label : one area for each label, averaged, with ``label_weights`` as weights.
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Any = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Any = None,
        from_logits: bool = False,
    ) -> None:
        for what, value, known in (
            ("curve", curve, ("ROC", "PR", "PRGAIN")),
            ("summation method", summation_method, ("interpolation", "minoring", "majoring")),
        ):
            if str(value).lower() not in [k.lower() for k in known]:
                raise ValueError(f'Invalid AUC {what} value: "{value}". Expected values are {list(known)}')
        given = None if thresholds is None else sorted(thresholds)
        if given is not None:
            _thresholds(given, 0.5)
            points = [0.0 - TINY, *given, 1.0 + TINY]
        else:
            if num_thresholds <= 1:
                raise ValueError(f"Argument `num_thresholds` must be an integer > 1. Received: {num_thresholds}")
            points = _grid(num_thresholds)
        super().__init__(points, None, name, dtype)
        self._init_from_thresholds = given
        self.num_thresholds, self.curve, self.summation_method = len(points), curve.upper(), summation_method.lower()
        self.multi_label, self.num_labels, self.label_weights = multi_label, num_labels, label_weights
        self._from_logits = self._logits = from_logits
        self._labels = bool(multi_label)
        self._label_weights = None if multi_label else label_weights
        if not multi_label:
            self._make((len(points),))
        elif num_labels:
            self._make((len(points), num_labels))

    @property
    def thresholds(self) -> list[float]:
        """The thresholds, the outer two included."""
        return list(self._points)

    def result(self) -> Any:
        """The area."""
        tp, fp, tn, fn = self._numbers()
        recall = _ratio(tp, tp + fn)
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self._averaged(self._interpolated(tp, fp, fn), tp, fn)
        if self.curve == "ROC":
            x, y = _ratio(fp, fp + tn), recall
        elif self.curve == "PR":
            x, y = recall, _ratio(tp, tp + fp)
        else:
            # gains over always predicting 1 (Flach and Kull 2015), cut at 0; without predictions of 1, recall gains
            # nothing and precision loses nothing
            share = _ratio(tp + fn, fp + tn)
            lost = np.where(fp > 0, np.inf, 0.0)
            x = np.where(tp > 0, 1 - share * _ratio(fn, tp), 0.0)
            y = 1 - np.where(tp > 0, share * _ratio(fp, tp), lost)
            x, y = np.maximum(x, 0.0), np.maximum(y, 0.0)
        if self.summation_method == "interpolation":
            heights = (y[:-1] + y[1:]) / 2
        elif self.summation_method == "minoring":
            heights = np.minimum(y[:-1], y[1:])
        else:
            heights = np.maximum(y[:-1], y[1:])
        return self._averaged(((x[:-1] - x[1:]) * heights).sum(0), tp, fn)

    @staticmethod
    def _interpolated(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
        rise = tp[:-1] - tp[1:]
        p = tp + fp
        slope = _ratio(rise, np.maximum(p[:-1] - p[1:], 0))
        intercept = tp[1:] - slope * p[1:]
        safe = np.where((p[:-1] > 0) & (p[1:] > 0), _ratio(p[:-1], np.maximum(p[1:], 0)), 1.0)
        steps = _ratio(slope * (rise + intercept * np.log(safe)), np.maximum(tp[1:] + fn[1:], 0))
        return steps.sum(0)

    def _averaged(self, area: np.ndarray, tp: np.ndarray, fn: np.ndarray) -> Any:
        if not self.multi_label:
            return number(area)
        if self.label_weights is None:
            return number(np.mean(area))
        w = np.asarray(self.label_weights, np.float32)
        return number((area * w).sum() / w.sum())

    def get_config(self) -> dict[str, Any]:
        """Name, dtype and options."""
        weights = self.label_weights
        found = {
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "summation_method": self.summation_method,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": weights if weights is None else [float(w) for w in weights],
            "from_logits": self._from_logits,
        }
        if self._init_from_thresholds is not None:
            found["thresholds"] = self._init_from_thresholds
        return {**super().get_config(), **found}
