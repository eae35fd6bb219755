"""Convolutions as kernels: a contraction over views of the images, whose sums jump from tap to tap."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from gradloom import dtypes
from gradloom.compiler.gathers import Gathers
from gradloom.compiler.groups import Storage
from gradloom.compiler.llvm.host import detect_host
from gradloom.compiler.pairing import along_sums
from gradloom.compiler.views import View
from gradloom.dtypes import DType
from gradloom.graph.node import Node

__all__ = ["Correlations", "readable", "wide_of"]

SLACK = 64  # elements behind a copy that hosts without masks may read (and never use)
SCATTERED = 1 << 16  # elements of filters from which on they are written as they come, and brought in order after that


class _Axis(NamedTuple):
    """An axis of the sums: its extent, and what it adds to the addresses of both operands."""

    extent: int
    a: int
    b: int


class Correlations(Gathers):
    """The part of the fuser that knows convolutions."""

    def converted(self, x: Node, dtype: DType, slack: int = 0) -> View:
        """A copy of a value in C order, in another dtype."""
        out = Node(None, (), (), x.aval._replace(dtype=dtype))
        g, dims = self.open_for(x.aval.shape)
        inst = g.body.settle(self.value(g, x, dims), dtype.code)
        v = View.whole(Storage(out, size=x.aval.size + slack), x.aval.shape)
        g.store(inst, dims, v)
        return v

    def _convolution(self, n: Node) -> None:
        assert n.prim is not None
        if n.aval.dtype.category != 2 or n.prim.name not in ("correlate", "correlate_filter"):
            self._host(n)  # type: ignore[attr-defined]
        elif n.prim.name == "correlate":
            self._correlate(n)
        else:
            self._correlate_filter(n)

    def _images(self, x: Node, n: Node) -> View:
        """An operand that is read by broadcasts: as it lies in memory, in a dtype that is widened as it is read."""
        return self.view(x) if readable(x, n) else self.converted(x, wide_of(n))

    def _columns(self, x: Node, n: Node) -> View:
        """An operand that is read by vectors: its last axis has unit stride."""
        if not readable(x, n) or not detect_host().masks:
            return self.converted(x, x.aval.dtype if readable(x, n) else wide_of(n), SLACK)
        v = self.view(x)
        return v if v.strides[-1] == 1 or v.shape[-1] == 1 else self.compact(x)

    def _correlate(self, n: Node) -> None:
        x, w = n.ins
        stride, dilation = n.attrs
        xv = self._images(x, n)
        batch, *spatial, groups, cols = n.aval.shape
        nd = len(spatial)

        def sums_with(wv: View) -> list[_Axis]:
            around = zip(wv.shape[1:-2], dilation, xv.strides[1:-2], wv.strides[1:-2], strict=True)
            return [*(_Axis(k, d * s, t) for k, d, s, t in around), _Axis(xv.shape[-1], xv.strides[-1], wv.strides[-2])]

        codes = [v.aval.dtype.code for v in (x, w)]
        wv = self.view(w) if along_sums(2, xv.strides[-1], codes, detect_host()) else self._columns(w, n)
        sums = sums_with(wv)
        inner = _walk(sums)[0]
        if not along_sums(inner.extent, inner.a, codes, detect_host()):
            wv = self._columns(w, n)
            sums = sums_with(wv)
        steps = [s * t for s, t in zip(stride, xv.strides[1:-2], strict=True)]
        axes = [
            (batch, xv.strides[0], 0, 0),
            *((r, s, 0, k + 1) for k, (r, s) in enumerate(zip(spatial[:-1], steps[:-1], strict=True))),
            (groups, xv.strides[-2], wv.strides[0], nd + 1),
        ]
        self._group(n, xv, wv, axes, (spatial[-1], steps[-1], nd), (cols, nd + 2), sums)

    def _correlate_filter(self, n: Node) -> None:
        x, y = n.ins
        stride, dilation, size = n.attrs
        xv, yv = self._images(x, n), self._columns(y, n)
        groups, rows, cols = n.aval.shape[0], *n.aval.shape[-2:]
        nd = len(size)
        sums = [_Axis(yv.shape[0], xv.strides[0], yv.strides[0])]
        sums += [
            _Axis(r, s * t, u)
            for r, s, t, u in zip(yv.shape[1:-2], stride, xv.strides[1:-2], yv.strides[1:-2], strict=True)
        ]
        axes = [
            (groups, xv.strides[-2], yv.strides[-2], 0),
            *((k, d * s, 0, i) for i, (k, d, s) in enumerate(zip(size, dilation, xv.strides[1:-2], strict=True), 1)),
        ]
        self._group(n, xv, yv, axes, (rows, xv.strides[-1], nd + 1), (cols, nd + 2), sums)
        if x.aval.dtype.itemsize < 4 or (prod(size) > 1 and n.aval.size >= SCATTERED):
            # an update of filters that lie in another order would go past all of them for each tap
            self.view(n)
            del self.at_hand[id(n)], self.home[id(n)]

    def _group(
        self,
        n: Node,
        a: View,
        b: View,
        batch: Sequence[tuple[int, int, int, int]],
        rows: tuple[int, int, int],
        cols: tuple[int, int],
        sums: Sequence[_Axis],
    ) -> None:
        """The kernel. batch: (extent, stride of A, of B, dimension of the result); rows, cols likewise."""
        batch = [x for x in batch if x[0] != 1]
        inner, taps = _walk(sums)
        (m, m_step, m_dim), (width, c_dim) = rows, cols
        extents = [x[0] for x in batch]
        g = self.open("contract", [*extents, m, width])
        for v in (a, b):
            for writer in v.storage.writers:
                self.depend(g, writer)
        left = View(a.storage, (*extents, m, inner.extent), (*(x[1] for x in batch), m_step, inner.a), a.offset)
        right = View(
            b.storage, (*extents, inner.extent, width), (*(x[2] for x in batch), inner.b, b.strides[-1]), b.offset
        )
        g.dot = (left, right, inner.extent * len(taps), wide_of(n).code)
        g.taps = taps
        dims: list[int | None] = [None] * len(n.aval.shape)
        for at, (extent, dim) in enumerate([*((x[0], x[3]) for x in batch), (m, m_dim), (width, c_dim)]):
            dims[dim] = at if extent != 1 else None
        self.put(g, n, g.body.add("acc", g.dot[3]), tuple(dims))


def _walk(sums: Sequence[_Axis]) -> tuple[_Axis, list[tuple[int, int]]]:
    """The axis that tiles run along, and where they start.

    Axes that compose are joined; the longer one of the last two is the inner one.
    """
    axes = [x for x in sums if x.extent != 1] or [_Axis(1, 0, 0)]
    at = len(axes) - 1
    while at > 0:
        x, y = axes[at - 1], axes[at]
        if x.a == y.a * y.extent and x.b == y.b * y.extent:
            axes[at - 1 : at + 1] = [_Axis(x.extent * y.extent, y.a, y.b)]
        at -= 1
    last = max(range(max(0, len(axes) - 2), len(axes)), key=lambda k: (min(axes[k].extent, 16), k))
    inner = axes.pop(last)
    taps = [
        (sum(i * x.a for i, x in zip(place, axes, strict=True)), sum(i * x.b for i, x in zip(place, axes, strict=True)))
        for place in itertools.product(*(range(x.extent) for x in axes))
    ]
    return inner, taps


def readable(x: Node, n: Node) -> bool:
    """Whether kernels can widen an operand as they read it (float16 only where that is one instruction)."""
    code = x.aval.dtype.code
    return x.aval.dtype is wide_of(n) or code == "bf16" or (code == "f16" and detect_host().f16c)


def wide_of(n: Node) -> DType:
    """The dtype that sums are made in."""
    return dtypes.float64 if n.aval.dtype is dtypes.float64 else dtypes.float32
