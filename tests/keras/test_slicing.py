"""Models made of a part of another one: from tensors in its middle to others."""

from __future__ import annotations

import numpy as np
import pytest

from gradloom import keras
from gradloom.keras import layers

X = np.random.default_rng(5).normal(size=(6, 4)).astype(np.float32)


@pytest.fixture
def whole():
    x = keras.Input((3,))
    first = layers.Dense(4, activation="tanh", name="first")(x)
    left, right = layers.Dense(2, name="left")(first), layers.Dense(2, name="right")(first)
    return keras.Model(x, layers.Add(name="sum")([left, right]) * 2.0)


def part_of(whole):
    return keras.Model(whole.get_layer("first").output, whole.output)


def test_a_part_shares_its_layers(whole):
    part = part_of(whole)
    assert isinstance(part.layers[0], layers.InputLayer)
    assert [layer.name for layer in part.layers if layer.weights] == ["left", "right"]
    assert part.get_layer("left") is whole.get_layer("left")
    x = np.ones((2, 3), np.float32)
    inner = keras.Model(whole.input, whole.get_layer("first").output).predict(x, verbose=0)
    np.testing.assert_allclose(part.predict(inner, verbose=0), whole.predict(x, verbose=0), rtol=1e-6)


def test_a_part_is_saved_cloned_and_trained(whole, tmp_path):
    part = part_of(whole)
    expected = part.predict(X, verbose=0)
    part.save(tmp_path / "part.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "part.keras").predict(X, verbose=0), expected)
    clone = keras.models.clone_model(part)
    clone.set_weights(part.get_weights())
    np.testing.assert_array_equal(clone.predict(X, verbose=0), expected)
    part.compile("sgd", loss="mse")
    part.fit(X, np.zeros((6, 2), np.float32), verbose=0)
    assert np.abs(part.predict(X, verbose=0) - expected).max() > 0


def test_a_part_of_two_inputs(whole):
    left, right = whole.get_layer("left").output, whole.get_layer("right").output
    part = keras.Model([left, right], whole.output)
    a, b = X[:, :2], X[:, 2:]
    np.testing.assert_allclose(part.predict([a, b], verbose=0), (a + b) * 2, rtol=1e-6)
    again = keras.Model.from_config(part.get_config())
    np.testing.assert_allclose(again.predict([a, b], verbose=0), (a + b) * 2, rtol=1e-6)


def test_the_whole_is_as_before(whole):
    before = whole.get_config()
    part_of(whole)
    assert whole.get_config() == before


def test_layers_of_a_frozen_model_keep_their_own_trainable(whole):
    frozen = keras.Model(whole.input, whole.output, trainable=False)
    again = keras.Model.from_config(frozen.get_config())
    assert not again.trainable_weights and again.get_layer("left").trainable
    whole.trainable = False
    assert not keras.Model.from_config(whole.get_config() | {"trainable": True}).trainable_weights
