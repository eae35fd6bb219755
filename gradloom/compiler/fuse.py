"""Fusion: which instructions of a program share a kernel.

One forward walk. An instruction joins the newest kernel that has one of its operands at hand, if its dimensions are
loops of that kernel and no dependency would run in a circle; otherwise it opens a kernel of its own. Movement is a view
of memory, or a permutation of loop axes inside a kernel. What a kernel needs from elsewhere is written to memory by
the kernel that computes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradloom.compiler.body import Elem, register
from gradloom.compiler.groups import Dims, Group, Storage
from gradloom.compiler.views import MOVES, View, move, moved_dims
from gradloom.graph.node import Graph, Node

__all__ = ["Fuser"]

MAX_INSTS = 160
MAX_ACCESSES = 28
CANDIDATES = 4


def _moves(n: Node) -> bool:
    return n.prim is not None and n.prim.kind == "movement" and n.prim.name in MOVES


def _base(n: Node) -> Node:
    while _moves(n):
        n = n.ins[0]
    return n


def _leaf(n: Node) -> bool:
    return n.prim is not None and n.prim.kind == "create"


class Fuser:
    """Kernels of a graph.

    groups: those that are left, in order of creation. outputs: the storage of each output.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.groups: list[Group] = []
        self.home: dict[int, Group] = {}
        self.at_hand: dict[int, list[Group]] = {}
        self.storages: dict[int, Storage] = {}
        self.views: dict[int, View] = {}
        self.copies: dict[int, View] = {}
        self.count = 0
        for k, n in enumerate(graph.inputs):
            self.storages[id(n)] = Storage(n, k)
        for n in graph.nodes:
            self._add(n)
        self.outputs = self._outputs()

    # -- groups -----------------------------------------------------------------------------------
    def _open(self, kind: str, extents: Sequence[int]) -> Group:
        g = Group(self.count, kind, extents)
        self.count += 1
        self.groups.append(g)
        return g

    def _open_for(self, shape: Sequence[int]) -> tuple[Group, Dims]:
        """A nest over a shape, and the dims of a value of that shape in it."""
        long = [k for k, n in enumerate(shape) if n != 1]
        g = self._open("nest", [shape[k] for k in long])
        return g, tuple(long.index(k) if k in long else None for k in range(len(shape)))

    def _depend(self, g: Group, on: Group) -> None:
        new = (on.before | on.bit) & ~g.before
        if new:
            for h in self.groups:
                if h is g or h.before & g.bit:
                    h.before |= new

    def _put(self, g: Group, n: Node, inst: int, dims: Dims) -> None:
        g.note(n, g.body.settle(inst, n.aval.dtype.code), dims)
        g.computed[id(n)] = n
        self.home[id(n)] = g
        self.at_hand.setdefault(id(n), []).append(g)

    def _absorb(self, g: Group, h: Group, onto: dict[int, int]) -> bool:
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
                self._write(n, View.whole(s, n.aval.shape))
            else:
                inst, dims = g.values[id(n)]
                g.store(inst, dims, View.whole(s, n.aval.shape))
        return s

    def view(self, n: Node) -> View:
        """A value in memory. Where strides cannot express it a copy is made."""
        chain: list[Node] = []
        x = n
        while id(x) not in self.views and _moves(x):
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
            if not _moves(n):
                return self.view(n)
            v = View.whole(Storage(n), n.aval.shape)
            self._write(n, v)
            self.copies[id(n)] = v
        return v

    def _write(self, n: Node, to: View, after: Sequence[Group] = (), alone: bool = False) -> None:
        """Write a value to a view: by the kernel that computes it, or by one of its own."""
        g = self.home.get(id(_base(n)))
        if g is not None and not alone and g.kind != "host":
            got = self._locate(g, n)
            if got is not None and g.covers(got[1]) and self._fits(n, got[1], g):
                g.store(*got, to)
                return
        g, dims = self._open_for(n.aval.shape)
        inst = self._value(g, n, dims)
        g.store(inst, dims, to)
        for h in after:
            self._depend(g, h)

    def _fits(self, n: Node, dims: Dims, g: Group) -> bool:
        """Whether no dimension of a value is broadcast: then the kernel's loops do not reach all of it."""
        return all(d is not None or s == 1 for d, s in zip(dims, n.aval.shape, strict=True))

    # -- values in a group ------------------------------------------------------------------------
    def _locate(self, g: Group, n: Node) -> tuple[int, Dims] | None:
        """A value that a kernel has at hand, perhaps moved: its instruction and dims."""
        chain: list[Node] = []
        while id(n) not in g.values:
            if not _moves(n):
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

    def _reachable(self, g: Group, n: Node, dims: Dims) -> bool:
        """Whether ``n`` can be had in ``g`` along ``dims``."""
        want = self._aligned(n, dims)
        got = self._locate(g, n)
        if got is not None and all(a is None or a == b for a, b in zip(got[1], want, strict=True)):
            return True
        base = _base(n)
        if _leaf(base):
            return True
        h = self.home.get(id(base))
        if h is not None and (h is g or h.before & g.bit):
            return False
        return not any(w is g or w.before & g.bit for w in self.view(n).storage.writers)

    def _value(self, g: Group, n: Node, dims: Dims) -> int:
        """The instruction of operand ``n`` in ``g`` along ``dims``; :meth:`_reachable` has said that there is one."""
        want = self._aligned(n, dims)
        got = self._locate(g, n)
        if got is not None and all(a is None or a == b for a, b in zip(got[1], want, strict=True)):
            return got[0]
        shape, base, code = n.aval.shape, _base(n), n.aval.dtype.code
        if _leaf(base):
            assert base.prim is not None
            if base.prim.name == "full":
                return g.body.const(base.attrs[0], code)
            places = self._positions(n)
            if places is not None:
                inst = g.body.affine(places.offset, g.spread(shape, places.strides, want))
                return g.body.settle(inst, code)
        v = self.view(n)
        for w in v.storage.writers:
            self._depend(g, w)
        inst = g.body.load(v.storage, v.offset, g.spread(shape, v.strides, want))
        if id(n) not in g.values:
            g.note(n, inst, want)
            self.at_hand.setdefault(id(n), []).append(g)
        return inst

    def _positions(self, n: Node) -> View | None:
        """A moved iota as the view of an array that holds its own positions."""
        chain: list[Node] = []
        while _moves(n):
            chain.append(n)
            n = n.ins[0]
        v: View | None = View.whole(None, n.aval.shape)
        for m in reversed(chain):
            assert m.prim is not None
            v = move(v, m.prim.name, m.attrs) if v is not None else None
        return v

    # -- joining ----------------------------------------------------------------------------------
    def _candidates(self, ins: Sequence[Node]) -> list[Group]:
        """Kernels that have an operand at hand: those that compute one first, the newest first."""
        score: dict[int, tuple[bool, int]] = {}
        found: dict[int, Group] = {}
        large = any(n.aval.size > 1 for n in ins)
        for n in ins:
            if large and n.aval.size == 1:
                continue  # a shared scalar is no reason to share a kernel
            while True:
                for g in self.at_hand.get(id(n), ())[-CANDIDATES:]:
                    found[g.number] = g
                    made = id(n) in g.computed
                    score[g.number] = max(score.get(g.number, (False, 0)), (made, g.number))
                if not _moves(n):
                    break
                n = n.ins[0]
        order = sorted(found, key=lambda k: score[k], reverse=True)
        return [found[k] for k in order[:CANDIDATES] if found[k].kind != "host"]

    def _dims(self, g: Group, n: Node, ins: Sequence[Node]) -> Dims | None:
        """The dims that ``n`` would have in ``g``, from the operands that are there."""
        shape = n.aval.shape
        dims: list[int | None] = [None] * len(shape)
        made = False
        for x in ins:
            got = self._locate(g, x)
            if got is None:
                continue
            made |= id(_base(x)) in g.computed and x.aval.size > 1
            trial = list(dims)
            lead = len(shape) - len(got[1])
            for k, a in enumerate(got[1], lead):
                if a is None:
                    continue
                if trial[k] is None and a not in trial:
                    trial[k] = a
                elif trial[k] != a:
                    break
            else:
                dims = trial
        missing = [k for k, s in enumerate(shape) if s != 1 and dims[k] is None]
        if missing and not made:
            return None  # loops of the same length by chance
        if missing:
            free = [a for a in range(len(g.extents)) if a not in dims and g.extents[a] != 1]
            if len(free) != len(missing) or any(g.extents[a] != shape[k] for a, k in zip(free, missing, strict=True)):
                return None
            for a, k in zip(free, missing, strict=True):
                dims[k] = a
        return tuple(dims)

    def _merge(self, n: Node, groups: list[Group]) -> list[Group]:
        """Bring kernels of the operands together where the dimensions of ``n`` say how."""
        out = list(groups)
        for a in groups:
            for b in groups:
                if a is b or a not in out or b not in out or (a.kind == "contract" and b.kind == "contract"):
                    continue
                if b.kind == "contract" or (b.reduced and not a.reduced and a.kind == "nest"):
                    continue  # the other way round comes too
                if not any(id(_base(x)) in b.computed for x in n.ins):
                    continue
                if not any(id(_base(x)) in a.computed for x in n.ins):
                    continue
                to, frm = self._dims(a, n, n.ins), self._dims(b, n, n.ins)
                if to is None or frm is None:
                    continue
                onto = {f: t for f, t in zip(frm, to, strict=True) if f is not None and t is not None}
                if self._absorb(a, b, onto):
                    out.remove(b)
        return out

    def _join(self, n: Node) -> tuple[Group, Dims]:
        """A kernel for an elementwise ``n``: one that can take it, or a new one."""
        groups = self._candidates(n.ins)
        if len(groups) > 1:
            groups = self._merge(n, groups)
        for g in groups:
            if len(g.body.insts) > MAX_INSTS or len(g.body.accesses) > MAX_ACCESSES:
                continue
            dims = self._dims(g, n, n.ins)
            if dims is not None and g.covers(dims) and all(self._reachable(g, x, dims) for x in n.ins):
                return g, dims
        return self._open_for(n.aval.shape)

    # -- one node ---------------------------------------------------------------------------------
    def _add(self, n: Node) -> None:
        assert n.prim is not None
        kind = n.prim.kind
        if kind == "create" or _moves(n):
            return
        getattr(self, f"_{kind}")(n)

    def _elementwise(self, n: Node) -> None:
        prim = n.prim
        g, dims = self._join(n)
        avals = [x.aval for x in n.ins]
        compute = prim.compute_dtype(avals, n.attrs)  # type: ignore[union-attr]
        operands = prim.operands  # type: ignore[union-attr]
        args = [self._value(g, x, dims) for x in n.ins]
        for k, a in enumerate(args):
            if operands == "tail" and k == 0:
                args[k] = g.body.cast(a, "bool")
            elif operands != "keep":
                args[k] = g.body.settle(a, compute.code)
        inst = prim.body(Elem(g.body, compute), args, n.attrs)  # type: ignore[union-attr]
        self._put(g, n, inst, dims)

    def _reduce(self, n: Node) -> None:
        axes, keep, dtype = n.attrs
        (x,) = n.ins
        g, dims = self._reducing(x, axes)
        inst = g.body.cast(self._value(g, x, dims), register(dtype.code))
        reduced = {d for k in axes if (d := dims[k]) is not None}
        out = tuple(None if k in axes else d for k, d in enumerate(dims) if keep or k not in axes)
        if reduced:
            op = n.prim.op  # type: ignore[union-attr]
            if dtype.code == "bool":
                op = {"max": "any", "min": "all", "sum": "any", "prod": "all"}.get(op, op)
            for k in reduced:
                g.axes[k] = "r"
            mask = sum(1 << k for k in reduced)
            inst = g.body.add("reduce", register(dtype.code), (g.body.spread(inst, mask),), (op,), mask)
        self._put(g, n, inst, out)

    def _reducing(self, x: Node, axes: Sequence[int]) -> tuple[Group, Dims]:
        """A kernel in which ``x`` can be reduced over ``axes``."""
        for g in self._candidates([x]):
            got = self._locate(g, x)
            if got is None or g.kind != "nest" or len(g.body.insts) > MAX_INSTS:
                continue
            dims = got[1]
            if not self._fits(x, dims, g) or len({d for d in dims if d is not None}) != len(g.extents):
                continue
            want = {d for k in axes if (d := dims[k]) is not None}
            if g.reduced == want or not want:
                return g, dims
            if not g.reduced and all(
                len({d for d in g.values[i][1] if d is not None}) == len(g.extents) for i in g.computed
            ):
                return g, dims
        return self._open_for(x.aval.shape)

    def _contraction(self, n: Node) -> None:
        a, b = n.ins
        shape, code = n.aval.shape, n.aval.dtype.code
        *batch, rows, cols = shape
        k = a.aval.shape[-1]
        if n.aval.dtype.category < 2:
            return self._integer_dot(n)
        dtype = "f64" if code == "f64" else "f32"
        long = [i for i, e in enumerate(batch) if e != 1]
        operands = []
        for x in (a, b):
            v = self.view(x) if dtype == "f32" or x.aval.dtype.code == "f64" else self._converted(x, n)
            keep = [*long, len(shape) - 2, len(shape) - 1]
            operands.append(
                View(v.storage, tuple(v.shape[i] for i in keep), tuple(v.strides[i] for i in keep), v.offset)
            )
        g = self._open("contract", [*(batch[i] for i in long), rows, cols])
        for v in operands:
            for w in v.storage.writers:
                self._depend(g, w)
        g.dot = (operands[0], operands[1], k, dtype)
        dims: list[int | None] = [None] * len(shape)
        for at, i in enumerate([*long, len(shape) - 2, len(shape) - 1]):
            dims[i] = at if shape[i] != 1 else None
        self._put(g, n, g.body.add("acc", dtype), tuple(dims))

    def _converted(self, x: Node, n: Node) -> View:
        """An operand of a contraction, brought to the dtype of the result."""
        out = Node(None, (), (), x.aval._replace(dtype=n.aval.dtype))
        g, dims = self._open_for(x.aval.shape)
        inst = g.body.settle(self._value(g, x, dims), n.aval.dtype.code)
        v = View.whole(Storage(out), x.aval.shape)
        g.store(inst, dims, v)
        return v

    def _integer_dot(self, n: Node) -> None:
        a, b = n.ins
        *batch, rows, cols = n.aval.shape
        code = n.aval.dtype.code
        every = (*batch, rows, cols, a.aval.shape[-1])
        long = [k for k, e in enumerate(every) if e != 1]
        g = self._open("nest", [every[k] for k in long])
        at = [long.index(k) if k in long else None for k in range(len(every))]
        lead, m, c, k = at[:-3], at[-3], at[-2], at[-1]
        x = g.body.settle(self._value(g, a, (*lead, m, k)), code)
        y = g.body.settle(self._value(g, b, (*lead, k, c)), code)
        inst = g.body.add("and" if code == "bool" else "mul", code, (x, y))
        if k is not None:
            g.axes[k] = "r"
            op = "any" if code == "bool" else "sum"
            inst = g.body.add("reduce", code, (g.body.spread(inst, 1 << k),), (op,), 1 << k)
        self._put(g, n, inst, (*lead, m, c))

    def _gather(self, n: Node) -> None:
        x, index = n.ins
        (axis,) = n.attrs
        shape = n.aval.shape
        g, dims = self._open_for(shape)
        v = self.view(x)
        along = n.prim.name == "take_along"  # type: ignore[union-attr]
        nd = len(index.aval.shape)
        index_dims = dims if along else dims[axis : axis + nd]
        i = g.body.cast(self._value(g, index, index_dims), "i64")
        size = x.aval.shape[axis]
        zero = g.body.const(0, "i64")
        wrapped = g.body.add("add", "i64", (i, g.body.const(size, "i64")))
        i = g.body.add("where", "i64", (g.body.add("lt", "bool", (i, zero)), wrapped, i))
        i = g.body.add("max", "i64", (g.body.add("min", "i64", (i, g.body.const(size - 1, "i64"))), zero))
        for w in v.storage.writers:
            self._depend(g, w)
        strides = [0] * len(g.extents)
        for k in range(len(x.aval.shape)):
            if k != axis:
                d = dims[k if along or k < axis else k + nd - 1]
                if d is not None and x.aval.shape[k] != 1:
                    strides[d] += v.strides[k]
        code = n.aval.dtype.code
        if x.aval.size == 0:  # nothing to read
            inst = g.body.const(0, code)
        else:
            access = g.body.access(v.storage, v.offset, tuple(strides), v.strides[axis])
            inst = g.body.add("load_at", code, (i,), (access,))
        self._put(g, n, inst, dims)

    def _random(self, n: Node) -> None:
        seed, stream = n.ins
        g, dims = self._open_for(n.aval.shape)
        none: Dims = ()
        at = g.body.affine(0, g.spread(n.aval.shape, View.whole(None, n.aval.shape).strides, dims))
        args = (self._value(g, seed, none), self._value(g, stream, none), at)
        word = g.body.add("philox", "u32", args, (0,))
        if n.aval.dtype.code == "f64":
            inst = g.body.add("unit64", "f64", (word, g.body.add("philox", "u32", args, (1,))))
        else:
            inst = g.body.add("unit", "f32", (word,))
        self._put(g, n, inst, dims)

    def _movement(self, n: Node) -> None:
        """pad, cat and update_slice: several kernels write to one storage."""
        assert n.prim is not None
        s = self.storages[id(n)] = Storage(n)
        whole = View.whole(s, n.aval.shape)
        if n.prim.name == "cat":
            (axis,) = n.attrs
            at = 0
            for x in n.ins:
                v = View(s, x.aval.shape, whole.strides, at * whole.strides[axis])
                at += x.aval.shape[axis]
                self._write(x, v)
            return
        if n.prim.name == "pad":
            low, _, value = n.attrs
            g, dims = self._open_for(n.aval.shape)
            g.store(g.body.const(value, n.aval.dtype.code), dims, whole)
            offset = sum(p * st for p, st in zip(low, whole.strides, strict=True))
            x = n.ins[0]
            self._write(x, View(s, x.aval.shape, whole.strides, offset), [g], alone=True)
            return
        base, x = n.ins
        self._write(base, whole, alone=True)
        region = move(whole, "slice", n.attrs)
        assert region is not None
        self._write(x, region, list(s.writers), alone=True)

    def _host(self, n: Node) -> None:
        views = [self.compact(x) for x in n.ins]
        g = self._open("host", ())
        s = self.storages[id(n)] = Storage(n)
        s.writers.append(g)
        for v in views:
            for w in v.storage.writers:
                self._depend(g, w)
        g.host = (n, views, s)

    # -- outputs ----------------------------------------------------------------------------------
    def _outputs(self) -> list[Storage]:
        """A storage of its own for each output, in C order."""
        out: list[Storage] = []
        for n in self.graph.outputs:
            base = _base(n)
            if not _moves(n) and not _leaf(n) and n.prim is not None and self.storage(n) not in out:
                out.append(self.storage(n))
                continue
            s = Storage(n)
            if n.aval.size == base.aval.size and base.prim is not None and not _leaf(base):
                v = self.views.get(id(n))
                got = self.storages.get(id(base))
                if got is not None and got not in out and (v := v or self.view(n)).contiguous and v.storage is got:
                    out.append(got)
                    continue
            self._write(n, View.whole(s, n.aval.shape))
            out.append(s)
        return out
