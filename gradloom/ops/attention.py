"""Attention by blocks, forward and backward, as two primitives whose results are records.

Operands are laid out as the native kernels read them: features and keys padded to a multiple of ``width``, keys and
values also transposed. A record holds several results of one head, one behind the other: vectors of features lie in
strips of ``width``, (strips, rows, width). The rows of the query heads that share a key head stand one behind the
other; a mask has the axis of the query heads. Their derivative is that of :mod:`gradloom.nn.attention_functions`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gradloom.graph.node import Aval
from gradloom.ops.core import Primitive
from gradloom.ops.philox import philox, unit

__all__ = ["Blocks", "attend", "attend_back", "mask_strides", "optional"]

Array = np.ndarray


class Blocks(NamedTuple):
    """What is not in the shapes. group: query heads that share a key head; keys: how many there are; width: of a strip;
    features: of queries and keys, of values. parts: in which a head's backward pass is shared out, block of keys by
    block of keys; each has cotangents of queries of its own. drop: probability with which probabilities are zeroed,
    the others grow by 1 / (1 - drop); axes: of the heads that draw under one key, the last ones before the rows.
    """

    group: int
    causal: bool
    keys: int
    width: int
    features: tuple[int, int]
    parts: int = 1
    drop: float = 0.0
    axes: int = 0

    @property
    def strips(self) -> tuple[int, int]:
        """Strips of the features of queries and keys, and of those of values."""
        a, b = self.features
        return -(-a // self.width), -(-b // self.width)

    def heads(self, lead: Sequence[int]) -> int:
        """How many key heads draw under one key."""
        return math.prod(lead[len(lead) - self.axes :])


def optional(ins: Sequence[Any], tensors: int, how: Blocks) -> tuple[Any, ...]:
    """The operands of a node that has so many always, its mask or None, and its key or None."""
    rest = list(ins[tensors:])
    key = rest.pop() if how.drop else None
    return (*ins[:tensors], rest[0] if rest else None, key)


def _scores(q: Array, kt: Array, mask: Array | None, how: Blocks) -> Array:
    s = q[..., : how.features[0]] @ kt[..., : how.keys]
    rows, lead = s.shape[-2] // how.group, s.shape[:-2]
    if mask is not None:
        *front, heads, height, _ = (1,) * (len(lead) + 2 - mask.ndim) + mask.shape if lead else (1, *mask.shape)
        split = (*front, heads // how.group, how.group) if heads > 1 else (*front, 1, 1)
        m = mask[..., : how.keys].reshape(*split, height, how.keys)
        by_head = s.reshape(*(lead or (1,)), how.group, rows, how.keys)
        by_head = np.where(m, by_head, -np.inf) if mask.dtype == np.bool_ else by_head + m
        s = by_head.reshape(s.shape)
    if how.causal:
        s = np.where(np.arange(s.shape[-2])[:, None] % rows >= np.arange(how.keys), s, -np.inf)
    return s


def _kept(key: Array, lead: tuple[int, ...], rows: int, how: Blocks) -> Array:
    """What the probabilities are multiplied with. Four rows share a counter of Philox, whose words they take."""
    head, quads, heads = np.arange(math.prod(lead)), -(-rows // 4), how.heads(lead)
    own = key.reshape(-1)[head // heads if key.ndim else head * 0].reshape(-1, 1, 1, 1)
    query_head = (head % heads)[:, None] * how.group + np.arange(how.group)
    place = (query_head[..., None] * quads + np.arange(quads))[..., None] * how.keys + np.arange(how.keys)
    u = unit(np.stack(philox(own, 0, place), -2)).reshape(*place.shape[:2], quads * 4, how.keys)[:, :, :rows]
    return ((u >= np.float32(how.drop)) / (1.0 - how.drop)).reshape(*lead, -1, how.keys)


def _strips(x: Array, rows: int, strips: int, width: int) -> Array:
    """Rows of features as a part of a record."""
    out = np.zeros((*x.shape[:-2], strips, rows, width), x.dtype)
    for k in range(strips):
        part = x[..., k * width : (k + 1) * width]
        out[..., k, : part.shape[-2], : part.shape[-1]] = part
    return out.reshape(*x.shape[:-2], -1)


def _attend_np(arrays: Sequence[Array], attrs: tuple, aval: Aval) -> Array:
    how = Blocks(*attrs)
    q, kt, v, mask, key = optional(arrays, 3, how)
    s = _scores(q, kt, mask, how)
    top = s.max(-1, keepdims=True, initial=-np.inf)
    e = np.exp(s - np.where(top == -np.inf, 0, top))
    total = e.sum(-1, keepdims=True)
    p = e / np.where(total == 0, 1, total)
    if key is not None:
        p = (p * _kept(key, q.shape[:-2], q.shape[-2] // how.group, how)).astype(p.dtype)
    out = p @ v[..., : how.keys, :]
    with np.errstate(divide="ignore"):
        logs = np.where(total == 0, np.inf, np.where(top == -np.inf, 0, top) + np.log(total))
    return np.concatenate([_strips(out, q.shape[-2], how.strips[1], how.width), logs[..., 0]], -1)


def _attend_back_np(arrays: Sequence[Array], attrs: tuple, aval: Aval) -> Array:
    how = Blocks(*attrs)
    q, kt, k, vt, ct, stats, mask, key = optional(arrays, 6, how)
    logs, mean = stats[..., 0, :, None], stats[..., 1, :, None]
    p = np.exp(_scores(q, kt, mask, how) - logs)
    dp = ct[..., : how.features[1]] @ vt[..., : how.keys]
    kept = 1.0 if key is None else _kept(key, q.shape[:-2], q.shape[-2] // how.group, how).astype(p.dtype)
    ds = p * (dp * kept - mean)
    p = p * kept
    padded = kt.shape[-1]
    queries = _strips(ds @ k[..., : how.keys, :], q.shape[-2], how.strips[0], how.width)
    parts = [
        queries,
        *[np.zeros_like(queries)] * (how.parts - 1),
        _strips(np.swapaxes(ds, -1, -2) @ q, padded, how.strips[0], how.width),
        _strips(np.swapaxes(p, -1, -2) @ ct, padded, how.strips[1], how.width),
    ]
    return np.concatenate(parts, -1)


def _attend_aval(avals: Sequence[Aval], attrs: tuple) -> Aval:
    how, rows = Blocks(*attrs), avals[0].shape[-2]
    return Aval((*avals[0].shape[:-2], rows * (how.strips[1] * how.width + 1)), avals[0].dtype)


def _attend_back_aval(avals: Sequence[Aval], attrs: tuple) -> Aval:
    how, rows, padded = Blocks(*attrs), avals[0].shape[-2], avals[1].shape[-1]
    a, b = how.strips
    return Aval((*avals[0].shape[:-2], how.width * (how.parts * a * rows + (a + b) * padded)), avals[0].dtype)


def _batched(prim: Primitive) -> Any:
    def rule(args: Sequence[Any], flags: Sequence[bool], attrs: tuple, avals: Sequence[Aval], n: int) -> Any:
        """One more leading axis; a mask is repeated along all of them but the heads. A key that all share stays one."""
        from gradloom import functions as G

        tensors, how = 3 if prim is attend else 6, Blocks(*attrs)
        *given, mask, key = optional(args, tensors, how)
        single = len(avals[0].shape) == 2
        out = [x if f else G.broadcast_to(x, (n, *x.shape)) for x, f in zip(given, flags, strict=False)]
        lead = out[0].shape[:-2]
        if mask is not None:
            m = mask if flags[tensors] else G.broadcast_to(mask, (n, *mask.shape))
            out.append(G.unsqueeze(m, 1) if single else G.broadcast_to(m, (*lead[:-1], *m.shape[len(lead) - 1 :])))
        if key is not None:
            if flags[-1] or key.ndim:  # one for each entry of the axes before the heads
                before = lead[: len(lead) - how.axes]
                key = key if flags[-1] else G.unsqueeze(key, 0)
                key = G.broadcast_to(G.reshape(key, (*key.shape, *(1,) * (len(before) - key.ndim))), before)
            out.append(key)
        if single:  # heads of their own, where there were none
            out = [G.unsqueeze(x, 1) if k < tensors else x for k, x in enumerate(out)]
            return G.reshape(G.apply(prim, tuple(out), attrs), (n, -1))
        return G.apply(prim, tuple(out), attrs)

    return rule


attend = Primitive("attend", _attend_np, _attend_aval)
"""operands (queries (..., rows, features), scaled; keys (..., features, keys); values (..., keys, features); a mask
(..., query heads or 1, queries or 1, keys), bool or added, or none; where probabilities are dropped a key of the random
numbers, int64, 0-d or with the axes before the heads that draw under one) -> records of results and of the logarithms
of the rows' sums (infinite where a row sees nothing). attrs: :class:`Blocks`."""
attend_back = Primitive("attend_back", _attend_back_np, _attend_back_aval)
"""operands (queries, scaled; keys transposed; keys; values transposed; cotangents (..., rows, features); logarithms and
sums of result times cotangent (..., 2, rows); a mask and a key, or none) -> records of the cotangents of scaled
queries, one to be added up for each part, of keys and of values. attrs: :class:`Blocks`."""
for _prim in (attend, attend_back):
    _prim.batch = _batched(_prim)


def mask_strides(lead: Sequence[int], mask: Sequence[int]) -> tuple[int, int, int] | None:
    """How a C-ordered mask of this shape is walked: elements from one of the axes before the heads to the next, from
    one query head to the next, from one query to the next; None where several axes before the heads are not one.
    """
    *front, heads, rows, keys = (1, *mask) if not lead else mask
    queries = rows * keys
    if math.prod(front) not in (1, math.prod(lead[:-1])):
        return None
    return (
        heads * queries if math.prod(front) > 1 else 0,
        queries if heads > 1 else 0,
        keys if rows > 1 else 0,
    )
