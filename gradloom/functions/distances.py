"""Distances between points."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions.base import apply, const
from gradloom.functions.contraction import matmul
from gradloom.functions.elementwise import add, detach, gt, mul, sqrt, sub, where
from gradloom.functions.linalg_norms import vector_norm
from gradloom.functions.movement import swap_last, unsqueeze
from gradloom.functions.reductions import sum
from gradloom.ops.core import REGISTRY
from gradloom.tape import composite
from gradloom.tensor import Tensor, as_tensor

__all__ = ["cdist", "dist", "pairwise_distance", "pdist"]
FUNCTION_ONLY = ["cdist", "pairwise_distance", "pdist"]

MANY = 25
"""Points from which Euclidean distances go by a matrix product, as in PyTorch."""


def _floating(name: str, *ts: Tensor) -> None:
    for t in ts:
        if t.dtype.category < 2:
            raise DTypeError(f"{name}: dtype {t.dtype.name} is not floating", code=f"dtype.{name}", hint="use .float()")


def _order(name: str, p: Any) -> float:
    if p < 0:
        raise ArgumentError(f"{name}: p must not be negative, got {p}")
    return float(p)


def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of the difference, over all elements."""
    _floating("dist", input, other)
    d = sub(input, other)
    return vector_norm(d, p)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of ``x1 - x2 + eps`` along the last axis; the operands broadcast."""
    d = add(sub(x1, x2), eps)
    return vector_norm(d, p, -1, keepdim)


@composite
def _euclidean(x: Tensor, y: Tensor) -> Tensor:
    square = add(sum(mul(x, x), -1, True), swap_last(sum(mul(y, y), -1, True)))
    square = sub(square, mul(matmul(x, swap_last(y)), const(2.0)))
    apart = gt(detach(square), const(0.0))  # rounding may leave less than nothing; the root passes no gradient there
    return where(apart, sqrt(where(apart, square, const(1.0))), const(0.0))


MODES = {
    None: "if_necessary",
    "use_mm_for_euclid_dist_if_necessary": "if_necessary",
    "use_mm_for_euclid_dist": "always",
    "donot_use_mm_for_euclid_dist": "never",
}


def cdist(
    x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = "use_mm_for_euclid_dist_if_necessary"
) -> Tensor:
    """Distances of each point of ``x1`` from each of ``x2``: (..., P, M) and (..., R, M) give (..., P, R).

    compute_mode: whether Euclidean distances may go by a matrix product, quicker and less exact for points that are
    near to each other: ``"use_mm_for_euclid_dist_if_necessary"`` (for more than 25 points),
    ``"use_mm_for_euclid_dist"`` or ``"donot_use_mm_for_euclid_dist"``.
    """
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(
            f"cdist: points {tuple(x1.shape)} and {tuple(x2.shape)} must have two dimensions or more and equally many "
            "coordinates (the last axis)",
            code="shape.cdist",
        )
    if compute_mode not in MODES:
        raise ArgumentError(
            f"cdist: compute_mode {compute_mode!r} is not known; one of {', '.join(m for m in MODES if m)}"
        )
    _floating("cdist", x1, x2)
    q, how = _order("cdist", p), MODES[compute_mode]
    if q == 2 and (how == "always" or (how == "if_necessary" and max(x1.shape[-2], x2.shape[-2]) > MANY)):
        return _euclidean(x1, x2)
    return vector_norm(sub(unsqueeze(x1, -2), unsqueeze(x2, -3)), q, -1)


def pdist(input: Tensor, p: float = 2) -> Tensor:
    """Distances between the rows of a matrix, each pair once: (N, M) gives N (N - 1) / 2, row by row."""
    if input.ndim != 2:
        raise ShapeError(f"pdist: expects a matrix, got {tuple(input.shape)}", code="shape.pdist")
    _floating("pdist", input)
    first, second = (as_tensor(np.ascontiguousarray(k)) for k in np.triu_indices(input.shape[0], 1))
    take = REGISTRY["take"]
    d = sub(apply(take, (input, first), (0,)), apply(take, (input, second), (0,)))
    return vector_norm(d, _order("pdist", p), -1)
