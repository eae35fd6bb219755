"""DataLoader: batches from a data set, in an order that seed and epoch alone decide."""

from __future__ import annotations

import queue
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from itertools import count, islice
from typing import Any

import numpy as np

from gradloom.data.dataset import IterableDataset, Subset, TensorDataset
from gradloom.data.fetch import END, Job, Reader
from gradloom.data.random import seed_of
from gradloom.data.sampler import BatchSampler, RandomSampler, SequentialSampler
from gradloom.data.workers import Processes, Threads
from gradloom.tensor import from_numpy


class DataLoader:
    """Iterate over the batches of a data set.

    A `TensorDataset`, or a `Subset` of one, is gathered whole batches at a time. Other data sets are asked for one
    sample after the other (all at once, where they have `__getitems__`), by `num_workers` workers if there are any; the
    batches come in the same order either way, and an error inside of a worker is raised here where its batch is due.

    What the default generator gives while batch k of an epoch is read depends on seed, epoch and k alone, so random
    transforms draw the same numbers with any number of workers.

    Parameters
    ----------
    dataset : Dataset or IterableDataset
    batch_size : int or None
        None hands out single samples, not collated.
    shuffle : bool
        A new random order each epoch, drawn from the seed and the number of the epoch.
    sampler : iterable of int, optional
        Gives the order instead.
    batch_sampler : iterable of list of int, optional
        Gives whole batches of indices instead.
    num_workers : int
        Workers that fetch and stack samples; 0: the caller's thread.
    collate_fn : callable, optional
        Makes a batch of a list of samples (of one sample where `batch_size` is None).
    pin_memory : bool
        Accepted for programs that say it; there is a warning, since no device here copies faster from pinned memory.
    drop_last : bool
        Leave out a last batch that is not full.
    timeout : float
        Seconds that a batch of a worker may take; 0: any time.
    worker_init_fn : callable, optional
        Called in each worker with its number before its first batch.
    multiprocessing_context : None, str or context
        None: workers are threads, which suits what releases Python's lock (reading files, NumPy, Pillow). "fork",
        "spawn", "forkserver", or a context of `multiprocessing`: workers are processes; they suit transforms written
        in Python, and those made of tensor operations.
    generator : Generator or int, optional
        Whose seed is used; otherwise the global seed.
    prefetch_factor : int, optional
        Batches that each worker prepares ahead; 2 unless given.
    persistent_workers : bool
        Keep the workers from one epoch to the next.
    in_order : bool
        False: hand out what is ready first; the order then depends on timing.

    Notes
    -----
    `state_dict()` tells where the loader stands; with it loaded, the next iteration goes on after the last batch that
    was handed out, in the same order. Iterations that were broken off count as epochs.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = False,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        if num_workers < 0:
            raise ValueError(f"num_workers must not be negative, got {num_workers}")
        if timeout < 0:
            raise ValueError(f"timeout must not be negative, got {timeout}")
        if num_workers == 0:
            for name, value in (
                ("prefetch_factor", prefetch_factor), ("timeout", timeout), ("persistent_workers", persistent_workers),
                ("multiprocessing_context", multiprocessing_context),
            ):  # fmt: skip
                if value:
                    raise ValueError(
                        f"{name}={value!r} is about workers, and num_workers is 0: give some, or leave it out"
                    )
        if prefetch_factor is not None and prefetch_factor < 1:
            raise ValueError(f"prefetch_factor must be at least 1, got {prefetch_factor}")
        if sampler is not None and shuffle:
            raise ValueError("give either a sampler or shuffle=True")
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise ValueError("batch_sampler decides on batch_size, shuffle, sampler and drop_last: give none of them")
        self._stream = isinstance(dataset, IterableDataset)
        if self._stream and (shuffle or sampler is not None or batch_sampler is not None):
            raise ValueError("an IterableDataset gives its own order: no shuffle, sampler or batch_sampler")
        if batch_size is None and drop_last:
            raise ValueError("drop_last needs a batch_size")
        if pin_memory:
            warnings.warn("pin_memory changes nothing here: the tensors stay in the processor's memory", stacklevel=2)
        self.dataset, self.num_workers, self.drop_last, self.generator = dataset, num_workers, drop_last, generator
        self.batch_size = None if batch_sampler is not None else batch_size
        self.collate_fn, self.timeout, self.worker_init_fn = collate_fn, timeout, worker_init_fn
        self.pin_memory, self.pin_memory_device, self.in_order = pin_memory, pin_memory_device, in_order
        self.prefetch_factor = (2 if prefetch_factor is None else prefetch_factor) if num_workers else None
        self.persistent_workers = persistent_workers
        if isinstance(multiprocessing_context, str):
            import multiprocessing

            multiprocessing_context = multiprocessing.get_context(multiprocessing_context)
        self.multiprocessing_context = multiprocessing_context
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
        self._kept: tuple[Job, Threads | Processes] | None = None  # persistent workers, and what they were made for
        self._round = 0

    def initial_seed(self) -> int:
        """The seed that the order is drawn from: of the loaded state, the generator, or the global one."""
        return seed_of(self.generator) if self._seed is None else self._seed

    def __len__(self) -> int:
        """The number of batches. Raises TypeError for a stream without length."""
        if self._stream:
            samples = len(self.dataset)
            if self.batch_size is None:
                return samples
            return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)
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
        return self._numbered(self._batches(epoch, skip), epoch, skip)

    def _numbered(self, batches: Iterator[Any], epoch: int, skip: int) -> Iterator[Any]:
        """Hand out the batches and keep note of the place, for `state_dict`."""
        for done, batch in enumerate(batches, skip + 1):
            self._place = (epoch, done)
            yield batch
        if self._place is not None and self._place[0] == epoch:
            self._place = None

    def _job(self) -> Job:
        single = self.batch_sampler is None
        kind = ("stream" if single else "stream batches") if self._stream else "samples" if single else "batches"
        gather = _gather(self.dataset) if kind == "batches" and self.collate_fn is None else None
        return Job(
            self.dataset, kind, self.collate_fn, self.batch_size, self.drop_last, self.initial_seed(),
            self.num_workers, self.worker_init_fn, gather,
        )  # fmt: skip

    def _batches(self, epoch: int, skip: int) -> Iterator[Any]:
        job = self._job()
        tasks: Iterator[tuple[int, Any]]
        if self._stream:
            tasks = ((number, None) for number in count())
        else:
            order: Any = self.sampler if self.batch_sampler is None else self.batch_sampler
            if job.gather is not None and isinstance(order, BatchSampler):
                order = order.arrays() or order
            tasks = islice(enumerate(order), skip, None)  # type: ignore[arg-type]
        if self.num_workers == 0 or job.gather is not None:
            batches = self._here(job, epoch, tasks)
        else:
            batches = self._by_workers(job, epoch, tasks)
        return islice(batches, skip, None) if self._stream else batches

    def _here(self, job: Job, epoch: int, tasks: Iterator[tuple[int, Any]]) -> Iterator[Any]:
        reader = Reader(job)
        for number, indices in tasks:
            found = reader.read(epoch, number, indices)
            if found is END:
                return
            yield job.collate(found)

    def _by_workers(self, job: Job, epoch: int, tasks: Iterator[tuple[int, Any]]) -> Iterator[Any]:
        workers = self._workers(job)
        collated = isinstance(workers, Processes) and job.collate_fn is not None
        self._round += 1
        round, ahead = self._round, self.num_workers * (self.prefetch_factor or 1)
        alive = list(range(self.num_workers))  # all but the workers whose stream has ended
        arrived: dict[int, Any] = {}
        waiting: dict[int, int] = {}  # number of a batch to its worker, in the order of the numbers
        last = -1  # the worker that was given a task last; they take turns
        try:
            while True:
                while alive and len(waiting) < ahead and (task := next(tasks, None)) is not None:
                    last = next((w for w in alive if w > last), alive[0])
                    waiting[task[0]] = last
                    workers.put(last, (round, task[0], epoch, task[1]))
                if not waiting:
                    return
                first = next(iter(waiting))
                while first not in arrived:
                    try:
                        of, number, worker, done, found = workers.get(self.timeout or None)
                    except queue.Empty:
                        raise RuntimeError(
                            f"DataLoader: no batch came within timeout={self.timeout} seconds; "
                            "a worker hangs, or the timeout is too short"
                        ) from None
                    if of != round:  # of an iteration that was broken off
                        continue
                    arrived[number] = (done, found)
                    if not self.in_order:
                        first = number
                done, found = arrived.pop(first)
                worker = waiting.pop(first)
                if not done:
                    raise found
                if isinstance(found, str) and found == END:
                    if worker in alive:
                        alive.remove(worker)
                    continue
                yield found if collated else job.collate(found)
        except Exception:
            self._kept = None  # workers that failed are not used again
            raise
        finally:
            if self._kept is None:
                workers.close()

    def _workers(self, job: Job) -> Threads | Processes:
        if self._kept is not None:
            before, workers = self._kept
            if all(getattr(before, f.name) is getattr(job, f.name) for f in fields(Job) if f.name != "seed") and (
                before.seed == job.seed
            ):
                return workers
            workers.close()
            self._kept = None
        context = self.multiprocessing_context
        made = Threads(job, self.num_workers) if context is None else Processes(job, self.num_workers, context)
        if self.persistent_workers:
            self._kept = job, made
        return made


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
