"""A folder of compiled objects, found by name, that several processes may share and that may be lost at any time.

A file is a magic word, the SHA-256 of the payload, and the payload. It is written under another name and then moved
into place, so a reader sees all of it or none. Whatever goes wrong (no folder, no permission, a full disk, a damaged
file) costs a recompilation and counts in :attr:`DiskCache.failures`; nothing is raised.

The files are machine code, so a folder that another user owns or that everyone may write to is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from pathlib import Path

from gradloom.paths import cache_folder

__all__ = ["DiskCache", "default_folder"]

_MAGIC = b"GLK1"
_HEAD = len(_MAGIC) + 32
_REFRESH_SECONDS = 24 * 3600.0
_SWEEP_BYTES = 32 << 20


def default_folder() -> Path:
    """Where compiled kernels are kept (:func:`gradloom.paths.cache_folder`)."""
    return cache_folder("kernels")


class DiskCache:
    """Objects by name in ``folder``, at most about ``limit`` bytes of them (0: the cache is off).

    Attributes
    ----------
    failures : how often reading or writing failed, damaged files included.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self.failures = 0
        self._usable: bool | None = None
        self._until_sweep = 0  # bytes that may be written before the folder is looked through; the first write looks

    def get(self, name: str) -> bytes | None:
        """The object of that name, or None where there is none or it is damaged (then it is removed)."""
        if not self._ready(create=False):
            return None
        path = self.folder / f"{name}.o"
        try:
            with open(path, "rb") as f:
                data = f.read()
                modified = os.fstat(f.fileno()).st_mtime
        except FileNotFoundError:
            return None
        except OSError:
            self.failures += 1
            return None
        payload = data[_HEAD:]
        if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : _HEAD] != hashlib.sha256(payload).digest():
            self.failures += 1
            self._remove(path)
            return None
        if time.time() - modified > _REFRESH_SECONDS:  # what is used stays; not on every read, writes cost
            with contextlib.suppress(OSError):
                os.utime(path)
        return payload

    def put(self, name: str, payload: bytes) -> None:
        """Store an object, replacing one of the same name."""
        if not self._ready(create=True):
            self.failures += 1
            return
        size = _HEAD + len(payload)
        temporary = None
        try:
            handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=self.folder)
            with os.fdopen(handle, "wb") as f:
                f.write(_MAGIC + hashlib.sha256(payload).digest() + payload)
            os.replace(temporary, self.folder / f"{name}.o")
        except OSError:
            self.failures += 1
            if temporary is not None:
                self._remove(Path(temporary))
            return
        self._until_sweep -= size
        if self._until_sweep < 0:
            self._sweep()

    def _ready(self, create: bool) -> bool:
        """Whether the folder may be used. A missing one is made for the first write and looked for until then."""
        if self.limit <= 0:
            return False
        if self._usable is None:
            try:
                if create:
                    self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                info = self.folder.stat()
            except FileNotFoundError:
                return False
            except (OSError, RuntimeError):
                self._usable = False
                return False
            foreign = hasattr(os, "getuid") and info.st_uid not in (os.getuid(), 0)
            open_to_all = os.name == "posix" and info.st_mode & 0o002
            self._usable = self.folder.is_dir() and not foreign and not open_to_all
        return self._usable

    def _remove(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove the files used longest ago until nine tenths of the limit are left, and what dead writers left."""
        found: list[tuple[float, int, str]] = []
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    try:
                        info = entry.stat()
                    except OSError:  # another process was quicker
                        continue
                    if entry.name.endswith(".o"):
                        found.append((info.st_mtime, info.st_size, entry.path))
                    elif entry.name.endswith(".tmp") and time.time() - info.st_mtime > 3600:
                        self._remove(Path(entry.path))
        except OSError:
            self.failures += 1
            return
        total = sum(size for _, size, _ in found)
        if total > self.limit:
            for _, size, path in sorted(found):
                if total <= self.limit * 9 // 10:
                    break
                self._remove(Path(path))
                total -= size
        self._until_sweep = min(_SWEEP_BYTES, max(0, self.limit - total))
