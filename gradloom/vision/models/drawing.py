"""What the models share where they draw their weights."""

from __future__ import annotations

from gradloom import nn
from gradloom.nn import init

__all__ = ["zero_bias"]


def zero_bias(layer: nn.Conv2d | nn.Linear) -> None:
    """Start with a bias of zeros, where there is one."""
    if layer.bias is not None:
        init.zeros_(layer.bias)
