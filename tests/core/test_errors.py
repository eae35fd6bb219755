"""The texts and codes of errors: what was given, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
import gradloom.nn.functional as F
from gradloom.errors import DeviceError, DTypeError, GradientError, GradloomError, IndexRangeError, ShapeError

X = np.ones((2, 3), np.float32)


def x() -> gl.Tensor:
    return gl.tensor(X)


CASES: list[tuple[str, Callable[[], Any], type, str, list[str]]] = [
    ("matmul", lambda: x() @ x(), ShapeError, "shape.matmul", ["(2, 3)", "axis -1", "axis -2", "hint"]),
    ("add", lambda: x() + gl.ones(4), ShapeError, "shape", ["(2, 3)", "(4,)"]),
    ("reshape", lambda: x().reshape(4, 2), ShapeError, "shape.reshape", ["6 elements", "(4, 2)"]),
    ("reshape -1", lambda: x().reshape(4, -1), ShapeError, "shape.reshape", ["(2, 3)", "-1"]),
    ("permute", lambda: x().permute(0, 0), ShapeError, "shape.permute", ["(0, 0)"]),
    ("expand", lambda: x().expand(2, 4), ShapeError, "shape.broadcast", ["(2, 3)", "(2, 4)"]),
    ("axis", lambda: x().sum(2), IndexRangeError, "index.axis", ["axis 2", "2 dimensions", "-2 to 1"]),
    ("cat", lambda: gl.cat([x(), gl.ones(2, 4, 1)]), ShapeError, "shape", []),
    ("item", lambda: x().item(), ShapeError, "shape.item", ["6 elements"]),
    ("truth", lambda: bool(x()), ShapeError, "shape.bool", ["ambiguous", ".any()"]),
    ("ragged", lambda: gl.tensor([[1], [1, 2]]), ShapeError, "shape.ragged", ["unequal"]),
    ("linear", lambda: F.linear(x(), gl.ones(5, 4)), ShapeError, "shape.linear", ["(2, 3)", "(5, 4)", "in_features"]),
    ("text", lambda: gl.tensor(["a"]), DTypeError, "dtype.data", ["no numbers"]),
    ("matmul dtypes", lambda: x() @ gl.ones(3, 2, dtype=gl.float64), DTypeError, "dtype.matmul", ["float64", ".to("]),
    ("mean of int", lambda: gl.arange(3).mean(), DTypeError, "dtype.mean", ["int64", ".float()"]),
    ("bits of float", lambda: gl.bitwise_and(x(), x()), DTypeError, "dtype", ["float32"]),
    ("float index", lambda: gl.index_select(x(), 0, gl.ones(1)), DTypeError, "dtype.index", ["float32"]),
    ("device", lambda: gl.tensor(1.0, device="cuda"), DeviceError, "device.missing", ["cuda", "cpu"]),
    ("to device", lambda: x().to("cuda:0"), DeviceError, "device.missing", ["cuda:0", "found: cpu"]),
    ("no grad", lambda: x().sum().backward(), GradientError, "gradient.unrecorded", ["requires_grad=True", "no_grad"]),
    (
        "no scalar",
        lambda: (gl.tensor(X, requires_grad=True) * 2).backward(),
        GradientError,
        "gradient.scalar",
        ["(2, 3)", "mean, sum"],
    ),
    ("int grad", lambda: gl.arange(3).requires_grad_(), GradientError, "gradient.dtype", ["int64"]),
    (
        "result's flag",
        lambda: (gl.tensor(X, requires_grad=True) * 2).requires_grad_(False),
        GradientError,
        "gradient.leaf",
        [],
    ),
    ("range", lambda: x()[5], IndexRangeError, "index.range", ["index 5", "size 2", "-2 to 1"]),
    ("rank", lambda: x()[0, 0, 0], IndexRangeError, "index.rank", ["3 indices", "2 dimensions"]),
    (
        "label",
        lambda: F.cross_entropy(x(), gl.tensor([0, 3])).item(),
        IndexRangeError,
        "index.label",
        ["label 3", "0 <= label < 3"],
    ),
    ("one hot", lambda: gl.one_hot(gl.tensor([0, -1]), 3).numpy(), IndexRangeError, "index.label", ["label -1"]),
    ("gather", lambda: gl.gather(x(), 1, gl.tensor([[7]])).numpy(), IndexRangeError, "index.gather", ["index 7"]),
    (
        "leaf",
        lambda: gl.tensor(X, requires_grad=True).add_(1),
        GradientError,
        "gradient.inplace",
        ["in place", "no_grad"],
    ),
]


@pytest.mark.parametrize("name, call, kind, code, words", CASES, ids=[c[0] for c in CASES])
def test_error(name: str, call: Callable[[], Any], kind: type, code: str, words: list[str]) -> None:
    with pytest.raises(kind) as e:
        call()
    assert isinstance(e.value, GradloomError)
    assert e.value.code == code or (code.count(".") == 0 and e.value.code.startswith(code))
    for w in words:
        assert w in str(e.value)
    assert f"[{e.value.code}]" in str(e.value)


@pytest.mark.parametrize("name, call, kind, code, words", CASES, ids=[c[0] for c in CASES])
def test_the_tape_works_on_after_an_error(
    name: str, call: Callable[[], Any], kind: type, code: str, words: Any
) -> None:
    """A refused call leaves nothing behind, and is refused again."""
    for _ in range(2):
        y = x() * 3
        with pytest.raises(kind):
            call()
        gl.set_target("cpu")
        np.testing.assert_array_equal((x() * 2).numpy(), X * 2)
        if code not in ("index.label", "index.gather"):  # an error of the running program loses that program's values
            np.testing.assert_array_equal(y.numpy(), X * 3)


def test_errors_are_those_that_python_users_catch() -> None:
    with pytest.raises(ValueError):
        x() @ x()
    with pytest.raises(TypeError):
        gl.arange(3).mean()
    with pytest.raises(IndexError):
        x()[5]
    with pytest.raises(RuntimeError):
        x().sum().backward()
    with pytest.raises(ValueError, match="unknown target"):
        gl.set_target("tpu")


def test_errors_are_those_that_programs_for_pytorch_catch() -> None:
    for call in (lambda: x() @ x(), lambda: gl.arange(3).mean(), lambda: gl.zeros(3).reshape(2, 2), lambda: gl.cat([])):
        with pytest.raises(RuntimeError):
            call()
