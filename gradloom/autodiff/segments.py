"""Parts of a round whose values are not kept for the backward pass: it computes them again from what went in.

The steps of a segment know the mark that began it. Where the pull asks for one of their values, they are recorded a
second time behind a barrier, without which the compiler would find that it knows the result already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradloom.entries import LEAF, SCALAR, Entry
from gradloom.graph.node import Aval
from gradloom.ops.core import Primitive
from gradloom.tape import TAPE

__all__ = ["Again", "Segment"]


def _as_first(avals: Sequence[Aval], attrs: tuple) -> Aval:
    return avals[0]


barrier = Primitive("barrier", lambda arrays, attrs, aval: arrays[0], _as_first)
"""The operand, kept apart from it by the compiler. attrs: (the segment's place,)."""
barrier.vjp = lambda ct, out, ins, attrs: (ct,)
barrier.batch, barrier.saves = "leading", False


class _Mark:
    """Stands for the primitive of a segment's beginning."""

    vjp = None
    name = "checkpoint"


_MARK = _Mark()


class Segment:
    """What is recorded within is computed again by a backward pass."""

    def __enter__(self) -> Segment:
        TAPE.room()
        self.mark = TAPE.step(_MARK, [], (), lambda: (None, False))
        self.round = TAPE.rounds
        return self

    def __exit__(self, *exc: object) -> None:
        if TAPE.rounds != self.round:
            return  # closed meanwhile: values of earlier rounds are computed again in any case
        e: Entry | None = TAPE.pos
        while e is not None and e is not self.mark:
            if e.prim is not LEAF and e.prim is not SCALAR:
                e.segment = self.mark
            e = e.parent


class Again:
    """Values of a segment, computed again where they are asked for."""

    def __init__(self, mark: Entry, handle: Callable[[Entry], Any]) -> None:
        self.mark, self.handle = mark, handle
        self.known: dict[int, Any] = {}

    def __call__(self, e: Entry) -> Any:
        """A handle of the value of an entry, inside of the segment or before it."""
        todo = [e]
        while todo:
            x = todo[-1]
            if id(x) in self.known:
                todo.pop()
            elif x.segment is not self.mark:
                kept = self.handle(x)
                plain = x.prim is SCALAR or (not x.ins and x.prim is not LEAF)
                self.known[id(x)] = kept if plain else TAPE.apply(barrier, (kept,), (self.mark.depth,))
            elif missing := [i for i in x.ins if id(i) not in self.known]:
                todo.extend(missing)
            else:
                self.known[id(x)] = TAPE.apply(x.prim, [self.known[id(i)] for i in x.ins], x.attrs)
        return self.known[id(e)]
