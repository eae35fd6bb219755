"""Regression: errors, and how much of the answers' spread is explained.

Metrics of spread keep mean, squares and products about the mean, and join batches as Chan et al. (1983) do: large
offsets cost no precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.metrics.base import Metric, gathered, given, result
from gradloom.metrics.classification import share
from gradloom.metrics.inputs import same_shapes
from gradloom.tensor import Tensor

Array = np.ndarray


class _MeanError(Metric):
    """The mean of one number for each pair."""

    total: Tensor
    size: Tensor

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.add_state("total", np.float64(0.0))
        self.add_state("size", np.int64(0))

    def _error(self, p: Tensor, t: Tensor) -> Tensor:
        raise NotImplementedError

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch: two tensors of one shape."""
        p, t = given(preds), given(target)
        same_shapes(self.name, p, t)
        self.total = self.total + G.sum(self._error(G.cast(p, "float64"), G.cast(t, "float64")))
        self.size = self.size + p.numel()

    def compute(self) -> Tensor:
        """The mean; NaN before any batch."""
        return result(share(self.total.numpy(), self.size.numpy(), np.nan))


class MeanAbsolutePercentageError(_MeanError):
    """|p - t|/max(|t|, ε), ε the resolution of float64 as in scikit-learn."""

    def _error(self, p: Tensor, t: Tensor) -> Tensor:
        return G.abs(p - t) / G.clamp(G.abs(t), float(np.finfo(np.float64).eps))


class SymmetricMeanAbsolutePercentageError(_MeanError):
    """2·|p - t|/(|p| + |t|), 0 where both are 0."""

    def _error(self, p: Tensor, t: Tensor) -> Tensor:
        both = G.abs(p) + G.abs(t)
        return G.where(both > 0, 2.0 * G.abs(p - t) / G.where(both > 0, both, 1.0), 0.0)


class MeanSquaredLogError(_MeanError):
    """(log(1 + p) - log(1 + t))²."""

    def _error(self, p: Tensor, t: Tensor) -> Tensor:
        gap = G.log1p(p) - G.log1p(t)
        return gap * gap


class HuberError(_MeanError):
    """d²/2 where d = |p - t| ≤ delta, else delta·(d - delta/2)."""

    def __init__(self, delta: float = 1.0, name: str | None = None) -> None:
        super().__init__(name)
        if delta <= 0:
            raise ValueError(f"delta must be positive, got {delta}")
        self.delta = delta

    def _error(self, p: Tensor, t: Tensor) -> Tensor:
        d = G.abs(p - t)
        return G.where(d <= self.delta, d * d * 0.5, (d - 0.5 * self.delta) * self.delta)


class _ErrorsByOutput(_MeanError):
    """The mean of one number for each pair, by column of (N, num_outputs); 1 takes any shape together."""

    def __init__(self, num_outputs: int = 1, name: str | None = None) -> None:
        if not isinstance(num_outputs, int) or num_outputs < 1:
            raise ValueError(f"num_outputs is a positive whole number, not {num_outputs!r}")
        super().__init__(name)
        self.num_outputs = num_outputs
        if num_outputs > 1:
            self.add_state("total", np.zeros(num_outputs))

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch: two tensors of one shape."""
        if self.num_outputs == 1:
            super().update(preds, target)
            return
        p, t = given(preds), given(target)
        same_shapes(self.name, p, t)
        if p.ndim != 2 or p.shape[1] != self.num_outputs:
            raise ShapeError(
                f"{self.name}: {tuple(p.shape)}, expected is (N, {self.num_outputs})", code="shape.metric",
                hint="num_outputs is the number of columns",
            )  # fmt: skip
        self.total = self.total + G.sum(self._error(G.cast(p, "float64"), G.cast(t, "float64")), dim=0)
        self.size = self.size + p.shape[0]


class MeanAbsoluteError(_ErrorsByOutput):
    """The mean of |p - t|."""

    def _error(self, p: Tensor, t: Tensor) -> Tensor:
        return G.abs(p - t)


class MeanSquaredError(_ErrorsByOutput):
    """The mean of (p - t)², or its root.

    squared : whether the mean itself is given. num_outputs : columns of (N, num_outputs); 1 takes any shape together.
    """

    def __init__(self, squared: bool = True, num_outputs: int = 1, name: str | None = None) -> None:
        super().__init__(num_outputs, name)
        self.squared = squared

    def _error(self, p: Tensor, t: Tensor) -> Tensor:
        return (p - t) * (p - t)

    def compute(self) -> Tensor:
        """0-d, or (num_outputs,); NaN before any batch."""
        found = super().compute()
        return found if self.squared else G.sqrt(found)


class RootMeanSquaredError(MeanSquaredError):
    """The root of the mean of (p - t)²."""

    def __init__(self, num_outputs: int = 1, name: str | None = None) -> None:
        super().__init__(False, num_outputs, name)


def _joined(a: Tensor, b: Tensor) -> Tensor:
    """Moments of two sets as those of both: rows count, means, and products about the means (2·2, flat)."""
    n = a[0] + b[0]
    safe = G.where(n > 0, n, 1.0)
    gap = b[1:3] - a[1:3]
    mean = a[1:3] + gap * (b[0] / safe)
    outer = G.unsqueeze(gap, 1) * G.unsqueeze(gap, 0)  # (2, 2, outputs)
    outer = G.reshape(outer, (4, *outer.shape[2:]))
    products = a[3:7] + b[3:7] + outer * (a[0] * b[0] / safe)
    rest = a[7:] + b[7:]
    return G.cat([G.unsqueeze(n, 0), mean, products, rest], 0)


class _Moments(Metric):
    """Count, means, products about the means of preds and targets, and the sum of squared errors, by output.

    num_outputs : columns of (N, num_outputs); 1 takes any shape, flat.
    """

    moments: Tensor

    def __init__(self, num_outputs: int = 1, name: str | None = None) -> None:
        super().__init__(name)
        self.num_outputs = num_outputs
        self.add_state("moments", np.zeros((8, num_outputs)), _joined)

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch: two tensors of one shape."""
        p, t = given(preds), given(target)
        same_shapes(self.name, p, t)
        k = self.num_outputs
        if k > 1 and (p.ndim != 2 or p.shape[1] != k):
            raise ValueError(f"{self.name}: preds of shape {tuple(p.shape)}, expected (N, {k})")
        if not p.numel():
            return
        p, t = (G.cast(G.reshape(x, (x.numel() // k, k)), "float64") for x in (p, t))
        mean_p, mean_t = G.mean(p, dim=0), G.mean(t, dim=0)
        a, b, gap = p - mean_p, t - mean_t, p - t
        pp, pt, tt = G.sum(a * a, dim=0), G.sum(a * b, dim=0), G.sum(b * b, dim=0)
        size = G.full((k,), float(p.shape[0]), dtype="float64")
        batch = G.stack([size, mean_p, mean_t, pp, pt, pt, tt, G.sum(gap * gap, dim=0)], 0)
        self.moments = _joined(self.moments, batch)

    def _values(self) -> tuple[Array, Array, Array, Array, Array, Array]:
        """Count, bias, and the sums pp, pt, tt about the means, and of squared errors."""
        m = self.moments.numpy()
        return m[0], m[1] - m[2], m[3], m[4], m[6], m[7]


class PearsonCorrCoef(_Moments):
    """The correlation of predictions and answers."""

    def compute(self) -> Tensor:
        """0-d, or (num_outputs,)."""
        _, _, pp, pt, tt, _ = self._values()
        r = np.clip(share(pt, np.sqrt(pp) * np.sqrt(tt), np.nan), -1.0, 1.0)
        return result(r[0] if self.num_outputs == 1 else r)


class _Explained(_Moments):
    """multioutput: "uniform_average", "variance_weighted" or "raw_values"."""

    def __init__(self, num_outputs: int = 1, multioutput: str = "uniform_average", name: str | None = None) -> None:
        super().__init__(num_outputs, name)
        if multioutput not in ("uniform_average", "variance_weighted", "raw_values"):
            raise ValueError(
                f"multioutput is 'uniform_average', 'variance_weighted' or 'raw_values', not {multioutput!r}"
            )
        self.multioutput = multioutput

    def _left(self) -> Array:
        """What is left unexplained, by output."""
        raise NotImplementedError

    def compute(self) -> Tensor:
        """At most 1; 1 where answers do not vary and all is right, 0 where they do not and it is not."""
        spread, left = self._values()[4], self._left()
        flat = np.where(left == 0, 1.0, 0.0)
        each = np.where(spread > 0, 1.0 - share(left, spread), flat)
        if self.multioutput == "raw_values":
            return result(each)
        if self.multioutput == "uniform_average" or not spread.any():
            return result(each.mean())
        return result((each * spread).sum() / spread.sum())


class R2Score(_Explained):
    """1 - squared errors over the spread of the answers.

    adjusted : number of regressors that R² is corrected for.
    """

    def __init__(
        self,
        num_outputs: int = 1,
        adjusted: int = 0,
        multioutput: str = "uniform_average",
        name: str | None = None,
    ) -> None:
        super().__init__(num_outputs, multioutput, name)
        self.adjusted = adjusted

    def _left(self) -> Array:
        return self._values()[5]

    def compute(self) -> Tensor:
        """At most 1. ValueError with fewer than two samples."""
        n = self._values()[0][0]
        if n < 2:
            raise ValueError(f"{self.name} needs at least two samples, got {int(n)}")
        r = super().compute()
        if self.adjusted and n - self.adjusted - 1 > 0:
            return 1.0 - (1.0 - r) * ((n - 1) / (n - self.adjusted - 1))
        return r


class ExplainedVariance(_Explained):
    """1 - the variance of the errors over that of the answers."""

    def _left(self) -> Array:
        _, _, pp, pt, tt, _ = self._values()
        return np.maximum(pp - 2.0 * pt + tt, 0.0)


def ranks(x: Array) -> Array:
    """Ranks from 1, equal values sharing the mean of theirs."""
    order = np.argsort(x, kind="stable")
    placed = x[order]
    first = np.r_[True, placed[1:] != placed[:-1]]
    group = np.cumsum(first) - 1
    bounds = np.r_[np.nonzero(first)[0], len(x)]
    out = np.empty(len(x))
    out[order] = (0.5 * (bounds[1:] + bounds[:-1] + 1))[group]
    return out


class SpearmanCorrCoef(Metric):
    """The correlation of ranks; keeps all values."""

    preds: list[Tensor]
    target: list[Tensor]

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
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
        a, b = ranks(gathered(self.preds)), ranks(gathered(self.target))
        a, b = a - a.mean(), b - b.mean()
        return result(share(a @ b, np.sqrt((a @ a) * (b @ b)), np.nan))
