"""``keras.ops``: functions of tensors by Keras' names. Called with symbolic tensors they become nodes of a model."""

from __future__ import annotations

from typing import Any

from gradloom.keras.ops.arrays import TABLE as _ARRAYS
from gradloom.keras.ops.rest import TABLE as _REST

_ALL: dict[str, Any] = {**_ARRAYS, **_REST}
globals().update(_ALL)

__all__ = sorted(_ALL)
