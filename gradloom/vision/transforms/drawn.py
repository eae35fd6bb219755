"""Transforms that draw: each call takes new numbers from the default generator (`gradloom.manual_seed`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom.nn import Module
from gradloom.tensor import Tensor
from gradloom.vision.transforms import functional as F
from gradloom.vision.transforms.draws import chance, integer, normal, permutation, uniform
from gradloom.vision.transforms.fixed import Size, pair
from gradloom.vision.transforms.images import InterpolationMode, closed, sizes

__all__ = [
    "ColorJitter", "RandomApply", "RandomChoice", "RandomCrop", "RandomErasing", "RandomGrayscale",
    "RandomHorizontalFlip", "RandomOrder", "RandomResizedCrop", "RandomRotation", "RandomVerticalFlip",
]  # fmt: skip


def _probability(name: str, p: float) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p is a probability between 0 and 1, got {p}")
    return p


class _WithChance(Module):
    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = _probability(type(self).__name__, p)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


class RandomHorizontalFlip(_WithChance):
    """Left and right exchanged with probability p."""

    def forward(self, img: Any) -> Any:
        """The image, perhaps flipped."""
        return F.hflip(img) if chance(self.p) else img


class RandomVerticalFlip(_WithChance):
    """Top and bottom exchanged with probability p."""

    def forward(self, img: Any) -> Any:
        """The image, perhaps flipped."""
        return F.vflip(img) if chance(self.p) else img


class RandomGrayscale(_WithChance):
    """In grey with probability p; the channels stay as many."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p)

    def forward(self, img: Any) -> Any:
        """The image, perhaps in grey."""
        return F.rgb_to_grayscale(img, sizes(img)[0]) if chance(self.p) else img


class RandomApply(Module):
    """All of the transforms with probability p, else none."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: float = 0.5) -> None:
        super().__init__()
        self.transforms, self.p = transforms, _probability("RandomApply", p)

    def forward(self, img: Any) -> Any:
        """The image, perhaps transformed."""
        if chance(self.p):
            for t in self.transforms:
                img = t(img)
        return img

    def extra_repr(self) -> str:
        """The probability and the transforms."""
        return f"p={self.p}, transforms={list(self.transforms)}"


class RandomOrder(Module):
    """All of the transforms in a random order."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        super().__init__()
        self.transforms = transforms

    def forward(self, img: Any) -> Any:
        """The image, transformed."""
        for k in permutation(len(self.transforms)):
            img = self.transforms[k](img)
        return img


class RandomChoice(Module):
    """One of the transforms, each with its share of ``p`` (equal shares unless given)."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: Sequence[float] | None = None) -> None:
        super().__init__()
        if p is not None and len(p) != len(transforms):
            raise ValueError(f"RandomChoice: {len(transforms)} transforms, {len(p)} probabilities")
        self.transforms, self.p = transforms, p

    def forward(self, img: Any) -> Any:
        """The image, transformed."""
        shares = self.p or [1.0] * len(self.transforms)
        left = uniform(0, sum(shares))
        for t, share in zip(self.transforms, shares, strict=True):
            left -= share
            if left < 0:
                return t(img)
        return self.transforms[-1](img)


class RandomCrop(Module):
    """A part of a given size from a random place.

    Parameters
    ----------
    padding : borders added first, as for :func:`.functional.pad`.
    pad_if_needed : enlarge images that are too small.
    """

    def __init__(
        self, size: Size, padding: Size | None = None, pad_if_needed: bool = False, fill: Any = 0,
        padding_mode: str = "constant",
    ) -> None:  # fmt: skip
        super().__init__()
        self.size = pair("RandomCrop", size)
        self.padding, self.pad_if_needed = padding, pad_if_needed
        self.fill, self.padding_mode = fill, padding_mode

    @staticmethod
    def get_params(img: Any, output_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Top, left, height and width of a crop. Raises ValueError for one larger than the image."""
        _, h, w = sizes(img)
        th, tw = output_size
        if h < th or w < tw:
            raise ValueError(f"RandomCrop: size ({th}, {tw}) is larger than the image ({h}, {w}); pad_if_needed=True")
        if (h, w) == (th, tw):
            return 0, 0, h, w
        return integer(0, h - th + 1), integer(0, w - tw + 1), th, tw

    def forward(self, img: Any) -> Any:
        """A part of the image."""
        if self.padding is not None:
            img = F.pad(img, self.padding, self.fill, self.padding_mode)
        _, h, w = sizes(img)
        if self.pad_if_needed and (w < self.size[1] or h < self.size[0]):
            across, down = max(self.size[1] - w, 0), max(self.size[0] - h, 0)
            img = F.pad(img, (across, down), self.fill, self.padding_mode)
        return F.crop(img, *self.get_params(img, self.size))

    def extra_repr(self) -> str:
        """The options."""
        return f"size={self.size}, padding={self.padding}"


class RandomResizedCrop(Module):
    """A part of random area and aspect ratio, brought to a size (Szegedy et al. 2015).

    Parameters
    ----------
    scale : of the part's area, as shares of the image's. ratio : width over height of the part.
    """

    def __init__(
        self, size: Size, scale: Sequence[float] = (0.08, 1.0), ratio: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0),
        interpolation: InterpolationMode | str = InterpolationMode.BILINEAR, antialias: bool | None = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if scale[0] > scale[1] or ratio[0] > ratio[1]:
            raise ValueError(f"RandomResizedCrop: scale and ratio are (least, greatest), got {scale} and {ratio}")
        self.size, self.scale, self.ratio = pair("RandomResizedCrop", size), scale, ratio
        self.interpolation, self.antialias = InterpolationMode(interpolation), antialias

    @staticmethod
    def get_params(img: Any, scale: Sequence[float], ratio: Sequence[float]) -> tuple[int, int, int, int]:
        """Top, left, height and width of a part; after ten that do not fit, the middle with the nearest ratio."""
        _, height, width = sizes(img)
        for _ in range(10):
            area = height * width * uniform(scale[0], scale[1])
            aspect = math.exp(uniform(math.log(ratio[0]), math.log(ratio[1])))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                return integer(0, height - h + 1), integer(0, width - w + 1), h, w
        own = width / height
        w, h = width, height
        if own < min(ratio):
            h = round(w / min(ratio))
        elif own > max(ratio):
            w = round(h * max(ratio))
        return (height - h) // 2, (width - w) // 2, h, w

    def forward(self, img: Any) -> Any:
        """A part of the image at the size."""
        top, left, h, w = self.get_params(img, self.scale, self.ratio)
        return F.resized_crop(img, top, left, h, w, self.size, self.interpolation, self.antialias)

    def extra_repr(self) -> str:
        """The options."""
        return (
            f"size={self.size}, scale={tuple(self.scale)}, ratio={tuple(round(r, 4) for r in self.ratio)}, "
            f"interpolation={self.interpolation.value}, antialias={self.antialias}"
        )


class RandomRotation(Module):
    """Turned by an angle drawn from (-degrees, degrees), or from a range."""

    def __init__(
        self, degrees: float | Sequence[float], interpolation: InterpolationMode | str = InterpolationMode.NEAREST,
        expand: bool = False, center: Sequence[int] | None = None, fill: Any = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        if isinstance(degrees, int | float):
            if degrees < 0:
                raise ValueError(f"RandomRotation: one number of degrees is not negative, got {degrees}")
            degrees = (-degrees, degrees)
        if len(degrees) != 2:
            raise ValueError(f"RandomRotation: degrees is a number or (least, greatest), got {degrees}")
        self.degrees = [float(d) for d in degrees]
        self.interpolation, self.expand = InterpolationMode(interpolation), expand
        self.center, self.fill = center, fill

    @staticmethod
    def get_params(degrees: Sequence[float]) -> float:
        """An angle of the range."""
        return uniform(degrees[0], degrees[1])

    def forward(self, img: Any) -> Any:
        """The image, turned."""
        angle = self.get_params(self.degrees)
        return F.rotate(img, angle, self.interpolation, self.expand, self.center, self.fill)

    def extra_repr(self) -> str:
        """The options."""
        return f"degrees={self.degrees}, interpolation={self.interpolation.value}, expand={self.expand}"


class ColorJitter(Module):
    """Brightness, contrast, saturation and hue changed by random factors, in a random order.

    Each is a number x, for factors of [max(0, 1 - x), 1 + x] (hue: [-x, x]), or a range.
    """

    def __init__(
        self, brightness: float | Sequence[float] = 0, contrast: float | Sequence[float] = 0,
        saturation: float | Sequence[float] = 0, hue: float | Sequence[float] = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.brightness = self._range("brightness", brightness, 1.0, (0.0, math.inf))
        self.contrast = self._range("contrast", contrast, 1.0, (0.0, math.inf))
        self.saturation = self._range("saturation", saturation, 1.0, (0.0, math.inf))
        self.hue = self._range("hue", hue, 0.0, (-0.5, 0.5))

    @staticmethod
    def _range(
        name: str, value: float | Sequence[float], middle: float, bounds: tuple[float, float]
    ) -> tuple[float, float] | None:
        if isinstance(value, int | float):
            if value < 0:
                raise ValueError(f"ColorJitter: {name} as one number is not negative, got {value}")
            low, high = middle - value, middle + value
            if name != "hue":
                low = max(low, 0.0)
        else:
            low, high = value
        if not bounds[0] <= low <= high <= bounds[1]:
            raise ValueError(f"ColorJitter: {name} lies within {bounds}, got ({low}, {high})")
        return None if low == high == middle else (float(low), float(high))

    def forward(self, img: Any) -> Any:
        """The image with other colours."""
        steps = (
            (F.adjust_brightness, self.brightness), (F.adjust_contrast, self.contrast),
            (F.adjust_saturation, self.saturation), (F.adjust_hue, self.hue),
        )  # fmt: skip
        for k in permutation(len(steps)):
            adjust, bounds = steps[k]
            if bounds is not None:
                img = adjust(img, uniform(*bounds))
        return img

    def extra_repr(self) -> str:
        """The ranges."""
        return (
            f"brightness={self.brightness}, contrast={self.contrast}, saturation={self.saturation}, hue={self.hue}"
        )  # fmt: skip


class RandomErasing(Module):
    """A random rectangle of a tensor replaced, with probability p (Zhong et al. 2020).

    Parameters
    ----------
    scale : of the rectangle's area, as shares of the image's. ratio : its height over its width.
    value : a number, one for each channel, or "random" for normal numbers.
    """

    def __init__(
        self, p: float = 0.5, scale: Sequence[float] = (0.02, 0.33), ratio: Sequence[float] = (0.3, 3.3),
        value: float | str | Sequence[float] = 0, inplace: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if scale[0] > scale[1] or ratio[0] > ratio[1] or scale[0] < 0 or scale[1] > 1:
            raise ValueError(f"RandomErasing: scale is a range within 0 and 1 and ratio a range, got {scale}, {ratio}")
        if isinstance(value, str) and value != "random":
            raise ValueError(f"RandomErasing: value is a number, one for each channel, or 'random'; got {value!r}")
        self.p, self.scale, self.ratio = _probability("RandomErasing", p), scale, ratio
        self.value, self.inplace = value, inplace

    def forward(self, img: Tensor) -> Tensor:
        """(..., C, H, W), perhaps with a rectangle replaced."""
        if not chance(self.p):
            return img
        channels, height, width = sizes(img)
        if not isinstance(self.value, int | float | str) and len(self.value) not in (1, channels):
            raise ValueError(f"RandomErasing: {len(self.value)} values for {channels} channels")
        for _ in range(10):
            area = height * width * uniform(self.scale[0], self.scale[1])
            aspect = math.exp(uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h < height and w < width:
                top, left = integer(0, height - h + 1), integer(0, width - w + 1)
                return F.erase(img, top, left, h, w, self._filling(channels, h, w), self.inplace)
        return img

    def _filling(self, channels: int, h: int, w: int) -> Any:
        if isinstance(self.value, str):
            return closed(normal((channels, h, w)))
        if isinstance(self.value, int | float):
            return self.value
        return closed(np.asarray(self.value, np.float32).reshape(-1, 1, 1))

    def extra_repr(self) -> str:
        """The options."""
        return f"p={self.p}, scale={self.scale}, ratio={self.ratio}, value={self.value}, inplace={self.inplace}"
