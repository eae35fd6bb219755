"""The Transformer for translation (Vaswani et al. 2017): embeddings, positions, encoder, decoder."""

from __future__ import annotations

import math

import numpy as np

from gradloom import functions as G
from gradloom.errors import ArgumentError, ShapeError
from gradloom.nn import functional as F
from gradloom.nn.attention import MultiheadAttention
from gradloom.nn.dropout import Dropout
from gradloom.nn.linear import Linear
from gradloom.nn.module import Module
from gradloom.nn.sparse import Embedding
from gradloom.nn.transformer import Transformer, TransformerDecoderLayer
from gradloom.tensor import Tensor, tensor
from gradloom.text.cache import KeyValueCache, room
from gradloom.text.models.shared import drawn
from gradloom.text.positions import SinusoidalPositions

__all__ = ["TranslationTransformer"]


class _Decoding:
    """An encoded source, as keys and values of each layer, and a cache of the target so far."""

    def __init__(self, sources: list[tuple[Tensor, Tensor]], seen: Tensor, cache: KeyValueCache) -> None:
        self.sources, self.seen, self.cache = sources, seen, cache
        for x in (seen, *(y for pair in sources for y in pair)):
            x.numpy()  # computed once

    def reorder(self, rows: Tensor) -> None:
        """Take rows of the batch."""
        self.cache.reorder(rows)
        self.seen = G.index_select(self.seen, 0, rows)
        self.sources = [(G.index_select(k, 0, rows), G.index_select(v, 0, rows)) for k, v in self.sources]


def _projected(attention: MultiheadAttention, x: Tensor, first: int, count: int) -> list[Tensor]:
    """Some of queries, keys and values (0, 1, 2) of x (batch, length, width) by heads: (batch, heads, length, each)."""
    width = attention.embed_dim
    assert attention.in_proj_weight is not None
    weight = G.narrow(attention.in_proj_weight, 0, first * width, count * width)
    bias = None if attention.in_proj_bias is None else G.narrow(attention.in_proj_bias, 0, first * width, count * width)
    shape = (x.shape[0], x.shape[1], count, attention.num_heads, attention.head_dim)
    y = G.permute(G.reshape(F.linear(x, weight, bias), shape), (2, 0, 3, 1, 4))
    return [G.squeeze(G.narrow(y, 0, n, 1), 0) for n in range(count)]


def _attended(attention: MultiheadAttention, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """What queries by heads find, through the last product: (batch, length, width)."""
    y = G.permute(F.scaled_dot_product_attention(q, k, v, mask), (0, 2, 1, 3))
    return attention.out_proj(G.reshape(y, (y.shape[0], y.shape[1], attention.embed_dim)))


class TranslationTransformer(Module):
    """Source ids (batch, S) and target ids (batch, T) to logits (batch, T, target_vocab).

    Parameters
    ----------
    source_vocab, target_vocab : int
    d_model, nhead, num_encoder_layers, num_decoder_layers, dim_feedforward, dropout, norm_first
        See :class:`gradloom.nn.Transformer`.
    pad_id : int
        The token that fills sequences; it is not looked at.
    max_length : int
        The longest sequence.
    tied : bool
        Whether the target's embedding is the last product's weight, and with equal vocabularies the source's too.
    """

    def __init__(
        self,
        source_vocab: int,
        target_vocab: int,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        norm_first: bool = False,
        pad_id: int = 0,
        max_length: int = 1024,
        tied: bool = True,
    ) -> None:
        super().__init__()
        self.pad_id, self.d_model = pad_id, d_model
        self.source = Embedding(source_vocab, d_model, padding_idx=pad_id)
        self.target = Embedding(target_vocab, d_model, padding_idx=pad_id)
        self.positions = SinusoidalPositions(d_model, max_length)
        self.dropout = Dropout(dropout)
        self.transformer = Transformer(
            d_model, nhead, num_encoder_layers, num_decoder_layers, dim_feedforward, dropout, batch_first=True,
            norm_first=norm_first,
        )  # fmt: skip
        self.output = Linear(d_model, target_vocab, bias=False)
        drawn(self.source, d_model**-0.5)
        drawn(self.target, d_model**-0.5)
        drawn(self.output, d_model**-0.5)
        if tied:
            self.output.weight = self.target.weight
            if source_vocab == target_vocab:
                self.source.weight = self.target.weight

    def _embedded(self, table: Embedding, ids: Tensor) -> Tensor:
        return self.dropout(self.positions(table(ids) * math.sqrt(self.d_model)))

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's result (batch, S, d_model), and where the source is padding (batch, S)."""
        hidden = G.eq(source, self.pad_id)
        return self.transformer.encoder(self._embedded(self.source, source), src_key_padding_mask=hidden), hidden

    def decode(self, target: Tensor, memory: Tensor, hidden: Tensor) -> Tensor:
        """Logits (batch, T, target_vocab) of the token behind each of the target's."""
        n = target.shape[1]
        x = self.transformer.decoder(
            self._embedded(self.target, target), memory, tgt_mask=G.unsqueeze(G.arange(n), 1) < G.arange(n),
            memory_key_padding_mask=hidden,
        )  # fmt: skip
        return self.output(x)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits (batch, T, target_vocab) of the token behind each of the target's."""
        return self.decode(target, *self.encode(source))

    def loss(self, source: Tensor, target: Tensor, label_smoothing: float = 0.1) -> Tensor:
        """Mean cross entropy of target[:, 1:] given what is before, padding left out."""
        logits = self(source, target[:, :-1])
        return F.cross_entropy(
            G.reshape(logits, (-1, logits.shape[-1])), G.reshape(target[:, 1:], (-1,)), ignore_index=self.pad_id,
            label_smoothing=label_smoothing,
        )  # fmt: skip

    # -- decoding -------------------------------------------------------------------------------------------
    def start(
        self, tokens: Tensor, capacity: int, padding: Tensor | None = None, source: Tensor | None = None
    ) -> tuple[_Decoding, Tensor]:
        """What decodes a source (batch, S), given the target's first tokens; and the logits of what comes next.

        padding (batch,): how many of a row's first tokens do not count. The source's keys and values are computed once,
        for sources of a length that is a multiple of 16.
        """
        if source is None:
            raise ArgumentError("TranslationTransformer: decoding needs a source", hint="generate(…, source=ids)")
        batch = tokens.shape[0]
        if source.ndim != 2 or batch % max(source.shape[0], 1):
            raise ShapeError(
                f"TranslationTransformer: a source of shape {tuple(source.shape)} for {batch} rows",
                code="shape.translation", hint="(batch, S): one row for each prompt",
            )  # fmt: skip
        more = -source.shape[1] % 16
        if more and source.shape[1] + more <= self.positions.table.shape[0]:
            source = tensor(np.pad(source.numpy(), ((0, 0), (0, more)), constant_values=self.pad_id))
        memory, hidden = self.encode(source)
        if source.shape[0] != batch:  # beams
            of = tensor(np.arange(batch) // (batch // source.shape[0]))
            memory, hidden = G.index_select(memory, 0, of), G.index_select(hidden, 0, of)
        sources = []
        for layer in self.transformer.decoder.layers:
            k, v = _projected(layer.multihead_attn, memory, 1, 2)
            sources.append((k, v))
        seen = G.logical_not(G.reshape(hidden, (batch, 1, 1, -1)))
        width = self.d_model // self.transformer.nhead
        like = self.output.weight
        cache = KeyValueCache(
            len(sources), batch, self.transformer.nhead, room(capacity), width, like.dtype, like.device, padding
        )
        state = _Decoding(sources, seen, cache)
        return state, self.next(state, tokens)

    def next(self, state: _Decoding, tokens: Tensor) -> Tensor:
        """Logits (batch, target_vocab) of what comes behind these tokens (batch, count)."""
        cache, count = state.cache, tokens.shape[1]
        limit = self.positions.table.shape[0]
        if cache.position + count > limit:
            raise ShapeError(
                f"TranslationTransformer: {cache.position + count} tokens, max_length is {limit}",
                code="shape.positions", hint="fewer new tokens",
            )  # fmt: skip
        places = cache.places(count)
        mask = cache.mask(places)
        x = self.target(tokens) * math.sqrt(self.d_model) + self.positions.table[cache.positions(places)]
        for n, (layer, (keys, values)) in enumerate(zip(self.transformer.decoder.layers, state.sources, strict=True)):

            def within(y: Tensor, layer: TransformerDecoderLayer = layer, n: int = n) -> Tensor:
                q, k, v = _projected(layer.self_attn, y, 0, 3)
                k, v = cache.update(n, places, k, v)
                return _attended(layer.self_attn, q, k, v, mask)

            def across(
                y: Tensor, layer: TransformerDecoderLayer = layer, k: Tensor = keys, v: Tensor = values
            ) -> Tensor:
                (q,) = _projected(layer.multihead_attn, y, 0, 1)
                return _attended(layer.multihead_attn, q, k, v, state.seen)

            x = layer._added(x, layer.norm1, layer.dropout1, within)
            x = layer._added(x, layer.norm2, layer.dropout2, across)
            x = layer._added(x, layer.norm3, layer.dropout3, layer._inner)
        cache.advance(count)
        norm = self.transformer.decoder.norm
        x = x[:, -1]
        return self.output(x if norm is None else norm(x))
