"""The layout pass: the same values, channels-last between convolutions, no permutation left there."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradloom import dtypes as D
from gradloom.compiler.passes.clean import common, dead, simplify
from gradloom.compiler.passes.layout import layout
from gradloom.graph.node import Aval, Graph, Node, check
from gradloom.ops import elementwise as E
from gradloom.ops import structure as S
from gradloom.ops.convolution import Geometry, convolve, convolve_filter, convolve_input
from gradloom.ops.windows import windows
from gradloom.reference.interpreter import evaluate

F32 = D.float32
FIRST, LAST = (0, 3, 1, 2), (0, 2, 3, 1)
SAME = Geometry((1, 1), ((1, 1), (1, 1)), (1, 1))


class Program:
    """A graph being written; ``after`` is what the pass makes of it."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.inputs: list[Node] = []
        self.arrays: list[np.ndarray] = []
        self.nodes: list[Node] = []

    def normal(self, *shape: int) -> Node:
        n = Node(None, (), (), Aval(shape, D.float64))
        self.inputs.append(n)
        self.arrays.append(self.rng.normal(size=shape))
        return n

    def __call__(self, prim, *ins: Node, attrs: tuple = ()) -> Node:
        n = Node(prim, ins, attrs, prim.infer([i.aval for i in ins], attrs))
        self.nodes.append(n)
        return n

    def permute(self, x: Node, *order: int) -> Node:
        return self(S.permute, x, attrs=(order,))

    def reshape(self, x: Node, *shape: int) -> Node:
        return self(S.reshape, x, attrs=(shape,))

    def sum(self, x: Node, *axes: int, keep: bool = False) -> Node:
        return self(S.sum_, x, attrs=(axes, keep, x.aval.dtype))

    def conv(self, x: Node, c: int, g: Geometry = SAME, k: int = 3) -> Node:
        """A convolution of (N, C, H, W) as users write it."""
        w = self.normal(c, x.aval.shape[1], k, k)
        y = self(convolve, self.permute(x, *LAST), self.permute(w, 2, 3, 1, 0), attrs=(g, ()))
        return self.permute(y, *FIRST)

    def channels(self, x: Node) -> Node:
        """A parameter for each channel, ready to be broadcast."""
        c = x.aval.shape[1]
        return self.reshape(self.normal(c), 1, c, *(1,) * (len(x.aval.shape) - 2))

    def after(self, *outputs: Node) -> Graph:
        """The program after the pass, its values compared with those before."""
        graph = Graph(self.inputs, self.nodes, list(outputs))
        check(graph)
        got = simplify(layout(common(simplify(dead(graph)))))
        check(got)
        got = dead(common(simplify(got)))
        check(got)
        for a, b in zip(self.values(graph), self.values(got), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
        return got

    def values(self, graph: Graph) -> list[np.ndarray]:
        known = {id(n): a for n, a in zip(self.inputs, self.arrays, strict=True)}
        for n in graph.nodes:
            known[id(n)] = evaluate(n, [known[id(i)] for i in n.ins])
        return [known[id(n)] for n in graph.outputs]


def moved(graph: Graph) -> list[Node]:
    """Permutations of what is computed (inputs are read as they lie) that bring elements to other places."""

    def moves(n: Node) -> bool:
        if n.prim is None or n.prim.name != "permute" or n.ins[0].prim is None:
            return False
        order = [k for k in n.attrs[0] if n.ins[0].aval.shape[k] != 1]
        return order != sorted(order)

    return [n for n in graph.nodes if moves(n)]


def loss(p: Program, x: Node) -> Node:
    return p.sum(x, *range(len(x.aval.shape)))


def test_no_copies_between_layers():
    p = Program()
    x = p.normal(2, 3, 8, 8)
    y = p.conv(x, 8)
    y = p(E.maximum, p(E.add, y, p.channels(y)), p(S.full, attrs=(0.0, (), D.float64, True)))
    z = p(E.add, p.conv(y, 8), y)
    z = p(E.tanh, z)
    assert not moved(p.after(loss(p, p.conv(z, 4))))


@pytest.mark.parametrize(("rank", "conv"), [(1, 1), (3, 3)])
def test_other_ranks(rank, conv):
    p = Program()
    g = Geometry((1,) * rank, ((1, 1),) * rank, (1,) * rank)
    last, first = (0, *range(2, rank + 2), 1), (0, rank + 1, *range(1, rank + 1))

    def layer(x, c):
        w = p.normal(c, x.aval.shape[1], *(3,) * rank)
        w = p.permute(w, *range(2, rank + 2), 1, 0)
        return p.permute(p(convolve, p.permute(x, *last), w, attrs=(g, ())), *first)

    x = layer(p.normal(2, 3, *(5,) * rank), 4)
    x = p(E.mul, p(E.tanh, x), p.channels(x))
    assert not moved(p.after(loss(p, p(E.tanh, layer(x, 4)))))


def batch_norm(p: Program, x: Node) -> Node:
    axes = (0, *range(2, len(x.aval.shape)))
    count = p(S.full, attrs=(float(np.prod([x.aval.shape[k] for k in axes])), (), D.float64, True))
    mean = p(E.div, p.sum(x, *axes, keep=True), count)
    d = p(E.sub, x, p(S.expand, mean, attrs=(x.aval.shape,)))
    var = p(E.div, p.sum(p(E.mul, d, d), *axes, keep=True), count)
    return p(E.mul, p(E.mul, d, p(E.rsqrt, var)), p.channels(x))


def test_norms_pad_slice_cat():
    p = Program()
    y = p(E.tanh, batch_norm(p, p.conv(p.normal(2, 3, 6, 6), 4)))
    y = p(S.pad, y, attrs=((0, 0, 1, 2), (0, 0, 1, 0), 0.5))
    a = p(S.slice_, y, attrs=((0, 1, 0, 7), (2, 4, 8, 0), (1, 1, 1, -1)))  # backwards too
    b = p(S.slice_, p.conv(y, 5), attrs=((0, 0, 0, 0), (2, 5, 8, 7), (1, 1, 1, 1)))
    z = p(S.cat, a, b, attrs=(1,))
    patch = p(S.slice_, z, attrs=((0, 0, 0, 0), (2, 3, 4, 7), (1, 1, 2, 1)))
    z = p(S.update_slice, z, p(E.mul, patch, patch), attrs=((0, 1, 0, 0), (2, 4, 4, 7), (1, 1, 2, 1)))
    assert not moved(p.after(loss(p, p.conv(z, 4))))


def test_windows():
    """Pooling as reductions over windows: of two axes, and of one axis that another follows."""
    p = Program()
    y = p(E.tanh, p.conv(p.normal(2, 3, 7, 7), 4))
    a = p.sum(p(windows, y, attrs=((2, 3), (3, 2), (2, 2), (1, 2))), 4, 5)
    b = p.sum(p(windows, y, attrs=((3, 1), (3, 2), (2, 2), (1, 1))), 4)
    graph = p.after(loss(p, p.conv(p(E.tanh, a), 4)), loss(p, p(E.tanh, b)))
    assert not moved(graph)


def test_gates_of_channels():
    """Squeeze and excite: a pooled value goes through products and comes back by broadcasting."""
    p = Program()
    y = p(E.tanh, p.conv(p.normal(2, 3, 6, 6), 4))
    s = p(S.dot, p.sum(y, 2, 3), p.normal(4, 4))
    gate = p(S.expand, p.reshape(p(E.sigmoid, s), 2, 4, 1, 1), attrs=(y.aval.shape,))
    assert not moved(p.after(loss(p, p.conv(p(E.mul, y, gate), 4))))


def test_groups_of_channels():
    """Shuffled channels, and norms over groups of them: axes are split and joined again."""
    p = Program()
    y = p(E.tanh, p.conv(p.normal(2, 3, 6, 6), 8))
    g = p.reshape(y, 2, 2, 4, 6, 6)
    g = p(E.sub, g, p.sum(g, 2, 3, 4, keep=True))
    y = p(E.mul, p.reshape(g, 2, 8, 6, 6), p.channels(y))
    assert not moved(p.after(loss(p, p.conv(y, 4))))
    y = p.reshape(p.permute(p.reshape(y, 2, 2, 4, 6, 6), 0, 2, 1, 3, 4), 2, 8, 6, 6)
    assert len(moved(p.after(loss(p, p.conv(p(E.tanh, y), 4))))) == 1  # the shuffle


def test_spatial_axes_joined():
    """Patches of an image become rows of a product, and no copy is made."""
    p = Program()
    y = p(E.add, y0 := p.conv(p.normal(2, 3, 6, 6), 8), p.channels(y0))
    rows = p.permute(p.reshape(y, 2, 8, 36), 0, 2, 1)
    assert not moved(p.after(p(S.dot, rows, p(S.expand, p.normal(8, 5), attrs=((2, 8, 5),)))))


def test_gradients_and_updates():
    """Forward, backward and update in one program: images stay channels-last, parameters as they are."""
    p = Program()
    zero = p(S.full, attrs=(0.0, (), D.float64, True))
    x, w1, w2 = p.normal(2, 3, 6, 6), p.normal(4, 3, 3, 3), p.normal(4, 4, 3, 3)

    def conv(x, w):
        y = p(convolve, p.permute(x, *LAST), p.permute(w, 2, 3, 1, 0), attrs=(SAME, ()))
        return p.permute(y, *FIRST)

    a = conv(x, w1)
    h = p(E.maximum, a, zero)
    b = conv(h, w2)
    flat = p.reshape(b, 2, -1 + 145)
    v = p.normal(144, 3)
    ct = p.reshape(p(S.dot, p(S.dot, flat, v), p.permute(v, 1, 0)), *b.aval.shape)

    def back(h, w, ct):
        ct = p.permute(ct, *LAST)
        dx = p(convolve_input, ct, p.permute(w, 2, 3, 1, 0), attrs=(SAME, (6, 6)))
        dw = p(convolve_filter, p.permute(h, *LAST), ct, attrs=(SAME, (3, 3)))
        return p.permute(dx, *FIRST), p.permute(dw, 3, 2, 0, 1)

    dh, dw2 = back(h, w2, ct)
    da = p(E.where, p(E.gt, a, zero), dh, zero)
    _, dw1 = back(x, w1, da)
    new = [p(E.sub, w, p(E.mul, d, p(S.full, attrs=(0.1, (), D.float64, True)))) for w, d in ((w1, dw1), (w2, dw2))]
    graph = p.after(*new)
    left = [n for n in moved(graph) if len(n.aval.shape) == 4]
    assert len(left) == 4  # the gradients of the filters, and what is flattened for a product and back
    for n in graph.outputs:
        assert n.prim is not None and n.prim.name == "sub"


def test_random_stays():
    p = Program()
    y = p.conv(p.normal(2, 3, 6, 6), 4)
    seeds = [p(S.full, attrs=(k, (), D.int64, False)) for k in (3, 5)]
    keep = p(E.gt, p(S.uniform, *seeds, attrs=(y.aval.shape, D.float64)), p(S.full, attrs=(0.5, (), D.float64, True)))
    z = p(E.mul, y, p(E.cast, keep, attrs=(D.float64,)))
    left = moved(p.after(loss(p, p.conv(z, 4))))
    assert [n.ins[0].prim.name for n in left] == ["uniform"]


def test_nothing_gained_nothing_changed():
    p = Program()
    x, y = p.normal(4, 6), p.normal(6, 4)
    z = p(E.tanh, p(E.add, p.permute(x, 1, 0), y))
    q = p.permute(p.reshape(p(S.dot, z, x), 6, 2, 3), 1, 0, 2)
    graph = Graph(p.inputs, p.nodes, [p(E.exp, q)])
    assert layout(graph) is graph


def test_transpose_and_itself():
    """A value cannot be in two orders at once."""
    p = Program()
    y = p(E.tanh, p.conv(p.normal(2, 3, 5, 5), 4))
    p.after(loss(p, p.conv(p(E.add, y, p.permute(y, 0, 1, 3, 2)), 4)), y)


DOES = ("permute", "map", "add", "sum", "reshape", "conv", "slice", "pad", "expand", "cat")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_program(data):
    p = Program(data.draw(st.integers(0, 99)))
    pool = [p.conv(p.normal(2, 2, 3, 4), 4, k=1, g=SAME._replace(padding=((0, 0), (0, 0))))]
    for _ in range(data.draw(st.integers(2, 14))):
        x = data.draw(st.sampled_from(pool[-4:]))
        shape = x.aval.shape
        nd = len(shape)
        do = data.draw(st.sampled_from(DOES))
        if do == "permute":
            x = p.permute(x, *data.draw(st.permutations(range(nd))))
        elif do == "map":
            x = p(E.tanh, x)
        elif do == "add":
            y = data.draw(st.sampled_from(pool))
            if sorted(y.aval.shape) == sorted(shape) and nd:
                fit = [o for o in permutations(range(nd)) if tuple(y.aval.shape[k] for k in o) == shape]
                x = p(E.add, x, p.permute(y, *data.draw(st.sampled_from(fit))))
            else:
                keep = data.draw(st.integers(0, nd))
                x = p(E.mul, x, p.normal(*(n if data.draw(st.booleans()) else 1 for n in shape[keep:])))
        elif do == "sum" and nd:
            axes = data.draw(st.sets(st.integers(0, nd - 1), min_size=1, max_size=2))
            x = p.sum(x, *sorted(axes), keep=data.draw(st.booleans()))
        elif do == "reshape":
            if data.draw(st.booleans()) and nd > 1:
                k = data.draw(st.integers(0, nd - 2))
                x = p.reshape(x, *shape[:k], shape[k] * shape[k + 1], *shape[k + 2 :])
            elif nd:
                k = data.draw(st.integers(0, nd - 1))
                f = 2 if shape[k] % 2 == 0 else 1
                x = p.reshape(x, *shape[:k], f, shape[k] // f, *shape[k + 1 :])
        elif do == "conv" and nd == 4:
            x = p.conv(x, data.draw(st.sampled_from([2, 4])), k=1, g=SAME._replace(padding=((0, 0), (0, 0))))
        elif do in ("slice", "pad", "cat") and nd:
            k = data.draw(st.integers(0, nd - 1))
            if do == "slice":
                step = data.draw(st.sampled_from([1, 2, -1]))
                whole = [(0, n, 1) if i != k or step > 0 else (n - 1, -1, step) for i, n in enumerate(shape)]
                if step == 2:
                    whole[k] = (0, shape[k], 2)
                x = p(S.slice_, x, attrs=tuple(zip(*whole, strict=True)))
            elif do == "pad":
                x = p(S.pad, x, attrs=(tuple(int(i == k) for i in range(nd)), (0,) * nd, 1.5))
            else:
                x = p(S.cat, x, p(E.tanh, x), attrs=(k,))
        elif do == "expand" and 0 < nd < 5:
            x = p(S.expand, p.sum(x, 0, keep=True), attrs=(shape,))
        if x.aval.size > 4000:
            break
        pool.append(x)
    outs = data.draw(st.lists(st.sampled_from(pool), min_size=1, max_size=3, unique_by=id))
    p.after(*outs)
