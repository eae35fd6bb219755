"""Sharpened pictures: how well fine detail follows its source, with and without an answer to compare with.

Pictures are (N, C, H, W), computed in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradloom.errors import ShapeError
from gradloom.metrics.base import Metric, gathered, given, result
from gradloom.metrics.classification import share
from gradloom.metrics.images import UniversalImageQualityIndex, pictures
from gradloom.metrics.remote import SpectralDistortionIndex, checked_reduction, reduced, window_means
from gradloom.nn.functional import interpolate
from gradloom.tensor import Tensor

Array = np.ndarray
_EDGES = ((-1.0, -1.0, -1.0), (-1.0, 8.0, -1.0), (-1.0, -1.0, -1.0))


class SpatialCorrelationCoefficient(Metric):
    """How edges of two pictures go together, in windows about each pixel (Zhou et al. 1998): a mean over samples.

    high_pass_filter : (h, w), what brings out edges; differences to the eight neighbours unless given.
    window_size : int
    """

    total: Tensor
    size: Tensor

    def __init__(self, high_pass_filter: Any = None, window_size: int = 8, name: str | None = None) -> None:
        super().__init__(name)
        if not isinstance(window_size, int) or window_size < 1:
            raise ValueError(f"window_size is a positive whole number, not {window_size!r}")
        self.hp_filter = np.asarray(_EDGES if high_pass_filter is None else given(high_pass_filter).numpy(), np.float64)
        self.window_size = window_size
        self.add_state("total", np.float64(0.0))
        self.add_state("size", np.int64(0))

    def of_each(self, preds: Any, target: Any) -> Tensor:
        """(N,) of one batch, not added."""
        p, t = given(preds), given(target)
        if p.ndim == 3 and t.ndim == 3:
            p, t = p.unsqueeze(1), t.unsqueeze(1)
        x, y = (v.numpy() for v in pictures(self.name, p, t))
        if self.window_size > min(x.shape[2:]):
            raise ShapeError(
                f"{self.name}: pictures {x.shape}, windows of {self.window_size}", code="shape.metric",
                hint="a window is at most as large as the pictures",
            )  # fmt: skip
        x, y = (2.0 * _filtered(v, self.hp_filter) for v in (x, y))
        a, b = self._means(x), self._means(y)
        aa, bb = self._means(x * x), self._means(y * y)
        left, right = aa - a * a, bb - b * b
        flat = (left <= 1e-12 * aa) | (right <= 1e-12 * bb)  # nothing but rounding is left
        both = np.sqrt(np.where(flat, 1.0, left)) * np.sqrt(np.where(flat, 1.0, right))
        return result(np.where(flat, 0.0, (self._means(x * y) - a * b) / both).mean((1, 2, 3)))

    def _means(self, x: Array) -> Array:
        """Over windows, with zeros outside."""
        before = self.window_size // 2
        after = self.window_size - 1 - before
        wide = np.pad(x, [(0, 0), (0, 0), (before, after), (before, after)])
        size = (self.window_size, self.window_size)
        found = np.lib.stride_tricks.sliding_window_view(wide, size, axis=(2, 3)).mean((-1, -2))
        return np.asarray(found)

    def update(self, preds: Any, target: Any) -> None:
        """Add pictures: two tensors (N, C, H, W), or grey ones (N, H, W)."""
        each = self.of_each(preds, target).numpy()
        self.total = self.total + float(each.sum())
        self.size = self.size + len(each)

    def compute(self) -> Tensor:
        """1 where all is equal; NaN before any batch."""
        return result(share(self.total.numpy(), self.size.numpy(), np.nan))


def _filtered(x: Array, kernel: Array) -> Array:
    """Convolution with a kernel (h, w), pictures mirrored with their edge twice."""
    (height, width), pad = kernel.shape, [(0, 0), (0, 0)]
    pad += [((n - 1) // 2, n - 1 - (n - 1) // 2) for n in (height, width)]
    wide = np.pad(x, pad, mode="symmetric")
    views = np.lib.stride_tricks.sliding_window_view(wide, kernel.shape, axis=(2, 3))
    return np.asarray((views * kernel[::-1, ::-1]).sum((-1, -2)))


class SpatialDistortionIndex(Metric):
    """D_s: how far bands follow a sharp grey picture otherwise than they followed its blurred one (Alparone 2008).

    Parameters
    ----------
    norm_order : int
        Power of the differences.
    window_size : int
        Of the mean that blurs the sharp picture, where the blurred one is not given.
    reduction : {"elementwise_mean", "sum", "none"}
        Over bands.
    """

    preds: list[Tensor]
    ms: list[Tensor]
    pan: list[Tensor]
    pan_lr: list[Tensor]

    def __init__(
        self,
        norm_order: int = 1,
        window_size: int = 7,
        reduction: str | None = "elementwise_mean",
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        for what, value in (("norm_order", norm_order), ("window_size", window_size)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{what} is a positive whole number, not {value!r}")
        self.norm_order, self.window_size, self.reduction = norm_order, window_size, checked_reduction(reduction)
        for state in ("preds", "ms", "pan", "pan_lr"):
            self.add_state(state, [])

    def update(self, preds: Any, target: Mapping[str, Any]) -> None:
        """Add pictures: sharpened ones (N, C, H, W); {"ms": (N, C, h, w), "pan": (N, C, H, W)}, "pan_lr" as "ms"."""
        if "ms" not in target or "pan" not in target:
            raise ValueError(f"{self.name}: target has 'ms' and 'pan', and may have 'pan_lr'; given {sorted(target)}")
        p, ms, pan = given(preds), given(target["ms"]), given(target["pan"])
        low = given(target["pan_lr"]) if target.get("pan_lr") is not None else None
        sizes = [tuple(x.shape) for x in (p, ms, pan, *([] if low is None else [low]))]
        fits = all(len(s) == 4 for s in sizes) and sizes[0] == sizes[2] and sizes[0][:2] == sizes[1][:2]
        fits = fits and all(a % b == 0 for a, b in zip(sizes[0][2:], sizes[1][2:], strict=True)) and (
            low is None or sizes[3] == sizes[1]
        )  # fmt: skip
        if not fits or self.window_size >= min(sizes[1][2:]):
            raise ShapeError(
                f"{self.name}: shapes {', '.join(map(str, sizes))}, windows of {self.window_size}", code="shape.metric",
                hint="preds and pan have one shape, a whole number of times that of ms; a window is smaller than ms",
            )  # fmt: skip
        for state, x in (("preds", p), ("ms", ms), ("pan", pan)):
            getattr(self, state).append(x)
        if low is not None:
            self.pan_lr.append(low)

    def compute(self) -> Tensor:
        """Between 0, no distortion, and 1."""
        preds, ms, pan = (given(gathered(x).astype(np.float64)) for x in (self.preds, self.ms, self.pan))
        if self.pan_lr:
            low = given(gathered(self.pan_lr).astype(np.float64))
        else:
            blurred = given(window_means(pan.numpy(), self.window_size))
            low = interpolate(blurred, size=tuple(ms.shape[2:]), mode="bilinear", align_corners=False)
        gap = [
            _alike(ms[:, k : k + 1], low[:, k : k + 1]) - _alike(preds[:, k : k + 1], pan[:, k : k + 1])
            for k in range(preds.shape[1])
        ]
        found = reduced(np.abs(gap) ** self.norm_order, self.reduction)
        return found ** (1.0 / self.norm_order)


def _alike(a: Tensor, b: Tensor) -> float:
    metric = UniversalImageQualityIndex()
    metric.update(a, b)
    return float(metric.compute().item())


class QualityWithNoReference(SpatialDistortionIndex):
    """QNR: what spectral and spatial distortion leave (Alparone et al. 2008).

    Parameters
    ----------
    alpha, beta : float
        Powers of what spectral and spatial distortion leave.
    norm_order, window_size, reduction : as for `SpatialDistortionIndex`
    """

    def __init__(
        self,
        alpha: float = 1,
        beta: float = 1,
        norm_order: int = 1,
        window_size: int = 7,
        reduction: str | None = "elementwise_mean",
        name: str | None = None,
    ) -> None:
        super().__init__(norm_order, window_size, reduction, name)
        if alpha < 0 or beta < 0:
            raise ValueError(f"alpha and beta are not negative, got {alpha} and {beta}")
        self.alpha, self.beta = alpha, beta

    def compute(self) -> Tensor:
        """1 without distortion."""
        spectral = SpectralDistortionIndex(self.norm_order, self.reduction)
        spectral.update(given(gathered(self.preds)), given(gathered(self.ms)))
        spatial = super().compute()
        return (1.0 - spectral.compute()) ** self.alpha * (1.0 - spatial) ** self.beta
