"""``torch.func``: transformations of functions, and modules called as functions of their parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradloom import functions as G
from gradloom.autodiff.control import associative_scan, cond, fori_loop, map, scan, while_loop
from gradloom.autodiff.custom import custom_jvp, custom_vjp
from gradloom.autodiff.transforms import (
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    value_and_grad,
    vjp,
)
from gradloom.autodiff.vmap import vmap
from gradloom.errors import StateError
from gradloom.functions.patterns import rearrange
from gradloom.nn import Module
from gradloom.nn.utils.stateless import functional_call
from gradloom.tensor import Tensor

__all__ = [
    "associative_scan", "cond", "custom_jvp", "custom_vjp", "fori_loop", "functional_call", "functionalize", "grad",
    "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "map", "rearrange",
    "replace_all_batch_norm_modules_", "scan", "stack_module_state", "value_and_grad", "vjp", "vmap", "while_loop",
]  # fmt: skip


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters and buffers of modules of one architecture, stacked along a new first axis, by name.

    For ``vmap`` over an ensemble. The parameters are leaves that require gradients where the modules' do.
    """
    if not models:
        raise StateError("stack_module_state: needs at least one module", code="state.stack")
    first = models[0]
    if any(type(m) is not type(first) for m in models):
        raise StateError("stack_module_state: the modules are of different classes", code="state.stack")
    if any(m.training != first.training for m in models):
        raise StateError("stack_module_state: some modules are in training mode, some are not", code="state.stack")

    def stacked(each: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        out = {}
        for k in each[0]:
            values = [d[k] for d in each]
            t = G.stack([v.detach() for v in values])
            t._buffer()
            out[k] = t.detach_().requires_grad_() if any(v.requires_grad for v in values) else t
        return out

    return stacked([dict(m.named_parameters()) for m in models]), stacked([dict(m.named_buffers()) for m in models])


def functionalize(func: Callable[..., Any], *, remove: str = "mutations") -> Callable[..., Any]:
    """``func`` itself: programs are free of mutation, whatever was written in place; views are computed anew.

    remove: ``"mutations"`` or ``"mutations_and_views"``.
    """
    if remove not in ("mutations", "mutations_and_views"):
        raise ValueError(f"functionalize: remove must be 'mutations' or 'mutations_and_views', got {remove!r}")
    return func


def replace_all_batch_norm_modules_(root: Module) -> Module:
    """Let every layer with running statistics do without them, in place: ``vmap`` could not write them."""
    for m in root.modules():
        if hasattr(m, "track_running_stats"):
            m.running_mean = m.running_var = m.num_batches_tracked = None
            m.track_running_stats = False
    return root


def __getattr__(name: str) -> Any:
    from gradloom.absent import missing

    raise missing("gradloom.func", name)
