"""Fourier transforms under ``torch.fft``'s names."""

from __future__ import annotations

from gradloom.functions import fft as _fft
from gradloom.functions import placed, with_out

fft = with_out(_fft.fft)
fft2 = with_out(_fft.fft2)
fftfreq = with_out(_fft.fftfreq)
fftn = with_out(_fft.fftn)
fftshift = with_out(_fft.fftshift)
hfft = with_out(_fft.hfft)
hfft2 = with_out(_fft.hfft2)
hfftn = with_out(_fft.hfftn)
ifft = with_out(_fft.ifft)
ifft2 = with_out(_fft.ifft2)
ifftn = with_out(_fft.ifftn)
ifftshift = with_out(_fft.ifftshift)
ihfft = with_out(_fft.ihfft)
ihfft2 = with_out(_fft.ihfft2)
ihfftn = with_out(_fft.ihfftn)
irfft = with_out(_fft.irfft)
irfft2 = with_out(_fft.irfft2)
irfftn = with_out(_fft.irfftn)
rfft = with_out(_fft.rfft)
rfft2 = with_out(_fft.rfft2)
rfftfreq = with_out(_fft.rfftfreq)
rfftn = with_out(_fft.rfftn)

__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "hfft2", "hfftn", "ifft", "ifft2", "ifftn", "ifftshift",
    "ihfft", "ihfft2", "ihfftn", "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip

for _name in __all__:
    placed(__name__, _name, globals()[_name])
