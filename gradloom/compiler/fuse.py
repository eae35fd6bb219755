"""Fusion: which instructions of a program share a kernel.

One forward walk. An instruction joins the newest kernel that has one of its operands at hand, if its dimensions are
loops of that kernel and no dependency would run in a circle; otherwise it opens a kernel of its own. Movement is a view
of memory, or a permutation of loop axes inside a kernel. What a kernel needs from elsewhere is written to memory by
the kernel that computes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradloom.compiler.body import Elem, register
from gradloom.compiler.depthwise import Depthwises
from gradloom.compiler.groups import Dims, Group, Storage
from gradloom.compiler.looping import Looping
from gradloom.compiler.tiling import Tilings
from gradloom.compiler.views import View, move
from gradloom.compiler.weave import MAX_ACCESSES, MAX_INSTS, base_of, is_leaf, moves
from gradloom.graph.node import Graph, Node

__all__ = ["Fuser"]

CANDIDATES = 4
SMALL = 1 << 14  # elements of a padded array that is filled whole before its inside is written


def _inside(pad: Node, s: Storage) -> View:
    """What a padded array has of its operand."""
    strides = View.whole(s, pad.aval.shape).strides
    return View(s, pad.ins[0].aval.shape, strides, sum(p * st for p, st in zip(pad.attrs[0], strides, strict=True)))


class Fuser(Depthwises, Tilings, Looping):
    """Kernels of a graph.

    outputs: the storage of each output.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        for n in graph.nodes:
            for x in n.ins:
                self.users.setdefault(id(x), []).append(n)
        for n in graph.outputs:
            self.users.setdefault(id(n), []).append(None)
        for k, n in enumerate(graph.inputs):
            self.storages[id(n)] = Storage(n, k)
        for n in graph.nodes:
            self._add(n)
            self.done.add(id(n))
        self.outputs = self._outputs()

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
                if not moves(n):
                    break
                n = n.ins[0]
        order = sorted(found, key=lambda k: score[k], reverse=True)
        return [found[k] for k in order[:CANDIDATES] if found[k].kind not in ("host", "loop")]

    def _dims(self, g: Group, n: Node, ins: Sequence[Node]) -> Dims | None:
        """The dims that ``n`` would have in ``g``, from the operands that are there."""
        shape = n.aval.shape
        dims: list[int | None] = [None] * len(shape)
        made = False
        for x in ins:
            got = self.locate(g, x)
            if got is None:
                continue
            made |= id(base_of(x)) in g.computed and x.aval.size > 1
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
                if not any(id(base_of(x)) in b.computed for x in n.ins):
                    continue
                if not any(id(base_of(x)) in a.computed for x in n.ins):
                    continue
                to, frm = self._dims(a, n, n.ins), self._dims(b, n, n.ins)
                if to is None or frm is None:
                    continue
                onto = {f: t for f, t in zip(frm, to, strict=True) if f is not None and t is not None}
                if self.absorb(a, b, onto):
                    out.remove(b)
        return out

    def _summed(self, n: Node) -> bool:
        """Whether all that is done with a value is to reduce it."""
        users = self.users.get(id(n), ())
        return bool(users) and all(u is not None and u.prim is not None and u.prim.kind == "reduce" for u in users)

    def _join(self, n: Node) -> tuple[Group, Dims]:
        """A kernel for an elementwise ``n``: one that can take it, or a new one."""
        groups = self._candidates(n.ins)
        if len(groups) > 1:
            groups = self._merge(n, groups)
        for g in groups:
            if len(g.body.insts) > MAX_INSTS or len(g.body.accesses) > MAX_ACCESSES:
                continue
            if g.kind == "contract" and self._summed(n):
                continue  # where it is computed it would be written, for the kernel that sums to read
            dims = self._dims(g, n, n.ins)
            if dims is not None and g.covers(dims) and all(self.reachable(g, x, dims) for x in n.ins):
                return g, dims
        return self.open_for(n.aval.shape)

    # -- one node ---------------------------------------------------------------------------------
    def _add(self, n: Node) -> None:
        assert n.prim is not None
        kind = n.prim.kind
        if moves(n):
            return
        if not all(x.aval.dtype.native for x in (n, *n.ins)):
            self._host(n)
        elif kind != "create":
            getattr(self, f"_{kind}")(n)

    def _elementwise(self, n: Node) -> None:
        prim = n.prim
        g, dims = self._join(n)
        avals = [x.aval for x in n.ins]
        compute = prim.compute_dtype(avals, n.attrs)  # type: ignore[union-attr]
        operands = prim.operands  # type: ignore[union-attr]
        args = [self.value(g, x, dims) for x in n.ins]
        for k, a in enumerate(args):
            if operands == "tail" and k == 0:
                args[k] = g.body.cast(a, "bool")
            elif operands != "keep":
                args[k] = g.body.settle(a, compute.code)
        inst = prim.body(Elem(g.body, compute), args, n.attrs)  # type: ignore[union-attr]
        self.put(g, n, inst, dims)

    def _reduce(self, n: Node) -> None:
        axes, keep, dtype = n.attrs
        (x,) = n.ins
        g, dims = self._reducing(x, axes)
        inst = g.body.cast(self.value(g, x, dims), register(dtype.code))
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
        self.put(g, n, inst, out)

    def _reducing(self, x: Node, axes: Sequence[int]) -> tuple[Group, Dims]:
        """A kernel in which ``x`` can be reduced over ``axes``."""
        for g in self._candidates([x]):
            got = self.locate(g, x)
            if got is None or g.kind != "nest" or len(g.body.insts) > MAX_INSTS:
                continue
            dims = got[1]
            if not self.fits(x, dims, g) or len({d for d in dims if d is not None}) != len(g.extents):
                continue
            want = {d for k in axes if (d := dims[k]) is not None}
            if g.reduced == want or not want:
                return g, dims
            if not g.reduced and all(
                len({d for d in g.values[i][1] if d is not None}) == len(g.extents) for i in g.computed
            ):
                return g, dims
        return self.open_for(x.aval.shape)

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
            v = self.view(x) if dtype == "f32" or x.aval.dtype.code == "f64" else self.converted(x, n.aval.dtype)
            keep = [*long, len(shape) - 2, len(shape) - 1]
            operands.append(
                View(v.storage, tuple(v.shape[i] for i in keep), tuple(v.strides[i] for i in keep), v.offset)
            )
        g = self.open("contract", [*(batch[i] for i in long), rows, cols])
        for v in operands:
            for w in v.storage.writers:
                self.depend(g, w)
        g.dot = (operands[0], operands[1], k, dtype)
        dims: list[int | None] = [None] * len(shape)
        for at, i in enumerate([*long, len(shape) - 2, len(shape) - 1]):
            dims[i] = at if shape[i] != 1 else None
        self.put(g, n, g.body.add("acc", dtype), tuple(dims))

    def _integer_dot(self, n: Node) -> None:
        a, b = n.ins
        *batch, rows, cols = n.aval.shape
        code = n.aval.dtype.code
        every = (*batch, rows, cols, a.aval.shape[-1])
        long = [k for k, e in enumerate(every) if e != 1]
        g = self.open("nest", [every[k] for k in long])
        at = [long.index(k) if k in long else None for k in range(len(every))]
        lead, m, c, k = at[:-3], at[-3], at[-2], at[-1]
        x = g.body.settle(self.value(g, a, (*lead, m, k)), code)
        y = g.body.settle(self.value(g, b, (*lead, k, c)), code)
        inst = g.body.add("and" if code == "bool" else "mul", code, (x, y))
        if k is not None:
            g.axes[k] = "r"
            op = "any" if code == "bool" else "sum"
            inst = g.body.add("reduce", code, (g.body.spread(inst, 1 << k),), (op,), 1 << k)
        self.put(g, n, inst, (*lead, m, c))

    def _random(self, n: Node) -> None:
        seed, stream = n.ins
        g, dims = self.open_for(n.aval.shape)
        none: Dims = ()
        at = g.body.affine(0, g.spread(n.aval.shape, View.whole(None, n.aval.shape).strides, dims))
        args = (self.value(g, seed, none), self.value(g, stream, none), at)
        word = g.body.add("philox", "u32", args, (0,))
        if n.aval.dtype.code == "f64":
            inst = g.body.add("unit64", "f64", (word, g.body.add("philox", "u32", args, (1,))))
        else:
            inst = g.body.add("unit", "f32", (word,))
        self.put(g, n, inst, dims)

    def _movement(self, n: Node) -> None:
        """pad, cat and update_slice: several kernels write to one storage."""
        assert n.prim is not None
        if n.prim.name == "apart":
            self.views[id(n)] = self.view(n.ins[0])
            return
        if n.prim.name == "update_slice":
            base, x = n.ins
            s, before = self.overwritten(n, base)
            region = move(View.whole(s, n.aval.shape), "slice", n.attrs)
            assert region is not None
            self.write(x, region, before, alone=True)
            return
        if n.prim.name == "pad":
            self._pad(n)
            return
        whole = self._room(n)
        if n.prim.name == "cat":
            (axis,) = n.attrs
            at = whole.offset
            for x in n.ins:
                self.write(x, View(whole.storage, x.aval.shape, whole.strides, at))
                at += x.aval.shape[axis] * whole.strides[axis]
            return
        if n.prim.name == "interleave":
            for x, region in zip(n.ins, n.attrs[1], strict=True):
                part = move(whole, "slice", region)
                assert part is not None
                self.write(x, part)

    def _room(self, n: Node) -> View:
        """Where pieces are put together: by themselves, or within the borders that are put around them alone."""
        (user, *more) = self.users.get(id(n), [None])
        if user is not None and not more and user.prim is not None and user.prim.name == "pad":
            if user.aval.size >= SMALL and n.aval.dtype.native:
                s = self.storages[id(user)] = Storage(user)
                self.views[id(n)] = _inside(user, s)
                return self.views[id(n)]
        s = self.storages[id(n)] = Storage(n)
        return View.whole(s, n.aval.shape)

    def _pad(self, n: Node) -> None:
        """The borders are filled; what computes the inside writes it there, and others find it there."""
        there = self.storages.get(id(n))  # whether the inside lies there already
        s = self.storages[id(n)] = there or Storage(n)
        low, _, value = n.attrs
        whole = View.whole(s, n.aval.shape)
        (x,) = n.ins
        inside = _inside(n, s)
        if n.aval.size < SMALL:
            g, dims = self.open_for(n.aval.shape)
            g.store(g.body.const(value, n.aval.dtype.code), dims, whole)
            self.write(x, inside, [g], alone=True)
            return
        starts, stops = [0] * len(low), list(n.aval.shape)
        for k, (p, m) in enumerate(zip(low, x.aval.shape, strict=True)):
            for a, b in ((0, p), (p + m, n.aval.shape[k])):
                if a < b:
                    region = (*starts[:k], a, *starts[k + 1 :]), (*stops[:k], b, *stops[k + 1 :]), (1,) * len(low)
                    v = move(whole, "slice", region)
                    assert v is not None
                    g, dims = self.open_for(v.shape)
                    g.store(g.body.const(value, n.aval.dtype.code), dims, v)
            starts[k], stops[k] = p, p + m
        if there is not None:
            return
        self.write(x, inside)
        made = x.prim is not None and not moves(x) and not is_leaf(x) and x.aval.dtype.native
        if made and id(x) not in self.storages and id(x) not in self.views:
            self.views[id(x)] = inside

    def _host(self, n: Node) -> None:
        s = self.storages[id(n)] = Storage(n)
        views = [self.compact(x) if x.aval.dtype.native else self.view(x) for x in n.ins]
        self.on_host(n, views, View.whole(s, n.aval.shape))

    # -- outputs ----------------------------------------------------------------------------------
    def _outputs(self) -> list[Storage]:
        """A storage of its own for each output, in C order."""
        out: list[Storage] = []
        for n in self.graph.outputs:
            base = base_of(n)
            if not moves(n) and not is_leaf(n) and n.prim is not None and self.storage(n) not in out:
                out.append(self.storage(n))
                continue
            s = Storage(n)
            if n.aval.size == base.aval.size and base.prim is not None and not is_leaf(base):
                v = self.views.get(id(n))
                got = self.storages.get(id(base))
                if got is not None and got not in out and (v := v or self.view(n)).contiguous and v.storage is got:
                    out.append(got)
                    continue
                copy = self.copies.get(id(n))
                if copy is not None and copy.storage not in out:
                    out.append(copy.storage)
                    continue
            self.write(n, View.whole(s, n.aval.shape))
            out.append(s)
        return out
