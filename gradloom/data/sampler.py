"""Samplers: in which order a loader visits the samples, and how it groups them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from gradloom.data.random import permutation, rng, seed_of


class Sampler:
    """Base class: `__iter__` gives indices; `set_epoch` is called by the loader before each pass."""

    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next pass takes."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} has no __iter__")


class SequentialSampler(Sampler):
    """0, 1, 2, ..."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def order(self) -> np.ndarray:
        """All indices of a pass."""
        return np.arange(len(self.data_source))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """A random order, another one in each epoch.

    Parameters
    ----------
    data_source : Dataset
    replacement : bool
        Whether a sample may come more than once.
    num_samples : int, optional
        How many to draw; the length of the data set if not given.
    generator : Generator or int, optional
        Whose seed is used.
    """

    def __init__(
        self, data_source: Any, replacement: bool = False, num_samples: int | None = None, generator: Any = None
    ) -> None:
        self.data_source, self.replacement, self._count, self.generator = (
            data_source,
            replacement,
            num_samples,
            generator,
        )
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement must be a bool, got {replacement!r}")
        if num_samples is not None and num_samples <= 0:
            raise ValueError(f"num_samples must be positive, got {num_samples}")

    @property
    def num_samples(self) -> int:
        """How many indices a pass gives."""
        return len(self.data_source) if self._count is None else self._count

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def order(self) -> np.ndarray:
        """All indices of a pass."""
        size, seed = len(self.data_source), seed_of(self.generator)
        if self.replacement:
            return rng(seed, self.epoch).integers(0, size, self.num_samples)
        rounds = -(-self.num_samples // size) if size else 0
        drawn = [permutation(size, seed, self.epoch, stream) for stream in range(0, 2 * rounds, 2)]
        return np.concatenate(drawn)[: self.num_samples] if drawn else np.arange(0)

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """Given indices in a random order."""

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        order = permutation(len(self.indices), seed_of(self.generator), self.epoch)
        return (self.indices[i] for i in order.tolist())

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """Indices drawn with probabilities in proportion to weights."""

    def __init__(
        self, weights: Sequence[float], num_samples: int, replacement: bool = True, generator: Any = None
    ) -> None:
        self.weights = np.asarray(weights, np.float64)
        if self.weights.ndim != 1 or not (self.weights >= 0).all() or not self.weights.sum() > 0:
            raise ValueError("weights is a vector of numbers that are not negative, and not all zero")
        if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
            raise ValueError(f"num_samples must be a positive integer, got {num_samples!r}")
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __iter__(self) -> Iterator[int]:
        draw = rng(seed_of(self.generator), self.epoch)
        chances = self.weights / self.weights.sum()
        return iter(draw.choice(len(chances), self.num_samples, self.replacement, chances).tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """Lists of `batch_size` indices from another sampler; the last, shorter one is left out with `drop_last`."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, (int, np.integer)) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(f"batch_size must be a positive integer, got {batch_size!r}")
        self.sampler, self.batch_size, self.drop_last = sampler, int(batch_size), drop_last

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on."""
        self.epoch = epoch
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)  # which may never end
        while batch := list(islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def arrays(self) -> Iterator[np.ndarray] | None:
        """The batches as parts of one array, where the whole order is known beforehand and nobody's own; else None."""
        if type(self) is not BatchSampler or type(self.sampler) not in (SequentialSampler, RandomSampler):
            return None
        order, size = self.sampler.order(), self.batch_size  # type: ignore[attr-defined]
        end = len(order) // size * size if self.drop_last else len(order)
        return (order[start : start + size] for start in range(0, end, size))

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)


class DistributedSampler(Sampler):
    """The part of a data set that one of several processes reads; all parts are equally long.

    Parameters
    ----------
    dataset : Dataset
    num_replicas, rank : int
        How many processes there are, and which of them this is.
    shuffle : bool
        A new random order each epoch, the same in all processes; call `set_epoch` before each.
    seed : int
        The same in all processes.
    drop_last : bool
        Leave out what does not divide evenly; otherwise the first samples come again.
    """

    def __init__(
        self, dataset: Any, num_replicas: int | None = None, rank: int | None = None, shuffle: bool = True,
        seed: int = 0, drop_last: bool = False,
    ) -> None:  # fmt: skip
        if num_replicas is None or rank is None:
            raise RuntimeError(
                "Requires distributed package to be available: there is no process group to ask, "
                "so give num_replicas and rank"
            )
        if not 0 <= rank < num_replicas:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset, self.num_replicas, self.rank = dataset, num_replicas, rank
        self.shuffle, self.seed, self.drop_last = shuffle, seed, drop_last
        size = len(dataset)
        self.num_samples = size // num_replicas if drop_last else -(-size // num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        size = len(self.dataset)
        order = permutation(size, self.seed, self.epoch) if self.shuffle else np.arange(size)
        return iter(np.resize(order, self.total_size)[self.rank :: self.num_replicas].tolist())

    def __len__(self) -> int:
        return self.num_samples


class BalancedSampler(Sampler):
    """Indices drawn so that every class comes equally often, whatever the imbalance of the data.

    Each pass goes through the classes in a random order again and again; within a class the samples come in a random
    order, all of them before any comes again.

    Parameters
    ----------
    labels : sequence of int or str
        The class of each sample.
    num_samples : int, optional
        How many indices a pass gives; as many as there are samples unless given.
    generator : Generator or int, optional
        Whose seed is used.
    """

    def __init__(self, labels: Sequence[Any], num_samples: int | None = None, generator: Any = None) -> None:
        array = np.asarray(labels)
        if array.ndim != 1 or not len(array):
            raise ValueError(f"labels is a vector with the class of each sample, got shape {array.shape}")
        self.classes, which = np.unique(array, return_inverse=True)
        self.members = [np.flatnonzero(which == k) for k in range(len(self.classes))]
        self.num_samples = len(array) if num_samples is None else int(num_samples)
        if self.num_samples <= 0:
            raise ValueError(f"num_samples must be positive, got {num_samples}")
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        draw = rng(seed_of(self.generator), self.epoch)
        rounds = -(-self.num_samples // len(self.classes))
        columns = []
        for members in self.members:
            passes = [draw.permutation(members) for _ in range(-(-rounds // len(members)))]
            columns.append(np.concatenate(passes)[:rounds])
        rows = draw.permuted(np.stack(columns, 1), axis=1)
        return iter(rows.reshape(-1)[: self.num_samples].tolist())

    def __len__(self) -> int:
        return self.num_samples


class BucketBatchSampler(Sampler):
    """Batches of samples of similar length, so that little is padded.

    The samples are shuffled, cut into pools, each pool sorted by length and cut into batches, the batches shuffled.

    Parameters
    ----------
    lengths : sequence of int
        The length of each sample.
    batch_size : int
        Samples of a batch.
    max_tokens : int, optional
        A batch is also closed before its longest length times its number of samples exceeds this.
    pool : int
        Batches of a pool: more make lengths more alike, fewer the order more random.
    shuffle, drop_last, generator
        As in `DataLoader`; without `shuffle` all samples are one pool, from short to long.
    """

    def __init__(
        self, lengths: Sequence[int], batch_size: int, max_tokens: int | None = None, pool: int = 50,
        shuffle: bool = True, drop_last: bool = False, generator: Any = None,
    ) -> None:  # fmt: skip
        self.lengths = np.asarray(lengths)
        if self.lengths.ndim != 1 or (len(self.lengths) and int(self.lengths.min()) < 0):
            raise ValueError("lengths is a vector of numbers that are not negative")
        if batch_size <= 0 or pool <= 0:
            raise ValueError(f"batch_size and pool must be positive, got {batch_size} and {pool}")
        longest = int(self.lengths.max(initial=0))
        if max_tokens is not None and longest > max_tokens:
            raise ValueError(f"max_tokens={max_tokens} is less than the longest sample, {longest}")
        self.batch_size, self.max_tokens, self.pool = int(batch_size), max_tokens, int(pool)
        self.shuffle, self.drop_last, self.generator = shuffle, drop_last, generator
        self._known: tuple[Any, list[list[int]]] | None = None

    def _batches(self) -> list[list[int]]:
        seed = seed_of(self.generator)
        key = (seed, self.epoch)
        if self._known is not None and self._known[0] == key:
            return self._known[1]
        draw = rng(seed, self.epoch)
        size = len(self.lengths)
        order = draw.permutation(size) if self.shuffle else np.arange(size)
        step = self.batch_size * self.pool if self.shuffle else max(size, 1)
        batches: list[list[int]] = []
        for start in range(0, size, step):
            part = order[start : start + step]
            batch: list[int] = []
            for index in part[np.argsort(self.lengths[part], kind="stable")].tolist():
                tokens = int(self.lengths[index]) * (len(batch) + 1)  # sorted: this one is the longest
                full = len(batch) == self.batch_size or (self.max_tokens is not None and tokens > self.max_tokens)
                if batch and full:
                    batches.append(batch)
                    batch = []
                batch.append(index)
            if batch and not (self.drop_last and len(batch) < self.batch_size):
                batches.append(batch)
        if self.shuffle:
            batches = [batches[k] for k in draw.permutation(len(batches))]
        self._known = key, batches
        return batches

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches())

    def __len__(self) -> int:
        return len(self._batches())
