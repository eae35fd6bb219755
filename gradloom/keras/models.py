"""Model and Sequential: compile, fit, evaluate, predict.

A model is a layer with training on top. ``fit`` checks the data once, then hands batches to the one training loop
(:mod:`gradloom.train.loop`), whose steps are :class:`gradloom.keras.steps.ModelSteps`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gradloom.errors import ShapeError, StateError
from gradloom.keras import activations, inputs, losses, metrics, optimizers, weights
from gradloom.keras.initializers import draw_seed
from gradloom.keras.layers.base import Layer, Shape, note_change
from gradloom.keras.losses import Loss
from gradloom.keras.prepared import PreparedBatches
from gradloom.keras.steps import ModelSteps
from gradloom.keras.summary import summary_text
from gradloom.metrics import MeanMetric
from gradloom.modes import no_grad
from gradloom.tensor import Tensor, from_numpy
from gradloom.train import ArrayBatches, Callback, History, IterableBatches, loop
from gradloom.train.progress import Progress


class Model(Layer):
    """Base of models. A subclass makes its layers in ``__init__`` and computes in ``call``."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.stop_training = False
        self.built_shape: Shape | None = None
        self.history: History | None = None
        self.optimizer: optimizers.Optimizer | None = None
        self.loss: Loss | None = None
        self.metrics: list[MeanMetric] = []
        self._wanted_metrics: list[Any] = []
        self._steps: ModelSteps | None = None
        self._sample_output: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    # what a model is made of --------------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Layer]:
        """The layers, in the order in which they were added."""
        return [child for child in self.children() if isinstance(child, Layer)]

    def last_activation(self) -> Callable[[Tensor], Tensor] | None:
        """The activation that makes the output out of :meth:`scores`; None where that is not known."""
        return None

    def scores(self, x: Tensor) -> Tensor:
        """The input of :meth:`last_activation`."""
        raise NotImplementedError

    def scores_for(self, loss: Loss) -> bool:
        """Whether the loss takes the last activation's input in place of its output."""
        last = self.last_activation()
        return last is not None and not loss.from_logits and activations.name_of(last) == loss.replaces

    def summary(self) -> None:
        """Print the layers, the shapes of their outputs and their numbers of weights."""
        print(summary_text(self))

    def save_weights(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write the weights to a ``.safetensors`` file. FileExistsError unless ``overwrite`` where it exists."""
        if not overwrite and os.path.exists(filepath):
            raise FileExistsError(f"{filepath} exists, and overwrite=False")
        weights.save(self, filepath)

    def load_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Set the weights to those of a file that :meth:`save_weights` wrote for the same architecture."""
        weights.load(self, filepath)

    # training -----------------------------------------------------------------------------------------------------

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, metrics: Sequence[Any] | None = None) -> None:
        """Say how the model is trained.

        Parameters
        ----------
        optimizer : a name or an object of :mod:`gradloom.keras.optimizers`.
        loss : a name, an object of :mod:`gradloom.keras.losses`, or a function of (y_true, y_pred).
        metrics : names, objects of :mod:`gradloom.keras.metrics`, or functions of (y_true, y_pred).
        """
        self.optimizer = optimizers.get(optimizer)
        self.loss = None if loss is None else losses.get(loss)
        self._wanted_metrics = [metrics] if isinstance(metrics, str) else list(metrics or [])
        for metric in self._wanted_metrics:
            _check_metric(metric)
        self.metrics = []
        self._steps = None

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Iterable[Callback] | Callback | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> History:
        """Train.

        Parameters
        ----------
        x : samples (n, ...), array, tensor or list; or an iterable of batches (x, y) or (x, y, sample_weight).
        y : answers (n, ...); None where x gives batches.
        batch_size : samples a step, 32 unless said otherwise.
        epochs : number of the epoch at which to stop.
        verbose : 0 silent, 1 or "auto" progress, 2 one line an epoch.
        validation_split : share of the samples, the last of them, that is only judged by.
        validation_data : (x, y) or (x, y, sample_weight) that is only judged by, or an iterable of batches.
        shuffle : whether samples come in another order in each epoch; the last batch may be smaller.
        class_weight : weight of each class in the loss.
        sample_weight : weight of each sample in the loss, (n,).
        initial_epoch : the epoch to start with, where an earlier run is continued.

        Returns
        -------
        History : ``.history`` maps loss, metrics and their val_ counterparts to a list, one value an epoch.

        Raises
        ------
        ShapeError, IndexRangeError, DTypeError : data that does not go with the model, before anything is trained.
        StateError : the model was not compiled.
        KeyboardInterrupt : Ctrl-C; weights and ``self.history`` are those of the last whole step and epoch.
        """
        self._require_loss("fit")
        size = _batch_size(batch_size)
        validation: Any = None
        if _is_batches(x, y):
            batches: Any = PreparedBatches(self, IterableBatches(x), class_weight)
            steps = self._ready(*batches.first())
        else:
            arrays = self._arrays(x, y, sample_weight)
            if validation_split and validation_data is None:
                arrays, validation_data = _split(arrays, validation_split)
            steps = self._ready(arrays[0], arrays[1])
            batches = self._batches(arrays, size, class_weight, draw_seed() if shuffle else None)
        if validation_data is not None:
            validation = self._judged_by(validation_data, _batch_size(validation_batch_size or size))
        self.history = History()
        steps.begin()
        shown = _verbosity(verbose)
        return loop.fit(
            steps,
            batches,
            epochs=epochs,
            initial_epoch=initial_epoch,
            validation=validation,
            validation_freq=validation_freq,
            callbacks=[callbacks] if isinstance(callbacks, Callback) else callbacks or (),
            model=self,
            verbose=shown,
            history=self.history,
        )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Judge the model: loss and metrics over all samples.

        Returns
        -------
        float where there are no metrics, else the list [loss, *metrics]; a dict by name with ``return_dict``.
        """
        self._require_loss("evaluate")
        if _is_batches(x, y):
            batches: Any = PreparedBatches(self, IterableBatches(x), None)
            steps = self._ready(*batches.first())
        else:
            arrays = self._arrays(x, y, sample_weight)
            steps = self._ready(arrays[0], arrays[1])
            batches = self._batches(arrays, _batch_size(batch_size), None, None)
        progress = Progress(_verbosity(verbose), epochs=0)
        try:
            found = loop.evaluate(steps, batches, progress=progress)
        finally:
            progress.close()
        return _as_returned(found, return_dict)

    def predict(self, x: Any, batch_size: int | None = None, verbose: int | str = "auto") -> np.ndarray:
        """The outputs for samples, computed batch by batch.

        Parameters
        ----------
        x : samples (n, ...), or an iterable of batches.
        verbose : 0 silent, else progress.

        Returns
        -------
        (n, ...) array.
        """
        self.eval()
        if _is_batches(x, None):
            return self._predict(IterableBatches(x), None, verbose)
        array = inputs.as_array(x, "x")
        inputs.check_lengths(array, None, None)
        self._output_of(array)
        batches = ArrayBatches([array], _batch_size(batch_size), dtypes=[inputs.sample_dtype(array)])
        return self._predict(batches, len(array), verbose)

    def _predict(self, batches: Any, rows: int | None, verbose: int | str) -> np.ndarray:
        progress = Progress(_verbosity(verbose), epochs=0)
        try:
            return loop.predict(self._predict_one, batches, rows, progress=progress)
        finally:
            progress.close()

    def predict_on_batch(self, x: Any) -> np.ndarray:
        """The outputs for one batch, (n, ...)."""
        self.eval()
        return np.array(self._predict_one(x))

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Make one step.

        Returns
        -------
        float or list or dict, as :meth:`evaluate`: loss and metrics of this batch alone, before the step.
        """
        self._require_loss("train_on_batch")
        arrays = self._arrays(x, y, sample_weight)
        steps = self._ready(arrays[0], arrays[1])
        if not self.training:
            self.train()
        steps.begin()
        steps.train_step(self._one_batch(arrays, class_weight))
        return _as_returned(steps.results(), return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss and metrics of one batch, as :meth:`evaluate`."""
        self._require_loss("test_on_batch")
        arrays = self._arrays(x, y, sample_weight)
        steps = self._ready(arrays[0], arrays[1])
        self.eval()
        steps.reset()
        steps.test_step(self._one_batch(arrays, None))
        return _as_returned(steps.results(), return_dict)

    # checking and preparing -----------------------------------------------------------------------------------------

    def _require_loss(self, what: str) -> None:
        if self.loss is None:
            raise StateError(
                f"{what}: the model has no loss",
                code="keras.not-compiled",
                hint="call model.compile(optimizer=..., loss=...) first",
            )

    def _arrays(self, x: Any, y: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        if y is None:
            raise ShapeError("y is missing", code="keras.lengths", hint="give the answers for the samples of x")
        array, target = inputs.as_array(x, "x"), inputs.as_array(y, "y")
        weight = None if sample_weight is None else inputs.as_array(sample_weight, "sample_weight")
        inputs.check_lengths(array, target, weight)
        return array, target, weight

    def _output_of(self, x: np.ndarray) -> tuple[int, ...]:
        """Shape of the output for one sample of x, without the batch's axis; builds the model."""
        shape = tuple(x.shape[1:])
        if self._sample_output is None or self._sample_output[0] != shape:
            self._sample_output = (shape, self._find_output(shape))
        return self._sample_output[1]

    def _find_output(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        was = self.training
        self.eval()
        try:
            with no_grad():
                return tuple(self(from_numpy(np.zeros((1, *sample), np.float32))).shape[1:])
        finally:
            self.train(was)

    def _ready(self, x: np.ndarray, y: np.ndarray) -> ModelSteps:
        """The steps of the model, made when the shapes of output and answers are known."""
        output = self._output_of(x)
        if self._steps is None:
            assert self.loss is not None
            self.metrics = [
                metrics.resolve(m, self.loss, (None, *output), y.shape)  # type: ignore[arg-type]
                for m in self._wanted_metrics
            ]
            self._steps = ModelSteps(self, self.optimizer, self.loss, self.metrics)
        return self._steps

    def prepare(
        self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, class_weight: Mapping[int, float] | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Samples, answers and weights, checked and in the form that a step takes, but for the dtype of x."""
        assert self.loss is not None
        target = inputs.prepare_labels(y, self.loss, self._output_of(x))
        return x, target, inputs.combine_weights(weight, class_weight, target)

    def _one_batch(self, arrays: Any, class_weight: Mapping[int, float] | None) -> tuple[Any, ...]:
        x, y, weight = self.prepare(*arrays, class_weight)  # type: ignore[call-arg]
        return np.ascontiguousarray(x, inputs.sample_dtype(x)), y, weight

    def _batches(
        self, arrays: Any, size: int, class_weight: Mapping[int, float] | None, seed: int | None
    ) -> ArrayBatches:
        x, y, weight = self.prepare(*arrays, class_weight)  # type: ignore[call-arg]
        return ArrayBatches([x, y, weight], size, dtypes=[inputs.sample_dtype(x), None, None], seed=seed)

    def _judged_by(self, data: Any, size: int) -> Any:
        if isinstance(data, tuple | list) and len(data) in (2, 3) and not isinstance(data[0], tuple):
            return self._batches(self._arrays(data[0], data[1], data[2] if len(data) == 3 else None), size, None, None)
        return PreparedBatches(self, IterableBatches(data), None)

    def _predict_one(self, x: Any) -> np.ndarray:
        array = inputs.as_array(x, "x")
        with no_grad():
            return self.forward(from_numpy(np.ascontiguousarray(array, inputs.sample_dtype(array)))).numpy()


class Sequential(Model):
    """Layers one after the other.

    Parameters
    ----------
    layers : a first :func:`gradloom.keras.Input` (or ``input_shape`` of the first layer) builds the model at once,
        otherwise the first data do.
    """

    def __init__(self, layers: Iterable[Layer] | None = None, name: str | None = None) -> None:
        super().__init__(name)
        self._order: list[Layer] = []
        for layer in layers or []:
            self.add(layer)

    def add(self, layer: Layer) -> None:
        """Put a layer at the end."""
        if not isinstance(layer, Layer):
            raise TypeError(f"Sequential takes layers of gradloom.keras, not {type(layer).__name__}")
        self._order.append(layer)
        # weights are named by place, not by the layers' names: two models made alike have the same names
        self.add_module(str(len(self._order) - 1), layer)
        note_change()
        self._steps, self._sample_output = None, None
        first = getattr(self._order[0], "sample_shape", None)
        if first is not None:
            self.built = False
            self._build_once((None, *first))

    def pop(self) -> Layer:
        """Take the last layer off, and give it back."""
        layer = self._order.pop()
        del self._modules[str(len(self._order))]  # type: ignore[attr-defined]
        self._steps, self._sample_output = None, None
        return layer

    @property
    def layers(self) -> list[Layer]:
        """The layers, without those that only say the input's shape."""
        return [layer for layer in self._order if type(layer).__name__ != "InputLayer"]

    def build(self, input_shape: Shape) -> None:
        """Build each layer with the shape that comes out of the one before."""
        shape = self.built_shape = tuple(input_shape)
        for layer in self._order:
            layer._build_once(shape)
            shape = layer.compute_output_shape(shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape that comes out of the last layer. ShapeError naming the layer that does not fit."""
        shape = tuple(input_shape)
        for layer in self._order:
            shape = layer.compute_output_shape(shape)
        return shape

    def call(self, x: Tensor) -> Tensor:
        """Through all layers."""
        for layer in self._order:
            x = layer(x)
        return x

    def last_activation(self) -> Callable[[Tensor], Tensor] | None:
        """The activation of the last layer where that layer can leave it out."""
        last = self._order[-1] if self._order else None
        return getattr(last, "activation", None) if hasattr(last, "before_activation") else None

    def scores(self, x: Tensor) -> Tensor:
        """Through all layers but the last activation: (n, ...) to the shape of the output."""
        for layer in self._order[:-1]:
            x = layer(x)
        return self._order[-1].before_activation(x)  # type: ignore[attr-defined]

    def _find_output(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        self._build_once((None, *sample))
        return tuple(self.compute_output_shape((None, *sample))[1:])  # type: ignore[arg-type]


def _check_metric(metric: Any) -> None:
    metrics.check(metric)


def _is_batches(x: Any, y: Any) -> bool:
    """Whether x gives batches by itself: no array, no tensor, no list of numbers, and no y beside it."""
    if y is not None or isinstance(x, np.ndarray | Tensor) or hasattr(x, "__array__"):
        return False
    if isinstance(x, list | tuple):
        return bool(x) and isinstance(x[0], tuple)
    return hasattr(x, "__iter__")


def _batch_size(value: int | None) -> int:
    size = 32 if value is None else int(value)
    if size < 1:
        raise ValueError(f"batch_size={value}, but it must be at least 1")
    return size


def _verbosity(verbose: int | str) -> int:
    return 1 if verbose == "auto" else int(verbose)


def _split(arrays: Any, share: float) -> tuple[Any, Any]:
    if not 0 < share < 1:
        raise ValueError(f"validation_split={share}, but it lies between 0 and 1")
    count = len(arrays[0])
    kept = int(count * (1.0 - share))
    if not 0 < kept < count:
        raise ValueError(f"validation_split={share} of {count} samples leaves nothing to train on, or to judge by")
    return (
        tuple(None if a is None else a[:kept] for a in arrays),
        tuple(a[kept:] for a in arrays if a is not None),
    )


def _as_returned(found: dict[str, float], as_dict: bool) -> Any:
    if as_dict:
        return found
    values = list(found.values())
    return values if len(values) > 1 else values[0]
