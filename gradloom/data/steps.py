"""The steps of a pipeline. Each is run with the place of the run and how many elements to leave out.

A step that only chooses and orders (`rows`) hands out row numbers where its source is arrays, so that a batch is
gathered at once from them.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from typing import Any

import numpy as np

from gradloom.data import elements
from gradloom.data.random import derived, rng
from gradloom.io.files import load, save
from gradloom.random import drawn_from


@dataclass
class Run:
    """One pass: the seed and the number of the pass decide all that is random in it."""

    seed: int
    epoch: int


class Step:
    """Base class. `parents` are the steps before it; `rows` says that it only orders and chooses."""

    rows = False
    tensors = False  # whether the user's function was seen to work on tensors, which only one thread may do

    def __init__(self, *parents: Step) -> None:
        self.parents = parents
        self.number: int = 1 + max((p.number for p in parents), default=0)  # its place, for random numbers of its own

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        """The elements of one pass without the first `skip`."""
        raise NotImplementedError

    def length(self) -> int | None:
        """How many elements a pass has; None: not known; -1: it does not end."""
        return None

    def arrays(self) -> Slices | None:
        """The arrays whose rows this step orders, where that is all it does."""
        return self.parents[0].arrays() if self.rows and len(self.parents) == 1 else None

    def numbers(self, run: Run, skip: int = 0) -> Iterator[Any]:
        """The row numbers instead of the elements; only where `arrays()` is not None."""
        raise NotImplementedError

    def only_here(self) -> bool:
        """Whether this step or one before it works on tensors."""
        return self.tensors or any(p.only_here() for p in self.parents)


class Slices(Step):
    """The rows of arrays of equal length."""

    rows = True

    def __init__(self, structure: Any, size: int) -> None:
        super().__init__()
        self.structure, self.size = structure, size

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        return map(self.row, range(skip, self.size))

    def row(self, index: int) -> Any:
        """One element."""
        return elements.mapped(self.structure, lambda a: elements.as_array(a[index]))

    def gather(self, indices: list[int]) -> Any:
        """Several elements as one batch."""
        if (
            indices
            and indices[-1] - indices[0] == len(indices) - 1
            and indices == list(range(indices[0], indices[-1] + 1))
        ):
            return elements.mapped(self.structure, lambda a: a[indices[0] : indices[-1] + 1].copy())
        return elements.mapped(self.structure, lambda a: np.take(a, indices, axis=0))

    def length(self) -> int | None:
        return self.size

    def arrays(self) -> Slices | None:
        return self

    def numbers(self, run: Run, skip: int = 0) -> Iterator[Any]:
        return iter(range(skip, self.size))


class Source(Step):
    """Whatever can be iterated again and again; `size` None where it is not known."""

    def __init__(self, make: Callable[[], Iterable[Any]], size: int | None = None) -> None:
        super().__init__()
        self.make, self.size = make, size

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        return islice((elements.mapped(e, elements.as_array) for e in self.make()), skip, None)

    def length(self) -> int | None:
        return self.size


class Indexed(Source):
    """A data set with `[index]`: leaving out costs nothing."""

    def __init__(self, dataset: Any) -> None:
        super().__init__(lambda: (dataset[i] for i in range(len(dataset))), len(dataset))
        self.dataset = dataset

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        def sample(index: int) -> Any:
            with drawn_from(derived(run.seed, run.epoch, index, 11)):
                return elements.mapped(self.dataset[index], elements.as_array)

        return map(sample, range(skip, len(self.dataset)))


class Files(Step):
    """The names of the files that fit a pattern, sorted or shuffled."""

    def __init__(self, pattern: str | list[str], shuffle: bool, seed: int | None) -> None:
        super().__init__()
        patterns = [pattern] if isinstance(pattern, str) else list(pattern)
        self.found = sorted(chain.from_iterable(glob.glob(p) for p in patterns))
        if not self.found:
            raise FileNotFoundError(f"list_files: no file fits {patterns}")
        self.shuffle, self.seed = shuffle, seed

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        names = self.found
        if self.shuffle:
            order = rng(run.seed if self.seed is None else self.seed, run.epoch, 12).permutation(len(names))
            names = [names[k] for k in order]
        return islice(iter(names), skip, None)

    def length(self) -> int | None:
        return len(self.found)


class _Ordering(Step):
    """What treats elements and row numbers alike: `order` of an iterator."""

    rows = True

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        slices = self.arrays()
        if slices is not None:
            return map(slices.row, self.numbers(run, skip))
        return self.ordered(self.parents[0].run, run, skip)

    def numbers(self, run: Run, skip: int = 0) -> Iterator[Any]:
        return self.ordered(self.parents[0].numbers, run, skip)

    def ordered(self, before: Callable[[Run, int], Iterator[Any]], run: Run, skip: int) -> Iterator[Any]:
        """The elements, or row numbers, that `before` gives, as this step orders them."""
        raise NotImplementedError


class Shuffle(_Ordering):
    """A buffer from which elements are drawn at random; another order in each pass unless told otherwise."""

    def __init__(self, parent: Step, size: int, seed: int | None, again: bool) -> None:
        super().__init__(parent)
        self.size, self.seed, self.again = size, seed, again

    def ordered(self, before: Callable[[Run, int], Iterator[Any]], run: Run, skip: int) -> Iterator[Any]:
        draw = rng(run.seed if self.seed is None else self.seed, run.epoch if self.again else 0, 100 + self.number)
        total = self.parents[0].length()
        source = before(run, 0)
        if total is not None and 0 <= total <= self.size:  # all of it fits: a plain permutation
            held = list(source)
            return islice((held[k] for k in draw.permutation(len(held)).tolist()), skip, None)
        return islice(self._drawn(source, draw), skip, None)

    def _drawn(self, source: Iterator[Any], draw: np.random.Generator) -> Iterator[Any]:
        buffer = list(islice(source, self.size))
        places: Iterator[int] = iter(())
        for item in source:
            place = next(places, None)
            if place is None:
                places = iter(draw.integers(0, len(buffer), 1024).tolist())
                place = next(places)
            yield buffer[place]
            buffer[place] = item
        yield from (buffer[k] for k in draw.permutation(len(buffer)).tolist())

    def length(self) -> int | None:
        return self.parents[0].length()


class Part(_Ordering):
    """Elements `start`, `start + step`, … before `stop` (None: to the end)."""

    def __init__(self, parent: Step, start: int, stop: int | None, step: int = 1) -> None:
        super().__init__(parent)
        self.start, self.stop, self.step = start, stop, step

    def ordered(self, before: Callable[[Run, int], Iterator[Any]], run: Run, skip: int) -> Iterator[Any]:
        first = self.start + skip * self.step
        if self.stop is not None and first >= self.stop:
            return iter(())
        return islice(before(run, first), 0, None if self.stop is None else self.stop - first, self.step)

    def length(self) -> int | None:
        size = self.parents[0].length()
        if size is None:
            return None
        if size < 0:
            return -1 if self.stop is None else len(range(self.start, self.stop, self.step))
        return len(range(size)[self.start : self.stop : self.step])


class Repeat(_Ordering):
    """All elements again and again, each time another pass of what is before; times None: without end."""

    def __init__(self, parent: Step, times: int | None) -> None:
        super().__init__(parent)
        self.times = times

    def ordered(self, before: Callable[[Run, int], Iterator[Any]], run: Run, skip: int) -> Iterator[Any]:
        size = self.parents[0].length()
        start, skip = divmod(skip, size) if size is not None and size > 0 else (0, skip)
        rounds = count(start) if self.times is None else range(start, self.times)

        def every() -> Iterator[Any]:
            left_out = skip if size is not None else 0
            for number in rounds:
                # a pass of its own number, which no pass of the whole pipeline has
                epoch = run.epoch if number == 0 else derived(run.epoch, number, 13)
                empty = True
                for item in before(replace(run, epoch=epoch), left_out):
                    empty = False
                    yield item
                if empty and not left_out:
                    return  # nothing to repeat
                left_out = 0

        return every() if size is not None else islice(every(), skip, None)

    def length(self) -> int | None:
        size = self.parents[0].length()
        if size in (None, 0):
            return size
        return -1 if self.times is None or size == -1 else size * self.times  # type: ignore[operator]


class Cache(_Ordering):
    """What came in the first whole pass, kept in memory (row numbers, where they tell all), and in a file if wanted."""

    def __init__(self, parent: Step, path: str | None = None) -> None:
        super().__init__(parent)
        self.path = path
        self.kept: list[Any] | None = None
        if path is not None and os.path.exists(path):
            self.kept = [elements.mapped(e, elements.as_array) for e in load(path)["elements"]]

    def arrays(self) -> Slices | None:
        return None if self.path is not None else super().arrays()

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        slices = self.arrays()
        kept = self.ordered(self.parents[0].run if slices is None else self.parents[0].numbers, run, skip)
        return kept if slices is None else map(slices.row, kept)

    def ordered(self, before: Callable[[Run, int], Iterator[Any]], run: Run, skip: int) -> Iterator[Any]:
        if self.kept is not None:
            yield from islice(iter(self.kept), skip, None)
            return
        seen = []
        for place, item in enumerate(before(run, 0)):
            seen.append(item)
            if place >= skip:
                yield item
        self.kept = seen
        if self.path is not None:
            save({"elements": seen}, self.path)

    def length(self) -> int | None:
        return self.parents[0].length() if self.kept is None else len(self.kept)


class Concatenate(Step):
    """The elements of several steps, one step after the other."""

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        for parent in self.parents:
            size = parent.length()
            if size is not None and 0 <= size <= skip:
                skip -= size
                continue
            if size is None and skip:
                for item in parent.run(run):
                    if skip:
                        skip -= 1
                    else:
                        yield item
                continue
            yield from parent.run(run, skip)
            skip = 0

    def length(self) -> int | None:
        sizes = [p.length() for p in self.parents]
        return -1 if -1 in sizes else None if None in sizes else sum(sizes)  # type: ignore[arg-type]


class Zip(Step):
    """Tuples of one element of each step, as many as the shortest has."""

    def __init__(self, *parents: Step, pack: Callable[[tuple[Any, ...]], Any] = tuple) -> None:
        super().__init__(*parents)
        self.pack = pack

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        return map(self.pack, zip(*(p.run(run, skip) for p in self.parents)))

    def length(self) -> int | None:
        sizes = [p.length() for p in self.parents]
        if None in sizes:
            return None
        return min((n for n in sizes if n is not None and n >= 0), default=-1)


class Number(Step):
    """Pairs of a running number and the element."""

    def __init__(self, parent: Step, start: int) -> None:
        super().__init__(parent)
        self.start = start

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        numbers = map(np.int64, count(self.start + skip))
        return zip(map(np.asarray, numbers), self.parents[0].run(run, skip))

    def length(self) -> int | None:
        return self.parents[0].length()


class Cut(Step):
    """Elements along the first axis of each element."""

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        slices = (Slices(e, len(elements.leaves(e)[0])) for e in self.parents[0].run(run))
        return islice(chain.from_iterable(s.run(run) for s in slices), skip, None)


class Mixed(Step):
    """Elements drawn from several steps with given chances, until one of those drawn from has no more (or all)."""

    def __init__(self, parents: list[Step], weights: list[float], seed: int | None, stop: bool) -> None:
        super().__init__(*parents)
        self.weights, self.seed, self.stop = np.asarray(weights, np.float64), seed, stop

    def run(self, run: Run, skip: int = 0) -> Iterator[Any]:
        return islice(self._mixed(run), skip, None)

    def _mixed(self, run: Run) -> Iterator[Any]:
        draw = rng(run.seed if self.seed is None else self.seed, run.epoch, 300 + self.number)
        sources, chances = [p.run(run) for p in self.parents], self.weights.copy()
        end = object()
        while chances.sum() > 0:
            which = int(draw.choice(len(sources), p=chances / chances.sum()))
            item = next(sources[which], end)
            if item is not end:
                yield item
            elif self.stop:
                return
            else:
                chances[which] = 0.0
