"""``torch.backends``: what of it there is. Kernels are compiled by gradloom itself; no other library is behind it."""

from __future__ import annotations

from gradloom.backends import cuda, cudnn, mkl, mkldnn, mps, openmp

__all__ = ["cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]
