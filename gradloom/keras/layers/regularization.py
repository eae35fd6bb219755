"""Noise that only training sees: the dropout family, Gaussian noise; and penalties on outputs."""

from __future__ import annotations

from typing import Any

from gradloom import functions as G
from gradloom.functions.sampling import bernoulli, randn
from gradloom.keras import config, regularizers
from gradloom.keras.layers.activation import _Pointwise
from gradloom.keras.layers.specs import InputSpec
from gradloom.keras.variables import SeedGenerator
from gradloom.tensor import Tensor


class _Random(_Pointwise):
    """Base: a rate and a generator."""

    def _set(self, rate: float, seed: Any, top: bool = True) -> None:
        if not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise ValueError(f"Invalid value received for argument `rate`. Expected a float value between 0 and 1. "
                             f"Received: rate={rate}")  # fmt: skip
        self.rate, self.seed = rate, seed
        if rate > 0:
            self.seed_generator = SeedGenerator(seed)


def kept(x: Tensor, rate: float, shape: Any, generator: Any) -> Tensor:
    """1 with probability ``1 - rate``, else 0, of a shape that broadcasts to that of ``x``."""
    sizes = tuple(x.shape) if shape is None else tuple(n if m is None else m for n, m in zip(x.shape, shape))
    probability = G.full(sizes, 1.0 - rate, dtype=config.as_dtype("float32"))
    return bernoulli(probability, generator=generator).to(x.dtype)


class Dropout(_Random):
    """In training, zero a share ``rate`` of the inputs and scale the rest by 1/(1 - rate) (Srivastava et al. 2014).

    Input: any shape.
    Output: the same shape.

    Parameters
    ----------
    noise_shape : the shape of the decisions; 1 along axes that are dropped together.
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(rate, seed)
        if noise_shape is not None:
            start = "Invalid value received for argument `noise_shape`. Expected"
            if not isinstance(noise_shape, list | tuple):
                raise ValueError(f"{start} a tuple or list of integers. Received: noise_shape={noise_shape}")
            if any(d is not None and not isinstance(d, int) for d in noise_shape):
                raise ValueError(f"{start} all elements to be integers or None. Received: noise_shape={noise_shape}")
            if any(d is not None and d < 1 for d in noise_shape):
                raise ValueError(f"{start} all dimensions to be positive integers or None. Received: "
                                 f"noise_shape={noise_shape}")  # fmt: skip
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Of the shape of the inputs; the inputs themselves when not training."""
        if not training or self.rate == 0:
            return inputs
        if self.rate == 1:
            return inputs * 0.0
        mask = kept(inputs, self.rate, self._noise(inputs), self.seed_generator.generator)
        return inputs * mask * (1.0 / (1.0 - self.rate))

    def _noise(self, x: Tensor) -> Any:
        return self.noise_shape


class _Spatial(Dropout):
    """Whole channels are dropped."""

    axes = 3

    def __init__(self, rate: float, seed: Any = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(rate, seed=seed, name=name, dtype=dtype)
        self.input_spec = InputSpec(ndim=self.axes)

    def get_config(self) -> dict[str, Any]:
        """Rate, seed, name and dtype."""
        found = {"rate": self.rate, "seed": self.seed, "name": self.name, "dtype": self._base_config()["dtype"]}
        return found | ({"data_format": self.data_format} if self.axes > 3 else {})


class SpatialDropout1D(_Spatial):
    """Dropout of whole channels of (n, steps, channels).

    Input: (n, steps, channels).
    Output: the same shape.
    """

    def _noise(self, x: Tensor) -> Any:
        return (x.shape[0], 1, x.shape[2])


class _SpatialImages(_Spatial):
    def __init__(
        self, rate: float, data_format: Any = None, seed: Any = None, name: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(rate, seed, name, dtype)
        self.data_format = config.checked_format(data_format)

    def _noise(self, x: Tensor) -> Any:
        ones = (1,) * (self.axes - 2)
        if self.data_format == "channels_first":
            return (x.shape[0], x.shape[1], *ones)
        return (x.shape[0], *ones, x.shape[-1])


class SpatialDropout2D(_SpatialImages):
    """Dropout of whole channels of images.

    Input: (n, rows, columns, channels); with ``data_format="channels_first"`` (n, channels, rows, columns).
    Output: the same shape.
    """

    axes = 4


class SpatialDropout3D(_SpatialImages):
    """Dropout of whole channels of volumes.

    Input: (n, depth, rows, columns, channels); with ``data_format="channels_first"`` (n, channels, depth, rows,
    columns).
    Output: the same shape.
    """

    axes = 5


class GaussianDropout(_Random):
    """In training, multiply with numbers around 1 of deviation √(rate / (1 - rate)) (Srivastava et al. 2014).

    Input: any shape.
    Output: the same shape.
    """

    def __init__(self, rate: float, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(rate, seed)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Of the shape of the inputs."""
        if not training or self.rate == 0:
            return inputs
        deviation = (self.rate / (1.0 - self.rate)) ** 0.5
        noise = randn(*inputs.shape, generator=self.seed_generator.generator).to(inputs.dtype)
        return inputs * (noise * deviation + 1.0)


class GaussianNoise(_Random):
    """In training, add normal numbers of deviation ``stddev``.

    Input: any shape.
    Output: the same shape.
    """

    def __init__(self, stddev: float, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= stddev <= 1:
            raise ValueError(f"Invalid value received for argument `stddev`. Expected a float value between 0 and 1. "
                             f"Received: stddev={stddev}")  # fmt: skip
        self.stddev, self.seed = stddev, seed
        if stddev > 0:
            self.seed_generator = SeedGenerator(seed)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Of the shape of the inputs."""
        if not training or self.stddev == 0:
            return inputs
        return inputs + randn(*inputs.shape, generator=self.seed_generator.generator).to(inputs.dtype) * self.stddev


_ALPHA = -1.6732632423543772848170429916717 * 1.0507009873554804934193349852946


class AlphaDropout(_Random):
    """Dropout that keeps mean and variance of self-normalising networks (Klambauer et al. 2017).

    Input: any shape.
    Output: the same shape.
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(rate, seed)
        self.noise_shape = noise_shape

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Of the shape of the inputs."""
        if not training or self.rate == 0:
            return inputs
        rate = self.rate
        a = ((1 - rate) * (1 + rate * _ALPHA**2)) ** -0.5
        b = -a * _ALPHA * rate
        mask = kept(inputs, rate, self.noise_shape, self.seed_generator.generator)
        return (inputs * mask + (1.0 - mask) * _ALPHA) * a + b


class ActivityRegularization(_Pointwise):
    """The inputs, with a penalty l1 Σ|x| + l2 Σx² on them.

    Input: any shape.
    Output: the same shape.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(activity_regularizer=regularizers.L1L2(l1=l1, l2=l2), **kwargs)
        self.l1, self.l2 = l1, l2

    def call(self, inputs: Any) -> Any:
        """The inputs themselves."""
        return inputs

    def get_config(self) -> dict[str, Any]:
        """Both factors."""
        found = super().get_config()
        found.pop("activity_regularizer")
        return found
