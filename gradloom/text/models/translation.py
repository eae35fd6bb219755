"""The Transformer for translation (Vaswani et al. 2017): embeddings, positions, encoder, decoder."""

from __future__ import annotations

import math

from gradloom import functions as G
from gradloom.errors import ArgumentError
from gradloom.nn import functional as F
from gradloom.nn.dropout import Dropout
from gradloom.nn.linear import Linear
from gradloom.nn.module import Module
from gradloom.nn.sparse import Embedding
from gradloom.nn.transformer import Transformer
from gradloom.tensor import Tensor
from gradloom.text.models.shared import drawn
from gradloom.text.positions import SinusoidalPositions

__all__ = ["TranslationTransformer"]


class _Decoding:
    """An encoded source and the target so far, in a buffer whose length does not change."""

    def __init__(self, memory: Tensor, hidden: Tensor, target: Tensor) -> None:
        self.memory, self.hidden, self.target, self.length = memory, hidden, target, 0
        for x in (memory, hidden, target):
            x.numpy()

    def reorder(self, rows: Tensor) -> None:
        """Take rows of the batch."""
        self.memory, self.hidden, self.target = (
            G.index_select(x, 0, rows) for x in (self.memory, self.hidden, self.target)
        )


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
    def start(self, tokens: Tensor, capacity: int, source: Tensor | None = None) -> tuple[_Decoding, Tensor]:
        """What decodes a source (batch, S), given the target's first tokens; and the logits of what comes next."""
        if source is None:
            raise ArgumentError("TranslationTransformer: decoding needs a source", hint="generate(…, source=ids)")
        memory, hidden = self.encode(source)
        if memory.shape[0] != tokens.shape[0]:
            times = tokens.shape[0] // memory.shape[0]
            rows = G.reshape(G.broadcast_to(G.unsqueeze(G.arange(memory.shape[0]), 1), (memory.shape[0], times)), (-1,))
            memory, hidden = G.index_select(memory, 0, rows), G.index_select(hidden, 0, rows)
        state = _Decoding(memory, hidden, G.full((tokens.shape[0], capacity), self.pad_id, dtype=tokens.dtype))
        return state, self.next(state, tokens)

    def next(self, state: _Decoding, tokens: Tensor) -> Tensor:
        """Logits (batch, target_vocab) of what comes behind these tokens (batch, count).

        What is behind them in the buffer is not seen, so every step is the same program.
        """
        count = tokens.shape[1]
        places = G.arange(count) + state.length
        state.target.index_copy_(1, places, tokens)  # type: ignore[attr-defined]
        state.length += count
        logits = self.decode(state.target, state.memory, state.hidden)
        return G.squeeze(G.index_select(logits, 1, places[-1:]), 1)
