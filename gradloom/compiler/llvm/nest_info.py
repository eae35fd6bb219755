"""What the emitter of loop nests must know about a nest before it writes the first instruction.

Every instruction gets the set of axes it varies along, the loop it belongs to and whether it fills a vector. The
loops, outermost first, are

====================  =======================================
vector axis parallel  items, vector axis, reduced axes
vector axis reduced   items, other reduced axes, vector axis
====================  =======================================

where *items* stands for all other parallel axes flattened. A value lives in the innermost loop that it varies along,
so whatever is the same for a whole row is computed once a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from gradloom.compiler.loops import Nest, stages

if TYPE_CHECKING:  # planning needs no LLVM
    from gradloom.compiler.llvm.host import Host

__all__ = ["ELEMENT_BYTES", "Info", "analyse", "weight"]

ELEMENT_BYTES = {
    "f32": 4, "f64": 8, "f16": 2, "bf16": 2, "i8": 1, "i16": 2, "i32": 4, "i64": 8,
    "u8": 1, "u16": 2, "u32": 4, "u64": 8, "bool": 1,
}  # fmt: skip

_HEAVY = {
    "exp": 12, "exp2": 10, "expm1": 18, "log": 16, "log2": 16, "log10": 16, "log1p": 20, "sin": 24, "cos": 24,
    "tan": 40, "asin": 24, "acos": 24, "atan": 24, "atan2": 32, "sinh": 24, "cosh": 24, "tanh": 20, "asinh": 40,
    "acosh": 40, "atanh": 40, "erf": 24, "erfc": 32, "erfinv": 48, "lgamma": 80, "digamma": 80, "sigmoid": 16,
    "pow": 40, "hypot": 8, "philox": 80, "div": 4, "sqrt": 4, "rsqrt": 5, "recip": 4, "floordiv": 16, "mod": 16,
    "truncdiv": 16, "fmod": 16, "nextafter": 8, "unit64": 4,
}  # fmt: skip

MAX_LANES = 32


def weight(op: str) -> int:
    """Rough cost of an elementwise instruction, in vector instructions."""
    return _HEAVY.get(op, 1)


KEEP_FROM = 10
"""Least weight of the instructions saved for which a value is kept between passes."""


@dataclass(frozen=True)
class Info:
    """The analysed nest.

    Attributes
    ----------
    items: parallel axes other than the vector axis, outermost first.
    reduced: reduced axes other than the vector axis, outermost first.
    vector_reduced: whether the vector axis is reduced.
    varies: for each instruction the axes along which its value varies.
    stage: for each instruction how many reductions come before it.
    position: for each axis its loop: 1 for items, growing inwards.
    level: for each instruction the innermost loop that it varies along; 0 for constants of the launch.
    wide: for each instruction whether it varies along the vector axis.
    splat: scalar instructions of which some user wants a vector.
    lanes: elements of a vector block. unroll: vector blocks in flight at once.
    row_level: the loop in which row values live.
    scalar_tail: whether the last elements of the vector axis are done one by one.

    The passes over the reduced axes are numbered by :meth:`stage`; see ``nest_reduce``.
    """

    nest: Nest
    host: Host
    items: tuple[int, ...]
    reduced: tuple[int, ...]
    vector_reduced: bool
    varies: tuple[frozenset[int], ...]
    stage: tuple[int, ...]
    position: tuple[int, ...]
    level: tuple[int, ...]
    wide: tuple[bool, ...]
    splat: frozenset[int]
    lanes: int
    unroll: int
    row_level: int
    scalar_tail: bool

    def full(self, n: int) -> bool:
        """Whether instruction ``n`` varies along a reduced axis."""
        return any(self.nest.axes[k] == "r" for k in self.varies[n])

    def full_store(self, k: int) -> bool:
        """Whether store ``k`` writes along a reduced axis."""
        steps = self.nest.accesses[self.nest.stores[k][1]].steps
        return any(self.nest.axes[a] == "r" and s != "0" for a, s in enumerate(steps))

    def store_level(self, k: int) -> int:
        """The loop in which store ``k`` is done."""
        v, acc = self.nest.stores[k]
        steps = self.nest.accesses[acc].steps
        return max([self.level[v], *(self.position[a] for a, s in enumerate(steps) if s != "0")])

    def reductions(self, stage: int) -> list[int]:
        """The live reductions of the loop numbered ``stage``."""
        live = self.closure(v for v, _ in self.nest.stores)
        return [
            n for n, i in enumerate(self.nest.body) if i.op == "reduce" and n in live and self.stage[i.args[0]] == stage
        ]

    @property
    def last_stage(self) -> int:
        """Number of the last loop over the reduced axes; -1 where there is none.

        Stores of full values wait for it: an output may be the buffer of an input, which earlier loops still read.
        """
        live = self.closure(v for v, _ in self.nest.stores)
        last = [self.stage[i.args[0]] for n, i in enumerate(self.nest.body) if i.op == "reduce" and n in live]
        last += [self.stage[v] for k, (v, _) in enumerate(self.nest.stores) if self.full_store(k)]
        return max(last, default=-1)

    def roots(self, stage: int) -> list[int]:
        """Values that the loop numbered ``stage`` must have in its innermost body."""
        out = [self.nest.body[n].args[0] for n in self.reductions(stage)]
        if stage == self.last_stage:
            out += [v for k, (v, _) in enumerate(self.nest.stores) if self.full_store(k)]
        return out

    def needed(self, stage: int) -> set[int]:
        """Full values that pass ``stage`` works with."""
        found = self.closure(self.roots(stage), through_reduce=False)
        return {n for n in found if self.full(n) and self.nest.body[n].op != "reduce"}

    @cached_property
    def kept(self) -> tuple[int, int, int] | None:
        """A costly value worth keeping between passes, as (instruction, the pass that computes it, store's access).

        It is kept where the nest will store a full value of the same type anyway (softmax: the exponentials stand in
        the output until they are divided by their sum). Later passes must read no full array that could be the output
        itself, which in-place work allows to be walked by an equal access.
        """
        last = self.last_stage
        best: tuple[int, int, int] | None = None
        saved = KEEP_FROM
        for k, (v, a) in enumerate(self.nest.stores):
            access = self.nest.accesses[a]
            if last < 1 or not self.full_store(k) or access.steps[self.nest.vector] != "1" or self._feeds_two(a):
                continue
            if any(s == "0" for s in access.steps):
                continue
            for n in self.needed(last) & self.closure([v], through_reduce=False):
                inst = self.nest.body[n]
                if inst.op in ("load", "const", "iota") or inst.dtype != access.dtype or not self.wide[n]:
                    continue
                if self.level[n] != max(self.position):
                    continue
                first = min(s for s in range(last + 1) if n in self.needed(s))
                rest = set().union(*(self.without(s, n) for s in range(first + 1, last + 1)))
                loads = {self.nest.body[m].attrs[0] for m in rest if self.nest.body[m].op in ("load", "load_at")}
                if first == last or any(self.nest.accesses[x].steps == access.steps for x in loads):
                    continue
                now = sum(weight(self.nest.body[m].op) for m in self.needed(last) - self.without(last, n))
                if now >= saved:
                    best, saved = (n, first, a), now + 1
        return best

    def _feeds_two(self, access: int) -> bool:
        """Whether a store's buffer is also written by another store."""
        buf = self.nest.accesses[access].buf
        return sum(self.nest.accesses[a].buf == buf for _, a in self.nest.stores) > 1

    def without(self, stage: int, n: int) -> set[int]:
        """Full values that pass ``stage`` computes if ``n`` is there already."""
        seen: set[int] = set()
        todo = [r for r in self.roots(stage) if r != n]
        while todo:
            m = todo.pop()
            if m in seen or not self.full(m):
                continue
            seen.add(m)
            todo += [x for x in self.nest.body[m].args if x != n]
        return {m for m in seen if self.nest.body[m].op != "reduce"}

    def closure(self, roots: Iterable[int], through_reduce: bool = True) -> set[int]:
        """The instructions that ``roots`` are computed from, themselves included."""
        seen: set[int] = set()
        todo = list(roots)
        while todo:
            n = todo.pop()
            if n in seen:
                continue
            seen.add(n)
            if through_reduce or self.nest.body[n].op != "reduce":
                todo += self.nest.body[n].args
        return seen


def _lanes(nest: Nest, host: Host, wide: list[bool]) -> int:
    """Lanes of a block: as many as the widest common element type fits in a register.

    64-bit integers beside narrower data (indices, random counters) take several registers instead of halving the rest.
    Scalars (the user's numbers, which are doubles) do not count.
    """
    vectors = [i for n, i in enumerate(nest.body) if wide[n] or (i.op == "reduce" and wide[i.args[0]])] or nest.body
    sizes = [ELEMENT_BYTES[i.dtype] for i in vectors if i.dtype not in ("i64", "u64", "bool")]
    if not sizes:
        sizes = [ELEMENT_BYTES[i.dtype] for i in vectors if i.dtype != "bool" or i.op == "load"] or [1]
    lanes = host.vector_bytes // max(sizes)
    return max(1, min(MAX_LANES, lanes))


def _unroll(nest: Nest, host: Host, varies: list[frozenset[int]], lanes: int) -> int:
    """Blocks in flight: enough to hide latency, few enough that registers suffice and the code stays small."""
    work = 0
    reductions = 0
    for i, inst in enumerate(nest.body):
        if nest.vector not in varies[i] and inst.op != "reduce":
            continue
        lanewise = inst.op in ("load", "load_at") and nest.accesses[inst.attrs[0]].steps[nest.vector] == "s"
        lanewise |= inst.op == "load_at" and nest.vector in varies[inst.args[0]]
        registers = max(1, lanes * ELEMENT_BYTES[inst.dtype] // host.vector_bytes)
        work += lanes if lanewise else weight(inst.op) * registers
        reductions += inst.op == "reduce"
    unroll = 4 if work <= 16 else 2 if work <= 48 else 1
    if reductions and work <= 8 and nest.axes[nest.vector] == "p":
        unroll = 16  # long pieces of every row: what makes column sums follow the memory
    while reductions and unroll > 1 and unroll * reductions > host.registers // 2:
        unroll //= 2
    return unroll


def analyse(nest: Nest, host: Host) -> Info:
    """Work out everything that :class:`Info` holds. The nest must be legal (:func:`gradloom.compiler.loops.check`)."""
    v = nest.vector
    red = frozenset(k for k, a in enumerate(nest.axes) if a == "r")
    vector_reduced = v in red
    items = tuple(k for k, a in enumerate(nest.axes) if a == "p" and k != v)
    reduced = tuple(k for k in sorted(red) if k != v)

    varies: list[frozenset[int]] = []
    for inst in nest.body:
        s: set[int] = set()
        for a in inst.args:
            s |= varies[a]
        if inst.op == "iota":
            s.add(inst.attrs[0])
        if inst.op in ("load", "load_at"):
            s |= {k for k, st in enumerate(nest.accesses[inst.attrs[0]].steps) if st != "0"}
        varies.append(frozenset(s - red) if inst.op == "reduce" else frozenset(s))

    position = [1] * len(nest.axes)
    inner = [*reduced, v] if vector_reduced else [v, *reduced]
    for p, a in enumerate(inner):
        position[a] = 2 + p
    level = [max((position[a] for a in s), default=0) for s in varies]
    wide = [v in s for s in varies]

    splat: set[int] = set()
    for n, inst in enumerate(nest.body):
        if wide[n] or (inst.op == "reduce" and vector_reduced):
            splat |= {a for a in inst.args if not wide[a]}
    splat |= {n for n, acc in nest.stores if not wide[n] and nest.accesses[acc].steps[v] != "0"}

    lanewise = any(a.steps[v] == "s" for a in nest.accesses) or any(
        i.op == "load_at" and wide[i.args[0]] for i in nest.body
    )
    lanes = _lanes(nest, host, wide)
    return Info(
        nest=nest,
        host=host,
        items=items,
        reduced=reduced,
        vector_reduced=vector_reduced,
        varies=tuple(varies),
        stage=tuple(stages(nest)),
        position=tuple(position),
        level=tuple(level),
        wide=tuple(wide),
        splat=frozenset(splat),
        lanes=lanes,
        unroll=_unroll(nest, host, varies, lanes),
        row_level=1 if vector_reduced else 2,
        scalar_tail=lanewise or not host.masks,
    )
