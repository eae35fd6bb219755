"""Reductions, movement, contraction, creation and random numbers: the primitives that are not elementwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.errors import ShapeError
from gradloom.graph.node import Aval
from gradloom.ops.core import Movement, Primitive, Reduce
from gradloom.ops.philox import philox, unit


# -- reductions: attrs (axes, keepdims, dtype) ------------------------------------------------------
def _reduction(fn: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def run(arrays: Sequence[np.ndarray], attrs: tuple, aval: Aval) -> np.ndarray:
        axes, keep, dtype = attrs
        (x,) = arrays
        if dtype.is_floating:  # plain and exact: work in float64
            x = x.astype(np.float64)
        elif dtype.category:
            x = x.astype(np.complex128 if dtype.is_complex else dtype.numpy)
        return np.asarray(fn(x, axis=axes, keepdims=keep)).astype(dtype.numpy)

    return run


sum_ = Reduce("sum", "sum", _reduction(np.sum))
prod = Reduce("prod", "prod", _reduction(np.prod))
amax = Reduce("amax", "max", _reduction(np.max))
amin = Reduce("amin", "min", _reduction(np.min))
any_ = Reduce("any", "any", _reduction(np.any))
all_ = Reduce("all", "all", _reduction(np.all))

# -- movement ---------------------------------------------------------------------------------------
reshape = Movement("reshape", lambda a, t, v: a[0].reshape(t[0]), lambda a, t: Aval(t[0], a[0].dtype, a[0].weak))
permute = Movement(
    "permute",
    lambda a, t, v: a[0].transpose(t[0]),
    lambda a, t: Aval(tuple(a[0].shape[k] for k in t[0]), a[0].dtype),
)
expand = Movement(
    "expand", lambda a, t, v: np.broadcast_to(a[0], t[0]), lambda a, t: Aval(t[0], a[0].dtype)
)  # attrs: (shape,); same rank or lower, aligned at the last axis


def _slice_shape(a: Sequence[Aval], t: tuple) -> Aval:
    return Aval(tuple(len(range(b, e, s)) for b, e, s in zip(*t, strict=True)), a[0].dtype)


def as_slices(starts: tuple, stops: tuple, steps: tuple) -> tuple[slice, ...]:
    """Slices of NumPy; a stop below 0 means 'past the front' for negative steps."""
    return tuple(slice(b, e if e >= 0 else None, s) for b, e, s in zip(starts, stops, steps, strict=True))


slice_ = Movement("slice", lambda a, t, v: a[0][as_slices(*t)], _slice_shape)  # attrs: (starts, stops, steps)
pad = Movement(
    "pad",
    lambda a, t, v: np.pad(a[0], list(zip(t[0], t[1], strict=True)), constant_values=t[2]),
    lambda a, t: Aval(tuple(n + lo + hi for n, lo, hi in zip(a[0].shape, t[0], t[1], strict=True)), a[0].dtype),
)  # attrs: (low, high, value)


apart = Movement("apart", lambda a, t, v: a[0], lambda a, t: a[0])
"""A value read from memory: a kernel of its own begins with it."""


def _scatter_slice_np(a: Sequence[np.ndarray], t: tuple, v: Aval) -> np.ndarray:
    out = a[0].copy()
    out[as_slices(*t)] = a[1]
    return out


update_slice = Movement("update_slice", _scatter_slice_np, lambda a, t: Aval(a[0].shape, a[0].dtype))
"""The first operand with the region (starts, stops, steps) replaced by the second."""


def _cat_shape(a: Sequence[Aval], t: tuple) -> Aval:
    (axis,) = t
    first = a[0].shape
    for x in a[1:]:
        if len(x.shape) != len(first) or any(
            p != q for k, (p, q) in enumerate(zip(x.shape, first, strict=True)) if k != axis
        ):
            raise ShapeError(
                f"cat: shapes {first} and {x.shape} differ outside of axis {axis}",
                code="shape.cat",
                hint="all axes but the concatenated one must agree",
            )
    n = sum(x.shape[axis] for x in a)
    return Aval((*first[:axis], n, *first[axis + 1 :]), a[0].dtype)


cat = Movement("cat", lambda a, t, v: np.concatenate(a, t[0]), _cat_shape)


# -- contraction: (b…, m, k) x (b…, k, n), equal batch axes -------------------------------------------
class Contraction(Primitive):
    """``dot``: batched matrix product of operands of equal rank and batch axes; attrs ()."""

    kind = "contraction"


def _dot_shape(a: Sequence[Aval], t: tuple) -> Aval:
    x, y = a
    if x.shape[:-2] != y.shape[:-2] or x.shape[-1] != y.shape[-2]:
        raise ShapeError(
            f"matmul: shapes {x.shape} and {y.shape} do not fit: axis -1 of the first ({x.shape[-1]}) must equal axis "
            f"-2 of the second ({y.shape[-2]})",
            code="shape.matmul",
            hint="transpose one operand or check the number of features",
        )
    return Aval((*x.shape[:-1], y.shape[-1]), dtypes.promote(x.dtype, y.dtype))


def _dot_np(a: Sequence[np.ndarray], t: tuple, v: Aval) -> np.ndarray:
    wide = np.float64 if v.dtype.is_floating else v.dtype.numpy
    return np.matmul(a[0].astype(wide), a[1].astype(wide)).astype(v.dtype.numpy)


dot = Contraction("dot", _dot_np, _dot_shape)


# -- creation ------------------------------------------------------------------------------------------
class Create(Primitive):
    """A value made from attributes alone."""

    kind = "create"


full = Create(
    "full", lambda a, t, v: np.full(t[1], t[0], t[2].numpy), lambda a, t: Aval(t[1], t[2], t[3])
)  # attrs (value, shape, dtype, weak)
blank = Create(
    "blank", lambda a, t, v: np.full(t[1], t[0], t[2].numpy), lambda a, t: Aval(t[1], t[2], t[3])
)  # attrs as those of full
"""An array of which only what was written to it is read: programs do not fill it."""
iota = Create(
    "iota",
    lambda a, t, v: np.arange(t[0], dtype=np.int64).astype(t[1].numpy),
    lambda a, t: Aval((t[0],), t[1]),
)  # attrs (n, dtype)


# -- random: uniform bits of Philox4x32-10 at (seed, stream, flat position) ----------------------------
def philox_words(seed: int, stream: int, n: int, words: int = 1) -> list[np.ndarray]:
    """Words of Philox4x32-10 for positions 0..n-1: key = seed, counter = (index, stream)."""
    mask = 0xFFFFFFFFFFFFFFFF
    return philox(np.uint64(seed & mask), np.uint64(stream & mask), np.arange(n))[:words]


def _uniform_np(a: Sequence[np.ndarray], t: tuple, v: Aval) -> np.ndarray:
    hi, lo = philox_words(int(a[0]), int(a[1]), v.size, 2)
    if v.dtype is dtypes.float64:
        u = ((hi >> 5).astype(np.float64) * 2.0**26 + (lo >> 6)) / 2.0**53
    else:
        u = unit(hi).astype(v.dtype.numpy)
    return u.reshape(v.shape)


class Random(Primitive):
    """``uniform``: operands (seed, stream), 0-d int64; attrs (shape, dtype). Values in [0, 1), by flat position."""

    kind = "random"


uniform = Random("uniform", _uniform_np, lambda a, t: Aval(t[0], t[1]))


def _declare() -> None:
    from gradloom import functions as G
    from gradloom.ops.complex_numbers import conjugate as conj

    def spread(ct: Any, x: Any, attrs: tuple) -> Any:
        axes, keep, _ = attrs
        if not keep:
            ct = G.reshape(ct, tuple(1 if k in axes else n for k, n in enumerate(x.shape)))
        return ct

    for p in (sum_, reshape, permute, expand, slice_, update_slice, pad, cat):
        p.saves = False
    sum_.vjp = lambda ct, out, ins, attrs: (
        G.cast(G.broadcast_to(spread(ct, ins[0], attrs), ins[0].shape), ins[0].dtype),
    )

    def extreme(ct: Any, out: Any, ins: Any, attrs: Any) -> Any:
        x = ins[0]
        hit = G.eq(x, spread(out, x, attrs))
        count = G.sum(G.cast(hit, x.dtype), attrs[0], keepdim=True)
        return (G.where(hit, G.div(spread(ct, x, attrs), count), G.const(0.0)),)

    amax.vjp = amin.vjp = extreme

    def prod_vjp(ct: Any, out: Any, ins: Any, attrs: Any) -> Any:
        # the product of the others, exact also where an element is zero: by exclusive products one axis at a time
        x = ins[0]
        axes = attrs[0]
        if not axes:
            return (ct,)
        moved = G.permute(x, tuple(k for k in range(x.ndim) if k not in axes) + tuple(axes))
        kept = moved.shape[: x.ndim - len(axes)]
        flat = G.reshape(moved, (*kept, -1))
        n = flat.shape[-1]
        eye = G.eq(G.reshape(G.arange(n), (n, 1)), G.arange(n))
        others = G.prod(G.where(eye, G.const(1.0), G.unsqueeze(flat, -2)), -1)
        g = G.reshape(G.mul(conj(others), G.reshape(ct, (*kept, 1))), moved.shape)
        order = tuple(k for k in range(x.ndim) if k not in axes) + tuple(axes)
        return (G.permute(g, tuple(int(v) for v in np.argsort(order))),)

    prod.vjp = prod_vjp
    reshape.vjp = lambda ct, out, ins, attrs: (G.reshape(ct, ins[0].shape),)
    permute.vjp = lambda ct, out, ins, attrs: (G.permute(ct, tuple(int(v) for v in np.argsort(attrs[0]))),)
    expand.vjp = lambda ct, out, ins, attrs: (G.sum_to(ct, ins[0].shape),)

    def slice_vjp(ct: Any, out: Any, ins: Any, attrs: Any) -> Any:
        return (G.update_slice(G.zeros_like(ins[0]), ct, attrs),)

    slice_.vjp = slice_vjp

    def update_vjp(ct: Any, out: Any, ins: Any, attrs: Any) -> Any:
        return G.update_slice(ct, G.zeros_like(ins[1]), attrs), G.apply(slice_, (ct,), attrs)

    update_slice.vjp = update_vjp

    def pad_vjp(ct: Any, out: Any, ins: Any, attrs: Any) -> Any:
        lo = attrs[0]
        stops = tuple(b + n for b, n in zip(lo, ins[0].shape, strict=True))
        return (G.apply(slice_, (ct,), (lo, stops, (1,) * len(lo))),)

    pad.vjp = pad_vjp

    def cat_vjp(ct: Any, out: Any, ins: Any, attrs: Any) -> Any:
        (axis,) = attrs
        res, at = [], 0
        for x in ins:
            n = x.shape[axis]
            starts = tuple(at if k == axis else 0 for k in range(x.ndim))
            stops = tuple(at + n if k == axis else s for k, s in enumerate(x.shape))
            res.append(G.apply(slice_, (ct,), (starts, stops, (1,) * x.ndim)))
            at += n
        return tuple(res)

    cat.vjp = cat_vjp
    dot.vjp = lambda ct, out, ins, attrs: (
        G.cast(G.dot(ct, G.swap_last(conj(ins[1]))), ins[0].dtype),
        G.cast(G.dot(G.swap_last(conj(ins[0])), ct), ins[1].dtype),
    )


GRADIENTS = _declare
