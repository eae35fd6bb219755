"""Numbers of eight bits: rounded, brought back, multiplied exactly."""

from __future__ import annotations

from typing import Any

import numpy as np

import gradloom as gl
from gradloom.onnx.reading.operators.network import convolution
from gradloom.onnx.reading.table import Call, op
from gradloom.onnx.reading.values import dtype_of, normal


def _spread(call: Call, v: Any, x: Any) -> Any:
    """A scale or zero point in the shape of what it scales: one, one an index of an axis, or one a block."""
    if v is None or v.ndim == 0 or (v.ndim == 1 and v.shape[0] == 1):
        return v if v is None else v.reshape(())
    axis = normal(call("axis", 1), x.ndim)
    if v.ndim == 1:
        return v.reshape([-1 if k == axis else 1 for k in range(x.ndim)])
    return gl.repeat_interleave(v, call("block_size"), axis).narrow(axis, 0, x.shape[axis])


def _rounded(y: Any, zero: Any, dtype: Any) -> Any:
    edge = np.iinfo(dtype.numpy)
    y = gl.round(y)
    if zero is not None:
        y = y + zero.to(y.dtype)
    return gl.clamp(y, edge.min, edge.max).to(dtype)


@op("QuantizeLinear")
def _quantize(call: Call, x: Any, scale: Any, zero: Any = None) -> Any:
    code = call("output_dtype", 0)
    dtype = zero.dtype if zero is not None else (dtype_of(code) if code else gl.uint8)
    return _rounded(x / _spread(call, scale, x), _spread(call, zero, x), dtype)


@op("DequantizeLinear")
def _dequantize(call: Call, x: Any, scale: Any, zero: Any = None) -> Any:
    spread, at = _spread(call, scale, x), _spread(call, zero, x)
    wide = x.to(gl.int32) if at is None else x.to(gl.int32) - at.to(gl.int32)
    return (wide.to(gl.float32) * spread.to(gl.float32)).to(scale.dtype)


@op("DynamicQuantizeLinear")
def _dynamic(call: Call, x: Any) -> Any:
    zero = gl.zeros((), dtype=x.dtype)
    low, high = gl.minimum(gl.amin(x), zero), gl.maximum(gl.amax(x), zero)
    scale = (high - low) / 255
    at = gl.clamp(gl.round(-low / scale), 0, 255)
    return gl.clamp(gl.round(x / scale) + at, 0, 255).to(gl.uint8), scale, at.to(gl.uint8)


def _centred(x: Any, zero: Any, column: bool) -> Any:
    x = x.to(gl.int32)
    if zero is None:
        return x
    zero = zero.to(gl.int32)
    return x - (zero.unsqueeze(-1) if column and zero.ndim else zero)


@op("MatMulInteger")
def _matmul_integer(call: Call, a: Any, b: Any, za: Any = None, zb: Any = None) -> Any:
    return _centred(a, za, True) @ _centred(b, zb, False)


@op("QLinearMatMul")
def _qlinear_matmul(
    call: Call, a: Any, sa: Any, za: Any, b: Any, sb: Any, zb: Any, sy: Any, zy: Any
) -> Any:  # fmt: skip
    total = _centred(a, za, True) @ _centred(b, zb, False)
    sa = sa.unsqueeze(-1) if sa.ndim else sa
    return _rounded(total.to(gl.float32) * (sa.to(gl.float32) * sb.to(gl.float32) / sy.to(gl.float32)), zy, zy.dtype)


@op("ConvInteger")
def _conv_integer(call: Call, x: Any, w: Any, zx: Any = None, zw: Any = None) -> Any:
    return convolution(call, *_exact(x, w, zx, zw)).to(gl.int32)


def _exact(x: Any, w: Any, zx: Any, zw: Any) -> tuple[Any, Any]:
    """Both as float64, in which sums of their products are exact; what is outside of images counts as zero."""
    x, w = x.to(gl.float64), w.to(gl.float64)
    if zx is not None:
        x = x - zx.to(gl.float64)
    if zw is not None:
        zw = zw.to(gl.float64)
        w = w - (zw.reshape(-1, *[1] * (w.ndim - 1)) if zw.ndim else zw)
    return x, w


@op("QLinearConv")
def _qlinear_conv(
    call: Call, x: Any, sx: Any, zx: Any, w: Any, sw: Any, zw: Any, sy: Any, zy: Any, b: Any = None
) -> Any:  # fmt: skip
    total = convolution(call, *_exact(x, w, zx, zw))
    shape = (1, -1, *[1] * (x.ndim - 2))
    if b is not None:
        total = total + b.to(gl.float64).reshape(shape)
    factor = (
        sx.to(gl.float64) * (sw.to(gl.float64).reshape(shape) if sw.ndim else sw.to(gl.float64)) / sy.to(gl.float64)
    )
    return _rounded(total * factor, zy, zy.dtype)
