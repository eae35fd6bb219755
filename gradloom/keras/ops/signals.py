"""``keras.ops`` of signals: Fourier transforms of pairs (real, imaginary), frames, complex numbers as pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.functions import PUBLIC
from gradloom.functions import fft as F
from gradloom.keras.operations import as_tensor
from gradloom.keras.ops.arrays import _floated, _of_list
from gradloom.tensor import Tensor, from_numpy

TABLE: dict[str, Callable[..., Any]] = {}


def _complex(x: Any) -> Tensor:
    """A complex tensor of a pair (real, imaginary)."""
    if not isinstance(x, list | tuple) or len(x) != 2:
        raise ValueError(f"Input `x` should be a tuple of two tensors - real and imaginary. Received: x={x}")
    real, imag = (_floated(as_tensor(p)) for p in x)
    if tuple(real.shape) != tuple(imag.shape):
        raise ValueError("Both the real and imaginary parts should have the same shape. Received: x[0].shape = "
                         f"{tuple(real.shape)}, x[1].shape = {tuple(imag.shape)}")  # fmt: skip
    return PUBLIC["complex"](real, imag)


def _pair(x: Tensor) -> tuple[Tensor, Tensor]:
    return PUBLIC["real"](x), PUBLIC["imag"](x)


def fft(x: Any) -> Any:
    """The spectrum along the last axis, of a pair (real, imaginary) and as one."""
    return _pair(F.fft(_complex(x)))


def fft2(x: Any) -> Any:
    """The spectrum of the last two axes, of a pair and as one."""
    return _pair(F.fft2(_complex(x)))


def ifft2(x: Any) -> Any:
    """The inverse of :func:`fft2`."""
    return _pair(F.ifft2(_complex(x)))


def rfft(x: Any, fft_length: int | None = None) -> Any:
    """Half the spectrum of real signals along the last axis, as a pair."""
    return _pair(F.rfft(_floated(as_tensor(x)), fft_length))


def irfft(x: Any, fft_length: int | None = None) -> Any:
    """The inverse of :func:`rfft`."""
    return F.irfft(_complex(x), fft_length)


def _window(window: Any, width: int, length: int, like: Tensor) -> Tensor | None:
    """A window of ``width`` points in the middle of ``length``."""
    if length < width:
        raise ValueError("`fft_length` must equal or larger than `sequence_length`. Received: sequence_length="
                         f"{width}, fft_length={length}")  # fmt: skip
    if window is None:
        return None
    if isinstance(window, str):
        if window not in ("hann", "hamming"):
            raise ValueError('If a string is passed to `window`, it must be one of `"hann"`, `"hamming"`. Received: '
                             f"window={window}")  # fmt: skip
        a = 0.5 if window == "hann" else 0.54
        window = a - (1 - a) * np.cos(2 * np.pi * np.arange(width) / width)
    w = as_tensor(np.asarray(window) if not isinstance(window, Tensor) else window).to(like.dtype)
    if tuple(w.shape) != (width,):
        raise ValueError(f"The shape of `window` must be equal to [sequence_length]. Received: window "
                         f"shape={tuple(w.shape)}")  # fmt: skip
    before = (length - width) // 2
    return PUBLIC["constant_pad_nd"](w, [before, length - width - before], 0)


def stft(
    x: Any, sequence_length: int, sequence_stride: int, fft_length: int, window: Any = "hann", center: bool = True
) -> Any:
    """Spectra of frames, (..., frames, frequencies), as a pair; hann and hamming windows are periodic.

    Parameters
    ----------
    center : whether the signal is continued by reflection, so that a frame stands about its place.
    """
    _stride(sequence_stride)
    x = as_tensor(x)
    if x.dtype.name not in ("float32", "float64"):
        raise TypeError(f"Invalid input type. Expected `float32` or `float64`. Received: input type={x.dtype.name}")
    w = _window(window, sequence_length, fft_length, x)
    lead, n = tuple(x.shape[:-1]), fft_length // 2
    if center:
        places = np.pad(np.arange(x.shape[-1]), (n, n), mode="reflect")
        x = G.index_select(x, x.ndim - 1, from_numpy(places))
    frames = extract_sequences(x.reshape(-1, x.shape[-1]), fft_length, sequence_stride)
    spectra = F.rfft(frames if w is None else frames * w)
    return _pair(spectra.reshape(*lead, *spectra.shape[-2:]))


def _stride(stride: Any) -> None:
    if not isinstance(stride, int) or stride < 1:
        raise ValueError(f"`sequence_stride` must be a positive integer. Received: sequence_stride={stride}")


def istft(
    x: Any, sequence_length: int, sequence_stride: int, fft_length: int, length: int | None = None,
    window: Any = "hann", center: bool = True,
) -> Any:  # fmt: skip
    """The signals of spectra that :func:`stft` gave: overlapping frames, divided by the sum of squared windows.

    Without a window the frames are only added up, as Keras does.
    """
    _stride(sequence_stride)
    spectra = _complex(x)
    frames = F.irfft(spectra, fft_length)
    w = _window(window, sequence_length, fft_length, frames)
    lead, count = tuple(frames.shape[:-2]), frames.shape[-2]
    size = fft_length + sequence_stride * (count - 1)
    at = (G.arange(count).unsqueeze(1) * sequence_stride + G.arange(fft_length)).reshape(-1)
    flat = (frames if w is None else frames * w).reshape(-1, count * fft_length)
    base = G.zeros((flat.shape[0], size), dtype=flat.dtype)
    total = PUBLIC["index_add"](base, 1, at, flat)
    found = total
    if w is not None:
        each = G.broadcast_to(w * w, (count, fft_length)).reshape(-1)
        weight = PUBLIC["index_add"](G.zeros((size,), dtype=flat.dtype), 0, at, each)
        found = total / G.where(weight > 1e-10, weight, G.ones_like(weight))
    start = fft_length // 2 if center else 0
    stop = start + length if length is not None else size - start
    found = found[:, start : min(stop, size)]
    return found.reshape(*lead, found.shape[-1])


def extract_sequences(x: Any, sequence_length: int, sequence_stride: int) -> Any:
    """Frames of the last axis: (..., frames, sequence_length)."""
    x = as_tensor(x)
    count = (x.shape[-1] - sequence_length) // sequence_stride + 1
    at = G.arange(count).unsqueeze(1) * sequence_stride + G.arange(sequence_length)
    found = G.index_select(x, x.ndim - 1, at.reshape(-1))
    return found.reshape(*x.shape[:-1], count, sequence_length)


def view_as_complex(x: Any) -> Any:
    """Pairs along the last axis as complex numbers."""
    x = as_tensor(x)
    if not x.ndim or x.shape[-1] != 2:
        raise ValueError(f"Last dimension of input must be size 2 (real and imaginary). Received shape: "
                         f"{tuple(x.shape)}")  # fmt: skip
    return PUBLIC["complex"](x[..., 0], x[..., 1])


def view_as_real(x: Any) -> Any:
    """Complex numbers as pairs along a new last axis."""
    return G.stack(list(_pair(as_tensor(x))), -1)


def polar(abs_: Any, angle: Any) -> Any:
    """Complex numbers of sizes and angles."""
    size, turn = (_floated(as_tensor(v)) for v in (abs_, angle))
    return PUBLIC["complex"](size * G.cos(turn), size * G.sin(turn))


for _fn in (fft, fft2, ifft2, rfft, irfft, stft, istft, extract_sequences, view_as_complex, view_as_real, polar):
    TABLE[_fn.__name__] = _of_list(_fn)

__all__ = ["TABLE"]
