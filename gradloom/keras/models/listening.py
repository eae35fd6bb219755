"""What callbacks hear of single batches in evaluate, validation and predict, and how they end them early."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gradloom.train import Callback
from gradloom.train.callbacks import overrides

STOPS = {"test": "stop_evaluating", "predict": "stop_predicting"}


class HeardBatches:
    """Batches, with callbacks told where each begins and ends.

    A batch ends when the next one is asked for: its step is done by then. Where a callback has set
    ``model.stop_evaluating``, or ``model.stop_predicting``, it was the last one.

    Parameters
    ----------
    batches : anything with ``epoch(number)``.
    callbacks : those that have ``on_test_batch_begin`` and its like are told.
    phase : "test" or "predict".
    results : the logs for the end of a batch.
    """

    def __init__(
        self, batches: Any, callbacks: Iterable[Callback], phase: str, model: Any, results: Callable[[], dict[str, Any]]
    ) -> None:
        self.batches, self.model, self.results, self._stop = batches, model, results, STOPS[phase]
        callbacks = list(callbacks)
        self._begin = _methods(callbacks, f"on_{phase}_batch_begin")
        self._end = _methods(callbacks, f"on_{phase}_batch_end")

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, number: int) -> Iterator[Any]:
        """The batches of epoch ``number``."""
        setattr(self.model, self._stop, False)
        for k, batch in enumerate(self.batches.epoch(number)):
            for tell in self._begin:
                tell(k, {})
            yield batch
            if self._end:
                logs = self.results()
                for tell in self._end:
                    tell(k, logs)
            if getattr(self.model, self._stop):
                break


def _methods(callbacks: Iterable[Callback], name: str) -> list[Callable[..., None]]:
    return [getattr(c, name) for c in callbacks if hasattr(c, name) and overrides(c, name)]


def tell(callbacks: Iterable[Callback], method: str, logs: dict[str, Any]) -> None:
    """Call a method of the callbacks that have it."""
    for function in _methods(callbacks, method):
        function(logs)
