"""The steps of a model: forward, loss, gradients and update woven into one native program.

Loss and metrics are added to variables that the program writes beside the weights, so a step looks at nothing and
waits for nothing; they are read when progress is drawn or an epoch ends.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.autodiff import grad
from gradloom.errors import GradientError
from gradloom.keras import tree
from gradloom.keras.layers import context
from gradloom.keras.losses import Loss, LossFunctionWrapper
from gradloom.keras.losses.base import reduced
from gradloom.keras.losses.classes import _Crossentropy
from gradloom.keras.metrics.base import Mean
from gradloom.modes import no_grad
from gradloom.replay import Replay
from gradloom.tape import TAPE, composite, update
from gradloom.tensor import Tensor, from_numpy

if TYPE_CHECKING:
    from gradloom.keras.models.model import Model

_tokens = itertools.count()


def mean_loss(loss: Loss, from_logits: bool) -> Callable[..., Tensor]:
    """The function from answers, scores and, where there are any, weights to the loss of a batch.

    It is one step of the tape. It must not know the model, which the tape would keep alive.
    """

    def mean(target: Tensor, scores: Tensor, weight: Tensor | None = None) -> Tensor:
        options = dict(loss._options, from_logits=True) if from_logits else loss._options  # type: ignore[attr-defined]
        return reduced(loss.fn(target, scores, **options), weight, loss.reduction)  # type: ignore[attr-defined]

    return composite(mean)


@composite
def _add_rows(total: Tensor, count: Tensor, value: Tensor, rows: float) -> tuple[Tensor, Tensor]:
    return total + value.detach() * rows, count + rows


def track(tracker: Mean, value: Tensor, rows: int) -> None:
    """Add the loss of a batch of ``rows`` samples to a mean."""
    with no_grad():
        total, count = _add_rows(tracker.total, tracker.count, value, float(rows))
        tracker.total._write(total)
        tracker.count._write(count)


def packed(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """What a step of a user's own is given: (x, y, sample_weight) without what is missing; x itself where alone."""
    if sample_weight is not None:
        return x, y, sample_weight
    if y is not None:
        return x, y
    return (x,) if isinstance(x, list | tuple) else x


class ModelSteps:
    """What the training loop drives; see :class:`gradloom.train.loop.Steps`.

    Parameters
    ----------
    model : whose weights are trained.
    structure : of x, y and the sample weights, as one tuple.
    """

    def __init__(self, model: Model, structure: Any) -> None:
        self.model, self.structure = model, structure
        self.optimizer = model.optimizer
        self._widths = [len(tree.flatten(s)) if s is not None else 0 for s in structure]
        self._token = next(_tokens)
        self._parameters: list[Any] = []
        self._collected = -1
        self._logs: dict[str, Any] = {}
        self._custom_train = model._overrides("train_step")
        self._custom_test = model._overrides("test_step")
        self._plan()
        self.begin()

    def _plan(self) -> None:
        """Whether the default step can take the model's scores in place of its outputs."""
        model = self.model
        compiled = model._compiled_loss
        loss = compiled.single if compiled is not None else None
        self._plain = (
            isinstance(loss, LossFunctionWrapper)
            and type(loss).__module__.startswith("gradloom.keras")
            and not model._overrides("compute_loss")
            and not model._overrides("compute_metrics")
            and type(loss).__name__ not in ("FunctionLoss", "LossFunctionWrapper")
            and model.compute_dtype == "float32"
        )
        self._scored = False
        if self._plain:
            assert loss is not None
            self._scored = isinstance(loss, _Crossentropy) and model.scores_for(loss)
            self._mean_loss = mean_loss(loss, self._scored)

    @property
    def stop_training(self) -> bool:
        """Set by callbacks on the model."""
        return self.model.stop_training

    @stop_training.setter
    def stop_training(self, value: bool) -> None:
        self.model.stop_training = value

    def begin(self) -> None:
        """Take up the weights that are trainable now; to be called before training starts."""
        if self.optimizer is not None and self._collected != context.changes():
            self._collected = context.changes()
            self._parameters = self.model.trainable_weights
            if not self.optimizer.built or not self._custom_train:
                self.optimizer.build(self._parameters)
            self._structure = next(_tokens)
        self._train_key: Any = None
        self._changing = self.optimizer is not None and bool(
            self.optimizer.gradient_accumulation_steps or self.optimizer.ema_overwrite_frequency
        )
        self._penalised = any(getattr(p, "regularizer", None) is not None for p in self._parameters) or any(
            layer.activity_regularizer is not None for layer in self.model._flatten_layers()
        )
        self._by_hand = self.optimizer is not None and (
            self.optimizer._by_hand() or type(self.optimizer).__name__ == "LossScaleOptimizer"
        )
        self.reset()

    def _fixed(self) -> bool:
        """Whether the Python of a step is all our own, and so does the same in every step of an epoch."""
        if self._changing or self._by_hand or self.model.run_eagerly:
            return False
        held: list[Any] = [self.optimizer, *self.model.metrics, *self.model.modules()]
        compiled = self.model._compiled_loss
        held += [part.loss for part in compiled.parts] if compiled is not None else []
        values = [v for part in held for v in vars(part).values() if callable(v)] if None not in held else []
        hooks = any(m._hooks or m._pre_hooks for m in self.model.modules())
        return not hooks and all(
            (getattr(x, "__module__", None) or type(x).__module__).split(".")[0] == "gradloom"
            for x in [*map(type, filter(lambda h: h is not None, held)), *values]
        )

    def set_training(self, training: bool) -> None:
        """Switch dropout and its like on or off."""
        if self.model.training is not training:
            self.model.train(training)

    def reset(self) -> None:
        """Set the sums to zero."""
        self.model.reset_metrics()
        self._logs = {}
        fixed = self._fixed()
        self._train_replay = Replay() if fixed and not self._custom_train else None
        self._test_replay = Replay() if fixed and not self._custom_test else None

    def results(self) -> dict[str, float]:
        """Means over what was seen since the last reset."""
        if self._logs:
            return {k: as_number(v) for k, v in self._logs.items()}
        return {k: as_number(v) for k, v in self.model.get_metrics_result().items()}

    def data(self, batch: Sequence[Any]) -> tuple[Any, Any, Any]:
        """The tensors of a flat batch in the structures of x, y and sample weights."""
        tensors = [a if a is None or getattr(a, "dtype", None) is None or a.dtype.kind in "USO" else from_numpy(a)
                   for a in batch]  # fmt: skip
        found, at = [], 0
        for structure, width in zip(self.structure, self._widths):
            found.append(tree.pack_sequence_as(structure, tensors[at : at + width]) if structure is not None else None)
            at += width
        return found[0], found[1], found[2]

    # training -----------------------------------------------------------------------------------------------------

    def train_step(self, batch: tuple[Any, ...]) -> None:
        """One step on a flat batch."""
        if self._custom_train:
            self._logs = dict(self.model.train_step(packed(*self.data(batch))) or {})
            TAPE.flush()
            return
        assert self.optimizer is not None
        if not self._parameters:  # nothing to train: loss and metrics are counted
            self._loss(batch, True)
            TAPE.flush()
            return
        if self._by_hand:
            gradients = self._gradients(batch)
            self.optimizer.apply(gradients, self._parameters)
            return
        if self._train_key is None or self._changing:
            self._train_key = ("keras train step", self._structure, self.optimizer.static())
        phase = self.optimizer._accumulating()
        scalars = self.optimizer.scalars()
        arrays = [a for a in batch if a is not None]
        replay = self._train_replay
        if replay is None:
            self._train(batch, scalars, phase)
        elif not replay.run(arrays, scalars):
            replay.record(arrays, scalars, lambda: self._train(batch, scalars, phase))

    def train_several(self, batch: tuple[Any, ...], count: int) -> bool:
        """``count`` steps by one native call, on arrays of their batches one after the other; False: not done."""
        replay, optimizer = self._train_replay, self.optimizer
        if replay is None or optimizer is None or self._custom_train or self._by_hand or not self._parameters:
            return False
        return replay.run_several([a for a in batch if a is not None], count, optimizer.scalars)

    def _train(self, batch: tuple[Any, ...], scalars: Sequence[float], phase: int) -> None:
        # no name may hold scores or gradients while the program runs: what nobody can look at need not be stored
        count, optimizer = len(self._parameters), self.optimizer
        assert optimizer is not None

        def new(reads: list[Tensor], writes: list[Tensor], scalars: list[Tensor]) -> list[Tensor]:
            return optimizer.new_values(reads, writes[:count], writes[count:], scalars, phase)

        update(self._train_key, new, self._gradients(batch), [*self._parameters, *optimizer.slots], scalars)

    def _gradients(self, batch: tuple[Any, ...]) -> list[Tensor]:
        """Gradients of the trained weights; loss and metrics are counted on the way."""
        loss = self._loss(batch, True)
        assert self.optimizer is not None
        if not loss.requires_grad:
            raise GradientError(
                "the loss hangs on no trained weight", code="keras.no-gradient",
                hint="is every layer frozen (trainable=False), or does call() leave the layers out?",
            )  # fmt: skip
        scaled = self.optimizer.scale_loss(loss)
        try:
            return list(grad(scaled, self._parameters))
        except GradientError as error:
            if error.code != "gradient.unused":
                raise
        found = grad(scaled, self._parameters, allow_unused=True)
        return [p.detach() * 0.0 if g is None else g for g, p in zip(found, self._parameters)]

    def _loss(self, batch: tuple[Any, ...], training: bool) -> Tensor:
        """The loss of a batch, 0-d, counted; metrics too."""
        model = self.model
        x, y, weight = self.data(batch)
        rows = len(next(a for a in batch if a is not None))
        if self._scored:
            scores = model.scores(x, training=training)
            loss = self._mean_loss(y, scores) if weight is None else self._mean_loss(y, scores, weight)
            to_output, outputs = model.last_activation(), None
            for _, metric, by_weight in model._metric_entries():
                answers = scores
                if not metric.by_rank:
                    assert to_output is not None
                    outputs = to_output(scores.detach()) if outputs is None else outputs
                    answers = outputs
                self._count(metric, y, answers, weight if by_weight else None)
        else:
            y_pred = model(x, training=training)
            tensors = isinstance(y_pred, Tensor) and isinstance(y, Tensor)
            if self._plain and tensors and getattr(y_pred, "_keras_mask", None) is None:
                loss = self._mean_loss(y, y_pred) if weight is None else self._mean_loss(y, y_pred, weight)
            else:
                return self._general(x, y, y_pred, weight, rows, training)
            for _, metric, by_weight in model._metric_entries():
                self._count(metric, y, y_pred, weight if by_weight else None)
        if self._penalised or context.WITH_LOSSES:
            for extra in model.losses:
                loss = loss + extra
        track(model._loss_tracker, loss, rows)
        return loss

    def _general(self, x: Any, y: Any, y_pred: Any, weight: Any, rows: int, training: bool) -> Tensor:
        model = self.model
        loss = model._loss_of(x, y, y_pred, weight, training)
        track(model._loss_tracker, loss, rows)
        with no_grad():
            model.compute_metrics(x, y, tree.map_structure(_detached, y_pred), weight)
        return loss

    @staticmethod
    def _count(metric: Any, y: Any, y_pred: Any, weight: Any) -> None:
        mask = getattr(y_pred, "_keras_mask", None)
        y_pred = y_pred.detach()
        if mask is not None:
            y_pred._keras_mask = mask
        if weight is None:
            metric.update_state(y, y_pred)
        else:
            metric.update_state(y, y_pred, sample_weight=weight)

    # testing ------------------------------------------------------------------------------------------------------

    def test_step(self, batch: tuple[Any, ...]) -> None:
        """Loss and metrics of a flat batch."""
        if self._custom_test:
            self._logs = dict(self.model.test_step(packed(*self.data(batch))) or {})
            TAPE.flush()
            return
        arrays = [a for a in batch if a is not None]
        replay = self._test_replay
        if replay is None:
            self._test(batch)
        elif not replay.run(arrays, ()):
            replay.record(arrays, (), lambda: self._test(batch))

    def _test(self, batch: tuple[Any, ...]) -> None:
        with no_grad():
            self._loss(batch, False)
            TAPE.flush()


def _detached(x: Any) -> Any:
    if not isinstance(x, Tensor):
        return x
    found = x.detach()
    mask = getattr(x, "_keras_mask", None)
    if mask is not None:
        found._keras_mask = mask  # type: ignore[attr-defined]
    return found


def as_number(value: Any) -> Any:
    """A result as a Python float; arrays of several numbers as arrays."""
    if isinstance(value, dict):
        return {k: as_number(v) for k, v in value.items()}
    if isinstance(value, float):
        return float(value)
    array = np.asarray(value.detach().numpy() if isinstance(value, Tensor) else value)
    return float(array.reshape(-1)[0]) if array.size == 1 else array
