"""Helpers around parameter groups: rates by layer, gradients clipped by unit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gradloom.modes import no_grad
from gradloom.optim.links import adaptively_clipped
from gradloom.tensor import Tensor


def layerwise_groups(layers: Iterable[Any], lr: float, decay: float) -> list[dict[str, Any]]:
    """Groups whose rates fall towards the input: the last layer has `lr`, each before it `decay` times the next.

    Parameters
    ----------
    layers : iterable of modules, or of lists of tensors
        From the input to the output. Layers without parameters are left out and do not count.
    """
    lists = [list(layer.parameters()) if hasattr(layer, "parameters") else list(layer) for layer in layers]
    lists = [params for params in lists if params]
    return [{"params": params, "lr": lr * decay ** (len(lists) - 1 - k)} for k, params in enumerate(lists)]


def adaptive_clip_grad_(parameters: Tensor | Iterable[Tensor], clipping: float = 0.01, eps: float = 1e-3) -> None:
    """Hold each unit's gradient at or below clipping·max(its norm, eps), in place (Brock et al. 2021)."""
    params = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    with no_grad():
        for p in params:
            if p.grad is not None:
                p.grad = adaptively_clipped(p.detach(), p.grad, clipping, eps)
