"""What ``compile`` was told, matched with a model's outputs: a loss and metrics for each."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from gradloom.errors import ShapeError
from gradloom.keras import losses, metrics, tree
from gradloom.keras.losses import Loss
from gradloom.keras.metrics import Mean, Metric


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


def single(entry: Any) -> Any:
    """The loss in an entry for one output, which may stand alone in a list."""
    if isinstance(entry, list | tuple):
        if len(entry) > 1:
            raise ValueError(
                f"`loss` has {len(entry)} entries for one output: an output has one loss, a function may add several up"
            )
        return entry[0] if entry else None
    return entry


class CompiledLoss:
    """Losses of the outputs, each with its weight; the sum is minimised.

    Parameters
    ----------
    loss, weights : as given to ``compile``.
    count, names : of the outputs.
    """

    def __init__(self, loss: Any, weights: Any, count: int, names: list[str]) -> None:
        if isinstance(loss, Loss | str) or callable(loss):
            if count > 1 and not isinstance(loss, list | tuple | Mapping):
                loss = [loss] * count
        self.losses = [None if x is None else losses.get(x) for x in map(single, spread(loss, count, names, "loss"))]
        if all(x is None for x in self.losses):
            raise ValueError("none of the outputs has a loss")
        given = spread(weights, count, names, "loss_weights")
        self.weights = [None if w is None else float(w) for w in given]
        self.names = names
        several = sum(x is not None for x in self.losses) > 1
        self.trackers = [Mean(f"{n}_loss") if several and x is not None else None for n, x in zip(names, self.losses)]

    def __call__(self, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The sum over the outputs, 0-d."""
        truths, found = tree.flatten(y), tree.flatten(y_pred)
        if len(truths) != len(found):
            raise ShapeError(
                f"the model has {len(found)} outputs, {len(truths)} answers were given", code="keras.targets"
            )
        sample_weights = tree.flatten(sample_weight) if sample_weight is not None else [None]
        if len(sample_weights) == 1:
            sample_weights = sample_weights * len(found)
        total = None
        for k, loss in enumerate(self.losses):
            if loss is None:
                continue
            value = loss(truths[k], found[k], sample_weights[k])
            tracker = self.trackers[k]
            if tracker is not None:
                tracker.update_state(value.detach(), sample_weight=None)
            if self.weights[k] is not None:
                value = value * self.weights[k]
            total = value if total is None else total + value
        return total


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
        self.entries: list[tuple[int, Metric, bool]] = []  # output, metric, whether sample weights count
        self.names: dict[Metric, str] = {}  # what each is called in logs
        for what, entries, by_weight in (("metrics", given, False), ("weighted_metrics", weighted, True)):
            for k, wanted in enumerate(_lists(entries, count, names, what)):
                for entry in wanted:
                    mine = loss.losses[k] if loss is not None else None
                    metric = metrics.resolve(entry, mine, outputs[k], targets[k])
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
        truths, found = tree.flatten(y), tree.flatten(y_pred)
        weights = tree.flatten(sample_weight) if sample_weight is not None else [None]
        if len(weights) == 1:
            weights = weights * len(found)
        for k, metric, by_weight in self.entries:
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
        if leaf is not None:
            losses.get(leaf)
