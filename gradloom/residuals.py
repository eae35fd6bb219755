"""What backward passes need of rounds that were closed before them.

A look at a loss closes its round, and a backward pass that comes later finds nothing of it but its inputs: it records
again what its rules ask for. The first time that happens the round's last entry learns which steps those were, and
rounds that end there from then on return their values too. Steps that cost little beside the memory that they would
take (elementwise, views, constants, random numbers) are still computed again, from what is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gradloom.entries import Entry, Record, Value

__all__ = ["Made", "add_asked", "keep", "learn"]

CHEAP = frozenset({"elementwise", "movement", "create", "random"})


Made = list[tuple[Entry, Entry]]
"""Steps of an earlier round that were recorded again: entries of then, and of now. No handles: those would be alive."""


def add_asked(end: Entry, live: list[Value], order: list[Entry]) -> None:
    """Let a round that closes at ``end`` return what earlier ones were asked for, behind what is alive."""
    have = set(order)
    for e in end.asked:
        if e not in have:
            live.append(Value(e.aval, e))  # type: ignore[arg-type]
            order.append(e)


def keep(record: Record, live: Iterable[Value]) -> None:
    """Note in the record what its round returned of that; by values of its own, which do not lead back to it."""
    asked = set(record.end.asked)
    record.kept = {e: Value(v.aval, None, v.buf) for v in live if (e := v.entry) in asked}


def learn(
    reruns: Sequence[tuple[Record, Made]], path: Sequence[Entry], order: Sequence[Entry], needed: set[int]
) -> None:
    """Tell the ends of earlier rounds what this one computes again of them.

    path: the entries of this round. order: those whose values it returns. needed: ids of those that it computes.
    """
    for record, made in reruns:
        of_then = {id(e): x for x, e in made}
        todo = [e for e in order if id(e) in of_then]
        for e in path:
            if id(e) in needed and id(e) not in of_then:
                todo += [i for i in e.ins if id(i) in of_then]
        asked: set[Entry] = set()
        seen: set[int] = set()
        while todo:
            e = todo.pop()
            if id(e) in seen:
                continue
            seen.add(id(e))
            x = of_then[id(e)]
            if _dear(x):
                asked.add(x)
            else:
                todo += [i for i in e.ins if id(i) in of_then]
        end = record.end
        if not asked <= set(end.asked):
            end.asked = tuple(sorted(asked.union(end.asked), key=lambda x: x.depth))


def _dear(e: Entry) -> bool:
    """Whether a step's value is kept rather than computed again."""
    prim: Any = e.prim
    return prim.kind not in CHEAP and not getattr(prim, "alias", False) and not getattr(prim, "is_check", False)
