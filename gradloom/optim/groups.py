"""Helpers around parameter groups: rates by layer, gradients clipped by unit, parameters swapped for a while."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gradloom.modes import no_grad
from gradloom.optim.links import adaptively_clipped
from gradloom.optim.optimizer import Optimizer
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
                p.grad.copy_(adaptively_clipped(p.detach(), p.grad, clipping, eps))


@contextmanager
def swap_in_optimizer_params_and_state(
    optimizer: Optimizer, swapin_parameters: Mapping[str, Tensor], swapin_optim_state: Mapping[str, Any]
) -> Iterator[None]:
    """Let an optimiser train other tensors within a with block.

    Parameters
    ----------
    optimizer : Optimizer
    swapin_parameters : dict of name to Tensor
        In the order of the optimiser's own, with their shapes.
    swapin_optim_state : dict
        A state as `state_dict()` gives it. Its tensors are stepped on in place; step counters in it stay as they are.
    """
    given = list(swapin_parameters.values())
    own = [p for group in optimizer.param_groups for p in group["params"]]
    if [tuple(p.shape) for p in given] != [tuple(p.shape) for p in own]:
        raise ValueError("the parameters to swap in must have the shapes of the optimizer's own, in order")
    groups, before = swapin_optim_state["param_groups"], optimizer.state
    if [len(g["params"]) for g in groups] != [len(g["params"]) for g in optimizer.param_groups]:
        raise ValueError("the state to swap in must have the groups of the optimizer")
    snapshots = [dict(group) for group in optimizer.param_groups]
    fresh: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
    left = iter(given)
    try:
        for group, options in zip(optimizer.param_groups, groups, strict=True):
            group.update({k: v for k, v in options.items() if k != "params"})
            group["params"] = [next(left) for _ in group["params"]]
            for p, index in zip(group["params"], options["params"], strict=True):
                for name, value in swapin_optim_state["state"].get(index, {}).items():
                    whole = isinstance(value, Tensor) and value.ndim > 0
                    fresh[p][name] = value if whole else optimizer._restored(name, value, group, p)
        optimizer.state, optimizer._live = fresh, None
        yield
    finally:
        for group, snapshot in zip(optimizer.param_groups, snapshots, strict=True):
            group.clear()
            group.update(snapshot)
        optimizer.state, optimizer._live = before, None
