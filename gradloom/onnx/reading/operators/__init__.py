"""The operators by family; importing this enters them into the table."""

from __future__ import annotations

from gradloom.onnx.reading.operators import (
    attention,
    control,
    images,
    math,
    movement,
    network,
    quantised,
    recurrent,
    reductions,
    signal,
)

__all__ = [
    "attention", "control", "images", "math", "movement", "network", "quantised", "recurrent", "reductions", "signal",
]  # fmt: skip
