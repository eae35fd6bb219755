"""What compile is told for several outputs, and what losses and metrics are called in the logs of fit."""

from __future__ import annotations

import numpy as np
import pytest

from gradloom import keras
from gradloom.keras import layers

RNG = np.random.default_rng(3)
X = RNG.normal(size=(12, 3)).astype(np.float32)
A = RNG.normal(size=(12, 1)).astype(np.float32)
B = RNG.integers(0, 2, size=(12, 1)).astype(np.float32)


def two_outputs(kind=list):
    x = keras.Input((3,))
    a, b = layers.Dense(1, name="a")(x), layers.Dense(1, activation="sigmoid", name="b")(x)
    return keras.Model(x, {"a": a, "b": b} if kind is dict else kind([a, b]))


LOSS = {"a": "mse", "b": "binary_crossentropy"}
CASES = {
    "a list": ({"loss": ["mse", "binary_crossentropy"]}, {"a_loss", "b_loss"}),
    "a loss alone in a list": ({"loss": ["mse", ["binary_crossentropy"]]}, {"a_loss", "b_loss"}),
    "in a dictionary": ({"loss": {"a": "mse", "b": ["binary_crossentropy"]}}, {"a_loss", "b_loss"}),
    "one output without": ({"loss": {"a": "mse", "b": None}}, set()),
    "metrics of one output": ({"loss": LOSS, "metrics": {"b": ["accuracy"]}}, {"a_loss", "b_loss", "b_accuracy"}),
    "weighted beside unweighted": (
        {"loss": LOSS, "metrics": {"a": ["mse"]}, "weighted_metrics": {"a": ["mse"], "b": ["accuracy"]}},
        {"a_loss", "b_loss", "a_mse", "a_weighted_mse", "b_accuracy"},
    ),
    "twice the same": ({"loss": LOSS, "metrics": {"a": ["mse", "mse"]}}, {"a_loss", "b_loss", "a_mse", "a_mse_1"}),
}


@pytest.mark.parametrize("kind", [list, tuple, dict])
@pytest.mark.parametrize("case", CASES)
def test_names_in_logs(case, kind):
    given, expected = CASES[case]
    model = two_outputs(kind)
    model.compile("sgd", **given)
    y = {"a": A, "b": B} if kind is dict else [A, B]
    history = model.fit(X, y, batch_size=4, verbose=0).history
    assert set(history) == expected | {"loss"}
    assert set(model.evaluate(X, y, verbose=0, return_dict=True)) == set(history)


def test_weights_count_in_the_metric_marked_as_weighted_alone():
    model = two_outputs()
    model.compile("sgd", loss=["mse", "mse"], metrics=[["mse"], []], weighted_metrics=[["mse"], []])
    weight = np.arange(12, dtype=np.float32)
    found = model.evaluate(X, [A, B], sample_weight=[weight, weight], verbose=0, return_dict=True)
    squares = (model.predict(X, verbose=0)[0] - A)[:, 0] ** 2
    assert found["a_mse"] == pytest.approx(squares.mean(), rel=1e-5)
    assert found["a_weighted_mse"] == pytest.approx((squares * weight).sum() / weight.sum(), rel=1e-5)


def test_a_metric_keeps_its_own_name():
    metric = keras.metrics.MeanSquaredError(name="err")
    model = two_outputs()
    model.compile("sgd", loss=["mse", "mse"], metrics=[[metric], []])
    assert "a_err" in model.evaluate(X, [A, B], verbose=0, return_dict=True)
    assert metric.name == "err"


@pytest.mark.parametrize("form", [lambda t: [t], lambda t: (t,), lambda t: {"out": t}], ids=["list", "tuple", "dict"])
def test_one_output_in_a_structure(form):
    x = keras.Input((3,))
    plain = keras.Model(x, layers.Dense(1, name="out")(x))
    model = keras.Model(x, form(plain.output))
    for each in (plain, model):
        each.compile("sgd", loss="mse", metrics=["mae"])
    expected = plain.evaluate(X, A, verbose=0, return_dict=True)
    found = model.evaluate(X, A, verbose=0, return_dict=True)
    assert {"loss", "mae"} == set(found) == set(expected)
    assert found["loss"] == pytest.approx(expected["loss"]) and found["mae"] == pytest.approx(expected["mae"])
    assert np.isfinite(model.fit(X, A, verbose=0).history["loss"]).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loss": {"a": "mse", "c": "mse"}}, r"Invalid `loss` dictionary: 'c'.*Expected keys \['a', 'b'\]"),
        ({"loss": "mse", "metrics": {"c": ["mse"]}}, "Invalid `metrics` dictionary: 'c'"),
        ({"loss": "mse", "weighted_metrics": {"c": ["mse"]}}, "Invalid `weighted_metrics` dictionary: 'c'"),
        ({"loss": "mse", "loss_weights": [1.0, 2.0, 3.0]}, "must match the number of losses"),
        ({"loss": {"a": "mse"}, "loss_weights": {"b": 1.0}}, "'b', which has no loss"),
    ],
)
def test_what_does_not_go_with_the_outputs_is_refused(given, message):
    model = two_outputs()
    model.compile("sgd", **given)
    with pytest.raises(ValueError, match=message):
        model.fit(X, [A, B], verbose=0)


def test_a_subclassed_model_with_named_outputs_takes_losses_by_name():
    class Two(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two = layers.Dense(1), layers.Dense(1)

        def call(self, x):
            return {"one": self.one(x), "two": self.two(x)}

    model = Two()
    model.compile("sgd", loss={"one": "mse", "two": "mae"}, metrics={"two": ["mse"]}, loss_weights={"one": 2.0})
    found = model.fit(X, {"one": A, "two": B}, verbose=0).history
    assert set(found) == {"loss", "one_loss", "two_loss", "two_mse"}
    assert found["loss"][0] == pytest.approx(2 * found["one_loss"][0] + found["two_loss"][0], rel=1e-5)


@pytest.mark.parametrize("own_step", [False, True])
def test_compute_loss_of_a_subclass_without_training(own_step):
    class Doubled(keras.Model):
        def __init__(self):
            super().__init__()
            self.one = layers.Dense(1)

        def call(self, x):
            return self.one(x)

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            return 2 * super().compute_loss(x, y, y_pred, sample_weight)

        if own_step:

            def test_step(self, data):
                return super().test_step(data)

    model = Doubled()
    model.compile("sgd", loss="mse", metrics=["mse"])
    model.fit(X, A, verbose=0)
    loss, mse = model.evaluate(X, A, verbose=0)
    assert loss == pytest.approx(2 * mse, rel=1e-5)


def test_a_dataset_without_end():
    class Endless(keras.utils.PyDataset):
        num_batches = None

        def __getitem__(self, index):
            return X, A

    model = keras.Sequential([layers.Input((3,)), layers.Dense(1)])
    model.compile("sgd", loss="mse")
    assert len(model.fit(Endless(), steps_per_epoch=3, epochs=2, verbose=0).history["loss"]) == 2
    assert model.predict(Endless(), steps=2, verbose=0).shape == (24, 1)
    with pytest.raises(TypeError, match="has no end"):
        len(Endless())
