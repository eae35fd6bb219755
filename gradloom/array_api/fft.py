"""The Fourier transform extension, with the standard's signatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradloom import fft as F
from gradloom.devices import resolve
from gradloom.dtypes import DType
from gradloom.tensor import Tensor

__all__ = [
    "fft", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifftn", "ifftshift", "ihfft", "irfft", "irfftn", "rfft",
    "rfftfreq", "rfftn",
]  # fmt: skip


def _one(name: str) -> Callable[..., Tensor]:
    fn = getattr(F, name)

    def call(x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
        out: Tensor = fn(x, n, axis, norm)
        return out

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"The standard's ``{name}``: :func:`gradloom.fft.{name}` along an axis."
    return call


def _many(name: str) -> Callable[..., Tensor]:
    fn = getattr(F, name)

    def call(
        x: Tensor, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str = "backward"
    ) -> Tensor:
        out: Tensor = fn(x, s, axes, norm)
        return out

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"The standard's ``{name}``: :func:`gradloom.fft.{name}` over axes."
    return call


fft, ifft, rfft, irfft, hfft, ihfft = (_one(name) for name in "fft ifft rfft irfft hfft ihfft".split())
fftn, ifftn, rfftn, irfftn = (_many(name) for name in "fftn ifftn rfftn irfftn".split())


def fftfreq(n: int, /, *, d: float = 1.0, dtype: DType | None = None, device: Any = None) -> Tensor:
    """Frequencies of the elements of a transform of n samples, d apart."""
    resolve(device)
    return F.fftfreq(n, d, dtype=dtype)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: DType | None = None, device: Any = None) -> Tensor:
    """The same for a transform of real samples."""
    resolve(device)
    return F.rfftfreq(n, d, dtype=dtype)


def fftshift(x: Tensor, /, *, axes: Any = None) -> Tensor:
    """Frequency 0 moved to the middle of axes, all by default."""
    return F.fftshift(x, axes)


def ifftshift(x: Tensor, /, *, axes: Any = None) -> Tensor:
    """The opposite of :func:`fftshift`."""
    return F.ifftshift(x, axes)
