"""``keras.ops``: functions of tensors by Keras' names. Called with symbolic tensors they become nodes of a model.

``keras.ops.numpy``, ``nn``, ``linalg`` and ``image`` hold the same functions by family; ``image`` has those of images,
which stand nowhere else.
"""

from __future__ import annotations

from typing import Any

from gradloom.functions.arguments import placed
from gradloom.keras.ops.arrays import TABLE as _ARRAYS
from gradloom.keras.ops.control import TABLE as _CONTROL
from gradloom.keras.ops.matrices import TABLE as _MATRICES
from gradloom.keras.ops.networks import TABLE as _NETWORKS
from gradloom.keras.ops.numbers import TABLE as _NUMBERS
from gradloom.keras.ops.pictures import TABLE as _IMAGES
from gradloom.keras.ops.rest import TABLE as _REST
from gradloom.keras.ops.shapes import RULES, ruled
from gradloom.keras.ops.signals import TABLE as _SIGNALS

_ALL: dict[str, Any] = {**_ARRAYS, **_REST, **_NUMBERS, **_MATRICES, **_SIGNALS, **_CONTROL, **_NETWORKS}
for _table in (_ALL, _IMAGES):
    _table.update({name: ruled(name, _table[name]) for name in RULES if name in _table})
globals().update({name: placed(__name__, name, fn) for name, fn in _ALL.items()})

# after the functions: these modules take theirs from above
from gradloom.keras.ops import image, linalg, nn, numpy  # noqa: E402, F401

__all__ = sorted([*_ALL, "image", "linalg", "nn", "numpy"])
