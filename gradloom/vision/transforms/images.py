"""What the transforms take: tensors (..., C, H, W) and Pillow's images, and how both are opened and closed.

Transforms prepare data: they work on the elements at once, outside of the tape, because a crop at a place drawn anew
would be another program each time. No gradient passes through them.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np

from gradloom.errors import GradientError, ShapeError
from gradloom.tensor import Tensor, from_numpy

__all__ = ["InterpolationMode", "closed", "is_pil", "opened", "sizes"]


class InterpolationMode(Enum):
    """Ways to compute pixels between pixels."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


def is_pil(img: Any) -> bool:
    """Whether this is an image of Pillow's; Pillow is not imported for it."""
    return any(c.__module__.startswith("PIL.") and c.__name__ == "Image" for c in type(img).__mro__)


def opened(name: str, img: Any) -> np.ndarray:
    """A tensor's elements, (..., H, W).

    Raises
    ------
    TypeError : neither a tensor nor a picture. ShapeError : fewer than two axes. GradientError : a tensor that
        requires grad.
    """
    if not isinstance(img, Tensor):
        raise TypeError(f"{name} takes a tensor or a picture of Pillow's, got {type(img).__name__}")
    if img.ndim < 2:
        raise ShapeError(
            f"{name}: an image has shape (..., C, H, W), got {tuple(img.shape)}", code="shape.image",
            hint="channels come before height and width",
        )  # fmt: skip
    if img.requires_grad:
        raise GradientError(
            f"{name}: no gradient passes through transforms", code="gradient.transform",
            hint="use gradloom.nn.functional (interpolate, pad, grid_sample), or img.detach()",
        )  # fmt: skip
    return img.numpy()


def closed(a: np.ndarray) -> Tensor:
    """A tensor of the elements, which nobody else holds."""
    return from_numpy(np.ascontiguousarray(a))


def sizes(img: Any) -> tuple[int, int, int]:
    """Channels, height and width."""
    if is_pil(img):
        return len(img.getbands()), img.height, img.width
    if not isinstance(img, Tensor) or img.ndim < 2:
        raise TypeError(f"expected a tensor (..., C, H, W) or a picture of Pillow's, got {type(img).__name__}")
    return (img.shape[-3] if img.ndim > 2 else 1), img.shape[-2], img.shape[-1]
