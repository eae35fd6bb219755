"""What an optimiser keeps of a parameter."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.tensor import tensor


class Count(float):
    """A number that a step changes, kept as Python's."""


class State(dict[str, Any]):
    """State of one parameter by PyTorch's names.

    Counts and the numbers that follow from them are kept as Python's, so that a step costs nothing, and read as 0-d
    float32 tensors.
    """

    def __getitem__(self, name: str) -> Any:
        return _seen(super().__getitem__(name))

    def get(self, name: str, default: Any = None) -> Any:
        """The entry, or ``default``."""
        return _seen(super().get(name, default))

    def items(self) -> Any:
        """Names and entries."""
        return {k: _seen(v) for k, v in super().items()}.items()

    def values(self) -> Any:
        """The entries."""
        return {k: _seen(v) for k, v in super().items()}.values()


def _seen(value: Any) -> Any:
    return tensor(np.asarray(value, np.float32)) if type(value) is Count else value
