"""Several metrics as one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gradloom.metrics.base import Metric


class MetricCollection:
    """Metrics by name that are updated, computed, joined and saved together.

    Parameters
    ----------
    metrics : Metric, sequence of Metric, or dict of name to Metric
        Without names they are called after their classes.
    *more : Metric
    prefix, postfix : str
        Put around the names of what `compute` gives.
    """

    def __init__(
        self,
        metrics: Metric | Sequence[Metric] | Mapping[str, Metric],
        *more: Metric,
        prefix: str = "",
        postfix: str = "",
    ) -> None:
        self.prefix, self.postfix = prefix or "", postfix or ""
        self._metrics: dict[str, Metric] = {}
        if isinstance(metrics, Mapping):
            pairs = list(metrics.items())
        else:
            pairs = [(type(m).__name__, m) for m in ([metrics] if isinstance(metrics, Metric) else list(metrics))]
        pairs += [(type(m).__name__, m) for m in more]
        for name, metric in pairs:
            if not isinstance(metric, Metric):
                raise TypeError(f"a collection holds metrics, {name!r} is a {type(metric).__name__}")
            if name in self._metrics:
                raise ValueError(f"two metrics are called {name!r}: give a dict with names")
            self._metrics[name] = metric

    def _for(self, metric: Metric, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Those keyword arguments that a metric's update takes."""
        parameters = inspect.signature(metric.update).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return kwargs
        return {k: v for k, v in kwargs.items() if k in parameters}

    def _named(self, values: dict[str, Any]) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for name, value in values.items():
            flat.update(value if isinstance(value, dict) else {name: value})
        return {f"{self.prefix}{name}{self.postfix}": value for name, value in flat.items()}

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch to each; keyword arguments reach those that take them."""
        for metric in self._metrics.values():
            metric.update(*args, **self._for(metric, kwargs))

    def compute(self) -> dict[str, Any]:
        """The values by name."""
        return self._named({name: metric.compute() for name, metric in self._metrics.items()})

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Add a batch, and give the values of that batch alone."""
        values = {n: m.forward(*args, **self._for(m, kwargs)) for n, m in self._metrics.items()}
        return self._named(values)

    __call__ = forward

    def reset(self) -> None:
        """Forget everything that was added."""
        for metric in self._metrics.values():
            metric.reset()

    def merge_state(self, other: MetricCollection | Mapping[str, Any]) -> None:
        """Take in what another collection of the same names has counted."""
        for name, metric in self._metrics.items():
            metric.merge_state(other[name])

    def state_dict(self) -> dict[str, Any]:
        """The metrics' states by name."""
        return {name: metric.state_dict() for name, metric in self._metrics.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict()` gave."""
        for name, metric in self._metrics.items():
            metric.load_state_dict(state_dict[name])

    def clone(self, prefix: str | None = None, postfix: str | None = None) -> MetricCollection:
        """Copies of the metrics under other prefixes: one for training, one for validation."""
        metrics = {name: metric.clone() for name, metric in self._metrics.items()}
        new_prefix = self.prefix if prefix is None else prefix
        return MetricCollection(metrics, prefix=new_prefix, postfix=self.postfix if postfix is None else postfix)

    def keys(self) -> Any:
        """The metrics' names."""
        return self._metrics.keys()

    def values(self) -> Any:
        """The metrics."""
        return self._metrics.values()

    def items(self) -> Any:
        """Names and metrics."""
        return self._metrics.items()

    def __getitem__(self, name: str) -> Metric:
        return self._metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._metrics)

    def __len__(self) -> int:
        return len(self._metrics)

    def __repr__(self) -> str:
        return f"MetricCollection({', '.join(self._metrics)})"
