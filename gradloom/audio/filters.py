"""Filters as arrays: mel banks, cosine bases, and the kernels that change a sample rate."""

from __future__ import annotations

import functools
import math

import numpy as np

from gradloom.errors import ArgumentError

__all__ = ["cosine_basis", "hz_to_mel", "mel_bank", "mel_to_hz", "resampling_kernel"]

_LINEAR = 200.0 / 3.0  # Slaney: Hz for each mel below 1000 Hz
_BREAK = 1000.0 / _LINEAR
_STEP = math.log(6.4) / 27.0  # and above it a factor of 6.4 in 27 mels


def _checked(scale: str) -> None:
    if scale not in ("htk", "slaney"):
        raise ArgumentError(f"mel_scale is {scale!r}", hint='"htk" or "slaney"')


def hz_to_mel(f: np.ndarray | float, mel_scale: str = "htk") -> np.ndarray:
    """Frequencies in Hz as mels, float64; HTK's 2595 log10(1 + f / 700), or Slaney's, linear below 1 kHz."""
    _checked(mel_scale)
    hz = np.asarray(f, np.float64)
    if mel_scale == "htk":
        return 2595.0 * np.log10(1.0 + hz / 700.0)
    return np.where(hz < 1000.0, hz / _LINEAR, _BREAK + np.log(np.maximum(hz, 1.0) / 1000.0) / _STEP)


def mel_to_hz(mels: np.ndarray | float, mel_scale: str = "htk") -> np.ndarray:
    """Inverse of :func:`hz_to_mel`."""
    _checked(mel_scale)
    m = np.asarray(mels, np.float64)
    if mel_scale == "htk":
        return 700.0 * (10.0 ** (m / 2595.0) - 1.0)
    return np.where(m < _BREAK, m * _LINEAR, 1000.0 * np.exp(_STEP * (np.maximum(m, _BREAK) - _BREAK)))


@functools.lru_cache(maxsize=64)
def mel_bank(
    n_freqs: int, f_min: float, f_max: float, n_mels: int, sample_rate: int, norm: str | None, mel_scale: str
) -> np.ndarray:
    """Triangles that overlap by half, evenly spaced in mels, float64 (n_freqs, n_mels).

    norm: "slaney" gives each triangle the same area.
    """
    if norm not in (None, "slaney"):
        raise ArgumentError(f"norm is {norm!r}", hint='None or "slaney"')
    if n_mels < 1 or not 0.0 <= f_min < f_max:
        raise ArgumentError(f"{n_mels} mel bands from {f_min} to {f_max} Hz", hint="f_min < f_max, at least one band")
    frequencies = np.linspace(0, sample_rate // 2, n_freqs)
    corners = mel_to_hz(np.linspace(hz_to_mel(f_min, mel_scale), hz_to_mel(f_max, mel_scale), n_mels + 2), mel_scale)
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    up = (frequencies[:, None] - left) / (middle - left)
    down = (right - frequencies[:, None]) / (right - middle)
    bank = np.maximum(0.0, np.minimum(up, down))
    if norm == "slaney":
        bank *= 2.0 / (right - left)
    bank.flags.writeable = False
    return bank


def cosine_basis(n_mfcc: int, n_mels: int, norm: str | None) -> np.ndarray:
    """Basis of the discrete cosine transform of the second kind, float64 (n_mels, n_mfcc)."""
    if norm not in (None, "ortho"):
        raise ArgumentError(f"norm is {norm!r}", hint='None or "ortho"')
    if not 1 <= n_mfcc <= n_mels:
        raise ArgumentError(f"{n_mfcc} coefficients of {n_mels} mel bands", hint="at most as many as bands")
    basis = np.cos(np.pi / n_mels * (np.arange(n_mels)[:, None] + 0.5) * np.arange(n_mfcc))
    if norm is None:
        return basis * 2.0
    basis[:, 0] *= math.sqrt(0.5)
    return basis * math.sqrt(2.0 / n_mels)


@functools.lru_cache(maxsize=64)
def resampling_kernel(
    old: int, new: int, width: int, rolloff: float, method: str, beta: float | None
) -> tuple[np.ndarray, int]:
    """One windowed sinc for each of the ``new`` phases, float64 (new, length), and how far it reaches to the left.

    ``old`` and ``new`` have no common divisor. Output j of a block is the filter j over the block's samples. Reference:
    J. O. Smith, Digital Audio Resampling, 2002.
    """
    if width < 1 or not 0.0 < rolloff <= 1.0:
        raise ArgumentError(f"lowpass_filter_width is {width}, rolloff {rolloff}", hint="at least 1, and within (0, 1]")
    if method not in ("sinc_interp_hann", "sinc_interp_kaiser"):
        raise ArgumentError(f"resampling_method is {method!r}", hint='"sinc_interp_hann" or "sinc_interp_kaiser"')
    cut = min(old, new) * rolloff  # both rates in units of their greatest common divisor
    reach = math.ceil(width * old / cut)
    t = np.arange(-reach, reach + old) / old - np.arange(new)[:, None] / new
    t = np.clip(t * cut, -width, width)
    if method == "sinc_interp_hann":
        window = np.cos(t * np.pi / width / 2) ** 2
    else:
        shape = 14.769656459379492 if beta is None else float(beta)
        window = np.i0(shape * np.sqrt(1 - (t / width) ** 2)) / np.i0(shape)
    kernel = np.sinc(t) * window * (cut / old)
    kernel.flags.writeable = False
    return kernel, reach
