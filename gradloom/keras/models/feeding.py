"""Feeds: whatever data ``fit`` is given, as flat batches of arrays in the form that a step takes."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.errors import ShapeError
from gradloom.keras import config, inputs, tree
from gradloom.keras.variables import KerasTensor
from gradloom.tensor import Tensor, from_numpy
from gradloom.train import ArrayBatches
from gradloom.train.batches import Runs

if TYPE_CHECKING:
    from gradloom.keras.models.trainer import Trainer

Flat = list[Any]


class Resumed:
    """The batches of a feed, the first epoch without those that an earlier run has done."""

    def __init__(self, feed: Any, epoch: int, done: int) -> None:
        self.feed, self.first, self.done = feed, epoch, done

    def __len__(self) -> int:
        return len(self.feed)

    def epoch(self, number: int) -> Iterator[tuple[Any, ...]]:
        """The flat batches of epoch ``number``."""
        batches = self.feed.epoch(number)
        return itertools.islice(batches, self.done, None) if number == self.first else batches


class Feed:
    """Batches for one model.

    Parameters
    ----------
    source : ArrayBatches, a list of flat batches, or an iterable of batches as users make them.
    structure : of x, y and sample weights; leaves are 0.
    steps : an epoch ends after so many batches.
    raw : whether the source gives users' batches, to be checked and flattened one by one.
    """

    def __init__(
        self,
        model: Trainer,
        source: Any,
        structure: Any,
        steps: int | None = None,
        raw: bool = False,
        class_weight: Any = None,
    ) -> None:
        self.model, self.source, self.structure, self.steps = model, source, structure, steps
        self.raw, self.class_weight = raw, class_weight
        self._rest: Iterator[Any] | None = None
        self._next = 0  # the epoch that goes on with the rest
        self._first: Any = None
        if raw:
            self._rest = iter(self._fresh())
            try:
                self._first = next(self._rest)
            except StopIteration:
                raise ShapeError("x has no batches", code="keras.lengths", hint="give at least one") from None
            self._first_flat = self._flat(self._first)

    def _fresh(self) -> Any:
        source = self.source
        if hasattr(source, "__getitem__") and hasattr(source, "__len__") and not isinstance(source, list | tuple):
            if not hasattr(source, "__iter__"):
                return (source[k] for k in range(len(source)))
        return source

    def known_length(self) -> bool:
        """Whether the number of batches of an epoch is known."""
        return self.steps is not None or self._passes() is not None

    def _passes(self) -> int | None:
        """How many batches the source has from its beginning to its end; None where that is not known."""
        try:
            return len(self.source)
        except TypeError:
            return None

    def __len__(self) -> int:
        whole = self._passes()
        if self.steps is not None:
            return self.steps if self.raw or whole is None else min(self.steps, whole)
        if whole is None:
            raise TypeError("the number of batches is not known")
        return whole

    def epoch(self, number: int) -> Iterator[tuple[Any, ...]]:
        """The flat batches of epoch ``number``.

        With a number of steps an epoch goes on where the one before ended; it is shorter where the data end.
        """
        if self.raw:
            return self._taken()
        if self.steps is None:
            return self._pass(number)
        whole = len(self.source)
        epochs = -(-whole // self.steps)  # that one pass through the data makes
        done = number % epochs * self.steps
        count = min(self.steps, whole - done)
        if count < self.steps:
            warnings.warn(
                f"Your input ran out of data: {count} batches were left for an epoch of {self.steps}", stacklevel=2
            )
        if done == 0 or self._rest is None or self._next != number:
            self._rest = itertools.islice(self._pass(number // epochs), done, None)
        self._next = number + 1
        return itertools.islice(self._rest, count)

    def runs(self, number: int) -> Runs | None:
        """The batches of epoch ``number`` several at a time; None where they come one by one."""
        plain = isinstance(self.source, ArrayBatches) and not self.raw and self.steps is None
        return self.source.runs(number) if plain else None

    def _pass(self, number: int) -> Iterator[Any]:
        return self.source.epoch(number) if hasattr(self.source, "epoch") else iter(self.source)

    def _taken(self) -> Iterator[tuple[Any, ...]]:
        done = 0
        restarted = self._rest is None
        if self._rest is None:
            self._rest = iter(self._fresh())
        if self._first is not None:
            first, self._first = self._first_flat, None
            yield first
            done = 1
        while self.steps is None or done < self.steps:
            try:
                batch = next(self._rest)
            except StopIteration:
                if self.steps is None or restarted:
                    break
                self._rest, restarted = iter(self._fresh()), True
                continue
            restarted = False
            yield self._flat(batch)
            done += 1
        if self.steps is None:
            self._rest = None

    def _flat(self, batch: Any) -> tuple[Any, ...]:
        """A user's batch as flat arrays, checked."""
        x, y, w = parts_of(batch)
        flat, structure = flat_of(self.model, x, y, w, self.class_weight)
        if self.structure is None:
            self.structure = structure
        elif structure != self.structure:
            raise ShapeError(
                f"batches differ: the first was made as {self.structure}, another as {structure}", code="keras.batches"
            )
        return tuple(self.converted(flat))

    def converted(self, flat: Flat) -> Flat:
        """Arrays in the dtypes that the model takes."""
        dtypes = dtypes_of(self.model, flat, self.structure)
        return [a if d is None or a is None else np.ascontiguousarray(a, d) for a, d in zip(flat, dtypes)]

    def matched(self, structure: Any) -> Any:
        """The same batches in another structure: sample weights of 1 where training has them."""
        if self.structure[:2] != structure[:2] or (structure[2] is not None and self.structure[2] is not None):
            raise ShapeError(
                f"validation data are made as {self.structure}, training data as {structure}", code="keras.validation"
            )
        return _Reweighted(self, structure)

    def sample(self) -> Any:
        """Symbolic tensors of x, None for the batch."""
        flat = self._first_flat if self.raw else self._peek()
        width = len(tree.flatten(self.structure[0]))
        found = [_symbol(a, None) for a in flat[:width]]
        return tree.pack_sequence_as(self.structure[0], found)

    def _peek(self) -> Flat:
        if isinstance(self.source, ArrayBatches):
            return [
                None if a is None else np.empty((1, *a.shape[1:]), a.dtype if d is None or a.dtype.kind in "USO" else d)
                for a, d in zip(self.source.arrays, self.source.dtypes)
            ]
        return list(self.source[0])

    def answer_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of one sample's answers."""
        flat = self._first_flat if self.raw else self._peek()
        a = len(tree.flatten(self.structure[0]))
        b = a + len(tree.flatten(self.structure[1]))
        return [tuple(t.shape[1:]) for t in flat[a:b]]

    def unpacked(self, batch: Sequence[Any]) -> Any:
        """X of a flat batch, as tensors."""
        width = len(tree.flatten(self.structure[0]))
        leaves = [a if a is None or a.dtype.kind in "USO" else from_numpy(a) for a in batch[:width]]
        return tree.pack_sequence_as(self.structure[0], leaves)


class _Reweighted:
    """A feed with sample weights of 1."""

    def __init__(self, feed: Feed, structure: Any) -> None:
        self.feed, self.structure = feed, structure

    def __len__(self) -> int:
        return len(self.feed)

    def epoch(self, number: int) -> Iterator[tuple[Any, ...]]:
        """The flat batches, each with weights or without, as training has them."""
        if self.structure[2] is None:
            width = len(tree.flatten(self.structure[:2]))
            for batch in self.feed.epoch(number):
                yield tuple(batch[:width])
            return
        count = len(tree.flatten(self.structure[2]))
        for batch in self.feed.epoch(number):
            yield (*batch, *(np.ones(rows_of(batch), np.float32) for _ in range(count)))


def parts_of(batch: Any) -> tuple[Any, Any, Any]:
    """(x, y, sample_weight) of a batch: a tuple of up to three parts, or x alone."""
    if isinstance(batch, tuple) or (isinstance(batch, list) and len(batch) in (2, 3)):
        if len(batch) > 3:
            raise ValueError(f"a batch is (x,), (x, y) or (x, y, sample_weight), {len(batch)} parts were given")
        parts = tuple(batch) + (None,) * (3 - len(batch))
        return parts[0], parts[1], parts[2]
    return batch, None, None


def flat_of(model: Any, x: Any, y: Any, w: Any, class_weight: Any, check: bool = True) -> tuple[Flat, Any]:
    """The arrays of a batch, or of all samples, and their structure; answers checked and brought into form."""
    texts = any(getattr(layer, "takes_texts", False) for layer in model._flatten_layers())
    xs, x_structure = inputs.arrays_of(x, "x", texts=texts)
    ys, y_structure = inputs.arrays_of(y, "y")
    if isinstance(y, Mapping) and isinstance(y_structure, dict) and len(ys) > 1:
        ys, y_structure = _by_output(model, y, ys, y_structure)
    ws, w_structure = inputs.arrays_of(w, "sample_weight")
    if isinstance(w, Mapping) and len(ws) > 1:
        ws, w_structure = _by_output(model, w, ws, w_structure)
    named = [(f"x{_tag(xs, k)}", a) for k, a in enumerate(xs)] + [(f"y{_tag(ys, k)}", a) for k, a in enumerate(ys)]
    inputs.check_lengths(named + [("sample_weight", a) for a in ws])
    if ys and check:
        sample = tree.pack_sequence_as(x_structure, [_symbol(a, d) for a, d in zip(xs, dtypes_of(
            model, xs, (x_structure, None, None)))])  # fmt: skip
        ys = _prepared(model, ys, y_structure, model._output_of(sample))
    if ys and (class_weight is not None or ws):
        if class_weight is not None:
            if len(ys) > 1:
                raise ValueError("class_weight goes with a single output")
            weights = inputs.combine_weights(ws[0] if ws else None, class_weight, ys[0])
            assert weights is not None  # of the classes at least
            ws = [weights]
            w_structure = 0
        else:
            ws = [np.asarray(a, np.float32) for a in ws]
    return xs + ys + ws, (x_structure, y_structure, w_structure if ws else None)


def rows_of(flat: Sequence[Any]) -> int:
    """The number of samples of a flat batch, in which optional inputs may be None."""
    return len(next(a for a in flat if a is not None))


def _symbol(a: Any, dtype: Any) -> Any:
    if a is None:
        return None
    name = "string" if a.dtype.kind in "USO" else np.dtype(dtype if dtype is not None else a.dtype).name
    return KerasTensor((None, *a.shape[1:]), name)


def _by_output(model: Any, given: Mapping[str, Any], arrays: Flat, structure: Any) -> tuple[Flat, Any]:
    """Answers given by the outputs' names, as a list in the outputs' order."""
    names = model.output_names
    if names and set(names) == set(given) and not isinstance(model._graph.outputs, dict):
        keys = sorted(given)
        return [arrays[keys.index(n)] for n in names], [0] * len(names)
    return arrays, structure


def _tag(arrays: Flat, k: int) -> str:
    return f"[{k}]" if len(arrays) > 1 else ""


def _prepared(model: Any, ys: Flat, structure: Any, y_pred: Any) -> Flat:
    """The answers as the losses of their outputs take them; as they are where those are not known."""
    from gradloom.keras.models.compiled_loss import CompiledLoss

    arguments, outputs = model._compile_arguments, tree.flatten(y_pred)
    given = None if arguments is None else arguments["loss"]
    symbolic = all(isinstance(t, KerasTensor) for t in outputs)
    if given is None or not symbolic or model._overrides("train_step") or model._overrides("compute_loss"):
        known = symbolic and len(outputs) == len(ys)
        shapes = [tuple(t.shape[1:]) for t in outputs] if known else [None] * len(ys)
        return [inputs.prepare_labels(y, None, shape) for y, shape in zip(ys, shapes)]
    truths = [tuple(y.shape) for y in ys]
    loss = CompiledLoss(given, None, y_pred, model._names_of(y_pred, len(outputs)), truths)
    places = loss.truths_of(tree.pack_sequence_as(structure, list(range(len(ys)))))
    found: Flat = list(ys)
    for place, output, mine in zip(places, outputs, loss.losses):
        if place is not None:
            found[place] = inputs.prepare_labels(ys[place], mine, tuple(output.shape[1:]) if output.shape else None)
    return found


def dtypes_of(model: Any, flat: Flat, structure: Any) -> list[Any]:
    """What the arrays of a flat batch are converted to: x as the model's inputs say, all else as it is."""
    width = len(tree.flatten(structure[0]))
    wanted: list[Any] = [None] * width
    graph = getattr(model, "_graph", None)
    if graph is not None and len(graph.flat_inputs) == width:
        wanted = [x.dtype for x in graph.flat_inputs]
        if isinstance(structure[0], dict) and not isinstance(graph.inputs, dict):
            names = sorted(structure[0])
            by_name = dict(zip(model.input_names, wanted))
            wanted = [by_name.get(n) for n in names]
    elif graph is None and type(model).__name__ == "Sequential" and model.layers:
        first = model.layers[0]
        wanted = [first.__dict__.get("wants_dtype") or config.floatx()] * width
    found = [None if a is None else inputs.sample_dtype(a, d) for a, d in zip(flat[:width], wanted)]
    return found + [None] * (len(flat) - width)


def is_batches(x: Any, y: Any) -> bool:
    """Whether x gives batches by itself: no array, no tensor, no list of numbers, and no y beside it."""
    if y is not None or isinstance(x, np.ndarray | Tensor | Mapping) or hasattr(x, "__array__"):
        return False
    if isinstance(x, list | tuple):
        return bool(x) and isinstance(x[0], tuple)
    return hasattr(x, "__iter__") or (hasattr(x, "__getitem__") and hasattr(x, "__len__"))


def feed_of(
    model: Any, x: Any, y: Any, w: Any, batch_size: int | None, seed: int | None, class_weight: Any, split: float,
    validation: Any, steps: int | None, *, answers: bool = True, whole: bool = False,
) -> tuple[Feed, Any]:  # fmt: skip
    """The feed of what fit, evaluate or predict was given, and the validation data."""
    if x is None:
        raise ValueError("x is missing: give samples, or an iterable of batches")
    if is_batches(x, y):
        if split:
            raise ValueError("validation_split goes with arrays: give validation_data beside an iterable of batches")
        return _limited(Feed(model, x, None, steps, raw=True, class_weight=class_weight)), validation
    if y is None and answers and not whole and not model._overrides("train_step") and model._compile_arguments and (
        model._compile_arguments["loss"] is not None
    ):  # fmt: skip
        raise ShapeError("y is missing", code="keras.lengths", hint="give the answers for the samples of x")
    size = batch_length(batch_size)
    flat, structure = flat_of(model, x, y, w, class_weight)
    if split and validation is None:
        flat, validation = _split(flat, structure, split)
    if whole:
        size = rows_of(flat)
    dtypes = dtypes_of(model, flat, structure)
    found = Feed(model, ArrayBatches(flat, size, dtypes=dtypes, seed=seed), structure, steps)
    return _limited(found), validation


def _limited(feed: Feed) -> Feed:
    """At most as many batches as ``keras.config.max_steps_per_epoch`` allows."""
    limit = config.max_steps_per_epoch()
    if limit is not None:
        feed.steps = min(len(feed), limit) if feed.known_length() else limit
    return feed


def validation_of(model: Any, data: Any, batch_size: int | None, steps: int | None) -> Feed:
    """The feed of validation data: (x, y), (x, y, sample_weight), or an iterable of batches."""
    if isinstance(data, _Flat):
        dtypes = dtypes_of(model, data.flat, data.structure)
        return Feed(model, ArrayBatches(data.flat, batch_length(batch_size), dtypes=dtypes), data.structure, steps)
    if isinstance(data, tuple | list) and len(data) in (2, 3) and not isinstance(data[0], tuple):
        x, y, w = (*data, None)[:3]
        return feed_of(model, x, y, w, batch_size, None, None, 0.0, None, steps)[0]
    return Feed(model, data, None, steps, raw=True)


class _Flat:
    """Arrays that are flat and checked already."""

    def __init__(self, flat: Flat, structure: Any) -> None:
        self.flat, self.structure = flat, structure


def batch_length(value: int | None) -> int:
    """Samples of a batch, 32 where nothing is said."""
    size = 32 if value is None else int(value)
    if size < 1:
        raise ValueError(f"batch_size={value}, but it must be at least 1")
    return size


def _split(flat: Flat, structure: Any, share: float) -> tuple[Flat, _Flat]:
    if not 0 < share < 1:
        raise ValueError(f"validation_split={share}, but it lies between 0 and 1")
    count = rows_of(flat)
    kept = int(count * (1.0 - share))
    if not 0 < kept < count:
        raise ValueError(f"validation_split={share} of {count} samples leaves nothing to train on, or to judge by")
    train, rest = ([None if a is None else a[part] for a in flat] for part in (slice(kept), slice(kept, None)))
    return train, _Flat(rest, structure)
