"""Pillow, which reads and writes pictures: imported where it is first used, and missed with words."""

from __future__ import annotations

import importlib
from typing import Any

from gradloom.errors import NotSupportedError


def pillow(module: str = "Image", code: str = "vision.pillow") -> Any:
    """One of Pillow's modules. Raises NotSupportedError with this code where Pillow is not installed."""
    try:
        return importlib.import_module(f"PIL.{module}")
    except ImportError as error:
        raise NotSupportedError(
            "pictures are read and written by Pillow, which is not installed", code=code,
            hint="pip install 'gradloom[images]'",
        ) from error  # fmt: skip
