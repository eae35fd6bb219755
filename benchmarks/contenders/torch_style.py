"""The programs in PyTorch's manner, written once: they run on PyTorch and on gradloom."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from benchmarks.task import Task
from benchmarks.workloads import CHECK_STEPS, Workload, batches, inputs, probe, weights


def mlp(torch: Any, nn: Any, w: Workload) -> Any:
    """The model with the common initial weights."""

    class MLP(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.order = []
            for number, (a, b) in enumerate(pairwise(w.sizes), 1):
                layer = nn.Linear(a, b)
                setattr(self, f"linear{number}", layer)
                self.order.append(layer)

        def forward(self, x: Any) -> Any:
            for layer in self.order[:-1]:
                x = torch.relu(layer(x))
            return self.order[-1](x)

    model = MLP()
    state = {}
    for number, (weight, bias) in enumerate(weights(w), 1):
        state[f"linear{number}.weight"] = torch.tensor(weight.T.copy())
        state[f"linear{number}.bias"] = torch.tensor(bias)
    model.load_state_dict(state)
    return model


def training(torch: Any, nn: Any, w: Workload, compiled: Any = lambda f: f, **adam: Any) -> Task:
    """The loop written by hand; nobody looks at the loss between the steps."""
    model, loss_fn = mlp(torch, nn, w), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), **adam)
    data = [(torch.tensor(x), torch.tensor(y)) for x, y in batches(w)]
    model_loss = compiled(lambda images, labels: loss_fn(model(images), labels))

    def step(number: int) -> Any:
        images, labels = data[number % len(data)]
        loss = model_loss(images, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Task(step, lambda loss: loss.item(), check=lambda: [step(i).item() for i in range(CHECK_STEPS)])


def expression(torch: Any, functional: Any, w: Workload) -> tuple[Any, list[Any]]:
    """The op's function and its arguments."""
    arguments = [torch.tensor(a) for a in inputs(w)]
    if w.name.startswith("matmul"):
        return (lambda a, b: a @ b), arguments
    if w.name == "chain_16m":
        return (lambda x: functional.gelu(x * 1.5 + 0.25) * torch.sigmoid(x)), arguments
    if w.name == "softmax":
        return (lambda x: torch.softmax(x, -1)), arguments
    gain, shift = torch.ones(w.shapes[0][-1]), torch.zeros(w.shapes[0][-1])
    return (lambda x: functional.layer_norm(x, (w.shapes[0][-1],), gain, shift)), arguments


def op_task(call: Any, arguments: list[Any], done: Any) -> Task:
    """Time ``call``; ``done`` makes sure that a result has been computed."""
    return Task(
        lambda _: done(call(*arguments)), each=True, check=lambda: probe(done(call(*arguments)).detach().numpy())
    )
