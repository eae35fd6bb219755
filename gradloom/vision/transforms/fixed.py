"""Transforms that draw nothing: conversion, sizes, colours, and what holds other transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradloom.dtypes import DType
from gradloom.nn import Module
from gradloom.tensor import Tensor
from gradloom.vision.transforms import functional as F
from gradloom.vision.transforms.images import InterpolationMode

__all__ = [
    "CenterCrop", "Compose", "ConvertImageDtype", "FiveCrop", "Grayscale", "Lambda", "Normalize", "PILToTensor", "Pad",
    "Resize", "TenCrop", "ToPILImage", "ToTensor",
]  # fmt: skip

Size = int | Sequence[int]


class Compose:
    """Transforms one after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        """The image, transformed."""
        for t in self.transforms:
            img = t(img)
        return img

    def __repr__(self) -> str:
        return "Compose(\n" + "".join(f"    {t}\n" for t in self.transforms) + ")"


class _Plain:
    """A transform without options or state."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ToTensor(_Plain):
    """:func:`.functional.to_tensor`: a picture or an array as a tensor (C, H, W) within [0, 1]."""

    def __call__(self, pic: Any) -> Tensor:
        """The image, transformed."""
        return F.to_tensor(pic)


class PILToTensor(_Plain):
    """:func:`.functional.pil_to_tensor`: a picture as a tensor (C, H, W) of the same values."""

    def __call__(self, pic: Any) -> Tensor:
        """The image, transformed."""
        return F.pil_to_tensor(pic)


class ToPILImage:
    """:func:`.functional.to_pil_image`: a tensor or an array as a picture."""

    def __init__(self, mode: str | None = None) -> None:
        self.mode = mode

    def __call__(self, pic: Any) -> Any:
        """The image, transformed."""
        return F.to_pil_image(pic, self.mode)

    def __repr__(self) -> str:
        return "ToPILImage()" if self.mode is None else f"ToPILImage(mode={self.mode})"


class Lambda:
    """Any function as a transform."""

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        if not callable(lambd):
            raise TypeError(f"Lambda takes a function, got {type(lambd).__name__}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        """The image, transformed."""
        return self.lambd(img)

    def __repr__(self) -> str:
        return "Lambda()"


class ConvertImageDtype(Module):
    """:func:`.functional.convert_image_dtype`."""

    def __init__(self, dtype: DType) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, image: Tensor) -> Tensor:
        """(..., C, H, W), kept."""
        return F.convert_image_dtype(image, self.dtype)


class Normalize(Module):
    """(value - mean) / std for each channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        super().__init__()
        self.mean, self.std, self.inplace = mean, std, inplace

    def forward(self, tensor: Tensor) -> Tensor:
        """(..., C, H, W), kept."""
        return F.normalize(tensor, self.mean, self.std, self.inplace)

    def extra_repr(self) -> str:
        """Means and deviations."""
        return f"mean={self.mean}, std={self.std}"


class Resize(Module):
    """:func:`.functional.resize`: to a size, or the shorter side to a length."""

    def __init__(
        self, size: Size | None, interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
        max_size: int | None = None, antialias: bool | None = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if not isinstance(size, int) and size is not None and len(size) not in (1, 2):
            raise ValueError(f"Resize: size has one or two entries, got {size}")
        self.size, self.max_size, self.antialias = size, max_size, antialias
        self.interpolation = InterpolationMode(interpolation)

    def forward(self, img: Any) -> Any:
        """The image at the size."""
        return F.resize(img, self.size, self.interpolation, self.max_size, self.antialias)

    def extra_repr(self) -> str:
        """The options."""
        return (
            f"size={self.size}, interpolation={self.interpolation.value}, max_size={self.max_size}, "
            f"antialias={self.antialias}"
        )


class CenterCrop(Module):
    """The middle of the image."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = pair("CenterCrop", size)

    def forward(self, img: Any) -> Any:
        """The image at the size."""
        return F.center_crop(img, self.size)

    def extra_repr(self) -> str:
        """The size."""
        return f"size={self.size}"


class FiveCrop(CenterCrop):
    """The four corners and the middle, as a tuple."""

    def forward(self, img: Any) -> Any:
        """Five images."""
        return F.five_crop(img, self.size)


class TenCrop(CenterCrop):
    """The four corners and the middle, of the image and of its mirror image."""

    def __init__(self, size: Size, vertical_flip: bool = False) -> None:
        super().__init__(size)
        self.vertical_flip = vertical_flip

    def forward(self, img: Any) -> Any:
        """Ten images."""
        return F.ten_crop(img, self.size, self.vertical_flip)


class Pad(Module):
    """:func:`.functional.pad`: borders added."""

    def __init__(self, padding: Size, fill: Any = 0, padding_mode: str = "constant") -> None:
        super().__init__()
        if not isinstance(padding, int) and len(padding) not in (1, 2, 4):
            raise ValueError(f"Pad: padding is one number, or two, or four (left, top, right, bottom); got {padding}")
        self.padding, self.fill, self.padding_mode = padding, fill, padding_mode

    def forward(self, img: Any) -> Any:
        """The image with borders."""
        return F.pad(img, self.padding, self.fill, self.padding_mode)

    def extra_repr(self) -> str:
        """The options."""
        return f"padding={self.padding}, fill={self.fill}, padding_mode={self.padding_mode}"


class Grayscale(Module):
    """The image in grey, with one channel or three equal ones."""

    def __init__(self, num_output_channels: int = 1) -> None:
        super().__init__()
        self.num_output_channels = num_output_channels

    def forward(self, img: Any) -> Any:
        """The image in grey."""
        return F.rgb_to_grayscale(img, self.num_output_channels)

    def extra_repr(self) -> str:
        """The channels."""
        return f"num_output_channels={self.num_output_channels}"


def pair(name: str, size: Size) -> tuple[int, int]:
    """Height and width. Raises ValueError for more than two entries."""
    both = [size] if isinstance(size, int) else list(size)
    if len(both) not in (1, 2):
        raise ValueError(f"{name}: a size is one number or (height, width), got {size}")
    return int(both[0]), int(both[-1])
