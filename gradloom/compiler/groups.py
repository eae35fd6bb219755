"""Groups: the kernels of a program while nodes are still joining them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradloom.compiler.body import Body
from gradloom.compiler.scatter import Scattering
from gradloom.compiler.views import View
from gradloom.graph.node import Node

if TYPE_CHECKING:
    from gradloom.compiler.depthwise import Walk
    from gradloom.compiler.looping import Job

__all__ = ["Dims", "Group", "Storage"]

Dims = tuple["int | None", ...]
"""For each dimension of a value the loop axis it runs along; None for size 1 and for broadcast dimensions."""


class Storage:
    """A block of memory that holds a C-ordered array.

    dtype: code. size: elements. source: number of the program's input that it is, or None.
    writers: the groups that fill it.
    """

    __slots__ = ("dtype", "itemsize", "size", "source", "writers")

    def __init__(self, node: Node, source: int | None = None, size: int | None = None) -> None:
        self.dtype, self.itemsize = node.aval.dtype.code, node.aval.dtype.itemsize
        self.size = node.aval.size if size is None else size
        self.source = source
        self.writers: list[Group] = []

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return self.size * self.itemsize


class Group:
    """A kernel under construction.

    kind: nest, contract, scatter, loop or host. extents, axes: of the loops. values: what is at hand, by node:
    (instruction, dims). computed: the nodes that are computed here. before: a bit for each group that must run first.
    stores: (instruction, storage, offset, strides by axis). dot: the operands of a contraction as views, the length of
    its sums, dtype. taps: of a convolution, where the sums go on, as offsets of both operands.
    walk: of a convolution whose groups have few channels, how its filters go over the images. winograd: of one by
    Winograd's transforms, how many results a tile has along a side, else 0.
    host: node and operand views of what is done in NumPy, and the view that its result goes to.
    """

    def __init__(self, number: int, kind: str, extents: Sequence[int], axes: str | None = None) -> None:
        self.number, self.kind = number, kind
        self.bit = 1 << number  # in sets of groups
        self.followed = False  # whether others were made to run after it
        self.extents = tuple(extents)
        self.axes = list(axes or "p" * len(self.extents))
        self.body = Body(len(self.extents))
        self.values: dict[int, tuple[int, Dims]] = {}
        self.computed: dict[int, Node] = {}
        self.before = 0
        self.stores: list[tuple[int, Storage, int, tuple[int, ...]]] = []
        self.dot: tuple[View, View, int, str] | None = None
        self.taps: list[tuple[int, int]] = []
        self.walk: Walk | None = None
        self.winograd = 0
        self.scatter: Scattering | None = None
        self.host: tuple[Node, list[View], View] | None = None
        self.loop: Job | None = None

    @property
    def reduced(self) -> set[int]:
        """The reduced axes."""
        return {k for k, a in enumerate(self.axes) if a == "r"}

    @property
    def sources(self) -> set[Storage]:
        """The storages that it reads."""
        out = {a[0] for a in self.body.accesses}
        if self.dot is not None:
            out |= {self.dot[0].storage, self.dot[1].storage}
        if self.host is not None:
            out |= {v.storage for v in self.host[1]}
        if self.loop is not None:
            out |= {v.storage for v in self.loop.views}
        if self.scatter is not None:
            out |= {self.scatter.values, self.scatter.index}
        return out

    @property
    def size(self) -> int:
        """Points of the iteration space."""
        return math.prod(self.extents)

    def covers(self, dims: Sequence[int | None]) -> bool:
        """Whether a value runs along all parallel axes, and along all reduced ones or none."""
        used = {d for d in dims if d is not None}
        long = {k for k, n in enumerate(self.extents) if n != 1}
        reduced = self.reduced & long
        return (long - reduced) <= used and (not reduced & used or reduced <= used)

    def spread(self, shape: Sequence[int], strides: Sequence[int], dims: Sequence[int | None]) -> tuple[int, ...]:
        """Strides by loop axis of a view whose dimensions run along ``dims``."""
        out = [0] * len(self.extents)
        for n, s, d in zip(shape, strides, dims, strict=True):
            if d is not None and n != 1:
                out[d] += s
        return tuple(out)

    def store(self, inst: int, dims: Sequence[int | None], view: View) -> None:
        """Write a value to a view."""
        strides = self.spread(view.shape, view.strides, dims)
        self.stores.append((inst, view.storage, view.offset, strides))
        if self not in view.storage.writers:
            view.storage.writers.append(self)

    def note(self, node: Node, inst: int, dims: Dims) -> None:
        """Remember that a value is at hand."""
        self.values[id(node)] = (inst, dims)
