"""Kernels for convolutions whose groups have few channels: alone on every host, and as part of programs."""

from __future__ import annotations

import ctypes
import random
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
import gradloom.nn.functional as F
from gradloom import dtypes
from gradloom.compiler.depthwise import Walk, filter_pieces, fits, plan_depthwise
from gradloom.compiler.llvm.host import Host, compile_object, detect_host, detect_name, host_named, load_object
from gradloom.compiler.llvm.text import Module
from gradloom.compiler.loops import SCRATCH_BYTES, Access, Contract, Inst, Launch
from gradloom.compiler.passes.convolve import lower_convolutions
from gradloom.functions.base import apply
from gradloom.graph.node import Aval, Graph, Node
from gradloom.ops import convolution as C
from gradloom.ops.convolution import Geometry, out_size
from gradloom.ops.depthwise import depthwise, depthwise_filter

WIDER = {"avx512": ["avx512", "avx2", "sse4"], "avx2": ["avx2", "sse4"]}
HOSTS = WIDER.get(detect_name(), [detect_name()])
CODES = {"f32": np.float32, "f64": np.float64, "bf16": ml_dtypes.bfloat16}
NAMES = {"f32": dtypes.float32, "f64": dtypes.float64, "bf16": dtypes.bfloat16}
KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
GUARD = 64  # elements around an operand that must be neither read nor written
_code: dict = {}


# -- the kernels alone -------------------------------------------------------------------------------------
def guarded(x: np.ndarray) -> np.ndarray:
    """The same values with numbers around them that would be seen in any sum."""
    flat = np.full(x.size + 2 * GUARD, np.nan, x.dtype)
    flat[GUARD : GUARD + x.size] = x.reshape(-1)
    return flat


def whole(buf: int, code: str, shape: tuple[int, ...]) -> tuple[Access, list[int]]:
    """A guarded array in C order."""
    strides = [int(np.prod(shape[k + 1 :])) if n != 1 else 0 for k, n in enumerate(shape)]
    steps = tuple({0: "0", 1: "1"}.get(s, "s") for s in strides)
    return Access(buf, code, steps), [GUARD, *(s for s in strides if s not in (0, 1))]


def run(launch: Launch, arrays: list[np.ndarray], host: Host) -> None:
    """One chunk after the other, in any order."""
    if (launch.source, host) not in _code:
        m = Module()
        launch.source.emit(m, "kernel", host)  # type: ignore[attr-defined]
        loaded = load_object(compile_object(m.text(), host, verify=True), host)
        _code[launch.source, host] = KERNEL(loaded.address("kernel")), loaded
    call = _code[launch.source, host][0]
    bufs = (ctypes.c_void_p * len(arrays))(*(arrays[b].ctypes.data for b in launch.buffers))
    ints = (ctypes.c_int64 * len(launch.ints))(*launch.ints)
    scratch = np.full(SCRATCH_BYTES + 64, 0xFF, np.uint8)
    at = scratch.ctypes.data + -scratch.ctypes.data % 64
    order = list(range(launch.chunks))
    random.Random(launch.chunks).shuffle(order)
    for c in order:
        call(bufs, ints, at, c, c + 1)


def values(rng: np.random.Generator, code: str, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(CODES[code])


AXES = st.tuples(
    st.integers(1, 5), st.integers(1, 3), st.integers(1, 2), st.integers(-1, 3), st.integers(-1, 3), st.integers(3, 19)
)


def geometry(axes: Any, groups: int) -> tuple[Geometry, tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """Geometry, filters' size, images' size, results' size of two drawn axes; None where no filter fits."""
    kernel, stride, dilation, low, high, size = zip(*axes, strict=True)
    g = Geometry(stride, tuple(zip(low, high, strict=True)), dilation, groups)
    out = tuple(out_size(*a) for a in zip(size, kernel, stride, g.padding, dilation, strict=True))
    return (g, kernel, size, out) if min(out) > 0 else None


GROUPS = st.sampled_from([(1, 1), (1, 2), (2, 2), (4, 4), (2, 4), (4, 1)])


def expected(prim: Any, arrays: list[np.ndarray], attrs: tuple, code: str) -> np.ndarray:
    """What a primitive means, in float64."""
    wide = [a.astype(np.float64) for a in arrays]
    aval = prim.infer([Aval(a.shape, dtypes.float64) for a in wide], attrs)
    return prim.reference(wide, attrs, aval)


@pytest.mark.parametrize("host", HOSTS)
@settings(max_examples=40, deadline=None)
@given(
    axes=st.tuples(AXES, AXES), kind=GROUPS, code=st.sampled_from(list(CODES)), transposed=st.booleans(),
    groups=st.sampled_from([3, 8, 16, 21]), n=st.integers(1, 3), packed=st.booleans(), seed=st.integers(0, 9),
)  # fmt: skip
def test_images_and_results(
    host: str,
    axes: Any,
    kind: tuple[int, int],
    code: str,
    transposed: bool,
    groups: int,
    n: int,
    packed: bool,
    seed: int,
) -> None:
    drawn, (part, each), h = geometry(axes, groups), kind, host_named(host)
    if drawn is None:
        return
    g, kernel, images, results = drawn
    read, size = (results, images) if transposed else (images, results)
    wide = "f64" if code == "f64" else "f32"
    if h.lanes(64 if wide == "f64" else 32) % each:
        return
    rng = np.random.default_rng(seed)
    x, w = values(rng, code, n, *read, groups * part), values(rng, code, *kernel, part, groups * each)
    lanes = h.lanes(64 if wide == "f64" else 32)
    if packed and groups * each % lanes == 0:
        w = np.ascontiguousarray(np.moveaxis(w.reshape(*w.shape[:-1], -1, lanes), -2, 0))
    want = expected(depthwise, [x, w], (g, size, transposed), code)
    accesses, ints = zip(*(whole(b, c, a) for b, (c, a) in enumerate([(code, x.shape), (code, w.shape),
                                                                      (wide, want.shape)])), strict=True)  # fmt: skip
    spec = Contract(wide, 2, tuple(accesses), (Inst("acc", wide),), ((0, 2),))
    (launch,) = plan_depthwise(
        spec, Walk(g, kernel, part, each, size, read, n, transposed), want.shape, ints, [0, 1, 2], h
    )  # fmt: skip
    got = guarded(np.zeros(want.shape, CODES[wide]))
    run(launch, [guarded(x), guarded(w), got], h)
    assert np.isnan(got[:GUARD]).all() and np.isnan(got[-GUARD:]).all()
    tol = 1e-12 if code == "f64" else 2e-5
    np.testing.assert_allclose(got[GUARD:-GUARD].reshape(want.shape), want, rtol=tol, atol=tol)


@pytest.mark.parametrize("host", HOSTS)
@settings(max_examples=40, deadline=None)
@given(
    axes=st.tuples(AXES, AXES), kind=GROUPS, code=st.sampled_from(list(CODES)),
    groups=st.sampled_from([3, 8, 16, 21]), n=st.integers(1, 4), cut=st.booleans(), packed=st.booleans(),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_filters(
    host: str, axes: Any, kind: tuple[int, int], code: str, groups: int, n: int, cut: bool, packed: bool, seed: int
) -> None:
    drawn, (part, each), h = geometry(axes, groups), kind, host_named(host)
    if drawn is None:
        return
    g, kernel, images, results = drawn
    wide = "f64" if code == "f64" else "f32"
    if h.lanes(64 if wide == "f64" else 32) % each:
        return
    pieces = (1, min(results[0], 4)) if cut else (2, results[0])
    rng = np.random.default_rng(seed)
    x, y = values(rng, code, n, *images, groups * part), values(rng, code, n, *results, groups * each)
    lanes = h.lanes(64 if wide == "f64" else 32)
    lanes = lanes if packed and groups * each % lanes == 0 else 0
    want = expected(depthwise_filter, [x, y], (g, kernel, pieces, lanes), code)
    accesses, ints = zip(*(whole(b, c, a) for b, (c, a) in enumerate([(code, x.shape), (code, y.shape),
                                                                      (wide, want.shape)])), strict=True)  # fmt: skip
    spec = Contract(wide, want.ndim - 2, tuple(accesses), (Inst("acc", wide),), ((0, 2),))
    walk = Walk(g, kernel, part, each, results, images, n, pieces=pieces)
    (launch,) = plan_depthwise(spec, walk, want.shape, ints, [0, 1, 2], h)
    got = guarded(np.full(want.shape, np.nan, CODES[wide]))
    run(launch, [guarded(x), guarded(y), got], h)
    assert np.isnan(got[:GUARD]).all() and np.isnan(got[-GUARD:]).all()
    tol = 1e-11 if code == "f64" else 1e-4
    np.testing.assert_allclose(got[GUARD:-GUARD].reshape(want.shape), want, rtol=tol, atol=tol)


@given(st.integers(1, 64), st.integers(1, 120), st.integers(1, 120), st.integers(1, 999), st.integers(1, 7))
def test_pieces_cover_all_rows(n: int, rows: int, cols: int, wide: int, k: int) -> None:
    images, own = filter_pieces((n, rows, cols, wide), (k, k), 1)
    assert 1 <= images <= n and 1 <= own <= rows
    assert -(-n // images) * -(-rows // own) <= 2 * 16 + n


# -- what is lowered to them ----------------------------------------------------------------------------------
def lowered(prim: Any, shapes: list[tuple[int, ...]], attrs: tuple, dtype: Any = dtypes.float32) -> set[str]:
    """The names of the primitives that a convolution becomes."""
    ins = [Node(None, (), (), Aval(s, dtype)) for s in shapes]
    out = Node(prim, ins, attrs, prim.infer([i.aval for i in ins], attrs))
    return {n.prim.name for n in lower_convolutions(Graph(ins, [out], [out])).nodes if n.prim is not None}


@pytest.mark.parametrize("kernel, stride", [(3, 1), (3, 2), (5, 2), (7, 1), (1, 1)])
@pytest.mark.parametrize("part, each", [(1, 1), (1, 2), (4, 4)])
def test_every_direction_has_the_kernel(kernel: int, stride: int, part: int, each: int) -> None:
    if 16 % detect_host().lanes(32):
        pytest.skip("for hosts of at most sixteen lanes")
    groups = 32
    g = Geometry((stride,) * 2, ((kernel // 2,) * 2,) * 2, (1, 1), groups)
    size = out_size(28, kernel, stride, (kernel // 2,) * 2, 1)
    x, w = (8, 28, 28, groups * part), (kernel, kernel, part, groups * each)
    y = (8, size, size, groups * each)
    assert "depthwise" in lowered(C.convolve, [x, w], (g, ()))
    assert "depthwise" in lowered(C.convolve_input, [y, w], (g, (28, 28)))
    assert "depthwise_filter" in lowered(C.convolve_filter, [x, y], (g, (kernel, kernel)))


def test_one_axis_has_the_kernel_and_three_do_without() -> None:
    g = Geometry((1,), ((1, 1),), (1,), 32)
    assert "depthwise" in lowered(C.convolve, [(2, 40, 32), (3, 1, 32)], (g, ()))
    g = Geometry((1,) * 3, ((1, 1),) * 3, (1,) * 3, 32)
    assert "depthwise" not in lowered(C.convolve, [(2, 5, 6, 7, 32), (3, 3, 3, 1, 32)], (g, ()))


def test_what_has_no_kernel() -> None:
    one = Geometry((1, 1), ((1, 1),) * 2, (1, 1), 1)
    assert not fits(one, (3, 3), 1, 1, dtypes.float32, False)
    many = one._replace(groups=32)
    assert fits(many, (3, 3), 1, 1, dtypes.float32, False)
    assert not fits(many, (3, 3), 1, 3, dtypes.float32, False)  # groups that do not fill a vector
    assert not fits(many._replace(stride=(5, 5)), (7, 7), 1, 1, dtypes.float32, True)
    assert not fits(many, (3, 700), 1, 1, dtypes.float32, False)


# -- as part of programs --------------------------------------------------------------------------------------
CASES: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 48, 14, 14), (48, 1, 3, 3), {"padding": 1, "groups": 48}),
    ((2, 40, 15, 13), (40, 1, 3, 3), {"padding": 1, "stride": 2, "groups": 40}),
    ((2, 24, 17, 9), (24, 1, 5, 5), {"padding": 2, "stride": 2, "groups": 24}),
    ((2, 24, 11, 11), (24, 1, 7, 7), {"padding": 3, "groups": 24}),
    ((2, 20, 12, 12), (20, 1, 3, 3), {"padding": 4, "dilation": 4, "groups": 20}),
    ((2, 24, 9, 9), (48, 1, 3, 3), {"padding": 1, "groups": 24}),
    ((2, 24, 9, 10), (72, 1, 3, 3), {"padding": 1, "groups": 24}),  # three filters a channel: the sum of taps
    ((2, 64, 9, 9), (64, 4, 3, 3), {"padding": 1, "groups": 16}),
    ((2, 64, 9, 9), (64, 8, 3, 3), {"padding": 1, "stride": 2, "groups": 8}),
    ((2, 32, 40), (32, 1, 5), {"padding": 2, "stride": 3, "groups": 32}),
    ((1, 16, 5, 6, 7), (16, 1, 3, 3, 3), {"padding": 1, "groups": 16}),
    ((2, 32, 3, 3), (32, 1, 2, 2), {"stride": 2, "padding": 1, "groups": 32}),
    ((1, 32, 3, 7), (32, 1, 1, 2), {"stride": 3, "groups": 32}),  # pixels that no filter sees
]


def all_directions(x: np.ndarray, w: np.ndarray, kwargs: dict[str, Any]) -> list[np.ndarray]:
    a, b = gl.tensor(x, requires_grad=True), gl.tensor(w, requires_grad=True)
    y = getattr(F, f"conv{x.ndim - 2}d")(a, b, **kwargs)
    y.square().sum().backward()
    return [y.detach().numpy(), a.grad.numpy(), b.grad.numpy()]


@pytest.mark.parametrize("images, filters, kwargs", CASES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_as_pytorch(images: tuple, filters: tuple, kwargs: dict, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(images).astype(dtype), rng.standard_normal(filters).astype(dtype)
    a, b = torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)
    y = getattr(torch.nn.functional, f"conv{len(images) - 2}d")(a, b, **kwargs)
    y.square().sum().backward()
    want = [y.detach().numpy(), a.grad.numpy(), b.grad.numpy()]  # type: ignore[union-attr]
    for got, r in zip(all_directions(x, w, kwargs), want, strict=True):
        tol = 1e-11 if dtype == "f8" else 2e-5
        np.testing.assert_allclose(got, r, rtol=tol, atol=tol * float(np.abs(r).max()))


@pytest.mark.parametrize("images, filters, kwargs", [CASES[0], CASES[1], CASES[7]])
def test_bits_do_not_depend_on_threads(images: tuple, filters: tuple, kwargs: dict) -> None:
    rng = np.random.default_rng(1)
    shape = (8, *images[1:2], 40, 40)
    x, w = rng.standard_normal(shape).astype("f4"), rng.standard_normal(filters).astype("f4")
    before = gl.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            gl.set_num_threads(threads)
            found.append(all_directions(x, w, kwargs))
    finally:
        gl.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


ENDS: dict[str, Any] = {
    "relu6": lambda m, y, s, z: m.nn.functional.relu6(y + s),
    "hardswish": lambda m, y, s, z: m.nn.functional.hardswish(y * s),
    "silu": lambda m, y, s, z: m.nn.functional.silu(y + s),
    "gelu": lambda m, y, s, z: m.nn.functional.gelu(y) + z,
    "residual": lambda m, y, s, z: m.relu(y * s + z),
    "two": lambda m, y, s, z: (y + z).exp() * (y > 0),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("size, channels", [(14, 48), (9, 20)])
def test_what_follows(end: str, size: int, channels: int) -> None:
    rng = np.random.default_rng(2)
    x, z = rng.standard_normal((2, 2, channels, size, size)).astype("f4")
    w = rng.standard_normal((channels, 1, 3, 3)).astype("f4") * 0.3
    s = rng.standard_normal((channels, 1, 1)).astype("f4")
    got = []
    for m in (gl, torch):
        t = [m.tensor(a) for a in (x, w, s, z)]
        y = m.nn.functional.conv2d(t[0], t[1], padding=1, groups=channels)
        got.append(ENDS[end](m, y, t[2], t[3]).numpy())
    np.testing.assert_allclose(got[0], got[1], rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize("images, filters, kwargs", [CASES[0], CASES[1], CASES[6], CASES[10]])
@pytest.mark.parametrize("dtype, digits", [("bfloat16", 7), ("float16", 10)])
def test_halves_are_rounded_once(images: tuple, filters: tuple, kwargs: dict, dtype: str, digits: int) -> None:
    rng = np.random.default_rng(3)
    x, w = rng.standard_normal(images), rng.standard_normal(filters)
    a, b = (gl.tensor(v, dtype=getattr(gl, dtype)) for v in (x, w))
    conv = f"conv{len(images) - 2}d"
    y = getattr(F, conv)(a, b, **kwargs).float().numpy()
    exact = [torch.tensor(t.float().numpy(), dtype=torch.float64) for t in (a, b)]
    want = getattr(torch.nn.functional, conv)(*exact, **kwargs).numpy()
    ulp = 2.0 ** (np.floor(np.log2(np.abs(want) + 1e-2)) - digits)
    assert float((np.abs(y - want) / ulp).max()) <= 0.52


def test_images_outside_of_c_order() -> None:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((2, 10, 12, 32)).astype("f4")
    w = rng.standard_normal((3, 3, 1, 32)).astype("f4")
    g = Geometry((1, 1), ((1, 1), (1, 1)), (1, 1), 32)
    t = gl.tensor(x)[:, ::2, 1:11]
    got = apply(C.convolve, (t, gl.tensor(w)), (g, ())).numpy()
    part = np.ascontiguousarray(x[:, ::2, 1:11])
    want = C.convolve.reference((part, w), (g, ()), Aval((2, 5, 10, 32), dtypes.float32))
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)
