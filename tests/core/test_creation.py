"""New tensors: PyTorch's creation functions with all their options, tensors from data, the old constructors."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom.errors import DeviceError, DTypeError, GradientError, NotSupportedError, ShapeError

Case = Callable[[Any], Any]

CASES: dict[str, Case] = {
    "arange": lambda L: L.arange(5),
    "arange from": lambda L: L.arange(2, 7),
    "arange by": lambda L: L.arange(1, 10, 3),
    "arange down": lambda L: L.arange(5, -2, -2),
    "arange of floats": lambda L: L.arange(0.5, 3),
    "arange by thirds": lambda L: L.arange(0, 1, 0.3),
    "arange with a dtype": lambda L: L.arange(0, 3, 0.5, dtype=L.float64),
    "arange cut to integers": lambda L: L.arange(0.7, 5.2, 2.9, dtype=L.int64),
    "arange of nothing": lambda L: L.arange(0),
    "arange by keywords": lambda L: L.arange(start=1, end=4, step=2),
    "eye": lambda L: L.eye(3),
    "eye wide": lambda L: L.eye(2, 4, dtype=L.int32),
    "eye of nothing": lambda L: L.eye(0),
    "full": lambda L: L.full((2, 3), 7),
    "full of floats": lambda L: L.full((2,), 2.5),
    "full of bools": lambda L: L.full((2,), True),
    "full of complex": lambda L: L.full((1,), 1 + 2j),
    "full with a dtype": lambda L: L.full((2,), 3, dtype=L.float16),
    "full by keywords": lambda L: L.full(size=(2,), fill_value=1),
    "full_like": lambda L: L.full_like(L.ones(2, dtype=L.int64), 3),
    "linspace": lambda L: L.linspace(0, 1, 7),
    "linspace of one": lambda L: L.linspace(3, 10, 1),
    "linspace of none": lambda L: L.linspace(3, 10, 0),
    "linspace by keywords": lambda L: L.linspace(start=-1, end=1, steps=4),
    "linspace of tensors": lambda L: L.linspace(L.tensor(1.0), L.tensor(2), steps=3),
    "linspace of integers": lambda L: L.linspace(-5, 8, 6, dtype=L.int64),
    "linspace complex": lambda L: L.linspace(0, 1j, 3),
    "logspace": lambda L: L.logspace(0, 3, 4),
    "logspace by base": lambda L: L.logspace(-1, 2, 4, base=2.0, dtype=L.float64),
    "new_full": lambda L: L.zeros(1, dtype=L.int16).new_full((2,), 3),
    "new_ones": lambda L: L.zeros(1, dtype=L.int16).new_ones(2, 3),
    "new_tensor": lambda L: L.zeros(1, dtype=L.float64).new_tensor([[1, 2]]),
    "new_zeros": lambda L: L.zeros(1, dtype=L.bool).new_zeros((2, 3)),
    "ones": lambda L: L.ones(2, 3),
    "ones_like": lambda L: L.ones_like(L.arange(3)),
    "ones_like with a dtype": lambda L: L.ones_like(L.arange(3), dtype=L.float32),
    "scalar_tensor": lambda L: L.scalar_tensor(3),
    "tril_indices": lambda L: L.tril_indices(3, 4, 1),
    "triu_indices": lambda L: L.triu_indices(4, 3, -1, dtype=L.int32),
    "zeros": lambda L: L.zeros(2, 3),
    "zeros of a list": lambda L: L.zeros([2, 3]),
    "zeros by size": lambda L: L.zeros(size=(2, 3)),
    "zeros 0-d": lambda L: L.zeros(()),
    "zeros of a size": lambda L: L.zeros(L.ones(2, 3).shape),
    "zeros with all options": lambda L: L.zeros(
        2, dtype=L.float64, device="cpu", layout=L.strided, requires_grad=False, pin_memory=False
    ),
    "fill": lambda L: L.fill(L.ones(2, dtype=L.int64), 3),
    "tensor": lambda L: L.tensor([[1, 2], [3, 4]]),
    "tensor of floats": lambda L: L.tensor([1, 2.5]),
    "tensor of tuples": lambda L: L.tensor(((True, False), (False, True))),
    "tensor of tensors": lambda L: L.tensor([[L.tensor(1.0), 2.0], [L.tensor(3.0), L.tensor(4.0)]]),
    "tensor of arrays": lambda L: L.tensor([np.array([1.0, 2.0]), np.array([3.0, 4.0])]),
    "tensor of a range": lambda L: L.tensor(range(4)),
    "tensor of a NumPy number": lambda L: L.tensor(np.float64(2)),
    "tensor of nothing": lambda L: L.tensor([]),
    "tensor of empty rows": lambda L: L.tensor([[], []]),
    "tensor of complex": lambda L: L.tensor([1j, 2]),
    "Tensor of data": lambda L: L.Tensor([1, 2]),
    "Tensor of an array": lambda L: L.Tensor(np.array([1, 2])),
    "LongTensor": lambda L: L.LongTensor([1, 2]),
    "FloatTensor": lambda L: L.FloatTensor([[1, 2]]),
    "as_tensor": lambda L: L.as_tensor([1, 2], dtype=L.float64),
}


@pytest.mark.parametrize("name", CASES)
def test_values(name: str) -> None:
    mine, theirs = CASES[name](gl), CASES[name](torch)
    assert mine.dtype.name == str(theirs.dtype).removeprefix("torch.")
    assert tuple(mine.shape) == tuple(theirs.shape)
    np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-6, atol=1e-7)


SHAPES: dict[str, Case] = {
    "empty": lambda L: L.empty(2, 3),
    "empty with a dtype": lambda L: L.empty((2,), dtype=L.int64),
    "empty_like": lambda L: L.empty_like(L.zeros(2, 3, dtype=L.int8)),
    "empty_permuted": lambda L: L.empty_permuted((2, 3), (1, 0)),
    "empty_strided": lambda L: L.empty_strided((2, 3), (1, 2), dtype=L.float64),
    "new_empty": lambda L: L.zeros(1, dtype=L.bool).new_empty(2, 3),
    "new_empty_strided": lambda L: L.zeros(1).new_empty_strided((2, 3), (3, 1)),
    "Tensor": lambda L: L.Tensor(2, 3),
    "Tensor of nothing": lambda L: L.Tensor(),
    "IntTensor": lambda L: L.IntTensor(2, 3),
    "ByteTensor": lambda L: L.ByteTensor(L.Size([4])),
}


@pytest.mark.parametrize("name", SHAPES)
def test_memory(name: str) -> None:
    mine, theirs = SHAPES[name](gl), SHAPES[name](torch)
    assert mine.dtype.name == str(theirs.dtype).removeprefix("torch.")
    assert tuple(mine.shape) == tuple(theirs.shape)


NUMPY: dict[str, Callable[[Any], Any]] = {
    "zeros by shape": lambda L: L.zeros(shape=(2, 3)),
    "full by shape": lambda L: L.full(shape=(2,), fill_value=3.0),
    "linspace without its end": lambda L: L.linspace(0, 1, 4, endpoint=False),
    "linspace by num": lambda L: L.linspace(0, 2, num=5),
    "arange to a stop": lambda L: L.arange(1, stop=4),
    "eye above": lambda L: L.eye(3, k=1),
    "arange of nothing": lambda L: L.arange(5, 0),
}


@pytest.mark.parametrize("name", NUMPY)
def test_as_numpy_has_it(name: str) -> None:
    np.testing.assert_allclose(NUMPY[name](gl).numpy(), NUMPY[name](np), rtol=1e-6)


def test_requires_grad() -> None:
    for make in (gl.zeros, gl.ones, gl.empty, gl.eye):
        assert make(2, requires_grad=True).requires_grad
    for x in (gl.full((2,), 1.0, requires_grad=True), gl.arange(3.0, requires_grad=True), gl.linspace(0, 1, 3,
              requires_grad=True), gl.zeros_like(gl.ones(2), requires_grad=True)):  # fmt: skip
        assert x.requires_grad and x.is_leaf
    v = gl.tensor(3.0, requires_grad=True)
    gl.full((2, 2), v).sum().backward()
    gl.fill(gl.zeros(3), v).sum().backward()
    assert v.grad.item() == 7.0
    x = gl.ones(3, requires_grad=True)
    gl.fill(x * 2, 5).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0, 0, 0])


@pytest.mark.parametrize("make", [
    lambda **o: gl.zeros(2, **o), lambda **o: gl.ones(2, **o), lambda **o: gl.empty(2, **o),
    lambda **o: gl.full((2,), 1.0, **o), lambda **o: gl.eye(2, **o), lambda **o: gl.arange(2, **o),
    lambda **o: gl.linspace(0, 1, 2, **o), lambda **o: gl.logspace(0, 1, 2, **o),
    lambda **o: gl.zeros_like(gl.ones(2), **o),
    lambda **o: gl.full_like(gl.ones(2), 1, **o), lambda **o: gl.empty_like(gl.ones(2), **o),
    lambda **o: gl.tril_indices(2, 2, **o), lambda **o: gl.ones(1).new_zeros(2, **o),
    lambda **o: gl.scalar_tensor(1, **o),
])  # fmt: skip
def test_options_are_checked(make: Callable[..., Any]) -> None:
    with pytest.raises(DeviceError, match="cuda"):
        make(device="cuda")
    with pytest.raises(DeviceError, match="pin"):
        make(pin_memory=True)
    with pytest.raises(NotSupportedError, match="layout"):
        make(layout="sparse")
    assert make(device="cpu", layout=gl.strided, pin_memory=False).device == gl.device("cpu")


@pytest.mark.parametrize(("call", "error", "match"), [
    (lambda: gl.zeros(2, -1), ShapeError, "negative"),
    (lambda: gl.arange(0, 3, 0), ValueError, "step must not be 0"),
    (lambda: gl.arange(3, dtype=gl.complex64), DTypeError, "no order"),
    (lambda: gl.linspace(0, 1, -2), ValueError, "negative"),
    (lambda: gl.linspace(0, 1), TypeError, "steps"),
    (lambda: gl.full((2,)), TypeError, "fill_value"),
    (lambda: gl.zeros(2, odd=1), TypeError, "odd"),
    (lambda: gl.fill(gl.zeros(2), gl.ones(2)), ShapeError, "0-d"),
    (lambda: gl.empty_permuted((2, 3), (0, 0)), ShapeError, "no order"),
    (lambda: gl.empty_strided((2, 3), (1,)), ShapeError, "strides"),
    (lambda: gl.tensor([[1, 2], [3]]), ShapeError, "unequal"),
    (lambda: gl.tensor(["a"]), DTypeError, "no numbers"),
    (lambda: gl.tensor([None]), DTypeError, "no numbers"),
    (lambda: gl.tensor([1, 2], requires_grad=True), GradientError, "int64"),
    (lambda: gl.LongTensor(gl.ones(2)), DTypeError, "expected int64"),
])  # fmt: skip
def test_refused(call: Callable[[], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()


def test_classes_by_dtype() -> None:
    x = gl.ones(2)
    assert isinstance(x, gl.FloatTensor) and not isinstance(x, gl.LongTensor)
    assert isinstance(x.long(), gl.LongTensor) and isinstance(x, gl.Tensor)
    assert x.type() == "gradloom.FloatTensor"
    assert x.type("torch.DoubleTensor").dtype is gl.float64
    assert x.type(gl.IntTensor).dtype is gl.int32
    assert x.type(gl.bool).dtype is gl.bool
    assert gl.FloatTensor(x) is x
    assert repr(gl.FloatTensor) == "gradloom.FloatTensor"


def test_sharing() -> None:
    a = np.arange(4.0)
    x = gl.from_numpy(a)
    a[0] = 9
    assert x[0].item() == 9
    y = gl.tensor(a)
    a[1] = 9
    assert y[1].item() == 1
    assert gl.as_tensor(x) is x
    assert gl.Tensor(x).data_ptr() == x.data_ptr()
    with pytest.raises(DTypeError, match="expected a NumPy array, got list"):
        gl.from_numpy([1.0])
    with pytest.raises(DTypeError, match="input must be a tensor, got float"):
        gl.is_signed(1.0)


def test_copies() -> None:
    x = gl.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    d = copy.deepcopy(x)
    assert d.requires_grad and d.is_leaf and d is not x
    np.testing.assert_array_equal(d.grad.numpy(), [2, 4])
    both = copy.deepcopy([x, x])
    assert both[0] is both[1]
    y = gl.zeros(2)
    s = copy.copy(y)
    s += 1
    np.testing.assert_array_equal(y.numpy(), [1, 1])
