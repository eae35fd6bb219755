"""`nn.functional.multi_head_attention_forward`: projections, heads, masks of two kinds, weights if wanted."""

from __future__ import annotations

import math

from gradloom import dtypes
from gradloom import functions as G
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.nn.attention_functions import scaled_dot_product_attention
from gradloom.nn.noise_functions import dropout
from gradloom.tensor import Tensor

__all__ = ["multi_head_attention_forward"]

_NAME = "multi_head_attention_forward"


def _sizes(message: str, hint: str = "") -> ShapeError:
    return ShapeError(f"{_NAME}: {message}", code="shape.attention", hint=hint)


def added_mask(mask: Tensor | None, name: str, dtype: dtypes.DType) -> Tensor | None:
    """A mask as what is added to scores: minus infinity where a bool one is True."""
    if mask is None or mask.dtype.is_floating:
        return mask
    if mask.dtype is not dtypes.bool_:
        raise DTypeError(
            f"{name} of dtype {mask.dtype.name}", code="dtype.attention", hint="bool (True: hidden) or floating (added)"
        )
    return G.cast(G.where(mask, -math.inf, 0.0), dtype)


def _check(
    query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, mask: Tensor | None, heads: int, width: int,
    separate: bool,
) -> None:  # fmt: skip
    rank = query.ndim
    if rank not in (2, 3) or key.ndim != rank or value.ndim != rank:
        raise _sizes(
            f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}: expected three of 2 or "
            "three of 3 dimensions", "(length, features), or (length, batch, features)",
        )  # fmt: skip
    if query.shape[-1] != width:
        raise _sizes(f"query has {query.shape[-1]} features, expected embed_dim {width}")
    if width % heads:
        raise _sizes(f"embed_dim {width} is not a multiple of {heads} heads")
    fits = key.shape[:-1] == value.shape[:-1] if separate else key.shape == value.shape
    if not fits:
        raise _sizes(f"key {tuple(key.shape)} and value {tuple(value.shape)} differ")
    if padding is not None and padding.ndim != rank - 1:
        raise _sizes(
            f"key_padding_mask {tuple(padding.shape)} has not {rank - 1} dimensions", "(batch, keys) or (keys)"
        )
    if mask is not None:
        length, keys = query.shape[0], key.shape[0]
        batch = query.shape[1] if rank == 3 else 1
        if tuple(mask.shape) not in ((length, keys), (batch * heads, length, keys)):
            raise _sizes(
                f"attn_mask has shape {tuple(mask.shape)}, expected {(length, keys)} or {(batch * heads, length, keys)}"
            )


def _projected(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values by one weight of three parts; one product for what is the same tensor."""
    e = query.shape[-1]

    def product(x: Tensor, first: int, last: int) -> Tensor:
        rows = slice(first * e, last * e)
        return G.linear(x, weight if last - first == 3 else weight[rows], None if bias is None else bias[rows])

    def parts(x: Tensor, n: int) -> tuple[Tensor, ...]:
        return tuple(G.narrow(x, x.ndim - 1, k * e, e) for k in range(n))

    if query is key and key is value:
        q, k, v = parts(product(query, 0, 3), 3)
        return q, k, v
    if key is value:
        k, v = parts(product(key, 1, 3), 2)
        return product(query, 0, 1), k, v
    return product(query, 0, 1), product(key, 1, 2), product(value, 2, 3)


def _wider(mask: Tensor | None) -> Tensor | None:
    """A mask with one more key, which all see."""
    return None if mask is None else G.cat([mask, G.zeros((*mask.shape[:-1], 1), dtype=mask.dtype)], -1)


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention of several heads between projections (Vaswani et al. 2017, section 3.2.2).

    Parameters
    ----------
    query : Tensor of shape (L, N, E), or (L, E)
    key, value : Tensors of shape (S, N, Ek) and (S, N, Ev), or without N
    in_proj_weight, in_proj_bias : (3E, E) and (3E,)
        Of queries, keys and values; with use_separate_proj_weight the weights are q_, k_ and v_proj_weight.
    bias_k, bias_v : (1, 1, E)
        One more key and value. add_zero_attn: one more of zeros.
    key_padding_mask : (N, S), or (S,)
        bool: True where a key is hidden; floating: added to the scores.
    attn_mask : (L, S) or (N*num_heads, L, S)
        Likewise.
    is_causal : bool
        A hint that attn_mask is the causal mask, which is then not read; it must be there all the same.
    static_k, static_v : (N*num_heads, S, E/num_heads)
        Instead of the projected keys and values.

    Returns
    -------
    (L, N, E), or (L, E); and with need_weights the probabilities, (N, L, S) averaged over the heads or
    (N, num_heads, L, S), else None.

    Raises
    ------
    ShapeError, DTypeError: where operands do not fit. ArgumentError: where they do not belong together.
    """
    _check(
        query, key, value, key_padding_mask, attn_mask, num_heads, embed_dim_to_check, use_separate_proj_weight
    )  # fmt: skip
    if is_causal and attn_mask is None:
        raise ArgumentError(
            f"{_NAME}: is_causal is a hint about attn_mask, which is missing", code="argument.attention",
            hint="attn_mask=nn.Transformer.generate_square_subsequent_mask(length)",
        )  # fmt: skip
    if (bias_k is None) != (bias_v is None):
        raise ArgumentError(f"{_NAME}: bias_k and bias_v go together", code="argument.attention")
    if bias_k is not None and (static_k is not None or static_v is not None):
        raise ArgumentError(f"{_NAME}: bias_k and bias_v do not go with static keys", code="argument.attention")
    single = query.ndim == 2
    if single:
        same = query is key, key is value
        query = G.unsqueeze(query, 1)
        key = query if same[0] else G.unsqueeze(key, 1)
        value = key if same[1] else G.unsqueeze(value, 1)
        key_padding_mask = None if key_padding_mask is None else G.unsqueeze(key_padding_mask, 0)
    length, batch, width = query.shape
    padding = added_mask(key_padding_mask, "key_padding_mask", query.dtype)
    causal = is_causal and padding is None and not need_weights
    mask = None if causal else added_mask(attn_mask, "attn_mask", query.dtype)
    if use_separate_proj_weight:
        q, k, v = _separate(query, key, value, (q_proj_weight, k_proj_weight, v_proj_weight), in_proj_bias)
    elif in_proj_weight is None:
        raise ArgumentError(f"{_NAME}: in_proj_weight is None", code="argument.attention")
    else:
        q, k, v = _projected(query, key, value, in_proj_weight, in_proj_bias)
    if bias_k is not None and bias_v is not None:
        k = G.cat([k, G.broadcast_to(bias_k, (1, batch, width))], 0)
        v = G.cat([v, G.broadcast_to(bias_v, (1, batch, width))], 0)
        mask, padding = _wider(mask), _wider(padding)
    size = width // num_heads

    def split(x: Tensor) -> Tensor:  # (length, batch, width) to (batch, heads, length, size)
        return G.permute(G.reshape(x, (x.shape[0], batch, num_heads, size)), (1, 2, 0, 3))

    q = split(q)
    k = split(k) if static_k is None else _static(static_k, "static_k", batch, num_heads, size)
    v = split(v) if static_v is None else _static(static_v, "static_v", batch, num_heads, size)
    if add_zero_attn:
        zero = G.zeros((batch, num_heads, 1, size), dtype=k.dtype)
        k, v = G.cat([k, zero], -2), G.cat([v, zero], -2)
        mask, padding = _wider(mask), _wider(padding)
    if mask is not None and mask.ndim == 3:
        mask = G.reshape(mask, (batch, num_heads, length, k.shape[-2]))
    if padding is not None:
        if tuple(padding.shape) != (batch, k.shape[-2]):
            raise _sizes(f"key_padding_mask has shape {tuple(padding.shape)}, expected {(batch, k.shape[-2])}")
        padding = G.reshape(padding, (batch, 1, 1, k.shape[-2]))
        mask = padding if mask is None else G.add(mask, padding)
    p = dropout_p if training else 0.0
    weights = None
    if need_weights:
        scores = G.matmul(q * math.sqrt(1.0 / size), G.swap_last(k))
        weights = dropout(G.softmax(scores if mask is None else G.add(scores, G.cast(mask, scores.dtype)), -1), p)
        out = G.matmul(weights, v)
    else:
        out = scaled_dot_product_attention(q, k, v, mask, p, causal)
    out = G.reshape(G.permute(out, (2, 0, 1, 3)), (length, batch, width))
    out = G.linear(out, out_proj_weight, out_proj_bias)
    if weights is not None and average_attn_weights:
        weights = G.mean(weights, 1)
    if single:
        return G.squeeze(out, 1), None if weights is None else G.squeeze(weights, 0)
    return out, weights


def _separate(
    query: Tensor, key: Tensor, value: Tensor, weights: tuple[Tensor | None, ...], bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Projections by a weight each; one bias of three parts."""
    width, out = query.shape[-1], []
    for n, (x, w) in enumerate(zip((query, key, value), weights, strict=True)):
        if w is None:
            raise ArgumentError(f"{_NAME}: {'qkv'[n]}_proj_weight is None", code="argument.attention")
        out.append(G.linear(x, w, None if bias is None else bias[n * width : (n + 1) * width]))
    return out[0], out[1], out[2]


def _static(x: Tensor, name: str, batch: int, heads: int, size: int) -> Tensor:
    if x.ndim != 3 or x.shape[0] != batch * heads or x.shape[2] != size:
        raise _sizes(f"{name} has shape {tuple(x.shape)}, expected ({batch * heads}, keys, {size})")
    return G.reshape(x, (batch, heads, x.shape[1], size))
