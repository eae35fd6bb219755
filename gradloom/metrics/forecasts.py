"""Forecasts: of ensembles, of events above a threshold, of distributions, and errors in units of the answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.metrics.base import Metric, given, result
from gradloom.metrics.classification import share
from gradloom.metrics.inputs import same_shapes
from gradloom.tensor import Tensor


class ContinuousRankedProbabilityScore(Metric):
    """How far an ensemble lies from what came, less half of how far it is spread (Gneiting and Raftery 2007)."""

    total: Tensor
    size: Tensor

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.add_state("total", np.float64(0.0))
        self.add_state("size", np.int64(0))

    def update(self, preds: Any, target: Any) -> None:
        """Add forecasts (n, members), two members at least, and what came (n,)."""
        p, t = given(preds), given(target)
        if p.ndim != 2 or tuple(t.shape) != tuple(p.shape[:1]) or p.shape[1] < 2:
            raise ShapeError(
                f"{self.name}: {tuple(p.shape)} and {tuple(t.shape)}", code="shape.metric",
                hint="forecasts are (n, members), with two members or more, answers (n,)",
            )  # fmt: skip
        p, t = G.cast(p, "float64"), G.unsqueeze(G.cast(t, "float64"), 1)
        apart = G.mean(G.abs(G.unsqueeze(p, 2) - G.unsqueeze(p, 1)), dim=(1, 2))
        self.total = self.total + G.sum(G.mean(G.abs(p - t), dim=1) - 0.5 * apart)
        self.size = self.size + p.shape[0]

    def compute(self) -> Tensor:
        """The mean; NaN before any batch."""
        return result(share(self.total.numpy(), self.size.numpy(), np.nan))


class CriticalSuccessIndex(Metric):
    """Hits over hits, misses and false alarms of events: values at or above a threshold (Schaefer 1990).

    threshold : float
    keep_sequence_dim : int, optional
        One value for each place of this axis; batches are then joined along it.
    """

    counts: Any

    def __init__(self, threshold: float, keep_sequence_dim: int | None = None, name: str | None = None) -> None:
        super().__init__(name)
        if keep_sequence_dim is not None and keep_sequence_dim < 0:
            raise ValueError(f"keep_sequence_dim is the number of an axis, got {keep_sequence_dim}")
        self.threshold, self.keep_sequence_dim = float(threshold), keep_sequence_dim
        self.add_state("counts", np.zeros(2, np.int64) if keep_sequence_dim is None else [])

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch: two tensors of one shape."""
        p, t = given(preds), given(target)
        same_shapes(self.name, p, t)
        p, t = p >= self.threshold, t >= self.threshold
        both, either = (G.cast(x, "int64") for x in (G.logical_and(p, t), G.logical_or(p, t)))
        keep = self.keep_sequence_dim
        if keep is None:
            self.counts = self.counts + G.stack([G.sum(both), G.sum(either)])
            return
        if keep >= p.ndim:
            raise ShapeError(
                f"{self.name}: shape {tuple(p.shape)} has no axis {keep}", code="shape.metric",
                hint="keep_sequence_dim counts from 0",
            )  # fmt: skip
        others = tuple(k for k in range(p.ndim) if k != keep)
        self.counts.append(G.stack([G.sum(both, dim=others), G.sum(either, dim=others)], 1))

    def compute(self) -> Tensor:
        """0-d, or one for each place; 0 without events."""
        if self.keep_sequence_dim is None:
            counts = self.counts.numpy().astype(np.float64)
            return result(share(counts[0], counts[1]))
        counts = np.concatenate([c.numpy() for c in self.counts]).astype(np.float64)
        return result(share(counts[:, 0], counts[:, 1]))


class JensenShannonDivergence(Metric):
    """The mean of both distributions' divergences from their mean, in nats (Lin 1991).

    log_prob : bool
        Rows are logarithms of probabilities. Else they are brought to a sum of 1.
    reduction : {"mean", "sum", "none"}
    """

    values: list[Tensor]

    def __init__(self, log_prob: bool = False, reduction: str | None = "mean", name: str | None = None) -> None:
        super().__init__(name)
        if reduction not in ("mean", "sum", "none", None):
            raise ValueError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}")
        self.log_prob, self.reduction = log_prob, reduction or "none"
        self.add_state("values", [])

    def update(self, p: Any, q: Any) -> None:
        """Add rows of distributions: two tensors (n, k)."""
        a, b = given(p), given(q)
        same_shapes(self.name, a, b)
        if a.ndim != 2:
            raise ShapeError(f"{self.name}: shape {tuple(a.shape)}", code="shape.metric", hint="rows (n, k)")
        a, b = G.cast(a, "float64"), G.cast(b, "float64")
        if self.log_prob:
            a, b = G.exp(a), G.exp(b)
        else:
            a, b = a / G.sum(a, dim=1, keepdim=True), b / G.sum(b, dim=1, keepdim=True)
        middle = (a + b) * 0.5
        self.values.append(0.5 * (_divergence(a, middle) + _divergence(b, middle)))

    def compute(self) -> Tensor:
        """0-d, or one a row."""
        each = np.concatenate([np.zeros(0), *(v.numpy() for v in self.values)])
        if self.reduction == "none":
            return result(each)
        return result(each.sum() if self.reduction == "sum" else share(each.sum(), len(each), np.nan))


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    some = p > 0
    return G.sum(G.where(some, p * G.log(G.where(some, p, 1.0) / G.where(some, q, 1.0)), 0.0), dim=1)


class NormalizedRootMeanSquaredError(Metric):
    """The root of the mean squared error over what the answers are like.

    normalization : {"mean", "range", "std", "l2"}
        Their mean, the distance from the least to the greatest, their deviation, or the root of their squares' sum.
    num_outputs : int
        Columns of (n, num_outputs), one value each; 1 takes any shape.
    """

    seen: Tensor

    def __init__(self, normalization: str = "mean", num_outputs: int = 1, name: str | None = None) -> None:
        super().__init__(name)
        if normalization not in ("mean", "range", "std", "l2"):
            raise ValueError(f"normalization is 'mean', 'range', 'std' or 'l2', not {normalization!r}")
        self.normalization, self.num_outputs = normalization, num_outputs
        # rows: count, sum of squared errors, mean, squares about the mean, least, greatest
        start = np.zeros((6, num_outputs))
        start[4], start[5] = np.inf, -np.inf
        self.add_state("seen", start, _joined)

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch: two tensors of one shape."""
        p, t = given(preds), given(target)
        same_shapes(self.name, p, t)
        p, t = (G.reshape(G.cast(x, "float64"), (-1, self.num_outputs)) for x in (p, t))
        mean = G.mean(t, dim=0)
        count = G.full_like(mean, float(t.shape[0]))
        rest = [G.sum((p - t) * (p - t), dim=0), mean, G.sum((t - mean) * (t - mean), dim=0)]
        self.seen = _joined(self.seen, G.stack([count, *rest, G.amin(t, dim=0), G.amax(t, dim=0)]))

    def compute(self) -> Tensor:
        """0-d, or one a column."""
        count, errors, mean, about, least, greatest = self.seen.numpy()
        under = {
            "mean": mean, "range": greatest - least, "std": np.sqrt(share(about, count)),
            "l2": np.sqrt(about + count * mean**2),
        }[self.normalization]  # fmt: skip
        found = share(np.sqrt(share(errors, count, np.nan)), under, np.nan)
        return result(found[0] if self.num_outputs == 1 else found)


def _joined(a: Tensor, b: Tensor) -> Tensor:
    """What was seen of two sets as of both (Chan et al. 1983)."""
    n = a[0] + b[0]
    gap, part = b[2] - a[2], b[0] / G.where(n > 0, n, 1.0)
    about = a[3] + b[3] + gap * gap * a[0] * part
    return G.stack([n, a[1] + b[1], a[2] + gap * part, about, G.minimum(a[4], b[4]), G.maximum(a[5], b[5])])
