"""Several tensors made one, or laid out over a common grid: concatenation, stacks, blocks, products of sets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom.errors import ArgumentError, ShapeError
from gradloom.functions.base import apply, operand
from gradloom.functions.creation import zeros
from gradloom.functions.movement import at_least, broadcast_to, cat, promoted, reshape, stack
from gradloom.ops import gather as I
from gradloom.ops import structure as S
from gradloom.tensor import Tensor, from_numpy

__all__ = (
    "block_diag cartesian_prod column_stack combinations concat concatenate dstack hstack meshgrid row_stack vstack"
).split()
FUNCTION_ONLY = __all__


def concat(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = 0) -> Tensor:
    """As :func:`cat`; ``axis=None`` joins the tensors flattened, as the Array API has it."""
    if axis is None:
        return cat([reshape(operand(t), (-1,)) for t in tensors])
    return cat(tensors, axis or dim)


def _lifted(tensors: Any, ndim: int) -> list[Tensor]:
    return [reshape(t, at_least(t.shape, ndim)) for t in (operand(x) for x in tensors)]


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors side by side: along axis 1, and along axis 0 where they are vectors."""
    ts = _lifted(tensors, 1)
    return cat(ts, 0 if ts and ts[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors below each other: along axis 0, vectors taken as rows."""
    return cat(_lifted(tensors, 2), 0)


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors behind each other: along axis 2, vectors taken as (1, n, 1) and matrices as (m, n, 1)."""
    return cat(_lifted(tensors, 3), 2)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors along axis 1, scalars and vectors taken as columns."""
    return cat([reshape(t, (t.numel(), 1)) if t.ndim < 2 else t for t in (operand(x) for x in tensors)], 1)


def block_diag(*tensors: Any) -> Tensor:
    """Matrices along the diagonal of one, zeros elsewhere; vectors are rows, numbers are (1, 1); of none, (1, 0)."""
    if not tensors:
        return zeros((1, 0))
    blocks = [reshape(t, at_least(t.shape, 2)) for t in promoted(tensors, "block_diag")]
    for b in blocks:
        if b.ndim > 2:
            raise ShapeError(
                f"block_diag: expects tensors of at most 2 dimensions, got {tuple(b.shape)}", code="shape.block_diag"
            )
    width, at, rows = sum(b.shape[1] for b in blocks), 0, []
    for b in blocks:
        n = b.shape[1]
        rows.append(apply(S.pad, (b,), ((0, at), (0, width - at - n), 0)))
        at += n
    return cat(rows, 0)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Vectors (or scalars) spread over the grid of all of them; one tensor each.

    ``indexing="ij"``: the first runs along axis 0; ``"xy"``: along axis 1, the second along axis 0.
    """
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
    ts = [operand(t) for t in given]
    if indexing not in ("ij", "xy"):
        raise ArgumentError(f"meshgrid: indexing is 'ij' or 'xy', got {indexing!r}")
    for t in ts:
        if t.ndim > 1:
            raise ShapeError(
                f"meshgrid: expects scalars and vectors, got shape {tuple(t.shape)}", code="shape.meshgrid"
            )
    place = list(range(len(ts)))
    if indexing == "xy" and len(ts) > 1:
        place[:2] = [1, 0]
    shape = [0] * len(ts)
    for t, k in zip(ts, place, strict=True):
        shape[k] = t.numel()
    return tuple(
        broadcast_to(reshape(t, tuple(t.numel() if j == k else 1 for j in range(len(ts)))), shape)
        for t, k in zip(ts, place, strict=True)
    )


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """Every choice of one entry of each vector, (choices, vectors); a single vector comes back as it is."""
    ts = [operand(t) for t in tensors]
    for t in ts:
        if t.ndim != 1:
            raise ShapeError(f"cartesian_prod: expects vectors, got {tuple(t.shape)}", code="shape.cartesian_prod")
    if len(ts) == 1:
        return ts[0]
    return stack([reshape(g, (-1,)) for g in meshgrid(*ts)], 1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """Every choice of ``r`` entries of a vector, in order, (choices, r)."""
    if input.ndim != 1:
        raise ShapeError(f"combinations: expects a vector, got {tuple(input.shape)}", code="shape.combinations")
    if r < 0:
        raise ArgumentError(f"combinations: r must not be negative, got {r}")
    n = input.shape[0]
    if not r:
        return apply(S.full, (), (0, (0,), input.dtype, False))
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = math.comb(n + r - 1, r) if with_replacement and n else math.comb(n, r)
    flat = itertools.chain.from_iterable(choose(range(n), r))
    at = np.fromiter(flat, np.int64, rows * r).reshape(rows, r)
    return apply(I.take, (input, from_numpy(at)), (0,))


row_stack, concatenate = vstack, concat
