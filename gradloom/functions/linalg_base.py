"""What the linear algebra families share: conjugates, triangles, diagonals and the checks of their operands."""

from __future__ import annotations

import builtins
import math

from gradloom.errors import DTypeError, ShapeError
from gradloom.functions.base import apply, const
from gradloom.functions.creation import arange, eye
from gradloom.functions.elementwise import eq, ge, le, where
from gradloom.functions.movement import broadcast_to, reshape, swap_last, unsqueeze
from gradloom.ops import structure as S
from gradloom.ops.linalg import Factorisation
from gradloom.tensor import Tensor

__all__: list[str] = []


def is_complex(x: Tensor) -> bool:
    """Whether the elements are complex."""
    return x.dtype.category == 3


def conj(x: Tensor) -> Tensor:
    """The conjugate; real tensors as they are."""
    if not is_complex(x):
        return x
    from gradloom.functions import complex_numbers

    return complex_numbers.conj(x)


def mH(x: Tensor) -> Tensor:
    """The conjugate transpose of matrices."""
    return conj(swap_last(x))


def real(x: Tensor) -> Tensor:
    """The real part; real tensors as they are."""
    if not is_complex(x):
        return x
    from gradloom.functions import complex_numbers

    return complex_numbers.real(x)


def imag(x: Tensor) -> Tensor:
    """The imaginary part of a complex tensor."""
    from gradloom.functions import complex_numbers

    return complex_numbers.imag(x)


def part(f: Factorisation, which: int, operands: tuple[Tensor, ...], attrs: tuple = ()) -> Tensor:
    """One result of a factorisation of the operands."""
    sizes = [math.prod(p.shape) for p in f.layout([t._v.aval for t in operands], attrs)]
    whole = apply(f.whole, operands, attrs)
    return apply(f.part, (whole, *operands), (which, *attrs, builtins.sum(sizes[:which])))


def same_dtype(name: str, a: Tensor, b: Tensor) -> None:
    """Raise DTypeError where dtypes differ."""
    if a.dtype is not b.dtype:
        raise DTypeError(
            f"{name}: dtypes {a.dtype.name} and {b.dtype.name} differ", code="dtype.matmul",
            hint="convert one of them with .to(dtype)",
        )  # fmt: skip


def need_float(name: str, *operands: Tensor) -> None:
    """Raise DTypeError for integers and for half precision, which LAPACK lacks."""
    for x in operands:
        if x.dtype.category < 2 or x.dtype.itemsize < 4:
            raise DTypeError(
                f"{name}: dtype {x.dtype.name} is not supported", code="dtype.linalg",
                hint="takes float32, float64, complex64 and complex128; convert with .to(dtype)",
            )  # fmt: skip


def need_matrix(name: str, x: Tensor) -> None:
    """Raise unless ``x`` is a floating tensor of at least two dimensions."""
    need_float(name, x)
    if x.ndim < 2:
        raise ShapeError(
            f"{name}: expects matrices (..., n, m), got shape {tuple(x.shape)}", code="shape.matrix",
            hint="leading axes are a batch of matrices",
        )  # fmt: skip


def need_square(name: str, x: Tensor) -> None:
    """Raise unless ``x`` holds square floating matrices."""
    need_matrix(name, x)
    if x.shape[-1] != x.shape[-2]:
        raise ShapeError(
            f"{name}: expects square matrices (..., n, n), got shape {tuple(x.shape)}", code="shape.square"
        )


def _grid(n: int, m: int) -> tuple[Tensor, Tensor]:
    return unsqueeze(arange(n), 1), arange(m)


def lower(x: Tensor, k: int = 0) -> Tensor:
    """The lower triangle up to diagonal ``k``, zeros above."""
    i, j = _grid(x.shape[-2], x.shape[-1])
    return where(le(j, i + const(k)), x, zero(x))


def upper(x: Tensor, k: int = 0) -> Tensor:
    """The upper triangle from diagonal ``k`` on, zeros below."""
    i, j = _grid(x.shape[-2], x.shape[-1])
    return where(ge(j, i + const(k)), x, zero(x))


def zero(x: Tensor) -> Tensor:
    """A 0 that takes the dtype of ``x``."""
    return const(0.0 if x.dtype.category >= 2 else 0)


def diagonal_of(x: Tensor) -> Tensor:
    """The main diagonals of matrices: (..., n, m) -> (..., min(n, m))."""
    *batch, n, m = x.shape
    d = builtins.min(n, m)
    if not d:
        return reshape(x, (*batch, n * m))
    flat = reshape(x, (*batch, n * m))
    starts = (0,) * (len(batch) + 1)
    stops = (*batch, (d - 1) * (m + 1) + 1)
    return apply(S.slice_, (flat,), (starts, stops, (1,) * len(batch) + (m + 1,)))


def diagonal_matrix(v: Tensor) -> Tensor:
    """Matrices with these diagonals: (..., n) -> (..., n, n)."""
    n = v.shape[-1]
    i, j = _grid(n, n)
    return where(eq(i, j), unsqueeze(v, -2), zero(v))


def identity(n: int, like: Tensor) -> Tensor:
    """The unit matrix in the dtype of ``like``."""
    return eye(n, dtype=like.dtype)


def batch_of(name: str, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two batches of matrices with their leading axes broadcast."""
    from gradloom.ops.core import broadcast_shapes

    batch = broadcast_shapes(name, [a.shape[:-2], b.shape[:-2]])
    return broadcast_to(a, (*batch, *a.shape[-2:])), broadcast_to(b, (*batch, *b.shape[-2:]))


def columns(v: Tensor) -> Tensor:
    """A trailing axis of size 1: scales rows of matrices."""
    return unsqueeze(v, -1)


def rows(v: Tensor) -> Tensor:
    """A size-1 axis before the last: scales columns of matrices."""
    return unsqueeze(v, -2)
