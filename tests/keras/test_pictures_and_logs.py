"""Pictures of models, event files, and the models for images."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from gradloom import keras
from gradloom.errors import NotSupportedError, StateError
from gradloom.keras import layers


def small():
    a, b = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(5, "relu")], name="inside")
    x = layers.Concatenate()([inner(a), b])
    return keras.Model([a, b], layers.Dense(2, "softmax", name="out")(x))


def test_plot_model_as_svg_and_dot(tmp_path):
    model = small()
    keras.utils.plot_model(model, tmp_path / "m.svg", show_shapes=True, show_layer_names=True, expand_nested=True)
    root = ET.fromstring((tmp_path / "m.svg").read_text())
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "out (Dense)" in texts and "output shape: (None, 8)" in texts
    assert (
        len(list(root.iter("{http://www.w3.org/2000/svg}line"))) == 5
    )  # left-inner input-dense-join, right-join, join-out
    keras.utils.plot_model(model, tmp_path / "m.dot", rankdir="LR")
    text = (tmp_path / "m.dot").read_text()
    assert "rankdir=LR" in text and text.count("->") == 4
    with pytest.raises(StateError, match="not yet been built"):
        keras.utils.plot_model(keras.Sequential([layers.Dense(2)]), tmp_path / "n.svg")
    with pytest.raises(ValueError, match="rankdir"):
        keras.utils.plot_model(model, tmp_path / "n.svg", rankdir="UP")


def test_plot_model_as_png(tmp_path):
    pytest.importorskip("matplotlib")
    keras.utils.plot_model(small(), tmp_path / "m.png", show_layer_activations=True, dpi=60)
    assert (tmp_path / "m.png").read_bytes()[:4] == b"\x89PNG"


def test_tensorboard_writes_both_runs(tmp_path):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    model.compile("sgd", "mse")
    x, y = np.ones((8, 3), np.float32), np.ones((8, 2), np.float32)
    board = keras.callbacks.TensorBoard(tmp_path, histogram_freq=1, update_freq=1, write_steps_per_second=True)
    model.fit(x, y, epochs=2, batch_size=4, validation_data=(x, y), callbacks=[board], verbose=0)
    logs = {name: b"".join(p.read_bytes() for p in (tmp_path / name).iterdir()) for name in ("train", "validation")}
    for tag in (b"epoch_loss", b"epoch_learning_rate", b"batch_loss", b"kernel/histogram", b"epoch_steps_per_second"):
        assert tag in logs["train"], tag
    assert b"epoch_loss" in logs["validation"]
    with pytest.raises(NotSupportedError, match="profile_batch"):
        keras.callbacks.TensorBoard(tmp_path, profile_batch=2)


def test_remote_monitor_warns_and_training_goes_on():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    model.compile("sgd", "mse")
    monitor = keras.callbacks.RemoteMonitor(root="http://127.0.0.1:9")
    with pytest.warns(UserWarning, match="was not reached"):
        model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0, callbacks=[monitor])


# numbers of parameters as Keras' own models have them
COUNTS = {"MobileNet": 4253864, "MobileNetV2": 3538984, "DenseNet121": 8062504, "ResNet50V2": 25613800}


@pytest.mark.parametrize("name", COUNTS)
def test_applications_have_keras_size(name):
    model = getattr(keras.applications, name)(weights=None)
    assert model.count_params() == COUNTS[name] and model.output_shape == (None, 1000)


def test_applications_without_a_top_and_their_files(tmp_path):
    def made(**more):
        return keras.applications.MobileNetV2(
            include_top=False, input_shape=(32, 32, 3), pooling="avg", alpha=0.35, **more
        )

    model = made(weights=None)
    x = keras.applications.mobilenet_v2.preprocess_input(np.full((1, 32, 32, 3), 255, np.uint8))
    np.testing.assert_allclose(x, 1.0)
    path = tmp_path / "m.safetensors"
    model.save_weights(path)
    np.testing.assert_array_equal(made(weights=path).predict(x, verbose=0), model.predict(x, verbose=0))
    assert model.get_layer("block_5_add").output.shape == (None, 4, 4, 16)
    with pytest.raises(NotSupportedError, match="imagenet"):
        keras.applications.VGG16(weights="imagenet")
    with pytest.raises(ValueError, match="weights file"):
        keras.applications.VGG16(weights=tmp_path / "none.h5")
    with pytest.raises(ValueError, match="at least 32x32"):
        keras.applications.VGG16(include_top=False, input_shape=(16, 16, 3))


def test_preprocessing_modes():
    x = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype("float32")
    caffe = keras.applications.resnet50.preprocess_input(x)
    np.testing.assert_allclose(
        caffe, x[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32), rtol=1e-4, atol=1e-4
    )
    torch = keras.applications.densenet.preprocess_input(x)
    want = (x / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(torch, want, rtol=1e-4, atol=1e-4)
    assert keras.applications.efficientnet.preprocess_input(x) is x
    with pytest.raises(ValueError, match="mode"):
        keras.applications.imagenet_utils.preprocess_input(x, mode="else")
    with pytest.raises(ValueError, match="1000"):
        keras.applications.vgg16.decode_predictions(np.zeros((1, 5)))
