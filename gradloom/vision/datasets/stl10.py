"""STL-10: raw pixels, column by column."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from gradloom.errors import ArgumentError, FileError
from gradloom.io.pictures import pillow
from gradloom.vision.datasets.base import Transform, VisionDataset

_FILES = (
    "train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "unlabeled_X.bin", "class_names.txt", "fold_indices.txt",
)  # fmt: skip


class STL10(VisionDataset):
    """Pictures of ten kinds of things, 96 by 96, RGB: 5000 to train, 8000 to test, 100000 without a class.

    Coates, Lee, Ng 2011.

    Parameters
    ----------
    root : folder that ``stl10_binary`` is in
    split : {"train", "train+unlabeled", "unlabeled", "test"}
    folds : one of the ten subsets of a thousand pictures of "train", 0 to 9; all of it unless given
    transform, target_transform : functions of the picture and of the class
    download : fetch the archive, if files are missing

    Attributes
    ----------
    data : uint8 array (N, 3, 96, 96)
    labels : int64 array (N,); -1 without a class
    classes

    Raises
    ------
    StateError : files are missing. FileError : a file is damaged. DownloadError : the archive cannot be had.
    """

    base_folder = "stl10_binary"
    url = "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"
    sha256 = "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866"
    splits = ("train", "train+unlabeled", "unlabeled", "test")

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        folds: int | None = None,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        if split not in self.splits:
            raise ArgumentError(f"split={split!r}: one of {', '.join(self.splits)}", code="argument.split")
        if folds is not None and (not 0 <= folds < 10 or not split.startswith("train")):
            raise ArgumentError(
                f"folds={folds!r} for split={split!r}: a number from 0 to 9, for the training part",
                code="argument.split",
            )
        self.split, self.folds = split, folds
        if download:
            self.download()
        parts = [self._part(name) for name in split.split("+")]
        if folds is not None:
            path = self._path("fold_indices.txt")
            try:
                chosen = np.array(path.read_text().splitlines()[folds].split(), np.int64)
                parts[0] = parts[0][0][chosen], parts[0][1][chosen]
            except (ValueError, IndexError) as error:
                raise FileError(f"{path} is damaged: {error}", code="io.stl10", hint="fetch the set again") from error
        self.data, self.labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        self.classes = self._path("class_names.txt").read_text().split()

    def _path(self, name: str) -> Path:
        path = Path(str(self.root)) / self.base_folder / name
        if not path.is_file():
            raise self._missing(str(path))
        return path

    def _part(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        path = self._path(f"{name}_X.bin")
        values = np.fromfile(path, np.uint8)
        if values.size % (3 * 96 * 96):
            raise FileError(
                f"{path} is cut short: {values.size} bytes are no whole number of pictures of 3 x 96 x 96",
                code="io.stl10", hint="fetch the set again",
            )  # fmt: skip
        data = values.reshape(-1, 3, 96, 96).transpose(0, 1, 3, 2)
        if name == "unlabeled":
            return data, np.full(len(data), -1, np.int64)
        path = self._path(f"{name}_y.bin")
        labels = np.fromfile(path, np.uint8).astype(np.int64) - 1
        if len(labels) != len(data):
            raise FileError(
                f"{path} has {len(labels)} labels for {len(data)} pictures", code="io.stl10", hint="fetch the set again"
            )
        return data, labels

    def download(self) -> None:
        """Fetch the archive, unless the files are there, and take them out. DownloadError where it cannot be had."""
        folder = Path(str(self.root)) / self.base_folder
        if all((folder / name).is_file() for name in _FILES):
            return
        from gradloom.datasets.cache import atomic_write
        from gradloom.datasets.download import fetch

        archive = fetch([self.url], Path(str(self.root)) / "stl10_binary.tar.gz", self.sha256)
        with tarfile.open(archive) as file:
            for name in _FILES:
                entry = file.extractfile(f"{self.base_folder}/{name}")
                if entry is None:
                    raise FileError(f"{archive}: {name} is no file", code="io.stl10", hint="fetch it again")
                with atomic_write(folder / name) as out:
                    while block := entry.read(1 << 24):
                        out.write(block)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        picture = pillow().fromarray(np.ascontiguousarray(self.data[index].transpose(1, 2, 0)))
        return self._sample(picture, int(self.labels[index]))

    def __len__(self) -> int:
        return len(self.data)

    def extra_repr(self) -> str:
        """The part."""
        return f"Split: {self.split}"
