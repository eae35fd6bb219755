"""Names that PyTorch and TensorFlow both have for different things: a call that can only be TensorFlow's is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom import dtypes, functions
from gradloom.errors import ShapeError
from gradloom.functions.creation import arange, full
from gradloom.functions.elementwise import cast, where
from gradloom.tensor import Tensor, as_tensor

__all__ = ["fill", "gather", "one_hot", "split"]


def _torch(name: str) -> Callable[..., Any]:
    return functions.with_out(functions.PUBLIC[name])  # type: ignore[no-any-return]


_fill, _gather, _one_hot, _split = map(_torch, __all__)


@functools.wraps(_gather)
def gather(*args: Any, **kwargs: Any) -> Tensor:
    """PyTorch's `gather(input, dim, index)`; TensorFlow's `gather(params, indices, axis=0, batch_dims=0)`."""
    if len(args) + ("index" in kwargs) + ("dim" in kwargs) + ("input" in kwargs) >= 3:
        return _gather(*args, **kwargs)  # type: ignore[no-any-return]
    return _rows(*args, **kwargs)


def _rows(params: Any, indices: Any, axis: int | None = None, batch_dims: int = 0, name: str | None = None) -> Tensor:
    x, chosen = as_tensor(params), as_tensor(indices)
    lead = batch_dims % (chosen.ndim + 1) if batch_dims < 0 else batch_dims
    along = (lead if axis is None else axis) % max(x.ndim, 1)
    if tuple(x.shape[:lead]) != tuple(chosen.shape[:lead]) or along < lead:
        raise ShapeError(
            f"gather: batch_dims={batch_dims} and axis={axis} do not fit {tuple(x.shape)} and {tuple(chosen.shape)}",
            code="shape.gather",
            hint="the first batch_dims axes agree, and axis comes after them",
        )
    # one index for each axis: batch axes count, axes between batch and `along` and those behind it are taken whole
    rest = chosen.ndim - lead
    index: list[Any] = []
    for d in range(lead):
        index.append(arange(x.shape[d]).reshape([-1 if k == d else 1 for k in range(lead + rest)]))
    if along == lead:
        return x[(*index, chosen)]
    moved = x.movedim(along, lead)
    found = moved[(*index, chosen)]
    return found.movedim(tuple(range(lead, lead + rest)), tuple(range(along, along + rest)))  # type: ignore[no-any-return]


@functools.wraps(_split)
def split(*args: Any, **kwargs: Any) -> Any:
    """PyTorch's `split(tensor, split_size_or_sections, dim)`; with `axis` or `num_or_size_splits` TensorFlow's."""
    if "axis" in kwargs or "num_or_size_splits" in kwargs or "value" in kwargs:
        return _parts(*args, **kwargs)
    return _split(*args, **kwargs)


def _parts(
    value: Any, num_or_size_splits: Any, axis: int = 0, num: int | None = None, name: str | None = None
) -> list[Tensor]:
    x = as_tensor(value)
    length = x.shape[axis]
    if isinstance(num_or_size_splits, (int, np.integer)):
        if length % num_or_size_splits:
            raise ShapeError(
                f"split: axis {axis} of length {length} cannot be cut into {num_or_size_splits} equal parts",
                code="shape.split",
                hint="give the lengths of the parts",
            )
        sizes = [length // int(num_or_size_splits)] * int(num_or_size_splits)
    else:
        sizes = [int(n) for n in num_or_size_splits]
        if sizes.count(-1) == 1:
            sizes[sizes.index(-1)] = length - sum(sizes) - 1
    return list(_split(x, sizes, dim=axis))


@functools.wraps(_fill)
def fill(*args: Any, **kwargs: Any) -> Tensor:
    """PyTorch's `fill(input, value)`; with a shape in the place of a tensor, TensorFlow's `fill(dims, value)`."""
    if "dims" in kwargs or (args and isinstance(args[0], (list, tuple))):
        return _filled(*args, **kwargs)
    return _fill(*args, **kwargs)  # type: ignore[no-any-return]


def _filled(dims: Any, value: Any, name: str | None = None) -> Tensor:
    kind = dtypes.int32 if isinstance(value, int) and not isinstance(value, bool) else None
    return full(tuple(int(n) for n in dims), value, dtype=kind)


@functools.wraps(_one_hot)
def one_hot(*args: Any, **kwargs: Any) -> Tensor:
    """PyTorch's function of integers, which refuses labels outside; with a keyword of TensorFlow's, TensorFlow's.

    TensorFlow's: a 1 (or `on_value`) at each index, on an axis of length `depth`, float32; an index outside gives no 1.
    """
    if kwargs.keys() & {"indices", "depth", "on_value", "off_value", "axis", "dtype", "name"}:
        return _hot(*args, **kwargs)
    return _one_hot(*args, **kwargs)  # type: ignore[no-any-return]


def _hot(
    indices: Any, depth: int, on_value: Any = None, off_value: Any = None, axis: int = -1, dtype: Any = None,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    at, rank = as_tensor(indices), as_tensor(indices).ndim + 1
    place = axis % rank
    count = arange(int(depth)).reshape([-1 if d == place else 1 for d in range(rank)])
    chosen = at.unsqueeze(place) == count
    kind = dtypes.as_dtype(dtype) if dtype is not None else as_tensor(1.0 if on_value is None else on_value).dtype
    if on_value is None and off_value is None:
        return cast(chosen, kind)
    on, off = (as_tensor(v) for v in (1 if on_value is None else on_value, 0 if off_value is None else off_value))
    return cast(where(chosen, on, off), kind)
