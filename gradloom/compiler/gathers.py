"""Gathers and scatters as kernels: where index tensors point, and how updates are walked.

A gather is a nest whose body computes the place of every element. A scatter is a kernel of its own kind
(:mod:`gradloom.compiler.scatter`) over at most three axes; where the operands cannot be walked like that, a nest writes
down the place of every update first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from gradloom import dtypes
from gradloom.compiler.groups import Dims, Group, Storage
from gradloom.compiler.scatter import Scattering, Walk
from gradloom.compiler.views import View
from gradloom.compiler.weave import Kernels
from gradloom.graph.node import Aval, Node
from gradloom.ops.gather import Layout

__all__ = ["Gathers"]


class Gathers(Kernels):
    """The part of the fuser that knows gathers and scatters."""

    def _gather(self, n: Node) -> None:
        x, *indices = n.ins
        lay = n.prim.layout([i.aval for i in n.ins], n.attrs)  # type: ignore[union-attr]
        g, dims = self.open_for(n.aval.shape)
        v = self.view(x)
        for w in v.storage.writers:
            self.depend(g, w)
        code = n.aval.dtype.code
        if x.aval.size == 0:  # nothing to read
            self.put(g, n, g.body.const(0, code), dims)
            return
        strides = [0] * len(g.extents)
        for k, d in enumerate(lay.walk):
            if d is not None and dims[d] is not None and x.aval.shape[k] != 1:
                strides[dims[d]] += v.strides[k]  # type: ignore[index]
        at, step = self._place(g, dims, v, lay, indices)
        access = g.body.access(v.storage, v.offset, tuple(strides), step)
        self.put(g, n, g.body.add("load_at", code, (at,), (access,)), dims)

    def _place(self, g: Group, dims: Dims, v: View, lay: Layout, indices: Sequence[Node]) -> tuple[int, int]:
        """Where the indices point within a view, in steps of so many elements: an instruction and the steps."""
        first, count = lay.block
        single = len(indices) == 1
        total: int | None = None
        for axis, i in zip(lay.indexed, indices, strict=True):
            k = self._wrapped(g, self.value(g, i, dims[first : first + count]), v.shape[axis])
            if single:
                return k, v.strides[axis]
            k = g.body.add("mul", "i64", (k, g.body.const(v.strides[axis], "i64")))
            total = k if total is None else g.body.add("add", "i64", (total, k))
        assert total is not None
        return total, 1

    def _wrapped(self, g: Group, i: int, size: int) -> int:
        """An index counted from the front, and within range: nothing else is touched whatever an index says."""
        b = g.body
        i, zero = b.cast(i, "i64"), b.const(0, "i64")
        wrapped = b.add("add", "i64", (i, b.const(size, "i64")))
        i = b.add("where", "i64", (b.add("lt", "bool", (i, zero)), wrapped, i))
        return b.add("max", "i64", (b.add("min", "i64", (i, b.const(size - 1, "i64"))), zero))

    # -- scatter ----------------------------------------------------------------------------------
    def _scatter(self, n: Node) -> None:
        x, u, *indices = n.ins
        s, before = self.overwritten(n, x)
        target = View.whole(s, n.aval.shape)
        if not u.aval.size or not n.aval.size:
            return
        lay = n.prim.layout([i.aval for i in n.ins], n.attrs)  # type: ignore[union-attr]
        how, values = n.attrs[-1], self.view(u)
        ordered = View.whole(None, values.shape)  # as a copy would lie
        job = None
        if len(indices) == 1:
            index = self.view(indices[0])
            job = self._walk(how, target, values, lay, index, lay.indexed[0])
            if job is None and (job := self._walk(how, target, ordered, lay, index, lay.indexed[0])):
                job = replace(job, values=self.compact(u).storage)
        if job is None and lay.block[1] < len(values.shape):
            places = self._places(target, lay, indices, values.shape, block_only=True)
            job = self._walk(how, target, values, lay, places, None)
        if job is None:
            places = self._places(target, lay, indices, values.shape, block_only=False)
            whole = Layout((), (0, len(values.shape)), (None,) * len(target.shape))
            job = self._walk(how, target, values, whole, places, None)
        if job is None:  # updates in an order of their own
            job = self._walk(how, target, self.compact(u), whole, places, None)
        assert job is not None
        g = self.open("scatter", ())
        g.scatter = job
        for w in (*before, *job.values.writers, *job.index.writers):
            self.depend(g, w)
        s.writers.append(g)

    def _places(
        self, target: View, lay: Layout, indices: Sequence[Node], shape: tuple[int, ...], block_only: bool
    ) -> View:
        """The offset in the target of every update, written to memory. block_only: the offsets that indices make."""
        first, count = lay.block
        along = count == len(shape)
        wide = shape if not block_only or along else shape[first : first + count]
        s = Storage(Node(None, (), (), Aval(wide, dtypes.int64)))
        g, dims = self.open_for(wide)
        here = Layout(lay.indexed, (0, count) if block_only else lay.block, lay.walk)
        at, step = self._place(g, dims, target, here, indices)
        if step != 1:
            at = g.body.add("mul", "i64", (at, g.body.const(step, "i64")))
        if not block_only:
            strides = [0] * len(g.extents)
            for k, d in enumerate(lay.walk):
                if d is not None and dims[d] is not None:
                    strides[dims[d]] += target.strides[k]  # type: ignore[index]
            at = g.body.add("add", "i64", (at, g.body.affine(0, strides)))
        view = View.whole(s, wide)
        g.store(at, dims, view)
        return view

    def _walk(
        self, how: str, target: View, values: View, lay: Layout, index: View, axis: int | None
    ) -> Scattering | None:
        """A scatter over (outer, scan, inner) axes; None where more are needed.

        axis: that of the target which the index points along; None where it holds offsets.
        """
        first, count = lay.block
        over = {d: k for k, d in enumerate(lay.walk) if d is not None}
        lead = first + count - len(index.shape)
        walks: list[list[int]] = []  # [scan?, extent, index stride, value stride, target stride]
        for d, (n, vs) in enumerate(zip(values.shape, values.strides, strict=True)):
            if n == 1:
                continue
            inside = lead <= d < first + count and index.shape[d - lead] != 1
            row = [int(d not in over), n, index.strides[d - lead] if inside else 0, vs,
                   target.strides[over[d]] if d in over else 0]  # fmt: skip
            if walks and walks[-1][0] == row[0] and all(walks[-1][j] == n * row[j] for j in (2, 3, 4)):
                walks[-1] = [row[0], walks[-1][1] * n, *row[2:]]
            else:
                walks.append(row)
        scan = [k for k, w in enumerate(walks) if w[0]]
        if len(scan) > 1 or len(walks) > len(scan) + 2:
            return None
        free = [w[1:] for w in walks if not w[0]]
        still = [1, 0, 0, 0]
        s = walks[scan[0]][1:] if scan else still
        outer, inner = (free[0], free[1]) if len(free) == 2 else (still, still)
        if len(free) == 1:  # the axis that varies fastest is the inner one, so that what is written lies together
            outer, inner = (still, free[0]) if free[0][3] == 1 and walks[-1][0] == 0 else (free[0], still)
        o, c, i = outer, s, inner
        size, step = (target.shape[axis], target.strides[axis]) if axis is not None else (math.prod(target.shape), 1)
        return Scattering(
            how, target.storage, values.storage, index.storage, (o[0], c[0], i[0]), size, step,
            Walk(index.offset, o[1], c[1], i[1]), Walk(values.offset, o[2], c[2], i[2]), Walk(0, o[3], 0, i[3]),
        )  # fmt: skip
