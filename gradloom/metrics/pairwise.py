"""Between all rows of one matrix and all rows of another (or its own): likeness and distances, as tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.metrics.base import given
from gradloom.tensor import Tensor

__all__ = [
    "pairwise_cosine_similarity", "pairwise_euclidean_distance", "pairwise_linear_similarity",
    "pairwise_manhattan_distance", "pairwise_minkowski_distance",
]  # fmt: skip


def _between(
    x: Any, y: Any, reduction: str | None, zero_diagonal: bool | None, of: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    a = given(x)
    b = a if y is None else given(y)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ShapeError(
            f"pairwise: {tuple(a.shape)} and {tuple(b.shape)}", code="shape.metric",
            hint="both are (rows, features), with as many features",
        )  # fmt: skip
    if reduction not in ("mean", "sum", "none", None):
        raise ValueError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}")
    a, b = (t if t.dtype.is_floating else G.cast(t, "float32") for t in (a, b))
    found = of(a, b)
    if y is None if zero_diagonal is None else zero_diagonal:
        rows, columns = found.shape
        found = G.where(G.unsqueeze(G.arange(rows), 1) == G.arange(columns), 0.0, found)
    if reduction == "mean":
        return G.mean(found, dim=-1)
    return G.sum(found, dim=-1) if reduction == "sum" else found


def pairwise_cosine_similarity(
    x: Any, y: Any = None, reduction: str | None = None, zero_diagonal: bool | None = None
) -> Tensor:
    """Cosines of the angles, (rows of x, rows of y).

    Without `y` rows of x are compared with each other; then, unless `zero_diagonal` says otherwise, those with
    themselves give 0. reduction : {"mean", "sum", "none"}, over the last axis.
    """

    def of(a: Tensor, b: Tensor) -> Tensor:
        a, b = (t / G.sqrt(G.sum(t * t, dim=1, keepdim=True)) for t in (a, b))
        return a @ b.T

    return _between(x, y, reduction, zero_diagonal, of)


def pairwise_linear_similarity(
    x: Any, y: Any = None, reduction: str | None = None, zero_diagonal: bool | None = None
) -> Tensor:
    """Inner products; parameters as `pairwise_cosine_similarity`."""
    return _between(x, y, reduction, zero_diagonal, lambda a, b: a @ b.T)


def pairwise_minkowski_distance(
    x: Any, y: Any = None, exponent: float = 2, reduction: str | None = None, zero_diagonal: bool | None = None
) -> Tensor:
    """(Σ|a - b|^e)^(1/e), e at least 1; parameters as `pairwise_cosine_similarity`."""
    if not exponent >= 1:
        raise ValueError(f"exponent is at least 1, got {exponent}")

    def of(a: Tensor, b: Tensor) -> Tensor:
        return G.sum(G.abs(G.unsqueeze(a, 1) - b) ** exponent, dim=2) ** (1.0 / exponent)

    return _between(x, y, reduction, zero_diagonal, of)


def pairwise_euclidean_distance(
    x: Any, y: Any = None, reduction: str | None = None, zero_diagonal: bool | None = None
) -> Tensor:
    """√Σ(a - b)²; parameters as `pairwise_cosine_similarity`."""

    def of(a: Tensor, b: Tensor) -> Tensor:
        gap = G.unsqueeze(a, 1) - b
        return G.sqrt(G.sum(gap * gap, dim=2))

    return _between(x, y, reduction, zero_diagonal, of)


def pairwise_manhattan_distance(
    x: Any, y: Any = None, reduction: str | None = None, zero_diagonal: bool | None = None
) -> Tensor:
    """Σ|a - b|; parameters as `pairwise_cosine_similarity`."""
    return _between(x, y, reduction, zero_diagonal, lambda a, b: G.sum(G.abs(G.unsqueeze(a, 1) - b), dim=2))
