"""Attention by its two primitives: operands laid out as they read them, results taken out of their records."""

from __future__ import annotations

import math
from typing import NamedTuple

from gradloom import dtypes
from gradloom import functions as G
from gradloom.compiler.attention import parts_of, strip_width
from gradloom.ops.attention import Blocks, attend, attend_back
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = ["How", "cut", "filled", "native", "native_back"]


class How(NamedTuple):
    """What is not a tensor."""

    causal: bool
    scale: float
    dropout: float
    learned: str  # what the cotangent of the mask has: "" none, "row" one row for all queries, "rows" one for each
    rows: int  # queries of a block; 0: all at once, and probabilities are kept
    native: bool  # whether the primitives do it
    pairs: tuple[int, int]  # queries and keys

    @property
    def keyed(self) -> bool:
        """Whether random numbers are drawn."""
        return 0.0 < self.dropout < 1.0


def cut(x: Tensor, axis: int, start: int, stop: int) -> Tensor:
    """A region of an axis; an axis of one entry stands for all of them."""
    n = x.shape[axis]
    return x if n == 1 or (start, stop) == (0, n) else G.narrow(x, axis % x.ndim, start, stop - start)


def filled(x: Tensor, axis: int, size: int) -> Tensor:
    """Zeros behind the end of an axis."""
    n = x.shape[axis]
    if n == size:
        return x
    shape = list(x.shape)
    shape[axis] = size - n
    return G.cat([x, G.zeros(tuple(shape), dtype=x.dtype)], axis)


class _Laid:
    """Operands as the primitives take them: features and keys padded to strips, rows of a key head together, in single
    precision at least.
    """

    def __init__(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, key: Tensor | None, how: How) -> None:
        self.shape, self.own = tuple(q.shape), tuple(k.shape[:-2])
        self.dtype = q.dtype if q.dtype.itemsize >= 4 else dtypes.float32
        self.width = width = strip_width(self.dtype)
        group = math.prod(self.shape[:-2]) // math.prod(self.own)
        features = (q.shape[-1], v.shape[-1])
        self.attrs = Blocks(group, how.causal, k.shape[-2], width, features, 1, how.dropout, len(self.own))
        self.rows, self.keys = group * self.shape[-2], _up(k.shape[-2], width)
        self.features = tuple(width * n for n in self.attrs.strips)
        masks = [] if mask is None else [self._mask(mask)]
        self.rest = masks if key is None else [*masks, key]

    def _mask(self, mask: Tensor) -> Tensor:
        """With the axes of the scores, whose keys it tells apart; those before the heads all of size 1 or none."""
        lead = self.shape[:-2]
        m = G.reshape(mask, (1,) * (len(lead) + 2 - mask.ndim) + tuple(mask.shape))
        front = m.shape[: max(len(lead) - 1, 0)]
        if math.prod(front) != 1:
            m = G.broadcast_to(m, (*lead[:-1], *m.shape[len(front) :]))
        m = G.broadcast_to(m, (*m.shape[:-1], self.attrs.keys))
        if self.keys != self.attrs.keys:
            rest = (*m.shape[:-1], self.keys - self.attrs.keys)
            m = G.cat([m, G.zeros(rest, dtype=m.dtype)], -1)
        return m if m.dtype is dtypes.bool_ else G.cast(m, self.dtype)

    def rows_of(self, x: Tensor, features: int) -> Tensor:
        """Queries or their like."""
        return filled(G.reshape(G.cast(x, self.dtype), (*self.own, self.rows, x.shape[-1])), -1, features)

    def keys_of(self, x: Tensor, features: int) -> Tensor:
        """Keys or values as rows."""
        return filled(filled(G.cast(x, self.dtype), -1, features), -2, self.keys)

    def turned(self, x: Tensor) -> Tensor:
        """Keys or values as columns."""
        return filled(G.swap_last(G.cast(x, self.dtype)), -1, self.keys)

    def parts(self, record: Tensor, *sizes: tuple[int, int, int]) -> list[Tensor]:
        """Results out of a record, (rows, features, features without padding) each; no features: a vector."""
        out, at, d = [], 0, len(self.own)
        for rows, wide, features in sizes:
            n = rows * max(wide, 1)
            x = G.narrow(record, d, at, n)
            at += n
            if wide:
                x = G.reshape(x, (*self.own, wide // self.width, rows, self.width))
                x = G.permute(x, (*range(d), d + 1, d, d + 2))
                x = cut(G.reshape(x, (*self.own, rows, wide)), -1, 0, features)
            out.append(x)
        return out


def _up(n: int, unit: int) -> int:
    return -(-n // unit) * unit


def native(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, key: Tensor | None, how: How) -> tuple[Tensor, Tensor]:
    """The result of scaled queries, and the logarithms of the rows' sums."""
    at = _Laid(q, k, v, mask, key, how)
    a, b = at.features
    record = G.apply(attend, (at.rows_of(q, a), at.turned(k), at.keys_of(v, b), *at.rest), at.attrs)
    out, logs = at.parts(record, (at.rows, b, v.shape[-1]), (at.rows, 0, 0))
    out = G.cast(G.reshape(out, (*at.shape[:-1], v.shape[-1])), v.dtype)
    return out, G.reshape(logs, (*at.shape[:-1], 1))


@composite
def native_back(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, key: Tensor | None, ct: Tensor, logs: Tensor, mean: Tensor,
    how: How,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Cotangents of query, key and value; mean: of each row the sum of result times cotangent."""
    at = _Laid(q, k, v, mask, key, how)
    n = parts_of(math.prod(at.own), k.shape[-2], at.dtype)
    scaled = G.mul(G.cast(q, at.dtype), G.const(how.scale))
    a, b = at.features
    stats = G.stack([G.reshape(x, (*at.own, at.rows)) for x in (logs, mean)], -2)
    given = (at.rows_of(scaled, a), at.turned(k), at.keys_of(k, a), at.turned(v), at.rows_of(ct, b), stats)
    record = G.apply(attend_back, (*given, *at.rest), at.attrs._replace(parts=n))
    each = at.rows * a
    total = G.sum(G.reshape(cut(record, -1, 0, n * each), (*at.own, n, each)), -2)
    (dq,) = at.parts(total, (at.rows, a, q.shape[-1]))
    rest = cut(record, -1, n * each, record.shape[-1])
    dk, dv = at.parts(rest, (at.keys, a, q.shape[-1]), (at.keys, b, v.shape[-1]))
    keys = k.shape[-2]
    found = (G.mul(G.reshape(dq, at.shape), G.const(how.scale)), cut(dk, -2, 0, keys), cut(dv, -2, 0, keys))
    dq, dk, dv = (G.cast(x, y.dtype) for x, y in zip(found, (q, k, v), strict=True))
    return dq, dk, dv
