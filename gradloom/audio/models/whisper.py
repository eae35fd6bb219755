"""Whisper (Radford et al. 2023): sound to text, under the names of OpenAI's weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gradloom import functions as G
from gradloom.errors import ArgumentError, ShapeError
from gradloom.nn import functional as F
from gradloom.nn import init
from gradloom.nn.activation import GELU
from gradloom.nn.containers import ModuleList, Sequential
from gradloom.nn.convolution import Conv1d
from gradloom.nn.linear import Linear
from gradloom.nn.module import Module, Parameter
from gradloom.nn.norm import LayerNorm
from gradloom.nn.sparse import Embedding
from gradloom.tensor import Tensor, tensor
from gradloom.text.cache import KeyValueCache

__all__ = ["SIZES", "ModelDimensions", "Whisper", "WhisperState"]


@dataclass(frozen=True)
class ModelDimensions:
    """Sizes, under the names that OpenAI's files have."""

    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_vocab: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int

    def __post_init__(self) -> None:
        for width, heads in ((self.n_audio_state, self.n_audio_head), (self.n_text_state, self.n_text_head)):
            if width % heads:
                raise ArgumentError(f"ModelDimensions: {heads} heads do not divide a width of {width}")

    @classmethod
    def named(cls, name: str) -> ModelDimensions:
        """``"tiny"``, ``"tiny.en"``, …, ``"large-v3"``, ``"turbo"``: see :data:`SIZES`."""
        if name not in SIZES:
            raise ArgumentError(f"ModelDimensions: no model {name!r}", hint=f"one of {', '.join(SIZES)}")
        mels, width, heads, layers, text_layers, vocabulary = SIZES[name]
        return cls(mels, 1500, width, heads, layers, vocabulary, 448, width, heads, text_layers)


# mel bands, width, heads, layers of the encoder and of the decoder, vocabulary
SIZES: dict[str, tuple[int, int, int, int, int, int]] = {
    "tiny": (80, 384, 6, 4, 4, 51865),
    "tiny.en": (80, 384, 6, 4, 4, 51864),
    "base": (80, 512, 8, 6, 6, 51865),
    "base.en": (80, 512, 8, 6, 6, 51864),
    "small": (80, 768, 12, 12, 12, 51865),
    "small.en": (80, 768, 12, 12, 12, 51864),
    "medium": (80, 1024, 16, 24, 24, 51865),
    "medium.en": (80, 1024, 16, 24, 24, 51864),
    "large-v1": (80, 1280, 20, 32, 32, 51865),
    "large-v2": (80, 1280, 20, 32, 32, 51865),
    "large-v3": (128, 1280, 20, 32, 32, 51866),
    "turbo": (128, 1280, 20, 32, 4, 51866),
}


def _positions(length: int, width: int) -> np.ndarray:
    """Sines, then cosines, of positions at frequencies from 1 to 1 / 10000, float32 (length, width)."""
    steps = np.exp(-math.log(10000.0) / (width // 2 - 1) * np.arange(width // 2))
    angles = np.arange(length)[:, None] * steps
    return np.concatenate([np.sin(angles), np.cos(angles)], 1).astype(np.float32)


class _Cached(NamedTuple):
    cache: KeyValueCache
    layer: int
    places: Tensor
    mask: Tensor


class MultiHeadAttention(Module):
    """Queries with keys and values of the same sequence or another one; keys have no bias."""

    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.query, self.key = Linear(n_state, n_state), Linear(n_state, n_state, bias=False)
        self.value, self.out = Linear(n_state, n_state), Linear(n_state, n_state)

    def heads(self, x: Tensor) -> Tensor:
        """(batch, length, width) to (batch, heads, length, width of one)."""
        return G.permute(G.reshape(x, (x.shape[0], x.shape[1], self.n_head, -1)), (0, 2, 1, 3))

    def forward(
        self,
        x: Tensor,
        keys: tuple[Tensor, Tensor] | None = None,
        causal: bool = False,
        cached: _Cached | None = None,
    ) -> Tensor:
        """keys: those and values by heads, of what is looked at; without them x itself is."""
        k, v = keys if keys is not None else (self.heads(self.key(x)), self.heads(self.value(x)))
        if cached is not None:
            k, v = cached.cache.update(cached.layer, cached.places, k, v)
        mask = None if cached is None else cached.mask
        y = F.scaled_dot_product_attention(self.heads(self.query(x)), k, v, mask, is_causal=causal and mask is None)
        return self.out(G.reshape(G.permute(y, (0, 2, 1, 3)), tuple(x.shape)))


class ResidualAttentionBlock(Module):
    """Attention within, with ``cross_attention`` also attention to the sound, and two linear layers."""

    def __init__(self, n_state: int, n_head: int, cross_attention: bool = False) -> None:
        super().__init__()
        self.attn, self.attn_ln = MultiHeadAttention(n_state, n_head), LayerNorm(n_state)
        self.cross_attn = MultiHeadAttention(n_state, n_head) if cross_attention else None
        self.cross_attn_ln = LayerNorm(n_state) if cross_attention else None
        self.mlp = Sequential(Linear(n_state, 4 * n_state), GELU(), Linear(4 * n_state, n_state))
        self.mlp_ln = LayerNorm(n_state)

    def forward(
        self,
        x: Tensor,
        sound: tuple[Tensor, Tensor] | None = None,
        causal: bool = False,
        cached: _Cached | None = None,
    ) -> Tensor:
        """(batch, length, width), same shape; sound: keys and values of :meth:`keys_of`."""
        x = x + self.attn(self.attn_ln(x), causal=causal, cached=cached)
        if self.cross_attn is not None and self.cross_attn_ln is not None:
            x = x + self.cross_attn(self.cross_attn_ln(x), sound)
        return x + self.mlp(self.mlp_ln(x))

    def keys_of(self, sound: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of encoded sound (batch, frames, width)."""
        a = self.cross_attn
        assert a is not None
        return a.heads(a.key(sound)), a.heads(a.value(sound))


class AudioEncoder(Module):
    """Features (batch, n_mels, 2 * n_ctx) to (batch, n_ctx, n_state)."""

    positional_embedding: Tensor

    def __init__(self, n_mels: int, n_ctx: int, n_state: int, n_head: int, n_layer: int) -> None:
        super().__init__()
        self.conv1 = Conv1d(n_mels, n_state, 3, padding=1)
        self.conv2 = Conv1d(n_state, n_state, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", tensor(_positions(n_ctx, n_state)))
        self.blocks = ModuleList([ResidualAttentionBlock(n_state, n_head) for _ in range(n_layer)])
        self.ln_post = LayerNorm(n_state)
        self.n_mels, self.n_ctx = n_mels, n_ctx

    def forward(self, x: Tensor) -> Tensor:
        """Raises ShapeError for anything else than (batch, n_mels, 2 * n_ctx)."""
        if x.ndim != 3 or x.shape[1] != self.n_mels or x.shape[2] != 2 * self.n_ctx:
            raise ShapeError(
                f"Whisper: features of shape {tuple(x.shape)}, expected (batch, {self.n_mels}, {2 * self.n_ctx})",
                code="shape.whisper", hint="log_mel_spectrogram(pad_or_trim(waveform)); transcribe takes any length",
            )  # fmt: skip
        x = F.gelu(self.conv2(F.gelu(self.conv1(x))))
        x = G.permute(x, (0, 2, 1)) + self.positional_embedding
        for block in self.blocks:
            x = block(x)
        return self.ln_post(x)


class TextDecoder(Module):
    """Tokens (batch, length) and what was heard to logits (batch, length, n_vocab)."""

    def __init__(self, n_vocab: int, n_ctx: int, n_state: int, n_head: int, n_layer: int) -> None:
        super().__init__()
        self.token_embedding = Embedding(n_vocab, n_state)
        self.positional_embedding = Parameter(G.empty(n_ctx, n_state))
        init.normal_(self.positional_embedding, 0.0, 0.01)
        self.blocks = ModuleList([ResidualAttentionBlock(n_state, n_head, True) for _ in range(n_layer)])
        self.ln = LayerNorm(n_state)
        self.n_ctx = n_ctx

    def forward(
        self, x: Tensor, keys: list[tuple[Tensor, Tensor]], cache: KeyValueCache | None = None, last: bool = False
    ) -> Tensor:
        """keys: of the sound, for each block. cache: of the tokens before these. last: only the last token's logits."""
        length = x.shape[1]
        behind = length + (0 if cache is None else cache.length)
        if behind > self.n_ctx:
            raise ShapeError(
                f"Whisper: {behind} tokens, the decoder takes {self.n_ctx}", code="shape.whisper",
                hint="a shorter prompt, or fewer new tokens",
            )  # fmt: skip
        places = G.arange(length) if cache is None else cache.places(length)
        mask = None if cache is None else cache.mask(places)
        y = self.token_embedding(x) + G.index_select(self.positional_embedding, 0, places)
        for n, block in enumerate(self.blocks):
            cached = None if cache is None or mask is None else _Cached(cache, n, places, mask)
            y = block(y, keys[n], True, cached)
        if cache is not None:
            cache.advance(length)
        return F.linear(self.ln(y[:, -1:] if last else y), self.token_embedding.weight)


class WhisperState(NamedTuple):
    """What decoding goes on from: the sound's keys and values, and those of the tokens so far."""

    sound: list[tuple[Tensor, Tensor]]
    cache: KeyValueCache

    def reorder(self, rows: Tensor) -> None:
        """Take rows of the batch; all rows of one sound are alike."""
        self.cache.reorder(rows)


class Whisper(Module):
    """Features of 30 s and tokens to the next tokens' logits: ``model(mel, tokens)``."""

    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        self.dims = d = dims
        self.encoder = AudioEncoder(d.n_mels, d.n_audio_ctx, d.n_audio_state, d.n_audio_head, d.n_audio_layer)
        self.decoder = TextDecoder(d.n_vocab, d.n_text_ctx, d.n_text_state, d.n_text_head, d.n_text_layer)

    @property
    def is_multilingual(self) -> bool:
        """Whether the vocabulary is that of many languages."""
        return self.dims.n_vocab >= 51865

    @property
    def num_languages(self) -> int:
        """How many languages have a token."""
        return self.dims.n_vocab - 51765 - int(self.is_multilingual)

    def embed_audio(self, mel: Tensor) -> Tensor:
        """(batch, n_mels, 3000) to (batch, 1500, n_audio_state)."""
        return self.encoder(mel)

    def logits(self, tokens: Tensor, audio_features: Tensor) -> Tensor:
        """(batch, length) and encoded sound to (batch, length, n_vocab)."""
        return self.decoder(tokens, self._keys(audio_features))

    def forward(self, mel: Tensor, tokens: Tensor) -> Tensor:
        """(batch, n_mels, 3000) and (batch, length) to (batch, length, n_vocab)."""
        return self.logits(tokens, self.encoder(mel))

    def _keys(self, sound: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [block.keys_of(sound) for block in self.decoder.blocks]

    # -- decoding: what gradloom.text.generate asks of a model --------------------------------------------------
    def start(self, tokens: Tensor, capacity: int, *, audio_features: Tensor) -> tuple[WhisperState, Tensor]:
        """A state that holds a prompt (batch, length), and the logits (batch, n_vocab) of what comes next.

        audio_features: encoded sound (batch, frames, width).
        """
        d = self.dims
        like = self.decoder.token_embedding.weight
        cache = KeyValueCache(
            d.n_text_layer, tokens.shape[0], d.n_text_head, min(capacity, d.n_text_ctx),
            d.n_text_state // d.n_text_head, like.dtype, like.device,
        )  # fmt: skip
        state = WhisperState([(k.detach(), v.detach()) for k, v in self._keys(audio_features)], cache)
        return state, self.next(state, tokens)

    def next(self, state: WhisperState, tokens: Tensor) -> Tensor:
        """Logits (batch, n_vocab) of what comes behind these tokens (batch, count), which the state takes up."""
        return self.decoder(tokens, state.sound, state.cache, last=True)[:, 0]
