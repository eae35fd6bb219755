"""Decoded arrays kept on disk: written atomically, checked against a SHA-256, mapped into memory when found again.

A cache may be missing, read-only, damaged or filled by several processes at once: it is then slower, never wrong.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np

from gradloom.paths import cache_folder

__all__ = ["atomic_write", "digest", "folder", "load_array", "save_array"]


def folder(name: str) -> Path:
    """Where the data set ``name`` is kept (:func:`gradloom.paths.cache_folder`)."""
    return cache_folder("datasets", name)


def digest(array: np.ndarray) -> str:
    """SHA-256 of an array's values in C order, as hexadecimal digits."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A file open for writing that takes ``path``'s place when the block ends well, and leaves no trace otherwise.

    Raises
    ------
    OSError : the folder cannot be made or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def save_array(path: Path, array: np.ndarray) -> bool:
    """Write ``array`` as a .npy file; False where the place cannot be written (then nothing is left behind)."""
    try:
        with atomic_write(path) as file:
            np.save(file, array, allow_pickle=False)
    except OSError:
        return False
    return True


def load_array(path: Path, sha256: str) -> np.ndarray | None:
    """The array kept at ``path``, mapped from the file; None where it is missing, damaged or another than asked for.

    The map is copy-on-write: the array may be changed in place and the file stays as it is.
    """
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if not isinstance(array, np.ndarray) or digest(array) != sha256:
        return None
    return array.view(np.ndarray)
