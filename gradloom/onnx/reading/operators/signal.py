"""Fourier transforms."""

from __future__ import annotations

from typing import Any

import gradloom as gl
from gradloom.onnx.reading.table import Call, op
from gradloom.onnx.reading.values import number


def _complex(x: Any) -> Any:
    """The last axis, of one or two, as complex numbers."""
    if x.shape[-1] == 2:
        return gl.complex(x[..., 0].contiguous(), x[..., 1].contiguous())
    return gl.complex(x[..., 0].contiguous(), gl.zeros_like(x[..., 0]))


def _parts(z: Any) -> Any:
    return gl.stack([z.real, z.imag], -1)


@op("DFT", host=(1, 2))
def _dft(call: Call, x: Any, length: Any = None, axis: Any = None) -> Any:
    if call.opset >= 20:
        a = int(number(axis)) if axis is not None else -2
    else:
        a = call("axis", 1)
    a = a + x.ndim if a < 0 else a
    n = int(number(length)) if length is not None else None
    if call("inverse", 0) and call("onesided", 0):
        whole = n if n is not None else 2 * (x.shape[a] - 1)
        return gl.fft.irfft(_complex(x), whole, dim=a).unsqueeze(-1)
    z = _complex(x)
    y = gl.fft.ifft(z, n, dim=a) if call("inverse", 0) else gl.fft.fft(z, n, dim=a)
    if call("onesided", 0):
        y = gl.narrow(y, a, 0, y.shape[a] // 2 + 1)
    return _parts(y)


@op("STFT", host=(1, 3))
def _stft(call: Call, x: Any, step: Any, window: Any = None, length: Any = None) -> Any:
    n = int(number(length)) if length is not None else window.shape[0]
    signal = x if x.ndim == 3 else x.unsqueeze(-1)
    frames = signal.unfold(1, n, int(number(step)))  # (batch, frames, 1 or 2, n)
    if window is not None:
        frames = frames * window
    z = gl.fft.fft(_complex(frames.movedim(2, -1)), dim=-1)
    if call("onesided", 1):
        z = z[..., : n // 2 + 1]
    return _parts(z)
