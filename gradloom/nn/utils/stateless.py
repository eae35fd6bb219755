"""Modules called with other parameters and buffers than their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from gradloom.errors import StateError
from gradloom.nn.module import Module
from gradloom.tensor import Tensor

__all__ = ["functional_call"]


def _places(module: Module) -> dict[str, tuple[dict[str, Any], str]]:
    """Where each parameter and buffer is kept, by dotted name, shared ones under every name."""
    out = {}
    for path, m in module.named_modules(remove_duplicate=False):
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
    module: Module,
    parameter_and_buffer_dicts: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
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
