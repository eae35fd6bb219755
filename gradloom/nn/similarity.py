"""Vectors along an axis brought to length 1, and the cosine of the angle between two of them."""

from __future__ import annotations

import math

from gradloom import functions as G
from gradloom.dtypes import promote
from gradloom.functions.elementwise import in_single
from gradloom.tape import composite
from gradloom.tensor import Tensor


def _norm(x: Tensor, p: float, dim: int) -> Tensor:
    """The p-norm along an axis that is kept; its derivative is 0 where it is 0."""
    size = G.abs(x)
    if p == 0.0:
        return G.sum(G.cast(size != 0.0, size.dtype), dim=dim, keepdim=True)
    if p == 1.0:
        return G.sum(size, dim=dim, keepdim=True)
    if math.isinf(p):
        return (G.amax if p > 0 else G.amin)(size, dim=dim, keepdim=True)
    square = size * size if x.dtype.category == 3 else x * x
    power = square if p == 2.0 else G.where(size == 0.0, 0.0, G.pow(G.where(size == 0.0, 1.0, size), p))
    total = G.sum(power, dim=dim, keepdim=True)
    safe = G.where(total == 0.0, 1.0, total)
    return G.where(total == 0.0, 0.0, G.sqrt(safe) if p == 2.0 else G.pow(safe, 1.0 / p))


@composite
@in_single
def _normalize(input: Tensor, p: float, dim: int, eps: float) -> Tensor:
    return input / G.clamp(_norm(input, p, dim), eps)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Divide by the p-norm along `dim`, which is held above eps. Shape kept; p may be 0 and ±inf."""
    return _normalize(input, float(p), dim, float(eps))


@composite
@in_single
def _cosine(x1: Tensor, x2: Tensor, dim: int, eps: float) -> Tensor:
    unit = []
    for x in (x1, x2):
        norm = _norm(x, 2.0, dim)
        # the bound has no part in the derivative, as PyTorch has it
        unit.append(x / (norm + (G.clamp(norm, eps) - norm).detach()))
    return G.sum(unit[0] * unit[1], dim=dim)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1·x2 / (|x1|·|x2|) along `dim`; both broadcast first, and each norm is held above eps."""
    dtype = promote(x1.dtype, x2.dtype)
    shape = G.add(x1, x2).shape
    a, b = (G.broadcast_to(G.cast(x, dtype), shape) for x in (x1, x2))
    return _cosine(a, b, dim, float(eps))
