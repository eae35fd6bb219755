"""Elements reordered, repeated or set apart by position: flips, rolls, tiles, diagonals, triangles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradloom import dtypes
from gradloom.errors import DTypeError, IndexRangeError, ShapeError
from gradloom.functions.base import apply, axes_of, const, operand, pick, sizes_of, whole
from gradloom.functions.creation import arange
from gradloom.functions.elementwise import cast, floor_divide, ge, le, mul, remainder, where
from gradloom.functions.movement import (
    broadcast_to,
    diagonal,
    embed_diagonal,
    flip,
    reshape,
    slice_axis,
    transpose,
)
from gradloom.functions.reductions import sum_to
from gradloom.ops import structure as S
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = (
    "constant_pad_nd diag diag_embed diagflat fliplr flipud kron roll rot90 tile tril triu unravel_index"
).split()
METHODS = "repeat sum_to_size".split()
FUNCTION_ONLY = ["constant_pad_nd", "unravel_index"]
INPLACE = "tril triu".split()


def _at_least(name: str, input: Tensor, ndim: int) -> None:
    if input.ndim < ndim:
        raise ShapeError(
            f"{name}: expects at least {ndim} dimensions, got shape {tuple(input.shape)}", code=f"shape.{name}"
        )


def fliplr(input: Tensor) -> Tensor:
    """Axis 1 in reverse."""
    _at_least("fliplr", input, 2)
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """Axis 0 in reverse."""
    _at_least("flipud", input, 1)
    return flip(input, 0)


def roll(input: Tensor, shifts: Any, dims: Any = None, *, axis: Any = None) -> Tensor:
    """Entries moved along axes, those that fall off the end coming in at the front; flat without ``dims``."""
    given = pick(dims, axis)
    by = tuple(shifts) if isinstance(shifts, (tuple, list)) else (shifts,)
    if given is None or given == () or given == []:
        if len(by) != 1:
            raise ShapeError(f"roll: {len(by)} shifts and no axes", code="shape.roll", hint="give dims")
        return reshape(_rolled(reshape(input, (-1,)), int(by[0]), 0), tuple(input.shape))
    if not input.ndim:
        raise IndexRangeError("roll: a 0-d tensor has no axis to roll", code="index.axis", hint="leave dims out")
    over = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    if len(by) == 1 < len(over) and not isinstance(shifts, (tuple, list)):
        by *= len(over)
    if len(by) != len(over):
        raise ShapeError(f"roll: {len(by)} shifts for {len(over)} axes", code="shape.roll", hint="one shift per axis")
    for s, d in zip(by, over, strict=True):
        for k in axes_of("roll", d, input.ndim):
            input = _rolled(input, int(s), k)
    return input


def _rolled(x: Tensor, shift: int, axis: int) -> Tensor:
    n = x.shape[axis]
    cut = (n - shift) % n if n else 0
    if not cut:
        return apply(S.reshape, (x,), (tuple(x.shape),))
    return apply(S.cat, (slice_axis(x, axis, cut, n), slice_axis(x, axis, 0, cut)), (axis,))


def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """The plane of two axes turned by ``k`` quarters, from the first axis towards the second."""
    _at_least("rot90", input, 2)
    if len(dims) != 2:
        raise ShapeError(f"rot90: a plane has two axes, got dims={tuple(dims)}", code="shape.rot90")
    axes_of("rot90", tuple(dims), input.ndim)
    a, b = (int(d) % input.ndim for d in dims)
    turns = k % 4
    if turns == 0:
        return apply(S.reshape, (input,), (tuple(input.shape),))
    if turns == 2:
        return flip(input, a, b)
    return transpose(flip(input, b), a, b) if turns == 1 else flip(transpose(input, a, b), b)


def _repeated(input: Tensor, times: tuple[int, ...]) -> Tensor:
    lead = len(times) - input.ndim
    sizes = (1,) * lead + tuple(input.shape)
    split = tuple(v for n in sizes for v in (1, n))
    wide = tuple(v for t, n in zip(times, sizes, strict=True) for v in (t, n))
    y = broadcast_to(reshape(input, split), wide)
    out = tuple(t * n for t, n in zip(times, sizes, strict=True))
    return apply(S.reshape, (y,), (out,))


def repeat(input: Tensor, *sizes: Any, repeats: Any = None) -> Tensor:
    """The tensor laid out ``sizes[k]`` times along axis k; new axes come first.

    Raises ShapeError where fewer sizes than axes are given.
    """
    times = sizes_of(sizes) if sizes else sizes_of((repeats,))
    if len(times) < input.ndim or any(t < 0 for t in times):
        raise ShapeError(
            f"repeat: sizes {times} for a tensor of {input.ndim} dimensions", code="shape.repeat",
            hint="give a size of 0 or more for every axis; tile takes fewer",
        )  # fmt: skip
    return _repeated(input, times)


def tile(input: Tensor, *args: Any, dims: Any = None) -> Tensor:
    """The tensor laid out several times along its last axes, as NumPy's ``tile``."""
    times = sizes_of(args) if args else sizes_of((dims,))
    if any(n < 0 for n in times):
        raise ShapeError(f"tile: numbers of copies must not be negative, got {times}", code="shape.tile")
    return _repeated(input, (1,) * (input.ndim - len(times)) + times)


def diag(input: Tensor, diagonal: int = 0, *, k: int | None = None) -> Tensor:
    """The diagonal of a matrix; or a matrix with a vector on its diagonal."""
    offset = diagonal if k is None else k
    if input.ndim == 1:
        return diag_embed(input, offset)
    if input.ndim != 2:
        raise ShapeError(f"diag: expects a vector or a matrix, got {tuple(input.shape)}", code="shape.diag")
    return _diagonal(input, offset, 0, 1)


_diagonal = diagonal


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices, in the axes ``dim1`` and ``dim2`` of the result, with the last axis on their diagonals."""
    if not input.ndim:
        raise ShapeError("diag_embed: expects at least 1 dimension", code="shape.diag_embed")
    axes_of("diag_embed", (dim1, dim2), input.ndim + 1)
    a, b = (int(d) % (input.ndim + 1) for d in (dim1, dim2))
    n = input.shape[-1] + abs(offset)
    lead = iter(input.shape[:-1])
    shape = tuple(n if j in (a, b) else next(lead) for j in range(input.ndim + 1))
    empty = apply(S.full, (), (0, shape, input.dtype, False))
    return embed_diagonal(empty, input, offset, a, b)


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """A matrix with all elements on its diagonal."""
    return diag_embed(reshape(input, (-1,)), whole("diagflat", "offset", offset))


@composite
def _triangle(input: Tensor, k: int, upper: bool) -> Tensor:
    m, n = input.shape[-2:]
    rows, cols = reshape(arange(m), (m, 1)), arange(n)
    keep = ge(cols, rows + const(k)) if upper else le(cols, rows + const(k))
    zero = apply(S.full, (), (0, (), input.dtype, False))
    return where(keep, input, zero)


def tril(input: Tensor, diagonal: int = 0, *, k: int | None = None) -> Tensor:
    """Matrices in the last two axes with zeros above a diagonal."""
    _at_least("tril", input, 2)
    return _triangle(input, int(diagonal if k is None else k), False)


def triu(input: Tensor, diagonal: int = 0, *, k: int | None = None) -> Tensor:
    """Matrices in the last two axes with zeros below a diagonal."""
    _at_least("triu", input, 2)
    return _triangle(input, int(diagonal if k is None else k), True)


def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: every element of ``input`` times all of ``other``."""
    x, y = operand(input), operand(other)
    n = max(x.ndim, y.ndim)
    a, b = (1,) * (n - x.ndim) + tuple(x.shape), (1,) * (n - y.ndim) + tuple(y.shape)
    left = reshape(x, tuple(v for s in a for v in (s, 1)))
    right = reshape(y, tuple(v for s in b for v in (1, s)))
    return reshape(mul(left, right), tuple(p * q for p, q in zip(a, b, strict=True)))


def sum_to_size(input: Tensor, *size: Any) -> Tensor:
    """Summed over the axes that broadcasting from ``size`` to this shape would repeat."""
    shape = sizes_of(size)
    lead = input.ndim - len(shape)
    if lead < 0 or any(n not in (1, m) for n, m in zip(shape, input.shape[lead:], strict=True)):
        raise ShapeError(
            f"sum_to_size: {shape} does not broadcast to {tuple(input.shape)}", code="shape.sum_to_size",
            hint="sizes counted from the last axis must be 1 or the tensor's",
        )  # fmt: skip
    if input.dtype.category < dtypes.FLOATING and (not shape or shape != tuple(input.shape)):
        input = cast(input, dtypes.int64)
    return sum_to(input, shape)


def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """int64 coordinates in ``shape``, one tensor per axis, of positions in the flat tensor."""
    at = operand(indices)
    if at.dtype.category != 1:
        raise DTypeError(f"unravel_index: expects integer indices, got {at.dtype.name}", code="dtype.unravel_index")
    sizes = sizes_of((shape,)) if not isinstance(shape, Tensor) else tuple(int(n) for n in shape.numpy().ravel())
    if at.numel() and math.prod(sizes) == 0:
        raise ShapeError(f"unravel_index: shape {sizes} has no elements", code="shape.unravel_index")
    out, at = [], cast(at, dtypes.int64)
    for n in reversed(sizes):
        out.append(remainder(at, const(max(n, 1))))
        at = floor_divide(at, const(max(n, 1)))
    return tuple(reversed(out))


def constant_pad_nd(input: Tensor, pad: Sequence[int], value: float = 0) -> Tensor:
    """``pad`` = (low, high) of the last axis, then of the one before, …, filled with ``value``; negative ones cut.

    Raises ShapeError for an odd number of pads, more pairs than axes, or cuts longer than an axis.
    """
    pads = tuple(int(p) for p in pad)
    if len(pads) % 2 or len(pads) > 2 * input.ndim:
        raise ShapeError(
            f"pad: {len(pads)} pads for a tensor of {input.ndim} dimensions", code="shape.pad",
            hint="give two for each axis, the last axis first",
        )  # fmt: skip
    low, high = [0] * input.ndim, [0] * input.ndim
    for j in range(len(pads) // 2):
        low[-1 - j], high[-1 - j] = pads[2 * j], pads[2 * j + 1]
    for k, n in enumerate(input.shape):
        first, last = max(0, -low[k]), n + min(0, high[k])
        if first > last:
            raise ShapeError(
                f"pad: pads ({low[k]}, {high[k]}) cut more than axis {k} of {tuple(input.shape)} has", code="shape.pad"
            )
        input = slice_axis(input, k, first, last)
    number = complex if input.dtype.category == 3 else float if input.dtype.category == 2 else int
    fill = bool(value) if input.dtype is dtypes.bool_ else number(value)
    lo, hi = tuple(max(0, p) for p in low), tuple(max(0, p) for p in high)
    return apply(S.pad, (input,), (lo, hi, fill))
