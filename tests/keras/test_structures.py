"""Models whose inputs and outputs are structures: losses for parts of them, missing answers, optional inputs."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import pytest

from gradloom import keras
from gradloom.keras import layers, ops
from gradloom.keras.models.compiled_loss import CompiledLoss

RNG = np.random.default_rng(5)
X = RNG.normal(size=(10, 3)).astype(np.float32)
A, B, C = (RNG.normal(size=(10, 1)).astype(np.float32) for _ in range(3))


class Pair(NamedTuple):
    one: object
    two: object


def dense(x, name):
    return layers.Dense(1, name=name)(x)


def model_of(make):
    x = keras.Input((3,), name="x")
    return keras.Model(x, make(x))


def total(y_true, y_pred):
    """The mean distance over all outputs in a structure."""
    flat = zip(keras.tree.flatten(y_true), keras.tree.flatten(y_pred))
    return sum(ops.mean(ops.absolute(a - b)) for a, b in flat)


def distances(model, truths):
    found = keras.tree.flatten(model.predict(X, verbose=0))
    return [np.abs(a - b).mean() for a, b in zip(found, truths)]


STRUCTURES = {
    # outputs, loss, answers, name of each loss in the logs and the outputs that it is for
    "a function of all beside one for each": (
        lambda x: (dense(x, "a"), dense(x, "b")),
        [total, (total, total)],
        (A, B),
        {"a_b": (0, 1), "a": (0,), "b": (1,)},
    ),
    "a named tuple": (
        lambda x: Pair(dense(x, "a"), dense(x, "b")),
        [total, Pair(total, total)],
        Pair(A, B),
        {"a_b": (0, 1), "a": (0,), "b": (1,)},
    ),
    "dictionaries within dictionaries": (
        lambda x: {"p": {"u": dense(x, "a"), "v": dense(x, "b")}, "q": dense(x, "c")},
        {"p": {"u": "mae", "v": "mae"}, "q": "mae"},
        {"p": {"u": A, "v": B}, "q": C},
        {"p/u": (0,), "p/v": (1,), "q": (2,)},
    ),
    "a function for a part": (
        lambda x: {"p": [dense(x, "a"), dense(x, "b")], "q": dense(x, "c")},
        {"p": total, "q": "mae"},
        {"p": [A, B], "q": C},
        {"p": (0, 1), "q": (2,)},
    ),
    "one for the leaves of a part": (
        lambda x: {"p": [dense(x, "a"), dense(x, "b")], "q": dense(x, "c")},
        {"p": "mae", "q": "mae"},
        {"p": [A, B], "q": C},
        {"p/a": (0,), "p/b": (1,), "q": (2,)},
    ),
    "an output without a loss": (
        lambda x: [dense(x, "a"), dense(x, "b"), dense(x, "c")],
        ["mae", None, "mae"],
        [A, C],
        {"a": (0,), "c": (2,)},
    ),
    "several for one output": (
        lambda x: [dense(x, "a"), dense(x, "b")],
        ["mae", ["mae", total]],
        [A, B],
        {"a": (0,), "b": (1, 1)},
    ),
}


@pytest.mark.parametrize("case", STRUCTURES)
def test_losses_go_with_the_structure_of_the_outputs(case):
    make, loss, y, parts = STRUCTURES[case]
    model = model_of(make)
    model.compile("sgd", loss=loss)
    found = model.evaluate(X, y, batch_size=4, verbose=0, return_dict=True)
    outputs = len(model.outputs)
    truths = keras.tree.flatten(y)
    if len(truths) < outputs:
        truths = [truths[0], np.zeros((10, 1), np.float32), truths[1]]
    each = distances(model, truths)
    expected = {f"{name}_loss": sum(each[k] for k in places) for name, places in parts.items()}
    assert set(found) == {*expected, "loss"}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5), name
    assert found["loss"] == pytest.approx(sum(expected.values()), rel=1e-5)
    before = found["loss"]
    assert set(model.fit(X, y, epochs=15, verbose=0).history) == set(found)
    assert model.evaluate(X, y, verbose=0, return_dict=True)["loss"] < before


def test_factors_have_the_structure_of_the_losses_or_its_leaves():
    for weights in ({"p": {"u": 2.0, "v": 0.5}, "q": 0.0}, [2.0, 0.5, 0.0]):
        make, loss, y, _ = STRUCTURES["dictionaries within dictionaries"]
        model = model_of(make)
        model.compile("sgd", loss=loss, loss_weights=weights)
        found = model.evaluate(X, y, verbose=0, return_dict=True)
        assert found["loss"] == pytest.approx(2.0 * found["p/u_loss"] + 0.5 * found["p/v_loss"], rel=1e-5)


def test_weights_of_samples_go_with_parts():
    make, loss, y, _ = STRUCTURES["dictionaries within dictionaries"]
    model = model_of(make)
    model.compile("sgd", loss=loss)
    w = np.arange(10, dtype=np.float32)
    found = model.evaluate(X, y, sample_weight={"p": {"u": w, "v": w * 0}, "q": w * 0 + 1}, verbose=0, return_dict=True)
    assert found["p/v_loss"] == 0.0
    u = model.predict(X, verbose=0)["p"]["u"]
    assert found["p/u_loss"] == pytest.approx((np.abs(u - A)[:, 0] * w).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("outputs", "truth", "kind"),
    [
        ((8, 1), (8, 1), "BinaryCrossentropy"),
        ((8, 3), (8,), "SparseCategoricalCrossentropy"),
        ((8, 3), (8, 1), "SparseCategoricalCrossentropy"),
        ((8, 3), (8, 3), "CategoricalCrossentropy"),
    ],
)
def test_crossentropy_is_chosen_by_shapes(outputs, truth, kind):
    found = CompiledLoss("crossentropy", None, keras.KerasTensor(outputs), ["y"], [truth])
    assert type(found.single).__name__ == kind


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        ({"p": "mae", "r": "mae"}, KeyError, "can't be found in the model's output"),
        ({"p": {"u": "mae"}, "q": {"w": "mae"}}, KeyError, "at q can't be found"),
    ],
)
def test_losses_of_other_structures_are_refused(loss, error, message):
    make, _, y, _ = STRUCTURES["dictionaries within dictionaries"]
    model = model_of(make)
    model.compile("sgd", loss=loss)
    with pytest.raises(error, match=message):
        model.fit(X, y, verbose=0)


def test_answers_of_another_number_are_refused():
    model = model_of(lambda x: [dense(x, "a"), dense(x, "b"), dense(x, "c")])
    model.compile("sgd", loss=["mae", "mae", None])
    with pytest.raises(ValueError, match="different structures"):
        model.fit(X, A, verbose=0)


class Shift(layers.Layer):
    """x, plus what may be left out."""

    def call(self, x, by=None):
        return x if by is None else x + by

    def compute_output_shape(self, x_shape, by_shape=None):
        return x_shape


def shifted(optional=True):
    x, by = keras.Input((2,), name="x"), keras.Input((2,), name="by", optional=optional)
    return keras.Model({"x": x, "by": by}, layers.Dense(1, kernel_initializer="ones")(Shift()(x, by)))


@pytest.mark.parametrize("by", [None, np.full((6, 2), 2.0, np.float32)])
def test_inputs_that_may_be_none(by):
    x, y = np.ones((6, 2), np.float32), np.ones((6, 1), np.float32)
    model = shifted()
    expected = 2.0 if by is None else 6.0
    np.testing.assert_allclose(model.predict({"x": x, "by": by}, verbose=0), np.full((6, 1), expected))
    model.compile("sgd", loss="mae")
    assert model.evaluate({"x": x, "by": by}, y, verbose=0) == pytest.approx(expected - 1)
    model.fit({"x": x, "by": by}, y, batch_size=4, validation_split=0.5, verbose=0)
    model.fit((({"x": x, "by": by}, y) for _ in range(2)), verbose=0)
    assert model.train_on_batch({"x": x, "by": by}, y) < expected - 1


def test_none_for_an_input_that_is_needed_is_refused():
    model = shifted(optional=False)
    with pytest.raises(ValueError, match="'by' is None, and it is not optional"):
        model({"x": np.ones((2, 2)), "by": None})
    model.compile("sgd", loss="mae")
    with pytest.raises(ValueError, match="not optional"):
        model.fit({"x": np.ones((2, 2)), "by": None}, np.ones((2, 1)), verbose=0)


def test_a_list_for_a_dictionary_of_inputs():
    first, second = keras.Input((2,)), keras.Input((2,))
    sorted_keys = keras.Model({"a": first, "b": second}, layers.Subtract()([first, second]))
    x = [np.ones((1, 2), np.float32), np.zeros((1, 2), np.float32)]
    with pytest.warns(UserWarning, match="structure of `inputs` doesn't match"):
        assert sorted_keys(x).numpy().tolist() == [[1.0, 1.0]]
    other = keras.Model({"b": first, "a": second}, layers.Subtract()([first, second]))
    with pytest.raises(ValueError, match="structure of `inputs` doesn't match"):
        other(x)
    with pytest.warns(UserWarning, match="structure of `inputs`"):
        sorted_keys({"a": x[0], "b": x[1], "c": x[0]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sorted_keys({"b": x[1], "a": x[0]})


def test_inputs_are_converted_to_the_dtype_of_the_input():
    half, whole = keras.Input((2,), dtype="float16"), keras.Input((2,), dtype="int32")
    model = keras.Model((half, whole), (half + 2, whole + 2))
    a, b = model((np.ones((3, 2)), np.ones((3, 2))))
    assert (a.dtype.name, b.dtype.name) == ("float16", "int32")


def test_structures_outlive_configurations():
    for kind in (list, tuple):
        model = model_of(lambda x, kind=kind: kind([dense(x, "a")]))
        again = keras.Model.from_config(model.get_config())
        assert type(again(X)) is kind and len(again(X)) == 1


def test_epochs_of_a_number_of_steps_go_on_where_the_last_ended():
    seen = []

    class Notes(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen[-1].append(batch)

        def on_epoch_begin(self, epoch, logs=None):
            seen.append([])

    model = model_of(lambda x: dense(x, "a"))
    model.compile("sgd", loss="mse")
    with pytest.warns(UserWarning, match="ran out of data"):
        model.fit(X, A, batch_size=2, steps_per_epoch=2, epochs=4, verbose=0, callbacks=[Notes()])
    assert seen == [[0, 1], [0, 1], [0], [0, 1]]  # five batches make two epochs and a half


def test_every_sample_is_seen_once_in_a_pass_of_several_epochs():
    seen = []

    class Watched(keras.Model):
        def train_step(self, data):
            seen.append(data[0].numpy()[:, 0].copy())
            return {"loss": 0.0}

    inputs = keras.Input((1,))
    model = Watched(inputs, layers.Dense(1)(inputs))
    model.compile("sgd", loss="mse")
    x = np.arange(12, dtype=np.float32)[:, None]
    model.fit(x, x, batch_size=3, steps_per_epoch=2, epochs=4, verbose=0)
    first, second = np.concatenate(seen[:4]), np.concatenate(seen[4:])
    assert sorted(first) == sorted(second) == list(range(12)) and not np.array_equal(first, second)
