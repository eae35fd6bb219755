"""Where the package keeps what it can make or fetch again: one folder of caches, the same rules for all of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder(*parts: str) -> Path:
    """The cache folder, or the folder named by ``parts`` below it. Nothing is created.

    ``GRADLOOM_CACHE_DIR`` names it. Otherwise it is ``gradloom`` in the platform's place for caches: ``LOCALAPPDATA``
    on Windows, ``~/Library/Caches`` on macOS, elsewhere ``XDG_CACHE_HOME`` or ``~/.cache`` (XDG Base Directory
    Specification). The environment is read at each call; an empty variable counts as unset.

    Raises
    ------
    RuntimeError : the place is below the home folder and there is none.
    """
    named = os.environ.get("GRADLOOM_CACHE_DIR")
    if named:
        return Path(named, *parts)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base.joinpath("gradloom", *parts)
