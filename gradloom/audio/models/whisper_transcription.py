"""Text of sound of any length by Whisper: one window of 30 s after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.audio.checks import finite, mono, same_rate
from gradloom.audio.features import CHUNK, FRAMES, HOP, RATE, log_mel_spectrogram, pad_or_trim
from gradloom.audio.models.whisper import Whisper
from gradloom.audio.models.whisper_decoding import DecodingOptions, DecodingResult, decode, detect_language
from gradloom.audio.tokens import TIME, WhisperTokenizer
from gradloom.errors import ArgumentError
from gradloom.modes import no_grad
from gradloom.random import Generator
from gradloom.tensor import Tensor

__all__ = ["Segment", "Transcription", "transcribe"]

_FRAMES_OF_TIME = round(TIME * RATE / HOP)  # features between two tokens of time


@dataclass(frozen=True)
class Segment:
    """A stretch of text with its times in seconds, and how sure the model was."""

    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


@dataclass(frozen=True)
class Transcription:
    """The whole text, its stretches, and the language."""

    text: str
    segments: list[Segment]
    language: str


def transcribe(
    model: Whisper,
    tokenizer: WhisperTokenizer,
    audio: Any,
    *,
    sample_rate: int | None = None,
    temperature: float | Sequence[float] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    compression_ratio_threshold: float | None = 2.4,
    logprob_threshold: float | None = -1.0,
    no_speech_threshold: float | None = 0.6,
    condition_on_previous_text: bool = True,
    initial_prompt: str | None = None,
    progress: Callable[[float, float], None] | None = None,
    generator: Generator | None = None,
    **given: Any,
) -> Transcription:
    """Text of sound at 16 kHz, however long.

    A window of 30 s is decoded; the next begins at the last time that the model has said, or 30 s on where it has
    said none. A text that repeats itself, or that the model is unsure of, is looked for again at the next higher
    temperature. What the model takes for silence is left out. The text so far is the prompt of the next window, unless
    it came from a temperature above 0.5 (section 4.5 of Radford et al. 2023).

    Parameters
    ----------
    audio : (time,) or (1, time), floats in [-1, 1].
    sample_rate : of the audio, to have it checked.
    temperature : one, or several to be tried one after the other.
    compression_ratio_threshold, logprob_threshold : beyond these a text is looked for again.
    no_speech_threshold : above it, and unsure, a window is silence.
    progress : called with the seconds that are done and those in all.
    given : see :class:`DecodingOptions`.

    Raises
    ------
    DTypeError, ShapeError, ArgumentError : integers, several channels or nothing, NaN or another sample rate.
    """
    same_rate("transcribe", sample_rate, RATE)
    x = finite("transcribe", mono("transcribe", audio)).detach()
    temperatures = [temperature] if isinstance(temperature, (int, float)) else list(temperature)
    if not temperatures:
        raise ArgumentError("transcribe: no temperature", hint="0.0, or several to be tried")
    with no_grad():
        mel = log_mel_spectrogram(G.cast(x, "float32"), model.dims.n_mels, CHUNK)
    count = x.shape[-1] // HOP
    language = given.pop("language", None)
    if language is None:
        language = "en"
        if model.is_multilingual:
            language = next(iter(detect_language(model, tokenizer, pad_or_trim(mel, FRAMES))[0]))
    before = tokenizer.encode(" " + initial_prompt.strip()) if initial_prompt else []
    reset, seek = 0, 0
    segments: list[Segment] = []
    while seek < count:
        size = min(FRAMES, count - seek)
        window = pad_or_trim(mel[:, seek : seek + size], FRAMES)
        prompt = before[reset:]
        result = _sure(
            model, tokenizer, window, temperatures, compression_ratio_threshold, logprob_threshold,
            no_speech_threshold, generator, {**given, "language": language, "prompt": prompt or None},
        )  # fmt: skip
        silent = no_speech_threshold is not None and result.no_speech_prob > no_speech_threshold
        if silent and not (logprob_threshold is not None and result.avg_logprob > logprob_threshold):
            pieces: Iterator[tuple[int, int, list[int]]] = iter(())
            step = size
        else:
            pieces, step = _split(result.tokens, tokenizer.timestamp_begin, size)
        for first, last, tokens in pieces:
            text = tokenizer.decode(tokens)
            if first == last or not text.strip():
                continue
            at = seek * HOP / RATE
            segments.append(
                Segment(
                    round(at + first * TIME, 3),
                    round(at + last * TIME, 3),
                    text,
                    tokens,
                    result.temperature,
                    result.avg_logprob,
                    result.compression_ratio,
                    result.no_speech_prob,
                )
            )
            before += tokens
        if not condition_on_previous_text or result.temperature > 0.5:
            reset = len(before)
        seek += step
        if progress is not None:
            progress(min(seek, count) * HOP / RATE, x.shape[-1] / RATE)
    return Transcription("".join(s.text for s in segments).strip(), segments, language)


def _sure(
    model: Whisper, tokenizer: WhisperTokenizer, window: Tensor, temperatures: Sequence[float],
    ratio: float | None, logprob: float | None, silence: float | None, generator: Generator | None,
    given: dict[str, Any],
) -> DecodingResult:  # fmt: skip
    """The first text that does not repeat itself and that the model is sure of, or the last one tried."""
    with no_grad():
        sound = model.embed_audio(G.unsqueeze(window, 0)).detach()
    result: DecodingResult | None = None
    for t in temperatures:
        options = DecodingOptions(**{**given, "temperature": t, **({"beam_size": None} if t else {})})
        result = decode(model, tokenizer, sound, options, generator=generator)[0]
        unsure = logprob is not None and result.avg_logprob < logprob
        repeats = ratio is not None and result.compression_ratio > ratio
        silent = silence is not None and result.no_speech_prob > silence and unsure
        if silent or not (unsure or repeats):
            break
    assert result is not None
    return result


def _split(tokens: list[int], begin: int, size: int) -> tuple[Iterator[tuple[int, int, list[int]]], int]:
    """Stretches (first time, last time, tokens) of a window, and by how many features to go on.

    Times are counted in units of 0.02 s from the window's start. size: features of the window.
    """
    times = np.asarray(tokens) >= begin if tokens else np.zeros(0, bool)
    pairs = [k for k in range(1, len(tokens)) if times[k - 1] and times[k]]
    ends_once = times[-2:].tolist() == [False, True]
    if not pairs:
        said = [t - begin for t in tokens if t >= begin and t != begin]
        last = said[-1] if said else -(-size // _FRAMES_OF_TIME)
        return iter([(0, last, tokens)]), size
    cuts = [*pairs, len(tokens)] if ends_once else pairs
    parts = [tokens[a:b] for a, b in zip([0, *cuts[:-1]], cuts, strict=True)]
    found = [(p[0] - begin, p[-1] - begin, p) for p in parts]
    step = size if ends_once else found[-1][1] * _FRAMES_OF_TIME
    return iter(found), max(step, 1)
