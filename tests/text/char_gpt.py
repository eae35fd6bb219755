"""A small GPT on characters, written for PyTorch: the tests run it with PyTorch and, its imports changed, here."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class SelfAttention(nn.Module):
    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads, self.p = heads, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        b, t, c = x.size()
        q, k, v = self.qkv(x).split(c, dim=2)
        q, k, v = (y.view(b, t, self.heads, c // self.heads).transpose(1, 2) for y in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.p if self.training else 0.0, is_causal=True)
        return self.drop(self.out(y.transpose(1, 2).contiguous().view(b, t, c)))


class Block(nn.Module):
    def __init__(self, width, heads, dropout):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, dropout)
        self.inner = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.inner(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, vocabulary, length, width, heads, layers, dropout=0.0):
        super().__init__()
        self.length = length
        self.parts = nn.ModuleDict(
            dict(
                tokens=nn.Embedding(vocabulary, width),
                places=nn.Embedding(length, width),
                drop=nn.Dropout(dropout),
                blocks=nn.ModuleList([Block(width, heads, dropout) for _ in range(layers)]),
                norm=nn.LayerNorm(width),
            )
        )
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.parts.tokens.weight = self.head.weight
        self.apply(self.first_values)
        for name, p in self.named_parameters():
            if name.endswith("out.weight"):
                torch.nn.init.normal_(p, mean=0.0, std=0.02 / math.sqrt(2 * layers))

    def first_values(self, m):
        if isinstance(m, (nn.Linear, nn.Embedding)):
            torch.nn.init.normal_(m.weight, mean=0.0, std=0.02)
        if isinstance(m, nn.Linear) and m.bias is not None:
            torch.nn.init.zeros_(m.bias)

    def forward(self, ids, targets=None):
        _, t = ids.size()
        assert t <= self.length
        x = self.parts.tokens(ids) + self.parts.places(torch.arange(0, t, dtype=torch.long, device=ids.device))
        x = self.parts.drop(x)
        for block in self.parts.blocks:
            x = block(x)
        x = self.parts.norm(x)
        if targets is None:
            return self.head(x[:, [-1], :]), None
        logits = self.head(x)
        loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)
        return logits, loss

    def optimizer(self, lr, decay):
        matrices = [p for p in self.parameters() if p.requires_grad and p.dim() >= 2]
        rest = [p for p in self.parameters() if p.requires_grad and p.dim() < 2]
        groups = [{"params": matrices, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95))

    @torch.no_grad()
    def generate(self, ids, count, temperature=1.0, top_k=None):
        for _ in range(count):
            seen = ids if ids.size(1) <= self.length else ids[:, -self.length :]
            logits, _ = self(seen)
            logits = logits[:, -1, :] / temperature
            if top_k is not None:
                v, _ = torch.topk(logits, min(top_k, logits.size(-1)))
                logits[logits < v[:, [-1]]] = -float("Inf")
            p = F.softmax(logits, dim=-1)
            ids = torch.cat((ids, torch.multinomial(p, num_samples=1)), dim=1)
        return ids


def train(model, data, steps, batch, lr, clip=1.0):
    """The losses of some steps; batches go through the data in order."""
    optimizer = model.optimizer(lr, 0.1)
    losses = []
    model.train()
    for step in range(steps):
        starts = [(step * batch + k) * 7 % (len(data) - model.length - 1) for k in range(batch)]
        x = torch.stack([data[s : s + model.length] for s in starts])
        y = torch.stack([data[s + 1 : s + 1 + model.length] for s in starts])
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / 5)
        _, loss = model(x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    return losses
