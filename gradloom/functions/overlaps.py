"""Views whose elements may be one element of the base several times: repeated axes, windows, sizes and strides.

They are written to only where no element stands twice; PyTorch refuses the same.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom.errors import ShapeError, StateError
from gradloom.functions import movement as M
from gradloom.functions.base import apply, axes_of, operand, pick, sizes_of
from gradloom.functions.layouts import Strides, contiguous_strides, layout_of
from gradloom.ops import gather as I
from gradloom.ops.core import broadcast_shapes as common_shape
from gradloom.tensor import Size, Tensor, _view

__all__ = "as_strided broadcast_shapes broadcast_tensors broadcast_to".split()
METHODS = "expand expand_as unfold".split()
FUNCTION_ONLY = "broadcast_shapes broadcast_tensors".split()


def _overlap(name: str) -> StateError:
    return StateError(
        f"{name}: several elements of this view are one element of its base, so it cannot be written to",
        code="state.overlap",
        hint="write to a clone() of it",
    )


def _expanded(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    lead = len(shape) - input.ndim

    def undo(b: Tensor, new: Tensor) -> Tensor:
        if new.numel() != b.numel():
            raise _overlap("expand")
        return M.reshape(new, b.shape)

    def strides(old: Strides, st: Strides, offset: int) -> tuple[Strides, int]:
        out = [s if n == m else 0 for s, n, m in zip(st, old, shape[lead:], strict=True)]
        for k in reversed(range(lead)):
            out.insert(0, 0 if shape[k] != 1 else shape[k + 1] * out[0] if out else 1)
        return tuple(out), offset

    return _view(input, lambda b: M.broadcast_to(b, shape), undo, strides)


def broadcast_to(input: Tensor, shape: Any = None, *, size: Any = None) -> Tensor:
    """Broadcast to a shape, without copies; -1 keeps a size."""
    return expand(operand(input), pick(shape, size))


def expand(input: Tensor, *args: Any, size: Any = None, implicit: bool = False) -> Tensor:
    """Axes of size 1 repeated without copies; -1 keeps a size. Cannot be written to where it repeats."""
    flat = sizes_of(args) if args else sizes_of((size,))
    lead = len(flat) - input.ndim
    if lead < 0 or builtins.any(n < -1 for n in flat) or -1 in flat[:lead]:
        raise ShapeError(
            f"expand: {flat} for a tensor of shape {tuple(input.shape)}", code="shape.broadcast",
            hint="give a size for every axis, new ones first; -1 keeps the size of an axis that is there",
        )  # fmt: skip
    return _expanded(input, tuple(input.shape[k - lead] if n == -1 else n for k, n in enumerate(flat)))


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Broadcast to another tensor's shape."""
    return expand(input, tuple(other.shape))


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape that tensors of these shapes broadcast to. Raises ShapeError where there is none."""
    given = [(int(s),) if isinstance(s, (int, np.integer)) else tuple(int(n) for n in s) for s in shapes]
    return Size(common_shape("broadcast_shapes", given)) if given else Size()


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """Tensors broadcast to their common shape."""
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
    ts = [operand(x) for x in given]
    shape = tuple(broadcast_shapes(*(x.shape for x in ts)))
    return tuple(_expanded(x, shape) for x in ts)


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of ``size`` entries of an axis, every ``step``, as a last axis; the axis counts the windows."""
    (k,) = axes_of("unfold", dimension, input.ndim) or (0,)
    n = input.shape[k] if input.ndim else 1
    if not 0 <= size <= n or step < 1:
        raise ShapeError(
            f"unfold: windows of {size} every {step} over axis {k} of {tuple(input.shape)}", code="shape.unfold",
            hint=f"the size runs from 0 to {n}, the step from 1",
        )  # fmt: skip
    count = (n - size) // step + 1

    def undo(b: Tensor, new: Tensor) -> Tensor:
        if not b.ndim:
            return M.reshape(new, ()) if size else b
        if step < size and count > 1:
            raise _overlap("unfold")
        order = (*range(k + 1), new.ndim - 1, *range(k + 1, new.ndim - 1))
        rows = M.reshape(M.permute(new, order), (*b.shape[:k], count * size, *b.shape[k + 1 :]))
        at = M.reshape(M.strided_index((count, size), (step, 1), 0), (count * size,))
        pattern = tuple("i" if j == k else ":" for j in range(b.ndim))
        return apply(I.index_put, (b, rows, at), (pattern, "set"))

    def strides(old: Strides, st: Strides, offset: int) -> tuple[Strides, int]:
        if not st:
            return (1,), offset
        return (*(s * step if j == k else s for j, s in enumerate(st)), st[k]), offset

    return _view(input, lambda b: M.windows(b, k, size, step), undo, strides)


def as_strided(input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """Elements of the tensor's memory (its base's, for a view) by sizes, strides and an offset, counted in elements.

    Raises ShapeError where that reaches beyond the memory, StateError on a write where elements overlap.
    """
    shape, steps = sizes_of((size,)), sizes_of((stride,))
    if len(shape) != len(steps) or builtins.any(v < 0 for v in (*shape, *steps)):
        raise ShapeError(f"as_strided: sizes {shape} with strides {steps}", code="shape.as_strided")
    root, own, first = layout_of(input)
    offset = first if storage_offset is None else int(storage_offset)
    last = offset + builtins.sum((n - 1) * s for n, s in zip(shape, steps, strict=True)) if 0 not in shape else offset
    base, start = root, offset
    if own == contiguous_strides(input.shape) and first <= offset and last < first + input.numel():
        base, start = input, offset - first  # within the view itself: gradients reach it
    if not 0 <= start or (last - offset + start >= builtins.max(base.numel(), 1) and 0 not in shape):
        raise ShapeError(
            f"as_strided: sizes {shape} with strides {steps} from {offset} on reach beyond {base.numel()} elements",
            code="shape.as_strided",
        )

    def undo(b: Tensor, new: Tensor) -> Tensor:
        at = M.strided_index(shape, steps, start)
        if np.unique(at.numpy()).size != at.numel():
            raise _overlap("as_strided")
        flat = M.reshape(b, (b.numel(),))
        put = apply(I.take_put, (flat, new, at), (0, "set"))
        return M.reshape(put, b.shape)

    def strides(old: Strides, st: Strides, at: int) -> tuple[Strides, int]:
        return steps, at + start

    return _view(base, lambda b: M.strided(M.reshape(b, (b.numel(),)), shape, steps, start), undo, strides)
