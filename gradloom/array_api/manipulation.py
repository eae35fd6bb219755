"""Shapes changed and arrays joined, with the standard's signatures."""

from __future__ import annotations

from typing import Any

from gradloom.array_api.promotion import common
from gradloom.errors import ExchangeError, IndexRangeError, ShapeError
from gradloom.functions import PUBLIC as G
from gradloom.tensor import Size, Tensor

__all__ = [
    "broadcast_arrays", "broadcast_shapes", "broadcast_to", "concat", "expand_dims", "flip", "matrix_transpose",
    "moveaxis", "permute_dims", "repeat", "reshape", "roll", "squeeze", "stack", "take", "take_along_axis", "tile",
    "unstack",
]  # fmt: skip

_Axes = int | tuple[int, ...] | None


def _tuple(x: Any) -> tuple[int, ...]:
    return (x,) if isinstance(x, int) else tuple(x)


def broadcast_arrays(*arrays: Tensor) -> list[Tensor]:
    """Arrays brought to one shape."""
    return list(G["broadcast_tensors"](*arrays))


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that arrays of these shapes broadcast to. Raises ShapeError where they do not."""
    from gradloom.ops.core import broadcast_shapes as common_shape

    return Size(common_shape("broadcast_shapes", [tuple(s) for s in shapes] or [()]))


def broadcast_to(x: Tensor, /, shape: tuple[int, ...]) -> Tensor:
    """An array brought to a shape."""
    return G["broadcast_to"](x, tuple(shape))


def concat(arrays: Any, /, *, axis: int | None = 0) -> Tensor:
    """Arrays joined along an axis; flattened first with ``axis=None``."""
    listed = common(arrays)
    if axis is None:
        return G["cat"]([x.reshape(-1) for x in listed], 0)
    return G["cat"](listed, axis)


def expand_dims(x: Tensor, /, axis: int = 0) -> Tensor:
    """A new axis of size 1. Raises IndexRangeError for an axis out of range."""
    if not -x.ndim - 1 <= axis <= x.ndim:
        raise IndexRangeError(
            f"expand_dims: axis {axis} is out of range for an array of {x.ndim} dimensions", code="index.axis",
            hint=f"axes run from {-x.ndim - 1} to {x.ndim}",
        )  # fmt: skip
    return G["unsqueeze"](x, axis)


def flip(x: Tensor, /, *, axis: _Axes = None) -> Tensor:
    """Elements in reverse order along axes, all by default."""
    axes = tuple(range(x.ndim)) if axis is None else _tuple(axis)
    return G["flip"](x, axes) if axes else x.clone()


def matrix_transpose(x: Tensor, /) -> Tensor:
    """The last two axes exchanged."""
    if x.ndim < 2:
        raise ShapeError(f"matrix_transpose: expected at least 2 dimensions, got {tuple(x.shape)}", code="shape.rank")
    return G["transpose"](x, -1, -2)


def moveaxis(x: Tensor, source: Any, destination: Any, /) -> Tensor:
    """Axes moved to other places, the rest in their order."""
    return G["moveaxis"](x, source, destination)


def permute_dims(x: Tensor, /, axes: tuple[int, ...]) -> Tensor:
    """Axes in another order."""
    return G["permute"](x, tuple(axes))


def repeat(x: Tensor, repeats: int | Tensor, /, *, axis: int | None = None) -> Tensor:
    """Each element repeated in place; of the flattened array with ``axis=None``."""
    return G["repeat_interleave"](x, repeats, axis)


def reshape(x: Tensor, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Tensor:
    """The same elements in another shape; a copy with ``copy=True``.

    Raises ExchangeError (a BufferError, as a ValueError would hide a wrong shape) where ``copy=False`` needs one.
    """
    if copy is False and not x.is_contiguous():
        raise ExchangeError("reshape: this shape cannot be had without a copy", code="exchange.copy", hint="copy=None")
    out = G["reshape"](x, tuple(shape))
    return out.clone() if copy else out


def roll(x: Tensor, /, shift: Any, *, axis: _Axes = None) -> Tensor:
    """Elements moved round along axes; of the flattened array with ``axis=None``."""
    if axis is None:
        return G["reshape"](G["roll"](G["reshape"](x, (-1,)), shift, 0), tuple(x.shape))
    axes = _tuple(axis)
    shifts = (shift,) * len(axes) if isinstance(shift, int) else tuple(shift)
    return G["roll"](x, shifts, axes)


def squeeze(x: Tensor, /, axis: Any) -> Tensor:
    """Axes of size 1 dropped. Raises ShapeError for an axis of another size."""
    axes = _tuple(axis)
    for k in axes:
        if not -x.ndim <= k < x.ndim:
            raise IndexRangeError(
                f"squeeze: axis {k} is out of range for an array of {x.ndim} dimensions", code="index.axis"
            )
        if x.shape[k] != 1:
            raise ShapeError(f"squeeze: axis {k} of shape {tuple(x.shape)} is not of size 1", code="shape.squeeze")
    return G["squeeze"](x, axes) if axes else x


def stack(arrays: Any, /, *, axis: int = 0) -> Tensor:
    """Arrays joined along a new axis."""
    return G["stack"](common(arrays), axis)


def take(x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    """Entries of an axis by an array of indices."""
    if axis is None and x.ndim != 1:
        raise ShapeError(f"take: shape {tuple(x.shape)} needs an axis", code="shape.take", hint="pass axis=")
    return G["take"](x, indices, 0 if axis is None else axis)


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """Elements of each row along an axis by an array of indices."""
    return G["take_along_axis"](x, indices, axis)


def tile(x: Tensor, repetitions: tuple[int, ...], /) -> Tensor:
    """The array repeated so many times along each axis."""
    return G["tile"](x, tuple(repetitions))


def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The array's slices along an axis."""
    return tuple(G["unstack"](x, axis))
