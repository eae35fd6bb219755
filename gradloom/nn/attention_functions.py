"""Scaled dot-product attention whose memory grows with the length, not with its square.

Two primitives do it in blocks that stay in the cache, forward and backward (:mod:`gradloom.ops.attention`). What they
do not do (masks with derivatives, a few queries, derivatives of the derivative) is composed: short sequences
at once, with the probabilities kept; long ones in blocks of queries, where a block sees its keys, leaves the logarithm
of its row sums, and the derivative computes the probabilities again from that (Dao et al. 2022, FlashAttention; the
masked half of causal attention is not computed). All are one rule of differentiation; what is composed of public
functions can be differentiated again. What dropout takes out hangs on the key drawn for a call and on the position
alone, so all forms of a call, forward and backward, take out the same.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from gradloom import dtypes
from gradloom import functions as G
from gradloom.autodiff.control import scan
from gradloom.autodiff.custom import Rule, attach, avals_of, tracked
from gradloom.autodiff.levels import quiet
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions.sampling import randint
from gradloom.graph.node import Aval
from gradloom.nn.attention_native import How, cut, filled, native, native_back
from gradloom.ops import elementwise as E
from gradloom.ops.core import broadcast_shapes
from gradloom.random import Generator
from gradloom.tape import MODES, composite
from gradloom.tensor import Tensor

__all__ = ["attended", "scaled_dot_product_attention"]

AT_ONCE = 512 * 512
"""Up to so many pairs of query and key the probabilities are kept."""
BLOCK = 128
"""Queries of a block of a longer sequence."""
PARTS = 8
"""Causal attention goes in so many parts, each of which sees the keys up to its end; a part is a loop over blocks."""
LEAST = 16
"""Rows of a key head and keys below which a kernel's tiles would be half empty."""


class _Part(NamedTuple):
    """Queries start to stop in blocks of so many rows. They see the first `keys` keys."""

    start: int
    stop: int
    rows: int
    keys: int

    @property
    def blocks(self) -> int:
        """How many there are."""
        return (self.stop - self.start) // self.rows


def _parts(how: How, queries: int, keys: int) -> Iterator[_Part]:
    """All queries, in order. A part has whole blocks; what is left over is one more."""
    if not how.rows:
        yield _Part(0, queries, queries, keys)
        return
    whole = queries // how.rows
    step = how.rows * (max(1, -(-whole // PARTS)) if how.causal else max(whole, 1))
    start = 0
    while start < queries:
        stop = min(start + step, whole * how.rows) if start < whole * how.rows else queries
        yield _Part(start, stop, min(how.rows, stop - start), min(stop, keys) if how.causal else keys)
        start = stop


def _split(x: Tensor, b: _Part) -> Tensor:
    """A part's queries (..., L, n) as blocks (blocks, ..., rows, n)."""
    x = cut(x, -2, b.start, b.stop)
    lead = tuple(x.shape[:-2])
    x = G.reshape(x, (*lead, b.blocks, b.rows, x.shape[-1]))
    return G.permute(x, (len(lead), *range(len(lead)), len(lead) + 1, len(lead) + 2))


def _joined(x: Tensor) -> Tensor:
    """Back from blocks to queries."""
    n, *lead, rows, width = x.shape
    k = len(lead)
    return G.reshape(G.permute(x, (*range(1, k + 1), 0, k + 1, k + 2)), (*lead, n * rows, width))


def _grouped(x: Tensor, like: Tensor) -> Tensor:
    """Rows of the query heads that share a key head, one behind the other: (..., H, L, n) to (..., Hk, H/Hk*L, n)."""
    return x if x.shape[:-2] == like.shape[:-2] else G.reshape(x, (*like.shape[:-2], -1, x.shape[-1]))


def _product(a: Tensor, b: Tensor) -> Tensor:
    """``a`` of all heads times ``b`` of the key heads, to the shape of all heads."""
    return G.reshape(G.dot(_grouped(a, b), b), (*a.shape[:-1], b.shape[-1]))


def _transposed_product(a: Tensor, b: Tensor, like: Tensor) -> Tensor:
    """The sum over queries, and over the query heads that share a key head, of products of rows."""
    return G.dot(G.swap_last(_grouped(a, like)), _grouped(b, like))


def _scores(q: Tensor, k: Tensor, mask: Tensor | None, first: Tensor | int, how: How) -> Tensor:
    """Scores of scaled queries, the first of which has that number; minus infinity where masked."""
    s = _product(q, G.swap_last(k))
    if s.dtype.itemsize < 4:
        s = G.cast(s, dtypes.float32)
    if mask is not None:
        s = G.where(mask, s, -math.inf) if mask.dtype is dtypes.bool_ else G.add(s, G.cast(mask, s.dtype))
    if how.causal:
        rows = G.unsqueeze(G.arange(q.shape[-2]), 1)
        s = G.where(G.ge(G.add(rows, first), G.arange(k.shape[-2])), s, -math.inf)
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


def _dropped(p: Tensor, key: Tensor | None, first: Tensor | int, how: How) -> Tensor:
    """Probabilities of queries from the first one on, some 0, the others grown. As `attend` draws."""
    if not how.dropout:
        return p
    if key is None:
        return G.mul(p, G.const(0.0))
    *lead, rows, keys = p.shape
    length, total = how.pairs
    head = G.reshape(G.arange(math.prod(lead)), (*lead, 1, 1))
    row = G.add(G.reshape(G.arange(rows), (rows, 1)), first)
    quad = G.add(G.mul(head, G.const(-(-length // 4))), G.bitwise_right_shift(row, G.const(2)))
    place = G.add(G.mul(quad, G.const(total)), G.arange(keys))
    u = G.apply(E.uniform_at, (key, place, G.bitwise_and(row, G.const(3))))
    return G.mul(p, G.mul(G.cast(G.ge(u, G.const(how.dropout)), p.dtype), G.const(1.0 / (1.0 - how.dropout))))


def _looped(
    b: _Part, step: Callable[..., tuple[list[Tensor], list[Tensor]]], sums: Sequence[Aval], xs: Sequence[Tensor | None]
) -> tuple[list[Tensor], list[Tensor]]:
    """``step(first, *blocks of xs)`` for each block of a part: its first results summed, its second ones joined.

    sums: avals of the first results. Operands with one row, or None, are the same for all blocks.
    """
    same = [x is None or x.shape[-2] == 1 for x in xs]
    if b.blocks == 1:
        return step(b.start, *(x if x is None else cut(x, -2, b.start, b.stop) for x in xs))
    split = [_split(x, b) for x in xs if x is not None and x.shape[-2] != 1]

    def body(state: Any, given: Any) -> tuple[Any, Any]:
        # a zero that is carried: what hangs on sequences alone would be computed for all blocks before the loop
        zero, *total = state
        blocks = iter([G.add(x, G.cast(zero, x.dtype)) if x.dtype.is_floating else x for x in given[1:]])
        more, ys = step(given[0], *(x if s else next(blocks) for x, s in zip(xs, same, strict=True)))
        return (zero, *(G.add(x, y) for x, y in zip(total, more, strict=True))), tuple(ys)

    firsts = G.add(G.mul(G.arange(b.blocks), G.const(b.rows)), G.const(b.start))
    zeros = [G.zeros(a.shape, dtype=a.dtype) for a in sums]
    (_, *total), found = scan(body, (G.zeros((), dtype=dtypes.float32), *zeros), (firsts, *split))
    return total, [_joined(y) for y in found]


@composite
def _attended(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, key: Tensor | None, how: How
) -> tuple[Tensor, Tensor]:
    """The result, and what the derivative needs: the probabilities, or each row's logarithm of the sum."""
    if how.native:
        wide = q if q.dtype.itemsize >= 4 else G.cast(q, dtypes.float32)
        return native(G.mul(wide, G.const(how.scale)), k, v, mask, key, how)
    q = G.mul(q, G.const(how.scale))
    found = []
    for b in _parts(how, q.shape[-2], k.shape[-2]):
        ks, vs = cut(k, -2, 0, b.keys), cut(v, -2, 0, b.keys)
        step = functools.partial(_forward, how, ks, vs, key)
        found.append(_looped(b, step, (), (q, _seen(mask, b)))[1])
    outs, rests = zip(*found, strict=True)
    return (outs[0], rests[0]) if len(found) == 1 else (G.cat(outs, -2), G.cat(rests, -2))


def _forward(
    how: How, k: Tensor, v: Tensor, key: Tensor | None, first: Any, q: Tensor, mask: Tensor | None
) -> tuple[list[Tensor], list[Tensor]]:
    p, total = _normalised(_scores(q, k, mask, first, how))
    out = _product(G.cast(_dropped(p, key, first, how), v.dtype), v)
    return [], [out, total if how.rows else p]


def _backward(
    how: How, k: Tensor, v: Tensor, key: Tensor | None, first: Any, q: Tensor, mask: Tensor | None,
    ct: Tensor, rest: Tensor, mean: Tensor | None, more: Tensor | None,
) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
    """Cotangents: first those that blocks add to (key, value, a mask of one row), then those of the block's rows."""
    p = G.exp(G.sub(_scores(q, k, mask, first, how), rest)) if how.rows else rest
    dv = _transposed_product(G.cast(_dropped(p, key, first, how), v.dtype), ct, v)
    dp = _dropped(G.cast(_product(ct, G.swap_last(v)), p.dtype), key, first, how)
    dp = dp if more is None else G.add(dp, more)
    ds = G.mul(p, G.sub(dp, G.sum(G.mul(p, dp), -1, True) if mean is None else mean))
    low = G.cast(ds, q.dtype)
    sums, rows = [_transposed_product(low, q, k), dv], [_product(low, k)]
    if how.learned and mask is not None:
        (sums if how.learned == "row" else rows).append(G.sum_to(ds, tuple(mask.shape)))
    return sums, rows


def _seen(mask: Tensor | None, b: _Part) -> Tensor | None:
    return None if mask is None else cut(mask, -1, 0, b.keys)


# -- the derivative -----------------------------------------------------------------------------------------
class _Attention(Rule):
    """The derivative of attention."""

    def __init__(self, how: How, masked: bool, outs: tuple) -> None:
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
        out, rest = saved[:2]
        key = saved[2] if how.keyed else None
        ct = G.zeros(self.outs[0].shape, dtype=self.outs[0].dtype) if cts[0] is None else cts[0]
        mean, more = None, cts[1]  # the cotangent of what was kept: where the derivative is differentiated again
        if how.rows:
            mean = G.sum(G.mul(G.cast(ct, rest.dtype), G.cast(out, rest.dtype)), -1, True)
            mean, more = mean if more is None else G.sub(mean, more), None
        if how.native and mean is not None and not tracked([*inputs, ct, *saved]):
            return [*native_back(q, k, v, mask, key, ct, rest, mean, how), None][: len(inputs)]
        scaled = G.mul(q, G.const(how.scale))
        columns = mask.shape[-1] if mask is not None else 1
        whole = ((-2, k.shape[-2]), (-2, k.shape[-2]), (-1, columns))
        summed: list[Tensor] = []
        rows: list[list[Tensor]] = []
        for b in _parts(how, q.shape[-2], k.shape[-2]):
            ks, vs, m = cut(k, -2, 0, b.keys), cut(v, -2, 0, b.keys), _seen(mask, b)
            growing = [ks, vs]
            if how.learned == "row" and m is not None:
                growing.append(G.cast(m, rest.dtype))
            step = functools.partial(_backward, how, ks, vs, key)
            sums, got = _looped(b, step, avals_of(growing), (scaled, m, ct, rest, mean, more))
            sums = [filled(x, axis, full) for x, (axis, full) in zip(sums, whole, strict=False)]
            summed = [G.add(x, y) for x, y in zip(summed, sums, strict=True)] if summed else sums
            rows.append([got[0], *(filled(d, -1, columns) for d in got[1:])])
        joined = [x[0] if len(x) == 1 else G.cat(x, -2) for x in zip(*rows, strict=True)]
        dq = G.mul(joined[0], G.const(how.scale))
        dm = None if not how.learned else [*summed, *joined[1:]][2]
        return [dq, summed[0], summed[1], dm][: len(inputs)]


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
    return attended(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)


def attended(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, dropout_p: float, is_causal: bool,
    scale: float | None, enable_gqa: bool, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """:func:`scaled_dot_product_attention` that drops by a generator of its own."""
    if MODES.autocast is not None:
        (query, key, value), _ = MODES.autocast.operands("scaled_dot_product_attention", (query, key, value), {})
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
    learned = "" if mask is None or not mask.requires_grad else "row" if mask.shape[-2] == 1 else "rows"
    rows = math.prod(lead) // math.prod(k.shape[:-2]) * length
    kernels = not learned and dropout_p < 1.0 and min(rows, keys) >= LEAST
    blocks = BLOCK if length * keys > AT_ONCE and length > BLOCK else length if kernels else 0
    scale = 1.0 / math.sqrt(max(query.shape[-1], 1)) if scale is None else float(scale)
    how = How(bool(is_causal), scale, float(dropout_p), learned, blocks, kernels, (length, keys))
    drawn = randint(0, 1 << 53, (), generator=generator) if how.keyed else None
    inputs = [q, k, v] if mask is None else [q, k, v, mask]
    if not tracked(inputs):
        return _attended(q, k, v, mask, drawn, how)[0]
    with quiet():
        raws = list(_attended(q, k, v, mask, drawn, how))
    saved = raws if drawn is None else [*raws, drawn]
    return attach(_Attention(how, mask is not None, avals_of(raws)), inputs, saved, raws)[0]
