"""Gradient penalty, MAML, adversarial examples, saliency: programs that differentiate twice."""

from collections import OrderedDict

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from program_tools import fill, tick
from torch import autograd

rng = np.random.default_rng(0)


def sample(*shape):
    return torch.from_numpy(rng.normal(size=shape).astype("f"))


D = fill(nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1)), 1)
G = fill(nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2)), 2)
optD = torch.optim.Adam(D.parameters(), lr=1e-3, betas=(0.5, 0.9))
optG = torch.optim.Adam(G.parameters(), lr=1e-3, betas=(0.5, 0.9))
for iteration in range(30):
    for p in D.parameters():
        p.requires_grad = True
    real, fake, alpha = (
        sample(16, 2) * 0.3 + 2,
        G(sample(16, 4)).detach(),
        torch.from_numpy(rng.random((16, 1), dtype=np.float32)),
    )
    interpolates = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    d_inter = D(interpolates)
    gradients = autograd.grad(
        outputs=d_inter,
        inputs=interpolates,
        grad_outputs=torch.ones_like(d_inter),
        create_graph=True,
        retain_graph=True,
        only_inputs=True,
    )[0]
    penalty = ((gradients.norm(2, dim=1) - 1) ** 2).mean() * 10
    lossD = D(fake).mean() - D(real).mean() + penalty
    optD.zero_grad()
    lossD.backward()
    optD.step()
    for p in D.parameters():
        p.requires_grad = False
    lossG = -D(G(sample(16, 4))).mean()
    optG.zero_grad()
    lossG.backward()
    optG.step()
    tick()
    if iteration % 6 == 0:
        print(lossD.item(), lossG.item(), penalty.item())


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.l1, self.l2 = nn.Linear(1, 20), nn.Linear(20, 1)

    def forward(self, x, params=None):
        p = params or OrderedDict(self.named_parameters())
        return F.linear(torch.tanh(F.linear(x, p["l1.weight"], p["l1.bias"])), p["l2.weight"], p["l2.bias"])


meta = fill(Regressor())
outer = torch.optim.Adam(meta.parameters(), lr=1e-2)
for iteration in range(20):
    meta_loss = 0.0
    for task in range(3):
        phase, xs = rng.uniform(0, 3), torch.from_numpy(rng.uniform(-3, 3, (10, 1)).astype("f"))
        ys = torch.sin(xs + phase)
        fast = OrderedDict(meta.named_parameters())
        for _ in range(2):
            inner = F.mse_loss(meta(xs[:5], fast), ys[:5])
            grads = torch.autograd.grad(inner, tuple(fast.values()), create_graph=True)
            fast = OrderedDict((name, p - 0.1 * g) for (name, p), g in zip(fast.items(), grads))
        meta_loss = meta_loss + F.mse_loss(meta(xs[5:], fast), ys[5:])
    outer.zero_grad()
    (meta_loss / 3).backward()
    outer.step()
    tick()
    if iteration % 5 == 0:
        print("maml", meta_loss.item() / 3)

net = fill(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)))
for epsilon in (0, 0.1, 0.3):
    data, target = (
        torch.from_numpy(np.random.default_rng(1).random((4, 1, 8, 8), dtype=np.float32)),
        torch.tensor([0, 1, 2, 0]),
    )
    data.requires_grad = True
    loss = F.cross_entropy(net(data), target)
    net.zero_grad()
    loss.backward()
    perturbed = torch.clamp(data + epsilon * data.grad.data.sign(), 0, 1)
    print(
        "fgsm",
        epsilon,
        F.cross_entropy(net(perturbed), target).item(),
        net(perturbed).max(1, keepdim=True)[1].flatten().tolist(),
    )

x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
y = (x**3).sum()
(g,) = torch.autograd.grad(y, x, create_graph=True)
print(g.tolist(), torch.autograd.grad(g.sum(), x)[0].tolist())
print(torch.autograd.functional.hessian(lambda v: (v**3).prod(), x.detach()).tolist())
print(torch.autograd.functional.jacobian(lambda v: v.cumsum(0) * v, x.detach()).tolist())
print(torch.autograd.gradcheck(lambda v: torch.tanh(v) ** 2, (x.detach().double().requires_grad_(),)))
