"""A classifier of texts: embedding, LSTM, a linear layer on its last states."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.errors import ArgumentError, ShapeError
from gradloom.nn.dropout import Dropout
from gradloom.nn.linear import Linear
from gradloom.nn.module import Module
from gradloom.nn.recurrent import LSTM
from gradloom.nn.sparse import Embedding
from gradloom.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from gradloom.tensor import Tensor, tensor
from gradloom.text.models.sentence import pooled

__all__ = ["LSTMClassifier"]


class LSTMClassifier(Module):
    """Token ids (batch, length) to logits (batch, classes).

    Parameters
    ----------
    vocab_size, embed_dim, hidden_size, num_classes, num_layers : int
    bidirectional : bool
    dropout : float
        Between layers, on the embedding and before the last layer.
    pad_id : int
        Fills sequences at the right.
    pooling : "last", "mean" or "max"
        The last state of each direction, or the mean or the greatest of all states.
    """

    def __init__(
        self, vocab_size: int, embed_dim: int = 128, hidden_size: int = 128, num_classes: int = 2, num_layers: int = 1,
        bidirectional: bool = False, dropout: float = 0.0, pad_id: int = 0, pooling: str = "last",
    ) -> None:  # fmt: skip
        super().__init__()
        if pooling not in ("last", "mean", "max"):
            raise ArgumentError(f"LSTMClassifier: pooling is {pooling!r}, expected 'last', 'mean' or 'max'")
        self.pad_id, self.pooling = pad_id, pooling
        self.embedding = Embedding(vocab_size, embed_dim, padding_idx=pad_id)
        self.lstm = LSTM(
            embed_dim, hidden_size, num_layers, batch_first=True, bidirectional=bidirectional,
            dropout=dropout if num_layers > 1 else 0.0,
        )  # fmt: skip
        self.dropout = Dropout(dropout)
        self.head = Linear(hidden_size * (2 if bidirectional else 1), num_classes)

    def forward(self, ids: Tensor, lengths: Any = None) -> Tensor:
        """Logits; lengths (batch,): how many tokens of each row count, all unless given.

        Raises ShapeError for a row without tokens, or with more than there are.
        """
        x = self.dropout(self.embedding(ids))
        if lengths is None:
            states, (last, _) = self.lstm(x)
            seen = G.full(tuple(ids.shape), True, dtype=dtypes.bool_)
        else:
            counts = np.asarray(lengths.numpy() if isinstance(lengths, Tensor) else lengths)
            wrong = np.flatnonzero((counts < 1) | (counts > ids.shape[1]))
            if counts.shape != (ids.shape[0],) or len(wrong):
                what = f"row {wrong[0]} has {counts[wrong[0]]} tokens" if len(wrong) else f"lengths of {counts.shape}"
                raise ShapeError(
                    f"LSTMClassifier: {what}, ids are of shape {tuple(ids.shape)}", code="shape.lengths",
                    hint=f"one length for each row, from 1 to {ids.shape[1]}",
                )  # fmt: skip
            packed, (last, _) = self.lstm(
                pack_padded_sequence(x, tensor(counts), batch_first=True, enforce_sorted=False)
            )
            states, _ = pad_packed_sequence(packed, batch_first=True, total_length=ids.shape[1])
            seen = G.arange(ids.shape[1]) < G.unsqueeze(tensor(counts), 1)
        if self.pooling == "last":
            both = 2 if self.lstm.bidirectional else 1
            y = G.cat([last[n - both] for n in range(both)], -1)
        else:
            y = pooled(states, seen, self.pooling)
        return self.head(self.dropout(y))
