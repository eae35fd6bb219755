"""What `keras.utils` makes of folders and series: pipelines of batches, which a function of row numbers reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gradloom.data import elements
from gradloom.data.pipeline import Pipeline
from gradloom.data.random import rng
from gradloom.data.steps import Run, Step

__all__ = ["Batched", "Texts"]


class _Loaded(Step):
    """What a function of row numbers makes of each batch of them, in another order each pass where it is shuffled."""

    def __init__(self, load: Any, count: int, batch_size: int | None, shuffle: bool, seed: int | None) -> None:
        super().__init__()
        self.load, self.count, self.batch_size, self.shuffle, self.seed = load, count, batch_size, shuffle, seed

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        """The batches of one pass without the first ``skip``."""
        order = np.arange(self.count)
        if self.shuffle:
            order = rng(run.seed if self.seed is None else self.seed, run.epoch, self.number).permutation(self.count)
        size = self.batch_size or 1
        for k in range(skip, self.length()):
            found = elements.mapped(self.load(order[k * size : (k + 1) * size]), elements.as_array)
            yield found if self.batch_size else elements.mapped(found, lambda a: a[0])

    def length(self) -> int:
        """How many batches a pass has."""
        return -(-self.count // (self.batch_size or 1))


class Batched(Pipeline):
    """Batches made by a function of row numbers: a pipeline, with the methods of ``tf.data``."""

    def __init__(self, load: Any, count: int, batch_size: int | None, shuffle: bool, seed: Any, **names: Any) -> None:
        super().__init__(_Loaded(load, count, batch_size, shuffle, seed))
        self.__dict__.update(names)


class Texts(np.ndarray):
    """An array of texts which, as tensors do, has a method ``numpy``."""

    def numpy(self) -> np.ndarray:
        """The plain array."""
        return self.view(np.ndarray)
