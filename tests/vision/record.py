"""Writes ``facts.json``: what torchvision's models are and compute. Run where torchvision is installed."""

from __future__ import annotations

import json
from typing import Any

from tests.vision.facts import CLASSES, FILE, LABELS, MODELS, RATE, RATES, SHAPES, digest, images, values
from tests.vision.operator_cases import CASES, wave


def shapes(name: str) -> dict[str, Any]:
    import torch
    import torchvision.models as models

    with torch.device("meta"):
        model = getattr(models, name)()
    return {"keys": digest(model), "parameters": sum(p.numel() for p in model.parameters())}


def numbers(name: str) -> dict[str, Any]:
    import torch
    import torchvision.models as models

    with torch.device("meta"):
        model = getattr(models, name)(num_classes=CLASSES)
    model = model.to_empty(device="cpu").double()
    model.load_state_dict({k: torch.from_numpy(values(k, tuple(v.shape))) for k, v in model.state_dict().items()})
    x, y = torch.from_numpy(images(MODELS[name][0])), torch.tensor(LABELS)
    for m in model.modules():  # nothing is drawn at random
        if hasattr(m, "p"):
            m.p = 0.0
    found: dict[str, Any] = {}
    with torch.no_grad():
        found["eval"] = model.eval()(x).tolist()
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATES.get(name, RATE))
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    found["loss"] = loss.item()
    found["gradients"] = [float(p.grad.norm()) for p in model.parameters()]
    optimizer.step()
    with torch.no_grad():
        found["eval after"] = model.eval()(x).tolist()
    return found


def operators() -> tuple[dict[str, Any], dict[str, Any]]:
    """Results, and products of gradients with waves."""
    import torch
    from torchvision import ops

    results, gradients = {}, {}
    for name, (call, arrays, k) in CASES.items():
        given = [torch.tensor(a).requires_grad_(n < k) for n, a in enumerate(arrays)]
        out = call(ops, *given)
        results[name] = out.tolist()
        if k:
            (out * torch.tensor(wave(tuple(out.shape)))).sum().backward()
            gradients[name] = [float((x.grad * torch.tensor(wave(tuple(x.shape)))).sum()) for x in given[:k]]
    return results, gradients


if __name__ == "__main__":
    facts = {name: shapes(name) for name in (*MODELS, *SHAPES)}
    for name in MODELS:
        facts[name] |= numbers(name)
    facts["operators"], facts["gradients of operators"] = operators()
    FILE.write_text(json.dumps(facts, separators=(",", ":")) + "\n", "utf-8")
