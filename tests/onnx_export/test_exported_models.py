"""Models exported with open sizes, and run by ONNX Runtime at sizes that they were not recorded at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from exporting import kinds, normal, same, tensors, whole

import gradloom as gl
from gradloom import nn
from gradloom.onnx import export
from gradloom.text.models.bert import BertConfig, BertForSequenceClassification
from gradloom.text.models.gpt2 import GPT2Config, GPT2LMHeadModel
from gradloom.train.ensembles import Ensemble
from gradloom.vision import models
from gradloom.vision.models.unet import UNet


class Case(NamedTuple):
    """A model; its arguments by batch and length; the open axes of its inputs; operators that it must have."""

    make: Callable[[], nn.Module]
    args: Callable[[int, int], tuple]
    axes: tuple = ({0: "batch"},)
    has: str = ""
    lengths: tuple[int, int] = (6, 9)


class Classifier(nn.Module):
    """Words, a recurrent layer, and its last state."""

    def __init__(self, kind: type[nn.Module], **options: Any) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8)
        self.layer = kind(8, 6, batch_first=True, **options)
        self.out = nn.Linear(6 * (2 if options.get("bidirectional") else 1), 3)

    def forward(self, words: gl.Tensor) -> gl.Tensor:
        found, _ = self.layer(self.table(words))
        return self.out(found[:, -1])


class Steps(nn.Module):
    """A recurrence written step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Linear(7, 4)

    def forward(self, x: gl.Tensor) -> tuple[gl.Tensor, gl.Tensor]:
        def step(h: gl.Tensor, row: gl.Tensor) -> tuple[gl.Tensor, gl.Tensor]:
            h = gl.tanh(self.cell(gl.cat([h, row], -1)))
            return h, h * 2

        return gl.control.scan(step, gl.zeros(x.shape[1], 4), x)


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Sigmoid(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(400, 10),
    )  # fmt: skip


def images(channels: int, size: int) -> Callable[[int, int], tuple]:
    return lambda batch, length: (normal(batch, channels, size, size),)


def words(batch: int, length: int) -> tuple:
    return (whole(20, batch, length),)


BOTH = ({0: "batch", 1: "length"},)
CASES = {
    "mlp": Case(
        lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), lambda b, n: (normal(b, 8),), has="Gemm"
    ),
    "lenet": Case(lenet, images(1, 28), has="Conv AveragePool Gemm"),
    "resnet18": Case(
        lambda: models.resnet18(num_classes=5), images(3, 32), has="Conv BatchNormalization MaxPool Relu"
    ),
    "mobilenet": Case(lambda: models.mobilenet_v2(num_classes=5), images(3, 32), has="Conv Clip"),
    "unet": Case(
        lambda: UNet(3, 2, width=4, depth=2), lambda b, n: (normal(b, 3, 4 * n, 16),),
        ({0: "batch", 2: "height"},), "Conv ConvTranspose Concat",
    ),
    "encoder layer": Case(
        lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), lambda b, n: (normal(b, n, 16),), BOTH,
        "MatMul Softmax LayerNormalization",
    ),
    "gpt": Case(
        lambda: GPT2LMHeadModel(GPT2Config(vocab_size=20, n_positions=64, n_embd=16, n_layer=2, n_head=2)), words, BOTH,
        "Gather Softmax",
    ),
    "bert": Case(
        lambda: BertForSequenceClassification(
            BertConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
                       max_position_embeddings=64)
        ),
        words, BOTH, "Gather Erf",
    ),
    "lstm": Case(lambda: Classifier(nn.LSTM, bidirectional=True, num_layers=2), words, BOTH, "LSTM"),
    "gru": Case(lambda: Classifier(nn.GRU), words, BOTH, "GRU"),
    "rnn": Case(lambda: Classifier(nn.RNN, nonlinearity="relu"), words, BOTH, "RNN"),
    "scan": Case(Steps, lambda b, n: (normal(n, b, 3),), ({0: "length", 1: "batch"},), "Scan"),
    "bag": Case(lambda: nn.EmbeddingBag(20, 4), words, BOTH, "Gather"),
    "ensemble": Case(
        lambda: Ensemble([nn.Linear(4, 3) for _ in range(3)], activation="softmax"), lambda b, n: (normal(b, 4),),
        has="Softmax",
    ),
    "resized": Case(
        lambda: nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(3, 4, 3, padding="same", padding_mode="reflect"),
            nn.Upsample(scale_factor=2), nn.GroupNorm(2, 4), nn.PixelShuffle(2), nn.AdaptiveAvgPool2d(2),
        ),
        images(3, 8),
    ),
    "attended": Case(
        lambda: nn.MultiheadAttention(16, 4, batch_first=True),
        lambda b, n: (normal(b, 3, 16), normal(b, n, 16), normal(b, n, 16), whole(2, b, n).astype(bool) & False),
        ({0: "batch"}, BOTH[0], BOTH[0], BOTH[0]),
    ),
}  # fmt: skip

LARGE = ("resnet18", "mobilenet", "unet")


@pytest.mark.parametrize("name", CASES)
def test_a_model_with_open_sizes(name: str) -> None:
    case = CASES[name]
    gl.manual_seed(0)
    model = case.make()
    first, other = (case.args(b, n) for b, n in zip((2, 3), case.lengths))
    program = export(model, tensors(first), dynamic_shapes=case.axes, verify=name not in LARGE)
    assert model.training
    model.eval()
    assert set(case.has.split()) <= set(kinds(program))
    if name in LARGE:  # one size is enough: it is the one at which axes broadcast
        same(program, model, case.args(1, case.lengths[0]))
        return
    same(program, model, other)
    if len(case.axes) == 1:
        same(program, model, case.args(1, case.lengths[0]))


def test_what_is_in_the_file(tmp_path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    path = tmp_path / "model.onnx"
    x = gl.from_numpy(normal(2, 3, 4, 4))
    program = export(model, x, path, input_names=["image"], output_names=["scores"], dynamic_axes={"image": {0: "n"}})
    graph = program.model_proto.graph
    assert path.read_bytes() == program.model_proto.SerializeToString()
    arrays = {i.name: i for i in graph.initializer}
    assert set(model.state_dict()) - {"1.num_batches_tracked"} <= set(arrays)
    assert [(i.name, i.type.tensor_type.shape.dim[0].dim_param) for i in (*graph.input, *graph.output)] == [
        ("image", "n"), ("scores", "n")
    ]  # fmt: skip
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [0, 3, 4, 4]
    assert kinds(program) == ["Conv", "BatchNormalization", "Reshape", "Gemm"]
    assert graph.node[0].name == "/0/Conv"
    with gl.no_grad():
        np.testing.assert_allclose(program(x)[0], model.eval()(x).numpy(), 1e-4, 1e-5)
