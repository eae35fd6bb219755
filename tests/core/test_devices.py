"""Devices as values, and what a machine without an accelerator says of itself: against PyTorch's CPU build."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

import gradloom as gl
from gradloom.errors import DeviceError

NAMES: list[tuple[Any, ...]] = [
    ("cpu",),
    ("cuda",),
    ("cuda:1",),
    ("cuda", 1),
    ("cpu", 0),
    ("cpu:0",),
    ("meta",),
    ("mps",),
]


@pytest.mark.parametrize("name", NAMES)
def test_as_pytorch_has_them(name: tuple[Any, ...]) -> None:
    ours, theirs = gl.device(*name), torch.device(*name)
    assert (ours.type, ours.index, str(ours), repr(ours)) == (theirs.type, theirs.index, str(theirs), repr(theirs))
    for other in NAMES:
        assert (ours == gl.device(*other)) == (theirs == torch.device(*other))
        assert (hash(ours) == hash(gl.device(*other))) or ours != gl.device(*other)
    assert gl.device(ours) == ours == pickle.loads(pickle.dumps(ours)) == copy.deepcopy(ours)
    assert ours != name[0]


@pytest.mark.parametrize(
    "make,text",
    [
        (lambda: gl.device("gpu"), "'gpu' is no device"),
        (lambda: gl.device("cpu:x"), "'cpu:x' is no device"),
        (lambda: gl.device("cpu:0", 0), "has an index already"),
        (lambda: gl.device("cpu", -1), "index -1 is below 0"),
        (lambda: gl.device(0), "asks for an accelerator"),
        (lambda: gl.ones(2).cuda(), "no such device"),
        (lambda: gl.ones(2).to("cuda"), "device cuda is not there; found: cpu"),
        (lambda: gl.ones(2).to(gl.device("mps")), "device mps is not there"),
        (lambda: gl.tensor([1], device="cuda:1"), "device cuda:1 is not there"),
        (lambda: gl.set_default_device("cuda"), "device cuda is not there"),
        (lambda: gl.cuda.current_device(), "cuda.current_device"),
        (lambda: gl.cuda.set_device(0), "cuda.set_device"),
        (lambda: gl.cuda.get_device_name(), "cuda.get_device_name"),
        (lambda: gl.cuda.get_device_properties(0), "cuda.get_device_properties"),
        (lambda: gl.cuda.get_device_capability(), "cuda.get_device_capability"),
        (lambda: gl.cuda.init(), "cuda.init"),
        (lambda: gl.cuda.set_rng_state_all([1]), "cuda.set_rng_state_all"),
        (lambda: gl.accelerator.synchronize(), "accelerator.synchronize"),
        (lambda: gl.accelerator.current_device_index(), "accelerator.current_device_index"),
        (lambda: gl.accelerator.set_device_index(0), "accelerator.set_device_index"),
        (lambda: gl.accelerator.empty_cache(), "accelerator.empty_cache"),
    ],
)
def test_refused(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(DeviceError) as e:
        make()
    assert text in str(e.value)


def test_tensors_are_on_the_cpu() -> None:
    x = gl.ones(2)
    assert x.device == gl.device("cpu") and str(x.device) == "cpu"
    assert x.is_cpu and not x.is_cuda and not x.is_meta and x.get_device() == -1
    assert x.to("cpu") is x and x.to(gl.device("cpu", 0)) is x
    assert x.to("cpu", gl.float64).dtype is gl.float64 and x.to(device=gl.device("cpu")) is x


def test_default_device() -> None:
    assert gl.get_default_device() == gl.device("cpu")
    with gl.device("cpu:0") as d:
        assert gl.get_default_device() == d == gl.device("cpu", 0)
        with gl.device("cpu"):
            assert gl.get_default_device().index is None
        assert gl.get_default_device() == d
    assert gl.get_default_device() == gl.device("cpu")
    gl.set_default_device("cpu:0")
    gl.set_default_device(None)
    assert gl.get_default_device() == gl.device("cpu")
    with pytest.raises(DeviceError), gl.device("cuda"):
        pass
    assert gl.get_default_device() == gl.device("cpu")


SAME = [
    "cuda.is_available()", "cuda.device_count()", "cuda.is_initialized()", "cuda.is_bf16_supported()",
    "cuda.manual_seed(1)", "cuda.manual_seed_all(1)", "cuda.seed()", "cuda.seed_all()", "cuda.empty_cache()",
    "cuda.memory_allocated()", "cuda.max_memory_allocated()", "cuda.memory_reserved()", "cuda.get_arch_list()",
    "cuda.get_rng_state_all()", "cuda.set_rng_state_all([])", "accelerator.is_available()",
    "accelerator.device_count()", "accelerator.current_accelerator()", "mps.device_count()", "mps.is_available()",
    "mps.manual_seed(1)", "xpu.is_available()", "xpu.device_count()", "xpu.manual_seed(1)", "xpu.manual_seed_all(1)",
    "xpu.empty_cache()", "xpu.is_initialized()", "backends.mps.is_available()", "backends.mps.is_built()",
    "backends.cuda.is_built()", "backends.cudnn.is_available()", "backends.cudnn.version()",
    "backends.cudnn.benchmark", "backends.cudnn.deterministic", "backends.cudnn.enabled", "cpu.is_available()",
    "cpu.device_count()", "cpu.current_device()", "cpu.synchronize()",
]  # fmt: skip


@pytest.mark.parametrize("text", SAME)
def test_interface(text: str) -> None:
    assert eval(f"lib.{text}", {"lib": gl}) == eval(f"lib.{text}", {"lib": torch})


def test_nothing_to_wait_for() -> None:
    gl.cuda.synchronize()
    gl.cuda.ipc_collect()
    gl.cuda.reset_peak_memory_stats()
    assert gl.cuda.memory_stats() == {}
    assert gl.mps.current_allocated_memory() == 0
    assert not (
        gl.backends.mkldnn.is_available() or gl.backends.mkl.is_available() or gl.backends.openmp.is_available()
    )
    x = gl.ones(3) + 1
    gl.cpu.synchronize()
    assert x._v.buf is not None


def test_switches_can_be_set() -> None:
    import gradloom.backends.cudnn as cudnn

    before = cudnn.benchmark
    cudnn.benchmark = True
    assert gl.backends.cudnn.benchmark is True
    cudnn.benchmark = before
