"""Elements written, added and combined by index. Each returns a new tensor; ``name_`` writes into its first operand.

Where several updates go to one place they are taken in the order of the index: the last write wins, and sums are always
taken in that order, so that results are the same bits whatever the number of threads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions.base import apply, axes_of, const, operand
from gradloom.functions.creation import full, full_like, ones_like, zeros_like
from gradloom.functions.elementwise import cast, div, eq, floor_divide, mul, where
from gradloom.functions.gathers import check_range, index_along, index_vector
from gradloom.functions.movement import broadcast_to, reshape
from gradloom.ops import gather as I
from gradloom.ops import structure as S
from gradloom.tensor import Tensor

__all__ = (
    "index_add index_copy index_fill index_put index_reduce put put_along_axis scatter scatter_add scatter_reduce"
).split()
FUNCTION_ONLY = ["put_along_axis"]
METHODS = ["fill_diagonal_"]
INPLACE = "index_add index_copy index_fill index_put index_reduce put scatter scatter_add scatter_reduce".split()

_HOW = {"sum": "add", "prod": "mul", "mean": "add", "amax": "max", "amin": "min"}


def _same_dtype(name: str, input: Tensor, source: Any, what: str) -> Tensor:
    """A source of the input's dtype; a number is converted. Raises DTypeError for a tensor of another."""
    s = operand(source)
    if s.dtype is not input.dtype and isinstance(source, Tensor) and not s._v.aval.weak:
        raise DTypeError(
            f"{name}: {what} is {s.dtype.name}, the input {input.dtype.name}", code=f"dtype.{name}",
            hint=f"convert {what} with .to({input.dtype!r})",
        )  # fmt: skip
    return cast(s, input.dtype)


def _as_number(name: str, input: Tensor, value: Any) -> Tensor:
    """One value of the input's dtype. Raises ShapeError for several, DTypeError where the dtype cannot hold it."""
    v = operand(value)
    if v.numel() != 1 or v.ndim:
        raise ShapeError(
            f"{name}: the value has shape {tuple(v.shape)}, expected a number or a 0-d tensor", code=f"shape.{name}"
        )
    exact = isinstance(value, float) and value.is_integer()
    if v.dtype.category > max(input.dtype.category, 1) and not exact:
        raise DTypeError(
            f"{name}: a {v.dtype.name} value cannot be put into a {input.dtype.name} tensor", code=f"dtype.{name}",
            hint="convert the tensor or the value first",
        )  # fmt: skip
    return cast(v, input.dtype)


def _combined(
    name: str, prim: I.Scatter, x: Tensor, k: int, i: Tensor, u: Tensor, reduce: str, include_self: bool
) -> Tensor:
    """``x`` with updates ``u`` reduced into the places along axis ``k`` that ``i`` names, in the way of ``prim``."""
    if reduce not in _HOW:
        raise ArgumentError(f"{name}: reduce={reduce!r}; expected one of {', '.join(map(repr, _HOW))}")

    def put(base: Tensor, v: Tensor, how: str) -> Tensor:
        return apply(prim, (base, v, i), (k, how))

    start = x
    if not include_self:
        start = put(x, full_like(u, _identity(reduce, x.dtype)), "set")
    out = put(start, u, _HOW[reduce])
    if reduce != "mean":
        return out
    count = put(ones_like(x) if include_self else zeros_like(x), ones_like(u), "add")
    count = where(eq(count, const(0)), ones_like(x), count)
    return div(out, count) if x.dtype.category >= 2 else floor_divide(out, count)


def _identity(reduce: str, d: dtypes.DType) -> Any:
    """What a reduction starts from."""
    if reduce not in ("amax", "amin"):
        return 1 if reduce == "prod" else 0
    if d.category == 2:
        return -np.inf if reduce == "amax" else np.inf
    if d.category == 0:
        return reduce == "amin"
    info = np.iinfo(d.numpy)
    return info.min if reduce == "amax" else info.max


# -- along an axis, an index for each update -----------------------------------------------------------
def _scattered(
    name: str, input: Tensor, dim: int, index: Tensor, src: Tensor | None
) -> tuple[Tensor, int, Tensor, Any]:
    """Input and index with at least one axis, the axis, and the part of ``src`` that the index asks for."""
    x, k, i = index_along(name, input, dim, index)
    if src is None:
        return x, k, i, None
    u = src if src.ndim else reshape(src, (1,))
    if u.ndim != i.ndim or any(m > n for n, m in zip(u.shape, i.shape, strict=True)):
        raise ShapeError(
            f"{name}: index {tuple(index.shape)} asks for more than src {tuple(src.shape)} has", code=f"shape.{name}",
            hint="src has the index's rank and is at least as long along every axis",
        )  # fmt: skip
    if u.shape != i.shape:
        u = apply(S.slice_, (u,), ((0,) * u.ndim, tuple(i.shape), (1,) * u.ndim))
    return x, k, i, u


def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """``out[index[i][j]][j] = src[i][j]`` for ``dim=0``, and so on; the rest is the input's.

    ``src`` (or ``value``) may be a number. ``reduce``: ``"add"`` or ``"multiply"`` instead of replacing. Raises
    ShapeError where ranks or lengths do not fit, DTypeError for a src of another dtype.
    """
    source = src if src is not None else value
    if source is None:
        raise DTypeError("scatter: give src or value")
    how = {None: "set", "add": "add", "multiply": "mul"}.get(reduce)
    if how is None:
        raise ArgumentError(f"scatter: reduce={reduce!r}; expected 'add' or 'multiply'")
    if not index.numel():
        return _unchanged(input)
    if isinstance(source, Tensor) and src is not None:
        x, k, i, u = _scattered("scatter", input, dim, index, _same_dtype("scatter", input, source, "src"))
    else:
        x, k, i, _ = _scattered("scatter", input, dim, index, None)
        u = broadcast_to(_as_number("scatter", input, source), tuple(i.shape))
    return reshape(apply(I.along_put, (x, u, i), (k, how)), tuple(input.shape))


def _unchanged(input: Tensor) -> Tensor:
    return apply(S.reshape, (input,), (tuple(input.shape),))


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """``out[index[i][j]][j] += src[i][j]`` for ``dim=0``, and so on. Raises as ``scatter``."""
    return scatter(input, dim, index, src, reduce="add")


def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """``src`` reduced into the places that the index names: ``"sum"``, ``"prod"``, ``"mean"``, ``"amax"``, ``"amin"``.

    include_self: whether the input's elements there take part. Ties of extremes share the gradient.
    """
    if not index.numel():
        return _unchanged(input)
    source = _same_dtype("scatter_reduce", input, src, "src")
    x, k, i, u = _scattered("scatter_reduce", input, dim, index, source)
    out = _combined("scatter_reduce", I.along_put, x, k, i, u, reduce, include_self)
    return reshape(out, tuple(input.shape))


def put_along_axis(arr: Tensor, indices: Any, values: Any, axis: int | None) -> None:
    """NumPy's: ``values``, broadcast to the indices, written into ``arr`` in place; None for the flattened array."""
    flat = axis is None
    target = arr.reshape(-1) if flat else arr
    (k,) = axes_of("put_along_axis", 0 if axis is None else axis, target.ndim)
    i = operand(indices)
    wide = tuple(i.shape[j] if j == k else n for j, n in enumerate(target.shape))
    x, k, i = index_along("put_along_axis", target, k, broadcast_to(i, wide), negative=True)
    v = broadcast_to(cast(operand(values), arr.dtype), wide)
    target._write(apply(I.along_put, (x, v, i), (k, "set")))


# -- whole entries of an axis ------------------------------------------------------------------------------
def _entries(name: str, input: Tensor, dim: int, index: Tensor, source: Any) -> tuple[Tensor, int, Tensor, Tensor]:
    """Input and source with at least one axis, the axis, and the index."""
    x, k, i = index_vector(name, input, dim, index)
    s = _same_dtype(name, input, source, "source")
    want = (*x.shape[:k], i.shape[0], *x.shape[k + 1 :])
    if s.ndim == 0 and s.numel() == 1 == len([n for n in want if n != 1]) + 1:
        s = reshape(s, want)
    if tuple(s.shape) != want:
        raise ShapeError(
            f"{name}: source {tuple(s.shape)} does not fit an index of {i.shape[0]} along axis {k} of "
            f"{tuple(x.shape)}: expected {want}", code=f"shape.{name}",
        )  # fmt: skip
    return x, k, i, s


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """``alpha * source`` added to the entries of an axis that a vector of indices names, as often as it names them."""
    x, k, i, s = _entries("index_add", input, dim, index, source)
    s = s if alpha == 1 else cast(mul(s, alpha), x.dtype)
    return reshape(apply(I.take_put, (x, s, i), (k, "add")), tuple(input.shape))


def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """The entries of an axis that a vector of indices names replaced by those of ``source``, in its order."""
    x, k, i, s = _entries("index_copy", input, dim, index, source)
    return reshape(apply(I.take_put, (x, s, i), (k, "set")), tuple(input.shape))


def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """The entries of an axis that a vector of indices names replaced by a number or 0-d tensor."""
    x, k, i = index_vector("index_fill", input, dim, index, negative=True)
    none, all_ = (full((n,), b, dtype=dtypes.bool_) for n, b in ((x.shape[k], False), (i.shape[0], True)))
    named = apply(I.take_put, (none, all_, i), (0, "set"))
    chosen = reshape(named, (-1, *(1,) * (x.ndim - k - 1)))
    return reshape(where(chosen, _as_number("index_fill", input, value), x), tuple(input.shape))


def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """The entries of ``source`` reduced into those of an axis that indices name; see ``scatter_reduce``."""
    if reduce == "sum":
        raise ArgumentError("index_reduce: reduce='sum' is index_add; expected 'prod', 'mean', 'amax' or 'amin'")
    x, k, i, s = _entries("index_reduce", input, dim, index, source)
    out = _combined("index_reduce", I.take_put, x, k, i, s, reduce, include_self)
    return reshape(out, tuple(input.shape))


# -- positions -----------------------------------------------------------------------------------------------
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """Elements of ``source`` written at positions of the flattened input, or added. Both have equally many elements."""
    s = _same_dtype("put", input, source, "source")
    if s.numel() != index.numel():
        raise ShapeError(
            f"put: {index.numel()} indices and a source of {s.numel()} elements", code="shape.put",
            hint="both have the same number of elements",
        )  # fmt: skip
    n = input.numel()
    check_range(index, -n, n, "index", "index.put", axis=0)
    flat = apply(
        I.take_put,
        (reshape(input, (-1,)), reshape(s, (-1,)), reshape(index, (-1,))),
        (0, "add" if accumulate else "set"),
    )
    return reshape(flat, tuple(input.shape))


def fill_diagonal_(input: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """The main diagonal filled in place: of a matrix, or of a tensor whose axes are all of one length.

    wrap: in a matrix with more rows than columns the diagonal starts anew below itself, after a row without one.
    """
    shape = tuple(input.shape)
    if len(shape) < 2 or (len(shape) > 2 and len(set(shape)) > 1):
        raise ShapeError(
            f"fill_diagonal_: shape {shape} has no diagonal", code="shape.fill_diagonal",
            hint="take a matrix, or a tensor whose axes are all of one length",
        )  # fmt: skip
    step = 1 + sum(math.prod(shape[k:]) for k in range(1, len(shape)))
    stop = shape[1] ** 2 if len(shape) == 2 and not wrap else None
    input.reshape(-1)[:stop:step] = fill_value
    return input


def index_put(input: Tensor, indices: Any, values: Any, accumulate: bool = False) -> Tensor:
    """``input`` after ``input[indices] = values``; ``accumulate``: values are added, as often as a place is named.

    indices: a tuple of tensors, None for an axis that is taken whole; masks of bool count for all of their axes.
    """
    from gradloom.indexing import put_at

    index = tuple(slice(None) if i is None else i for i in indices)
    return put_at(input, index, _same_dtype("index_put", input, values, "values"), "add" if accumulate else "set")
