"""The losses that ``compile`` was given, matched with the structure of a model's outputs.

A loss goes with an output, or with a part of the outputs' structure, which it then sees whole; a list of losses where
the outputs are no list are several for the same outputs, and add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gradloom.errors import GradloomError, ShapeError
from gradloom.keras import losses, tree
from gradloom.keras.losses import Loss
from gradloom.keras.losses.classes import loss_object
from gradloom.keras.metrics import Mean
from gradloom.keras.steps import track

BY_SHAPE = ("crossentropy", "ce")


class OutputPathError(GradloomError, KeyError, ValueError):
    """A loss for an output that the model has not."""

    default_code = "keras.outputs"


class Part(NamedTuple):
    """A loss, the keys that lead to its outputs, its factor, and what it is called in logs."""

    path: tuple[Any, ...]
    loss: Loss
    weight: float | None
    name: str


class _Weighted:
    """A loss beside its factor, as a leaf."""

    def __init__(self, loss: Any, weight: Any) -> None:
        self.loss, self.weight = loss, weight


class CompiledLoss:
    """Losses of the outputs; their sum, each times its factor, is minimised.

    Parameters
    ----------
    loss, weights : as given to ``compile``.
    outputs : the structure of the outputs, with shapes for leaves.
    names : of the outputs, in flat order.
    truths : shapes of the answers, in flat order, where they are known; "crossentropy" is chosen by them.
    """

    def __init__(self, loss: Any, weights: Any, outputs: Any, names: list[str], truths: Any = None) -> None:
        self.structure = tree.map_structure(lambda x: None, outputs)
        self.names, self._shapes = names, [tuple(x.shape) for x in tree.flatten(outputs)]
        self._truths = list(truths) if truths is not None and len(truths) == len(names) else [None] * len(names)
        self._numbers = _numbered(outputs)
        self.parts: list[Part] = []
        loss, weights = _unwrapped(loss), _unwrapped(weights)
        lost = (
            [k for k in weights if k not in loss] if isinstance(weights, Mapping) and isinstance(loss, Mapping) else []
        )
        if lost:
            raise ValueError(f"`loss_weights` has {lost[0]!r}, which has no loss: expected {list(loss)}")
        packed = _with_weights(self._by_name(loss), self._by_name(weights), len(names))
        if not tree.is_nested(packed) and tree.is_nested(outputs):
            packed = tree.map_structure(lambda x: packed, self.structure)
        labels = tree.pack_sequence_as(self.structure, names)
        self._walk(packed, self.structure, labels, ())
        if not self.parts:
            raise ValueError("none of the outputs has a loss")
        called = dict.fromkeys(part.name for part in self.parts)
        self.trackers = {name: Mean(f"{name}_loss") for name in called} if len(self.parts) > 1 else {}

    def _by_name(self, given: Any) -> Any:
        """A dictionary by the outputs' names, where the outputs are no dictionary, as a list in their order."""
        if not isinstance(given, Mapping) or isinstance(self.structure, dict):
            return given
        unknown = [k for k in given if k not in self.names]
        if unknown:
            raise OutputPathError(
                f"Invalid `loss` dictionary: {unknown[0]!r} is not among the outputs. Expected keys {self.names} in "
                f"loss dict, but found {list(given)}"
            )
        found = [given.get(name) for name in self.names]
        return found if tree.is_nested(self.structure) else found[0]

    def _walk(self, loss: Any, outputs: Any, labels: Any, path: tuple[Any, ...]) -> None:
        if loss is None:
            return
        leaves = tree.flatten(outputs)
        if isinstance(loss, _Weighted):
            if tree.is_nested(outputs) and isinstance(loss.loss, str | Loss) and not _takes_structures(loss.loss):
                self._walk_like(tree.map_structure(lambda x: loss, outputs), outputs, labels, path)
            else:
                self._add(loss, labels, path)
        elif isinstance(loss, Mapping):
            if not isinstance(outputs, dict) or any(k not in outputs for k in loss):
                raise self._lost(loss, outputs, path)
            for key, entry in loss.items():
                self._walk(entry, outputs[key], labels[key], (*path, key))
        elif not any(map(tree.is_nested, loss)) and len(loss) == len(leaves) and tree.is_nested(outputs):
            self._walk_like(tree.pack_sequence_as(outputs, list(loss)), outputs, labels, path)
        elif isinstance(outputs, type(loss)) or isinstance(loss, type(outputs)):
            if len(loss) != len(outputs):
                raise ValueError(
                    f"`loss` is a {type(loss).__name__} of {len(loss)}, and there are {len(outputs)} outputs"
                    f"{_where(path)}"
                )
            self._walk_like(loss, outputs, labels, path)
        else:  # several losses for the same outputs
            for entry in loss:
                self._walk(entry, outputs, labels, path)

    def _walk_like(self, loss: Any, outputs: Any, labels: Any, path: tuple[Any, ...]) -> None:
        if isinstance(loss, dict):
            keys: Any = loss
        else:
            keys = range(len(loss))
            if not isinstance(outputs, list | tuple):
                raise self._lost(loss, outputs, path)
        for key in keys:
            if tree.is_nested(loss[key]) and not tree.is_nested(outputs[key]):
                for entry in tree.flatten(loss[key]):
                    self._walk(entry, outputs[key], labels[key], (*path, key))
            else:
                self._walk(loss[key], outputs[key], labels[key], (*path, key))

    def _lost(self, loss: Any, outputs: Any, path: tuple[Any, ...]) -> OutputPathError:
        keys = list(loss) if isinstance(loss, Mapping) else type(loss).__name__
        wanted = list(outputs) if isinstance(outputs, dict) else f"of a {type(outputs).__name__}"
        return OutputPathError(
            f"Invalid `loss` dictionary: {keys}{_where(path)} can't be found in the model's output (`y_pred`). "
            f"Expected keys {wanted}",
            hint="give losses in the structure of the model's outputs",
        )

    def _add(self, entry: _Weighted, labels: Any, path: tuple[Any, ...]) -> None:
        if entry.loss is None:
            return
        called: tuple[Any, ...] = path
        if not tree.is_nested(labels) and (not path or isinstance(path[-1], int)):
            called = (*path[:-1], labels)
        name = "/".join(map(str, called)) or "_".join(labels if isinstance(labels, dict) else tree.flatten(labels))
        if tree.is_nested(labels) and path and isinstance(path[-1], int):
            name = "/".join(map(str, (*path[:-1], "_".join(tree.flatten(labels)))))
        weight = None if entry.weight is None else float(entry.weight)
        self.parts.append(Part(path, self._resolved(entry.loss, path), weight, name))

    def _resolved(self, loss: Any, path: tuple[Any, ...]) -> Loss:
        if not isinstance(loss, str) or loss.lower() not in BY_SHAPE:
            return loss_object(loss)  # type: ignore[return-value]  # None has been left out before
        numbers = tree.flatten(at(self._numbers, path))
        found, truth = self._shapes[numbers[0]], self._truths[numbers[0]]
        if found[-1] == 1:
            return losses.BinaryCrossentropy()
        sparse = truth is not None and (len(truth) < len(found) or truth[-1] == 1)
        return losses.SparseCategoricalCrossentropy() if sparse else losses.CategoricalCrossentropy()

    @property
    def losses(self) -> list[Loss | None]:
        """The loss of each output that goes with it alone, in flat order; None where there is none, or several."""
        found: list[Loss | None] = []
        for number in range(len(self.names)):
            mine = [p for p in self.parts if number in tree.flatten(at(self._numbers, p.path))]
            alone = len(mine) == 1 and not tree.is_nested(at(self._numbers, mine[0].path))
            found.append(mine[0].loss if alone else None)
        return found

    @property
    def single(self) -> Loss | None:
        """The loss of the only output where it has one, and that without a factor."""
        plain = not tree.is_nested(self.structure) and len(self.parts) == 1 and self.parts[0].weight is None
        return self.parts[0].loss if plain else None

    def truths_of(self, y: Any) -> list[Any]:
        """The answers in the outputs' flat order; None for outputs that have no loss and no answer."""
        count = len(self.names)
        if isinstance(y, Mapping) and not isinstance(self.structure, dict) and set(y) == set(self.names):
            y = [y[name] for name in self.names]
        flat = tree.flatten(y)
        if len(flat) == count:
            return flat
        wanted = sorted({n for p in self.parts for n in tree.flatten(at(self._numbers, p.path))})
        if len(wanted) != len(flat):
            raise ShapeError(
                f"y_true and y_pred have different structures: the model has {count} outputs, {len(flat)} answers were "
                "given", code="keras.targets",
            )  # fmt: skip
        filled: list[Any] = [None] * count
        for number, value in zip(wanted, flat):
            filled[number] = value
        return filled

    def __call__(self, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The sum over the outputs, 0-d."""
        found = tree.pack_sequence_as(self.structure, tree.flatten(y_pred))
        truths = tree.pack_sequence_as(self.structure, self.truths_of(y))
        weights: Any = sample_weight
        if tree.is_nested(sample_weight):
            flat = tree.flatten(sample_weight)
            if len(flat) == 1:
                weights = flat[0]
            else:
                weights = tree.pack_sequence_as(self.structure, self.truths_of(sample_weight))
        total, seen = None, dict[Any, Any]()
        for part in self.parts:
            mine = at(weights, part.path) if tree.is_nested(weights) else weights
            value = part.loss(at(truths, part.path), at(found, part.path), mine)
            if self.trackers:
                seen[part.name] = seen[part.name] + value if part.name in seen else value
            if part.weight is not None:
                value = value * part.weight
            total = value if total is None else total + value
        rows = tree.flatten(y_pred)[0].shape[0] if seen else 0
        for name, value in seen.items():
            track(self.trackers[name], value, rows)
        return total


def _takes_structures(loss: Any) -> bool:
    """Whether a loss may be made for several outputs together: one of the library's takes a single tensor."""
    return not isinstance(loss, str) and not type(loss).__module__.startswith("gradloom.")


def _unwrapped(loss: Any, top: bool = True) -> Any:
    """Losses without the lists in which they stand alone."""
    if isinstance(loss, Mapping):
        return {k: _unwrapped(v, False) for k, v in loss.items()}
    if isinstance(loss, list | tuple):
        if len(loss) == 1 and not top and not tree.is_nested(loss[0]):
            return loss[0]
        found = [_unwrapped(x, False) for x in loss]
        return type(loss)(*found) if hasattr(loss, "_fields") else type(loss)(found)
    return loss


def at(structure: Any, path: tuple[Any, ...]) -> Any:
    """The part of a structure to which keys lead."""
    for key in path:
        structure = structure[key]
    return structure


def _numbered(outputs: Any) -> Any:
    """The structure with the flat places of its leaves."""
    return tree.pack_sequence_as(outputs, list(range(len(tree.flatten(outputs)))))


def _where(path: tuple[Any, ...]) -> str:
    return f" at {'/'.join(map(str, path))}" if path else ""


def _with_weights(loss: Any, weights: Any, outputs: int) -> Any:
    """The structure of losses with each loss beside its factor. ValueError where their numbers differ."""

    def leaf(entry: Any, weight: Any = None) -> Any:
        return None if entry is None else _Weighted(entry, weight)

    if weights is None:
        return tree.map_structure(leaf, loss)
    if isinstance(loss, Mapping) and isinstance(weights, Mapping):
        return {k: _with_weights(v, weights.get(k), 1) for k, v in loss.items()}
    if not tree.is_nested(loss) and tree.is_nested(weights):
        loss = [loss] * outputs
    count, given = len(tree.flatten(loss)), tree.flatten(weights)
    if count != len(given):
        raise ValueError(f"`loss_weights` must match the number of losses: {count} losses, {len(given)} weights")
    return tree.map_structure(leaf, loss, tree.pack_sequence_as(loss, given))
