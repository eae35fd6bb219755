"""The workers of a loader: threads, or processes on request. Each has its own queue of tasks; results come back in one.

A task is (round, number, epoch, indices), a result (round, number, worker, done, data). Rounds tell the results of an
iteration that was broken off from those of the next one.
"""

from __future__ import annotations

import contextlib
import queue
import random
import threading
import time
import weakref
from typing import Any

import numpy as np

from gradloom.data.fetch import Job, Reader
from gradloom.data.random import derived
from gradloom.data.transfer import Failure, Folder, pack, unpack

LOOK = 0.5  # seconds between two looks at whether the workers live


class Threads:
    """Worker threads: they share memory with the caller, and Python's lock."""

    def __init__(self, job: Job, count: int) -> None:
        self.results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.queues: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue() for _ in range(count)]
        for number, tasks in enumerate(self.queues):
            work = threading.Thread(
                target=_in_thread,
                args=(job, number, tasks, self.results),
                name=f"gradloom-loader-{number}",
                daemon=True,
            )
            work.start()
        self._close = weakref.finalize(self, _end, self.queues)

    def put(self, worker: int, task: tuple[Any, ...]) -> None:
        """Give a task to a worker."""
        self.queues[worker].put(task)

    def get(self, timeout: float | None) -> tuple[Any, ...]:
        """The next result. Raises queue.Empty after `timeout` seconds."""
        return self.results.get(timeout=timeout)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Let the workers end after the task that they are at."""
        self._close()


def _end(queues: list[Any]) -> None:
    for tasks in queues:
        with contextlib.suppress(queue.Empty):
            while True:  # what is still waiting is wanted no more
                tasks.get_nowait()
        tasks.put(None)


def _in_thread(job: Job, number: int, tasks: Any, results: Any) -> None:
    reader, trouble = Reader(job, number), None
    try:
        job.start(number)
    except BaseException as error:
        trouble = error
    while (task := tasks.get()) is not None:
        round, place, epoch, indices = task
        try:
            if trouble is not None:
                raise trouble
            results.put((round, place, number, True, reader.read(epoch, place, indices)))
        except BaseException as error:
            results.put((round, place, number, False, error))


class Processes:
    """Worker processes: they share nothing, so that data sets written in Python use every core."""

    def __init__(self, job: Job, count: int, context: Any) -> None:
        self.folder = Folder()
        self.results = context.Queue()
        self.queues = [context.Queue() for _ in range(count)]
        self.processes = [
            context.Process(
                target=_in_process,
                args=(job, number, tasks, self.results, self.folder.path),
                name=f"gradloom-loader-{number}",
                daemon=True,
            )
            for number, tasks in enumerate(self.queues)
        ]
        for process in self.processes:
            process.start()
        self._close = weakref.finalize(self, _stop, self.queues, self.results, self.processes)

    def put(self, worker: int, task: tuple[Any, ...]) -> None:
        """Give a task to a worker."""
        self.queues[worker].put(task)

    def get(self, timeout: float | None) -> tuple[Any, ...]:
        """The next result. Raises queue.Empty after `timeout` seconds, and RuntimeError where a worker is dead."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            left = LOOK if until is None else min(LOOK, max(until - time.monotonic(), 0.0))
            try:
                round, place, number, done, data = self.results.get(timeout=left)
            except queue.Empty:
                self._look()
                if until is not None and time.monotonic() >= until:
                    raise
                continue
            return round, place, number, done, unpack(data) if done else data.again()

    def _look(self) -> None:
        for number, process in enumerate(self.processes):
            if not process.is_alive():
                code = process.exitcode
                why = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"
                raise RuntimeError(
                    f"worker process {number} (pid {process.pid}) {why} before its batch was done; "
                    "signal 9 often means that memory ran out: fewer workers or smaller batches need less"
                )

    def close(self) -> None:
        """End the workers; one in the middle of a task is ended too."""
        self._close()
        self.folder.remove()


def _stop(queues: list[Any], results: Any, processes: list[Any]) -> None:
    for tasks in queues:
        with contextlib.suppress(Exception):
            tasks.put(None)
    deadline = time.monotonic() + 1.0
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.terminate()
            process.join()
    for q in [*queues, results]:
        q.cancel_join_thread()
        q.close()


def _in_process(job: Job, number: int, tasks: Any, results: Any, folder: str) -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle; it ends its workers
    from gradloom.runtime.threads import set_num_threads

    set_num_threads(1)  # the cores are for the workers
    reader, trouble = Reader(job, number), None
    try:
        _seed_all(derived(job.seed, number, 6))
        job.start(number)
    except BaseException as error:
        trouble = error
    while (task := tasks.get()) is not None:
        round, place, epoch, indices = task
        try:
            if trouble is not None:
                raise trouble
            # Python's and NumPy's own generators, which data sets often use: decided by the batch, not by the worker
            _seed_all(derived(job.seed, epoch, place, 7))
            found = reader.read(epoch, place, indices)
            if job.collate_fn is not None and found is not None and not isinstance(found, str):
                found = job.collate_fn(found)
            results.put((round, place, number, True, pack(found, folder)))
        except BaseException as error:
            results.put((round, place, number, False, Failure.of(error, number)))


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
