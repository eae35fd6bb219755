"""Tensors, modules and optimisers by pickle, as copies: for processes, caches, and libraries that keep objects."""

from __future__ import annotations

import copyreg
import inspect
import io
import multiprocessing
import pickle
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import nn
from gradloom.testing import assert_close

MADE = {
    "floats": lambda: gl.randn(3, 2),
    "number": lambda: gl.tensor(3),
    "nothing": lambda: gl.empty(0, 3),
    "turned": lambda: gl.randn(4, 3).t(),
    "part": lambda: gl.arange(1000)[3:6],
    "leaf": lambda: gl.randn(3, requires_grad=True),
    "computed": lambda: gl.randn(3, requires_grad=True) * 2,
    "parameter": lambda: nn.Parameter(gl.randn(2)),
    "frozen": lambda: nn.Parameter(gl.randn(2), requires_grad=False),
    **{
        name: lambda name=name: gl.tensor([0, 1, 2]).to(getattr(gl, name))
        for name in "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128".split()
    },
}


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize("name", MADE)
def test_tensors_come_back(name: str, protocol: int) -> None:
    t = MADE[name]()
    back = pickle.loads(pickle.dumps(t, protocol))
    assert type(back) is type(t)
    assert (back.dtype, back.shape, back.requires_grad, back.is_leaf) == (t.dtype, t.shape, t.requires_grad, True)
    np.testing.assert_array_equal(back.detach().numpy(), t.detach().numpy())
    with gl.no_grad():
        back.zero_()
    assert name in ("nothing",) or bool(t.detach().to(gl.bool).any())  # a copy: the first keeps its values


def test_parts_take_their_own_values_only() -> None:
    assert len(pickle.dumps(gl.zeros(100_000)[:3])) < 1000


def test_attributes_come_along_gradients_and_hooks_do_not() -> None:
    t = gl.ones(2, requires_grad=True)
    t.tag = "kept"
    t.register_hook(lambda g: g)
    (t * 3).sum().backward()
    back = pickle.loads(pickle.dumps(t))
    assert back.tag == "kept"
    assert back.grad is None


def test_one_tensor_stays_one() -> None:
    t = gl.ones(2)
    first, second = pickle.loads(pickle.dumps([t, t]))
    assert first is second


def _network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.GELU(), nn.Dropout(0.1), nn.Linear(4, 2))


def test_modules_and_optimisers_go_on() -> None:
    gl.manual_seed(0)
    model = _network()
    optimizer = gl.optim.AdamW(model.parameters(), lr=0.1)
    x = gl.randn(8, 3)

    def step(model: Any, optimizer: Any) -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    model.eval()
    step(model, optimizer)
    model2, optimizer2 = pickle.loads(pickle.dumps((model, optimizer)))
    assert optimizer2.param_groups[0]["params"][0] is model2[0].weight
    step(model, optimizer)
    step(model2, optimizer2)
    assert_close(list(model.state_dict().values()), list(model2.state_dict().values()), rtol=0, atol=0)


def test_lazy_modules_before_and_after_their_first_batch() -> None:
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d())
    back = pickle.loads(pickle.dumps(lazy))
    assert isinstance(back[0].weight, nn.parameter.UninitializedParameter)
    assert back(gl.randn(2, 3, 5, 5)).shape == (2, 4, 3, 3)
    again = pickle.loads(pickle.dumps(back))
    assert again[0].weight.shape == (4, 3, 3, 3)
    assert isinstance(lazy[0].weight, nn.parameter.UninitializedParameter)


def test_a_process_gets_values_and_sends_some_back() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        back = pool.apply(gl.sum, (gl.arange(5),))
    assert int(back) == 10


def test_other_libraries_may_say_how_parameters_are_written() -> None:
    class Pickler(pickle.Pickler):
        dispatch_table = {**copyreg.dispatch_table, nn.Parameter: lambda p: (str, ("here it was",))}

    out = io.BytesIO()
    Pickler(out).dump([nn.Parameter(gl.ones(1))])
    assert pickle.loads(out.getvalue()) == ["here it was"]


@pytest.mark.parametrize("module", [gl, nn.functional, gl.fft, gl.linalg, gl.special, gl.keras.ops])
def test_functions_are_found_where_they_stand(module: Any) -> None:
    functions = {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}
    functions = {name: fn for name, fn in functions.items() if inspect.isfunction(fn)}
    if module is gl:  # methods that write in place are found there too
        functions |= {name: getattr(gl, name) for name in ("add_", "resize_", "relu_", "unsqueeze_", "zero_")}
    assert len(functions) > 20
    assert [name for name, fn in functions.items() if pickle.loads(pickle.dumps(fn)) is not fn] == []


def test_modules_that_hold_functions() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, activation=nn.functional.gelu, dropout=0.0)
    back = pickle.loads(pickle.dumps(layer))
    x = gl.randn(3, 2, 4)
    assert_close(back(x), layer(x))
