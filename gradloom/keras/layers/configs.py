"""Configurations of layers from their constructors: the arguments' names are the keys, attributes the values."""

from __future__ import annotations

import inspect
from typing import Any

from gradloom.errors import NotSupportedError
from gradloom.keras import activations, constraints, initializers, regularizers

_WRITERS = {
    "initializer": initializers.serialize,
    "regularizer": regularizers.serialize,
    "constraint": constraints.serialize,
    "activation": activations.serialize,
}
_BASE = ("name", "trainable", "dtype", "activity_regularizer", "autocast")
_KINDS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def parameters(cls: type) -> list[str]:
    """Names of the constructor's own arguments."""
    found = inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]
    return [p.name for p in found if p.kind not in _KINDS and p.name != "self" and p.name not in _BASE]


def of_library(cls: type) -> bool:
    """Whether a class is gradloom's own."""
    return cls.__module__.split(".")[0] == "gradloom"


def own_config(obj: Any, cls: type) -> dict[str, Any]:
    """The arguments of a layer of the library, read from its attributes."""
    return {name: written(name, getattr(obj, name)) for name in parameters(cls)}


def written(name: str, value: Any) -> Any:
    """An argument as plain data, by the kind of thing that its name says it is."""
    kind = name.rpartition("_")[2]
    if kind in _WRITERS and value is not None and not isinstance(value, str):
        return _WRITERS[kind](value)
    return value


def recorded_config(obj: Any) -> dict[str, Any]:
    """The arguments that a user's layer was made with.

    Raises
    ------
    NotSupportedError : an argument is no plain data, so only the class's own ``get_config`` can tell.
    """
    from gradloom.keras.saving import serialize_keras_object

    args, kwargs = obj.__dict__.get("_made_with", ((), {}))
    names = [p.name for p in inspect.signature(type(obj).__init__).parameters.values()][1:]
    given = {**dict(zip(names, args)), **kwargs}
    found = {}
    for name, value in given.items():
        if name in _BASE:
            continue
        try:
            found[name] = serialize_keras_object(value)
        except TypeError as error:
            raise NotSupportedError(
                f"{type(obj).__name__} was made with {name}={value!r}, which cannot be written into a configuration",
                code="keras.get-config",
                hint="give the class a get_config method that returns its arguments as plain data",
            ) from error
    return found
