"""Weights of layers and models, set from arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.errors import ShapeError

if TYPE_CHECKING:
    from gradloom.keras.layers.base import Layer


def assign(layer: Layer, weights: Sequence[Any]) -> None:
    """Set the weights of a layer or model, in their order. Nothing is set unless everything fits.

    Raises
    ------
    ShapeError : another number of arrays, or an array of another shape; the message names the weight.
    """
    named = [(v.name, v) for v in layer.weights]
    if len(named) != len(weights):
        hint = "" if named or getattr(layer, "built", True) else "build the model first, by data or by an Input layer"
        raise ShapeError(
            f"{layer.name!r} has {len(named)} weights, {len(weights)} were given", code="keras.weights", hint=hint
        )
    arrays = [np.asarray(w.detach().numpy() if hasattr(w, "detach") else w) for w in weights]
    for (name, parameter), array in zip(named, arrays):
        if tuple(parameter.shape) != array.shape:
            raise ShapeError(
                f"{layer.name!r}: weight {name!r} has shape {tuple(parameter.shape)}, {array.shape} was given",
                code="keras.weights",
                hint="give the arrays in the order of get_weights(); a Dense kernel is (inputs, units)",
            )
    for (_, parameter), array in zip(named, arrays):
        parameter.assign(array)
