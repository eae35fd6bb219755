"""Views of some of a tensor's elements: ranges and entries of an axis, cuts into pieces, diagonals."""

from __future__ import annotations

import builtins
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom.errors import ArgumentError, AxisError, DTypeError, IndexRangeError, ShapeError
from gradloom.functions import movement as M
from gradloom.functions.arguments import described
from gradloom.functions.base import axes_of, sizes_of, whole
from gradloom.functions.layouts import Strides
from gradloom.functions.views import region_view
from gradloom.tensor import Tensor, _view

__all__ = (
    "chunk diagonal dsplit hsplit narrow select split split_with_sizes tensor_split unbind unsafe_chunk unsafe_split "
    "unsafe_split_with_sizes unstack vsplit"
).split()
METHODS = ["slice"]
FUNCTION_ONLY = ["unstack"]


def _piece(input: Tensor, axis: int, start: int, stop: int, step: int = 1) -> Tensor:
    shape = tuple(input.shape)
    size = len(range(start, stop, step))
    return region_view(
        input, M.region_of(shape, axis, start, stop, step), (*shape[:axis], size, *shape[axis + 1 :])
    )  # fmt: skip


def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """``length`` entries of an axis from ``start`` on (a number, negative from the end, or a 0-d tensor)."""
    (k,) = _axis("narrow", dim, input)
    if isinstance(start, bool) or (isinstance(start, Tensor) and start.dtype.category != 1):
        raise DTypeError(
            f"narrow: start must be an integer, got {described(start)}", code="dtype.index", hint="give an int"
        )
    n, a, m = input.shape[k], whole("narrow", "start", start), whole("narrow", "length", length)
    if not -n <= a <= n or m < 0 or (a + n if a < 0 else a) + m > n:
        raise IndexRangeError(
            f"narrow: {m} entries from {a} on are not within axis {k} of {tuple(input.shape)}", code="index.narrow",
            hint=f"the axis has {n}",
        )  # fmt: skip
    a = a + n if a < 0 else a
    return _piece(input, k, a, a + m)


def _axis(name: str, dim: int, input: Tensor) -> tuple[int, ...]:
    if not input.ndim:
        raise AxisError(f"{name}: a 0-d tensor has no axes", code=f"shape.{name}")
    return axes_of(name, dim, input.ndim)


def slice(input: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Tensor:
    """``input[start:end:step]`` along an axis. Raises ArgumentError for a step below 1."""
    if step < 1:
        raise ArgumentError(f"slice: step must be at least 1, got {step}")
    (k,) = _axis("slice", dim, input)
    a, b, s = builtins.slice(start, end, step).indices(input.shape[k])
    return _piece(input, k, a, builtins.max(a, b), s)


def select(input: Tensor, dim: int, index: Any) -> Tensor:
    """Entry ``index`` of an axis, without the axis."""
    (k,) = _axis("select", dim, input)
    i, shape = int(index), tuple(input.shape)
    n = shape[k]
    if not -n <= i < n:
        raise IndexRangeError(
            f"select: index {i} is out of range for axis {k} of size {n}", code="index.range",
            hint=f"valid indices run from {-n} to {n - 1}",
        )  # fmt: skip
    return region_view(input, M.region_of(shape, k, i % n, i % n + 1), (*shape[:k], *shape[k + 1 :]))


def unbind(input: Tensor, dim: int = 0, *, axis: int | None = None) -> tuple[Tensor, ...]:
    """The entries of an axis, one tensor each."""
    d = dim if axis is None else axis
    (k,) = _axis("unbind", d, input)
    return tuple(select(input, k, i) for i in range(input.shape[k]))


unstack = unbind


def _cut(input: Tensor, axis: int, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    out, at = [], 0
    for m in sizes:
        out.append(_piece(input, axis, at, at + m))
        at += m
    return tuple(out)


def split(tensor: Tensor, split_size_or_sections: Any = None, dim: int = 0, *, split_size: Any = None) -> tuple:
    """Pieces along an axis, of one size (the last may be smaller) or of the sizes given."""
    s = split_size_or_sections if split_size is None else split_size
    if isinstance(s, (list, tuple)):
        return split_with_sizes(tensor, s, dim)
    (k,) = _axis("split", dim, tensor)
    n = tensor.shape[k]
    if s < 0 or (s == 0 and n):
        raise ShapeError(f"split: pieces of size {s} of an axis of size {n}", code="shape.split")
    return _cut(tensor, k, [builtins.min(s, n - b) for b in range(0, n, s)] if n else [0])


def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of the sizes given, which must add up to the axis."""
    (k,) = _axis("split", dim, input)
    sizes = sizes_of((split_sizes,))
    if builtins.sum(sizes) != input.shape[k] or builtins.any(m < 0 for m in sizes):
        raise ShapeError(
            f"split: sizes {list(sizes)} do not add up to {input.shape[k]}, the size of axis {k}", code="shape.split"
        )
    return _cut(input, k, sizes)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` equal pieces along an axis, the last one smaller where it does not divide."""
    (k,) = _axis("chunk", dim, input)
    if chunks < 1:
        raise ArgumentError(f"chunk: the number of pieces must be at least 1, got {chunks}")
    n = input.shape[k]
    return split(input, -(-n // chunks), k) if n else _cut(input, k, [0] * chunks)


def tensor_split(
    input: Tensor, indices_or_sections: Any = None, dim: int = 0, *, indices: Any = None, sections: Any = None
) -> tuple[Tensor, ...]:
    """A number of pieces whose sizes differ by one at most, or the pieces between the indices given."""
    given = next((v for v in (indices_or_sections, sections, indices) if v is not None), None)
    (k,) = _axis("tensor_split", dim, input)
    n = input.shape[k]
    if isinstance(given, Tensor):
        given = given.tolist()
    if isinstance(given, (int, np.integer)):
        if given < 1:
            raise ArgumentError(f"tensor_split: the number of pieces must be at least 1, got {given}")
        return _cut(input, k, [n // given + (j < n % given) for j in range(given)])
    if given is None:
        raise DTypeError("tensor_split: needs a number of pieces or a list of indices")
    bounds = [0, *(builtins.min(builtins.max(i + n if i < 0 else i, 0), n) for i in map(int, given)), n]
    return tuple(_piece(input, k, a, builtins.max(a, b)) for a, b in itertools.pairwise(bounds))


def _np_split(name: str, input: Tensor, given: Any, axis: int, ndim: int) -> tuple[Tensor, ...]:
    if input.ndim < ndim:
        raise ShapeError(
            f"{name}: expects at least {ndim} dimensions, got shape {tuple(input.shape)}", code=f"shape.{name}"
        )
    if isinstance(given, (int, np.integer)) and (given < 1 or input.shape[axis] % given):
        raise ShapeError(
            f"{name}: axis {axis} of {tuple(input.shape)} does not divide into {given} equal pieces",
            code=f"shape.{name}", hint="tensor_split makes pieces of unequal sizes",
        )  # fmt: skip
    return tensor_split(input, given, axis)


def hsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Pieces along axis 1 (axis 0 of a vector): a number of equal ones, or those between indices."""
    return _np_split("hsplit", input, indices_or_sections, 0 if input.ndim == 1 else 1, 1)


def vsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Pieces along axis 0 of a tensor with two axes or more."""
    return _np_split("vsplit", input, indices_or_sections, 0, 2)


def dsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Pieces along axis 2."""
    return _np_split("dsplit", input, indices_or_sections, 2, 3)


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Diagonals of the matrices in the axes ``dim1`` and ``dim2``, as the last axis."""
    axes_of("diagonal", (dim1, dim2), input.ndim)
    if input.ndim < 2:
        raise ShapeError(f"diagonal: expects two axes, got shape {tuple(input.shape)}", code="shape.diagonal")
    a, b = dim1 % input.ndim, dim2 % input.ndim

    def strides(old: Strides, st: Strides, at: int) -> tuple[Strides, int]:
        at += offset * st[b] if offset >= 0 else -offset * st[a]
        return (*(s for k, s in enumerate(st) if k not in (a, b)), st[a] + st[b]), at

    return _view(
        input, lambda x: M.diagonal(x, offset, a, b), lambda x, new: M.embed_diagonal(x, new, offset, a, b), strides
    )


unsafe_chunk, unsafe_split, unsafe_split_with_sizes = chunk, split, split_with_sizes
