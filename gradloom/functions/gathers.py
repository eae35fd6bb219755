"""Elements fetched and added by index, and the checks that indices and labels get."""

from __future__ import annotations

import builtins
from collections.abc import Sequence

from gradloom import dtypes
from gradloom.errors import DTypeError, ShapeError
from gradloom.functions.base import apply, axes_of, const
from gradloom.functions.creation import arange
from gradloom.functions.elementwise import cast, eq, ge, logical_and, logical_or, lt, ne
from gradloom.functions.movement import unsqueeze
from gradloom.functions.reductions import any
from gradloom.graph.node import Aval
from gradloom.ops import elementwise as E
from gradloom.ops import gather as I
from gradloom.ops import structure as S
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = "gather index_select one_hot scatter_add take".split()
INTERNAL = "check_labels check_range".split()
FUNCTION_ONLY = "one_hot take".split()


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Rows of an axis by an integer tensor. Raises IndexRangeError when an index is out of range."""
    (k,) = axes_of("index_select", dim, input.ndim)
    return take(input, index, k)


def take(input: Tensor, index: Tensor, axis: int = 0) -> Tensor:
    """Entries of an axis by an integer tensor of any shape; checked as the program runs."""
    check_range(index, -input.shape[axis], input.shape[axis], "index", "index.take")
    return apply(I.take, (input, index), (axis,))


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """``out[i][j] = input[index[i][j]][j]`` for ``dim=0``, and so on."""
    (k,) = axes_of("gather", dim, input.ndim)
    if index.ndim != input.ndim:
        raise ShapeError(
            f"gather: index {tuple(index.shape)} and input {tuple(input.shape)} differ in rank", code="shape.gather"
        )
    check_range(index, 0, input.shape[k], "index", "index.gather")
    starts = (0,) * input.ndim
    stops = tuple(
        n if j == k else builtins.min(n, m) for j, (n, m) in enumerate(zip(input.shape, index.shape, strict=True))
    )
    x = input if stops == input.shape else apply(S.slice_, (input,), (starts, stops, (1,) * input.ndim))
    return apply(I.take_along, (x, index), (k,))


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """``input`` with ``src`` added at ``index`` along an axis."""
    (k,) = axes_of("scatter_add", dim, input.ndim)
    check_range(index, 0, input.shape[k], "index", "index.scatter")
    return apply(I.along_put, (input, cast(src, input.dtype), index), (k, "add"))


def _check_infer(avals: Sequence[Aval], attrs: tuple) -> Aval:
    return Aval((), dtypes.bool_)


_check = E._ew("check", lambda flag, src, *attrs: flag, operands="keep", result="bool", body=lambda e, a, _: a[0])
_check.infer = _check_infer  # type: ignore[method-assign,assignment]
_check.is_check = True  # type: ignore[attr-defined]


@composite
def _range_check(index: Tensor, low: int, high: int, what: str, code: str, skip: int | None) -> Tensor:
    bad = logical_or(lt(index, const(low)), ge(index, const(high)))
    if skip is not None:
        bad = logical_and(bad, ne(index, const(skip)))
    flag = any(bad)
    return apply(_check, (flag, index), (code, low, high, what, skip))


def check_range(index: Tensor, low: int, high: int, what: str, code: str, skip: int | None = None) -> None:
    """Have the program refuse integers outside of low <= i < high; the error names value and position."""
    if index.dtype.category != 1:
        raise DTypeError(f"{what}: dtype {index.dtype.name} is not an integer dtype", code="dtype.index")
    if index.numel():
        _range_check(index, int(low), int(high), what, code, skip)


def check_labels(target: Tensor, num_classes: int, ignore_index: int | None = -100) -> None:
    """Have the program refuse labels outside of 0 <= label < num_classes (``ignore_index`` passes)."""
    check_range(target, 0, num_classes, "label", "index.label", ignore_index)


@composite
def one_hot(input: Tensor, num_classes: int) -> Tensor:
    """int64 tensor of shape (..., num_classes), 1 at each label."""
    check_range(input, 0, num_classes, "label", "index.label")
    return cast(eq(unsqueeze(input, -1), arange(num_classes)), dtypes.int64)
