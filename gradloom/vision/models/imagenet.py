"""The 1000 classes of ImageNet-1k, in the order of the synsets' numbers; the names are WordNet's."""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["categories"]


@cache
def _names() -> tuple[str, ...]:
    return tuple((Path(__file__).parent / "imagenet.txt").read_text("utf-8").splitlines())


def categories() -> list[str]:
    """The names of the classes."""
    return list(_names())
