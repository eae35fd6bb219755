"""Feeds: whatever data ``fit`` is given, as flat batches of arrays in the form that a step takes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.errors import ShapeError
from gradloom.keras import config, inputs, tree
from gradloom.keras.variables import KerasTensor
from gradloom.tensor import Tensor, from_numpy
from gradloom.train import ArrayBatches

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
        """Whether the number of batches is known."""
        return self.steps is not None or hasattr(self.source, "__len__")

    def __len__(self) -> int:
        if self.steps is not None:
            return self.steps
        if hasattr(self.source, "__len__"):
            return len(self.source)
        raise TypeError("the number of batches is not known")

    def epoch(self, number: int) -> Iterator[tuple[Any, ...]]:
        """The flat batches of epoch ``number``."""
        if not self.raw:
            batches = self.source.epoch(number) if hasattr(self.source, "epoch") else iter(self.source)
            return batches if self.steps is None else itertools.islice(self._repeated(batches, number), self.steps)
        return self._taken()

    def _repeated(self, batches: Iterator[Any], number: int) -> Iterator[Any]:
        while True:
            yield from batches
            number += 1_000_003
            batches = self.source.epoch(number) if hasattr(self.source, "epoch") else iter(self.source)

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
        return [a if d is None else np.ascontiguousarray(a, d) for a, d in zip(flat, dtypes)]

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
        found = []
        for a in flat[:width]:
            name = "string" if a.dtype.kind in "USO" else a.dtype.name
            found.append(KerasTensor((None, *a.shape[1:]), name))
        return tree.pack_sequence_as(self.structure[0], found)

    def _peek(self) -> Flat:
        if isinstance(self.source, ArrayBatches):
            arrays = [a for a in self.source.arrays if a is not None]
            return [
                np.empty((1, *a.shape[1:]), a.dtype if d is None or a.dtype.kind in "USO" else d)
                for a, d in zip(arrays, self.source.dtypes)
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
        leaves = [a if a.dtype.kind in "USO" else from_numpy(a) for a in batch[:width]]
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
            yield (*batch, *(np.ones(len(batch[0]), np.float32) for _ in range(count)))


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
        ys = _prepared(model, ys, model._output_of(sample))
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


def _symbol(a: np.ndarray, dtype: Any) -> KerasTensor:
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


def _prepared(model: Any, ys: Flat, y_pred: Any) -> Flat:
    from gradloom.keras import losses
    from gradloom.keras.models.compiled import spread

    arguments, outputs = model._compile_arguments, tree.flatten(y_pred)
    given = None if arguments is None else arguments["loss"]
    shapes = [tuple(t.shape[1:]) if isinstance(t, KerasTensor) and t.shape else None for t in outputs]
    if len(shapes) != len(ys):
        if len(ys) > 1 and given is not None and not model._overrides("train_step"):
            raise ShapeError(f"the model has {len(shapes)} outputs, {len(ys)} answers were given", code="keras.targets")
        return [inputs.prepare_labels(y, None, None) for y in ys]
    one = isinstance(given, str | losses.Loss) or callable(given)
    found = [given] * len(ys) if one else spread(given, len(ys), model._names_of(y_pred, len(ys)), "loss")
    if model._overrides("compute_loss") or model._overrides("train_step"):
        found = [None] * len(ys)
    made = [losses.get(x[0] if isinstance(x, list) else x) for x in found]
    return [inputs.prepare_labels(y, loss, shape) for y, loss, shape in zip(ys, made, shapes)]


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
    found = [inputs.sample_dtype(a, d) for a, d in zip(flat[:width], wanted)]
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
        size = len(flat[0])
    if steps is not None and batch_size is None:
        size = -(-len(flat[0]) // steps)
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
    count = len(flat[0])
    kept = int(count * (1.0 - share))
    if not 0 < kept < count:
        raise ValueError(f"validation_split={share} of {count} samples leaves nothing to train on, or to judge by")
    return [a[:kept] for a in flat], _Flat([a[kept:] for a in flat], structure)
