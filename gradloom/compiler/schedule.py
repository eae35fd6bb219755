"""The order of kernels, and which outputs can be written into donated inputs."""

from __future__ import annotations

from collections.abc import Sequence

from gradloom.compiler.groups import Group, Storage
from gradloom.compiler.lower import live_accesses

__all__ = ["Footprint", "close", "donations", "order"]


class Footprint:
    """What a group reads and writes, and the groups that must run before it."""

    def __init__(self, g: Group) -> None:
        self.group = g
        self.loads = live_accesses(g)
        self.fixed: list[Storage] = []  # read in ways that forbid writing there at once
        if g.dot is not None:
            self.fixed += [g.dot[0].storage, g.dot[1].storage]
        if g.scatter is not None:
            self.fixed += [g.scatter.values, g.scatter.index]
        if g.host is not None:
            self.fixed += [v.storage for v in g.host[1]]
        if g.loop is not None:
            self.fixed += [v.storage for v in g.loop.views]
        self.reads = {a[0] for a in self.loads} | set(self.fixed)
        self.writes = {s[1] for s in g.stores} | ({g.host[2].storage} if g.host else set())
        if g.scatter is not None:
            self.writes.add(g.scatter.target)
        if g.loop is not None:
            self.writes.update(g.loop.results)
        self.before = 0


def order(prints: Sequence[Footprint]) -> list[int]:
    """Positions of the groups in an order that respects ``before``; earlier groups first where they are free."""
    left = list(range(len(prints)))
    done = 0
    out: list[int] = []
    while left:
        for k in left:
            if not prints[k].before & ~done & ~prints[k].group.bit:
                break
        else:
            raise RuntimeError("kernels depend on each other in a circle")
        left.remove(k)
        out.append(k)
        done |= prints[k].group.bit
    return out


def close(prints: Sequence[Footprint]) -> None:
    """Make ``before`` transitive."""
    by_bit = {p.group.number: p for p in prints}
    changed = True
    while changed:
        changed = False
        for p in prints:
            m = p.before
            rest, k = m, 0
            while rest:
                k = (rest & -rest).bit_length() - 1
                rest &= rest - 1
                if k in by_bit:
                    m |= by_bit[k].before
            if m != p.before:
                p.before = m
                changed = True


def donations(
    prints: list[Footprint], outputs: Sequence[Storage], inputs: Sequence[Storage], donate: dict[int, int]
) -> dict[Storage, Storage]:
    """Outputs that are written into an input's memory: output storage to input storage.

    That is so where the sizes agree, every other reader of the input can run before the writers, and a writer itself
    reads an element only to write its successor. What would only copy the input to its own place, for others to change
    parts of it, is dropped from ``prints``. ``before`` of the writers grows by those readers.
    """
    out: dict[Storage, Storage] = {}
    for k, i in sorted(donate.items()):
        to, frm = outputs[k], inputs[i]
        if to in out or frm in out.values() or (to.dtype, to.size) != (frm.dtype, frm.size) or not to.size:
            continue
        writers = [p for p in prints if to in p.writes]
        copy = next((p for p in writers if len(writers) > 1 and _copies(p.group, to, frm)), None)
        if copy is not None and not all(p is copy or p.before & copy.group.bit for p in writers):
            continue  # it puts back what another has written over
        changing = [p for p in writers if p is not copy]
        if (copy is None and len(writers) > 1) or not all(_in_place(p, to, frm) for p in changing):
            continue
        if len(changing) > 1 and any(frm in p.reads for p in changing):
            continue
        readers = [p for p in prints if p not in writers and frm in p.reads]
        bits = sum(p.group.bit for p in changing)
        if any(p.before & bits for p in readers):
            continue
        if copy is not None:
            prints.remove(copy)
            for p in prints:
                p.before &= ~copy.group.bit
        for w in changing if readers else ():
            for p in readers:
                w.before |= p.group.bit | p.before
            for p in prints:
                if p.before & w.group.bit:
                    p.before |= w.before
        out[to] = frm
    return out


def _copies(g: Group, to: Storage, frm: Storage) -> bool:
    """Whether all that a kernel does is to bring elements of one storage to the same places of another."""
    if g.kind != "nest" or len(g.stores) != 1 or g.reduced:
        return False
    inst, storage, offset, strides = g.stores[0]
    load = g.body.insts[inst]
    return storage is to and load.op == "load" and g.body.accesses[load.attrs[0]] == (frm, offset, strides, None)


def _in_place(p: Footprint, to: Storage, frm: Storage) -> bool:
    """Whether a writer of ``to`` could write into ``frm``: it reads from there only what it replaces."""
    if p.group.host is not None or frm in p.fixed:
        return False
    stores = [s for s in p.group.stores if s[1] is to]
    if p.group.scatter is not None and not stores:
        return True
    if len(stores) != 1:
        return False
    _, _, offset, strides = stores[0]
    return all(a[0] is not frm or (a[1], a[2], a[3]) == (offset, strides, None) for a in p.loads)
