"""Sound: files, features, models that hear speech, and decoding of what they heard."""

from __future__ import annotations

from gradloom.audio import functional, models, transforms
from gradloom.audio.features import log_mel_spectrogram, pad_or_trim
from gradloom.audio.files import AudioMetaData, info, load, save
from gradloom.audio.tokens import WhisperTokenizer

__all__ = [
    "AudioMetaData", "WhisperTokenizer", "functional", "info", "load", "log_mel_spectrogram", "models", "pad_or_trim",
    "save", "transforms",
]  # fmt: skip
