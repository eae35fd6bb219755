"""What a trainer reports: numbers by name, of metrics of every kind, and whether more of one is better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gradloom.errors import StateError
from gradloom.metrics import Metric, MetricCollection
from gradloom.tensor import Tensor
from gradloom.train.callbacks import rises

__all__ = ["by_name", "more_is_better", "numbers"]

_FALLING = ("loss", "error", "mse", "mae", "rmse", "perplexity", "distance", "wer", "cer")


def by_name(metrics: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metrics given as a dict, a collection, a list or one alone, by the names under which they are reported.

    Those given under an output, ``{"boxes": {"iou": …}}``, are reported as ``boxes_iou``; the second result has their
    outputs by these names.
    """
    found: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    for name, metric in _pairs(metrics):
        nested = isinstance(metric, Mapping | list | tuple)
        if not nested and (
            isinstance(metric, type) or not all(hasattr(metric, n) for n in ("update", "compute", "reset"))
        ):  # fmt: skip
            raise TypeError(
                f"metrics[{name!r}] is {metric!r}; expected are metrics of gradloom.metrics, as "
                '{"accuracy": Accuracy("multiclass", num_classes=10)}'
            )
        inner = by_name(metric)[0] if nested or isinstance(metric, MetricCollection) else {name: metric}
        for inner_name, one in inner.items():
            whole = f"{name}_{inner_name}" if nested else inner_name
            if whole in found or whole == "loss":
                raise ValueError(f"two values are called {whole!r}: give a dict with names")
            found[whole] = one
            if nested:
                outputs[whole] = name
    return found, outputs


def _pairs(metrics: Any) -> list[tuple[Any, Any]]:
    if metrics is None:
        return []
    if isinstance(metrics, MetricCollection):
        return [(f"{metrics.prefix}{name}{metrics.postfix}", metric) for name, metric in metrics.items()]
    if isinstance(metrics, Mapping):
        return list(metrics.items())
    each = metrics if isinstance(metrics, Iterable) and not isinstance(metrics, str) else [metrics]
    return [(getattr(m, "name", type(m).__name__), m) for m in each]


def numbers(name: str, value: Any) -> dict[str, float]:
    """A metric's value as numbers: of classes by ``name_0``, of dictionaries by ``name_key``.

    Raises StateError for values that are no numbers, such as curves.
    """
    if isinstance(value, Mapping):
        return {k: v for key, one in value.items() for k, v in numbers(f"{name}_{key}", one).items()}
    if isinstance(value, tuple | list):
        return {k: v for at, one in enumerate(value) for k, v in numbers(f"{name}_{at}", one).items()}
    array = np.asarray(value.numpy() if isinstance(value, Tensor) else value, np.float64)
    if array.size == 1:
        return {name: float(array.reshape(()))}
    if array.ndim != 1:
        raise StateError(
            f"metric {name!r} gives an array of shape {array.shape}; a trainer reports numbers",
            code="train.metric",
            hint="leave it out here, and compute it from predict(), or give a metric of one number a class",
        )
    return {f"{name}_{at}": float(v) for at, v in enumerate(array)}


def more_is_better(metrics: Mapping[str, Any], name: str) -> bool | None:
    """Whether more is better of a value of an epoch: what its metric says, else what its name says, else None."""
    plain = name.removeprefix("val_")
    if plain == "loss":
        return False
    fitting = [n for n in metrics if plain == n or plain.startswith(f"{n}_")]
    metric = metrics[max(fitting, key=len)] if fitting else None
    inner = getattr(metric, "base_metric", getattr(metric, "metric", metric))  # of a wrapper
    said = getattr(inner, "higher_is_better", None) if isinstance(inner, Metric) else None
    if said is not None:
        return bool(said)
    return True if rises(plain) else False if any(word in plain.lower() for word in _FALLING) else None
