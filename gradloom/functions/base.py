"""What every family of public functions stands on: operands, constants of formulas, axes and sizes."""

from __future__ import annotations

import builtins
import operator
from typing import Any, NamedTuple

import numpy as np

from gradloom import dtypes
from gradloom.errors import AxisRangeError, DTypeError, ShapeError
from gradloom.ops import complex_numbers as C
from gradloom.ops import structure as S
from gradloom.tape import TAPE
from gradloom.tensor import Tensor, as_tensor

__all__: list[str] = []
INTERNAL = "apply axes_of const operand pick sizes_of tensor_of whole".split()

apply = TAPE.apply


def operand(x: Any) -> Tensor:
    """A tensor as it is; a number as an input of the program, or as a constant inside a library formula."""
    if isinstance(x, Tensor):
        return x
    if isinstance(x, (complex, np.complexfloating)):
        return number(complex(x))
    if isinstance(x, (bool, int, float, np.bool_, np.integer, np.floating)):
        # a number inside a library function is part of its formula; a user's number is an input of the program
        return const(x) if TAPE.inside else TAPE.scalar(x)  # type: ignore[arg-type]
    return as_tensor(x)


def number(x: complex) -> Tensor:
    """A complex Python number: its parts are numbers of the program as any others."""
    return apply(C.join, (operand(x.real), operand(x.imag)))


def const(x: complex | np.generic) -> Tensor:
    """A constant of a library formula, part of the program (a user's number is an input instead)."""
    x = x.item() if isinstance(x, np.generic) else x
    if isinstance(x, complex):
        return apply(S.full, (), (x, (), dtypes.complex128, True))
    kind = dtypes.bool_ if isinstance(x, bool) else dtypes.int64 if isinstance(x, int) else dtypes.float64
    return apply(S.full, (), (x, (), kind, True))


def axes_of(name: str, dim: Any, ndim: int) -> tuple[int, ...]:
    """Axes counted from 0. Raises IndexRangeError for one that the tensor lacks."""
    if dim is None:
        return tuple(range(ndim))
    out = []
    for d in dim if isinstance(dim, (tuple, list)) else (dim,):
        k = d if type(d) is int else whole(name, "an axis", d)
        if not -builtins.max(ndim, 1) <= k < builtins.max(ndim, 1):
            raise AxisRangeError(
                f"{name}: axis {k} is out of range for a tensor of {ndim} dimensions",
                code="index.axis",
                hint=f"axes run from {-ndim} to {ndim - 1}",
            )
        if ndim:
            out.append(k % ndim)
    if len(set(out)) != len(out):
        raise ShapeError(f"{name}: axis given twice in {dim}", code="shape.axis")
    return tuple(sorted(out))


def tensor_of(name: str, x: Any) -> Tensor:
    """The tensor itself. Raises DTypeError for anything else."""
    if not isinstance(x, Tensor):
        raise DTypeError(
            f"{name}: input must be a tensor, got {type(x).__name__}", code="dtype.argument",
            hint="gradloom.tensor(...) makes one",
        )  # fmt: skip
    return x


def pick(dim: Any, axis: Any) -> Any:
    """The axis under either of its two names."""
    return dim if dim is not None else axis


def sizes_of(sizes: tuple) -> tuple[int, ...]:
    """Sizes given one by one or as one sequence."""
    flat = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    return tuple(n if type(n) is int else whole("a shape", "a size", n) for n in flat)


def whole(name: str, what: str, x: Any) -> int:
    """An integer given as one, as NumPy's or as a tensor of one element. Raises DTypeError for anything else."""
    try:
        return operator.index(x)
    except TypeError:
        raise DTypeError(
            f"{name}: {what} must be an integer, got {x!r} ({type(x).__name__})", code="dtype.integer",
            hint="give an int",
        ) from None  # fmt: skip


class Extreme(NamedTuple):
    """``values`` and their ``indices`` along an axis."""

    values: Tensor
    indices: Tensor
