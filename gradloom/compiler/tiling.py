"""Transforms of tiles as nests: each point of the nest is one tile of one channel, loaded, transformed, stored."""

from __future__ import annotations

from collections.abc import Sequence

from gradloom.compiler.body import Body
from gradloom.compiler.groups import Group, Storage
from gradloom.compiler.views import View
from gradloom.compiler.weave import Kernels
from gradloom.graph.node import Node
from gradloom.ops.tiling import MATRICES

__all__ = ["Tilings"]

Matrix = tuple[tuple[float, ...], ...]
JOINS = ("cat", "pad")


class Tilings(Kernels):
    """The part of the fuser that knows transforms of tiles."""

    def _tiling(self, n: Node) -> None:
        assert n.prim is not None
        if n.aval.dtype.code not in ("f32", "f64"):
            self._host(n)  # type: ignore[attr-defined]
            return
        (user, *more) = self.users.get(id(n), [None])
        if n.prim.name == "tiles_out" and not more and user is not None and user.prim is not None:
            if user.prim.name in JOINS:
                return  # it is written where that wants it
        s = self.storages[id(n)] = Storage(n)
        self.transform(n, View.whole(s, n.aval.shape))

    def write(self, n: Node, to: View, after: Sequence[Group] = (), alone: bool = False) -> None:
        """As :meth:`Kernels.write`; a transform that nobody has asked for yet is computed there."""
        if n.prim is None or n.prim.name != "tiles_out" or id(n) in self.storages:
            super().write(n, to, after, alone)
            return
        g = self.transform(n, to)
        for h in after:
            self.depend(g, h)

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
        columns = [_transform(g.body, matrix, [row[j] for row in values]) for j in range(q)]  # [j][i]
        for i in range(p):
            for j, inst in enumerate(_transform(g.body, matrix, [column[i] for column in columns])):
                g.store(inst, dims, View(out.storage, grid, to, out.offset + i * tile[0] + j * tile[1]))
        return g


def _transform(body: Body, matrix: Matrix, x: Sequence[int]) -> list[int]:
    """The product of a matrix and a vector. Two rows that differ in the signs of odd places share their sums."""
    out: dict[int, int] = {}
    for i, row in enumerate(matrix):
        if i in out:
            continue
        twin = next((k for k in range(i + 1, len(matrix)) if k not in out and _mirrored(row, matrix[k])), None)
        if twin is None:
            out[i] = _sum(body, row, x)
            continue
        signs = [a == b for a, b in zip(row, matrix[twin], strict=True)]
        even = _sum(body, [v if s else 0.0 for v, s in zip(row, signs, strict=True)], x)
        odd = _sum(body, [0.0 if s else v for v, s in zip(row, signs, strict=True)], x)
        code = body.insts[even].dtype
        out[i], out[twin] = body.add("add", code, (even, odd)), body.add("sub", code, (even, odd))
    return [out[i] for i in range(len(matrix))]


def _mirrored(a: Sequence[float], b: Sequence[float]) -> bool:
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x or y]
    return all(x in (y, -y) for x, y in pairs) and any(x == y for x, y in pairs) and any(x == -y for x, y in pairs)


def _sum(body: Body, row: Sequence[float], x: Sequence[int]) -> int:
    """The scalar product; terms with the factor 1 first, so that all others are one multiply-add each."""
    code = body.insts[x[0]].dtype
    total: int | None = None
    for v, k in sorted(((v, k) for v, k in zip(row, x, strict=True) if v), key=lambda t: t[0] != 1):
        if total is None:
            total = k if v == 1 else body.add("mul", code, (k, body.const(v, code)))
        elif v in (1, -1):
            total = body.add("add" if v == 1 else "sub", code, (total, k))
        else:
            total = body.add("fma", code, (k, body.const(v, code), total))
    assert total is not None
    return total
