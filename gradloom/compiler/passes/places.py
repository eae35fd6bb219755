"""Filters that reach beyond small images: elements that meet nothing but padding are left out, one place is a product.

An element of the filters counts only where it meets an image at some place; a 3x3 filter on a 1x1 image is its middle.
And where filters have a single place, as those as large as the image do, and as those of a transposed convolution
of a vector, the sum over elements and channels is one matrix product instead of a walk over padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from gradloom.graph.node import Aval, Node
from gradloom.ops import structure as S
from gradloom.ops.convolution import Geometry

if TYPE_CHECKING:
    from gradloom.compiler.passes.convolve import Lowering

__all__ = ["met", "one_place", "trimmed"]

Spans = tuple[tuple[int, int], ...]


def met(images: Sequence[int], kernel: Sequence[int], results: Sequence[int], g: Geometry) -> Spans | None:
    """The first element and the one behind the last that meet an image, per axis; None where no element does."""
    spans = []
    for n, k, r, s, (low, _), d in zip(images, kernel, results, g.stride, g.padding, g.dilation, strict=True):
        # element j meets the image where 0 <= s i + d j - low < n for some place i
        those = [j for j in range(k) if any(0 <= s * i + d * j - low < n for i in range(max(0, r)))]
        if not those:
            return None
        spans.append((those[0], those[-1] + 1))
    return tuple(spans)


def trimmed(images: Sequence[int], results: Sequence[int], spans: Spans, g: Geometry) -> Geometry:
    """How the elements within ``spans`` walk: with as much padding as they need."""
    padding = []
    for n, r, (a, b), s, (low, _), d in zip(images, results, spans, g.stride, g.padding, g.dilation, strict=True):
        start = low - d * a
        padding.append((start, (r - 1) * s + d * (b - a - 1) + 1 - n - start))
    return g._replace(padding=tuple(padding))


def one_place(low: Lowering, rule: str, a: Node, b: Node, g: Geometry, out: Aval, channels_first: bool) -> Node | None:
    """A convolution whose filters have a single place, as a product; None where they have more.

    channels_first: whether the filters lie, or their gradient is wanted, as (O, C, *K) and not as (*K, C, O).
    """
    x, w, y = {
        "convolve": (a.aval, b.aval, out), "convolve_input": (out, b.aval, a.aval),
        "convolve_filter": (a.aval, out, b.aval),
    }[rule]  # fmt: skip
    kernel, size = w.shape[:-2], x.shape[1:-1]
    nd = len(kernel)
    if g.groups > 1 or prod(y.shape[1:-1]) != 1 or prod(kernel) == 1 or any(p > 0 for p, _ in g.padding):
        return None
    starts = [-p for p, _ in g.padding]
    stops = [s + d * (k - 1) + 1 for s, d, k in zip(starts, g.dilation, kernel, strict=True)]
    rows, (c, o) = y.shape[0], w.shape[-2:]
    first = channels_first and rows < o  # then images are turned, which are less than filters
    deep = prod(kernel) * c
    behind = (nd + 1, *range(1, nd + 1))  # channels before places

    def seen() -> Node:
        got = low.cut(a, starts, stops, g.dilation)
        return low.reshape(low.permute(got, (0, *behind)) if first else got, (rows, deep))

    if rule == "convolve_filter":
        flat = low.reshape(b, (rows, o))
        if first:
            made = low.node(S.dot, [low.permute(flat, (1, 0)), seen()])  # (O, C * K)
            return low.permute(low.reshape(made, (o, c, *kernel)), (*range(2, nd + 2), 1, 0))
        return low.reshape(low.node(S.dot, [low.permute(seen(), (1, 0)), flat]), out.shape)
    turned = low.permute(b, (nd + 1, nd, *range(nd)) if first else (nd + 1, *range(nd), nd))
    matrix = low.reshape(turned, (o, deep))
    if rule == "convolve":
        return low.reshape(low.node(S.dot, [seen(), low.permute(matrix, (1, 0))]), out.shape)
    if any(d > 1 and k > 1 for d, k in zip(g.dilation, kernel, strict=True)):
        return None
    made = low.node(S.dot, [low.reshape(a, (rows, o)), matrix])
    made = low.permute(low.reshape(made, (rows, c, *kernel)), (0, *range(2, nd + 2), 1)) if first else made
    ends = tuple((s, n - e) for s, n, e in zip(starts, size, stops, strict=True))
    return low.padded(low.reshape(made, (rows, *kernel, c)), ends)
