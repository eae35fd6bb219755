"""Each layer of the table: outputs and gradients as Keras', configuration, shapes, dtypes, files, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layer_table import REFUSED, TABLE, cotangent_of, inputs_of, weights_of

from gradloom import keras
from gradloom.autodiff import grad
from gradloom.keras import layers
from gradloom.tensor import tensor

FIGURES = np.load(Path(__file__).with_name("figures.npz"))
NAMES = [row[0] for row in TABLE]
ROWS = {row[0]: row[1:] for row in TABLE}


def made(name):
    cls, options, shapes = ROWS[name]
    layer, xs = getattr(layers, cls)(**options), inputs_of(name, shapes)
    layer(xs if len(xs) > 1 else xs[0])
    layer.set_weights(weights_of(name, layer.get_weights()))
    return layer, xs


@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_gradients_are_those_of_keras(name):
    layer, xs = made(name)
    ts = [tensor(x, requires_grad=True) for x in xs]
    y = layer(ts if len(ts) > 1 else ts[0])
    want = FIGURES[f"{name}/y"]
    loss = (y * tensor(cotangent_of(name, want.shape))).sum()
    trained = layer.trainable_weights
    got = grad(loss, [*ts, *trained], allow_unused=True)
    np.testing.assert_allclose(y.detach().numpy(), want, rtol=2e-4, atol=2e-5)
    keys = [f"{name}/x{k}" for k in range(len(ts))] + [f"{name}/w{k}" for k in range(len(trained))]
    for key, g in zip(keys, got):
        if g is None:
            assert not FIGURES[key].any(), key
        else:
            np.testing.assert_allclose(g.numpy(), FIGURES[key], rtol=5e-4, atol=5e-5, err_msg=key)


@pytest.mark.parametrize("name", NAMES)
def test_configuration_shape_and_symbolic_call(name):
    cls, options, shapes = ROWS[name]
    layer = getattr(layers, cls)(**options)
    config = layer.get_config()
    again = type(layer).from_config(config)
    assert again.get_config() == config and again.name == layer.name
    read = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(read) is type(layer) and read.get_config()["name"] == layer.name
    want = FIGURES[f"{name}/y"].shape
    ins = [keras.Input(batch_shape=(None, *s[1:])) for s in shapes]
    out = layer(ins if len(ins) > 1 else ins[0])
    assert out.shape == (None, *want[1:]) and out.dtype == "float32"
    given = [(None, *s[1:]) for s in shapes]
    assert layer.compute_output_shape(given if len(given) > 1 else given[0]) == (None, *want[1:])


@pytest.mark.parametrize("name", ["dense", "conv2d", "batch_norm", "layer_norm", "depthwise2d", "separable1d", "prelu"])
def test_mixed_precision_and_files(name, tmp_path):
    cls, options, shapes = ROWS[name]
    (x,) = inputs_of(name, shapes)
    mixed = getattr(layers, cls)(**options, dtype="mixed_bfloat16")
    y = mixed(x)
    assert y.dtype.name == "bfloat16" and all(w.dtype.name == "float32" for w in mixed.weights)
    layer, _ = made(name)
    model = keras.Sequential([keras.Input(shapes[0][1:]), layer])
    path = tmp_path / "model.keras"
    model.save(path)
    again = keras.saving.load_model(path)
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize(("cls", "options", "said"), REFUSED)
def test_refusals(cls, options, said):
    with pytest.raises((ValueError, TypeError), match=said):
        getattr(layers, cls)(**options)


def test_masks_go_through():
    x = np.array([[1, 2, 0], [3, 0, 0]])
    model = keras.Sequential([layers.Embedding(5, 4, mask_zero=True), layers.Dense(2), layers.GlobalAveragePooling1D()])
    y = model(x)
    assert y.shape == (2, 2)
    inner = model.layers[1](model.layers[0](x))
    assert inner._keras_mask.numpy().tolist() == [[True, True, False], [True, False, False]]
    np.testing.assert_allclose(y.numpy()[1], inner.numpy()[1, 0], rtol=1e-6)


def test_batch_normalization_moves_its_means_in_training_only():
    layer = layers.BatchNormalization(momentum=0.5)
    x = np.random.default_rng(0).normal(3, 2, size=(40, 3)).astype(np.float32)
    layer(x)
    assert layer.moving_mean.numpy().tolist() == [0, 0, 0]
    y = layer(x, training=True).detach().numpy()
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean.numpy(), x.mean(0) * 0.5, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.numpy(), 0.5 + x.var(0) * 0.5, rtol=1e-4)
    layer.trainable = False
    layer(x, training=True)
    np.testing.assert_allclose(layer.moving_mean.numpy(), x.mean(0) * 0.5, rtol=1e-5)
    assert layer.trainable_weights == [] and len(layer.non_trainable_weights) == 4
