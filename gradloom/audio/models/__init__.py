"""Models of sound: speech recognition and voice activity."""

from __future__ import annotations

from gradloom.audio.models.whisper import ModelDimensions, Whisper
from gradloom.audio.models.whisper_decoding import DecodingOptions, DecodingResult, decode, detect_language
from gradloom.audio.models.whisper_files import load_whisper, read_ctranslate2
from gradloom.audio.models.whisper_transcription import Segment, Transcription, transcribe

__all__ = [
    "DecodingOptions", "DecodingResult", "ModelDimensions", "Segment", "Transcription", "Whisper", "decode",
    "detect_language", "load_whisper", "read_ctranslate2", "transcribe",
]  # fmt: skip
