"""Whole models and weights in `.h5` files, the format before `.keras`: Keras' own, ours, older ones, damaged ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gradloom import keras
from gradloom.errors import FileError, NotSupportedError, ShapeError
from gradloom.keras import layers
from gradloom.keras.models.functional import graph_from_config
from gradloom.keras.saving import UnknownObjectError

HERE = Path(__file__).parent
X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
Y = X[:, :1] * 2


def small(*names):
    """Dense(3), norm, Dense(1), named."""
    first, last = names or ("first", "last")
    return keras.Sequential([
        keras.Input((4,)), layers.Dense(3, activation="relu", name=first), layers.BatchNormalization(name="norm"),
        layers.Dense(1, name=last),
    ])  # fmt: skip


def test_a_model_that_keras_wrote():
    """`make_legacy_files.py` says what was written."""
    pytest.importorskip("h5py")
    figures = np.load(HERE / "real_legacy.npz")
    model = keras.models.load_model(HERE / "real_legacy.h5")
    np.testing.assert_allclose(model.predict(figures["x"], verbose=0), figures["predicted"], rtol=1e-4, atol=1e-6)
    found = model.evaluate(figures["x"], figures["y"], verbose=0)
    np.testing.assert_allclose(found, figures["evaluated"], rtol=1e-5)
    assert int(model.optimizer.iterations) == 2
    assert all(np.abs(v.numpy()).sum() > 0 for v in model.optimizer.variables)
    plain = keras.models.load_model(HERE / "real_legacy.h5", compile=False)
    assert plain.optimizer is None


def test_a_model_of_ours_goes_on_where_it_stood(tmp_path):
    pytest.importorskip("h5py")
    model = small()
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss="mse", metrics=["mae"])
    model.fit(X, Y, batch_size=2, verbose=0, shuffle=False)
    model.save(tmp_path / "m.h5")
    again = keras.models.load_model(tmp_path / "m.h5")
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))
    for each in (model, again):
        each.fit(X, Y, batch_size=2, verbose=0, shuffle=False)
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))
    assert [m.name for m in again.metrics] == [m.name for m in model.metrics]
    without = tmp_path / "without.hdf5"
    keras.models.save_model(model, without, include_optimizer=False)
    assert keras.models.load_model(without).optimizer is None


def test_weights_of_a_whole_file_by_order_and_by_name(tmp_path):
    pytest.importorskip("h5py")
    model = small()
    model.save(tmp_path / "m.h5")
    same = small("a", "b")
    same.load_weights(tmp_path / "m.h5")
    np.testing.assert_array_equal(same.predict(X, verbose=0), model.predict(X, verbose=0))
    half = small("first", "other")
    before = half.get_layer("other").get_weights()[0]
    half.load_weights(tmp_path / "m.h5", by_name=True)
    np.testing.assert_array_equal(half.get_layer("first").get_weights()[0], model.layers[0].get_weights()[0])
    np.testing.assert_array_equal(half.get_layer("other").get_weights()[0], before)


def test_weights_that_do_not_fit_change_nothing(tmp_path):
    pytest.importorskip("h5py")
    small().save(tmp_path / "m.h5")
    other = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, name="first"), layers.BatchNormalization(name="norm"),
         layers.Dense(2, name="last")]
    )  # fmt: skip
    before = other.get_weights()
    with pytest.raises(ShapeError, match=r"'last': weight 0 has shape \(3, 2\), the file has \(3, 1\)"):
        other.load_weights(tmp_path / "m.h5")
    assert all(np.array_equal(a, b) for a, b in zip(before, other.get_weights()))
    with pytest.warns(UserWarning, match="Skipping"):
        other.load_weights(tmp_path / "m.h5", skip_mismatch=True)
    assert not np.array_equal(before[0], other.get_weights()[0])
    np.testing.assert_array_equal(before[-2], other.get_weights()[-2])
    with pytest.raises(ShapeError, match="the model has 1 layers with weights, the file 3"):
        keras.Sequential([keras.Input((4,)), layers.Dense(3)]).load_weights(tmp_path / "m.h5")
    with pytest.raises(ValueError, match="unknown argument"):
        other.load_weights(tmp_path / "m.h5", by_nam=True)


def test_a_model_with_weights_of_its_own(tmp_path):
    pytest.importorskip("h5py")

    @keras.saving.register_keras_serializable("test_legacy_files")
    class Scaled(keras.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = layers.Dense(2)
            self.scale = self.add_weight((2,), initializer="random_normal", name="scale")

        def call(self, x):
            return self.dense(x) * self.scale

    model, other = Scaled(), Scaled()
    model(X), other(X)
    model.save(tmp_path / "m.h5")
    other.load_weights(tmp_path / "m.h5")
    np.testing.assert_array_equal(model.predict(X, verbose=0), other.predict(X, verbose=0))


def test_many_long_names_are_spread_over_attributes(tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    from gradloom.keras.saving import legacy

    monkeypatch.setattr(legacy, "CHUNK", 40)
    model = small("a" * 30, "b" * 30)
    model.save(tmp_path / "m.h5")
    again = keras.models.load_model(tmp_path / "m.h5")
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))


def older():
    """A model as Keras 2 wrote it: a layer that is called twice, and one of two inputs."""
    dense = {"name": "d", "units": 4, "activation": "linear", "use_bias": False, "kernel_initializer": {
        "class_name": "RandomNormal", "config": {"mean": 0.0, "stddev": 1.0, "seed": 3}}}  # fmt: skip
    return {"class_name": "Functional", "config": {"name": "model", "layers": [
        {"class_name": "InputLayer", "name": "x", "inbound_nodes": [],
         "config": {"batch_input_shape": [None, 4], "dtype": "float32", "sparse": False, "name": "x"}},
        {"class_name": "Dense", "name": "d", "config": dense,
         "inbound_nodes": [[["x", 0, 0, {}]], [["d", 0, 0, {}]]]},
        {"class_name": "BatchNormalization", "name": "n", "config": {"name": "n", "axis": [1]},
         "inbound_nodes": [[["d", 1, 0, {}]]]},
        {"class_name": "Add", "name": "a", "config": {"name": "a"},
         "inbound_nodes": [[["n", 0, 0, {}], ["d", 0, 0, {}]]]},
    ], "input_layers": [["x", 0, 0]], "output_layers": [["a", 0, 0]]}}  # fmt: skip


def test_a_file_of_keras_2(tmp_path):
    h5py = pytest.importorskip("h5py")
    kernel = np.random.default_rng(3).normal(size=(4, 4)).astype(np.float32)
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["keras_version"], file.attrs["model_config"] = b"2.9.0", json.dumps(older()).encode()
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [b"x", b"d", b"n", b"a"]
        ones, zeros = np.ones(4, np.float32), np.zeros(4, np.float32)
        moments = {"gamma:0": ones * 2, "beta:0": ones, "moving_mean:0": zeros, "moving_variance:0": ones}
        for name, values in {"x": {}, "d": {"kernel:0": kernel}, "n": moments, "a": {}}.items():
            group = weights.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{k}".encode() for k in values]
            for key, value in values.items():
                group[f"{name}/{key}"] = value
    model = keras.models.load_model(tmp_path / "old.h5")
    once = X @ kernel
    want = once @ kernel / np.sqrt(1.001) * 2 + 1 + once
    np.testing.assert_allclose(model.predict(X, verbose=0), want, rtol=1e-4, atol=1e-5)
    assert model.input_shape == (None, 4)


def test_calls_of_keras_2():
    """A single call may stand without its list, and tensors among the other arguments."""
    config = {"layers": [
        {"class_name": "InputLayer", "name": "q", "inbound_nodes": [],
         "config": {"batch_shape": [None, 2, 4], "name": "q"}},
        {"class_name": "InputLayer", "name": "v", "inbound_nodes": [],
         "config": {"batch_shape": [None, 3, 4], "name": "v"}},
        {"class_name": "MultiHeadAttention", "name": "m", "config": {"name": "m", "num_heads": 1, "key_dim": 4},
         "inbound_nodes": [["q", 0, 0, {"value": ["v", 0, 0]}]]},
    ], "input_layers": [["q", 0, 0], ["v", 0, 0]], "output_layers": [["m", 0, 0]]}  # fmt: skip
    inputs, outputs = graph_from_config(config)
    model = keras.Model(inputs, outputs)
    assert model([np.ones((1, 2, 4), "float32"), np.ones((1, 3, 4), "float32")]).shape == (1, 2, 4)


def test_what_is_no_model_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "text.h5").write_bytes(b"hello")
    with pytest.raises(FileError, match="not a readable HDF5 file"):
        keras.models.load_model(tmp_path / "text.h5")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        keras.models.load_model(tmp_path / "none.h5")
    small().save_weights(tmp_path / "only.weights.h5")
    with pytest.raises(FileError, match="holds no model"):
        keras.models.load_model(tmp_path / "only.weights.h5")

    def broken(name, change):
        small().save(tmp_path / name)
        with h5py.File(tmp_path / name, "a") as file:
            change(file)
        return tmp_path / name

    def no_json(file):
        file.attrs["model_config"] = "{"

    def code(file):
        file.attrs["model_config"] = file.attrs["model_config"].replace('"BatchNormalization"', '"Evil"')

    def elsewhere(file):
        group = file["model_weights/first"]
        name = group.attrs["weight_names"][0].decode()
        del group[name]
        group[name] = h5py.ExternalLink("/etc/passwd", "/x")

    for name, change, error, message in (
        ("a.h5", no_json, FileError, "is not JSON"),
        ("b.h5", code, UnknownObjectError, "Evil"),
        ("c.h5", elsewhere, FileError, "is no array of this file"),
    ):
        with pytest.raises(error, match=message):
            keras.models.load_model(broken(name, change))


@pytest.mark.parametrize("name", ["m.txt", "m", "m.safetensors"])
def test_names_of_other_formats(tmp_path, name):
    with pytest.raises(ValueError, match="Invalid filepath extension for saving"):
        small().save(tmp_path / name)
    with pytest.raises(ValueError, match="File format not supported"):
        keras.models.load_model(tmp_path / name)


def test_arguments_that_saving_does_not_know(tmp_path):
    with pytest.raises(ValueError, match="`save_format` argument is deprecated"):
        small().save(tmp_path / "m.keras", save_format="tf")
    with pytest.raises(ValueError, match=r"not supported: \['signatures'\]"):
        small().save(tmp_path / "m.keras", signatures=1)


def test_open_files(tmp_path):
    model = small()
    with (tmp_path / "m.bin").open("wb") as file:
        keras.models.save_model(model, file)
    with (tmp_path / "m.bin").open("rb") as file:
        again = keras.models.load_model(file)
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))


def test_paths_of_weights():
    """Named as Keras names them: a cell by its kind, a model within a model once."""
    keras.config.clear_session()
    inner = keras.Sequential([layers.Dense(2)])

    class Whole(keras.Model):
        def __init__(self):
            super().__init__()
            self.both, self.inner = layers.Bidirectional(layers.GRU(3)), inner

        def call(self, x):
            return self.inner(self.both(x))

    model = Whole()
    model(np.ones((2, 3, 4), np.float32))
    paths = [v.path for v in model.weights]
    assert paths[:1] == ["whole/bidirectional/forward_gru/gru_cell/kernel"]
    assert paths[3:4] == ["whole/bidirectional/backward_gru/gru_cell/kernel"]
    assert paths[-2:] == ["whole/sequential/dense/kernel", "whole/sequential/dense/bias"]


def test_checkpoints_of_whole_models_in_the_older_format(tmp_path):
    pytest.importorskip("h5py")
    model = small()
    model.compile("sgd", loss="mse")
    best = keras.callbacks.ModelCheckpoint(tmp_path / "best.h5", save_best_only=True, monitor="loss")
    only = keras.callbacks.ModelCheckpoint(tmp_path / "only.h5", save_weights_only=True)
    model.fit(X, Y, verbose=0, callbacks=[best, only])
    again = keras.models.load_model(tmp_path / "best.h5")
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))
    with pytest.raises(FileError, match="holds no model"):
        keras.models.load_model(tmp_path / "only.h5")
    other = small()
    other.load_weights(tmp_path / "only.h5")
    np.testing.assert_array_equal(other.predict(X, verbose=0), model.predict(X, verbose=0))


@pytest.mark.parametrize("name", ["none.keras", "none.h5"])
@pytest.mark.parametrize("kind", [FileNotFoundError, ValueError])
def test_files_that_are_not_there(tmp_path, name, kind):
    with pytest.raises(kind, match=r"File not found.*Please ensure the file is an accessible"):
        if name.endswith(".h5"):
            pytest.importorskip("h5py")
        keras.models.load_model(tmp_path / name)


def test_weights_are_in_one_file_of_a_known_format(tmp_path):
    with pytest.raises(NotSupportedError, match="not spread over files"):
        small().save_weights(tmp_path / "w.weights.h5", max_shard_size=0.1)
    with pytest.raises(ValueError, match="File format not supported"):
        small().load_weights(tmp_path / "w.pkl")
