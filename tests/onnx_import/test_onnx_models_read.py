"""Models read from ONNX: the same outputs as the runtime's, trained, saved, and bad files refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import nn
from gradloom.errors import ArgumentError
from gradloom.onnx import OnnxImportError, load

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

helper, F32 = onnx.helper, onnx.TensorProto.FLOAT


def written(model: Any, inputs: Any, path: Path, **options: Any) -> Path:
    gl.onnx.export(model.eval(), inputs, path, **options)
    return path


class Sentence(nn.Module):
    """Words to classes, by a recurrent layer and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.forwards = nn.LSTM(8, 6, bidirectional=True, batch_first=True)
        self.attend = nn.MultiheadAttention(12, 3, batch_first=True)
        self.head = nn.Linear(12, 2)

    def forward(self, x: Any) -> Any:
        h, _ = self.forwards(self.words(x))
        return self.head(self.attend(h, h, h, need_weights=False)[0].mean(1))


MODELS: dict[str, tuple[Any, Any]] = {
    "resnet": (lambda: gl.vision.models.resnet18(num_classes=5), lambda: gl.randn(2, 3, 64, 64)),
    "mobilenet": (lambda: gl.vision.models.mobilenet_v3_small(num_classes=5), lambda: gl.randn(1, 3, 64, 64)),
    "sentence": (Sentence, lambda: gl.randint(0, 20, (3, 7))),
    "encoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2),
        lambda: gl.randn(2, 5, 16),
    ),
    "upwards": (
        lambda: nn.Sequential(
            nn.ConvTranspose2d(3, 4, 3, 2, 1, 1),
            nn.GroupNorm(2, 4),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.GELU(),
        ),
        lambda: gl.randn(2, 3, 6, 7),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_written_is_read(name: str, tmp_path: Path) -> None:
    make, inputs = MODELS[name]
    model, x = make(), inputs()
    path = written(model, x, tmp_path / "model.onnx")
    read = load(path).eval()
    np.testing.assert_allclose(read(x).detach().numpy(), model(x).detach().numpy(), rtol=1e-3, atol=1e-4)
    runtime = onnxruntime.InferenceSession(path)
    (expected,) = runtime.run(None, {runtime.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(read(x).detach().numpy(), expected, rtol=1e-3, atol=1e-4)


def test_gradients_and_training(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    x = gl.randn(32, 4)
    y = x[:, :1] - x[:, 1:2]
    read = load(written(model, x, tmp_path / "m.onnx"))
    assert len(list(read.parameters())) == 4
    nn.functional.mse_loss(read(x), y).backward()
    nn.functional.mse_loss(model(x), y).backward()
    ours = sorted(p.grad.abs().sum().item() for p in read.parameters())
    np.testing.assert_allclose(ours, sorted(p.grad.abs().sum().item() for p in model.parameters()), rtol=1e-4)
    optimizer = gl.optim.Adam(read.parameters(), lr=0.05)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(read(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    again = load(tmp_path / "m.onnx")
    again.load_state_dict(read.state_dict())
    np.testing.assert_array_equal(again(x).detach().numpy(), read(x).detach().numpy())


def test_what_is_read_is_written_again(tmp_path: Path) -> None:
    model, x = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)), gl.randn(2, 1, 6, 6)
    read = load(written(model, x, tmp_path / "a.onnx"))
    twice = load(written(read, x, tmp_path / "b.onnx"))
    np.testing.assert_allclose(twice(x).detach().numpy(), model(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_open_axes(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    path = written(model, gl.randn(2, 4), tmp_path / "m.onnx", input_names=["x"], dynamic_axes={"x": {0: "n"}})
    read = load(path)
    for n in (1, 2, 9):
        x = gl.randn(n, 4)
        np.testing.assert_allclose(read(x=x).detach().numpy(), model(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def small(
    nodes: list[Any], inputs: dict[str, Any], outputs: list[str], weights: dict[str, np.ndarray] | None = None
) -> Any:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(n, F32, s) for n, s in inputs.items()],
        [helper.make_empty_tensor_value_info(n) for n in outputs],
        [onnx.numpy_helper.from_array(v, n) for n, v in (weights or {}).items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def test_shapes_are_computed_without_a_look() -> None:
    """Reshaping by the input's own sizes leaves the model one program."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axis"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["to"], axis=0),
        helper.make_node("Mul", ["x", "x"], ["sq"]),
        helper.make_node("Reshape", ["sq", "to"], ["y"]),
    ]
    model = load(small(nodes, {"x": ["n", 2, 3]}, ["y"], {
        "zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1]),
    }))  # fmt: skip
    x = gl.randn(4, 2, 3)
    x.numpy()
    before = gl.tape.TAPE.rounds
    y = model(x)
    assert gl.tape.TAPE.rounds == before
    assert tuple(y.shape) == (4, 6)


def test_functions_of_the_model_and_branches() -> None:
    double = helper.make_function(
        "mine", "Scaled", ["v"], ["w"], [
            helper.make_node("Constant", [], ["c"], value_float=2.0),
            helper.make_node("Mul", ["v", "c"], ["w"]),
        ], [helper.make_opsetid("", 20)],
    )  # fmt: skip
    branches = {
        name: helper.make_graph(
            [helper.make_node(op, ["z"], ["r"])], name, [], [helper.make_empty_tensor_value_info("r")]
        )
        for name, op in (("then_branch", "Neg"), ("else_branch", "Exp"))
    }
    nodes = [
        helper.make_node("Scaled", ["x"], ["z"], domain="mine"),
        helper.make_node("ReduceSum", ["z"], ["total"], keepdims=0),
        helper.make_node("Constant", [], ["none"], value_float=0.0),
        helper.make_node("Greater", ["total", "none"], ["up"]),
        helper.make_node("If", ["up"], ["y"], **branches),
    ]
    model = small(nodes, {"x": [3]}, ["y"])
    model.functions.append(double)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    read = load(model)
    assert read(gl.tensor([1.0, 2.0, 3.0])).tolist() == [-2.0, -4.0, -6.0]
    np.testing.assert_allclose(read(gl.tensor([-1.0, 0.0, 0.0])).numpy(), np.exp([-2.0, 0.0, 0.0]), rtol=1e-6)


def test_weights_beside_the_file(tmp_path: Path) -> None:
    w = np.arange(600, dtype=np.float32).reshape(20, 30)
    model = small([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 20]}, ["y"], {"w": w})
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    x = np.ones((1, 20), np.float32)
    np.testing.assert_allclose(load(tmp_path / "m.onnx")(x).detach().numpy(), x @ w)
    outside = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    (tmp_path / "inner").mkdir()
    for place in ("../w.bin", str(tmp_path / "w.bin")):
        outside.graph.initializer[0].external_data[0].value = place
        (tmp_path / "inner" / "m.onnx").write_bytes(outside.SerializeToString())
        with pytest.raises(OnnxImportError, match="not in the folder"):
            load(tmp_path / "inner" / "m.onnx")
    (tmp_path / "w.bin").write_bytes(b"short")
    with pytest.raises(OnnxImportError, match="ends within w"):
        load(tmp_path / "m.onnx")
    (tmp_path / "w.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"w\.bin"):
        load(tmp_path / "m.onnx")


def test_files_that_are_none(tmp_path: Path) -> None:
    whole = small([helper.make_node("Relu", ["x"], ["y"])], {"x": [2]}, ["y"]).SerializeToString()
    for data in (b"", b"no model at all", whole[: len(whole) // 2]):
        with pytest.raises(OnnxImportError, match="load: the model"):
            load(data)
    with pytest.raises(OnnxImportError, match="got int"):
        load(3)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.onnx")


def test_bad_inputs() -> None:
    read = load(small([helper.make_node("Add", ["a", "b"], ["y"])], {"a": [2, "n"], "b": [2, "n"]}, ["y"]))
    a = gl.ones(2, 3)
    cases: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        ((a,), {}, "input 'b' is missing"),
        ((a, a, a), {}, "takes 2 inputs"),
        ((a, a), {"c": a}, "none of its inputs: a, b"),
        ((a, a), {"b": a}, "twice"),
        ((a, gl.ones(3, 3)), {}, r"shape \(3, 3\), the model takes \(2, n\)"),
        ((a, gl.ones(2)), {}, r"shape \(2,\)"),
        ((a, a.double()), {}, "is float64, the model takes float32"),
    ]
    for given, named, message in cases:
        with pytest.raises(ArgumentError, match=message):
            read(*given, **named)


def test_what_is_not_known_is_named() -> None:
    node = helper.make_node("Wobble", ["x"], ["y"], name="here", domain="elsewhere")
    model = small([node], {"x": [2]}, ["y"])
    model.opset_import.append(helper.make_opsetid("elsewhere", 3))
    with pytest.raises(OnnxImportError, match=r"elsewhere\.Wobble 'here' of operator set 3 is not known"):
        load(model)(gl.ones(2))
    late = small([helper.make_node("Relu", ["z"], ["y"]), helper.make_node("Abs", ["x"], ["z"])], {"x": [2]}, ["y"])
    with pytest.raises(OnnxImportError, match="reads 'z', which nothing before it makes"):
        load(late)(gl.ones(2))
