"""Layers that make pictures of sound: how strong each frequency is, window by window."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.functions.convolution import convolve
from gradloom.keras import config
from gradloom.keras.initializers import STFT
from gradloom.keras.layers.base import Layer
from gradloom.keras.layers.convolutional import ends
from gradloom.keras.layers.specs import InputSpec
from gradloom.keras.operations import as_tensor
from gradloom.tensor import Tensor, from_numpy

MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")


class STFTSpectrogram(Layer):
    """Short-time Fourier transform by convolutions whose kernels can be trained.

    Input: (n, steps, channels), or with ``data_format="channels_first"`` (n, channels, steps); floats.
    Output: (n, windows, channels · frequencies), with ``expand_dims`` (n, windows, frequencies, channels); with
    "channels_first" (n, channels · frequencies, windows) or (n, channels, windows, frequencies). frequencies is
    ``fft_length // 2 + 1``, twice that in mode "stft".

    Parameters
    ----------
    mode : "log" (of the magnitude), "magnitude", "psd" (power), "real", "imag", "angle", or "stft" (real, then imag).
    frame_length, frame_step, fft_length : of a window, between windows (half of that where None), of the transform (the
        next power of two).
    window, periodic, scaling : as for :class:`keras.initializers.STFT`. padding : "valid" or "same".
    """

    def __init__(
        self, mode: str = "log", frame_length: int = 256, frame_step: int | None = None, fft_length: int | None = None,
        window: Any = "hann", periodic: bool = False, scaling: Any = "density", padding: str = "valid",
        expand_dims: bool = False, data_format: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        if frame_step is not None and not 1 <= frame_step <= frame_length:
            raise ValueError("`frame_step` should be a positive integer not greater than `frame_length`. Received "
                             f"frame_step={frame_step}, frame_length={frame_length}")  # fmt: skip
        if fft_length is not None and fft_length < frame_length:
            raise ValueError("`fft_length` should be not less than `frame_length`. Received fft_length="
                             f"{fft_length}, frame_length={frame_length}")  # fmt: skip
        if fft_length is not None and fft_length & (fft_length - 1):
            warnings.warn(f"`fft_length` is recommended to be a power of two. Received fft_length={fft_length}",
                          stacklevel=2)  # fmt: skip
        if mode not in MODES:
            raise ValueError(f"Output mode is invalid, it must be one of {', '.join(MODES)}. Received: mode={mode}")
        if scaling not in (None, "density", "spectrum"):
            raise ValueError("Scaling is invalid, it must be `None`, 'density' or 'spectrum'. Received scaling="
                             f"{scaling}")  # fmt: skip
        if padding not in ("valid", "same"):
            raise ValueError(f"Padding is invalid, it should be 'valid', 'same'. Received: padding={padding}")
        super().__init__(**kwargs)
        self.mode, self.frame_length, self.frame_step, self.fft_length = mode, frame_length, frame_step, fft_length
        self.window, self.periodic, self.scaling, self.padding = window, periodic, scaling, padding
        self.expand_dims, self.data_format = expand_dims, config.checked_format(data_format)
        self._step = frame_step or frame_length // 2
        self._size = fft_length or 2 ** math.ceil(math.log2(frame_length))
        STFT("real", window, scaling, periodic)((4, 1, 3))  # an unknown window is refused here
        self.input_spec = InputSpec(ndim=3)

    def build(self, input_shape: Any) -> None:
        """Kernels (frame_length, 1, frequencies): sines and cosines under the window."""
        shape = (self.frame_length, 1, self._size // 2 + 1)
        for name in ("real", "imag"):
            if self.mode != ("imag" if name == "real" else "real"):
                made = STFT(name, self.window, self.scaling, self.periodic)
                setattr(self, f"{name}_kernel", self.add_weight(shape, made, name=f"{name}_kernel"))
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """See the class."""
        first = self.data_format == "channels_first"
        n, steps, channels = (input_shape[0], input_shape[2], input_shape[1]) if first else input_shape
        frequencies = (self._size // 2 + 1) * (2 if self.mode == "stft" else 1)
        windows = steps
        if steps is not None:
            low, high = ends(steps, self.frame_length, self._step, 1, self.padding)
            windows = (steps + low + high - self.frame_length) // self._step + 1
        if self.expand_dims:
            return (n, channels, windows, frequencies) if first else (n, windows, frequencies, channels)
        wide = None if channels is None else channels * frequencies
        return (n, wide, windows) if first else (n, windows, wide)

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        if not inputs.dtype.is_floating:
            raise TypeError("Invalid input type. Expected `float16`, `float32` or `float64`. Received: input type="
                            f"{inputs.dtype.name}")  # fmt: skip
        x = inputs if self.data_format == "channels_first" else inputs.mT
        n, channels, steps = x.shape
        pad = ends(steps, self.frame_length, self._step, 1, self.padding)

        def seen(kernel: Tensor) -> Tensor:
            """(n, channels, frequencies, windows)."""
            y = convolve(x.reshape(n * channels, steps, 1), kernel.to(x.dtype), (self._step,), (pad,), (1,), 1, "STFT")
            return y.mT.reshape(n, channels, y.shape[2], y.shape[1])

        real = seen(self.real_kernel) if self.mode != "imag" else None
        imag = seen(self.imag_kernel) if self.mode != "real" else None
        return self._ordered(self._value(real, imag))

    def _value(self, real: Any, imag: Any) -> Tensor:
        if real is None or imag is None:
            return imag if real is None else real
        if self.mode == "angle":
            return G.atan2(imag, real)
        if self.mode == "stft":
            return G.cat([real, imag], 2)
        power = real * real + imag * imag
        if self.mode == "psd":  # one-sided: what lies between the first and the last stands for two
            count = power.shape[2]
            twice = np.where((np.arange(count) > 0) & (np.arange(count) < count - 1), 2.0, 1.0)
            return power * from_numpy(twice.astype(power.dtype.numpy).reshape(1, 1, -1, 1))
        size = G.sqrt(G.clamp(power, min=config.epsilon()))
        return size if self.mode == "magnitude" else G.log(G.clamp(size, min=config.epsilon()))

    def _ordered(self, y: Tensor) -> Tensor:
        n, channels, frequencies, windows = y.shape
        first = self.data_format == "channels_first"
        if self.expand_dims:
            return y.mT if first else G.permute(y, (0, 3, 2, 1))
        y = y.reshape(n, channels * frequencies, windows)
        return y if first else y.mT


class MelSpectrogram(Layer):
    """How strong bands of frequencies are that the ear finds evenly spaced, in decibels.

    Input: sound (steps,) or (n, steps).
    Output: (num_mel_bins, windows) or (n, num_mel_bins, windows).

    Parameters
    ----------
    fft_length, sequence_stride, sequence_length : of the transform, between windows, of a window, in samples.
    sampling_rate, min_freq, max_freq : in hertz; up to half the rate where None.
    power_to_db, top_db, min_power, ref_power : decibels over ``ref_power``, at most ``top_db`` below the largest.
    mag_exp : what magnitudes are raised to: 2 is power.
    """

    def __init__(
        self, fft_length: int = 2048, sequence_stride: int = 512, sequence_length: int | None = None,
        window: Any = "hann", sampling_rate: int = 16000, num_mel_bins: int = 128, min_freq: float = 20.0,
        max_freq: float | None = None, power_to_db: bool = True, top_db: float = 80.0, mag_exp: float = 2.0,
        min_power: float = 1e-10, ref_power: float = 1.0, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.fft_length, self.sequence_stride = fft_length, sequence_stride
        self.sequence_length = sequence_length or fft_length
        if fft_length < self.sequence_length:
            raise ValueError("`fft_length` must be greater than or equal to `sequence_length`. Received: "
                             f"`sequence_length`={sequence_length}, `fft_length`={fft_length}.")  # fmt: skip
        self.window, self.sampling_rate, self.num_mel_bins = window, sampling_rate, num_mel_bins
        self.min_freq, self.max_freq = min_freq, max_freq or int(sampling_rate / 2)
        self.power_to_db, self.top_db, self.mag_exp = power_to_db, top_db, mag_exp
        self.min_power, self.ref_power = min_power, ref_power

    def compute_output_shape(self, input_shape: Any) -> Any:
        """See the class."""
        steps = input_shape[-1]
        windows = None if steps is None else (steps + self.sequence_stride + 1) // self.sequence_stride
        return (*input_shape[:-1], self.num_mel_bins, windows)

    def linear_to_mel_weight_matrix(
        self, num_mel_bins: int = 20, num_spectrogram_bins: int = 129, sampling_rate: float = 8000,
        lower_edge_hertz: float = 125.0, upper_edge_hertz: float = 3800.0, dtype: Any = "float32",
    ) -> Tensor:  # fmt: skip
        """How much each frequency counts in each band, (num_spectrogram_bins, num_mel_bins): triangles, HTK's scale."""
        hertz = np.linspace(0.0, sampling_rate / 2.0, num_spectrogram_bins)
        at = 1127.0 * np.log1p(hertz / 700.0)[:, None]
        low, high = (1127.0 * math.log1p(f / 700.0) for f in (lower_edge_hertz, upper_edge_hertz))
        edges = np.linspace(low, high, num_mel_bins + 2)
        rise = (at - edges[:-2]) / (edges[1:-1] - edges[:-2])
        fall = (edges[2:] - at) / (edges[2:] - edges[1:-1])
        found = np.maximum(0.0, np.minimum(rise, fall))
        found[0] = 0.0  # the mean of a window is no tone
        return from_numpy(found.astype(config.as_dtype(dtype).numpy))

    def call(self, inputs: Any) -> Tensor:
        """See the class."""
        from gradloom.keras.ops.signals import TABLE

        kind = self.compute_dtype if self.compute_dtype in ("float32", "float64") else "float32"
        real, imag = TABLE["stft"](
            as_tensor(inputs, kind), self.sequence_length, self.sequence_stride, self.fft_length, self.window, True
        )
        size = G.sqrt(real * real + imag * imag)
        power = size * size if self.mag_exp == 2 else G.pow(size, self.mag_exp)
        bands = self.linear_to_mel_weight_matrix(
            self.num_mel_bins, power.shape[-1], self.sampling_rate, self.min_freq, self.max_freq, kind
        )
        y = G.matmul(power, bands)
        if self.power_to_db:
            y = G.log10(G.clamp(y, min=self.min_power)) * 10.0
            y = y - 10.0 * math.log10(max(abs(self.ref_power), self.min_power))
            y = G.maximum(y, G.amax(y) - self.top_db)
        return y.mT.to(config.as_dtype(self.compute_dtype))
