"""Writing down and reading back models, layers and weights, by the names of Keras 3."""

from __future__ import annotations

from typing import Any

from gradloom.keras import absent
from gradloom.keras.saving.registry import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from gradloom.keras.saving.serialization import (
    NotSerializableError,
    UnknownObjectError,
    deserialize_keras_object,
    serialize_keras_object,
)

__all__ = [
    "CustomObjectScope",
    "NotSerializableError",
    "UnknownObjectError",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "load_model",
    "load_weights",
    "register_keras_serializable",
    "save_model",
    "save_weights",
    "serialize_keras_object",
]

_LAZY = {name: "archive" for name in ("load_model", "load_weights", "save_model", "save_weights")}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from gradloom.keras.saving import archive

        return getattr(archive, name)
    return absent.names_of("saving")(name)
