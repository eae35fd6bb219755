"""Models of sound: speech recognition and voice activity."""

from __future__ import annotations

from gradloom.audio.models.whisper import ModelDimensions, Whisper
from gradloom.audio.models.whisper_files import load_whisper, read_ctranslate2

__all__ = ["ModelDimensions", "Whisper", "load_whisper", "read_ctranslate2"]
