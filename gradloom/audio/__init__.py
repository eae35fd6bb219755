"""Sound: files, features, models that hear speech, and decoding of what they heard."""

from __future__ import annotations

from gradloom.audio import functional, models, transforms
from gradloom.audio.activity import Speech, SpeechStream, frame_energy, speech_of
from gradloom.audio.decoding import StreamingGreedy, ctc_beam_search, ctc_greedy
from gradloom.audio.features import log_mel_spectrogram, pad_or_trim
from gradloom.audio.files import AudioMetaData, info, load, save
from gradloom.audio.tokens import WhisperTokenizer

__all__ = [
    "AudioMetaData", "Speech", "SpeechStream", "StreamingGreedy", "WhisperTokenizer", "ctc_beam_search", "ctc_greedy",
    "frame_energy", "functional", "info", "load", "log_mel_spectrogram", "models", "pad_or_trim", "save", "speech_of",
    "transforms",
]  # fmt: skip
