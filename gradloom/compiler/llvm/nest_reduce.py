"""The loops over reduced axes: one pass for every stage of a nest, with a summation tree that only extents decide.

A pass keeps its running results in registers. Every loop level starts its own and hands them to the level around it
when it ends, and the innermost level does so every :data:`RUN` rounds, so no accumulator takes more than ``RUN``
elements in a row: the error of a sum grows with the logarithm of its length, roughly, not with the length (Higham,
"The accuracy of floating point summation", 1993). Where the vector axis is reduced, ``unroll`` accumulators run side
by side, are joined pairwise, and the lanes of the last one are folded in halves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gradloom.compiler.llvm.elementwise import combine, identity
from gradloom.compiler.llvm.nest_info import Info
from gradloom.compiler.llvm.nest_values import SCALAR, Block, Scope, Writer
from gradloom.compiler.llvm.text import V, lanes

__all__ = ["RUN", "Pass", "tail_mask"]

RUN = 128
"""Rounds of an innermost loop before its accumulators are handed on."""


def tail_mask(w: Writer, rest: V, width: int) -> V:
    """Lanes below ``rest`` (an i64 not above ``width``)."""
    f = w.f
    ty = f"<{width} x i32>"
    return f.icmp("slt", f.iota(ty), f.splat(f.cast("trunc", rest, "i32"), width))


@dataclass
class Pass:
    """One pass over the reduced axes, the one numbered ``stage``.

    w: where to write. extents: of every axis. scope: the row's. block: the vectors of the row's scope (one scalar
    where the vector axis is reduced).
    """

    w: Writer
    extents: list[V]
    stage: int
    scope: Scope
    block: Block

    def __post_init__(self) -> None:
        info = self.info = self.w.info
        self.reductions = info.reductions(self.stage)
        self.stores = [k for k in range(len(info.nest.stores)) if info.full_store(k)]
        if self.stage != info.last_stage:
            self.stores = []
        self.needed = info.needed(self.stage)
        self.keep = self.fetch = None  # a costly value: where it is left for later passes, where it was left
        if info.kept is not None:
            n, first, access = info.kept
            if self.stage == first:
                self.keep = (n, access)
            elif self.stage > first and n in self.needed:
                self.needed = info.without(self.stage, n)
                self.fetch = (n, access)
        used = {info.nest.body[n].attrs[0] for n in self.needed if info.nest.body[n].op in ("load", "load_at")}
        self.accesses = used | {info.nest.stores[k][1] for k in self.stores}
        self.accesses |= {x[1] for x in (self.keep, self.fetch) if x is not None}

    info: Info = None  # type: ignore[assignment]

    def emit(self) -> None:
        """Write the loops; the results go into the row's scope."""
        if self.info.vector_reduced:
            totals = self._levels(0, self.scope, self._fresh(self.info.lanes, 1), self._vector_runs)
            n = len(self.reductions)
            for k, r in enumerate(self.reductions):
                v = self._fold_lanes(r, totals[k])
                if self.info.scalar_tail:
                    v = self._combine(r, v, totals[n + k])
                self.w.put(self.scope, r, 0, v)
        else:
            totals = self._levels(0, self.scope, self._fresh(self.block.lanes, self.block.unroll), None)
            at = 0
            for r in self.reductions:
                for u in range(self._copies(r)):
                    self.w.put(self.scope, r, u, totals[at])
                    at += 1

    # -- accumulators -----------------------------------------------------------------------------
    def _copies(self, r: int) -> int:
        """Vectors of reduction ``r`` in a row's scope where the vector axis is parallel."""
        return self.block.unroll if self.info.wide[r] else 1

    def _kind(self, r: int) -> tuple[str, str]:
        inst = self.info.nest.body[r]
        return inst.attrs[0], inst.dtype

    def _combine(self, r: int, a: V, b: V) -> V:
        return combine(self.w.f, self.w.host, *self._kind(r), a, b)

    def _identity(self, r: int, width: int) -> V:
        return identity(self.w.f, *self._kind(r), width)

    def _fresh(self, width: int, unroll: int) -> list[V]:
        """Empty accumulators of the pass."""
        if self.info.vector_reduced:
            out = [self._identity(r, width) for r in self.reductions for _ in range(unroll)]
            if self.info.scalar_tail and unroll == 1:
                out += [self._identity(r, 1) for r in self.reductions]
            return out
        return [
            self._identity(r, width if self.info.wide[r] else 1)
            for r in self.reductions
            for _ in range(self._copies(r))
        ]

    def _join(self, a: list[V], b: list[V]) -> list[V]:
        """Accumulators combined one by one: those of :meth:`_fresh`, one vector each where the vector is reduced."""
        if self.info.vector_reduced:
            owners = self.reductions * 2
        else:
            owners = [r for r in self.reductions for _ in range(self._copies(r))]
        return [self._combine(r, x, y) for r, x, y in zip(owners, a, b, strict=False)]

    def _fold_lanes(self, r: int, v: V) -> V:
        """The lanes of a vector combined, halves first."""
        f = self.w.f
        while (n := lanes(v.ty)) > 1:
            if n == 2:
                v = self._combine(r, f.extract(v, 0), f.extract(v, 1))
            else:
                low, high = f.shuffle(v, None, range(n // 2)), f.shuffle(v, None, range(n // 2, n))
                v = self._combine(r, low, high)
        return v

    # -- loops ------------------------------------------------------------------------------------
    def _enter(self, scope: Scope, axis: int, i: V, block: Block) -> Scope:
        """Start an iteration: advance, compute the values of this level, do the stores of this level."""
        inner = self.w.enter(scope, axis, i, self.accesses)
        level = self.info.position[axis]
        innermost = level == max(self.info.position)
        if self.fetch is not None and innermost:
            self.w.load_value(inner, *self.fetch, block)
        self.w.emit(inner, [n for n in self.needed if self.info.level[n] == level], block)
        if self.keep is not None and innermost:
            self.w.store_value(inner, *self.keep, block)
        for k in self.stores:
            if self.info.store_level(k) == level:
                self.w.store(inner, k, block)
        return inner

    def _levels(
        self, k: int, scope: Scope, empty: list[V], leaf: Callable[[Scope, list[V]], list[V]] | None
    ) -> list[V]:
        """Loops over the reduced axes from the ``k``-th on; ``leaf`` goes on inside of the last one."""
        f = self.w.f
        axes = self.info.reduced
        if k == len(axes):
            assert leaf is not None
            return leaf(scope, empty)
        extent = self.extents[axes[k]]
        if k + 1 < len(axes) or leaf is not None:
            with f.loop(0, extent, carry=empty, name="reduce") as it:
                inner = self._enter(scope, axes[k], it.i, self.block)
                it.next(self._join(it.vals, self._levels(k + 1, inner, empty, leaf)))
            return it.results
        with f.loop(0, extent, RUN, carry=empty, name="runs") as runs:
            stop = f.min_i(f.add(runs.i, RUN), extent)
            with f.loop(runs.i, stop, carry=empty, name="reduce") as it:
                inner = self._enter(scope, axes[k], it.i, self.block)
                found = [
                    self.w.get(inner, self.info.nest.body[r].args[0], u, self.block.lanes if self.info.wide[r] else 1)
                    for r in self.reductions
                    for u in range(self._copies(r))
                ]
                it.next(self._join(it.vals, found))
            runs.next(self._join(runs.vals, it.results))
        return runs.results

    def _vector_runs(self, scope: Scope, empty: list[V]) -> list[V]:
        """The loop over a reduced vector axis: full blocks; what is left under masks, or as vectors and elements."""
        f, info = self.w.f, self.info
        width, unroll = info.lanes, info.unroll
        n = self.extents[info.nest.vector]
        full = f.and_(n, -(unroll * width))
        single = f.and_(n, -width)
        count = len(self.reductions)
        totals = empty
        if width > 1 or not info.scalar_tail:
            with f.loop(0, full, RUN * unroll * width, carry=totals[:count], name="runs") as runs:
                stop = f.min_i(f.add(runs.i, RUN * unroll * width), full)
                with f.loop(runs.i, stop, unroll * width, carry=self._many(unroll), name="row") as it:
                    it.next(self._gathered(scope, it.i, it.vals, Block(width, unroll)))
                runs.next(self._join(runs.vals, self._pairwise(it.results, unroll)))
            totals = [*runs.results, *totals[count:]]
            if unroll > 1 and info.scalar_tail:
                with f.loop(full, single, width, carry=totals[:count], name="row") as it:
                    it.next(self._gathered(scope, it.i, it.vals, Block(width, 1)))
                totals = [*it.results, *totals[count:]]
        if info.scalar_tail:
            with f.loop(single, n, 1, carry=totals[count:], name="tail") as it:
                it.next(self._gathered(scope, it.i, it.vals, SCALAR))
            return [*totals[:count], *it.results]
        with f.loop(full, n, width, carry=totals, name="tail") as it:
            mask = tail_mask(self.w, f.sub(n, it.i), width)
            it.next(self._gathered(scope, it.i, it.vals, Block(width, 1, mask)))
        return it.results

    def _many(self, unroll: int) -> list[V]:
        return [self._identity(r, self.info.lanes) for r in self.reductions for _ in range(unroll)]

    def _gathered(self, scope: Scope, i: V, vals: list[V], block: Block) -> list[V]:
        """One round of the vector loop: the accumulators with this block's elements added."""
        inner = self._enter(scope, self.info.nest.vector, i, block)
        out: list[V] = []
        for r in self.reductions:
            for u in range(block.unroll):
                x = self.w.get(inner, self.info.nest.body[r].args[0], u, block.lanes)
                if block.mask is not None:
                    x = self.w.f.select(block.mask, x, self._identity(r, block.lanes))
                out.append(self._combine(r, vals[len(out)], x))
        return out

    def _pairwise(self, vals: list[V], unroll: int) -> list[V]:
        """Side by side accumulators of each reduction joined two by two."""
        out: list[V] = []
        for k, r in enumerate(self.reductions):
            mine = vals[k * unroll : (k + 1) * unroll]
            while len(mine) > 1:
                mine = [self._combine(r, mine[j], mine[j + 1]) for j in range(0, len(mine), 2)]
            out += mine
        return out
