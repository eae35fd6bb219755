"""Models of sound: speech recognition and voice activity."""

from __future__ import annotations

from gradloom.audio.models.conformer import Conformer, ConformerCTC
from gradloom.audio.models.deepspeech import DeepSpeech2, SpeechState
from gradloom.audio.models.relative import RelativeAttention
from gradloom.audio.models.silero import SileroVAD, VADState, load_silero_vad
from gradloom.audio.models.whisper import ModelDimensions, Whisper, WhisperState
from gradloom.audio.models.whisper_decoding import DecodingOptions, DecodingResult, decode, detect_language
from gradloom.audio.models.whisper_files import load_whisper, read_ctranslate2
from gradloom.audio.models.whisper_transcription import Segment, Transcription, transcribe

__all__ = [
    "Conformer", "ConformerCTC", "DecodingOptions", "DecodingResult", "DeepSpeech2", "ModelDimensions",
    "RelativeAttention", "Segment", "SileroVAD", "SpeechState", "Transcription", "VADState", "Whisper", "WhisperState",
    "decode", "detect_language", "load_silero_vad", "load_whisper", "read_ctranslate2", "transcribe",
]  # fmt: skip
