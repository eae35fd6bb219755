"""Functions per element, with the standard's signatures: operands by position, dtypes by its promotion table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradloom.array_api.promotion import pair
from gradloom.errors import DTypeError
from gradloom.functions import PUBLIC as G
from gradloom.tensor import Tensor

UNARY = {
    name: name
    for name in (
        "abs acos acosh asin asinh atan atanh ceil conj cos cosh exp expm1 floor imag isfinite isinf isnan "
        "log log1p log2 log10 logical_not negative positive reciprocal signbit sin sinh square sqrt tan tanh "
        "trunc"
    ).split()
} | {"bitwise_invert": "bitwise_not"}
BINARY = {
    name: name
    for name in (
        "add atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign "
        "floor_divide greater greater_equal hypot less less_equal logaddexp logical_and logical_or "
        "logical_xor maximum minimum multiply nextafter not_equal pow remainder subtract"
    ).split()
} | {"equal": "eq", "divide": "div"}


def _unary(name: str, target: str) -> Callable[..., Tensor]:
    fn = G[target]

    def call(x: Tensor, /) -> Tensor:
        out: Tensor = fn(x)
        return out

    return _named(call, name, target)


def _binary(name: str, target: str) -> Callable[..., Tensor]:
    fn = G[target]

    def call(x1: Any, x2: Any, /) -> Tensor:
        out: Tensor = fn(*pair(x1, x2))
        return out

    return _named(call, name, target)


def _named(call: Callable[..., Tensor], name: str, target: str) -> Callable[..., Tensor]:
    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"The standard's ``{name}``: :func:`gradloom.{target}`, operands by position."
    return call


FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    **{name: _unary(name, target) for name, target in UNARY.items()},
    **{name: _binary(name, target) for name, target in BINARY.items()},
}


def clip(x: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
    """Elements brought into [min, max], in the dtype of ``x``; bounds are numbers, arrays or None."""
    bounds = [b.to(x.dtype) if isinstance(b, Tensor) else b for b in (min, max)]
    if all(b is None for b in bounds):
        return x.clone()
    out = x
    if bounds[0] is not None:
        out = G["maximum"](*pair(out, _number(x, bounds[0])))
    if bounds[1] is not None:
        out = G["minimum"](*pair(out, _number(x, bounds[1])))
    return out


def _number(x: Tensor, bound: Any) -> Any:
    """A whole number beside floating elements is one of theirs."""
    if isinstance(bound, float) and not x.dtype.is_floating_point:
        raise DTypeError(
            f"clip: a float bound for elements of dtype {x.dtype.name}", code="dtype.number", hint="use whole bounds"
        )
    return bound


def real(x: Tensor, /) -> Tensor:
    """The real part; real elements are their own."""
    return G["real"](x) if x.dtype.is_complex else x


def round(x: Tensor, /) -> Tensor:
    """To the nearest whole number, halves to even; of complex numbers each part."""
    if x.dtype.is_complex:
        return G["complex"](G["round"](G["real"](x)), G["round"](G["imag"](x)))
    return G["round"](x)


def sign(x: Tensor, /) -> Tensor:
    """-1, 0 or 1; of complex numbers x / abs(x), 0 at 0; NaN of NaN."""
    if x.dtype.is_complex:
        return G["sgn"](x)
    out = G["sign"](x)
    return G["where"](G["isnan"](x), x, out) if x.dtype.is_floating_point else out


def where(condition: Tensor, x1: Any, x2: Any, /) -> Tensor:
    """``x1`` where the condition holds, else ``x2``; at least one of the two is an array."""
    a, b = pair(x1, x2)
    return G["where"](condition, a, b)
