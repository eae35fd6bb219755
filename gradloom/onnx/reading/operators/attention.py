"""Attention in one kernel, where the node asks for nothing that needs the scores in memory."""

from __future__ import annotations

from typing import Any

import gradloom as gl
from gradloom.onnx.reading.table import Call, op

F = gl.nn.functional


def _heads(x: Any, count: int) -> Any:
    """(batch, length, heads * width) to (batch, heads, length, width)."""
    return x.reshape(*x.shape[:2], count, -1).transpose(1, 2)


@op("Attention", since=23)
def _attention(
    call: Call, q: Any, k: Any, v: Any, mask: Any = None, past_k: Any = None, past_v: Any = None, lengths: Any = None
) -> Any:
    known = {
        "is_causal",
        "kv_num_heads",
        "q_num_heads",
        "qk_matmul_output_mode",
        "scale",
        "softcap",
        "softmax_precision",
    }
    odd = (
        bool(set(call.attributes) - known)
        or call("softcap", 0.0)
        or call("softmax_precision")
        or call.wants(3)
        or lengths is not None
    )
    causal = bool(call("is_causal", 0))
    narrow = mask is not None and (mask.dtype is gl.bool or mask.dtype is not q.dtype or causal)
    if odd or narrow or (causal and past_k is not None) or q.dtype.itemsize < 4:
        return tuple(call.whole())
    flat = q.ndim == 3
    if flat:
        q, k, v = _heads(q, call("q_num_heads")), _heads(k, call("kv_num_heads")), _heads(v, call("kv_num_heads"))
    if past_k is not None:
        k, v = gl.cat([past_k, k], 2), gl.cat([past_v, v], 2)
    if mask is not None and mask.shape[-1] < k.shape[2]:
        mask = F.pad(mask, [0, k.shape[2] - mask.shape[-1]], value=float("-inf"))
    y = F.scaled_dot_product_attention(
        q, k, v, mask, is_causal=causal, scale=call("scale"), enable_gqa=k.shape[1] != q.shape[1]
    )
    if flat:
        y = y.transpose(1, 2).flatten(2)
    return (y, k, v) if call.wants(1) else y
