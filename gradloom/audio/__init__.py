"""Sound: files, features, models that hear speech, and decoding of what they heard."""

from __future__ import annotations

from gradloom.audio import functional, transforms
from gradloom.audio.files import AudioMetaData, info, load, save

__all__ = ["AudioMetaData", "functional", "info", "load", "save", "transforms"]
