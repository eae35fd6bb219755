"""Per element: arithmetic, comparisons, bits, logic, exponentials, trigonometry, choice and casts."""

from __future__ import annotations

import builtins
import functools
import typing
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import as_dtype
from gradloom.errors import ArgumentError, DTypeError
from gradloom.functions.base import apply, const, operand
from gradloom.ops import elementwise as E
from gradloom.ops.core import Primitive
from gradloom.tensor import Tensor, from_numpy

__all__ = (
    "abs absolute acos acosh add arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan atan2 atanh "
    "bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor ceil clamp clip cos cosh "
    "detach digamma div divide dropout eq erf erfc erfinv exp exp2 expm1 floor floor_divide fmod ge greater "
    "greater_equal gt isfinite isinf isnan le less less_equal lgamma log log10 log1p log2 logical_and logical_not "
    "logical_or logical_xor lt maximum minimum mul multiply ne neg negative not_equal pow reciprocal relu remainder "
    "round rsqrt sigmoid sign sin sinh sqrt square sub subtract tan tanh true_divide trunc where "
    "power mod bitwise_invert invert fabs rint"
).split()
INTERNAL = ["cast", "in_single"]
FUNCTION_ONLY = (
    "detach dropout where power mod bitwise_invert invert fabs rint".split()
)  # no methods, or methods written by hand
INPLACE = [n for n in __all__ if n not in FUNCTION_ONLY]

F = typing.TypeVar("F", bound=Callable[..., Tensor])


def _unary(prim: Primitive, doc: str) -> Callable[[Any], Tensor]:
    def fn(input: Any) -> Tensor:
        return apply(prim, (input if isinstance(input, Tensor) else operand(input),))

    fn.__name__ = fn.__qualname__ = prim.name
    fn.__doc__ = doc + " Per element; shape as the input's."
    return fn


def _binary(prim: Primitive, doc: str) -> Callable[[Any, Any], Tensor]:
    def fn(input: Any, other: Any) -> Tensor:
        return apply(prim, (operand(input), operand(other)))

    fn.__name__ = fn.__qualname__ = prim.name
    fn.__doc__ = doc + " Operands broadcast and promote."
    return fn


def in_single(fn: F) -> F:
    """A formula of several steps, worked in float32 where its operands have half precision, and rounded once."""

    @functools.wraps(fn)
    def run(input: Any, *args: Any, **kwargs: Any) -> Tensor:
        if not isinstance(input, Tensor) or input.dtype not in (dtypes.float16, dtypes.bfloat16):
            return fn(input, *args, **kwargs)
        rest = [cast(a, dtypes.float32) if isinstance(a, Tensor) and a.dtype is input.dtype else a for a in args]
        return cast(fn(cast(input, dtypes.float32), *rest, **kwargs), input.dtype)

    return typing.cast(F, run)


mul, _div = _binary(E.mul, "input * other."), _binary(E.div, "input / other, as real numbers.")
_add = _binary(E.add, "input + other.")
floor_divide = _binary(E.floordiv, "Quotient rounded down.")
remainder = _binary(E.mod, "Remainder with the sign of the divisor (Python's).")
fmod = _binary(E.fmod, "Remainder with the sign of the dividend (C's).")
maximum = _binary(E.maximum, "The larger; NaN where either is.")
minimum = _binary(E.minimum, "The smaller; NaN where either is.")
atan2 = arctan2 = _binary(E.atan2, "The angle of the point (other, input).")
eq = equal_elements = _binary(E.eq, "input == other.")
ne = not_equal = _binary(E.ne, "input != other.")
lt = less = _binary(E.lt, "input < other.")
le = less_equal = _binary(E.le, "input <= other.")
gt = greater = _binary(E.gt, "input > other.")
ge = greater_equal = _binary(E.ge, "input >= other.")
bitwise_and = _binary(E.bitwise_and, "Bits of both.")
bitwise_or = _binary(E.bitwise_or, "Bits of either.")
bitwise_xor = _binary(E.bitwise_xor, "Bits of just one.")
bitwise_left_shift = _binary(E.shift_left, "Bits moved up.")
bitwise_right_shift = _binary(E.shift_right, "Bits moved down.")
neg = negative = _unary(E.neg, "-input.")
abs = absolute = _unary(E.abs_, "The magnitude.")
_sign = _unary(E.sign, "-1, 0 or 1.")
floor, ceil, trunc = _unary(E.floor, "Rounded down."), _unary(E.ceil, "Rounded up."), _unary(E.trunc, "Towards 0.")
_round = _unary(E.round_, "To the nearest integer, halves to even.")
exp, exp2, expm1 = _unary(E.exp, "e**x."), _unary(E.exp2, "2**x."), _unary(E.expm1, "e**x - 1.")
log, log2, log10, log1p = (
    _unary(E.log, "Natural logarithm."), _unary(E.log2, "Binary logarithm."), _unary(E.log10, "Decimal logarithm."),
    _unary(E.log1p, "log(1 + x)."),
)  # fmt: skip
sqrt, rsqrt, reciprocal = _unary(E.sqrt, "Square root."), _unary(E.rsqrt, "1/sqrt(x)."), _unary(E.reciprocal, "1/x.")
sin, cos, tan = _unary(E.sin, "Sine."), _unary(E.cos, "Cosine."), _unary(E.tan, "Tangent.")
asin = arcsin = _unary(E.asin, "Inverse sine.")
acos = arccos = _unary(E.acos, "Inverse cosine.")
atan = arctan = _unary(E.atan, "Inverse tangent.")
sinh, cosh, tanh = _unary(E.sinh, "Hyperbolic sine."), _unary(E.cosh, "Hyperbolic cosine."), _unary(E.tanh, "tanh.")
asinh = arcsinh = _unary(E.asinh, "Inverse hyperbolic sine.")
acosh = arccosh = _unary(E.acosh, "Inverse hyperbolic cosine.")
atanh = arctanh = _unary(E.atanh, "Inverse hyperbolic tangent.")
erf, erfc, erfinv = _unary(E.erf, "Error function."), _unary(E.erfc, "1 - erf(x)."), _unary(E.erfinv, "Inverse of erf.")
lgamma, digamma = _unary(E.lgamma, "log |gamma(x)|."), _unary(E.digamma, "Derivative of lgamma.")
sigmoid, relu = _unary(E.sigmoid, "1/(1 + e**-x)."), _unary(E.relu, "max(x, 0).")
isnan, isinf, isfinite = _unary(E.isnan, "NaN?"), _unary(E.isinf, "Infinite?"), _unary(E.isfinite, "Finite?")
bitwise_not = _unary(E.bitwise_not, "Bits inverted.")
detach = _unary(E.detach, "The same values, cut off from the gradient.")
_sub = _binary(E.sub, "input - other.")


def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """``input + alpha * other``."""
    return _add(input, other if alpha == 1 else mul(other, alpha))


def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """``input - alpha * other``."""
    return _sub(input, other if alpha == 1 else mul(other, alpha))


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """``input / other`` as real numbers; ``rounding_mode="trunc"`` cuts the quotient off, ``"floor"`` rounds it down.

    Rounded quotients keep integer dtypes; an integer divided by 0 gives 0.
    """
    if rounding_mode is None:
        return _div(input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode == "trunc":
        from gradloom.ops.floats import truncdiv

        return apply(truncdiv, (operand(input), operand(other)))
    raise ArgumentError(f"div: rounding_mode is None, 'trunc' or 'floor', not {rounding_mode!r}")


def sign(input: Any) -> Tensor:
    """-1, 0 or 1; of bool the same."""
    x = operand(input)
    return bitwise_or(x, x) if x.dtype is dtypes.bool_ else _sign(x)


def round(input: Any, *, decimals: int = 0) -> Tensor:
    """To ``decimals`` digits behind the point (before it where negative), halves to even. Shape as the input's."""
    x = operand(input)
    if decimals == 0:
        return _round(x)
    if not x.dtype.is_floating:
        raise DTypeError(
            f"round: decimals of dtype {x.dtype.name} are not supported", code="dtype.round",
            hint="takes floating tensors; convert with .to(dtype)",
        )  # fmt: skip
    scale = const(10.0 ** builtins.abs(decimals))
    return _div(_round(mul(x, scale)), scale) if decimals > 0 else mul(_round(_div(x, scale)), scale)


def pow(input: Any, exponent: Any) -> Tensor:
    """``input ** exponent``. Small integer exponents become products."""
    if isinstance(exponent, (int, float)) and not isinstance(exponent, bool) and isinstance(input, Tensor):
        if input.dtype.category < 2 and isinstance(exponent, float):
            input = cast(input, dtypes.default_float())
        elif input.dtype is dtypes.bool_:
            input = cast(input, dtypes.int64)
        if exponent == 2:
            return mul(input, input)
        if exponent == 1:
            return mul(input, const(1))
        if exponent == 3:
            return mul(mul(input, input), input)
        if exponent == 0.5 and input.dtype.is_floating:
            return sqrt(input)
        if exponent == -1 and input.dtype.is_floating:
            return reciprocal(input)
        return apply(E.pow_, (input, const(exponent)))
    return apply(E.pow_, (operand(input), operand(exponent)))


def square(input: Tensor) -> Tensor:
    """``input * input``; of bool int64."""
    x = cast(input, dtypes.int64) if input.dtype is dtypes.bool_ else input
    return mul(x, x)


def logical_and(input: Any, other: Any) -> Tensor:
    """Truth of both."""
    return bitwise_and(cast(operand(input), dtypes.bool_), cast(operand(other), dtypes.bool_))


def logical_or(input: Any, other: Any) -> Tensor:
    """Truth of either."""
    return bitwise_or(cast(operand(input), dtypes.bool_), cast(operand(other), dtypes.bool_))


def logical_xor(input: Any, other: Any) -> Tensor:
    """Truth of just one."""
    return bitwise_xor(cast(operand(input), dtypes.bool_), cast(operand(other), dtypes.bool_))


def logical_not(input: Any) -> Tensor:
    """Falsehood."""
    return bitwise_not(cast(operand(input), dtypes.bool_))


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """``input`` where the condition holds, ``other`` elsewhere; all three broadcast.

    Given the condition alone: where it holds, as one int64 index tensor for each axis (looks at the values).
    """
    c = operand(condition)
    if input is None and other is None:
        return tuple(from_numpy(np.ascontiguousarray(k)) for k in np.atleast_1d(c.numpy()).nonzero())
    x, y = operand(input), operand(other)
    if x._v.aval.weak and y._v.aval.weak:  # of numbers alone: the dtype that each would have as a tensor
        d = dtypes.promote(x.dtype, y.dtype)
        x, y = cast(x, d), cast(y, d)
    return apply(E.where, (c if c.dtype is dtypes.bool_ else cast(c, dtypes.bool_), x, y))


def cast(input: Any, dtype: Any) -> Tensor:
    """The elements converted to a dtype; floating to integer cuts off towards zero."""
    x, d = operand(input), as_dtype(dtype)
    return x if x.dtype is d and not x._v.aval.weak else apply(E.cast, (x,), (d,))


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Elements brought into [min, max]; either bound may be left out, and be a tensor. NaN of any of the three stays.

    Where a lower bound is above the upper one the result is the upper one. Raises ArgumentError without any bound.
    """
    if min is None and max is None:
        raise ArgumentError("clamp: at least one of min and max must be given")
    x = input
    if min is not None:
        lo = operand(min)
        x = where(_beyond(lt(x, lo), lo, min), lo, x)
    if max is not None:
        hi = operand(max)
        x = where(_beyond(gt(x, hi), hi, max), hi, x)
    return x


def _beyond(outside: Tensor, bound: Tensor, given: Any) -> Tensor:
    """Where the bound replaces the element: also where it is NaN, which a number only rarely is."""
    if isinstance(given, Tensor):
        return bitwise_or(outside, ne(bound, bound)) if bound.dtype.is_floating else outside
    return outside if given == given else ne(bound, bound)


def dropout(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Each element zeroed with probability p and the rest scaled by 1/(1-p) in training (Srivastava et al. 2014)."""
    if not 0 <= p <= 1:
        raise ArgumentError(f"dropout: p must be within [0, 1], got {p}")
    if not training or p == 0:
        return input
    from gradloom.functions.sampling import uniform_like

    if p == 1:
        return mul(input, const(0.0))
    return mul(input, mul(cast(ge(uniform_like(input), p), input.dtype), 1.0 / (1.0 - p)))


clip = clamp
subtract, multiply, divide, true_divide = sub, mul, div, div
# NumPy's and the Array API's names, where PyTorch means nothing else by them
power, mod, bitwise_invert, invert, fabs, rint = pow, remainder, bitwise_not, bitwise_not, abs, round
