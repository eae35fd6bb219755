"""Images: models, operators, transforms, sets of pictures and drawing under the names of `torchvision`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradloom.vision import datasets, models, ops, transforms, utils

__all__ = ["datasets", "models", "ops", "transforms", "utils"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"gradloom.vision.{name}")
    raise AttributeError(f"gradloom.vision has no {name!r}; there are {', '.join(__all__)}")
