"""Optimisers, by the names, defaults and formulas of Keras 3."""

from __future__ import annotations

from typing import Any

from gradloom.keras import absent, schedules
from gradloom.keras.names import from_identifier, identifier_of
from gradloom.keras.optimizers.base import Optimizer
from gradloom.keras.optimizers.loss_scale import LossScaleOptimizer
from gradloom.keras.optimizers.rules import (
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Ftrl,
    Lamb,
    Lion,
    Muon,
    Nadam,
    RMSprop,
    ScheduleFreeAdamW,
)

__all__ = [
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "LossScaleOptimizer",
    "Muon",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "SGD",
    "ScheduleFreeAdamW",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]

_CLASSES = [
    Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Ftrl, Lamb, Lion, LossScaleOptimizer, Muon, Nadam, RMSprop, SGD,
    ScheduleFreeAdamW,
]  # fmt: skip
_TABLE: dict[str, Any] = {cls.__name__.lower(): cls for cls in _CLASSES}


def get(identifier: Any) -> Any:
    """The optimiser of a name with its defaults, or of a configuration; an object is itself."""
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, Optimizer):
        return identifier()  # type: ignore[call-arg]  # each public optimiser has a default rate
    found = from_identifier("optimizer", identifier, _TABLE)
    return found() if isinstance(found, type) else found


def serialize(optimizer: Any) -> Any:
    """An optimiser as a configuration."""
    return identifier_of(optimizer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The optimiser of a configuration."""
    found = from_identifier("optimizer", config, _TABLE, custom_objects)
    return found() if isinstance(found, type) else found


__getattr__ = absent.names_of("optimizers")
