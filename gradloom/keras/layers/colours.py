"""Layers that change colours: brightness, contrast, hue, saturation, inversion, levels, sharpness, blur, erasing.

``value_range`` says what black and white are. Labels, boxes and masks stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.functions import sampling
from gradloom.keras import config
from gradloom.keras.layers.augmenting import LAST, ImageLayer, RandomLayer, each, limits, scaled, value_range
from gradloom.keras.layers.convolutional import depthwise
from gradloom.keras.operations import as_tensor
from gradloom.tensor import Tensor, from_numpy


def _picture(name: str) -> Callable[..., Tensor]:
    from gradloom.keras.ops import pictures

    return getattr(pictures, name)


class _Factor(RandomLayer):
    """Base: one number within the limits of ``factor`` for each image."""

    lowest, highest, key = -1.0, 1.0, "factor"

    def _begin(self, factor: Any, values: Any, seed: Any) -> None:
        self.factor: Any = limits(factor, "factor", self.lowest, self.highest)
        self.value_range = value_range(values)
        self.begin(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """The numbers, (n, 1, 1, 1)."""
        return {self.key: self.draw(seed, (self.sizes(data)[0], 1, 1, 1), *self.factor)} if training else None

    def _number(self, transformation: Any, x: Tensor) -> Tensor:
        return each(transformation[self.key], x)


class RandomBrightness(_Factor):
    """A number added to all channels of an image in training.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape, within ``value_range``.

    Parameters
    ----------
    factor : of the width of ``value_range``; one number from 0 to 1: up to as much more or less; or two limits.
    """

    key = "rgb_delta"

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._begin(factor, value_range, seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """What is added, (n, 1, 1, 1)."""
        found = super().get_random_transformation(data, training, seed)
        low, high = self.value_range
        return found and {self.key: found[self.key] * (high - low)}

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        return G.clamp(x + self._number(transformation, x), *self.value_range)


class RandomContrast(_Factor):
    """Distances from each channel's mean multiplied by 1 - a up to 1 + b in training.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape, within ``value_range``.

    Parameters
    ----------
    factor : (a, b), both from 0 to 1; or b, with a = 0.
    """

    lowest, key = 0.0, "contrast_factor"

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._begin(factor, value_range, seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """The multipliers, (n, 1, 1, 1)."""
        low, high = 1.0 - self.factor[0], 1.0 + self.factor[1]
        return {self.key: self.draw(seed, (self.sizes(data)[0], 1, 1, 1), low, high)} if training else None

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        mean = x.mean((1, 2), keepdim=True)
        return G.clamp((x - mean) * self._number(transformation, x) + mean, *self.value_range)


class RandomGrayscale(RandomLayer):
    """Images without colour in training, each with probability ``factor``; the channels stay three.

    Input: images (n, h, w, 3), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape.
    """

    def __init__(self, factor: float = 0.5, data_format: Any = None, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(data_format=data_format, **kwargs)
        if not 0 <= factor <= 1:
            raise ValueError(f"`factor` should be between 0 and 1. Received: factor={factor}")
        self.factor = factor
        self.begin(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Which images lose their colour, (n, 1, 1, 1) bool."""
        return self.draw(seed, (self.sizes(data)[0], 1, 1, 1)) < self.factor

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        return G.where(each(transformation), _picture("rgb_to_grayscale")(x, data_format=LAST), x)


class RandomHue(_Factor):
    """Colours turned along the wheel in training, half of it at most, by a share within ``factor`` either way.

    Input: images (n, h, w, 3), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape.

    Parameters
    ----------
    factor : one number from 0 to 1: up to it; or two limits.
    """

    lowest = 0.0

    def __init__(self, factor: Any, value_range: Any = (0, 255), data_format: Any = None, seed: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self._begin(factor, value_range, seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Shares of the wheel, (n,)."""
        if not training:
            return None
        n = self.sizes(data)[0]
        turn = self.draw(seed, (n,), *self.factor) * 0.5
        return {"factor": G.where(self.draw(seed, (n,)) > 0.5, -turn, turn)}

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        turn = self._number(transformation, x).squeeze(-1)
        hsv = _picture("rgb_to_hsv")(scaled(x, self.value_range, (0, 1)), data_format=LAST)
        hsv = G.stack([G.remainder(hsv[..., 0] + turn, 1.0), hsv[..., 1], hsv[..., 2]], -1)
        rgb = G.clamp(_picture("hsv_to_rgb")(hsv, data_format=LAST), 0.0, 1.0)
        return scaled(rgb, (0, 1), self.value_range)


class RandomSaturation(_Factor):
    """Colours paler or stronger in training: 0.5 leaves them, 0 is grey, 1 as strong as can be.

    Input: images (n, h, w, 3), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape.

    Parameters
    ----------
    factor : two limits; one number f means (-f, f), where what is below 0 is grey.
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), data_format: Any = None, seed: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self._begin(factor, value_range, seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """What the saturation is multiplied by, (n, 1, 1, 1)."""
        found = super().get_random_transformation(data, training, seed)
        return found and {"factor": found["factor"] / (1.0 - found["factor"] + config.epsilon())}

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        by = self._number(transformation, x).squeeze(-1)
        hsv = _picture("rgb_to_hsv")(scaled(x, self.value_range, (0, 1)), data_format=LAST)
        hsv = G.stack([hsv[..., 0], G.clamp(hsv[..., 1] * by, 0.0, 1.0), hsv[..., 2]], -1)
        return scaled(_picture("hsv_to_rgb")(hsv, data_format=LAST), (0, 1), self.value_range)


class RandomColorDegeneration(_Factor):
    """Colours on their way to grey in training, by a share within ``factor``; away from it below 0.

    Input: images (n, h, w, 3), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape, within ``value_range``.

    Parameters
    ----------
    factor : two limits from -1 to 1; one number f means (-f, f).
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), data_format: Any = None, seed: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self._begin(factor, value_range, seed)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same. ValueError for images that have no three channels."""
        if not isinstance(input_shape, dict):
            if len(input_shape) not in (3, 4):
                raise ValueError("Invalid images rank: expected rank 3 (single image) or rank 4 (batch of images). "
                                 f"Received: input_shape={input_shape}")  # fmt: skip
            channels = input_shape[-1 if self.data_format == LAST else -3]
            if channels not in (None, 3):
                raise ValueError(f"Input images must have 3 channels, but received images with {channels} channels.")
        return super().compute_output_shape(input_shape)

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        grey = _picture("rgb_to_grayscale")(x, data_format=LAST)
        return G.clamp(x + self._number(transformation, x) * (grey - x), *self.value_range)


class RandomSharpness(_Factor):
    """Images blurred (below 0.5) or sharpened (above) in training: the distance from a smoothed image, scaled.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape, within ``value_range``.

    Parameters
    ----------
    factor : one number from 0 to 1: up to it; or two limits.
    """

    lowest = 0.0

    def __init__(self, factor: Any, value_range: Any = (0, 255), data_format: Any = None, seed: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self._begin(factor, value_range, seed)

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        kernel = np.full((3, 3, 1, 1), 1 / 13, x.dtype.numpy)
        kernel[1, 1] = 5 / 13
        filters = G.broadcast_to(from_numpy(kernel), (3, 3, x.shape[-1], 1))
        smooth = depthwise(x, filters, (1, 1), ((1, 1), (1, 1)), (1, 1))
        by = self._number(transformation, x)
        return G.clamp(x + (1.0 - by * 2.0) * (smooth - x), *self.value_range)


class RandomPosterization(RandomLayer):
    """Fewer levels in training: only the highest of eight bits are kept.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape.

    Parameters
    ----------
    factor : how many bits, from 1 to 8: two limits, the upper one not reached unless both are the same; one number b
        means (1, b).
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), data_format: Any = None, seed: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self.factor = limits(factor, "factor", 1, 8)
        self._begin(value_range, seed)

    def _begin(self, values: Any, seed: Any) -> None:
        self.value_range = value_range(values)
        self.begin(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """How many bits are lost, (n,)."""
        if not training:
            return None
        low, high = self.factor
        kept = G.floor(self.draw(seed, (self.sizes(data)[0],), low, max(high, low)))
        return {"shift_factor": 8 - kept}

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        step = G.exp2(each(transformation["shift_factor"], x))
        x = G.floor(G.clamp(scaled(x, self.value_range, (0, 255)), 0.0, 255.0))
        return scaled(G.floor(x / step) * step, (0, 255), self.value_range)


class Solarization(RandomLayer):
    """In training a number is added, and what lies above a threshold then inverted.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape.

    Parameters
    ----------
    addition_factor, threshold_factor : shares of the width of ``value_range`` from 0 to 1: one number: up to it; or
        two limits.
    """

    def __init__(self, addition_factor: Any = 0.0, threshold_factor: Any = 0.0, value_range: Any = (0, 255),
                 seed: Any = None, **kwargs: Any) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.addition_factor = limits(addition_factor, "addition_factor", 0, 1.0)
        self.threshold_factor = limits(threshold_factor, "threshold_factor", 0, 1.0)
        self._begin(value_range, seed)

    def _begin(self, values: Any, seed: Any) -> None:
        self.value_range = value_range(values)
        self.begin(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Numbers to add and thresholds, of 255, (n, 1, 1, 1) each."""
        if not training:
            return None
        shape = (self.sizes(data)[0], 1, 1, 1)
        return {
            "additions": self.draw(seed, shape, *self.addition_factor) * 255.0,
            "thresholds": self.draw(seed, shape, *self.threshold_factor) * 255.0,
        }

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        more, border = (each(transformation[k], x) for k in ("additions", "thresholds"))
        y = G.clamp(scaled(x, self.value_range, (0, 255)) + more, 0.0, 255.0)
        return scaled(G.where(y < border, y, 255.0 - y), (0, 255), self.value_range)


class _Sometimes(RandomLayer):
    """Base: something that happens to an image with a probability within the limits of ``factor``."""

    def _begin(self, factor: Any, values: Any, seed: Any) -> None:
        self.factor = limits(factor, "factor", 0, 1)
        self.value_range = values
        self.begin(seed)


class RandomInvert(_Sometimes):
    """Black for white and white for black in training.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape.

    Parameters
    ----------
    factor : the probability, up to one number or within two.
    """

    def __init__(self, factor: Any = 1.0, value_range: Any = (0, 255), seed: Any = None, data_format: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self._begin(factor, value_range, seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Which images are inverted, (n,) bool."""
        return {"apply_inversion": self.happens(seed, self.sizes(data)[0], self.factor)} if training else None

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        return G.where(each(transformation["apply_inversion"]), self.value_range[1] - x, x)


class RandomGaussianBlur(_Sometimes):
    """Images blurred in training, by deviations along height and width that are drawn for the batch.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape, within ``value_range``.

    Parameters
    ----------
    factor : the probability, up to one number or within two. kernel_size : odd, of one side or of both.
    sigma : deviations in pixels, up to one number or within two.
    """

    def __init__(self, factor: Any = 1.0, kernel_size: Any = 3, sigma: Any = 1.0, value_range: Any = (0, 255),
                 data_format: Any = None, seed: Any = None, **kwargs: Any) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self.kernel_size = (kernel_size, kernel_size) if isinstance(kernel_size, int | float) else tuple(kernel_size)
        if len(self.kernel_size) != 2 or any(k % 2 != 1 for k in self.kernel_size):
            raise ValueError(f"kernel_size must be an odd number. Received: kernel_size={kernel_size}")
        self.sigma = limits(sigma, "sigma", 0, float("inf"))
        self._begin(factor, value_range, seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Which images are blurred, (n,) bool, and the deviations, (2,)."""
        if not training:
            return None
        return {
            "should_apply_blur": self.happens(seed, self.sizes(data)[0], self.factor),
            "blur_factor": self.draw(seed, (2,), *self.sigma) + 1e-6,
        }

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        sigmas, y = as_tensor(transformation["blur_factor"]).to(x.dtype), x
        for axis, size, sigma in ((2, int(self.kernel_size[0]), sigmas[0]), (1, int(self.kernel_size[1]), sigmas[1])):
            at = from_numpy(((np.arange(size) - (size - 1) / 2) ** 2).astype(x.dtype.numpy))
            bell = G.exp(at * -0.5 / (sigma * sigma))
            shape = (size, 1, 1, 1) if axis == 1 else (1, size, 1, 1)
            filters = (bell / bell.sum()).reshape(*shape)
            filters = G.broadcast_to(filters, (*shape[:2], x.shape[-1], 1))
            side = (size // 2, size // 2)
            y = depthwise(y, filters, (1, 1), (side, (0, 0)) if axis == 1 else ((0, 0), side), (1, 1))
        chosen = each(transformation["should_apply_blur"])
        return G.clamp(G.where(chosen, y, x), *self.value_range)


def window(layer: RandomLayer, seed: Any, n: int, size: int, share: Tensor) -> tuple[Tensor, Tensor]:
    """Where a part of a side begins and ends, (n,) each, of which ``share`` says how long it is."""
    side = share * size
    start = layer.draw(seed, (n,)) * (size - side)
    return start, start + side


def inside(h: int, w: int, rows: Any, columns: Any) -> Tensor:
    """Which pixels lie between two rows and two columns, (n, h, w, 1) bool."""
    i = G.arange(h).to(dtypes.float32).reshape(1, h, 1, 1)
    j = G.arange(w).to(dtypes.float32).reshape(1, 1, w, 1)
    (top, bottom), (left, right) = ([each(v) for v in pair] for pair in (rows, columns))
    tall = G.logical_and(i >= top, i < bottom)
    return G.logical_and(tall, G.logical_and(j >= left, j < right))


class RandomErasing(_Sometimes):
    """A rectangle filled in, in training (Zhong et al. 2020).

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape.

    Parameters
    ----------
    factor : the probability, up to one number or within two.
    scale : the squares of the rectangle's sides as shares of the image's, up to one number or within two.
    fill_value : what it is filled with, a number or one for each of three channels; normal noise where None.
    """

    def __init__(self, factor: Any = 1.0, scale: Any = (0.02, 0.33), fill_value: Any = None,
                 value_range: Any = (0, 255), seed: Any = None, data_format: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self.scale = limits(scale, "scale", 0, 1)
        if not (fill_value is None or isinstance(fill_value, int | float)) and len(fill_value) != 3:
            raise ValueError("The `fill_value` argument should be a number (or a list of three numbers). Received: "
                             f"fill_value={fill_value}")  # fmt: skip
        self.fill_value = fill_value
        self._begin(factor, value_range, seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Which images are changed, the pixels, and what they become."""
        if not training:
            return None
        n, h, w, c = self.sizes(data)
        sides = [G.sqrt(self.draw(seed, (n,), *self.scale)) for _ in range(2)]
        rows, columns = (window(self, seed, n, size, side) for size, side in zip((h, w), sides, strict=True))
        low, high = self.value_range
        filled: Any = self.fill_value
        if filled is None:
            filled = G.clamp(sampling.randn(n, h, w, c, generator=self.stream(seed)) * high, low, high)
        else:
            filled = as_tensor(np.clip(np.asarray(filled, np.float32), low, high))
        mask = inside(h, w, rows, columns)
        return {"apply_erasing": self.happens(seed, n, self.factor), "batch_masks": mask, "fill_value": filled}

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        where = G.logical_and(each(transformation["apply_erasing"]), as_tensor(transformation["batch_masks"]))
        return G.where(where, as_tensor(transformation["fill_value"]).to(x.dtype), x)


class AutoContrast(ImageLayer):
    """Each channel of an image stretched from black to white; a channel of one value stays. Not only in training.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape.
    """

    def __init__(self, value_range: Any = (0, 255), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._values(value_range)

    def _values(self, given: Any) -> None:
        self.value_range = value_range(given)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Tensor:
        """The images stretched."""
        return super().transform_images(images, transformation, True)

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        low, high = G.amin(x, (1, 2), True), G.amax(x, (1, 2), True)
        flat = high == low
        share = (x - low) / G.where(flat, G.ones_like(low), high - low)
        return G.where(flat, x, G.clamp(scaled(share, (0, 1), self.value_range), *self.value_range))
