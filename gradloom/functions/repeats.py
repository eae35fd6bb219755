"""Every entry of an axis repeated in place, a number of times of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions.base import apply, axes_of, operand, pick
from gradloom.functions.movement import broadcast_to, reshape, unsqueeze
from gradloom.ops import gather as I
from gradloom.ops import structure as S
from gradloom.tensor import Tensor, from_numpy

__all__ = ["repeat", "repeat_interleave"]
FUNCTION_ONLY = ["repeat"]


def repeat(input: Any, repeats: Any, axis: int | None = None) -> Tensor:
    """As :func:`repeat_interleave`, under NumPy's and the Array API's name; the method ``repeat`` is PyTorch's."""
    return repeat_interleave(input, repeats if not isinstance(repeats, (list, tuple)) else operand(repeats), axis)


def repeat_interleave(
    input: Any, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None, axis: int | None = None
) -> Tensor:
    """Every entry of an axis (of the flat tensor without one) repeated in place.

    ``repeats`` is a number, or an integer tensor with one number for each entry, whose values are looked at. With one
    argument it is ``repeats``, and the result tells which entry each repetition is of.
    """
    if repeats is None:
        return _positions(operand(input), output_size)
    d = pick(dim, axis)
    x = operand(input) if d is not None else reshape(operand(input), (-1,))
    (k,) = axes_of("repeat_interleave", 0 if d is None else d, x.ndim) or (0,)
    if not x.ndim:
        x = reshape(x, (1,))
    if not isinstance(repeats, (int, np.integer)):
        counts = operand(repeats)
        if counts.ndim > 1 or (counts.numel() not in (1, x.shape[k])):
            raise ShapeError(
                f"repeat_interleave: repeats of shape {tuple(counts.shape)} for {x.shape[k]} entries",
                code="shape.repeat_interleave",
                hint="give one number, or one for each entry",
            )
        if counts.numel() != 1 or x.shape[k] == 1:
            return apply(I.take, (x, _positions(reshape(counts, (-1,)), output_size)), (k,))
        repeats = counts.item()
    r = int(repeats)
    if r < 0:
        raise ArgumentError(f"repeat_interleave: repeats must not be negative, got {r}")
    shape = tuple(x.shape)
    y = broadcast_to(unsqueeze(x, k + 1), (*shape[: k + 1], r, *shape[k + 1 :]))
    return apply(S.reshape, (y,), ((*shape[:k], shape[k] * r, *shape[k + 1 :]),))


def _positions(counts: Tensor, total: int | None) -> Tensor:
    if counts.dtype.category != 1 or counts.ndim != 1:
        raise DTypeError(
            f"repeat_interleave: repeats must be an integer vector, got {counts.dtype.name} {tuple(counts.shape)}",
            code="dtype.repeat_interleave",
        )
    n = counts.numpy()
    if n.size and n.min() < 0:
        raise ArgumentError(f"repeat_interleave: repeats must not be negative, got {n.min()}")
    at = np.repeat(np.arange(n.size, dtype=np.int64), n)
    if total is not None and total != at.size:
        raise ShapeError(
            f"repeat_interleave: repeats add up to {at.size}, output_size is {total}", code="shape.repeat_interleave"
        )
    return from_numpy(at)
