"""What Whisper hears: logarithms of mel bands of 30 s (Radford et al. 2023)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.audio import filters
from gradloom.audio.checks import mono
from gradloom.errors import ArgumentError, ShapeError
from gradloom.functions import PUBLIC
from gradloom.nn import functional as F
from gradloom.tape import composite
from gradloom.tensor import Tensor, tensor

__all__ = ["CHUNK", "FRAMES", "HOP", "RATE", "log_mel_spectrogram", "pad_or_trim"]

RATE, HOP, WINDOW = 16000, 160, 400
CHUNK = 30 * RATE  # samples that the model takes at once
FRAMES = CHUNK // HOP


def pad_or_trim(array: Any, length: int = CHUNK, axis: int = -1) -> Tensor:
    """A tensor cut, or filled with zeros, to ``length`` along an axis."""
    x = array if isinstance(array, Tensor) else tensor(np.asarray(array))
    axis = axis + x.ndim if axis < 0 else axis
    if x.shape[axis] >= length:
        return G.narrow(x, axis, 0, length)
    pads = [0] * (2 * (x.ndim - axis))
    pads[-1] = length - x.shape[axis]
    return F.pad(x, pads)


@composite
def _log_mel(x: Tensor, window: Tensor, bank: Tensor) -> Tensor:
    spectrum = PUBLIC["stft"](x, WINDOW, HOP, window=window, return_complex=True)
    re, im = PUBLIC["real"](spectrum)[..., :-1], PUBLIC["imag"](spectrum)[..., :-1]
    y = G.log(G.clamp(G.matmul(bank, re * re + im * im), 1e-10)) * (1.0 / math.log(10.0))
    y = G.maximum(y, G.amax(y, (-2, -1), True) - 8.0)
    return (y + 4.0) / 4.0


def log_mel_spectrogram(audio: Any, n_mels: int = 80, padding: int = 0) -> Tensor:
    """Features of sound at 16 kHz, (time,) or (batch, time) to (…, n_mels, time // 160).

    Parameters
    ----------
    n_mels : 80, or 128 for the third large model.
    padding : zeros put behind the sound.

    Values lie at most 2 below the greatest of each item. Raises ShapeError for several channels or less than 201
    samples, DTypeError for integers.
    """
    if n_mels not in (80, 128):
        raise ArgumentError(f"log_mel_spectrogram: n_mels is {n_mels}", hint="80 or 128")
    x = mono("log_mel_spectrogram", audio, batched=True)
    if padding:
        x = F.pad(x, (0, padding))
    if x.shape[-1] <= WINDOW // 2:
        raise ShapeError(
            f"log_mel_spectrogram: {x.shape[-1]} samples, at least {WINDOW // 2 + 1} are needed", code="shape.audio",
            hint="pad_or_trim fills sound up to 30 s",
        )  # fmt: skip
    kind = x.detach().dtype
    bank = filters.mel_bank(WINDOW // 2 + 1, 0.0, RATE / 2, n_mels, RATE, "slaney", "slaney")
    return _log_mel(
        x, PUBLIC["hann_window"](WINDOW, dtype=kind), G.cast(tensor(np.ascontiguousarray(bank.T.astype("f4"))), kind)
    )
