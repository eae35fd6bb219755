"""`utils.FeatureSpace`: columns of every kind, crossed and joined, as arrays and in models, and kept in files."""

from __future__ import annotations

import numpy as np
import pytest

from gradloom import keras
from gradloom.keras.utils import FeatureSpace

DATA = {
    "age": np.array([20.0, 30, 40, 50], np.float32),
    "height": np.array([1.5, 1.6, 1.8, 1.9], np.float32),
    "weight": np.array([50.0, 60, 70, 80], np.float32),
    "city": np.array(["ulm", "bonn", "ulm", "kiel"]),
    "code": np.array([3, 5, 3, 7]),
    "zip": np.array([89, 53, 89, 24]),
}
KINDS = {
    "age": "float", "height": "float_normalized", "weight": FeatureSpace.float_rescaled(0.1, -1.0),
    "city": "string_categorical", "code": FeatureSpace.integer_categorical(num_oov_indices=1),
    "zip": FeatureSpace.integer_hashed(4),
}  # fmt: skip


def made(**more):
    space = FeatureSpace(dict(KINDS), crosses=[("city", "code")], crossing_dim=8, **more)
    space.adapt(DATA)
    return space


def test_columns_side_by_side():
    space = made()
    y = space(DATA).numpy()
    # age 1, city 3 + unknown, code 3 + unknown, height 1, weight 1, zip 4, cross 8
    assert y.shape == (4, 1 + 4 + 4 + 1 + 1 + 4 + 8)
    np.testing.assert_allclose(y[:, 0], DATA["age"])
    np.testing.assert_allclose(y[:, 1:5].sum(1), 1)
    np.testing.assert_array_equal(y[0, 1:5], y[2, 1:5])
    h = DATA["height"]
    np.testing.assert_allclose(y[:, 9], (h - h.mean()) / h.std(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(y[:, 10], DATA["weight"] * 0.1 - 1.0, rtol=1e-5)
    np.testing.assert_allclose(y[:, -8:].sum(1), 1)
    one = space({k: v[1] for k, v in DATA.items()}).numpy()
    np.testing.assert_allclose(one, y[1], rtol=1e-6)


def test_as_a_dictionary():
    kinds = {**KINDS, "age": FeatureSpace.float_discretized(2, output_mode="int")}
    space = FeatureSpace(kinds, output_mode="dict", crosses=[FeatureSpace.cross(("city", "code"), 8, "int")])
    space.adapt([{k: v[:2] for k, v in DATA.items()}, {k: v[2:] for k, v in DATA.items()}])
    found = space(DATA)
    assert set(found) == {*DATA, "city_X_code"} and found["city_X_code"].shape == (4, 1)
    assert found["age"].numpy().ravel().tolist() == [0, 0, 1, 1]


def test_in_a_model_and_in_files(tmp_path):
    space = made()
    outputs = keras.layers.Dense(1)(space.get_encoded_features())
    model = keras.Model(space.get_inputs(), outputs)
    assert model.output_shape == (None, 1)
    model.compile("sgd", "mse")
    head = keras.Sequential([keras.Input((23,)), keras.layers.Dense(1)])
    head.compile("sgd", "mse")
    head.fit(space(DATA).numpy(), np.zeros((4, 1)), epochs=1, verbose=0)
    space.save(tmp_path / "space.keras")
    again = keras.saving.load_model(tmp_path / "space.keras")
    np.testing.assert_allclose(again(DATA).numpy(), space(DATA).numpy(), rtol=1e-6)


def test_what_is_refused():
    for make, text in (
        (lambda: FeatureSpace({}), "empty"),
        (lambda: FeatureSpace({"a": "floats"}), "Invalid feature type"),
        (lambda: FeatureSpace({"a": "float"}, output_mode="list"), "output_mode"),
        (lambda: FeatureSpace({"a": "integer_hashed"}, crosses=[("a", "b")]), "unknown features"),
        (lambda: FeatureSpace({"a": "float_normalized"})({"a": np.ones(2)}), "adapt"),
        (lambda: FeatureSpace({"a": "float"})(np.ones(2)), "dict"),
        (lambda: FeatureSpace({"a": "float"})({"b": np.ones(2)}), "missing"),
        (lambda: FeatureSpace({"a": "float"}).adapt(np.ones(2)), "adapt"),
        (lambda: FeatureSpace({"a": FeatureSpace.integer_hashed(3, output_mode="int")})({"a": [1, 2]}), "concatenate"),
    ):
        with pytest.raises(ValueError, match=text):
            make()
