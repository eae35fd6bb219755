"""Masks: elements chosen, replaced and found where a bool tensor holds.

Results whose shape depends on values (``nonzero``, ``argwhere``, ``masked_select``) look at the mask, which runs what
was recorded so far; gradients pass all the same.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.checks import known
from gradloom.errors import DTypeError, ShapeError
from gradloom.functions.base import apply, const, operand
from gradloom.functions.creation import arange, full
from gradloom.functions.elementwise import cast, floor_divide, logical_and, lt, ne, remainder, where
from gradloom.functions.gathers import check_range
from gradloom.functions.movement import broadcast_to, narrow, reshape, stack
from gradloom.functions.reductions import sum
from gradloom.functions.scans import cumsum
from gradloom.functions.scatters import _as_number, _same_dtype
from gradloom.ops import gather as I
from gradloom.ops.core import broadcast_shapes
from gradloom.tape import TAPE
from gradloom.tensor import Tensor, from_numpy

__all__ = "argwhere masked_fill masked_scatter masked_select nonzero nonzero_static".split()
INPLACE = ["masked_fill", "masked_scatter"]


def _together(name: str, input: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Input and mask broadcast together. Raises DTypeError for a mask that is not bool."""
    x, m = operand(input), operand(mask)
    if m.dtype is not dtypes.bool_:
        raise DTypeError(
            f"{name}: the mask is {m.dtype.name}, expected bool", code=f"dtype.{name}", hint="use mask != 0"
        )
    shape = broadcast_shapes(name, [tuple(x.shape), tuple(m.shape)])
    return broadcast_to(x, shape), broadcast_to(m, shape)


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """A number or 0-d tensor where the mask holds, the input elsewhere; dtype as the input's."""
    x, m = _together("masked_fill", input, mask)
    return where(m, _as_number("masked_fill", x, value), x)


def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """The elements of ``source``, in order, where the mask holds. Raises IndexRangeError where they are too few."""
    x, m = _together("masked_scatter", input, mask)
    s = reshape(_same_dtype("masked_scatter", x, source, "source"), (-1,))
    flat = reshape(cast(m, dtypes.int64), (-1,))
    holds = known(operand(mask)._v)
    if holds is not None and not TAPE.traces:  # where it can be counted, the error stands here
        count = from_numpy(np.asarray(holds.sum() * (m.numel() // holds.size)))
        check_range(count, 0, s.numel() + 1, "number of elements", "index.masked_scatter")
    check_range(sum(flat), 0, s.numel() + 1, "number of elements", "index.masked_scatter")
    if not s.numel() or not x.numel():
        return x if x is not input else reshape(x, tuple(x.shape))
    rank = reshape(cumsum(flat, 0), tuple(x.shape)) - const(1)
    return where(m, apply(I.take, (s, rank), (0,)), x)


def _found(input: Tensor) -> np.ndarray:
    """Flat positions of what is not 0."""
    return np.flatnonzero(operand(input).detach().numpy())


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask holds, in C order, as a vector. Looks at the mask."""
    x, m = _together("masked_select", input, mask)
    return apply(I.take, (reshape(x, (-1,)), from_numpy(_found(m))), (0,))


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Where elements are not 0: an int64 matrix with a row of indices for each, or a tuple of vectors, one by axis.

    Looks at the values. A 0-d tensor gives rows of no index, and counts as a vector for ``as_tuple``.
    """
    a = operand(input).detach().numpy()
    if as_tuple:
        return tuple(from_numpy(np.ascontiguousarray(i)) for i in np.nonzero(np.atleast_1d(a)))
    return from_numpy(np.ascontiguousarray(np.argwhere(a).astype(np.int64)))


def argwhere(input: Tensor) -> Tensor:
    """Where elements are not 0: an int64 matrix with a row of indices for each. Looks at the values."""
    return nonzero(input)


def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """The first ``size`` rows of ``nonzero``, filled up where there are fewer. The shape depends on no value."""
    if size < 0:
        raise ShapeError(f"nonzero_static: size {size} is negative", code="shape.nonzero_static")
    shape = tuple(input.shape)
    n = math.prod(shape)
    if not n or not shape or not size:
        return full((size, len(shape)), fill_value, dtype=dtypes.int64)
    hit = reshape(ne(input, const(0)), (-1,))
    rank = cumsum(cast(hit, dtypes.int64), 0) - const(1)
    slot = where(logical_and(hit, lt(rank, const(size))), rank, const(size))  # one slot more, for what is left out
    at = narrow(apply(I.take_put, (full((size + 1,), -1, dtype=dtypes.int64), arange(n), slot), (0, "set")), 0, 0, size)
    columns, step = [], n
    for m in shape:
        step //= m
        columns.append(where(lt(at, const(0)), const(fill_value), remainder(floor_divide(at, const(step)), const(m))))
    return stack(columns, 1)
