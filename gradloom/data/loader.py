"""DataLoader: batches from a data set, in an order that seed and epoch alone decide."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from gradloom.data.collate import default_collate, stack, wrap
from gradloom.data.dataset import IterableDataset, Subset, TensorDataset
from gradloom.data.random import seed_of
from gradloom.data.sampler import BatchSampler, RandomSampler, SequentialSampler
from gradloom.tensor import from_numpy

_AHEAD = 2  # batches that each worker prepares beyond the one asked for


class DataLoader:
    """Iterate over the batches of a data set.

    A `TensorDataset`, or a `Subset` of one, is gathered whole batches at a time. Other data sets are asked for one
    sample after the other, by `num_workers` threads if there are any; the batches come in the same order either way,
    and an error inside of a worker is raised here, as it is, where its batch is due.

    Parameters
    ----------
    dataset : Dataset
    batch_size : int or None
        None hands out single samples, not collated.
    shuffle : bool
        A new random order each epoch, drawn from the seed and the number of the epoch.
    sampler : iterable of int, optional
        Gives the order instead.
    batch_sampler : iterable of list of int, optional
        Gives whole batches of indices instead.
    num_workers : int
        Threads that fetch and stack samples; 0: the caller's.
    collate_fn : callable, optional
        Makes a batch of a list of samples.
    drop_last : bool
        Leave out a last batch that is not full.
    generator : Generator or int, optional
        Whose seed is used; otherwise the global seed.

    Notes
    -----
    `state_dict()` tells where the loader stands; with it loaded, the next iteration goes on after the last batch that
    was handed out, in the same order. Iterations that were broken off count as epochs.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool = False,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        drop_last: bool = False,
        generator: Any = None,
    ) -> None:
        if num_workers < 0:
            raise ValueError(f"num_workers must not be negative, got {num_workers}")
        if sampler is not None and shuffle:
            raise ValueError("give either a sampler or shuffle=True")
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise ValueError("batch_sampler decides on batch_size, shuffle, sampler and drop_last: give none of them")
        self._stream = isinstance(dataset, IterableDataset)
        if self._stream and (shuffle or sampler is not None or batch_sampler is not None):
            raise ValueError("an IterableDataset gives its own order: no shuffle, sampler or batch_sampler")
        if self._stream and num_workers:
            raise ValueError("an IterableDataset is read by the caller's thread: num_workers must be 0")
        if batch_size is None and drop_last:
            raise ValueError("drop_last needs a batch_size")
        self.dataset, self.num_workers, self.drop_last, self.generator = dataset, num_workers, drop_last, generator
        self.batch_size = None if batch_sampler is not None else batch_size
        self.collate_fn = collate_fn
        if self._stream:
            self.sampler = None
        elif sampler is not None:
            self.sampler = sampler
        else:
            self.sampler = RandomSampler(dataset, generator=self) if shuffle else SequentialSampler(dataset)
        self.batch_sampler = batch_sampler
        if batch_sampler is None and batch_size is not None:
            # for a stream only the check of batch_size is wanted
            self.batch_sampler = BatchSampler(self.sampler or (), batch_size, drop_last)
        self._seed: int | None = None  # of a loaded state
        self._epoch = 0  # of the next iteration
        self._skip = 0  # batches that the next iteration leaves out
        self._place: tuple[int, int] | None = None  # epoch and batches handed out of the running iteration

    def initial_seed(self) -> int:
        """The seed that the order is drawn from: of the loaded state, the generator, or the global one."""
        return seed_of(self.generator) if self._seed is None else self._seed

    def __len__(self) -> int:
        """The number of batches. Raises TypeError for a stream without length."""
        if self._stream:
            count = len(self.dataset)
            if self.batch_size is None:
                return count
            return count // self.batch_size if self.drop_last else -(-count // self.batch_size)
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, int]:
        """Seed, epoch, and how many batches of it were handed out."""
        epoch, batch = (self._epoch, self._skip) if self._place is None else self._place
        return {"seed": self.initial_seed(), "epoch": epoch, "batch": batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration go on where `state_dict()` was taken."""
        self._seed, self._epoch, self._skip = int(state["seed"]), int(state["epoch"]), int(state["batch"])
        self._place = None

    def __iter__(self) -> Iterator[Any]:
        epoch, skip = self._epoch, self._skip
        self._epoch, self._skip, self._place = epoch + 1, 0, (epoch, skip)
        for order in (self.batch_sampler, self.sampler):
            if hasattr(order, "set_epoch"):
                order.set_epoch(epoch)  # type: ignore[union-attr]
                break
        return self._numbered(self._batches(skip), epoch, skip)

    def _numbered(self, batches: Iterator[Any], epoch: int, skip: int) -> Iterator[Any]:
        """Hand out the batches and keep note of the place, for `state_dict`."""
        count = skip
        for batch in batches:
            count += 1
            self._place = (epoch, count)
            yield batch
        if self._place is not None and self._place[0] == epoch:
            self._place = None

    def _batches(self, skip: int) -> Iterator[Any]:
        if self._stream:
            return islice(self._stream_batches(), skip, None)
        indices = iter(self.sampler if self.batch_sampler is None else self.batch_sampler)  # type: ignore[arg-type]
        indices = islice(indices, skip, None)
        if self.batch_sampler is None:
            collate = self.collate_fn or (lambda sample: sample)
            return self._fetched(indices, lambda index: self.dataset[index], collate)
        if self.collate_fn is not None:
            return self._fetched(indices, lambda batch: [self.dataset[i] for i in batch], self.collate_fn)
        gather = _gather(self.dataset)
        if gather is not None:
            return map(gather, indices)  # type: ignore[arg-type]
        return self._fetched(indices, lambda batch: stack([self.dataset[i] for i in batch]), wrap)

    def _fetched(
        self, indices: Iterator[Any], fetch: Callable[[Any], Any], finish: Callable[[Any], Any]
    ) -> Iterator[Any]:
        """`finish(fetch(index))` for each index; `fetch` in worker threads, some batches ahead, where there are any."""
        if not self.num_workers:
            for index in indices:
                yield finish(fetch(index))
            return
        from concurrent.futures import Future, ThreadPoolExecutor

        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="gradloom-loader")
        waiting: deque[Future[Any]] = deque(pool.submit(fetch, i) for i in islice(indices, self.num_workers * _AHEAD))
        try:
            while waiting:
                ready = waiting.popleft().result()
                waiting.extend(pool.submit(fetch, index) for index in islice(indices, 1))
                yield finish(ready)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _stream_batches(self) -> Iterator[Any]:
        samples = iter(self.dataset)
        if self.batch_size is None:
            yield from samples if self.collate_fn is None else map(self.collate_fn, samples)
            return
        collate = self.collate_fn or default_collate
        while batch := list(islice(samples, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield collate(batch)


def _gather(dataset: Any) -> Callable[[list[int]], list[Any]] | None:
    """A function from indices to a batch, for tensors that lie in memory; None for any other data set."""
    picks: list[np.ndarray] = []
    while type(dataset) is Subset:
        picks.append(np.asarray(dataset.indices))
        dataset = dataset.dataset
    if type(dataset) is not TensorDataset:
        return None
    arrays = [t.detach().numpy() for t in dataset.tensors]

    def gather(batch: list[int]) -> list[Any]:
        where = np.asarray(batch)
        for pick in picks:
            where = pick[where]
        # take makes a fresh array, which the tensor then owns
        return [from_numpy(np.take(array, where, axis=0)) for array in arrays]

    return gather
