"""Graph networks: GCN by adjacency and by index_add, GAT by masks, segment softmax by scatter_reduce."""

import numpy as np
import torch
import torch.nn.functional as F
from program_tools import fill, tick
from torch import nn
from torch.optim import Adam


class GraphConv(nn.Module):
    def __init__(self, fan_in, fan_out):
        super().__init__()
        self.kernel = nn.Parameter(torch.Tensor(fan_in, fan_out))
        nn.init.xavier_normal_(self.kernel)
        self.bias = nn.Parameter(torch.Tensor(fan_out))
        nn.init.zeros_(self.bias)

    def forward(self, x, adj):
        return torch.mm(adj, torch.mm(x, self.kernel)) + self.bias


class MessagePassing(nn.Module):
    def __init__(self, fan_in, fan_out):
        super().__init__()
        self.lin = nn.Linear(fan_in, fan_out, bias=False)

    def forward(self, x, edge_index):
        row, col = edge_index
        x = self.lin(x)
        deg = torch.zeros(x.size(0)).scatter_add_(0, row, torch.ones(row.numel()))
        norm = deg.pow(-0.5)
        norm[norm == float("inf")] = 0
        messages = (norm[row] * norm[col]).view(-1, 1) * x[row]
        return torch.zeros_like(x).index_add_(0, col, messages)


class EdgeAttention(nn.Module):
    def __init__(self, fan_in, fan_out):
        super().__init__()
        self.lin, self.a = nn.Linear(fan_in, fan_out), nn.Linear(2 * fan_out, 1)

    def forward(self, x, edge_index):
        src, dst = edge_index[0], edge_index[1]
        x = self.lin(x)
        e = F.leaky_relu(self.a(torch.cat([x[src], x[dst]], dim=-1)), 0.2).squeeze(-1)
        top = torch.full((x.size(0),), float("-inf")).scatter_reduce(0, dst, e, reduce="amax")
        e = (e - top[dst]).exp()
        alpha = e / (torch.zeros(x.size(0)).index_add(0, dst, e)[dst] + 1e-16)
        out = torch.zeros_like(x)
        out.scatter_add_(0, dst.unsqueeze(-1).expand(-1, x.size(1)), alpha.unsqueeze(-1) * x[src])
        return out


class GAT(nn.Module):
    def __init__(self, fan_in, fan_out, heads):
        super().__init__()
        self.heads, self.n = heads, fan_out
        self.W = nn.Parameter(torch.empty(fan_in, heads * fan_out))
        self.a = nn.Parameter(torch.empty(heads, 2 * fan_out, 1))

    def forward(self, h, adj):
        h = torch.mm(h, self.W).view(h.shape[0], self.heads, self.n).permute(1, 0, 2)
        left, right = torch.matmul(h, self.a[:, : self.n, :]), torch.matmul(h, self.a[:, self.n :, :])
        e = F.leaky_relu(left + right.mT)
        attention = torch.softmax(torch.where(adj > 0, e, -9e16 * torch.ones_like(e)), dim=-1)
        return torch.matmul(attention, h).mean(dim=0)


rng = np.random.default_rng(0)
N, E = 20, 60
edges = torch.from_numpy(np.concatenate([rng.integers(0, N, (2, E)), np.tile(np.arange(N), (2, 1))], 1))
adj = torch.zeros(N, N)
adj[edges[0], edges[1]] = 1.0
adj = ((adj + adj.t()) > 0).float()
d = torch.diag(adj.sum(1).pow(-0.5))
normed = d @ adj @ d
x, y = torch.from_numpy(rng.normal(size=(N, 8)).astype("f")), torch.from_numpy(rng.integers(0, 3, N))
mask = torch.zeros(N, dtype=torch.bool)
mask[torch.randperm(N, generator=torch.Generator().manual_seed(0))[:0]] = True
mask[:12] = True
for name, layers, how in (
    ("gcn", [GraphConv(8, 16), GraphConv(16, 3)], normed),
    ("mp", [MessagePassing(8, 16), MessagePassing(16, 3)], edges),
    ("edge", [EdgeAttention(8, 16), EdgeAttention(16, 3)], edges),
    ("gat", [GAT(8, 8, 2), GAT(8, 3, 1)], adj),
):
    net = fill(nn.ModuleList(layers))
    optimizer = Adam(net.parameters(), lr=0.01, weight_decay=5e-4)
    for epoch in range(25):
        optimizer.zero_grad()
        logits = net[1](F.elu(net[0](x, how)), how)
        loss = F.nll_loss(F.log_softmax(logits, dim=1)[mask], y[mask])
        loss.backward()
        optimizer.step()
        tick()
    accuracy = (logits.argmax(dim=1)[~mask] == y[~mask]).float().mean().item()
    print(name, loss.item(), accuracy)
pooled = torch.zeros(4, 8).index_reduce_(0, torch.arange(N) % 4, x, "mean", include_self=False)
print(pooled.sum().item())
print(
    torch.bincount(edges[0], minlength=N).tolist(),
    torch.unique(edges[1]).numel(),
    [t.tolist() for t in torch.where(adj[0] > 0)],
)
