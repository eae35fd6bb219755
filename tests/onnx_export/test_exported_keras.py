"""``Model.export``: models of the Keras face, their batch open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from exporting import normal, runtime, whole

from gradloom import keras
from gradloom.errors import ArgumentError, NotSupportedError
from gradloom.keras import layers


def two_ways() -> keras.Model:
    """Two inputs, two outputs."""
    picture, facts = keras.Input((8, 8, 3), name="picture"), keras.Input((4,), name="facts")
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(picture)
    x = layers.MaxPooling2D()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same")(layers.Dropout(0.2)(x))
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(layers.AveragePooling2D(3, 2, padding="same")(x))
    joined = layers.Concatenate()([x, layers.Dense(4, activation="gelu")(facts)])
    classes = layers.Dense(3, activation="softmax", name="classes")(joined)
    return keras.Model([picture, facts], [classes, layers.LayerNormalization(name="facts_out")(joined)])


def words() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"), layers.Embedding(20, 8, mask_zero=True),
            layers.Bidirectional(layers.LSTM(6, return_sequences=True)), layers.GRU(5), layers.Dense(2),
        ]
    )  # fmt: skip


def attentive() -> keras.Model:
    x = keras.Input((None, 8), name="x")
    y = layers.MultiHeadAttention(2, 4)(x, x)
    y = layers.GlobalMaxPooling1D()(layers.LayerNormalization()(layers.Add()([x, y])))
    return keras.Model(x, layers.Dense(2)(layers.Rescaling(0.5)(y)))


MODELS: dict[str, tuple[Callable[[], keras.Model], Callable[[int], list[np.ndarray]]]] = {
    "two inputs and outputs": (two_ways, lambda n: [normal(n, 8, 8, 3), normal(n, 4)]),
    "words": (words, lambda n: [whole(20, n, n + 3).astype(np.int32)]),
    "attention": (attentive, lambda n: [normal(n, n + 2, 8)]),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model(name: str, tmp_path) -> None:
    keras.utils.set_random_seed(1)
    make, inputs = MODELS[name]
    model = make()
    path = tmp_path / "model.onnx"
    assert model.export(path) is None
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == model.input_names
    assert all(i.shape[0] == "batch" for i in (*session.get_inputs(), *session.get_outputs()))
    for n in (1, 3, 5):
        given = inputs(n)
        found = session.run(None, dict(zip(model.input_names, given)))
        wanted = model(given if len(given) > 1 else given[0], training=False)
        for a, b in zip(wanted if isinstance(wanted, list) else [wanted], found, strict=True):
            np.testing.assert_allclose(b, a.numpy(), 1e-4, 1e-5)


class Own(keras.Model):
    """A subclass."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x: Any) -> Any:
        return self.dense(x)


def test_a_subclass_knows_its_inputs_by_a_call_or_is_told(tmp_path) -> None:
    model, path = Own(), tmp_path / "m.onnx"
    with pytest.raises(ArgumentError, match="does not know the shapes of its inputs"):
        model.export(path)
    model.export(path, input_signature=[keras.InputSpec(shape=(None, 3), dtype="float32")], opset_version=18)
    assert path.exists()
    path.unlink()
    model.export(path)
    assert runtime.InferenceSession(path).get_inputs()[0].shape == ["batch", 3]


def test_formats(tmp_path) -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    with pytest.raises(NotSupportedError, match=r"tf_saved_model(.|\n)*onnx"):
        model.export(tmp_path / "m", format="tf_saved_model")
    text = keras.Sequential([keras.Input((1,), dtype="string"), layers.TextVectorization(vocabulary=["a"])])
    with pytest.raises(NotSupportedError, match="an input of texts"):
        text.export(tmp_path / "m")
    assert not list(tmp_path.iterdir())
