"""The array API standard, 2024.12: signatures, dtypes and values, against array-api-strict (NumPy underneath)."""

# ruff: noqa: B023  (functions made in a loop are called within it)

from __future__ import annotations

import inspect
import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import gradloom as gl
import gradloom.array_api as xp
from gradloom.errors import DeviceError

strict: Any = pytest.importorskip("array_api_strict")

NOT_STANDARD = {n for n in strict.__all__ if "trict" in n or n in ("Device", "__version__")}
INTS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS, COMPLEX = ["float32", "float64"], ["complex64", "complex128"]
KINDS = {"n": [*INTS, *FLOATS, *COMPLEX], "r": [*INTS, *FLOATS], "i": INTS, "b": ["bool"], "f": FLOATS, "c": COMPLEX}
KINDS |= {"F": FLOATS + COMPLEX, "a": [*KINDS["n"], "bool"], "B": ["bool", *INTS]}


@pytest.fixture
def plainly():
    """Many small programs, of which only dtype and shape are new: by NumPy, without compiling them."""
    gl.set_target("reference")
    yield
    gl.set_target("cpu")


# -- names and signatures -----------------------------------------------------------------------------------


def pairs():
    for name in strict.__all__:
        if name not in NOT_STANDARD:
            yield name, getattr(strict, name), getattr(xp, name, None)
    for part in ("linalg", "fft"):
        for name in getattr(strict, part).__all__:
            yield f"{part}.{name}", getattr(getattr(strict, part), name), getattr(getattr(xp, part), name, None)


@pytest.mark.parametrize("name,theirs,ours", list(pairs()), ids=lambda x: x if isinstance(x, str) else "")
def test_name_and_signature(name, theirs, ours):
    assert ours is not None or name == "newaxis"
    if inspect.isfunction(theirs):
        a, b = inspect.signature(theirs).parameters, inspect.signature(ours).parameters
        assert list(a) == list(b)
        for p, q in zip(a.values(), b.values(), strict=True):
            loose = name in ("isdtype", "astype", "broadcast_to")
            assert p.kind == q.kind or loose or p.kind is p.POSITIONAL_OR_KEYWORD, p.name
            if p.default is not p.empty and "Undef" not in repr(p.default):
                assert p.default == q.default, (p.name, p.default, q.default)


def test_namespace():
    x = gl.ones(2)
    assert x.__array_namespace__() is xp and x.__array_namespace__(api_version="2023.12") is xp
    assert xp.__array_api_version__ == gl.__array_api_version__ == "2024.12"
    with pytest.raises(ValueError, match=r"2020\.01"):
        x.__array_namespace__(api_version="2020.01")
    info = xp.__array_namespace_info__()
    assert set(info.dtypes(kind=("integral", "bool"))) == {*INTS, "bool"}
    assert info.dtypes(kind="real floating") == {"float32": xp.float32, "float64": xp.float64}
    assert len(info.dtypes()) == 13 and info.default_dtypes()["integral"] is xp.int64
    assert info.default_device() in info.devices() and info.capabilities()["boolean indexing"]
    assert x.to_device(x.device).device == x.device


# -- values -------------------------------------------------------------------------------------------------

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1.5, 2.5, math.inf, -math.inf, math.nan]


def sample(dtype: str, seed: int = 0, shape: tuple[int, ...] = (12,)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    n = math.prod(shape)
    if dtype == "bool":
        return (rng.integers(0, 2, n) > 0).reshape(shape)
    if dtype in INTS:
        return rng.integers(0 if dtype[0] == "u" else -5, 6, n).astype(dtype).reshape(shape)
    flat = np.array((SPECIAL * (n // 12 + 1))[:n])[rng.permutation(n)] if n else np.zeros(0)
    if dtype in COMPLEX:
        flat = rng.normal(size=n) + 1j * rng.normal(size=n)
    return flat.astype(dtype).reshape(shape)


def calm(dtype: str, seed: int = 0, shape: tuple[int, ...] = (3, 4)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype in INTS or dtype == "bool":
        return sample(dtype, seed, shape)
    a = rng.normal(size=shape)
    return (a + 1j * rng.normal(size=shape) if dtype in COMPLEX else a).astype(dtype)


def check(fn, arrays, tol=None):
    with np.errstate(all="ignore"):
        theirs = fn(strict, *[strict.asarray(a) for a in arrays])
    ours = fn(xp, *[xp.asarray(a) for a in arrays])
    compare(ours, theirs, tol)


def compare(ours, theirs, tol=None):
    if isinstance(theirs, tuple | list):
        assert len(ours) == len(theirs)
        for x, y in zip(ours, theirs, strict=True):
            compare(x, y, tol)
        return
    b = np.asarray(theirs._array)
    assert isinstance(ours, gl.Tensor) and ours.dtype.name == b.dtype.name, (ours.dtype.name, b.dtype.name)
    assert tuple(ours.shape) == b.shape
    a = ours.numpy()
    if b.dtype.kind in "fc":
        eps = np.finfo(b.dtype).eps
        np.testing.assert_allclose(a, b, tol or 20 * eps, 20 * eps if tol is None else tol)
        if b.dtype.kind == "f":
            zero = b == 0
            if tol is None:
                assert np.array_equal(np.signbit(a[zero]), np.signbit(b[zero])) if b.ndim else True
    else:
        np.testing.assert_array_equal(a, b)


UNARY = {
    "abs": "n", "acos": "f", "acosh": "f", "asin": "f", "asinh": "f", "atan": "f", "atanh": "f",
        "bitwise_invert": "B",
    "ceil": "r", "conj": "n", "cos": "F", "cosh": "F", "exp": "F", "expm1": "f", "floor": "r", "imag": "c",
        "isfinite": "n",
    "isinf": "n", "isnan": "n", "log": "F", "log1p": "f", "log2": "f", "log10": "f", "logical_not": "b",
        "negative": "n",
    "positive": "n", "real": "n", "reciprocal": "F", "round": "n", "sign": "n", "signbit": "f", "sin": "F",
        "sinh": "F",
    "square": "n", "sqrt": "F", "tan": "F", "tanh": "F", "trunc": "r",
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_unary(name):
    for dtype in KINDS[UNARY[name]]:
        if (name, dtype[0]) in (("real", "i"), ("real", "u"), ("conj", "i"), ("conj", "u")):
            continue
        check(lambda x, a: getattr(x, name)(a), [sample(dtype)])


BINARY = {
    "add": "n", "atan2": "f", "bitwise_and": "B", "bitwise_left_shift": "i", "bitwise_or": "B",
        "bitwise_right_shift": "i",
    "bitwise_xor": "B", "copysign": "f", "divide": "F", "equal": "a", "floor_divide": "r", "greater": "r",
    "greater_equal": "r", "hypot": "f", "less": "r", "less_equal": "r", "logaddexp": "f", "logical_and": "b",
    "logical_or": "b", "logical_xor": "b", "maximum": "r", "minimum": "r", "multiply": "n", "nextafter": "f",
    "not_equal": "a", "pow": "n", "remainder": "r", "subtract": "n",
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    for dtype in KINDS[BINARY[name]]:
        a, b = sample(dtype, 1, (12, 1)), sample(dtype, 2, (1, 12))
        if dtype in INTS and name in ("floor_divide", "remainder"):
            b = np.where(b == 0, 1, b).astype(dtype)
        if dtype in INTS and (name in ("pow",) or "shift" in name):
            b = np.abs(b.astype(np.int64)).astype(dtype)
        tol = 1e-4 if name == "pow" else None
        check(lambda x, p, q: getattr(x, name)(p, q), [a, b], tol)


SCALARS = [(d, s) for d in ["int8", "uint16", "float32", "float64", "complex64", "bool"] for s in (True, 2, 2.5, 1j)]


@pytest.mark.parametrize("dtype,number", SCALARS)
def test_numbers_beside_arrays(dtype, number):
    a = calm(dtype)
    fn = (lambda x, p: x.logical_and(p, number)) if number is True else (lambda x, p: x.add(p, number))
    try:
        with np.errstate(all="ignore"):
            theirs = fn(strict, strict.asarray(a))
    except TypeError:
        with pytest.raises(TypeError):
            fn(xp, xp.asarray(a))
        return
    compare(fn(xp, xp.asarray(a)), theirs)


def test_promotion_table(plainly):
    names = ["bool", *INTS, *FLOATS, *COMPLEX]
    for m, n in itertools.product(names, names):
        try:
            expected = strict.result_type(getattr(strict, m), getattr(strict, n))
        except TypeError:
            continue  # the standard leaves it open
        a, b = getattr(xp, m), getattr(xp, n)
        assert xp.result_type(a, b).name == expected._np_dtype.name, (m, n)
        for shape in ((), (2,)):  # arrays of any rank count alike
            assert xp.result_type(xp.zeros(shape, dtype=a), xp.zeros((2,), dtype=b)).name == expected._np_dtype.name
        assert xp.add(xp.ones((), dtype=a), xp.ones((2,), dtype=b)).dtype.name == expected._np_dtype.name or "bool" in (
            m,
            n,
        )
        assert xp.can_cast(a, b) == strict.can_cast(getattr(strict, m), getattr(strict, n)), (m, n)


def test_dtype_questions():
    for kind in (
        "bool",
        "signed integer",
        "unsigned integer",
        "integral",
        "real floating",
        "complex floating",
        "numeric",
    ):
        for n in ["bool", *INTS, *FLOATS, *COMPLEX]:
            assert xp.isdtype(getattr(xp, n), kind) == strict.isdtype(getattr(strict, n), kind)
    assert xp.isdtype(xp.int8, (xp.int8, "bool")) and not xp.isdtype(xp.int8, xp.int16)
    for n in FLOATS + COMPLEX:
        ours, theirs = xp.finfo(getattr(xp, n)), strict.finfo(getattr(strict, n))
        for field in ("bits", "eps", "max", "min", "smallest_normal"):
            assert getattr(ours, field) == getattr(theirs, field) and type(getattr(ours, field)) in (int, float)
        assert ours.dtype.name == theirs.dtype._np_dtype.name
    for n in INTS:
        ours, theirs = xp.iinfo(xp.ones(1, dtype=getattr(xp, n))), strict.iinfo(getattr(strict, n))
        assert (ours.bits, ours.max, ours.min) == (theirs.bits, theirs.max, theirs.min)
    with pytest.raises(TypeError):
        xp.finfo(xp.int8)
    with pytest.raises(TypeError):
        xp.astype(xp.ones(1, dtype=xp.complex64), xp.float32)


REDUCTIONS = {
    "sum": "n", "prod": "n", "mean": "f", "max": "r", "min": "r", "std": "f", "var": "f", "all": "a", "any": "a",
    "count_nonzero": "a",
}  # fmt: skip


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("axis", [None, -1, (0, 2), ()])
def test_reductions(name, axis, plainly):
    for dtype in KINDS[REDUCTIONS[name]]:
        if axis == () and name == "count_nonzero":
            continue
        for keepdims in (False, True):
            check(lambda x, a: getattr(x, name)(a, axis=axis, keepdims=keepdims), [calm(dtype, 0, (2, 3, 4))], 1e-5)


def test_reductions_of_special_values_and_options():
    a = sample("float64", 0, (3, 4))
    for name in ("max", "min", "sum", "mean"):
        check(lambda x, p: getattr(x, name)(p, axis=1), [a])
    for c in (0, 1, 0.5):
        check(lambda x, p: x.var(p, axis=0, correction=c), [calm("float64")], 1e-12)
        check(lambda x, p: x.std(p, correction=c), [calm("float32")], 1e-6)
    check(lambda x, p: x.sum(p, dtype=x.float64), [calm("int8")])
    check(lambda x, p: x.prod(p, axis=0, dtype=x.float64), [calm("uint8")])
    for name, value in (("sum", 0.0), ("prod", 1.0)):
        assert getattr(xp, name)(xp.zeros((0,))).item() == value
    assert math.isnan(xp.mean(xp.zeros((0,))).item())
    with pytest.raises(ValueError):
        xp.max(xp.zeros((0,)))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NumPy, for means of nothing
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 0, 3), (1, 1)])
def test_empty_and_scalar_arrays(shape, plainly):
    for name, kinds in UNARY.items():
        check(lambda x, a: getattr(x, name)(a), [calm(KINDS[kinds][-1], 0, shape)])
    for name, kinds in BINARY.items():
        a, b = calm(KINDS[kinds][0], 0, shape), calm(KINDS[kinds][0], 1, shape)
        check(lambda x, p, q: getattr(x, name)(p, q), [np.abs(a) if a.dtype != bool else a, np.ones_like(b)])
    for name in REDUCTIONS:
        for axis in (None, *range(len(shape))):
            if name not in ("max", "min") or math.prod(shape):
                check(lambda x, a: getattr(x, name)(a, axis=axis), [calm("float64", 0, shape)])


@settings(max_examples=40, deadline=None)
@given(
    mutually_broadcastable_shapes(num_shapes=3, max_dims=4, max_side=3), st.sampled_from(["add", "maximum", "where"])
)
def test_broadcasting(shapes, name):
    gl.set_target("reference")
    try:
        a, b, c = (calm("float64", k, s) for k, s in enumerate(shapes.input_shapes))
        if name == "where":
            check(lambda x, p, q, r: x.where(p > 0, q, r), [a, b, c])
        else:
            check(lambda x, p, q, r: getattr(x, name)(getattr(x, name)(p, q), r), [a, b, c])
        assert xp.broadcast_shapes(*shapes.input_shapes) == shapes.result_shape
    finally:
        gl.set_target("cpu")


CALLS: dict[str, Any] = {
    "arange": lambda x: [x.arange(5), x.arange(2, 9, 3), x.arange(1.5), x.arange(5, 0, -2),
        x.arange(3, dtype=x.float64),
                         x.arange(0, stop=3), x.arange(3, 3)],
    "asarray": lambda x: [x.asarray([[1, 2], [3, 4]]), x.asarray(1.5, dtype=x.float64), x.asarray(True),
        x.asarray([]),
                          x.asarray([1, 2], dtype=x.uint8), x.asarray(x.ones(2, dtype=x.float64), copy=True)],
    "full": lambda x: [x.full(3, 1), x.full((2, 2), True), x.full((), 2, dtype=x.int8),
        x.full(2, 3, dtype=x.float64)],
    "like": lambda x: [x.full_like(x.ones(2, dtype=x.int16), 4), x.zeros_like(x.ones((2, 3), dtype=x.float64)),
                       x.ones_like(x.zeros(2, dtype=x.bool)), x.ones_like(x.zeros(2, dtype=x.bool), dtype=x.int8)],
    "zeros": lambda x: [x.zeros(3, dtype=x.int64), x.zeros((2, 3), dtype=x.float64), x.ones((), dtype=x.float32)],
    "eye": lambda x: [x.eye(3, dtype=x.float64), x.eye(2, 4, k=1, dtype=x.int8), x.eye(3, 2, k=-1, dtype=x.bool)],
    "linspace": lambda x: [x.linspace(0, 1, 5, dtype=x.float64), x.linspace(0, 1, 4, endpoint=False, dtype=x.float64),
                           x.linspace(2, 2, 1, dtype=x.float32), x.linspace(0, 1, 0, dtype=x.float64)],
    "tri": lambda x: [x.tril(x.ones((3, 4), dtype=x.int64), k=1), x.triu(x.ones((2, 3, 3), dtype=x.float64), k=-1)],
    "meshgrid": lambda x: [*x.meshgrid(x.arange(3), x.arange(2)), *x.meshgrid(x.arange(3),
        x.arange(2), indexing="ij")],
    "astype": lambda x: [x.astype(x.asarray([0, 2]), x.bool), x.astype(x.asarray([True]), x.float64),
                         x.astype(x.asarray([1, 2]), x.complex128), x.astype(x.arange(3), x.uint8)],
    "broadcast": lambda x: [x.broadcast_to(x.arange(3), (2, 3)), *x.broadcast_arrays(x.arange(3),
        x.ones((2, 1), dtype=x.int64))],
    "concat": lambda x: [x.concat([x.arange(2), x.arange(3)]),
        x.concat((x.ones((2, 2), dtype=x.float64),) * 2, axis=1),
                         x.concat([x.ones((2, 2), dtype=x.int8), x.ones((1, 2), dtype=x.int16)], axis=None)],
    "stack": lambda x: [x.stack([x.arange(2), x.arange(2)]), x.stack([x.arange(2), x.arange(2)], axis=-1)],
    "expand": lambda x: [x.expand_dims(x.arange(3), axis=0), x.expand_dims(x.arange(3), axis=-1)],
    "flip": lambda x: [x.flip(x.arange(4)), x.flip(x.reshape(x.arange(6), (2, 3)), axis=1), x.flip(x.asarray(1))],
    "moveaxis": lambda x: [x.moveaxis(x.ones((2, 3, 4), dtype=x.int8), 0, -1),
        x.moveaxis(x.ones((2, 3, 4), dtype=x.int8), (0, 1), (2, 0))],
    "permute": lambda x: [x.permute_dims(x.reshape(x.arange(24), (2, 3, 4)), (2, 0, 1)),
        x.matrix_transpose(x.reshape(x.arange(6), (1, 2, 3)))],
    "repeat": lambda x: [x.repeat(x.arange(3), 2), x.repeat(x.reshape(x.arange(4), (2, 2)),
        x.asarray([1, 2]), axis=0),
                         x.repeat(x.reshape(x.arange(4), (2, 2)), 2)],
    "reshape": lambda x: [x.reshape(x.arange(6), (2, 3)), x.reshape(x.arange(6), (-1, 2), copy=True),
        x.reshape(x.asarray(1), (1, 1))],
    "roll": lambda x: [x.roll(x.arange(5), 2), x.roll(x.reshape(x.arange(6), (2, 3)), -1),
        x.roll(x.reshape(x.arange(6), (2, 3)), (1, 1), axis=(0, 1)),
                       x.roll(x.reshape(x.arange(6), (2, 3)), 1, axis=1)],
    "squeeze": lambda x: [x.squeeze(x.ones((1, 3, 1), dtype=x.int8), 0),
        x.squeeze(x.ones((1, 3, 1), dtype=x.int8), (0, -1))],
    "tile": lambda x: [x.tile(x.arange(3), (2,)), x.tile(x.reshape(x.arange(4), (2, 2)), (2, 1, 2)),
        x.tile(x.ones((2, 2), dtype=x.int8), (3,))],
    "unstack": lambda x: [*x.unstack(x.reshape(x.arange(6), (2, 3))),
        *x.unstack(x.reshape(x.arange(6), (2, 3)), axis=1)],
    "take": lambda x: [x.take(x.arange(5), x.asarray([0, 3])), x.take(x.reshape(x.arange(6), (2, 3)),
        x.asarray([2, 0]), axis=1),
                       x.take_along_axis(x.reshape(x.arange(6), (2, 3)), x.asarray([[0], [2]]))],
    "arg": lambda x: [x.argmax(x.asarray([1, 3, 3])),
        x.argmin(x.asarray([[2.0, 1.0], [0.0, 5.0]]), axis=1, keepdims=True),
                      x.argmax(x.asarray([[1, 2], [3, 4]]), keepdims=True)],
    "nonzero": lambda x: [*x.nonzero(x.asarray([[0, 1], [2, 0]])), *x.nonzero(x.asarray([True, False]))],
    "searchsorted": lambda x: [x.searchsorted(x.asarray([1, 2, 2, 3]), x.asarray([2, 0, 5])),
                               x.searchsorted(x.asarray([1, 2, 2, 3]), x.asarray([2, 0, 5]), side="right"),
                               x.searchsorted(x.asarray([3, 1, 2]), x.asarray([2]), sorter=x.asarray([1, 2, 0]))],
    "where": lambda x: [x.where(x.asarray([True, False]), x.asarray([1, 2]), 7),
                        x.where(x.asarray(True), 1.5, x.ones(2, dtype=x.float64))],
    "unique": lambda x: [*x.unique_all(x.asarray([[3, 1], [1, 2]])), *x.unique_counts(x.asarray([1.0, 1.0, 0.5])),
                         *x.unique_inverse(x.asarray([2, 2, 1])), x.unique_values(x.asarray([True, False, True]))],
    "isin": lambda x: [x.isin(x.asarray([1, 2, 3]), x.asarray([2, 5])), x.isin(x.asarray([1, 2]),
        x.asarray([2]))],
    "sort": lambda x: [x.sort(x.asarray([3, 1, 2])),
        x.sort(x.asarray([[3.0, 1.0], [0.0, 2.0]]), axis=0, descending=True),
                       x.argsort(x.asarray([2, 1, 2, 1])), x.argsort(x.asarray([2, 1, 2, 1]), descending=True)],
    "cumulative": lambda x: [x.cumulative_sum(x.arange(4)),
        x.cumulative_sum(x.ones((2, 3), dtype=x.int8), axis=1, include_initial=True),
                             x.cumulative_prod(x.asarray([1.0, 2.0, 3.0], dtype=x.float64), include_initial=True),
                             x.cumulative_sum(x.asarray([1, 2], dtype=x.uint8)),
        x.cumulative_prod(x.asarray([[1, 2], [3, 4]]), axis=0)],
    "diff": lambda x: [x.diff(x.asarray([1, 4, 9])), x.diff(x.asarray([1, 4, 9]), n=2),
        x.diff(x.asarray([[1.0, 2.0], [4.0, 8.0]]), axis=0),
                       x.diff(x.asarray([1, 4]), prepend=x.asarray([0]), append=x.asarray([9]))],
    "clip": lambda x: [x.clip(x.asarray([1, 5, 9]), 2, 6), x.clip(x.asarray([1.0, 5.0]), min=2.0),
        x.clip(x.asarray([1.0, 5.0]), max=x.asarray([0.5, 9.0])),
                       x.clip(x.asarray([1, 5], dtype=x.int8), x.asarray([2, 2], dtype=x.int8), None),
        x.clip(x.asarray([1, 2]))],
    "matmul": lambda x: [x.matmul(x.ones((2, 3), dtype=x.float32), x.ones((3, 2), dtype=x.float64)),
        x.matmul(x.arange(3), x.arange(3)),
                         x.tensordot(x.ones((2, 3), dtype=x.float64), x.ones((3, 4), dtype=x.float64), axes=1),
                         x.tensordot(x.reshape(x.arange(6), (2, 3)),
        x.reshape(x.arange(6), (3, 2)), axes=((0, 1), (1, 0))),
                         x.vecdot(x.asarray([1 + 1j, 2]), x.asarray([1j, 1])),
        x.vecdot(x.ones((2, 3), dtype=x.int64), x.arange(3))],
    "fftfreq": lambda x: [x.fft.fftfreq(5, d=0.5, dtype=x.float64), x.fft.rfftfreq(6, dtype=x.float64),
                          x.fft.fftshift(x.arange(5.0)),
        x.fft.ifftshift(x.reshape(x.arange(6.0), (2, 3)), axes=(1,))],
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_calls(name):
    before = gl.get_default_dtype()
    gl.set_default_dtype(gl.float64)  # as array-api-strict has it
    try:
        for ours, theirs in zip(CALLS[name](xp), CALLS[name](strict), strict=True):
            compare(ours, theirs)
    finally:
        gl.set_default_dtype(before)


def test_functions_of_shapes():
    assert xp.broadcast_shapes((2, 1), (3,)) == (2, 3) and xp.broadcast_shapes() == ()
    assert xp.empty((2, 3), dtype=xp.int8).shape == xp.empty_like(xp.ones((2, 3))).shape == (2, 3)
    assert xp.isin(xp.asarray([1, 2]), 2, invert=True).tolist() == [True, False]  # array-api-strict leaves invert out
    assert xp.full((), 1j).dtype is gl.complex64
    for bad in (lambda: xp.squeeze(xp.ones(3), 0), lambda: xp.nonzero(xp.asarray(1)),
        lambda: xp.take(xp.ones((2, 2)), xp.asarray([0])),
                lambda: xp.searchsorted(xp.ones(1), xp.ones(1), side="middle"),
        lambda: xp.cumulative_sum(xp.ones((2, 2))),
                lambda: xp.matrix_transpose(xp.ones(3)), lambda: xp.isdtype(xp.int8, "integer"),
        lambda: xp.meshgrid(xp.ones(1), indexing="xx"),
                lambda: xp.linalg.qr(xp.ones((2, 2)), mode="r"),
        lambda: xp.broadcast_shapes((2,), (3,))):  # fmt: skip
        with pytest.raises(ValueError):
            bad()
    for fn in (lambda: xp.zeros(2, device="cuda"), lambda: xp.astype(xp.ones(1), xp.int8, device="mps"),
               lambda: xp.fft.fftfreq(3, device="cuda"), lambda: xp.asarray(1, device="cuda")):  # fmt: skip
        with pytest.raises(DeviceError, match="found: cpu"):
            fn()
    assert xp.zeros(2, device=xp.ones(1).device).device == gl.device("cpu")
    with pytest.raises(IndexError):
        xp.expand_dims(xp.ones(3), axis=4)
    with pytest.raises(TypeError):
        xp.add(1, 2)


def test_unique_of_nan_and_gradients():
    x = gl.tensor([math.nan, 1.0, math.nan, 1.0], requires_grad=True)
    u = xp.unique_all(x)
    assert len(u.values) == 3 and u.counts.tolist() == [2, 1, 1] and u.values[0].item() == 1.0
    u.values[0].backward()
    assert x.grad.tolist() == [0.0, 1.0, 0.0, 0.0]


A = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 5.0]])
LINALG: dict[str, Any] = {
    "cholesky": lambda x, a: [x.linalg.cholesky(a), x.linalg.cholesky(a, upper=True)],
    "cross": lambda x, a: [x.linalg.cross(a, a[::-1, :]), x.linalg.cross(a, a[::-1, :], axis=-2)],
    "det": lambda x, a: [x.linalg.det(a), *x.linalg.slogdet(a)],
    "diagonal": lambda x, a: [x.linalg.diagonal(a), x.linalg.diagonal(a, offset=1), x.linalg.trace(a),
        x.linalg.trace(a, offset=-1)],
    "eigh": lambda x, a: [x.linalg.eigh(a).eigenvalues, x.linalg.eigvalsh(a), x.linalg.svd(a).S, x.linalg.svdvals(a)],
    "inv": lambda x, a: [x.linalg.inv(a), x.linalg.pinv(a), x.linalg.matrix_power(a, 3),
        x.linalg.matrix_power(a, -1), x.linalg.matrix_power(a, 0)],
    "norm": lambda x, a: [x.linalg.matrix_norm(a, ord=o, keepdims=k) for o in ("fro",
        "nuc", 1, -1, 2, -2, math.inf) for k in (False, True)],
    "vector_norm": lambda x, a: [x.linalg.vector_norm(a, ord=o, axis=k)
        for o in (0, 1, 2, 3, math.inf, -math.inf) for k in (None, 0, (0, 1))],
    "rank": lambda x, a: [x.linalg.matrix_rank(a), x.linalg.matrix_rank(a, rtol=0.9)],
    "outer": lambda x, a: [x.linalg.outer(a[0, :], a[1, :])],
    "solve": lambda x, a: [x.linalg.solve(a, a[0, :]), x.linalg.solve(a, a[:, :2]),
        x.linalg.solve(x.stack([a, a + a]), a)],
    "product": lambda x, a: [x.linalg.matmul(a, a), x.linalg.vecdot(a, a, axis=-2), x.linalg.tensordot(a, a),
        x.linalg.matrix_transpose(a)],
}  # fmt: skip


@pytest.mark.parametrize("name", LINALG)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_linalg(name, dtype):
    check(lambda x, a: LINALG[name](x, a), [A.astype(dtype)], 1e-4 if dtype == "float32" else 1e-9)


def test_factors_rebuild_the_matrix():
    a = xp.asarray(np.random.default_rng(0).normal(size=(4, 3)))
    q, r = xp.linalg.qr(a)
    assert np.allclose((q @ r).numpy(), a.numpy()) and xp.linalg.qr(a, mode="complete").Q.shape == (4, 4)
    u, s, vh = xp.linalg.svd(a, full_matrices=False)
    assert np.allclose(((u * s) @ vh).numpy(), a.numpy())
    assert xp.linalg.svd(a).U.shape == (4, 4)


@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
def test_fft(norm):
    z, r = calm("complex128", 0, (3, 4)), calm("float64", 1, (3, 4))
    for name in ("fft", "ifft", "hfft", "irfft"):
        check(
            lambda x, a: [getattr(x.fft, name)(a, norm=norm), getattr(x.fft, name)(a, n=5, axis=0, norm=norm)],
            [z],
            1e-10,
        )
    for name in ("rfft", "ihfft"):
        check(
            lambda x, a: [getattr(x.fft, name)(a, norm=norm), getattr(x.fft, name)(a, n=3, axis=0, norm=norm)],
            [r],
            1e-10,
        )
    for name in ("fftn", "ifftn", "irfftn"):
        check(
            lambda x, a: [
                getattr(x.fft, name)(a, norm=norm),
                getattr(x.fft, name)(a, s=(2, 4), axes=(0, 1), norm=norm),
            ],
            [z],
            1e-10,
        )
    check(lambda x, a: [x.fft.rfftn(a, norm=norm), x.fft.rfftn(a, axes=(0,), norm=norm)], [r], 1e-10)


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_fft_keeps_the_precision(dtype):
    a = xp.asarray(calm(dtype))
    assert xp.fft.fft(a).dtype is gl.complex64


def test_operators_of_arrays():
    a, b = calm("float64"), calm("float64", 1)
    for op in ("__add__", "__sub__", "__mul__", "__truediv__", "__lt__", "__eq__", "__mod__", "__floordiv__"):
        check(lambda x, p, q: getattr(p, op)(q), [a, b])
    check(lambda x, p: [-p, +p, abs(p), p.T, p.mT, p @ p.T, 2 * p, p**2], [a])
    i = calm("int32")
    check(lambda x, p: [~p, p & 3, p | 1, p ^ p, p << 1, p >> 1], [i])
    assert complex(xp.asarray(1 + 2j)) == 1 + 2j and float(xp.asarray(2.5)) == 2.5 and int(xp.asarray(3)) == 3
    assert xp.asarray(3).__index__() == 3 and bool(xp.asarray(True)) is True
