"""Complex tensors: made of parts, taken apart, conjugated. ``x.real`` and ``x.imag`` are views that can be written.

Conjugates are computed at once, so no tensor carries a conjugate bit: ``is_conj`` is always False and
``resolve_conj`` gives its input, as PyTorch does for tensors without the bit.
"""

from __future__ import annotations

import builtins
import math
from typing import Any

from gradloom import dtypes
from gradloom.errors import DTypeError
from gradloom.functions.base import apply, const, operand, tensor_of
from gradloom.functions.creation import ones_like
from gradloom.functions.elementwise import cast, cos, eq, gt, isnan, lt, mul, sign, sin, where
from gradloom.ops import complex_numbers as C
from gradloom.tape import composite
from gradloom.tensor import Tensor, _view

__all__ = (
    "angle complex conj conj_physical imag is_complex is_conj is_neg isreal polar real resolve_conj resolve_neg sgn "
    "view_as_complex view_as_real"
).split()
FUNCTION_ONLY = "complex imag polar real view_as_complex view_as_real".split()
INPLACE = ["conj_physical", "sgn"]


def _parts(name: str, a: Tensor, b: Tensor, names: tuple[str, str]) -> None:
    for t, what in ((a, names[0]), (b, names[1])):
        if not isinstance(t, Tensor):
            raise DTypeError(
                f"{name}: {what} is a {type(t).__name__}, expected a tensor", code=f"dtype.{name}",
                hint="use gradloom.tensor(...)",
            )  # fmt: skip
        if t.dtype not in (dtypes.float32, dtypes.float64):
            raise DTypeError(
                f"{name}: {what} has dtype {t.dtype.name}, expected float32 or float64", code=f"dtype.{name}",
                hint="convert with .float() or .double()",
            )  # fmt: skip
    if a.dtype is not b.dtype:
        raise DTypeError(
            f"{name}: dtypes {a.dtype.name} and {b.dtype.name} of {names[0]} and {names[1]} differ",
            code=f"dtype.{name}", hint="convert one of them with .to(dtype)",
        )  # fmt: skip


def complex(real: Tensor, imag: Tensor) -> Tensor:
    """``real + 1j * imag`` of two float32 or two float64 tensors, which broadcast.

    Raises DTypeError for other dtypes.
    """
    _parts("complex", real, imag, ("real", "imag"))
    return apply(C.join, (real, imag))


@composite
def _polar(r: Tensor, phi: Tensor) -> Tensor:
    return apply(C.join, (mul(r, cos(phi)), mul(r, sin(phi))))


def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """The numbers at distance ``abs`` from 0 and angle ``angle`` (radians) from the positive real axis.

    Raises DTypeError unless both are float32 or both float64.
    """
    _parts("polar", abs, angle, ("abs", "angle"))
    return _polar(abs, angle)


def real(input: Tensor) -> Tensor:
    """The real parts, a view; a real tensor is its own."""
    if not input.dtype.is_complex:
        return input
    return _view(input, lambda b: apply(C.real, (b,)), lambda b, new: apply(C.join, (new, apply(C.imag, (b,)))))


def imag(input: Tensor) -> Tensor:
    """The imaginary parts, a view. Raises DTypeError for a real tensor."""
    if not input.dtype.is_complex:
        raise DTypeError(
            f"imag: dtype {input.dtype.name} is not complex", code="dtype.imag", hint="a real tensor has only .real"
        )
    return _view(input, lambda b: apply(C.imag, (b,)), lambda b, new: apply(C.join, (apply(C.real, (b,)), new)))


def view_as_real(input: Tensor) -> Tensor:
    """Shape (..., 2): real and imaginary parts, a view. Raises DTypeError for a real tensor."""
    if not input.dtype.is_complex:
        raise DTypeError(f"view_as_real: dtype {input.dtype.name} is not complex", code="dtype.view_as_real")
    return _view(input, lambda b: apply(C.as_real, (b,)), lambda b, new: apply(C.as_complex, (new,)))


def view_as_complex(input: Tensor) -> Tensor:
    """The complex numbers whose parts lie along the last axis of size 2, a view.

    Raises DTypeError unless float32 or float64, ShapeError for another last axis.
    """
    if input.dtype not in (dtypes.float32, dtypes.float64):
        raise DTypeError(
            f"view_as_complex: dtype {input.dtype.name}, expected float32 or float64", code="dtype.view_as_complex",
            hint="convert with .float() or .double()",
        )  # fmt: skip
    return _view(input, lambda b: apply(C.as_complex, (b,)), lambda b, new: apply(C.as_real, (new,)))


def conj(input: Any) -> Tensor:
    """The complex conjugate; a real tensor is its own."""
    return C.conjugate(operand(input))


def conj_physical(input: Any) -> Tensor:
    """As :func:`conj`."""
    return conj(input)


def resolve_conj(input: Tensor) -> Tensor:
    """The input: conjugates are never left for later here."""
    return tensor_of("resolve_conj", input)


def resolve_neg(input: Tensor) -> Tensor:
    """The input: negations are never left for later here."""
    return tensor_of("resolve_neg", input)


def is_conj(input: Tensor) -> bool:
    """Whether a conjugation is still to be done: never."""
    tensor_of("is_conj", input)
    return False


def is_neg(input: Tensor) -> bool:
    """Whether a negation is still to be done: never."""
    tensor_of("is_neg", input)
    return False


@composite
def _real_angle(x: Tensor) -> Tensor:
    d = x.dtype if x.dtype.is_floating else dtypes.default_float()
    out = where(lt(x, const(0)), cast(const(math.pi), d), const(0.0))
    return where(isnan(x), x, out) if x.dtype.is_floating else out


def angle(input: Any) -> Tensor:
    """The angle from the positive real axis in (-pi, pi]; 0 and pi for real numbers, which have gradient 0."""
    x = operand(input)
    return apply(C.angle, (x,)) if x.dtype.is_complex else _real_angle(x)


def sgn(input: Any) -> Tensor:
    """``x / |x|``, 0 at 0: the sign of real numbers, the direction of complex ones."""
    x = operand(input)
    if x.dtype is dtypes.bool_:
        return gt(x, const(False))
    return apply(C.sgn, (x,)) if x.dtype.is_complex else sign(x)


def isreal(input: Tensor) -> Tensor:
    """Where the imaginary part is 0."""
    if not input.dtype.is_complex:
        return ones_like(input, dtype=dtypes.bool_)
    return eq(apply(C.imag, (input,)), const(0.0))


def is_complex(input: Tensor) -> builtins.bool:
    """Whether the dtype is complex."""
    return input.dtype.is_complex


def _set_real(self: Tensor, value: Any) -> None:
    real(self).copy_(operand(value))


def _set_imag(self: Tensor, value: Any) -> None:
    imag(self).copy_(operand(value))


for _name, _property in {"real": property(real, _set_real), "imag": property(imag, _set_imag)}.items():
    setattr(Tensor, _name, _property)
