"""Elementwise primitives as ONNX operators, one line each.

Operands come in the dtype that is computed in: half precision is worked in single precision and small integers in
int32 or int64, as ONNX Runtime has few operators for them; what comes out is converted back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import DType
from gradloom.onnx.builder import Builder, order_of
from gradloom.onnx.capture import Op

__all__ = ["ELEMENTWISE", "elementwise", "work_dtype"]

Emit = Callable[[Builder, Sequence[str], DType], str]

_WORK = {
    "float16": dtypes.float32, "bfloat16": dtypes.float32, "int8": dtypes.int32, "int16": dtypes.int32,
    "uint8": dtypes.int32, "uint16": dtypes.int32, "uint32": dtypes.int64, "uint64": dtypes.int64,
}  # fmt: skip


def work_dtype(d: DType) -> DType:
    """The dtype that operands of this one are computed in."""
    return _WORK.get(d.name, d)


def _op(kind: str) -> Emit:
    return lambda b, a, d: str(b.add(kind, a))


def _c(b: Builder, x: float, d: DType) -> str:
    return b.constant(np.asarray(x, d.numpy))


def _arithmetic(kind: str, logical: str) -> Emit:
    """An operator of numbers that has another name for truth values."""
    return lambda b, a, d: str(b.add(logical if d is dtypes.bool_ else kind, a))


def _whole_or(emit: Emit) -> Emit:
    """What does nothing to integers."""
    return lambda b, a, d: emit(b, a, d) if d.is_floating else a[0]


def _not(kind: str) -> Emit:
    return lambda b, a, d: str(b.add("Not", [b.add(kind, a)]))


def _as_ints(emit: Emit) -> Emit:
    """Truth values compared as numbers."""
    return lambda b, a, d: emit(b, [b.cast(x, d, dtypes.int32) for x in a] if d is dtypes.bool_ else a, d)


def _exp2(b: Builder, a: Sequence[str], d: DType) -> str:
    return str(b.add("Pow", [_c(b, 2.0, d), a[0]]))


def _expm1(b: Builder, a: Sequence[str], d: DType) -> str:
    """tanh(x / 2) (e^x + 1), which keeps small x."""
    half = b.add("Tanh", [b.add("Mul", [a[0], _c(b, 0.5, d)])])
    return str(b.add("Mul", [half, b.add("Add", [b.add("Exp", a), _c(b, 1.0, d)])]))


def _log1p(b: Builder, a: Sequence[str], d: DType) -> str:
    """log(u) x / (u - 1) with u = 1 + x, which keeps small x (Kahan)."""
    x, one = a[0], _c(b, 1.0, d)
    u = b.add("Add", [x, one])
    less, log = b.add("Sub", [u, one]), b.add("Log", [u])
    plain = b.add("Or", [b.add("Equal", [less, _c(b, 0.0, d)]), b.add("Equal", [u, _c(b, math.inf, d)])])
    factor = b.add("Div", [x, b.add("Where", [plain, one, less])])
    small = b.add("Equal", [less, _c(b, 0.0, d)])
    return str(b.add("Where", [small, x, b.add("Mul", [log, b.add("Where", [plain, one, factor])])]))


def _scaled_log(base: float) -> Emit:
    return lambda b, a, d: str(b.add("Mul", [b.add("Log", a), _c(b, 1 / math.log(base), d)]))


def _rsqrt(b: Builder, a: Sequence[str], d: DType) -> str:
    return str(b.add("Reciprocal", [b.add("Sqrt", a)]))


def _erfc(b: Builder, a: Sequence[str], d: DType) -> str:
    return str(b.add("Sub", [_c(b, 1.0, d), b.add("Erf", a)]))


def _negative(b: Builder, x: str, d: DType) -> str:
    return str(b.add("Less", [x, _c(b, 0, d)]))


def _trunc(b: Builder, a: Sequence[str], d: DType) -> str:
    return str(b.add("Where", [_negative(b, a[0], d), b.add("Ceil", a), b.add("Floor", a)]))


def _mod(b: Builder, a: Sequence[str], d: DType) -> str:
    """The remainder with the sign of the divisor."""
    if not d.is_floating:
        return str(b.add("Mod", a))
    rest = b.add("Mod", a, fmod=1)
    other = b.add("Xor", [_negative(b, rest, d), _negative(b, a[1], d)])
    nonzero = b.add("Not", [b.add("Equal", [rest, _c(b, 0, d)])])
    return str(b.add("Where", [b.add("And", [other, nonzero]), b.add("Add", [rest, a[1]]), rest]))


def _floordiv(b: Builder, a: Sequence[str], d: DType) -> str:
    if d.is_floating:
        return str(b.add("Floor", [b.add("Div", a)]))
    return str(b.add("Div", [b.add("Sub", [a[0], b.add("Mod", a)]), a[1]]))


def _truncdiv(b: Builder, a: Sequence[str], d: DType) -> str:
    q = b.add("Div", a)
    return _trunc(b, [q], d) if d.is_floating else str(q)


def _atan2(b: Builder, a: Sequence[str], d: DType) -> str:
    """By the quadrant of (x, y); both zero gives 0."""
    y, x = a
    zero, pi = _c(b, 0.0, d), _c(b, math.pi, d)
    left, level = b.add("Less", [x, zero]), b.add("Equal", [x, zero])
    angle = b.add("Atan", [b.add("Div", [y, b.add("Where", [level, _c(b, 1.0, d), x])])])
    turn = b.add("Where", [b.add("Less", [y, zero]), b.add("Neg", [pi]), pi])
    found = b.add("Where", [left, b.add("Add", [angle, turn]), angle])
    up = b.add("Mul", [b.add("Sign", [y]), _c(b, math.pi / 2, d)])
    return str(b.add("Where", [level, up, found]))


def _is_finite(b: Builder, a: Sequence[str], d: DType) -> str:
    if not d.is_floating:
        return str(b.add("Equal", [a[0], a[0]]))
    return str(b.add("Not", [b.add("Or", [_is_inf(b, a, d), b.add("IsNaN", a)])]))


def _is_inf(b: Builder, a: Sequence[str], d: DType) -> str:
    if not d.is_floating:
        return str(b.add("Not", [b.add("Equal", [a[0], a[0]])]))
    return str(b.add("Equal", [b.add("Abs", a), _c(b, math.inf, d)]))


def _is_nan(b: Builder, a: Sequence[str], d: DType) -> str:
    return str(b.add("Not", [b.add("Equal", [a[0], a[0]])]))


def _power_of_two(b: Builder, n: str, d: DType) -> str:
    return str(b.add("Pow", [_c(b, 2, d), n]))


def _shift_right(b: Builder, a: Sequence[str], d: DType) -> str:
    return _floordiv(b, [a[0], _power_of_two(b, a[1], d)], d)


def _bits(kind: str, logical: str) -> Emit:
    return lambda b, a, d: str(b.add(logical if d is dtypes.bool_ else kind, a))


def _logaddexp(b: Builder, a: Sequence[str], d: DType) -> str:
    top, gap = b.add("Max", a), b.add("Abs", [b.add("Sub", a)])
    more = _log1p(b, [b.add("Exp", [b.add("Neg", [gap])])], d)
    return str(b.add("Where", [b.add("Equal", a), _plus(b, top, math.log(2), d), b.add("Add", [top, more])]))


def _logaddexp2(b: Builder, a: Sequence[str], d: DType) -> str:
    scaled = [str(b.add("Mul", [x, _c(b, math.log(2), d)])) for x in a]
    return str(b.add("Mul", [_logaddexp(b, scaled, d), _c(b, 1 / math.log(2), d)]))


def _signbit(b: Builder, a: Sequence[str], d: DType) -> str:
    """Of a zero its reciprocal has the sign."""
    if not d.is_floating:
        return _negative(b, b.cast(a[0], d, dtypes.int64), dtypes.int64)
    zero = b.add("Equal", [a[0], _c(b, 0, d)])
    return _negative(b, b.add("Where", [zero, b.add("Reciprocal", a), a[0]]), d)


def _copysign(b: Builder, a: Sequence[str], d: DType) -> str:
    size = b.add("Abs", a[:1])
    return str(b.add("Where", [_signbit(b, a[1:], d), b.add("Neg", [size]), size]))


def _plus(b: Builder, x: str, n: float, d: DType) -> str:
    return str(b.add("Add", [x, _c(b, n, d)]))


def _xlogy(b: Builder, a: Sequence[str], d: DType) -> str:
    x, y = a
    product = b.add("Mul", [x, b.add("Log", [y])])
    none = b.add("And", [b.add("Equal", [x, _c(b, 0.0, d)]), b.add("Equal", [y, y])])
    return str(b.add("Where", [none, _c(b, 0.0, d), product]))


def _hypot(b: Builder, a: Sequence[str], d: DType) -> str:
    return str(b.add("Sqrt", [b.add("Add", [b.add("Mul", [x, x]) for x in a])]))


def _one_of(kind: str, logical: str) -> Emit:
    """An extreme that passes over NaN."""

    def emit(b: Builder, a: Sequence[str], d: DType) -> str:
        if not d.is_floating:
            return str(b.add(logical if d is dtypes.bool_ else kind, a))
        x, y = (b.add("Where", [b.add("IsNaN", [p]), q, p]) for p, q in (a, a[::-1]))
        return str(b.add(kind, [x, y]))

    return emit


def _sinc(b: Builder, a: Sequence[str], d: DType) -> str:
    at = b.add("Mul", [a[0], _c(b, math.pi, d)])
    zero = b.add("Equal", [at, _c(b, 0.0, d)])
    safe = b.add("Where", [zero, _c(b, 1.0, d), at])
    return str(b.add("Where", [zero, _c(b, 1.0, d), b.add("Div", [b.add("Sin", [safe]), safe])]))


def _ndtr(b: Builder, a: Sequence[str], d: DType) -> str:
    scaled = b.add("Erf", [b.add("Mul", [a[0], _c(b, math.sqrt(0.5), d)])])
    return str(b.add("Mul", [_plus(b, scaled, 1.0, d), _c(b, 0.5, d)]))


def _relu(b: Builder, a: Sequence[str], d: DType) -> str:
    return str(b.add("Relu", a) if d.is_floating else b.add("Max", [a[0], _c(b, 0, d)]))


def _sign(b: Builder, a: Sequence[str], d: DType) -> str:
    if not d.is_floating:
        return str(b.add("Sign", a))
    return str(b.add("Where", [b.add("IsNaN", a), _c(b, 0.0, d), b.add("Sign", a)]))


ELEMENTWISE: dict[str, Emit] = {
    "add": _arithmetic("Add", "Or"), "sub": _op("Sub"), "mul": _arithmetic("Mul", "And"), "div": _op("Div"),
    "floordiv": _floordiv, "truncdiv": _truncdiv, "mod": _mod, "neg": _op("Neg"), "abs": _op("Abs"),
    "fmod": lambda b, a, d: str(b.add("Mod", a, fmod=1)), "pow": _op("Pow"), "sign": _sign,
    "maximum": _arithmetic("Max", "Or"), "minimum": _arithmetic("Min", "And"),
    "fmax": _one_of("Max", "Or"), "fmin": _one_of("Min", "And"), "atan2": _atan2, "hypot": _hypot,
    "exp": _op("Exp"), "exp2": _exp2, "expm1": _expm1, "log": _op("Log"), "log2": _scaled_log(2.0),
    "log10": _scaled_log(10.0), "log1p": _log1p, "logaddexp": _logaddexp, "xlogy": _xlogy,
    "sqrt": _op("Sqrt"), "rsqrt": _rsqrt, "reciprocal": _op("Reciprocal"), "sinc": _sinc,
    "sin": _op("Sin"), "cos": _op("Cos"), "tan": _op("Tan"), "asin": _op("Asin"), "acos": _op("Acos"),
    "atan": _op("Atan"), "sinh": _op("Sinh"), "cosh": _op("Cosh"), "tanh": _op("Tanh"), "asinh": _op("Asinh"),
    "acosh": _op("Acosh"), "atanh": _op("Atanh"), "erf": _op("Erf"), "erfc": _erfc, "ndtr": _ndtr,
    "sigmoid": _op("Sigmoid"), "relu": _relu, "floor": _whole_or(_op("Floor")), "ceil": _whole_or(_op("Ceil")),
    "trunc": _whole_or(_trunc), "round": _whole_or(_op("Round")),
    "bitwise_and": _bits("BitwiseAnd", "And"), "bitwise_or": _bits("BitwiseOr", "Or"),
    "bitwise_xor": _bits("BitwiseXor", "Xor"), "bitwise_not": _bits("BitwiseNot", "Not"),
    "shift_left": lambda b, a, d: str(b.add("Mul", [a[0], _power_of_two(b, a[1], d)])), "shift_right": _shift_right,
    "eq": _op("Equal"), "ne": _not("Equal"), "lt": _as_ints(_op("Less")), "le": _as_ints(_op("LessOrEqual")),
    "gt": _as_ints(_op("Greater")), "ge": _as_ints(_op("GreaterOrEqual")),
    "isnan": _is_nan, "isinf": _is_inf, "isfinite": _is_finite,
    "signbit": _signbit, "copysign": _copysign, "logaddexp2": _logaddexp2,
}  # fmt: skip
"""By primitive."""

_SAME = ("scale_gradient", "detach", "hooked", "real", "conj")
"""Primitives whose value is their first operand's, where that is real."""


def elementwise(b: Builder, op: Op) -> None:
    """Emit an elementwise primitive."""
    out = op.outs[0]
    if op.name in _SAME and not op.ins[0].aval.dtype.is_complex:
        b.give(out, b.add("Identity", [b.name(op.ins[0])]), op.ins[0].aval.dtype)
        return
    if op.name == "cast":
        _cast(b, op)
        return
    dtype = op.prim.compute_dtype([v.aval for v in op.ins], op.attrs)
    work = work_dtype(dtype)
    if op.name == "where":
        chosen = [b.name(v, work) for v in op.ins[1:]]
        if work is dtypes.bool_:
            chosen = [b.cast(x, work, dtypes.int32) for x in chosen]
        found = b.add("Where", [b.name(op.ins[0], dtypes.bool_), *chosen])
        b.give(out, found, dtypes.int32 if work is dtypes.bool_ else work)
        return
    emit = ELEMENTWISE.get(op.name)
    if emit is None:
        raise b.refused("has no counterpart in ONNX", "replace it, or leave this part of the model out of the export")
    result = dtypes.bool_ if op.prim.result == "bool" else work
    order = b.common_order(op.ins, len(out.aval.shape))
    if order is None:
        b.give(out, emit(b, [b.name(v, work) for v in op.ins], work), result)
        return
    found = emit(b, [b.in_order(v, order, work) for v in op.ins], work)
    b.give_transposed(out, found, order_of(order), result)


def _cast(b: Builder, op: Op) -> None:
    (v,), out = op.ins, op.outs[0]
    old, new = v.aval.dtype, out.aval.dtype
    if v.view is not None and v.array is None:  # axes in another order stay so
        base, order = v.view
        same = b.add("Cast", [b.name(base)], to=b.kind(new)) if old is not new else b.name(base)
        b.give_transposed(out, same, order_of(order), new)
        return
    b.give(out, b.cast(b.name(v), old, new), new)
