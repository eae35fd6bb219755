"""Convolutions over time and recurrent layers for CTC, in the manner of Deep Speech 2 (Amodei et al. 2016)."""

from __future__ import annotations

from typing import Any, NamedTuple

from gradloom import functions as G
from gradloom.audio.models.lengths import features_of, present, reversed_rows, strided
from gradloom.errors import ArgumentError, ShapeError, StateError
from gradloom.nn import functional as F
from gradloom.nn.containers import ModuleList
from gradloom.nn.convolution import Conv1d
from gradloom.nn.dropout import Dropout
from gradloom.nn.linear import Linear
from gradloom.nn.module import Module
from gradloom.nn.norm import LayerNorm
from gradloom.nn.recurrent import GRU, LSTM
from gradloom.tensor import Tensor

__all__ = ["DeepSpeech2", "SpeechState"]


class SpeechState(NamedTuple):
    """What a stream goes on from: the last frames before each convolution, and each layer's state."""

    frames: list[Tensor]
    states: list[Any]


class _Directions(Module):
    """A recurrent layer forward and, where asked for, one backward, joined; padding comes behind in both."""

    def __init__(self, cell: type[LSTM] | type[GRU], width: int, hidden: int, both: bool) -> None:
        super().__init__()
        self.norm = LayerNorm(width)
        self.forth = cell(width, hidden, batch_first=True)
        self.back = cell(width, hidden, batch_first=True) if both else None

    def forward(self, x: Tensor, lengths: Tensor | None, state: Any = None) -> tuple[Tensor, Any]:
        x = self.norm(x)
        y, state = self.forth(x, state)
        if self.back is None:
            return y, state
        z, _ = self.back(reversed_rows(x, lengths))
        return G.cat([y, reversed_rows(z, lengths)], 2), state


class DeepSpeech2(Module):
    """Features (batch, time, n_features) to log-probabilities (batch, frames, n_classes) for CTC; class 0 is the blank.

    Differs from the paper in that convolutions run over time alone, all bands being channels, and that layers
    normalise their inputs by layer instead of by batch.

    Parameters
    ----------
    n_features, n_classes : bands of a frame; labels and the blank.
    hidden, layers : units of a direction, and recurrent layers.
    cell : "lstm" or "gru".
    bidirectional : False makes a model that looks at nothing ahead, and that :meth:`stream` can run on pieces.
    stride : frames of the input for one of the output; the first convolution's.
    kernel : width of both convolutions.
    dropout : between layers.
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        hidden: int = 256,
        layers: int = 3,
        cell: str = "lstm",
        bidirectional: bool = True,
        stride: int = 3,
        kernel: int = 11,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if cell not in ("lstm", "gru"):
            raise ArgumentError(f"DeepSpeech2: cell is {cell!r}", hint='"lstm" or "gru"')
        if kernel < stride or stride < 1 or layers < 1:
            raise ArgumentError(
                f"DeepSpeech2: kernel {kernel}, stride {stride}, {layers} layers", hint="stride <= kernel"
            )
        self.n_features, self.stride, self.kernel, self.bidirectional = n_features, stride, kernel, bidirectional
        width = 2 * hidden if bidirectional else hidden
        self.convs = ModuleList([Conv1d(n_features, hidden, kernel, stride=stride), Conv1d(hidden, hidden, kernel)])
        kind = LSTM if cell == "lstm" else GRU
        self.layers = ModuleList(
            [_Directions(kind, width if n else hidden, hidden, bidirectional) for n in range(layers)]
        )
        self.dropout = Dropout(dropout)
        self.norm = LayerNorm(width)
        self.out = Linear(width, n_classes)

    def _strides(self) -> tuple[int, int]:
        return self.stride, 1

    def forward(self, x: Tensor, lengths: Any = None) -> tuple[Tensor, Tensor | None]:
        """Log-probabilities and, where lengths (batch,) of the rows are given, theirs.

        What stands behind a row's length has no influence on it.
        """
        n = features_of("DeepSpeech2", x, lengths, self.n_features)
        for conv, stride in zip(self.convs, self._strides(), strict=True):
            if n is not None:
                x = G.where(G.unsqueeze(present(n, x.shape[1]), 2), x, 0.0)
            before = self.kernel // 2 if self.bidirectional else self.kernel - stride
            count = -(-x.shape[1] // stride)
            behind = max(0, (count - 1) * stride + self.kernel - before - x.shape[1])
            y = F.pad(G.permute(x, (0, 2, 1)), (before, behind))
            x = G.permute(G.relu(conv(y))[:, :, :count], (0, 2, 1))
            n = strided(n, stride)
        for layer in self.layers:
            x, _ = layer(self.dropout(x), n)
        return G.log_softmax(self.out(self.norm(x)), -1), n

    def begin(self, batch: int = 1) -> SpeechState:
        """The state before any sound. Raises StateError for a model that looks ahead."""
        if self.bidirectional:
            raise StateError("DeepSpeech2: a bidirectional model hears the end first", hint="bidirectional=False")
        like = self.out.weight
        frames = [
            G.zeros((batch, conv.in_channels, self.kernel - stride), dtype=like.dtype, device=like.device)
            for conv, stride in zip(self.convs, self._strides(), strict=True)
        ]
        return SpeechState(frames, [None] * len(self.layers))

    def stream(self, x: Tensor, state: SpeechState | None = None) -> tuple[Tensor, SpeechState]:
        """Log-probabilities of a piece (batch, time, n_features) and the state to go on from.

        The time is a multiple of the stride. Pieces give what the whole gives.
        """
        features_of("DeepSpeech2", x, None, self.n_features)
        if x.shape[1] % self.stride:
            raise ShapeError(
                f"DeepSpeech2: a piece of {x.shape[1]} frames, expected a multiple of the stride {self.stride}",
                code="shape.audio", hint="keep the rest for the next piece",
            )  # fmt: skip
        state = self.begin(x.shape[0]) if state is None else state
        frames, states = [], []
        for conv, before in zip(self.convs, state.frames, strict=True):
            y = G.cat([before, G.permute(x, (0, 2, 1))], 2)
            frames.append(G.narrow(y, 2, y.shape[2] - before.shape[2], before.shape[2]))
            x = G.permute(G.relu(conv(y)), (0, 2, 1))
        for layer, own in zip(self.layers, state.states, strict=True):
            x, new = layer(x, None, own)
            states.append(new)
        return G.log_softmax(self.out(self.norm(x)), -1), SpeechState(frames, states)
