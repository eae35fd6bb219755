"""What an export refuses: by name, by layer, and before a file is there."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from exporting import kinds, normal, ran, same

import gradloom as gl
from gradloom import nn
from gradloom.errors import ArgumentError, NotSupportedError
from gradloom.nn import functional as F
from gradloom.onnx import Dim, OnnxExporterError, export, is_in_onnx_export
from gradloom.onnx import elementwise as emitters

X = gl.from_numpy(normal(2, 4))


class Layer(nn.Module):
    """A function as a layer."""

    def __init__(self, fn: Callable[[gl.Tensor], Any]) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: gl.Tensor) -> Any:
        return self.fn(x)


class Counter(nn.Module):
    """Counts its calls in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", gl.zeros(()))

    def forward(self, x: gl.Tensor) -> gl.Tensor:
        self.calls += 1
        return x * self.calls


def looked_at(x: gl.Tensor) -> gl.Tensor:
    return x if x.sum() > 0 else -x


def stepped(x: gl.Tensor) -> gl.Tensor:
    for _ in range(x.shape[0]):
        x = gl.tanh(x)
    return x


REFUSED: dict[str, tuple[Callable[[gl.Tensor], Any], str]] = {
    "random numbers": (lambda x: F.dropout(x, 0.5, training=True), r"uniform in layer 'part'.*\n.*model\.eval"),
    "linear algebra": (lambda x: gl.linalg.inv(x @ x.T), "inverse.* in layer 'part' has no counterpart"),
    "complex numbers": (lambda x: gl.fft.fft(x).real, "in layer 'part' works on complex64"),
    "special functions": (gl.lgamma, "lgamma in layer 'part' has no counterpart"),
    "values": (looked_at, "looks at the value of a tensor"),
    "numbers": (lambda x: x.shape[0], "output 0 is a int, expected a tensor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_expressed(name: str, tmp_path) -> None:
    fn, message = REFUSED[name]
    model = nn.Sequential()
    model.add_module("part", Layer(fn))
    with pytest.raises(OnnxExporterError, match=message):
        export(model, X, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
    assert model.training and not is_in_onnx_export()


def test_a_model_that_writes_into_itself() -> None:
    with pytest.raises(OnnxExporterError, match=r"writes into a tensor of shape \(\) that it keeps"):
        export(Counter(), X)


OPEN: dict[str, tuple[Callable[[gl.Tensor], Any], Any, str]] = {
    "a layer of a size": (nn.Linear(4, 2), {1: "n"}, "could not be recorded at other sizes"),
    "steps by size": (stepped, {0: "n"}, r"result \(.*\) is another step at another size"),
    "a list by size": (
        lambda x: x + gl.tensor([float(k) for k in range(x.shape[1])]), {1: "n"},
        "from Python numbers depends on the size",
    ),
    "settings by size": (
        lambda x: F.max_pool1d(x, x.shape[1] // 2), {1: "n"}, "max_pool has a window that depends on the size"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPEN)
def test_axes_that_cannot_be_open(name: str) -> None:
    model, axes, message = OPEN[name]
    with pytest.raises(OnnxExporterError, match=message) as error:
        export(model, X, dynamic_shapes=(axes,))
    assert "leave" in error.value.hint


def test_numbers_that_differ_are_not_written(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(emitters.ELEMENTWISE, "tanh", emitters.ELEMENTWISE["sin"])
    with pytest.raises(OnnxExporterError, match=r"output 'output' .* is not what gradloom computes.* off by"):
        export(gl.tanh, X, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
    assert kinds(export(gl.tanh, X, verify=False)) == ["Sin"]


def test_without_onnx_and_without_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(emitters.ELEMENTWISE, "tanh", emitters.ELEMENTWISE["sin"])
    same(export(gl.exp, X), gl.exp, (X.numpy(),))
    with pytest.raises(OnnxExporterError, match="is not what gradloom computes"):  # the reference of onnx says so
        export(gl.tanh, X)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(NotSupportedError, match=r"onnx.*is not installed(.|\n)*pip install onnx"):
        export(gl.exp, X)


ARGUMENTS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "an option that nobody knows": ({"nonsense": 1}, TypeError, "nonsense"),
    "weights left out": ({"export_params": False}, NotSupportedError, "export_params=False"),
    "weights elsewhere": ({"external_data": True}, NotSupportedError, "one file"),
    "an old operator set": ({"opset_version": 11}, ArgumentError, "18 to 23, got 11"),
    "too many inputs": ({"input_names": ["a", "b"]}, ArgumentError, "2 input_names for 1"),
    "too many outputs": ({"output_names": ["a", "b"]}, ArgumentError, "2 output_names for 1"),
    "equal names": ({"input_names": ["a"], "output_names": ["a"]}, ArgumentError, "names given twice"),
    "both ways": ({"dynamic_axes": {"x": [0]}, "dynamic_shapes": ({0: "n"},)}, ArgumentError, "not both"),
    "an axis": ({"dynamic_shapes": ({2: "n"},)}, ArgumentError, "has 2 axes, there is no axis 2"),
    "an argument": ({"dynamic_shapes": {"y": {0: "n"}}}, ArgumentError, r"names \['y'\]"),
    "a list": ({"dynamic_shapes": ({0: "n"}, {0: "n"})}, ArgumentError, "2 entries for 1 arguments"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(name: str) -> None:
    options, kind, message = ARGUMENTS[name]
    with pytest.raises(kind, match=message):
        export(nn.Linear(4, 2), X, **options)
    with pytest.raises(ArgumentError, match="no argument is a tensor"):
        export(nn.Linear(4, 2), (3,))


def test_pytorchs_options_that_are_done_anyway() -> None:
    program = export(
        nn.Linear(4, 2), (X,), dynamo=True, do_constant_folding=True, export_params=True, opset_version=18,
        report=False, keep_initializers_as_inputs=False,
    )  # fmt: skip
    assert program.model_proto.opset_import[0].version == 18


def test_inputs_by_name_in_structures_and_beside_numbers() -> None:
    def model(pair: tuple[gl.Tensor, gl.Tensor], times: int, scale: gl.Tensor) -> dict[str, gl.Tensor]:
        return {"sum": (pair[0] + pair[1]) * times, "scaled": pair[0] * scale}

    a, b, s = normal(2, 3), normal(2, 3), normal(3)
    file = io.BytesIO()
    t = gl.from_numpy
    program = export(
        model, ((t(a), t(b)), 3), file, kwargs={"scale": t(s)}, output_names=["sum", "scaled"],
        dynamic_shapes={"pair": ({0: "n"}, {0: "n"})},
    )  # fmt: skip
    assert program.input_names == ("pair_0", "pair_1", "scale") and file.getvalue()
    a, b = normal(5, 3), normal(5, 3)
    for found, wanted in zip(ran(program, [a, b, s]), ((a + b) * 3, a * s)):
        np.testing.assert_allclose(found, wanted, 1e-6, 1e-6)


def test_axes_without_names_may_be_one_size_and_limits_are_kept() -> None:
    a, b = normal(2, 3), normal(2, 3)
    t = gl.from_numpy
    program = export(lambda x, y: x + y, (t(a), t(b)), dynamic_axes={"x": [0], "y": [0]})
    same(program, lambda x, y: x + y, (normal(7, 3), normal(7, 3)))
    table = nn.Embedding(12, 4)

    def model(x: gl.Tensor) -> gl.Tensor:
        return x + table(gl.arange(x.shape[0]))

    program = export(model, t(normal(6, 4)), dynamic_shapes=({0: Dim("n", max=12)},))
    same(program, model, (normal(12, 4),))


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_other_dtypes(dtype: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 4), nn.GELU())
    x = gl.from_numpy(normal(2, 3, 4, 4)).to(getattr(gl, dtype))
    program = export(model.to(x.dtype), x, dynamic_shapes=({0: "n"},))
    found = program(x)[0]
    assert found.dtype == x.dtype.numpy and found.shape == (2, 4)


def test_branches_and_loops() -> None:
    def branch(x: gl.Tensor) -> gl.Tensor:
        return gl.cond(x.sum() > 0, lambda x: x * 2, lambda x: gl.exp(x) - W, (x,))

    def loop(x: gl.Tensor) -> gl.Tensor:
        return gl.while_loop(lambda x, n: gl.logical_and(x.sum() < 50, n < 9), lambda x, n: (x * 2 + W, n + 1),
                             (x, gl.zeros((), dtype=gl.int64)))[0]  # fmt: skip

    W = gl.from_numpy(normal(4))
    for fn, kind in ((branch, "If"), (loop, "Loop")):
        program = export(fn, X.abs(), dynamic_shapes=({0: "n"},))
        assert kind in kinds(program)
        for x in (np.abs(normal(3, 4)), -np.abs(normal(2, 4))):
            same(program, fn, (x,))
