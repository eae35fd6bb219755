"""Distances of shapes: between the edges of regions, between sets of points laid on each other, between faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom.errors import ShapeError
from gradloom.metrics import inputs
from gradloom.metrics.base import Metric, given, result
from gradloom.metrics.classification import share
from gradloom.metrics.segmentation import region_pair
from gradloom.tensor import Tensor

Array = np.ndarray


class _MeanOfEach(Metric):
    """The mean of one number, or several, a sample."""

    total: Tensor
    size: Tensor

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.add_state("total", np.float64(0.0))
        self.add_state("size", np.int64(0))

    def _values(self, *operands: Any) -> Array:
        raise NotImplementedError

    def of_each(self, *operands: Any) -> Tensor:
        """The numbers of one batch, not added."""
        return result(self._values(*operands))

    def _add(self, *operands: Any) -> None:
        found = self._values(*operands)
        self.total = self.total + float(found.sum())
        self.size = self.size + int(found.size)

    def compute(self) -> Tensor:
        """The mean; NaN before any batch."""
        return result(share(self.total.numpy(), self.size.numpy(), np.nan))


class HausdorffDistance(_MeanOfEach):
    """How far the edges of two regions are apart where they are furthest, a mean over samples and classes.

    Parameters
    ----------
    num_classes : int
    include_background : bool
        Whether class 0 counts.
    distance_metric : {"euclidean", "chessboard", "taxicab"}
    spacing : sequence of float, optional
        Of pixels along each axis; 1 unless given.
    directed : bool
        Only from the predicted edge to the answer's.
    input_format : {"one-hot", "index", "mixed"}
        Bits (N, C, ...), labels (N, ...), or one of each.

    A class that only one of both has is infinitely far, one that none has counts 0.
    """

    def __init__(
        self,
        num_classes: int,
        include_background: bool = False,
        distance_metric: str = "euclidean",
        spacing: Sequence[float] | Tensor | None = None,
        directed: bool = False,
        input_format: str = "one-hot",
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        inputs.checked_task("multiclass", num_classes, None)
        if distance_metric not in ("euclidean", "chessboard", "taxicab"):
            raise ValueError(f"distance_metric is 'euclidean', 'chessboard' or 'taxicab', not {distance_metric!r}")
        if input_format not in ("one-hot", "index", "mixed"):
            raise ValueError(f"input_format is 'one-hot', 'index' or 'mixed', not {input_format!r}")
        self.num_classes, self.first = num_classes, 0 if include_background else 1
        self.distance_metric, self.directed, self.input_format = distance_metric, directed, input_format
        self.spacing = None if spacing is None else np.asarray(given(spacing).numpy(), np.float64)

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch."""
        self._add(preds, target)

    def _values(self, preds: Any, target: Any) -> Array:
        """(N, classes)."""
        t = given(target)
        p, q = region_pair(self.name, preds, target, self.num_classes, self.input_format)
        hot = self.input_format == "one-hot" or (self.input_format == "mixed" and given(preds).ndim < t.ndim)
        shape = tuple(t.shape[2:] if hot else t.shape[1:])
        both = [x.numpy()[:, self.first :].reshape(*x.shape[:1], -1, *shape) for x in (p, q)]
        found = np.zeros(both[0].shape[:2])
        for n, c in np.ndindex(*found.shape):
            a, b = _edge(both[0][n, c]), _edge(both[1][n, c])
            found[n, c] = self._furthest(a, b) if self.directed else max(self._furthest(a, b), self._furthest(b, a))
        return found

    def _furthest(self, a: Array, b: Array) -> float:
        """The greatest distance from a point of a (n, axes) to the nearest of b (m, axes)."""
        if not len(a) or not len(b):
            return 0.0 if len(a) == len(b) else np.inf
        scale = np.ones(a.shape[1]) if self.spacing is None else self.spacing
        greatest = 0.0
        for part in np.array_split(a, max(1, len(a) * len(b) // 2**20)):
            gap = np.abs(part[:, None] - b[None]) * scale
            each = {
                "euclidean": lambda d: np.sqrt((d * d).sum(-1)),
                "chessboard": lambda d: d.max(-1),
                "taxicab": lambda d: d.sum(-1),
            }[self.distance_metric](gap)
            greatest = max(greatest, float(each.min(1).max()))
        return greatest


def _edge(mask: Array) -> Array:
    """Points (n, axes) of a region that have a neighbour along an axis outside of it."""
    wide = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(mask.ndim):
        for step in (0, 2):
            cut = tuple(slice(step, step + n) if k == axis else slice(1, 1 + n) for k, n in enumerate(mask.shape))
            inner &= wide[cut]
    return np.argwhere(mask & ~inner)


class ProcrustesDisparity(_MeanOfEach):
    """What two sets of points differ by once shifted, scaled and turned onto each other (Gower 1975).

    reduction : {"mean", "sum"} over samples.
    """

    def __init__(self, reduction: str = "mean", name: str | None = None) -> None:
        super().__init__(name)
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction is 'mean' or 'sum', not {reduction!r}")
        self.reduction = reduction

    def update(self, point_cloud1: Any, point_cloud2: Any) -> None:
        """Add a batch: two tensors (N, points, axes)."""
        self._add(point_cloud1, point_cloud2)

    def _values(self, point_cloud1: Any, point_cloud2: Any) -> Array:
        """(N,)."""
        return procrustes(self.name, point_cloud1, point_cloud2)[0]

    def compute(self) -> Tensor:
        """0 where they are alike; NaN before any batch."""
        return super().compute() if self.reduction == "mean" else result(self.total.numpy())


def procrustes(name: str, first: Any, second: Any) -> tuple[Array, Array, Array]:
    """Disparities (N,), scales (N, 1) and rotations (N, axes, axes) of two batches of points (N, points, axes)."""
    a, b = given(first), given(second)
    inputs.same_shapes(name, a, b)
    if a.ndim != 3:
        raise ShapeError(f"{name}: {tuple(a.shape)}", code="shape.metric", hint="points are (N, points, axes)")
    x, y = (v.numpy().astype(np.float64) for v in (a, b))
    x, y = (v - v.mean(1, keepdims=True) for v in (x, y))
    x, y = (v / np.linalg.norm(v, axis=(1, 2), keepdims=True) for v in (x, y))
    u, size, v = np.linalg.svd((y.swapaxes(1, 2) @ x).swapaxes(1, 2), full_matrices=False)
    turn, scale = u @ v, size.sum(1, keepdims=True)
    gap = x - scale[:, None] * (y @ turn.swapaxes(1, 2))
    return (gap * gap).sum((1, 2)), scale, turn


class LipVertexError(_MeanOfEach):
    """The greatest squared distance of a mouth's points in each frame of a talking face, a mean over frames.

    mouth_map : numbers of the points that belong to the mouth.
    """

    def __init__(self, mouth_map: Sequence[int], name: str | None = None) -> None:
        super().__init__(name)
        if not len(mouth_map):
            raise ValueError("mouth_map has no points")
        self.mouth_map = [int(v) for v in mouth_map]

    def update(self, vertices_pred: Any, vertices_gt: Any) -> None:
        """Add frames: (T, points, 3) and (T', points, 3), of which the first ones of both count."""
        self._add(vertices_pred, vertices_gt)

    def _values(self, vertices_pred: Any, vertices_gt: Any) -> Array:
        """(T,)."""
        p, t = given(vertices_pred), given(vertices_gt)
        if p.ndim != 3 or t.ndim != 3 or tuple(p.shape[1:]) != tuple(t.shape[1:]):
            raise ShapeError(
                f"{self.name}: {tuple(p.shape)} and {tuple(t.shape)}", code="shape.metric",
                hint="both are (frames, points, 3), with as many points",
            )  # fmt: skip
        if not all(0 <= v < p.shape[1] for v in self.mouth_map):
            raise ShapeError(
                f"{self.name}: mouth_map goes to {max(self.mouth_map)}, there are {p.shape[1]} points",
                code="shape.metric", hint="points are counted from 0",
            )  # fmt: skip
        frames = min(p.shape[0], t.shape[0])
        gap = (p.numpy()[:frames] - t.numpy()[:frames])[:, self.mouth_map].astype(np.float64)
        return (gap * gap).sum(-1).max(1)
