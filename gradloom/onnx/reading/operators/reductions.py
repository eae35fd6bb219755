"""Sums, means and the like over axes, sums along them, largest elements, softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import gradloom as gl
from gradloom.onnx.reading.table import Call, op
from gradloom.onnx.reading.values import integers, normal, number

L: Any = gl


def _axes(call: Call, x: Any, axes: Any) -> tuple[int, ...] | None:
    """The axes of a reduction; None: nothing is reduced."""
    found = call("axes") if axes is None else integers(axes)
    if not found:
        return None if call("noop_with_empty_axes", 0) else tuple(range(x.ndim))
    return tuple(normal(a, x.ndim) for a in found)


def _enter(name: str, fn: Callable[..., Any], alone: Callable[..., Any] | None = None) -> None:
    """alone: what is done to the elements where nothing is reduced."""

    @op(name, host=(1,))
    def run(call: Call, x: Any, axes: Any = None) -> Any:
        over = _axes(call, x, axes)
        if over is None:
            return x if alone is None else alone(x)
        if not over:
            return x if alone is None else alone(x)
        return fn(x, over, bool(call("keepdims", 1))).to(x.dtype)


def _product(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    for a in sorted(axes, reverse=True):
        x = gl.prod(x, a, keepdim=keep)
    return x


def _extreme(largest: bool) -> Callable[..., Any]:
    def run(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
        if 0 in (x.shape[a] for a in axes):
            shape = [1 if k in axes else n for k, n in enumerate(x.shape) if keep or k not in axes]
            if x.dtype is gl.bool:
                return gl.full(shape, not largest, dtype=x.dtype)
            if not x.dtype.is_floating:
                edge = np.iinfo(x.dtype.numpy)
                return gl.full(shape, edge.min if largest else edge.max, dtype=x.dtype)
            return gl.full(shape, -np.inf if largest else np.inf, dtype=x.dtype)
        if x.dtype is gl.bool:
            return (gl.amax if largest else gl.amin)(x.to(gl.uint8), axes, keep).to(gl.bool)
        return (gl.amax if largest else gl.amin)(x, axes, keep)

    return run


def _square(x: Any) -> Any:
    return x * x


_enter("ReduceSum", lambda x, a, k: L.sum(x, a, keepdim=k))
_enter("ReduceMean", lambda x, a, k: L.mean(x.to(L.float64) if not x.dtype.is_floating else x, a, keepdim=k))
_enter("ReduceProd", _product)
_enter("ReduceMax", _extreme(True))
_enter("ReduceMin", _extreme(False))
_enter("ReduceL1", lambda x, a, k: L.sum(L.abs(x), a, keepdim=k), L.abs)
_enter("ReduceL2", lambda x, a, k: L.sqrt(L.sum(_square(x), a, keepdim=k)), L.abs)
_enter("ReduceSumSquare", lambda x, a, k: L.sum(_square(x), a, keepdim=k), _square)
_enter("ReduceLogSum", lambda x, a, k: L.log(L.sum(x, a, keepdim=k)), L.log)
_enter("ReduceLogSumExp", lambda x, a, k: L.logsumexp(x, a, keepdim=k), lambda x: x)


def _best(name: str, fn: Callable[..., Any]) -> None:
    @op(name)
    def run(call: Call, x: Any) -> Any:
        axis = normal(call("axis", 0), x.ndim)
        if call("select_last_index", 0):
            found = x.shape[axis] - 1 - fn(x.flip([axis]), axis, keepdim=True)
        else:
            found = fn(x, axis, keepdim=True)
        return found if call("keepdims", 1) else found.squeeze(axis)


_best("ArgMax", gl.argmax)
_best("ArgMin", gl.argmin)


def _running(name: str, fn: Callable[..., Any], start: int) -> None:
    @op(name, host=(1,))
    def run(call: Call, x: Any, axis: Any) -> Any:
        a = normal(int(number(axis)), x.ndim)
        back = bool(call("reverse", 0))
        x = x.flip([a]) if back else x
        if call("exclusive", 0):
            first = gl.full([1 if k == a else n for k, n in enumerate(x.shape)], start, dtype=x.dtype)
            x = gl.cat([first, gl.narrow(x, a, 0, x.shape[a] - 1)], a)
        y = fn(x, a).to(x.dtype)
        return y.flip([a]) if back else y


_running("CumSum", gl.cumsum, 0)
_running("CumProd", gl.cumprod, 1)


def _over_the_rest(call: Call, x: Any, fn: Callable[..., Any]) -> Any:
    """Before operator set 13, all axes from the one named on were one."""
    axis = call("axis", -1 if call.opset >= 13 else 1)
    if call.opset >= 13:
        return fn(x, axis)
    axis = normal(axis, x.ndim)
    flat = x.reshape(int(np.prod(tuple(x.shape[:axis]))), -1)
    return fn(flat, 1).reshape(x.shape)


@op("Softmax")
def _softmax(call: Call, x: Any) -> Any:
    return _over_the_rest(call, x, gl.softmax)


@op("LogSoftmax")
def _log_softmax(call: Call, x: Any) -> Any:
    return _over_the_rest(call, x, gl.log_softmax)


@op("Hardmax")
def _hardmax(call: Call, x: Any) -> Any:
    def largest(x: Any, axis: int) -> Any:
        axis = normal(axis, x.ndim)
        places = gl.arange(x.shape[axis]).reshape([-1 if k == axis else 1 for k in range(x.ndim)])
        return (gl.argmax(x, axis, keepdim=True) == places).to(x.dtype)

    return _over_the_rest(call, x, largest)


@op("TopK", host=(1,))
def _top_k(call: Call, x: Any, k: Any = None) -> Any:
    axis = call("axis", -1)
    count = call("k") if k is None else int(number(k))
    largest = bool(call("largest", 1))
    order = gl.argsort(x, dim=axis, descending=largest, stable=True)
    index = gl.narrow(order, normal(axis, x.ndim), 0, count)
    return gl.gather(x, normal(axis, x.ndim), index), index


@op("LpNormalization")
def _lp_normalization(call: Call, x: Any) -> Any:
    axis, p = call("axis", -1), call("p", 2)
    size = gl.sum(gl.abs(x), axis, keepdim=True) if p == 1 else gl.sqrt(gl.sum(x * x, axis, keepdim=True))
    return gl.where(size == 0, gl.zeros_like(x), x / gl.where(size == 0, gl.ones_like(size), size))


@op("MeanVarianceNormalization")
def _mean_variance(call: Call, x: Any) -> Any:
    axes = tuple(call("axes", (0, 2, 3)))
    mean = gl.mean(x, axes, keepdim=True)
    spread = gl.sqrt(gl.mean(x * x, axes, keepdim=True) - mean * mean)
    return (x - mean) / (spread + 1e-9)
