"""Modules called with other parameters and buffers than their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

from gradloom.errors import StateError
from gradloom.nn.module import Module
from gradloom.tensor import Tensor

__all__ = ["functional_call"]


_ABSENT: Any = object()


def _places(module: Module) -> dict[str, tuple[dict[str, Any], str]]:
    """Where each parameter and buffer is kept, by dotted name, shared ones under every name."""
    out = {}
    for path, m in module.named_modules(remove_duplicate=False):
        for name in (*m._parameters, *m._buffers):
            out[f"{path}.{name}" if path else name] = (m.__dict__, name)
    return out


def _tied(values: Mapping[str, Tensor], before: Mapping[str, Any]) -> dict[str, Tensor]:
    """The new tensors, under every name that a tensor is shared by."""
    new = dict(values)
    first: dict[int, str] = {}
    for k in values:
        old = before.get(k)
        if old is not None and first.setdefault(id(old), k) != k and values[first[id(old)]] is not values[k]:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted([first[id(old)], k])}, which are tied: "
                "give one of them, or pass tie_weights=False"
            )
    for k, old in before.items():
        if k not in new and id(old) in first:
            new[k] = values[first[id(old)]]
    return new


@contextmanager
def _swapped(
    module: Module, values: MutableMapping[str, Tensor], tie_weights: bool, strict: bool
) -> Iterator[None]:  # fmt: skip
    places = _places(module)
    before = {k: own[name] for k, (own, name) in places.items()}
    new = _tied(values, before) if tie_weights else dict(values)
    unknown = [k for k in values if k not in places]
    missing = [k for k, old in before.items() if k not in new and old is not None]
    if strict and (unknown or missing):
        raise StateError(
            f"functional_call: names that {type(module).__name__} has not: {unknown}; missing: {missing}",
            code="state.functional", hint="the names are those of named_parameters() and named_buffers()",
        )  # fmt: skip
    for k in unknown:  # attributes of another kind, or new ones, for the time of the call
        path, _, name = k.rpartition(".")
        places[k] = (module.get_submodule(path).__dict__, name)
        before[k] = places[k][0].get(name, _ABSENT)
    try:
        for k, v in new.items():
            own, name = places[k]
            own[name] = v
        yield
    finally:
        for k, v in new.items():
            own, name = places[k]
            if k in values and own.get(name, v) is not v:
                values[k] = own[name]  # the call has put another in its place
            if before[k] is _ABSENT:
                own.pop(name, None)
            else:
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
        Other names are attributes for the time of the call. Where the call assigns to an attribute, a single dictionary
        gets the new tensor.
    args: the module's argument, or a tuple of them. tie_weights: a tensor shared under several names is replaced under
        all of them. strict: every name must be given.

    Raises
    ------
    StateError: if ``strict``, for names that the module has not, and for those that are missing; and for a name that
    stands in two dictionaries. ValueError: for different tensors under names that are tied.
    """
    dicts = parameter_and_buffer_dicts
    values: Any = dicts if isinstance(dicts, MutableMapping) else {}
    for part in () if values is dicts else [dicts] if isinstance(dicts, Mapping) else dicts:
        for k, v in part.items():
            if k in values:
                raise StateError(f"functional_call: {k!r} is given twice", code="state.functional")
            values[k] = v
    positional = () if args is None else args if isinstance(args, tuple) else (args,)
    with _swapped(module, values, tie_weights, strict):
        return module(*positional, **(kwargs or {}))
