"""``torch.func``: transformations of functions, and modules called as functions of their parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from gradloom.nn import Module
from gradloom.tensor import Tensor

__all__ = [
    "associative_scan", "cond", "custom_jvp", "custom_vjp", "fori_loop", "functional_call", "functionalize", "grad",
    "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "map", "replace_all_batch_norm_modules_",
    "scan", "stack_module_state", "value_and_grad", "vjp", "vmap", "while_loop",
]  # fmt: skip


def _places(module: Module) -> dict[str, tuple[dict[str, Any], str]]:
    """Where each parameter and buffer is kept, by dotted name, shared ones under every name."""
    out = {}
    for path, m in module.named_modules():
        for name in (*m._parameters, *m._buffers):
            out[f"{path}.{name}" if path else name] = (m.__dict__, name)
    return out


@contextmanager
def _swapped(module: Module, values: Mapping[str, Tensor], tie_weights: bool, strict: bool) -> Iterator[None]:
    places = _places(module)
    unknown = [k for k in values if k not in places]
    missing = [k for k in places if k not in values and places[k][0].get(places[k][1]) is not None]
    if unknown or (strict and missing):
        raise StateError(
            f"functional_call: names that {type(module).__name__} has not: {unknown}"
            + (f"; missing: {missing}" if strict else ""),
            code="state.functional", hint="the names are those of named_parameters() and named_buffers()",
        )  # fmt: skip
    before = {k: at[0][at[1]] for k, at in places.items()}
    new = dict(values)
    if tie_weights:
        shared = {id(before[k]): v for k, v in values.items() if before[k] is not None}
        for k, old in before.items():
            if k not in new and id(old) in shared:
                new[k] = shared[id(old)]
    try:
        for k, v in new.items():
            own, name = places[k]
            own[name] = v
        yield
    finally:
        for k in new:
            own, name = places[k]
            own[name] = before[k]


def functional_call(
    module: Module, parameter_and_buffer_dicts: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]], args: Any = None,
    kwargs: Mapping[str, Any] | None = None, *, tie_weights: bool = True, strict: bool = False,
) -> Any:  # fmt: skip
    """Call a module with other parameters and buffers than its own.

    Parameters
    ----------
    parameter_and_buffer_dicts: tensors by dotted name, in one dictionary or several; what is missing is the module's.
    args: the module's argument, or a tuple of them. tie_weights: a tensor shared under several names is replaced under
        all of them. strict: every name must be given.

    Raises
    ------
    StateError: for names that the module has not, or, if ``strict``, lacks.
    """
    values: dict[str, Tensor] = {}
    dicts = parameter_and_buffer_dicts
    for part in [dicts] if isinstance(dicts, Mapping) else dicts:
        for k, v in part.items():
            if k in values:
                raise StateError(f"functional_call: {k!r} is given twice", code="state.functional")
            values[k] = v
    positional = () if args is None else args if isinstance(args, tuple) else (args,)
    with _swapped(module, values, tie_weights, strict):
        return module(*positional, **(kwargs or {}))


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
