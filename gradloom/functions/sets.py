"""Tensors as sets: distinct elements, runs, membership. Their number decides the shape, so values are looked at."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradloom.errors import ShapeError
from gradloom.functions.base import apply, axes_of, operand
from gradloom.functions.elementwise import detach
from gradloom.functions.movement import reshape
from gradloom.ops import sorting as S
from gradloom.tensor import Tensor, as_tensor, from_numpy

__all__ = "isin unique unique_all unique_consecutive unique_counts unique_inverse unique_values".split()
FUNCTION_ONLY = "isin unique_all unique_counts unique_inverse unique_values".split()


class UniqueAll(NamedTuple):
    """Distinct values, where each stands first, which of them each element is, and how often they occur."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """Distinct values and how often they occur."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """Distinct values, and which of them each element is."""

    values: Tensor
    inverse_indices: Tensor


def _codes(a: np.ndarray, axis: int | None) -> np.ndarray:
    """A vector that is ordered and equal just where the elements, or the slices along an axis, are."""
    if axis is None:
        return a.reshape(-1)
    n = a.shape[axis]
    if not a.size:
        return np.zeros(n, np.int64)
    rows = np.ascontiguousarray(np.moveaxis(a, axis, 0)).reshape(n, -1)
    order = np.lexsort(rows.T[::-1])
    step = np.zeros(len(rows), np.int64)
    step[1:] = np.any(rows[order[1:]] != rows[order[:-1]], 1)
    out = np.empty(len(rows), np.int64)
    out[order] = np.cumsum(step)
    return out


def _starts(v: np.ndarray) -> np.ndarray:
    """Whether an element differs from the one before it."""
    out = np.ones(v.shape, np.bool_)
    out[1:] = v[1:] != v[:-1]
    return out


def _positions(v: np.ndarray) -> np.ndarray:
    """The positions that sort a vector, equals in their order."""
    if v.dtype.itemsize == 2 and v.dtype.kind not in "iu":
        v = v.astype(np.float32)
    order: np.ndarray = apply(S.argsort, (as_tensor(v),), (0, False)).numpy()
    return order


def _pick(a: np.ndarray, at: np.ndarray, axis: int | None) -> Tensor:
    return from_numpy(np.ascontiguousarray(a.reshape(-1)[at] if axis is None else np.take(a, at, axis)))


def _distinct(input: Tensor, axis: int | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(values in order, first position of each, which of them each element is, counts)."""
    a = detach(input).numpy()
    codes = _codes(a, axis)
    order = _positions(codes)
    first = _starts(codes[order])
    begin = np.flatnonzero(first)
    inverse = np.empty(codes.size, np.int64)
    inverse[order] = np.cumsum(first) - 1
    counts = np.diff(begin, append=codes.size)
    shape = a.shape if axis is None else inverse.shape
    at = order[begin]
    return _pick(a, at, axis), from_numpy(at), from_numpy(inverse.reshape(shape)), from_numpy(counts)


def _axis(name: str, input: Tensor, dim: int | None) -> int | None:
    if dim is None or not input.ndim:
        return None
    (k,) = axes_of(name, dim, input.ndim)
    if 0 in input.shape and input.shape[k]:
        raise ShapeError(
            f"{name}: axis {k} of {tuple(input.shape)} has slices without elements", code="shape.unique",
            hint="flatten the tensor, or take an axis of size 0",
        )  # fmt: skip
    return k


def _asked(values: Tensor, inverse: Tensor, counts: Tensor, return_inverse: bool, return_counts: bool) -> Any:
    out = (values, *([inverse] if return_inverse else []), *([counts] if return_counts else []))
    return out if len(out) > 1 else values


def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """Distinct elements in ascending order; along an axis distinct slices. Every NaN is its own.

    Returns the values, or a tuple with the inverse indices and the counts asked for. They carry no gradient.
    """
    axis = _axis("unique", input, dim)
    if axis is None and not return_inverse and not return_counts:
        return unique_values(input)
    values, _, inverse, counts = _distinct(input, axis)
    return _asked(values, inverse, counts, return_inverse, return_counts)


def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """Runs of equal elements cut to one of each; along an axis runs of equal slices. Returns as :func:`unique`."""
    axis = _axis("unique_consecutive", input, dim)
    a = detach(input).numpy()
    codes = _codes(a, axis)
    first = _starts(codes)
    if not return_inverse and not return_counts:
        return from_numpy(codes[first]) if axis is None else _pick(a, np.flatnonzero(first), axis)
    begin = np.flatnonzero(first)
    inverse = from_numpy((np.cumsum(first) - 1).reshape(a.shape if axis is None else codes.shape))
    counts = from_numpy(np.diff(begin, append=codes.size))
    return _asked(_pick(a, begin, axis), inverse, counts, return_inverse, return_counts)


def unique_values(x: Tensor, /) -> Tensor:
    """Distinct elements in ascending order (Array API)."""
    flat = reshape(detach(x), (-1,))
    v = apply(S.sort, (flat,), (0, False)).numpy()
    return from_numpy(np.ascontiguousarray(v[_starts(v)]))


def unique_counts(x: Tensor, /) -> UniqueCounts:
    """Distinct elements and how often they occur (Array API)."""
    values, _, _, counts = _distinct(x, None)
    return UniqueCounts(values, counts)


def unique_inverse(x: Tensor, /) -> UniqueInverse:
    """Distinct elements and which of them each element is (Array API)."""
    values, _, inverse, _ = _distinct(x, None)
    return UniqueInverse(values, inverse)


def unique_all(x: Tensor, /) -> UniqueAll:
    """Distinct elements, their first positions, which of them each element is, and counts (Array API)."""
    return UniqueAll(*_distinct(x, None))


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each element is among ``test_elements`` (is not, with ``invert``): bool, of the elements' shape."""
    return apply(S.isin, (detach(operand(elements)), detach(operand(test_elements))), (bool(invert),))
