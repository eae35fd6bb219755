"""Elements moved, none computed: shapes, axes, pieces and joins."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any

from gradloom import dtypes
from gradloom.errors import IndexRangeError, ShapeError
from gradloom.functions.base import apply, axes_of, operand
from gradloom.functions.elementwise import cast
from gradloom.ops import structure as S
from gradloom.tensor import Tensor

__all__ = (
    "broadcast_to cat chunk concat concatenate flatten flip narrow permute reshape split squeeze stack swapaxes "
    "transpose unsqueeze"
).split()
INTERNAL = "expand swap_last update_slice".split()
FUNCTION_ONLY = "cat concat concatenate stack".split()
METHODS = ["expand"]


def reshape(input: Tensor, shape: Any) -> Tensor:
    """The same elements in another shape; one size may be -1."""
    new = tuple(int(n) for n in (shape if isinstance(shape, (tuple, list)) else (shape,)))
    old = tuple(input.shape)
    if new == old:
        return input
    size = math.prod(old)
    if -1 in new:
        rest = math.prod(n for n in new if n != -1)
        if new.count(-1) > 1 or (size % rest if rest else True):
            raise ShapeError(
                f"reshape: shape {old} ({size} elements) cannot become {new}", code="shape.reshape",
                hint="the sizes given must divide the number of elements, and only one may be -1",
            )  # fmt: skip
        new = tuple(size // rest if n == -1 else n for n in new)
    if math.prod(new) != size or builtins.any(n < 0 for n in new):
        raise ShapeError(
            f"reshape: shape {old} has {size} elements, {new} has {math.prod(new)}", code="shape.reshape",
            hint="the number of elements must stay the same",
        )  # fmt: skip
    return apply(S.reshape, (input,), (new,))


def permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    """Axes in another order."""
    n = input.ndim
    order = tuple(int(d) % n if n and -n <= int(d) < n else int(d) for d in dims)
    if sorted(order) != list(range(n)):
        raise ShapeError(f"permute: {tuple(dims)} is no order of {n} axes", code="shape.permute")
    return input if order == tuple(range(n)) else apply(S.permute, (input,), (order,))


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes swapped."""
    n = input.ndim
    (a,), (b,) = axes_of("transpose", dim0, n), axes_of("transpose", dim1, n)
    order = list(range(n))
    order[a], order[b] = order[b], order[a]
    return permute(input, order)


def swap_last(x: Tensor) -> Tensor:
    """The last two axes swapped."""
    return permute(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def broadcast_to(input: Tensor, shape: Sequence[int]) -> Tensor:
    """Broadcast to a shape, as NumPy."""
    shape = tuple(int(n) for n in shape)
    if shape == input.shape:
        return input
    if len(shape) < input.ndim or builtins.any(
        n not in (1, m) for n, m in zip(input.shape, shape[len(shape) - input.ndim :], strict=True)
    ):
        raise ShapeError(
            f"broadcast_to: shape {tuple(input.shape)} does not broadcast to {shape}", code="shape.broadcast"
        )
    return apply(S.expand, (input,), (shape,))


def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Axes of size 1 repeated without copies; -1 keeps a size."""
    flat = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    lead = len(flat) - input.ndim
    shape = tuple(input.shape[k - lead] if n == -1 else int(n) for k, n in enumerate(flat))
    return broadcast_to(input, shape)


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A new axis of size 1 at ``dim``."""
    n = input.ndim + 1
    (k,) = axes_of("unsqueeze", dim, n)
    return reshape(input, (*input.shape[:k], 1, *input.shape[k:]))


def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Axes of size 1 dropped: all, or those named."""
    axes = axes_of("squeeze", dim, input.ndim)
    return reshape(input, tuple(n for k, n in enumerate(input.shape) if not (n == 1 and k in axes)))


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes from ``start_dim`` to ``end_dim`` as one."""
    if not input.ndim:
        return reshape(input, (1,))
    (a,), (b,) = axes_of("flatten", start_dim, input.ndim), axes_of("flatten", end_dim, input.ndim)
    if a > b:
        raise ShapeError(f"flatten: start_dim {a} comes after end_dim {b}", code="shape.flatten")
    return reshape(input, (*input.shape[:a], math.prod(input.shape[a : b + 1]), *input.shape[b + 1 :]))


def flip(input: Tensor, dims: Any) -> Tensor:
    """Axes in reverse."""
    axes = axes_of("flip", dims, input.ndim)
    starts = tuple(n - 1 if k in axes else 0 for k, n in enumerate(input.shape))
    stops = tuple(-1 if k in axes else n for k, n in enumerate(input.shape))
    return apply(S.slice_, (input,), (starts, stops, tuple(-1 if k in axes else 1 for k in range(input.ndim))))


def cat(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors one after the other along an axis."""
    ts = [operand(t) for t in tensors]
    if not ts:
        raise ShapeError("cat: needs at least one tensor", code="shape.cat")
    d = dtypes.result_type([(t.dtype, t._v.aval.rank) for t in ts])
    (k,) = axes_of("cat", dim if axis is None else axis, ts[0].ndim)
    return apply(S.cat, tuple(cast(t, d) for t in ts), (k,))


def stack(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors of one shape along a new axis."""
    d = dim if axis is None else axis
    return cat([unsqueeze(operand(t), d) for t in tensors], d)


def split(input: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces along an axis, of a size or of the sizes given."""
    (k,) = axes_of("split", dim, input.ndim)
    n = input.shape[k]
    s = split_size_or_sections
    sizes = list(s) if isinstance(s, (list, tuple)) else [builtins.min(s, n - b) for b in range(0, n, s)]
    if builtins.sum(sizes) != n:
        raise ShapeError(f"split: sizes {sizes} do not add up to {n}", code="shape.split")
    out, at = [], 0
    for m in sizes:
        out.append(narrow(input, k, at, m))
        at += m
    return tuple(out)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """About equal pieces along an axis."""
    (k,) = axes_of("chunk", dim, input.ndim)
    return split(input, builtins.max(1, -(-input.shape[k] // chunks)), k)


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """``length`` entries of an axis from ``start`` on."""
    (k,) = axes_of("narrow", dim, input.ndim)
    if not 0 <= start <= start + length <= input.shape[k]:
        raise IndexRangeError(f"narrow: {start}..{start + length} is not within axis {k} of {tuple(input.shape)}")
    starts = tuple(start if j == k else 0 for j in range(input.ndim))
    stops = tuple(start + length if j == k else n for j, n in enumerate(input.shape))
    return apply(S.slice_, (input,), (starts, stops, (1,) * input.ndim))


def update_slice(x: Tensor, value: Tensor, region: tuple) -> Tensor:
    """``x`` with the region (starts, stops, steps) replaced."""
    return apply(S.update_slice, (x, cast(value, x.dtype)), region)


swapaxes = transpose
concat = concatenate = cat
