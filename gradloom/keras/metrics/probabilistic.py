"""Losses and errors as metrics: means of a function over all samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.keras.losses import functions as L
from gradloom.keras.metrics.base import Mean, MeanMetricWrapper, Metric, number
from gradloom.keras.operations import as_tensor
from gradloom.modes import no_grad
from gradloom.tape import composite
from gradloom.tensor import Tensor


def _wrapped(name: str, fn: Any, default: str, doc: str) -> Any:
    def __init__(self: Any, name: str = default, dtype: Any = None) -> None:
        MeanMetricWrapper.__init__(self, fn, name, dtype)

    return type(name, (MeanMetricWrapper,), {"__init__": __init__, "__doc__": doc, "__module__": __name__})


MeanSquaredError: Any = _wrapped("MeanSquaredError", L.mean_squared_error, "mean_squared_error", "Mean of squares.")
MeanAbsoluteError: Any = _wrapped(
    "MeanAbsoluteError", L.mean_absolute_error, "mean_absolute_error", "Mean of absolute differences."
)
MeanAbsolutePercentageError: Any = _wrapped(
    "MeanAbsolutePercentageError",
    L.mean_absolute_percentage_error,
    "mean_absolute_percentage_error",
    "Mean of absolute differences in per cent of the answer.",
)
MeanSquaredLogarithmicError: Any = _wrapped(
    "MeanSquaredLogarithmicError",
    L.mean_squared_logarithmic_error,
    "mean_squared_logarithmic_error",
    "Mean of squared differences of logarithms.",
)
KLDivergence: Any = _wrapped("KLDivergence", L.kl_divergence, "kl_divergence", "Mean Kullback-Leibler divergence.")
Poisson: Any = _wrapped("Poisson", L.poisson, "poisson", "Mean Poisson loss.")
LogCoshError: Any = _wrapped("LogCoshError", L.log_cosh, "logcosh", "Mean of log cosh of the difference.")
Hinge: Any = _wrapped("Hinge", L.hinge, "hinge", "Mean hinge loss.")
SquaredHinge: Any = _wrapped("SquaredHinge", L.squared_hinge, "squared_hinge", "Mean squared hinge loss.")
CategoricalHinge: Any = _wrapped(
    "CategoricalHinge", L.categorical_hinge, "categorical_hinge", "Mean categorical hinge loss."
)


class BinaryCrossentropy(MeanMetricWrapper):
    """Mean binary cross-entropy."""

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
    ) -> None:
        super().__init__(L.binary_crossentropy, name, dtype, from_logits=from_logits, label_smoothing=label_smoothing)


class CategoricalCrossentropy(MeanMetricWrapper):
    """Mean categorical cross-entropy."""

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
        axis: int = -1,
    ) -> None:
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(L.categorical_crossentropy, name, dtype, **options)


class SparseCategoricalCrossentropy(MeanMetricWrapper):
    """Mean sparse categorical cross-entropy."""

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        options = {"from_logits": from_logits, "ignore_class": ignore_class, "axis": axis}
        super().__init__(L.sparse_categorical_crossentropy, name, dtype, **options)

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        """Add a batch. Where weights are given, those of answers that are ignored do not count."""
        ignored = self._options["ignore_class"]
        if sample_weight is not None and ignored is not None:
            weight, y = as_tensor(sample_weight), as_tensor(y_true)
            y = y.squeeze(-1) if y.ndim == as_tensor(y_pred).ndim else y
            if weight.ndim == y.ndim + 1 and weight.shape[-1] == 1:
                weight = weight.squeeze(-1)
            if weight.ndim == y.ndim:
                sample_weight = weight * (y != ignored).to(weight.dtype)
        super().update_state(y_true, y_pred, sample_weight)


def _similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    return G.neg(L.cosine_similarity(y_true, y_pred, axis))


class CosineSimilarity(MeanMetricWrapper):
    """Mean cosine of the angle between answers and predictions."""

    def __init__(self, name: str = "cosine_similarity", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(_similarity, name, dtype, axis=axis)


@composite
def _square(y: Tensor, p: Tensor) -> Tensor:
    return (p - y) * (p - y)


class RootMeanSquaredError(Mean):
    """The root of the mean of squares."""

    def __init__(self, name: str = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Add a batch."""
        with no_grad():
            super().update_state(_square(*L._pair(y_true, y_pred)), sample_weight)

    def result(self) -> Any:
        """The root."""
        return number(np.sqrt(super().result()))


@composite
def _moments(y: Tensor, p: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    return G.sum(y * w, 0), G.sum(y * y * w, 0), G.sum((y - p) * (y - p) * w, 0), G.sum(w, 0)


class R2Score(Metric):
    """1 - Σ(y - ŷ)² / Σ(y - mean y)².

    Parameters
    ----------
    class_aggregation : None (each output), "uniform_average" or "variance_weighted_average".
    num_regressors : for the adjusted score, the number of independent variables.
    """

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str = "r2_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(dtype, name)
        kinds = (None, "uniform_average", "variance_weighted_average")
        if class_aggregation not in kinds:
            raise ValueError(f"Invalid value for argument `class_aggregation`. Expected one of {kinds}. Received: "
                             f"class_aggregation={class_aggregation}")  # fmt: skip
        if num_regressors < 0:
            raise ValueError(
                "Invalid value for argument `num_regressors`. Expected a value >= 0. "
                f"Received: num_regressors={num_regressors}"
            )
        self.class_aggregation, self.num_regressors, self.num_samples = class_aggregation, num_regressors, 0
        self._built = False

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch (n, k)."""
        with no_grad():
            p = as_tensor(y_pred)
            y = as_tensor(y_true).to(p.dtype)
            if tuple(y.shape) != tuple(p.shape) or y.ndim != 2:
                raise ValueError(
                    "R2Score expects 2D inputs with shape (batch_size, output_dim), both alike. Received: "
                    f"{tuple(y.shape)} and {tuple(p.shape)}"
                )
            if not self._built:
                k = (y.shape[1],)
                self.total, self.squared = self.add_variable(k, name="sum"), self.add_variable(k, name="squared_sum")
                self.residual = self.add_variable(k, name="residual")
                self.count, self._built = self.add_variable(k, name="count"), True
            w = G.ones((1,), dtype=p.dtype) if sample_weight is None else as_tensor(sample_weight).to(p.dtype)
            w = G.broadcast_to(w.unsqueeze(1) if w.ndim == 1 and sample_weight is not None else w, tuple(y.shape))
            kept = (self.total, self.squared, self.residual, self.count)
            for v, more in zip(kept, _moments(y, p, w)):
                v._write(v.detach() + more)
            self.num_samples += y.numel()

    def reset_state(self) -> None:
        """Forget everything that was added."""
        self.num_samples = 0
        super().reset_state()

    def result(self) -> Any:
        """The score, or one for each output."""
        n = self.count.numpy()
        mean = self.total.numpy() / n
        total = self.squared.numpy() - self.total.numpy() * mean
        with np.errstate(divide="ignore", invalid="ignore"):
            raw = 1 - self.residual.numpy() / total
        raw = np.where(np.isinf(raw), 0.0, raw)
        if self.class_aggregation == "uniform_average":
            raw = raw.mean()
        elif self.class_aggregation == "variance_weighted_average":
            raw = (raw * total).sum() / total.sum()
        k = self.num_regressors
        if k and self.num_samples - k - 1 > 0:
            raw = 1 - (1 - raw) * (self.num_samples - 1) / (self.num_samples - k - 1)
        return number(raw)

    def get_config(self) -> dict[str, Any]:
        """Name, dtype and options."""
        found = {"class_aggregation": self.class_aggregation, "num_regressors": self.num_regressors}
        return {"name": self.name, "dtype": self.dtype, **found}


@composite
def _pearson(y: Tensor, p: Tensor, axis: int, tiny: float) -> Tensor:
    def unit(x: Tensor) -> Tensor:
        x = x - G.mean(x, axis, True)
        return x * G.rsqrt(G.clamp(G.sum(x * x, axis, True), min=1e-12))

    return G.sum(unit(y) * unit(p), axis)


def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """The correlation of answers and predictions along an axis."""
    y, p = L._pair(y_true, y_pred)
    return _pearson(y, p, axis, 1e-12)


@composite
def _concordance(y: Tensor, p: Tensor, axis: int, tiny: float) -> Tensor:
    my, mp = G.mean(y, axis, True), G.mean(p, axis, True)
    vy, vp = G.mean((y - my) * (y - my), axis, True), G.mean((p - mp) * (p - mp), axis, True)
    both = G.mean((y - my) * (p - mp), axis, True)
    return G.mean(both * 2.0 / (vy + vp + (my - mp) * (my - mp) + tiny), axis)


def concordance_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """Lin's concordance correlation along an axis."""
    y, p = L._pair(y_true, y_pred)
    return _concordance(y, p, axis, 1e-7)


class PearsonCorrelation(MeanMetricWrapper):
    """Mean correlation."""

    def __init__(self, name: str = "pearson_correlation", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(pearson_correlation, name, dtype, axis=axis)
        self.axis = axis


class ConcordanceCorrelation(MeanMetricWrapper):
    """Mean concordance correlation."""

    def __init__(self, name: str = "concordance_correlation", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(concordance_correlation, name, dtype, axis=axis)
        self.axis = axis
