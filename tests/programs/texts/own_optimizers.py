"""Optimisers of one's own, LR finders, AMP recipes, profilers, compile, einops by hand, masks in place."""

import copy
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from program_tools import fill, tick
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau


class Lion(Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        if not 0.0 <= lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if len(state) == 0:
                    state["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
                exp_avg, (beta1, beta2) = state["exp_avg"], group["betas"]
                p.mul_(1 - group["lr"] * group["weight_decay"])
                update = exp_avg * beta1 + p.grad * (1 - beta1)
                p.add_(update.sign_(), alpha=-group["lr"])
                exp_avg.mul_(beta2).add_(p.grad, alpha=1 - beta2)
        return loss


class HandAdam(Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                grad, state = p.grad.data, self.state[p]
                if not state:
                    state["step"], state["m"], state["v"] = 0, torch.zeros_like(p.data), torch.zeros_like(p.data)
                state["step"] += 1
                state["m"].mul_(0.9).add_(grad, alpha=0.1)
                state["v"].mul_(0.999).addcmul_(grad, grad, value=0.001)
                size = group["lr"] * math.sqrt(1 - 0.999 ** state["step"]) / (1 - 0.9 ** state["step"])
                p.data.addcdiv_(state["m"], state["v"].sqrt().add_(1e-8), value=-size)


class SAM(Optimizer):
    def __init__(self, params, base, rho=0.05, **kwargs):
        super().__init__(params, dict(rho=rho, **kwargs))
        self.base_optimizer = base(self.param_groups, **kwargs)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def first_step(self):
        norm = torch.norm(
            torch.stack([p.grad.norm(p=2) for g in self.param_groups for p in g["params"] if p.grad is not None]), p=2
        )
        for group in self.param_groups:
            for p in group["params"]:
                e_w = p.grad * (group["rho"] / (norm + 1e-12))
                p.add_(e_w)
                self.state[p]["e_w"] = e_w
        self.zero_grad()

    @torch.no_grad()
    def second_step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(self.state[p]["e_w"])
        self.base_optimizer.step()
        self.zero_grad()


class Warmup(LRScheduler):
    def __init__(self, optimizer, steps, last_epoch=-1):
        self.steps = steps
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [base * min(1.0, (self.last_epoch + 1) / self.steps) for base in self.base_lrs]


rng = np.random.default_rng(0)
x, y = torch.from_numpy(rng.normal(size=(64, 6)).astype("f")), torch.from_numpy(rng.integers(0, 3, 64))
net = lambda: fill(nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)))
for make in (lambda p: Lion(p, lr=3e-3, weight_decay=0.01), lambda p: HandAdam(p, lr=1e-2)):
    model = net()
    optimizer = make(model.parameters())
    schedule = Warmup(optimizer, 5)
    for step in range(30):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        schedule.step()
        tick()
    print(type(optimizer).__name__, loss.item(), optimizer.param_groups[0]["lr"], len(optimizer.state))
model = net()
sam = SAM(model.parameters(), torch.optim.SGD, lr=0.1, momentum=0.9)
for step in range(20):
    F.cross_entropy(model(x), y).backward()
    sam.first_step()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    sam.second_step()
    tick()
print("sam", loss.item())

model = net()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
saved, mult, best, lrs = copy.deepcopy(model.state_dict()), (1.0 / 1e-4) ** (1 / 30), None, []
for k in range(30):
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    optimizer.param_groups[0]["lr"] *= mult
    lrs.append((optimizer.param_groups[0]["lr"], loss.item()))
    tick()
print("finder", lrs[10], lrs[-1])
model.load_state_dict(saved)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
cycle, plateau = OneCycleLR(optimizer, max_lr=0.5, total_steps=20), None
for k in range(20):
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    cycle.step()
plateau = ReduceLROnPlateau(optimizer, "min", factor=0.5, patience=1)
for k in range(5):
    plateau.step(1.0)
print("cycle", loss.item(), optimizer.param_groups[0]["lr"])

model = net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scaler = torch.amp.GradScaler("cpu", enabled=True)
for k in range(12):
    with torch.autocast(device_type="cpu", dtype=torch.bfloat16):
        output = model(x)
        loss = F.cross_entropy(output.float(), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    tick()
print("amp", round(loss.item(), 2), output.dtype == torch.bfloat16, scaler.get_scale())

compiled = net()
with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as prof:
    with torch.profiler.record_function("model_inference"):
        compiled(x)
print(len(prof.key_averages()) > 0, len(prof.key_averages().table(sort_by="cpu_time_total", row_limit=10)) > 0)

image = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).reshape(2, 3, 8, 8)
patches = image.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(2, 4, -1)
same = image.reshape(2, 3, 2, 4, 2, 4).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
print(
    torch.equal(patches, same),
    patches[0, 1, :3].tolist(),
    torch.equal(F.unfold(image, 4, stride=4).transpose(1, 2), patches),
)
windows = torch.roll(image, (-2, -2), (2, 3)).view(2, 3, 4, 2, 4, 2).movedim(1, -1).contiguous().view(-1, 2, 2, 3)
print(tuple(windows.shape), windows[5].sum().item())
scores = torch.from_numpy(rng.normal(size=(4, 6)).astype("f"))
scores[scores < 0] = 0
scores[1, ::2] += 5
scores[:, -1] *= 2
scores.masked_fill_(scores > 5, -1.0)
scores.index_fill_(1, torch.tensor([0]), 7.0)
scores.clamp_(max=6).sub_(1).relu_()
top, where = scores.sort(dim=1, descending=True, stable=True)
picked = torch.take_along_dim(scores, where[:, :2], 1)
onehot = torch.zeros(4, 6).scatter_(1, where[:, :1], 1.0)
print(
    scores.sum().item(),
    picked.tolist(),
    onehot.argmax(1).tolist(),
    torch.where(scores > 2, scores, -scores).sum().item(),
)
print(
    torch.nonzero(scores > 4).tolist(),
    torch.cdist(scores, scores).sum().item(),
    torch.einsum("bi,bj->bij", scores, scores).sum().item(),
)
print(
    x.new_full((2,), 3).tolist(),
    tuple(x.mean(0, keepdim=True).shape),
    torch.randn(2, 3).size(-1),
    x.stride(),
    x.is_contiguous(),
    x.t().is_contiguous(),
)
print(scores, scores.long(), torch.tensor(3.5))
