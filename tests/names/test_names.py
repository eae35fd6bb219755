"""Every public name of PyTorch's that a program of tensors can meet is there, or says why it is not."""

from __future__ import annotations

import importlib
import inspect
import types
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import func
from gradloom.absent import AbsentError
from gradloom.errors import DTypeError, ShapeError

MODULES = (
    "torch torch.autograd torch.autograd.functional torch.autograd.forward_ad torch.func torch.linalg torch.fft "
    "torch.special torch.distributions torch.distributions.constraints torch.distributions.transforms torch.amp "
    "torch.signal.windows"
).split()


def public(module: Any) -> list[str]:
    """The names that are the module's own: no modules of Python's, no types of ``typing``, no documentation."""
    out = []
    for name in dir(module):
        x = getattr(module, name)
        home = x.__name__ if inspect.ismodule(x) else getattr(x, "__module__", None) or ""
        foreign = inspect.ismodule(x) and not home.startswith("torch.")
        elsewhere = home.startswith(("typing", "collections", "functools", "contextlib", "types"))
        imported = module is not torch and (x is torch.Tensor or isinstance(x, (str, dict)))
        if not (name.startswith("_") or foreign or elsewhere or imported):
            out.append(name)
    return out


# modules of these are files of PyTorch's, whose names stand in the package itself
FILES = {"autocast_mode", "grad_scaler"}


def lacking(theirs: Any, mine: Any) -> list[str]:
    out = []
    for name in public(theirs):
        try:
            getattr(mine, name)
        except AbsentError as e:
            assert e.hint and name in e.message
        except AttributeError:
            out.append(name)
    return out


@pytest.mark.parametrize("name", MODULES)
def test_names_of_modules(name: str) -> None:
    mine = importlib.import_module(name.replace("torch", "gradloom", 1))
    assert set(lacking(importlib.import_module(name), mine)) <= FILES | ELSEWHERE.get(name, set())


# what these modules of PyTorch's import for themselves
ELSEWHERE: dict[str, set[str]] = {
    "torch.distributions.transforms": {"Distribution", "broadcast_all", "lazy_property", "pad", "softplus",
                                       "tril_matrix_to_vec", "vec_to_tril_matrix", "constraints"},
    "torch.distributions.constraints": {"MixtureSameFamilyConstraint"},
    "torch.autograd.functional": {"fwAD"},
    "torch.autograd": {"ProfilerActivity"},
    "torch.signal.windows": {"windows"},
}  # fmt: skip


def test_names_of_tensors() -> None:
    x, out = gl.ones(2), []
    for name in dir(torch.Tensor):
        if name.startswith("_") or name in ("imag", "mH", "mT", "H"):  # of complex tensors, of matrices
            continue
        try:
            getattr(x, name)
        except AbsentError as e:
            assert e.hint and not hasattr(x, name)
        except AttributeError:
            out.append(name)
    assert not out


@pytest.mark.parametrize("name, words", [("to_sparse", "dense"), ("qscheme", "int8"), ("volatile", "no_grad"),
                                         ("symeig", "eigh"), ("record_stream", "CPU")])  # fmt: skip
def test_an_absent_method_says_why(name: str, words: str) -> None:
    with pytest.raises(AbsentError, match=f"a tensor deliberately has no {name!r}") as e:
        getattr(gl.ones(2), name)
    assert words in e.value.hint
    with pytest.raises(AttributeError, match="no attribute 'to_sparrow'"):
        gl.ones(2).to_sparrow()


def test_old_methods() -> None:
    x = gl.tensor([[1, 2], [3, 4]], dtype=gl.int32)
    assert x.new(2, 3).shape == (2, 3) and x.new(2, 3).dtype is gl.int32
    assert x.new([5, 6]).tolist() == [5, 6] and x.new().shape == (0,)
    assert x.resize(4).tolist() == [1, 2, 3, 4] and x.resize_as(gl.ones(4, 1)).shape == (4, 1)
    with pytest.raises(ShapeError):
        x.resize(3)
    y = gl.ones(2, 2)
    assert y.map2_(y * 2, y * 3, lambda a, b, c: a + b * c).tolist() == [[7, 7], [7, 7]]

    class Own(gl.Tensor):
        pass

    made = y.as_subclass(Own)
    assert type(made) is Own and made.tolist() == y.tolist()
    with pytest.raises(DTypeError, match="subclass of Tensor"):
        y.as_subclass(int)
    assert not y.is_inference() and not y.is_distributed() and y.name is None and y.output_nr == 0


def test_old_names_of_autocast() -> None:
    assert gl.get_autocast_cpu_dtype() is gl.bfloat16 and not gl.is_autocast_cpu_enabled()
    gl.set_autocast_cpu_enabled(True)
    assert gl.is_autocast_enabled() and gl.autocast_increment_nesting() == 1
    gl.set_autocast_cpu_enabled(False)
    assert gl.autocast_decrement_nesting() == 0 and gl.is_autocast_cache_enabled()
    gl.set_autocast_cpu_dtype(gl.float16)
    assert gl.get_autocast_dtype("cpu") is gl.float16
    gl.set_autocast_cpu_dtype(gl.bfloat16)


def test_modules_of_autograd() -> None:
    from gradloom.autograd.anomaly_mode import detect_anomaly
    from gradloom.autograd.grad_mode import no_grad
    from gradloom.autograd.variable import Variable

    assert no_grad is gl.no_grad and Variable is gl.Tensor and detect_anomaly is gl.autograd.detect_anomaly
    assert isinstance(gl.autograd.profiler, types.ModuleType) and gl.autograd.profiler.record_function


PATTERNS = [
    ("b c h w -> b h w c", {}), ("b c h w -> b (c h w)", {}), ("b (c1 c2) h w -> (b c1) c2 h w", {"c1": 2}),
    ("b c (h p) (w q) -> b (h w) (p q c)", {"p": 2, "q": 3}), ("b ... -> ... b", {}), ("b c ... -> (b c) ...", {}),
    ("b c h w -> b 1 c (h w) 1", {}), ("... h w -> ... (w h)", {}),
]  # fmt: skip


@pytest.mark.parametrize("pattern, sizes", PATTERNS, ids=[p for p, _ in PATTERNS])
def test_rearrange(pattern: str, sizes: dict[str, int]) -> None:
    x = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    want = torch.func.rearrange if hasattr(torch.func, "rearrange") else None
    if want is None:
        from functorch.einops import rearrange as want
    got = func.rearrange(gl.tensor(x), pattern, **sizes)
    np.testing.assert_array_equal(got.numpy(), want(torch.tensor(x), pattern, **sizes).numpy())


@pytest.mark.parametrize(
    "pattern, words",
    [("a b", "one '->'"), ("a b c -> a", "same names"), ("a b -> b a c", "same names"), ("a b c -> c b a", "3 axes"),
     ("(a b -> a b", "brackets"), ("a (b c) -> a b c", "not .b c."), ("a ? -> ? a", "no name")],
)  # fmt: skip
def test_rearrange_refuses(pattern: str, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        func.rearrange(gl.ones(2, 3), pattern)
