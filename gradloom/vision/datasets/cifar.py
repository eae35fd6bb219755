"""CIFAR-10 and CIFAR-100: pickled batches, read without running what is in them."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradloom.errors import FileError
from gradloom.io.pickled import _INSTRUCTIONS, Function, Reader
from gradloom.io.pictures import pillow
from gradloom.vision.datasets.base import Transform, VisionDataset


class _Numbers:
    """An array as its pickle makes it: first the object, then its state."""

    def __init__(self, *empty: Any) -> None:
        self.value = np.zeros(0, np.uint8)

    def pickled_state(self, state: Any) -> None:
        """Take shape, dtype, order and values."""
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Type) or not isinstance(data, str | bytes):
            raise TypeError("an array of other things than numbers")
        raw = data.encode("latin-1") if isinstance(data, str) else data
        self.value = np.frombuffer(raw, dtype.value).reshape(tuple(map(int, shape)), order="F" if fortran else "C")


class _Type:
    """A dtype as its pickle makes it; only bytes and integers occur."""

    def __init__(self, code: Any, *rest: Any) -> None:
        if code not in ("u1", "i4", "i8"):
            raise ValueError(f"dtype {code!r} is not one of pictures and labels")
        self.value = np.dtype(code)

    def pickled_state(self, state: Any) -> None:
        """Take the byte order."""
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


def _encode(text: str, how: str) -> bytes:
    """Bytes that Python 3 wrote as text for Python 2; the reader has left that text's UTF-8 undecoded."""
    if how not in ("latin1", "latin-1"):
        raise ValueError("text in an unexpected encoding")
    return text.encode("latin-1").decode("utf-8").encode("latin-1")


_ARRAY = object()  # the class, which is only handed on
_NAMES: dict[str, Any] = {
    "numpy ndarray": _ARRAY,
    "numpy dtype": Function("numpy.dtype", _Type),
    "_codecs encode": Function("_codecs.encode", _encode),
    **{
        f"{module}.multiarray _reconstruct": Function("numpy's _reconstruct", _Numbers)
        for module in ("numpy.core", "numpy._core")
    },
}


class _Batch(Reader):
    """A batch that Python 2 pickled: its strings are bytes. Its length is bounded by the file, which is in memory."""

    def text(self, raw: bytes) -> str:
        """One character a byte."""
        return raw.decode("latin-1")

    def steps(self) -> None:
        """Obey instructions up to the one that stops."""
        while True:
            op = self.take(1)[0]
            if op == 0x2E:
                return
            if op not in _INSTRUCTIONS:
                raise FileError(f"instruction {bytes([op])!r} is not one that data need", code="io.pickle")
            _INSTRUCTIONS[op](self)


def read_batch(path: Path) -> dict[str, Any]:
    """The dictionary in a file of CIFAR's; arrays as NumPy's.

    Raises
    ------
    FileError : the file is damaged, holds something else, or asks for code. It names the file.
    """
    try:
        found = _Batch(path.read_bytes(), 0, _NAMES, None).run()
    except FileError as error:
        raise FileError(f"{path}: {error}", code="io.cifar", hint="delete the file and fetch it again") from error
    if not isinstance(found, dict):
        raise FileError(f"{path} holds no batch of CIFAR's", code="io.cifar", hint="delete it and fetch it again")
    return {
        key.decode() if isinstance(key, bytes) else key: value.value if isinstance(value, _Numbers) else value
        for key, value in found.items()
    }


class CIFAR10(VisionDataset):
    """Pictures of ten kinds of things, 32 by 32, RGB: 50000 to train, 10000 to test (Krizhevsky 2009).

    Parameters
    ----------
    root : folder that ``cifar-10-batches-py`` is in
    train : the training part
    transform, target_transform : functions of the picture and of the class
    download : fetch the archive, if the folder is missing

    Attributes
    ----------
    data : uint8 array (N, 32, 32, 3)
    targets : list of int
    classes, class_to_idx

    Raises
    ------
    StateError : files are missing. FileError : a file is damaged. DownloadError : the archive cannot be had.
    """

    base_folder = "cifar-10-batches-py"
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    filename = "cifar-10-python.tar.gz"
    sha256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
    train_list: Sequence[str] = tuple(f"data_batch_{k}" for k in range(1, 6))
    test_list: Sequence[str] = ("test_batch",)
    meta = ("batches.meta", "label_names")
    labels = "labels"

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        if download:
            self.download()
        parts: list[np.ndarray] = []
        self.targets: list[int] = []
        for name in self.train_list if train else self.test_list:
            path, batch = self._read(name)
            data, labels = batch.get("data"), batch.get(self.labels)
            if not isinstance(data, np.ndarray) or data.shape[1:] != (3072,) or data.dtype != np.uint8:
                raise self._odd(path, "'data' is not a uint8 array (N, 3072)")
            if not isinstance(labels, list) or len(labels) != len(data) or not all(type(k) is int for k in labels):
                raise self._odd(path, f"{self.labels!r} is not a list of {len(data)} integers")
            parts.append(data)
            self.targets += labels
        self.data = np.ascontiguousarray(np.concatenate(parts).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        path, found = self._read(self.meta[0])
        names = found.get(self.meta[1])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self._odd(path, f"{self.meta[1]!r} is not a list of names")
        self.classes: list[str] = names
        if self.targets and not 0 <= min(self.targets) <= max(self.targets) < len(names):
            raise self._odd(path, f"{len(names)} names for classes up to {max(self.targets)}")
        self.class_to_idx = {name: k for k, name in enumerate(names)}

    def _odd(self, path: Path, what: str) -> FileError:
        return FileError(f"{path}: {what}", code="io.cifar", hint="delete the file and fetch it again")

    def _folder(self) -> Path:
        return Path(str(self.root)) / self.base_folder

    def _read(self, name: str) -> tuple[Path, dict[str, Any]]:
        path = self._folder() / name
        if not path.is_file():
            raise self._missing(str(path))
        return path, read_batch(path)

    def download(self) -> None:
        """Fetch the archive, unless the files are there, and take them out. DownloadError where it cannot be had."""
        names = [*self.train_list, *self.test_list, self.meta[0]]
        if all((self._folder() / name).is_file() for name in names):
            return
        from gradloom.datasets.cache import atomic_write
        from gradloom.datasets.download import fetch

        archive = fetch([self.url], Path(str(self.root)) / self.filename, self.sha256)
        with tarfile.open(archive) as file:
            for name in names:
                entry = file.extractfile(f"{self.base_folder}/{name}")
                if entry is None:
                    raise self._odd(archive, f"{name} is no file")
                with atomic_write(self._folder() / name) as out:
                    out.write(entry.read())

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._sample(pillow().fromarray(self.data[index]), self.targets[index])

    def __len__(self) -> int:
        return len(self.data)

    def extra_repr(self) -> str:
        """The part."""
        return f"Split: {'Train' if self.train else 'Test'}"


class CIFAR100(CIFAR10):
    """Pictures of a hundred kinds of things (Krizhevsky 2009). Parameters as for `CIFAR10`."""

    base_folder = "cifar-100-python"
    url = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    filename = "cifar-100-python.tar.gz"
    sha256 = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
    train_list = ("train",)
    test_list = ("test",)
    meta = ("meta", "fine_label_names")
    labels = "fine_labels"
