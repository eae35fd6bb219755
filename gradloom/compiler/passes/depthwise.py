"""Convolutions whose groups have few channels, depthwise ones first, for the kernels of their own.

Those of one spatial axis get a second one of length 1. Where no kernel fits (three axes, groups that do not fill up a
vector, filters of more than a few dozen elements) the caller does it another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradloom.compiler.depthwise import filter_pieces, fits, packed_lanes
from gradloom.graph.node import Aval, Node
from gradloom.ops import elementwise as E
from gradloom.ops import structure as S
from gradloom.ops.convolution import Geometry
from gradloom.ops.depthwise import depthwise, depthwise_filter

if TYPE_CHECKING:
    from gradloom.compiler.passes.convolve import Lowering

__all__ = ["filter_gradient", "images", "results"]


def _flat(low: Lowering, x: Node) -> Node:
    """Images with two spatial axes."""
    n, *size, c = x.aval.shape
    return low.reshape(x, (n, 1, *size, c)) if len(size) == 1 else x


def _plane(kernel: Sequence[int], g: Geometry) -> tuple[tuple[int, ...], Geometry]:
    """Filters and geometry of two spatial axes."""
    if len(kernel) != 1:
        return tuple(kernel), g
    return (1, *kernel), Geometry((1, *g.stride), ((0, 0), *g.padding), (1, *g.dilation), g.groups)


def _convolved(
    low: Lowering, x: Node, w: Node, kernel: tuple[int, ...], g: Geometry, out: Aval, transposed: bool
) -> Node:
    part, wide = w.aval.shape[-2:]
    filters, lanes = low.reshape(w, (*kernel, part, wide)), packed_lanes(kernel, part, wide, out.dtype)
    if lanes:
        filters = low.permute(low.reshape(filters, (*kernel, part, wide // lanes, lanes)), (3, 0, 1, 2, 4))
    size = out.shape[1:-1] if len(out.shape) == 4 else (1, out.shape[1])
    y = low.node(depthwise, [_flat(low, x), filters], g, size, transposed)
    return low.reshape(y, out.shape)


def results(low: Lowering, x: Node, w: Node, g: Geometry, out: Aval) -> Node | None:
    """Results from images and filters."""
    kernel, plane = _plane(w.aval.shape[:-2], g)
    part, each = w.aval.shape[-2], w.aval.shape[-1] // g.groups
    if not fits(plane, kernel, part, each, out.dtype, False):
        return None
    return _convolved(low, x, w, kernel, plane, out, False)


def images(low: Lowering, y: Node, w: Node, g: Geometry, out: Aval) -> Node | None:
    """Images from results and filters."""
    kernel, plane = _plane(w.aval.shape[:-2], g)
    part, each = w.aval.shape[-2], w.aval.shape[-1] // g.groups
    if not fits(plane, kernel, each, part, out.dtype, True):
        return None
    nd = len(g.stride)
    turned = low.permute(low.by_group(w, g.groups), (*range(nd), nd + 2, nd + 1, nd))  # (*K, O, groups, C)
    turned = low.reshape(turned, (*w.aval.shape[:nd], each, g.groups * part))
    return _convolved(low, y, turned, kernel, plane, out, True)


def filter_gradient(low: Lowering, x: Node, y: Node, g: Geometry, out: Aval) -> Node | None:
    """Filters from images and results."""
    kernel, plane = _plane(out.shape[:-2], g)
    part, each = out.shape[-2], out.shape[-1] // g.groups
    if not fits(plane, kernel, part, each, out.dtype, False):
        return None
    x, y = _flat(low, x), _flat(low, y)
    pieces = filter_pieces(y.aval.shape, kernel, part)
    lanes = packed_lanes(kernel, part, y.aval.shape[-1], out.dtype)
    w = low.node(depthwise_filter, [x, y], plane, kernel, pieces, lanes)
    if w.aval.shape[0] > 1:
        w = low.node(S.sum_, [w], (0,), False, w.aval.dtype)
    if w.aval.dtype is not out.dtype:
        w = low.node(E.cast, [w], out.dtype)
    if lanes:
        w = low.permute(low.reshape(w, w.aval.shape[-5:]), (1, 2, 3, 0, 4))
    return low.reshape(w, out.shape)
