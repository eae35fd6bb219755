"""Where a view's elements lie in its base's memory: strides and offsets, counted in elements, as PyTorch counts them.

Every computed value is laid out in order. What views make of that is followed from view to view, so that ``stride()``
says what it says in PyTorch, ``reshape`` is a view where it is one there, and ``contiguous()`` copies where it must.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from gradloom.errors import NotSupportedError
from gradloom.functions.base import apply, axes_of
from gradloom.ops import structure as S
from gradloom.options import channels_last, channels_last_3d, check_format, contiguous_format
from gradloom.tensor import Tensor

__all__ = ["clone", "is_same_size"]
METHODS = "contiguous data_ptr dim_order is_contiguous is_set_to storage storage_offset stride untyped_storage".split()

Strides = tuple[int, ...]
Rule = Callable[[tuple, Strides, int], tuple[Strides, int]]
"""Strides and offset of a view from its base's shape, strides and offset."""


def contiguous_strides(shape: Sequence[int]) -> Strides:
    """Strides of elements laid out in order, the last axis fastest."""
    out, step = [0] * len(shape), 1
    for k in range(len(shape) - 1, -1, -1):
        out[k] = step
        step *= max(shape[k], 1)
    return tuple(out)


def in_order(shape: Sequence[int], strides: Strides) -> bool:
    """Whether these are the strides of elements in order; axes of size 1 do not count."""
    step = 1
    if 0 in shape:
        return True
    for n, s in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1:
            if s != step:
                return False
            step *= n
    return True


def reshaped_strides(shape: Sequence[int], strides: Strides, new: Sequence[int]) -> Strides | None:
    """Strides of the same elements in another shape; None where only a copy can have it."""
    if math.prod(shape) == 0 or not shape:
        return strides if tuple(shape) == tuple(new) else contiguous_strides(new)
    out = [0] * len(new)
    at = len(new) - 1  # the axis of the new shape that is to be filled next
    run, taken, step = 1, 1, strides[-1]  # elements of the run of old axes that lie evenly, those given out, their step
    for k in range(len(shape) - 1, -1, -1):
        run *= shape[k]
        if k and (shape[k - 1] == 1 or strides[k - 1] == run * step):
            continue
        while at >= 0 and (taken < run or new[at] == 1):
            out[at] = taken * step
            taken *= new[at]
            at -= 1
        if taken != run:
            return None
        if k:
            run, taken, step = 1, 1, strides[k - 1]
    return tuple(out) if at < 0 else None


def region_strides(region: tuple, shape: tuple[int, ...]) -> Rule:
    """The rule of a region (starts, stops, steps) that is then given more or fewer axes of size 1."""
    sizes = tuple(len(range(a, b, s)) for a, b, s in zip(*region, strict=True))

    def strides(old: Strides, st: Strides, offset: int) -> tuple[Strides, int]:
        offset += sum(a * s for a, s in zip(region[0], st, strict=True))
        inner = tuple(a * s for a, s in zip(region[2], st, strict=True))
        new = inner if shape == sizes else reshaped_strides(sizes, inner, shape)
        return contiguous_strides(shape) if new is None else new, offset

    return strides


def layout_of(t: Tensor) -> tuple[Tensor, Strides, int]:
    """The tensor whose memory this one's elements are part of, their strides there, and where they begin."""
    chain = []
    root = t
    while root._base is not None and root._strides is not None:
        chain.append(root)
        root = root._base
    strides, offset, shape = contiguous_strides(root.shape), 0, tuple(root.shape)
    for view in reversed(chain):
        assert view._strides is not None
        strides, offset = view._strides(shape, strides, offset)
        shape = tuple(view.shape)
    return root, strides, offset


def stride(self: Tensor, dim: int | None = None) -> Any:
    """The steps, in elements, from one entry of an axis to the next in the memory of the view's base."""
    _, strides, _ = layout_of(self)
    return strides if dim is None else strides[axes_of("stride", dim, self.ndim)[0]]


def storage_offset(self: Tensor) -> int:
    """Where the first element lies in the memory of the view's base, in elements."""
    return layout_of(self)[2]


def data_ptr(self: Tensor) -> int:
    """Address of the first element; the same for a tensor and its views, until one of them is written to."""
    root, _, offset = layout_of(self)
    return root._buffer().ptr + offset * self.itemsize if self.numel() else 0


def dim_order(self: Tensor) -> tuple[int, ...]:
    """The axes by their strides, the slowest first."""
    strides = layout_of(self)[1]
    return tuple(sorted(range(self.ndim), key=lambda k: -strides[k]))


def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both are the same elements of the same memory."""
    (a, *mine), (b, *theirs) = layout_of(self), layout_of(tensor)
    return (a is b or a._v is b._v) and mine == theirs and self.shape == tensor.shape


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether the shapes are equal."""
    return input.shape == other.shape


def is_contiguous(self: Tensor, memory_format: Any = contiguous_format) -> bool:
    """Whether the strides are those of elements in order, or of the memory format given."""
    _, strides, _ = layout_of(self)
    shape = tuple(self.shape)
    rank = {channels_last: 4, channels_last_3d: 5}.get(memory_format)
    if rank is None:
        return in_order(shape, strides)
    if self.ndim != rank:
        return False
    order = (0, *range(2, rank), 1)
    return in_order([shape[k] for k in order], tuple(strides[k] for k in order))


def contiguous(self: Tensor, memory_format: Any = contiguous_format) -> Tensor:
    """Itself where its elements lie in order, else a copy."""
    check_format(memory_format)
    return self if self._base is None or in_order(self.shape, layout_of(self)[1]) else clone(self)


def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy with memory of its own; gradients pass."""
    if memory_format is not None:
        check_format(memory_format)
    return apply(S.reshape, (input,), (tuple(input.shape),))


def untyped_storage(self: Tensor) -> Any:
    """Absent: a tensor's memory is the compiler's. Raises NotSupportedError."""
    raise NotSupportedError(
        "a tensor has no storage of its own to give out: the compiler decides where values lie",
        code="unsupported.storage", hint="use .numpy(), .data_ptr() or as_strided",
    )  # fmt: skip


storage = untyped_storage
