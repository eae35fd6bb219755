"""Settings, questions about objects, and names that are deliberately absent."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom.absent import AbsentError
from gradloom.errors import DTypeError


def test_random_state():
    gl.manual_seed(3)
    gl.rand(2)
    state = gl.get_rng_state()
    a = gl.rand(5).tolist()
    gl.set_rng_state(state)
    assert gl.rand(5).tolist() == a and state.dtype is gl.uint8
    assert gl.seed() == gl.initial_seed() == gl.default_generator.initial_seed()
    with pytest.raises(DTypeError, match="16 bytes"):
        gl.set_rng_state(gl.zeros(5))


def test_generators():
    g = gl.Generator()
    assert g.seed() == g.initial_seed()
    gl.rand(2, generator=g)
    other = g.clone_state()
    assert (
        other.get_offset() == g.get_offset()
        and gl.rand(3, generator=other).tolist() == gl.rand(3, generator=g).tolist()
    )
    g.set_offset(0)
    assert g.get_offset() == 0


def test_files_as_tensors(tmp_path):
    path = tmp_path / "x"
    np.arange(4, dtype=np.float32).tofile(path)
    t = gl.from_file(str(path), size=3)
    t.numpy()[0] = 9
    assert t.tolist() == [9.0, 1.0, 2.0] and np.fromfile(path, np.float32)[0] == 0
    shared = gl.from_file(str(path), True, 6, dtype=gl.float32)
    shared.numpy()[5] = 7
    del shared
    assert np.fromfile(path, np.float32).tolist() == [0, 1, 2, 3, 0, 7]
    assert gl.from_file(str(path)).shape == (0,)
    with pytest.raises(ValueError, match="mmap"):
        gl.from_file(str(path), size=100)


def test_modes_for_good():
    gl.set_autocast_enabled("cpu", True)
    assert gl.is_autocast_enabled() and gl.get_autocast_dtype("cpu") is gl.bfloat16
    gl.set_autocast_dtype("cpu", gl.float16)
    assert (gl.ones(2, 2) @ gl.ones(2, 2)).dtype is gl.float16
    gl.set_autocast_dtype("cpu", gl.bfloat16)
    gl.set_autocast_enabled(False)
    assert not gl.is_autocast_enabled()
    gl.set_anomaly_enabled(True)
    assert gl.is_anomaly_enabled() and gl.is_anomaly_check_nan_enabled()
    gl.set_anomaly_enabled(False)
    assert not gl.is_anomaly_enabled() and gl.is_signed(gl.ones(1)) and gl.OutOfMemoryError is MemoryError


def test_determinism_and_precision():
    gl.use_deterministic_algorithms(True, warn_only=True)
    assert gl.are_deterministic_algorithms_enabled() and gl.get_deterministic_debug_mode() == 1
    assert gl.is_deterministic_algorithms_warn_only_enabled()
    gl.set_deterministic_debug_mode("error")
    assert gl.get_deterministic_debug_mode() == 2
    gl.set_deterministic_debug_mode(0)
    assert not gl.are_deterministic_algorithms_enabled()
    with pytest.raises(ValueError, match="default, warn, error"):
        gl.set_deterministic_debug_mode("always")
    gl.set_float32_matmul_precision("high")
    assert gl.get_float32_matmul_precision() == "high"
    gl.set_float32_matmul_precision("highest")
    with pytest.raises(ValueError, match="'medium'"):
        gl.set_float32_matmul_precision("low")


def test_threads_and_warnings():
    assert gl.get_num_interop_threads() == 1
    with pytest.warns(UserWarning, match="set_num_threads"):
        gl.set_num_interop_threads(2)
    with pytest.raises(ValueError, match="positive"):
        gl.set_num_interop_threads(0)
    assert gl.set_flush_denormal(True) is False and not gl.is_warn_always_enabled()


def test_kinds():
    assert gl.typename(gl.ones(1)) == "gradloom.FloatTensor" and gl.typename(gl.arange(1)) == "gradloom.LongTensor"
    assert gl.typename(3) == "int" and gl.typename(gl.nn.Linear(1, 1)).endswith(".Linear")
    assert not gl.is_storage(gl.ones(1)) and not gl.is_distributed()
    assert (gl.pi, gl.e, gl.inf, gl.newaxis) == (math.pi, math.e, math.inf, None) and math.isnan(gl.nan)
    gl.set_default_tensor_type("torch.DoubleTensor")
    assert gl.ones(1).dtype is gl.float64
    gl.set_default_tensor_type("torch.FloatTensor")
    with pytest.raises(DTypeError, match="NoTensor"):
        gl.set_default_tensor_type("NoTensor")


def test_reports():
    text = gl.__config__.show()
    assert gl.__version__ in text and "numpy" in text and "threads" in text
    assert gl.version.__version__ == gl.__version__ and gl.version.cuda is None


def test_in_place_functions_at_the_top():
    x = gl.tensor([-1.0, 2.0])
    assert gl.abs_(x) is x and x.tolist() == [1.0, 2.0]


ABSENT = ["jit", "fx", "sparse_coo_tensor", "quantize_per_tensor", "qint8", "Stream", "hub", "SymInt", "nested",
          "library", "cudnn_convolution", "complex32", "solve"]  # fmt: skip


@pytest.mark.parametrize("name", ABSENT)
def test_absent_on_purpose(name):
    assert hasattr(torch, name)
    with pytest.raises(AbsentError, match="deliberately") as e:
        getattr(gl, name)
    assert e.value.hint and isinstance(e.value, AttributeError) and not hasattr(gl, name)


def test_other_names_are_merely_missing():
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'") as e:
        _ = gl.nonsense
    assert not isinstance(e.value, AbsentError)


@pytest.mark.parametrize("name", sorted(gl._LAZY))
def test_lazy_names_are_there(name):
    assert getattr(gl, name) is not None


@pytest.mark.parametrize(
    "name",
    ["load", "save", "set_rng_state", "use_deterministic_algorithms", "typename", "set_float32_matmul_precision"],
)
def test_parameters_are_pytorchs(name):
    ours = list(inspect.signature(getattr(gl, name)).parameters)
    theirs = [
        p
        for p in inspect.signature(getattr(torch, name)).parameters
        if not p.startswith("pickle") and not p.startswith("_use")
    ]
    assert ours == [p for p in theirs if p in ours] or np.array_equal(ours[:1], theirs[:1])
