"""The steps of a model: forward, loss, gradients and update woven into one native program.

Loss and metrics are added to 0-d tensors that the program writes beside the weights, so a step looks at nothing and
waits for nothing; the sums are read when progress is drawn or an epoch ends.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.autodiff import grad
from gradloom.keras.layers import base
from gradloom.keras.losses import FunctionLoss, Loss
from gradloom.keras.optimizers import Optimizer
from gradloom.metrics import MeanMetric
from gradloom.modes import no_grad
from gradloom.replay import Replay
from gradloom.tape import composite, update
from gradloom.tensor import Tensor, from_numpy

if TYPE_CHECKING:
    from gradloom.keras.models import Model

_tokens = itertools.count()


def mean_loss(loss: Loss, from_logits: bool) -> Callable[..., Tensor]:
    """The function from answers, scores and, where there are any, weights to the loss of a batch.

    It is one step of the tape, but for a user's own function: the numbers in that may change from call to call. It
    must not know the model, which the tape would keep alive.
    """

    def mean(target: Tensor, scores: Tensor, weight: Tensor | None = None) -> Tensor:
        return loss.mean(target, scores, weight, from_logits)

    return mean if isinstance(loss, FunctionLoss) else composite(mean)


class ModelSteps:
    """What the training loop drives; see :class:`gradloom.train.loop.Steps`.

    Parameters
    ----------
    model : whose weights are trained.
    optimizer : None where only evaluation is wanted.
    metrics : counted beside the loss.
    """

    def __init__(self, model: Model, optimizer: Optimizer | None, loss: Loss, metrics: Sequence[MeanMetric]) -> None:
        self.model, self.optimizer, self.loss, self.metrics = model, optimizer, loss, list(metrics)
        self.names = ["loss", *(metric.name for metric in self.metrics)]
        self._before_activation = model.scores_for(loss)
        self._scores: Callable[[Tensor], Tensor] = model.scores if self._before_activation else model.forward
        self._mean_loss = mean_loss(loss, self._before_activation or loss.from_logits)
        self._token = next(_tokens)
        self._seen = 0
        self._sums: list[Tensor] = []
        self._parameters: list[Tensor] = []
        self._writes: list[Tensor] = []
        self._collected = -1
        self._test_key = ("keras test step", self._token)
        self.begin()

    @property
    def stop_training(self) -> bool:
        """Set by callbacks on the model."""
        return self.model.stop_training

    @stop_training.setter
    def stop_training(self, value: bool) -> None:
        self.model.stop_training = value

    def begin(self) -> None:
        """Take up the weights that are trainable now; to be called before training starts."""
        if self.optimizer is not None and self._collected != base.last_change:
            self._collected = base.last_change
            self._parameters = self.model.trainable_weights
            self.optimizer.build(self._parameters)
            self._structure = next(_tokens)
        if self.optimizer is not None:
            self._train_key = ("keras train step", self._structure, self.optimizer.static())
        self.reset()

    def _fixed(self) -> bool:
        """Whether the Python of a step is all our own, and so does the same in every step of an epoch."""
        parts: list[Any] = [self.loss, self.optimizer, *self.metrics, *self.model.modules()]
        held = [v for part in parts for v in vars(part).values() if callable(v)]
        hooks = any(m._hooks or m._pre_hooks for m in self.model.modules())
        return not hooks and all(
            (getattr(x, "__module__", None) or type(x).__module__).split(".")[0] == "gradloom"
            for x in [*map(type, filter(None, parts)), *held]
        )

    def set_training(self, training: bool) -> None:
        """Switch dropout and its like on or off."""
        self.model.train(training)

    def reset(self) -> None:
        """Set the sums to zero."""
        self._seen = 0
        self._sums = [from_numpy(np.zeros((), np.float32)) for _ in self.names]
        fixed = self._fixed()
        self._train_replay = Replay() if fixed else None
        self._test_replay = Replay() if fixed else None
        slots = self.optimizer.slots if self.optimizer is not None else []
        self._writes = [*self._parameters, *slots, *self._sums]

    def results(self) -> dict[str, float]:
        """Means over what was seen since the last reset."""
        seen = max(self._seen, 1)
        return {name: float(total.numpy()) / seen for name, total in zip(self.names, self._sums)}

    def train_step(self, batch: tuple[Any, ...]) -> None:
        """One step on (x, y, weight); y and weight as :mod:`gradloom.keras.inputs` prepares them."""
        scalars = self.optimizer.scalars()  # type: ignore[union-attr]
        arrays = [a for a in batch if a is not None]
        replay = self._train_replay
        if replay is None:
            self._train(batch, scalars)
        elif not replay.run(arrays, scalars):
            replay.record(arrays, scalars, lambda: self._train(batch, scalars))
        self._seen += len(batch[0])

    def _train(self, batch: tuple[Any, ...], scalars: Sequence[float]) -> None:
        # no name may hold scores or gradients while the program runs: what nobody can look at need not be stored
        update(self._train_key, self._new_values, self._gradients(batch), self._writes, scalars)

    def test_step(self, batch: tuple[Any, ...]) -> None:
        """Loss and metrics of (x, y, weight)."""
        arrays = [a for a in batch if a is not None]
        replay = self._test_replay
        if replay is None:
            self._test(batch)
        elif not replay.run(arrays, ()):
            replay.record(arrays, (), lambda: self._test(batch))
        self._seen += len(batch[0])

    def _test(self, batch: tuple[Any, ...]) -> None:
        with no_grad():
            update(self._test_key, self._new_sums, self._forward(batch), self._sums, [])

    def _gradients(self, batch: tuple[Any, ...]) -> list[Tensor]:
        """Gradients of the trained weights, then what :meth:`_forward` gives."""
        made = self._forward(batch)
        return [*grad(made[0], self._parameters), *made]

    def _forward(self, batch: tuple[Any, ...]) -> list[Tensor]:
        """The loss, the scores that it takes, and the answers."""
        x, y, weight = batch
        target = from_numpy(y)
        scores = self._scores(from_numpy(x))
        if weight is None:
            return [self._mean_loss(target, scores), scores, target]
        return [self._mean_loss(target, scores, from_numpy(weight)), scores, target]

    def _new_values(self, reads: list[Tensor], writes: list[Tensor], scalars: list[Tensor]) -> list[Tensor]:
        count = len(self._parameters)
        slots = writes[count : len(writes) - len(self._sums)]
        new = self.optimizer.new_values(reads[:count], writes[:count], slots, scalars)  # type: ignore[union-attr]
        return new + self._new_sums(reads[count:], writes[len(writes) - len(self._sums) :], [])

    def _new_sums(self, reads: list[Tensor], writes: list[Tensor], scalars: list[Tensor]) -> list[Tensor]:
        loss, scores, target = reads
        rows = float(target.shape[0])
        to_output = self.model.last_activation() if self._before_activation else None
        outputs = None
        added = [loss.detach() * rows]
        for metric in self.metrics:
            if to_output is None or metric.by_rank:
                answers = scores
            else:
                outputs = to_output(scores) if outputs is None else outputs
                answers = outputs
            added.append(metric.values(target, answers.detach()).mean() * rows)
        return [total + more for total, more in zip(writes, added)]
