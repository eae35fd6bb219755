"""Orders drawn at random: a function of seed, epoch and stream alone, so that any epoch can be drawn again."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import random as global_random


def seed_of(generator: Any = None) -> int:
    """The seed of a generator (anything with `initial_seed()`), an integer itself, or the global seed for None."""
    if generator is None:
        return int(global_random.initial_seed())
    return int(generator) if isinstance(generator, (int, np.integer)) else int(generator.initial_seed())


def rng(seed: int, epoch: int, stream: int = 0) -> np.random.Generator:
    """A counter-based generator (Philox) for one epoch; streams keep unrelated uses of one seed apart."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed % 2**64, epoch, stream])))


def permutation(count: int, seed: int, epoch: int, stream: int = 0) -> np.ndarray:
    """A random order of `count` indices, int64."""
    return rng(seed, epoch, stream).permutation(count)


def derived(seed: int, *place: int) -> int:
    """A seed of 63 bits for one place (epoch, batch, worker, …) under a seed: the same for the same place."""
    return int(np.random.SeedSequence([seed % 2**64, *place]).generate_state(1, np.uint64)[0]) >> 1
