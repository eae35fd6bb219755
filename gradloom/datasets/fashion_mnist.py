"""Fashion-MNIST: 60,000 + 10,000 grey images of 28 x 28 pixels, ten balanced classes of clothing. MIT licence.

The whole data set is shipped inside the package, so loading it needs no network.

Reference: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms", arXiv:1708.07747.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gradloom.datasets import cache
from gradloom.datasets.idx import read_idx
from gradloom.datasets.packed import unpack

__all__ = ["LABELS", "MIRRORS", "SOURCES", "load_data"]

LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

SOURCES = ("auto", "shipped", "system", "download")

MIRRORS = (
    "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
)

SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the four original files."""

_SHIPPED_FOLDER = Path(__file__).parent / "files" / "fashion_mnist"


class _Part(NamedTuple):
    """One of the four arrays."""

    name: str  # of the shipped parts and of the decoded copy in the cache
    file: str  # the original file's name
    file_sha256: str
    shape: tuple[int, ...]
    values_sha256: str  # of the array's bytes, wherever they came from


_PARTS = (
    _Part(
        "train-images",
        "train-images-idx3-ubyte.gz",
        "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
        (60000, 28, 28),
        "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
    ),
    _Part(
        "train-labels",
        "train-labels-idx1-ubyte.gz",
        "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
        (60000,),
        "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
    ),
    _Part(
        "test-images",
        "t10k-images-idx3-ubyte.gz",
        "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
        (10000, 28, 28),
        "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
    ),
    _Part(
        "test-labels",
        "t10k-labels-idx1-ubyte.gz",
        "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
        (10000,),
        "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
    ),
)

Arrays = tuple[np.ndarray, np.ndarray]


def load_data(
    source: str = "auto",
    *,
    folder: str | Path | None = None,
    mirrors: Sequence[str] = MIRRORS,
    progress: Callable[[int, int | None], None] | None = None,
) -> tuple[Arrays, Arrays]:
    """Load Fashion-MNIST.

    Parameters
    ----------
    source : "auto" takes the decoded copy of an earlier call, or else what is shipped; "shipped" decodes what is in
        the package; "system" reads the original files of Debian's package; "download" fetches the original files
        unless they are in ``folder``.
    folder : where decoded copies and fetched files are kept; the cache folder (``GRADLOOM_CACHE_DIR``) by default.
    mirrors : addresses, each with a final slash, below which the four original files are looked for.
    progress : for "download": called with the number of bytes of the present file so far and in all, or None.

    Returns
    -------
    ``(x_train, y_train), (x_test, y_test)`` : uint8 arrays of shapes (60000, 28, 28), (60000,), (10000, 28, 28),
        (10000,); pixels 0 (background) to 255, labels 0 to 9, named by ``LABELS``. They may be written to; the
        decoded copy does not change.

    Raises
    ------
    ValueError : an unknown source, or values that are not those of Fashion-MNIST.
    FileNotFoundError : "system" where Debian's package is not installed.
    DownloadError : "download" where no mirror has the file.
    """
    if source not in SOURCES:
        raise ValueError(f"source={source!r}: choose one of {', '.join(map(repr, SOURCES))}")
    place = Path(folder) if folder is not None else cache.folder("fashion-mnist")
    x_train, y_train, x_test, y_test = (_load(part, source, place, mirrors, progress) for part in _PARTS)
    return (x_train, y_train), (x_test, y_test)


def _load(
    part: _Part,
    source: str,
    place: Path,
    mirrors: Sequence[str],
    progress: Callable[[int, int | None], None] | None,
) -> np.ndarray:
    kept = place / f"{part.name}.npy"
    if source == "auto":
        array = cache.load_array(kept, part.values_sha256)
        if array is not None and array.shape == part.shape:
            return array
    if source == "download":
        from gradloom.datasets.download import fetch  # brings the HTTP client along, which nothing else needs

        path = fetch([m + part.file for m in mirrors], place / part.file, part.file_sha256, progress=progress)
        array = _read_gz(path)
    elif source == "system":
        array = _read_gz(SYSTEM_FOLDER / part.file)
    else:
        array = unpack(_SHIPPED_FOLDER, part.name)
    if array.shape != part.shape or cache.digest(array) != part.values_sha256:
        raise ValueError(
            f"{part.name} from source={source!r} is not Fashion-MNIST's: shape {array.shape} and SHA-256 "
            f"{cache.digest(array)}, expected {part.shape} and {part.values_sha256}"
        )
    if source != "system":
        cache.save_array(kept, array)
    return array if array.flags.writeable else array.copy()


def _read_gz(path: Path) -> np.ndarray:
    try:
        return read_idx(gzip.decompress(path.read_bytes()))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is missing; install Debian's package dataset-fashion-mnist") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
