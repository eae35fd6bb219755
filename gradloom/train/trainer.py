"""Trainer: a module, a loss and an optimiser trained by the one loop, with checkpoints that resume bit for bit."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gradloom.amp import GradScaler, autocast
from gradloom.errors import GradientError, ShapeError, StateError
from gradloom.io.files import load
from gradloom.metrics import Metric
from gradloom.modes import no_grad
from gradloom.nn.module import Module
from gradloom.nn.utils.gradients import clip_grad_norm_, clip_grad_value_
from gradloom.runtime.buffers import memory_stats
from gradloom.tape import TAPE
from gradloom.tensor import Tensor, as_tensor, tensor
from gradloom.train.between import Batches, Ends, Handle
from gradloom.train.callbacks import Callback, History
from gradloom.train.checkpoints import Folder, generators, set_generators
from gradloom.train.loop import evaluate, fit, steps_of
from gradloom.train.progress import Progress, duration, step_time

PRECISIONS = {None: None, "float32": None, "bfloat16": "bfloat16", "float16": "float16"}


class Trainer:
    """Trains a module.

    A batch is a tuple or list: the module's inputs, the targets, and with `weighted` the weights of the samples. Where
    a model wants something else, override :meth:`compute`.

    Parameters
    ----------
    model : Module
    optimizer : Optimizer
    loss : callable
        Of outputs and targets. Several outputs: a list or dict of callables, in the outputs' structure.
    loss_weights : list or dict, optional
        Of several losses; 1 each unless given.
    metrics : dict of Metric, optional
        By the name under which they are reported. A metric is given the outputs and the targets.
    scheduler : LRScheduler, optional
        Stepped after each epoch, or each step with `schedule="step"`. `ReduceLROnPlateau` is given `monitor`.
    monitor : str
        The value that says which epoch is best: "val_loss" where there is validation, else "loss".
    inputs : int
        How many parts of a batch go to the module.
    weighted : bool
        Whether the last part of a batch has a weight for each sample; the loss must have a `reduction`.
    class_weight : dict, optional
        Of class number to the weight of its samples in the loss.
    precision : {"float32", "bfloat16", "float16"}
        What products are made in; float16 with scaled losses. Parameters stay float32.
    accumulate : int
        Batches to an update. Gradients are those of the mean over all their samples, also where batches differ in size.
    clip_norm, clip_value : float, optional
        Limit of the gradients' norm, or of their elements.
    ema : float, optional
        Keep a mean of the weights that forgets by this factor each update; evaluation and the best model use it.
    """

    stop_training = False

    def __init__(
        self,
        model: Module,
        optimizer: Any,
        loss: Any,
        *,
        loss_weights: Any = None,
        metrics: Mapping[str, Metric] | None = None,
        scheduler: Any = None,
        schedule: str = "epoch",
        monitor: str | None = None,
        inputs: int = 1,
        weighted: bool = False,
        class_weight: Mapping[int, float] | None = None,
        precision: str | None = None,
        accumulate: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        ema: float | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision is one of float32, bfloat16, float16; got {precision!r}")
        if schedule not in ("epoch", "step"):
            raise ValueError(f'schedule is "epoch" or "step"; got {schedule!r}')
        if accumulate < 1 or inputs < 1:
            raise ValueError(f"accumulate and inputs must be at least 1, got {accumulate} and {inputs}")
        self.model, self.optimizer, self.scheduler, self.schedule = model, optimizer, scheduler, schedule
        self.losses, self.loss_weights = loss, loss_weights
        self.metrics, self.monitor = dict(metrics or {}), monitor
        self.inputs, self.weighted, self.class_weight = inputs, weighted, class_weight
        self.precision = PRECISIONS[precision]
        self.scaler = GradScaler("cpu", enabled=self.precision == "float16")
        self.accumulate, self.clip_norm, self.clip_value = accumulate, clip_norm, clip_value
        if ema is not None and not 0.0 <= ema < 1.0:
            raise ValueError(f"ema is a factor of 0 <= ema < 1, got {ema}")
        self.ema = ema
        self.averaged = copy.deepcopy(model) if ema is not None else None
        self.updates = 0
        self.history = History()
        self.steps = 0  # batches trained on, over all epochs
        self.best: float | None = None
        self._waiting = 0  # batches since the last update
        self._rows = 0  # samples in them
        self._folder: Folder | None = None
        self._data: Any = None
        self._epoch = self._start = 0  # where we are: epoch, and batches of it that are behind us
        self.compile_seconds = 0.0  # of the steps of this `fit` that compiled something
        self._seconds: list[float] = []  # of the first other steps
        self._left = 0  # steps of this `fit` still to come; 0 where that is not known
        self._told = True
        self._sums: list[Tensor] = []
        self.reset()

    # -- what a batch means ---------------------------------------------------------------------------

    def compute(self, batch: Sequence[Any]) -> tuple[Tensor, Any, Any]:
        """Loss (a mean over the samples), outputs and targets of a batch; to be overridden for other batches."""
        parts = list(batch)
        weight = parts.pop() if self.weighted else None
        if len(parts) <= self.inputs:
            raise ShapeError(
                f"a batch has {len(batch)} parts; expected are {self.inputs} inputs, the targets"
                + (" and the weights of the samples" if self.weighted else ""),
                code="train.batch",
                hint="say how many parts are inputs (inputs=…), or override Trainer.compute",
            )
        inputs, targets = parts[: self.inputs], parts[self.inputs :]
        target = targets[0] if len(targets) == 1 else targets
        outputs = self.model(*inputs)
        return self._loss(outputs, target, weight), outputs, target

    def _loss(self, outputs: Any, target: Any, weight: Any) -> Tensor:
        losses = self.losses
        if not isinstance(losses, (list, tuple, dict)):
            return self._one_loss(losses, outputs, target, weight)
        keys = list(losses) if isinstance(losses, dict) else range(len(losses))
        shares = self.loss_weights or ({k: 1.0 for k in keys} if isinstance(losses, dict) else [1.0] * len(losses))
        parts = [self._one_loss(losses[k], outputs[k], target[k], weight) * shares[k] for k in keys]
        return sum(parts[1:], parts[0])

    def _one_loss(self, loss: Any, output: Any, target: Any, weight: Any) -> Tensor:
        if self.class_weight:
            table = np.ones(max(self.class_weight) + 1, np.float32)
            table[list(self.class_weight)] = list(self.class_weight.values())
            of_class = tensor(table)[target]
            weight = of_class if weight is None else weight * of_class
        if weight is None:
            return loss(output, target)  # type: ignore[no-any-return]
        if not hasattr(loss, "reduction"):
            raise StateError(
                f"weights of samples need the loss of each sample, and {loss!r} has no `reduction`",
                code="train.weights",
                hint="use a loss of gradloom.nn, or override Trainer.compute",
            )
        each = copy.copy(loss)
        each.reduction = "none"
        values = each(output, target)
        if values.ndim > 1:
            values = values.flatten(1).mean(1)
        return (values * weight).mean()  # type: ignore[no-any-return]

    # -- what the loop asks for -----------------------------------------------------------------------

    def set_training(self, training: bool) -> None:
        """Switch dropout and its like on or off."""
        if self.model.training is not training:
            self.model.train(training)
        if self.averaged is not None:
            self.averaged.eval()

    def reset(self) -> None:
        """Set the sums to zero."""
        self._sums = [tensor(np.zeros((), np.float64)), tensor(np.zeros((), np.float64))]
        for metric in self.metrics.values():
            metric.reset()

    def results(self) -> dict[str, float]:
        """Means since the last reset, the loss first."""
        total, rows = (float(t) for t in self._sums)
        found = {"loss": total / rows if rows else math.nan}
        for name, metric in self.metrics.items():
            if metric.update_count:
                found[name] = float(metric.compute())
        return found

    def _autocast(self) -> Any:
        return autocast("cpu", dtype=self.precision) if self.precision else contextlib.nullcontext()

    def _add(self, loss: Tensor, outputs: Any, target: Any, rows: int) -> None:
        with no_grad():
            self._sums[0] += loss.detach() * float(rows)
            self._sums[1] += float(rows)
        for metric in self.metrics.values():
            metric.update(outputs.detach() if isinstance(outputs, Tensor) else outputs, target)

    def train_step(self, batch: Sequence[Any]) -> None:
        """Forward, backward, and the update where it is due."""
        began = time.perf_counter()
        compiled = TAPE.compiled
        batch = [_tensors(part) for part in batch if part is not None]
        rows = _rows(batch)
        with self._autocast():
            loss, outputs, target = self.compute(batch)
        if loss.ndim:
            raise GradientError(
                f"the loss has shape {tuple(loss.shape)}; a number is expected",
                code="train.loss",
                hint='use a loss with reduction="mean"',
            )
        self._add(loss, outputs, target, rows)
        if self.accumulate > 1:
            loss = loss * float(rows)
        self.scaler.scale(loss).backward()
        self._waiting, self._rows = self._waiting + 1, self._rows + rows
        self.steps, self._start, self._left = self.steps + 1, self._start + 1, max(0, self._left - 1)
        if self._waiting == self.accumulate:
            self._update()
        if not self._told:
            TAPE.flush()
            self._watch(time.perf_counter() - began, TAPE.compiled > compiled)

    def _update(self) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.accumulate > 1 or self.clip_norm is not None or self.clip_value is not None:
            self.scaler.unscale_(self.optimizer)
        if self.accumulate > 1:
            with no_grad():
                for p in parameters:
                    p.grad.mul_(1.0 / self._rows)
        if self.clip_value is not None:
            clip_grad_value_(parameters, self.clip_value)
        if self.clip_norm is not None:
            clip_grad_norm_(parameters, self.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.updates += 1
        self._average()
        if self.scheduler is not None and self.schedule == "step":
            self.scheduler.step()
        self._waiting = self._rows = 0

    def test_step(self, batch: Sequence[Any]) -> None:
        """Forward on one batch, with the mean of the weights where one is kept."""
        batch = [_tensors(part) for part in batch if part is not None]
        with no_grad(), self._autocast(), self._with_averaged():
            loss, outputs, target = self.compute(batch)
            self._add(loss, outputs, target, _rows(batch))

    def _average(self) -> None:
        """Take the weights into their mean; buffers, and the first weights, are copied."""
        if self.averaged is None or self.ema is None:
            return
        with no_grad():
            for mean, value in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                if self.updates == 1:
                    mean.copy_(value.detach())
                else:
                    mean.mul_(self.ema).add_(value.detach(), alpha=1.0 - self.ema)
            for kept, buffer in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
                kept.copy_(buffer.detach())

    @contextlib.contextmanager
    def _with_averaged(self) -> Iterator[None]:
        if self.averaged is None or not self.updates:
            yield
            return
        model, self.model = self.model, self.averaged
        try:
            yield
        finally:
            self.model = model

    def _watch(self, seconds: float, compiled: bool) -> None:
        """Note what a step takes; once five are known, say so."""
        if compiled:
            self.compile_seconds += seconds
            return
        self._seconds.append(seconds)
        if len(self._seconds) < 5:
            return
        step, memory = float(np.median(self._seconds)), memory_stats()
        left = f", about {duration(self._left * step)} left" if self._left else ""
        print(
            f"compiled in {self.compile_seconds:.1f} s; {step_time(step)}{left}; "
            f"{(memory['live'] + memory['pooled']) / 2**20:.0f} MB of memory",
            flush=True,
        )
        self._told = True

    # -- training -------------------------------------------------------------------------------------

    def fit(
        self,
        data: Iterable[Any],
        epochs: int = 1,
        *,
        validation: Iterable[Any] | None = None,
        validation_freq: int = 1,
        callbacks: Iterable[Callback] = (),
        verbose: int = 1,
        checkpoint: str | os.PathLike[str] | None = None,
        save_every: int | None = None,
        save_seconds: float | None = None,
        resume: bool = True,
    ) -> History:
        """Train until epoch `epochs` has ended.

        Parameters
        ----------
        data : batches, best a `DataLoader`: its place is part of a checkpoint.
        validation : batches that each `validation_freq`-th epoch is judged by.
        verbose : 0 silent, 1 progress and the time left, 2 a line an epoch.
        checkpoint : a folder; the state is written there after each epoch, after every `save_every` steps, after
            `save_seconds` seconds, and on Ctrl-C. `best.ckpt` in it holds the best epoch's weights.
        resume : go on from the state in that folder where there is one. The result is the same, bit for bit, as without
            the interruption, as long as data, model and machine are.

        Returns
        -------
        History : the values of each epoch, those before an interruption included.
        """
        self._data, self._folder = data, None
        self._epoch = len(self.history.epoch)
        self._start = 0
        if checkpoint is not None:
            self._folder = Folder(checkpoint, save_every, save_seconds)
            state = self._folder.read() if resume else None
            if state is not None:
                self.load_state_dict(state)
        self.compile_seconds, self._seconds, self._told = 0.0, [], not verbose
        self._left = max(0, (steps_of(data) or 0) * (epochs - self._epoch) - self._start)
        batches = Batches(self, data)
        try:
            return fit(
                self, batches, epochs=epochs, initial_epoch=self._epoch, start=self._start,
                validation=None if validation is None else Batches(None, validation), validation_freq=validation_freq,
                callbacks=[*callbacks, Ends(self)], model=Handle(self), verbose=verbose, history=self.history,
            )  # fmt: skip
        except KeyboardInterrupt:
            self._save()
            raise

    def _save(self) -> None:
        if self._folder is not None and not self._waiting:
            self._folder.write(self.state_dict())

    def evaluate(self, data: Iterable[Any], verbose: int = 0) -> dict[str, float]:
        """Loss and metrics over all batches of `data`."""
        return evaluate(self, Batches(None, data), progress=Progress(verbose) if verbose else None)

    def predict(self, data: Iterable[Any]) -> Tensor:
        """The module's outputs for all batches, one below the other. A batch may be inputs alone."""
        parts = []
        self.set_training(False)
        with no_grad(), self._autocast(), self._with_averaged():
            for batch in data:
                given = list(batch) if isinstance(batch, (tuple, list)) else [batch]
                parts.append(self.model(*[_tensors(p) for p in given[: self.inputs]]).numpy())
        if not parts:
            raise ValueError("predict: there are no batches")
        return as_tensor(np.concatenate(parts))

    # -- state ----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Whatever the next step depends on. Between two updates only, see `accumulate`."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "updates": self.updates,
            "metrics": {name: metric.state_dict() for name, metric in self.metrics.items()},
            "counts": {name: metric.update_count for name, metric in self.metrics.items()},
            "sums": [float(t) for t in self._sums],
            "generators": generators(),
            "data": self._data.state_dict() if hasattr(self._data, "state_dict") else None,
            "history": {"epoch": list(self.history.epoch), "values": dict(self.history.history)},
            "steps": self.steps,
            "epoch": self._epoch,
            "done": self._start,
            "best": self.best,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict()` was taken."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None and state["scheduler"] is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        if self.averaged is not None and state["averaged"] is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.reset()
        for name, metric in self.metrics.items():
            if name in state["metrics"]:
                metric.load_state_dict(state["metrics"][name])
                metric.update_count = state["counts"][name]
        self._sums = [tensor(np.asarray(v, np.float64)) for v in state["sums"]]
        set_generators(state["generators"])
        if state["data"] is not None and hasattr(self._data, "load_state_dict"):
            self._data.load_state_dict(state["data"])
        self.history.epoch = list(state["history"]["epoch"])
        self.history.history = {k: list(v) for k, v in state["history"]["values"].items()}
        self.steps, self.updates = state["steps"], state["updates"]
        self._epoch, self._start = state["epoch"], state["done"]
        self.best = state["best"]

    def load_best(self) -> None:
        """Give the module the weights of the best epoch of the last `fit` with a checkpoint."""
        if self._folder is None or not self._folder.best.exists():
            raise StateError(
                "there is no best model: fit was not given a checkpoint folder, or no epoch has ended",
                code="train.best",
                hint="fit(..., checkpoint=folder)",
            )
        self.model.load_state_dict(load(self._folder.best))


def _tensors(part: Any) -> Any:
    if isinstance(part, (list, tuple)):
        return [_tensors(p) for p in part]
    if isinstance(part, dict):
        return {key: _tensors(value) for key, value in part.items()}
    return part if isinstance(part, Tensor) or part is None else as_tensor(part)


def _rows(batch: Any) -> int:
    """The number of samples of a batch: the first axis of its first tensor."""
    first = batch
    while not isinstance(first, Tensor):
        first = next(iter(first.values())) if isinstance(first, dict) else first[0]
    return int(first.shape[0]) if first.ndim else 1
