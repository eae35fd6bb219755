"""The kernels of a program while it is walked: opening and merging them, what they have at hand, what is in memory.

A value that one kernel needs from another is written to memory by the kernel that computes it; movement is a view of
that memory, or a permutation of loop axes inside a kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from gradloom.compiler.body import Elem
from gradloom.compiler.groups import Dims, Group, Storage
from gradloom.compiler.views import MOVES, View, move, moved_dims
from gradloom.graph.node import Node
from gradloom.ops.elementwise import detach
from gradloom.ops.structure import blank, full

__all__ = ["MAX_ACCESSES", "MAX_INSTS", "Kernels", "base_of", "is_leaf", "moves"]

MAX_INSTS = 160
MAX_ACCESSES = 28
TANGLED = 1 << 14  # elements above which a view is worth a look at how it is walked
SHORT_RUN = 16


def moves(n: Node) -> bool:
    """Whether a node is movement that views can express."""
    return n.prim is not None and n.prim.kind == "movement" and n.prim.name in MOVES


def base_of(n: Node) -> Node:
    """What is behind all movement."""
    while moves(n):
        n = n.ins[0]
    return n


def _tangled(v: View, again: bool) -> bool:
    """Whether a large view is walked in steps though it has axes of unit stride: in short stretches, or several times
    over (``again``). A copy of windows that overlap would be larger than what they lie in: such a view stays.
    """
    long = [(n, s) for n, s in zip(v.shape, v.strides, strict=True) if n != 1]
    if not TANGLED <= math.prod(v.shape) <= 1 + sum((n - 1) * abs(s) for n, s in long) or any(s == 0 for _, s in long):
        return False
    last = long[-1][1]
    if abs(last) == 1 or (not again and _reach(reversed(long), last) >= SHORT_RUN):
        return False
    return _reach(sorted(long, key=lambda a: a[1]), 1) >= SHORT_RUN


def _reach(axes: Iterable[tuple[int, int]], step: int) -> int:
    """How many elements these axes, (extent, stride) from the inner one on, walk in equal steps."""
    run = 1
    for n, s in axes:
        if s != step:
            break
        run, step = run * n, s * n
    return run


def is_leaf(n: Node) -> bool:
    """Whether a node is a constant or an iota, recomputed wherever it is used."""
    return n.prim is not None and n.prim.kind == "create"


def is_again(n: Node) -> bool:
    """Whether a node is computed by every kernel that wants it (:mod:`gradloom.compiler.passes.recompute`)."""
    return n.prim is not None and n.prim.kind == "again"


class Kernels:
    """Groups under construction and the memory between them; :class:`gradloom.compiler.fuse.Fuser` fills it.

    groups: those that are left, in order of creation. home: the group that computes a node. at_hand: the groups that
    have it. storages, views, copies: where nodes lie in memory. users: the nodes that a node is an operand of; None
    among them where it is an output. done: the nodes that were walked.
    """

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.home: dict[int, Group] = {}
        self.at_hand: dict[int, list[Group]] = {}
        self.storages: dict[int, Storage] = {}
        self.views: dict[int, View] = {}
        self.copies: dict[int, View] = {}
        self.users: dict[int, list[Node | None]] = {}
        self.done: set[int] = set()
        self.count = 0

    # -- groups -----------------------------------------------------------------------------------
    def open(self, kind: str, extents: Sequence[int]) -> Group:
        """A new group."""
        g = Group(self.count, kind, extents)
        self.count += 1
        self.groups.append(g)
        return g

    def open_for(self, shape: Sequence[int]) -> tuple[Group, Dims]:
        """A nest over a shape, and the dims of a value of that shape in it."""
        long = [k for k, n in enumerate(shape) if n != 1]
        g = self.open("nest", [shape[k] for k in long])
        return g, tuple(long.index(k) if k in long else None for k in range(len(shape)))

    def depend(self, g: Group, on: Group) -> None:
        """Have ``g`` run after another group."""
        new = (on.before | on.bit) & ~g.before
        if not new:
            return
        on.followed = True  # as are those before it
        if not g.followed:
            g.before |= new
            return
        for h in self.groups:
            if h is g or h.before & g.bit:
                h.before |= new

    def put(self, g: Group, n: Node, inst: int, dims: Dims) -> None:
        """Let ``g`` be where ``n`` is computed, by an instruction."""
        g.note(n, g.body.settle(inst, n.aval.dtype.code), dims)
        g.computed[id(n)] = n
        self.home[id(n)] = g
        self.at_hand.setdefault(id(n), []).append(g)

    def absorb(self, g: Group, h: Group, onto: dict[int, int]) -> bool:
        """Move all of ``h`` into ``g``; ``onto``: the axis of ``g`` for each of ``h``. False where it cannot be."""
        if g.before & h.bit or h.before & g.bit or h.kind != "nest" or g.kind == "host":
            return False
        if len(onto) != len(h.extents) or len(set(onto.values())) != len(onto):
            return False
        if any(g.extents[b] != h.extents[a] for a, b in onto.items()):
            return False
        if h.reduced and {onto[a] for a in h.reduced} != g.reduced:
            return False
        if len(g.body.insts) + len(h.body.insts) > MAX_INSTS:
            return False
        if len(g.body.accesses) + len(h.body.accesses) > MAX_ACCESSES:
            return False

        def turn(dims: Dims) -> Dims:
            return tuple(None if d is None else onto[d] for d in dims)

        if not all(g.covers(turn(h.values[i][1])) for i in h.computed):
            return False

        def axes(strides: tuple[int, ...]) -> tuple[int, ...]:
            out = [0] * len(g.extents)
            for a, s in enumerate(strides):
                out[onto[a]] = s
            return tuple(out)

        access = [g.body.access(s, o, axes(st), x) for s, o, st, x in h.body.accesses]
        new: list[int] = []
        mask = sum(1 << k for k in g.reduced)
        for i in h.body.insts:
            attrs = i.attrs
            if i.op in ("load", "load_at"):
                attrs = (access[attrs[0]],)
            elif i.op == "affine":
                attrs = (attrs[0], axes(attrs[1]))
            new.append(g.body.add(i.op, i.dtype, tuple(new[a] for a in i.args), attrs, mask))
        for key, (inst, dims) in h.values.items():
            if key in h.computed or key not in g.values:
                g.values[key] = (new[inst], turn(dims))
            where = self.at_hand.get(key, [])
            where[:] = [x for x in where if x is not h and x is not g] + [g]
        for inst, storage, offset, strides in h.stores:
            g.stores.append((new[inst], storage, offset, axes(strides)))
        g.computed.update(h.computed)
        for key in h.computed:
            self.home[key] = g
        for s in {id(st[1]): st[1] for st in h.stores}.values():
            s.writers = [x for x in s.writers if x is not h and x is not g] + [g]
        for s in self.storages.values():
            if h in s.writers:
                s.writers = [x for x in s.writers if x is not h and x is not g] + [g]
        self.groups.remove(h)
        g.before |= h.before
        g.followed |= h.followed
        for x in self.groups:
            if x.before & (h.bit | g.bit):
                x.before = (x.before & ~h.bit) | g.bit | g.before
        return True

    # -- memory -----------------------------------------------------------------------------------
    def storage(self, n: Node) -> Storage:
        """The memory of a value that is no view; from now on its kernel writes it."""
        s = self.storages.get(id(n))
        if s is None:
            s = self.storages[id(n)] = Storage(n)
            g = self.home.get(id(n))
            if g is None:  # a constant
                self.write(n, View.whole(s, n.aval.shape))
            else:
                inst, dims = g.values[id(n)]
                g.store(inst, dims, View.whole(s, n.aval.shape))
        return s

    def view(self, n: Node) -> View:
        """A value in memory. Where strides cannot express it a copy is made."""
        chain: list[Node] = []
        x = n
        while id(x) not in self.views and moves(x):
            chain.append(x)
            x = x.ins[0]
        v = self.views.get(id(x))
        if v is None:
            v = self.views[id(x)] = View.whole(self.storage(x), x.aval.shape)
        for m in reversed(chain):
            assert m.prim is not None
            w = move(v, m.prim.name, m.attrs)
            if w is None:
                w = move(self.compact(m.ins[0]), m.prim.name, m.attrs)
                assert w is not None
            v = self.views[id(m)] = w
        return v

    def compact(self, n: Node) -> View:
        """A value in memory, in C order."""
        v = self.views.get(id(n))
        if v is not None and v.contiguous:
            return v
        v = self.copies.get(id(n))
        if v is None:
            if not moves(n) and self.view(n).contiguous:
                return self.view(n)
            v = View.whole(Storage(n), n.aval.shape)
            self.write(n, v)
            self.copies[id(n)] = v
        return v

    def write(self, n: Node, to: View, after: Sequence[Group] = (), alone: bool = False) -> None:
        """Write a value to a view: by the kernel that computes it, or by one of its own."""
        if not n.aval.dtype.native:
            copy = self.on_host(Node(detach, (n,), (), n.aval), [self.view(n)], to)
            for h in after:
                self.depend(copy, h)
            return
        g = self.home.get(id(base_of(n)))
        if g is not None and not alone and g.kind != "host":
            got = self.locate(g, n)
            if got is not None and g.covers(got[1]) and self.fits(n, got[1], g):
                g.store(*got, to)
                return
        g, dims = self.open_for(n.aval.shape)
        inst = self.value(g, n, dims, as_it_lies=True)
        g.store(inst, dims, to)
        for h in after:
            self.depend(g, h)

    def overwritten(self, n: Node, base: Node) -> tuple[Storage, list[Group]]:
        """Memory with the values of ``base`` that ``n`` goes on to change, and the kernels that must run before.

        It is the memory of ``base`` itself where whoever else needs that has read it by then.
        """
        if base.prim is not None and not moves(base) and not is_leaf(base) and self._last_use(n, base):
            s = self.storage(base)
        else:
            s = Storage(n)
            if base.prim is not blank:
                self.write(base, View.whole(s, n.aval.shape), alone=True)
        self.storages[id(n)] = s
        return s, [*s.writers, *(g for g in self.groups if s in g.sources and g not in s.writers)]

    def _last_use(self, n: Node, base: Node) -> bool:
        """Whether all others that use a value, or what movement makes of it, were walked before ``n``."""
        if any(x is base for x in n.ins[1:]):
            return False
        stack = [base]
        while stack:
            x = stack.pop()
            for u in self.users.get(id(x), ()):
                if u is None or (u is n and x is not base):
                    return False
                if u is not n and moves(u):
                    stack.append(u)
                elif u is not n and id(u) not in self.done:
                    return False
        return True

    def on_host(self, n: Node, views: list[View], to: View) -> Group:
        """Let NumPy compute a value from operands in memory and put it where ``to`` says."""
        g = self.open("host", ())
        to.storage.writers.append(g)
        for v in views:
            for w in v.storage.writers:
                self.depend(g, w)
        g.host = (n, views, to)
        return g

    def fits(self, n: Node, dims: Dims, g: Group) -> bool:
        """Whether no dimension of a value is broadcast: then the kernel's loops do not reach all of it."""
        return all(d is not None or s == 1 for d, s in zip(dims, n.aval.shape, strict=True))

    # -- values in a group ------------------------------------------------------------------------
    def locate(self, g: Group, n: Node) -> tuple[int, Dims] | None:
        """A value that a kernel has at hand, perhaps moved: its instruction and dims."""
        chain: list[Node] = []
        while id(n) not in g.values:
            if not moves(n):
                return None
            chain.append(n)
            n = n.ins[0]
        inst, dims = g.values[id(n)]
        for m in reversed(chain):
            got = moved_dims(dims, m)
            if got is None:
                return None
            dims = got
        return inst, dims

    def _aligned(self, n: Node, dims: Dims) -> Dims:
        """The dims of an operand that is broadcast to a value with ``dims``."""
        shape = n.aval.shape
        lead = len(dims) - len(shape)
        return tuple(None if s == 1 else dims[k + lead] for k, s in enumerate(shape))

    def reachable(self, g: Group, n: Node, dims: Dims) -> bool:
        """Whether ``n`` can be had in ``g`` along ``dims``."""
        want = self._aligned(n, dims)
        got = self.locate(g, n)
        if got is not None and all(a is None or a == b for a, b in zip(got[1], want, strict=True)):
            return True
        base = base_of(n)
        if is_leaf(base):
            return True
        if base is n and is_again(n):
            return all(self.reachable(g, i, want) for i in n.ins)
        h = self.home.get(id(base))
        if h is not None and (h is g or h.before & g.bit):
            return False
        return not any(w is g or w.before & g.bit for w in self.view(n).storage.writers)

    def value(self, g: Group, n: Node, dims: Dims, as_it_lies: bool = False) -> int:
        """The instruction of operand ``n`` in ``g`` along ``dims``; :meth:`_reachable` has said that there is one."""
        want = self._aligned(n, dims)
        got = self.locate(g, n)
        if got is not None and all(a is None or a == b for a, b in zip(got[1], want, strict=True)):
            return got[0]
        shape, base, code = n.aval.shape, base_of(n), n.aval.dtype.code
        if is_leaf(base):
            assert base.prim is not None
            if base.prim is full or base.prim is blank:
                return g.body.const(base.attrs[0], code)
            places = self._positions(n)
            if places is not None:
                inst = g.body.affine(places.offset, g.spread(shape, places.strides, want))
                return g.body.settle(inst, code)
        if base is n and is_again(n):
            inst = self.formula(g, n, want)
            g.note(n, inst, want)
            return inst
        v = self.view(n)
        if not as_it_lies and moves(n) and _tangled(v, 2 * n.aval.size <= g.size):
            v = self.compact(n)  # better brought in order once by squares than read element by element
        for w in v.storage.writers:
            self.depend(g, w)
        inst = g.body.load(v.storage, v.offset, g.spread(shape, v.strides, want))
        if id(n) not in g.values:
            g.note(n, inst, want)
            self.at_hand.setdefault(id(n), []).append(g)
        return inst

    def formula(self, g: Group, n: Node, dims: Dims) -> int:
        """The instruction of an elementwise ``n`` in ``g``, of values along ``dims``."""
        prim = n.prim
        compute = prim.compute_dtype([x.aval for x in n.ins], n.attrs)  # type: ignore[union-attr]
        operands = prim.operands  # type: ignore[union-attr]
        args = [self.value(g, x, dims) for x in n.ins]
        for k, a in enumerate(args):
            if operands == "tail" and k == 0:
                args[k] = g.body.cast(a, "bool")
            elif operands != "keep":
                args[k] = g.body.settle(a, compute.code)
        inst = prim.body(Elem(g.body, compute), args, n.attrs)  # type: ignore[union-attr]
        return g.body.settle(inst, n.aval.dtype.code)

    def _again(self, n: Node) -> None:
        """No kernel of its own."""

    def _positions(self, n: Node) -> View | None:
        """A moved iota as the view of an array that holds its own positions."""
        chain: list[Node] = []
        while moves(n):
            chain.append(n)
            n = n.ins[0]
        v: View | None = View.whole(None, n.aval.shape)
        for m in reversed(chain):
            assert m.prim is not None
            v = move(v, m.prim.name, m.attrs) if v is not None else None
        return v
