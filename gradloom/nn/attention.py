"""MultiheadAttention; and PyTorch's choice among kernels for attention."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from gradloom import functions as G
from gradloom.errors import ArgumentError, SizesError
from gradloom.nn import functional as F
from gradloom.nn import init
from gradloom.nn.linear import NonDynamicallyQuantizableLinear
from gradloom.nn.module import Module, Parameter
from gradloom.tensor import Tensor

__all__ = ["MultiheadAttention", "SDPBackend", "sdpa_kernel"]


class SDPBackend(enum.IntEnum):
    """Kernels that PyTorch knows for attention, by its numbers."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextmanager
def sdpa_kernel(backends: SDPBackend | Iterable[SDPBackend], set_priority: bool = False) -> Iterator[None]:
    """A with block, or a decorator, that allows these kernels for attention.

    The kernel is compiled for the program whatever they are: each of them means the same numbers. Raises ArgumentError
    where none is given, or what is none of :class:`SDPBackend`.
    """
    chosen = [backends] if isinstance(backends, SDPBackend) else list(backends)
    if not chosen or not all(isinstance(b, SDPBackend) for b in chosen):
        raise ArgumentError(f"sdpa_kernel: expected some of SDPBackend, got {backends!r}")
    yield


class MultiheadAttention(Module):
    """Attention of several heads between projections (Vaswani et al. 2017).

    Parameters
    ----------
    embed_dim, num_heads : int
        Features of the queries and the result, and how many heads share them.
    dropout : float
        Probability with which probabilities are zeroed while training.
    bias : bool
        Whether the projections have one.
    add_bias_kv, add_zero_attn : bool
        Whether one more key and value are learned, or are zeros.
    kdim, vdim : int
        Features of keys and values; embed_dim unless given.
    batch_first : bool
        Whether tensors are (batch, length, features) instead of (length, batch, features).

    Attributes
    ----------
    in_proj_weight (3·embed_dim, embed_dim), or q_proj_weight, k_proj_weight, v_proj_weight where kdim or vdim differ;
    in_proj_bias (3·embed_dim,); bias_k, bias_v (1, 1, embed_dim); out_proj : Linear
    """

    in_proj_weight: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if embed_dim <= 0 or num_heads <= 0:
            raise ArgumentError(
                f"MultiheadAttention: embed_dim {embed_dim} and num_heads {num_heads} must be greater than 0"
            )
        if embed_dim % num_heads:
            raise SizesError(
                f"MultiheadAttention: embed_dim {embed_dim} must be divisible by num_heads {num_heads}",
                hint="each head gets embed_dim / num_heads features",
            )
        super().__init__()
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == self.vdim == embed_dim
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        same = self._qkv_same_embed_dim

        def new(there: bool, *shape: int) -> Parameter | None:
            return Parameter(G.empty(shape, device=device, dtype=dtype)) if there else None

        shapes = {"q_proj_weight": embed_dim, "k_proj_weight": self.kdim, "v_proj_weight": self.vdim}
        if same:
            self.register_parameter("in_proj_weight", new(True, 3 * embed_dim, embed_dim))
        for name, width in shapes.items():
            self.register_parameter(name, new(not same, embed_dim, width))
        if not same:
            self.register_parameter("in_proj_weight", None)
        self.register_parameter("in_proj_bias", new(bias, 3 * embed_dim))
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias, device, dtype)
        self.register_parameter("bias_k", new(add_bias_kv, 1, 1, embed_dim))
        self.register_parameter("bias_v", new(add_bias_kv, 1, 1, embed_dim))
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for w in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if w is not None:
                init.xavier_uniform_(w)
        if self.in_proj_bias is not None and self.out_proj.bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for b in (self.bias_k, self.bias_v):
            if b is not None:
                init.xavier_normal_(b)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Result (L, N, embed_dim) and, with need_weights, probabilities (N, L, S), or (N, num_heads, L, S) for each.

        query (L, N, embed_dim), key (S, N, kdim), value (S, N, vdim); N first if batch_first; or all without N. For
        masks see :func:`gradloom.nn.functional.multi_head_attention_forward`. need_weights=False is quicker, and its
        memory does not grow with the square of the length.
        """
        turn = self.batch_first and query.ndim == 3
        if turn:
            same = query is key, key is value
            query = G.transpose(query, 0, 1)
            key = query if same[0] else G.transpose(key, 0, 1)
            value = key if same[1] else G.transpose(value, 0, 1)
        out, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias, self.bias_k,
            self.bias_v, self.add_zero_attn, self.dropout, self.out_proj.weight, self.out_proj.bias, self.training,
            key_padding_mask, need_weights, attn_mask, not self._qkv_same_embed_dim, self.q_proj_weight,
            self.k_proj_weight, self.v_proj_weight, average_attn_weights=average_attn_weights, is_causal=is_causal,
        )  # fmt: skip
        return (G.transpose(out, 0, 1) if turn else out), weights

    def merge_masks(
        self, attn_mask: Tensor | None, key_padding_mask: Tensor | None, query: Tensor
    ) -> tuple[Tensor | None, int | None]:
        """Both masks as one of shape (N, num_heads, L, S), and 2; or the padding mask and 1, or None and None.

        query: (N, L, embed_dim).
        """
        if attn_mask is None:
            return key_padding_mask, None if key_padding_mask is None else 1
        batch, length = query.shape[:2]
        m = G.reshape(attn_mask, (batch, -1, *attn_mask.shape[-2:])) if attn_mask.ndim == 3 else attn_mask
        m = G.broadcast_to(m, (batch, self.num_heads, *attn_mask.shape[-2:]))
        if key_padding_mask is not None:
            m = m + G.broadcast_to(
                G.reshape(key_padding_mask, (batch, 1, 1, length)), (batch, self.num_heads, 1, length)
            )
        return m, 2
