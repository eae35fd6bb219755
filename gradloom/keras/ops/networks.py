"""``keras.ops.nn`` beyond convolutions: attention, norms, adaptive pooling, folding, alignment in time."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.functions import PUBLIC
from gradloom.keras import config
from gradloom.keras.layers.normalization import _by_deviation, _moments, _normalised, _rms
from gradloom.keras.operations import as_tensor, operation
from gradloom.keras.ops.arrays import _floated, _of_list
from gradloom.keras.ops.rest import _same_dtype
from gradloom.nn.attention_functions import scaled_dot_product_attention
from gradloom.nn.folding_functions import fold as _fold
from gradloom.nn.folding_functions import unfold as _unfold
from gradloom.nn.losses.ctc import ctc_loss as _ctc_loss
from gradloom.tensor import Tensor, from_numpy

TABLE: dict[str, Callable[..., Any]] = {}
IMPOSSIBLE = 1e5  # what an answer that no path spells costs


# -- attention and norms ---------------------------------------------------------------------------------------------


def dot_product_attention(
    query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, scale: float | None = None,
    is_causal: bool = False, flash_attention: bool | None = None, attn_logits_soft_cap: float | None = None,
) -> Any:  # fmt: skip
    """Attention of (batch, queries, heads, size) to (batch, keys, heads, size); keys may have fewer heads.

    Parameters
    ----------
    bias : added to the scores. mask : which keys each query sees; both broadcast to (batch, heads, queries, keys).
    flash_attention : memory grows with the length in any case; True refuses ``attn_logits_soft_cap``.
    attn_logits_soft_cap : scores are held within it by c · tanh(score / c).
    """
    q, k, v = _same_dtype(query, key, value)
    for name, x in (("query", q), ("key", k), ("value", v)):
        if x.ndim != 4:
            raise ValueError("`dot_product_attention` only supports 4D inputs. Received: "
                             f"{name}.shape={tuple(x.shape)}.")  # fmt: skip
    if q.shape[2] % k.shape[2]:
        raise ValueError(f"the {q.shape[2]} heads of the queries are no multiple of the {k.shape[2]} of the keys")
    q, k, v = (G.permute(x, (0, 2, 1, 3)) for x in (q, k, v))
    seen = None if mask is None else as_tensor(mask).to(dtypes.bool_)
    more = None if bias is None else as_tensor(bias).to(q.dtype)
    if attn_logits_soft_cap is not None:
        if flash_attention:
            raise ValueError("attn_logits_soft_cap needs all scores at once, which flash_attention=True refuses")
        return _capped(q, k, v, more, seen, scale, is_causal, float(attn_logits_soft_cap))
    if more is not None and seen is not None:
        more = G.where(seen, more, G.full_like(more, -math.inf))
    if is_causal and (more is not None or seen is not None):
        from gradloom.keras.layers.attention import causal

        only, is_causal = causal(q.shape[-2], k.shape[-2]), False
        seen = only if seen is None else G.logical_and(seen, only)
        more = None if more is None else G.where(only, more, G.full_like(more, -math.inf))
    added = more if more is not None else seen
    if added is not None and added.ndim == 3:
        added = added.unsqueeze(1)
    y = scaled_dot_product_attention(q, k, v, added, is_causal=is_causal, scale=scale, enable_gqa=True)
    return G.permute(y, (0, 2, 1, 3))


def _capped(q: Tensor, k: Tensor, v: Tensor, bias: Any, mask: Any, scale: Any, is_causal: bool, cap: float) -> Tensor:
    from gradloom.functions.repeats import repeat_interleave
    from gradloom.keras.layers.attention import causal

    if q.shape[1] != k.shape[1]:
        k, v = (repeat_interleave(x, q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = G.matmul(q, G.swapaxes(k, -2, -1)) * (1.0 / math.sqrt(q.shape[-1]) if scale is None else scale)
    scores = scores if bias is None else scores + bias
    scores = G.tanh(scores / cap) * cap
    if is_causal:
        only = causal(q.shape[-2], k.shape[-2])
        mask = only if mask is None else G.logical_and(mask, only)
    if mask is not None:
        scores = G.where(mask, scores, G.full_like(scores, -1e9))
    return G.permute(G.matmul(G.softmax(scores, -1), v), (0, 2, 1, 3))


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    return tuple(sorted(a % ndim for a in (axis if isinstance(axis, list | tuple) else [axis])))


def _wide(w: Any, x: Tensor, axes: tuple[int, ...]) -> Tensor | None:
    if w is None:
        return None
    return as_tensor(w).reshape(*(n if k in axes else 1 for k, n in enumerate(x.shape)))


def batch_normalization(
    x: Any, mean: Any, variance: Any, axis: int, offset: Any = None, scale: Any = None, epsilon: float = 1e-3
) -> Any:
    """(x - mean) / √(variance + epsilon) · scale + offset, all of the size of ``axis``."""
    axes = _axes(axis, x.ndim)
    m, v, beta, gamma = (_wide(w, x, axes) for w in (mean, variance, offset, scale))
    given = {k: w for k, w in (("gamma", gamma), ("beta", beta)) if w is not None}
    return _normalised(_floated(x), m, v, **given, eps=float(epsilon))


def layer_normalization(
    x: Any, gamma: Any = None, beta: Any = None, axis: Any = -1, epsilon: float | None = None, **kwargs: Any
) -> Any:
    """Mean 0 and deviation 1 along ``axis``, times gamma plus beta."""
    by_rms = kwargs.pop("rms_scaling", False)
    if kwargs:
        raise TypeError(f"layer_normalization: unknown argument {', '.join(kwargs)}")
    if by_rms:
        warnings.warn("You passed `rms_scaling=True`, which is deprecated: use `rms_normalization`", stacklevel=2)
    x, eps = _floated(x), config.epsilon() if epsilon is None else float(epsilon)
    axes = _axes(axis, x.ndim)
    wide = {k: w for k, w in (("gamma", _wide(gamma, x, axes)), ("beta", _wide(beta, x, axes))) if w is not None}
    if by_rms:
        return _by_deviation(x, wide.get("gamma", G.ones((), dtype=x.dtype)), axes, eps)
    mean, var = _moments(x, axes)
    return _normalised(x, mean, var, **wide, eps=eps)


def rms_normalization(x: Any, scale: Any = None, axis: Any = -1, epsilon: float | None = None) -> Any:
    """Divided by the root mean square along ``axis``, times ``scale``."""
    x = _floated(x)
    axes = _axes(axis, x.ndim)
    wide = (
        None
        if scale is None
        else as_tensor(scale)
        if len(axes) == 1 and axes[0] == x.ndim - 1
        else _wide(scale, x, axes)
    )
    one = G.ones((), dtype=dtypes.float32 if x.dtype.itemsize < 4 else x.dtype)
    return _rms(x, one if wide is None else wide, axes, config.epsilon() if epsilon is None else float(epsilon))


# -- pooling, folding, blocks ----------------------------------------------------------------------------------------


def _adaptive(inputs: Tensor, output_size: Any, data_format: Any, kind: str) -> Tensor:
    from gradloom.keras import layers

    rank = inputs.ndim - 2
    if rank not in (1, 2, 3):
        raise ValueError(f"adaptive pooling takes (n, ..., channels) with 1 to 3 axes. Received: {tuple(inputs.shape)}")
    return getattr(layers, f"Adaptive{kind}Pooling{rank}D")(output_size, data_format=data_format).call(inputs)


def adaptive_average_pool(inputs: Any, output_size: Any, data_format: Any = None) -> Any:
    """A given number of windows along each axis, each the mean of its entries."""
    return _adaptive(_floated(inputs), output_size, data_format, "Average")


def adaptive_max_pool(inputs: Any, output_size: Any, data_format: Any = None) -> Any:
    """A given number of windows along each axis, each the largest of its entries."""
    return _adaptive(inputs, output_size, data_format, "Max")


def fold(x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """Blocks (n, c · k, count) added up where they stood: (n, c, *output_size)."""
    if x.ndim != 3:
        raise ValueError(f"`fold` takes a 3D input (n, c · k, count). Received: x.shape={tuple(x.shape)}")
    return _fold(x, output_size, kernel_size, dilation, padding, stride)


def unfold(x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """Sliding blocks of images (n, c, h, w): (n, c · k, count)."""
    return _unfold(x, kernel_size, dilation, padding, stride)


def _block(size: Any) -> int:
    if not isinstance(size, int) or size < 2:
        raise ValueError(f"`block_size` must be at least 2. Received: block_size={size}")
    return size


def depth_to_space(x: Any, block_size: int, data_format: str = "channels_last") -> Any:
    """Channels laid out as blocks of so many pixels in height and width."""
    b, first = _block(block_size), config.checked_format(data_format) == "channels_first"
    x = G.permute(x, (0, 2, 3, 1)) if first else x
    n, h, w, c = x.shape
    if c % (b * b):
        raise ValueError(f"the {c} channels are no multiple of block_size² = {b * b}")
    y = G.permute(x.reshape(n, h, w, b, b, c // (b * b)), (0, 1, 3, 2, 4, 5)).reshape(n, h * b, w * b, c // (b * b))
    return G.permute(y, (0, 3, 1, 2)) if first else y


def space_to_depth(x: Any, block_size: int, data_format: str = "channels_last") -> Any:
    """Blocks of pixels laid out as channels."""
    b, first = _block(block_size), config.checked_format(data_format) == "channels_first"
    x = G.permute(x, (0, 2, 3, 1)) if first else x
    n, h, w, c = x.shape
    if h % b or w % b:
        raise ValueError(f"height {h} and width {w} must be multiples of block_size {b}")
    y = G.permute(x.reshape(n, h // b, b, w // b, b, c), (0, 1, 3, 2, 4, 5)).reshape(n, h // b, w // b, b * b * c)
    return G.permute(y, (0, 3, 1, 2)) if first else y


def psnr(x1: Any, x2: Any, max_val: float) -> Any:
    """Peak signal to noise in decibels, 0-d."""
    a, b = _floated(x1), _floated(as_tensor(x2))
    if tuple(a.shape) != tuple(b.shape):
        raise ValueError(f"Input shapes {tuple(a.shape)} and {tuple(b.shape)} must match for PSNR calculation.")
    axes = tuple(range(a.ndim))
    return 20.0 * math.log10(float(max_val)) - 10.0 * PUBLIC["log10"](G.mean((a - b) ** 2, axes))


def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> Any:
    """Axes split, joined and moved as in "b (h w) c -> b h w c" (einops' notation)."""
    left, arrow, right = pattern.partition("->")
    if not arrow:
        raise ValueError(f"pattern={pattern!r}: expected 'axes -> axes'")

    def groups(side: str) -> list[list[str]]:
        return [m.strip("()").split() for m in re.findall(r"\([^()]*\)|\S+", side)]

    ins, outs = groups(left), groups(right)
    flat_in, flat_out = [a for g in ins for a in g], [a for g in outs for a in g]
    if sorted(a for a in flat_in if a != "1") != sorted(a for a in flat_out if a != "1"):
        raise ValueError(f"pattern={pattern!r}: both sides must name the same axes")
    if len(ins) != tensor.ndim:
        raise ValueError(f"pattern={pattern!r} has {len(ins)} axes, the tensor {tensor.ndim}")
    sizes = dict(axes_lengths)
    for group, size in zip(ins, tensor.shape, strict=True):
        open_ones = [a for a in group if a not in sizes and a != "1"]
        known = math.prod(sizes[a] for a in group if a in sizes)
        if len(open_ones) > 1 or (open_ones and size % known) or (not open_ones and known != size):
            raise ValueError(f"pattern={pattern!r}: {' '.join(group) or '()'} does not go with a size of {size}")
        if open_ones:
            sizes[open_ones[0]] = size // known
    named = [a for a in flat_in if a != "1"]
    x = tensor.reshape(*(sizes[a] for a in named))
    x = G.permute(x, tuple(named.index(a) for a in flat_out if a != "1"))
    return x.reshape(*(math.prod(sizes.get(a, 1) for a in g) for g in outs))


# -- alignment in time -----------------------------------------------------------------------------------------------


def ctc_loss(target: Any, output: Any, target_length: Any, output_length: Any, mask_index: int = 0) -> Any:
    """Minus the log-likelihood of labels (n, l) under scores (n, t, classes), (n,); Graves et al. 2006.

    A row whose labels no path spells costs 1e5, and has no gradient.
    """
    y, p = as_tensor(target), _floated(as_tensor(output))
    if y.ndim != 2 or p.ndim != 3:
        raise ValueError(f"ctc_loss: expected target (batch, labels) and output (batch, time, classes). Received: "
                         f"{tuple(y.shape)} and {tuple(p.shape)}")  # fmt: skip
    p = p.to(dtypes.float32) if p.dtype.itemsize < 4 else p
    log_p = G.permute(G.log_softmax(p, -1), (1, 0, 2))
    lengths = [as_tensor(n).to(dtypes.int64) for n in (output_length, target_length)]
    # what stands behind the labels is not looked at, but must be a label
    behind = G.arange(y.shape[1]) >= lengths[1].unsqueeze(1)
    y = G.where(behind, G.full_like(y, 1 if mask_index == 0 else 0), y).to(dtypes.int64)
    found = _ctc_loss(log_p, y, lengths[0], lengths[1], blank=mask_index, reduction="none", zero_infinity=True)
    needed = _needed(y, lengths[1])
    return G.where(needed <= lengths[0], found, G.full_like(found, IMPOSSIBLE))


def _needed(y: Tensor, lengths: Tensor) -> Tensor:
    """Frames that labels need: one each, and a blank between equal ones."""
    if y.shape[1] < 2:
        return lengths
    inside = G.arange(1, y.shape[1]) < lengths.unsqueeze(1)
    return lengths + G.sum(G.logical_and(y[:, 1:] == y[:, :-1], inside).to(dtypes.int64), -1)


def ctc_decode(
    inputs: Any, sequence_lengths: Any, strategy: str = "greedy", beam_width: int = 100, top_paths: int = 1,
    merge_repeated: bool = True, mask_index: int = 0,
) -> Any:  # fmt: skip
    """Labels (paths, n, t), -1 behind their ends, and scores: for "greedy" minus the best scores' sum, (n, 1); for
    "beam_search" the paths' log-probabilities, (n, paths).
    """
    x, lengths = _floated(as_tensor(inputs)), as_tensor(sequence_lengths).to(dtypes.int64)
    x = x.to(dtypes.float32) if x.dtype.itemsize < 4 else x
    if strategy == "greedy":
        return _greedy(x, lengths, merge_repeated, mask_index)
    if strategy != "beam_search":
        raise ValueError(f"Invalid strategy {strategy}. Supported values are 'greedy' and 'beam_search'.")
    rows = G.log_softmax(x, -1).detach().numpy().astype(np.float64)
    labels = np.full((top_paths, *x.shape[:2]), -1, np.int32)
    scores = np.full((x.shape[0], top_paths), -np.inf)
    for n, count in enumerate(lengths.detach().numpy().tolist()):
        for k, (path, score) in enumerate(_beams(rows[n, :count], mask_index, beam_width)[:top_paths]):
            labels[k, n, : len(path)] = path
            scores[n, k] = score
    return from_numpy(labels), from_numpy(scores.astype(x.dtype.numpy))


def _greedy(x: Tensor, lengths: Tensor, merge: bool, blank: int) -> tuple[Tensor, Tensor]:
    steps = x.shape[1]
    best, top = PUBLIC["argmax"](x, -1), G.amax(x, -1)
    behind = G.arange(steps) >= lengths.unsqueeze(1)
    best, top = G.where(behind, G.full_like(best, blank), best), G.where(behind, G.zeros_like(top), top)
    drop = best == blank
    if merge and steps > 1:
        same = G.cat([G.zeros((x.shape[0], 1), dtype=dtypes.bool_), best[:, 1:] == best[:, :-1]], 1)
        drop = G.logical_or(drop, same)
    order = PUBLIC["argsort"](G.where(drop, G.full_like(best, steps), G.arange(steps)), -1, stable=True)
    kept = PUBLIC["take_along_dim"](G.where(drop, G.full_like(best, -1), best), order, 1)
    return kept.to(dtypes.int32).unsqueeze(0), -G.sum(top, 1).unsqueeze(1)


def _beams(row: np.ndarray, blank: int, width: int) -> list[tuple[tuple[int, ...], float]]:
    """The likeliest labellings of log-probabilities (t, classes), each with its own (Graves 2012, section 7.5.3)."""
    none = -np.inf
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, none)}  # paths that end with a blank, with a label
    for frame in row:
        found: dict[tuple[int, ...], list[float]] = {}

        def add(prefix: tuple[int, ...], k: int, score: float, found: Any = found) -> None:
            entry = found.setdefault(prefix, [none, none])
            entry[k] = float(np.logaddexp(entry[k], score))

        for prefix, (empty, label) in beams.items():
            both = float(np.logaddexp(empty, label))
            add(prefix, 0, both + frame[blank])
            for k, score in enumerate(frame):
                if k == blank:
                    continue
                if prefix and prefix[-1] == k:  # again without a blank: the same label
                    add(prefix, 1, label + score)
                    add((*prefix, k), 1, empty + score)
                else:
                    add((*prefix, k), 1, both + score)
        best = sorted(found.items(), key=lambda e: -np.logaddexp(e[1][0], e[1][1]))[:width]
        beams = {prefix: (a, b) for prefix, (a, b) in best}
    ranked = [(prefix, float(np.logaddexp(a, b))) for prefix, (a, b) in beams.items()]
    return sorted(ranked, key=lambda e: -e[1])


for _fn in (
    batch_normalization, layer_normalization, rms_normalization, adaptive_average_pool, adaptive_max_pool, fold, unfold,
    depth_to_space, space_to_depth, psnr, rearrange,
):  # fmt: skip
    TABLE[_fn.__name__] = operation(_fn)
TABLE |= {"dot_product_attention": _of_list(dot_product_attention), "ctc_loss": _of_list(ctc_loss),
          "ctc_decode": _of_list(ctc_decode)}  # fmt: skip

__all__ = ["TABLE"]
