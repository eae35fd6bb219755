"""Models pickled and copied: the same outputs, and training goes on as the original's does."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from gradloom import keras
from gradloom.keras import layers
from gradloom.keras.saving import NotSerializableError

X = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)
Y = X[:, :1] * 2


@keras.saving.register_keras_serializable("test_pickling")
class Own(keras.Model):
    def __init__(self, units=4, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden, self.out = layers.Dense(units), layers.Dense(1)

    def call(self, x):
        return self.out(self.hidden(x))

    def get_config(self):
        return {"units": self.units}


def functional():
    x = keras.Input((3,))
    return keras.Model(x, layers.Dense(1)(layers.Dense(4, activation="relu")(x)))


MODELS = {
    "functional": functional,
    "sequential": lambda: keras.Sequential([layers.Input((3,)), layers.Dense(4, activation="relu"), layers.Dense(1)]),
    "subclassed": Own,
}
COPIES = {"pickle": lambda model: pickle.loads(pickle.dumps(model)), "deepcopy": copy.deepcopy}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("kind", MODELS)
def test_a_copy_goes_on_as_the_original(kind, how):
    model = MODELS[kind]()
    model.compile("adam", loss="mse", metrics=["mae"])
    model.fit(X, Y, verbose=0, batch_size=4)
    made = COPIES[how](model)
    assert type(made) is type(model)
    assert all(a is not b for a, b in zip(made.weights, model.weights))
    np.testing.assert_array_equal(made.predict(X, verbose=0), model.predict(X, verbose=0))
    for each in (made, model):
        each.fit(X, Y, verbose=0, batch_size=4, shuffle=False)
    np.testing.assert_array_equal(made.predict(X, verbose=0), model.predict(X, verbose=0))
    assert model.evaluate(X, Y, verbose=0) == made.evaluate(X, Y, verbose=0)


def test_what_cannot_be_written_cannot_be_pickled():
    model = keras.Sequential([layers.Input((3,)), layers.Lambda(lambda x: x + 1)])
    with pytest.raises(NotSerializableError, match="lambda"):
        pickle.dumps(model)
