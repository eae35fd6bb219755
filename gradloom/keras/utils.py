"""Helpers, by the names that Keras gives them."""

from __future__ import annotations

import hashlib
import itertools
import os
import random as python_random
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gradloom.errors import FileError
from gradloom.io.pictures import pillow
from gradloom.keras import absent, bounding_boxes
from gradloom.keras.batched import Batched, Texts
from gradloom.keras.config import (
    clear_session,
    disable_interactive_logging,
    enable_interactive_logging,
    is_interactive_logging_enabled,
    standardize_dtype,
)
from gradloom.keras.features import FeatureSpace
from gradloom.keras.inputs import check_labels
from gradloom.keras.models.trainer import unpack_x_y_sample_weight
from gradloom.keras.plotting import model_to_dot, plot_model
from gradloom.keras.saving import (
    CustomObjectScope,
    custom_object_scope,
    deserialize_keras_object,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
    serialize_keras_object,
)
from gradloom.keras.variables import is_keras_tensor
from gradloom.train.progress import Progress

__all__ = [
    "CustomObjectScope", "FeatureSpace", "Progbar", "PyDataset", "Sequence", "array_to_img", "bounding_boxes",
    "clear_session", "custom_object_scope",
    "deserialize_keras_object", "disable_interactive_logging", "enable_interactive_logging", "get_custom_objects",
    "get_file", "get_registered_name", "get_registered_object", "get_source_inputs", "image_dataset_from_directory",
    "img_to_array", "is_interactive_logging_enabled", "is_keras_tensor", "load_img", "model_to_dot", "normalize",
    "pack_x_y_sample_weight", "pad_sequences", "plot_model", "register_keras_serializable", "save_img",
    "serialize_keras_object",
    "set_random_seed", "split_dataset", "standardize_dtype", "text_dataset_from_directory",
    "timeseries_dataset_from_array", "to_categorical", "unpack_x_y_sample_weight",
]  # fmt: skip


__getattr__ = absent.names_of("utils")


def get_source_inputs(tensor: Any) -> list[Any]:
    """The symbolic inputs that a symbolic tensor hangs on, each once."""
    if not is_keras_tensor(tensor):
        raise ValueError(f"Argument `tensor` must be a symbolic tensor. Received: {tensor}")
    found: dict[int, Any] = {}
    seen: set[int] = set()
    todo = [tensor]
    while todo:
        x = todo.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        history = x._keras_history
        before = history.operation._inbound_nodes[history.node_index].inputs if history is not None else []
        if not before:
            found[id(x)] = x
        todo.extend(reversed(before))
    return list(found.values())


def set_random_seed(seed: int) -> None:
    """Seed Python's, NumPy's and gradloom's random numbers: weights, shuffling and dropout repeat themselves."""
    from gradloom import random

    if not isinstance(seed, int):
        raise ValueError(f"Expected `seed` argument to be an integer. Received: seed={seed} (of type {type(seed)})")
    python_random.seed(seed)
    np.random.seed(seed % (1 << 32))
    random.manual_seed(seed)


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """Class numbers (...,) or (..., 1) as one-hot float32 arrays (..., num_classes).

    Raises
    ------
    IndexRangeError : a number outside of 0 to ``num_classes - 1``.
    """
    labels = np.asarray(x, np.int64)
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    classes = int(labels.max()) + 1 if num_classes is None else num_classes
    check_labels(np.atleast_1d(labels), classes)
    return (labels[..., None] == np.arange(classes)).astype(np.float32)


def normalize(x: Any, axis: int = -1, order: int = 2) -> Any:
    """Vectors along an axis brought to length 1, by the norm of an order; zeros stay."""
    array = np.asarray(x)
    norms = np.atleast_1d(np.linalg.norm(array, order, axis))
    norms[norms == 0] = 1
    return array / np.expand_dims(norms, axis)


def pad_sequences(
    sequences: Any, maxlen: int | None = None, dtype: Any = "int32", padding: str = "pre", truncating: str = "pre",
    value: Any = 0.0,
) -> np.ndarray:  # fmt: skip
    """Lists of different lengths as one array (n, maxlen, ...): filled and cut at the front ("pre") or the end."""
    if not hasattr(sequences, "__len__"):
        raise ValueError("`sequences` must be iterable.")
    for what, given in (("padding", padding), ("truncating", truncating)):
        if given not in ("pre", "post"):
            raise ValueError(f"{what}={given!r}: expected 'pre' or 'post'")
    rows = [np.asarray(s) for s in sequences]
    length = max((len(r) for r in rows), default=0) if maxlen is None else maxlen
    sample = next((r.shape[1:] for r in rows if len(r)), ())
    found = np.full((len(rows), length, *sample), value, dtype=dtype)
    for k, row in enumerate(rows):
        if not len(row):
            continue
        if row.shape[1:] != sample:
            raise ValueError(f"Shape of sample {row.shape[1:]} of sequence at position {k} is different from expected "
                             f"shape {sample}")  # fmt: skip
        cut = row[-length:] if truncating == "pre" else row[:length]
        if length == 0:
            continue
        if padding == "pre":
            found[k, length - len(cut) :] = cut
        else:
            found[k, : len(cut)] = cut
    return found


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """x, (x, y) or (x, y, sample_weight), as short as can be."""
    if y is None:
        return (x,) if isinstance(x, list | tuple) else x
    return (x, y) if sample_weight is None else (x, y, sample_weight)


class PyDataset:
    """Base of data sets that make batches by number: define ``__getitem__`` and ``__len__``.

    ``on_epoch_end`` is called after each epoch. ``workers`` and ``use_multiprocessing`` are for those who read them:
    batches are made by the caller's thread.
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        self.workers, self.use_multiprocessing, self.max_queue_size = workers, use_multiprocessing, max_queue_size

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__ method")

    def __len__(self) -> int:
        if self.num_batches is None:
            raise TypeError(f"{type(self).__name__} has no end: it has no __len__ method and no num_batches")
        return int(self.num_batches)

    @property
    def num_batches(self) -> int | None:
        """How many batches there are; None where there is no end."""
        return None if type(self).__len__ is PyDataset.__len__ else len(self)

    def on_epoch_begin(self) -> None:
        """Before each epoch."""

    def on_epoch_end(self) -> None:
        """After each epoch."""

    def __iter__(self) -> Iterator[Any]:
        count = self.num_batches
        return (self[k] for k in (itertools.count() if count is None else range(count)))


Sequence = PyDataset


def timeseries_dataset_from_array(
    data: Any, targets: Any, sequence_length: int, sequence_stride: int = 1, sampling_rate: int = 1,
    batch_size: int | None = 128, shuffle: bool = False, seed: Any = None, start_index: int | None = None,
    end_index: int | None = None, format: str = "tf",
) -> Batched:  # fmt: skip
    """Windows over the first axis: batches (windows, targets), or windows alone where targets are None.

    Parameters
    ----------
    sequence_stride : steps between two windows. sampling_rate : steps between two entries of a window.
    """
    for what, value in (("sequence_stride", sequence_stride), ("sampling_rate", sampling_rate),
                        ("sequence_length", sequence_length)):  # fmt: skip
        if value <= 0:
            raise ValueError(f"`{what}` must be higher than 0. Received: {what}={value}")
    array = np.asarray(data)
    begin, end = start_index or 0, len(array) if end_index is None else end_index
    if begin < 0 or begin >= len(array):
        raise ValueError(f"`start_index` must be 0 at least, and lower than the length of the data. Received: {begin}")
    rows = None if targets is None else np.asarray(targets)
    span = (sequence_length - 1) * sampling_rate + 1
    last = min(end, len(array)) - begin - span + 1
    if rows is not None:
        last = min(last, len(rows)) if end_index is None and start_index is None else last
    starts = np.arange(0, max(last, 0), sequence_stride)
    inside = np.arange(sequence_length) * sampling_rate

    def load(index: np.ndarray) -> Any:
        at = starts[index]
        windows = array[begin + at[:, None] + inside]
        return windows if rows is None else (windows, rows[at])

    return Batched(load, len(starts), batch_size, shuffle, seed)


# files --------------------------------------------------------------------------------------------------------------


def load_img(
    path: Any, color_mode: str = "rgb", target_size: Any = None, interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> Any:  # fmt: skip
    """An image file as a Pillow image."""
    image_module = pillow(code="keras.pillow")
    modes = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
    if color_mode not in modes:
        raise ValueError(f"color_mode={color_mode!r}: expected one of {', '.join(map(repr, modes))}")
    with image_module.open(path) as image:
        found = image.convert(modes[color_mode])
    if target_size is not None and found.size != (target_size[1], target_size[0]):
        kinds = {"nearest": 0, "bilinear": 2, "bicubic": 3, "lanczos": 1, "box": 4, "hamming": 5}
        if keep_aspect_ratio:
            from gradloom.keras.images import fitted

            h, w = fitted((found.size[1], found.size[0]), (target_size[0], target_size[1]), True)
            left, top = (found.size[0] - w) // 2, (found.size[1] - h) // 2
            found = found.crop((left, top, left + w, top + h))
        found = found.resize((target_size[1], target_size[0]), kinds[interpolation])
    return found


def img_to_array(img: Any, data_format: Any = None, dtype: Any = None) -> np.ndarray:
    """A Pillow image as an array (h, w, channels)."""
    from gradloom.keras.config import checked_format

    found = np.asarray(img, dtype=standardize_dtype(dtype))
    found = found[:, :, None] if found.ndim == 2 else found
    return found.transpose(2, 0, 1) if checked_format(data_format) == "channels_first" else found


def array_to_img(x: Any, data_format: Any = None, scale: bool = True, dtype: Any = None) -> Any:
    """An array (h, w, channels) as a Pillow image, spread over 0 to 255 with ``scale``."""
    from gradloom.keras.config import checked_format

    array = np.asarray(x, np.float32)
    if array.ndim != 3:
        raise ValueError(f"Expected image array to have rank 3 (single image). Got array with shape: {array.shape}")
    if checked_format(data_format) == "channels_first":
        array = array.transpose(1, 2, 0)
    if scale:
        array = array - array.min()
        array = array / (array.max() or 1.0) * 255.0
    array = array.astype(np.uint8)
    return pillow(code="keras.pillow").fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def save_img(path: Any, x: Any, data_format: Any = None, file_format: Any = None, scale: bool = True,
             **kwargs: Any) -> None:  # fmt: skip
    """Write an array as an image file."""
    array_to_img(x, data_format, scale).save(path, format=file_format, **kwargs)


def _indexed(
    directory: Any, endings: tuple[str, ...], labels: Any, class_names: Any, follow_links: bool
) -> tuple[list[Path], np.ndarray | None, list[str]]:
    """Files below a folder, their class numbers by sub-folder, and the classes' names."""
    root = Path(directory)
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")

    def files(folder: Path) -> list[Path]:
        walk = os.walk(folder, followlinks=follow_links)
        found = [Path(base) / name for base, _, names in walk for name in names]
        return sorted(p for p in found if p.suffix.lower() in endings)

    if labels is None or not isinstance(labels, str):
        paths = files(root)
        return paths, None if labels is None else np.asarray(labels, np.int32), list(class_names or [])
    names = list(class_names or sorted(p.name for p in root.iterdir() if p.is_dir()))
    paths, numbers = [], []
    for k, name in enumerate(names):
        mine = files(root / name)
        paths += mine
        numbers += [k] * len(mine)
    return paths, np.array(numbers, np.int32), names


def _folder_dataset(
    directory: Any, endings: tuple[str, ...], read: Any, labels: Any, label_mode: Any, class_names: Any,
    batch_size: int | None, shuffle: bool, seed: Any, validation_split: Any, subset: Any, follow_links: bool,
) -> Any:  # fmt: skip
    if label_mode not in ("int", "categorical", "binary", None):
        raise ValueError(f"label_mode={label_mode!r}: expected 'int', 'categorical', 'binary' or None")
    if (validation_split is None) != (subset is None):
        raise ValueError("validation_split and subset go together")
    if validation_split and shuffle and seed is None:
        raise ValueError("If using `validation_split` and shuffling the data, you must provide a `seed` argument, to "
                         "make sure that there is no overlap between the training and validation subset.")  # fmt: skip
    paths, numbers, names = _indexed(directory, endings, labels if label_mode else None, class_names, follow_links)
    if not paths:
        raise ValueError(f"No files found in directory {directory}. Allowed formats: {endings}")
    if numbers is not None and len(numbers) != len(paths):
        raise ValueError(f"{len(numbers)} labels were given for {len(paths)} files in {directory}")
    if shuffle:
        order = np.random.default_rng(seed).permutation(len(paths))
        paths, numbers = [paths[k] for k in order], None if numbers is None else numbers[order]

    def part(chosen: slice) -> Batched:
        mine, own = paths[chosen], None if numbers is None else numbers[chosen]

        def load(index: np.ndarray) -> Any:
            data = read([mine[k] for k in index])
            if own is None:
                return data
            y: Any = own[index]
            if label_mode == "categorical":
                y = to_categorical(y, len(names))
            elif label_mode == "binary":
                y = y.astype(np.float32)[:, None]
            return data, y

        return Batched(
            load, len(mine), batch_size, shuffle, seed, class_names=names or None, file_paths=[str(p) for p in mine]
        )

    if not validation_split:
        return part(slice(None))
    kept = len(paths) - int(validation_split * len(paths))
    parts = {"training": slice(0, kept), "validation": slice(kept, None)}
    if subset == "both":
        return part(parts["training"]), part(parts["validation"])
    if subset not in parts:
        raise ValueError(f"subset={subset!r}: expected 'training', 'validation' or 'both'")
    return part(parts[subset])


def image_dataset_from_directory(
    directory: Any, labels: Any = "inferred", label_mode: Any = "int", class_names: Any = None,
    color_mode: str = "rgb", batch_size: int | None = 32, image_size: Any = (256, 256), shuffle: bool = True,
    seed: Any = None, validation_split: float | None = None, subset: Any = None, interpolation: str = "bilinear",
    follow_links: bool = False, crop_to_aspect_ratio: bool = False, pad_to_aspect_ratio: bool = False,
    data_format: Any = None, format: str = "tf", verbose: bool = True,
) -> Any:  # fmt: skip
    """Batches (images, labels) of image files, one sub-folder a class: float32 images (n, h, w, channels), 0 to 255."""
    from gradloom.keras.layers import Resizing

    height, width = image_size
    layer = Resizing(height, width, interpolation, crop_to_aspect_ratio, pad_to_aspect_ratio, data_format=data_format)

    def read(paths: list[Path]) -> np.ndarray:
        return np.stack([layer(img_to_array(load_img(p, color_mode), data_format)).numpy() for p in paths])

    endings = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
    return _folder_dataset(directory, endings, read, labels, label_mode, class_names, batch_size, shuffle, seed,
                           validation_split, subset, follow_links)  # fmt: skip


def text_dataset_from_directory(
    directory: Any, labels: Any = "inferred", label_mode: Any = "int", class_names: Any = None,
    batch_size: int | None = 32, max_length: int | None = None, shuffle: bool = True, seed: Any = None,
    validation_split: float | None = None, subset: Any = None, follow_links: bool = False, format: str = "tf",
    verbose: bool = True,
) -> Any:  # fmt: skip
    """Batches (texts, labels) of ``.txt`` files, one sub-folder a class."""

    def read(paths: list[Path]) -> np.ndarray:
        return np.array([p.read_text("utf-8")[:max_length] for p in paths], dtype=object).view(Texts)

    return _folder_dataset(directory, (".txt",), read, labels, label_mode, class_names, batch_size, shuffle, seed,
                           validation_split, subset, follow_links)  # fmt: skip


def split_dataset(
    dataset: Any, left_size: Any = None, right_size: Any = None, shuffle: bool = False, seed: Any = None,
    preferred_backend: Any = None,
) -> tuple[Any, Any]:  # fmt: skip
    """Arrays, or a tuple of arrays, in two parts: sizes are shares or numbers of samples."""
    one = not isinstance(dataset, tuple)
    arrays = [np.asarray(a) for a in ((dataset,) if one else dataset)]
    count = len(arrays[0])
    if left_size is None and right_size is None:
        raise ValueError("At least one of the `left_size` or `right_size` must be specified. Received: None and None")

    def number(size: Any) -> int:
        return round(size * count) if isinstance(size, float) else int(size)

    left = number(left_size) if left_size is not None else count - number(right_size)
    right = number(right_size) if right_size is not None else count - left
    if left < 1 or right < 1 or left + right > count:
        raise ValueError(f"left_size={left_size} and right_size={right_size} do not go with {count} samples")
    order = np.random.default_rng(seed).permutation(count) if shuffle else np.arange(count)
    parts = [[a[chosen] for a in arrays] for chosen in (order[:left], order[count - right :])]
    return (parts[0][0], parts[1][0]) if one else (tuple(parts[0]), tuple(parts[1]))


def get_file(
    fname: Any = None, origin: str | None = None, untar: bool = False, md5_hash: str | None = None,
    file_hash: str | None = None, cache_subdir: str = "datasets", hash_algorithm: str = "auto", extract: bool = False,
    archive_format: Any = "auto", cache_dir: Any = None, force_download: bool = False,
) -> str:  # fmt: skip
    """Fetch a file once into the cache folder, check its hash, unpack it if asked; its path.

    Raises
    ------
    FileError : the hash is another, or an archive wants to write outside of its folder.
    """
    from gradloom.paths import cache_folder

    if origin is None:
        raise ValueError('Please specify the "origin" argument (URL of the file to download).')
    base = Path(cache_dir) if cache_dir is not None else cache_folder("keras")
    folder = base / cache_subdir
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(str(fname) if fname else origin.split("?")[0].rstrip("/").rsplit("/", 1)[-1]).name
    target = folder / name
    wanted = file_hash or md5_hash
    if force_download or not target.exists() or (wanted and not _matches(target, wanted)):
        from urllib.request import urlopen

        part = target.with_name(f".{name}.{os.getpid()}.part")
        try:
            with urlopen(origin) as source, open(part, "wb") as file:
                while block := source.read(1 << 20):
                    file.write(block)
            if wanted and not _matches(part, wanted):
                raise FileError(f"{origin}: the hash of what came is not {wanted}", code="keras.get-file")
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    return _unpacked(target) if untar or extract else str(target)


def _matches(path: Path, wanted: str) -> bool:
    kind = "sha256" if len(wanted) == 64 else "md5"
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest() == wanted.lower()


def _unpacked(path: Path) -> str:
    folder = path.with_name(path.name.split(".")[0] + "_extracted")
    if folder.exists():
        return str(folder)
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            root = folder.resolve()
            for entry in archive.namelist():
                if not (root / entry).resolve().is_relative_to(root):
                    raise FileError(f"{path}: entry {entry!r} lies outside of the archive", code="keras.get-file")
            archive.extractall(folder)
    else:
        return str(path)
    return str(folder)


class Progbar:
    """Progress by hand: ``update`` with the number of steps done and values.

    Parameters
    ----------
    target : how many steps there are, None where that is not known.
    stateful_metrics : names whose values are shown as they are; others as means over the steps.
    """

    def __init__(
        self, target: int | None, width: int = 20, verbose: int = 1, interval: float = 0.05,
        stateful_metrics: Any = None, stateless_metrics: Any = None, unit_name: str = "step",
    ) -> None:  # fmt: skip
        self.target, self.stateful = target, set(stateful_metrics or [])
        self._progress = Progress(verbose, epochs=0)
        self._progress.begin_epoch(0, target)
        self._sums: dict[str, tuple[float, int]] = {}
        self._seen = 0

    def update(self, current: int, values: Any = None, finalize: bool | None = None) -> None:
        """``current`` steps are done; values are pairs of name and number."""
        for name, value in values or []:
            total, count = self._sums.get(name, (0.0, 0))
            steps = max(current - self._seen, 1)
            self._sums[name] = (float(value), 1) if name in self.stateful else (
                total + float(value) * steps, count + steps)  # fmt: skip
        self._seen = current
        means = {name: total / max(count, 1) for name, (total, count) in self._sums.items()}
        if finalize or (finalize is None and self.target is not None and current >= self.target):
            self._progress.end_epoch(current, means)
        elif self._progress.due():
            self._progress.draw(current, means)

    def add(self, n: int, values: Any = None) -> None:
        """``n`` more steps are done."""
        self.update(self._seen + n, values)
