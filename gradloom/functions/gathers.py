"""Elements fetched by index, and the checks that indices and labels get.

Index tensors may have any integer dtype. They are checked where they are used, or as the program runs where they are
computed by it: an index out of range is an IndexRangeError that names it, its position, the axis and its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradloom import dtypes
from gradloom.checks import refuse_known
from gradloom.errors import DTypeError, ShapeError
from gradloom.functions.base import apply, axes_of, const, operand, pick
from gradloom.functions.creation import arange
from gradloom.functions.elementwise import cast, eq, ge, logical_and, logical_or, lt, ne
from gradloom.functions.movement import broadcast_to, reshape, unsqueeze
from gradloom.functions.reductions import any
from gradloom.graph.node import Aval
from gradloom.ops import elementwise as E
from gradloom.ops import gather as I
from gradloom.ops import structure as S
from gradloom.ops.core import broadcast_shapes
from gradloom.tape import TAPE, composite
from gradloom.tensor import Tensor

__all__ = "gather index_select one_hot take take_along_axis take_along_dim".split()
INTERNAL = "check_labels check_range".split()
FUNCTION_ONLY = "one_hot take_along_axis".split()


# -- checks ---------------------------------------------------------------------------------------------
def _check_infer(avals: Sequence[Aval], attrs: tuple) -> Aval:
    return Aval((), dtypes.bool_)


_check = E._ew("check", lambda flag, src, *attrs: flag, operands="keep", result="bool", body=lambda e, a, _: a[0])
_check.infer = _check_infer  # type: ignore[method-assign,assignment]
_check.is_check = True  # type: ignore[attr-defined]


@composite
def _range_check(
    index: Tensor, low: int, high: int, what: str, code: str, skip: int | None, axis: int | None
) -> Tensor:
    bad = logical_or(lt(index, const(low)), ge(index, const(high)))
    if skip is not None:
        bad = logical_and(bad, ne(index, const(skip)))
    flag = any(bad)
    return apply(_check, (flag, index), (code, low, high, what, skip, axis))


def check_range(
    index: Tensor, low: int, high: int, what: str, code: str, skip: int | None = None, axis: int | None = None
) -> None:
    """Refuse integers outside of low <= i < high: here where they are known, else as the program runs.

    The error names value, position and axis.
    """
    check_index_dtype(what, index)
    if index.numel():
        if not TAPE.traces:
            refuse_known(index._v, (code, int(low), int(high), what, skip, axis))
        _range_check(index, int(low), int(high), what, code, skip, axis)


def check_labels(target: Tensor, num_classes: int, ignore_index: int | None = -100) -> None:
    """Have the program refuse labels outside of 0 <= label < num_classes (``ignore_index`` passes)."""
    check_range(target, 0, num_classes, "label", "index.label", ignore_index)


def check_index_dtype(what: str, index: Tensor) -> None:
    """Raise DTypeError where an index is not of integers."""
    if index.dtype.category != 1:
        raise DTypeError(
            f"{what}: dtype {index.dtype.name} is not an integer dtype", code="dtype.index",
            hint="convert the index with .long()",
        )  # fmt: skip


def index_vector(name: str, input: Tensor, dim: int, index: Any, negative: bool = False) -> tuple[Tensor, int, Tensor]:
    """An input with at least one axis, the axis, and its checked index of one axis (0-d: an index of one element)."""
    x, i = operand(input), operand(index)
    (k,) = axes_of(name, dim, x.ndim) or (0,)
    if i.ndim > 1:
        raise ShapeError(
            f"{name}: the index has shape {tuple(i.shape)}, expected one dimension", code=f"shape.{name}",
            hint="flatten the index, or index with x[index]",
        )  # fmt: skip
    x, i = x if x.ndim else reshape(x, (1,)), i if i.ndim else reshape(i, (1,))
    n = x.shape[k]
    check_range(i, -n if negative else 0, n, "index", f"index.{name}", axis=k)
    return x, k, i


def index_along(name: str, input: Tensor, dim: int, index: Any, negative: bool = False) -> tuple[Tensor, int, Tensor]:
    """An input with at least one axis, the axis, and its checked index of the input's rank; see ``gather``."""
    x, i = operand(input), operand(index)
    (k,) = axes_of(name, dim, x.ndim) or (0,)
    x, i = x if x.ndim else reshape(x, (1,)), i if i.ndim else reshape(i, (1,))
    if i.ndim != x.ndim:
        raise ShapeError(
            f"{name}: index {tuple(i.shape)} and input {tuple(x.shape)} differ in rank", code=f"shape.{name}",
            hint="index and input have equally many axes; unsqueeze the index",
        )  # fmt: skip
    for j, (n, m) in enumerate(zip(x.shape, i.shape, strict=True)):
        if j != k and m > n:
            raise ShapeError(
                f"{name}: index {tuple(i.shape)} is longer than input {tuple(x.shape)} at axis {j}",
                code=f"shape.{name}", hint=f"apart from axis {k} the index may be no longer than the input",
            )  # fmt: skip
    n = x.shape[k]
    check_range(i, -n if negative else 0, n, "index", f"index.{name}", axis=k)
    return x, k, i


# -- functions ------------------------------------------------------------------------------------------
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The entries of an axis that a vector of indices names, in its order; a copy. A 0-d index is one of length 1."""
    x, k, i = index_vector("index_select", input, dim, index)
    if not input.ndim and i.shape != (1,):
        raise ShapeError(
            f"index_select: a 0-d input takes an index of one element, not {tuple(i.shape)}", code="shape.index_select"
        )
    out = apply(I.take, (x, i), (k,))
    return out if input.ndim else reshape(out, ())


def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """``out[i][j] = input[index[i][j]][j]`` for ``dim=0``, and so on; of the index's shape.

    The index has the rank of the input and is no longer than it but along ``dim``. ``sparse_grad`` asks for another
    form of the gradient in PyTorch; here it is dense, with the same values. Raises ShapeError for a rank or length that
    does not fit.
    """
    if not index.numel():  # as PyTorch, whatever the ranks; gradients of nothing
        return reshape(apply(S.slice_, (reshape(input, (-1,)),), ((0,), (0,), (1,))), tuple(index.shape))
    x, k, i = index_along("gather", input, dim, index)
    return reshape(apply(I.take_along, (x, i), (k,)), tuple(index.shape))


def take(
    input: Tensor, index: Any = None, axis: int | None = None, *, dim: int | None = None, indices: Any = None
) -> Tensor:
    """The elements at positions of the flattened input, in the index's shape; with an axis, entries of that axis.

    Without an axis this is PyTorch's ``take``; with one NumPy's: the index's axes come in place of the axis. Negative
    indices count from the end. ``indices`` is NumPy's name of ``index``.
    """
    x, i = operand(input), operand(index if index is not None else indices)
    along = pick(dim, axis)
    if along is None:
        x, k = reshape(x, (-1,)), 0
    else:
        (k,) = axes_of("take", along, x.ndim) or (0,)
        x = x if x.ndim else reshape(x, (1,))
    n = x.shape[k]
    check_range(i, -n, n, "index", "index.take", axis=k)
    return apply(I.take, (x, i), (k,))


def take_along_dim(input: Tensor, indices: Any, dim: int | None = None, *, axis: int | None = None) -> Tensor:
    """As ``gather``, with input and indices broadcast but along the axis; without one, of the flattened input.

    Negative indices count from the end.
    """
    x, i = operand(input), operand(indices)
    d = pick(dim, axis)
    if d is None:
        x, i, d = reshape(x, (-1,)), reshape(i, (-1,)), 0
    (k,) = axes_of("take_along_dim", d, x.ndim) or (0,)
    if x.ndim != i.ndim:
        raise ShapeError(
            f"take_along_dim: indices {tuple(i.shape)} and input {tuple(x.shape)} differ in rank",
            code="shape.take_along_dim", hint="both have equally many axes; unsqueeze the indices",
        )  # fmt: skip
    if not x.ndim:
        return reshape(take_along_dim(reshape(x, (1,)), reshape(i, (1,)), 0), ())
    rest = broadcast_shapes("take_along_dim", [(*s[:k], 1, *s[k + 1 :]) for s in (tuple(x.shape), tuple(i.shape))])
    x = broadcast_to(x, (*rest[:k], x.shape[k], *rest[k + 1 :]))
    i = broadcast_to(i, (*rest[:k], i.shape[k], *rest[k + 1 :]))
    x, k, i = index_along("take_along_dim", x, k, i, negative=True)
    return apply(I.take_along, (x, i), (k,))


def take_along_axis(input: Tensor, indices: Any, axis: int | None = -1) -> Tensor:
    """``take_along_dim`` under NumPy's name: along the last axis unless told; None flattens the input."""
    return take_along_dim(input, indices, axis)


@composite
def one_hot(input: Tensor, num_classes: int) -> Tensor:
    """int64 tensor of shape (..., num_classes), 1 at each label."""
    check_range(input, 0, num_classes, "label", "index.label")
    return cast(eq(unsqueeze(input, -1), arange(num_classes)), dtypes.int64)
