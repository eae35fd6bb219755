"""Transforms of sound as modules, under torchaudio's names and with its buffers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from gradloom import functions as G
from gradloom.audio import filters
from gradloom.audio import functional as A
from gradloom.audio.checks import waveform as checked
from gradloom.errors import ArgumentError, ShapeError
from gradloom.nn.module import Module
from gradloom.tensor import Tensor

__all__ = [
    "AmplitudeToDB", "ComputeDeltas", "Deemphasis", "FrequencyMasking", "GriffinLim", "InverseMelScale",
    "InverseSpectrogram", "MFCC", "MelScale", "MelSpectrogram", "MuLawDecoding", "MuLawEncoding", "Preemphasis",
    "Resample", "SlidingWindowCmn", "SpecAugment", "SpectralCentroid", "Spectrogram", "TimeMasking",
]  # fmt: skip

_hann = G.PUBLIC["hann_window"]


class _Framed(Module):
    """Sizes of frames and their window, a buffer of the state dict's name ``window``."""

    window: Tensor

    def __init__(
        self,
        n_fft: int,
        win_length: int | None,
        hop_length: int | None,
        window_fn: Callable[..., Tensor] | None,
        wkwargs: Mapping[str, Any] | None,
    ) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.win_length = n_fft if win_length is None else win_length
        self.hop_length = self.win_length // 2 if hop_length is None else hop_length
        if not 1 <= self.win_length <= n_fft or self.hop_length < 1:
            raise ArgumentError(
                f"{type(self).__name__}: win_length {self.win_length}, hop_length {self.hop_length}, n_fft {n_fft}",
                hint="1 <= win_length <= n_fft, hop_length from 1 on",
            )
        self.register_buffer("window", (window_fn or _hann)(self.win_length, **(wkwargs or {})))


class Spectrogram(_Framed):
    """See :func:`gradloom.audio.functional.spectrogram`; hop_length is half of win_length by default."""

    def __init__(
        self,
        n_fft: int = 400,
        win_length: int | None = None,
        hop_length: int | None = None,
        pad: int = 0,
        window_fn: Callable[..., Tensor] | None = None,
        power: float | None = 2.0,
        normalized: bool | str = False,
        wkwargs: Mapping[str, Any] | None = None,
        center: bool = True,
        pad_mode: str = "reflect",
        onesided: bool = True,
    ) -> None:
        super().__init__(n_fft, win_length, hop_length, window_fn, wkwargs)
        self.pad, self.power, self.normalized = pad, power, normalized
        self.center, self.pad_mode, self.onesided = center, pad_mode, onesided

    def forward(self, waveform: Tensor) -> Tensor:
        """(..., time) to (..., frequencies, frames)."""
        return A.spectrogram(
            waveform, self.pad, self.window, self.n_fft, self.hop_length, self.win_length, self.power, self.normalized,
            self.center, self.pad_mode, self.onesided,
        )  # fmt: skip


class InverseSpectrogram(_Framed):
    """See :func:`gradloom.audio.functional.inverse_spectrogram`."""

    def __init__(
        self,
        n_fft: int = 400,
        win_length: int | None = None,
        hop_length: int | None = None,
        pad: int = 0,
        window_fn: Callable[..., Tensor] | None = None,
        normalized: bool | str = False,
        wkwargs: Mapping[str, Any] | None = None,
        center: bool = True,
        pad_mode: str = "reflect",
        onesided: bool = True,
    ) -> None:
        super().__init__(n_fft, win_length, hop_length, window_fn, wkwargs)
        self.pad, self.normalized, self.center = pad, normalized, center
        self.pad_mode, self.onesided = pad_mode, onesided

    def forward(self, spectrogram: Tensor, length: int | None = None) -> Tensor:
        """Complex (..., frequencies, frames) to (..., time)."""
        return A.inverse_spectrogram(
            spectrogram, length, self.pad, self.window, self.n_fft, self.hop_length, self.win_length, self.normalized,
            self.center, self.pad_mode, self.onesided,
        )  # fmt: skip


class GriffinLim(_Framed):
    """See :func:`gradloom.audio.functional.griffinlim`."""

    def __init__(
        self,
        n_fft: int = 400,
        n_iter: int = 32,
        win_length: int | None = None,
        hop_length: int | None = None,
        window_fn: Callable[..., Tensor] | None = None,
        power: float = 2.0,
        wkwargs: Mapping[str, Any] | None = None,
        momentum: float = 0.99,
        length: int | None = None,
        rand_init: bool = True,
    ) -> None:
        super().__init__(n_fft, win_length, hop_length, window_fn, wkwargs)
        self.n_iter, self.power, self.momentum, self.length, self.rand_init = n_iter, power, momentum, length, rand_init

    def forward(self, specgram: Tensor) -> Tensor:
        """Energies or magnitudes (..., frequencies, frames) to (..., time)."""
        return A.griffinlim(
            specgram, self.window, self.n_fft, self.hop_length, self.win_length, self.power, self.n_iter, self.momentum,
            self.length, self.rand_init,
        )  # fmt: skip


class SpectralCentroid(_Framed):
    """See :func:`gradloom.audio.functional.spectral_centroid`."""

    def __init__(
        self,
        sample_rate: int,
        n_fft: int = 400,
        win_length: int | None = None,
        hop_length: int | None = None,
        pad: int = 0,
        window_fn: Callable[..., Tensor] | None = None,
        wkwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(n_fft, win_length, hop_length, window_fn, wkwargs)
        self.sample_rate, self.pad = sample_rate, pad

    def forward(self, waveform: Tensor) -> Tensor:
        """(..., time) to (..., frames), in Hz."""
        return A.spectral_centroid(
            waveform, self.sample_rate, self.pad, self.window, self.n_fft, self.hop_length, self.win_length
        )


class AmplitudeToDB(Module):
    """Energies ("power") or magnitudes ("magnitude") in decibels; see :func:`functional.amplitude_to_DB`."""

    def __init__(self, stype: str = "power", top_db: float | None = None) -> None:
        super().__init__()
        if stype not in ("power", "magnitude"):
            raise ArgumentError(f"AmplitudeToDB: stype is {stype!r}", hint='"power" or "magnitude"')
        if top_db is not None and top_db < 0:
            raise ArgumentError(f"AmplitudeToDB: top_db is {top_db}, expected 0 or more")
        self.stype, self.top_db = stype, top_db
        self.multiplier = 10.0 if stype == "power" else 20.0
        self.amin, self.ref_value = 1e-10, 1.0
        self.db_multiplier = math.log10(max(self.amin, self.ref_value))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; (..., frequencies, time) where there is top_db."""
        return A.amplitude_to_DB(x, self.multiplier, self.amin, self.db_multiplier, self.top_db)


class MelScale(Module):
    """Spectra (..., n_stft, time) summed into mel bands (..., n_mels, time); the filters are the buffer ``fb``."""

    fb: Tensor

    def __init__(
        self,
        n_mels: int = 128,
        sample_rate: int = 16000,
        f_min: float = 0.0,
        f_max: float | None = None,
        n_stft: int = 201,
        norm: str | None = None,
        mel_scale: str = "htk",
    ) -> None:
        super().__init__()
        self.n_mels, self.sample_rate, self.f_min = n_mels, sample_rate, f_min
        self.f_max = float(sample_rate // 2) if f_max is None else f_max
        self.norm, self.mel_scale = norm, mel_scale
        fb = A.melscale_fbanks(n_stft, f_min, self.f_max, n_mels, sample_rate, norm, mel_scale)
        self.register_buffer("fb", fb)

    def forward(self, specgram: Tensor) -> Tensor:
        """(..., n_stft, time) to (..., n_mels, time)."""
        if specgram.ndim < 2 or specgram.shape[-2] != self.fb.shape[0]:
            raise ShapeError(
                f"MelScale: spectra of shape {tuple(specgram.shape)}, expected (..., {self.fb.shape[0]}, time)",
                code="shape.audio", hint="n_stft is n_fft // 2 + 1",
            )  # fmt: skip
        return G.matmul(G.swap_last(self.fb), specgram)


class InverseMelScale(Module):
    """Spectra (..., n_stft, time) that give these mel bands: of least squares, negative ones set to 0."""

    fb: Tensor
    inverse: Tensor

    def __init__(
        self,
        n_stft: int,
        n_mels: int = 128,
        sample_rate: int = 16000,
        f_min: float = 0.0,
        f_max: float | None = None,
        norm: str | None = None,
        mel_scale: str = "htk",
    ) -> None:
        super().__init__()
        top = float(sample_rate // 2) if f_max is None else f_max
        self.register_buffer("fb", A.melscale_fbanks(n_stft, f_min, top, n_mels, sample_rate, norm, mel_scale))
        self.register_buffer("inverse", G.PUBLIC["pinverse"](G.swap_last(self.fb)), persistent=False)

    def forward(self, melspec: Tensor) -> Tensor:
        """(..., n_mels, time) to (..., n_stft, time)."""
        if melspec.ndim < 2 or melspec.shape[-2] != self.fb.shape[1]:
            raise ShapeError(
                f"InverseMelScale: bands of shape {tuple(melspec.shape)}, expected (..., {self.fb.shape[1]}, time)",
                code="shape.audio",
            )  # fmt: skip
        return G.relu(G.matmul(self.inverse, melspec))


class MelSpectrogram(Module):
    """:class:`Spectrogram`, then :class:`MelScale`: (..., time) to (..., n_mels, frames)."""

    def __init__(
        self,
        sample_rate: int = 16000,
        n_fft: int = 400,
        win_length: int | None = None,
        hop_length: int | None = None,
        f_min: float = 0.0,
        f_max: float | None = None,
        pad: int = 0,
        n_mels: int = 128,
        window_fn: Callable[..., Tensor] | None = None,
        power: float = 2.0,
        normalized: bool | str = False,
        wkwargs: Mapping[str, Any] | None = None,
        center: bool = True,
        pad_mode: str = "reflect",
        norm: str | None = None,
        mel_scale: str = "htk",
    ) -> None:
        super().__init__()
        self.sample_rate, self.n_mels = sample_rate, n_mels
        self.spectrogram = Spectrogram(
            n_fft, win_length, hop_length, pad, window_fn, power, normalized, wkwargs, center, pad_mode
        )
        self.mel_scale = MelScale(n_mels, sample_rate, f_min, f_max, n_fft // 2 + 1, norm, mel_scale)

    def forward(self, waveform: Tensor) -> Tensor:
        """(..., time) to (..., n_mels, frames)."""
        return self.mel_scale(self.spectrogram(waveform))


class MFCC(Module):
    """Cepstra: cosine transform of mel bands in decibels (or their logarithm); (..., time) to (..., n_mfcc, frames)."""

    dct_mat: Tensor

    def __init__(
        self,
        sample_rate: int = 16000,
        n_mfcc: int = 40,
        dct_type: int = 2,
        norm: str | None = "ortho",
        log_mels: bool = False,
        melkwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if dct_type != 2:
            raise ArgumentError(f"MFCC: dct_type is {dct_type}, only 2 is there")
        self.log_mels = log_mels
        self.MelSpectrogram = MelSpectrogram(sample_rate, **(melkwargs or {}))
        self.amplitude_to_DB = AmplitudeToDB("power", 80.0)
        self.register_buffer("dct_mat", A.create_dct(n_mfcc, self.MelSpectrogram.n_mels, norm))

    def forward(self, waveform: Tensor) -> Tensor:
        """(..., time) to (..., n_mfcc, frames)."""
        mel = self.MelSpectrogram(waveform)
        mel = G.log(mel + 1e-6) if self.log_mels else self.amplitude_to_DB(mel)
        return G.matmul(G.swap_last(self.dct_mat), mel)


class Resample(Module):
    """Sound at another sample rate; see :func:`gradloom.audio.functional.resample`. The filters are made once."""

    kernel: Tensor

    def __init__(
        self,
        orig_freq: int = 16000,
        new_freq: int = 16000,
        resampling_method: str = "sinc_interp_hann",
        lowpass_filter_width: int = 6,
        rolloff: float = 0.99,
        beta: float | None = None,
    ) -> None:
        super().__init__()
        if int(orig_freq) != orig_freq or int(new_freq) != new_freq or orig_freq < 1 or new_freq < 1:
            raise ArgumentError(f"Resample: from {orig_freq} to {new_freq} Hz", hint="positive integers")
        common = math.gcd(int(orig_freq), int(new_freq))
        self.old, self.new = int(orig_freq) // common, int(new_freq) // common
        if self.old != self.new:
            kernel, self.reach = filters.resampling_kernel(
                self.old, self.new, lowpass_filter_width, rolloff, resampling_method, beta
            )
            self.register_buffer("kernel", A._constant(kernel))

    def forward(self, waveform: Tensor) -> Tensor:
        """(..., time) to (..., ceil(time * new / old))."""
        x = checked("Resample", waveform)
        return (
            x if self.old == self.new else A.resampled(x, G.cast(self.kernel, x.dtype), self.old, self.new, self.reach)
        )


class ComputeDeltas(Module):
    """See :func:`gradloom.audio.functional.compute_deltas`."""

    def __init__(self, win_length: int = 5, mode: str = "replicate") -> None:
        super().__init__()
        self.win_length, self.mode = win_length, mode

    def forward(self, specgram: Tensor) -> Tensor:
        """(..., bands, time), same shape."""
        return A.compute_deltas(specgram, self.win_length, self.mode)


class SlidingWindowCmn(Module):
    """See :func:`gradloom.audio.functional.sliding_window_cmn`."""

    def __init__(
        self, cmn_window: int = 600, min_cmn_window: int = 100, center: bool = False, norm_vars: bool = False
    ) -> None:
        super().__init__()
        self.cmn_window, self.min_cmn_window, self.center, self.norm_vars = (
            cmn_window,
            min_cmn_window,
            center,
            norm_vars,
        )

    def forward(self, specgram: Tensor) -> Tensor:
        """(..., time, bands), same shape."""
        return A.sliding_window_cmn(specgram, self.cmn_window, self.min_cmn_window, self.center, self.norm_vars)


class Preemphasis(Module):
    """See :func:`gradloom.audio.functional.preemphasis`."""

    def __init__(self, coeff: float = 0.97) -> None:
        super().__init__()
        self.coeff = coeff

    def forward(self, waveform: Tensor) -> Tensor:
        """(..., time), same shape."""
        return A.preemphasis(waveform, self.coeff)


class Deemphasis(Module):
    """See :func:`gradloom.audio.functional.deemphasis`."""

    def __init__(self, coeff: float = 0.97) -> None:
        super().__init__()
        self.coeff = coeff

    def forward(self, waveform: Tensor) -> Tensor:
        """(..., time), same shape."""
        return A.deemphasis(waveform, self.coeff)


class MuLawEncoding(Module):
    """See :func:`gradloom.audio.functional.mu_law_encoding`."""

    def __init__(self, quantization_channels: int = 256) -> None:
        super().__init__()
        self.quantization_channels = quantization_channels

    def forward(self, x: Tensor) -> Tensor:
        """Floats to int64 codes."""
        return A.mu_law_encoding(x, self.quantization_channels)


class MuLawDecoding(Module):
    """See :func:`gradloom.audio.functional.mu_law_decoding`."""

    def __init__(self, quantization_channels: int = 256) -> None:
        super().__init__()
        self.quantization_channels = quantization_channels

    def forward(self, x_mu: Tensor) -> Tensor:
        """Codes to floats."""
        return A.mu_law_decoding(x_mu, self.quantization_channels)


class _AxisMasking(Module):
    def __init__(self, mask_param: int, axis: int, iid_masks: bool, p: float) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ArgumentError(f"{type(self).__name__}: p is {p}", hint="within [0, 1]")
        self.mask_param, self.axis, self.iid_masks, self.p = mask_param, axis, iid_masks, p

    def forward(self, specgram: Tensor, mask_value: float | Tensor = 0.0) -> Tensor:
        """(..., frequencies, time), same shape."""
        masking = A.mask_along_axis_iid if self.iid_masks and specgram.ndim > 2 else A.mask_along_axis
        return masking(specgram, self.mask_param, mask_value, self.axis, self.p)


class FrequencyMasking(_AxisMasking):
    """A band of up to freq_mask_param frequencies masked; iid_masks: another for each item (Park et al. 2019)."""

    def __init__(self, freq_mask_param: int, iid_masks: bool = False) -> None:
        super().__init__(freq_mask_param, -2, iid_masks, 1.0)


class TimeMasking(_AxisMasking):
    """Up to time_mask_param frames masked, at most a share ``p`` of them; iid_masks: others for each item."""

    def __init__(self, time_mask_param: int, iid_masks: bool = False, p: float = 1.0) -> None:
        super().__init__(time_mask_param, -1, iid_masks, p)


class SpecAugment(Module):
    """Several masks of both kinds; what is masked becomes the mean, or 0 with zero_masking (Park et al. 2019)."""

    def __init__(
        self,
        n_time_masks: int,
        time_mask_param: int,
        n_freq_masks: int,
        freq_mask_param: int,
        iid_masks: bool = True,
        p: float = 1.0,
        zero_masking: bool = False,
    ) -> None:
        super().__init__()
        self.n_time_masks, self.n_freq_masks, self.zero_masking = n_time_masks, n_freq_masks, zero_masking
        self.time_masking = TimeMasking(time_mask_param, iid_masks, p)
        self.freq_masking = FrequencyMasking(freq_mask_param, iid_masks)

    def forward(self, specgram: Tensor) -> Tensor:
        """(..., frequencies, time), same shape."""
        value: float | Tensor = 0.0 if self.zero_masking else G.mean(specgram)
        for masking, count in ((self.time_masking, self.n_time_masks), (self.freq_masking, self.n_freq_masks)):
            for _ in range(count):
                specgram = masking(specgram, value)
        return specgram
