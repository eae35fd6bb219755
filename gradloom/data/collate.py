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
        return {key: stack([sample[key] for sample in batch]) for key in first}
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


def wrap(batch: Any) -> Any:
    """The same structure with tensors in the place of arrays."""
    if isinstance(batch, np.ndarray):
        return from_numpy(batch)
    if isinstance(batch, Mapping):
        return {key: wrap(value) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(wrap, batch))
    if isinstance(batch, list) and batch and not isinstance(batch[0], (str, bytes)):
        return [wrap(value) for value in batch]
    return batch


def default_collate(batch: Sequence[Any]) -> Any:
    """Stack samples into tensors with a batch axis in front.

    Raises
    ------
    ShapeError
        If samples differ in shape or in the number of parts.
    TypeError
        For samples that are neither arrays, numbers, strings nor tuples, lists and dicts of them.
    """
    return wrap(stack(batch))
