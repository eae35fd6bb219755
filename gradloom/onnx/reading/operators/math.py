"""Elementwise operators, products and random numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import gradloom as gl
from gradloom.onnx.reading.table import Call, op
from gradloom.onnx.reading.values import dtype_of, integers, number, numpy_dtype
from gradloom.tensor import Tensor

F = gl.nn.functional


def _plain(names: str, fn: Callable[..., Any]) -> None:
    op(*names.split())(lambda call, *x: fn(*x))


for _names, _fn in (
    ("Abs", gl.abs), ("Acos", gl.acos), ("Acosh", gl.acosh), ("Asin", gl.asin), ("Asinh", gl.asinh), ("Atan", gl.atan),
    ("Atanh", gl.atanh), ("Ceil", gl.ceil), ("Cos", gl.cos), ("Cosh", gl.cosh), ("Erf", gl.erf), ("Exp", gl.exp),
    ("Floor", gl.floor), ("IsNaN", gl.isnan), ("Log", gl.log), ("Neg", gl.neg), ("Reciprocal", gl.reciprocal),
    ("Relu", F.relu), ("Round", gl.round), ("Sigmoid", gl.sigmoid), ("Sign", gl.sign), ("Sin", gl.sin),
    ("Sinh", gl.sinh), ("Softplus", F.softplus), ("Softsign", F.softsign), ("Sqrt", gl.sqrt), ("Tan", gl.tan),
    ("Tanh", gl.tanh), ("Mish", F.mish), ("HardSwish", F.hardswish), ("Not", gl.logical_not), ("And", gl.logical_and),
    ("Or", gl.logical_or), ("Xor", gl.logical_xor), ("BitwiseAnd", gl.bitwise_and), ("BitwiseOr", gl.bitwise_or),
    ("BitwiseXor", gl.bitwise_xor), ("BitwiseNot", gl.bitwise_not), ("Add", gl.add), ("Sub", gl.sub), ("Mul", gl.mul),
    ("Equal", gl.eq), ("Greater", gl.gt), ("GreaterOrEqual", gl.ge), ("Less", gl.lt), ("LessOrEqual", gl.le),
    ("Where", gl.where), ("MatMul", gl.matmul), ("Det", gl.linalg.det),
):  # fmt: skip
    _plain(_names, _fn)


@op("Identity")
def _identity(call: Call, x: Any) -> Any:
    return x


@op("Div")
def _div(call: Call, a: Any, b: Any) -> Any:
    return gl.div(a, b) if a.dtype.is_floating else gl.div(a, b, rounding_mode="trunc")


@op("Mod")
def _mod(call: Call, a: Any, b: Any) -> Any:
    return gl.fmod(a, b) if call("fmod", 0) else gl.remainder(a, b)


@op("Pow")
def _pow(call: Call, a: Any, b: Any) -> Any:
    if not b.dtype.is_floating and a.dtype.is_floating:
        b = b.to(a.dtype)
    if b.dtype.is_floating and not a.dtype.is_floating:
        return gl.pow(a.to(b.dtype), b).to(a.dtype)
    return gl.pow(a, b.to(a.dtype))


@op("BitShift")
def _shift(call: Call, a: Any, b: Any) -> Any:
    wide = a.to(gl.int64), b.to(gl.int64)
    shift = gl.bitwise_left_shift if call("direction") == "LEFT" else gl.bitwise_right_shift
    return shift(*wide).to(a.dtype) if a.dtype is not gl.uint64 else shift(a, b)


@op("Max")
def _max(call: Call, *xs: Any) -> Any:
    return reduce(gl.maximum, xs)


@op("Min")
def _min(call: Call, *xs: Any) -> Any:
    return reduce(gl.minimum, xs)


@op("Sum")
def _sum(call: Call, *xs: Any) -> Any:
    return reduce(gl.add, xs)


@op("Mean")
def _mean(call: Call, *xs: Any) -> Any:
    return reduce(gl.add, xs) / len(xs)


@op("Clip")
def _clip(call: Call, x: Any, low: Any = None, high: Any = None) -> Any:
    low = call("min") if low is None else low
    high = call("max") if high is None else high
    x = x if low is None else gl.maximum(x, gl.as_tensor(low, dtype=x.dtype))
    return x if high is None else gl.minimum(x, gl.as_tensor(high, dtype=x.dtype))


@op("Elu")
def _elu(call: Call, x: Any) -> Any:
    return F.elu(x, call("alpha", 1.0))


@op("Celu")
def _celu(call: Call, x: Any) -> Any:
    return F.celu(x, call("alpha", 1.0))


@op("Selu")
def _selu(call: Call, x: Any) -> Any:
    alpha, gamma = call("alpha", 1.67326319217681884765625), call("gamma", 1.05070102214813232421875)
    return gamma * gl.where(x > 0, x, alpha * gl.expm1(gl.clamp(x, max=0)))


@op("LeakyRelu")
def _leaky(call: Call, x: Any) -> Any:
    return F.leaky_relu(x, call("alpha", 0.01))


@op("PRelu")
def _prelu(call: Call, x: Any, slope: Any) -> Any:
    if call.opset < 7 and slope.ndim == 1:  # one for each channel
        slope = slope.reshape(-1, *[1] * (x.ndim - 2))
    return gl.where(x < 0, x * slope, x)


@op("ThresholdedRelu")
def _thresholded(call: Call, x: Any) -> Any:
    return gl.where(x > call("alpha", 1.0), x, gl.zeros_like(x))


@op("HardSigmoid")
def _hard_sigmoid(call: Call, x: Any) -> Any:
    return gl.clamp(call("alpha", 0.2) * x + call("beta", 0.5), 0, 1)


@op("Shrink")
def _shrink(call: Call, x: Any) -> Any:
    bias, edge = call("bias", 0.0), call("lambd", 0.5)
    return gl.where(x < -edge, x + bias, gl.where(x > edge, x - bias, gl.zeros_like(x))).to(x.dtype)


@op("Gelu")
def _gelu(call: Call, x: Any) -> Any:
    return F.gelu(x, approximate=call("approximate", "none"))


@op("Swish")
def _swish(call: Call, x: Any) -> Any:
    return x * gl.sigmoid(call("alpha", 1.0) * x)


@op("IsInf")
def _isinf(call: Call, x: Any) -> Any:
    up, down = gl.isposinf(x), gl.isneginf(x)
    if not call("detect_negative", 1):
        return up
    return gl.isinf(x) if call("detect_positive", 1) else down


@op("Cast")
def _cast(call: Call, x: Any) -> Any:
    dtype = dtype_of(call("to"))
    if dtype is not None:
        return x.to(dtype)
    raise call.fail(f"no tensor has the dtype {numpy_dtype(call('to'))}", "cast to one of 8 bits or more")


@op("CastLike", host=(1,))
def _cast_like(call: Call, x: Any, like: Any) -> Any:
    return x.to(like.dtype if isinstance(like, Tensor) else gl.as_tensor(like).dtype)


@op("BitCast")
def _bit_cast(call: Call, x: Any) -> Any:
    dtype = dtype_of(call("to"))
    if dtype is None:
        raise call.fail(f"no tensor has the dtype {numpy_dtype(call('to'))}")
    return x.view(dtype)


# -- products -------------------------------------------------------------------------------------------
@op("Gemm")
def _gemm(call: Call, a: Any, b: Any, c: Any = None) -> Any:
    a, b = (v.T if call(name, 0) else v for v, name in ((a, "transA"), (b, "transB")))
    y = a @ b
    alpha, beta = call("alpha", 1.0), call("beta", 1.0)
    y = y if alpha == 1 else (alpha * y).to(a.dtype)
    return y if c is None else y + (c if beta == 1 else (beta * c).to(a.dtype))


@op("Einsum")
def _einsum(call: Call, *xs: Any) -> Any:
    return gl.einsum(call("equation").replace(" ", ""), *xs)


# -- random numbers -------------------------------------------------------------------------------------
def _drawn(call: Call, shape: Any, dtype: Any, normal: bool) -> Any:
    code = call("dtype")
    dtype = dtype_of(code) if code else dtype
    made = gl.randn(*shape) if normal else gl.rand(*shape)
    if normal:
        made = made * call("scale", 1.0) + call("mean", 0.0)
    else:
        made = made * (call("high", 1.0) - call("low", 0.0)) + call("low", 0.0)
    return made.to(dtype or gl.float32)


@op("RandomNormal")
def _random_normal(call: Call) -> Any:
    return _drawn(call, call("shape"), None, True)


@op("RandomUniform")
def _random_uniform(call: Call) -> Any:
    return _drawn(call, call("shape"), None, False)


@op("RandomNormalLike")
def _random_normal_like(call: Call, x: Any) -> Any:
    return _drawn(call, x.shape, x.dtype, True)


@op("RandomUniformLike")
def _random_uniform_like(call: Call, x: Any) -> Any:
    return _drawn(call, x.shape, x.dtype, False)


@op("Bernoulli")
def _bernoulli(call: Call, x: Any) -> Any:
    code = call("dtype")
    return gl.bernoulli(x).to(dtype_of(code) if code else x.dtype)


@op("Multinomial")
def _multinomial(call: Call, x: Any) -> Any:
    drawn = gl.multinomial(x.softmax(-1), call("sample_size", 1), replacement=True)
    return drawn.to(dtype_of(call("dtype", 6)))


@op("Dropout")
def _dropout(call: Call, x: Any, ratio: Any = None, training: Any = None) -> Any:
    on = bool(number(training)) if training is not None else False
    rate = number(ratio) if ratio is not None else call("ratio", 0.5)
    if not on or rate == 0:
        return (x, gl.ones(*x.shape, dtype=gl.bool)) if call.wants(1) else x
    mask = gl.rand(*x.shape) >= rate
    y = gl.where(mask, x / (1 - rate), gl.zeros_like(x))
    return (y, mask) if call.wants(1) else y


@op("EyeLike")
def _eye_like(call: Call, x: Any) -> Any:
    n, m = x.shape
    k = call("k", 0)
    code = call("dtype")
    rows, columns = gl.arange(n).reshape(n, 1), gl.arange(m).reshape(1, m)
    return (columns - rows == k).to(dtype_of(code) if code else x.dtype)


@op("Range", host=(0, 1, 2))
def _range(call: Call, start: Any, limit: Any, delta: Any) -> Any:
    a, b, c = (number(v) for v in (start, limit, delta))
    return gl.arange(a, b, c, dtype=gl.as_tensor(start).dtype)


@op("Size", host=(0,))
def _size(call: Call, x: Any) -> Any:
    import numpy as np

    return np.array(int(np.prod(tuple(x.shape))), np.int64)


@op("Shape", host=(0,))
def _shape(call: Call, x: Any) -> Any:
    import numpy as np

    return np.array(tuple(x.shape), np.int64)[call("start", 0) : call("end")]


@op("ConstantOfShape", host=(0,))
def _constant_of_shape(call: Call, shape: Any) -> Any:
    import numpy as np

    value = call("value")
    value = np.zeros(1, np.float32) if value is None else value
    made = np.full(integers(shape), value.reshape(-1)[0])
    return made
