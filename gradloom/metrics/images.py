"""How near pictures are to each other: signal to noise, structure, spectra, and how much one varies.

Pictures are (N, C, H, W). All is computed in float64. Values are means over pictures, unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.metrics.base import Metric, gathered, given, result
from gradloom.metrics.classification import share
from gradloom.metrics.inputs import same_shapes
from gradloom.tensor import Tensor

Range = float | tuple[float, float]


def pictures(name: str, *images: Any) -> list[Tensor]:
    """Operands in float64. ShapeError unless they are (N, C, H, W), all of one shape."""
    found = [given(x) for x in images]
    for x in found:
        same_shapes(name, found[0], x)
        if x.ndim != 4:
            raise ShapeError(f"{name}: shape {tuple(x.shape)}", code="shape.metric", hint="pictures are (N, C, H, W)")
    return [G.cast(x, "float64") for x in found]


def _checked_range(data_range: Range | None) -> None:
    low, high = data_range if isinstance(data_range, tuple) else (0.0, data_range)
    if high is not None and high <= low:
        raise ValueError(f"data_range is positive, or (least, greatest), not {data_range!r}")


def _ranged(data_range: Range | None, p: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Any]:
    """Both within the range, and its width; unknown, the greater of the batch's two."""
    if data_range is None:
        return p, t, G.maximum(G.amax(p) - G.amin(p), G.amax(t) - G.amin(t))
    if isinstance(data_range, tuple):
        low, high = data_range
        return G.clamp(p, low, high), G.clamp(t, low, high), high - low
    return p, t, data_range


class PeakSignalNoiseRatio(Metric):
    """10·log10 of the squared range over the mean squared error of all pixels, in decibels.

    Parameters
    ----------
    data_range : float, or (least, greatest)
        The width of the values' range; a pair also holds values within it.
    base : float
        Of the logarithm.
    """

    errors: Tensor
    size: Tensor

    def __init__(self, data_range: Range, base: float = 10.0, name: str | None = None) -> None:
        super().__init__(name)
        _checked_range(data_range)
        self.data_range, self.base = data_range, base
        self.add_state("errors", np.float64(0.0))
        self.add_state("size", np.int64(0))

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch: two tensors of one shape, any."""
        p, t = given(preds), given(target)
        same_shapes(self.name, p, t)
        p, t, _ = _ranged(self.data_range, G.cast(p, "float64"), G.cast(t, "float64"))
        self.errors = self.errors + G.sum((p - t) * (p - t))
        self.size = self.size + p.numel()

    def compute(self) -> Tensor:
        """Infinite where all is equal, NaN before any batch."""
        low, high = self.data_range if isinstance(self.data_range, tuple) else (0.0, self.data_range)
        with np.errstate(divide="ignore"):
            ratio = 2.0 * np.log(high - low) - np.log(share(self.errors.numpy(), self.size.numpy(), np.nan))
        return result(ratio * 10.0 / np.log(self.base))


def gaussian(sigma: float, size: int) -> list[float]:
    """Weights of a bell of odd size, which sum to 1."""
    place = np.arange(size) - (size - 1) / 2
    weights = np.exp(-((place / sigma) ** 2) / 2)
    return [float(w) for w in weights / weights.sum()]


def _filtered(x: Tensor, weights: Sequence[float]) -> Tensor:
    """Weighted means down and across, over places where the whole window lies inside."""
    for axis in (2, 3):
        size = x.shape[axis] - len(weights) + 1
        parts = [G.narrow(x, axis, k, size) * w for k, w in enumerate(weights)]
        x = parts[0]
        for part in parts[1:]:
            x = x + part
    return x


def _mirrored(x: Tensor, pad: int) -> Tensor:
    """Borders continued by reflection, without the edge itself twice."""
    for axis in (2, 3):
        places = np.pad(np.arange(x.shape[axis]), pad, mode="reflect")
        x = G.index_select(x, axis, given(places))
    return x


def _local(p: Tensor, t: Tensor, weights: Sequence[float]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Local means, variances and covariance, one for each pixel."""
    pad = len(weights) // 2
    p, t = _mirrored(p, pad), _mirrored(t, pad)
    a, b = _filtered(p, weights), _filtered(t, weights)
    pp, tt, pt = (_filtered(x, weights) for x in (p * p, t * t, p * t))
    return a, b, G.clamp(pp - a * a, 0.0), G.clamp(tt - b * b, 0.0), pt - a * b


def _per_picture(x: Tensor) -> Tensor:
    return G.mean(x, dim=(1, 2, 3))


class _PerPicture(Metric):
    values: list[Tensor]

    def __init__(self, reduction: str | None, name: str | None = None) -> None:
        super().__init__(name)
        if reduction not in ("elementwise_mean", "sum", "none", None):
            raise ValueError(f"reduction is 'elementwise_mean', 'sum' or 'none', not {reduction!r}")
        self.reduction = reduction or "none"
        self.add_state("values", [])

    def _value(self, p: Tensor, t: Tensor) -> Tensor:
        """One value a picture."""
        raise NotImplementedError

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch: two tensors (N, C, H, W)."""
        self.values.append(self._value(*pictures(self.name, preds, target)))

    def compute(self) -> Tensor:
        """0-d, or one value a picture; NaN before any batch."""
        each = gathered(self.values) if self.values else np.zeros(0)
        if self.reduction == "none":
            return result(each)
        return result(each.sum() if self.reduction == "sum" else each.mean() if len(each) else np.nan)


class StructuralSimilarityIndexMeasure(_PerPicture):
    """SSIM: likeness of local means, contrast and structure (Wang et al. 2004).

    Parameters
    ----------
    gaussian_kernel : weigh a window by a bell; else evenly
    sigma : of the bell, whose size follows from it
    kernel_size : of the even window, odd
    reduction : {"elementwise_mean", "sum", "none"}
    data_range : as for `PeakSignalNoiseRatio`; taken from each batch unless given
    k1, k2 : float
    """

    def __init__(
        self,
        gaussian_kernel: bool = True,
        sigma: float = 1.5,
        kernel_size: int = 11,
        reduction: str | None = "elementwise_mean",
        data_range: Range | None = None,
        k1: float = 0.01,
        k2: float = 0.03,
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, name)
        if sigma <= 0 or kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"sigma is positive and kernel_size odd, got {sigma} and {kernel_size}")
        _checked_range(data_range)
        self.data_range, self.k1, self.k2 = data_range, k1, k2
        size = int(3.5 * sigma + 0.5) * 2 + 1
        self.weights = gaussian(sigma, size) if gaussian_kernel else [1.0 / kernel_size] * kernel_size

    def _parts(self, p: Tensor, t: Tensor, width: Any) -> tuple[Tensor, Tensor]:
        """The index, and contrast with structure away from the borders; one value a picture."""
        pad = len(self.weights) // 2
        if min(p.shape[2:]) <= 2 * pad:
            raise ShapeError(
                f"{self.name}: pictures of {p.shape[2]} x {p.shape[3]} pixels, a window of {len(self.weights)}",
                code="shape.metric",
                hint="pictures larger than the window, or a smaller sigma",
            )
        c1, c2 = (self.k1 * width) ** 2, (self.k2 * width) ** 2
        a, b, va, vb, ab = _local(p, t, self.weights)
        contrast = (2.0 * ab + c2) / (va + vb + c2)
        index = (2.0 * a * b + c1) / (a * a + b * b + c1) * contrast
        inner = contrast[:, :, pad : p.shape[2] - pad, pad : p.shape[3] - pad]
        return _per_picture(index), _per_picture(inner)

    def _value(self, p: Tensor, t: Tensor) -> Tensor:
        return self._parts(*_ranged(self.data_range, p, t))[0]


class MultiScaleStructuralSimilarityIndexMeasure(StructuralSimilarityIndexMeasure):
    """MS-SSIM: contrast at several sizes, the index at the smallest, as a weighted product (Wang et al. 2003).

    Parameters
    ----------
    gaussian_kernel, sigma, kernel_size, reduction, data_range, k1, k2 : as for SSIM
    betas : exponents, one a size; each size is half of the one before
    normalize : {"relu", "simple", None}
        Negative values become 0, or all are brought from [-1, 1] to [0, 1].
    """

    def __init__(
        self,
        gaussian_kernel: bool = True,
        kernel_size: int = 11,
        sigma: float = 1.5,
        reduction: str | None = "elementwise_mean",
        data_range: Range | None = None,
        k1: float = 0.01,
        k2: float = 0.03,
        betas: Sequence[float] = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333),
        normalize: str | None = "relu",
        name: str | None = None,
    ) -> None:
        super().__init__(gaussian_kernel, sigma, kernel_size, reduction, data_range, k1, k2, name)
        if normalize not in ("relu", "simple", None):
            raise ValueError(f"normalize is 'relu', 'simple' or None, not {normalize!r}")
        self.betas, self.normalize = tuple(betas), normalize

    def _value(self, p: Tensor, t: Tensor) -> Tensor:
        value: Any = 1.0
        for k, beta in enumerate(self.betas):
            p, t, width = _ranged(self.data_range, p, t)
            index, contrast = self._parts(p, t, width)
            part = index if k == len(self.betas) - 1 else contrast
            if self.normalize == "relu":
                part = G.relu(part)
            elif self.normalize == "simple":
                part = (part + 1.0) / 2.0
            value = part**beta * value
            p, t = _halved(p), _halved(t)
        return value


def _halved(x: Tensor) -> Tensor:
    """Means of 2 x 2 pixels."""
    n, c, h, w = x.shape
    x = x[:, :, : h // 2 * 2, : w // 2 * 2]
    return G.mean(G.reshape(x, (n, c, h // 2, 2, w // 2, 2)), dim=(3, 5))


class UniversalImageQualityIndex(_PerPicture):
    """Correlation, likeness of means and of contrast in one number (Wang and Bovik 2002).

    Parameters
    ----------
    kernel_size : of the window, odd
    sigma : of its bell
    """

    def __init__(self, kernel_size: int = 11, sigma: float = 1.5, name: str | None = None) -> None:
        super().__init__("elementwise_mean", name)
        if sigma <= 0 or kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"sigma is positive and kernel_size odd, got {sigma} and {kernel_size}")
        self.weights = gaussian(sigma, kernel_size)

    def _value(self, p: Tensor, t: Tensor) -> Tensor:
        pad = len(self.weights) // 2
        a, b, va, vb, ab = _local(p, t, self.weights)
        index = 4.0 * a * b * ab / ((a * a + b * b) * (va + vb) + float(np.finfo(np.float64).eps))
        return _per_picture(index[:, :, pad : p.shape[2] - pad, pad : p.shape[3] - pad])


class SpectralAngleMapper(_PerPicture):
    """The mean angle, in radians, between the channels of two pictures' pixels (Kruse et al. 1993)."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__("elementwise_mean", name)

    def _value(self, p: Tensor, t: Tensor) -> Tensor:
        lengths = G.sqrt(G.sum(p * p, dim=1)) * G.sqrt(G.sum(t * t, dim=1))
        return G.mean(G.acos(G.clamp(G.sum(p * t, dim=1) / lengths, -1.0, 1.0)), dim=(1, 2))


class TotalVariation(Metric):
    """The sum of absolute steps between neighbouring pixels (Rudin et al. 1992); `update(img)`.

    reduction : {"sum", "mean", "none"}
        Over pictures.
    """

    values: list[Tensor]

    def __init__(self, reduction: str | None = "sum", name: str | None = None) -> None:
        super().__init__(name)
        if reduction not in ("sum", "mean", "none", None):
            raise ValueError(f"reduction is 'sum', 'mean' or 'none', not {reduction!r}")
        self.reduction = reduction or "none"
        self.add_state("values", [])

    def update(self, img: Any) -> None:
        """Add pictures (N, C, H, W)."""
        (x,) = pictures(self.name, img)
        down, across = G.abs(x[:, :, 1:] - x[:, :, :-1]), G.abs(x[:, :, :, 1:] - x[:, :, :, :-1])
        self.values.append(G.sum(down, dim=(1, 2, 3)) + G.sum(across, dim=(1, 2, 3)))

    def compute(self) -> Tensor:
        """0-d, or one value a picture; the mean is NaN before any batch."""
        each = gathered(self.values) if self.values else np.zeros(0)
        if self.reduction == "none":
            return result(each)
        return result(each.sum() if self.reduction == "sum" else each.mean() if len(each) else np.nan)
