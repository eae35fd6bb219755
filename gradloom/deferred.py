"""Large arrays that consist of a few rows among zeros are kept as those rows while nobody looks.

After a step the gradient of an embedding's table still hangs on ``weight.grad``, so the step's program would have to
return it: an array of the table's size for some hundred rows. What a program returns instead is what the array is
computed from, the rows and their index; whoever uses it later computes it there, and where that is another step, only
what that step needs of it.

This is no other kind of tensor. A value of which nothing but that is kept stands in ``LATE``; it enters a round as the
steps that made it (:func:`recalled`), and has memory after a round in which somebody looks at it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from gradloom.entries import LEAF, SCALAR, Entry, Value
from gradloom.graph.node import Aval
from gradloom.ops import structure as S
from gradloom.ops.gather import by_rows, index_put, take_put
from gradloom.runtime.buffers import allocate

if TYPE_CHECKING:
    from gradloom.tape import Tape

__all__ = ["LATE", "Late", "ingredients", "looked_up", "put_off", "recalled", "rows_among_zeros", "settled"]

LEAST = 1 << 14  # elements of an array that is worth it
FEW = 6  # times that it has more of them than what it is computed from
STEPS = 64  # of which it may be made


class Late:
    """How a value is computed: the entry that stood for it, and the values of what that hangs on (or numbers)."""

    __slots__ = ("entry", "held")

    def __init__(self, entry: Entry, held: dict[Entry, Any]) -> None:
        self.entry, self.held = entry, held


LATE: WeakKeyDictionary[Value, Late] = WeakKeyDictionary()
"""The values that were left without memory when their round was closed. They stay here when they have some."""


def rows_among_zeros(e: Entry) -> bool:
    """Whether this is the gradient of a look-up of rows."""
    if e.prim is not take_put and e.prim is not index_put:
        return False
    base, aval = e.ins[0], e.aval
    assert aval is not None
    return (
        len(e.ins) == 3 and base.prim is S.full and base.attrs[0] == 0 and e.attrs[-1] == "add"
        and e.prim.gather.of_rows(len(aval.shape), e.attrs[:-1])
    )  # fmt: skip


def _behind(e: Entry, ends: dict[Entry, Any]) -> list[Entry]:
    """The entries behind ``e`` up to ``ends``, these included, in the order in which they were recorded."""
    seen = {e}
    todo = [e]
    while todo:
        for i in todo.pop().ins:
            if i not in seen:
                seen.add(i)
                if i not in ends:
                    todo.append(i)
    return sorted(seen, key=lambda x: x.depth)


def ingredients(e: Entry) -> tuple[Entry, ...]:
    """What a value of few rows is computed from by element; nothing where it is another value, or not worth it."""
    if e.ingredients is None:
        e.ingredients = _ingredients(e)
    return e.ingredients


def _ingredients(e: Entry) -> tuple[Entry, ...]:
    if e.aval is None or e.rg or e.abstract:
        return ()
    found: dict[Entry, None] = {}
    seen: set[Entry] = set()
    todo = [e]
    rows = asked = False
    while todo:
        x = todo.pop()
        if x in seen or x.prim is S.full:
            continue
        seen.add(x)
        if len(seen) > STEPS or x.rg or x.aval is None:
            return ()
        if x.aval.size == 1:
            found[x] = None
        elif rows_among_zeros(x):
            rows = True
            found.update(dict.fromkeys(x.ins[1:]))
        elif x.prim is by_rows or getattr(x.prim, "kind", None) == "elementwise":
            asked |= x.prim is by_rows
            todo += x.ins
        else:
            return ()
    if not rows or any(i.rg for i in found):
        return ()
    held = sum(i.aval.size for i in found)  # type: ignore[union-attr, misc]
    return tuple(found) if asked or max(LEAST, FEW * held) <= e.aval.size else ()


def looked_up(e: Entry) -> list[Entry]:
    """How a gradient comes from look-ups that ask for gradients by rows, if from such alone: the entries, in order.

    Those that put rows among zeros, whose third operand is the index, and what is computed from them.
    """
    found: set[Entry] = set()
    todo = [(e, False)]
    while todo:
        x, asked = todo.pop()
        if x.prim is S.full or x.aval is None or x.aval.size == 1:
            continue
        found.add(x)
        asked |= x.prim is by_rows
        if x.prim is by_rows or getattr(x.prim, "kind", None) == "elementwise":
            todo += [(i, asked) for i in x.ins]
        elif not asked or not rows_among_zeros(x):
            return []
    return sorted(found, key=lambda x: x.depth)


def _copied(v: Value) -> Value:
    """A value of its own: the memory of a batch may be written to by whoever gave it."""
    assert v.buf is not None
    n = max(1, v.aval.size * v.aval.dtype.itemsize)
    buf = allocate(n)
    ctypes.memmove(buf.ptr, v.buf.ptr, n if v.aval.size else 0)
    return Value(v.aval, None, buf)


def put_off(tape: Tape, late: list[Value], live: list[Value], order: list[Entry]) -> list[tuple[Value, Late]]:
    """Have a round return what some values are computed from: added to its ``live`` values and their entries."""
    of = {v.entry: v for v in live}
    out = []
    for v in late:
        assert v.entry is not None
        held: dict[Entry, Any] = {}
        for i in ingredients(v.entry):
            if i.prim is SCALAR:
                held[i] = tape.scalars[i.leaf]
            elif i.prim is LEAF:
                held[i] = tape.leaves[i.leaf]
            else:
                if i not in of:
                    of[i] = Value(i.aval, i)  # type: ignore[arg-type]
                    tape.values.append(of[i])
                    live.append(of[i])
                    order.append(i)
                held[i] = of[i]
        out.append((v, Late(v.entry, held)))
    return out


def settled(late: Sequence[tuple[Value, Late]]) -> None:
    """After the round: the values know how they are computed."""
    own: dict[int, Value] = {}
    for v, how in late:
        for i, x in how.held.items():
            if i.prim is LEAF:
                if id(x) not in own:
                    own[id(x)] = _copied(x)
                how.held[i] = own[id(x)]
        LATE[v] = how


def recalled(tape: Tape, v: Value) -> Entry:
    """The entry of a value in the present round: the steps that made it, once more."""
    how = LATE[v]
    here: dict[Entry, Entry] = {}
    for x in _behind(how.entry, how.held):
        held = how.held.get(x)
        if held is None:
            here[x] = tape.step(x.prim, [here[i] for i in x.ins], x.attrs, partial(_as_before, x))
        elif isinstance(held, Value):
            here[x] = held.entry or tape.bind(tape.make_tensor(held), held)
        else:
            here[x] = tape.scalar_entry(held)
    v.entry = here[how.entry]
    tape.values.append(v)
    return v.entry


def _as_before(x: Entry) -> tuple[Aval | None, bool]:
    return x.aval, False
