"""Elements moved, none computed: the plain forms that the library itself uses, which give new values and no views.

The user's forms of those that are views in PyTorch stand in :mod:`gradloom.functions.views`; other joins in ``joins``,
what reorders or repeats in ``rearrange``.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.errors import IndexRangeError, ShapeError
from gradloom.functions.base import apply, axes_of, const, operand, pick, sizes_of
from gradloom.functions.elementwise import cast
from gradloom.ops import elementwise as E
from gradloom.ops import gather as I
from gradloom.ops import structure as S
from gradloom.tape import TAPE
from gradloom.tensor import Tensor, from_numpy

__all__ = ["cat", "flip", "stack"]
FUNCTION_ONLY = ["cat", "stack"]
INTERNAL = (
    "at_least broadcast_to diagonal embed_diagonal expand flatten moved_axes narrow permute promoted "
    "region_of reshape resolved "
    "slice_axis squeeze strided swap_last swapaxes transpose unsqueeze update_slice windows"
).split()

_SAMPLES, _SMALL = 8, 1 << 20  # so many tensors, of so few elements, are joined at once where they are there


def resolved(old: tuple[int, ...], new: Sequence[int]) -> tuple[int, ...]:
    """The sizes of a reshape, -1 replaced. Raises ShapeError where the number of elements would change."""
    new, size = tuple(new), math.prod(old)
    if -1 in new:
        rest = math.prod(n for n in new if n != -1)
        if new.count(-1) > 1 or (size % rest if rest else True):
            raise ShapeError(
                f"reshape: shape {old} ({size} elements) cannot become {new}", code="shape.reshape",
                hint="the sizes given must divide the number of elements, and only one may be -1",
            )  # fmt: skip
        new = tuple(size // rest if n == -1 else n for n in new)
    if math.prod(new) != size or builtins.any(n < 0 for n in new):
        raise ShapeError(
            f"reshape: shape {old} has {size} elements, {new} has {math.prod(new)}", code="shape.reshape",
            hint="the number of elements must stay the same",
        )  # fmt: skip
    return new


def reshape(input: Tensor, shape: Any) -> Tensor:
    """The same elements in another shape; one size may be -1."""
    new = tuple(int(n) for n in (shape if isinstance(shape, (tuple, list)) else (shape,)))
    old = tuple(input.shape)
    return input if new == old else apply(S.reshape, (input,), (resolved(old, new),))


def permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    """Axes in another order."""
    n = input.ndim
    order = tuple(int(d) % n if n and -n <= int(d) < n else int(d) for d in dims)
    if sorted(order) != list(range(n)):
        raise ShapeError(f"permute: {tuple(dims)} is no order of {n} axes", code="shape.permute")
    return input if order == tuple(range(n)) else apply(S.permute, (input,), (order,))


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes swapped."""
    n = input.ndim
    (a,), (b,) = axes_of("transpose", dim0, n), axes_of("transpose", dim1, n)
    order = list(range(n))
    order[a], order[b] = order[b], order[a]
    return permute(input, order)


def at_least(shape: Sequence[int], ndim: int) -> tuple[int, ...]:
    """A shape brought to ``ndim`` axes as NumPy's ``atleast_2d`` and ``atleast_3d`` do."""
    s = tuple(shape)
    if ndim == 3 and len(s) in (1, 2):
        return (1, *s, 1) if len(s) == 1 else (*s, 1)
    return (1,) * (ndim - len(s)) + s


def swap_last(x: Tensor) -> Tensor:
    """The last two axes swapped."""
    return permute(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def broadcast_to(input: Tensor, shape: Sequence[int]) -> Tensor:
    """Broadcast to a shape, as NumPy."""
    shape = tuple(int(n) for n in shape)
    if shape == input.shape:
        return input
    if len(shape) < input.ndim or builtins.any(
        n not in (1, m) for n, m in zip(input.shape, shape[len(shape) - input.ndim :], strict=True)
    ):
        raise ShapeError(
            f"broadcast_to: shape {tuple(input.shape)} does not broadcast to {shape}", code="shape.broadcast"
        )
    return apply(S.expand, (input,), (shape,))


def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Axes of size 1 repeated without copies; -1 keeps a size."""
    flat = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    lead = len(flat) - input.ndim
    shape = tuple(input.shape[k - lead] if n == -1 else int(n) for k, n in enumerate(flat))
    return broadcast_to(input, shape)


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A new axis of size 1 at ``dim``."""
    n = input.ndim + 1
    (k,) = axes_of("unsqueeze", dim, n)
    return reshape(input, (*input.shape[:k], 1, *input.shape[k:]))


def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Axes of size 1 dropped: all, or those named."""
    axes = axes_of("squeeze", dim, input.ndim)
    return reshape(input, tuple(n for k, n in enumerate(input.shape) if not (n == 1 and k in axes)))


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes from ``start_dim`` to ``end_dim`` as one."""
    if not input.ndim:
        return reshape(input, (1,))
    (a,), (b,) = axes_of("flatten", start_dim, input.ndim), axes_of("flatten", end_dim, input.ndim)
    if a > b:
        raise ShapeError(f"flatten: start_dim {a} comes after end_dim {b}", code="shape.flatten")
    return reshape(input, (*input.shape[:a], math.prod(input.shape[a : b + 1]), *input.shape[b + 1 :]))


def flip(input: Tensor, *args: Any, dims: Any = None, axis: Any = None) -> Tensor:
    """Axes in reverse: those in ``dims``, given as one sequence or one by one; all without."""
    axes = axes_of("flip", sizes_of(args) if args else pick(dims, axis), input.ndim)
    if not axes or 0 in input.shape:
        return apply(S.reshape, (input,), (tuple(input.shape),))
    starts = tuple(n - 1 if k in axes else 0 for k, n in enumerate(input.shape))
    stops = tuple(-1 if k in axes else n for k, n in enumerate(input.shape))
    return apply(S.slice_, (input,), (starts, stops, tuple(-1 if k in axes else 1 for k in range(input.ndim))))


def promoted(tensors: Sequence[Any], name: str) -> list[Tensor]:
    """Tensors in the dtype they promote to. Raises ShapeError where there are none."""
    ts = [operand(t) for t in tensors]
    if not ts:
        raise ShapeError(f"{name}: needs at least one tensor", code=f"shape.{name}", hint="give a list of tensors")
    d = dtypes.result_type([(t.dtype, t._v.aval.rank) for t in ts])
    return [cast(t, d) for t in ts]


def cat(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors one after the other along an axis; dtypes promote.

    1-d tensors without elements are skipped whatever the shape of the others. Raises ShapeError for 0-d tensors, and
    where shapes differ outside of the axis.
    """
    ts = promoted(tensors, "cat")
    full = [t for t in ts if t.shape != (0,)] or ts[:1]
    if not full[0].ndim:
        raise ShapeError(
            "cat: a 0-d tensor cannot be concatenated", code="shape.cat", hint="use stack, or reshape it to (1,)"
        )
    (k,) = axes_of("cat", dim if axis is None else axis, full[0].ndim)
    if _known(full):
        S.cat.infer([t._v.aval for t in full], (k,))
        return from_numpy(np.concatenate([t.numpy() for t in full], axis=k))
    return apply(S.cat, tuple(full), (k,))


def _known(ts: Sequence[Tensor]) -> bool:
    """Whether many small values without gradients are there already: samples drawn from a memory, to be collated.

    Some of them may be the same tensor, others each time, and every such pattern would be a program of its own.
    Where a function or a step is recorded as a whole its inputs must stay inputs.
    """
    if len(ts) < _SAMPLES or TAPE.traces or TAPE.inside or TAPE.lifted or TAPE.whole or TAPE.watch is not None:
        return False
    return sum(t.numel() for t in ts) <= _SMALL and all(
        t._v.entry is None and t._v.buf is not None and t._v.hist is None and not t._rg for t in ts
    )


def stack(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors of one shape along a new axis. Raises ShapeError where shapes differ."""
    ts = promoted(tensors, "stack")
    for t in ts:
        if t.shape != ts[0].shape:
            raise ShapeError(
                f"stack: shapes {tuple(ts[0].shape)} and {tuple(t.shape)} differ", code="shape.stack",
                hint="all tensors must have one shape; cat joins along an axis that is there",
            )  # fmt: skip
    d = dim if axis is None else axis
    (k,) = axes_of("stack", d, ts[0].ndim + 1)
    if _known(ts):
        return from_numpy(np.stack([t.numpy() for t in ts], axis=k))
    return apply(S.cat, tuple(unsqueeze(t, d) for t in ts), (k,))


def region_of(shape: Sequence[int], axis: int, start: int, stop: int, step: int = 1) -> tuple:
    """The region (starts, stops, steps) of a shape that is all but for a range of one axis."""
    starts = tuple(start if j == axis else 0 for j in range(len(shape)))
    stops = tuple(stop if j == axis else n for j, n in enumerate(shape))
    return starts, stops, tuple(step if j == axis else 1 for j in range(len(shape)))


def slice_axis(input: Tensor, axis: int, start: int, stop: int, step: int = 1) -> Tensor:
    """A range of one axis, given in full: ``axis`` counted from 0, bounds within it (stop -1: past the front)."""
    if start == 0 and step == 1 and stop == input.shape[axis]:
        return input
    return apply(S.slice_, (input,), region_of(input.shape, axis, start, stop, step))


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """``length`` entries of an axis from ``start`` on."""
    (k,) = axes_of("narrow", dim, input.ndim)
    if not 0 <= start <= start + length <= input.shape[k]:
        raise IndexRangeError(
            f"narrow: {start}..{start + length} is not within axis {k} of {tuple(input.shape)}", code="index.narrow"
        )
    return slice_axis(input, k, start, start + length)


def update_slice(x: Tensor, value: Tensor, region: tuple) -> Tensor:
    """``x`` with the region (starts, stops, steps) replaced."""
    return apply(S.update_slice, (x, cast(value, x.dtype)), region)


def moved_axes(name: str, source: Any, destination: Any, ndim: int) -> tuple[int, ...]:
    """The order of axes after those in ``source`` were moved to the places in ``destination``."""
    pairs = []
    for d in (source, destination):
        d = tuple(d) if isinstance(d, (tuple, list)) else (d,)
        axes_of(name, d, ndim)  # in range, and none twice
        pairs.append(tuple(int(k) % ndim for k in d) if ndim else ())
    if len(pairs[0]) != len(pairs[1]):
        raise ShapeError(
            f"{name}: {len(pairs[0])} source axes and {len(pairs[1])} destinations", code="shape.movedim",
            hint="give as many destinations as sources",
        )  # fmt: skip
    rest = iter(k for k in range(ndim) if k not in pairs[0])
    placed = dict(zip(pairs[1], pairs[0], strict=True))
    return tuple(placed[k] if k in placed else next(rest) for k in range(ndim))


def _last_two(input: Tensor, dim1: int, dim2: int) -> tuple[int, ...]:
    """The order that puts two axes last."""
    return (*(k for k in range(input.ndim) if k not in (dim1, dim2)), dim1, dim2)


def diagonal_region(m: int, n: int, offset: int, lead: Sequence[int]) -> tuple[int, tuple]:
    """Length of a diagonal of (m, n) matrices, and its region in them laid out flat: every (n + 1)th entry."""
    length = builtins.max(0, builtins.min(m, n - offset) if offset >= 0 else builtins.min(m + offset, n))
    first = offset if offset >= 0 else -offset * n
    stop = first + (length - 1) * (n + 1) + 1 if length else first
    if not length:
        first = stop = 0
    return length, ((*(0 for _ in lead), first), (*lead, stop), (*(1 for _ in lead), n + 1))


def diagonal(input: Tensor, offset: int, dim1: int, dim2: int) -> Tensor:
    """Diagonals of the matrices in two axes (counted from 0), as the last axis."""
    x = permute(input, _last_two(input, dim1, dim2))
    *lead, m, n = x.shape
    _, region = diagonal_region(m, n, offset, lead)
    return apply(S.slice_, (reshape(x, (*lead, m * n)),), region)


def embed_diagonal(input: Tensor, new: Tensor, offset: int, dim1: int, dim2: int) -> Tensor:
    """``input`` with the diagonals of the matrices in two axes (counted from 0) replaced."""
    order = _last_two(input, dim1, dim2)
    x = permute(input, order)
    *lead, m, n = x.shape
    _, region = diagonal_region(m, n, offset, lead)
    flat = update_slice(reshape(x, (*lead, m * n)), new, region)
    return permute(reshape(flat, tuple(x.shape)), inverse(order))


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """The order that undoes an order of axes."""
    back = [0] * len(order)
    for k, d in enumerate(order):
        back[d] = k
    return tuple(back)


def strided_index(size: Sequence[int], stride: Sequence[int], offset: int) -> Tensor:
    """int64 positions in flat memory of an array with these sizes and strides."""
    at = full_index(offset, size)
    for k, (n, s) in enumerate(zip(size, stride, strict=True)):
        if n > 1 and s:
            steps = apply(E.mul, (apply(S.iota, (), (n, dtypes.int64)), const(s)))
            at = apply(E.add, (at, reshape(steps, (n, *(1 for _ in size[k + 1 :])))))
    return at


def full_index(value: int, size: Sequence[int]) -> Tensor:
    """One position everywhere."""
    return apply(S.full, (), (value, tuple(size), dtypes.int64, False))


def strided(flat: Tensor, size: Sequence[int], stride: Sequence[int], offset: int) -> Tensor:
    """Elements of a flat tensor by sizes and strides."""
    return apply(I.take, (flat, strided_index(size, stride, offset)), (0,))


def windows(input: Tensor, axis: int, size: int, step: int) -> Tensor:
    """Windows of ``size`` entries of an axis, every ``step``: (..., windows, ..., size), the window's axis last."""
    if not input.ndim:
        return slice_axis(reshape(input, (1,)), 0, 0, size)  # a scalar is one window of one entry, or of none
    n = (input.shape[axis] - size) // step + 1
    y = apply(I.take, (input, strided_index((n, size), (step, 1), 0)), (axis,))
    return permute(y, (*(k for k in range(y.ndim) if k != axis + 1), axis + 1))


swapaxes = transpose
