"""Weights of layers and models: set from arrays, saved to and loaded from safetensors files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.errors import NotSupportedError, ShapeError, StateError
from gradloom.io import safetensors
from gradloom.modes import no_grad
from gradloom.tensor import from_numpy

if TYPE_CHECKING:
    from gradloom.keras.layers.base import Layer


def assign(layer: Layer, weights: Sequence[Any]) -> None:
    """Set the weights of a layer or model, in their order. Nothing is set unless everything fits.

    Raises
    ------
    ShapeError : another number of arrays, or an array of another shape; the message names the weight.
    """
    named = list(layer.named_parameters())
    if len(named) != len(weights):
        hint = "" if named or getattr(layer, "built", True) else "build the model first, by data or by an Input layer"
        raise ShapeError(
            f"{layer.name!r} has {len(named)} weights, {len(weights)} were given", code="keras.weights", hint=hint
        )
    arrays = [np.array(w, np.float32, order="C") for w in weights]
    for (name, parameter), array in zip(named, arrays):
        if tuple(parameter.shape) != array.shape:
            raise ShapeError(
                f"{layer.name!r}: weight {name!r} has shape {tuple(parameter.shape)}, {array.shape} was given",
                code="keras.weights",
                hint="give the arrays in the order of get_weights(); a Dense kernel is (inputs, units)",
            )
    with no_grad():
        for (_, parameter), array in zip(named, arrays):
            parameter.copy_(from_numpy(array))


def save(layer: Layer, path: str | os.PathLike[str]) -> None:
    """Write the weights to a ``.safetensors`` file, in one step: a failed save leaves the old file."""
    _check_ending(path)
    if not layer.built:
        raise StateError(
            f"{layer.name!r} has no weights yet",
            code="keras.not-built",
            hint="build it first, by data or by an Input layer",
        )
    safetensors.save(dict(layer.named_parameters()), path, {"format": "gradloom"})


def load(layer: Layer, path: str | os.PathLike[str]) -> None:
    """Set the weights to those of a ``.safetensors`` file, matched by name."""
    _check_ending(path)
    found = safetensors.load(path)
    names = [name for name, _ in layer.named_parameters()]
    missing, extra = sorted(set(names) - set(found)), sorted(set(found) - set(names))
    if missing or extra:
        said = [f"the file lacks {', '.join(missing)}"] if missing else []
        said += [f"the model lacks {', '.join(extra)}"] if extra else []
        hint = "the file is of another model"
        if not names:
            hint = "build the model first, by data or by an Input layer"
        raise ShapeError(f"{path}: {'; '.join(said)}", code="keras.weights", hint=hint)
    assign(layer, [found[name].numpy() for name in names])


def _check_ending(path: str | os.PathLike[str]) -> None:
    name = Path(path).name
    if not name.endswith(".safetensors"):
        hint = "name the file .safetensors"
        if name.endswith((".h5", ".keras", ".hdf5")):
            hint = "HDF5 and .keras archives are not read or written; name the file .safetensors"
        raise NotSupportedError(f"{name}: not a safetensors file", code="keras.file-format", hint=hint)
