"""How weights start. Each initialiser is called with a shape and gives a float32 tensor.

Without a seed they draw from ``gradloom.random``, so ``gradloom.random.manual_seed`` fixes them.
References: Glorot and Bengio 2010 (glorot), He et al. 2015 (he), LeCun et al. 1998 (lecun).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.functions import empty, full
from gradloom.functions.sampling import rand
from gradloom.keras.names import lookup
from gradloom.tensor import Tensor, from_numpy

Shape = tuple[int, ...]
# the standard deviation of a normal distribution cut off at two of its own is this much smaller
TRUNCATED = 0.87962566103423978


def draw_seed() -> int:
    """A seed of 48 bits out of the stream of ``gradloom.random``."""
    high, low = (int(v * (1 << 24)) for v in rand(2).numpy())
    return high << 24 | low


def fans(shape: Shape) -> tuple[int, int]:
    """Inputs and outputs that one unit is connected with: for (in, out), and for filters (..., in, out)."""
    if len(shape) < 2:
        size = shape[0] if shape else 1
        return size, size
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


class Initializer:
    """Called with a shape, gives a tensor."""

    def __call__(self, shape: Shape) -> Tensor:
        """A new tensor of this shape."""
        raise NotImplementedError


class Zeros(Initializer):
    """All zero."""

    def __call__(self, shape: Shape) -> Tensor:
        """A new tensor of this shape."""
        return full(shape, 0.0)


class Ones(Initializer):
    """All one."""

    def __call__(self, shape: Shape) -> Tensor:
        """A new tensor of this shape."""
        return full(shape, 1.0)


class Constant(Initializer):
    """All ``value``."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = float(value)

    def __call__(self, shape: Shape) -> Tensor:
        """A new tensor of this shape."""
        return full(shape, self.value)


class RandomUniform(Initializer):
    """Uniform from ``minval`` to ``maxval``."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        self.minval, self.maxval, self.seed = minval, maxval, seed

    def __call__(self, shape: Shape) -> Tensor:
        """A new tensor of this shape."""
        return _uniform(shape, self.minval, self.maxval, self.seed)


class RandomNormal(Initializer):
    """Normal with ``mean`` and ``stddev``."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def __call__(self, shape: Shape) -> Tensor:
        """A new tensor of this shape."""
        if self.seed is None:
            return empty(shape).normal_(self.mean, self.stddev)
        return _array(np.random.default_rng(self.seed).normal(self.mean, self.stddev, shape))


class TruncatedNormal(RandomNormal):
    """Normal, with values further than two ``stddev`` from ``mean`` drawn again."""

    def __call__(self, shape: Shape) -> Tensor:
        """A new tensor of this shape."""
        return _array(self.mean + self.stddev * _truncated(shape, self.seed))


class VarianceScaling(Initializer):
    """Variance ``scale`` / n, n the fan in, the fan out or their mean.

    Parameters
    ----------
    scale : above 0.
    mode : "fan_in", "fan_out" or "fan_avg".
    distribution : "uniform" or "truncated_normal".
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ) -> None:
        self.scale, self.seed = scale, seed
        self.pick = lookup("mode", mode, {"fan_in": _fan_in, "fan_out": _fan_out, "fan_avg": _fan_average})
        self.uniform = lookup("distribution", distribution, {"uniform": (True,), "truncated_normal": (False,)})[0]

    def __call__(self, shape: Shape) -> Tensor:
        """A new tensor of this shape."""
        variance = self.scale / max(1.0, self.pick(*fans(shape)))
        if self.uniform:
            limit = math.sqrt(3.0 * variance)
            return _uniform(shape, -limit, limit, self.seed)
        return _array(math.sqrt(variance) / TRUNCATED * _truncated(shape, self.seed))


class GlorotUniform(VarianceScaling):
    """Uniform within ±sqrt(6 / (fan_in + fan_out))."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_avg", "uniform", seed)


class GlorotNormal(VarianceScaling):
    """Truncated normal of variance 2 / (fan_in + fan_out)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_avg", "truncated_normal", seed)


class HeUniform(VarianceScaling):
    """Uniform within ±sqrt(6 / fan_in)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(2.0, "fan_in", "uniform", seed)


class HeNormal(VarianceScaling):
    """Truncated normal of variance 2 / fan_in."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(2.0, "fan_in", "truncated_normal", seed)


class LecunUniform(VarianceScaling):
    """Uniform within ±sqrt(3 / fan_in)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_in", "uniform", seed)


class LecunNormal(VarianceScaling):
    """Truncated normal of variance 1 / fan_in."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_in", "truncated_normal", seed)


def _fan_in(fan_in: int, fan_out: int) -> float:
    return fan_in


def _fan_out(fan_in: int, fan_out: int) -> float:
    return fan_out


def _fan_average(fan_in: int, fan_out: int) -> float:
    return (fan_in + fan_out) / 2


def _array(values: np.ndarray) -> Tensor:
    return from_numpy(np.ascontiguousarray(values, np.float32))


def _uniform(shape: Shape, low: float, high: float, seed: int | None) -> Tensor:
    if seed is None:
        return empty(shape).uniform_(low, high)
    return _array(np.random.default_rng(seed).uniform(low, high, shape))


def _truncated(shape: Shape, seed: int | None) -> np.ndarray:
    """Standard normal values within ±2, (shape)."""
    generator = np.random.default_rng(draw_seed() if seed is None else seed)
    values = generator.standard_normal(shape)
    outside = np.abs(values) > 2
    while outside.any():
        values[outside] = generator.standard_normal(int(outside.sum()))
        outside = np.abs(values) > 2
    return values


_TABLE: dict[str, type[Initializer]] = {
    "zeros": Zeros,
    "ones": Ones,
    "constant": Constant,
    "random_uniform": RandomUniform,
    "uniform": RandomUniform,
    "random_normal": RandomNormal,
    "normal": RandomNormal,
    "truncated_normal": TruncatedNormal,
    "variance_scaling": VarianceScaling,
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_uniform": LecunUniform,
    "lecun_normal": LecunNormal,
}
_TABLE |= {name.replace("_", ""): kind for name, kind in list(_TABLE.items())}  # "GlorotUniform" is a name too


def get(initializer: Any) -> Any:
    """The initialiser of a name; a class is made; a callable from shape to tensor is itself."""
    if isinstance(initializer, type):
        return initializer()
    return initializer if callable(initializer) else lookup("initializer", initializer, _TABLE)()
