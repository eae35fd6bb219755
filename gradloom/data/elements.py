"""Elements of a pipeline: nested tuples and dicts with arrays, text or objects as leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.data.collate import holds_numbers
from gradloom.errors import ShapeError
from gradloom.tensor import Tensor, from_numpy


def mapped(element: Any, leaf: Callable[[Any], Any]) -> Any:
    """The same structure with `leaf` of each leaf."""
    if isinstance(element, tuple):
        parts = [mapped(part, leaf) for part in element]
        return type(element)(*parts) if hasattr(element, "_fields") else tuple(parts)
    if isinstance(element, dict):
        return {key: mapped(part, leaf) for key, part in element.items()}
    return leaf(element)


def leaves(element: Any) -> list[Any]:
    """The leaves of a structure, in order."""
    if isinstance(element, tuple):
        return [leaf for part in element for leaf in leaves(part)]
    if isinstance(element, dict):
        return [leaf for part in element.values() for leaf in leaves(part)]
    return [element]


def joined(elements: Sequence[Any], join: Callable[[list[Any]], Any]) -> Any:
    """Several elements of one structure as one, `join` of their leaves at each place."""
    first = elements[0]
    if isinstance(first, tuple):
        if any(not isinstance(e, tuple) or len(e) != len(first) for e in elements):
            raise ShapeError(
                "elements of different structure cannot be put together",
                code="data.structure",
                hint="each element must have the same parts",
            )
        parts = [joined(part, join) for part in zip(*elements)]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    if isinstance(first, dict):
        if any(not isinstance(e, dict) or e.keys() != first.keys() for e in elements):
            raise ShapeError(
                "elements with different keys cannot be put together",
                code="data.structure",
                hint="each element must have the same keys",
            )
        return {key: joined([e[key] for e in elements], join) for key in first}
    return join(list(elements))


def as_array(value: Any) -> Any:
    """A leaf as it is kept: tensors, numbers and lists as arrays, numbers in the default dtypes; others as they are."""
    if isinstance(value, Tensor):
        return value.detach().numpy()
    if isinstance(value, (np.ndarray, str, bytes)):
        return value
    if isinstance(value, np.str_):
        return str(value)
    if isinstance(value, bool):
        return np.asarray(value)
    if isinstance(value, int):
        return np.asarray(value, np.int64)
    if isinstance(value, float):
        return np.asarray(value, dtypes.default_float().numpy)
    if isinstance(value, np.generic):
        return np.asarray(value)
    if isinstance(value, list):
        if any(isinstance(v, Tensor) for v in value):
            return np.stack([as_array(v) for v in value])
        array = np.asarray(value)
        return array.astype(dtypes.default_float().numpy) if array.dtype == np.float64 else array
    return value


def shown(value: Any) -> Any:
    """A leaf as users see it: arrays of numbers as tensors."""
    if isinstance(value, np.ndarray) and holds_numbers(value):
        return from_numpy(np.asarray(value, order="C"))
    return value


def stacked(values: list[Any]) -> Any:
    """Leaves with an axis more in front. Raises ShapeError where their shapes differ."""
    if isinstance(values[0], np.ndarray):
        if len({v.shape for v in values}) > 1:
            raise ShapeError(
                f"batch: elements have different shapes: {', '.join(map(str, sorted({v.shape for v in values})))}",
                code="data.batch",
                hint="padded_batch brings them to one shape",
            )
        return np.stack(values)
    return np.asarray(values) if isinstance(values[0], (str, bytes)) else np.asarray(values, object)


def padded(values: list[Any], shape: Sequence[int | None] | None, fill: Any) -> Any:
    """Leaves brought to one shape, with an axis more in front.

    shape: where an axis is None or -1, or all is None: as long as the longest. fill: what is put in.
    Raises ShapeError where one is longer than `shape` allows.
    """
    if not isinstance(values[0], np.ndarray):
        return stacked(values)
    ranks = {v.ndim for v in values}
    rank = len(shape) if shape is not None else values[0].ndim
    if ranks != {rank}:
        raise ShapeError(
            f"padded_batch: elements of rank {sorted(ranks)} cannot be padded to a shape of rank {rank}",
            code="data.batch",
            hint="bring the elements to one rank",
        )
    longest = [max(v.shape[d] for v in values) for d in range(rank)]
    wanted = [n if shape is None or shape[d] in (None, -1) else int(shape[d]) for d, n in enumerate(longest)]  # type: ignore[arg-type]
    if any(n > w for n, w in zip(longest, wanted)):
        raise ShapeError(
            f"padded_batch: an element of shape {tuple(longest)} is larger than padded_shapes={tuple(wanted)}",
            code="data.batch",
            hint="give larger padded_shapes, or None for as long as the longest",
        )
    out = np.full((len(values), *wanted), 0 if fill is None else fill, values[0].dtype)
    for row, value in enumerate(values):
        where: tuple[Any, ...] = (row, *map(slice, value.shape))
        out[where] = value
    return out
