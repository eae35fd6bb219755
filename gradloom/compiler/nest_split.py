"""Long reductions to few results, cut in two so that all cores work: partial results first, then their combination.

One reduced axis of ``n`` elements becomes a parallel axis of ``parts`` and a reduced axis of ``length``. What is left
at the end (``n - parts * length`` elements, few) is a second launch of the same kernel with one part. The partial
results go to temporaries, which a second nest reduces; whatever follows the reduction per row is done there. The cut
depends on extents alone, so the tree of a sum is fixed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gradloom.compiler.loops import Access, Inst, Launch, Nest, full, stages
from gradloom.compiler.nest_plan import plan_nest, work_of

__all__ = ["Split", "Trimmed", "is_narrow", "split_reduction", "trim"]

PARTS = 32
GRAIN = 256
"""Pieces of the vector axis are multiples of this: whole blocks of vectors."""

ENOUGH_CHUNKS = 8
"""A nest that already has so many chunks is left alone."""

SPLIT_WORK = 1 << 19
"""And one of less work, in elements times instructions."""


@dataclass(frozen=True)
class Trimmed:
    """A nest without what nothing uses: the numbers that its accesses and buffers had before."""

    nest: Nest
    accesses: tuple[int, ...]
    buffers: tuple[int, ...]


@dataclass(frozen=True)
class Split:
    """How a reduction is done in two steps.

    Attributes
    ----------
    nest, extents: before the cut.
    partial, combine: the nests of the two steps. Their accesses and buffers are numbered as those of ``nest`` with
    one more for each temporary, of which the unused ones are left out.
    temps: dtype and number of elements of each temporary.
    axis: the reduced axis that was cut. parts, length, rest: into how many pieces of how many positions, and how many
    positions are left for the last, shorter piece.
    """

    nest: Nest
    extents: tuple[int, ...]
    partial: Trimmed
    combine: Trimmed
    temps: tuple[tuple[str, int], ...]
    axis: int
    parts: int
    length: int
    rest: int

    @property
    def pieces(self) -> int:
        """Partial results of each result."""
        return self.parts + (self.rest > 0)

    def launches(
        self, access_ints: Sequence[Sequence[int]], buffers: Sequence[int], temps: Sequence[int]
    ) -> list[Launch]:
        """The launches, to be done in this order (those before the last may run at once).

        Parameters
        ----------
        access_ints, buffers: as for :func:`gradloom.compiler.nest_plan.plan_nest` of the nest before the cut.
        temps: the program's slot of each temporary.
        """
        slots = [*buffers[: self.nest.buffers], *temps]
        out = [self._partial(access_ints, slots, 0, self.parts, self.length)]
        if self.rest:
            out.append(self._partial(access_ints, slots, self.parts, 1, self.rest))
        parallel = _parallel(self.nest)
        ints = [
            access_ints[a] if a < len(access_ints) else self._temp_ints(0, [*parallel, PIECE])
            for a in self.combine.accesses
        ]
        extents = [*(self.extents[k] for k in parallel), self.pieces]
        return [*out, plan_nest(self.combine.nest, extents, ints, [slots[b] for b in self.combine.buffers])]

    def _partial(
        self, access_ints: Sequence[Sequence[int]], slots: Sequence[int], first: int, parts: int, length: int
    ) -> Launch:
        extents = [parts, *self.extents]
        extents[1 + self.axis] = length
        ints: list[Sequence[int]] = []
        for a in self.partial.accesses:
            if a >= len(access_ints):
                ints.append(self._temp_ints(first, [PIECE, *_parallel(self.nest)]))
                continue
            access, mine = self.nest.accesses[a], access_ints[a]
            step = access.steps[self.axis]
            if step == "0":
                ints.append(mine)
                continue
            stride = self.length * (1 if step == "1" else mine[1 + access.steps[: self.axis].count("s")])
            ints.append([mine[0] + first * stride, stride, *mine[1:]])
        return plan_nest(self.partial.nest, extents, ints, [slots[b] for b in self.partial.buffers])

    def _temp_ints(self, first: int, axes: Sequence[int]) -> list[int]:
        """Integers of an access to a temporary from piece ``first`` on; ``axes`` in the order of its steps."""
        order = _temp_order(self.nest)
        strides: dict[int, int] = {}
        stride = 1
        for k in reversed(order):
            strides[k] = stride
            stride *= self.pieces if k == PIECE else self.extents[k]
        return [first * strides[PIECE], *(strides[k] for k in axes if k != order[-1])]


PIECE = -1
"""Stands for the axis of pieces where axes of the nest before the cut are numbered."""


def _parallel(nest: Nest) -> list[int]:
    return [k for k, a in enumerate(nest.axes) if a == "p"]


def _temp_order(nest: Nest) -> list[int]:
    """Axes of a temporary, the contiguous one last."""
    if nest.axes[nest.vector] == "r":
        return [*_parallel(nest), PIECE]
    return [PIECE, *(k for k in _parallel(nest) if k != nest.vector), nest.vector]


def is_narrow(nest: Nest, extents: Sequence[int]) -> bool:
    """Whether a nest has much to reduce and too little to do side by side."""
    if "r" not in nest.axes or work_of(nest, extents) < SPLIT_WORK:
        return False
    return plan_nest(nest, extents, [[0] * a.ints for a in nest.accesses], []).chunks < ENOUGH_CHUNKS


def split_reduction(nest: Nest, extents: Sequence[int]) -> Split | None:
    """Cut a reduction in two steps where that gives idle cores work.

    Returns None where the nest has parallel work enough, is small, or cannot be cut: when a value of the reduced
    iteration space needs a finished reduction (softmax), or the position along the axis to be cut.
    """
    reduced = [k for k, a in enumerate(nest.axes) if a == "r"]
    if not is_narrow(nest, extents):
        return None
    stage, varies = stages(nest), full(nest)
    if any(varies[n] and stage[n] > 0 for n in range(len(nest.body))):
        return None
    if any(i.op == "reduce" and stage[i.args[0]] > 0 for i in nest.body):
        return None
    axis = max(reduced, key=lambda k: extents[k])
    if any(i.op == "iota" and i.attrs[0] == axis for i in nest.body):
        return None
    grain = GRAIN if axis == nest.vector else 1
    parts = min(PARTS, extents[axis] // grain)
    if parts < 2:
        return None
    length = extents[axis] // parts // grain * grain
    sums = [n for n, i in enumerate(nest.body) if i.op == "reduce"]
    results = math.prod(extents[k] for k, a in enumerate(nest.axes) if a == "p")
    rest = extents[axis] - parts * length
    temps = tuple((nest.body[n].dtype, results * (parts + (rest > 0))) for n in sums)
    return Split(
        nest,
        tuple(extents),
        _partial_nest(nest, axis, sums),
        _combine_nest(nest, sums),
        temps,
        axis,
        parts,
        length,
        rest,
    )


def _partial_nest(nest: Nest, axis: int, sums: list[int]) -> Trimmed:
    """The nest with an axis of pieces in front, which stores its reductions (and full values) as they are."""
    accesses = [replace(a, steps=("0" if a.steps[axis] == "0" else "s", *a.steps)) for a in nest.accesses]
    unit = _temp_order(nest)[-1]
    steps = ["1" if k == unit else "s" if k in (PIECE, *_parallel(nest)) else "0" for k in range(-1, len(nest.axes))]
    body = [replace(i, attrs=(1 + i.attrs[0],)) if i.op == "iota" else i for i in nest.body]
    varies = full(nest)
    stores = [(v, a) for v, a in nest.stores if varies[v]]
    for k, n in enumerate(sums):
        accesses.append(Access(nest.buffers + k, nest.body[n].dtype, tuple(steps)))
        stores.append((n, len(accesses) - 1))
    return trim(Nest(("p", *nest.axes), 1 + nest.vector, tuple(accesses), tuple(body), tuple(stores), nest.stream))


def _combine_nest(nest: Nest, sums: list[int]) -> Trimmed:
    """The nest over the parallel axes and the pieces: reduces the temporaries and goes on from there."""
    parallel = _parallel(nest)
    unit = _temp_order(nest)[-1]
    accesses = [replace(a, steps=(*(a.steps[k] for k in parallel), "0")) for a in nest.accesses]
    steps = ["1" if k == unit else "s" for k in [*parallel, PIECE]]
    varies = full(nest)
    body: list[Inst] = []
    place: dict[int, int] = {}
    for n, inst in enumerate(nest.body):
        if n in sums:
            accesses.append(Access(nest.buffers + sums.index(n), inst.dtype, tuple(steps)))
            body.append(Inst("load", inst.dtype, (), (len(accesses) - 1,)))
            body.append(replace(inst, args=(len(body) - 1,)))
        elif varies[n]:
            continue
        elif inst.op == "iota":
            body.append(replace(inst, attrs=(parallel.index(inst.attrs[0]),)))
        else:
            body.append(replace(inst, args=tuple(place[a] for a in inst.args)))
        place[n] = len(body) - 1
    stores = tuple((place[v], a) for v, a in nest.stores if not varies[v])
    axes = ("p",) * len(parallel) + ("r",)
    vector = [*parallel, PIECE].index(unit)
    return trim(Nest(axes, vector, tuple(accesses), tuple(body), stores))


def trim(nest: Nest) -> Trimmed:
    """The nest without instructions, accesses and buffers that no store needs."""
    need = {v for v, _ in nest.stores}
    for n in range(len(nest.body) - 1, -1, -1):
        if n in need:
            need |= set(nest.body[n].args)
    keep = sorted(need)
    value = {n: k for k, n in enumerate(keep)}
    loads = {nest.body[n].attrs[0] for n in keep if nest.body[n].op in ("load", "load_at")}
    used = sorted(loads | {a for _, a in nest.stores})
    access = {a: k for k, a in enumerate(used)}
    buffers = sorted({nest.accesses[a].buf for a in used})
    body: list[Inst] = []
    for n in keep:
        inst = nest.body[n]
        attrs = (access[inst.attrs[0]],) if inst.op in ("load", "load_at") else inst.attrs
        body.append(replace(inst, args=tuple(value[a] for a in inst.args), attrs=attrs))
    accesses = tuple(replace(nest.accesses[a], buf=buffers.index(nest.accesses[a].buf)) for a in used)
    stores = tuple((value[v], access[a]) for v, a in nest.stores)
    return Trimmed(replace(nest, accesses=accesses, body=tuple(body), stores=stores), tuple(used), tuple(buffers))
