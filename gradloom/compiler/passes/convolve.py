"""Convolutions become what there are kernels for: products, sums of taps, and correlations of padded images.

Padding becomes a ``pad``, whose inside is written by whatever computes the images. A convolution with 1x1 filters is a
product. One whose groups have a single channel is a sum of scaled slices, vectors along the channels. All others are
``correlate``; the transposed convolution is one too, of the padded result with filters turned round, and with a stride
one for each phase of it, interleaved.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from gradloom import dtypes
from gradloom.compiler.passes import depthwise, places, winograd
from gradloom.graph.node import Aval, Graph, Node
from gradloom.ops import convolution as C
from gradloom.ops import elementwise as E
from gradloom.ops import structure as S
from gradloom.ops.convolution import Geometry
from gradloom.ops.core import Primitive

__all__ = ["Lowering", "lower_convolutions"]

Rule = Callable[["Lowering", Node, Node, Geometry, Aval], Node]


def lower_convolutions(graph: Graph, lasting: Sequence[Node] = ()) -> Graph:
    """Replace the three convolutions of floating point images. lasting: inputs that stay the same from run to run."""
    if not any(n.prim is not None and n.prim.kind == "convolution" for n in graph.nodes):
        return graph
    return Lowering(graph, lasting).run()


class Lowering:
    """A graph while it is rewritten; the methods add instructions to it.

    steady: values that depend on lasting inputs alone.
    """

    def __init__(self, graph: Graph, lasting: Sequence[Node] = ()) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.steady = {id(n) for n in lasting}

    def run(self) -> Graph:
        """The graph with all convolutions replaced."""
        new: dict[int, Node] = {id(n): n for n in self.graph.inputs}
        for n in self.graph.nodes:
            ins = [new[id(i)] for i in n.ins]
            how = _RULES.get(n.prim.name) if n.prim is not None and n.aval.dtype.category == 2 else None
            if how is not None and n.aval.size and all(i.aval.size for i in ins):
                a, b = (self.cast(i, n) for i in ins)
                got = self.within(n, how, a, b)
                assert got.aval.shape == n.aval.shape, (n.prim, got.aval.shape, n.aval.shape)
            elif all(a is b for a, b in zip(ins, n.ins, strict=True)):
                got = self.keep(n)
            else:
                got = self.keep(Node(n.prim, ins, n.attrs, n.aval))
            new[id(n)] = got
        return Graph(self.graph.inputs, self.nodes, [new[id(n)] for n in self.graph.outputs], self.graph.donate)

    def within(self, n: Node, how: Rule, a: Node, b: Node) -> Node:
        """One of the three, without the elements of filters that meet nothing but padding."""
        assert n.prim is not None
        rule, g, out = n.prim.name, n.attrs[0], n.aval
        x, w, y = {
            "convolve": (a.aval, b.aval, out), "convolve_input": (out, b.aval, a.aval),
            "convolve_filter": (a.aval, out, b.aval),
        }[rule]  # fmt: skip
        images, results, kernel = x.shape[1:-1], y.shape[1:-1], w.shape[:-2]
        spans = places.met(images, kernel, results, g)
        if spans is None:
            return self.node(S.full, [], 0.0, out.shape, out.dtype, False)
        whole = tuple((0, k) for k in kernel)
        if spans != whole:
            g = places.trimmed(images, results, spans, g)
            least = tuple(e - f for f, e in spans)
            rest = w.shape[-2:]
            if rule == "convolve_filter":
                out = Aval((*least, *rest), out.dtype)
            else:
                firsts, ends = zip(*spans, strict=True)
                b = self.node(S.slice_, [b], (*firsts, 0, 0), (*ends, *rest), (1,) * (len(kernel) + 2))
        got = places.one_place(self, rule, a, b, g, out, self.channels_first(n))
        if got is None:
            got = how(self, a, b, g, out)
        if rule == "convolve_filter" and spans != whole:
            before, behind = [f for f, _ in spans], [k - e for (_, e), k in zip(spans, kernel, strict=True)]
            got = self.node(S.pad, [got], (*before, 0, 0), (*behind, 0, 0), 0.0)
        return got

    def channels_first(self, n: Node) -> bool:
        """Whether a convolution's filters lie, or those it makes are wanted, as (O, C, *K)."""
        nd = len(n.aval.shape) - 2
        if n.prim is not None and n.prim.name == "convolve_filter":
            turns = [u for u in self.graph.nodes if any(i is n for i in u.ins)]
            return bool(turns) and all(u.prim is S.permute and u.attrs[0] == (nd + 1, nd, *range(nd)) for u in turns)
        w = n.ins[1]
        while w.prim is E.cast:
            w = w.ins[0]
        return w.prim is S.permute and w.attrs[0] == (*range(2, nd + 2), 1, 0)

    # -- instructions -----------------------------------------------------------------------------
    def keep(self, n: Node) -> Node:
        """Add an instruction."""
        self.nodes.append(n)
        if all(id(i) in self.steady for i in n.ins) and (n.ins or (n.prim is not None and n.prim.kind == "create")):
            self.steady.add(id(n))
        return n

    def node(self, prim: Primitive, ins: Sequence[Node], *attrs: Any) -> Node:
        """A new instruction."""
        return self.keep(Node(prim, ins, attrs, prim.infer([i.aval for i in ins], attrs)))

    def cast(self, x: Node, like: Node) -> Node:
        """A value in another's dtype."""
        return x if x.aval.dtype is like.aval.dtype else self.node(E.cast, [x], like.aval.dtype)

    def reshape(self, x: Node, shape: Sequence[int]) -> Node:
        """A value in another shape."""
        return x if x.aval.shape == tuple(shape) else self.node(S.reshape, [x], tuple(shape))

    def permute(self, x: Node, order: Sequence[int]) -> Node:
        """A value with its axes in another order."""
        return self.node(S.permute, [x], tuple(order))

    def cut(self, x: Node, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]) -> Node:
        """A region of the axes behind the first."""
        rest = x.aval.shape[1 + len(starts) :]
        first = x.aval.shape[0]
        return self.node(
            S.slice_, [x], (0, *starts, *(0,) * len(rest)), (first, *stops, *rest), (1, *steps, *(1,) * len(rest))
        )

    def padded(self, x: Node, padding: C.Pairs) -> Node:
        """Images with zeros around them; negative padding cuts."""
        size = x.aval.shape[1 : 1 + len(padding)]
        if any(p < 0 or q < 0 for p, q in padding):
            starts = [max(0, -p) for p, _ in padding]
            stops = [max(s, n - max(0, -q)) for s, n, (_, q) in zip(starts, size, padding, strict=True)]
            x = self.cut(x, starts, stops, [1] * len(size))
        if not any(p > 0 or q > 0 for p, q in padding):
            return x
        rest = (0,) * (len(x.aval.shape) - 1 - len(padding))
        low, high = [max(0, p) for p, _ in padding], [max(0, q) for _, q in padding]
        return self.node(S.pad, [x], (0, *low, *rest), (0, *high, *rest), 0.0)

    def widened(self, x: Node) -> Node:
        """A value in the dtype that sums are made in."""
        return self.node(E.cast, [x], dtypes.float32) if x.aval.dtype.itemsize < 4 else x

    def narrowed(self, x: Node, out: Aval) -> Node:
        """A sum in the dtype of the result."""
        return x if x.aval.dtype is out.dtype else self.node(E.cast, [x], out.dtype)

    def by_group(self, x: Node, groups: int) -> Node:
        """Channels as (groups, channels of one)."""
        *lead, c = x.aval.shape
        return self.reshape(x, (*lead, groups, c // groups))

    # -- y = x * w --------------------------------------------------------------------------------
    def forward(self, x: Node, w: Node, g: Geometry, out: Aval) -> Node:
        """Results from images and filters."""
        *kernel, part, _ = w.aval.shape
        if prod(kernel) == 1 and g.groups == 1 and not any(p or q for p, q in g.padding):
            return self.product(x, w, g, out)
        own = depthwise.results(self, x, w, g, out)
        if own is not None:
            return own
        if part == 1 and g.groups > 1:
            return self.depthwise(self.padded(x, g.padding), w, g, out)
        side = winograd.way(x.aval, out, tuple(kernel), g, id(w) in self.steady)
        if side:
            return winograd.forward(self, x, w, g, out, side)
        xg = self.by_group(self.padded(x, g.padding), g.groups)
        y = self.node(C.correlate, [xg, self.filters(w, g.groups)], g.stride, g.dilation)
        return self.reshape(y, out.shape)

    def filters(self, w: Node, groups: int) -> Node:
        """(*K, C, groups * O) to (groups, *K, C, O)."""
        w = self.by_group(w, groups)
        nd = len(w.aval.shape) - 3
        if groups == 1:
            *k, c, _, o = w.aval.shape
            return self.reshape(w, (1, *k, c, o))
        return self.permute(w, (nd + 1, *range(nd), nd, nd + 2))

    def product(self, x: Node, w: Node, g: Geometry, out: Aval) -> Node:
        """With 1x1 filters."""
        if any(s != 1 for s in g.stride):
            size = x.aval.shape[1:-1]
            x = self.cut(x, [0] * len(size), size, g.stride)
        *lead, c = x.aval.shape
        rows = prod(lead)
        y = self.node(S.dot, [self.reshape(x, (rows, c)), self.reshape(w, (c, w.aval.shape[-1]))])
        return self.reshape(y, out.shape)

    def depthwise(self, x: Node, w: Node, g: Geometry, out: Aval) -> Node:
        """With one channel in a group; x is padded."""
        *kernel, _, wide = w.aval.shape
        each = wide // g.groups  # filters for each channel
        count = out.shape[1:-1]
        w = self.widened(self.node(S.cat, [w], 0))  # in memory as vectors along the channels want it
        total: Node | None = None
        for k in itertools.product(*map(range, kernel)):
            part = self.widened(self.tap(x, k, count, g))
            scale = self.reshape(self.place(w, k), (g.groups, each) if each > 1 else (wide,))
            if each > 1:
                part = self.reshape(part, (*part.aval.shape, 1))
            term = self.node(E.mul, [part, scale])
            total = term if total is None else self.node(E.add, [total, term])
        assert total is not None
        return self.reshape(self.narrowed(total, out), out.shape)

    def tap(self, x: Node, k: Sequence[int], count: Sequence[int], g: Geometry) -> Node:
        """What a filter's element sees of padded images."""
        starts = [i * d for i, d in zip(k, g.dilation, strict=True)]
        stops = [a + (c - 1) * s + 1 for a, c, s in zip(starts, count, g.stride, strict=True)]
        return self.cut(x, starts, stops, g.stride)

    def place(self, w: Node, k: Sequence[int]) -> Node:
        """One element of the filters: (C, O)."""
        rest = w.aval.shape[len(k) :]
        got = self.node(
            S.slice_, [w], (*k, *(0,) * len(rest)), (*(i + 1 for i in k), *rest), (1,) * (len(k) + len(rest))
        )
        return self.reshape(got, rest)

    # -- x from y ---------------------------------------------------------------------------------
    def backward(self, y: Node, w: Node, g: Geometry, out: Aval) -> Node:
        """Images from results and filters."""
        kernel, size = w.aval.shape[:-2], out.shape[1:-1]
        if prod(kernel) == 1 and g.groups == 1 and all(s == 1 for s in g.stride) and not any(sum(p) for p in g.padding):
            turned = self.permute(w, (*range(len(kernel)), len(kernel) + 1, len(kernel)))
            return self.product(y, turned, g, out)
        own = depthwise.images(self, y, w, g, out)
        if own is not None:
            return own
        if all(s == 1 for s in g.stride):
            return self.transposed(y, w, g.padding, g.dilation, g.groups, kernel, size)
        return self.phases(y, w, g, out)

    def transposed(
        self, y: Node, w: Node, padding: C.Pairs, dilation: Sequence[int], groups: int, kernel: Sequence[int],
        size: Sequence[int],
    ) -> Node:  # fmt: skip
        """With stride 1: a convolution with the filters turned round. w: (*K, C / groups, O), K as ``kernel`` says."""
        count = y.aval.shape[1:-1]
        low = [d * (k - 1) - p for k, d, (p, _) in zip(kernel, dilation, padding, strict=True)]
        ends = [
            (a, m - (c + a) + d * (k - 1)) for a, m, c, d, k in zip(low, size, count, dilation, kernel, strict=True)
        ]
        nd = len(kernel)
        turned = self.node(
            S.slice_, [w], (*(k - 1 for k in kernel), 0, 0), (*(-1,) * nd, *w.aval.shape[nd:]), (*(-1,) * nd, 1, 1)
        ) if prod(kernel) > 1 else w  # fmt: skip
        turned = self.by_group(turned, groups)  # (*K, C, groups, O)
        turned = self.permute(turned, (*range(nd), nd + 2, nd + 1, nd))
        *_, o, _, c = turned.aval.shape
        g = Geometry((1,) * nd, tuple(ends), tuple(dilation), groups)
        filters = self.reshape(turned, (*kernel, o, groups * c))
        return self.forward(y, filters, g, C.convolve.infer([y.aval, filters.aval], (g, ())))

    def phases(self, y: Node, w: Node, g: Geometry, out: Aval) -> Node:
        """With a stride: pixels with the same place modulo the stride meet the same elements of the filters."""
        kernel, size, nd = w.aval.shape[:-2], out.shape[1:-1], len(g.stride)
        parts, regions = [], []
        for phase in itertools.product(*map(range, g.stride)):
            if any(f >= m for f, m in zip(phase, size, strict=True)):
                continue
            own = [len(range(f, m, s)) for f, m, s in zip(phase, size, g.stride, strict=True)]
            # pixel f + s u gets y[i] w[k] where s i + d k = f + s u + low
            taps = [
                [k for k in range(m) if (f + p - d * k) % s == 0]
                for f, m, d, s, (p, _) in zip(phase, kernel, g.dilation, g.stride, g.padding, strict=True)
            ]
            shape = (out.shape[0], *own, out.shape[-1])
            regions.append(((0, *phase, 0), out.shape, (1, *g.stride, 1)))
            if not all(taps):
                parts.append(self.node(S.full, [], 0.0, shape, out.dtype, False))
                continue
            sub = w
            step = [t[1] - t[0] if len(t) > 1 else 1 for t in taps]
            if [len(t) for t in taps] != list(kernel):
                sub = self.node(
                    S.slice_, [w], (*(t[0] for t in taps), 0, 0), (*(t[-1] + 1 for t in taps), *w.aval.shape[nd:]),
                    (*step, 1, 1),
                )  # fmt: skip
            # y index of the first tap at u = 0, and how far taps are apart in y
            first = [
                (f + p - d * t[0]) // s
                for f, d, s, t, (p, _) in zip(phase, g.dilation, g.stride, taps, g.padding, strict=True)
            ]
            apart = [d * e // s for d, e, s in zip(g.dilation, step, g.stride, strict=True)]
            # the sum over taps j of y[u + first - apart j] is the transpose of a convolution with low padding `first`
            pads = tuple((a, 0) for a in first)
            parts.append(
                self.transposed(y, sub, pads, [max(1, a) for a in apart], g.groups, [len(t) for t in taps], own)
            )
        if len(parts) == 1:
            return parts[0]
        return self.node(C.interleave, parts, out.shape, tuple(regions))

    # -- w from x and y ---------------------------------------------------------------------------
    def filter(self, x: Node, y: Node, g: Geometry, out: Aval) -> Node:
        """Filters from images and results."""
        *kernel, part, wide = out.shape
        own = depthwise.filter_gradient(self, x, y, g, out)
        if own is not None:
            return own
        if winograd.filter_gradient_fits(x.aval, y.aval, tuple(kernel), g):
            return winograd.filter_gradient(self, x, y, g, out)
        xp = self.padded(x, g.padding)
        count = y.aval.shape[1:-1]
        if prod(kernel) == 1 and g.groups == 1:
            if xp.aval.shape[1:-1] != count:
                xp = self.tap(xp, [0] * len(kernel), count, g)
            rows = prod(y.aval.shape[:-1])
            left = self.permute(self.reshape(xp, (rows, part)), (1, 0))
            return self.reshape(self.node(S.dot, [left, self.reshape(y, (rows, wide))]), out.shape)
        if part == 1 and g.groups > 1:
            return self.depthwise_filter(xp, y, g, out)
        attrs = (g.stride, g.dilation, tuple(kernel))
        w = self.node(C.correlate_filter, [self.by_group(xp, g.groups), self.by_group(y, g.groups)], *attrs)
        nd = len(kernel)
        if g.groups > 1:
            w = self.permute(w, (*range(1, nd + 2), 0, nd + 2))
        return self.reshape(w, out.shape)

    def depthwise_filter(self, x: Node, y: Node, g: Geometry, out: Aval) -> Node:
        """With one channel in a group; x is padded."""
        *kernel, _, wide = out.shape
        each = wide // g.groups
        count = y.aval.shape[1:-1]
        axes = tuple(range(len(kernel) + 1))
        sums = []
        y = self.widened(y)
        if each > 1:
            y = self.by_group(y, g.groups)
        for k in itertools.product(*map(range, kernel)):
            part = self.widened(self.tap(x, k, count, g))
            if each > 1:
                part = self.reshape(part, (*part.aval.shape, 1))
            total = self.node(S.sum_, [self.node(E.mul, [part, y])], axes, False, y.aval.dtype)
            sums.append(self.reshape(total, (1, wide)))
        w = self.node(S.cat, sums, 0) if len(sums) > 1 else sums[0]
        return self.reshape(self.narrowed(w, out), out.shape)


_RULES: dict[str, Rule] = {
    "convolve": Lowering.forward,
    "convolve_input": Lowering.backward,
    "convolve_filter": Lowering.filter,
}
