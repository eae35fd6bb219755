"""Trainer: compile, fit, evaluate, predict, and the steps that a subclass may override."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gradloom.autodiff import grad
from gradloom.errors import StateError
from gradloom.keras import config, inputs, optimizers, tree
from gradloom.keras.callbacks import BackupAndRestore
from gradloom.keras.initializers import draw_seed
from gradloom.keras.metrics import Mean, Metric
from gradloom.keras.models.compiled import CompiledMetrics, check_losses, check_metrics
from gradloom.keras.models.compiled_loss import CompiledLoss
from gradloom.keras.models.feeding import Feed, Resumed, feed_of, validation_of
from gradloom.keras.models.listening import HeardBatches, tell
from gradloom.keras.steps import ModelSteps, packed
from gradloom.keras.symbolic import infer
from gradloom.modes import no_grad
from gradloom.tensor import Tensor
from gradloom.train import Callback, CallbackList, History, loop
from gradloom.train.progress import Progress


class Trainer:
    """What models have beside layers. Mixed into :class:`gradloom.keras.Model`."""

    _loss_tracker: Mean
    _compiled_loss: Any
    _compiled_metrics: Any
    dtype_policy: Any

    def _init_training(self) -> None:
        own = self.__dict__
        own.update(
            stop_training=False, stop_evaluating=False, stop_predicting=False, history=None, optimizer=None,
            loss=None, compiled=False, run_eagerly=False, _compiled_loss=None, _compiled_metrics=None,
            _compile_arguments=None, _steps=None, _output_cache={}, _loss_tracker=Mean("loss"), steps_per_execution=1,
            jit_compile="auto",
        )  # fmt: skip

    def _overrides(self, name: str) -> bool:
        """Whether a subclass has its own step, or whatever else."""
        from gradloom.keras.models.model import Functional, Model
        from gradloom.keras.models.sequential import Sequential

        mine = getattr(type(self), name)
        return all(mine is not getattr(cls, name) for cls in (Model, Functional, Sequential))

    # compile ------------------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Say how the model is trained.

        Parameters
        ----------
        optimizer : a name or an object of :mod:`gradloom.keras.optimizers`.
        loss : a name, an object of :mod:`gradloom.keras.losses`, or a function of (y_true, y_pred); for several outputs
            a list, or a dictionary by their names.
        loss_weights : a factor for each loss.
        metrics : names, objects of :mod:`gradloom.keras.metrics`, or functions of (y_true, y_pred).
        weighted_metrics : metrics in which sample weights count.
        run_eagerly : keep the Python of each step, for those who look into it.
        steps_per_execution, jit_compile : accepted: every step is one native program as it is.
        auto_scale_loss : whether under "mixed_float16" the optimiser scales the loss.
        """
        if metrics is None and any(not isinstance(w, int | float) for w in tree.flatten(loss_weights) if w is not None):
            loss_weights, metrics = None, loss_weights  # metrics were the third argument in Keras 2
        self.optimizer = optimizers.get(optimizer) if optimizer is not None else None
        if auto_scale_loss and getattr(self, "dtype_policy", None) is not None and self.optimizer is not None:
            if self.dtype_policy.name == "mixed_float16" and not hasattr(self.optimizer, "inner_optimizer"):
                self.optimizer = optimizers.LossScaleOptimizer(self.optimizer)
        check_losses(loss)
        given = [metrics] if isinstance(metrics, str) else metrics
        check_metrics(given)
        check_metrics(weighted_metrics)
        self._compile_arguments = {
            "loss": loss, "loss_weights": loss_weights, "metrics": given, "weighted_metrics": weighted_metrics,
        }  # fmt: skip
        self.loss = loss
        self._compiled_loss = self._compiled_metrics = None
        self.run_eagerly, self.compiled = bool(run_eagerly), True
        self.steps_per_execution, self.jit_compile = steps_per_execution, jit_compile
        self.stop_training = False
        self._steps: Any = None

    @property
    def metrics(self) -> list[Metric]:
        """The mean of the loss, the compiled metrics and those that are attributes."""
        found: list[Metric] = [self._loss_tracker] if self._has_loss() else []
        if self._compiled_loss is not None:
            found += self._compiled_loss.trackers.values()
        if self._compiled_metrics is not None:
            found += self._compiled_metrics.metrics
        for layer in self._flatten_layers():  # type: ignore[attr-defined]
            skip = ("_loss_tracker",)
            for name, value in layer.__dict__.items():
                leaves = tree.flatten(value) if type(value) in (list, tuple, dict) else [value]
                found += [x for x in leaves if isinstance(x, Metric) and name not in skip]
        return list(dict.fromkeys(found))

    def _has_loss(self) -> bool:
        arguments = self.__dict__.get("_compile_arguments")
        return self.__dict__.get("compiled", False) and (
            (arguments is not None and arguments["loss"] is not None) or not self._overrides("train_step")
        )

    @property
    def metrics_names(self) -> list[str]:
        """The names of :attr:`metrics`."""
        return [self._logged_as(m) for m in self.metrics]

    def _logged_as(self, metric: Metric) -> str:
        """The name of a metric in logs: with several outputs, it begins with the output's."""
        compiled = self._compiled_metrics
        return metric.name if compiled is None else compiled.names.get(metric, metric.name)

    def reset_metrics(self) -> None:
        """Set all metrics to their start."""
        self._loss_tracker.reset_state()
        for metric in self.metrics:
            metric.reset_state()

    def get_metrics_result(self) -> dict[str, Any]:
        """The metrics by name."""
        found: dict[str, Any] = {}
        for metric in self.metrics:
            result = metric.result()
            if isinstance(result, dict):
                found.update(result)
            else:
                found[self._logged_as(metric)] = result
        return found

    def _metric_entries(self) -> list[Any]:
        return self._compiled_metrics.entries if self._compiled_metrics is not None else []

    # steps that may be overridden ---------------------------------------------------------------------------------

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Tensor:
        """The loss of a batch, 0-d: the compiled losses and those that layers added."""
        total = None
        if self._compile_arguments is not None and self._compile_arguments["loss"] is not None:
            if self._compiled_loss is None:
                self._match(y_pred, y)
            total = self._compiled_loss(y, y_pred, sample_weight)
        for extra in self.losses:  # type: ignore[attr-defined]
            total = extra if total is None else total + extra
        if total is None:
            raise StateError(
                "No loss to compute. Provide a `loss` argument in `compile()`.",
                code="keras.not-compiled",
                hint="call model.compile(optimizer=..., loss=...), or add_loss in a layer",
            )
        return total

    def _loss_of(self, x: Any, y: Any, y_pred: Any, weight: Any, training: bool) -> Tensor:
        """What :meth:`compute_loss` gives; one of a subclass may be without ``training``, as in earlier Keras."""
        given = {"x": x, "y": y, "y_pred": y_pred, "sample_weight": weight}
        accepted = inspect.signature(self.compute_loss).parameters
        if "training" in accepted or any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
            given["training"] = training
        return self.compute_loss(**given)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Add a batch to the compiled metrics and give all results; a training step leaves the results alone."""
        if self._compiled_metrics is None and self._compile_arguments is not None:
            self._match(y_pred, y)
        if self._compiled_metrics is not None:
            self._compiled_metrics.update_state(y, y_pred, sample_weight)
        return {} if not self._overrides("compute_metrics") else self.get_metrics_result()

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on (x, y, sample_weight), and the metrics so far. For overriding; ``fit`` does the same."""
        x, y, weight = unpack_x_y_sample_weight(data)
        y_pred = self(x, training=True)  # type: ignore[operator]
        loss = self._loss_of(x, y, y_pred, weight, True)
        self._loss_tracker.update_state(loss.detach())
        parameters = self.trainable_weights  # type: ignore[attr-defined]
        assert self.optimizer is not None
        self.optimizer.apply(grad(self.optimizer.scale_loss(loss), parameters), parameters)
        self.compute_metrics(x, y, tree.map_structure(lambda t: t.detach(), y_pred), weight)
        return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, Any]:
        """Loss and metrics of (x, y, sample_weight). For overriding."""
        x, y, weight = unpack_x_y_sample_weight(data)
        with no_grad():
            y_pred = self(x, training=False)  # type: ignore[operator]
            loss = self._loss_of(x, y, y_pred, weight, False)
            self._loss_tracker.update_state(loss)
            self.compute_metrics(x, y, y_pred, weight)
        return self.get_metrics_result()

    def predict_step(self, data: Any) -> Any:
        """The outputs for a batch. For overriding."""
        x, _, _ = unpack_x_y_sample_weight(data)
        return self(x, training=False)  # type: ignore[operator]

    # fit and its like -----------------------------------------------------------------------------------------------

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
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> History:
        """Train.

        Parameters
        ----------
        x : samples (n, ...), array, tensor or list; structures of them for several inputs; or an iterable of batches
            (x, y) or (x, y, sample_weight): a loader, a generator, a ``PyDataset``.
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
        steps_per_epoch : an epoch ends after so many batches; an iterable goes on where it stands.
        validation_steps : validation ends after so many batches.

        Returns
        -------
        History : ``.history`` maps loss, metrics and their val_ counterparts to a list, one value an epoch.

        Raises
        ------
        ShapeError, IndexRangeError, DTypeError : data that does not go with the model, before anything is trained.
        StateError : the model was not compiled.
        KeyboardInterrupt : Ctrl-C; weights and ``self.history`` are those of the last whole step and epoch.
        """
        self._require_loss("fit", "train_step")
        epochs = min(epochs, config.max_epochs() or epochs)
        if hasattr(x, "on_epoch_begin") and hasattr(x, "__getitem__"):
            callbacks = [*_callbacks(callbacks), _DatasetCallback(x)]
        data, validation_data = feed_of(
            self, x, y, sample_weight, batch_size, draw_seed() if shuffle else None, class_weight, validation_split,
            validation_data, steps_per_epoch,
        )  # fmt: skip
        steps = self._ready(data)
        validation: Any = None
        if validation_data is not None:
            validation = validation_of(self, validation_data, validation_batch_size or batch_size, validation_steps)
            if validation.structure != data.structure:
                validation = validation.matched(data.structure)
        self.history = History()
        self.__dict__["_validation_freq"] = validation_freq if validation is not None else 1  # for those who monitor
        listeners = _callbacks(callbacks)
        if validation is not None and listeners:
            validation = HeardBatches(validation, listeners, "test", self, steps.results)
        start = 0
        kept = [c for c in listeners if isinstance(c, BackupAndRestore)]
        for callback in kept:
            found = callback.restore(self)
            if found[0] >= initial_epoch:
                initial_epoch, start = found
        steps.begin()
        for callback in kept:
            callback.resume(self)
        loop.fit(
            steps,
            Resumed(data, initial_epoch, start) if start else data,
            epochs=epochs,
            initial_epoch=initial_epoch,
            start=start,
            validation=validation,
            validation_freq=validation_freq,
            callbacks=[*listeners, self.history],  # last, so that it has what callbacks put into the logs
            model=self,
            verbose=_verbosity(verbose),
        )
        if self.optimizer is not None and epochs > 0:
            self.optimizer.finalize_variable_values(self.trainable_weights)  # type: ignore[attr-defined]
        return self.history

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Judge the model: loss and metrics over all samples.

        Returns
        -------
        float where there are no metrics, else the list [loss, *metrics]; a dict by name with ``return_dict``.
        """
        self._require_loss("evaluate", "test_step")
        data, _ = feed_of(self, x, y, sample_weight, batch_size, None, None, 0.0, None, steps)
        mine = self._ready(data)
        progress = Progress(_verbosity(verbose), epochs=0)
        given, listeners = _callbacks(callbacks), None
        heard: Any = data
        if given:
            listeners = CallbackList(given, self, {"verbose": verbose, "steps": steps, "epochs": 1})
            heard = HeardBatches(data, given, "test", self, mine.results)
        try:
            found = loop.evaluate(mine, heard, progress=progress, listeners=listeners)
        finally:
            progress.close()
        return _as_returned(found, return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """The outputs for samples, computed batch by batch.

        Parameters
        ----------
        x : samples (n, ...), or an iterable of batches.
        verbose : 0 silent, else progress.
        steps : how many batches to take.
        callbacks : told of ``on_predict_begin``, ``on_predict_batch_end`` and the like; the logs of a batch have its
            ``"outputs"``.

        Returns
        -------
        (n, ...) array, or a structure of them.
        """
        self.eval()  # type: ignore[attr-defined]
        data, _ = feed_of(self, x, None, None, batch_size, None, None, 0.0, None, steps, answers=False)
        self._output_of(data.sample())
        progress = Progress(_verbosity(verbose), epochs=0)
        parts: list[list[np.ndarray]] = []
        structure: Any = None
        found: Any = None
        given = _callbacks(callbacks)
        heard: Any = data
        if given:
            CallbackList(given, self, {"verbose": verbose, "steps": steps, "epochs": 1})
            heard = HeardBatches(data, given, "predict", self, lambda: {"outputs": tree.map_structure(as_array, found)})
            tell(given, "on_predict_begin", {})
        try:
            progress.begin_epoch(0, len(data) if data.known_length() else None)
            for done, batch in enumerate(heard.epoch(0)):
                found = self._predict_one(data.unpacked(batch))
                structure = tree.map_structure(lambda t: 0, found)
                parts.append([np.array(as_array(t)) for t in tree.flatten(found)])
                if progress.due():
                    progress.draw(done + 1, {})
            progress.end_epoch(len(parts), {})
        finally:
            progress.close()
        if not parts:
            raise ValueError("predict: there are no samples")
        tell(given, "on_predict_end", {})
        return tree.pack_sequence_as(structure, [np.concatenate(column) for column in zip(*parts)])

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch, (n, ...)."""
        self.eval()  # type: ignore[attr-defined]
        arrays, structure = inputs.arrays_of(x, "x", texts=True)
        feed = Feed(self, [arrays], (structure, None, None), 1)
        found = self._predict_one(feed.unpacked(feed.converted(arrays)))
        return tree.map_structure(lambda t: np.array(as_array(t)), found)

    def _predict_one(self, x: Any) -> Any:
        with no_grad():
            return self.predict_step(packed(x))

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
        self._require_loss("train_on_batch", "train_step")
        data, _ = feed_of(self, x, y, sample_weight, None, None, class_weight, 0.0, None, None, whole=True)
        steps = self._ready(data)
        steps.begin()
        steps.train_step(next(data.epoch(0)))
        return _as_returned(steps.results(), return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss and metrics of one batch, as :meth:`evaluate`."""
        self._require_loss("test_on_batch", "test_step")
        data, _ = feed_of(self, x, y, sample_weight, None, None, None, 0.0, None, None, whole=True)
        steps = self._ready(data)
        self.eval()  # type: ignore[attr-defined]
        steps.reset()
        steps.test_step(next(data.epoch(0)))
        return _as_returned(steps.results(), return_dict)

    # getting ready --------------------------------------------------------------------------------------------------

    def _require_loss(self, what: str, step: str) -> None:
        if not self.compiled and not self._overrides(step):
            raise StateError(
                f"{what}: the model has no loss: you must call `compile()` before calling `{what}()`",
                code="keras.not-compiled",
                hint="call model.compile(optimizer=..., loss=...) first",
            )

    def _output_of(self, sample: Any) -> Any:
        """Symbolic outputs for symbolic samples; builds the model. None where the model has no ``call``."""
        key = str(tree.map_structure(lambda t: None if t is None else (t.shape, t.dtype), sample))
        cache = self.__dict__["_output_cache"]
        if key not in cache:
            found = None
            if not any(t is not None and t.dtype == "string" for t in tree.flatten(sample)):
                try:
                    found = infer(lambda v: self(v, training=False), sample)  # type: ignore[operator]
                except NotImplementedError:
                    if not self._overrides("train_step"):
                        raise
            cache.clear()
            cache[key] = found
        return cache[key]

    def _ready(self, data: Feed) -> ModelSteps:
        """The steps of the model, made when the shapes of output and answers are known."""
        if self._steps is None or self._steps.structure != data.structure:
            self._output_of(data.sample())
            if self.optimizer is not None or self.compiled:
                self._match_feed(data)
            self._steps = ModelSteps(self, data.structure)  # type: ignore[arg-type]
        else:
            self._output_of(data.sample())
        return self._steps

    def _match_feed(self, data: Feed) -> None:
        outputs = self._output_of(data.sample())
        if outputs is None or data.structure[1] is None or self._compiled_metrics is not None:
            return
        truths = [np.empty((0, *shape)) for shape in data.answer_shapes()]
        self._match(outputs, tree.pack_sequence_as(data.structure[1], truths))

    def _match(self, y_pred: Any, y: Any) -> None:
        """Losses and metrics for these outputs and answers."""
        arguments = self._compile_arguments
        assert arguments is not None
        flat, truths = tree.flatten(y_pred), tree.flatten(y) if y is not None else []
        names = self._names_of(y_pred, len(flat))
        given: list[Any] = [tuple(t.shape) for t in truths]
        if arguments["loss"] is not None:
            weights = arguments["loss_weights"]
            self._compiled_loss = CompiledLoss(arguments["loss"], weights, y_pred, names, given)
            if truths:
                given = [None if t is None else tuple(t.shape) for t in self._compiled_loss.truths_of(y)]
        shapes = [tuple(t.shape) for t in flat]
        targets = [a if a is not None else b for a, b in zip(given, shapes)] if len(given) == len(shapes) else shapes
        metrics, weighted = arguments["metrics"], arguments["weighted_metrics"]
        self._compiled_metrics = CompiledMetrics(metrics, weighted, self._compiled_loss, shapes, targets, names)

    def _names_of(self, y_pred: Any, count: int) -> list[str]:
        names = self.output_names  # type: ignore[attr-defined]
        if len(names) == count:
            return list(names)
        if isinstance(y_pred, dict) and len(y_pred) == count:
            return sorted(y_pred)
        return [f"output_{k + 1}" for k in range(count)] if count > 1 else ["output"]

    # configuration --------------------------------------------------------------------------------------------------

    def get_compile_config(self) -> dict[str, Any] | None:
        """Optimiser, losses and metrics as plain data; None where the model is not compiled."""
        from gradloom.keras.saving import NotSerializableError, serialize_keras_object

        if not self.compiled or self._overrides("compile") or self.optimizer is None:
            return None
        try:
            found = {"optimizer": self.optimizer, **(self._compile_arguments or {})}
            return serialize_keras_object({**found, "run_eagerly": self.run_eagerly})
        except NotSerializableError:
            return None

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compile as :meth:`get_compile_config` tells."""
        from gradloom.keras.saving import deserialize_keras_object

        if self._overrides("compile"):
            return
        known = ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics", "run_eagerly")
        self.compile(**{k: deserialize_keras_object(v) for k, v in config.items() if k in known})
        if self.built and self.optimizer is not None:  # type: ignore[attr-defined]
            self.optimizer.build(self.trainable_weights)  # type: ignore[attr-defined]


class _DatasetCallback(Callback):
    """Tells a ``PyDataset`` where epochs begin and end."""

    def __init__(self, dataset: Any) -> None:
        super().__init__()
        self.dataset = dataset

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """After each epoch."""
        self.dataset.on_epoch_end()


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """(x, y, sample_weight) of what a step is given, None for what is missing."""
    if not isinstance(data, list | tuple):
        return data, None, None
    if len(data) > 3:
        raise ValueError(f"data is (x,), (x, y) or (x, y, sample_weight), {len(data)} parts were given")
    parts = tuple(data) + (None,) * (3 - len(data))
    return parts[0], parts[1], parts[2]


def as_array(value: Any) -> np.ndarray:
    """A tensor or array as an array."""
    return value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)


def _callbacks(given: Any) -> list[Callback]:
    return [given] if isinstance(given, Callback) else list(given or [])


def _verbosity(verbose: int | str) -> int:
    if verbose == "auto":
        return 1 if config.is_interactive_logging_enabled() else 2
    return int(verbose)


def _as_returned(found: dict[str, Any], as_dict: bool) -> Any:
    if as_dict:
        return found
    values = list(found.values())
    return values if len(values) > 1 else values[0] if values else None
