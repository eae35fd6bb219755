"""Further errors of regression: weighted, by deviance, relative to spread, between distributions and directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.metrics.base import Metric, gathered, given, result
from gradloom.metrics.classification import share
from gradloom.metrics.inputs import same_shapes
from gradloom.metrics.regression import _ErrorsByOutput, _MeanError, _Moments
from gradloom.tensor import Tensor

Array = np.ndarray


class WeightedMeanAbsolutePercentageError(Metric):
    """The sum of |p - t| over the sum of |t|."""

    above: Tensor
    below: Tensor

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.add_state("above", np.float64(0.0))
        self.add_state("below", np.float64(0.0))

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch: two tensors of one shape."""
        p, t = given(preds), given(target)
        same_shapes(self.name, p, t)
        p, t = G.cast(p, "float64"), G.cast(t, "float64")
        self.above = self.above + G.sum(G.abs(p - t))
        self.below = self.below + G.sum(G.abs(t))

    def compute(self) -> Tensor:
        """At least 0; NaN where all answers are 0."""
        return result(share(self.above.numpy(), self.below.numpy(), np.nan))


class LogCoshError(_ErrorsByOutput):
    """log(cosh(p - t)), computed so that large errors do not overflow."""

    def _error(self, p: Tensor, t: Tensor) -> Tensor:
        d = G.abs(p - t)
        return d + G.log1p(G.exp(-2.0 * d)) - float(np.log(2.0))


class MinkowskiDistance(Metric):
    """(Σ|p - t|^p)^(1/p) over everything added; `p` at least 1."""

    total: Tensor

    def __init__(self, p: float, name: str | None = None) -> None:
        super().__init__(name)
        if p < 1:
            raise ValueError(f"p is at least 1, got {p}")
        self.p = p
        self.add_state("total", np.float64(0.0))

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch: two tensors of one shape."""
        p, t = given(preds), given(target)
        same_shapes(self.name, p, t)
        self.total = self.total + G.sum(G.abs(G.cast(p, "float64") - G.cast(t, "float64")) ** self.p)

    def compute(self) -> Tensor:
        """At least 0."""
        return result(self.total.numpy() ** (1.0 / self.p))


class TweedieDevianceScore(_MeanError):
    """The mean deviance of a Tweedie distribution: power 0 normal, 1 Poisson, 2 gamma, 3 inverse Gaussian.

    As scikit-learn's `mean_tweedie_deviance`. There are no such distributions for powers between 0 and 1.
    """

    outside: Tensor

    def __init__(self, power: float = 0.0, name: str | None = None) -> None:
        super().__init__(name)
        if 0 < power < 1:
            raise ValueError(f"there is no Tweedie distribution of a power between 0 and 1, got {power}")
        self.power = power
        self.add_state("outside", np.int64(0))

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch: two tensors of one shape."""
        p, t = given(preds), given(target)
        super().update(p, t)
        if self.power:
            bad = p <= 0
            if self.power >= 1:
                bad = G.logical_or(bad, t < 0 if self.power < 2 else t <= 0)
            self.outside = self.outside + G.sum(G.cast(bad, "int64"))

    def _error(self, p: Tensor, t: Tensor) -> Tensor:
        k = self.power
        if k == 0:
            return (p - t) * (p - t)
        if k == 1:
            return 2.0 * (G.where(t > 0, t * G.log(G.where(t > 0, t, 1.0) / p), 0.0) + p - t)
        if k == 2:
            return 2.0 * (G.log(p / t) + t / p - 1.0)
        parts = G.clamp(t, 0.0) ** (2 - k) / ((1 - k) * (2 - k)), t * p ** (1 - k) / (1 - k), p ** (2 - k) / (2 - k)
        return 2.0 * (parts[0] - parts[1] + parts[2])

    def compute(self) -> Tensor:
        """At least 0; NaN before any batch. ValueError where values lay where the deviance is not defined."""
        bad = int(self.outside.item())
        if bad:
            target = "" if self.power < 1 else ", target not negative" if self.power < 2 else ", target positive"
            raise ValueError(f"{self.name}: {bad} pairs are outside; power {self.power} takes preds positive{target}")
        return super().compute()


class RelativeSquaredError(_Moments):
    """Squared errors over the spread of the answers, averaged over outputs; `squared` False gives roots."""

    def __init__(self, num_outputs: int = 1, squared: bool = True, name: str | None = None) -> None:
        super().__init__(num_outputs, name)
        self.squared = squared

    def compute(self) -> Tensor:
        """At least 0; NaN where answers do not vary."""
        _, _, _, _, tt, errors = self._values()
        each = share(errors, tt, np.nan)
        return result((each if self.squared else np.sqrt(each)).mean())


class ConcordanceCorrCoef(_Moments):
    """How near pairs lie to the line of equality (Lin 1989), with the variance that divides by n - 1."""

    def compute(self) -> Tensor:
        """Between -1 and 1: 0-d, or (num_outputs,); NaN where nothing varies and the means agree."""
        n, bias, pp, pt, tt, _ = self._values()
        below = (pp + tt) / np.maximum(n - 1, 1) + bias**2
        each = share(2.0 * pt / np.maximum(n - 1, 1), below, np.nan)
        return result(each[0] if self.num_outputs == 1 else each)


class KendallRankCorrCoef(Metric):
    """Pairs in the same order less pairs in the other, over all of them (Kendall 1938, 1945); keeps all values.

    variant : {"a", "b", "c"}
        "a" divides by all pairs, "b" makes up for ties, "c" for tables that are not square.
    """

    preds: list[Tensor]
    target: list[Tensor]

    def __init__(self, variant: str = "b", name: str | None = None) -> None:
        super().__init__(name)
        if variant not in ("a", "b", "c"):
            raise ValueError(f"variant is 'a', 'b' or 'c', not {variant!r}")
        self.variant = variant
        self.add_state("preds", [])
        self.add_state("target", [])

    def update(self, preds: Any, target: Any) -> None:
        """Keep a batch."""
        p, t = given(preds), given(target)
        same_shapes(self.name, p, t)
        self.preds.append(G.reshape(p, (p.numel(),)))
        self.target.append(G.reshape(t, (t.numel(),)))

    def compute(self) -> Tensor:
        """Between -1 and 1; NaN where one of the two does not vary."""
        a, b = (np.unique(gathered(x), return_inverse=True)[1] for x in (self.preds, self.target))
        n = len(a)
        agreement = 0
        for start in range(0, n, 1024):  # by blocks of rows: n² signs are too many to hold
            rows = slice(start, start + 1024)
            above = np.sign(np.subtract.outer(a[rows], a)) * np.sign(np.subtract.outer(b[rows], b))
            agreement += int(above.sum())
        agreement //= 2
        pairs = n * (n - 1) // 2
        ties = [int((c * (c - 1) // 2).sum()) for c in (np.bincount(a), np.bincount(b))]
        if pairs in ties:
            return result(np.nan)
        if self.variant == "a":
            return result(agreement / pairs)
        if self.variant == "b":
            return result(agreement / np.sqrt(float(pairs - ties[0]) * float(pairs - ties[1])))
        least = min(a.max(), b.max()) + 1
        return result(2.0 * agreement * least / (n**2 * (least - 1)))


class _Rows(Metric):
    """One value a row, reduced by "mean", "sum" or "none"."""

    values: list[Tensor]

    def __init__(self, reduction: str | None, name: str | None = None) -> None:
        super().__init__(name)
        if reduction not in ("mean", "sum", "none", None):
            raise ValueError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}")
        self.reduction = reduction or "none"
        self.add_state("values", [])

    def _row(self, p: Tensor, t: Tensor) -> Tensor:
        raise NotImplementedError

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch: two tensors (N, D)."""
        p, t = given(preds), given(target)
        same_shapes(self.name, p, t)
        if p.ndim != 2:
            raise ValueError(f"{self.name}: shape {tuple(p.shape)}, expected (N, D)")
        self.values.append(self._row(G.cast(p, "float64"), G.cast(t, "float64")))

    def compute(self) -> Tensor:
        """0-d, or one value a row; without rows the mean is NaN."""
        each = gathered(self.values) if self.values else np.zeros(0)
        if self.reduction == "none":
            return result(each)
        return result(each.sum() if self.reduction == "sum" else each.mean() if len(each) else np.nan)


class CosineSimilarity(_Rows):
    """The cosine of the angle between rows; NaN for rows of zeros. reduction : {"sum", "mean", "none"}."""

    def __init__(self, reduction: str | None = "sum", name: str | None = None) -> None:
        super().__init__(reduction, name)

    def _row(self, p: Tensor, t: Tensor) -> Tensor:
        return G.sum(p * t, dim=1) / (G.sqrt(G.sum(p * p, dim=1)) * G.sqrt(G.sum(t * t, dim=1)))


class KLDivergence(_Rows):
    """Σ p·log(p/q) of rows of probabilities, made to sum to 1 (Kullback and Leibler 1951); `update(p, q)`.

    Parameters
    ----------
    log_prob : rows are logarithms, taken as they are
    reduction : {"mean", "sum", "none"}
    """

    def __init__(self, log_prob: bool = False, reduction: str | None = "mean", name: str | None = None) -> None:
        super().__init__(reduction, name)
        self.log_prob = log_prob

    def update(self, p: Any, q: Any) -> None:
        """Add a batch: two tensors (N, d)."""
        super().update(p, q)

    def _row(self, p: Tensor, t: Tensor) -> Tensor:
        if self.log_prob:
            return G.sum(G.exp(p) * (p - t), dim=1)
        p, t = (x / G.sum(x, dim=1, keepdim=True) for x in (p, t))
        return G.sum(G.where(p == 0, 0.0, p * G.log(G.where(p == 0, 1.0, p / t))), dim=1)
