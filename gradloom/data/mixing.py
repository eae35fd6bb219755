"""Batches mixed with themselves: MixUp (Zhang et al. 2018) and CutMix (Yun et al. 2019), as functions of a batch.

Each is called with a batch (images, labels) and gives images of the same shape and labels as shares of classes,
(n, num_classes) float32, which cross-entropy takes. `mixed(MixUp(10))` is a `collate_fn` for a loader.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.data.collate import default_collate
from gradloom.errors import DTypeError, ShapeError
from gradloom.random import default_generator
from gradloom.tensor import Tensor, as_tensor, tensor

__all__ = ["CutMix", "MixUp", "mixed"]


class _Mix:
    """Base.

    Parameters
    ----------
    num_classes : int, optional
        Needed where labels are numbers (n,); shares (n, num_classes) are mixed as they are.
    alpha : float
        The share of the other sample is drawn from Beta(alpha, alpha).
    """

    def __init__(self, num_classes: int | None = None, alpha: float = 1.0) -> None:
        if alpha <= 0:
            raise ValueError(f"alpha must be positive, got {alpha}")
        if num_classes is not None and num_classes < 1:
            raise ValueError(f"num_classes must be positive, got {num_classes}")
        self.num_classes, self.alpha = num_classes, float(alpha)

    def __call__(self, *batch: Any) -> tuple[Tensor, Tensor]:
        """A batch, as one pair or as two arguments, mixed with itself moved on by one sample."""
        parts = batch[0] if len(batch) == 1 else batch
        if len(parts) != 2:
            raise ShapeError(
                f"{type(self).__name__}: a batch has {len(parts)} parts", code="data.mix",
                hint="it is (images, labels)",
            )  # fmt: skip
        x, y = as_tensor(parts[0]), as_tensor(parts[1])
        if not x.dtype.is_floating:
            raise DTypeError(
                f"{type(self).__name__}: images are {x.dtype.name}", code="data.mix",
                hint="bring them to floats first",
            )  # fmt: skip
        if x.ndim < 2 or x.shape[0] != y.shape[0]:
            raise ShapeError(
                f"{type(self).__name__}: images {tuple(x.shape)}, labels {tuple(y.shape)}", code="data.mix",
                hint="both have as many samples",
            )  # fmt: skip
        shares = self._shares(y)
        draw = np.random.default_rng(list(default_generator.draw()))
        images, kept = self._mixed(x, float(draw.beta(self.alpha, self.alpha)), draw)
        return images, shares * kept + shares.roll(1, 0) * (1.0 - kept)

    def _shares(self, y: Tensor) -> Tensor:
        if y.ndim == 2 and y.dtype.is_floating:
            return y
        if self.num_classes is None:
            raise ShapeError(
                f"{type(self).__name__}: labels {tuple(y.shape)} are numbers of classes", code="data.mix",
                hint="say how many classes there are: num_classes=…",
            )  # fmt: skip
        if y.ndim != 1 or bool(((y < 0) | (y >= self.num_classes)).any()):
            raise ShapeError(
                f"{type(self).__name__}: labels {tuple(y.shape)} from {y.min().item()} to {y.max().item()}",
                code="data.mix", hint=f"they are (n,), from 0 to {self.num_classes - 1}",
            )  # fmt: skip
        return G.cast(G.unsqueeze(y, 1) == G.arange(self.num_classes), "float32")

    def _mixed(self, x: Tensor, kept: float, draw: np.random.Generator) -> tuple[Tensor, float]:
        """The images, and the share of the first of each pair."""
        raise NotImplementedError


class MixUp(_Mix):
    """Each sample and another one, weighted and added."""

    def _mixed(self, x: Tensor, kept: float, draw: np.random.Generator) -> tuple[Tensor, float]:
        return x * kept + x.roll(1, 0) * (1.0 - kept), kept


class CutMix(_Mix):
    """Each picture (..., H, W) with a rectangle of another one; labels by the areas."""

    def _mixed(self, x: Tensor, kept: float, draw: np.random.Generator) -> tuple[Tensor, float]:
        if x.ndim < 3:
            raise ShapeError(f"CutMix: {tuple(x.shape)}", code="data.mix", hint="pictures are (n, ..., H, W)")
        height, width = x.shape[-2:]
        half = 0.5 * np.sqrt(1.0 - kept)
        row, column = int(draw.integers(height)), int(draw.integers(width))
        top, bottom = max(row - int(half * height), 0), min(row + int(half * height), height)
        left, right = max(column - int(half * width), 0), min(column + int(half * width), width)
        inside = np.zeros((height, width), bool)
        inside[top:bottom, left:right] = True
        return G.where(tensor(inside), x.roll(1, 0), x), 1.0 - (bottom - top) * (right - left) / (height * width)


def mixed(mix: Callable[..., Any], collate: Callable[[Sequence[Any]], Any] = default_collate) -> Callable[..., Any]:
    """A `collate_fn` that mixes a batch: `DataLoader(data, 32, collate_fn=mixed(MixUp(10)))`."""

    def joined(samples: Sequence[Any]) -> Any:
        return mix(collate(samples))

    return joined
