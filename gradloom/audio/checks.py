"""What audio functions ask of their input: a waveform of floats that is not empty."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.tensor import Tensor, tensor

__all__ = ["finite", "mono", "same_rate", "waveform"]


def waveform(name: str, x: Any, least: int = 1) -> Tensor:
    """A tensor of floats (..., time) with at least ``least`` samples.

    Raises DTypeError for integers, which are samples that have not been scaled to [-1, 1], and ShapeError for less.
    """
    t = x if isinstance(x, Tensor) else tensor(np.asarray(x))
    if not t.dtype.is_floating_point:
        raise DTypeError(
            f"{name}: a waveform of dtype {t.dtype.name}", code="dtype.audio",
            hint="samples are floats in [-1, 1]: divide int16 by 32768, or read the file with gradloom.audio.load",
        )  # fmt: skip
    if t.ndim == 0 or t.shape[-1] < least:
        raise ShapeError(
            f"{name}: a waveform of shape {tuple(t.shape)}, expected at least {least} samples along the last axis",
            code="shape.audio", hint="the audio is empty or too short" if t.ndim else "a waveform is (..., time)",
        )  # fmt: skip
    return t


def mono(name: str, x: Any, batched: bool = False, least: int = 1) -> Tensor:
    """One channel, (time,), or (batch, time) where ``batched``; a first axis of size 1 of a file goes.

    Raises ShapeError for several channels.
    """
    t = waveform(name, x, least)
    if batched and t.ndim == 2:
        return t
    if t.ndim == 2 and t.shape[0] == 1:
        t = t[0]
    if t.ndim != 1:
        raise ShapeError(
            f"{name}: a waveform of shape {tuple(t.shape)}, expected one channel of shape (time,)",
            code="shape.audio", hint="mix channels first: waveform.mean(0)",
        )  # fmt: skip
    return t


def finite(name: str, x: Tensor) -> Tensor:
    """The waveform itself. Raises ArgumentError with the place of the first NaN or infinity; looks at values."""
    a = x.detach().numpy()
    if not np.isfinite(a).all():
        at = tuple(int(n) for n in np.argwhere(~np.isfinite(a))[0])
        raise ArgumentError(
            f"{name}: the waveform has {a[at]} at {at[0] if len(at) == 1 else at}", code="argument.audio",
            hint="the file or what was done to it is damaged; nan_to_num takes NaN out",
        )  # fmt: skip
    return x


def same_rate(name: str, given: int | None, expected: int) -> None:
    """Raise ArgumentError where audio of another sample rate is handed in. None: taken to be right."""
    if given is not None and given != expected:
        raise ArgumentError(
            f"{name}: audio of {given} Hz, expected {expected} Hz", code="argument.audio",
            hint=f"gradloom.audio.functional.resample(waveform, {given}, {expected})",
        )  # fmt: skip
