"""Python's ``multiprocessing`` under PyTorch's name, and :func:`spawn`.

Tensors go through queues, pipes and pools as copies; memory is not shared between processes
(``Tensor.share_memory_`` says so).
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradloom.errors import ArgumentError

__all__ = [
    *multiprocessing.__all__,
    "ProcessContext",
    "ProcessException",
    "ProcessExitedException",
    "ProcessRaisedException",
    "get_all_sharing_strategies",
    "get_sharing_strategy",
    "set_sharing_strategy",
    "spawn",
    "start_processes",
]

globals().update({name: getattr(multiprocessing, name) for name in multiprocessing.__all__})


_sharing = "file_descriptor"


def get_all_sharing_strategies() -> set[str]:
    """The names that :func:`set_sharing_strategy` takes."""
    return {"file_descriptor", "file_system"}


def get_sharing_strategy() -> str:
    """The name that was set last."""
    return _sharing


def set_sharing_strategy(new_strategy: str) -> None:
    """Note PyTorch's choice of how memory is shared: tensors go as copies, and hold no file open, under either name.

    Raises ArgumentError for another name.
    """
    global _sharing
    if new_strategy not in get_all_sharing_strategies():
        raise ArgumentError(f"set_sharing_strategy: expected 'file_descriptor' or 'file_system', got {new_strategy!r}")
    _sharing = new_strategy


class ProcessException(Exception):
    """A process that ended badly. Attributes: its place among those started, its process id, the message."""

    def __init__(self, msg: str, error_index: int, pid: int) -> None:
        super().__init__(msg)
        self.msg, self.error_index, self.pid = msg, error_index, pid

    def __reduce__(self) -> Any:
        return type(self), (self.msg, self.error_index, self.pid)


class ProcessRaisedException(ProcessException):
    """The process's function raised an error; the message has its traceback."""


class ProcessExitedException(ProcessException):
    """The process was ended by a signal, or left with a code other than 0.

    Attributes: ``exit_code``; ``signal_name``, None where it was no signal.
    """

    def __init__(
        self, msg: str, error_index: int, error_pid: int, exit_code: int, signal_name: str | None = None
    ) -> None:
        super().__init__(msg, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name

    def __reduce__(self) -> Any:
        return type(self), (self.msg, self.error_index, self.pid, self.exit_code, self.signal_name)


def _run(fn: Callable[..., Any], place: int, args: tuple[Any, ...], errors: str) -> None:
    """What each process does: the function, or its traceback into the file that the others are told of."""
    try:
        fn(place, *args)
    except KeyboardInterrupt:  # the parent has it too
        pass
    except Exception:
        Path(errors).write_text(traceback.format_exc())
        sys.exit(1)


class ProcessContext:
    """Processes that run one function, by :func:`start_processes`.

    Attributes
    ----------
    processes : the processes, in order.
    """

    def __init__(self, processes: list[Any], errors: list[str]) -> None:
        self.processes, self.error_files = processes, errors
        self.sentinels = {p.sentinel: k for k, p in enumerate(processes)}

    def pids(self) -> list[int]:
        """The process ids."""
        return [int(p.pid) for p in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Wait until one of the processes is done; True when all are.

        The first that fails ends the others: after ``grace_period`` seconds (none where None), by SIGTERM, and by
        SIGKILL where that does not help within 30 seconds.

        Raises
        ------
        ProcessRaisedException, ProcessExitedException : for the first that failed.
        """
        if not self.sentinels:
            return True
        ready = multiprocessing.connection.wait(list(self.sentinels), timeout=timeout)
        failed = None
        for sentinel in ready:
            place = self.sentinels.pop(sentinel)  # type: ignore[arg-type]
            self.processes[place].join()
            if self.processes[place].exitcode != 0:
                failed = place
                break
        if failed is None:
            if not self.sentinels:
                self._tidy()
            return not self.sentinels
        self._end(grace_period)
        try:
            raise self._error(failed)
        finally:
            self._tidy()

    def _end(self, grace_period: float | None) -> None:
        end = time.monotonic() + (grace_period or 0.0)
        for p in self.processes:
            p.join(max(0.0, end - time.monotonic()))
        for p in self.processes:
            if p.is_alive():
                p.terminate()
        end = time.monotonic() + 30.0
        for p in self.processes:
            p.join(max(0.0, end - time.monotonic()))
            if p.is_alive():
                p.kill()
                p.join()

    def _error(self, place: int) -> ProcessException:
        p, told = self.processes[place], Path(self.error_files[place])
        if told.stat().st_size:
            text = told.read_text()
            return ProcessRaisedException(
                f"process {place} of {len(self.processes)} (id {p.pid}) ended with this error:\n\n{text}", place, p.pid
            )
        code = p.exitcode
        if code < 0:
            name = signal.Signals(-code).name
            return ProcessExitedException(f"process {place} terminated with signal {name}", place, p.pid, code, name)
        return ProcessExitedException(f"process {place} terminated with exit code {code}", place, p.pid, code)

    def _tidy(self) -> None:
        for name in self.error_files:
            Path(name).unlink(missing_ok=True)


def start_processes(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:
    """Run ``fn(i, *args)`` in ``nprocs`` processes, i from 0.

    Parameters
    ----------
    fn : a function of a module's top level, as pickle needs it.
    join : whether to wait for all; else the :class:`ProcessContext` is returned, to be joined until that is True.
    daemon : whether the processes end with this one.
    start_method : "spawn", "fork" or "forkserver".

    Raises
    ------
    ProcessRaisedException, ProcessExitedException : one failed; the others were ended. ArgumentError : ``nprocs``
    below 1.
    """
    if nprocs < 1:
        raise ArgumentError(f"spawn: nprocs must be at least 1, got {nprocs}", code="argument.nprocs")
    context = multiprocessing.get_context(start_method)
    processes, errors = [], []
    for place in range(nprocs):
        handle, name = tempfile.mkstemp(prefix="gradloom-process-", suffix=".txt")
        os.close(handle)
        process = context.Process(target=_run, args=(fn, place, args, name), daemon=daemon)  # type: ignore[attr-defined]
        process.start()
        processes.append(process)
        errors.append(name)
    found = ProcessContext(processes, errors)
    if not join:
        return found
    while not found.join():
        pass
    return None


def spawn(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:
    """As :func:`start_processes`, which has the parameters; processes begin afresh, with the modules imported again."""
    if start_method != "spawn":
        raise ArgumentError(
            f"spawn: starts processes by 'spawn', got start_method={start_method!r}", code="argument.start-method",
            hint="use start_processes(..., start_method=...)",
        )  # fmt: skip
    return start_processes(fn, args, nprocs, join, daemon, "spawn")
