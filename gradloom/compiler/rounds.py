"""A program for a few images made into one that runs in rounds (:mod:`gradloom.compiler.passes.rounds`)."""

from __future__ import annotations

from dataclasses import replace

from gradloom.compiler.kernels import addresses
from gradloom.compiler.llvm.rounds import ARENAS, MOST_BUFFERS, RoundsSource
from gradloom.compiler.program import Parts
from gradloom.runtime.runner import Command, Rounds

__all__ = ["repeated"]

PAGE = 4096


def repeated(parts: Parts, count: int, steps: dict[int, int]) -> Parts | None:
    """The parts of a program that does the same ``count`` times, on the next rows of inputs and outputs each time.

    steps: the inputs that have such rows, and the bytes of a round's. None where NumPy or a loop does part of it, or
    where an output is written into an input.
    """
    body = [c for s in parts.segments if isinstance(s, list) for c in s if isinstance(c, Command)]
    whole = len(parts.segments) == 1 and parts.segments[0] == body and None not in parts.outputs
    if not whole or any(len(c.buffers) > MOST_BUFFERS for c in body):
        return None
    steps = steps | {s: n for s, n in zip(parts.outputs, parts.out_bytes, strict=True) if s is not None}
    own = {slot: parts.slots + k for k, slot in enumerate(steps)}
    moved = [replace(c, buffers=[(own.get(slot, slot), offset) for slot, offset in c.buffers]) for c in body]
    apart = -(-parts.arena_bytes // PAGE) * PAGE
    arenas = min(ARENAS, count)
    (fn,) = addresses([RoundsSource()])
    moves = [(own[slot], slot, n) for slot, n in steps.items()]
    return replace(
        parts,
        segments=[[Rounds(fn, count, moves, parts.arena_slot, apart, arenas, moved)]],
        slots=parts.slots + len(own),
        out_bytes=[n * count for n in parts.out_bytes],
        arena_bytes=apart * arenas,
        quick=False,
        lines=[f"{count} rounds, each done by one thread", *parts.lines],
        notes=[n._replace(flops=n.flops * count, nbytes=n.nbytes * count) for n in parts.notes],
    )
