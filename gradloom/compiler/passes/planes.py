"""Complex values as pairs of real ones: after this pass a program knows no complex dtype.

In memory a complex array is a real one with a last axis of 2. An input is read as that, its planes are slices of it,
and an output is its planes joined along a new last axis. In between each instruction becomes those that
:data:`gradloom.ops.planes.RULES` has for it. What has no rule there is done by NumPy on complex views of such arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.graph.node import Aval, Graph, Node
from gradloom.ops import elementwise as E
from gradloom.ops import structure as S
from gradloom.ops.core import Elementwise, Primitive
from gradloom.ops.planes import RULES, Pair, Plane

__all__ = ["split_complex"]


def _in_memory(aval: Aval) -> Aval:
    """A complex array as a real one."""
    return Aval((*aval.shape, 2), aval.dtype.to_real())


class OnComplex(Primitive):
    """A primitive that takes or gives complex arrays, on and as real ones. avals, aval: of what it wraps."""

    def __init__(self, prim: Primitive, avals: tuple[Aval, ...], aval: Aval) -> None:
        self.prim, self.avals, self.aval, self.name = prim, avals, aval, f"complex {prim.name}"

    def infer(self, avals: Sequence[Aval], attrs: tuple) -> Aval:
        """The result as it lies in memory."""
        return _in_memory(self.aval) if self.aval.dtype.is_complex else self.aval

    def evaluate(self, arrays: Sequence[np.ndarray], avals: Sequence[Aval], attrs: tuple, aval: Aval) -> np.ndarray:
        """The wrapped primitive's value."""
        given = [
            np.ascontiguousarray(x).view(a.dtype.numpy)[..., 0] if a.dtype.is_complex else x
            for x, a in zip(arrays, self.avals, strict=True)
        ]
        out = self.prim.evaluate(given, self.avals, attrs, self.aval)
        if not self.aval.dtype.is_complex:
            return out
        whole = np.ascontiguousarray(np.broadcast_to(out, self.aval.shape), self.aval.dtype.numpy)
        return whole.view(aval.dtype.numpy).reshape(aval.shape)


_on_complex = lru_cache(maxsize=1024)(OnComplex)


class _Split:
    """The new program while the old one is walked. reals, pairs: what became of old nodes, by their ids."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.reals: dict[int, Node] = {}
        self.pairs: dict[int, Pair] = {}
        self.whole: dict[int, Node] = {}  # pairs that lie in memory as complex numbers

    def __call__(self, prim: Primitive, *ins: Any, attrs: tuple = ()) -> Plane:
        """A builder of planes: an instruction on planes and numbers."""
        given = [x.node if isinstance(x, Plane) else self._number(x) for x in ins]
        return Plane(self, self._node(prim, given, attrs))

    def _node(self, prim: Primitive, ins: Sequence[Node], attrs: tuple) -> Node:
        n = Node(prim, ins, attrs, prim.infer([i.aval for i in ins], attrs))
        self.nodes.append(n)
        return n

    def _number(self, x: float) -> Node:
        return self._node(S.full, (), (x, (), dtypes.float64, True))

    def like(self, x: Plane, value: float) -> Plane:
        """A constant plane of another's shape and dtype."""
        a = x.node.aval
        return self(S.full, attrs=(value, a.shape, a.dtype, a.weak))

    def broadcast(self, *planes: Plane) -> list[Plane]:
        """Planes brought to their common shape."""
        shape = np.broadcast_shapes(*(p.node.aval.shape for p in planes))
        return [p if p.node.aval.shape == shape else self(S.expand, p, attrs=(shape,)) for p in planes]

    # -- between planes and memory ----------------------------------------------------------------
    def part(self, x: Plane) -> Pair:
        """The planes of what lies as real and imaginary parts along the last axis."""
        *shape, _ = x.node.aval.shape
        parts = []
        for k in (0, 1):
            region = ((0,) * len(shape) + (k,), (*shape, k + 1), (1,) * (len(shape) + 1))
            parts.append(self(S.reshape, self(S.slice_, x, attrs=region), attrs=(tuple(shape),)))
        return Pair(*parts)

    def interleave(self, pair: Pair) -> Plane:
        """Real and imaginary parts along a new last axis."""
        re, im = self.broadcast(*pair)
        shape = (*re.node.aval.shape, 1)
        parts = [self(S.reshape, p, attrs=(shape,)) for p in (re, im)]
        return self(S.cat, *parts, attrs=(len(shape) - 1,))

    def pack(self, old: Node) -> Node:
        """A complex value as it lies in memory."""
        n = self.whole.get(id(old))
        if n is None:
            n = self.whole[id(old)] = self.interleave(self.pairs[id(old)]).node
        return n

    # -- instructions -----------------------------------------------------------------------------
    def real(self, old: Node) -> Node:
        """What a real node became."""
        return self.reals[id(old)]

    def add(self, n: Node) -> None:
        """An instruction of the old program."""
        assert n.prim is not None
        if not n.aval.dtype.is_complex and not any(i.aval.dtype.is_complex for i in n.ins):
            ins = [self.real(i) for i in n.ins]
            same = all(a is b for a, b in zip(ins, n.ins, strict=True))
            self.reals[id(n)] = new = n if same else Node(n.prim, ins, n.attrs, n.aval)
            self.nodes.append(new)
            return
        rule = RULES.get(n.prim)
        out = rule(self, self.operands(n), n.attrs) if rule is not None else None
        if out is None:
            self.on_host(n)
        elif isinstance(out, Pair):
            self.pairs[id(n)] = Pair(*(self.settle(p, n.aval) for p in out))
        else:
            self.reals[id(n)] = self.settle(out, n.aval).node

    def operands(self, n: Node) -> list[Any]:
        """Operands as rules take them: promoted where the primitive promotes."""
        out: list[Any] = [self.pairs[id(i)] if id(i) in self.pairs else Plane(self, self.real(i)) for i in n.ins]
        if not isinstance(n.prim, Elementwise) or n.prim.operands == "keep":
            return out
        d = n.prim.compute_dtype([i.aval for i in n.ins], n.attrs)
        first = 1 if n.prim.operands == "tail" else 0
        for k in range(first, len(out)):
            if d.is_complex:
                out[k] = RULES[E.cast](self, [out[k]], (d,))
            elif not isinstance(out[k], Pair):
                out[k] = self(E.cast, out[k], attrs=(d,))
        return out

    def settle(self, p: Plane, aval: Aval) -> Plane:
        """A plane with the shape and dtype that the old program promised."""
        if p.node.aval.shape != aval.shape:
            p = self(S.expand, p, attrs=(aval.shape,))
        d = aval.dtype.to_real()
        return p if p.node.aval.dtype is d and p.node.aval.weak == aval.weak else self(E.cast, p, attrs=(d,))

    def on_host(self, n: Node) -> None:
        """An instruction that NumPy does."""
        assert n.prim is not None
        prim = _on_complex(n.prim, tuple(i.aval for i in n.ins), n.aval)
        new = self._node(prim, [self.pack(i) if id(i) in self.pairs else self.real(i) for i in n.ins], n.attrs)
        if n.aval.dtype.is_complex:
            self.whole[id(n)] = new
            self.pairs[id(n)] = self.part(Plane(self, new))
        else:
            self.reals[id(n)] = new


def split_complex(graph: Graph) -> Graph:
    """The same program without complex dtypes."""
    if not any(n.aval.dtype.is_complex for n in (*graph.inputs, *graph.nodes)):
        return graph
    s = _Split()
    inputs = []
    for n in graph.inputs:
        if n.aval.dtype.is_complex:
            new = Node(None, (), (), _in_memory(n.aval))
            s.whole[id(n)] = new
            s.pairs[id(n)] = s.part(Plane(s, new))
        else:
            new = s.reals[id(n)] = n
        inputs.append(new)
    for n in graph.nodes:
        s.add(n)
    outputs = [s.pack(n) if n.aval.dtype.is_complex else s.real(n) for n in graph.outputs]
    return Graph(inputs, s.nodes, outputs, graph.donate)
