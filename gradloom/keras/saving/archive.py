"""Archives and weight files: ``.keras`` (JSON and weights in a zip), ``.safetensors``, and Keras' own ``.h5``.

Weights are named by where they stand: ``layers/dense/vars/0``, names counted within each container, so a file fits any
model of the same architecture whatever its layers are called. Our archives hold ``model.weights.safetensors``, those
of Keras ``model.weights.h5``, which needs ``h5py``. Nothing in a file is run.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from gradloom.errors import FileError, NotSupportedError, ShapeError, StateError
from gradloom.io import safetensors
from gradloom.keras import config as settings
from gradloom.keras.layers.base import _BOOKS, Layer
from gradloom.keras.saving import legacy
from gradloom.keras.saving.files import FileNameError, missing
from gradloom.keras.saving.serialization import deserialize_keras_object, serialize_keras_object
from gradloom.keras.variables import SeedGenerator

CONFIG, METADATA, OURS, KERAS = "config.json", "metadata.json", "model.weights.safetensors", "model.weights.h5"
LIMIT = 1 << 34  # bytes that one entry of an archive may have


def own_stores(layer: Any, path: str = "") -> list[tuple[str, Any]]:
    """Everything below a layer that keeps values, with its path in the file."""
    from gradloom.keras.models import Functional, Sequential
    from gradloom.keras.models.model import Model

    found: list[tuple[str, Any]] = []
    todo: list[tuple[str, Any]] = [(path, layer)]
    seen: set[int] = set()
    while todo:
        at, item = todo.pop(0)
        if id(item) in seen:
            continue
        seen.add(id(item))
        found.append((at, item))
        if not isinstance(item, Layer):
            continue
        head = f"{at}/" if at else ""
        graph = isinstance(item, Model) and (isinstance(item, Functional | Sequential) or item._graph is not None)
        if graph:
            shown = [getattr(item, "_input_layer", None)] if isinstance(item, Sequential) else []
            todo += _named([x for x in [*shown, *item.layers] if x is not None], f"{head}layers")
        for name in sorted(vars(item), key=lambda n: (n.startswith("_"), n)):  # private ones last
            value = vars(item)[name]
            if name in _BOOKS or name in ("optimizer", "loss", "history", "_input_layer", "_graph_layers"):
                continue
            if isinstance(value, Layer | SeedGenerator):
                todo.append((f"{head}{name}", value))
            elif type(value) in (list, tuple):
                todo += _named([x for x in value if isinstance(x, Layer | SeedGenerator)], f"{head}{name}")
            elif type(value) is dict:
                mine = [value[k] for k in value if isinstance(value[k], Layer | SeedGenerator)]
                todo += _named(mine, f"{head}{name}")
    return found


def _named(items: list[Any], path: str) -> list[tuple[str, Any]]:
    counts: Counter[str] = Counter()
    found = []
    for item in items:
        kind = settings.snake_case(type(item).__name__)
        found.append((f"{path}/{kind}_{counts[kind]}" if counts[kind] else f"{path}/{kind}", item))
        counts[kind] += 1
    return found


def values_of(model: Any, optimizer: bool = False) -> dict[str, np.ndarray]:
    """All values of a model by their paths."""
    found: dict[str, np.ndarray] = {}
    for path, item in own_stores(model):
        store: dict[str, Any] = {}
        if isinstance(item, SeedGenerator):
            store["0"] = np.array(item.generator.get_state(), np.int64)
        else:
            item.save_own_variables(store)
        head = f"{path}/" if path else ""
        found.update({f"{head}vars/{k}": np.asarray(v) for k, v in store.items()})
    if optimizer and model.optimizer is not None and model.optimizer.built:
        store = {}
        model.optimizer.save_own_variables(store)
        found.update({f"optimizer/vars/{k}": np.asarray(v) for k, v in store.items()})
    return found


def put_values(model: Any, found: dict[str, np.ndarray], what: str, skip_mismatch: bool = False) -> None:
    """Set all values of a model. ShapeError where names or shapes differ, and then nothing is set."""
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, array in found.items():
        head, _, key = name.rpartition("vars/")
        groups.setdefault(head.rstrip("/"), {})[key] = array
    todo = []
    used = {"optimizer"}
    for path, item in own_stores(model):
        mine = groups.get(path, {})
        used.add(path)
        if isinstance(item, SeedGenerator):
            if "0" in mine:
                todo.append((item, mine))
            continue
        wanted: dict[str, Any] = {}
        item.save_own_variables(wanted)
        if not wanted and not mine:
            continue
        problem = _problem(path or model.name, item, wanted, mine)
        if problem and not skip_mismatch:
            raise ShapeError(
                f"{what}: {problem}", code="keras.weights",
                hint="the file is of another model" if model.built else "build the model first, by data or an Input",
            )  # fmt: skip
        if not problem:
            todo.append((item, mine))
    extra = sorted(g for g, v in groups.items() if g not in used and v)
    if extra and not skip_mismatch:
        hint = "the file is of another model" if model.built else "build the model first, by data or an Input layer"
        raise ShapeError(f"{what}: the model lacks {', '.join(extra)}", code="keras.weights", hint=hint)
    for item, mine in todo:
        if isinstance(item, SeedGenerator):
            if mine["0"].size == 2:
                item.set_state(mine["0"])
        else:
            item.load_own_variables(mine)


def _problem(path: str, item: Any, wanted: dict[str, Any], mine: dict[str, Any]) -> str:
    if set(wanted) != set(mine):
        if not mine:
            return f"the file lacks the weights of {path!r}"
        if not wanted:
            return f"the model lacks {path}: it has no weights there"
        return f"{path!r} has {len(wanted)} weights, the file has {len(mine)}"
    for key, value in wanted.items():
        if tuple(np.shape(value)) != tuple(np.shape(mine[key])):
            return (
                f"{path!r}: weight {key} has shape {tuple(np.shape(value))}, the file has {tuple(np.shape(mine[key]))}"
            )
    return ""


# weight files -------------------------------------------------------------------------------------------------------


def save_weights(model: Any, filepath: str | os.PathLike[str], overwrite: bool = True, **kwargs: Any) -> None:
    """Write the weights to a ``.safetensors`` or ``.weights.h5`` file; a failed save leaves the old file."""
    path = _checked(filepath)
    if not overwrite and path.exists():
        raise FileExistsError(f"{filepath} exists, and overwrite=False")
    if not model.built or (not model.weights and type(model).__name__ == "Sequential" and model._graph is None):
        raise StateError(
            f"{model.name!r} has no weights yet", code="keras.not-built",
            hint="build it first, by data or by an Input layer",
        )  # fmt: skip
    values = values_of(model)
    if path.name.endswith(".h5"):
        safetensors.write_atomically(path, _h5_bytes(values))
    else:
        safetensors.save(_tensors(values), path, {"format": "gradloom"})


def load_weights(model: Any, filepath: str | os.PathLike[str], skip_mismatch: bool = False, **kwargs: Any) -> None:
    """Set the weights to those of a file of the same architecture, ours or Keras' ``.weights.h5``."""
    path = _checked(filepath, (".keras", ".hdf5"))
    by_name = kwargs.pop("by_name", False)
    if kwargs:
        raise ValueError(f"load_weights: unknown argument(s) {', '.join(map(repr, kwargs))}")
    if path.name.endswith((".h5", ".hdf5")) and legacy.is_legacy(path):
        legacy.load_weights(model, path, skip_mismatch, by_name)
        return
    if by_name:
        raise ValueError("by_name=True goes with older .h5 files, in which weights stand by the names of layers")
    if path.name.endswith(".keras"):
        with _opened(path, path) as archive:
            found = _values_in(archive, path)
    elif path.name.endswith((".h5", ".hdf5")):
        found = _h5_values(path)
    else:
        found = {k: v.numpy() for k, v in safetensors.load(path).items()}
    put_values(model, found, str(path), skip_mismatch)


def _tensors(values: dict[str, np.ndarray]) -> dict[str, Any]:
    from gradloom.tensor import from_numpy

    return {k: from_numpy(np.array(v, order="C")) for k, v in values.items()}


def _checked(filepath: Any, more: tuple[str, ...] = ()) -> Path:
    path = Path(os.fspath(filepath))
    if not path.name.endswith((".safetensors", ".weights.h5", ".h5", *more)):
        raise FileNameError(
            f"File format not supported: {path.name}: not the name of a weight file", code="keras.file-format",
            hint="name it .safetensors, or .weights.h5 to exchange it with Keras",
        )  # fmt: skip
    return path


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise NotSupportedError(
            "HDF5 files are read and written by h5py, which is not installed", code="keras.h5py",
            hint="pip install 'gradloom[h5]'; or use a .safetensors file",
        ) from error  # fmt: skip
    return h5py


def _h5_bytes(values: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    with _h5py().File(buffer, "w") as file:
        for name, array in values.items():
            file.create_dataset(name, data=np.asarray(array, np.float32) if array.dtype.name == "bfloat16" else array)
    return buffer.getvalue()


def _h5_values(source: Any) -> dict[str, np.ndarray]:
    h5py = _h5py()
    found: dict[str, np.ndarray] = {}
    try:
        with h5py.File(source, "r") as file:

            def take(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset) and "vars/" in name:
                    if item.size * item.dtype.itemsize > LIMIT:
                        raise FileError(f"{source}: {name} is larger than {LIMIT} bytes", code="keras.h5")
                    found[name] = np.asarray(item)

            file.visititems(take)
    except OSError as error:
        raise FileError(f"{source}: not a readable HDF5 file: {error}", code="keras.h5") from error
    # Keras calls the layers of a model "layers"; older files "_layer_checkpoint_dependencies"
    return {k.replace("_layer_checkpoint_dependencies/", "layers/"): v for k, v in found.items()}


# archives -----------------------------------------------------------------------------------------------------------


def save_model(model: Any, filepath: str | os.PathLike[str], overwrite: bool = True, **kwargs: Any) -> None:
    """Write architecture, weights, optimiser and its state to a ``.keras`` archive, in one step.

    Parameters
    ----------
    filepath : a name that ends in ".keras", or in ".h5" for the older format; or an open binary file.
    include_optimizer : whether the optimiser's state is written.

    Raises
    ------
    NotSerializableError : a layer or function in the model cannot be written down, such as a lambda.
    """
    include_optimizer = kwargs.pop("include_optimizer", True)
    if kwargs.pop("save_format", None) is not None:
        raise ValueError("The `save_format` argument is deprecated: the file's name tells the format")
    if kwargs:
        raise ValueError(f"The following argument(s) are not supported: {list(kwargs)}")
    if hasattr(filepath, "write"):
        filepath.write(model_bytes(model, include_optimizer))
        return
    path = Path(os.fspath(filepath))
    if not path.name.endswith((".keras", ".h5", ".hdf5")):
        raise FileNameError(
            f"Invalid filepath extension for saving: {path.name}: models are written to .keras archives",
            code="keras.file-format",
            hint="name the file .keras; weights alone go to .safetensors or .weights.h5 (save_weights), "
            "and model.export writes ONNX",
        )  # fmt: skip
    if not overwrite and path.exists():
        raise FileExistsError(f"{filepath} exists, and overwrite=False")
    if path.suffix == ".keras":
        safetensors.write_atomically(path, model_bytes(model, include_optimizer))
    else:
        legacy.save_model(model, path, include_optimizer)


def model_bytes(model: Any, include_optimizer: bool = True) -> bytes:
    """A ``.keras`` archive in memory. NotSerializableError where a part of the model cannot be written down."""
    try:
        text = json.dumps(serialize_keras_object(model))
    except TypeError as error:
        from gradloom.keras.saving.serialization import NotSerializableError

        if isinstance(error, NotSerializableError):
            raise
        raise NotSerializableError(
            f"{model.name!r} cannot be written: {error}", code="keras.not-serializable",
            hint="lambdas cannot be saved: use named functions that are registered",
        ) from error  # fmt: skip
    values = values_of(model, include_optimizer)
    from gradloom import __version__

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(METADATA, json.dumps({"gradloom_version": __version__, "format": "gradloom.keras"}))
        archive.writestr(CONFIG, text)
        weights = io.BytesIO()
        safetensors.write_to(weights, _tensors(values), {"format": "gradloom"})
        archive.writestr(OURS, weights.getvalue())
    return buffer.getvalue()


def load_model(
    filepath: str | os.PathLike[str], custom_objects: Any = None, compile: bool = True, safe_mode: bool = True
) -> Any:
    """The model of a ``.keras`` archive, or of an older ``.h5`` file, that :func:`save_model` or Keras wrote.

    Raises
    ------
    FileError : a file that is damaged, or no archive.
    UnknownObjectError : it holds a class that is neither the library's nor registered, or code.
    """
    if not safe_mode:
        raise NotSupportedError("safe_mode=False: code in files is never run", code="keras.safe-mode")
    if hasattr(filepath, "read"):
        return _model_in(filepath, Path(str(getattr(filepath, "name", "file"))), custom_objects, compile)
    path = Path(os.fspath(filepath))
    if path.name.endswith((".h5", ".hdf5")):
        return legacy.load_model(path, custom_objects, compile)
    if not path.name.endswith(".keras"):
        raise FileNameError(
            f"File format not supported: {path.name}: models are read from .keras and .h5 files",
            code="keras.file-format",
            hint="make the model in code and use load_weights for .safetensors and .weights.h5 files",
        )  # fmt: skip
    if not path.exists():
        raise missing(path)
    return _model_in(path, path, custom_objects, compile)


def model_from_bytes(data: bytes) -> Any:
    """The model of a ``.keras`` archive in memory."""
    return _model_in(io.BytesIO(data), Path("model.keras"), None, True)


def _model_in(source: Any, path: Path, custom_objects: Any, compile: bool) -> Any:
    with _opened(source, path) as archive:
        try:
            config = json.loads(_entry(archive, CONFIG, path))
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise FileError(f"{path}: {CONFIG} is not JSON: {error}", code="keras.archive") from error
        if not isinstance(config, dict) or "class_name" not in config:
            raise FileError(f"{path}: {CONFIG} describes no model", code="keras.archive")
        values = _values_in(archive, path)
    if not compile:
        config.pop("compile_config", None)
    model = deserialize_keras_object(config, custom_objects)
    if not hasattr(model, "weights"):
        raise FileError(f"{path} holds {type(model).__name__}, not a model", code="keras.archive")
    put_values(model, values, str(path))
    state = {k.rpartition("/")[2]: v for k, v in values.items() if k.startswith("optimizer/vars/")}
    if compile and state and getattr(model, "optimizer", None) is not None:
        model.optimizer.build(model.trainable_weights)
        if len(state) == len(model.optimizer.variables):
            model.optimizer.load_own_variables(state)
    return model


def _opened(source: Any, path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(source)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise FileError(f"{path}: not a readable .keras archive: {error}", code="keras.archive") from error


def _entry(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        if archive.getinfo(name).file_size > LIMIT:
            raise FileError(f"{path}: {name} is larger than {LIMIT} bytes", code="keras.archive")
        return archive.read(name)
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path}: {name} is missing or damaged", code="keras.archive") from error


def _values_in(archive: zipfile.ZipFile, path: Path) -> dict[str, np.ndarray]:
    import tempfile

    names = archive.namelist()
    if OURS in names:
        with tempfile.TemporaryDirectory() as folder:
            name = Path(folder) / "weights.safetensors"
            name.write_bytes(_entry(archive, OURS, path))
            return {k: np.array(v.numpy()) for k, v in safetensors.load(name).items()}
    if KERAS in names:
        return _h5_values(io.BytesIO(_entry(archive, KERAS, path)))
    raise FileError(f"{path} holds no weights", code="keras.archive")
