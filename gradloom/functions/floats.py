"""Per element: signs, parts and neighbours of floating numbers, and small formulas of two or three operands."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gradloom import dtypes
from gradloom.errors import ArgumentError, DTypeError
from gradloom.functions.base import apply, const, operand
from gradloom.functions.complex_numbers import real
from gradloom.functions.elementwise import (
    _binary,
    _unary,
    abs,
    add,
    cast,
    clamp,
    cos,
    div,
    eq,
    exp,
    exp2,
    ge,
    gt,
    in_single,
    isfinite,
    isinf,
    isnan,
    le,
    log,
    logical_and,
    logical_or,
    lt,
    mul,
    ne,
    pow,
    sin,
    sub,
    trunc,
    where,
)
from gradloom.ops import floats as F
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = (
    "addcdiv addcmul clamp_max clamp_min copysign deg2rad degrees fix float_power fmax fmin frac frexp gcd heaviside "
    "hypot isclose isneginf isposinf lcm ldexp lerp logaddexp logaddexp2 logit nan_to_num nextafter positive rad2deg "
    "radians rsub signbit sinc xlogy"
).split()
INTERNAL = ["xlog1py"]
FUNCTION_ONLY = "degrees radians rsub".split()
INPLACE = (
    "addcdiv addcmul clamp_max clamp_min copysign deg2rad fix float_power frac gcd heaviside hypot lcm ldexp lerp "
    "logit nan_to_num nextafter rad2deg sinc xlogy"
).split()

copysign = _binary(F.copysign, "The magnitude of input with the sign of other.")
hypot = _binary(F.hypot, "The length of (input, other), without overflow on the way. Floating dtypes.")
fmax = _binary(F.fmax, "The larger; of a number and NaN the number.")
fmin = _binary(F.fmin, "The smaller; of a number and NaN the number.")
gcd = _binary(F.gcd, "Greatest common divisor of integers, not negative.")
lcm = _binary(F.lcm, "Least common multiple of integers, not negative.")
_logaddexp = _binary(F.logaddexp, "log(e**input + e**other), without overflow.")
logaddexp2 = _binary(F.logaddexp2, "log2(2**input + 2**other), without overflow.")
xlogy = _binary(F.xlogy, "input * log(other), and 0 where input is 0.")
xlog1py = _binary(F.xlog1py, "input * log(1 + other), and 0 where input is 0.")
signbit = _unary(F.signbit, "Whether the sign is minus, that of -0.0 included.")
_sinc = _unary(F.sinc, "sin(pi x) / (pi x), and 1 at 0.")
fix = trunc


def _is_complex(*xs: Tensor) -> bool:
    return any(x.dtype.category == 3 for x in xs)


def sinc(input: Any) -> Tensor:
    """sin(pi x) / (pi x), and 1 at 0. Per element; shape as the input's."""
    x = operand(input)
    if not _is_complex(x):
        return _sinc(x)
    zero = eq(x, const(0.0))
    angle = mul(where(zero, const(1.0), x), const(math.pi))
    return where(zero, const(1.0), div(sin(angle), angle))


def logaddexp(input: Any, other: Any) -> Tensor:
    """log(e**input + e**other), without overflow. Operands broadcast and promote; floating or complex."""
    x, y = operand(input), operand(other)
    if not _is_complex(x, y):
        return _logaddexp(x, y)
    first = ge(real(x), real(y))
    high, low = where(first, x, y), where(first, y, x)
    return add(high, log(add(const(1.0), exp(sub(low, high)))))


class Frexp(NamedTuple):
    """``mantissa``, at least 1/2 and less than 1 in magnitude, and int32 ``exponent``."""

    mantissa: Tensor
    exponent: Tensor


def frexp(input: Any) -> Frexp:
    """Mantissa and exponent of ``input = mantissa * 2**exponent``. Floating dtypes."""
    x = operand(input)
    return Frexp(apply(F.frexp_mantissa, (x,)), apply(F.frexp_exponent, (x,)))


def ldexp(input: Any, other: Any) -> Tensor:
    """``input * 2**other``; two floating steps, so that the power itself cannot overflow before the product does."""
    x, n = operand(input), operand(other)
    if x.dtype.is_complex or n.dtype.is_complex:
        return mul(x, pow(const(2.0), n))
    if not x.dtype.is_floating:
        x = cast(x, dtypes.default_float())
    n = clamp(cast(n, x.dtype), const(-5000.0), const(5000.0))  # beyond all exponents, and halves of it are finite
    half = trunc(mul(n, const(0.5)))
    return mul(mul(x, exp2(half)), exp2(sub(n, half)))


def nextafter(input: Any, other: Any) -> Tensor:
    """The float after input towards other. Raises DTypeError for half precision, which kernels hold as float32."""
    x, y = operand(input), operand(other)
    for t in (x, y):
        if t.dtype in (dtypes.float16, dtypes.bfloat16):
            raise DTypeError(
                f"nextafter: dtype {t.dtype.name} is not supported", code="dtype.nextafter",
                hint="takes float32 and float64; convert with .to(dtype)",
            )  # fmt: skip
    return apply(F.nextafter, (x, y))


def sinc_slope(x: Tensor, y: Tensor) -> Tensor:
    """Derivative of ``y = sinc(x)``; by its series where the difference of cosine and sinc would cancel."""
    z = mul(x, x)
    series = const(0.0)
    for k in range(9, 0, -1):
        series = add(mul(series, z), const((-1) ** k * 2 * k * math.pi ** (2 * k) / math.factorial(2 * k + 1)))
    near = lt(abs(x), const(0.25))
    safe = where(near, const(1.0), x)
    return where(near, mul(series, x), div(sub(cos(mul(x, const(math.pi))), y), safe))


def positive(input: Tensor) -> Tensor:
    """The input itself. Raises DTypeError for bool."""
    if input.dtype is dtypes.bool_:
        raise DTypeError("positive: dtype bool is not supported", code="dtype.positive", hint="convert with .to(dtype)")
    return input


def frac(input: Any) -> Tensor:
    """What is behind the point, with the sign of input. Floating dtypes."""
    x = operand(input)
    if not x.dtype.is_floating:
        raise DTypeError(
            f"frac: dtype {x.dtype.name} is not supported", code="dtype.frac", hint="takes floating tensors"
        )
    return sub(x, trunc(x))


def deg2rad(input: Any) -> Tensor:
    """Degrees as radians."""
    return mul(operand(input), const(math.pi / 180))


def rad2deg(input: Any) -> Tensor:
    """Radians as degrees."""
    return mul(operand(input), const(180 / math.pi))


radians, degrees = deg2rad, rad2deg


def heaviside(input: Any, values: Any) -> Tensor:
    """0 below 0, 1 above, ``values`` at 0; 0 for NaN."""
    x, v = operand(input), operand(values)
    zero = const(False) if x.dtype is dtypes.bool_ else const(0)
    return where(eq(x, zero), v, cast(gt(x, zero), dtypes.promote(x.dtype, v.dtype)))


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """``other - alpha * input``."""
    return sub(other, input, alpha=alpha)


def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """``input + value * tensor1 * tensor2``; all broadcast and promote."""
    product = mul(tensor1, tensor2)
    return add(input, product if _is_one(value) else mul(product, value))


def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """``input + value * tensor1 / tensor2``. Raises DTypeError where both are integers."""
    a, b = operand(tensor1), operand(tensor2)
    if not (a.dtype.is_floating or b.dtype.is_floating) and a.dtype.category < 2 and b.dtype.category < 2:
        raise DTypeError(
            "addcdiv: integer operands are not supported", code="dtype.addcdiv",
            hint="convert one, or write input + value * tensor1 // tensor2",
        )  # fmt: skip
    quotient = div(a, b)
    return add(input, quotient if _is_one(value) else mul(quotient, value))


def _is_one(x: Any) -> bool:
    return not isinstance(x, Tensor) and x == 1


@in_single
def lerp(input: Any, end: Any, weight: Any) -> Tensor:
    """``input + weight * (end - input)``, written so that weight 1 gives ``end`` exactly."""
    a, b, w = operand(input), operand(end), operand(weight)
    d = sub(b, a)
    return where(lt(abs(w), const(0.5)), add(a, mul(w, d)), sub(b, mul(d, sub(const(1.0), w))))


def float_power(input: Any, exponent: Any) -> Tensor:
    """``input ** exponent`` in float64 or complex128, whatever the dtypes are."""
    base, power = operand(input), operand(exponent)
    wide = dtypes.complex128 if _is_complex(base, power) else dtypes.float64
    return pow(cast(base, wide), exponent if isinstance(exponent, (int, float)) else cast(power, wide))


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """Elements below ``min`` raised to it."""
    return clamp(input, min=min)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """Elements above ``max`` lowered to it."""
    return clamp(input, max=max)


@composite
def _isclose(x: Tensor, y: Tensor, rtol: float, atol: float, equal_nan: bool) -> Tensor:
    close = eq(x, y)
    if equal_nan and (x.dtype.is_floating or y.dtype.is_floating):
        close = logical_or(close, logical_and(isnan(x), isnan(y)))
    if rtol == 0 and atol == 0:
        return close
    if not (x.dtype.is_floating or y.dtype.is_floating):
        x, y = cast(x, dtypes.float64), cast(y, dtypes.float64)
    distance = abs(sub(x, y))
    allowed = add(const(atol), abs(mul(const(rtol), y)))
    return logical_or(close, logical_and(isfinite(distance), le(distance, allowed)))


def isclose(input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """``|input - other| <= atol + rtol * |other|``, of infinities only where they are equal.

    Raises ArgumentError for a negative tolerance.
    """
    if rtol < 0 or atol < 0:
        raise ArgumentError(f"isclose: tolerances must not be negative, got rtol={rtol} and atol={atol}")
    return _isclose(operand(input), operand(other), float(rtol), float(atol), bool(equal_nan))


def _signed(name: str, input: Any) -> Tensor:
    x = operand(input)
    if x.dtype.is_complex:
        raise DTypeError(
            f"{name}: dtype {x.dtype.name} is not supported", code=f"dtype.{name}", hint="ask of .real and .imag"
        )
    return x


def isposinf(input: Any) -> Tensor:
    """Positive and infinite? Raises DTypeError for complex numbers, which have no sign."""
    x = _signed("isposinf", input)
    return logical_and(isinf(x), gt(x, const(0.0))) if x.dtype.is_floating else isinf(x)


def isneginf(input: Any) -> Tensor:
    """Negative and infinite? Raises DTypeError for complex numbers, which have no sign."""
    x = _signed("isneginf", input)
    return logical_and(isinf(x), lt(x, const(0.0))) if x.dtype.is_floating else isinf(x)


def nan_to_num(input: Any, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """NaN and infinities replaced; infinities that are not given by the largest and the least finite number."""
    x = operand(input)
    if not x.dtype.is_floating:
        return add(x, const(0)) if x.dtype.category else logical_or(x, const(False))
    high, low = _limits(x.dtype)
    inf = const(math.inf)
    x = where(eq(x, inf), const(high if posinf is None else float(posinf)), x)
    x = where(eq(x, const(-math.inf)), const(low if neginf is None else float(neginf)), x)
    return where(ne(x, x), const(0.0 if nan is None else float(nan)), x)


def _limits(dtype: dtypes.DType) -> tuple[float, float]:
    if dtype is dtypes.bfloat16:
        import ml_dtypes

        return float(ml_dtypes.finfo(dtype.numpy).max), float(ml_dtypes.finfo(dtype.numpy).min)
    return float(np.finfo(dtype.numpy).max), float(np.finfo(dtype.numpy).min)


@in_single
def logit(input: Any, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)); ``eps`` brings x into [eps, 1 - eps] first. NaN outside of [0, 1]."""
    x = operand(input)
    if not x.dtype.is_floating:
        x = cast(x, dtypes.default_float())
    if eps is not None:
        x = clamp(x, const(float(eps)), const(1.0 - float(eps)))
    return log(div(x, sub(const(1.0), x)))
