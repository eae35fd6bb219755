"""Inference over many images becomes rounds over a few of them, where all images are treated alike.

Layers one after the other, each over the whole batch, write their images to memory and read them from there. A few
images at a time stay in the caches, and a thread that does a whole round waits for no other thread between layers. What
does not pay are networks with more weights than images: each round reads them all. The program for a few images is
found here; how it runs in rounds is the runner's matter (:class:`gradloom.runtime.runner.Rounds`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from gradloom.graph.node import Aval, Graph, Node
from gradloom.runtime.threads import get_num_threads

__all__ = ["LEAST_ROUNDS", "in_rounds"]

LEAST_ROUNDS = 4  # threads share these: fewer would leave some without
SHARED = 0.9  # of the threads' time, that rounds must fill: seven of them on two threads leave one idle at the end
NEAR_BYTES = 8 << 20  # of what a layer reads and writes for a few images that stay in a cache
FAR_BYTES = 32 << 20  # of what a layer reads and writes for the whole batch from which on it does not
WEIGHT = 3  # how many bytes of images, read and written, pay for one of weights that is read once more
PRODUCTS = ("convolve", "convolve_input", "dot")


def in_rounds(graph: Graph, lasting: Sequence[int]) -> tuple[Graph, int] | None:
    """The program for a few images and how many rounds of it do the same; None where that is impossible or dear.

    lasting: the numbers of inputs that are weights. All other inputs with axes are images, all outputs theirs.
    """
    fixed = set(lasting)
    given = {id(n) for k, n in enumerate(graph.inputs) if k not in fixed and n.aval.shape}
    counts = {n.aval.shape[0] for n in graph.inputs if id(n) in given}
    if len(counts) != 1 or graph.donate or not graph.nodes:
        return None
    (count,) = counts
    few = _few(graph, [graph.inputs[k] for k in lasting], count) if count else 0
    return (small, count // few) if few and (small := _Smaller(count, few).graph(graph, given)) is not None else None


def _few(graph: Graph, weights: Sequence[Node], count: int) -> int:
    """How many images to take in a round; 0 where rounds do not pay."""
    layers = [
        _bytes(n.ins[0].aval) + _bytes(n.aval)
        for n in graph.nodes
        if n.prim is not None and n.prim.name in PRODUCTS and n.aval.shape and n.aval.shape[0] == count
    ]
    if not any(n.prim is not None and n.prim.kind == "convolution" for n in graph.nodes) or not layers:
        return 0
    most, weight = max(layers), sum(_bytes(n.aval) for n in weights)
    if most < FAR_BYTES:
        return 0
    fitting = [
        b
        for b in range(1, count // LEAST_ROUNDS + 1)
        if count % b == 0 and b * most <= NEAR_BYTES * count and _shared(count // b) >= SHARED
    ]
    few = max(fitting, default=0)
    return few if few * sum(layers) >= WEIGHT * weight * count else 0


def _shared(rounds: int) -> float:
    """How much of the threads' time so many rounds fill."""
    threads = get_num_threads()
    return rounds / (threads * -(-rounds // threads))


def _bytes(a: Aval) -> int:
    return a.size * a.dtype.itemsize


class _Unlike(Exception):
    """Images that are not treated each by itself, or in a way that is not known here."""


class _Smaller:
    """A program for ``few`` images from one for ``count``.

    Of a value that holds images, an axis is known: it is ``count``, or a multiple of it, and images follow one another
    along it.
    """

    def __init__(self, count: int, few: int) -> None:
        self.count, self.few = count, few
        self.axes: dict[int, int] = {}
        self.new: dict[int, Node] = {}

    def graph(self, old: Graph, images: set[int]) -> Graph | None:
        """The program; None where there is none."""
        inputs = []
        for n in old.inputs:
            if id(n) in images:
                self.axes[id(n)] = 0
                inputs.append(Node(None, (), (), self.less(n.aval, 0)))
            else:
                inputs.append(n)
            self.new[id(n)] = inputs[-1]
        nodes = []
        try:
            for n in old.nodes:
                nodes.append(self.node(n))
        except _Unlike:
            return None
        if any(self.axes.get(id(n)) != 0 for n in old.outputs):
            return None
        return Graph(inputs, nodes, [self.new[id(n)] for n in old.outputs])

    def less(self, a: Aval, axis: int) -> Aval:
        """What a value for fewer images is like."""
        return a._replace(shape=(*a.shape[:axis], a.shape[axis] // self.count * self.few, *a.shape[axis + 1 :]))

    def node(self, n: Node) -> Node:
        """An instruction for fewer images. Raises _Unlike."""
        made = n
        if any(id(i) in self.axes for i in n.ins):
            assert n.prim is not None
            rule = _RULES.get(n.prim.name) or _RULES.get(n.prim.kind)
            if rule is None:
                raise _Unlike
            axis, attrs = rule(self, n, [self.axes.get(id(i)) for i in n.ins])
            ins = [self.new[id(i)] for i in n.ins]
            made = Node(n.prim, ins, attrs, self.less(n.aval, axis))
            if n.prim.infer([i.aval for i in ins], attrs).shape != made.aval.shape:
                raise _Unlike
            self.axes[id(n)] = axis
        self.new[id(n)] = made
        return made


Rule = Callable[[_Smaller, Node, list[int | None]], tuple[int, tuple]]
"""Where the images are in the result, and the attributes for fewer of them; from their place in each operand."""


def _elementwise(s: _Smaller, n: Node, at: list[int | None]) -> tuple[int, tuple]:
    nd = len(n.aval.shape)
    places = {a + nd - len(i.aval.shape) for a, i in zip(at, n.ins, strict=True) if a is not None}
    if len(places) != 1:
        raise _Unlike
    (axis,) = places
    for a, i in zip(at, n.ins, strict=True):
        own = axis - (nd - len(i.aval.shape))
        size = i.aval.shape[own] if own >= 0 else 1
        if size != (1 if a is None else n.aval.shape[axis]):
            raise _Unlike
    return axis, n.attrs


def _permute(s: _Smaller, n: Node, at: list[int | None]) -> tuple[int, tuple]:
    return n.attrs[0].index(at[0]), n.attrs


def _reshape(s: _Smaller, n: Node, at: list[int | None]) -> tuple[int, tuple]:
    (axis,), old, new = at, n.ins[0].aval.shape, n.aval.shape
    assert axis is not None
    before = prod(old[:axis])
    for k, size in enumerate(new):
        if size % s.count == 0 and prod(new[:k]) == before:
            return k, (s.less(n.aval, k).shape,)
    raise _Unlike


def _expand(s: _Smaller, n: Node, at: list[int | None]) -> tuple[int, tuple]:
    assert at[0] is not None
    axis = at[0] + len(n.aval.shape) - len(n.ins[0].aval.shape)
    return axis, (s.less(n.aval, axis).shape,)


def _slice(s: _Smaller, n: Node, at: list[int | None]) -> tuple[int, tuple]:
    (axis,), (starts, stops, steps) = at, n.attrs
    assert axis is not None
    size = n.ins[0].aval.shape[axis]
    if (starts[axis], stops[axis], steps[axis]) != (0, size, 1):
        raise _Unlike
    less = s.new[id(n.ins[0])].aval.shape[axis]
    return axis, (starts, (*stops[:axis], less, *stops[axis + 1 :]), steps)


def _pad(s: _Smaller, n: Node, at: list[int | None]) -> tuple[int, tuple]:
    (axis,), (low, high, _) = at, n.attrs
    assert axis is not None
    if low[axis] or high[axis]:
        raise _Unlike
    return axis, n.attrs


def _cat(s: _Smaller, n: Node, at: list[int | None]) -> tuple[int, tuple]:
    axis = at[0]
    if axis is None or any(a != axis for a in at) or axis == n.attrs[0]:
        raise _Unlike
    return axis, n.attrs


def _reduce(s: _Smaller, n: Node, at: list[int | None]) -> tuple[int, tuple]:
    (axis,), (axes, keep, _) = at, n.attrs
    assert axis is not None
    if axis in axes:
        raise _Unlike
    return axis if keep else axis - sum(k < axis for k in axes), n.attrs


def _convolve(s: _Smaller, n: Node, at: list[int | None]) -> tuple[int, tuple]:
    if at != [0, None]:
        raise _Unlike
    return 0, n.attrs


def _dot(s: _Smaller, n: Node, at: list[int | None]) -> tuple[int, tuple]:
    a, b = at
    rows = len(n.aval.shape) - 2
    if a is None or not ((b is None and a == rows) or (a == b and a < rows)):
        raise _Unlike
    return a, n.attrs


_RULES: dict[Any, Rule] = {
    "elementwise": _elementwise, "reduce": _reduce, "permute": _permute, "reshape": _reshape, "expand": _expand,
    "slice": _slice, "pad": _pad, "cat": _cat, "convolve": _convolve, "convolve_input": _convolve, "dot": _dot,
}  # fmt: skip
"""By a primitive's name, or its kind. A product's sums and a reduction's never run over images."""
