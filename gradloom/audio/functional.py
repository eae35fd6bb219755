"""Transforms of sound as functions, under torchaudio's names: all of them take batches and can be differentiated."""

from __future__ import annotations

import math

import numpy as np

from gradloom import functions as G
from gradloom.audio import filters
from gradloom.audio.checks import waveform as checked
from gradloom.dtypes import as_dtype
from gradloom.errors import ArgumentError, ShapeError
from gradloom.nn import functional as F
from gradloom.tensor import Tensor, tensor

__all__ = [
    "DB_to_amplitude", "add_noise", "amplitude_to_DB", "cmvn", "compute_deltas", "create_dct", "deemphasis",
    "griffinlim", "inverse_spectrogram", "mask_along_axis", "mask_along_axis_iid", "melscale_fbanks",
    "mu_law_decoding", "mu_law_encoding", "preemphasis", "resample", "sliding_window_cmn", "spectral_centroid",
    "spectrogram",
]  # fmt: skip

_stft, _istft, _real, _imag, _rand, _cumsum, _complex = (
    G.PUBLIC[n] for n in ("stft", "istft", "real", "imag", "rand", "cumsum", "complex")
)


def _constant(array: np.ndarray, like: Tensor | None = None) -> Tensor:
    kind = np.float32 if like is None else as_dtype(like.dtype).numpy
    return tensor(np.ascontiguousarray(array.astype(kind)))


# -- spectra -------------------------------------------------------------------------------------------------
def _norms(normalized: bool | str) -> tuple[bool, bool]:
    """Whether by the frame's length, and whether by the window."""
    if normalized not in (True, False, "window", "frame_length"):
        raise ArgumentError(f"normalized is {normalized!r}", hint='a bool, "window" or "frame_length"')
    return normalized == "frame_length", normalized in (True, "window")


def power_of(spectrum: Tensor, power: float) -> Tensor:
    """|x|**power of complex values; the gradient at 0 is 0 for a power of 2, and for 1 as that of abs."""
    re, im = _real(spectrum), _imag(spectrum)
    if power == 2.0:
        return re * re + im * im
    size = G.abs(spectrum)
    return size if power == 1.0 else size**power


def spectrogram(
    waveform: Tensor,
    pad: int,
    window: Tensor,
    n_fft: int,
    hop_length: int,
    win_length: int,
    power: float | None,
    normalized: bool | str = False,
    center: bool = True,
    pad_mode: str = "reflect",
    onesided: bool = True,
) -> Tensor:
    """Spectra of frames, (..., time) to (..., n_fft // 2 + 1, frames).

    Parameters
    ----------
    pad : zeros put on both sides first.
    window : (win_length,), put in the middle of n_fft.
    power : 2 for energies, 1 for magnitudes, None for complex values.
    normalized : True or "window" divides by the window's norm, "frame_length" by the root of n_fft.
    center, pad_mode : frame t lies around sample t * hop_length, the signal being padded at its ends.
    """
    x = checked("spectrogram", waveform)
    if pad:
        x = F.pad(x, (pad, pad))
    lead = tuple(x.shape[:-1])
    if center and pad_mode == "reflect" and x.shape[-1] <= n_fft // 2:
        raise ShapeError(
            f"spectrogram: {x.shape[-1]} samples cannot be reflected at their ends by {n_fft // 2}",
            code="shape.audio", hint='a longer waveform, a smaller n_fft, or pad_mode="constant"',
        )  # fmt: skip
    by_length, by_window = _norms(normalized)
    flat = G.reshape(x, (math.prod(lead), x.shape[-1]))
    out = _stft(flat, n_fft, hop_length, win_length, window, center, pad_mode, by_length, onesided, True)
    out = G.reshape(out, (*lead, *out.shape[-2:]))
    if by_window:
        out = out / G.sqrt(G.sum(window * window))
    return out if power is None else power_of(out, float(power))


def inverse_spectrogram(
    spectrogram: Tensor,
    length: int | None,
    pad: int,
    window: Tensor,
    n_fft: int,
    hop_length: int,
    win_length: int,
    normalized: bool | str = False,
    center: bool = True,
    pad_mode: str = "reflect",
    onesided: bool = True,
) -> Tensor:
    """The waveform (..., time) of complex spectra (..., frequencies, frames); inverse of :func:`spectrogram`.

    pad_mode is taken for the sake of the same arguments: padding is cut off, whatever it held.
    """
    by_length, by_window = _norms(normalized)
    x = spectrogram * G.sqrt(G.sum(window * window)) if by_window else spectrogram
    lead = tuple(x.shape[:-2])
    flat = G.reshape(x, (math.prod(lead), *x.shape[-2:]))
    total = None if length is None else length + 2 * pad
    y = _istft(flat, n_fft, hop_length, win_length, window, center, by_length, onesided, total)
    if pad:
        y = y[:, pad:-pad] if length is None else y[:, pad : pad + length]
    return G.reshape(y, (*lead, y.shape[-1]))


def griffinlim(
    specgram: Tensor,
    window: Tensor,
    n_fft: int,
    hop_length: int,
    win_length: int,
    power: float,
    n_iter: int,
    momentum: float,
    length: int | None,
    rand_init: bool,
) -> Tensor:
    """A waveform whose spectra have these sizes, (..., frequencies, frames) to (..., time); phases are made up.

    References: Griffin and Lim 1984; with momentum, Perraudin, Balazs and Søndergaard 2013.
    """
    if not 0.0 <= momentum < 1.0:
        raise ArgumentError(f"griffinlim: momentum is {momentum}", hint="within [0, 1)")
    share = momentum / (1.0 + momentum)
    lead = tuple(specgram.shape[:-2])
    size = G.reshape(specgram, (math.prod(lead), *specgram.shape[-2:])) ** (1.0 / power)
    shape = tuple(size.shape)
    if rand_init:
        phase = _complex(_rand(*shape, dtype=size.dtype), _rand(*shape, dtype=size.dtype))
    else:
        phase = _complex(G.ones(shape, dtype=size.dtype), G.zeros(shape, dtype=size.dtype))
    before: Tensor | None = None
    for _ in range(n_iter):
        y = _istft(size * phase, n_fft, hop_length, win_length, window, length=length)
        now = _stft(y, n_fft, hop_length, win_length, window, return_complex=True)
        phase = now if before is None or not share else now - before * share
        phase = phase / (G.abs(phase) + 1e-16)
        before = now
    y = _istft(size * phase, n_fft, hop_length, win_length, window, length=length)
    return G.reshape(y, (*lead, y.shape[-1]))


def spectral_centroid(
    waveform: Tensor, sample_rate: int, pad: int, window: Tensor, n_fft: int, hop_length: int, win_length: int
) -> Tensor:
    """The mean frequency in Hz of each frame, weighted by magnitude: (..., time) to (..., frames)."""
    size = spectrogram(waveform, pad, window, n_fft, hop_length, win_length, 1.0)
    at = _constant(np.linspace(0, sample_rate // 2, 1 + n_fft // 2).reshape(-1, 1), size)
    return G.sum(at * size, -2) / G.sum(size, -2)


# -- scales --------------------------------------------------------------------------------------------------
def amplitude_to_DB(
    x: Tensor, multiplier: float, amin: float, db_multiplier: float, top_db: float | None = None
) -> Tensor:
    """``multiplier * log10(max(x, amin))`` less ``multiplier * db_multiplier``.

    multiplier: 10 for energies, 20 for magnitudes. top_db: nothing is further below the greatest value of its item
    (channel, frequency, time) of a batch.
    """
    y = multiplier * G.log10(G.clamp(x, amin)) - multiplier * db_multiplier
    if top_db is None:
        return y
    axes = tuple(range(-min(3, y.ndim), 0))
    return G.maximum(y, G.amax(y, axes, True) - top_db)


def DB_to_amplitude(x: Tensor, ref: float, power: float) -> Tensor:
    """``ref * (10**(x / 10))**power``: power 1 gives energies, 0.5 magnitudes."""
    return ref * G.exp(x * (0.1 * power * math.log(10.0)))


def melscale_fbanks(
    n_freqs: int,
    f_min: float,
    f_max: float,
    n_mels: int,
    sample_rate: int,
    norm: str | None = None,
    mel_scale: str = "htk",
) -> Tensor:
    """Triangular filters (n_freqs, n_mels), evenly spaced in mels ("htk" or "slaney"); norm "slaney": equal areas."""
    return _constant(filters.mel_bank(n_freqs, float(f_min), float(f_max), n_mels, sample_rate, norm, mel_scale))


def create_dct(n_mfcc: int, n_mels: int, norm: str | None) -> Tensor:
    """Basis of the cosine transform that makes cepstra, (n_mels, n_mfcc); norm "ortho" or None."""
    return _constant(filters.cosine_basis(n_mfcc, n_mels, norm))


def mu_law_encoding(x: Tensor, quantization_channels: int) -> Tensor:
    """Samples within [-1, 1] as int64 codes from 0 to ``quantization_channels - 1`` (ITU-T G.711)."""
    x = checked("mu_law_encoding", x)
    mu = quantization_channels - 1.0
    y = G.sign(x) * G.log1p(mu * G.abs(x)) / math.log1p(mu)
    return G.cast((y + 1.0) / 2.0 * mu + 0.5, "int64")


def mu_law_decoding(x_mu: Tensor, quantization_channels: int) -> Tensor:
    """Inverse of :func:`mu_law_encoding`, float32."""
    mu = quantization_channels - 1.0
    x = (x_mu if x_mu.dtype.is_floating_point else G.cast(x_mu, "float32")) / mu * 2.0 - 1.0
    return G.sign(x) * (G.exp(G.abs(x) * math.log1p(mu)) - 1.0) / mu


# -- waveforms -----------------------------------------------------------------------------------------------
def resample(
    waveform: Tensor,
    orig_freq: int,
    new_freq: int,
    lowpass_filter_width: int = 6,
    rolloff: float = 0.99,
    resampling_method: str = "sinc_interp_hann",
    beta: float | None = None,
) -> Tensor:
    """Sound at another sample rate, (..., time) to (..., ceil(time * new_freq / orig_freq)); a polyphase filter.

    Parameters
    ----------
    lowpass_filter_width : zero crossings of the sinc on each side; more is sharper and slower.
    rolloff : where the filter cuts, as a share of the lower rate's Nyquist frequency.
    resampling_method : "sinc_interp_hann" or "sinc_interp_kaiser" (``beta`` is that window's).
    """
    x = checked("resample", waveform)
    if int(orig_freq) != orig_freq or int(new_freq) != new_freq or orig_freq < 1 or new_freq < 1:
        raise ArgumentError(
            f"resample: from {orig_freq} to {new_freq} Hz", hint="positive integers; only their ratio matters"
        )
    common = math.gcd(int(orig_freq), int(new_freq))
    old, new = int(orig_freq) // common, int(new_freq) // common
    if old == new:
        return x
    kernel, reach = filters.resampling_kernel(old, new, lowpass_filter_width, rolloff, resampling_method, beta)
    return resampled(x, _constant(kernel, x), old, new, reach)


def resampled(x: Tensor, kernel: Tensor, old: int, new: int, reach: int) -> Tensor:
    """Waveforms (..., time) with filters (new, length), one for each phase."""
    lead, length = tuple(x.shape[:-1]), x.shape[-1]
    flat = F.pad(G.reshape(x, (math.prod(lead), 1, length)), (reach, reach + old))
    y = G.permute(F.conv1d(flat, G.unsqueeze(kernel, 1), stride=old), (0, 2, 1))  # (rows, blocks, phases)
    y = G.reshape(y, (flat.shape[0], -1))[:, : -(-new * length // old)]
    return G.reshape(y, (*lead, y.shape[-1]))


def preemphasis(waveform: Tensor, coeff: float = 0.97) -> Tensor:
    """``y[t] = x[t] - coeff * x[t - 1]``: high frequencies raised."""
    x = checked("preemphasis", waveform)
    return x - coeff * F.pad(x[..., :-1], (1, 0))


def deemphasis(waveform: Tensor, coeff: float = 0.97) -> Tensor:
    """``y[t] = x[t] + coeff * y[t - 1]``: the inverse of :func:`preemphasis`, by doubling in log2(time) steps."""
    y = checked("deemphasis", waveform)
    step = 1
    while step < y.shape[-1] and coeff**step != 0.0:  # 1 / (1 - cz) = (1 + cz)(1 + c²z²)(1 + c⁴z⁴)…
        y = y + coeff**step * F.pad(y[..., :-step], (step, 0))
        step *= 2
    return y


def add_noise(waveform: Tensor, noise: Tensor, snr: Tensor | float) -> Tensor:
    """Sound with noise of its shape (..., time), scaled to a signal-to-noise ratio of ``snr`` dB, (...)."""
    x, n = checked("add_noise", waveform), checked("add_noise", noise)
    if tuple(x.shape) != tuple(n.shape):
        raise ShapeError(
            f"add_noise: a waveform {tuple(x.shape)} and noise {tuple(n.shape)}", code="shape.audio",
            hint="repeat or cut the noise",
        )  # fmt: skip
    wanted = snr if isinstance(snr, Tensor) else G.full(tuple(x.shape[:-1]), float(snr), dtype=x.dtype)
    is_now = 10.0 * (G.log10(G.sum(x * x, -1)) - G.log10(G.sum(n * n, -1)))
    return x + G.unsqueeze(G.exp((is_now - wanted) * (math.log(10.0) / 20.0)), -1) * n


# -- features ------------------------------------------------------------------------------------------------
def compute_deltas(specgram: Tensor, win_length: int = 5, mode: str = "replicate") -> Tensor:
    """Slopes over time of features (..., bands, time), fitted to ``win_length`` frames."""
    if win_length < 3:
        raise ArgumentError(f"compute_deltas: win_length is {win_length}", hint="an odd number from 3 on")
    n = (win_length - 1) // 2
    time = specgram.shape[-1]
    flat = F.pad(G.reshape(specgram, (-1, 1, time)), (n, n), mode=mode)
    total = n * (n + 1) * (2 * n + 1) / 3
    terms = [(G.narrow(flat, 2, n + k, time) - G.narrow(flat, 2, n - k, time)) * (k / total) for k in range(1, n + 1)]
    out = terms[0]
    for t in terms[1:]:
        out = out + t
    return G.reshape(out, tuple(specgram.shape))


def cmvn(features: Tensor, norm_vars: bool = True, eps: float = 1e-5) -> Tensor:
    """Features (..., bands, time) with mean 0 and variance 1 over the time of each band."""
    y = features - G.mean(features, -1, True)
    return y / G.sqrt(G.mean(y * y, -1, True) + eps) if norm_vars else y


def sliding_window_cmn(
    specgram: Tensor, cmn_window: int = 600, min_cmn_window: int = 100, center: bool = False, norm_vars: bool = False
) -> Tensor:
    """Features (..., time, bands) less their mean over a window that slides along time, as Kaldi does it.

    Without ``center`` the window ends with the frame itself, or after ``min_cmn_window`` frames near the start.
    """
    if cmn_window < 1 or min_cmn_window < 1:
        raise ArgumentError(f"sliding_window_cmn: windows of {cmn_window} and {min_cmn_window} frames")
    count = specgram.shape[-2]
    t = np.arange(count)
    first = t - (cmn_window // 2 if center else cmn_window)
    last = first + cmn_window if center else t + 1
    last, first = np.where(first < 0, last - first, last), np.maximum(first, 0)
    if not center:
        last = np.where(last > t, np.maximum(t + 1, min_cmn_window), last)
    first, last = np.where(last > count, np.maximum(first - (last - count), 0), first), np.minimum(last, count)
    size = _constant((last - first).reshape(-1, 1), specgram)

    def mean(x: Tensor) -> Tensor:
        sums = F.pad(_cumsum(x, -2), (0, 0, 1, 0))
        return (G.index_select(sums, -2, tensor(last)) - G.index_select(sums, -2, tensor(first))) / size

    middle = mean(specgram)
    y = specgram - middle
    if not norm_vars:
        return y
    spread = mean(specgram * specgram) - middle * middle
    return G.where(tensor((last - first == 1).reshape(-1, 1)), 0.0, y * G.rsqrt(spread))


def _masked(x: Tensor, lead: tuple[int, ...], mask_param: int, value: float | Tensor, axis: int, p: float) -> Tensor:
    axis = axis + x.ndim if axis < 0 else axis
    if axis not in (x.ndim - 2, x.ndim - 1):
        raise ArgumentError(
            f"a mask along axis {axis} of {x.ndim}", hint="frequency is the last but one, time the last"
        )
    if not 0.0 <= p <= 1.0:
        raise ArgumentError(f"p is {p}", hint="the largest share that is masked, within [0, 1]")
    size = x.shape[axis]
    most = mask_param if p == 1.0 else min(mask_param, int(size * p))
    if most < 1:
        return x
    width = _rand(*lead, dtype=x.dtype) * float(most)
    first = _rand(*lead, dtype=x.dtype) * (float(size) - width)
    first = G.floor(G.clamp(first, 0.0))
    last = first + G.floor(width)
    shape = (*lead, *(1,) * (x.ndim - len(lead)))
    at = G.reshape(G.arange(size, dtype=x.dtype), (size, 1) if axis == x.ndim - 2 else (size,))
    inside = G.logical_and(at >= G.reshape(first, shape), at < G.reshape(last, shape))
    return G.where(inside, value, x)


def mask_along_axis(specgram: Tensor, mask_param: int, mask_value: float | Tensor, axis: int, p: float = 1.0) -> Tensor:
    """One band of up to ``mask_param`` frequencies or frames set to a value, the same for the whole batch.

    specgram: (..., frequencies, time). p: the largest share of the axis. Reference: Park et al. 2019.
    """
    return _masked(specgram, (), mask_param, mask_value, axis, p)


def mask_along_axis_iid(
    specgrams: Tensor, mask_param: int, mask_value: float | Tensor, axis: int, p: float = 1.0
) -> Tensor:
    """As :func:`mask_along_axis`, a band for each item and channel of (..., frequencies, time), 3 axes at least."""
    if specgrams.ndim < 3:
        raise ShapeError(
            f"mask_along_axis_iid: features of shape {tuple(specgrams.shape)}", code="shape.audio",
            hint="(batch, frequencies, time) or (batch, channels, frequencies, time)",
        )  # fmt: skip
    return _masked(specgrams, tuple(specgrams.shape[:-2]), mask_param, mask_value, axis, p)
