"""Layers that look at values, inside models: drawn, nested, trained, used for prediction."""

from __future__ import annotations

import numpy as np
import pytest

from gradloom import keras
from gradloom.keras import layers

NUMBERS = np.array([[3, 1], [9, 4], [5, 5]])
TEXTS = np.array([["a", "b"], ["c", "a"], ["x", "b"]], dtype=object)
KINDS = {
    "integers": (lambda: layers.IntegerLookup(vocabulary=[3, 4, 5]), NUMBERS, "int64"),
    "integers counted": (lambda: layers.IntegerLookup(vocabulary=[3, 4, 5], output_mode="count"), NUMBERS, "int64"),
    "texts": (lambda: layers.StringLookup(vocabulary=["a", "b"]), TEXTS, "string"),
    "hashes": (lambda: layers.Hashing(5), NUMBERS, "int64"),
    "hashes of texts": (lambda: layers.Hashing(5, output_mode="multi_hot"), TEXTS, "string"),
    "bins": (lambda: layers.Discretization([2.0, 4.0]), NUMBERS.astype("float32"), "float32"),
}


def model_of(kind):
    make, data, dtype = KINDS[kind]
    inputs = keras.Input((2,), dtype=dtype)
    coded = make()(inputs)
    x = coded if coded.dtype.startswith("float") else layers.Flatten()(layers.Embedding(8, 3)(coded))
    return keras.Model(inputs, layers.Dense(2)(x)), data


@pytest.mark.parametrize("kind", KINDS)
def test_models_with_lookups(kind):
    keras.utils.set_random_seed(1)
    model, data = model_of(kind)
    want = model(data).numpy()
    np.testing.assert_allclose(model.predict(data, verbose=0), want, rtol=1e-5)
    outer_input = keras.Input((2,), dtype=KINDS[kind][2])
    outer = keras.Model(outer_input, model(outer_input) * 2)
    np.testing.assert_allclose(outer.predict(data, verbose=0), 2 * want, rtol=1e-5)
    outer.compile(keras.optimizers.Adam(0.1), loss="mse")
    first = outer.evaluate(data, np.ones((3, 2)), verbose=0)
    outer.fit(data, np.ones((3, 2)), epochs=10, verbose=0)
    assert outer.evaluate(data, np.ones((3, 2)), verbose=0) < first


def test_crossed_columns_in_a_model():
    a, b = keras.Input((1,), dtype="int64"), keras.Input((1,), dtype="int64")
    crossed = layers.HashedCrossing(7, output_mode="one_hot")((a, b))
    model = keras.Model([a, b], layers.Dense(2)(crossed))
    columns = [NUMBERS[:, :1], NUMBERS[:, 1:]]
    np.testing.assert_allclose(model.predict(columns, verbose=0), model(columns).numpy(), rtol=1e-5)
