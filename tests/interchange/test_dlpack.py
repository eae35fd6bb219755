"""DLPack both ways with NumPy, PyTorch and (where installed) JAX: no copies, right lifetimes, clear refusals."""

from __future__ import annotations

import ctypes
import gc
import sys

import numpy as np
import pytest
import torch
from torch.utils import dlpack as torch_dlpack

import gradloom as gl
from gradloom.errors import DeviceError, DTypeError, ExchangeError
from gradloom.runtime import dlpack
from gradloom.utils.dlpack import from_dlpack, to_dlpack

DTYPES = [d for d in gl.dtypes.ALL if hasattr(torch, d.name)]


def address(t):
    return t.numpy().ctypes.data


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(3, 4), (), (0, 2), (1,), (2, 1, 3)])
def test_to_torch_and_back_shares_memory(dtype, shape):
    t = gl.ones(shape, dtype=gl.float32).to(dtype)
    theirs = torch.from_dlpack(t)
    assert tuple(theirs.shape) == shape and str(theirs.dtype) == f"torch.{dtype.name}"
    if t.numel():
        assert theirs.data_ptr() == t.numpy().__array_interface__["data"][0]
    back = gl.from_dlpack(theirs)
    assert back.dtype is dtype and tuple(back.shape) == shape
    assert bytes(back.numpy().tobytes()) == bytes(t.numpy().tobytes())
    if t.numel():
        assert back.numpy().__array_interface__["data"][0] == theirs.data_ptr()


def test_numpy_both_ways():
    t = gl.tensor([[1.0, 2.0], [3.0, 4.0]])
    a = np.from_dlpack(t)
    assert a.ctypes.data == address(t) and a.tolist() == t.tolist()
    b = np.arange(6, dtype=np.int32).reshape(2, 3)
    u = gl.from_dlpack(b)
    assert address(u) == b.ctypes.data and u.dtype is gl.int32
    b[0, 0] = 7
    assert u[0, 0].item() == 7


def test_jax():
    jnp = pytest.importorskip("jax.numpy")
    t = gl.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert jnp.from_dlpack(t).tolist() == t.tolist()
    assert gl.from_dlpack(jnp.arange(3.0)).tolist() == [0.0, 1.0, 2.0]


def test_strided_arrays_are_copied():
    a = np.arange(12.0).reshape(3, 4)
    for view in (a.T, a[:, ::2], a[::-1], torch.arange(12.0).reshape(3, 4).t()):
        t = gl.from_dlpack(view)
        assert t.tolist() == view.tolist()
        with pytest.raises(ExchangeError, match="without a copy"):
            gl.from_dlpack(view, copy=False)
    assert address(gl.from_dlpack(a, copy=True)) != a.ctypes.data


def test_readonly_memory_stays_readonly():
    a = np.arange(3.0)
    a.flags.writeable = False
    t = gl.from_dlpack(a)
    assert address(t) == a.ctypes.data and not t.numpy().flags.writeable
    b = np.from_dlpack(t)
    assert not b.flags.writeable
    with pytest.raises(ExchangeError, match="read-only"):
        t.__dlpack__()
    assert np.from_dlpack(t, copy=True).flags.writeable


def test_lifetimes():
    before = len(dlpack._exports)
    t = gl.tensor(np.arange(1000.0))
    theirs = torch.from_dlpack(t)
    expected = theirs.sum().item()
    del t
    gc.collect()
    gl.ones(1000, dtype=gl.float64).numpy()
    assert theirs.sum().item() == expected and len(dlpack._exports) == before + 1
    del theirs
    gc.collect()
    assert len(dlpack._exports) == before
    source = np.arange(1000.0)
    count = sys.getrefcount(source)
    ours = gl.from_dlpack(source)
    view = ours.numpy()
    assert sys.getrefcount(source) > count
    del ours
    gc.collect()
    assert view.sum() == source.sum()
    del view
    gc.collect()
    assert sys.getrefcount(source) == count


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_a_capsule_nobody_takes_frees_what_it_holds(version):
    before = len(dlpack._exports)
    capsule = gl.ones(3).__dlpack__(max_version=version)
    assert len(dlpack._exports) == before + 1
    del capsule
    gc.collect()
    assert len(dlpack._exports) == before


@pytest.mark.parametrize("version", [None, (0, 8), (1, 0), (2, 1)])
def test_a_capsule_is_taken_once(version):
    before = len(dlpack._exports)
    capsule = gl.arange(3).__dlpack__(max_version=version)
    t = gl.from_dlpack(capsule)
    with pytest.raises(ExchangeError, match="taken already"):
        gl.from_dlpack(capsule)
    del capsule
    gc.collect()
    assert t.tolist() == [0, 1, 2]
    del t
    gc.collect()
    assert len(dlpack._exports) == before


def test_capsules_of_torch():
    x = torch.arange(6.0).reshape(2, 3)
    assert from_dlpack(torch_dlpack.to_dlpack(x)).tolist() == x.tolist()
    assert torch_dlpack.from_dlpack(to_dlpack(gl.arange(3))).tolist() == [0, 1, 2]


def test_what_is_refused():
    t = gl.ones(2)
    with pytest.raises(BufferError, match="requires grad"):
        torch.from_dlpack(gl.ones(2, requires_grad=True))
    with pytest.raises(ExchangeError, match="stream"):
        t.__dlpack__(stream=3)
    with pytest.raises(ExchangeError, match="device"):
        t.__dlpack__(dl_device=(2, 0))
    with pytest.raises(DeviceError, match="cuda"):
        gl.from_dlpack(np.ones(2), device="cuda")
    with pytest.raises(ExchangeError, match="no DLPack capsule"):
        gl.from_dlpack(object())
    assert t.__dlpack_device__() == (1, 0)

    class Elsewhere:
        def __dlpack_device__(self):
            return (2, 0)

        def __dlpack__(self, **_):
            raise AssertionError

    with pytest.raises(DeviceError, match="CPU"):
        gl.from_dlpack(Elsewhere())


def test_dtypes_that_are_not_ours():
    made = np.zeros(2, np.float64).__dlpack__(max_version=(1, 0))
    pointer = dlpack._pointer(made, b"dltensor_versioned")
    dlpack._Versioned.from_address(pointer).array.dtype.lanes = 2
    with pytest.raises(DTypeError, match="lanes"):
        gl.from_dlpack(made)
    dlpack._Versioned.from_address(pointer).array.dtype.lanes = 1
    dlpack._Versioned.from_address(pointer).major = 2
    with pytest.raises(ExchangeError, match=r"version 2\."):
        gl.from_dlpack(made)
    assert ctypes.sizeof(dlpack._Versioned) == 80 and ctypes.sizeof(dlpack._Plain) == 64
