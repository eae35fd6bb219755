"""``gradloom.version``: what this is, in the places where PyTorch says so."""

from __future__ import annotations

from gradloom import __version__

__all__ = ["__version__", "cuda", "debug", "git_version", "hip", "xpu"]

debug = False
cuda: str | None = None
hip: str | None = None
xpu: str | None = None
git_version = "unknown"
