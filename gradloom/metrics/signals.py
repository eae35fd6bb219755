"""Sound: how strong a signal is above what differs from it, in decibels, averaged over signals (..., time)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.functions.conversion import finfo
from gradloom.metrics.base import Metric, given, result
from gradloom.metrics.classification import share
from gradloom.metrics.inputs import same_shapes
from gradloom.tensor import Tensor


class SignalNoiseRatio(Metric):
    """10·log10 of the answer's energy over that of the difference.

    zero_mean : bool
        Take the mean over time away first.
    """

    total: Tensor
    size: Tensor

    def __init__(self, zero_mean: bool = False, name: str | None = None) -> None:
        super().__init__(name)
        self.zero_mean = zero_mean
        self.add_state("total", np.float64(0.0))
        self.add_state("size", np.int64(0))

    def update(self, preds: Any, target: Any) -> None:
        """Add signals: two tensors (..., time) of one shape."""
        found = self.of_each(preds, target)
        self.total = self.total + G.sum(found)
        self.size = self.size + found.numel()

    def of_each(self, preds: Any, target: Any) -> Tensor:
        """The decibels of each signal, (...,)."""
        p, t = given(preds), given(target)
        same_shapes(self.name, p, t)
        # keeps silence from dividing by nothing; the operands' resolution, as in TorchMetrics
        eps = finfo(p.dtype).eps if p.dtype.is_floating else float(np.finfo(np.float32).eps)
        p, t = G.cast(p, "float64"), G.cast(t, "float64")
        if self.zero_mean:
            p, t = p - G.mean(p, dim=-1, keepdim=True), t - G.mean(t, dim=-1, keepdim=True)
        signal = self._scaled(p, t, eps)
        noise = signal - p
        ratio = (G.sum(signal * signal, dim=-1) + eps) / (G.sum(noise * noise, dim=-1) + eps)
        return 10.0 * G.log10(ratio)

    def _scaled(self, p: Tensor, t: Tensor, eps: float) -> Tensor:
        """What counts as signal: the answer."""
        return t

    def compute(self) -> Tensor:
        """The mean in decibels; NaN before any batch."""
        return result(share(self.total.numpy(), self.size.numpy(), np.nan))


class ScaleInvariantSignalDistortionRatio(SignalNoiseRatio):
    """As `SignalNoiseRatio`, to the answer as loud as fits best (Le Roux et al. 2019)."""

    def _scaled(self, p: Tensor, t: Tensor, eps: float) -> Tensor:
        gain = (G.sum(p * t, dim=-1, keepdim=True) + eps) / (G.sum(t * t, dim=-1, keepdim=True) + eps)
        return gain * t


class ScaleInvariantSignalNoiseRatio(ScaleInvariantSignalDistortionRatio):
    """As `ScaleInvariantSignalDistortionRatio`, with the means taken away (Luo and Mesgarani 2018)."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(True, name)
