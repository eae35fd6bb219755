"""Variational autoencoder: reparameterisation with given noise, binary cross entropy and KL."""

import numpy as np
import torch
from program_tools import fill, tick
from torch import nn, optim
from torch.nn import functional as F


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 40)
        self.fc21 = nn.Linear(40, 5)
        self.fc22 = nn.Linear(40, 5)
        self.fc3 = nn.Linear(5, 40)
        self.fc4 = nn.Linear(40, 64)

    def encode(self, x):
        h1 = F.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def forward(self, x, eps):
        mu, logvar = self.encode(x.view(-1, 64))
        std = torch.exp(0.5 * logvar)
        z = mu + eps * std
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar


def loss_function(recon_x, x, mu, logvar):
    bce = F.binary_cross_entropy(recon_x, x.view(-1, 64), reduction="sum")
    return bce - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


rng = np.random.default_rng(0)
model = fill(VAE())
optimizer = optim.Adam(model.parameters(), lr=1e-3)
for step in range(60):
    data = torch.from_numpy(rng.random((32, 1, 8, 8), dtype=np.float32))
    eps = torch.from_numpy(rng.normal(size=(32, 5)).astype("f"))
    optimizer.zero_grad()
    recon, mu, logvar = model(data, eps)
    loss = loss_function(recon, data, mu, logvar)
    loss.backward()
    optimizer.step()
    tick()
    if step % 10 == 0:
        print(loss.item() / len(data))
with torch.no_grad():
    n = min(data.size(0), 8)
    comparison = torch.cat([data[:n], recon.view(32, 1, 8, 8)[:n]])
    print(comparison.cpu().sum().item(), tuple(comparison.shape))
