"""GPT-2 (Radford et al. 2019), with the names that Hugging Face's files have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gradloom import functions as G
from gradloom.errors import ArgumentError, ShapeError
from gradloom.nn import functional as F
from gradloom.nn import init
from gradloom.nn.containers import ModuleList
from gradloom.nn.dropout import Dropout
from gradloom.nn.linear import Linear
from gradloom.nn.module import Module, Parameter
from gradloom.nn.norm import LayerNorm
from gradloom.nn.sparse import Embedding
from gradloom.tensor import Tensor
from gradloom.text.cache import KeyValueCache, room
from gradloom.text.models.shared import activation, drawn, loaded

__all__ = ["GPT2Config", "GPT2LMHeadModel", "GPT2Model"]

LEFT_OUT = (".attn.bias", ".attn.masked_bias", "lm_head.weight")


@dataclass
class GPT2Config:
    """Sizes and rates, under Hugging Face's names. The defaults are GPT-2 small; see :meth:`named`."""

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        if self.n_embd % self.n_head:
            raise ArgumentError(f"GPT2Config: n_embd {self.n_embd} must be divisible by n_head {self.n_head}")

    @classmethod
    def named(cls, name: str) -> GPT2Config:
        """``"gpt2"``, ``"gpt2-medium"``, ``"gpt2-large"`` or ``"gpt2-xl"``."""
        sizes = {"gpt2": (12, 12, 768), "gpt2-medium": (24, 16, 1024), "gpt2-large": (36, 20, 1280)}
        sizes["gpt2-xl"] = (48, 25, 1600)
        if name not in sizes:
            raise ArgumentError(f"GPT2Config: no model {name!r}", hint=f"one of {', '.join(sizes)}")
        layers, heads, width = sizes[name]
        return cls(n_layer=layers, n_head=heads, n_embd=width)


class Conv1D(Module):
    """x·W + b with W (in, out): Linear with its weight the other way round, as the files have it."""

    def __init__(self, out_features: int, in_features: int) -> None:
        super().__init__()
        self.weight = Parameter(G.empty(in_features, out_features))
        self.bias = Parameter(G.zeros(out_features))
        init.normal_(self.weight, 0.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return F.linear(x, G.swap_last(self.weight), self.bias)


class _Attention(Module):
    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.heads, self.dropout = config.n_head, config.attn_pdrop
        self.c_attn = Conv1D(3 * config.n_embd, config.n_embd)
        self.c_proj = Conv1D(config.n_embd, config.n_embd)
        self.resid_dropout = Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, mask: Tensor | None, cached: _Cached | None) -> Tensor:
        batch, length, width = x.shape
        parts = G.reshape(self.c_attn(x), (batch, length, 3, self.heads, width // self.heads))
        q, k, v = (
            G.permute(G.reshape(G.narrow(parts, 2, n, 1), (batch, length, self.heads, -1)), (0, 2, 1, 3))
            for n in range(3)
        )
        if cached is not None:
            k, v = cached.cache.update(cached.layer, cached.places, k, v)
        p = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, mask, p, is_causal=mask is None)
        return self.resid_dropout(self.c_proj(G.reshape(G.permute(out, (0, 2, 1, 3)), (batch, length, width))))


class _Cached(NamedTuple):
    cache: KeyValueCache
    layer: int
    places: Tensor


class _Inner(Module):
    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        inner = config.n_inner or 4 * config.n_embd
        self.c_fc, self.c_proj = Conv1D(inner, config.n_embd), Conv1D(config.n_embd, inner)
        self.act = activation(config.activation_function)
        self.dropout = Dropout(config.resid_pdrop)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.c_proj(self.act(self.c_fc(x))))


class _Block(Module):
    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.attn = _Attention(config)
        self.ln_2 = LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.mlp = _Inner(config)

    def forward(self, x: Tensor, mask: Tensor | None, cached: _Cached | None) -> Tensor:
        x = x + self.attn(self.ln_1(x), mask, cached)
        return x + self.mlp(self.ln_2(x))


def _start(model: Module, config: GPT2Config) -> None:
    drawn(model, config.initializer_range)
    for name, p in model.named_parameters():
        if name.endswith("c_proj.weight"):  # two sums for each layer: the variance of the whole stays
            init.normal_(p, 0.0, config.initializer_range / math.sqrt(2 * config.n_layer))


class GPT2Model(Module):
    """Embeddings, layers and the last norm: token ids (batch, length) to (batch, length, n_embd)."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.wte = Embedding(config.vocab_size, config.n_embd)
        self.wpe = Embedding(config.n_positions, config.n_embd)
        self.drop = Dropout(config.embd_pdrop)
        self.h = ModuleList([_Block(config) for _ in range(config.n_layer)])
        self.ln_f = LayerNorm(config.n_embd, config.layer_norm_epsilon)
        _start(self, config)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """attention_mask (batch, length): 1 for tokens, 0 for padding. cache: what came before, and grows by these.

        Raises ShapeError for sequences longer than n_positions, ArgumentError for a mask beside a cache.
        """
        batch, length = input_ids.shape
        limit = self.config.n_positions
        behind = length + (0 if cache is None else cache.position)
        if behind > limit:
            raise ShapeError(
                f"GPT2Model: {behind} tokens, n_positions is {limit}", code="shape.gpt2", hint="cut the sequence"
            )
        mask = None
        if cache is not None:
            if attention_mask is not None:
                raise ArgumentError(
                    "GPT2Model: attention_mask together with a cache", hint="the cache has its own: padding="
                )
            places = cache.places(length)
            mask = cache.mask(places)
        else:
            places = G.arange(length)
        if attention_mask is not None:
            seen = G.reshape(G.cast(attention_mask, G.eq(places, 0).dtype), (batch, 1, 1, length))
            mask = G.logical_and(seen, G.unsqueeze(places, 1) >= places)
        x = self.drop(self.wte(input_ids) + self.wpe(places if cache is None else cache.positions(places)))
        for n, block in enumerate(self.h):
            x = block(x, mask, None if cache is None else _Cached(cache, n, places))
        if cache is not None:
            cache.advance(length)
        return self.ln_f(x)

    def load_hugging_face(self, state: Mapping[str, Any]) -> None:
        """Weights of a file for this model or for the one with a head."""
        loaded(self, state, "transformer", LEFT_OUT)


class GPT2LMHeadModel(Module):
    """GPT-2 that predicts the next token: (batch, length) to logits (batch, length, vocab_size)."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.transformer = GPT2Model(config)
        self.lm_head = Linear(config.n_embd, config.vocab_size, bias=False)
        self.lm_head.weight = self.transformer.wte.weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Any:
        """Logits; with labels (batch, length) the pair (loss, logits), token t + 1 being predicted from those to t.

        Labels of -100 do not count.
        """
        logits = self.lm_head(self.transformer(input_ids, attention_mask, cache))
        if labels is None:
            return logits
        ahead = G.reshape(logits[:, :-1], (-1, logits.shape[-1]))
        return F.cross_entropy(ahead, G.reshape(labels[:, 1:], (-1,))), logits

    def load_hugging_face(self, state: Mapping[str, Any]) -> None:
        """Weights of a file for this model or for the one without a head, whose names lack ``transformer.``"""
        full = dict(state)
        for name in ("transformer.wte.weight", "wte.weight"):
            if name in full and "lm_head.weight" not in full:
                full["lm_head.weight"] = full[name]
        loaded(self, full, "transformer", LEFT_OUT)

    # -- decoding -------------------------------------------------------------------------------------------
    def start(self, tokens: Tensor, capacity: int, padding: Tensor | None = None) -> tuple[KeyValueCache, Tensor]:
        """A cache that holds a prompt (batch, length), and the logits (batch, vocab_size) of what comes next.

        padding (batch,): how many of a row's first tokens do not count.
        """
        c = self.config
        like = self.lm_head.weight
        cache = KeyValueCache(
            c.n_layer, tokens.shape[0], c.n_head, room(capacity), c.n_embd // c.n_head, like.dtype, like.device, padding
        )
        return cache, self.next(cache, tokens)

    def next(self, cache: KeyValueCache, tokens: Tensor) -> Tensor:
        """Logits (batch, vocab_size) of what comes behind these tokens (batch, count), which the cache takes up."""
        return self.lm_head(self.transformer(tokens, None, cache)[:, -1])
