"""Transforms of tiles as nests: each point of the nest is one tile of one channel, loaded, transformed, stored.

Winograd's convolution whole is a contraction to the fuser, what follows being its body.
"""

from __future__ import annotations

from gradloom.compiler.body import Body
from gradloom.compiler.groups import Group, Storage
from gradloom.compiler.llvm.transforms import transform
from gradloom.compiler.views import View
from gradloom.compiler.weave import Kernels
from gradloom.graph.node import Node
from gradloom.ops.tiling import MATRICES, TAPS

__all__ = ["Tilings"]


class Tilings(Kernels):
    """The part of the fuser that knows transforms of tiles."""

    def _tiling(self, n: Node) -> None:
        assert n.prim is not None
        if n.prim.name == "winograd":
            self._winograd(n)
            return
        if n.aval.dtype.code not in ("f32", "f64"):
            self._host(n)  # type: ignore[attr-defined]
            return
        s = self.storages[id(n)] = Storage(n)
        to = View.whole(s, n.aval.shape)
        if n.prim.name == "tiles_in" and n.attrs[2] == "panels":
            places, _, each = n.aval.shape
            to = self.views[id(n)] = View(s, n.aval.shape, (each, places * each, 1))
        self.transform(n, to)

    def _winograd(self, n: Node) -> None:
        x, u = (self.view(i) for i in n.ins)
        x, u = (v if v.strides[-1] == 1 else self.compact(i) for v, i in zip((x, u), n.ins, strict=True))
        g = self.open("contract", n.aval.shape)
        for v in (x, u):
            for writer in v.storage.writers:
                self.depend(g, writer)
        g.dot = (x, u, TAPS * TAPS * x.shape[-1], n.ins[1].aval.dtype.code)
        g.winograd = n.attrs[0]
        self.put(g, n, g.body.add("acc", g.dot[3]), tuple(k if e != 1 else None for k, e in enumerate(n.aval.shape)))

    def transform(self, n: Node, out: View) -> Group:
        """The kernel of a transform, which writes to ``out``."""
        assert n.prim is not None
        matrix = MATRICES[n.attrs[0]]
        p, q = len(matrix), len(matrix[0])
        x = self.view(n.ins[0])
        if n.prim.name == "tiles_in":
            step = n.attrs[1]
            images, h, w, c = x.shape
            grid = (images, (h - q) // step + 1, (w - q) // step + 1, c)
            tile = (out.strides[0] * p, out.strides[0])
            to = (grid[1] * grid[2] * out.strides[1], grid[2] * out.strides[1], *out.strides[1:])
            frm = (x.strides[0], x.strides[1] * step, x.strides[2] * step, x.strides[3])
            inside = (x.strides[1], x.strides[2])
        else:
            grid = (*n.attrs[1], x.shape[-1])
            tile = (out.strides[1], out.strides[2])
            to = (out.strides[0], out.strides[1] * p, out.strides[2] * p, out.strides[3])
            frm = (grid[1] * grid[2] * x.strides[1], grid[2] * x.strides[1], *x.strides[1:])
            inside = (x.strides[0] * q, x.strides[0])
        g, dims = self.open_for(grid)
        for writer in x.storage.writers:
            self.depend(g, writer)
        walk = g.spread(grid, frm, dims)
        values = [
            [g.body.load(x.storage, x.offset + i * inside[0] + j * inside[1], walk) for j in range(q)] for i in range(q)
        ]
        on = _Instructions(g.body, n.aval.dtype.code)
        columns = [transform(on, matrix, [row[j] for row in values]) for j in range(q)]  # [j][i]
        for i in range(p):
            for j, inst in enumerate(transform(on, matrix, [column[i] for column in columns])):
                g.store(inst, dims, View(out.storage, grid, to, out.offset + i * tile[0] + j * tile[1]))
        return g


class _Instructions:
    """Operations in a body."""

    def __init__(self, body: Body, code: str) -> None:
        self.body, self.code = body, code

    def add(self, a: int, b: int) -> int:
        """The sum."""
        return self.body.add("add", self.code, (a, b))

    def sub(self, a: int, b: int) -> int:
        """The difference."""
        return self.body.add("sub", self.code, (a, b))

    def scale(self, x: int, v: float) -> int:
        """``x`` times a constant."""
        return self.body.add("mul", self.code, (x, self.body.const(v, self.code)))

    def fma(self, x: int, v: float, total: int) -> int:
        """``total`` and ``x`` times a constant."""
        return self.body.add("fma", self.code, (x, self.body.const(v, self.code), total))
