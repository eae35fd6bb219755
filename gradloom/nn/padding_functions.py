"""Padding of `nn.functional`: constant, reflected, replicated or circular borders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.functions.movement import slice_axis
from gradloom.functions.rearrange import constant_pad_nd
from gradloom.tensor import Tensor

__all__ = ["pad"]

_Border = Callable[[Tensor, int, int, int], tuple[Tensor, Tensor]]  # (x, axis, low, high) -> both borders


def _reflected(x: Tensor, axis: int, low: int, high: int) -> tuple[Tensor, Tensor]:
    n = x.shape[axis]
    return (
        G.flip(slice_axis(x, axis, 1, low + 1), axis),
        G.flip(slice_axis(x, axis, n - 1 - high, n - 1), axis),
    )


def _replicated(x: Tensor, axis: int, low: int, high: int) -> tuple[Tensor, Tensor]:
    n, shape = x.shape[axis], tuple(x.shape)

    def wide(edge: Tensor, size: int) -> Tensor:
        return G.broadcast_to(edge, (*shape[:axis], size, *shape[axis + 1 :]))

    return wide(slice_axis(x, axis, 0, 1), low), wide(slice_axis(x, axis, n - 1, n), high)


def _circular(x: Tensor, axis: int, low: int, high: int) -> tuple[Tensor, Tensor]:
    n = x.shape[axis]
    return slice_axis(x, axis, n - low, n), slice_axis(x, axis, 0, high)


_BORDERS: dict[str, tuple[_Border, int]] = {  # and how far a border reaches at most, short of the size
    "reflect": (_reflected, 1),
    "circular": (_circular, 0),
    "replicate": (_replicated, 0),
}


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Borders put around the last axes of a tensor.

    Parameters
    ----------
    pad: (low, high) of the last axis, then of the one before, and so on; negative numbers cut off.
    mode: ``"constant"`` (``value``, 0 where it is None), ``"reflect"`` (mirrored at the edge, which is not repeated),
    ``"replicate"`` (the edge repeated), ``"circular"`` (from the other end).

    Raises
    ------
    ShapeError: for an odd number of pads, more pairs than axes, or a border that reaches beyond the tensor.
    ValueError: for another mode, or a value with one that takes none.
    """
    pads = tuple(int(p) for p in pad)
    if mode == "constant":
        return constant_pad_nd(input, pads, 0 if value is None else value)
    if mode not in _BORDERS:
        raise ValueError(f"pad: mode {mode!r} is none of 'constant', {', '.join(map(repr, _BORDERS))}")
    if value is not None and value != 0:
        raise ValueError(f"pad: mode {mode!r} takes no value, got {value}")
    pairs = len(pads) // 2
    if len(pads) % 2 or not input.ndim - 2 <= pairs < max(input.ndim, 2):
        raise ShapeError(
            f"pad: {len(pads)} pads for a tensor of shape {tuple(input.shape)} in mode {mode!r}", code="shape.pad",
            hint="give two for each axis behind batch and channel, the last axis first",
        )  # fmt: skip
    border, short = _BORDERS[mode]
    x = input
    if mode == "circular":  # what is cut off does not come round; mirrors and edges are those of the whole
        x, pads = constant_pad_nd(x, [min(p, 0) for p in pads]), tuple(max(p, 0) for p in pads)
    for j in range(pairs):
        axis = input.ndim - 1 - j
        n, start = x.shape[axis], -pads[2 * j]
        stop = n + pads[2 * j + 1]  # places from start to stop, those outside of 0 to n being borders
        if stop < start or (n == 0 and stop > start):
            raise ShapeError(
                f"pad: pads {pads[2 * j : 2 * j + 2]} of axis {axis} with {n} entries", code="shape.pad"
            )  # fmt: skip
        low, high = max(0, min(stop, 0) - start), max(0, stop - max(start, n))
        if mode != "replicate" and max(low, high) > n - short:
            raise ShapeError(
                f"pad: borders ({low}, {high}) of axis {axis} are too wide for mode {mode!r}: it has {n} entries",
                code="shape.pad", hint=f"at most {max(n - short, 0)}",
            )  # fmt: skip
        parts = [slice_axis(x, axis, min(max(start, 0), n), max(min(stop, n), min(max(start, 0), n)))]
        if low or high:
            before, after = border(x, axis, low, high)
            parts = [t for t in (before, *parts, after) if t.shape[axis]]
        x = G.cat(parts, axis) if len(parts) > 1 else parts[0]
    return x
