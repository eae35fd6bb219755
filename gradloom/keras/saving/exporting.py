"""``Model.export``: a model of the Keras face as ONNX, its open sizes left open."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom.errors import ArgumentError, GradloomError, NotSupportedError
from gradloom.keras import config, tree
from gradloom.keras.variables import KerasTensor
from gradloom.tensor import Tensor, from_numpy

__all__ = ["export_model"]

FORMATS = ("tf_saved_model", "onnx", "openvino", "litert", "torch")
BATCH = 2
TRIED = (8, 32, 128)
"""Sizes that other open axes are given for the recording: the first that the model takes."""


def export_model(
    model: Any, filepath: str | os.PathLike[str], format: str, verbose: Any, input_signature: Any,
    options: dict[str, Any],
) -> Any:  # fmt: skip
    """Write a model's call in inference mode to a file. See ``Model.export``."""
    if format not in FORMATS:
        raise ValueError(f"Unrecognized format={format!r}: Keras knows {', '.join(FORMATS)}")
    if format != "onnx":
        raise NotSupportedError(
            f"Model.export(format={format!r}) is not offered", code="keras.export",
            hint='format="onnx" is, which the runtimes of those formats read too; Model.save keeps a model whole',
        )  # fmt: skip
    given = _signature(model, input_signature)
    flat = tree.flatten(given)
    open_sizes = any(n is None for x in flat for n in tuple(x.shape)[1:])
    names = _names(model, given, flat)
    for k, size in enumerate(TRIED if open_sizes else TRIED[:1]):
        try:
            return _export(model, filepath, given, flat, names, size, verbose, options)
        except (GradloomError, ValueError, IndexError):
            if not open_sizes or k == len(TRIED) - 1:
                raise
    return None


def _export(
    model: Any, filepath: Any, given: Any, flat: Sequence[Any], names: list[str], size: int, verbose: Any,
    options: dict[str, Any],
) -> Any:  # fmt: skip
    from gradloom.onnx import export

    axes: dict[str, dict[int, Any]] = {}
    for name, x in zip(names, flat):
        wide = {k: "batch" if k == 0 else True for k, n in enumerate(x.shape) if n is None}
        if wide:
            axes[name] = wide
    outputs = _output_names(model, names)
    values = iter([_sample(x, size, k) for k, x in enumerate(flat)])
    inputs = tree.map_structure(lambda x: next(values), given)
    return export(
        model, (inputs,), filepath, kwargs={"training": False}, input_names=names, output_names=outputs,
        dynamic_axes=axes, verbose=bool(verbose), **options,
    )  # fmt: skip


def _signature(model: Any, input_signature: Any) -> Any:
    """The inputs as a structure of what has shape and dtype. Raises ArgumentError where a model does not know them."""
    if input_signature is not None:
        one = isinstance(input_signature, (list, tuple)) and len(input_signature) == 1
        return input_signature[0] if one else input_signature
    if model._graph is not None:
        return model.input
    shapes = getattr(model, "_build_shapes", None)
    if not shapes:
        raise ArgumentError(
            f"export: {model.name!r} does not know the shapes of its inputs", code="keras.export",
            hint="call it on data first, or give input_signature=[keras.InputSpec(shape=…, dtype=…)]",
        )  # fmt: skip
    found = shapes["input_shape"] if "input_shape" in shapes else next(iter(shapes.values()))
    return tree.map_shape_structure(lambda s: KerasTensor(s, model._dtype_of_inputs()), found)


def _names(model: Any, given: Any, flat: Sequence[Any]) -> list[str]:
    if model._graph is not None and len(model.inputs) == len(flat):
        return list(model.input_names)
    named = [getattr(x, "name", None) for x in flat]
    counted = itertools.count()
    return [str(n) if n and named.count(n) == 1 else f"input_{next(counted)}" for n in named]


def _output_names(model: Any, inputs: Sequence[str]) -> list[str] | None:
    names = list(model.output_names)
    plain = len(set(names)) == len(names) and not set(names) & set(inputs)
    return names if names and plain else None


def _sample(spec: Any, size: int, seed: int) -> Tensor:
    """Numbers of an input's shape and dtype: normal ones, or zeros and ones where they are whole."""
    dtype = str(getattr(spec, "dtype", None) or config.floatx())
    if dtype == "string":
        raise NotSupportedError(
            "export: an input of texts has no counterpart in an ONNX graph", code="keras.export",
            hint="export the model without its text layers, and run these before it",
        )  # fmt: skip
    shape = tuple((BATCH if k == 0 else size) if n is None else int(n) for k, n in enumerate(spec.shape))
    rng = np.random.default_rng(seed)
    kind = config.as_dtype(dtype)
    if kind.category >= 2:
        return from_numpy(rng.standard_normal(shape).astype(kind.numpy))
    return from_numpy(rng.integers(0, 2, shape).astype(kind.numpy))
