"""Random tensors by Keras' names. ``seed`` is a number, a :class:`SeedGenerator`, or None for the common stream."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.functions import sampling
from gradloom.keras import config
from gradloom.keras.operations import as_tensor
from gradloom.keras.variables import SeedGenerator, generator_of
from gradloom.random import default_generator
from gradloom.tensor import Tensor, from_numpy

__all__ = [
    "SeedGenerator", "beta", "binomial", "categorical", "dropout", "gamma", "normal", "randint", "shuffle",
    "truncated_normal", "uniform",
]  # fmt: skip


def _sizes(shape: Any) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def _numpy(seed: Any) -> np.random.Generator:
    """NumPy's generator for the next draw."""
    generator = generator_of(seed) or default_generator
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(list(generator.draw()))))


def normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """Normal numbers."""
    found = sampling.randn(*_sizes(shape), generator=generator_of(seed))
    return (found * stddev + mean).to(config.as_dtype(dtype))


def uniform(shape: Any, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """Uniform numbers from ``minval`` up to, not with, ``maxval``."""
    if dtype is not None and not config.is_float_dtype(dtype):
        raise ValueError("`keras.random.uniform` requires a floating point `dtype`. "
                         f"Received: dtype={config.standardize_dtype(dtype)}")  # fmt: skip
    found = sampling.rand(*_sizes(shape), generator=generator_of(seed))
    return (found * (maxval - minval) + minval).to(config.as_dtype(dtype))


def randint(shape: Any, minval: int, maxval: int, dtype: Any = "int32", seed: Any = None) -> Tensor:
    """Whole numbers from ``minval`` up to, not with, ``maxval``."""
    if not config.is_int_dtype(dtype):
        raise ValueError("`keras.random.randint` requires an integer `dtype`. "
                         f"Received: dtype={config.standardize_dtype(dtype)}")  # fmt: skip
    found = sampling.randint(int(minval), int(maxval), _sizes(shape), generator=generator_of(seed))
    return found.to(config.as_dtype(dtype))


def truncated_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """Normal numbers, those beyond two deviations drawn again."""
    from gradloom.keras.initializers import _truncated

    values = _truncated(_numpy(seed), _sizes(shape)) * stddev + mean
    return from_numpy(np.asarray(values, config.as_dtype(dtype).numpy))


def categorical(logits: Any, num_samples: int, dtype: Any = "int32", seed: Any = None) -> Tensor:
    """Class numbers drawn by scores (n, classes): (n, num_samples). By the largest of scores plus Gumbel noise."""
    scores = as_tensor(logits)
    n, classes = scores.shape
    u = sampling.rand(n, num_samples, classes, generator=generator_of(seed))
    gumbel = -G.log(-G.log(u * (1 - 2e-7) + 1e-7))
    return (scores.unsqueeze(1) + gumbel).argmax(-1).to(config.as_dtype(dtype))


def dropout(inputs: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Tensor:
    """A share ``rate`` of the inputs zero, the rest scaled by 1 / (1 - rate)."""
    from gradloom.keras.layers.regularization import kept

    x = as_tensor(inputs)
    if not 0 <= rate <= 1:
        raise ValueError(f"Invalid value received for argument `rate`. Expected a float between 0 and 1: {rate}")
    if rate == 1:
        return G.zeros_like(x)
    return x * kept(x, rate, noise_shape, generator_of(seed)) * (1.0 / (1.0 - rate)) if rate else x


def shuffle(x: Any, axis: int = 0, seed: Any = None) -> Tensor:
    """The entries of an axis in another order."""
    x = as_tensor(x)
    order = sampling.randperm(x.shape[axis], generator=generator_of(seed))
    return G.index_select(x, axis, order)


def gamma(shape: Any, alpha: Any, dtype: Any = None, seed: Any = None) -> Tensor:
    """Numbers of the gamma distribution with scale 1."""
    values = _numpy(seed).standard_gamma(np.asarray(as_tensor(alpha)), _sizes(shape))
    return from_numpy(np.asarray(values, config.as_dtype(dtype).numpy))


def beta(shape: Any, alpha: Any, beta: Any, dtype: Any = None, seed: Any = None) -> Tensor:
    """Numbers of the beta distribution."""
    a, b = np.asarray(as_tensor(alpha)), np.asarray(as_tensor(beta))
    return from_numpy(np.asarray(_numpy(seed).beta(a, b, _sizes(shape)), config.as_dtype(dtype).numpy))


def binomial(shape: Any, counts: Any, probabilities: Any, dtype: Any = None, seed: Any = None) -> Tensor:
    """Numbers of successes."""
    n, p = np.asarray(as_tensor(counts)).astype(np.int64), np.asarray(as_tensor(probabilities))
    return from_numpy(np.asarray(_numpy(seed).binomial(n, p, _sizes(shape)), config.as_dtype(dtype).numpy))
