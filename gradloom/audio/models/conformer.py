"""Conformer (Gulati et al. 2020): attention and convolution over time, between two halves of a feed-forward layer."""

from __future__ import annotations

from typing import Any

from gradloom import functions as G
from gradloom.audio.models.lengths import features_of, present, strided
from gradloom.audio.models.relative import RelativeAttention
from gradloom.errors import ArgumentError
from gradloom.nn import functional as F
from gradloom.nn.activation import GLU, SiLU
from gradloom.nn.attention import MultiheadAttention
from gradloom.nn.containers import ModuleList, Sequential
from gradloom.nn.convolution import Conv1d
from gradloom.nn.dropout import Dropout
from gradloom.nn.linear import Linear
from gradloom.nn.module import Module
from gradloom.nn.norm import BatchNorm1d, GroupNorm, LayerNorm
from gradloom.tensor import Tensor
from gradloom.text.positions import sinusoids

__all__ = ["Conformer", "ConformerCTC"]


class _ConvolutionModule(Module):
    def __init__(self, width: int, kernel: int, dropout: float, use_group_norm: bool) -> None:
        super().__init__()
        self.layer_norm = LayerNorm(width)
        self.sequential = Sequential(
            Conv1d(width, 2 * width, 1),
            GLU(1),
            Conv1d(width, width, kernel, padding=(kernel - 1) // 2, groups=width),
            GroupNorm(1, width) if use_group_norm else BatchNorm1d(width),
            SiLU(),
            Conv1d(width, width, 1),
            Dropout(dropout),
        )

    def forward(self, x: Tensor, there: Tensor | None) -> Tensor:
        """(batch, time, width); there (batch, 1, time): frames that are no padding."""
        y = G.permute(self.layer_norm(x), (0, 2, 1))
        for n, layer in enumerate(self.sequential):
            if n == 2 and there is not None:  # the filter over time is not to see padding
                y = G.where(there, y, 0.0)
            y = layer(y)
        return G.permute(y, (0, 2, 1))


class _FeedForwardModule(Module):
    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.sequential = Sequential(
            LayerNorm(width), Linear(width, inner), SiLU(), Dropout(dropout), Linear(inner, width), Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.sequential(x)


class ConformerLayer(Module):
    """Half a feed-forward layer, attention, convolution, another half, and a norm."""

    def __init__(
        self, input_dim: int, ffn_dim: int, num_attention_heads: int, depthwise_conv_kernel_size: int,
        dropout: float = 0.0, use_group_norm: bool = False, convolution_first: bool = False,
        relative_positions: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if not depthwise_conv_kernel_size % 2:
            raise ArgumentError(
                f"Conformer: depthwise_conv_kernel_size is {depthwise_conv_kernel_size}", hint="an odd number"
            )
        self.ffn1 = _FeedForwardModule(input_dim, ffn_dim, dropout)
        self.self_attn_layer_norm = LayerNorm(input_dim)
        self.self_attn: RelativeAttention | MultiheadAttention
        if relative_positions:
            self.self_attn = RelativeAttention(input_dim, num_attention_heads, dropout)
        else:
            self.self_attn = MultiheadAttention(input_dim, num_attention_heads, dropout=dropout, batch_first=True)
        self.self_attn_dropout = Dropout(dropout)
        self.conv_module = _ConvolutionModule(input_dim, depthwise_conv_kernel_size, dropout, use_group_norm)
        self.ffn2 = _FeedForwardModule(input_dim, ffn_dim, dropout)
        self.final_layer_norm = LayerNorm(input_dim)
        self.convolution_first = convolution_first

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """(batch, time, input_dim), same shape; there (batch, time): frames that are no padding."""
        column = None if there is None else G.unsqueeze(there, 1)
        x = self.ffn1(x) * 0.5 + x
        if self.convolution_first:
            x = x + self.conv_module(x, column)
        y = self.self_attn_layer_norm(x)
        if isinstance(self.self_attn, RelativeAttention):
            y = self.self_attn(y, there)
        else:
            padding = None if there is None else G.logical_not(there)
            y, _ = self.self_attn(y, y, y, key_padding_mask=padding, need_weights=False)
        x = self.self_attn_dropout(y) + x
        if not self.convolution_first:
            x = x + self.conv_module(x, column)
        x = self.ffn2(x) * 0.5 + x
        return self.final_layer_norm(x)


class Conformer(Module):
    """Layers over (batch, time, input_dim), with torchaudio's arguments and names of weights.

    Unlike there, padding has no influence on what stands before it, and attention has the paper's relative positions
    where ``relative_positions`` is true (:class:`~gradloom.audio.models.relative.RelativeAttention`).
    """

    def __init__(
        self, input_dim: int, num_heads: int, ffn_dim: int, num_layers: int, depthwise_conv_kernel_size: int,
        dropout: float = 0.0, use_group_norm: bool = False, convolution_first: bool = False,
        relative_positions: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.input_dim = input_dim
        self.conformer_layers = ModuleList(
            [
                ConformerLayer(
                    input_dim, ffn_dim, num_heads, depthwise_conv_kernel_size, dropout, use_group_norm,
                    convolution_first, relative_positions,
                )
                for _ in range(num_layers)
            ]
        )  # fmt: skip

    def forward(self, input: Tensor, lengths: Any = None) -> tuple[Tensor, Tensor | None]:
        """The same shape, and the lengths; lengths (batch,) count the frames of each row."""
        n = features_of("Conformer", input, lengths, self.input_dim)
        there = None if n is None else present(n, input.shape[1])
        for layer in self.conformer_layers:
            input = layer(input, there)
        return input, n


class ConformerCTC(Module):
    """Features (batch, time, n_features) to log-probabilities (batch, frames, n_classes) for CTC; class 0 is the blank.

    Two convolutions of stride 2 come first, then sinusoidal positions and a :class:`Conformer`; with
    ``relative_positions``, as in the paper, its attention knows distances, and nothing is added. The defaults are the
    paper's small model.
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        width: int = 144,
        heads: int = 4,
        layers: int = 16,
        inner: int | None = None,
        kernel: int = 31,
        dropout: float = 0.1,
        relative_positions: bool = False,
    ) -> None:
        super().__init__()
        self.n_features, self.relative_positions = n_features, relative_positions
        self.subsampling = ModuleList([Conv1d(n_features, width, 3, stride=2), Conv1d(width, width, 3, stride=2)])
        self.dropout = Dropout(dropout)
        self.encoder = Conformer(
            width, heads, inner or 4 * width, layers, kernel, dropout, relative_positions=relative_positions
        )
        self.out = Linear(width, n_classes)

    def forward(self, x: Tensor, lengths: Any = None) -> tuple[Tensor, Tensor | None]:
        """Log-probabilities, (batch, ceil(time / 4), n_classes), and, where lengths (batch,) are given, theirs."""
        n = features_of("ConformerCTC", x, lengths, self.n_features)
        for conv in self.subsampling:
            if n is not None:
                x = G.where(G.unsqueeze(present(n, x.shape[1]), 2), x, 0.0)
            y = F.pad(G.permute(x, (0, 2, 1)), (1, 1))
            x = G.permute(G.relu(conv(y)), (0, 2, 1))
            n = strided(n, 2)
        if not self.relative_positions:
            x = x + G.cast(sinusoids(x.shape[1], x.shape[2]), x.dtype)
        x = self.dropout(x)
        x, n = self.encoder(x, n)
        return G.log_softmax(self.out(x), -1), n
