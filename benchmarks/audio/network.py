"""Whisper in PyTorch, as its users write it: fused attention, keys and values of the tokens so far joined."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.audio import workloads
from benchmarks.audio.workloads import CONTEXT, HEADS, LAYERS, MELS, TEXT, VOCABULARY, WIDTH

Pair = tuple[Tensor, Tensor]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH, bias=False)
        self.value, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def pair(self, x: Tensor) -> Pair:
        return self.heads(self.key(x)), self.heads(self.value(x))

    def heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (HEADS, -1)).transpose(1, 2)

    def forward(self, x: Tensor, kept: Pair, causal: bool = False) -> Tensor:
        y = F.scaled_dot_product_attention(self.heads(self.query(x)), *kept, is_causal=causal)
        return self.out(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, cross: bool) -> None:
        super().__init__()
        self.attn, self.attn_ln = Attention(), nn.LayerNorm(WIDTH)
        if cross:
            self.cross_attn, self.cross_attn_ln = Attention(), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        self.mlp_ln = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor, sound: Pair | None = None, before: Pair | None = None) -> tuple[Tensor, Pair]:
        y = self.attn_ln(x)
        k, v = self.attn.pair(y)
        if before is not None:
            k, v = torch.cat([before[0], k], 2), torch.cat([before[1], v], 2)
        x = x + self.attn(y, (k, v), causal=sound is not None and x.shape[1] > 1)
        if sound is not None:
            x = x + self.cross_attn(self.cross_attn_ln(x), sound)
        return x + self.mlp(self.mlp_ln(x)), (k, v)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(MELS, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        steps = np.exp(-np.log(10000.0) / (WIDTH // 2 - 1) * np.arange(WIDTH // 2))
        angles = np.arange(CONTEXT)[:, None] * steps
        table = np.concatenate([np.sin(angles), np.cos(angles)], 1).astype(np.float32)
        self.register_buffer("positional_embedding", torch.tensor(table))
        self.blocks = nn.ModuleList(Block(False) for _ in range(LAYERS))
        self.ln_post = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.conv2(F.gelu(self.conv1(x)))).transpose(1, 2) + self.positional_embedding
        for block in self.blocks:
            x, _ = block(x)
        return self.ln_post(x)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.positional_embedding = nn.Parameter(torch.empty(TEXT, WIDTH))
        self.blocks = nn.ModuleList(Block(True) for _ in range(LAYERS))
        self.ln = nn.LayerNorm(WIDTH)

    def forward(self, ids: Tensor, at: int, sound: list[Pair], kept: list[Pair | None]) -> Tensor:
        x = self.token_embedding(ids) + self.positional_embedding[at : at + ids.shape[1]]
        for n, block in enumerate(self.blocks):
            x, kept[n] = block(x, sound[n], kept[n])
        return self.ln(x[:, -1:]) @ self.token_embedding.weight.T


class Whisper(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()
        values = workloads.weights({k: tuple(v.shape) for k, v in self.state_dict().items()})
        self.load_state_dict({k: torch.tensor(v) for k, v in values.items()}, strict=False)

    def greedy(self, mel: Tensor, start: tuple[int, ...], count: int) -> list[int]:
        """The start and so many tokens more."""
        heard = self.encoder(mel)
        sound = [block.cross_attn.pair(heard) for block in self.decoder.blocks]
        kept: list[Pair | None] = [None] * LAYERS
        tokens, at, new = list(start), 0, torch.tensor([start])
        for _ in range(count):
            logits = self.decoder(new, at, sound, kept)
            at, new = at + new.shape[1], logits[:, -1].argmax(-1, keepdim=True)
            tokens.append(int(new))
        return tokens
