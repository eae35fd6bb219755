"""The metrics that ``compile`` was given, matched with a model's outputs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from gradloom.keras import metrics, tree
from gradloom.keras.losses.classes import loss_object
from gradloom.keras.metrics import Metric
from gradloom.keras.models.compiled_loss import BY_SHAPE, CompiledLoss


def spread(given: Any, count: int, names: list[str], what: str) -> list[Any]:
    """One entry for each output of what was given as one, a list, or a dictionary by name."""
    if given is None:
        return [None] * count
    if isinstance(given, Mapping):
        unknown = [k for k in given if k not in names]
        if unknown:
            raise ValueError(
                f"Invalid `{what}` dictionary: {unknown[0]!r} is not among the outputs. Expected keys {names}, "
                f"found {list(given)}"
            )
        return [given.get(name) for name in names]
    if isinstance(given, list | tuple):
        if count == 1 and len(given) != 1:
            return [list(given)]
        if len(given) == count:
            return list(given)
        raise ValueError(f"{what} has {len(given)} entries, the model has {count} outputs {names}")
    return [given] * count


class CompiledMetrics:
    """Metrics of the outputs, named after them where there are several."""

    def __init__(
        self,
        given: Any,
        weighted: Any,
        loss: CompiledLoss | None,
        outputs: list[tuple[Any, ...]],
        targets: list[tuple[Any, ...]],
        names: list[str],
    ) -> None:
        count = len(names)
        own = loss.losses if loss is not None else [None] * count
        self._loss = loss
        self.entries: list[tuple[int, Metric, bool]] = []  # output, metric, whether sample weights count
        self.names: dict[Metric, str] = {}  # what each is called in logs
        for what, entries, by_weight in (("metrics", given, False), ("weighted_metrics", weighted, True)):
            for k, wanted in enumerate(_lists(entries, count, names, what)):
                for entry in wanted:
                    metric = metrics.resolve(entry, own[k], outputs[k], targets[k])
                    self.entries.append((k, metric, by_weight))
                    self._call(metric, f"{names[k]}_" if count > 1 else "", by_weight)

    def _call(self, metric: Metric, prefix: str, by_weight: bool) -> None:
        """Give a metric the first free one of its name, the name marked as weighted, and numbered names."""
        taken = set(self.names.values())
        name = prefix + metric.name
        if name in taken and by_weight:
            name = f"{prefix}weighted_{metric.name}"
        numbered = (f"{name}_{k}" for k in itertools.count(1))
        self.names.setdefault(metric, name if name not in taken else next(n for n in numbered if n not in taken))

    @property
    def metrics(self) -> list[Metric]:
        """All of them, each once."""
        return list(dict.fromkeys(m for _, m, _ in self.entries))

    def update_state(self, y: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        if not self.entries:
            return
        found = tree.flatten(y_pred)
        truths = tree.flatten(y) if self._loss is None else self._loss.truths_of(y)
        weights = tree.flatten(sample_weight) if sample_weight is not None else [None]
        if len(weights) == 1:
            weights = weights * len(found)
        elif self._loss is not None:
            weights = self._loss.truths_of(sample_weight)
        for k, metric, by_weight in self.entries:
            if truths[k] is None:
                raise ValueError(f"metric {metric.name!r} is for an output without an answer")
            if by_weight:
                metric.update_state(truths[k], found[k], sample_weight=weights[k])
            else:
                metric.update_state(truths[k], found[k])


def _lists(given: Any, count: int, names: list[str], what: str) -> list[list[Any]]:
    """A list of metrics for each output."""
    if given is None:
        return [[] for _ in range(count)]
    if isinstance(given, Mapping):
        found = spread(given, count, names, what)
    elif count == 1:
        flat = [x for entry in (given if isinstance(given, list | tuple) else [given])
                for x in (entry if isinstance(entry, list | tuple) else [entry])]  # fmt: skip
        return [[x for x in flat if x is not None]]
    else:
        found = spread(given, count, names, what)
    return [[] if x is None else list(x) if isinstance(x, list | tuple) else [x] for x in found]


def check_metrics(given: Any) -> None:
    """Refuse names of metrics that are not known, before there is data."""
    for leaf in tree.flatten(given):
        metrics.check(leaf)


def check_losses(given: Any) -> None:
    """Refuse names of losses that are not known, before there is data."""
    for leaf in tree.flatten(given):
        if leaf is not None and not (isinstance(leaf, str) and leaf.lower() in BY_SHAPE):
            loss_object(leaf)
