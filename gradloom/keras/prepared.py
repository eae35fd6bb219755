"""Batches made by somebody else (a data loader, a generator), checked and converted one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.errors import ShapeError
from gradloom.keras import inputs
from gradloom.train import IterableBatches

if TYPE_CHECKING:
    from gradloom.keras.models import Model


class PreparedBatches:
    """The batches of ``source`` in the form that a model's steps take."""

    def __init__(self, model: Model, source: IterableBatches, class_weight: Mapping[int, float] | None) -> None:
        self.model, self.source, self.class_weight = model, source, class_weight
        self._waiting: tuple[Iterator[Any], Any] | None = None

    def __len__(self) -> int:
        return len(self.source)

    def first(self) -> tuple[np.ndarray, np.ndarray]:
        """Samples and answers of the first batch, which the first epoch still gives: a generator gives it only once."""
        batches = self.source.epoch(0)
        batch = next(batches, None)
        if batch is None:
            raise ShapeError("x gives no batches", code="keras.lengths", hint="give an iterable of (x, y)")
        self._waiting = (batches, batch)
        if batch[1] is None:
            raise ShapeError("the batches of x have no y", code="keras.lengths", hint="give an iterable of (x, y)")
        return inputs.as_array(batch[0], "x"), inputs.as_array(batch[1], "y")

    def epoch(self, number: int) -> Iterator[tuple[Any, ...]]:
        """The batches of one epoch."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            yield self._prepare(waiting[1])
            rest = waiting[0]
        else:
            rest = self.source.epoch(number)
        for batch in rest:
            yield self._prepare(batch)

    def _prepare(self, batch: tuple[Any, ...]) -> tuple[Any, ...]:
        x, y = inputs.as_array(batch[0], "x"), inputs.as_array(batch[1], "y")
        weight = None if batch[2] is None else inputs.as_array(batch[2], "sample_weight")
        inputs.check_lengths(x, y, weight)
        x, y, weight = self.model.prepare(x, y, weight, self.class_weight)
        return np.ascontiguousarray(x, inputs.sample_dtype(x)), np.ascontiguousarray(y), weight
