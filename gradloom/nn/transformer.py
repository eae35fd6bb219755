"""Transformer, its encoder and decoder, and their layers (Vaswani et al. 2017)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from gradloom import functions as G
from gradloom.errors import ArgumentError, ShapeError
from gradloom.nn import functional as F
from gradloom.nn import init
from gradloom.nn.attention import MultiheadAttention
from gradloom.nn.containers import ModuleList
from gradloom.nn.dropout import Dropout
from gradloom.nn.linear import Linear
from gradloom.nn.module import Module
from gradloom.nn.norm import LayerNorm
from gradloom.tensor import Tensor

__all__ = [
    "Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder", "TransformerEncoderLayer",
]  # fmt: skip

Activation = str | Callable[[Tensor], Tensor]


def _activation(given: Activation) -> Callable[[Tensor], Tensor]:
    if not isinstance(given, str):
        return given
    if given not in ("relu", "gelu"):
        raise ArgumentError(f"activation is {given!r}, expected 'relu', 'gelu' or a function of a tensor")
    return F.relu if given == "relu" else F.gelu


class _Layer(Module):
    """What both kinds of layers share: the feed-forward part, and where norms stand."""

    self_attn: MultiheadAttention

    def _feed_forward(self, width: int, inner: int, dropout: float, bias: bool, device: Any, dtype: Any) -> None:
        self.linear1 = Linear(width, inner, bias, device, dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(inner, width, bias, device, dtype)

    def _added(self, x: Tensor, norm: Module, dropout: Module, part: Callable[[Tensor], Tensor]) -> Tensor:
        if self.norm_first:
            return x + dropout(part(norm(x)))
        return norm(x + dropout(part(x)))

    def _inner(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))

    def _attention(
        self, attention: MultiheadAttention, memory: Tensor | None, mask: Tensor | None, padding: Tensor | None,
        causal: bool,
    ) -> Callable[[Tensor], Tensor]:  # fmt: skip
        def attended(x: Tensor) -> Tensor:
            m = x if memory is None else memory
            return attention(
                x, m, m, key_padding_mask=padding, need_weights=False, attn_mask=mask, is_causal=causal
            )[0]  # fmt: skip

        return attended


class TransformerEncoderLayer(_Layer):
    """Attention of a sequence to itself, and a feed-forward part.

    Parameters
    ----------
    d_model, nhead : int
        Features of the sequence, and heads of the attentions.
    dim_feedforward : int
        Features between the two products of the feed-forward part.
    dropout : float
        Of attention's probabilities, of the feed-forward part and of what is added to the sequence.
    activation : {"relu", "gelu"} or function
    layer_norm_eps : float
    batch_first : bool
        Whether tensors are (batch, length, features) instead of (length, batch, features).
    norm_first : bool
        Whether norms stand before each part instead of behind each sum (Xiong et al. 2020).
    bias : bool
        Whether products and norms have one.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, device=device, dtype=dtype
        )
        self._feed_forward(d_model, dim_feedforward, dropout, bias, device, dtype)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        self.activation = _activation(activation)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Shape as src; for the masks see :class:`gradloom.nn.MultiheadAttention`."""
        look = self._attention(self.self_attn, None, src_mask, src_key_padding_mask, is_causal)
        x = self._added(src, self.norm1, self.dropout1, look)
        return self._added(x, self.norm2, self.dropout2, self._inner)


class TransformerDecoderLayer(_Layer):
    """Attention of a sequence to itself, then to an encoder's result, and a feed-forward part.

    Parameters: as of :class:`TransformerEncoderLayer`.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, device=device, dtype=dtype
        )
        self.multihead_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, device=device, dtype=dtype
        )
        self._feed_forward(d_model, dim_feedforward, dropout, bias, device, dtype)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
        self.norm3 = LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
        self.dropout1, self.dropout2, self.dropout3 = Dropout(dropout), Dropout(dropout), Dropout(dropout)
        self.activation = _activation(activation)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Shape as tgt. memory: what the encoder gave; for the masks see :class:`gradloom.nn.MultiheadAttention`."""
        look = self._attention(self.self_attn, None, tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        across = self._attention(self.multihead_attn, memory, memory_mask, memory_key_padding_mask, memory_is_causal)
        x = self._added(tgt, self.norm1, self.dropout1, look)
        x = self._added(x, self.norm2, self.dropout2, across)
        return self._added(x, self.norm3, self.dropout3, self._inner)


def _clones(layer: Module, count: int) -> ModuleList:
    return ModuleList([copy.deepcopy(layer) for _ in range(count)])


class TransformerEncoder(Module):
    """Copies of a layer one after the other, then a norm if given.

    enable_nested_tensor, mask_check: of PyTorch's quick path for padded batches; there is one path here, so they change
    nothing.
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = _clones(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm
        self.enable_nested_tensor, self.mask_check = enable_nested_tensor, mask_check

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """Shape as src. is_causal: a hint that the mask is the causal one; None: it is not looked at."""
        for layer in self.layers:
            src = layer(
                src, src_mask=mask, src_key_padding_mask=src_key_padding_mask, is_causal=bool(is_causal)
            )  # fmt: skip
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """Copies of a layer one after the other, then a norm if given."""

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _clones(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Shape as tgt. The hints as in :class:`TransformerEncoder`."""
        for layer in self.layers:
            tgt = layer(
                tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )  # fmt: skip
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """Encoder and decoder (Vaswani et al. 2017), without embeddings and without the last product.

    Parameters
    ----------
    d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias
        See :class:`TransformerEncoderLayer`.
    num_encoder_layers, num_decoder_layers : int
    custom_encoder, custom_decoder : Module
        Instead of the usual ones.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        custom_encoder: Any = None,
        custom_decoder: Any = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        given = (
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias,
            device, dtype,
        )  # fmt: skip

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)

        self.encoder = custom_encoder
        if custom_encoder is None:
            self.encoder = TransformerEncoder(TransformerEncoderLayer(*given), num_encoder_layers, norm())
        self.decoder = custom_decoder
        if custom_decoder is None:
            self.decoder = TransformerDecoder(TransformerDecoderLayer(*given), num_decoder_layers, norm())
        self._reset_parameters()
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def _reset_parameters(self) -> None:
        for p in self.parameters():
            if p.ndim > 1:
                init.xavier_uniform_(p)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Shape as tgt: (T, N, d_model), N first if batch_first, or without N.

        Raises ShapeError where batches differ, or features are not d_model.
        """
        a, b = tuple(src.shape), tuple(tgt.shape)
        axis = 0 if self.batch_first else 1
        if len(a) == len(b) == 3 and a[axis] != b[axis]:
            raise ShapeError(f"Transformer: src {a} and tgt {b} differ in their batch", code="shape.transformer")
        if a[-1] != self.d_model or b[-1] != self.d_model:
            raise ShapeError(
                f"Transformer: src {a} and tgt {b} must have d_model = {self.d_model} features",
                code="shape.transformer", hint="the features are the last axis",
            )  # fmt: skip
        memory = self.encoder(
            src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal
        )  # fmt: skip
        return self.decoder(
            tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """(sz, sz): minus infinity above the diagonal, else 0."""
        full = G.full((sz, sz), -math.inf, device=device, dtype=dtype)
        return G.PUBLIC["triu"](full, 1)
