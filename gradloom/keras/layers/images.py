"""Layers for images: sizes and crops; flips, turns, shifts, zooms, brightness and contrast drawn anew in training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.functions.sampling import rand
from gradloom.keras import config, images
from gradloom.keras.layers.base import Layer
from gradloom.keras.names import lookup
from gradloom.keras.variables import SeedGenerator
from gradloom.nn import functional as F
from gradloom.tensor import Tensor


class _Images(Layer):
    """Base: images (n, h, w, c), or a single one."""

    def _format(self, data_format: Any) -> None:
        self.data_format = config.checked_format(data_format)

    def _sized(self, shape: Any, height: Any, width: Any) -> Any:
        found = list(shape)
        a = len(found) - (2 if self.data_format == "channels_first" else 3)
        found[a], found[a + 1] = height, width
        return tuple(found)

    def _size(self, x: Any) -> tuple[int, int]:
        a = x.ndim - (2 if self.data_format == "channels_first" else 3)
        return x.shape[a], x.shape[a + 1]

    def _floats(self, x: Tensor) -> Tensor:
        return x.to(config.as_dtype(self.compute_dtype))


class Resizing(_Images):
    """Images brought to a size.

    Parameters
    ----------
    crop_to_aspect_ratio : cut the sides off rather than distort. pad_to_aspect_ratio : fill the sides instead.
    antialias : whether filters are widened when shrinking.
    """

    def __init__(
        self, height: int, width: int, interpolation: str = "bilinear", crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False, fill_mode: str = "constant", fill_value: float = 0.0,
        antialias: bool = False, data_format: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        lookup("interpolation", interpolation, images.KERNELS)
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise ValueError("Only one of `crop_to_aspect_ratio` & `pad_to_aspect_ratio` can be `True`.")
        if fill_mode != "constant":
            raise ValueError(f"fill_mode={fill_mode!r}: only 'constant' is offered")
        self.height, self.width, self.interpolation, self.antialias = height, width, interpolation, antialias
        self.crop_to_aspect_ratio, self.pad_to_aspect_ratio = crop_to_aspect_ratio, pad_to_aspect_ratio
        self.fill_mode, self.fill_value = fill_mode, fill_value
        self._format(data_format)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The size asked for."""
        return self._sized(input_shape, self.height, self.width)

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        x, first = self._floats(inputs), self.data_format == "channels_first"
        h, w = self._size(x)
        if self.crop_to_aspect_ratio:
            ch, cw = images.fitted((h, w), (self.height, self.width), True)
            x = images.cropped(x, (h - ch) // 2, (w - cw) // 2, ch, cw, first)
        elif self.pad_to_aspect_ratio:
            ph, pw = images.fitted((h, w), (self.height, self.width), False)
            top, left = (ph - h) // 2, (pw - w) // 2
            sides = [left, pw - w - left, top, ph - h - top]
            x = F.pad(x, sides if first else [0, 0, *sides], value=self.fill_value)
        return images.resize(x, (self.height, self.width), self.interpolation, self.antialias, self.data_format)


class CenterCrop(_Images):
    """The middle of images; smaller ones are enlarged first."""

    def __init__(self, height: int, width: int, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.height, self.width = height, width
        self._format(data_format)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The size asked for."""
        return self._sized(input_shape, self.height, self.width)

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        x, first = self._floats(inputs), self.data_format == "channels_first"
        h, w = self._size(x)
        if h < self.height or w < self.width:
            ch, cw = images.fitted((h, w), (self.height, self.width), True)
            x = images.cropped(x, (h - ch) // 2, (w - cw) // 2, ch, cw, first)
            return images.resize(x, (self.height, self.width), "bilinear", False, self.data_format)
        return images.cropped(x, (h - self.height) // 2, (w - self.width) // 2, self.height, self.width, first)


class _Augmentation(_Images):
    """Base: in training only, each image by numbers of its own."""

    def _begin(self, seed: Any, data_format: Any) -> None:
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)
        self._format(data_format)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same."""
        return tuple(input_shape)

    def draw(self, n: int, low: float, high: float) -> Tensor:
        """Uniform numbers, (n,)."""
        return rand(n, generator=self.seed_generator.generator) * (high - low) + low

    def augmented(self, x: Tensor) -> Tensor:
        """The images (n, h, w, c), changed."""
        raise NotImplementedError

    def call(self, inputs: Tensor, training: bool = True) -> Tensor:
        """The images changed in training, as they are else."""
        x = self._floats(inputs)
        if not training:
            return x
        one, first = x.ndim == 3, self.data_format == "channels_first"
        x = x.unsqueeze(0) if one else x
        x = G.permute(x, (0, 2, 3, 1)) if first else x
        x = self.augmented(x)
        x = G.permute(x, (0, 3, 1, 2)) if first else x
        return x.squeeze(0) if one else x


def _range(factor: Any, what: str, low: float = -math.inf) -> tuple[float, float]:
    """Two limits of one number (minus and plus) or of a pair."""
    pair = (-abs(factor), abs(factor)) if isinstance(factor, int | float) else tuple(factor)
    if len(pair) != 2 or pair[0] > pair[1] or pair[0] < low:
        raise ValueError(f"{what}={factor!r}: expected a number, or two of which the first is the smaller")
    return float(pair[0]), float(pair[1])


class RandomFlip(_Augmentation):
    """Images mirrored, each with probability one half: "horizontal", "vertical" or "horizontal_and_vertical"."""

    def __init__(
        self, mode: str = "horizontal_and_vertical", seed: Any = None, data_format: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        lookup("mode", mode, {"horizontal": 1, "vertical": 1, "horizontal_and_vertical": 1})
        self.mode = mode
        self._begin(seed, data_format)

    def augmented(self, x: Tensor) -> Tensor:
        """See the class."""
        for name, axis in (("horizontal", 2), ("vertical", 1)):
            if name in self.mode:
                chosen = (self.draw(x.shape[0], 0.0, 1.0) < 0.5).reshape(-1, 1, 1, 1)
                x = G.where(chosen, G.flip(x, axis=axis), x)
        return x


class _Moved(_Augmentation):
    """Base: images looked at in other places."""

    def _moving(self, fill_mode: str, interpolation: str, fill_value: float) -> None:
        lookup("fill_mode", fill_mode, {"reflect": 1, "wrap": 1, "constant": 1, "nearest": 1})
        lookup("interpolation", interpolation, {"nearest": 1, "bilinear": 1})
        self.fill_mode, self.interpolation, self.fill_value = fill_mode, interpolation, fill_value

    def places(self, x: Tensor, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor]:
        """Where to look: from rows and columns about the centre to others, (n, h, w)."""
        raise NotImplementedError

    def augmented(self, x: Tensor) -> Tensor:
        """See the class."""
        h, w = x.shape[1], x.shape[2]
        ci, cj = (h - 1) / 2, (w - 1) / 2
        i = (G.arange(h).to(x.dtype) - ci).reshape(1, h, 1)
        j = (G.arange(w).to(x.dtype) - cj).reshape(1, 1, w)
        rows, columns = self.places(x, i, j)
        shape = (x.shape[0], h, w)
        rows, columns = G.broadcast_to(rows + ci, shape), G.broadcast_to(columns + cj, shape)
        return images.transformed(x, rows, columns, self.fill_mode, self.interpolation, float(self.fill_value))


class RandomRotation(_Moved):
    """Images turned about their centre by shares of a whole turn, within ``factor``."""

    def __init__(
        self, factor: Any, fill_mode: str = "reflect", interpolation: str = "bilinear", seed: Any = None,
        fill_value: float = 0.0, data_format: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.factor, self._limits = factor, _range(factor, "factor")
        self._moving(fill_mode, interpolation, fill_value)
        self._begin(seed, data_format)

    def places(self, x: Tensor, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        angle = (self.draw(x.shape[0], *self._limits) * (2 * math.pi)).reshape(-1, 1, 1)
        c, s = G.cos(angle), G.sin(angle)
        return i * c + j * s, j * c - i * s


class RandomTranslation(_Moved):
    """Images shifted by shares of their height and width."""

    def __init__(
        self, height_factor: Any, width_factor: Any, fill_mode: str = "reflect", interpolation: str = "bilinear",
        seed: Any = None, fill_value: float = 0.0, data_format: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self._heights, self._widths = _range(height_factor, "height_factor"), _range(width_factor, "width_factor")
        self._moving(fill_mode, interpolation, fill_value)
        self._begin(seed, data_format)

    def places(self, x: Tensor, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        n, h, w = x.shape[:3]
        down = (self.draw(n, *self._heights) * h).reshape(-1, 1, 1)
        right = (self.draw(n, *self._widths) * w).reshape(-1, 1, 1)
        return i - down, j - right


class RandomZoom(_Moved):
    """Images made larger (negative factors) or smaller (positive ones) about their centre."""

    def __init__(
        self, height_factor: Any, width_factor: Any = None, fill_mode: str = "reflect",
        interpolation: str = "bilinear", seed: Any = None, fill_value: float = 0.0, data_format: Any = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self._heights = _range(height_factor, "height_factor", -1.0)
        self._widths = None if width_factor is None else _range(width_factor, "width_factor", -1.0)
        self._moving(fill_mode, interpolation, fill_value)
        self._begin(seed, data_format)

    def places(self, x: Tensor, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        tall = (self.draw(x.shape[0], *self._heights) + 1.0).reshape(-1, 1, 1)
        wide = tall
        if self._widths is not None:
            wide = (self.draw(x.shape[0], *self._widths) + 1.0).reshape(-1, 1, 1)
        return i * tall, j * wide


class RandomCrop(_Images):
    """A part of images, at a place drawn in training, the middle else; smaller images are enlarged."""

    def __init__(
        self, height: int, width: int, seed: Any = None, data_format: Any = None, name: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.height, self.width, self.seed = height, width, seed
        self.seed_generator = SeedGenerator(seed)
        self._format(data_format)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The size asked for."""
        return self._sized(input_shape, self.height, self.width)

    def call(self, inputs: Tensor, training: bool = True) -> Tensor:
        """See the class."""
        h, w = self._size(inputs)
        if not training or h < self.height or w < self.width:
            return CenterCrop(self.height, self.width, self.data_format, dtype=self.compute_dtype)(inputs)
        random = np.random.default_rng(list(self.seed_generator.generator.draw()))
        top, left = random.integers(h - self.height + 1), random.integers(w - self.width + 1)
        first = self.data_format == "channels_first"
        return images.cropped(self._floats(inputs), int(top), int(left), self.height, self.width, first)


class RandomBrightness(_Augmentation):
    """Add to all channels of an image a share of ``value_range`` within ``factor``."""

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor, self._limits, self.value_range = factor, _range(factor, "factor", -1.0), value_range
        self._begin(seed, "channels_last")

    def augmented(self, x: Tensor) -> Tensor:
        """See the class."""
        low, high = self.value_range
        more = (self.draw(x.shape[0], *self._limits) * (high - low)).reshape(-1, 1, 1, 1)
        return G.clamp(x + more, low, high)


class RandomContrast(_Augmentation):
    """Distances from each channel's mean multiplied by 1 + a number within ``factor``."""

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor, self.value_range = factor, value_range
        self._limits = _range(factor, "factor", -1.0)
        self._begin(seed, "channels_last")

    def augmented(self, x: Tensor) -> Tensor:
        """See the class."""
        by = (self.draw(x.shape[0], *self._limits) + 1.0).reshape(-1, 1, 1, 1)
        mean = x.mean((1, 2), keepdim=True)
        low, high = self.value_range
        return G.clamp((x - mean) * by + mean, low, high)
