"""Hooks, parametrisations, pruning, state_dict surgery, checkpoints, buffers, containers."""

import io
import tempfile
from collections import OrderedDict

import numpy as np
import torch
import torch.nn as nn
import torch.nn.utils.parametrize as parametrize
import torch.nn.utils.prune as prune
from program_tools import fill, tick


class Symmetric(nn.Module):
    def forward(self, X):
        return X.triu() + X.triu(1).transpose(-1, -2)

    def right_inverse(self, A):
        return A.triu()


class MatrixExponential(nn.Module):
    def forward(self, X):
        return torch.matrix_exp(X)


class LoRA(nn.Module):
    def __init__(self, fan_in, fan_out, rank=2, alpha=1.0):
        super().__init__()
        self.A = nn.Parameter(torch.zeros(rank, fan_in))
        self.B = nn.Parameter(torch.zeros(fan_out, rank))
        self.scale = alpha / rank

    def forward(self, W):
        return W + (self.B @ self.A).view(W.shape) * self.scale


def net():
    return nn.Sequential(OrderedDict([("fc1", nn.Linear(6, 8)), ("act", nn.ReLU()), ("fc2", nn.Linear(8, 3))]))


rng = np.random.default_rng(0)
x = torch.from_numpy(rng.normal(size=(5, 6)).astype("f"))
model = fill(net())
activations, gradients = {}, []
handles = [
    m.register_forward_hook(lambda m, i, o, name=n: activations.__setitem__(name, o.detach()))
    for n, m in model.named_children()
]
handles.append(
    model.fc2.register_full_backward_hook(
        lambda m, gi, go: gradients.append((gi[0].norm().item(), go[0].norm().item()))
    )
)
handles.append(model.fc1.register_forward_pre_hook(lambda m, args: (args[0] * 2,)))
model.fc1.weight.register_hook(lambda g: g * 0.5)
out = model(x)
out.retain_grad()
out.pow(2).sum().backward()
print(
    {k: round(v.abs().sum().item(), 3) for k, v in activations.items()},
    gradients,
    out.grad.norm().item(),
    model.fc1.weight.grad.norm().item(),
)
for h in handles:
    h.remove()
print(model(x).sum().item())

layer = fill(nn.Linear(4, 4))
parametrize.register_parametrization(layer, "weight", Symmetric())
parametrize.register_parametrization(layer, "weight", MatrixExponential())
print(
    torch.allclose(layer.weight, layer.weight.T, atol=1e-5),
    layer.weight.sum().item(),
    sorted(dict(layer.named_parameters())),
)
layer.weight.sum().backward()
print(layer.parametrizations.weight.original.grad.norm().item(), parametrize.is_parametrized(layer))
with parametrize.cached():
    print(layer(torch.ones(2, 4)).sum().item())
parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
print(sorted(layer.state_dict()))

model = fill(net())
frozen = model.fc1.weight.clone()
for m in (model.fc1, model.fc2):
    m.requires_grad_(False)
    parametrize.register_parametrization(m, "weight", fill(LoRA(m.in_features, m.out_features), 3))
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
for _ in range(30):
    loss = (model(x) - 1).pow(2).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    tick()
print(
    "lora",
    loss.item(),
    sum(p.numel() for p in model.parameters() if p.requires_grad),
    sum(p.numel() for p in model.parameters()),
)
print(torch.equal(model.fc1.parametrizations.weight.original, frozen))

model = fill(net())
prune.l1_unstructured(model.fc1, name="weight", amount=0.3)
prune.ln_structured(model.fc2, name="weight", amount=0.5, n=2, dim=0)
print(sorted(model.state_dict()), int(model.fc1.weight_mask.sum()), model(x).sum().item())
prune.remove(model.fc1, "weight")
prune.global_unstructured([(model.fc1, "weight"), (model.fc2, "bias")], pruning_method=prune.L1Unstructured, amount=0.5)
print(float((model.fc1.weight == 0).sum()) / model.fc1.weight.nelement(), prune.is_pruned(model))

model = fill(net())
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
model(x).sum().backward()
optimizer.step()
with tempfile.NamedTemporaryFile(suffix=".pt") as file:
    torch.save(
        {
            "epoch": 4,
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "loss": 0.5,
        },
        file.name,
    )
    checkpoint = torch.load(file.name, weights_only=True, map_location="cpu")
other = net()
print(other.load_state_dict(checkpoint["model_state_dict"]), checkpoint["epoch"])
restored = torch.optim.SGD(other.parameters(), lr=0.5)
restored.load_state_dict(checkpoint["optimizer_state_dict"])
print(restored.param_groups[0]["lr"], restored.param_groups[0]["momentum"], len(restored.state))
for m, o in ((model, optimizer), (other, restored)):
    o.zero_grad()
    m(x).pow(2).sum().backward()
    o.step()
    print(m(x).sum().item())
buffer = io.BytesIO()
torch.save(model.state_dict(), buffer)
buffer.seek(0)
state = torch.load(buffer)
renamed = OrderedDict((k.replace("fc1", "first"), v) for k, v in state.items() if not k.endswith("bias"))
keys = net().load_state_dict(renamed, strict=False)
print(keys.missing_keys, keys.unexpected_keys)
try:
    net().load_state_dict({"fc1.weight": torch.zeros(2, 2)})
except RuntimeError as error:
    print("refused", "fc1.weight" in str(error))


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.choices = nn.ModuleDict({"conv": nn.Conv1d(2, 2, 1), "pool": nn.MaxPool1d(3, 1, 1)})
        self.activations = nn.ModuleDict([["lrelu", nn.LeakyReLU()], ["prelu", nn.PReLU()]])
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])
        self.weights = nn.ParameterList([nn.Parameter(torch.ones(4)) for _ in range(2)])
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)

    def forward(self, x, choice, act):
        self.count += 1
        x = self.activations[act](self.choices[choice](x))
        for layer, weight in zip(self.layers, self.weights):
            x = layer(x) * weight
        return x


mixed = fill(Mixed())
print(
    mixed(torch.ones(1, 2, 4), "conv", "prelu").sum().item(),
    mixed(torch.ones(1, 2, 4), "pool", "lrelu").sum().item(),
    mixed.count.item(),
)
print(list(mixed.state_dict()), len(list(mixed.buffers())))
print(mixed.choices, mixed.activations, mixed.layers)
mixed.double()
print(next(mixed.parameters()).dtype == torch.float64, mixed.count.dtype == torch.int64)
