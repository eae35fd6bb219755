"""NumPy's protocols, and data of other libraries taken in."""

from __future__ import annotations

import array
import sys

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import DTypeError, ExchangeError, GradientError

x = gl.tensor([[0.5, 1.0], [1.5, 2.0]])
a = np.array([[0.5, 1.0], [1.5, 2.0]], np.float32)

UFUNCS = [
    np.sin, np.exp, np.absolute, np.negative, np.sqrt, np.square, np.reciprocal, np.isnan, np.floor, np.log1p, np.tanh,
    np.sign, np.logical_not, np.rint,
]  # fmt: skip


@pytest.mark.parametrize("ufunc", UFUNCS, ids=lambda f: f.__name__)
def test_ufuncs_give_tensors(ufunc):
    out = ufunc(x)
    assert isinstance(out, gl.Tensor)
    np.testing.assert_allclose(out.numpy(), ufunc(a), 1e-6)


@pytest.mark.parametrize("ufunc", [np.add, np.multiply, np.maximum, np.power, np.arctan2, np.matmul, np.less, np.hypot])
def test_binary_ufuncs_with_arrays_on_either_side(ufunc):
    for out in (ufunc(x, a), ufunc(a, x), ufunc(x, x)):
        assert isinstance(out, gl.Tensor)
        np.testing.assert_allclose(out.numpy(), ufunc(a, a), 1e-6)


def test_operators_with_arrays():
    for out in (a * x, x * a, a - x, a @ x, np.float32(2) * x, x + np.float64(1)):
        assert isinstance(out, gl.Tensor)
    np.testing.assert_allclose((a - x).numpy(), 0)
    b = a.copy()
    b += x
    assert isinstance(b, np.ndarray) and np.array_equal(b, 2 * a)
    np.sin(x, out=b)
    np.testing.assert_allclose(b, np.sin(a), 1e-6)


def test_gradients_pass_through_ufuncs_that_gradloom_has():
    w = gl.tensor([1.0, 2.0], requires_grad=True)
    np.sum(np.sin(w) * np.array([1.0, 3.0], np.float32)).backward()
    np.testing.assert_allclose(w.grad.numpy(), np.cos([1.0, 2.0]) * [1, 3], 1e-6)
    with pytest.raises(GradientError, match=r"np\.spacing"):
        np.spacing(w)


def test_reductions_and_functions():
    assert isinstance(np.add.reduce(x, axis=1), gl.Tensor)
    np.testing.assert_allclose(np.add.reduce(x, axis=1).numpy(), a.sum(1))
    np.testing.assert_allclose(np.mean(x), a.mean())
    for name in ("sum", "prod", "mean", "max", "min", "var", "std"):
        out = getattr(np, name)(x, axis=1, keepdims=True)
        assert isinstance(out, gl.Tensor)
        np.testing.assert_allclose(out.numpy(), getattr(np, name)(a, axis=1, keepdims=True), 1e-6)
    assert isinstance(np.concatenate([x, a]), gl.Tensor) and np.stack((a, x), axis=1).shape == (2, 2, 2)
    pair = np.split(x, 2)
    assert all(isinstance(p, np.ndarray) for p in pair) and np.median(x) == np.median(a)
    assert np.spacing(x).tolist() == np.spacing(a).tolist()


def test_array_shares_memory():
    t = gl.tensor([1.0, 2.0])
    assert np.asarray(t).ctypes.data == t.numpy().ctypes.data
    assert np.array(t).ctypes.data != t.numpy().ctypes.data
    assert np.asarray(t, np.float64).dtype == np.float64
    source = np.arange(3)
    assert gl.asarray(source).numpy().ctypes.data == source.ctypes.data
    assert gl.asarray(source, copy=True).numpy().ctypes.data != source.ctypes.data


def test_arrays_of_other_libraries_share_memory():
    torch = pytest.importorskip("torch")
    for theirs in (torch.ones(2, 3), torch.ones(2, dtype=torch.bfloat16)):
        ours = gl.asarray(theirs)
        assert ours.numpy().ctypes.data == theirs.data_ptr() and ours.dtype.name == str(theirs.dtype)[6:]


def test_buffers():
    assert gl.frombuffer(array.array("d", [1, 2, 3]), dtype=gl.float64, offset=8).tolist() == [2.0, 3.0]
    assert gl.asarray(memoryview(array.array("i", [1, 2]))).tolist() == [1, 2]
    if sys.version_info >= (3, 12):
        assert memoryview(x).shape == (2, 2)
    assert memoryview(x.numpy()).shape == (2, 2)


def test_copies_refused():
    for value in ([1, 2], 3.0, np.arange(6.0)[::2]):
        with pytest.raises(ExchangeError, match="without a copy"):
            gl.asarray(value, copy=False)
    with pytest.raises(ExchangeError, match="only by a copy"):
        gl.asarray(np.arange(3), dtype=gl.float32, copy=False)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_and_frames(library):
    lib = pytest.importorskip(library)
    column = lib.Series([1.0, 2.0, 3.0])
    assert gl.asarray(column).tolist() == [1.0, 2.0, 3.0]
    assert gl.as_tensor(column).tolist() == gl.tensor(column).tolist() == [1.0, 2.0, 3.0]
    assert gl.tensor(column).dtype is gl.asarray(column).dtype is gl.float64
    frame = lib.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})
    assert gl.asarray(frame).tolist() == [[1.0, 0.5], [2.0, 1.5]]
    with pytest.raises(DTypeError, match="no numbers"):
        gl.asarray(lib.DataFrame({"a": ["x", "y"], "b": [1, 2]}))
    assert list(lib.Series(gl.tensor([1.0, 2.0]).numpy())) == [1.0, 2.0]
