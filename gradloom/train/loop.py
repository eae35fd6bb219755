"""The training loop: the one that every face of gradloom uses.

It knows epochs, batches, callbacks and progress, and nothing about models: what a step is stands behind :class:`Steps`.
In order:

    on_train_begin
      on_epoch_begin
        for each batch: on_train_batch_begin · train_step · on_train_batch_end
        with validation: on_test_begin · test_step for each batch · on_test_end
      on_epoch_end                      (the history, early stopping and checkpoints live here)
    on_train_end
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from gradloom.train.callbacks import Callback, CallbackList, History
from gradloom.train.interrupts import StepwiseInterrupt
from gradloom.train.progress import Progress

QUANTUM = 0.02  # seconds between two looks at the keyboard and the clock, where steps are short
MOST = 16  # steps done by one native call


class Batches(Protocol):
    """What is trained on: the batches of each epoch."""

    def epoch(self, number: int) -> Iterator[tuple[Any, ...]]:
        """The batches of epoch ``number``."""
        ...


class Steps(Protocol):
    """What the loop needs of whoever is trained."""

    stop_training: bool

    def set_training(self, training: bool) -> None:
        """Switch layers such as dropout on or off."""
        ...

    def train_step(self, batch: tuple[Any, ...]) -> None:
        """Forward, backward and update on one batch; adds to the sums, looks at nothing."""
        ...

    def test_step(self, batch: tuple[Any, ...]) -> None:
        """Forward on one batch; adds to the sums, looks at nothing."""
        ...

    def reset(self) -> None:
        """Set the sums to zero."""
        ...

    def results(self) -> dict[str, float]:
        """The means so far, the loss first."""
        ...


def steps_of(batches: Any) -> int | None:
    """How many batches an epoch has, None where that is not known."""
    try:
        return len(batches)
    except (TypeError, AttributeError):
        return None


def fit(
    steps: Steps,
    batches: Batches,
    *,
    epochs: int,
    initial_epoch: int = 0,
    start: int = 0,
    validation: Batches | None = None,
    validation_freq: int = 1,
    callbacks: Iterable[Callback] = (),
    model: Any = None,
    verbose: int = 1,
    progress: Progress | None = None,
    history: History | None = None,
) -> History:
    """Train for the epochs ``initial_epoch`` to ``epochs - 1``.

    Parameters
    ----------
    steps : what is trained.
    batches : of training.
    epochs : number of the epoch at which to stop, not the number of epochs to run.
    start : batches of the first epoch that are behind us, their sums in ``steps``: an interrupted epoch goes on.
    validation : batches that each ``validation_freq``-th epoch is judged by; their values are named ``val_``.
    callbacks : called in their order, before the history, unless that is among them: it has what they put into logs.
    model : what callbacks see as ``self.model``; ``steps`` by default.
    verbose : 0 silent, 1 progress, 2 one line an epoch.
    history : where the values go; a new one by default. The caller who made it keeps it through an interrupt.

    Returns
    -------
    History : the values of each epoch.

    Raises
    ------
    KeyboardInterrupt : Ctrl-C was pressed. It is raised between two steps, so what was learnt is kept.
    """
    history = history if history is not None else History()
    count = steps_of(batches)
    callbacks = list(callbacks)
    listeners = CallbackList(
        callbacks if history in callbacks else [*callbacks, history],
        model if model is not None else steps,
        {"epochs": epochs, "steps": count, "verbose": verbose},
    )
    progress = progress if progress is not None else Progress(verbose, epochs, initial_epoch)
    logs: dict[str, float] = {}
    steps.stop_training = False
    try:
        with StepwiseInterrupt() as interrupt:
            listeners.call("on_train_begin", {})
            for epoch in range(initial_epoch, epochs):
                if steps.stop_training:  # a run that had been stopped is resumed
                    break
                listeners.call("on_epoch_begin", epoch, {})
                progress.begin_epoch(epoch, count)
                done = _one_epoch(steps, batches, epoch, start, listeners, progress, interrupt)
                start = 0
                logs = steps.results()
                if validation is not None and (epoch + 1) % validation_freq == 0:
                    found = evaluate(steps, validation, listeners=listeners, interrupt=interrupt)
                    logs |= {f"val_{name}": value for name, value in found.items()}
                progress.end_epoch(done, logs)
                listeners.call("on_epoch_end", epoch, logs)
                interrupt.check()
                if steps.stop_training:
                    break
            listeners.call("on_train_end", logs)
    finally:
        progress.close()
        steps.set_training(False)
    return history


def _one_epoch(
    steps: Steps,
    batches: Batches,
    epoch: int,
    done: int,
    listeners: CallbackList,
    progress: Progress,
    interrupt: StepwiseInterrupt,
) -> int:
    """Train on the batches of one epoch that are left when ``done`` are behind us; how many it had."""
    steps.set_training(True)
    if not done:
        steps.reset()
    train_step, due = steps.train_step, progress.due
    begin, end = listeners.at_batch_begin, listeners.at_batch_end
    runs = None if begin or end or done else _runs(steps, batches, epoch)
    if runs is not None:
        return _by_runs(steps, runs, progress, interrupt)
    for batch in batches.epoch(epoch):
        for callback in begin:
            callback.on_train_batch_begin(done, {})
        train_step(batch)
        if end:
            so_far = steps.results()
            for callback in end:
                callback.on_train_batch_end(done, so_far)
        done += 1
        if interrupt.pending:
            interrupt.check()
        if due():
            progress.draw(done, steps.results())
        if steps.stop_training:
            break
    return done


def _runs(steps: Any, batches: Any, epoch: int) -> Any:
    """The batches several at a time, where both sides can do that."""
    if not hasattr(steps, "train_several") or not hasattr(batches, "runs"):
        return None
    return batches.runs(epoch)


def _by_runs(steps: Any, runs: Any, progress: Progress, interrupt: StepwiseInterrupt) -> int:
    """An epoch in which nobody looks at single steps: as many are done at once as take about QUANTUM seconds."""
    done, want = 0, 1
    while (found := runs.take(want)) is not None and not steps.stop_training:
        arrays, count = found
        start = time.perf_counter()
        if count == 1 or not steps.train_several(arrays, count):
            size = runs.size
            for k in range(count):
                steps.train_step(tuple(None if a is None else a[k * size : (k + 1) * size] for a in arrays))
        done += count
        took = (time.perf_counter() - start) / count
        want = max(1, min(MOST, 2 * want, int(QUANTUM / took)))
        if interrupt.pending:
            interrupt.check()
        if progress.due():
            progress.draw(done, steps.results())
    return done


def evaluate(
    steps: Steps,
    batches: Batches,
    *,
    listeners: CallbackList | None = None,
    interrupt: StepwiseInterrupt | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Judge a model by batches; the means of loss and metrics by name."""
    if listeners is not None:
        listeners.call("on_test_begin", {})
    steps.set_training(False)
    steps.reset()
    done = 0
    if progress is not None:
        progress.begin_epoch(0, steps_of(batches))
    for batch in batches.epoch(0):
        steps.test_step(batch)
        done += 1
        if interrupt is not None and interrupt.pending:
            interrupt.check()
        if progress is not None and progress.due():
            progress.draw(done, steps.results())
    found = steps.results()
    if progress is not None:
        progress.end_epoch(done, found)
    if listeners is not None:
        listeners.call("on_test_end", found)
    return found


def predict(
    forward: Callable[[Any], np.ndarray],
    batches: Batches,
    rows: int | None = None,
    *,
    progress: Progress | None = None,
) -> np.ndarray:
    """The outputs for all batches, one below the other, (n, ...).

    Parameters
    ----------
    forward : from the first array of a batch to its output, (b, ...).
    rows : n where it is known, so that outputs are written where they stay.

    Raises
    ------
    ValueError : there are no batches, or their outputs are not ``rows`` in all.
    """
    parts: list[np.ndarray] = []
    result: np.ndarray | None = None
    start = done = 0
    if progress is not None:
        progress.begin_epoch(0, steps_of(batches))
    for batch in batches.epoch(0):
        output = forward(batch[0])
        if rows is None:
            parts.append(np.array(output))
        else:
            if result is None:
                result = np.empty((rows, *output.shape[1:]), output.dtype)
            result[start : start + len(output)] = output
        start += len(output)
        done += 1
        if progress is not None and progress.due():
            progress.draw(done, {})
    if progress is not None:
        progress.end_epoch(done, {})
    if done == 0:
        raise ValueError("predict: there are no samples")
    if rows is not None and start != rows:
        raise ValueError(f"predict: {rows} samples gave {start} outputs")
    return np.concatenate(parts) if result is None else result
