"""What published weights need: a picture at the size of training, cut from the middle, with scaled colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradloom.nn import Module
from gradloom.tensor import Tensor
from gradloom.vision.transforms import functional as F
from gradloom.vision.transforms.images import InterpolationMode, is_pil

__all__ = ["ImageClassification"]


class ImageClassification(Module):
    """Resize the shorter side, cut a square from the middle, scale to [0, 1], subtract means, divide by deviations."""

    def __init__(
        self, *, crop_size: int, resize_size: int = 256, mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        interpolation: InterpolationMode | str = InterpolationMode.BILINEAR, antialias: bool | None = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.crop_size, self.resize_size = [crop_size], [resize_size]
        self.mean, self.std = list(mean), list(std)
        self.interpolation, self.antialias = InterpolationMode(interpolation), antialias

    def forward(self, img: Any) -> Tensor:
        """A picture, or a tensor (..., 3, H, W), to (..., 3, crop_size, crop_size)."""
        img = F.resize(img, self.resize_size, self.interpolation, antialias=self.antialias)
        img = F.center_crop(img, self.crop_size)
        if is_pil(img):
            img = F.pil_to_tensor(img)
        return F.normalize(F.convert_image_dtype(img), self.mean, self.std)

    def extra_repr(self) -> str:
        """The options."""
        return (
            f"crop_size={self.crop_size}, resize_size={self.resize_size}, mean={self.mean}, std={self.std}, "
            f"interpolation={self.interpolation.value}"
        )
