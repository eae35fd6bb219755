"""Distances between points, and rows brought to a largest norm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.errors import DTypeError, ShapeError
from gradloom.functions.base import apply, axes_of, const
from gradloom.functions.contraction import matmul
from gradloom.functions.elementwise import (
    absolute,
    add,
    clamp,
    detach,
    div,
    eq,
    gt,
    mul,
    ne,
    pow,
    sqrt,
    sub,
    where,
)
from gradloom.functions.movement import swap_last, unsqueeze
from gradloom.functions.reductions import amax, amin, sum
from gradloom.ops.core import REGISTRY
from gradloom.tape import composite
from gradloom.tensor import Tensor, as_tensor

__all__ = ["cdist", "dist", "pairwise_distance", "pdist", "renorm"]
INTERNAL = ["power_norm"]
FUNCTION_ONLY = ["cdist", "pairwise_distance", "pdist"]
INPLACE = ["renorm"]

MANY = 25
"""Points from which Euclidean distances go by a matrix product, as in PyTorch."""


def _root(s: Tensor, p: float) -> Tensor:
    """``s ** (1 / p)``, whose gradient at zero is zero."""
    flat = eq(detach(s), const(0.0))
    safe = where(flat, const(1.0), s)
    return where(flat, const(0.0), sqrt(safe) if p == 2 else pow(safe, 1.0 / p))


@composite
def power_norm(d: Tensor, p: float, axes: tuple[int, ...], keepdim: bool) -> Tensor:
    """The p-norm over axes; 0 counts what is not zero. Where it is zero its gradient is zero."""
    if p == 0:
        return sum(where(ne(detach(d), const(0.0)), const(1.0), mul(d, const(0.0))), axes, keepdim)
    if p == 2:
        return _root(sum(mul(d, d), axes, keepdim), 2)
    a = absolute(d)
    if p == 1:
        return sum(a, axes, keepdim)
    if math.isinf(p):
        return (amax if p > 0 else amin)(a, axes, keepdim)
    flat = eq(detach(a), const(0.0))
    zero = const(0.0 if p > 0 else math.inf)
    return _root(sum(where(flat, zero, pow(where(flat, const(1.0), a), p)), axes, keepdim), p)


def _floating(name: str, *ts: Tensor) -> None:
    for t in ts:
        if t.dtype.category < 2:
            raise DTypeError(f"{name}: dtype {t.dtype.name} is not floating", code=f"dtype.{name}", hint="use .float()")


def _order(name: str, p: Any) -> float:
    if p < 0:
        raise ValueError(f"{name}: p must not be negative, got {p}")
    return float(p)


def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of the difference, over all elements."""
    _floating("dist", input, other)
    d = sub(input, other)
    return power_norm(d, float(p), tuple(range(d.ndim)), False)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of ``x1 - x2 + eps`` along the last axis; the operands broadcast."""
    d = add(sub(x1, x2), eps)
    return power_norm(d, float(p), (d.ndim - 1,), bool(keepdim))


@composite
def _euclidean(x: Tensor, y: Tensor) -> Tensor:
    square = add(sum(mul(x, x), -1, True), swap_last(sum(mul(y, y), -1, True)))
    return _root(clamp(sub(square, mul(matmul(x, swap_last(y)), const(2.0))), 0.0), 2)


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
        raise ValueError(
            f"cdist: compute_mode {compute_mode!r} is not known; one of {', '.join(m for m in MODES if m)}"
        )
    _floating("cdist", x1, x2)
    q, how = _order("cdist", p), MODES[compute_mode]
    if q == 2 and (how == "always" or (how == "if_necessary" and max(x1.shape[-2], x2.shape[-2]) > MANY)):
        return _euclidean(x1, x2)
    return power_norm(sub(unsqueeze(x1, -2), unsqueeze(x2, -3)), q, (max(x1.ndim, x2.ndim),), False)


def pdist(input: Tensor, p: float = 2) -> Tensor:
    """Distances between the rows of a matrix, each pair once: (N, M) gives N (N - 1) / 2, row by row."""
    if input.ndim != 2:
        raise ShapeError(f"pdist: expects a matrix, got {tuple(input.shape)}", code="shape.pdist")
    _floating("pdist", input)
    first, second = (as_tensor(np.ascontiguousarray(k)) for k in np.triu_indices(input.shape[0], 1))
    take = REGISTRY["take"]
    d = sub(apply(take, (input, first), (0,)), apply(take, (input, second), (0,)))
    return power_norm(d, _order("pdist", p), (1,), False)


def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Slices of an axis whose p-norm is above ``maxnorm`` scaled down to it."""
    if input.ndim < 2:
        raise ShapeError(f"renorm: expects two dimensions or more, got {tuple(input.shape)}", code="shape.renorm")
    if p <= 0 or maxnorm < 0:
        raise ValueError(f"renorm: p must be positive and maxnorm not negative, got {p} and {maxnorm}")
    _floating("renorm", input)
    (axis,) = axes_of("renorm", dim, input.ndim)
    size = power_norm(absolute(input), float(p), tuple(k for k in range(input.ndim) if k != axis), True)
    over = gt(size, maxnorm)
    return mul(input, where(over, div(maxnorm, add(where(over, size, const(1.0)), const(1e-7))), const(1.0)))
