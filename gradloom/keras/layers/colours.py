"""Augmentation of colours, sharpness and places: grey, hue, saturation, inversion, levels, blur, erasing, shear, bends.

Each acts in training only, on each image by numbers of its own; ``value_range`` says what black and white are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.keras.layers.base import Layer
from gradloom.keras.layers.images import _Augmentation, _Moved
from gradloom.keras.names import lookup
from gradloom.tensor import Tensor

LAST = "channels_last"


def _pair(factor: Any, what: str = "factor", low: float = 0.0, high: float = 1.0) -> tuple[float, float]:
    """Two limits: of a number, 0 (or minus it, where that is allowed) and the number."""
    pair = (-factor if low < 0 else low, factor) if isinstance(factor, int | float) else tuple(factor)
    if len(pair) != 2 or pair[0] > pair[1] or pair[0] < low or pair[1] > high:
        raise ValueError(f"The `{what}` argument should be a number (or a list of two numbers) in the range "
                         f"[{low}, {high}]. Received: {what}={factor}")  # fmt: skip
    return float(pair[0]), float(pair[1])


def _picture(name: str) -> Callable[..., Tensor]:
    from gradloom.keras.ops import pictures

    return getattr(pictures, name)


class _Colours(_Augmentation):
    """Base: a factor and a range of values."""

    def _factor(self, factor: Any, value_range: Any, seed: Any, data_format: Any, low: float = 0.0,
                high: float = 1.0) -> None:  # fmt: skip
        self.factor, self._limits = factor, _pair(factor, "factor", low, high)
        self.value_range = tuple(value_range)
        self._begin(seed, data_format)

    def drawn(self, x: Tensor) -> Tensor:
        """One number for each image, (n, 1, 1, 1)."""
        return self.draw(x.shape[0], *self._limits).to(x.dtype).reshape(-1, 1, 1, 1)

    def chosen(self, x: Tensor) -> Tensor:
        """Which images are changed, with a probability within the factor's limits, (n, 1, 1, 1) bool."""
        return self.draw(x.shape[0], 0.0, 1.0).reshape(-1, 1, 1, 1) < self.drawn(x).to(dtypes.float32)

    def scaled(self, x: Tensor, high: float) -> Tensor:
        """From ``value_range`` to 0 up to ``high``."""
        low, top = self.value_range
        return (x - low) * (high / (top - low))

    def unscaled(self, x: Tensor, high: float) -> Tensor:
        """Back again."""
        low, top = self.value_range
        return x * ((top - low) / high) + low


class RandomGrayscale(_Augmentation):
    """Images without colour, each with probability ``factor``; the channels stay three."""

    def __init__(self, factor: float = 0.5, data_format: Any = None, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= factor <= 1:
            raise ValueError(f"`factor` should be between 0 and 1. Received: factor={factor}")
        self.factor = factor
        self._begin(seed, data_format)

    def augmented(self, x: Tensor) -> Tensor:
        """See the class."""
        grey = G.broadcast_to(_picture("rgb_to_grayscale")(x, data_format=LAST), tuple(x.shape))
        return G.where(self.draw(x.shape[0], 0.0, 1.0).reshape(-1, 1, 1, 1) < self.factor, grey, x)


class RandomHue(_Colours):
    """Colours turned along the wheel, half of it at most, by a share within ``factor`` either way."""

    def __init__(self, factor: Any, value_range: Any = (0, 255), data_format: Any = None, seed: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self._factor(factor, value_range, seed, data_format)

    def augmented(self, x: Tensor) -> Tensor:
        """See the class."""
        side = G.where(self.draw(x.shape[0], 0.0, 1.0) < 0.5, -1.0, 1.0).to(x.dtype).reshape(-1, 1, 1)
        turn = side * self.drawn(x).reshape(-1, 1, 1) * 0.5
        hsv = _picture("rgb_to_hsv")(self.scaled(x, 1.0), data_format=LAST)
        hsv = G.stack([G.remainder(hsv[..., 0] + turn, 1.0), hsv[..., 1], hsv[..., 2]], -1)
        rgb = _picture("hsv_to_rgb")(hsv, data_format=LAST)
        return self.unscaled(G.clamp(rgb, 0.0, 1.0), 1.0)


class RandomSaturation(_Colours):
    """Colours paler or stronger: 0.5 leaves them, 0 is grey, 1 as strong as can be."""

    def __init__(self, factor: Any, value_range: Any = (0, 255), data_format: Any = None, seed: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self._factor(factor, value_range, seed, data_format)

    def augmented(self, x: Tensor) -> Tensor:
        """See the class."""
        share = self.drawn(x).reshape(-1, 1, 1)
        by = share / (1.0 - share + 1e-7)
        hsv = _picture("rgb_to_hsv")(self.scaled(x, 1.0), data_format=LAST)
        hsv = G.stack([hsv[..., 0], G.clamp(hsv[..., 1] * by, 0.0, 1.0), hsv[..., 2]], -1)
        return self.unscaled(_picture("hsv_to_rgb")(hsv, data_format=LAST), 1.0)


class RandomInvert(_Colours):
    """Black for white and white for black, each image with probability ``factor``."""

    def __init__(self, factor: Any = 1.0, value_range: Any = (0, 255), seed: Any = None, data_format: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self._factor(factor, value_range, seed, data_format)

    def augmented(self, x: Tensor) -> Tensor:
        """See the class."""
        return G.where(self.chosen(x), self.value_range[1] - x, x)


class RandomPosterization(_Colours):
    """Fewer levels: only the ``factor`` highest of eight bits are kept."""

    def __init__(self, factor: int, value_range: Any = (0, 255), data_format: Any = None, seed: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(**kwargs)
        if not isinstance(factor, int) or not 1 <= factor <= 8:
            raise ValueError(f"`factor` should be a number of bits from 1 to 8. Received: factor={factor}")
        self.factor, self.value_range = factor, tuple(value_range)
        self._begin(seed, data_format)

    def augmented(self, x: Tensor) -> Tensor:
        """See the class."""
        step = float(1 << (8 - self.factor))
        return self.unscaled(G.floor(G.floor(self.scaled(x, 255.0)) / step) * step, 255.0)


class Solarization(_Colours):
    """A number added, and what lies above a threshold inverted; both are drawn up to shares of 255."""

    def __init__(self, addition_factor: Any = 0.0, threshold_factor: Any = 0.0, value_range: Any = (0, 255),
                 seed: Any = None, **kwargs: Any) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.addition_factor, self._additions = addition_factor, _pair(addition_factor, "addition_factor")
        self.threshold_factor, self._thresholds = threshold_factor, _pair(threshold_factor, "threshold_factor")
        self.value_range = tuple(value_range)
        self._begin(seed, LAST)

    def augmented(self, x: Tensor) -> Tensor:
        """See the class."""
        more, border = (
            self.draw(x.shape[0], *p).to(x.dtype).reshape(-1, 1, 1, 1) * 255.0
            for p in (self._additions, self._thresholds)
        )
        y = G.clamp(self.scaled(x, 255.0) + more, 0.0, 255.0)
        return self.unscaled(G.where(y < border, y, 255.0 - y), 255.0)


class RandomColorDegeneration(_Colours):
    """Colours on their way to grey, by a share within ``factor``."""

    def __init__(self, factor: Any, value_range: Any = (0, 255), data_format: Any = None, seed: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self._factor(factor, value_range, seed, data_format)

    def augmented(self, x: Tensor) -> Tensor:
        """See the class."""
        grey = _picture("rgb_to_grayscale")(x, data_format=LAST)
        return G.clamp(x + self.drawn(x) * (grey - x), *self.value_range)


class RandomSharpness(_Colours):
    """Images blurred (factors below 0.5) or sharpened (above): the distance from a smoothed image, scaled."""

    def __init__(self, factor: Any, value_range: Any = (0, 255), data_format: Any = None, seed: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self._factor(factor, value_range, seed, data_format)

    def augmented(self, x: Tensor) -> Tensor:
        """See the class."""
        from gradloom.keras.layers.convolutional import depthwise
        from gradloom.tensor import from_numpy

        kernel = np.full((3, 3, 1, 1), 1 / 13, x.dtype.numpy)
        kernel[1, 1] = 5 / 13
        filters = G.broadcast_to(from_numpy(kernel), (3, 3, x.shape[-1], 1))
        smooth = depthwise(x, filters, (1, 1), ((1, 1), (1, 1)), (1, 1))
        return G.clamp(x + (1.0 - self.drawn(x) * 2.0) * (smooth - x), *self.value_range)


class RandomGaussianBlur(_Colours):
    """Images blurred, each with a probability within ``factor``, by a deviation up to ``sigma`` for the batch."""

    def __init__(self, factor: Any = 1.0, kernel_size: Any = 3, sigma: Any = 1.0, value_range: Any = (0, 255),
                 data_format: Any = None, seed: Any = None, **kwargs: Any) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self._factor(factor, value_range, seed, data_format)
        self.kernel_size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        self.sigma = sigma
        self._sigmas = _pair(sigma, "sigma", 0.0, float("inf"))

    def augmented(self, x: Tensor) -> Tensor:
        """See the class."""
        random = np.random.default_rng(list(self.seed_generator.generator.draw()))
        sigmas = np.maximum(random.uniform(*self._sigmas, 2), 1e-6)
        blurred = _picture("gaussian_blur")(x, self.kernel_size, sigmas, data_format=LAST)
        return G.clamp(G.where(self.chosen(x), blurred, x), *self.value_range)


class RandomErasing(_Colours):
    """A rectangle filled in (Zhong et al. 2020), each image with a probability within ``factor``.

    Parameters
    ----------
    scale : the rectangle's sides as shares of the image's. fill_value : what it is filled with; noise where None.
    """

    def __init__(self, factor: Any = 1.0, scale: Any = (0.02, 0.33), fill_value: Any = None,
                 value_range: Any = (0, 255), seed: Any = None, data_format: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self._factor(factor, value_range, seed, data_format)
        self.scale, self._sides, self.fill_value = scale, _pair(scale, "scale"), fill_value

    def augmented(self, x: Tensor) -> Tensor:
        """See the class."""
        from gradloom.functions.sampling import rand

        n, h, w, _ = x.shape
        inside = None
        for size, shape in ((h, (1, h, 1, 1)), (w, (1, 1, w, 1))):
            side = self.draw(n, *self._sides).reshape(-1, 1, 1, 1) * size
            start = self.draw(n, 0.0, 1.0).reshape(-1, 1, 1, 1) * (size - side)
            at = G.arange(size).to(dtypes.float32).reshape(*shape) + 0.5
            part = G.logical_and(at >= start, at < start + side)
            inside = part if inside is None else G.logical_and(inside, part)
        assert inside is not None
        if self.fill_value is not None:
            filled: Any = G.full_like(x, float(self.fill_value))
        else:
            noise = rand(*x.shape, generator=self.seed_generator.generator).to(x.dtype)
            filled = self.unscaled(noise, 1.0)
        return G.where(G.logical_and(inside, self.chosen(x)), filled, x)


class AutoContrast(_Colours):
    """Each channel stretched from black to white; a channel of one value stays. Not only in training."""

    def __init__(self, value_range: Any = (0, 255), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.value_range = tuple(value_range)
        self._format(None)

    def call(self, inputs: Tensor, training: bool = True) -> Tensor:
        """See the class."""
        return super().call(inputs, training=True)

    def augmented(self, x: Tensor) -> Tensor:
        """See the class."""
        low, high = G.amin(x, (1, 2), True), G.amax(x, (1, 2), True)
        flat = high == low
        share = (x - low) / G.where(flat, G.ones_like(low), high - low)
        return G.where(flat, x, G.clamp(self.unscaled(share, 1.0), *self.value_range))


class RandomShear(_Moved):
    """Rows pushed along the width and columns along the height, by shares within the factors."""

    def __init__(self, x_factor: Any = 0.0, y_factor: Any = 0.0, interpolation: str = "bilinear",
                 fill_mode: str = "reflect", fill_value: float = 0.0, data_format: Any = None, seed: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.x_factor, self._x = x_factor, _pair(x_factor, "x_factor")
        self.y_factor, self._y = y_factor, _pair(y_factor, "y_factor")
        self._moving(fill_mode, interpolation, fill_value)
        self._begin(seed, data_format)

    def places(self, x: Tensor, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        n = x.shape[0]
        signs = [G.where(self.draw(n, 0.0, 1.0) < 0.5, -1.0, 1.0) for _ in range(2)]
        a, b = (
            (self.draw(n, *limits) * sign).to(x.dtype).reshape(-1, 1, 1)
            for limits, sign in zip((self._x, self._y), signs, strict=True)
        )
        return i + b * j, j + a * i


class RandomElasticTransform(_Colours):
    """Places moved by smooth random fields (Simard et al. 2003), each image with a probability within ``factor``.

    Parameters
    ----------
    scale : how strong; the fields are as wide as it and as strong as half of it in tenths of the image.
    """

    def __init__(self, factor: Any = 1.0, scale: Any = 1.0, interpolation: str = "bilinear",
                 fill_mode: str = "reflect", fill_value: float = 0.0, value_range: Any = (0, 255), seed: Any = None,
                 data_format: Any = None, **kwargs: Any) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self._factor(factor, value_range, seed, data_format)
        lookup("interpolation", interpolation, {"nearest": 1, "bilinear": 1})
        self.scale, self._scales = scale, _pair(scale, "scale")
        self.interpolation, self.fill_mode, self.fill_value = interpolation, fill_mode, fill_value

    def augmented(self, x: Tensor) -> Tensor:
        """See the class."""
        random = np.random.default_rng(list(self.seed_generator.generator.draw()))
        strong = max(float(random.uniform(*self._scales)), 1e-3)
        size = min(x.shape[1], x.shape[2])
        bent = _picture("elastic_transform")(
            x, size * strong * 0.05, max(size * strong * 0.1, 0.5), self.interpolation, self.fill_mode,
            self.fill_value, self.seed_generator, data_format=LAST,
        )  # fmt: skip
        return G.clamp(G.where(self.chosen(x), bent, x), *self.value_range)


class RandomPerspective(_Colours):
    """The image seen from aside: its corners moved inward by shares up to ``scale``."""

    def __init__(self, factor: Any = 1.0, scale: float = 1.0, interpolation: str = "bilinear",
                 fill_value: float = 0.0, seed: Any = None, data_format: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self._factor(factor, (0, 255), seed, data_format)
        _pair(scale, "scale")
        lookup("interpolation", interpolation, {"nearest": 1, "bilinear": 1})
        self.scale, self.interpolation, self.fill_value = scale, interpolation, fill_value

    def augmented(self, x: Tensor) -> Tensor:
        """See the class."""
        from gradloom.functions.sampling import rand
        from gradloom.tensor import from_numpy

        n, h, w, _ = x.shape
        corners = np.array([[0, 0], [w - 1, 0], [0, h - 1], [w - 1, h - 1]], np.float32)
        inward = np.array([[1, 1], [-1, 1], [1, -1], [-1, -1]], np.float32) * np.array([w, h], np.float32)
        start = G.broadcast_to(from_numpy(corners), (n, 4, 2))
        moved = rand(n, 4, 2, generator=self.seed_generator.generator) * (0.5 * float(self.scale) * 0.9)
        seen = _picture("perspective_transform")(
            x, start, start + moved * from_numpy(inward), self.interpolation, self.fill_value, data_format=LAST
        )
        return G.where(self.chosen(x), seen, x)


class Pipeline(Layer):
    """Layers one after the other, as one layer of preprocessing."""

    def __init__(self, layers: Any, name: str | None = None) -> None:
        from gradloom.keras.saving import deserialize_keras_object

        super().__init__(name=name)
        self.pipeline = [deserialize_keras_object(x) if isinstance(x, dict) else x for x in layers]

    @property
    def layers(self) -> list[Any]:
        """The layers, in order."""
        return list(self.pipeline)

    def call(self, inputs: Any, training: bool = True, mask: Any = None) -> Any:
        """What the last layer gives."""
        for layer in self.pipeline:
            more: dict[str, Any] = {"training": training} if "training" in layer._takes else {}
            if mask is not None and "mask" in layer._takes:
                more["mask"] = mask
            inputs = layer(inputs, **more)
        return inputs

    def get_config(self) -> dict[str, Any]:
        """The layers' configurations."""
        from gradloom.keras.saving import serialize_keras_object

        return {"name": self.name, "layers": [serialize_keras_object(x) for x in self.pipeline]}
