"""Backward passes that reach into rounds closed before, predicted: the same structure is one step of the tape.

Rounds that went alike share their entries, so what such a pass does is told by the entries that it starts from in
each round, by which inputs are leaves or values of still earlier rounds, and by what was kept of them.
"""

from __future__ import annotations

from typing import Any

from gradloom.entries import LEAF, SCALAR, Entry, Record, Value
from gradloom.tape import TAPE

__all__ = ["Survey", "reached", "survey"]


def reached(e: Entry) -> list[int]:
    """Numbers of the inputs of the round that a gradient of ``e`` reaches."""
    if e.leaves is None:
        seen, todo, out = {id(e)}, [e], []
        while todo:
            x = todo.pop()
            if x.prim is LEAF:
                out.append(x.leaf)
            for i in x.ins:
                if i.rg and id(i) not in seen:
                    seen.add(id(i))
                    todo.append(i)
        e.leaves = sorted(out)
    return e.leaves


class Survey:
    """What a pass will come by.

    Attributes
    ----------
    records : the earlier rounds. starts : the entries of each where it enters.
    targets : the leaves whose gradients it makes. key : what two passes have in common that do the same.
    """

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.starts: list[list[Entry]] = []
        self.targets: list[Any] = []
        self.key: tuple = ()

    def operands(self) -> tuple[list[Any], list[dict[int, Any]]]:
        """Handles of all that the pass computes again from, and by record the same by the ids of its entries."""
        handles: list[Any] = []
        known: list[dict[int, Any]] = []
        for record, starts in zip(self.records, self.starts, strict=True):
            own: dict[int, Any] = {}
            for x in _sources(record, starts):
                own[id(x)] = _handle(record, x)
            known.append(own)
            handles += own.values()
        return handles, known


def survey(output: Any) -> Survey | None:
    """Look over a pass from ``output``; None where it leads nowhere, or by what an earlier pass has freed."""
    v = output._v
    e = v.entry
    start = (None, e) if e is not None and e.prim is not LEAF else v.hist
    if start is None:
        return None
    found = Survey()
    places: dict[int, int] = {}  # of records, by id
    numbers: dict[int, int] = {}  # of targets, by id
    index: dict[tuple[int, int], int] = {}
    todo: list[tuple[Record | None, Entry]] = [start]
    key = []
    for record, e in todo:  # grows meanwhile
        if record is None:
            place, leaves, tensors = -1, TAPE.leaves, TAPE.tensors
        else:
            if record.freed(e):
                return None
            place = places.setdefault(id(record), len(found.records))
            if place == len(found.records):
                found.records.append(record)
                found.starts.append([])
            found.starts[place].append(e)
            leaves, tensors = record.leaves, record.tensors
        slots = []
        for k in reached(e):
            leaf, t = leaves[k], tensors[k]
            goal = behind = -1
            if t is not None and t._rg:
                goal = numbers.setdefault(id(t), len(found.targets))
                if goal == len(found.targets):
                    found.targets.append(t)
            if leaf is not None and leaf.hist is not None:
                pair = (id(leaf.hist[0]), id(leaf.hist[1]))
                behind = index.setdefault(pair, len(todo))
                if behind == len(todo):
                    todo.append(leaf.hist)
            slots.append((goal, behind))
        key.append((place, e, tuple(slots), tuple(record.kept) if record is not None else ()))
    found.key = tuple(key)
    return found


def _sources(record: Record, starts: list[Entry]) -> list[Entry]:
    """What the rules of a pass from these entries compute their values from: inputs, and steps that were kept."""
    kept = frozenset(record.kept)
    memo = starts[0].sources
    if memo is None:
        memo = starts[0].sources = {}
    key = (*starts, kept)
    if key not in memo:
        seen: set[Entry] = set()
        out = []
        todo = list(starts)
        for start in starts:
            for x in start.through():
                todo += x.ins
        while todo:
            x = todo.pop()
            if x in seen:
                continue
            seen.add(x)
            if x.prim is LEAF or x.prim is SCALAR or x in kept:
                out.append(x)
            else:
                todo += x.ins
        memo[key] = sorted(out, key=lambda x: x.depth)
    return memo[key]


def _handle(record: Record, x: Entry) -> Any:
    if x.prim is SCALAR:
        return TAPE.scalar(record.scalars[x.leaf])
    if x.prim is LEAF:
        v = record.leaves[x.leaf]
        t = record.tensors[x.leaf]
        assert v is not None
        return t if t is not None and t._v is v else TAPE.make_tensor(v)
    kept = record.kept[x]
    return TAPE.make_tensor(Value(kept.aval, None, kept.buf))
