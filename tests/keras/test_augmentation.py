"""Augmentation: nothing outside of training, the same with the same seed, and what each does at its limits."""

from __future__ import annotations

import numpy as np
import pytest

from gradloom import keras
from gradloom.keras import layers

X = np.random.default_rng(0).uniform(0, 255, (4, 9, 7, 3)).astype("float32")
LAYERS = {
    "RandomGrayscale": {"factor": 1.0},
    "RandomHue": {"factor": 0.5},
    "RandomSaturation": {"factor": (0.2, 0.9)},
    "RandomInvert": {},
    "RandomPosterization": {"factor": (2, 4)},
    "Solarization": {"addition_factor": 0.2, "threshold_factor": 0.5},
    "RandomColorDegeneration": {"factor": 0.7},
    "RandomSharpness": {"factor": 0.9},
    "RandomGaussianBlur": {"kernel_size": 5, "sigma": (1.0, 2.0)},
    "RandomErasing": {"fill_value": 0.0, "scale": (0.3, 0.5)},
    "RandomShear": {"x_factor": 0.4, "y_factor": 0.2},
    "RandomElasticTransform": {},
    "RandomPerspective": {},
}


@pytest.mark.parametrize("name", LAYERS)
def test_what_all_have_in_common(name):
    def made(**more):
        return getattr(layers, name)(**LAYERS[name], seed=3, **more)

    layer = made()
    np.testing.assert_array_equal(layer(X, training=False).numpy(), X)
    y = layer(X, training=True).numpy()
    assert y.shape == X.shape and np.isfinite(y).all() and not np.array_equal(y, X)
    np.testing.assert_array_equal(made()(X, training=True).numpy(), y)  # by the seed
    assert y.min() >= -1e-3 and y.max() <= 255.001
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert layer(keras.Input((9, 7, 3))).shape == (None, 9, 7, 3)
    assert layer(X[0], training=True).shape == X[0].shape
    if name != "Solarization":
        first = made(data_format="channels_first")(X.transpose(0, 3, 1, 2), training=True).numpy()
        np.testing.assert_allclose(first.transpose(0, 2, 3, 1), y, rtol=1e-4, atol=1e-2)


def test_each_at_its_limits():
    grey = layers.RandomGrayscale(1.0)(X, training=True).numpy()
    np.testing.assert_allclose(grey[..., 0], X @ np.array([0.2989, 0.587, 0.114], np.float32), rtol=1e-5)
    np.testing.assert_allclose(layers.RandomInvert((1.0, 1.0))(X, training=True).numpy(), 255 - X, rtol=1e-5)
    np.testing.assert_allclose(layers.RandomColorDegeneration((0.0, 0.0))(X, training=True).numpy(), X, rtol=1e-6)
    np.testing.assert_allclose(layers.RandomSaturation((0.5, 0.5))(X, training=True).numpy(), X, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(layers.RandomHue((0.0, 0.0))(X, training=True).numpy(), X, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(layers.RandomSharpness((0.5, 0.5))(X, training=True).numpy(), X, rtol=1e-6)
    levels = layers.RandomPosterization((2, 2))(X, training=True).numpy()
    assert set(np.unique(levels)) <= {0.0, 64.0, 128.0, 192.0}
    np.testing.assert_allclose(layers.Solarization()(X, training=True).numpy(), 255 - X, rtol=1e-5, atol=1e-4)
    stretched = layers.AutoContrast()(X).numpy()
    np.testing.assert_allclose(stretched.min((1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(stretched.max((1, 2)), 255, rtol=1e-5)
    flat = np.full((1, 4, 4, 3), 7.0, np.float32)
    np.testing.assert_array_equal(layers.AutoContrast()(flat).numpy(), flat)
    np.testing.assert_allclose(layers.RandomShear()(X, training=True).numpy(), X, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(layers.RandomErasing((0.0, 0.0))(X, training=True).numpy(), X)


def test_a_pipeline_is_its_layers():
    pipeline = layers.Pipeline([layers.Rescaling(1 / 255), layers.RandomInvert((1.0, 1.0), value_range=(0, 1))])
    np.testing.assert_allclose(pipeline(X, training=True).numpy(), 1 - X / 255, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(pipeline(X, training=False).numpy(), X / 255, rtol=1e-6)
    again = layers.Pipeline.from_config(pipeline.get_config())
    assert [type(a) for a in again.layers] == [layers.Rescaling, layers.RandomInvert]


@pytest.mark.parametrize(
    ("name", "options"),
    [("RandomGrayscale", {"factor": 2}), ("RandomHue", {"factor": -1}), ("RandomPosterization", {"factor": 9}),
     ("RandomErasing", {"scale": (0.5, 1.1)}), ("RandomShear", {"x_factor": 3.0})],
)  # fmt: skip
def test_what_is_refused(name, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        getattr(layers, name)(**options)
