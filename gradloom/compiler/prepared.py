"""Which kernels of a program depend on lasting inputs alone: they run once, and what they wrote is kept.

Filters brought into the order that convolutions read, packed weights of products, what a norm makes of its parameters:
in inference none of it changes from run to run. Lasting inputs are parameters and buffers of modules; the program must
not write them. :mod:`gradloom.runtime.kept` knows when they have changed all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gradloom.compiler.groups import Storage
from gradloom.compiler.looping import Job
from gradloom.compiler.loops import Launch
from gradloom.compiler.program import Executable, Note, Parts
from gradloom.compiler.schedule import Footprint
from gradloom.runtime.buffers import Buffer
from gradloom.runtime.kept import LIMIT, Kept
from gradloom.runtime.runner import Plan

if TYPE_CHECKING:
    from gradloom.compiler.pipeline import Block

__all__ = ["LEAST", "Early", "Prepared", "derived", "early"]

LEAST = 32 << 10  # bytes below which computing them in every run costs less than looking whether they are still right
ALIGN = 64


class Early:
    """Launches that run once, and the memory that they fill.

    launches: the ids of them. kept: offsets of their slots in ``nbytes`` bytes.
    """

    def __init__(self, launches: set[int], kept: dict[int, int], nbytes: int) -> None:
        self.launches, self.kept, self.nbytes = launches, kept, nbytes

    def take(self, block: Block) -> list[Launch]:
        """Take the launches out of a block, their notes too, and return them in order."""
        taken: list[Launch] = []
        notes: list[Note] = []
        shared: set[int] = set()
        at, head = 0, False
        for k, step in enumerate(block.steps):
            if not isinstance(step, list):
                count = len(step.notes) if isinstance(step, Job) else 1
                notes += block.notes[at : at + count]
                at, head = at + count, False
                continue
            left = [x for x in step if id(x) not in self.launches]
            taken += [x for x in step if id(x) in self.launches]
            own = zip(step, block.notes[at : at + len(step)], strict=True)
            notes += [n for x, n in own if id(x) not in self.launches]
            at += len(step)
            if k not in block.shared:
                head = bool(left)
            elif left:
                if head:
                    shared.add(k)
                head = True
            block.steps[k] = left
        block.lines.append(f"computed once: {len(taken)} kernels, {self.nbytes} bytes kept")
        block.notes, block.shared = notes, shared
        return taken


def early(
    block: Block, sequence: Sequence[Footprint], lasting: set[Storage], least: int = LEAST, most: int = LIMIT
) -> Early | None:
    """What of a block's steps, one for each of ``sequence``, to compute once; None where it is not worth it.

    least, most: bytes that are worth keeping.
    """
    memory = block.memory
    ready = _ready(block, sequence, lasting)
    done = {s for p in ready for s in p.writes}
    slots = {memory.slots[s] for s in done}
    storages = set(memory.slots.values())
    sure = slots | {memory.slots[s] for s in lasting if s in memory.slots}
    launches: set[int] = set()
    mixed: list[tuple[list[Launch], list[Launch]]] = []
    for p, step in zip(sequence, block.steps, strict=True):
        if not isinstance(step, list):
            continue
        if p in ready:
            launches.update(map(id, step))
            slots.update(b for x in step for b in x.buffers if b not in storages)
        elif p.group.kind == "contract" and len(step) > 1:
            first = [x for x in step[:-1] if _packs(x, sure, storages)]
            if first:
                mixed.append((first, [x for x in step[:-1] if not _packs(x, sure, storages)]))
    for first, others in mixed:
        made = {b for x in first for b in x.buffers} - sure
        if not any(b in made for x in others for b in x.buffers):
            launches.update(map(id, first))
            slots |= made
    kept: dict[int, int] = {}
    total = 0
    for k in sorted(slots - set(memory.fixed)):
        kept[k] = total
        total += -(-max(memory.bytes[k], 1) // ALIGN) * ALIGN
    return Early(launches, kept, total) if least <= total <= most else None


def derived(sequence: Sequence[Footprint], lasting: set[Storage]) -> set[Storage]:
    """What depends on lasting storages alone, these included."""
    out, groups = set(lasting), set()
    for p in sequence if lasting else ():
        if out.issuperset(p.reads):
            groups.add(p.group)
            out |= {s for s in p.writes if s.source is None and groups.issuperset(s.writers)}
    return out


def _packs(x: Launch, sure: set[int], storages: set[int]) -> bool:
    """Whether a launch in front of a contraction brings what is known into temporary memory."""
    return any(b in sure for b in x.buffers) and all(b in sure or b not in storages for b in x.buffers)


def _ready(block: Block, sequence: Sequence[Footprint], lasting: set[Storage]) -> set[Footprint]:
    """The groups that read lasting inputs and each other alone, and write what no other group writes."""
    memory = block.memory
    out = {
        p for p, step in zip(sequence, block.steps, strict=True)
        if isinstance(step, list) and step and all(memory.slots[s] not in memory.fixed for s in p.writes)
    }  # fmt: skip
    readers: dict[Storage, list[Footprint]] = {}
    for p in sequence:
        for s in p.reads:
            readers.setdefault(s, []).append(p)
    while True:
        groups = {p.group for p in out}

        def whole(s: Storage, groups: set[Any] = groups) -> bool:
            """Whether a storage is filled by these groups alone, and by all of them before anybody reads it."""
            if s.source is not None or not groups.issuperset(s.writers):
                return False
            bits = sum(w.bit for w in s.writers)
            return all(p.before & bits == bits for p in readers.get(s, ()))

        left = {p for p in out if all(s in lasting or whole(s) for s in p.reads) and all(map(whole, p.writes))}
        if len(left) == len(out):
            return left
        out = left


class Prepared(Executable):
    """A program with a part that depends on lasting inputs alone."""

    def __init__(self, parts: Parts, commands: Sequence[Any], inputs: Sequence[int], slot: int, nbytes: int) -> None:
        super().__init__(parts)
        plan = Plan(commands, parts.slots)
        if self._pool is not None:
            plan.table[parts.pool_slot] = self._pool.ptr
        self.kept = Kept(plan, inputs, slot, nbytes)

    def run(self, inputs: Sequence[int]) -> list[Buffer | None]:
        """Run all of it: for callers that do not say what memory their inputs are in."""
        return self._run_on(self.kept.compute(inputs), inputs)

    def run_kept(self, inputs: Sequence[int], buffers: Callable[[], Sequence[Buffer | None]]) -> list[Buffer | None]:
        """Run it on inputs by their addresses; ``buffers`` gives those at them, None for numbers."""
        return self._run_on(self.kept.hold(inputs, buffers), inputs)

    def run_timed(self, inputs: Sequence[int]) -> tuple[list[Buffer | None], list[tuple[Note, int, int]]]:
        """As for all programs; what is kept is computed first and not among the times."""
        held = self.kept.compute(inputs)
        self.place_at(self.kept.slot, held.ptr)
        return super().run_timed(inputs)

    def _run_on(self, held: Buffer, inputs: Sequence[int]) -> list[Buffer | None]:
        self.place_at(self.kept.slot, held.ptr)
        return super().run(inputs)
