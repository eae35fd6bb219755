"""Views of all of a tensor's elements: in another shape, with axes in another order, as another dtype's bits.

A write to a view reaches its base, and one to the base is seen in the view. Every view function is one of six moves:
another shape, another order of axes, a region (both here), a diagonal (``pieces``), repeated axes, or sizes and
strides over flat memory (``overlaps``). The library's own formulas use the plain forms of
:mod:`gradloom.functions.movement` instead.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom.dtypes import DType, as_dtype
from gradloom.errors import ShapeError
from gradloom.functions import movement as M
from gradloom.functions.base import apply, axes_of, operand, pick, sizes_of
from gradloom.functions.elementwise import detach
from gradloom.functions.layouts import Rule, Strides, contiguous_strides, layout_of, region_strides, reshaped_strides
from gradloom.ops import structure as S
from gradloom.ops.bits import bitcast
from gradloom.tensor import Tensor, _view

__all__ = (
    "adjoint atleast_1d atleast_2d atleast_3d expand_dims flatten matrix_transpose moveaxis movedim permute "
    "permute_dims ravel reshape squeeze swapaxes swapdims t transpose unflatten unsqueeze"
).split()
METHODS = "reshape_as view view_as".split()
FUNCTION_ONLY = "atleast_1d atleast_2d atleast_3d".split()


def _restored(base: Tensor, new: Tensor) -> Tensor:
    return M.reshape(new, base.shape)


def _reshaped(input: Tensor, shape: tuple[int, ...], rule: Rule | None = None) -> Tensor:
    def redo(b: Tensor) -> Tensor:
        return b if b.shape == shape else apply(S.reshape, (b,), (shape,))

    def strides(old: Strides, st: Strides, offset: int) -> tuple[Strides, int]:
        new = reshaped_strides(old, st, shape)
        return contiguous_strides(shape) if new is None else new, offset

    return _view(input, redo, _restored, rule or strides)


def _permuted(input: Tensor, order: tuple[int, ...]) -> Tensor:
    back = M.inverse(order)

    def strides(old: Strides, st: Strides, offset: int) -> tuple[Strides, int]:
        return tuple(st[k] for k in order), offset

    return _view(input, lambda b: M.permute(b, order), lambda b, new: M.permute(new, back), strides)


def region_view(input: Tensor, region: tuple, shape: tuple[int, ...]) -> Tensor:
    """The region (starts, stops, steps), in a shape that has more or fewer axes of size 1."""

    def redo(b: Tensor) -> Tensor:
        whole = region == ((0,) * b.ndim, tuple(b.shape), (1,) * b.ndim)
        return M.reshape(b if whole else apply(S.slice_, (b,), region), shape)

    def sizes() -> tuple[int, ...]:
        return tuple(len(range(a, b, s)) for a, b, s in zip(*region, strict=True))

    def undo(b: Tensor, new: Tensor) -> Tensor:
        return M.update_slice(b, M.reshape(new, sizes()), region)

    return _view(input, redo, undo, region_strides(region, shape))


def follow(self: Tensor, leader: Tensor) -> None:
    """Make ``self``, which has the leader's elements and is no view yet, a view of all of them."""
    self._base, self._redo, self._undo = leader, detach, lambda base, new: detach(new)
    self._strides = lambda shape, strides, offset: (strides, offset)
    leader._views = [*(leader._views or ()), weakref.ref(self)]


# -- shapes ---------------------------------------------------------------------------------------------
def _sizes(args: tuple, shape: Any) -> tuple[int, ...]:
    return sizes_of(args) if args else sizes_of((shape,))


def reshape(input: Tensor, *args: Any, shape: Any = None, copy: bool | None = None) -> Tensor:
    """The same elements in another shape; one size may be -1.

    A view, but for elements that do not lie in order in the base's memory (a transpose, a piece of each row): those
    are copied, as PyTorch and NumPy do. ``copy=True`` always copies, ``copy=False`` raises ShapeError where it must.
    """
    x = operand(input)
    new = M.resolved(tuple(x.shape), _sizes(args, shape))
    must = False
    if x._base is not None:
        _, strides, _ = layout_of(x)
        must = reshaped_strides(tuple(x.shape), strides, new) is None
    if must and copy is False:
        raise ShapeError(
            f"reshape: {tuple(x.shape)} with strides {strides} becomes {new} only by a copy", code="shape.copy",
            hint="leave copy=False out",
        )  # fmt: skip
    return apply(S.reshape, (x,), (new,)) if must or copy else _reshaped(x, new)


def view(input: Tensor, *args: Any, dtype: Any = None) -> Tensor:
    """The same elements in another shape, always as a view; or, given a dtype, their bits read as that dtype.

    Where a dtype's elements are of another size, the last axis grows or shrinks. Raises ShapeError where the shape
    does not fit.
    """
    kind = dtype if dtype is not None else args[0] if len(args) == 1 else None
    if isinstance(kind, (DType, np.dtype, type, str)):
        d = as_dtype(kind)
        if d is input.dtype:
            return _reshaped(input, tuple(input.shape))
        old = input.dtype
        return _view(input, lambda b: apply(bitcast, (b,), (d,)), lambda b, new: apply(bitcast, (new,), (old,)), None)
    return _reshaped(input, M.resolved(tuple(input.shape), sizes_of(args)))


def view_as(input: Tensor, other: Tensor) -> Tensor:
    """In another tensor's shape, as a view."""
    return view(input, tuple(other.shape))


def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """Reshaped as another tensor."""
    return reshape(input, tuple(other.shape))


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes from ``start_dim`` to ``end_dim`` as one; itself where that is one axis; a 0-d tensor becomes (1,)."""
    n = input.ndim
    if not n:
        return _reshaped(input, (1,))
    (a,), (b,) = axes_of("flatten", start_dim, n), axes_of("flatten", end_dim, n)
    if a > b:
        raise ShapeError(f"flatten: start_dim {a} comes after end_dim {b}", code="shape.flatten")
    if a == b:
        return input
    s = tuple(input.shape)
    return reshape(input, (*s[:a], math.prod(s[a : b + 1]), *s[b + 1 :]))


def ravel(input: Tensor) -> Tensor:
    """All axes as one."""
    return reshape(input, (input.numel(),))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One axis as several; one of their sizes may be -1."""
    (k,) = axes_of("unflatten", dim, input.ndim) or (0,)
    s, new = tuple(input.shape), sizes_of((sizes,))
    if not new:
        raise ShapeError("unflatten: sizes must not be empty", code="shape.unflatten")
    return _reshaped(input, (*s[:k], *M.resolved(s[k : k + 1], new), *s[k + 1 :]))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A new axis of size 1 at ``dim``."""
    (k,) = axes_of("unsqueeze", dim, input.ndim + 1)

    def strides(old: Strides, st: Strides, offset: int) -> tuple[Strides, int]:
        return (*st[:k], old[k] * st[k] if k < len(old) else 1, *st[k:]), offset

    return _reshaped(input, (*input.shape[:k], 1, *input.shape[k:]), strides)


def expand_dims(input: Tensor, dim: Any = None, *, axis: Any = None) -> Tensor:
    """New axes of size 1 at the places named in the result, as NumPy's ``expand_dims``."""
    given = pick(dim, axis)
    given = 0 if given is None else given
    n = input.ndim + (len(given) if isinstance(given, (tuple, list)) else 1)
    places, old = axes_of("expand_dims", given, n), iter(input.shape)
    return _reshaped(input, tuple(1 if k in places else next(old) for k in range(n)))


def squeeze(input: Tensor, dim: Any = None, *, axis: Any = None) -> Tensor:
    """Axes of size 1 dropped: all, or those named (of another size they stay)."""
    axes = axes_of("squeeze", pick(dim, axis), input.ndim)
    kept = [k for k, n in enumerate(input.shape) if not (n == 1 and k in axes)]

    def strides(old: Strides, st: Strides, offset: int) -> tuple[Strides, int]:
        return tuple(st[k] for k in kept), offset

    return _reshaped(input, tuple(input.shape[k] for k in kept), strides)


def _at_least(tensors: tuple, ndim: int) -> Any:
    many = len(tensors) != 1 or isinstance(tensors[0], (list, tuple))
    ts = [operand(t) for t in (tensors[0] if many and len(tensors) == 1 else tensors)]
    out = tuple(t if t.ndim >= ndim else _reshaped(t, M.at_least(t.shape, ndim)) for t in ts)
    return out if many else out[0]


def atleast_1d(*tensors: Any) -> Any:
    """Tensors with at least one axis; a tuple for several."""
    return _at_least(tensors, 1)


def atleast_2d(*tensors: Any) -> Any:
    """Tensors with at least two axes, a vector being a row; a tuple for several."""
    return _at_least(tensors, 2)


def atleast_3d(*tensors: Any) -> Any:
    """Tensors with at least three axes, a vector as (1, n, 1) and a matrix as (m, n, 1); a tuple for several."""
    return _at_least(tensors, 3)


# -- order of axes ----------------------------------------------------------------------------------------
def permute(input: Tensor, *args: Any, dims: Any = None) -> Tensor:
    """Axes in another order. Raises ShapeError where an axis is missing or given twice."""
    order = _sizes(args, dims)
    n = input.ndim
    if sorted(d + n if d < 0 else d for d in order) != list(range(n)):
        raise ShapeError(f"permute: {order} is no order of {n} axes", code="shape.permute", hint="give every axis once")
    return _permuted(input, tuple(d % n for d in order))


def permute_dims(input: Tensor, axes: Sequence[int]) -> Tensor:
    """As :func:`permute`, under the Array API's name."""
    return permute(input, axes)


def transpose(
    input: Tensor, dim0: Any = None, dim1: int | None = None, *, axes: Any = None, perm: Any = None
) -> Tensor:
    """Two axes swapped; without axes all in reverse order, with a sequence in that order, as in NumPy."""
    n = input.ndim
    if dim1 is None:
        order = pick(dim0, axes if perm is None else perm)
        return _permuted(input, tuple(range(n))[::-1]) if order is None else permute(input, order)
    a, b = axes_of("transpose", dim0, n), axes_of("transpose", dim1, n)
    order = list(range(n))
    if n:
        order[a[0]], order[b[0]] = order[b[0]], order[a[0]]
    return _permuted(input, tuple(order))


def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """Two axes swapped."""
    return transpose(input, axis0, axis1)


def swapdims(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes swapped."""
    return transpose(input, dim0, dim1)


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; vectors and scalars stay. Raises ShapeError for more axes."""
    if input.ndim > 2:
        raise ShapeError(
            f"t: expects at most 2 dimensions, got shape {tuple(input.shape)}", code="shape.t", hint="use .mT"
        )
    return _permuted(input, tuple(range(input.ndim))[::-1])


def matrix_transpose(input: Tensor) -> Tensor:
    """The last two axes swapped. Raises ShapeError for fewer than two."""
    if input.ndim < 2:
        raise ShapeError(
            f"matrix_transpose: expects at least 2 dimensions, got shape {tuple(input.shape)}",
            code="shape.matrix_transpose",
        )
    return transpose(input, -2, -1)


def adjoint(input: Tensor) -> Tensor:
    """The last two axes swapped, complex numbers conjugated."""
    x = matrix_transpose(input)
    return x.conj() if input.dtype.category == 3 else x


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Axes moved to other places, the others keeping their order."""
    return _permuted(input, M.moved_axes("movedim", source, destination, input.ndim))


def moveaxis(input: Tensor, source: Any, destination: Any) -> Tensor:
    """As :func:`movedim`."""
    return movedim(input, source, destination)


def _version(self: Tensor) -> int:
    """How often this was written to, by whatever name. An optimiser's steps count as one between two questions."""
    t = self
    while t._base is not None:
        t = t._base
    if t._seen is not None and t._seen[0]() is not t._v and t._seen[1] == t._writes:
        t._writes += 1  # a step rebinds its cells without counting
    t._seen = (weakref.ref(t._v), t._writes)
    return t._writes


Tensor._version = property(_version)  # type: ignore[attr-defined]
