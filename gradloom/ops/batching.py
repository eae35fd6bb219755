"""What every primitive does to operands with a batch axis in front: its rule, by kind.

A primitive may declare ``batch`` itself: a function ``(args, flags, attrs, avals, n) -> result`` on tensors, batched
ones with their batch axis at 0, ``flags`` telling which those are and ``avals`` what one element of each looks like;
``"leading"`` where its reference carries axes in front along; ``"axis"`` where it does so and its first attribute is an
axis counted from the front; ``"broadcast"`` where its operands broadcast together. All else is run element by element
by NumPy, slowly, as one instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom.graph.node import Aval
from gradloom.ops import structure as S
from gradloom.ops.core import Elementwise, Movement, Primitive, Reduce
from gradloom.ops.gather import ALONG, Gather, Scatter, index, index_put, take_along

__all__ = ["apply_batched", "batched", "draw_batched", "is_random"]

Flags = tuple[bool, ...]

# references written for any axis, and for any number of axes in front
_CARRIED = {
    **dict.fromkeys(
        "cumsum cumprod cummax cummin cummax_index cummin_index recurrence sort argsort kth_index median_index "
        "mode_index topk_index".split(),
        "axis",
    ),
    **dict.fromkeys(("view_as_real", "view_as_complex"), "leading"),
    **dict.fromkeys(
        "gcd lcm zeta igamma igammac gamma_by_shape chebyshev_polynomial_t chebyshev_polynomial_u "
        "chebyshev_polynomial_v chebyshev_polynomial_w hermite_polynomial_h hermite_polynomial_he "
        "laguerre_polynomial_l legendre_polynomial_p shifted_chebyshev_polynomial_t shifted_chebyshev_polynomial_u "
        "shifted_chebyshev_polynomial_v shifted_chebyshev_polynomial_w".split(),
        "broadcast",
    ),
}


def apply_batched(
    prim: Primitive, args: Sequence[Any], flags: Flags, attrs: tuple, avals: Sequence[Aval], aval: Aval, n: int
) -> Any:
    """One instruction over a batch of ``n``. avals, aval: of one element's operands and result. Batch axis at 0."""
    how = prim.batch or _CARRIED.get(prim.name)
    if callable(how):
        return how(args, flags, attrs, avals, n)
    if how == "leading":
        return _apply(prim, [_full(a, f, n) for a, f in zip(args, flags, strict=True)], attrs)
    if how == "axis":
        moved = (attrs[0] + 1 if attrs[0] >= 0 else attrs[0], *attrs[1:])
        return _apply(prim, [_full(a, f, n) for a, f in zip(args, flags, strict=True)], moved)
    if how == "broadcast":
        return _apply(prim, _aligned(args, flags, avals, n), attrs)
    if isinstance(prim, Elementwise):
        return _elementwise(prim, args, flags, attrs, avals, n)
    if isinstance(prim, Reduce):
        axes, keep, dtype = attrs
        return _apply(prim, args, (tuple(k + 1 for k in axes), keep, dtype))
    if isinstance(prim, Movement) and prim.name in _MOVEMENT:
        return _MOVEMENT[prim.name](args, flags, attrs, avals, n)
    if prim is S.dot:
        return _dot(args, flags, avals, n)
    if isinstance(prim, Gather):
        return _gather(prim, args, flags, attrs, avals, n)
    if isinstance(prim, Scatter):
        return _scatter(prim, args, flags, attrs, avals, n)
    return _apply(batched if prim.vjp else batched_plain, args, (prim, flags, attrs, tuple(avals), aval, n))


def _apply(prim: Primitive, args: Sequence[Any], attrs: tuple) -> Any:
    from gradloom import functions as G

    return G.apply(prim, tuple(args), attrs)


def _reshape(x: Any, shape: Sequence[int]) -> Any:
    return x if tuple(x.shape) == tuple(shape) else _apply(S.reshape, (x,), (tuple(shape),))


def _expand(x: Any, shape: Sequence[int]) -> Any:
    return x if tuple(x.shape) == tuple(shape) else _apply(S.expand, (x,), (tuple(shape),))


def _permute(x: Any, order: Sequence[int]) -> Any:
    return x if list(order) == list(range(len(order))) else _apply(S.permute, (x,), (tuple(order),))


def _front(x: Any, axis: int) -> Any:
    """An axis moved to the front."""
    return _permute(x, (axis, *(k for k in range(x.ndim) if k != axis)))


def _full(x: Any, flag: bool, n: int) -> Any:
    """With a batch axis: repeated where it has none."""
    return x if flag else _expand(x, (n, *x.shape))


def _aligned(args: Sequence[Any], flags: Flags, avals: Sequence[Aval], n: int) -> list[Any]:
    """Operands that broadcast, the batch axis in front of the longest."""
    rank = max(len(a.shape) for a in avals)
    return [
        _reshape(x, (n, *(1,) * (rank - len(a.shape)), *a.shape)) if f else x
        for x, f, a in zip(args, flags, avals, strict=True)
    ]


# -- elementwise ------------------------------------------------------------------------------------
def _elementwise(
    prim: Elementwise, args: Sequence[Any], flags: Flags, attrs: tuple, avals: Sequence[Aval], n: int
) -> Any:
    from gradloom import functions as G

    out = _aligned(args, flags, avals, n)
    if prim.operands != "keep":  # one more axis must not change what dtypes promote to
        d = prim.compute_dtype(avals, attrs)
        for k, a in enumerate(avals):
            if a.dtype is not d and not (k == 0 and prim.operands == "tail"):
                out[k] = G.cast(out[k], d)
    return _apply(prim, out, attrs)


# -- movement ---------------------------------------------------------------------------------------
def _expand_rule(args: Any, flags: Flags, attrs: tuple, avals: Any, n: int) -> Any:
    shape = attrs[0]
    x = _reshape(args[0], (n, *(1,) * (len(shape) - len(avals[0].shape)), *avals[0].shape))
    return _expand(x, (n, *shape))


def _region(attrs: tuple, n: int) -> tuple:
    starts, stops, steps = attrs
    return ((0, *starts), (n, *stops), (1, *steps))


_MOVEMENT: dict[str, Callable[..., Any]] = {
    "reshape": lambda args, flags, attrs, avals, n: _apply(S.reshape, args, ((n, *attrs[0]),)),
    "permute": lambda args, flags, attrs, avals, n: _permute(args[0], (0, *(k + 1 for k in attrs[0]))),
    "expand": _expand_rule,
    "slice": lambda args, flags, attrs, avals, n: _apply(S.slice_, args, _region(attrs, n)),
    "pad": lambda args, flags, attrs, avals, n: _apply(S.pad, args, ((0, *attrs[0]), (0, *attrs[1]), attrs[2])),
    "update_slice": lambda args, flags, attrs, avals, n: _apply(
        S.update_slice, [_full(a, f, n) for a, f in zip(args, flags, strict=True)], _region(attrs, n)
    ),
    "cat": lambda args, flags, attrs, avals, n: _apply(
        S.cat, [_full(a, f, n) for a, f in zip(args, flags, strict=True)], (attrs[0] + 1,)
    ),
}


# -- contraction ------------------------------------------------------------------------------------
def _dot(args: Sequence[Any], flags: Flags, avals: Sequence[Aval], n: int) -> Any:
    """A batch on one side of a plain matrix product makes a longer matrix; on both a product for each element."""
    from gradloom import functions as G

    x, y = args
    (m, k), r = avals[0].shape[-2:], avals[1].shape[-1]
    if len(avals[0].shape) == 2 and not all(flags):
        if flags[0]:
            return _reshape(_apply(S.dot, (_reshape(x, (n * m, k)), y), ()), (n, m, r))
        rows = _reshape(_permute(y, (0, 2, 1)), (n * r, k))
        return _permute(_reshape(_apply(S.dot, (rows, _permute(x, (1, 0))), ()), (n, r, m)), (0, 2, 1))
    x, y = _full(x, flags[0], n), _full(y, flags[1], n)
    if k == 1 and avals[0].dtype is avals[1].dtype:  # an outer product
        return G.mul(x, y)
    return _apply(S.dot, (x, y), ())


# -- gathers and scatters ---------------------------------------------------------------------------
def _indices(
    indices: Sequence[Any], flags: Flags, avals: Sequence[Aval], n: int, own: bool
) -> tuple[list[Any], int, list[Any]]:
    """(indices with the batch axis in front of those that have one, their rank without it, the batch's own index)."""
    from gradloom import functions as G

    rank = max((len(a.shape) for a in avals), default=0)
    out = [
        _reshape(i, (n, *(1,) * (rank - len(a.shape)), *a.shape)) if f else i
        for i, f, a in zip(indices, flags, avals, strict=True)
    ]
    return out, rank, [_reshape(G.arange(n), (n, *(1,) * rank))] if own else []


def _gather(prim: Gather, args: Sequence[Any], flags: Flags, attrs: tuple, avals: Sequence[Aval], n: int) -> Any:
    way = prim.way(len(avals[0].shape), attrs)
    if way[0] == ALONG:
        x, i = (_full(a, f, n) for a, f in zip(args, flags, strict=True))
        return _apply(take_along, (x, i), (way[1] + 1,))
    x, *indices = args
    if not any(flags[1:]):
        pattern = (":", *way)
        at = index.layout([Aval(x.shape, x.dtype), *avals[1:]], (pattern,)).walk[0]
        assert at is not None
        return _front(_apply(index, (x, *indices), (pattern,)), at)
    block, rank, own = _indices(indices, flags[1:], avals[1:], n, flags[0])
    first = prim.layout(avals, attrs).block[0]
    if not flags[0]:
        return _front(_apply(index, (x, *block), (way,)), first)
    out = _apply(index, (x, *own, *block), (("i", *way),))  # (n, block, the rest)
    rest = [k + 1 + rank for k in range(out.ndim - 1 - rank)]
    return _permute(out, (0, *rest[:first], *range(1, 1 + rank), *rest[first:]))


def _scatter(prim: Scatter, args: Sequence[Any], flags: Flags, attrs: tuple, avals: Sequence[Aval], n: int) -> Any:
    way = prim.gather.way(len(avals[0].shape), attrs[:-1])
    x, u = (_full(a, f, n) for a, f in zip(args[:2], flags[:2], strict=True))
    if way[0] == ALONG:
        return _apply(prim, (x, u, _full(args[2], flags[2], n)), (way[1] + 1, attrs[-1]))
    indices, first = args[2:], prim.layout(avals, attrs).block[0]
    if not any(flags[2:]):
        pattern = (":", *way)
        at = index.layout([Aval(x.shape, x.dtype), *avals[2:]], (pattern,)).walk[0]
        assert at is not None
        order = [k + 1 for k in range(u.ndim - 1)]
        order.insert(at, 0)
        return _apply(index_put, (x, _permute(u, order), *indices), (pattern, attrs[-1]))
    block, rank, own = _indices(indices, flags[2:], avals[2:], n, True)
    wide = max((len(b.shape) for b in block), default=1) - 1
    assert wide == rank
    rest = [k for k in range(1, u.ndim) if not first < k <= first + rank]
    u = _permute(u, (0, *range(first + 1, first + 1 + rank), *rest))
    return _apply(index_put, (x, u, *own, *block), (("i", *way), attrs[-1]))


# -- random numbers ---------------------------------------------------------------------------------
def is_random(prim: Any) -> bool:
    """Whether a primitive draws random numbers. Its first operands are the seed and the number of the draw."""
    return getattr(prim, "kind", "") == "random" or getattr(prim, "draws", False)


def draw_batched(prim: Primitive, args: Sequence[Any], flags: Flags, attrs: tuple, n: int) -> Any:
    """Different random numbers for each element: one draw of all."""
    if len(args) > 2:
        return _apply(prim, [*args[:2], *(_full(x, f, n) for x, f in zip(args[2:], flags[2:], strict=True))], attrs)
    shape, *rest = attrs
    return _apply(prim, args, ((n, *shape), *rest))


# -- anything: by NumPy, one after the other --------------------------------------------------------
def _each(arrays: Sequence[np.ndarray], attrs: tuple, aval: Aval) -> np.ndarray:
    prim, flags, inner, avals, one, n = attrs
    out = np.empty(aval.shape, aval.dtype.numpy)
    for b in range(n):
        out[b] = prim.evaluate([a[b] if f else a for a, f in zip(arrays, flags, strict=True)], avals, inner, one)
    return out


def _each_shape(avals: Sequence[Aval], attrs: tuple) -> Aval:
    one, n = attrs[-2:]
    return Aval((n, *one.shape), one.dtype)


batched = Primitive("batched", _each, _each_shape)
"""Any primitive with a derivative over a batch, one element after the other; its rule stands with vmap.

attrs: (prim, flags, attrs, avals, aval, n)."""
batched_plain = Primitive("batched_plain", _each, _each_shape)
"""The same for primitives without a derivative."""


def _each_batch(args: Any, flags: Flags, attrs: tuple, avals: Any, n: int) -> Any:
    """A batch of batches: their axes become one."""
    prim, before, inner, one_avals, one, m = attrs
    out = []
    for x, f, g, a in zip(args, flags, before, one_avals, strict=True):
        if f or g:
            x = _full(x, f, n)
            x = x if g else _expand(_reshape(x, (n, 1, *a.shape)), (n, m, *a.shape))
            x = _reshape(x, (n * m, *a.shape))
        out.append(x)
    both = tuple(f or g for f, g in zip(flags, before, strict=True))
    y = _apply(batched if prim.vjp else batched_plain, out, (prim, both, inner, one_avals, one, n * m))
    return _reshape(y, (n, m, *one.shape))


batched.batch = batched_plain.batch = _each_batch
