"""Samples to batches: arrays are stacked, numbers become arrays, tuples and dicts are gone through.

The stacking is done by NumPy and the tensors are wrapped at the very end, so that worker threads touch no tape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradloom.errors import ShapeError
from gradloom.tensor import Tensor, from_numpy


def stack(batch: Sequence[Any]) -> Any:
    """A list of samples to one sample whose leaves are arrays with a first axis more."""
    first = batch[0]
    if isinstance(first, (Tensor, np.ndarray, np.generic)):
        arrays = [np.asarray(x.numpy() if isinstance(x, Tensor) else x) for x in batch]
        shapes = {a.shape for a in arrays}
        if len(shapes) > 1:
            raise ShapeError(
                f"samples of different shapes cannot be stacked: {', '.join(map(str, sorted(shapes)))}",
                code="shape.collate",
                hint="bring the samples to one shape, or pass a collate_fn that pads them",
            )
        return np.stack(arrays)
    if isinstance(first, bool):
        return np.array(batch, np.bool_)
    if isinstance(first, int):
        return np.array(batch, np.int64)
    if isinstance(first, float):
        return np.array(batch, np.float64)
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        return _like(first, {key: stack([sample[key] for sample in batch]) for key in first})
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise ShapeError(
                f"samples have different numbers of parts: {sorted({len(s) for s in batch})}",
                code="shape.collate",
                hint="each sample must have the same parts, or pass a collate_fn",
            )
        parts = [stack(part) for part in zip(*batch)]
        return type(first)(*parts) if hasattr(first, "_fields") else parts
    raise TypeError(f"cannot make a batch of {type(first).__name__}; pass a collate_fn")


def holds_numbers(array: np.ndarray) -> bool:
    """Whether a tensor can be made of an array."""
    return array.dtype.kind in "biufc" or array.dtype.name in _NAMED


def default_convert(data: Any) -> Any:
    """The same structure with tensors in the place of arrays; what is neither array nor structure stays."""
    if isinstance(data, np.ndarray):
        return from_numpy(data) if holds_numbers(data) else data
    if isinstance(data, np.generic):
        return default_convert(np.asarray(data))
    if isinstance(data, Mapping):
        return _like(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(default_convert, data))
    if isinstance(data, tuple):
        return tuple(map(default_convert, data))
    if isinstance(data, list):
        return [default_convert(value) for value in data]
    return data


_NAMED = {"bfloat16", "float8_e4m3fn", "float8_e5m2"}  # kinds that NumPy does not know as its own


def _like(data: Mapping[Any, Any], values: dict[Any, Any]) -> Any:
    """`values` as a mapping of the kind of `data`, where it can be made from a dict."""
    if type(data) is dict:
        return values
    try:
        return type(data)(values)  # type: ignore[call-arg]
    except TypeError:
        return values


def default_collate(batch: Sequence[Any]) -> Any:
    """Stack samples into tensors with a batch axis in front.

    Raises
    ------
    ShapeError
        If samples differ in shape or in the number of parts.
    TypeError
        For samples that are neither arrays, numbers, strings nor tuples, lists and dicts of them.
    """
    return default_convert(stack(batch))
