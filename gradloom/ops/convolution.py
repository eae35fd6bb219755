"""Convolution: three primitives, each the derivative of the others.

One trilinear form ``T(x, w, y) = sum x[n, s*i + d*k - low, c] w[k, c, o] y[n, i, o]`` over images ``x (N, *S, C)``,
filters ``w (*K, C / groups, O)`` and results ``y (N, *R, O)``: leaving out ``y`` gives :data:`convolve`, leaving out
``x`` gives :data:`convolve_input` (the transposed convolution), leaving out ``w`` gives :data:`convolve_filter`. So the
gradient rules are closed to every order. Images are channels-last here; what is outside of them counts as zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from gradloom import dtypes
from gradloom.graph.node import Aval
from gradloom.ops.core import Movement, Primitive
from gradloom.ops.structure import as_slices, dot, pad, slice_

__all__ = [
    "Geometry",
    "convolve",
    "convolve_filter",
    "convolve_input",
    "correlate",
    "correlate_filter",
    "interleave",
    "out_size",
]

Array = np.ndarray
Pairs = tuple[tuple[int, int], ...]


class Geometry(NamedTuple):
    """How filters walk over images: per spatial axis, and the number of groups that channels fall into."""

    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    groups: int = 1

    def plain(self) -> Geometry:
        """The same without padding."""
        return self._replace(padding=((0, 0),) * len(self.stride))


def out_size(size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int) -> int:
    """Places that a filter has along one axis; 0 or less where it does not fit."""
    return (size + padding[0] + padding[1] - dilation * (kernel - 1) - 1) // stride + 1


class Convolution(Primitive):
    """One of the three; attrs ``(geometry, size)``: size is of the spatial axes that the operands do not tell."""

    kind = "convolution"


def _result(x: tuple[int, ...], k: tuple[int, ...], g: Geometry) -> tuple[int, ...]:
    return tuple(out_size(*a) for a in zip(x, k, g.stride, g.padding, g.dilation, strict=True))


def _forward_aval(a: Sequence[Aval], t: tuple) -> Aval:
    (x, w), (g, _) = a, t
    shape = (x.shape[0], *_result(x.shape[1:-1], w.shape[:-2], g), w.shape[-1])
    return Aval(shape, dtypes.promote(x.dtype, w.dtype))


def _input_aval(a: Sequence[Aval], t: tuple) -> Aval:
    (y, w), (g, size) = a, t
    return Aval((y.shape[0], *size, w.shape[-2] * g.groups), dtypes.promote(y.dtype, w.dtype))


def _filter_aval(a: Sequence[Aval], t: tuple) -> Aval:
    (x, y), (g, size) = a, t
    return Aval((*size, x.shape[-1] // g.groups, y.shape[-1]), dtypes.promote(x.dtype, y.dtype))


# -- references -----------------------------------------------------------------------------------------
def _wide(v: Aval) -> Any:
    return np.float64 if v.dtype.is_floating else v.dtype.numpy


def _padded(x: Array, g: Geometry) -> Array:
    low = [max(0, p) for p, _ in g.padding]
    high = [max(0, q) for _, q in g.padding]
    x = np.pad(x, [(0, 0), *zip(low, high, strict=True), (0, 0)])
    cut = [slice(max(0, -p), n - max(0, -q)) for (p, q), n in zip(g.padding, x.shape[1:-1], strict=True)]
    return x[(slice(None), *cut)]


def _region(k: Sequence[int], count: Sequence[int], g: Geometry) -> tuple[slice, ...]:
    """What a filter's element ``k`` sees of padded images, over all places."""
    pairs = zip(k, count, g.stride, g.dilation, strict=True)
    return (slice(None), *(slice(i * d, i * d + (n - 1) * s + 1 if n else i * d, s) for i, n, s, d in pairs))


def _by_group(a: Array, groups: int, axis: int = -1) -> Array:
    """The channels as (groups, channels of one), groups in front of all."""
    axis %= a.ndim
    return np.moveaxis(a.reshape(*a.shape[:axis], groups, a.shape[axis] // groups, *a.shape[axis + 1 :]), axis, 0)


def _forward_np(arrays: Sequence[Array], t: tuple, v: Aval) -> Array:
    g, _ = t
    x, w = (a.astype(_wide(v)) for a in arrays)
    x = _padded(x, g)
    count = v.shape[1:-1]
    out = np.zeros((g.groups, *v.shape[:-1], v.shape[-1] // g.groups), x.dtype)
    for k in np.ndindex(w.shape[:-2]):
        out += np.einsum("g...c,gco->g...o", _by_group(x[_region(k, count, g)], g.groups), _by_group(w[k], g.groups))
    return np.moveaxis(out, 0, -2).reshape(v.shape).astype(v.dtype.numpy)


def _input_np(arrays: Sequence[Array], t: tuple, v: Aval) -> Array:
    g, size = t
    y, w = (a.astype(_wide(v)) for a in arrays)
    high = [max(0, q) for _, q in g.padding]
    low = [max(0, p) for p, _ in g.padding]
    count = y.shape[1:-1]
    full = [n + p + q for n, p, q in zip(size, low, high, strict=True)]
    out = np.zeros((v.shape[0], *full, v.shape[-1]), y.dtype)
    inner = out[(slice(None), *(slice(max(0, -p), n - max(0, -q)) for (p, q), n in zip(g.padding, full, strict=True)))]
    for k in np.ndindex(w.shape[:-2]):
        part = np.einsum("g...o,gco->g...c", _by_group(y, g.groups), _by_group(w[k], g.groups))
        inner[_region(k, count, g)] += np.moveaxis(part, 0, -2).reshape(*y.shape[:-1], v.shape[-1])
    return out[(slice(None), *(slice(p, p + n) for p, n in zip(low, size, strict=True)))].astype(v.dtype.numpy)


def _filter_np(arrays: Sequence[Array], t: tuple, v: Aval) -> Array:
    g, size = t
    x, y = (a.astype(_wide(v)) for a in arrays)
    x = _padded(x, g)
    count = y.shape[1:-1]
    out = np.zeros(v.shape, x.dtype)
    rows = prod(y.shape[:-1])
    right = _by_group(y, g.groups).reshape(g.groups, rows, -1)
    for k in np.ndindex(size):
        left = _by_group(x[_region(k, count, g)], g.groups).reshape(g.groups, rows, -1)
        out[k] = np.moveaxis(np.einsum("grc,gro->gco", left, right), 0, 1).reshape(v.shape[-2:])
    return out.astype(v.dtype.numpy)


convolve = Convolution("convolve", _forward_np, _forward_aval)
"""operands (x, w) -> y; attrs (geometry, ())."""
convolve_input = Convolution("convolve_input", _input_np, _input_aval)
"""operands (y, w) -> x; attrs (geometry, spatial size of x)."""
convolve_filter = Convolution("convolve_filter", _filter_np, _filter_aval)
"""operands (x, y) -> w; attrs (geometry, spatial size of w)."""


# -- what the compiler makes of them: groups as an axis, no padding ----------------------------------------
def _correlate_aval(a: Sequence[Aval], t: tuple) -> Aval:
    (x, w), (stride, dilation) = a, t
    g = Geometry(stride, ((0, 0),) * len(stride), dilation)
    shape = (x.shape[0], *_result(x.shape[1:-2], w.shape[1:-2], g), x.shape[-2], w.shape[-1])
    return Aval(shape, dtypes.promote(x.dtype, w.dtype))


def _correlate_filter_aval(a: Sequence[Aval], t: tuple) -> Aval:
    (x, y), (_, _, size) = a, t
    return Aval((x.shape[-2], *size, x.shape[-1], y.shape[-1]), dtypes.promote(x.dtype, y.dtype))


def _flat(a: Array) -> Array:
    return a.reshape(*a.shape[:-2], -1)


def _correlate_np(arrays: Sequence[Array], t: tuple, v: Aval) -> Array:
    (x, w), (stride, dilation) = arrays, t
    g = Geometry(stride, ((0, 0),) * len(stride), dilation, x.shape[-2])
    filters = np.moveaxis(w, 0, -2)
    flat = Aval((*v.shape[:-2], v.shape[-2] * v.shape[-1]), v.dtype)
    return _forward_np((_flat(x), _flat(filters)), (g, ()), flat).reshape(v.shape)


def _correlate_filter_np(arrays: Sequence[Array], t: tuple, v: Aval) -> Array:
    (x, y), (stride, dilation, size) = arrays, t
    groups = x.shape[-2]
    g = Geometry(stride, ((0, 0),) * len(stride), dilation, groups)
    flat = Aval((*size, x.shape[-1], y.shape[-1] * groups), v.dtype)
    out = _filter_np((_flat(x), _flat(y)), (g, size), flat)
    return np.moveaxis(out.reshape(*out.shape[:-1], groups, -1), -2, 0)


correlate = Convolution("correlate", _correlate_np, _correlate_aval)
"""operands (x (N, *S, G, C), w (G, *K, C, O)) -> (N, *R, G, O); attrs (stride, dilation)."""
correlate_filter = Convolution("correlate_filter", _correlate_filter_np, _correlate_filter_aval)
"""operands (x (N, *S, G, C), y (N, *R, G, O)) -> (G, *K, C, O); attrs (stride, dilation, spatial size)."""


def _interleave_np(arrays: Sequence[Array], t: tuple, v: Aval) -> Array:
    out = np.empty(v.shape, v.dtype.numpy)
    for a, region in zip(arrays, t[1], strict=True):
        out[as_slices(*region)] = a
    return out


interleave = Movement("interleave", _interleave_np, lambda a, t: Aval(t[0], a[0].dtype))
"""Operands that fill disjoint regions of a shape; attrs (shape, ((starts, stops, steps), …))."""


# -- a batch in front -------------------------------------------------------------------------------------
FEW_ROWS = 64  # elements of one result's filter up to which what it sees of the images is written out


def _few(x: Any, y: Any, g: Geometry, size: Sequence[int]) -> bool:
    """Whether :func:`_products` is for these."""
    plain = g.groups == 1 and min((0, *sum(g.padding, ()))) == 0 and x.dtype is y.dtype
    return plain and prod(size) * (x.shape[-1] if prod(size) > 1 else 1) <= FEW_ROWS and x.numel() * y.numel() > 0


def _products(x: Any, y: Any, g: Geometry, size: Sequence[int], n: int) -> Any:
    """The gradient of each element's own filters as one matrix product of it: what the filters see, by results.

    For filters of few elements: what they see is written out, which groups of a channel or two would cost more than.
    x: (n, N, *S, C); y: (n, N, *R, O), no groups. Gives (n, *K, C, O).
    """
    from gradloom import functions as G

    count, c, o = y.shape[2:-1], x.shape[-1], y.shape[-1]
    low, high = zip(*g.padding, strict=True)
    x = G.apply(pad, (x,), ((0, 0, *low, 0), (0, 0, *high, 0), 0))
    seen = []
    for k in np.ndindex(*size):
        cuts = _region(k, count, g)[1:]
        starts, stops, steps = ([getattr(r, name) for r in cuts] for name in ("start", "stop", "step"))
        region = ((0, 0, *starts, 0), (n, x.shape[1], *stops, c), (1, 1, *steps, 1))
        seen.append(G.apply(slice_, (x,), region))
    places = y.shape[1] * prod(count)
    rows = G.reshape(G.cat(seen, -1) if len(seen) > 1 else seen[0], (n, places, prod(size) * c))
    out = G.apply(dot, (G.permute(rows, (0, 2, 1)), G.reshape(y, (n, places, o))), ())
    return G.reshape(out, (n, *size, c, o))


def _batch_rule(prim: Convolution) -> Any:
    """Images join the axis of images; where filters have a batch axis too, it becomes groups of channels."""

    def rule(args: Sequence[Any], flags: tuple[bool, ...], attrs: tuple, avals: Sequence[Aval], n: int) -> Any:
        from gradloom import functions as G

        g, size = attrs
        a, b = args
        if prim is not convolve_filter and flags == (True, False):
            out = G.apply(prim, (G.reshape(a, (n * a.shape[1], *a.shape[2:])), b), attrs)
            return G.reshape(out, (n, a.shape[1], *out.shape[1:]))
        if prim is convolve_filter and all(flags) and _few(a, b, g, size):
            return _products(a, b, g, size, n)

        def widen(x: Any, flag: bool) -> Any:
            """The batch in front of the last axis, joined to it."""
            x = x if flag else G.broadcast_to(G.unsqueeze(x, 0), (n, *x.shape))
            x = G.permute(x, (*range(1, x.ndim - 1), 0, x.ndim - 1))
            return G.reshape(x, (*x.shape[:-2], n * x.shape[-1]))

        out = G.apply(prim, (widen(a, flags[0]), widen(b, flags[1])), (g._replace(groups=n * g.groups), size))
        out = G.reshape(out, (*out.shape[:-1], n, out.shape[-1] // n))
        return G.permute(out, (out.ndim - 2, *range(out.ndim - 2), out.ndim - 1))

    return rule


for _prim in (convolve, convolve_input, convolve_filter):
    _prim.batch = _batch_rule(_prim)


def GRADIENTS() -> None:
    """Bind the gradients; called once by :mod:`gradloom.functions`."""
    from gradloom import functions as G

    @convolve.gradient
    def _convolve(ct: Any, out: Any, ins: Any, attrs: tuple) -> tuple:
        (x, w), (g, _) = ins, attrs
        dx = G.apply(convolve_input, (ct, w), (g, tuple(x.shape[1:-1])))
        return dx, G.apply(convolve_filter, (x, ct), (g, tuple(w.shape[:-2])))

    @convolve_input.gradient
    def _convolve_input(ct: Any, out: Any, ins: Any, attrs: tuple) -> tuple:
        (_, w), (g, _) = ins, attrs
        dy = G.apply(convolve, (ct, w), (g, ()))
        return dy, G.apply(convolve_filter, (ct, ins[0]), (g, tuple(w.shape[:-2])))

    @convolve_filter.gradient
    def _convolve_filter(ct: Any, out: Any, ins: Any, attrs: tuple) -> tuple:
        (x, y), (g, _) = ins, attrs
        dx = G.apply(convolve_input, (y, ct), (g, tuple(x.shape[1:-1])))
        return dx, G.apply(convolve, (x, ct), (g, ()))
