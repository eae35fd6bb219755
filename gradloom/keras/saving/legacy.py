"""Whole models in one HDF5 file, the format of Keras before ``.keras``: read, and written for those who need it.

Architecture and training are JSON in the file's attributes, weights stand layer by layer in the group
``model_weights``. Nothing in a file is run. Needs ``h5py``.
"""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from gradloom.errors import FileError, ShapeError
from gradloom.io import safetensors
from gradloom.keras.saving.files import missing
from gradloom.keras.saving.serialization import deserialize_keras_object, serialize_keras_object

CHUNK = 64000  # bytes that one attribute may have
LIMIT = 1 << 34  # bytes of one array
# what Keras 2 wrote of layers, and Keras 3 has no more
_DROPPED = ("time_major", "implementation", "batch_input_shape", "interpolation_order")


# writing --------------------------------------------------------------------------------------------------------------


def save_model(model: Any, path: Path, include_optimizer: bool = True) -> None:
    """Write a model to an ``.h5`` file, at once."""
    from gradloom.keras.saving.archive import _h5py

    config = serialize_keras_object(model)
    told = config.get("compile_config")
    buffer = io.BytesIO()
    with _h5py().File(buffer, "w") as file:
        _stamp(file)
        file.attrs["model_config"] = json.dumps({"class_name": config["class_name"], "config": config["config"]})
        weights = file.create_group("model_weights")
        _write_weights(weights, model)
        if include_optimizer and told is not None:
            training = {k: told.get(k) for k in ("loss", "metrics", "weighted_metrics", "loss_weights")}
            file.attrs["training_config"] = json.dumps({**training, "optimizer_config": told["optimizer"]})
            if model.optimizer is not None and model.optimizer.built:
                variables = model.optimizer.variables
                _write_group(file.create_group("optimizer_weights"), [(v.path, v.numpy()) for v in variables])
    safetensors.write_atomically(path, buffer.getvalue())


def _stamp(group: Any) -> None:
    """The version that the format is of: files without it are taken for those of Keras 1."""
    group.attrs["keras_version"], group.attrs["backend"] = "3.0.0", "gradloom"


def _write_weights(group: Any, model: Any) -> None:
    _stamp(group)
    _write_names(group, "layer_names", [layer.name for layer in model.layers])
    for layer in sorted(model.layers, key=lambda x: x.name):
        _write_group(group.create_group(layer.name), [(v.path, v.numpy()) for v in _weights_of(layer)])
    _write_group(group.create_group("top_level_model_weights"), [(v.path, v.numpy()) for v in model._own])


def _write_group(group: Any, values: list[tuple[str, np.ndarray]]) -> None:
    names: list[str] = []
    for name, value in values:
        fresh = name if name not in names else f"{name}_{len(names)}"
        names.append(fresh)
        group.create_dataset(fresh, data=np.asarray(value, np.float32) if value.dtype.name == "bfloat16" else value)
    _write_names(group, "weight_names", names)


def _write_names(group: Any, key: str, names: list[str]) -> None:
    """A list of texts as an attribute, or as several numbered ones where it is long."""
    encoded = [name.encode() for name in names]
    if sum(map(len, encoded)) < CHUNK:
        group.attrs[key] = np.array(encoded, "S") if encoded else np.zeros(0)
        return
    longest = max(map(len, encoded))
    size = max(1, CHUNK // longest)
    for number, start in enumerate(range(0, len(encoded), size)):
        group.attrs[f"{key}{number}"] = np.array(encoded[start : start + size], "S")


# reading --------------------------------------------------------------------------------------------------------------


def is_legacy(path: Path) -> bool:
    """Whether an HDF5 file has weights layer by layer, as whole models and older weight files have."""
    with _opened(path) as file:
        return "model_weights" in file or "layer_names" in file.attrs or "layer_names0" in file.attrs


def load_model(path: Path, custom_objects: Any = None, compile: bool = True) -> Any:
    """The model of an ``.h5`` file that :func:`save_model` or Keras wrote, with its weights and optimiser.

    Raises
    ------
    FileError : a file that is damaged, or holds no model.
    UnknownObjectError : it holds a class that is neither the library's nor registered, or code.
    """
    with _opened(path) as file:
        config = _json(file, "model_config", path)
        if config is None or "class_name" not in config:
            raise FileError(f"{path} holds no model", code="keras.h5", hint="weights alone are read by load_weights")
        model = deserialize_keras_object(_modern(config), custom_objects)
        shape = config["config"].get("build_input_shape") if isinstance(config["config"], dict) else None
        if not model.built and shape:
            model.build(tuple(shape))
        _read_weights(model, file["model_weights"], str(path))
        if compile:
            _compile(model, _json(file, "training_config", path), file, custom_objects, path)
    return model


def load_weights(model: Any, path: Path, skip_mismatch: bool = False, by_name: bool = False) -> None:
    """Set the weights to those of an older weight file, or of a whole model's.

    Parameters
    ----------
    by_name : layers are found by their names, and those that the file has not keep their weights.
    """
    with _opened(path) as file:
        group = file["model_weights"] if "model_weights" in file else file
        _read_weights(model, group, str(path), skip_mismatch, by_name)


def _opened(path: Path) -> Any:
    from gradloom.keras.saving.archive import _h5py

    if not path.exists():
        raise missing(path)
    try:
        return _h5py().File(path, "r")
    except OSError as error:
        raise FileError(f"{path}: not a readable HDF5 file: {error}", code="keras.h5") from error


def _json(file: Any, name: str, path: Path) -> Any:
    text = file.attrs.get(name)
    if text is None:
        return None
    try:
        return json.loads(text.decode() if isinstance(text, bytes) else text)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise FileError(f"{path}: {name} is not JSON: {error}", code="keras.h5") from error


def _modern(config: Any) -> Any:
    """A configuration without what only Keras 2 knew."""
    if isinstance(config, list):
        return [_modern(x) for x in config]
    if not isinstance(config, dict):
        return config
    found = {k: _modern(v) for k, v in config.items()}
    inner = found.get("config")
    if isinstance(inner, dict) and "class_name" in found:
        first = inner.get("batch_input_shape")
        for name in _DROPPED:
            inner.pop(name, None)
        if first is not None:
            inner["batch_shape" if found["class_name"] == "InputLayer" else "batch_input_shape"] = first
        axis = inner.get("axis")
        if found["class_name"] == "BatchNormalization" and isinstance(axis, list) and len(axis) == 1:
            inner["axis"] = axis[0]
    return found


def _weights_of(layer: Any) -> list[Any]:
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _names(group: Any, key: str) -> list[str]:
    found: list[Any] = []
    if key in group.attrs:
        found = list(group.attrs[key])
    else:
        number = 0
        while f"{key}{number}" in group.attrs:
            found += list(group.attrs[f"{key}{number}"])
            number += 1
    return [x.decode() if isinstance(x, bytes) else str(x) for x in found]


def _arrays(group: Any, what: str) -> list[np.ndarray]:
    found = []
    for name in _names(group, "weight_names"):
        link = group.get(name, getlink=True)
        if link is None or not type(link).__name__ == "HardLink" or not hasattr(group[name], "dtype"):
            raise FileError(f"{what}: {name} is no array of this file", code="keras.h5")
        if group[name].size * group[name].dtype.itemsize > LIMIT:
            raise FileError(f"{what}: {name} is larger than {LIMIT} bytes", code="keras.h5")
        found.append(np.asarray(group[name]))
    return found


def _read_weights(model: Any, group: Any, what: str, skip: bool = False, by_name: bool = False) -> None:
    """Set all weights, or none: ShapeError where numbers or shapes differ."""
    layers = [layer for layer in model.layers if _weights_of(layer)]
    stored = [(name, _arrays(group[name], what)) for name in _names(group, "layer_names") if name in group]
    stored = [(name, arrays) for name, arrays in stored if arrays]
    named = dict(stored)
    if by_name:
        pairs = [(layer, named[layer.name]) for layer in layers if layer.name in named]
    elif len(stored) != len(layers):
        raise ShapeError(
            f"Layer count mismatch when loading weights from {what}: the model has {len(layers)} layers with weights, "
            f"the file {len(stored)}", code="keras.weights", hint="by_name=True takes those of the same names",
        )  # fmt: skip
    elif all(layer.name in named for layer in layers):
        pairs = [(layer, named[layer.name]) for layer in layers]
    else:
        pairs = [(layer, arrays) for layer, (_, arrays) in zip(layers, stored)]
    todo = []
    for layer, arrays in pairs:
        todo += _matched(layer.name, _weights_of(layer), arrays, what, skip)
    if "top_level_model_weights" in group and not by_name:
        todo += _matched(model.name, list(model._own), _arrays(group["top_level_model_weights"], what), what, skip)
    for v, array in todo:
        v.assign(array)


def _matched(name: str, weights: list[Any], arrays: list[np.ndarray], what: str, skip: bool) -> list[tuple[Any, Any]]:
    problem = ""
    if len(weights) != len(arrays):
        problem = f"layer {name!r} has {len(weights)} weights, the file has {len(arrays)}"
    for k, (v, array) in enumerate(zip(weights, arrays)):
        if not problem and tuple(v.shape) != array.shape:
            problem = f"layer {name!r}: weight {k} has shape {tuple(v.shape)}, the file has {array.shape}"
    if not problem:
        return list(zip(weights, arrays))
    if not skip:
        raise ShapeError(f"{what}: {problem}", code="keras.weights", hint="the file is of another model")
    warnings.warn(f"Skipping loading weights: {problem}", stacklevel=2)
    return []


def _compile(model: Any, told: Any, file: Any, custom_objects: Any, path: Path) -> None:
    if told is None:
        return
    optimizer = deserialize_keras_object(_modern(told["optimizer_config"]), custom_objects)
    rest = {k: told.get(k) for k in ("loss", "metrics", "weighted_metrics", "loss_weights")}
    model.compile(optimizer, **{k: deserialize_keras_object(v, custom_objects) for k, v in rest.items()})
    if "optimizer_weights" not in file:
        return
    optimizer.build(model.trainable_weights)
    group = file["optimizer_weights"]
    names, arrays = _names(group, "weight_names"), _arrays(group, str(path))
    # the variables' names depend on how the model was made: their order, kinds and shapes do not
    theirs = [(name.rpartition("_")[2].rpartition("/")[2], a.shape) for name, a in zip(names, arrays)]
    if theirs == [(v.path.rpartition("_")[2].rpartition("/")[2], tuple(v.shape)) for v in optimizer.variables]:
        optimizer.set_state(arrays)
    else:
        warnings.warn(f"{path}: the optimizer's state is of another kind, and begins anew", stacklevel=3)
