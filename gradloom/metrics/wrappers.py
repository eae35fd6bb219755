"""Metrics of metrics: by class, by output, by task, over the last batches, over epochs, of operands made anew, and how
sure a value is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.metrics.aggregation import MeanMetric, Strategy, SumMetric
from gradloom.metrics.base import Metric, given, result
from gradloom.metrics.collection import MetricCollection
from gradloom.random import default_generator
from gradloom.tensor import Tensor, tensor


class _Wrapper:
    """Base: several metrics behind one."""

    def _held(self) -> Sequence[Any]:
        raise NotImplementedError

    @property
    def update_count(self) -> int:
        """How many batches were added."""
        held = self._held()
        return max((m.update_count for m in held), default=0)

    def reset(self) -> None:
        """Forget everything that was added."""
        for metric in self._held():
            metric.reset()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Add a batch and give the value of all so far."""
        self.update(*args, **kwargs)  # type: ignore[attr-defined]
        return self.compute()  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        """The states of all metrics, by number."""
        return {str(k): m.state_dict() for k, m in enumerate(self._held())}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict()` gave."""
        for k, metric in enumerate(self._held()):
            metric.load_state_dict(state_dict[str(k)])


class ClasswiseWrapper(_Wrapper):
    """A metric with one value a class (average="none") as a dictionary: "accuracy_cat", "accuracy_dog".

    labels : names of the classes, their numbers unless given. prefix, postfix : instead of the metric's name and "_".
    """

    def __init__(
        self, metric: Metric, labels: Sequence[str] | None = None, prefix: str | None = None, postfix: str | None = None
    ) -> None:
        self.metric, self.labels, self.prefix, self.postfix = metric, labels, prefix, postfix

    def _held(self) -> Sequence[Any]:
        return [self.metric]

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch."""
        self.metric.update(*args, **kwargs)

    def compute(self) -> dict[str, Tensor]:
        """By name."""
        values = self.metric.compute()
        names = self.labels if self.labels is not None else range(len(values))
        if len(names) != len(values):
            raise ValueError(f"{len(values)} classes, {len(names)} labels: {names}")
        plain = self.prefix is None and self.postfix is None
        before = f"{type(self.metric).__name__.lower()}_" if plain else self.prefix or ""
        return {f"{before}{n}{self.postfix or ''}": values[k] for k, n in enumerate(names)}


class MinMaxMetric(_Wrapper):
    """A metric, and the least and greatest value that `compute` gave since the beginning."""

    def __init__(self, base_metric: Metric) -> None:
        self.base_metric = base_metric
        self.min_val, self.max_val = np.inf, -np.inf

    def _held(self) -> Sequence[Any]:
        return [self.base_metric]

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch."""
        self.base_metric.update(*args, **kwargs)

    def compute(self) -> dict[str, Tensor]:
        """{"raw", "min", "max"}. TypeError where the metric gives more than one number."""
        value = self.base_metric.compute()
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise TypeError(
                f"MinMaxMetric is for metrics of one number; {type(self.base_metric).__name__} gave {value}"
            )
        raw = float(value.item())
        self.min_val, self.max_val = min(self.min_val, raw), max(self.max_val, raw)
        return {"raw": value, "max": result(self.max_val), "min": result(self.min_val)}

    def reset(self) -> None:
        """Forget batches and extremes."""
        super().reset()
        self.min_val, self.max_val = np.inf, -np.inf


class MultioutputWrapper(_Wrapper):
    """One metric for each place of an axis of the operands.

    remove_nans : leave samples out where an operand of the output is NaN. squeeze_outputs : operands without that axis.
    """

    def __init__(
        self,
        base_metric: Metric,
        num_outputs: int,
        output_dim: int = -1,
        remove_nans: bool = True,
        squeeze_outputs: bool = True,
    ) -> None:
        self.metrics = [base_metric.clone() for _ in range(num_outputs)]
        self.output_dim, self.remove_nans, self.squeeze_outputs = output_dim, remove_nans, squeeze_outputs

    def _held(self) -> Sequence[Any]:
        return self.metrics

    def update(self, *args: Any) -> None:
        """Add a batch."""
        for k, metric in enumerate(self.metrics):
            parts = [G.narrow(given(a), self.output_dim, k, 1) for a in args]
            if self.remove_nans:
                whole = np.ones(parts[0].shape[0], bool)
                for a in parts:
                    whole &= ~np.isnan(a.numpy().astype(np.float64).reshape(len(whole), -1)).any(1)
                parts = [a[tensor(np.nonzero(whole)[0])] for a in parts]
            metric.update(*(a.squeeze(self.output_dim) if self.squeeze_outputs else a for a in parts))

    def compute(self) -> Tensor:
        """(num_outputs, ...)."""
        return G.stack([m.compute() for m in self.metrics])


class MultitaskWrapper(_Wrapper):
    """A metric, or a collection, for each task by name. prefix, postfix : of the names in `compute`."""

    def __init__(
        self,
        task_metrics: Mapping[str, Metric | MetricCollection],
        prefix: str | None = None,
        postfix: str | None = None,
    ) -> None:
        self.task_metrics, self.prefix, self.postfix = dict(task_metrics), prefix or "", postfix or ""

    def _held(self) -> Sequence[Any]:
        return list(self.task_metrics.values())

    def update(self, task_preds: Mapping[str, Any], task_targets: Mapping[str, Any]) -> None:
        """Add a batch of each task. ValueError where the names are others."""
        if not set(self.task_metrics) == set(task_preds) == set(task_targets):
            raise ValueError(
                f"tasks are {sorted(self.task_metrics)}; given {sorted(task_preds)} and {sorted(task_targets)}"
            )
        for task, metric in self.task_metrics.items():
            metric.update(task_preds[task], task_targets[task])

    def compute(self) -> dict[str, Any]:
        """By task."""
        return {f"{self.prefix}{task}{self.postfix}": m.compute() for task, m in self.task_metrics.items()}


class Running(_Wrapper):
    """The value over the last `window` batches."""

    def __init__(self, base_metric: Metric, window: int = 5) -> None:
        if window < 1:
            raise ValueError(f"window must be positive, got {window}")
        self.base_metric, self.window = base_metric, window
        self._batches: list[Metric] = []

    def _held(self) -> Sequence[Any]:
        return self._batches

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch; the one `window` batches ago is forgotten."""
        one = self.base_metric.clone()
        one.reset()
        one.update(*args, **kwargs)
        self._batches = [*self._batches, one][-self.window :]

    def compute(self) -> Any:
        """Of the batches that are left."""
        joined = self.base_metric.clone()
        joined.reset()
        for one in self._batches:
            joined.merge_state(one)
        return joined.compute()

    def reset(self) -> None:
        """Forget all batches."""
        self._batches = []

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict()` gave."""
        self._batches = [self.base_metric.clone() for _ in state_dict]
        super().load_state_dict(state_dict)


class RunningMean(Running):
    """The mean of the numbers of the last `window` batches. nan_strategy : as for `MeanMetric`."""

    def __init__(self, window: int = 5, nan_strategy: Strategy = "warn") -> None:
        super().__init__(MeanMetric(nan_strategy), window)


class RunningSum(Running):
    """The sum of the numbers of the last `window` batches. nan_strategy : as for `SumMetric`."""

    def __init__(self, window: int = 5, nan_strategy: Strategy = "warn") -> None:
        super().__init__(SumMetric(nan_strategy), window)


class MetricInputTransformer(_Wrapper):
    """A metric, or a collection, of operands made anew. A subclass gives `transform_pred` or `transform_target`."""

    def __init__(self, wrapped_metric: Metric | MetricCollection) -> None:
        self.wrapped_metric = wrapped_metric

    def _held(self) -> Sequence[Any]:
        return [self.wrapped_metric]

    def transform_pred(self, pred: Tensor) -> Tensor:
        """What the metric gets as predictions."""
        return pred

    def transform_target(self, target: Tensor) -> Tensor:
        """What it gets as answers."""
        return target

    def update(self, pred: Any, target: Any, *args: Any, **kwargs: Any) -> None:
        """Add a batch."""
        made = self.transform_pred(given(pred)), self.transform_target(given(target))
        self.wrapped_metric.update(*made, *args, **kwargs)

    def compute(self) -> Any:
        """The metric's value."""
        return self.wrapped_metric.compute()


class LambdaInputTransformer(MetricInputTransformer):
    """A metric of operands that functions make anew: transform_pred, transform_target."""

    def __init__(
        self,
        wrapped_metric: Metric | MetricCollection,
        transform_pred: Callable[[Tensor], Tensor] | None = None,
        transform_target: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(wrapped_metric)
        for name, function in (("transform_pred", transform_pred), ("transform_target", transform_target)):
            if function is not None:
                if not callable(function):
                    raise TypeError(f"{name} is a function, not {function!r}")
                setattr(self, name, function)


class BinaryTargetTransformer(MetricInputTransformer):
    """A metric whose answers are 1 above a threshold, else 0."""

    def __init__(self, wrapped_metric: Metric | MetricCollection, threshold: float = 0) -> None:
        super().__init__(wrapped_metric)
        if not isinstance(threshold, int | float):
            raise TypeError(f"threshold is a number, not {threshold!r}")
        self.threshold = threshold

    def transform_target(self, target: Tensor) -> Tensor:
        """1 above the threshold, of the dtype that was given."""
        return G.cast(target > self.threshold, target.dtype)


class BootStrapper(_Wrapper):
    """How sure a value is: copies of a metric, each given other samples of a batch (Efron 1979).

    Parameters
    ----------
    num_bootstraps : int
        Copies.
    mean, std, raw : bool
        What `compute` gives.
    quantile : float or tensor, optional
        What quantiles it gives.
    sampling_strategy : {"poisson", "multinomial"}
        How often each sample counts: as a Poisson number says, or as many as there are, drawn with replacement.
    """

    def __init__(
        self,
        base_metric: Metric,
        num_bootstraps: int = 10,
        mean: bool = True,
        std: bool = True,
        quantile: Any = None,
        raw: bool = False,
        sampling_strategy: str = "poisson",
    ) -> None:
        if sampling_strategy not in ("poisson", "multinomial"):
            raise ValueError(f"sampling_strategy is 'poisson' or 'multinomial', not {sampling_strategy!r}")
        if num_bootstraps < 2:
            raise ValueError(f"num_bootstraps must be at least 2, got {num_bootstraps}")
        self.metrics = [base_metric.clone() for _ in range(num_bootstraps)]
        self.mean, self.std, self.quantile, self.raw = mean, std, quantile, raw
        self.sampling_strategy = sampling_strategy

    def _held(self) -> Sequence[Any]:
        return self.metrics

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch: tensors whose first axis counts samples are drawn from, all else is given as it is."""
        size = next(int(a.shape[0]) for a in (*args, *kwargs.values()) if hasattr(a, "shape"))
        for metric in self.metrics:
            draw = np.random.default_rng(list(default_generator.draw()))
            if self.sampling_strategy == "poisson":
                chosen = np.repeat(np.arange(size), draw.poisson(1.0, size))
            else:
                chosen = draw.integers(0, size, size)
            if not chosen.size:
                continue
            rows = tensor(chosen)
            pick = lambda a, rows=rows: given(a)[rows] if hasattr(a, "shape") else a  # noqa: E731
            metric.update(*map(pick, args), **{k: pick(v) for k, v in kwargs.items()})

    def compute(self) -> dict[str, Tensor]:
        """{"mean", "std", "quantile", "raw"}, those that were asked for."""
        values = np.stack([m.compute().numpy() for m in self.metrics])
        found = {}
        if self.mean:
            found["mean"] = result(values.mean(0))
        if self.std:
            found["std"] = result(values.std(0, ddof=1))
        if self.quantile is not None:
            found["quantile"] = result(
                np.quantile(values, np.asarray(given(self.quantile).numpy(), np.float64), axis=0)
            )
        if self.raw:
            found["raw"] = result(values)
        return found


class MetricTracker:
    """A metric over epochs: `increment()` begins one, `best_metric()` tells the best of all.

    maximize : whether more is better; what the metric says unless given.
    """

    def __init__(self, metric: Metric, maximize: bool | None = None) -> None:
        said = metric.higher_is_better if maximize is None else maximize
        if said is None:
            raise ValueError(f"{metric.name} does not say whether more of it is better: give maximize")
        self.metric, self.maximize = metric, said
        self._epochs: list[Metric] = []

    @property
    def n_steps(self) -> int:
        """How many epochs were begun."""
        return len(self._epochs)

    def increment(self) -> None:
        """Begin an epoch."""
        one = self.metric.clone()
        one.reset()
        self._epochs.append(one)

    def _current(self) -> Metric:
        if not self._epochs:
            raise ValueError("MetricTracker: call increment() before the first batch")
        return self._epochs[-1]

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch to the running epoch."""
        self._current().update(*args, **kwargs)

    def compute(self) -> Any:
        """Of the running epoch."""
        return self._current().compute()

    def compute_all(self) -> Tensor:
        """Of every epoch, (epochs, ...)."""
        self._current()
        return G.stack([m.compute() for m in self._epochs])

    def best_metric(self, return_step: bool = False) -> Any:
        """The best value, with return_step also the number of its epoch."""
        values = self.compute_all().numpy()
        at = int(np.nanargmax(values) if self.maximize else np.nanargmin(values))
        return (float(values[at]), at) if return_step else float(values[at])

    def reset(self) -> None:
        """Forget the running epoch's batches."""
        self._current().reset()

    def reset_all(self) -> None:
        """Forget all epochs."""
        self._epochs = []
