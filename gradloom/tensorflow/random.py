"""`tf.random`: numbers drawn from the default generator, or from a seed of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradloom import dtypes
from gradloom.functions.elementwise import cast
from gradloom.keras import random as keras_random
from gradloom.keras import utils
from gradloom.tensor import Tensor, as_tensor

__all__ = ["categorical", "gamma", "normal", "set_seed", "shuffle", "truncated_normal", "uniform"]


def set_seed(seed: int) -> None:
    """Seed Python's, NumPy's and gradloom's generators."""
    utils.set_random_seed(int(seed))


def normal(
    shape: Sequence[int], mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = "float32", seed: int | None = None,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Normal numbers."""
    return keras_random.normal(tuple(shape), 0.0, 1.0, dtypes.as_dtype(dtype).name, seed) * stddev + mean  # type: ignore[no-any-return]


def truncated_normal(
    shape: Sequence[int], mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = "float32", seed: int | None = None,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Normal numbers not further than two standard deviations from the mean."""
    drawn = keras_random.truncated_normal(tuple(shape), 0.0, 1.0, dtypes.as_dtype(dtype).name, seed)
    return drawn * stddev + mean  # type: ignore[no-any-return]


def uniform(
    shape: Sequence[int], minval: Any = 0, maxval: Any = None, dtype: Any = "float32", seed: int | None = None,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Numbers of minval <= x < maxval, evenly; for integers `maxval` must be given."""
    kind = dtypes.as_dtype(dtype)
    if kind.is_floating:
        high = 1.0 if maxval is None else maxval
        return keras_random.uniform(tuple(shape), 0.0, 1.0, kind.name, seed) * (high - minval) + minval  # type: ignore[no-any-return]
    if maxval is None:
        raise ValueError(f"uniform: maxval must be given for {kind.name}")
    return keras_random.randint(tuple(shape), int(minval), int(maxval), kind.name, seed)  # type: ignore[no-any-return]


def gamma(
    shape: Sequence[int], alpha: Any, beta: Any = 1.0, dtype: Any = "float32", seed: int | None = None,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Numbers of the gamma distribution: `shape` of them for each `alpha` (shape) and `beta` (rate)."""
    a = as_tensor(alpha)
    drawn = keras_random.gamma((*tuple(shape), *a.shape), a, dtypes.as_dtype(dtype).name, seed)
    return drawn / beta  # type: ignore[no-any-return]


def shuffle(value: Any, seed: int | None = None, name: str | None = None) -> Tensor:
    """The elements along the first axis in a random order."""
    return keras_random.shuffle(as_tensor(value), 0, seed)  # type: ignore[no-any-return]


def categorical(
    logits: Any, num_samples: int, dtype: Any = "int64", seed: int | None = None, name: str | None = None
) -> Tensor:
    """Class numbers (N, num_samples) drawn for each row of logits (N, K)."""
    return cast(keras_random.categorical(as_tensor(logits), num_samples, seed=seed), dtypes.as_dtype(dtype or "int64"))
