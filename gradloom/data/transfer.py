"""Batches from one process to another: large arrays through files in shared memory, the rest pickled.

The sender writes an array into a new file of a folder that the receiver made; the receiver maps the file and deletes
it at once, so that the memory goes with the array. Nothing is copied by the receiver.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import tempfile
import traceback
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from gradloom.tensor import Tensor, from_numpy

SMALL = 1 << 16  # bytes; below, a pipe is as quick as a file
_numbers = count()


class Folder:
    """A folder in shared memory where the system has one, removed with this object or at the end of the process."""

    def __init__(self) -> None:
        place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.path = tempfile.mkdtemp(prefix="gradloom-loader-", dir=place)
        owner = os.getpid()

        def remove(path: str) -> None:
            if os.getpid() == owner:  # not in a child that was forked off
                shutil.rmtree(path, ignore_errors=True)

        self.remove = weakref.finalize(self, remove, self.path)


@dataclass
class _Stored:
    """An array that lies in a file."""

    path: str
    shape: tuple[int, ...]
    dtype: Any
    tensor: bool

    def load(self) -> Any:
        with open(self.path, "r+b") as file:
            memory = mmap.mmap(file.fileno(), 0)
        os.unlink(self.path)
        array = np.frombuffer(memory, self.dtype, int(np.prod(self.shape))).reshape(self.shape)
        return from_numpy(array) if self.tensor else array


@dataclass
class _Sent:
    """A small tensor, as an array."""

    array: np.ndarray

    def load(self) -> Tensor:
        return from_numpy(self.array)


@dataclass
class Failure:
    """An error of a worker, with its traceback as text."""

    error: BaseException
    text: str

    @classmethod
    def of(cls, error: BaseException, worker: int) -> Failure:
        """An error as it was caught in worker number `worker`."""
        from multiprocessing.reduction import ForkingPickler

        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        try:
            ForkingPickler.loads(ForkingPickler.dumps(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__} in worker process {worker}: {error}")
        return cls(error, text)

    def again(self) -> BaseException:
        """The error, to be raised; the worker's traceback is its cause."""
        self.error.__cause__ = RuntimeError(f"in the worker process:\n{self.text}")
        return self.error


def pack(data: Any, folder: str) -> Any:
    """`data` with each tensor, and each large array, replaced by something small that can be pickled."""

    def leaf(value: Any) -> Any:
        tensor = isinstance(value, Tensor)
        if not tensor and not isinstance(value, np.ndarray):
            return value
        array = value.detach().numpy() if tensor else value
        if array.nbytes < SMALL or array.dtype.hasobject:
            return _Sent(np.array(array)) if tensor else array
        path = os.path.join(folder, f"{os.getpid()}-{next(_numbers)}")
        with open(path, "w+b") as file:
            file.truncate(array.nbytes)
            with contextlib.closing(mmap.mmap(file.fileno(), array.nbytes)) as memory:
                target = np.frombuffer(memory, array.dtype).reshape(array.shape)
                np.copyto(target, array)
                del target
        return _Stored(path, array.shape, array.dtype, tensor)

    return _mapped(data, leaf)


def unpack(data: Any) -> Any:
    """The inverse of :func:`pack`, in the receiving process; each message once."""
    return _mapped(data, lambda value: value.load() if isinstance(value, (_Stored, _Sent)) else value)


def _mapped(data: Any, leaf: Callable[[Any], Any]) -> Any:
    kind = type(data)
    if kind is list:
        return [_mapped(value, leaf) for value in data]
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return kind(*(_mapped(value, leaf) for value in data))
    if kind is tuple:
        return tuple(_mapped(value, leaf) for value in data)
    if isinstance(data, Mapping) and kind is dict:
        return {key: _mapped(value, leaf) for key, value in data.items()}
    return leaf(data)
