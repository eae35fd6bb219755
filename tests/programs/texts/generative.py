"""Flows, Neural ODE, diffusion, SimCLR, mixup, a small GPT with cache and sampling, weight averaging."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from program_tools import fill, tick
from torch.distributions import MultivariateNormal, Normal
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn, update_bn

rng = np.random.default_rng(0)


def sample(*shape):
    return torch.from_numpy(rng.normal(size=shape).astype("f"))


class Coupling(nn.Module):
    def __init__(self, flip):
        super().__init__()
        self.flip, self.net = flip, nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 2))

    def forward(self, x):
        a, b = x.chunk(2, dim=1)
        if self.flip:
            a, b = b, a
        s, t = self.net(a).split(1, dim=1)
        b = b * torch.exp(torch.tanh(s)) + t
        return torch.cat([b, a] if self.flip else [a, b], 1), torch.tanh(s).sum(1)


flow = fill(nn.ModuleList([Coupling(k % 2) for k in range(4)]))
prior = MultivariateNormal(torch.zeros(2), torch.eye(2))
optimizer = torch.optim.Adam(flow.parameters(), 5e-3)
for step in range(30):
    z, logdet = sample(32, 2) * 0.5 + 1, 0
    for layer in flow:
        z, ld = layer(z)
        logdet = logdet + ld
    loss = -(prior.log_prob(z) + logdet).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    tick()
print("flow", loss.item())

f = fill(nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2)))
optimizer = torch.optim.RMSprop(f.parameters(), lr=1e-3)
true = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])


def rk4(func, y, t):
    ys = [y]
    for t0, t1 in zip(t[:-1], t[1:]):
        h = t1 - t0
        k1 = func(y)
        k2 = func(y + h * k1 / 2)
        k3 = func(y + h * k2 / 2)
        k4 = func(y + h * k3)
        y = y + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6
        ys.append(y)
    return torch.stack(ys)


t = torch.linspace(0.0, 1.0, 6)
for step in range(20):
    y0 = sample(8, 2)
    with torch.no_grad():
        wanted = rk4(lambda y: torch.mm(y**3, true), y0 * 0.3, t)
    loss = torch.mean(torch.abs(rk4(f, y0 * 0.3, t) - wanted))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    tick()
print("ode", loss.item())


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.time, self.body = nn.Embedding(50, 8), nn.Sequential(nn.Linear(10, 32), nn.SiLU(), nn.Linear(32, 2))

    def forward(self, x, t):
        return self.body(torch.cat([x, self.time(t)], dim=-1))


betas = torch.linspace(1e-4, 0.02, 50)
alphas_cumprod = torch.cumprod(1.0 - betas, dim=0)
net = fill(Denoiser())
ema = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40)
for step in range(40):
    x0, noise, ts = sample(32, 2), sample(32, 2), torch.from_numpy(rng.integers(0, 50, 32))
    a = alphas_cumprod.gather(0, ts).view(-1, 1)
    loss = F.mse_loss(net(a.sqrt() * x0 + (1 - a).sqrt() * noise, ts), noise)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    scheduler.step()
    ema.update_parameters(net)
    tick()
print("ddpm", loss.item(), sum(p.sum() for p in ema.parameters()).item(), scheduler.get_last_lr()[0])
with torch.no_grad():
    x = sample(16, 2)
    for i in reversed(range(50)):
        eps = ema(x, torch.full((16,), i, dtype=torch.long))
        beta, a, ac = betas[i], 1 - betas[i], alphas_cumprod[i]
        x = (x - beta / torch.sqrt(1 - ac) * eps) / torch.sqrt(a)
        if i > 0:
            x = x + torch.sqrt(beta) * sample(16, 2)
        tick()
    print("sampled", x.mean().item(), x.std().item())

encoder = fill(nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8)))
optimizer = torch.optim.SGD(encoder.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
swa, swa_scheduler = AveragedModel(encoder), SWALR(optimizer, swa_lr=0.02, anneal_epochs=3)
for step in range(20):
    base = sample(12, 6)
    lam = float(rng.beta(0.4, 0.4))
    mixed = lam * base + (1 - lam) * base[torch.from_numpy(rng.permutation(12))]
    z = F.normalize(encoder(torch.cat([base + 0.1 * sample(12, 6), mixed])), dim=1)
    similarity = z @ z.T / 0.5
    similarity.fill_diagonal_(float("-inf"))
    targets = torch.arange(24).roll(12)
    loss = F.cross_entropy(similarity, targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step > 10:
        swa.update_parameters(encoder)
        swa_scheduler.step()
    tick()
update_bn([sample(12, 6) for _ in range(3)], swa)
print("simclr", loss.item(), swa(torch.ones(4, 6)).sum().item(), optimizer.param_groups[0]["lr"])


class CausalSelfAttention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.c_attn, self.c_proj, self.heads = nn.Linear(d, 3 * d), nn.Linear(d, d), heads
        self.register_buffer("mask", torch.tril(torch.ones(16, 16)).view(1, 1, 16, 16))

    def forward(self, x, cache=None):
        B, T, C = x.size()
        q, k, v = (u.view(B, T, self.heads, C // self.heads).transpose(1, 2) for u in self.c_attn(x).split(C, dim=2))
        if cache is not None:
            if "k" in cache:
                k, v = torch.cat([cache["k"], k], 2), torch.cat([cache["v"], v], 2)
            cache["k"], cache["v"] = k, v
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
            att = att.masked_fill(self.mask[:, :, :T, :T] == 0, float("-inf"))
            y = F.softmax(att, dim=-1) @ v
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))


class GPT(nn.Module):
    def __init__(self, vocab=12, d=16):
        super().__init__()
        self.wte, self.wpe, self.attn = nn.Embedding(vocab, d), nn.Embedding(16, d), CausalSelfAttention(d, 2)
        self.ln, self.mlp = (
            nn.LayerNorm(d),
            nn.Sequential(nn.Linear(d, 32), nn.GELU(approximate="tanh"), nn.Linear(32, d)),
        )
        self.lm_head = nn.Linear(d, vocab, bias=False)
        self.wte.weight = self.lm_head.weight

    def forward(self, idx, targets=None, cache=None, start=0):
        x = self.wte(idx) + self.wpe(torch.arange(start, start + idx.size(1), device=idx.device))
        x = x + self.attn(self.ln(x), cache)
        logits = self.lm_head(x + self.mlp(x))
        return logits, None if targets is None else F.cross_entropy(
            logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1
        )


gpt = fill(GPT())
decay = [p for p in gpt.parameters() if p.dim() >= 2]
optimizer = torch.optim.AdamW(
    [
        {"params": decay, "weight_decay": 0.1},
        {"params": [p for p in gpt.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ],
    lr=1e-2,
)
text = torch.arange(200) % 12
for step in range(32):
    ix = rng.integers(0, 180, 4)
    for micro in range(2):
        xs, ys = torch.stack([text[i : i + 8] for i in ix]), torch.stack([text[i + 1 : i + 9] for i in ix])
        (gpt(xs, ys)[1] / 2).backward()
    for group in optimizer.param_groups:
        group["lr"] = 1e-2 * min(1.0, (step + 1) / 10)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    tick()
gpt.eval()
idx, cache = torch.zeros((1, 1), dtype=torch.long), {}
with torch.no_grad():
    print("gpt", gpt(text[None, :8], text[None, 1:9])[1].item())
    for k in range(12):
        full, _ = gpt(idx)
        step_logits, _ = gpt(idx[:, -1:], cache=cache, start=k)
        assert torch.allclose(full[:, -1], step_logits[:, -1], atol=1e-4)
        logits = full[:, -1, :] / 0.8
        v, _ = torch.topk(logits, min(3, logits.size(-1)))
        logits[logits < v[:, [-1]]] = -float("Inf")
        probs = F.softmax(logits, dim=-1)
        assert (torch.multinomial(probs, 5, replacement=True) < 12).all()
        idx = torch.cat((idx, probs.argmax(-1, keepdim=True)), dim=1)
        tick()
print(idx.tolist())
print(Normal(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0])).log_prob(torch.tensor(0.5)).tolist())
