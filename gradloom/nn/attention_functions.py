"""Scaled dot-product attention whose memory grows with the length, not with its square.

Short sequences are computed at once, and the probabilities are kept for the derivative. Long ones go in blocks of
queries: a block sees its keys, leaves the logarithm of its row sums, and the derivative computes the probabilities
again from that (Dao et al. 2022, FlashAttention; the masked half of causal attention is not computed). Both are one
rule of differentiation, written with public functions, so it can be differentiated again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gradloom import dtypes
from gradloom import functions as G
from gradloom.autodiff.custom import Rule, attach, avals_of, tracked
from gradloom.autodiff.levels import quiet
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.ops import structure as S
from gradloom.ops.core import broadcast_shapes
from gradloom.random import default_generator
from gradloom.tape import TAPE, composite
from gradloom.tensor import Tensor

__all__ = ["scaled_dot_product_attention"]

AT_ONCE = 512 * 512
"""Up to so many pairs of query and key the probabilities are kept."""
BLOCK = 256
"""Queries of a block of a longer sequence."""
_STREAMS = 1 << 32  # between the random streams of two blocks


class _How(NamedTuple):
    """What is not a tensor."""

    causal: bool
    scale: float
    dropout: float
    learned_mask: bool
    rows: int  # queries of a block; 0: all at once


class _Block(NamedTuple):
    """Queries start to stop, which see the first `keys` keys."""

    start: int
    stop: int
    keys: int


def _blocks(how: _How, queries: int, keys: int) -> Iterator[_Block]:
    rows = how.rows or queries
    for start in range(0, queries, rows):
        stop = min(start + rows, queries)
        yield _Block(start, stop, min(stop, keys) if how.causal and how.rows else keys)


def _part(x: Tensor, axis: int, start: int, stop: int) -> Tensor:
    """A region of an axis; an axis of one entry stands for all of them."""
    n = x.shape[axis]
    return x if n == 1 or (start, stop) == (0, n) else G.narrow(x, axis % x.ndim, start, stop - start)


def _grouped(x: Tensor, like: Tensor) -> Tensor:
    """Rows of the query heads that share a key head, one behind the other: (..., H, L, n) to (..., Hk, H/Hk*L, n)."""
    if x.shape[:-2] == like.shape[:-2]:
        return x
    return G.reshape(x, (*like.shape[:-2], -1 if x.numel() else 0, x.shape[-1]))


def _product(a: Tensor, b: Tensor, heads: tuple[int, ...]) -> Tensor:
    """``a`` of all heads times ``b`` of the key heads, to the shape of all heads."""
    out = G.dot(_grouped(a, b), b)
    return G.reshape(out, (*heads, a.shape[-2], b.shape[-1]))


def _scores(q: Tensor, k: Tensor, mask: Tensor | None, b: _Block, how: _How) -> Tensor:
    """Scores of a block of scaled queries; minus infinity where masked."""
    s = _product(q, G.swap_last(k), tuple(q.shape[:-2]))
    if s.dtype.itemsize < 4:
        s = G.cast(s, dtypes.float32)
    if mask is not None:
        m = _part(_part(mask, -1, 0, b.keys), -2, b.start, b.stop)
        s = G.where(m, s, -math.inf) if m.dtype is dtypes.bool_ else G.add(s, G.cast(m, s.dtype))
    if how.causal and b.keys > b.start + 1:
        ahead = G.unsqueeze(G.arange(b.start, b.stop), 1) >= G.arange(b.keys)
        s = G.where(ahead, s, -math.inf)
    return s


def _normalised(s: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax of each row and the logarithm of its sum. A row that is masked as a whole has probabilities 0."""
    top = G.amax(s, -1, True)
    top = G.where(G.eq(top, -math.inf), 0.0, top)
    e = G.exp(G.sub(s, top))
    total = G.sum(e, -1, True)
    empty = G.eq(total, 0.0)
    total = G.where(empty, 1.0, total)
    return G.div(e, total), G.where(empty, math.inf, G.add(top, G.log(total)))


def _kept(p: Tensor, key: Sequence[Tensor], number: int, how: _How) -> Tensor | None:
    """What dropout multiplies a block's probabilities with; the same numbers for the same key."""
    if not how.dropout:
        return None
    if how.dropout == 1.0:
        return G.const(0.0)
    stream = G.add(key[1], G.const(number * _STREAMS))
    u = G.apply(S.uniform, (key[0], stream), (tuple(p.shape), dtypes.float32))
    return G.mul(G.cast(G.ge(u, G.const(how.dropout)), p.dtype), G.const(1.0 / (1.0 - how.dropout)))


@composite
def _attended(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, seed: Tensor | None, stream: Tensor | None, how: _How
) -> tuple[Tensor, Tensor]:
    """The result, and what the derivative needs: the probabilities, or each row's logarithm of the sum."""
    q = G.mul(q, G.const(how.scale))
    outs, rests = [], []
    for number, b in enumerate(_blocks(how, q.shape[-2], k.shape[-2])):
        s = _scores(_part(q, -2, b.start, b.stop), _part(k, -2, 0, b.keys), mask, b, how)
        p, total = _normalised(s)
        rests.append(total if how.rows else p)
        keep = _kept(p, (seed, stream), number, how)  # type: ignore[arg-type]
        p = p if keep is None else G.mul(p, keep)
        outs.append(_product(G.cast(p, v.dtype), _part(v, -2, 0, b.keys), tuple(q.shape[:-2])))
    if len(outs) == 1:
        return outs[0], rests[0]
    return G.cat(outs, -2), G.cat(rests, -2)


def _transposed_product(a: Tensor, b: Tensor, like: Tensor) -> Tensor:
    """The sum over queries, and over the query heads that share a key head, of products of rows."""
    return G.dot(G.swap_last(_grouped(a, like)), _grouped(b, like))


def _filled(x: Tensor, axis: int, size: int) -> Tensor:
    """Zeros behind the end of an axis."""
    n = x.shape[axis]
    if n == size:
        return x
    shape = list(x.shape)
    shape[axis] = size - n
    return G.cat([x, G.zeros(tuple(shape), dtype=x.dtype)], axis)


def _summed(parts: Sequence[Tensor]) -> Tensor:
    out = parts[0]
    for x in parts[1:]:
        out = G.add(out, x)
    return out


class _Attention(Rule):
    """The derivative of attention."""

    def __init__(self, how: _How, masked: bool, outs: tuple) -> None:
        self.how, self.masked, self.outs = how, masked, outs

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Attention) and (self.how, self.masked, self.outs) == (
            other.how, other.masked, other.outs,
        )  # fmt: skip

    def __hash__(self) -> int:
        return hash((self.how, self.masked, self.outs))

    def pull(self, cts: list[Tensor | None], inputs: list[Tensor], saved: list[Tensor]) -> Sequence[Tensor | None]:
        """Cotangents of query, key, value and mask."""
        how, (q, k, v) = self.how, inputs[:3]
        mask = inputs[3] if self.masked else None
        out, rest, *key = saved
        ct = G.zeros(self.outs[0].shape, dtype=self.outs[0].dtype) if cts[0] is None else cts[0]
        ct_rest = cts[1]
        heads, keys = tuple(q.shape[:-2]), k.shape[-2]
        wide = rest.dtype
        scaled = G.mul(q, G.const(how.scale))
        own = G.sum(G.mul(G.cast(ct, wide), G.cast(out, wide)), -1, True) if how.rows else None
        if own is not None and ct_rest is not None:
            own = G.sub(own, ct_rest)
        dqs, dks, dvs, dms = [], [], [], []
        for number, b in enumerate(_blocks(how, q.shape[-2], keys)):
            ks, vs = _part(k, -2, 0, b.keys), _part(v, -2, 0, b.keys)
            rows, c = _part(scaled, -2, b.start, b.stop), _part(ct, -2, b.start, b.stop)
            if own is None:
                p = rest
            else:
                p = G.exp(G.sub(_scores(rows, ks, mask, b, how), _part(rest, -2, b.start, b.stop)))
            keep = _kept(p, key, number, how)
            dropped = p if keep is None else G.mul(p, keep)
            dvs.append(_filled(_transposed_product(G.cast(dropped, v.dtype), c, v), -2, keys))
            dp = G.cast(_product(c, G.swap_last(vs), heads), wide)
            dp = dp if keep is None else G.mul(dp, keep)
            if own is None:
                dp = dp if ct_rest is None else G.add(dp, ct_rest)
                mean = G.sum(G.mul(p, dp), -1, True)
            else:
                mean = _part(own, -2, b.start, b.stop)
            ds = G.mul(p, G.sub(dp, mean))
            if how.learned_mask:
                assert mask is not None
                dms.append(self._of_mask(ds, mask, b, keys))
            ds = G.cast(ds, q.dtype)
            dqs.append(_product(ds, ks, heads))
            dks.append(_filled(_transposed_product(ds, rows, k), -2, keys))
        dq = G.mul(dqs[0] if len(dqs) == 1 else G.cat(dqs, -2), G.const(how.scale))
        dm = None
        if dms:
            dm = dms[0] if len(dms) == 1 else _summed(dms) if mask.shape[-2] == 1 else G.cat(dms, -2)  # type: ignore[union-attr]
        return [dq, _summed(dks), _summed(dvs), dm][: len(inputs)]

    @staticmethod
    def _of_mask(ds: Tensor, mask: Tensor, b: _Block, keys: int) -> Tensor:
        """A block's part of the mask's cotangent."""
        shape = list(mask.shape)
        shape[-2] = 1 if shape[-2] == 1 else b.stop - b.start
        full = shape[-1]
        shape[-1] = 1 if full == 1 else b.keys
        got = G.sum_to(ds, tuple(shape))
        return got if full == 1 else _filled(got, -1, keys)


def _shapes(query: Tensor, key: Tensor, value: Tensor, grouped: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Leading axes of queries and of keys. Raises ShapeError where sizes do not fit."""
    q, k, v = (tuple(x.shape) for x in (query, key, value))
    said = f"scaled_dot_product_attention: query {q}, key {k}, value {v}"
    if min(len(q), len(k), len(v)) < 2:
        raise ShapeError(f"{said}: each needs two axes", code="shape.attention", hint="(..., length, features)")
    if q[-1] != k[-1]:
        raise ShapeError(f"{said}: query and key differ in their last axis", code="shape.attention")
    if k[-2] != v[-2]:
        raise ShapeError(f"{said}: key and value differ in length (axis -2)", code="shape.attention")
    if not grouped:
        try:
            lead = broadcast_shapes("scaled_dot_product_attention", [q[:-2], k[:-2], v[:-2]])
        except ShapeError:
            raise ShapeError(
                f"{said}: leading axes do not broadcast", code="shape.attention",
                hint="heads that share keys: enable_gqa=True",
            ) from None  # fmt: skip
        return lead, lead
    if min(len(q), len(k), len(v)) < 3:
        raise ShapeError(f"{said}: enable_gqa needs an axis of heads", code="shape.attention")
    if not k[-3] or not v[-3] or q[-3] % k[-3] or q[-3] % v[-3]:
        raise ShapeError(
            f"{said}: enable_gqa needs {q[-3]} query heads to be a multiple of the key and value heads",
            code="shape.attention",
        )
    lead = broadcast_shapes("scaled_dot_product_attention", [q[:-3], k[:-3], v[:-3]])
    return (*lead, q[-3]), (*lead, k[-3] if k[-3] == v[-3] else q[-3])


def _led(x: Tensor, lead: tuple[int, ...], grouped: bool) -> Tensor:
    """Leading axes broadcast; heads repeated where keys and values have different numbers of them."""
    if grouped and x.shape[-3] != lead[-1]:
        n, (length, width) = x.shape[-3], x.shape[-2:]
        x = G.reshape(
            G.broadcast_to(G.unsqueeze(x, -3), (*x.shape[:-2], lead[-1] // n, length, width)),
            (*x.shape[:-3], lead[-1], length, width),
        )
    shape = (*lead, *x.shape[-2:])
    return x if tuple(x.shape) == shape else G.broadcast_to(x, shape)


def _checked_mask(mask: Tensor, shape: tuple[int, ...], query: Tensor, causal: bool) -> Tensor:
    if causal:
        raise ArgumentError(
            "scaled_dot_product_attention: attn_mask together with is_causal=True", code="argument.attention",
            hint="combine them: attn_mask with -inf (or False) above the diagonal",
        )  # fmt: skip
    if mask.dtype is not dtypes.bool_ and not mask.dtype.is_floating:
        raise DTypeError(
            f"scaled_dot_product_attention: attn_mask of dtype {mask.dtype.name}", code="dtype.attention",
            hint="bool (True: may attend) or floating (added to the scores)",
        )  # fmt: skip
    m = tuple(mask.shape)
    if len(m) > len(shape) or any(a not in (1, n) for a, n in zip(m[::-1], shape[::-1], strict=False)):
        raise ShapeError(
            f"scaled_dot_product_attention: attn_mask {m} does not broadcast to the scores {shape}",
            code="shape.attention", hint="the scores are (..., queries, keys)",
        )  # fmt: skip
    return mask if len(m) >= 2 else G.reshape(mask, (1,) * (2 - len(m)) + m)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query·keyᵀ·scale + mask)·value (Vaswani et al. 2017).

    Parameters
    ----------
    query : Tensor of shape (..., L, E)
    key, value : Tensors of shape (..., S, E) and (..., S, Ev)
        Leading axes broadcast.
    attn_mask : Tensor that broadcasts to (..., L, S)
        bool: True where a query may look; floating: added to the scores. A query that may look nowhere gets zeros.
    dropout_p : float
        Probability with which probabilities are zeroed, the others divided by 1 - dropout_p. Always in effect.
    is_causal : bool
        Query i sees keys 0 to i only.
    scale : float
        1/sqrt(E) unless given.
    enable_gqa : bool
        Axis -3 are heads, and H/Hk query heads share a key head (Ainslie et al. 2023).

    Returns
    -------
    Tensor of shape (..., L, Ev). Memory besides it: linear in L and S, forward and backward.

    Raises
    ------
    ShapeError, DTypeError: where operands do not fit. ArgumentError: for a mask beside is_causal.
    """
    if TAPE.autocast is not None:
        (query, key, value), _ = TAPE.autocast.operands("scaled_dot_product_attention", (query, key, value), {})
    if not query.dtype.is_floating or not query.dtype is key.dtype is value.dtype:
        raise DTypeError(
            f"scaled_dot_product_attention: dtypes {query.dtype.name}, {key.dtype.name}, {value.dtype.name}: "
            "expected one floating dtype for all", code="dtype.attention", hint="convert with .to(dtype)",
        )  # fmt: skip
    if not 0.0 <= dropout_p <= 1.0:
        raise ArgumentError(f"scaled_dot_product_attention: dropout_p is {dropout_p}, expected 0 to 1")
    grouped = enable_gqa and key.ndim > 2 and value.ndim > 2 and query.ndim > 2
    lead, own = _shapes(query, key, value, enable_gqa)
    length, keys = query.shape[-2], key.shape[-2]
    mask = None if attn_mask is None else _checked_mask(attn_mask, (*lead, length, keys), query, is_causal)
    q, k, v = _led(query, lead, False), _led(key, own, grouped), _led(value, own, grouped)
    if not keys or not math.prod(lead) * length * value.shape[-1]:  # nothing to look at
        nothing = G.add(G.add(G.sum(q), G.sum(k)), G.sum(v))
        return G.broadcast_to(G.mul(nothing, G.const(0.0)), (*lead, length, value.shape[-1]))
    how = _How(
        bool(is_causal), 1.0 / math.sqrt(max(query.shape[-1], 1)) if scale is None else float(scale), float(dropout_p),
        mask is not None and mask.requires_grad, BLOCK if length * keys > AT_ONCE and length > BLOCK else 0,
    )  # fmt: skip
    drawn = tuple(map(TAPE.scalar, default_generator.draw())) if 0.0 < how.dropout < 1.0 else (None, None)
    inputs = [q, k, v] if mask is None else [q, k, v, mask]
    if not tracked(inputs):
        return _attended(q, k, v, mask, *drawn, how)[0]
    with quiet():
        raws = list(_attended(q, k, v, mask, *drawn, how))
    saved = [*raws, *(x for x in drawn if x is not None)]
    return attach(_Attention(how, mask is not None, avals_of(raws)), inputs, saved, raws)[0]
