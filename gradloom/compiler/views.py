"""Views: how a value's elements lie in the memory of another, and what movement does to that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradloom.graph.node import Node

__all__ = ["MOVES", "View", "contiguous_strides", "move", "moved_dims"]

MOVES = ("reshape", "permute", "expand", "slice", "windows")
"""Movement that changes no memory, only how it is walked."""


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of a C-ordered array."""
    out, step = [], 1
    for n in reversed(shape):
        out.append(step)
        step *= n
    return tuple(reversed(out))


@dataclass(frozen=True)
class View:
    """Element (i, j, …) is at ``offset + i * strides[0] + j * strides[1] + …`` of ``storage``, in elements."""

    storage: Any
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @staticmethod
    def whole(storage: Any, shape: tuple[int, ...]) -> View:
        """All of a C-ordered storage."""
        return View(storage, shape, contiguous_strides(shape))

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie in C order without gaps."""
        step = 1
        for n, s in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n != 1:
                if s != step:
                    return math.prod(self.shape) == 0
                step *= n
        return True


def move(v: View, name: str, attrs: tuple) -> View | None:
    """The view after a movement; None where strides cannot express it."""
    if name == "reshape":
        strides = _reshape(v, attrs[0])
        return None if strides is None else View(v.storage, attrs[0], strides, v.offset)
    if name == "permute":
        order = attrs[0]
        return View(v.storage, tuple(v.shape[k] for k in order), tuple(v.strides[k] for k in order), v.offset)
    if name == "expand":
        shape = attrs[0]
        lead = len(shape) - len(v.shape)
        strides = tuple(0 if k < lead or v.shape[k - lead] != n else v.strides[k - lead] for k, n in enumerate(shape))
        return View(v.storage, shape, strides, v.offset)
    if name == "windows":
        return _windows(v, *attrs)
    starts, stops, steps = attrs
    shape = tuple(len(range(b, e, s)) for b, e, s in zip(starts, stops, steps, strict=True))
    offset = v.offset + sum(b * st for b, st, n in zip(starts, v.strides, shape, strict=True) if n)
    return View(v.storage, shape, tuple(s * t for s, t in zip(steps, v.strides, strict=True)), offset)


def _windows(v: View, axes: Sequence[int], sizes: Sequence[int], steps: Sequence[int], gaps: Sequence[int]) -> View:
    shape, strides = list(v.shape), list(v.strides)
    for k, n, step, gap in zip(axes, sizes, steps, gaps, strict=True):
        shape[k] = (shape[k] - (n - 1) * gap - 1) // step + 1
        shape.append(n)
        strides.append(strides[k] * gap)
        strides[k] *= step
    return View(v.storage, tuple(shape), tuple(strides), v.offset)


def _reshape(v: View, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    if math.prod(shape) == 0:
        return contiguous_strides(shape)
    old = [(n, s) for n, s in zip(v.shape, v.strides, strict=True) if n != 1]
    out = [0] * len(shape)
    new = [k for k, n in enumerate(shape) if n != 1]
    at = 0
    k = 0
    while k < len(new):
        first, last = at, k  # the runs old[first:at] and new[last:k] hold equally many elements
        have, want = old[at][0], shape[new[k]]
        at, k = at + 1, k + 1
        while have != want:
            if have < want:
                have *= old[at][0]
                at += 1
            else:
                want *= shape[new[k]]
                k += 1
        for (_, outer), (n, inner) in zip(old[first : at - 1], old[first + 1 : at], strict=True):
            if outer != n * inner:
                return None
        stride = old[at - 1][1]
        for d in reversed(new[last:k]):
            out[d] = stride
            stride *= shape[d]
    return tuple(out)


def moved_dims(dims: Sequence[int | None], node: Node) -> tuple[int | None, ...] | None:
    """Loop axes of a moved value's dimensions from those before; None where an axis would be cut or joined."""
    assert node.prim is not None
    name, before, shape = node.prim.name, node.ins[0].aval.shape, node.aval.shape
    if name == "permute":
        return tuple(dims[k] for k in node.attrs[0])
    if name == "expand":
        lead = len(shape) - len(before)
        return tuple(None if k < lead or before[k - lead] != n else dims[k - lead] for k, n in enumerate(shape))
    if name == "reshape":
        if [n for n in before if n != 1] != [n for n in shape if n != 1]:
            return None
        rest = iter([d for d, n in zip(dims, before, strict=True) if n != 1])
        return tuple(None if n == 1 else next(rest) for n in shape)
    if name == "windows":
        return None
    starts, _, steps = node.attrs
    if before == shape and not any(starts) and all(s == 1 for s in steps):
        return tuple(dims)
    return None
