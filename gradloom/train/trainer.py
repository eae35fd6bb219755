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

from gradloom import functions as G
from gradloom.amp import GradScaler, autocast
from gradloom.errors import GradientError, ShapeError, StateError
from gradloom.io.files import load
from gradloom.metrics import Metric, MetricCollection
from gradloom.modes import no_grad
from gradloom.nn.module import Module
from gradloom.nn.utils.gradients import clip_grad_norm_, clip_grad_value_
from gradloom.optim import Optimizer
from gradloom.optim.swa_utils import update_bn
from gradloom.replay import Replay
from gradloom.runtime.buffers import memory_stats
from gradloom.tape import TAPE
from gradloom.tensor import Tensor, as_tensor, tensor
from gradloom.train.between import Batches, Ends, Handle, checked_batches
from gradloom.train.callbacks import BATCH_EVENTS, Callback, History, overrides
from gradloom.train.checkpoints import Folder, generators, restored_on_failure, set_generators
from gradloom.train.estimate import Estimate, estimate
from gradloom.train.finite import is_finite, refuse_batch
from gradloom.train.loop import evaluate, fit, steps_of
from gradloom.train.ours import keep_cells, same_every_time
from gradloom.train.progress import Progress, duration, step_time
from gradloom.train.values import by_name, numbers

PRECISIONS = {None: None, "float32": None, "bfloat16": "bfloat16", "float16": "float16"}


class Trainer:
    """Trains a module.

    A batch is a tuple or list: the module's inputs, the targets, and with `weighted` the weights of the samples. Where
    a model wants something else, override :meth:`compute`.

    Where nothing but gradloom's own modules runs in a step, steps run again without their Python; `gradloom.compile`
    says of other modules that they do the same every time.

    Parameters
    ----------
    model : Module
    optimizer : Optimizer
    loss : callable
        Of outputs and targets. Several outputs: a list or dict of callables, in the outputs' structure.
    loss_weights : list or dict, optional
        Of several losses; 1 each unless given.
    metrics : dict of Metric, MetricCollection or list of Metric, optional
        By the name under which they are reported. A metric is given the outputs and the targets; of one that has a
        number a class each is reported, as "f1_0" and so on. Of several outputs: {output: metrics}, output the key in
        the outputs' dict, or the place in their list; reported as "output_name".
    scheduler : LRScheduler, optional
        Stepped after each epoch, or each step with `schedule="step"`. `ReduceLROnPlateau` is given `monitor`.
    monitor : str
        The value that says which epoch is best: "val_loss" where there is validation, else "loss". Whether more of it
        is better its metric says (`higher_is_better`).
    inputs : int
        How many parts of a batch go to the module.
    weighted : bool
        Whether the last part of a batch has a weight for each sample; the loss must have a `reduction`.
    class_weight : dict or sequence, optional
        Of class number to the weight of its samples in the loss; classes that are left out weigh 1.
    precision : {"float32", "bfloat16", "float16"}
        What products are made in; float16 with scaled losses. Parameters stay float32.
    accumulate : int
        Batches to an update. Gradients are those of the mean over all their samples, also where batches differ in size.
    clip_norm, clip_value : float, optional
        Limit of the gradients' norm, or of their elements.
    ema : float, optional
        Keep a mean of the weights that forgets by this factor each update; evaluation and the best model use it.
    swa : int, optional
        From this epoch on, counted from 0, keep the even mean of the weights at the ends of epochs (stochastic weight
        averaging); used as the mean of `ema` is. Batch norms are told the means of the data when `fit` ends.
    finite : bool
        Whether a loss that is NaN or infinite ends training, with an error that names the batch and the sample.
    """

    stop_training = False

    def __init__(
        self,
        model: Module,
        optimizer: Any,
        loss: Any,
        *,
        loss_weights: Any = None,
        metrics: Mapping[str, Any] | MetricCollection | Iterable[Metric] | None = None,
        scheduler: Any = None,
        schedule: str = "epoch",
        monitor: str | None = None,
        inputs: int = 1,
        weighted: bool = False,
        class_weight: Mapping[int, float] | Sequence[float] | None = None,
        precision: str | None = None,
        accumulate: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        ema: float | None = None,
        swa: int | None = None,
        finite: bool = True,
    ) -> None:
        if not isinstance(model, Module) or not hasattr(optimizer, "step"):
            raise TypeError(
                f"a trainer takes a Module and an optimizer of gradloom.optim, not {model!r}, {optimizer!r}"
            )
        for one in loss.values() if isinstance(loss, Mapping) else loss if isinstance(loss, list | tuple) else [loss]:
            if one is not None and not callable(one):  # None: a subclass computes it
                raise TypeError(f"a loss is a layer of gradloom.nn or a function of outputs and targets, not {one!r}")
        if precision not in PRECISIONS:
            raise ValueError(f"precision is one of float32, bfloat16, float16; got {precision!r}")
        if schedule not in ("epoch", "step"):
            raise ValueError(f'schedule is "epoch" or "step"; got {schedule!r}')
        if accumulate < 1 or inputs < 1:
            raise ValueError(f"accumulate and inputs must be at least 1, got {accumulate} and {inputs}")
        self.model, self.optimizer, self.scheduler, self.schedule = model, optimizer, scheduler, schedule
        self.losses, self.loss_weights = loss, loss_weights
        (self.metrics, self._outputs), self.monitor = by_name(metrics), monitor
        self.inputs, self.weighted, self.class_weight = inputs, weighted, _weights_of_classes(class_weight)
        self.precision = PRECISIONS[precision]
        self.scaler = GradScaler("cpu", enabled=self.precision == "float16")
        self.accumulate, self.clip_norm, self.clip_value = accumulate, clip_norm, clip_value
        if ema is not None and not 0.0 <= ema < 1.0:
            raise ValueError(f"ema is a factor of 0 <= ema < 1, got {ema}")
        if swa is not None and (swa < 0 or ema is not None):
            raise ValueError(f"swa is the number of an epoch, and not beside ema; got swa={swa}, ema={ema}")
        self.ema, self.swa = ema, swa
        self.averaged = copy.deepcopy(model) if ema is not None or swa is not None else None
        self.averages = 0  # states of the weights in the mean
        self.swapped = False  # whether `averaged` holds the weights themselves, and the model the mean
        self.finite = finite and not self.scaler.is_enabled()  # scaled losses overflow now and then, and are left out
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
        self._watched = False  # whether callbacks of the user's see single steps
        self._callbacks: list[Callback] = []
        self._states: list[Any] = []  # of callbacks, from the checkpoint that is resumed
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
            rest = len(self.class_weight) - 1  # the last entry is of all other classes
            known = G.logical_and(target >= 0, target < rest)
            of_class = G.take(self._class_weights, G.where(known, target, rest))
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
        if self.class_weight:
            self._class_weights = tensor(np.asarray(self.class_weight, np.float32))
        ours = same_every_time(self)
        one_program = self.accumulate == 1 and not self.scaler.is_enabled() and isinstance(self.optimizer, Optimizer)
        self._train_replay = Replay() if ours and one_program else None
        self._test_replay = Replay() if ours else None

    def results(self) -> dict[str, float]:
        """Means since the last reset, the loss first."""
        total, rows = (float(t) for t in self._sums)
        found = {"loss": total / rows if rows else math.nan}
        for name, metric in self.metrics.items():
            if metric.update_count:
                found |= numbers(name, metric.compute())
        return found

    def _autocast(self) -> Any:
        return autocast("cpu", dtype=self.precision) if self.precision else contextlib.nullcontext()

    def _add(self, loss: Tensor, outputs: Any, target: Any, rows: int) -> None:
        with no_grad():
            self._sums[0] += loss.detach() * float(rows)
            self._sums[1] += float(rows)
        for name, metric in self.metrics.items():
            before = metric.metric_state if isinstance(metric, Metric) else {}
            key = self._outputs.get(name)
            output, wanted = (outputs, target) if key is None else (outputs[key], target[key])
            metric.update(output.detach() if isinstance(output, Tensor) else output, wanted)
            keep_cells(metric, before)

    def train_step(self, batch: Sequence[Any]) -> None:
        """Forward, backward, and the update where it is due."""
        began = time.perf_counter()
        compiled = TAPE.compiled
        batch = [_tensors(part) for part in batch if part is not None]
        rows = _rows(batch)
        replay = self._train_replay
        if replay is None:
            self._forward_backward(batch, rows)
        else:
            parts, scalars = _leaves(batch), self.optimizer.next_scalars()
            if scalars is not None and replay.run(parts, scalars):
                self._count_replayed()
                self.optimizer.count_step()
            else:
                replay.record(parts, scalars, lambda: self._whole_step(batch, rows))
        self._waiting, self._rows = self._waiting + 1, self._rows + rows
        self.steps, self._start, self._left = self.steps + 1, self._start + 1, max(0, self._left - 1)
        if replay is not None:
            self._after_update()
        elif self._waiting == self.accumulate:
            self._update()
        if not self._told:
            TAPE.flush()
            self._watch(time.perf_counter() - began, TAPE.compiled > compiled)

    def _forward_backward(self, batch: Sequence[Any], rows: int) -> None:
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

    def _whole_step(self, batch: Sequence[Any], rows: int) -> None:
        """A step of one program: no name holds outputs or gradients while it runs."""
        self._forward_backward(batch, rows)
        self._clip()
        self.optimizer.step_and_forget()

    def _count_replayed(self) -> None:
        for metric in self.metrics.values():
            metric.update_count += 1

    def _clip(self) -> None:
        if self.clip_value is None and self.clip_norm is None:
            return
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.clip_value is not None:
            clip_grad_value_(parameters, self.clip_value)
        if self.clip_norm is not None:
            clip_grad_norm_(parameters, self.clip_norm)

    def _update(self) -> None:
        if self.accumulate > 1 or self.clip_norm is not None or self.clip_value is not None:
            self.scaler.unscale_(self.optimizer)
        if self.accumulate > 1:
            with no_grad():
                for group in self.optimizer.param_groups:
                    for p in group["params"]:
                        if p.grad is not None:
                            p.grad.mul_(1.0 / self._rows)
        self._clip()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self._after_update()

    def _after_update(self) -> None:
        self.updates += 1
        if self.ema is not None:
            self._average(self.ema)
        if self.scheduler is not None and self.schedule == "step":
            self.scheduler.step()
        self._waiting = self._rows = 0

    def test_step(self, batch: Sequence[Any]) -> None:
        """Forward on one batch, with the mean of the weights where one is kept."""
        batch = [_tensors(part) for part in batch if part is not None]
        replay = self._test_replay
        if replay is None:
            self._test(batch)
        elif replay.run(_leaves(batch), ()):
            self._count_replayed()
        else:
            replay.record(_leaves(batch), (), lambda: self._test(batch))

    def _test(self, batch: Sequence[Any]) -> None:
        with no_grad(), self._autocast(), self._with_averaged():
            loss, outputs, target = self.compute(batch)
            self._add(loss, outputs, target, _rows(batch))
            del loss, outputs
            TAPE.flush()

    def _average(self, forget: float) -> None:
        """Take the weights into their mean; buffers, and the first weights, are copied."""
        assert self.averaged is not None
        with no_grad():
            for mean, value in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                if not self.averages:
                    mean.copy_(value.detach())
                else:
                    mean.mul_(forget).add_(value.detach(), alpha=1.0 - forget)
            for kept, buffer in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
                kept.copy_(buffer.detach())
        self.averages += 1

    def _epoch_trained(self) -> None:
        """Behind the last batch of an epoch: an update that is due, and the mean of the ends of epochs."""
        if self._waiting:  # fewer batches than an update takes
            self._update()
        if self.swa is not None and self._epoch >= self.swa:
            self._average(self.averages / (self.averages + 1))

    def _settle_norms(self) -> None:
        """Give the batch norms of an even mean of weights the means of the data."""
        model = self.averaged
        if model is None or self.swa is None or not self.averages:
            return
        inputs = (([_tensors(p) for p in list(batch)[: self.inputs]],) for batch in self._data)
        update_bn(inputs, _Unpacked(model))

    def swap_averaged(self) -> None:
        """Exchange the weights with their mean: the model holds the mean until the next call."""
        if self.averaged is None:
            raise StateError(
                "there is no mean of the weights to exchange them with", code="train.averaged",
                hint="Trainer(..., ema=0.999), or swa=",
            )  # fmt: skip
        if not self.averages:
            return
        with no_grad():
            for a, b in zip(self.averaged.state_dict().values(), self.model.state_dict().values(), strict=True):
                kept = a.detach().clone()
                a.copy_(b.detach())
                b.copy_(kept)
        self.swapped = not self.swapped

    @contextlib.contextmanager
    def _unswapped(self) -> Iterator[None]:
        """With the weights themselves in the model."""
        was = self.swapped
        if was:
            self.swap_averaged()
        try:
            yield
        finally:
            if was:
                self.swap_averaged()

    @contextlib.contextmanager
    def _with_averaged(self) -> Iterator[None]:
        if self.averaged is None or not self.averages or self.swapped:
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
        callbacks = self._callbacks = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
        for callback in callbacks:
            if not all(hasattr(callback, name) for name in ("set_model", "on_train_begin", "on_epoch_end")):
                raise TypeError(f"a callback is one of gradloom.train, or a subclass of Callback, not {callback!r}")
        if epochs < 0 or validation_freq < 1:
            raise ValueError(f"epochs is not negative, validation_freq at least 1; got {epochs} and {validation_freq}")
        data, validation = checked_batches(data, "data"), checked_batches(validation, "validation")
        self._states = []
        self._watched = any(overrides(c, *BATCH_EVENTS) for c in callbacks)
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
                self,
                batches,
                epochs=epochs,
                initial_epoch=self._epoch,
                start=self._start,
                validation=None if validation is None else Batches(None, validation),
                validation_freq=validation_freq,
                callbacks=[*callbacks, self.history, Ends(self, validation is not None)],
                model=Handle(self, validation_freq),
                verbose=verbose,
                history=self.history,
            )
        except KeyboardInterrupt:
            self._save()
            raise

    def _check_finite(self, batch: Sequence[Any]) -> None:
        """Raise StateError where the last batch made the loss NaN or infinite."""
        if self.finite and not is_finite(self._sums[0]):
            raise refuse_batch(batch, self._epoch, self._start - 1)

    def _save(self) -> None:
        if self._folder is not None and not self._waiting and (not self.finite or is_finite(self._sums[0])):
            with self._unswapped():
                self._folder.write(self.state_dict(), check=self.finite)

    def estimate(self, data: Iterable[Any], epochs: int = 1, *, validation: Iterable[Any] | None = None) -> Estimate:
        """What `fit` with these arguments will take: memory, the time to compile, of a step, of the whole run.

        Does a few steps on the first batches and undoes them: weights, optimiser, generators and the place in the data
        are as before, bit for bit. What was compiled is kept, so `fit` begins at once.
        """
        return estimate(self, checked_batches(data, "data"), epochs, checked_batches(validation, "validation"))

    def evaluate(self, data: Iterable[Any], verbose: int = 0) -> dict[str, float]:
        """Loss and metrics over all batches of `data`."""
        data = checked_batches(data, "data")
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
            "averages": self.averages,
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
            "callbacks": [[type(c).__name__, c.state_dict()] for c in self._callbacks if hasattr(c, "state_dict")],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict()` was taken. StateError, and nothing changed, where it belongs to something else."""
        with restored_on_failure(self):
            self._load(state)

    def _load(self, state: Mapping[str, Any]) -> None:
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
                if isinstance(metric, Metric):
                    metric.update_count = state["counts"][name]
        self._sums = [tensor(np.asarray(v, np.float64)) for v in state["sums"]]
        set_generators(state["generators"])
        if state["data"] is not None and hasattr(self._data, "load_state_dict"):
            self._data.load_state_dict(state["data"])
        self.history.epoch = list(state["history"]["epoch"])
        self.history.history = {k: list(v) for k, v in state["history"]["values"].items()}
        self.steps, self.updates = state["steps"], state["updates"]
        self._epoch, self._start = state["epoch"], state["done"]
        self.averages = state.get("averages", self.updates)
        self.best = state["best"]
        self._states = list(state.get("callbacks", []))

    def load_best(self) -> None:
        """Give the module the weights of the best epoch of the last `fit` with a checkpoint."""
        if self._folder is None or not self._folder.best.exists():
            raise StateError(
                "there is no best model: fit was not given a checkpoint folder, or no epoch has ended",
                code="train.best",
                hint="fit(..., checkpoint=folder)",
            )
        self.model.load_state_dict(load(self._folder.best))


class _Unpacked(Module):
    """A module called with its inputs in one list."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: list[Any]) -> Any:
        return self.module(*inputs)


def _weights_of_classes(given: Any) -> list[float]:
    """Weights by class, behind them 1 for all others; [] where there are none."""
    if given is None:
        return []
    if isinstance(given, Mapping):
        if not given or any(not isinstance(k, (int, np.integer)) or k < 0 for k in given):
            raise ValueError(f"class_weight is of the numbers of classes, from 0 on, got {dict(given)}")
        table = [float(given.get(k, 1.0)) for k in range(max(given) + 1)]
    else:
        table = [float(v) for v in np.asarray(given, np.float64).reshape(-1)]
    if not table or not all(math.isfinite(v) and v >= 0 for v in table):
        raise ValueError(f"weights of classes are finite and not negative, got {given}")
    return [*table, 1.0]


def _tensors(part: Any) -> Any:
    if isinstance(part, (list, tuple)):
        return [_tensors(p) for p in part]
    if isinstance(part, dict):
        return {key: _tensors(value) for key, value in part.items()}
    return part if isinstance(part, Tensor) or part is None else as_tensor(part)


def _leaves(batch: Any) -> list[Tensor]:
    """The tensors of a batch."""
    if all(isinstance(part, Tensor) for part in batch):
        return list(batch)
    values = batch.values() if isinstance(batch, dict) else batch
    return [t for part in values if part is not None for t in ([part] if isinstance(part, Tensor) else _leaves(part))]


def _rows(batch: Any) -> int:
    """The number of samples of a batch: the first axis of its first tensor."""
    first = batch
    while not isinstance(first, Tensor):
        first = next(iter(first.values())) if isinstance(first, dict) else first[0]
    return int(first.shape[0]) if first.ndim else 1
