"""Random numbers: counter-based (Philox4x32-10), keyed by seed and a stream that counts the calls.

The same seed and the same calls give the same numbers, whatever the number of threads.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.dtypes import as_dtype
from gradloom.ops import structure as S
from gradloom.tape import TAPE
from gradloom.tensor import Tensor, from_numpy

__all__ = [
    "Generator", "bernoulli", "default_generator", "initial_seed", "manual_seed", "normal", "rand", "randint", "randn",
    "randperm", "uniform_like",
]  # fmt: skip


class Generator:
    """A seed and the number of draws made from it."""

    def __init__(self, device: Any = None) -> None:
        self.seed_value = time.time_ns() & 0x7FFFFFFFFFFFFFFF
        self.offset = 0

    def manual_seed(self, seed: int) -> Generator:
        """Start anew from a seed."""
        self.seed_value = int(seed) & 0x7FFFFFFFFFFFFFFF
        self.offset = 0
        return self

    def initial_seed(self) -> int:
        """The seed."""
        return self.seed_value

    def get_state(self) -> tuple[int, int]:
        """(seed, draws made)."""
        return self.seed_value, self.offset

    def set_state(self, state: tuple[int, int]) -> None:
        """Continue from a state."""
        self.seed_value, self.offset = int(state[0]), int(state[1])

    def draw(self) -> tuple[int, int]:
        """Seed and stream of the next call."""
        self.offset += 1
        return self.seed_value, self.offset


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator."""
    return default_generator.manual_seed(seed)


def initial_seed() -> int:
    """The default generator's seed."""
    return default_generator.seed_value


def _shape(size: tuple) -> tuple[int, ...]:
    return G.sizes_of(size)


def _uniform(shape: tuple[int, ...], dtype: Any, generator: Generator | None) -> Tensor:
    seed, stream = (generator or default_generator).draw()
    return TAPE.apply(S.uniform, (TAPE.scalar(seed), TAPE.scalar(stream)), (shape, dtype))


def rand(*size: Any, dtype: Any = None, generator: Generator | None = None, requires_grad: bool = False) -> Tensor:
    """Uniform numbers of [0, 1)."""
    t = _uniform(_shape(size), as_dtype(dtype) if dtype else dtypes.default_float(), generator)
    return t.requires_grad_() if requires_grad else t


def uniform_like(x: Tensor) -> Tensor:
    """Uniform float32 numbers of [0, 1) in the shape of ``x``."""
    return _uniform(tuple(x.shape), dtypes.float32, None)


def randn(*size: Any, dtype: Any = None, generator: Generator | None = None, requires_grad: bool = False) -> Tensor:
    """Standard normal numbers (Box and Muller 1958)."""
    d = as_dtype(dtype) if dtype else dtypes.default_float()
    work = dtypes.float64 if d is dtypes.float64 else dtypes.float32
    shape = _shape(size)
    u, v = _uniform(shape, work, generator), _uniform(shape, work, generator)
    r = G.sqrt(G.mul(G.const(-2.0), G.log1p(G.neg(u))))
    t = G.cast(G.mul(r, G.cos(G.mul(v, G.const(2 * math.pi)))), d)
    return t.requires_grad_() if requires_grad else t


def normal(mean: Any = 0.0, std: Any = 1.0, size: Any = (), *, generator: Generator | None = None) -> Tensor:
    """Normal numbers of a mean and a standard deviation; both may be tensors."""
    shape = tuple(mean.shape) if isinstance(mean, Tensor) else tuple(std.shape) if isinstance(std, Tensor) else size
    return randn(shape, generator=generator) * std + mean


def randint(
    low: int, high: int | None = None, size: Any = (), *, dtype: Any = None, generator: Generator | None = None
) -> Tensor:
    """Integers of low <= i < high."""
    if high is None:
        low, high = 0, low
    u = _uniform(_shape((size,)), dtypes.float64, generator)
    return G.cast(G.floor(u * float(high - low)), as_dtype(dtype) if dtype else dtypes.int64) + low


def bernoulli(p: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with probability p, else 0, in the dtype of ``p``."""
    return G.cast(G.lt(_uniform(tuple(p.shape), dtypes.float32, generator), p), p.dtype)


def randperm(n: int, *, generator: Generator | None = None) -> Tensor:
    """A permutation of 0..n-1: the order of n random 64-bit keys."""
    seed, stream = (generator or default_generator).draw()
    hi, lo = S.philox_words(seed, stream, n, 2)
    keys = (hi.astype(np.uint64) << np.uint64(32)) | lo
    return from_numpy(np.argsort(keys, kind="stable").astype(np.int64))
