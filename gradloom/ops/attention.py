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

__all__ = ["Blocks", "attend", "attend_back", "mask_strides"]

Array = np.ndarray


class Blocks(NamedTuple):
    """What is not in the shapes. group: query heads that share a key head; keys: how many there are; width: of a strip;
    features: of queries and keys, of values. parts: in which a head's backward pass is shared out, block of keys by
    block of keys; each has cotangents of queries of its own.
    """

    group: int
    causal: bool
    keys: int
    width: int
    features: tuple[int, int]
    parts: int = 1

    @property
    def strips(self) -> tuple[int, int]:
        """Strips of the features of queries and keys, and of those of values."""
        a, b = self.features
        return -(-a // self.width), -(-b // self.width)


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


def _strips(x: Array, rows: int, strips: int, width: int) -> Array:
    """Rows of features as a part of a record."""
    out = np.zeros((*x.shape[:-2], strips, rows, width), x.dtype)
    for k in range(strips):
        part = x[..., k * width : (k + 1) * width]
        out[..., k, : part.shape[-2], : part.shape[-1]] = part
    return out.reshape(*x.shape[:-2], -1)


def _attend_np(arrays: Sequence[Array], attrs: tuple, aval: Aval) -> Array:
    q, kt, v, *mask = arrays
    how = Blocks(*attrs)
    s = _scores(q, kt, mask[0] if mask else None, how)
    top = s.max(-1, keepdims=True, initial=-np.inf)
    e = np.exp(s - np.where(top == -np.inf, 0, top))
    total = e.sum(-1, keepdims=True)
    out = e / np.where(total == 0, 1, total) @ v[..., : how.keys, :]
    with np.errstate(divide="ignore"):
        logs = np.where(total == 0, np.inf, np.where(top == -np.inf, 0, top) + np.log(total))
    return np.concatenate([_strips(out, q.shape[-2], how.strips[1], how.width), logs[..., 0]], -1)


def _attend_back_np(arrays: Sequence[Array], attrs: tuple, aval: Aval) -> Array:
    q, kt, k, vt, ct, stats, *mask = arrays
    how = Blocks(*attrs)
    logs, mean = stats[..., 0, :, None], stats[..., 1, :, None]
    p = np.exp(_scores(q, kt, mask[0] if mask else None, how) - logs)
    ds = p * (ct[..., : how.features[1]] @ vt[..., : how.keys] - mean)
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
        """One more leading axis; a mask is repeated along all of them but the heads."""
        from gradloom import functions as G

        tensors = 3 if prim is attend else 6
        out = [x if f else G.broadcast_to(x, (n, *x.shape)) for x, f in zip(args, flags, strict=True)]
        for k in range(tensors, len(out)):
            lead = out[0].shape[:-2]
            front = lead[:-1] if len(avals[0].shape) > 2 else lead
            m = out[k] if len(avals[0].shape) > 2 else G.unsqueeze(out[k], 1)
            out[k] = G.broadcast_to(m, (*front, *m.shape[len(front) :])) if len(avals[0].shape) > 2 else m
        if len(avals[0].shape) == 2:  # heads of their own, where there were none
            out = [x if k >= tensors else G.unsqueeze(x, 1) for k, x in enumerate(out)]
            return G.reshape(G.apply(prim, tuple(out), attrs), (n, -1))
        return G.apply(prim, tuple(out), attrs)

    return rule


attend = Primitive("attend", _attend_np, _attend_aval)
"""operands (queries (..., rows, features), scaled; keys (..., features, keys); values (..., keys, features); a mask
(..., query heads or 1, queries or 1, keys), bool or added, or none) -> records of results and of the logarithms of the
rows' sums (infinite where a row sees nothing). attrs: :class:`Blocks`."""
attend_back = Primitive("attend_back", _attend_back_np, _attend_back_aval)
"""operands (queries, scaled; keys transposed; keys; values transposed; cotangents (..., rows, features); logarithms and
sums of result times cotangent (..., 2, rows); a mask or none) -> records of the cotangents of scaled queries, one to be
added up for each part, of keys and of values. attrs: :class:`Blocks`."""
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
