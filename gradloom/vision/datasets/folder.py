"""Pictures in folders, one folder a class."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from gradloom.errors import ArgumentError, FileError
from gradloom.io.pictures import pillow
from gradloom.vision.datasets.base import Transform, VisionDataset

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

Path = str | os.PathLike[str]


def has_file_allowed_extension(filename: str, extensions: str | Sequence[str]) -> bool:
    """Whether a file's name ends in one of the extensions (lower case), whatever its own case."""
    return filename.lower().endswith(extensions if isinstance(extensions, str) else tuple(extensions))


def is_image_file(filename: str) -> bool:
    """Whether a file's name ends as those of pictures do."""
    return has_file_allowed_extension(filename, IMG_EXTENSIONS)


def find_classes(directory: Path) -> tuple[list[str], dict[str, int]]:
    """The names of a folder's folders, sorted, and each one's number.

    Raises
    ------
    FileNotFoundError : the folder is missing, or has no folders.
    """
    directory = os.path.expanduser(directory)
    if not os.path.isdir(directory):
        raise FileNotFoundError(f"{directory} is no folder; expected one folder for each class below it")
    classes = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir())
    if not classes:
        raise FileNotFoundError(f"{directory} has no folders; expected one for each class")
    return classes, {name: k for k, name in enumerate(classes)}


def make_dataset(
    directory: Path,
    class_to_idx: dict[str, int] | None = None,
    extensions: str | Sequence[str] | None = None,
    is_valid_file: Callable[[str], bool] | None = None,
    allow_empty: bool = False,
) -> list[tuple[str, int]]:
    """The files of all classes, at any depth, in the order of their names, each with its class's number.

    Raises
    ------
    ArgumentError : both or neither of `extensions` and `is_valid_file`, or an empty `class_to_idx`.
    FileNotFoundError : a class has no file, unless `allow_empty`. The message names the classes.
    """
    if (extensions is None) == (is_valid_file is None):
        raise ArgumentError("give either extensions or is_valid_file", code="argument.files")
    if class_to_idx is None:
        class_to_idx = find_classes(directory)[1]
    elif not class_to_idx:
        raise ArgumentError("class_to_idx has no classes", code="argument.classes")
    valid = is_valid_file or (lambda path: has_file_allowed_extension(path, extensions or ()))
    directory = os.path.expanduser(directory)
    found: list[tuple[str, int]] = []
    empty: list[str] = []
    for name in sorted(class_to_idx):
        before = len(found)
        for folder, _, files in sorted(os.walk(os.path.join(directory, name), followlinks=True)):
            paths = (os.path.join(folder, file) for file in sorted(files))
            found += [(path, class_to_idx[name]) for path in paths if valid(path)]
        if len(found) == before:
            empty.append(name)
    if empty and not allow_empty:
        wanted = ""
        if extensions is not None:
            wanted = f" ending in {extensions if isinstance(extensions, str) else ', '.join(extensions)}"
        raise FileNotFoundError(
            f"{directory}: no files{wanted} for the classes {', '.join(empty)}; allow_empty=True accepts that"
        )
    return found


def default_loader(path: str) -> Any:
    """A picture in RGB. FileError where the file is none; it names the file."""
    image = pillow()
    with open(path, "rb") as file:
        try:
            return image.open(file).convert("RGB")
        except (OSError, SyntaxError, ValueError, image.DecompressionBombError) as error:
            raise FileError(
                f"{path} cannot be read as a picture: {error}",
                code="io.picture",
                hint="is_valid_file=... leaves out files that are no pictures",
            ) from error


class DatasetFolder(VisionDataset):
    """Files of any kind, one folder a class: ``root/CLASS/.../FILE``.

    Parameters
    ----------
    root : folder of the classes' folders
    loader : function of a path, giving a sample
    extensions : endings of the files that count, in lower case
    transform, target_transform : functions of the sample and of the class's number
    is_valid_file : function of a path, instead of `extensions`
    allow_empty : classes without files are no error

    Attributes
    ----------
    classes, class_to_idx, samples (path and number), targets (numbers)
    """

    def __init__(
        self,
        root: Path,
        loader: Callable[[str], Any],
        extensions: Sequence[str] | None = None,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.loader, self.extensions = loader, extensions
        self.classes, self.class_to_idx = self.find_classes(os.path.expanduser(root))
        self.samples = self.make_dataset(
            os.path.expanduser(root), self.class_to_idx, extensions, is_valid_file, allow_empty
        )
        self.targets = [number for _, number in self.samples]

    @staticmethod
    def make_dataset(
        directory: Path,
        class_to_idx: dict[str, int],
        extensions: Sequence[str] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> list[tuple[str, int]]:
        """Paths and numbers. A subclass may find them elsewhere."""
        return make_dataset(directory, class_to_idx, extensions, is_valid_file, allow_empty)

    def find_classes(self, directory: Path) -> tuple[list[str], dict[str, int]]:
        """The classes' names and numbers. A subclass may choose among the folders."""
        return find_classes(directory)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, target = self.samples[index]
        return self._sample(self.loader(path), target)

    def __len__(self) -> int:
        return len(self.samples)


class ImageFolder(DatasetFolder):
    """Pictures, one folder a class: ``root/CLASS/.../FILE``. `imgs` is another name of `samples`.

    Parameters
    ----------
    root, transform, target_transform, is_valid_file, allow_empty : as for `DatasetFolder`
    loader : function of a path; RGB pictures of Pillow's unless given
    """

    def __init__(
        self,
        root: Path,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        loader: Callable[[str], Any] = default_loader,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        extensions = IMG_EXTENSIONS if is_valid_file is None else None
        super().__init__(root, loader, extensions, transform, target_transform, is_valid_file, allow_empty)
        self.imgs = self.samples
