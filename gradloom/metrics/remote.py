"""Pictures from afar and compressed ones: errors by band and by window, spectral distortion, block edges, information.

Pictures are (N, C, H, W), computed in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.errors import ShapeError
from gradloom.metrics.base import Metric, gathered, given, result
from gradloom.metrics.classification import share
from gradloom.metrics.images import Range, _checked_range, pictures
from gradloom.tensor import Tensor

Array = np.ndarray


def reduced(values: Array, reduction: str) -> Tensor:
    """Values by "elementwise_mean", "sum" or "none"."""
    if reduction == "none":
        return result(values)
    return result(values.sum() if reduction == "sum" else values.mean() if values.size else np.nan)


def checked_reduction(reduction: str | None) -> str:
    """ValueError unless it is one of the three; None is "none"."""
    if reduction not in ("elementwise_mean", "sum", "none", None):
        raise ValueError(f"reduction is 'elementwise_mean', 'sum' or 'none', not {reduction!r}")
    return reduction or "none"


class ErrorRelativeGlobalDimensionlessSynthesis(Metric):
    """ERGAS: root mean squared errors by band over the band's mean, in percent of the resolutions' ratio (Wald 2000).

    ratio : float
        Of the resolutions, high over low.
    reduction : {"elementwise_mean", "sum", "none"}
    """

    values: list[Tensor]

    def __init__(self, ratio: float = 4, reduction: str | None = "elementwise_mean", name: str | None = None) -> None:
        super().__init__(name)
        self.ratio, self.reduction = ratio, checked_reduction(reduction)
        self.add_state("values", [])

    def update(self, preds: Any, target: Any) -> None:
        """Add pictures: two tensors (N, C, H, W)."""
        p, t = pictures(self.name, preds, target)
        gap = p - t
        bands = (gap * gap).mean(dim=(2, 3)).sqrt() / t.mean(dim=(2, 3))
        self.values.append((bands * bands).mean(dim=1).sqrt() * (100.0 / self.ratio))

    def compute(self) -> Tensor:
        """0 where all is equal."""
        return reduced(gathered(self.values), self.reduction)


def window_means(x: Array, size: int) -> Array:
    """Means over windows of each pixel, borders mirrored with the edge itself twice."""
    before, after = size // 2, size - 1 - size // 2
    pad = [(0, 0), (0, 0), (before, after), (before, after)]
    wide = np.pad(x, pad, mode="symmetric")
    sums = np.pad(wide, [(0, 0), (0, 0), (1, 0), (1, 0)]).cumsum(2).cumsum(3)
    height, width = x.shape[2:]
    low, high = slice(0, height), slice(size, size + height)
    left, right = slice(0, width), slice(size, size + width)
    total = sums[:, :, high, right] - sums[:, :, low, right] - sums[:, :, high, left] + sums[:, :, low, left]
    return total / size**2


class RootMeanSquaredErrorUsingSlidingWindow(Metric):
    """The root of the mean squared error in windows about each pixel, borders of half a window left out.

    window_size : int
    """

    totals: Tensor

    def __init__(self, window_size: int = 8, name: str | None = None) -> None:
        super().__init__(name)
        if not isinstance(window_size, int) or window_size < 1:
            raise ValueError(f"window_size is a positive whole number, not {window_size!r}")
        self.window_size = window_size
        self.add_state("totals", np.zeros(2))

    def update(self, preds: Any, target: Any) -> None:
        """Add pictures: two tensors (N, C, H, W)."""
        errors = self._errors(preds, target)[0]
        cut = slice(round(self.window_size / 2), -round(self.window_size / 2) or None)
        found = errors[:, :, cut, cut].sum(0).mean()
        self.totals = self.totals + given(np.array([found, len(errors)]))

    def _errors(self, preds: Any, target: Any) -> tuple[Array, Array]:
        """Root mean squared errors about each pixel, and the answers."""
        p, t = (x.numpy() for x in pictures(self.name, preds, target))
        if round(self.window_size / 2) >= min(t.shape[2:]):
            raise ShapeError(
                f"{self.name}: pictures {tuple(t.shape)}, windows of {self.window_size}", code="shape.metric",
                hint="half a window is less than the pictures' height and width",
            )  # fmt: skip
        return np.sqrt(np.maximum(window_means((t - p) ** 2, self.window_size), 0.0)), t

    def compute(self) -> Tensor:
        """0-d; NaN before any batch."""
        found, size = self.totals.numpy()
        return result(share(found, size, np.nan))


class RelativeAverageSpectralError(RootMeanSquaredErrorUsingSlidingWindow):
    """RASE: errors in windows over the answers' mean there, in percent, joined over bands (González-Audícana 2004)."""

    maps: list[Tensor]

    def __init__(self, window_size: int = 8, name: str | None = None) -> None:
        super().__init__(window_size, name)
        self.add_state("maps", [])

    def update(self, preds: Any, target: Any) -> None:
        """Add pictures, all of one shape: two tensors (N, C, H, W)."""
        errors, t = self._errors(preds, target)
        means = window_means(t, self.window_size) / self.window_size**2
        self.maps.append(given(np.stack([errors, means])))

    def compute(self) -> Tensor:
        """0-d."""
        found = np.concatenate([m.numpy() for m in self.maps], 1).mean(1)
        field = 100.0 / found[1].mean(0) * np.sqrt((found[0] ** 2).mean(0))
        cut = slice(round(self.window_size / 2), -round(self.window_size / 2) or None)
        return result(field[cut, cut].mean())


class SpectralDistortionIndex(Metric):
    """D_λ: how far the likeness of bands to each other differs between two sets of pictures (Alparone et al. 2008).

    Likeness is `UniversalImageQualityIndex`. The sizes of both sets may differ. p : power of the differences.
    """

    preds: list[Tensor]
    target: list[Tensor]

    def __init__(self, p: int = 1, reduction: str | None = "elementwise_mean", name: str | None = None) -> None:
        super().__init__(name)
        if not isinstance(p, int) or p < 1:
            raise ValueError(f"p is a positive whole number, not {p!r}")
        self.p, self.reduction = p, checked_reduction(reduction)
        for state in ("preds", "target"):
            self.add_state(state, [])

    def update(self, preds: Any, target: Any) -> None:
        """Add pictures (N, C, H, W) and (N, C, H', W')."""
        p, t = given(preds), given(target)
        if p.ndim != 4 or t.ndim != 4 or tuple(p.shape[:2]) != tuple(t.shape[:2]):
            raise ShapeError(
                f"{self.name}: {tuple(p.shape)} and {tuple(t.shape)}", code="shape.metric",
                hint="pictures are (N, C, H, W), both of as many, with as many bands",
            )  # fmt: skip
        self.preds.append(p)
        self.target.append(t)

    def compute(self) -> Tensor:
        """Between 0, no distortion, and 1."""
        gap = np.abs(_likeness(gathered(self.preds)) - _likeness(gathered(self.target))) ** self.p
        pairs = max(1, len(gap) * (len(gap) - 1))
        return reduced(np.asarray((gap.sum() / pairs) ** (1.0 / self.p)), self.reduction)


def _likeness(x: Array) -> Array:
    """Of each band to each other band, a mean over pictures; 0 of a band to itself."""
    from gradloom.metrics.images import UniversalImageQualityIndex

    bands = x.shape[1]
    found = np.zeros((bands, bands))
    for a in range(bands):
        for b in range(a + 1, bands):
            metric = UniversalImageQualityIndex()
            metric.update(given(x[:, a : a + 1]), given(x[:, b : b + 1]))
            found[a, b] = found[b, a] = metric.compute().item()
    return found


class PeakSignalNoiseRatioWithBlockedEffect(Metric):
    """The ratio of `PeakSignalNoiseRatio`, lowered by edges that stand at the borders of blocks (Yim and Bovik 2011).

    data_range : float, or (least, greatest). block_size : pixels. Pictures are grey: (N, 1, H, W).
    """

    totals: Tensor

    def __init__(self, data_range: Range, block_size: int = 8, name: str | None = None) -> None:
        super().__init__(name)
        _checked_range(data_range)
        if not isinstance(block_size, int) or block_size < 1:
            raise ValueError(f"block_size is a positive whole number, not {block_size!r}")
        self.data_range, self.block_size = data_range, block_size
        self.add_state("totals", np.zeros(3))

    def update(self, preds: Any, target: Any) -> None:
        """Add pictures: two tensors (N, 1, H, W)."""
        p, t = (x.numpy() for x in pictures(self.name, preds, target))
        if p.shape[1] != 1:
            raise ShapeError(f"{self.name}: {p.shape[1]} channels", code="shape.metric", hint="pictures are grey")
        if isinstance(self.data_range, tuple):
            p, t = np.clip(p, *self.data_range), np.clip(t, *self.data_range)
        self.totals = self.totals + given(np.array([((p - t) ** 2).sum(), p.size, self._blocking(p)]))

    def _blocking(self, x: Array) -> float:
        """How much more neighbours across blocks' borders differ than others."""
        size, (height, width) = self.block_size, x.shape[2:]
        at_border = all_steps = 0.0
        for axis in (2, 3):
            steps = (np.diff(x, axis=axis) ** 2).sum(tuple(k for k in range(4) if k != axis))
            at_border += steps[size - 1 :: size].sum()
            all_steps += steps.sum()
        borders = height * (width / size) - 1 + width * (height / size) - 1
        others = height * (width - 1) + width * (height - 1) - borders
        more = at_border / borders - (all_steps - at_border) / others
        return math.log2(size) / math.log2(min(height, width)) * more if more > 0 else 0.0

    def compute(self) -> Tensor:
        """In decibels."""
        errors, size, blocking = self.totals.numpy()
        low, high = self.data_range if isinstance(self.data_range, tuple) else (0.0, self.data_range)
        with np.errstate(divide="ignore"):
            return result(10.0 * np.log10((high - low) ** 2 / (share(errors, size, np.nan) + blocking)))


class VisualInformationFidelity(Metric):
    """How much of the answer's information is left, in pixels over four scales (Sheikh and Bovik 2006).

    sigma_n_sq : float
        Variance of the eye's noise. reduction : {"mean", "none"}.
    """

    values: list[Tensor]

    def __init__(self, sigma_n_sq: float = 2.0, reduction: str = "mean", name: str | None = None) -> None:
        super().__init__(name)
        if sigma_n_sq <= 0:
            raise ValueError(f"sigma_n_sq must be positive, got {sigma_n_sq}")
        if reduction not in ("mean", "none"):
            raise ValueError(f"reduction is 'mean' or 'none', not {reduction!r}")
        self.sigma_n_sq, self.reduction = sigma_n_sq, reduction
        self.add_state("values", [])

    def update(self, preds: Any, target: Any) -> None:
        """Add pictures of 41 x 41 pixels at least: two tensors (N, C, H, W)."""
        p, t = (x.numpy() for x in pictures(self.name, preds, target))
        if min(p.shape[2:]) < 41:
            raise ShapeError(f"{self.name}: pictures {p.shape}", code="shape.metric", hint="41 x 41 pixels at least")
        self.values.append(given(_fidelity(p, t, self.sigma_n_sq).mean(1)))

    def compute(self) -> Tensor:
        """1 where all is left; above 1 where contrast grew."""
        return reduced(gathered(self.values), "none" if self.reduction == "none" else "elementwise_mean")


def _blurred(x: Array, weights: Array) -> Array:
    for axis in (2, 3):
        size = x.shape[axis] - len(weights) + 1
        x = sum(np.take(x, range(k, k + size), axis) * w for k, w in enumerate(weights))  # type: ignore[assignment]
    return x


def _fidelity(p: Array, t: Array, noise: float) -> Array:
    """(N, C)."""
    left, whole, eps = np.zeros(p.shape[:2]), np.zeros(p.shape[:2]), 1e-10
    for scale in range(4):
        width = 2 ** (4 - scale) + 1
        weights = np.exp(-((np.arange(width) - (width - 1) / 2) ** 2) / (2.0 * (width / 5) ** 2))
        weights /= weights.sum()
        if scale:
            p, t = _blurred(p, weights)[:, :, ::2, ::2], _blurred(t, weights)[:, :, ::2, ::2]
        a, b = _blurred(t, weights), _blurred(p, weights)
        own = np.maximum(_blurred(t * t, weights) - a * a, 0.0)
        found = np.maximum(_blurred(p * p, weights) - b * b, 0.0)
        both = _blurred(t * p, weights) - a * b
        gain = both / (own + eps)
        rest = found - gain * both
        flat = own < eps
        gain, rest, own = np.where(flat, 0.0, gain), np.where(flat, found, rest), np.where(flat, 0.0, own)
        flat = found < eps
        gain, rest = np.where(flat, 0.0, gain), np.where(flat, 0.0, rest)
        against = gain < 0
        gain, rest = np.where(against, 0.0, gain), np.maximum(np.where(against, found, rest), eps)
        left += np.log10(1.0 + gain**2 * own / (rest + noise)).sum((2, 3))
        whole += np.log10(1.0 + own / noise).sum((2, 3))
    return left / whole
