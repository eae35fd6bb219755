"""Who the compiler is: hashes of the sources in use, which name what is kept on disk."""

from __future__ import annotations

import hashlib
import time
from functools import lru_cache
from pathlib import Path

__all__ = ["sources_hash"]

_SINCE = time.time() - 2.0  # modules were read just before this one


@lru_cache(maxsize=8)
def sources_hash(*places: Path) -> str | None:
    """Hash of source files and of all those in folders.

    None where one was written to since the process began, for then what runs may not be what is there, and where they
    cannot be read, as in an archive.
    """
    digest = hashlib.sha256()
    for place in places:
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.name.encode())
            try:
                if path.stat().st_mtime > _SINCE:
                    return None
                digest.update(path.read_bytes())
            except OSError:
                return None
    return digest.hexdigest()
