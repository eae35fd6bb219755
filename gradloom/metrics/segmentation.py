"""Segmentation: overlap of regions, by class."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.metrics import inputs
from gradloom.metrics.base import Metric, given, result
from gradloom.metrics.classification import share
from gradloom.tensor import Tensor


def region_pair(name: str, preds: Any, target: Any, classes: int, input_format: str) -> tuple[Tensor, Tensor]:
    """Two sets of regions as bits (N, C, pixels): of bits (N, C, ...), labels (N, ...), or one of each ("mixed")."""
    p, t = given(preds), given(target)
    hot = input_format != "index"
    formats = (p.ndim > t.ndim, t.ndim > p.ndim) if input_format == "mixed" else (hot, hot)
    found = tuple(_bits(name, x, classes, one) for x, one in zip((p, t), formats, strict=True))
    inputs.same_shapes(name, *found)
    return found[0], found[1]


def _bits(name: str, x: Tensor, classes: int, hot: bool) -> Tensor:
    if not hot:
        G.check_labels(x, classes, None)
        flat = G.reshape(x, (x.shape[0], 1, -1))
        return flat == G.reshape(G.arange(classes), (1, classes, 1))
    if x.ndim < 2 or x.shape[1] != classes:
        raise ShapeError(
            f"{name}: shape {tuple(x.shape)}, expected are bits (N, {classes}, ...)", code="shape.metric",
            hint='input_format="index" takes labels (N, ...)',
        )  # fmt: skip
    return G.reshape(x, (x.shape[0], classes, -1)) > 0


class _Overlap(Metric):
    """Base of the metrics of overlap.

    Parameters
    ----------
    num_classes : int
    include_background : bool
        Whether class 0 counts.
    per_class : bool
        One value a class instead of their mean over classes that occur.
    input_format : {"one-hot", "index", "mixed"}
        Bits (N, C, ...), labels (N, ...), or one of each.
    over : {"dataset", "samples"}
        Count all pixels together, as Keras does, or take the mean over samples, as TorchMetrics does.
    """

    above: Tensor
    below: Tensor

    def __init__(
        self,
        num_classes: int,
        include_background: bool = True,
        per_class: bool = False,
        input_format: str = "one-hot",
        over: str = "dataset",
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        inputs.checked_task("multiclass", num_classes, None)
        if input_format not in ("one-hot", "index", "mixed"):
            raise ValueError(f"input_format is 'one-hot', 'index' or 'mixed', not {input_format!r}")
        if over not in ("dataset", "samples"):
            raise ValueError(f"over is 'dataset' or 'samples', not {over!r}")
        self.num_classes, self.per_class, self.input_format, self.over = num_classes, per_class, input_format, over
        self.first = 0 if include_background else 1
        self._add_states()

    def _add_states(self) -> None:
        self.add_state("above", np.zeros(self.num_classes))
        self.add_state("below", np.zeros(self.num_classes))

    def _pair(self, preds: Any, target: Any) -> tuple[Tensor, Tensor]:
        return region_pair(self.name, preds, target, self.num_classes, self.input_format)

    def _parts(self, common: Tensor, size_p: Tensor, size_t: Tensor) -> tuple[Tensor, Tensor]:
        """What is divided by what, of intersections and sizes (N, C)."""
        raise NotImplementedError

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch."""
        p, t = self._pair(preds, target)
        common = G.sum(G.cast(G.logical_and(p, t), "float64"), dim=2)
        sizes = (G.sum(G.cast(x, "float64"), dim=2) for x in (p, t))
        above, below = self._parts(common, *sizes)
        if self.over == "samples":
            occurs = below > 0
            above, below = G.where(occurs, above / G.where(occurs, below, 1.0), 0.0), G.cast(occurs, "float64")
        self.above = self.above + G.sum(above, dim=0)
        self.below = self.below + G.sum(below, dim=0)

    def compute(self) -> Tensor:
        """0-d, or one value a class; NaN for a class that never occurs."""
        above, below = self.above.numpy()[self.first :], self.below.numpy()[self.first :]
        each = share(above, below, np.nan)
        if self.per_class:
            return result(each)
        return result(np.nanmean(each) if (below > 0).any() else np.nan)


class MeanIoU(_Overlap):
    """Intersection over union."""

    def _parts(self, common: Tensor, size_p: Tensor, size_t: Tensor) -> tuple[Tensor, Tensor]:
        return common, size_p + size_t - common


class GeneralizedDiceScore(_Overlap):
    """Dice over all classes of a sample together, rare ones weighing more (Sudre et al. 2017); the mean over samples.

    Parameters
    ----------
    num_classes, include_background, per_class : as for the others; per class, without weights of others
    weight_type : {"square", "simple", "linear"}
        A class weighs one over its pixels' number squared, one over it, or 1.
    input_format : {"one-hot", "index", "mixed"}
    """

    scores: Tensor
    samples: Tensor

    def __init__(
        self,
        num_classes: int,
        include_background: bool = True,
        per_class: bool = False,
        weight_type: str = "square",
        input_format: str = "one-hot",
        name: str | None = None,
    ) -> None:
        super().__init__(num_classes, include_background, per_class, input_format, "samples", name)
        if weight_type not in ("square", "simple", "linear"):
            raise ValueError(f"weight_type is 'square', 'simple' or 'linear', not {weight_type!r}")
        self.weight_type = weight_type

    def _add_states(self) -> None:
        self.add_state("scores", np.zeros(self.num_classes - self.first if self.per_class else 1))
        self.add_state("samples", np.int64(0))

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch."""
        p, t = (G.cast(x[:, self.first :], "float64") for x in self._pair(preds, target))
        common, size_p, size_t = G.sum(p * t, dim=2), G.sum(p, dim=2), G.sum(t, dim=2)
        power = {"square": 2.0, "simple": 1.0, "linear": 0.0}[self.weight_type]
        occurs = size_t > 0
        weight = G.where(occurs, G.where(occurs, size_t, 1.0) ** -power, 0.0)
        # a class that a sample lacks weighs as much there as in the batch's sample where it weighs most
        weight = G.where(occurs, weight, G.amax(weight, dim=0, keepdim=True)) if power else G.ones_like(weight)
        above, below = 2.0 * common * weight, (size_p + size_t) * weight
        if not self.per_class:
            above, below = G.sum(above, dim=1, keepdim=True), G.sum(below, dim=1, keepdim=True)
        self.scores = self.scores + G.sum(G.where(below > 0, above / G.where(below > 0, below, 1.0), 0.0), dim=0)
        self.samples = self.samples + p.shape[0]

    def compute(self) -> Tensor:
        """0-d, or one value a class; NaN before any batch."""
        each = share(self.scores.numpy(), self.samples.numpy(), np.nan)
        return result(each if self.per_class else each[0])
