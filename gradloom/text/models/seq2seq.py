"""A recurrent encoder and decoder with attention: of Bahdanau et al. 2015, or of Luong et al. 2015."""

from __future__ import annotations

import numpy as np

from gradloom import functions as G
from gradloom.autodiff.control import scan
from gradloom.errors import ArgumentError, ShapeError
from gradloom.nn import functional as F
from gradloom.nn.dropout import Dropout
from gradloom.nn.linear import Linear
from gradloom.nn.module import Module
from gradloom.nn.recurrent import GRU
from gradloom.nn.recurrent_cells import GRUCell
from gradloom.nn.sparse import Embedding
from gradloom.tensor import Tensor, tensor

__all__ = ["Seq2Seq"]


class _State:
    """The encoded source, its mask, and the decoder's state."""

    def __init__(self, memory: Tensor, keys: Tensor, seen: Tensor, hidden: Tensor) -> None:
        self.memory, self.keys, self.seen, self.hidden = memory, keys, seen, hidden

    def reorder(self, rows: Tensor) -> None:
        """Take rows of the batch."""
        parts = (self.memory, self.keys, self.seen, self.hidden)
        self.memory, self.keys, self.seen, self.hidden = (G.index_select(x, 0, rows) for x in parts)


class Seq2Seq(Module):
    """Source ids (batch, S) and target ids (batch, T) to logits (batch, T, target_vocab) of the token behind each.

    Parameters
    ----------
    source_vocab, target_vocab, embed_dim, hidden_size : int
    attention : "bahdanau" or "luong"
        Additive, with what is found going into the decoder's step; or multiplicative ("general"), behind it.
    dropout : float
        On embeddings and before the last layer.
    pad_id : int
        Fills sequences at the right; in the source it is not looked at.
    """

    def __init__(
        self, source_vocab: int, target_vocab: int, embed_dim: int = 256, hidden_size: int = 256,
        attention: str = "bahdanau", dropout: float = 0.1, pad_id: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        if attention not in ("bahdanau", "luong"):
            raise ArgumentError(f"Seq2Seq: attention is {attention!r}, expected 'bahdanau' or 'luong'")
        self.attention, self.pad_id = attention, pad_id
        additive = attention == "bahdanau"
        self.source = Embedding(source_vocab, embed_dim, padding_idx=pad_id)
        self.target = Embedding(target_vocab, embed_dim, padding_idx=pad_id)
        self.dropout = Dropout(dropout)
        self.forwards = GRU(embed_dim, hidden_size, batch_first=True)
        self.backwards = GRU(embed_dim, hidden_size, batch_first=True)
        self.bridge = Linear(2 * hidden_size, hidden_size)
        self.keys = Linear(2 * hidden_size, hidden_size, bias=False)
        self.cell = GRUCell(embed_dim + (2 * hidden_size if additive else 0), hidden_size)
        if additive:
            self.query = Linear(hidden_size, hidden_size)
            self.score = Linear(hidden_size, 1, bias=False)
        self.joined = Linear(3 * hidden_size, hidden_size)
        self.output = Linear(hidden_size, target_vocab)

    def encode(self, source: Tensor) -> _State:
        """States of both directions (batch, S, 2 hidden_size), their keys, and the decoder's first state."""
        seen = G.ne(source, self.pad_id)
        count = G.sum(G.cast(seen, source.dtype), 1)
        # position t of the reversed row; padding stays behind the tokens
        at = G.arange(source.shape[1])
        back = G.where(at < G.unsqueeze(count, 1), G.unsqueeze(count, 1) - 1 - at, at)
        x = self.dropout(self.source(source))
        turned = G.PUBLIC["take_along_dim"](x, G.unsqueeze(back, 2), 1)
        ahead, behind = self.forwards(x)[0], self.backwards(turned)[0]
        memory = G.cat([ahead, G.PUBLIC["take_along_dim"](behind, G.unsqueeze(back, 2), 1)], 2)
        last = G.reshape(G.clamp(count - 1, 0), (-1, 1, 1))
        ends = [G.squeeze(G.PUBLIC["take_along_dim"](y, last, 1), 1) for y in (ahead, behind)]
        return _State(memory, self.keys(memory), seen, G.tanh(self.bridge(G.cat(ends, 1))))

    def _found(self, state: _State, hidden: Tensor) -> Tensor:
        """What a state (batch, hidden_size) finds in the source, (batch, 2 hidden_size)."""
        if self.attention == "bahdanau":
            scores = G.squeeze(self.score(G.tanh(state.keys + G.unsqueeze(self.query(hidden), 1))), 2)
        else:
            scores = G.squeeze(G.matmul(state.keys, G.unsqueeze(hidden, 2)), 2)
        shares = G.softmax(G.where(state.seen, scores, -1e9), 1)  # a row of padding alone gives their mean
        return G.squeeze(G.matmul(G.unsqueeze(shares, 1), state.memory), 1)

    def _step(self, state: _State, hidden: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The next state, and what the last layer is given, of an embedded token (batch, embed_dim)."""
        if self.attention == "bahdanau":
            found = self._found(state, hidden)
            hidden = self.cell(G.cat([x, found], 1), hidden)
        else:
            hidden = self.cell(x, hidden)
            found = self._found(state, hidden)
        return hidden, G.tanh(self.joined(G.cat([hidden, found], 1)))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits (batch, T, target_vocab): the decoder is one scan over the target."""
        if source.ndim != 2 or target.ndim != 2 or source.shape[0] != target.shape[0]:
            raise ShapeError(
                f"Seq2Seq: source {tuple(source.shape)} and target {tuple(target.shape)}", code="shape.seq2seq",
                hint="(batch, S) and (batch, T)",
            )  # fmt: skip
        state = self.encode(source)
        x = G.transpose(self.dropout(self.target(target)), 0, 1)
        _, ys = scan(lambda hidden, x: self._step(state, hidden, x), state.hidden, x)
        return self.output(self.dropout(G.transpose(ys, 0, 1)))

    def loss(self, source: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross entropy of target[:, 1:] given what is before, padding left out."""
        logits = self(source, target[:, :-1])
        return F.cross_entropy(
            G.reshape(logits, (-1, logits.shape[-1])), G.reshape(target[:, 1:], (-1,)), ignore_index=self.pad_id,
            label_smoothing=label_smoothing,
        )  # fmt: skip

    # -- decoding -------------------------------------------------------------------------------------------
    def start(self, tokens: Tensor, capacity: int, source: Tensor | None = None) -> tuple[_State, Tensor]:
        """What decodes a source (batch, S), given the target's first tokens; and the logits of what comes next."""
        if source is None:
            raise ArgumentError("Seq2Seq: decoding needs a source", hint="generate(…, source=ids)")
        batch = tokens.shape[0]
        if source.ndim != 2 or batch % max(source.shape[0], 1):
            raise ShapeError(
                f"Seq2Seq: a source of shape {tuple(source.shape)} for {batch} rows", code="shape.seq2seq",
                hint="(batch, S): one row for each prompt",
            )  # fmt: skip
        state = self.encode(source)
        if source.shape[0] != batch:  # beams
            state.reorder(tensor(np.arange(batch) // (batch // source.shape[0])))
        return state, self.next(state, tokens)

    def next(self, state: _State, tokens: Tensor) -> Tensor:
        """Logits (batch, target_vocab) of what comes behind these tokens (batch, count)."""
        x = self.target(tokens)
        for n in range(tokens.shape[1]):
            state.hidden, y = self._step(state, state.hidden, x[:, n])
        return self.output(y)
