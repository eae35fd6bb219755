"""Dtypes: the promotion table against PyTorch's, conversions, limits, the default dtype."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import dtypes
from gradloom.errors import DTypeError, ShapeError

SMALL_UNSIGNED = ("uint16", "uint32", "uint64")  # PyTorch refuses to promote them with other integers
NAMES = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128".split()
NUMBERS = (True, 3, 2.5, 1 + 2j)
DEFAULTS = ("float32", "float64")


@pytest.fixture(params=DEFAULTS)
def default(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both libraries with one default dtype."""
    gl.set_default_dtype(getattr(gl, request.param))
    torch.set_default_dtype(getattr(torch, request.param))
    yield request.param
    gl.set_default_dtype(gl.float32)
    torch.set_default_dtype(torch.float32)


def ours(name: str) -> Any:
    return getattr(gl, name)


def theirs(name: str) -> Any:
    return getattr(torch, name)


def name_of(d: Any) -> str:
    """The dtype's name; PyTorch's complex32 is complex64 here."""
    return str(d).split(".")[-1].replace("complex32", "complex64")


@pytest.mark.parametrize("a,b", itertools.combinations_with_replacement([*NAMES, *SMALL_UNSIGNED], 2))
def test_promote_types(a: str, b: str) -> None:
    try:
        want = name_of(torch.promote_types(theirs(a), theirs(b)))
    except RuntimeError:
        return  # test_unsigned says what happens
    assert gl.promote_types(ours(a), ours(b)).name == want
    assert gl.promote_types(ours(b), ours(a)).name == want


def test_unsigned() -> None:
    """Where PyTorch refuses, the Array API's table; NumPy has the same."""
    signed = ("int8", "int16", "int32", "int64")
    unsigned = ("uint8", *SMALL_UNSIGNED)
    for a, b in itertools.product(unsigned, (*signed, *unsigned)):
        if a == "uint64" and b in signed:
            with pytest.raises(DTypeError, match=r"uint64 and int.* have no common integer dtype"):
                gl.promote_types(ours(a), ours(b))
        else:
            assert gl.promote_types(ours(a), ours(b)).name == np.promote_types(a, b).name
    assert gl.promote_types(gl.uint32, gl.complex64) is gl.complex64
    assert gl.promote_types(gl.uint64, gl.bool) is gl.uint64


def test_result_type_of_every_pair(default: str) -> None:
    """Tensors of every dtype with and without dimensions, and Python numbers, in both orders."""

    def operands(make: Any, find: Any) -> list[Any]:
        return [*(make(shape, find(n)) for n in NAMES for shape in ((2,), ())), *NUMBERS]

    mine = operands(lambda s, d: gl.ones(s, dtype=d), ours)
    other = operands(lambda s, d: torch.ones(s, dtype=d), theirs)
    for (i, a), (j, b) in itertools.product(enumerate(mine), enumerate(mine)):
        want = name_of(torch.result_type(other[i], other[j]))
        assert gl.result_type(a, b).name == want, (other[i], other[j])


@pytest.mark.parametrize("op", ["add", "mul", "true_divide", "eq", "where", "cat"])
def test_operations_promote(op: str, default: str) -> None:
    """The dtype of real results is the table's."""

    def run(lib: Any, x: Any, y: Any) -> Any:
        if op == "where":
            return lib.where(lib.tensor([True, False]), x, y)
        return lib.cat((x, y)) if op == "cat" else getattr(lib, op)(x, y)

    for a, b in itertools.product(NAMES, NAMES):
        for sa, sb in (((2,), (2,)), ((2,), ()), ((), ())):
            if op == "cat" and sb == ():
                continue
            try:
                want = run(torch, torch.ones(sa, dtype=theirs(a)), torch.ones(sb, dtype=theirs(b)))
            except NotImplementedError:  # complex32
                continue
            got = run(gl, gl.ones(sa, dtype=ours(a)), gl.ones(sb, dtype=ours(b)))
            assert got.dtype.name == name_of(want.dtype), (a, sa, b, sb)


def test_operations_with_numbers(default: str) -> None:
    for a, x in itertools.product(NAMES, NUMBERS):
        for shape in ((2,), ()):
            t, u = torch.ones(shape, dtype=theirs(a)), gl.ones(shape, dtype=ours(a))
            for want, got in ((t * x, u * x), (x + t, x + u), (t == x, u == x)):
                assert got.dtype.name == name_of(want.dtype), (a, shape, x)
                np.testing.assert_allclose(
                    got.cdouble().numpy(), want.to(torch.complex128).numpy(), rtol=1e-2 if "16" in a else 1e-6
                )


def test_complex_numbers_keep_their_precision() -> None:
    got = gl.ones(1, dtype=gl.complex128) * (0.1 + 0.2j)
    assert got.item() == 0.1 + 0.2j


def test_float8_is_for_storage() -> None:
    values = [0.1, -3.0, 500.0, 1e9, -1e9, np.nan, np.inf]
    x = gl.tensor(values)
    for name in ("float8_e4m3fn", "float8_e5m2"):
        d = ours(name)
        y = x.to(d)
        np.testing.assert_array_equal(
            y.float().numpy(), torch.tensor(values).to(theirs(name)).float().numpy(), err_msg=name
        )
        assert y.dtype is d and d.itemsize == 1 and d.is_floating_point
        np.testing.assert_array_equal(y[:2].reshape(2, 1).float().numpy(), y.float().numpy()[:2, None])
        for bad in (lambda y=y: y + y, lambda y=y: y * 2.0, lambda y=y: y.sum()):
            with pytest.raises(DTypeError, match="float8"):
                bad()
        with pytest.raises(DTypeError, match="no common dtype"):
            gl.promote_types(d, gl.float32)


CASTS = [-1.5, 0.0, 0.9, 2.7, 127.9, 300.7, -300.2, 65535.5]


@pytest.mark.parametrize("a", [*NAMES, *SMALL_UNSIGNED])
def test_casts(a: str) -> None:
    """Floats are cut off towards 0, integers wrap, anything but 0 is true, imaginary parts are dropped."""
    source = torch.tensor(CASTS).to(theirs(a))
    x = gl.tensor(source.float().numpy() if a == "bfloat16" else source.numpy(), dtype=ours(a))
    for b in (*NAMES, *SMALL_UNSIGNED):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            want = source.to(theirs(b))
            for target in ("cpu", "reference"):
                gl.set_target(target)
                got = x.to(ours(b)).clone()
                gl.set_target("cpu")
                assert got.dtype.name == b
                if source.dtype.is_floating_point and not want.dtype.is_floating_point and b[0] in "iu":
                    inside = (source.float() > np.iinfo(b).min) & (source.float() < np.iinfo(b).max)
                else:
                    inside = torch.ones(len(CASTS), dtype=torch.bool)
                pick = inside.numpy()
                np.testing.assert_array_equal(
                    got.cdouble().numpy()[pick], want.to(torch.complex128).numpy()[pick], err_msg=f"{a} {b} {target}"
                )


def test_integers_wrap() -> None:
    x = gl.tensor([250, 10], dtype=gl.uint8)
    np.testing.assert_array_equal((x + x).numpy(), np.array([244, 20], np.uint8))
    y = gl.tensor([2**63 - 1])
    assert (y + 1).item() == -(2**63)
    z = gl.tensor([2**64 - 1, 5], dtype=gl.uint64)
    np.testing.assert_array_equal((z * z + z).numpy(), np.array([0, 30], np.uint64))
    np.testing.assert_array_equal((z // gl.tensor([3, 2], dtype=gl.uint64)).numpy(), [(2**64 - 1) // 3, 2])
    assert (z > gl.tensor([7, 7], dtype=gl.uint64)).tolist() == [True, False]


def test_dropping_imaginary_parts_warns() -> None:
    x = gl.tensor([1 + 2j])
    for convert in (lambda: x.float(), lambda: x.to(gl.int64), lambda: x.byte()):
        with pytest.warns(UserWarning, match="discards the imaginary part"):
            convert()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert x.bool().tolist() == [True]
        assert x.cdouble().dtype is gl.complex128


METHODS = {
    "byte": "uint8", "char": "int8", "short": "int16", "int": "int32", "long": "int64", "half": "float16",
    "bfloat16": "bfloat16", "float": "float32", "double": "float64", "bool": "bool", "cfloat": "complex64",
    "cdouble": "complex128",
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_conversion_methods(name: str) -> None:
    assert getattr(gl.tensor([1, 0, 2]), name)().dtype.name == METHODS[name]


def test_half_precision_complex_is_refused() -> None:
    for bad in (lambda: gl.ones(2).chalf(), lambda: gl.ones(2).to(dtypes.as_dtype("complex32"))):
        with pytest.raises(DTypeError, match="complex32 is not offered"):
            bad()


def test_what_a_dtype_is() -> None:
    for d in dtypes.ALL:
        t = getattr(torch, d.name)
        assert (d.itemsize, d.is_floating_point, d.is_complex) == (t.itemsize, t.is_floating_point, t.is_complex)
        assert d.is_signed == t.is_signed and d.to_real().name == name_of(t.to_real())
        if not d.is_floating_point or d.itemsize >= 4:
            if t.is_complex or t.is_floating_point:
                assert d.to_complex().name == name_of(t.to_complex())
        assert repr(d) == f"gradloom.{d.name}"
        assert pickle.loads(pickle.dumps(d)) is d
        assert np.dtype(d) == d.numpy and dtypes.as_dtype(d.numpy) is d and dtypes.as_dtype(d.name) is d
    assert np.zeros(2, gl.bfloat16).dtype == ml_dtypes.bfloat16
    with pytest.raises(DTypeError, match="no complex counterpart"):
        gl.int64.to_complex()
    for alias, name in {"cfloat": "complex64", "cdouble": "complex128", "half": "float16", "short": "int16"}.items():
        assert ours(alias).name == name
    assert [dtypes.as_dtype(k).name for k in (bool, int, float, complex)] == ["bool", "int64", "float32", "complex64"]


def test_dtypes_are_their_names() -> None:
    x = gl.ones(2)
    assert x.dtype == "float32" and "float32" == x.dtype and x.dtype != "float64" and x.dtype != gl.float64
    assert {"float32": 1}[x.dtype] == 1 and {gl.int8: 2}["int8"] == 2 and "int" in gl.int8
    assert json.loads(json.dumps({"dtype": x.dtype})) == {"dtype": "float32"}
    assert f"{x.dtype}" == str(x.dtype) == repr(x.dtype) == "gradloom.float32"
    assert copy.deepcopy(x.dtype) is gl.float32 and isinstance(x.dtype, gl.dtype)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64", "complex64", "float8_e5m2"])
def test_finfo(name: str) -> None:
    f, t = gl.finfo(ours(name)), torch.finfo(theirs(name))
    for key in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution", "dtype"):
        want = getattr(t, key)
        assert getattr(f, key) == (pytest.approx(want) if isinstance(want, float) else want), key
    assert "eps=" in repr(f)


@pytest.mark.parametrize("name", ["uint8", "int8", "int16", "int32", "int64", *SMALL_UNSIGNED])
def test_iinfo(name: str) -> None:
    i, t = gl.iinfo(ours(name)), np.iinfo(name)
    assert (i.bits, i.min, i.max, i.dtype) == (t.bits, t.min, t.max, name)


def test_limits_refuse() -> None:
    with pytest.raises(DTypeError, match="not floating"):
        gl.finfo(gl.int32)
    for bad in (gl.float32, gl.bool):
        with pytest.raises(DTypeError, match="not an integer dtype"):
            gl.iinfo(bad)


def test_can_cast() -> None:
    for a, b in itertools.product(NAMES, NAMES):
        assert gl.can_cast(ours(a), ours(b)) == torch.can_cast(theirs(a), theirs(b)), (a, b)


def test_default_dtype_reaches_everything() -> None:
    before = gl.tensor([1, 2]) / 2
    try:
        for name in ("float64", "bfloat16", "float16", "float32"):
            gl.set_default_dtype(ours(name))
            assert gl.get_default_dtype() is ours(name)
            made = (gl.tensor([1, 2]) / 2, gl.tensor(0.5), gl.ones(2), gl.tensor([1, 2]) * 0.5, gl.arange(3).sin())
            assert {x.dtype for x in made} == {ours(name)}
        assert before.dtype is gl.float32 and before.tolist() == [0.5, 1.0]
    finally:
        gl.set_default_dtype(gl.float32)
    for bad in (gl.int64, gl.complex64, gl.float8_e5m2):
        with pytest.raises(DTypeError, match="must be floating"):
            gl.set_default_dtype(bad)


def test_questions() -> None:
    assert gl.is_floating_point(gl.ones(1)) and not gl.is_complex(gl.ones(1))
    assert gl.tensor([1j]).is_complex() and not gl.tensor([1j]).is_floating_point()
    assert gl.tensor([1]).is_signed() and not gl.tensor([1], dtype=gl.uint8).is_signed()
    assert gl.is_nonzero(gl.tensor([2.0])) and not gl.is_nonzero(gl.tensor(0j))
    with pytest.raises(ShapeError, match="has 2 elements"):
        gl.is_nonzero(gl.ones(2))
