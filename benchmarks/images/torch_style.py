"""The networks and the training loop in PyTorch's manner, written once: they run on PyTorch and on gradloom."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.images.networks import Network, Step
from benchmarks.images.workloads import CHECK_STEPS, Workload, batches
from benchmarks.task import Task

Same = Callable[[Any], Any]


def layer(torch: Any, nn: Any, s: Step) -> Any:
    """What carries out a step."""
    if s.op == "conv":
        given = {"stride": s.stride, "padding": s.padding, "groups": s.groups, "bias": s.bias}
        return nn.Conv2d(s.before[0], s.after[0], s.kernel, **given)
    if s.op == "deconv":
        return nn.ConvTranspose2d(s.before[0], s.after[0], s.kernel, stride=s.stride)
    if s.op == "linear":
        return nn.Linear(s.before[0], s.after[0])
    if s.op == "norm":
        return nn.BatchNorm2d(s.before[0])
    if s.op == "maxpool":
        return nn.MaxPool2d(s.kernel, s.stride, s.padding)
    if s.op == "mean":
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return {"relu": nn.ReLU, "relu6": nn.ReLU6}[s.op](inplace=True) if s.op != "flatten" else nn.Flatten()


def network(torch: Any, nn: Any, net: Network, checkpoint: Callable[..., Any] | None = None) -> Any:
    """The model with the common initial weights; with ``checkpoint``, each block keeps only what goes in."""

    class Block(nn.Module):
        """Steps with one value going in and one coming out."""

        def __init__(self, steps: list[Step]) -> None:
            super().__init__()
            self.first, self.last = steps[0].inputs[0], steps[-1].output
            self.layers = nn.ModuleList(layer(torch, nn, s) for s in steps if s.op not in ("add", "concat"))
            own = iter(self.layers)
            final = {i: k for k, s in enumerate(steps) for i in s.inputs}  # the step after which a value is forgotten
            self.program = [
                (s.op, None if s.op in ("add", "concat") else next(own), s.inputs, s.output,
                 [i for i in s.inputs if final[i] == k])
                for k, s in enumerate(steps)
            ]  # fmt: skip

        def forward(self, x: Any) -> Any:
            values = {self.first: x}
            del x
            for op, own, inputs, output, done in self.program:
                x = values[inputs[0]]
                if op == "add":
                    x += values[inputs[1]]
                elif op == "concat":
                    x = torch.cat([x, values[inputs[1]]], 1)
                else:
                    x = own(x)
                for i in done:
                    del values[i]
                values[output] = x
            return x

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            ends = [0, *(c for c in net.cuts if c), len(net.steps)]
            self.blocks = nn.ModuleList(Block(net.steps[a:b]) for a, b in pairwise(ends))

        def forward(self, x: Any) -> Any:
            for block in self.blocks:
                x = block(x) if checkpoint is None else checkpoint(block, x, use_reentrant=False)
            return x

    model = Model()
    keys = iter([name for name in model.state_dict() if not name.endswith("num_batches_tracked")])
    order = ("weight", "bias", "mean", "var")
    arrays = [values[k] for values in net.weights() for k in order if k in values]
    state = {key: torch.tensor(array) for key, array in zip(keys, arrays, strict=True)}
    model.load_state_dict(state, strict=False)
    return model


def optimizer(torch: Any, w: Workload, model: Any, **given: Any) -> Any:
    """Adam or SGD with momentum."""
    if w.adam:
        return torch.optim.Adam(model.parameters(), lr=1e-3, **given)
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, **given)


def training(
    torch: Any, nn: Any, w: Workload, layout: Same = lambda x: x, compiled: Same = lambda f: f,
    checkpoint: Callable[..., Any] | None = None, **given: Any,
) -> Task:  # fmt: skip
    """The loop written by hand; nobody looks at the loss between steps. ``layout`` is applied to model and images."""
    model = layout(network(torch, nn, w.net, checkpoint))
    update = optimizer(torch, w, model, **given)
    data = [(layout(torch.tensor(x)), torch.tensor(y)) for x, y in batches(w)]
    cross_entropy = nn.CrossEntropyLoss()
    model_loss = compiled(lambda images, labels: cross_entropy(model(images), labels))

    def step(number: int) -> Any:
        images, labels = data[number % len(data)]
        update.zero_grad()
        loss = model_loss(images, labels)
        loss.backward()
        update.step()
        return loss

    return Task(step, lambda loss: loss.item(), check=lambda: [step(i).item() for i in range(CHECK_STEPS)])


def image(w: Workload) -> np.ndarray:
    """What goes into a call of inference."""
    return batches(w)[0][0]
