"""How a nest of given sizes is best done: whole, cut in two, or stage by stage.

A nest with several reductions one after the other (softmax, layer and batch normalisation) is done whole where it has
rows enough for all cores: a row then stays in the cache from the first stage to the last. With few long rows each
stage becomes a nest of its own, which can be cut in two (see ``nest_split``), and the stores of full values become a
map. Row values that a later step needs are kept in temporaries, one number a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from gradloom.compiler.loops import Access, Inst, Launch, Nest, full, stages
from gradloom.compiler.nest_plan import plan_nest
from gradloom.compiler.nest_split import Split, Trimmed, is_narrow, split_reduction, trim

__all__ = ["Steps", "plan_steps"]


@dataclass(frozen=True)
class _Step:
    """One nest of a plan. ``axes``: the axes of the original nest that it runs over (-1: one position)."""

    part: Trimmed
    axes: tuple[int, ...]
    split: Split | None


@dataclass(frozen=True)
class Steps:
    """A nest of given sizes, planned.

    Attributes
    ----------
    temps: dtype and number of elements of each temporary that :meth:`launches` needs.
    """

    nest: Nest
    extents: tuple[int, ...]
    steps: tuple[_Step, ...]
    rows: int
    temps: tuple[tuple[str, int], ...]

    def launches(
        self, access_ints: Sequence[Sequence[int]], buffers: Sequence[int], temps: Sequence[int]
    ) -> list[Launch]:
        """The launches, to be done in this order.

        Parameters
        ----------
        access_ints, buffers: as for :func:`gradloom.compiler.nest_plan.plan_nest` of the nest.
        temps: the program's slot of each temporary.
        """
        slots = [*buffers[: self.nest.buffers], *temps[: self.rows]]
        at = self.rows
        out: list[Launch] = []
        for step in self.steps:
            ints = [access_ints[a] if a < len(access_ints) else self._row_ints(step.axes) for a in step.part.accesses]
            bufs = [slots[b] for b in step.part.buffers]
            if step.split is None:
                extents = [1 if k < 0 else self.extents[k] for k in step.axes]
                out.append(plan_nest(step.part.nest, extents, ints, bufs))
            else:
                mine = temps[at : at + len(step.split.temps)]
                at += len(mine)
                out += step.split.launches(ints, bufs, mine)
        return out

    def _row_ints(self, axes: Sequence[int]) -> list[int]:
        """Integers of an access to a temporary of row values."""
        strides: dict[int, int] = {}
        stride = 1
        order = _row_order(self.nest)
        for k in reversed(order):
            strides[k] = stride
            stride *= self.extents[k]
        return [0, *(strides[k] for k in axes if k in order[:-1])]


def plan_steps(nest: Nest, extents: Sequence[int]) -> Steps:
    """Plan a nest: the only entry point that a compiler needs."""
    return _plan(nest, tuple(extents), _constants(nest))


def _constants(nest: Nest) -> str:
    """What equality of nests does not tell apart: 0.0 and -0.0, 1 and True."""
    return repr([i.attrs for i in nest.body if i.op == "const"])


@lru_cache(maxsize=1024)
def _plan(nest: Nest, extents: tuple[int, ...], constants: str) -> Steps:
    whole = trim(nest)
    every = tuple(range(len(nest.axes)))
    staged = max(stages(whole.nest), default=0) > 1 or _waits(nest)
    if staged and is_narrow(nest, extents):
        parts, values = _stages(nest)
        rows = math.prod(extents[k] for k in _row_order(nest))
        temps = [(nest.body[v].dtype, rows) for v in values]
    else:
        parts, temps = [(whole, every)], []
    steps: list[_Step] = []
    kept = len(temps)
    for part, axes in parts:
        sizes = [1 if k < 0 else extents[k] for k in axes]
        split = split_reduction(part.nest, sizes)
        steps.append(_Step(part, axes, split))
        temps += split.temps if split is not None else ()
    return Steps(nest, extents, tuple(steps), kept, tuple(temps))


def _waits(nest: Nest) -> bool:
    """Whether a full value that is stored needs a finished reduction."""
    stage, varies = stages(nest), full(nest)
    return any(varies[v] and stage[v] > 0 for v, _ in nest.stores)


def _row_order(nest: Nest) -> list[int]:
    """Axes of a row, the contiguous one of a temporary last."""
    parallel = [k for k, a in enumerate(nest.axes) if a == "p"]
    if nest.axes[nest.vector] == "p":
        parallel.remove(nest.vector)
        parallel.append(nest.vector)
    return parallel


def _stages(nest: Nest) -> tuple[list[tuple[Trimmed, tuple[int, ...]]], list[int]]:
    """A nest for each stage, one for the full stores, one for the row stores; and the values kept between them."""
    stage, varies = stages(nest), full(nest)
    live = _live(nest)
    kept = sorted(
        v
        for v in live
        if not varies[v]
        and stage[v] > 0
        and (
            any(v in nest.body[n].args and (varies[n] or stage[n] > stage[v]) for n in live)
            or any(v == x for x, _ in nest.stores)
        )
    )
    order = _row_order(nest)

    def row_access(k: int, axes: Sequence[int]) -> Access:
        steps = ["0" if a not in order else "1" if a == order[-1] else "s" for a in axes]
        return Access(nest.buffers + k, nest.body[kept[k]].dtype, tuple(steps))

    every = tuple(range(len(nest.axes)))
    count = len(nest.accesses)
    accesses = (*nest.accesses, *(row_access(k, every) for k in range(len(kept))))

    def body(done: int) -> tuple[Inst, ...]:
        """The body with what stages before ``done`` have left in temporaries."""
        return tuple(
            Inst("load", i.dtype, (), (count + kept.index(n),)) if n in kept and stage[n] <= done else i
            for n, i in enumerate(nest.body)
        )

    last = max((stage[v] for v in live), default=0)
    parts: list[tuple[Trimmed, tuple[int, ...]]] = []
    for s in range(1, last + 1):
        stores = tuple((v, count + k) for k, v in enumerate(kept) if stage[v] == s)
        if stores:
            parts.append((trim(replace(nest, accesses=accesses, body=body(s - 1), stores=stores)), every))
    wide = tuple((v, a) for v, a in nest.stores if varies[v])
    if wide:
        axes = ("p",) * len(nest.axes)
        parts.append((trim(replace(nest, axes=axes, accesses=accesses, body=body(last), stores=wide)), every))
    narrow = tuple((v, a) for v, a in nest.stores if not varies[v])
    if narrow:
        parts.append(
            (
                _row_nest(replace(nest, accesses=accesses, body=body(last), stores=narrow), order),
                tuple(sorted(order) or [-1]),
            )
        )
    return parts, kept


def _row_nest(nest: Nest, order: list[int]) -> Trimmed:
    """The row stores of a nest whose reductions are all loads: a map over the parallel axes."""
    axes = sorted(order) or [-1]  # strides of an access come in the order of the axes
    accesses = tuple(replace(a, steps=tuple(a.steps[k] if k >= 0 else "0" for k in axes)) for a in nest.accesses)
    varies = full(nest)
    body = tuple(
        Inst("const", i.dtype, (), (0,))  # of no use here, and of another shape
        if varies[n] or i.op == "reduce"
        else replace(i, attrs=(axes.index(i.attrs[0]),))
        if i.op == "iota"
        else i
        for n, i in enumerate(nest.body)
    )
    vector = axes.index(order[-1]) if order else 0
    return trim(Nest(("p",) * len(axes), vector, accesses, body, nest.stores))


def _live(nest: Nest) -> set[int]:
    live = {v for v, _ in nest.stores}
    for n in range(len(nest.body) - 1, -1, -1):
        if n in live:
            live |= set(nest.body[n].args)
    return live
