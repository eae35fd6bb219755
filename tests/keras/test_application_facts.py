"""`keras.applications` beside Keras 3.15 (`application_facts.json`): names and shapes of weights, and outputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from application_table import NAMES, QUICK, RUN, facts, images, made, weights

from gradloom import keras

FACTS = json.loads(Path(__file__).with_name("application_facts.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_weights_are_those_of_keras(name):
    model = getattr(keras.applications, name)(weights=None)
    assert facts(model) == FACTS[name]["facts"]


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in RUN])
def test_outputs_are_those_of_keras(name):
    model = made(keras.applications, name)
    model.set_weights(weights(model))
    wanted = np.array(FACTS[name]["output"])
    found = model.predict(images(name), verbose=0)[0]
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-4 * np.abs(wanted).max())


def test_options_of_the_newer_families():
    small = {"weights": None, "classes": 3, "input_shape": (32, 32, 3)}
    minimal = keras.applications.MobileNetV3Small(minimalistic=True, alpha=0.35, **small)
    assert not any("squeeze_excite" in layer.name for layer in minimal.layers)
    assert minimal.count_params() < keras.applications.MobileNetV3Small(alpha=0.35, **small).count_params()
    bare = keras.applications.MobileNetV3Small(weights=None, include_top=False, include_preprocessing=False)
    assert bare.input_shape == (None, None, None, 3) and bare.output_shape == (None, None, None, 576)
    x = np.full((1, 2, 2, 3), 255.0, np.float32)
    for family in ("inception_v3", "inception_resnet_v2", "nasnet", "xception"):
        np.testing.assert_allclose(getattr(keras.applications, family).preprocess_input(x), 1.0)
    for family in ("convnext", "efficientnet_v2", "mobilenet_v3"):
        assert getattr(keras.applications, family).preprocess_input(x) is x
    with pytest.raises(ValueError, match="at least 75x75"):
        keras.applications.InceptionV3(**small)


def test_layers_of_convnext():
    from gradloom.keras.applications.convnext import LayerScale, StochasticDepth

    x = np.ones((64, 2, 3), np.float32)
    scale = LayerScale(0.5, 3)
    np.testing.assert_array_equal(scale(x).numpy(), x * 0.5)
    drop = StochasticDepth(0.25)
    np.testing.assert_array_equal(drop(x).numpy(), x)
    y = drop(x, training=True).numpy()
    assert set(np.unique(y)) <= {0.0, np.float32(1 / 0.75)} and 0 < (y[:, 0, 0] == 0).sum() < 64
    assert (y == y[:, :1, :1]).all()  # whole samples
    assert StochasticDepth.from_config(drop.get_config()).drop_path_rate == 0.25
    assert LayerScale.from_config(scale.get_config()).init_values == 0.5
