"""What is done for one batch: samples asked for and put together, all randomness decided by the batch's place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from gradloom.data.collate import default_convert, stack
from gradloom.data.random import derived
from gradloom.random import drawn_from

END = "end of the stream"  # in the place of a batch; compared by identity in one process, by value between two


@dataclass
class WorkerInfo:
    """What a data set may ask about the worker that reads it: see :func:`get_worker_info`."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


class _Here(threading.local):
    info: WorkerInfo | None = None


_here = _Here()


def get_worker_info() -> WorkerInfo | None:
    """Which worker (`id` of `num_workers`) reads the data set just now; None in the caller's own thread.

    A stream read by several workers uses it to give each its part: otherwise every worker gives all of it.
    """
    return _here.info


@dataclass
class Job:
    """How the batches of a loader are made; may be sent to another process.

    dataset: with `[index]`, or a stream.
    kind: "samples" (single ones), "batches" (lists of indices), "stream" (single ones), "stream batches".
    collate_fn: the user's; None for the default.
    gather: a function from indices to a finished batch, for data in memory.
    """

    dataset: Any
    kind: str
    collate_fn: Callable[[Any], Any] | None
    batch_size: int | None
    drop_last: bool
    seed: int
    num_workers: int = 0
    worker_init_fn: Callable[[int], Any] | None = None
    gather: Callable[[Any], Any] | None = None

    def collate(self, samples: Any) -> Any:
        """The last step, which may make tensors; threads leave it to the thread that asked for the batch."""
        if self.gather is not None:
            return samples
        if self.collate_fn is not None:
            return self.collate_fn(samples)
        # the samples of a batch are stacked by NumPy where they were read; here arrays become tensors
        return default_convert(samples)

    def samples(self, epoch: int, number: int, indices: Any) -> Any:
        """What batch `number` is made of: for the default collation already stacked."""
        if self.gather is not None:
            return self.gather(indices)
        with drawn_from(derived(self.seed, epoch, number, 2)):
            if self.kind == "samples":
                return self.dataset[indices]
            many = getattr(self.dataset, "__getitems__", None)
            found = many(indices) if callable(many) else [self.dataset[i] for i in indices]
            return found if self.collate_fn is not None else stack(found)

    def start(self, worker: int) -> None:
        """To be called in a worker before its first batch."""
        seed = derived(self.seed, worker, 3)
        _here.info = WorkerInfo(worker, self.num_workers, seed, self.dataset)
        if self.worker_init_fn is not None:
            with drawn_from(seed):
                self.worker_init_fn(worker)


class Reader:
    """Runs the tasks of a job, in one thread or process. A stream is begun anew for each epoch."""

    def __init__(self, job: Job, worker: int = 0) -> None:
        self.job, self.worker = job, worker
        self.epoch: int | None = None
        self.stream: Iterator[Any] = iter(())
        self.count = 0

    def read(self, epoch: int, number: int, indices: Any) -> Any:
        """The samples of one batch, or END."""
        job = self.job
        if not job.kind.startswith("stream"):
            return job.samples(epoch, number, indices)
        if epoch != self.epoch:
            self.epoch, self.count = epoch, 0
            if hasattr(job.dataset, "set_epoch"):
                job.dataset.set_epoch(epoch)
            with drawn_from(derived(job.seed, epoch, self.worker, 4)):
                self.stream = iter(job.dataset)
        # by the worker's own count: the numbers of batches depend on when other workers' streams end
        with drawn_from(derived(job.seed, epoch, self.worker, self.count, 5)):
            self.count += 1
            if job.kind == "stream":
                return next(self.stream, END)
            batch = list(islice(self.stream, job.batch_size))
            if not batch or (job.drop_last and len(batch) < (job.batch_size or 0)):
                return END
            return batch if job.collate_fn is not None else stack(batch)
