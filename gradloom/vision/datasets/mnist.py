"""MNIST and the sets in its format: files of IDX in ``root/NAME/raw``, compressed or not."""

from __future__ import annotations

import gzip
import lzma
import os
import string
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gradloom.datasets.idx import read_idx
from gradloom.errors import ArgumentError, FileError
from gradloom.io.pictures import pillow
from gradloom.tensor import Tensor, from_numpy
from gradloom.vision.datasets.base import Transform, VisionDataset

_OPENERS = {".gz": gzip.decompress, ".xz": lzma.decompress}


def find_file(folder: Path, name: str) -> Path | None:
    """A file, or what it is compressed into; None where neither is there."""
    paths = (folder / f"{name}{ending}" for ending in ("", *_OPENERS))
    return next((path for path in paths if path.is_file()), None)


def read_file(path: Path) -> np.ndarray:
    """An IDX file's array. FileError where it is damaged; it names the file."""
    data = path.read_bytes()
    try:
        array = read_idx(_OPENERS[path.suffix](data) if path.suffix in _OPENERS else data)
    except (ValueError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise FileError(
            f"{path} is damaged: {error}", code="io.idx", hint="delete the file and fetch it again"
        ) from error
    return array if array.flags.writeable else array.copy()


class MNIST(VisionDataset):
    """Handwritten digits, 28 by 28: 60000 to train, 10000 to test (LeCun et al. 1998).

    Parameters
    ----------
    root : folder that ``MNIST/raw`` is in
    train : the training part
    transform, target_transform : functions of the picture and of the class
    download : fetch the files that are missing

    Attributes
    ----------
    data : uint8 tensor (N, 28, 28)
    targets : int64 tensor (N,)
    classes, class_to_idx

    Raises
    ------
    StateError : files are missing. FileError : a file is damaged. DownloadError : no place has a file.
    """

    mirrors: ClassVar[Sequence[str]] = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    )
    resources: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    }
    classes: Sequence[str] = (
        "0 - zero", "1 - one", "2 - two", "3 - three", "4 - four",
        "5 - five", "6 - six", "7 - seven", "8 - eight", "9 - nine",
    )  # fmt: skip

    data: Tensor
    targets: Tensor

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
        images, targets = self._arrays()
        if len(images) != len(targets):
            raise FileError(
                f"{type(self).__name__}: {len(images)} pictures, {len(targets)} targets in {self.raw_folder}",
                code="io.idx",
                hint="the two files belong to different parts; fetch them again",
            )
        self.data, self.targets = from_numpy(images), from_numpy(targets)

    @property
    def raw_folder(self) -> str:
        """Where the files are."""
        return os.path.join(str(self.root), type(self).__name__, "raw")

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Each class's number."""
        return {name: k for k, name in enumerate(self.classes)}

    def _names(self) -> tuple[str, str]:
        """The files of pictures and of targets."""
        part = "train" if self.train else "t10k"
        return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Pictures, and targets as int64."""
        found = []
        for name in self._names():
            path = find_file(Path(self.raw_folder), name)
            if path is None:
                raise self._missing(os.path.join(self.raw_folder, name))
            found.append(read_file(path))
        return found[0], found[1].astype(np.int64)

    def _wanted(self) -> dict[str, str]:
        """The files to fetch, and their SHA-256."""
        return self.resources

    def download(self) -> None:
        """Fetch the files that are missing. DownloadError where no place has one."""
        from gradloom.datasets.download import fetch  # brings the HTTP client along

        for name, sha256 in self._wanted().items():
            folder = Path(self.raw_folder)
            if find_file(folder, os.path.splitext(name)[0]) is None:
                fetch([mirror + name for mirror in self.mirrors], folder / name, sha256)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        picture = pillow().fromarray(self.data.numpy()[index])
        return self._sample(picture, self._target(self.targets.numpy()[index]))

    def _target(self, target: Any) -> Any:
        return int(target)

    def __len__(self) -> int:
        return len(self.data)

    def extra_repr(self) -> str:
        """The part."""
        return f"Split: {'Train' if self.train else 'Test'}"


class FashionMNIST(MNIST):
    """Pieces of clothing in MNIST's format (Xiao et al. 2017), shipped with gradloom.

    Files in ``root/FashionMNIST/raw`` come first; without them the shipped ones are read, so that nothing needs to be
    fetched: ``download=True`` is taken for the sake of programs that say so.
    """

    classes = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )  # fmt: skip

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        if all(find_file(Path(self.raw_folder), name) for name in self._names()):
            return super()._arrays()
        from gradloom.datasets.fashion_mnist import load_data

        images, targets = load_data()[0 if self.train else 1]
        return images, targets.astype(np.int64)

    def download(self) -> None:
        """Nothing is to be fetched: the set is shipped."""


class KMNIST(MNIST):
    """Cursive Japanese characters in MNIST's format (Clanuwat et al. 2018). Parameters as for `MNIST`."""

    mirrors = ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",)
    resources = {
        "train-images-idx3-ubyte.gz": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "train-labels-idx1-ubyte.gz": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "t10k-images-idx3-ubyte.gz": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "t10k-labels-idx1-ubyte.gz": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    }
    classes = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


_MERGED = set("cijklmopsuvwxyz")  # small letters that look as the large ones do
_ALL = set(string.digits + string.ascii_letters)


class EMNIST(MNIST):
    """Handwritten digits and letters (Cohen et al. 2017). Pictures lie on their side in the files, and stay so.

    Parameters
    ----------
    root, train, transform, target_transform, download : as for `MNIST`
    split : {"byclass", "bymerge", "balanced", "letters", "digits", "mnist"}
        "letters" counts its classes from 1.
    """

    url = "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/gzip.zip"
    sha256 = "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"
    classes_split_dict: ClassVar[dict[str, list[str]]] = {
        "byclass": sorted(_ALL),
        "bymerge": sorted(_ALL - _MERGED),
        "balanced": sorted(_ALL - _MERGED),
        "letters": ["N/A", *string.ascii_lowercase],
        "digits": list(string.digits),
        "mnist": list(string.digits),
    }
    splits = tuple(classes_split_dict)

    def __init__(self, root: str | os.PathLike[str], split: str, **kwargs: Any) -> None:
        if split not in self.splits:
            raise ArgumentError(f"split={split!r}: one of {', '.join(self.splits)}", code="argument.split")
        self.split = split
        super().__init__(root, **kwargs)
        self.classes = self.classes_split_dict[split]

    def _names(self) -> tuple[str, str]:
        part = f"emnist-{self.split}-{'train' if self.train else 'test'}"
        return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"

    def download(self) -> None:
        """Fetch the archive of all parts, and take its files out. DownloadError where no place has it."""
        folder = Path(self.raw_folder)
        if all(find_file(folder, name) for name in self._names()):
            return
        from gradloom.datasets.cache import atomic_write
        from gradloom.datasets.download import fetch

        archive = fetch([self.url], folder / "gzip.zip", self.sha256)
        with zipfile.ZipFile(archive) as file:
            for entry in file.namelist():
                name = entry.rsplit("/", 1)[-1]
                if name.startswith("emnist-") and name.endswith("-ubyte.gz"):
                    with atomic_write(folder / name) as out:
                        out.write(file.read(entry))
        archive.unlink()


class QMNIST(MNIST):
    """MNIST made again from NIST's files, with all 60000 tests (Yadav and Bottou 2019).

    Parameters
    ----------
    root : folder that ``QMNIST/raw`` is in
    what : {"train", "test", "test10k", "test50k", "nist"}
        As `train` says unless given. "test10k" are MNIST's own tests, "test50k" the others, "nist" all digits.
    compat : targets are classes; else int64 tensors (8,) of all that is known about the digit
    train, transform, target_transform, download : as for `MNIST`
    """

    mirrors = ("https://raw.githubusercontent.com/facebookresearch/qmnist/master/",)
    resources = {
        "qmnist-train-images-idx3-ubyte.gz": "9e26a7bf1683614e065d7b76460ccd52807165b3f22561fb782bd9f38c52b51d",
        "qmnist-train-labels-idx2-int.gz": "2c05dc77f6b916b38e455e97ab129a42a444f3dbef09b278a366f82904e0dd9f",
        "qmnist-test-images-idx3-ubyte.gz": "43fc22bf7498b8fc98de98369d72f752d0deabc280a43a7bcc364ab19e57b375",
        "qmnist-test-labels-idx2-int.gz": "9fbcbe594c3766fdf4f0b15c5165dc0d1e57ac604e01422608bb72c906030d06",
        "xnist-images-idx3-ubyte.xz": "f075553993026d4359ded42208eff77a1941d3963c1eff49d6015814f15f0984",
        "xnist-labels-idx2-int.xz": "db042968723ec2b7aed5f1beac25d2b6e983b9286d4f4bf725f1086e5ae55c4f",
    }
    classes = MNIST.classes
    subsets: ClassVar[dict[str, str]] = {
        "train": "qmnist-train", "test": "qmnist-test", "test10k": "qmnist-test", "test50k": "qmnist-test",
        "nist": "xnist",
    }  # fmt: skip

    def __init__(
        self,
        root: str | os.PathLike[str],
        what: str | None = None,
        compat: bool = True,
        train: bool = True,
        **kwargs: Any,
    ) -> None:
        what = what or ("train" if train else "test")
        if what not in self.subsets:
            raise ArgumentError(f"what={what!r}: one of {', '.join(self.subsets)}", code="argument.split")
        self.what, self.compat = what, compat
        super().__init__(root, train, **kwargs)

    def _names(self) -> tuple[str, str]:
        part = self.subsets[self.what]
        return f"{part}-images-idx3-ubyte", f"{part}-labels-idx2-int"

    def _wanted(self) -> dict[str, str]:
        return {name: sha for name, sha in self.resources.items() if name.startswith(self.subsets[self.what])}

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        images, targets = super()._arrays()
        rows = {"test10k": slice(10000), "test50k": slice(10000, None)}.get(self.what, slice(None))
        return images[rows], targets[rows]

    def _target(self, target: Any) -> Any:
        return int(target[0]) if self.compat else from_numpy(target.copy())

    def extra_repr(self) -> str:
        """The part."""
        return f"Split: {self.what}"
