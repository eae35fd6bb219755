"""Layers called on values of their variables, states of seed generators, and what layers refuse when they are made."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import gradloom
from gradloom import keras
from gradloom.keras import layers
from gradloom.tensor import tensor

RNG = np.random.default_rng(5)
X = RNG.normal(size=(6, 3)).astype(np.float32)


def normed():
    """Dense(2) with a penalty, and a norm that keeps moments."""
    inputs = keras.Input((3,))
    x = layers.Dense(2, kernel_regularizer="l2", name="dense")(inputs)
    return keras.Model(inputs, layers.BatchNormalization(momentum=0.5, name="norm")(x))


def values(variables):
    return [v.numpy().copy() for v in variables]


def test_a_call_on_values_changes_nothing_and_gives_what_changed():
    model, other = normed(), normed()
    trained, kept = values(other.trainable_variables), values(other.non_trainable_variables)
    before = values(model.variables)
    outputs, after, losses = model.stateless_call(trained, kept, X, training=True, return_losses=True)
    want = other(X, training=True)
    np.testing.assert_array_equal(outputs.numpy(), want.numpy())
    for found, v in zip(after, other.non_trainable_variables):
        np.testing.assert_array_equal(found.numpy(), v.numpy())
    assert float(losses[0]) == pytest.approx(0.01 * float((trained[0] ** 2).sum()), rel=1e-5)
    for a, v in zip(before, model.variables):
        np.testing.assert_array_equal(a, v.numpy())
    plain, same = model.stateless_call(trained, after, X)
    assert plain.shape == (6, 2) and np.array_equal(same[0].numpy(), after[0].numpy())


def test_gradients_reach_the_values_of_a_call():
    layer = layers.Dense(2)
    layer.build((None, 3))
    kernel, bias = tensor(RNG.normal(size=(3, 2)).astype(np.float32), requires_grad=True), tensor(np.zeros(2, "f4"))
    outputs, _ = layer.stateless_call([kernel, bias], [], X)
    outputs.sum().backward()
    np.testing.assert_allclose(kernel.grad.numpy(), np.broadcast_to(X.sum(0)[:, None], (3, 2)), rtol=1e-5)
    assert isinstance(layer.kernel, keras.Variable)


def test_a_call_on_other_numbers_of_values_is_refused():
    layer = layers.Dense(2)
    with pytest.raises(ValueError, match="must be built"):
        layer.stateless_call([], [], X)
    layer.build((None, 3))
    with pytest.raises(ValueError, match="`trainable_variables` must have 2 values, 1 were given"):
        layer.stateless_call([np.zeros((3, 2))], [], X)
    with pytest.raises(ValueError, match="`non_trainable_variables` must have 0 values"):
        layer.stateless_call(values(layer.variables), [1], X)
    before = values(layer.variables)
    with pytest.raises(Exception, match="shape"):
        layer.stateless_call([np.zeros((4, 2)), np.ones(2)], [], X)
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(before, layer.variables))


# seed generators ------------------------------------------------------------------------------------------------------


def test_the_state_of_a_seed_generator_is_a_variable():
    seeds = keras.random.SeedGenerator(7)
    start = seeds.state.numpy().copy()
    first = keras.random.normal((3,), seed=seeds).numpy()
    assert not np.array_equal(seeds.state.numpy(), start) and seeds.state is seeds.state
    second = keras.random.normal((3,), seed=seeds).numpy()
    seeds.state.assign(start)
    np.testing.assert_array_equal(keras.random.normal((3,), seed=seeds).numpy(), first)
    np.testing.assert_array_equal(keras.random.normal((3,), seed=seeds).numpy(), second)
    assert seeds.state.path == f"{seeds.name}/seed_generator_state" and not seeds.state.trainable


@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_copies_of_seed_generators_and_variables_go_their_own_way(copied):
    seeds = keras.random.SeedGenerator(7)
    keras.random.normal((3,), seed=seeds)
    assert seeds.state.shape == (2,)
    again = copied(seeds)
    np.testing.assert_array_equal(again.state.numpy(), seeds.state.numpy())
    np.testing.assert_array_equal(
        keras.random.normal((3,), seed=again).numpy(), keras.random.normal((3,), seed=seeds).numpy()
    )
    keras.random.normal((3,), seed=again)
    assert not np.array_equal(again.state.numpy(), seeds.state.numpy())
    variable = keras.Variable(X, name="v", trainable=False)
    variable.regularizer = keras.regularizers.L2(0.5)
    other = copied(variable)
    other.assign(X * 2)
    np.testing.assert_array_equal(variable.numpy(), X)
    assert (other.name, other.path, other.trainable) == ("v", variable.path, False)
    assert float(other.regularizer(other)) == pytest.approx(2.0 * float((X**2).sum()), rel=1e-5)


# layers ---------------------------------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("test_on_values")
def doubled(x, by=2.0):
    return x * by


def test_a_function_layer_from_its_configuration():
    layer = layers.Lambda(doubled, output_shape=(3,), arguments={"by": 3.0})
    again = layers.Lambda.from_config(layer.get_config())
    np.testing.assert_array_equal(again(X).numpy(), X * 3)
    local = layers.Lambda(lambda x: x + 1)
    config = {"name": "local", "function": local.function}
    np.testing.assert_array_equal(layers.Lambda.from_config(config)(X).numpy(), X + 1)
    with pytest.raises(ValueError, match="safe_mode=True"):
        layers.Lambda.from_config(config, safe_mode=True)


def batches(array):
    """Batches of two, with answers."""
    return ((array[k : k + 2], None) for k in range(0, len(array), 2))


@pytest.mark.parametrize(("steps", "entries"), [(None, ["c", "b", "a"]), (1, ["b", "a"]), (0, [])])
def test_lookups_look_at_so_many_batches(steps, entries):
    words = np.array(["a", "b", "b", "c", "c", "c"])
    lookup, texts = layers.StringLookup(), layers.TextVectorization()
    lookup.adapt(batches(words), steps=steps)
    texts.adapt(batches(words), steps=steps)
    assert lookup.get_vocabulary() == ["[UNK]", *entries]
    assert texts.get_vocabulary() == ["", "[UNK]", *entries]


def test_bounds_are_found_in_so_many_batches():
    numbers = np.array([0.0, 10.0, 100.0, 200.0], np.float32)
    layer = layers.Discretization(num_bins=2)
    layer.adapt(batches(numbers), steps=1)
    assert layer.bin_boundaries == [5.0]
    layer.adapt(gradloom.tensor(numbers))
    assert layer.bin_boundaries == [55.0]


def test_a_dtype_policy_may_be_set():
    layer = layers.Dense(2)
    layer.dtype_policy = "mixed_float16"
    assert (layer.compute_dtype, layer.variable_dtype) == ("float16", "float32")
    assert layer(X).dtype.name == "float16" and layer.kernel.dtype.name == "float32"


def test_penalties_of_outputs_are_for_each_sample():
    layer = layers.Activation("linear", activity_regularizer=keras.regularizers.L2(0.5))
    layer(X)
    assert float(layer.losses[0]) == pytest.approx(0.5 * float((X**2).sum()) / 6, rel=1e-5)


def test_groups_are_normed_as_the_inputs_come():
    wide = (X.reshape(1, 3, 6) * 1e5).astype(np.float32)  # beyond what float16 holds
    layer = layers.GroupNormalization(2, dtype="mixed_float16")
    found = layer(wide)
    assert found.dtype.name == "float16"
    want = layers.GroupNormalization(2)(wide).numpy()
    np.testing.assert_allclose(found.numpy().astype(np.float32), want, atol=2e-3)


class Two(layers.Layer):
    """Takes two inputs; ``build`` is given below."""

    def call(self, a, b):
        return a + b


class OtherEnding(Two):
    def build(self, a_shape, b_size):
        self.sizes = a_shape, b_size


class OtherNames(Two):
    def build(self, a_shape, c_shape):
        self.sizes = a_shape, c_shape


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OtherEnding()(X, X), "does not end in `_shape`"),
        (lambda: OtherNames()(X, X), r"does not have argument `c`"),
        (lambda: layers.Dense(2, trainable="yes"), "to be a boolean"),
        (lambda: layers.Dense(2).add_weight("kernel"), "name.*keyword argument"),
    ],
)
def test_what_layers_refuse(make, message):
    with pytest.raises(ValueError, match=message):
        make()
