"""Separated sound: distortion under a filter, of all sources together, of spectra, and the best order of speakers."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.functions.complex_numbers import view_as_real
from gradloom.functions.conversion import finfo
from gradloom.metrics.base import Metric, given, result
from gradloom.metrics.classification import share
from gradloom.metrics.clustering import assignment
from gradloom.metrics.inputs import same_shapes
from gradloom.metrics.signals import ScaleInvariantSignalNoiseRatio, SignalNoiseRatio
from gradloom.tensor import Tensor

Array = np.ndarray


class _MeanOfSignals(Metric):
    """Base: the mean of one number for each signal."""

    total: Tensor

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.add_state("total", np.zeros(2))

    def of_each(self, preds: Any, target: Any) -> Tensor:
        """The value of each signal."""
        raise NotImplementedError

    def update(self, preds: Any, target: Any) -> None:
        """Add signals: two tensors of one shape."""
        values = self.of_each(preds, target)
        self.total = self.total + G.stack(
            [G.sum(G.cast(values, "float64")), G.full((), float(values.numel()), dtype="float64")]
        )

    def compute(self) -> Tensor:
        """The mean; NaN before any batch."""
        found, size = self.total.numpy()
        return result(share(found, size, np.nan))


class SignalDistortionRatio(_MeanOfSignals):
    """Decibels of what a filter of the answer explains over what it does not (Vincent et al. 2006; Scheibler 2022).

    Parameters
    ----------
    filter_length : int
        Taps of the filter that is allowed.
    zero_mean : bool
        Take the means over time away first.
    load_diag : float, optional
        Added to the answer's own correlation, where it has silence and the equations are nearly singular.
    """

    def __init__(
        self,
        filter_length: int = 512,
        zero_mean: bool = False,
        load_diag: float | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if filter_length < 1:
            raise ValueError(f"filter_length must be positive, got {filter_length}")
        self.filter_length, self.zero_mean, self.load_diag = filter_length, zero_mean, load_diag

    def of_each(self, preds: Any, target: Any) -> Tensor:
        """The decibels of each signal of two tensors (..., time)."""
        p, t = given(preds), given(target)
        same_shapes(self.name, p, t)
        found, wanted = (x.numpy().astype(np.float64).reshape(-1, x.shape[-1]) for x in (p, t))
        if self.zero_mean:
            found, wanted = found - found.mean(-1, keepdims=True), wanted - wanted.mean(-1, keepdims=True)
        found, wanted = (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6) for x in (found, wanted))
        each = np.array([self._one(a, b) for a, b in zip(found, wanted, strict=True)])
        return given(each.reshape(tuple(p.shape[:-1])))

    def _one(self, found: Array, wanted: Array) -> float:
        length, points = self.filter_length, 1 << math.ceil(math.log2(2 * len(found) - 1))
        spectrum = np.fft.rfft(wanted, points)
        own = np.fft.irfft(np.abs(spectrum) ** 2, points)[:length]
        cross = np.fft.irfft(spectrum.conj() * np.fft.rfft(found, points), points)[:length]
        own[0] += self.load_diag or 0.0
        places = np.arange(len(own))
        explained = cross @ np.linalg.solve(own[np.abs(places[:, None] - places)], cross)
        with np.errstate(divide="ignore"):
            return float(10.0 * np.log10(explained / (1.0 - explained)))


class SourceAggregatedSignalDistortionRatio(_MeanOfSignals):
    """Energies of all sources together over those of what differs, in decibels; one gain for all.

    scale_invariant : bool
        To answers as loud as fits best. zero_mean : take the means over time away first.
    """

    def __init__(self, scale_invariant: bool = True, zero_mean: bool = False, name: str | None = None) -> None:
        super().__init__(name)
        self.scale_invariant, self.zero_mean = scale_invariant, zero_mean

    def of_each(self, preds: Any, target: Any) -> Tensor:
        """The decibels of each set of sources of two tensors (..., sources, time)."""
        p, t = given(preds), given(target)
        same_shapes(self.name, p, t)
        if p.ndim < 2:
            raise ShapeError(f"{self.name}: shape {tuple(p.shape)}", code="shape.metric", hint="(..., sources, time)")
        eps = finfo(p.dtype).eps if p.dtype.is_floating else float(np.finfo(np.float32).eps)
        p, t = G.cast(p, "float64"), G.cast(t, "float64")
        if self.zero_mean:
            p, t = p - G.mean(p, dim=-1, keepdim=True), t - G.mean(t, dim=-1, keepdim=True)
        if self.scale_invariant:
            both = (-2, -1)
            t = t * ((G.sum(p * t, dim=both, keepdim=True) + eps) / (G.sum(t * t, dim=both, keepdim=True) + eps))
        rest = t - p
        ratio = (G.sum(t * t, dim=(-2, -1)) + eps) / (G.sum(rest * rest, dim=(-2, -1)) + eps)
        return 10.0 * G.log10(ratio)


class ComplexScaleInvariantSignalNoiseRatio(SignalNoiseRatio):
    """`ScaleInvariantSignalDistortionRatio` of spectra, complex (..., frequencies, time), or real (..., 2)."""

    def of_each(self, preds: Any, target: Any) -> Tensor:
        """The decibels of each spectrum."""
        p, t = given(preds), given(target)
        p, t = (view_as_real(x) if x.dtype.is_complex else x for x in (p, t))
        if p.ndim < 3 or p.shape[-1] != 2 or tuple(p.shape) != tuple(t.shape):
            raise ShapeError(
                f"{self.name}: {tuple(p.shape)} and {tuple(t.shape)}", code="shape.metric",
                hint="spectra are complex (..., frequencies, time), or real (..., frequencies, time, 2)",
            )  # fmt: skip
        return super().of_each(*(G.reshape(x, (*x.shape[:-3], -1)) for x in (p, t)))

    _scaled = ScaleInvariantSignalNoiseRatio._scaled


def permutation_invariant_training(
    preds: Any, target: Any, metric_func: Callable[..., Any], mode: str = "speaker-wise", eval_func: str = "max",
    **options: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The best value over all orders of the speakers, and that order (Yu et al. 2017).

    Parameters
    ----------
    preds, target : (n, speakers, ...)
    metric_func : gives one value for each row of two (n, ...); in the mode "permutation-wise" of (n, speakers, ...).
    mode : {"speaker-wise", "permutation-wise"}
    eval_func : {"max", "min"}
        Whether more is better.

    Returns
    -------
    (n,) values, and (n, speakers) which prediction belongs to each target.
    """
    if eval_func not in ("max", "min"):
        raise ValueError(f"eval_func is 'max' or 'min', not {eval_func!r}")
    if mode not in ("speaker-wise", "permutation-wise"):
        raise ValueError(f"mode is 'speaker-wise' or 'permutation-wise', not {mode!r}")
    p, t = given(preds), given(target)
    if p.ndim < 2 or t.ndim < 2 or tuple(p.shape[:2]) != tuple(t.shape[:2]):
        raise ShapeError(
            f"permutation_invariant_training: {tuple(p.shape)} and {tuple(t.shape)}", code="shape.metric",
            hint="both are (n, speakers, ...)",
        )  # fmt: skip
    rows, speakers = p.shape[:2]
    sign = 1.0 if eval_func == "min" else -1.0
    if mode == "permutation-wise":
        orders = list(permutations(range(speakers)))
        by_order = []
        for order in orders:
            values = given(metric_func(G.index_select(p, 1, given(np.array(order))), t, **options)).numpy()
            by_order.append(values.reshape(rows, -1).mean(1))
        table = np.stack(by_order, 1)
        best = (sign * table).argmin(1)
        return given(table[np.arange(rows), best]), given(np.array(orders)[best])
    table = np.empty((rows, speakers, speakers))
    for wanted in range(speakers):
        for found in range(speakers):
            table[:, wanted, found] = given(metric_func(p[:, found], t[:, wanted], **options)).numpy()
    best = np.stack([assignment(sign * one) for one in table]) if rows else np.zeros((0, speakers), np.int64)
    return given(np.take_along_axis(table, best[..., None], 2).mean((1, 2))), given(best)


def pit_permutate(preds: Any, perm: Any) -> Tensor:
    """Predictions (n, speakers, ...) in the orders that `permutation_invariant_training` found."""
    p, order = given(preds), given(perm)
    shape = (*order.shape, *(1,) * (p.ndim - 2))
    return G.gather(p, 1, G.broadcast_to(G.reshape(order, shape), tuple(p.shape)))


class PermutationInvariantTraining(_MeanOfSignals):
    """The mean of `permutation_invariant_training`'s values; further options go to `metric_func`."""

    def __init__(
        self,
        metric_func: Callable[..., Any],
        mode: str = "speaker-wise",
        eval_func: str = "max",
        name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name)
        self.metric_func, self.mode, self.eval_func, self.options = metric_func, mode, eval_func, options

    def of_each(self, preds: Any, target: Any) -> Tensor:
        """The best value of each row of two tensors (n, speakers, ...)."""
        return permutation_invariant_training(
            preds, target, self.metric_func, self.mode, self.eval_func, **self.options
        )[0]
