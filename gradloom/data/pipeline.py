"""Pipelines: data sets put together from steps, under the names of `tf.data`.

    Dataset.from_tensor_slices((images, labels)).shuffle(10_000).map(augment).batch(32).prefetch(2)

Elements are tensors, or tuples and dicts of them; text stays text. A pipeline may be gone through again and again, and
each pass shuffles anew; what a pass gives depends on the seed and the number of the pass alone. Steps that only choose
and order rows of arrays (`shuffle`, `take`, `repeat`, …) move row numbers, and `batch` gathers the rows at once.
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.data import elements
from gradloom.data import functions as f
from gradloom.data import steps as s
from gradloom.data.dataset import IterableDataset
from gradloom.data.random import seed_of
from gradloom.errors import ShapeError

AUTOTUNE = -1
INFINITE_CARDINALITY = -1
UNKNOWN_CARDINALITY = -2


class Pipeline(IterableDataset):
    """A data set made of steps; see the module. Made by `Dataset.from_tensor_slices` and its kin.

    Notes
    -----
    `state_dict()` tells how many elements of which pass were handed out; with it loaded, the next pass goes on there.
    """

    def __init__(self, step: s.Step) -> None:
        self.step = step
        self._seed: int | None = None
        self._pass = 0
        self._skip = 0
        self._place: tuple[int, int] | None = None

    # -- going through it -----------------------------------------------------------------------------

    def _elements(self) -> Iterator[Any]:
        number, skip = self._pass, self._skip
        self._pass, self._skip, self._place = number + 1, 0, (number, skip)
        run = s.Run(seed_of(None) if self._seed is None else self._seed, number)
        for done, element in builtins.enumerate(self.step.run(run, skip), skip + 1):
            self._place = (number, done)
            yield element
        if self._place is not None and self._place[0] == number:
            self._place = None

    def __iter__(self) -> Iterator[Any]:
        return (elements.mapped(e, elements.shown) for e in self._elements())

    def as_numpy_iterator(self) -> Iterator[Any]:
        """The elements with NumPy arrays in the place of tensors."""
        return self._elements()

    def __len__(self) -> int:
        """How many elements a pass has. Raises TypeError where that is not known, or where it never ends."""
        size = self.step.length()
        if size is None or size < 0:
            raise TypeError("The dataset is infinite." if size is not None else "The dataset length is unknown.")
        return size

    def __bool__(self) -> bool:
        return True

    def cardinality(self) -> int:
        """The number of elements; -1 where a pass does not end, -2 where the number is not known."""
        size = self.step.length()
        return UNKNOWN_CARDINALITY if size is None else size

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass that comes next."""
        self._pass = epoch

    def state_dict(self) -> dict[str, int]:
        """Seed, pass, and how many elements of it were handed out."""
        number, done = (self._pass, self._skip) if self._place is None else self._place
        return {"seed": seed_of(None) if self._seed is None else self._seed, "pass": number, "element": done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next pass go on where `state_dict()` was taken."""
        self._seed, self._pass, self._skip = int(state["seed"]), int(state["pass"]), int(state["element"])
        self._place = None

    @property
    def element_spec(self) -> Any:
        """Shape and dtype of the first element's tensors, as `keras.KerasTensor`-like text; looks at one element."""
        first = next(self.step.run(s.Run(seed_of(None), 0)), None)
        if first is None:
            raise ValueError("an empty data set has no element to describe")
        return elements.mapped(first, _spec)

    # -- element by element ---------------------------------------------------------------------------

    def map(
        self, map_func: Callable[..., Any], num_parallel_calls: int | None = None, deterministic: bool | None = None,
        name: str | None = None,
    ) -> Pipeline:  # fmt: skip
        """`map_func` of each element; the parts of a tuple are its arguments.

        num_parallel_calls: so many threads, for functions of NumPy and files; functions of tensors run in the thread
        that asks, and so do all with None or AUTOTUNE. The order is kept in any case.
        """
        return Pipeline(f.Map(self.step, map_func, num_parallel_calls or 0))

    def filter(self, predicate: Callable[..., Any], name: str | None = None) -> Pipeline:
        """The elements of which `predicate` is true."""
        return Pipeline(f.Filter(self.step, predicate))

    def take_while(self, predicate: Callable[..., Any], name: str | None = None) -> Pipeline:
        """The elements before the first of which `predicate` is false."""
        return Pipeline(f.Filter(self.step, predicate, ending=True))

    def flat_map(self, map_func: Callable[..., Pipeline], name: str | None = None) -> Pipeline:
        """The elements of the data sets that `map_func` makes of each element, one after the other."""
        return Pipeline(f.Flat(self.step, map_func, 1, 1))

    def interleave(
        self, map_func: Callable[..., Pipeline], cycle_length: int | None = None, block_length: int = 1,
        num_parallel_calls: int | None = None, deterministic: bool | None = None, name: str | None = None,
    ) -> Pipeline:  # fmt: skip
        """As `flat_map`, with `cycle_length` data sets open at once that give `block_length` elements in turn."""
        cycle = 4 if cycle_length in (None, AUTOTUNE) else _positive("cycle_length", cycle_length)
        return Pipeline(f.Flat(self.step, map_func, cycle, _positive("block_length", block_length)))

    def scan(
        self, initial_state: Any, scan_func: Callable[[Any, Any], tuple[Any, Any]], name: str | None = None
    ) -> Pipeline:
        """`scan_func(state, element)` gives the next state and the element that is handed on."""
        return Pipeline(f.Scan(self.step, initial_state, scan_func))

    def enumerate(self, start: int = 0, name: str | None = None) -> Pipeline:
        """Pairs of a running number and the element."""
        return Pipeline(s.Number(self.step, start))

    def reduce(self, initial_state: Any, reduce_func: Callable[[Any, Any], Any], name: str | None = None) -> Any:
        """`reduce_func(state, element)` over all elements."""
        state = initial_state
        for element in self:
            state = reduce_func(state, element)
        return state

    def apply(self, transformation_func: Callable[[Pipeline], Pipeline]) -> Pipeline:
        """`transformation_func` of this data set."""
        return transformation_func(self)

    # -- choosing and ordering ------------------------------------------------------------------------

    def shuffle(
        self, buffer_size: int, seed: int | None = None, reshuffle_each_iteration: bool | None = None,
        name: str | None = None,
    ) -> Pipeline:  # fmt: skip
        """Draw elements at random from a buffer; all of a data set is shuffled evenly where it fits into the buffer."""
        again = reshuffle_each_iteration is not False
        return Pipeline(s.Shuffle(self.step, _positive("buffer_size", buffer_size), seed, again))

    def take(self, count: int, name: str | None = None) -> Pipeline:
        """The first `count` elements; all with -1."""
        return Pipeline(s.Part(self.step, 0, None if count < 0 else int(count)))

    def skip(self, count: int, name: str | None = None) -> Pipeline:
        """All but the first `count` elements; none with -1."""
        return self.take(0) if count < 0 else Pipeline(s.Part(self.step, int(count), None))

    def shard(self, num_shards: int, index: int, name: str | None = None) -> Pipeline:
        """Elements `index`, `index + num_shards`, …"""
        if not 0 <= index < num_shards:
            raise ValueError(f"shard: index must be in 0 <= index < num_shards, got {index} of {num_shards}")
        return Pipeline(s.Part(self.step, int(index), None, int(num_shards)))

    def repeat(self, count: int | None = None, name: str | None = None) -> Pipeline:
        """All elements `count` times, shuffled anew each time; without end with None or -1."""
        return Pipeline(s.Repeat(self.step, None if count is None or count < 0 else int(count)))

    def concatenate(self, dataset: Pipeline, name: str | None = None) -> Pipeline:
        """The elements of this data set, then those of another."""
        return Pipeline(s.Concatenate(self.step, dataset.step))

    def cache(self, filename: str = "", name: str | None = None) -> Pipeline:
        """Keep the elements of the first whole pass, in memory, and in a file too if one is named."""
        return Pipeline(s.Cache(self.step, str(filename) or None))

    def prefetch(self, buffer_size: int | None = AUTOTUNE, name: str | None = None) -> Pipeline:
        """Read so many elements ahead in a thread; 2 with AUTOTUNE. Functions of tensors stay in the asking thread."""
        ahead = 2 if buffer_size in (None, AUTOTUNE) else int(buffer_size)  # type: ignore[arg-type]
        return self if ahead == 0 else Pipeline(f.Prefetch(self.step, _positive("buffer_size", ahead)))

    # -- batches --------------------------------------------------------------------------------------

    def batch(
        self, batch_size: int, drop_remainder: bool = False, num_parallel_calls: int | None = None,
        deterministic: bool | None = None, name: str | None = None,
    ) -> Pipeline:  # fmt: skip
        """So many elements as one. Raises ShapeError where their shapes differ."""
        return Pipeline(f.Batch(self.step, _positive("batch_size", batch_size), drop_remainder))

    def padded_batch(
        self, batch_size: int, padded_shapes: Any = None, padding_values: Any = None, drop_remainder: bool = False,
        name: str | None = None,
    ) -> Pipeline:  # fmt: skip
        """So many elements as one, each padded at the end of each axis.

        padded_shapes: of the structure of an element, or one for all; None, or None for an axis: as long as the longest
        of the batch. padding_values: likewise; 0 unless given.
        """
        pad = partial(_padded, shapes=padded_shapes, fills=padding_values)
        return Pipeline(f.Batch(self.step, _positive("batch_size", batch_size), drop_remainder, pad))

    def bucket_by_sequence_length(
        self, element_length_func: Callable[..., Any], bucket_boundaries: Sequence[int],
        bucket_batch_sizes: Sequence[int], padded_shapes: Any = None, padding_values: Any = None,
        pad_to_bucket_boundary: bool = False, no_padding: bool = False, drop_remainder: bool = False,
        name: str | None = None,
    ) -> Pipeline:  # fmt: skip
        """Batches of elements of similar length.

        Bucket k has the lengths from `bucket_boundaries[k - 1]` to below `bucket_boundaries[k]`; there is one batch
        size more than boundaries. pad_to_bucket_boundary: pad to the boundary less one, so that there are few shapes.
        """
        bounds, sizes = [int(b) for b in bucket_boundaries], [int(n) for n in bucket_batch_sizes]
        if len(sizes) != len(bounds) + 1:
            raise ValueError(f"there must be one batch size more than boundaries, got {len(sizes)} and {len(bounds)}")
        if sorted(set(bounds)) != bounds:
            raise ValueError(f"bucket_boundaries must increase, got {bounds}")

        def pad(batch: list[Any], bucket: int) -> Any:
            if no_padding:
                return elements.joined(batch, elements.stacked)
            shapes = padded_shapes
            if pad_to_bucket_boundary:
                if bucket == len(bounds):
                    raise ShapeError(
                        f"an element is longer than the last boundary, {bounds[-1]}",
                        code="data.bucket",
                        hint="filter longer elements out, or leave pad_to_bucket_boundary out",
                    )
                shapes = elements.mapped(
                    batch[0], lambda a: [bounds[bucket] - 1, *a.shape[1:]] if getattr(a, "ndim", 0) else []
                )
            return _padded(batch, shapes, padding_values)

        return Pipeline(f.Buckets(self.step, element_length_func, bounds, sizes, drop_remainder, pad))

    def unbatch(self, name: str | None = None) -> Pipeline:
        """The elements along the first axis of each element."""
        return Pipeline(s.Cut(self.step))

    def rebatch(self, batch_size: int, drop_remainder: bool = False, name: str | None = None) -> Pipeline:
        """Batches of another size."""
        return self.unbatch().batch(batch_size, drop_remainder)

    def window(
        self,
        size: int,
        shift: int | None = None,
        stride: int = 1,
        drop_remainder: bool = False,
        name: str | None = None,
    ) -> Pipeline:
        """Data sets of `size` elements, whose first elements are `shift` apart (`size` unless given)."""
        step = _positive("size", size) if shift is None else _positive("shift", shift)
        return Pipeline(f.Window(self.step, _positive("size", size), step, _positive("stride", stride), drop_remainder))

    def get_single_element(self, name: str | None = None) -> Any:
        """The only element. Raises ValueError where there is none, or more than one."""
        found = [e for e, _ in builtins.zip(self, builtins.range(2))]
        if len(found) != 1:
            raise ValueError(f"the data set has {'no' if not found else 'more than one'} element")
        return found[0]

    def __repr__(self) -> str:
        return f"<Pipeline: {type(self.step).__name__.lower()}, {self.cardinality()} elements>"


# -- sources ------------------------------------------------------------------------------------------


def from_tensor_slices(tensors: Any, name: str | None = None) -> Pipeline:
    """The rows of tensors, arrays or lists of equal length, or of tuples and dicts of them."""
    structure = elements.mapped(tensors, _column)
    sizes = {len(a) for a in elements.leaves(structure)}
    if len(sizes) != 1:
        raise ShapeError(
            f"from_tensor_slices: the first axes differ: {sorted(sizes)}",
            code="shape.dataset",
            hint="each tensor has one entry for each sample on its first axis",
        )
    return Pipeline(s.Slices(structure, sizes.pop()))


def from_tensors(tensors: Any, name: str | None = None) -> Pipeline:
    """One element."""
    return Pipeline(s.Source(lambda: [tensors], 1))


def from_generator(
    generator: Callable[..., Iterable[Any]], output_types: Any = None, output_shapes: Any = None,
    args: Sequence[Any] | None = None, output_signature: Any = None, name: str | None = None,
) -> Pipeline:  # fmt: skip
    """What `generator(*args)` gives, called anew for each pass.

    output_types: dtypes that numbers are converted to, in the structure of an element. output_signature: likewise, of
    objects with `shape` and `dtype`; shapes (None: any) are checked.
    """
    if not callable(generator):
        raise TypeError(
            f"`generator` must be a Python callable, got {type(generator).__name__}: wrap it into a function"
        )
    plan: list[tuple[Any, Any]] | None = None
    if output_signature is not None:
        plan = [(spec.dtype, spec.shape) for spec in elements.leaves(output_signature)]
    elif output_types is not None:
        shapes = [None] * len(elements.leaves(output_types))
        plan = list(builtins.zip(elements.leaves(output_types), shapes))

    def typed(element: Any) -> Any:
        wanted = iter(plan or ())

        def leaf(value: Any) -> Any:
            dtype, shape = next(wanted)
            return _typed(elements.as_array(value), dtype, shape)

        return elements.mapped(tuple(element) if isinstance(element, list) else element, leaf)

    source = partial(generator, *(args or ()))
    return Pipeline(s.Source(source if plan is None else lambda: map(typed, source())))


def range(*args: int, output_type: Any = None, name: str | None = None) -> Pipeline:
    """The numbers of Python's `range`, int64 unless another dtype is given."""
    numbers = builtins.range(*map(operator.index, args))
    found = np.arange(numbers.start, numbers.stop, numbers.step)
    return from_tensor_slices(found.astype(_numpy_dtype(output_type or "int64")))


def zip(*args: Any, datasets: Any = None, name: str | None = None) -> Pipeline:
    """Tuples of one element of each data set (or the structure of data sets that is given)."""
    structure = datasets if datasets is not None else args[0] if len(args) == 1 else args
    parts = elements.leaves(structure)
    for part in parts:
        if not isinstance(part, Pipeline):
            raise TypeError(f"zip takes data sets made by gradloom.data, got {type(part).__name__}")

    def pack(found: tuple[Any, ...]) -> Any:
        values = iter(found)
        return elements.mapped(structure, lambda _: next(values))

    return Pipeline(s.Zip(*(part.step for part in parts), pack=pack))


def list_files(
    file_pattern: str | list[str], shuffle: bool | None = None, seed: int | None = None, name: str | None = None
) -> Pipeline:
    """The names of the files that fit a pattern or several, shuffled unless `shuffle` is False."""
    return Pipeline(s.Files(file_pattern, shuffle is not False, seed))


def sample_from_datasets(
    datasets: Sequence[Pipeline], weights: Sequence[float] | None = None, seed: int | None = None,
    stop_on_empty_dataset: bool = False, rerandomize_each_iteration: bool | None = None,
) -> Pipeline:  # fmt: skip
    """Elements drawn from several data sets, with chances in proportion to `weights`."""
    chances = [1.0] * len(datasets) if weights is None else [float(w) for w in weights]
    if len(chances) != len(datasets) or not datasets or min(chances) < 0 or not sum(chances) > 0:
        raise ValueError(f"one weight for each of {len(datasets)} data sets, not negative and not all 0; got {weights}")
    return Pipeline(s.Mixed([d.step for d in datasets], chances, seed, stop_on_empty_dataset))


def as_pipeline(source: Any) -> Pipeline:
    """A pipeline over a data set with `[index]`, or over anything that can be iterated again and again."""
    if isinstance(source, Pipeline):
        return source
    if hasattr(source, "__getitem__") and hasattr(source, "__len__") and not isinstance(source, IterableDataset):
        return Pipeline(s.Indexed(source))
    if iter(source) is source:
        raise TypeError(
            "an iterator can be gone through once only: give what makes it (from_generator takes a function)"
        )
    return Pipeline(s.Source(lambda: source))


def _positive(name: str, value: Any) -> int:
    number = operator.index(value)
    if number <= 0:
        raise ValueError(f"{name} must be positive, got {value}")
    return number


def _column(value: Any) -> Any:
    found = elements.as_array(value)
    if not isinstance(found, np.ndarray):
        found = np.asarray(found)
    if found.ndim == 0:
        raise ShapeError(
            "from_tensor_slices: a number alone has no rows",
            code="shape.dataset",
            hint="give arrays with one entry for each sample, or use from_tensors",
        )
    return found


def _per_leaf(structure: Any, given: Any, single: Callable[[Any], bool]) -> list[Any]:
    """What is given for each leaf of an element: of its structure, or one for all."""
    size = len(elements.leaves(structure))
    if single(given):
        return [given] * size
    found: list[Any] = []

    def walk(part: Any, of: Any) -> None:
        if isinstance(part, (tuple, dict)):
            if single(of):
                found.extend([of] * len(elements.leaves(part)))
                return
            if len(of) != len(part):
                raise ValueError(f"{of!r} has not the structure of an element, which has {len(part)} parts")
            for key in part if isinstance(part, dict) else builtins.range(len(part)):
                walk(part[key], of[key])
        else:
            found.append(of)

    walk(structure, given)
    return found


def _padded(batch: list[Any], shapes: Any, fills: Any) -> Any:
    plain = not isinstance(batch[0], (tuple, dict))
    each = [shapes] if plain else _per_leaf(batch[0], shapes, lambda x: x is None)
    values = [fills] if plain else _per_leaf(batch[0], fills, lambda x: not isinstance(x, (tuple, list, dict)))
    plan = iter(list(builtins.zip(each, values)))
    return elements.joined(batch, lambda leaves: elements.padded(leaves, *next(plan)))


def _numpy_dtype(dtype: Any) -> np.dtype:
    return dtypes.as_dtype(dtype).numpy


def _typed(value: Any, dtype: Any, shape: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    out = value.astype(_numpy_dtype(dtype), copy=False)
    if shape is not None:
        wanted = tuple(shape)
        if len(wanted) != out.ndim or any(w not in (None, -1, n) for w, n in builtins.zip(wanted, out.shape)):
            raise ShapeError(
                f"from_generator: an element has shape {out.shape}, the signature says {wanted}",
                code="data.signature",
                hint="mend the generator, or put None for axes that vary",
            )
    return out


def _spec(leaf: Any) -> Any:
    seen = elements.shown(leaf)
    return (tuple(seen.shape), seen.dtype) if hasattr(seen, "shape") and hasattr(seen, "dtype") else type(seen)
