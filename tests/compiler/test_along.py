"""Kernels along an axis against the primitives' references: every host width, chunks in any order, odd lengths."""

from __future__ import annotations

import ctypes
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradloom import dtypes
from gradloom.compiler import kernels
from gradloom.compiler.along import plan_along
from gradloom.compiler.llvm.host import compile_object, host_named
from gradloom.compiler.loops import SCRATCH_BYTES, Launch
from gradloom.compiler.views import View
from gradloom.graph.node import Aval, Node
from gradloom.ops import scan, sorting
from gradloom.ops.core import Primitive
from tests.compiler.mapping import HOSTS, arm

RNG = np.random.default_rng(3)
SCRATCH = np.zeros(SCRATCH_BYTES + 64, np.uint8)


def launch_of(prim: Primitive, arrays: list[np.ndarray], attrs: tuple, host: str) -> tuple[Launch, Node, int]:
    """The launch for operands in slots 0, 1, …, the result behind them and temporary memory last; bytes of that."""
    ins = [Node(None, (), (), Aval(a.shape, dtypes.as_dtype(a.dtype))) for a in arrays]
    node = Node(prim, ins, attrs, prim.infer([i.aval for i in ins], attrs))
    room = [64]

    def temp(nbytes: int) -> int:
        room.append(nbytes)
        return len(arrays) + 1

    views: list[Any] = [View(SimpleNamespace(slot=k), a.shape, strides(a.shape), 0) for k, a in enumerate(arrays)]  # type: ignore[arg-type]
    out: Any = View(SimpleNamespace(slot=len(arrays)), node.aval.shape, strides(node.aval.shape), 0)  # type: ignore[arg-type]
    launch = plan_along(node, views, out, lambda s: s.slot, temp, host_named(host))  # type: ignore[attr-defined]
    assert launch is not None
    return launch, node, max(room)


def strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[k + 1 :]) for k in range(len(shape)))


def check(prim: Primitive, arrays: list[np.ndarray], attrs: tuple, host: str, rtol: float = 1e-6) -> None:
    launch, node, room = launch_of(prim, arrays, attrs, host)
    want = np.asarray(prim.reference(arrays, attrs, node.aval))
    out = np.zeros(node.aval.shape, node.aval.dtype.numpy)
    memory = [*arrays, out, np.zeros(room + 64, np.uint8)]
    aligned = [a.ctypes.data for a in memory[:-1]] + [memory[-1].ctypes.data // 64 * 64 + 64]
    bufs = (ctypes.c_int64 * len(launch.buffers))(*(aligned[b] for b in launch.buffers))
    ints = (ctypes.c_int64 * len(launch.ints))(*launch.ints)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    call = kind(kernels.addresses([launch.source], host_named(host))[0])  # type: ignore[list-item]
    scratch = SCRATCH.ctypes.data // 64 * 64 + 64
    for c in RNG.permutation(launch.chunks):
        call(ctypes.addressof(bufs), ctypes.addressof(ints), scratch, int(c), int(c) + 1)
    np.testing.assert_allclose(out, want, rtol, rtol, err_msg=f"{prim.name} {arrays[0].shape} {attrs} on {host}")


def numbers(shape: tuple[int, ...], dtype: str, top: int = 100) -> np.ndarray:
    x = RNG.integers(0, top, shape)
    return (x / 7).astype(dtype) if dtype.startswith("f") else x.astype(dtype)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8"])
def test_running_results(host: str, dtype: str) -> None:
    for shape, axis in [((1,), 0), ((259,), 0), ((400, 50), 1), ((33, 70), 0), ((2, 90, 133), 1), ((3, 5, 2), 1)]:
        x = numbers(shape, dtype)
        for prim in (scan.cumsum, scan.cummax, scan.cummin):
            for reverse in (False, True):
                check(prim, [x], (axis, reverse), host)
        for reverse in (False, True):
            check(scan.cummax_index, [x], (axis, reverse), host)
        check(scan.cummin_index, [x], (axis, False), host)
        a = numbers(shape, dtype, 2)
        check(scan.cumprod, [a + np.asarray(1, dtype)], (axis, False), host, 1e-5)
        check(scan.recurrence, [a, x], (axis, True), host)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint32", "bool"])
def test_order(host: str, dtype: str) -> None:
    for shape in [(1,), (32,), (33,), (9, 400), (2, 100_000)]:
        x = numbers(shape, dtype, 2 if dtype == "bool" else 120)
        if dtype.startswith(("f", "i")):
            x = np.where(RNG.random(shape) < 0.5, -x, x)
        for descending in (False, True):
            check(sorting.sort, [x], (len(shape) - 1, descending), host)
            check(sorting.argsort, [x], (len(shape) - 1, descending), host)
            check(sorting.topk_index, [x], (len(shape) - 1, min(5, shape[-1]), descending, True), host)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
def test_search(host: str, dtype: str) -> None:
    for n in (1, 7, 64, 1000):
        rows, values = np.sort(numbers((3, n), dtype)), numbers((3, 17), dtype, 130)
        for right in (False, True):
            check(sorting.searchsorted, [rows[0], values], (right, dtypes.int64), host)
            check(sorting.searchsorted, [rows, values], (right, dtypes.int32), host)


def test_compiles_for_arm() -> None:
    x = numbers((4, 50), "float32")
    for prim, attrs in ((scan.cumsum, (1, False)), (scan.cummax_index, (1, False)), (sorting.argsort, (1, False))):
        launch, _, _ = launch_of(prim, [x], attrs, HOSTS[0])
        assert compile_object(kernels.ir(launch.source, host=arm()), arm(), verify=True)  # type: ignore[arg-type]


def test_what_is_left_to_numpy() -> None:
    half = Node(None, (), (), Aval((3,), dtypes.float16))
    node = Node(scan.cumsum, [half], (0, False), half.aval)
    whole: Any = View(None, (3,), (1,), 0)
    assert plan_along(node, [whole], whole, lambda s: 0, lambda n: 1, host_named(HOSTS[0])) is None
