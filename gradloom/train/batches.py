"""Batches: arrays cut into slices, shuffled or in order, at little more than the cost of copying the rows.

Shuffled rows are gathered into buffers that are used again for the next batch. That is safe because a training step
runs its program before it returns; whoever keeps a batch must copy it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

Batch = tuple[np.ndarray | None, ...]


class ArrayBatches:
    """Batches of arrays of equal length. The last one is shorter where the length is no multiple of the size.

    Parameters
    ----------
    arrays : each (n, ...); None stays None in every batch.
    batch_size : rows of a batch.
    dtypes : what the rows of each array are handed out as, converted batch by batch; None leaves them.
    seed : rows are shuffled, every epoch anew and the same way for the same seed and epoch; None: in order.
    """

    def __init__(
        self,
        arrays: Sequence[np.ndarray | None],
        batch_size: int,
        *,
        dtypes: Sequence[Any] | None = None,
        seed: int | None = None,
    ) -> None:
        self.arrays = [None if a is None else np.asarray(a) for a in arrays]
        self.rows = len(next(a for a in self.arrays if a is not None))
        self.batch_size = int(batch_size)
        self.seed = seed
        wanted = list(dtypes) if dtypes is not None else [None] * len(self.arrays)
        self.dtypes = [
            None if a is None else a.dtype if want is None else np.dtype(want) for a, want in zip(self.arrays, wanted)
        ]

    def __len__(self) -> int:
        return -(-self.rows // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of epoch ``number``."""
        return self._in_order() if self.seed is None else self._shuffled(number)

    def runs(self, number: int) -> Runs:
        """The batches of epoch ``number``, several at a time."""
        return Runs(self, number)

    def _in_order(self) -> Iterator[Batch]:
        for start in range(0, self.rows, self.batch_size):
            stop = start + self.batch_size
            yield tuple(
                None if a is None else np.ascontiguousarray(a[start:stop], dtype)
                for a, dtype in zip(self.arrays, self.dtypes)
            )

    def _shuffled(self, number: int) -> Iterator[Batch]:
        order = _permutation(self.seed or 0, number, self.rows)
        size = min(self.batch_size, self.rows)
        buffers = [None if a is None else np.empty((size, *a.shape[1:]), a.dtype) for a in self.arrays]
        handed = [
            b if b is None or b.dtype == dtype else np.empty(b.shape, dtype) for b, dtype in zip(buffers, self.dtypes)
        ]
        plan = [
            (a, b, h)
            for a, b, h in zip(self.arrays, buffers, handed)
            if a is not None and b is not None and h is not None
        ]
        whole = tuple(handed)
        for start in range(0, self.rows, size):
            chosen = order[start : start + size]
            short = len(chosen) < size
            for array, buffer, out in plan:
                if short:
                    buffer, out = buffer[: len(chosen)], out[: len(chosen)]
                # mode="raise" would gather into a copy first; the indices are a permutation, so they are in range
                np.take(array, chosen, axis=0, out=buffer, mode="clip")
                if array.dtype != out.dtype:
                    np.copyto(out, buffer, casting="unsafe")
            yield tuple(None if h is None else h[: len(chosen)] for h in handed) if short else whole


class Runs:
    """The batches of an epoch of arrays, as many at a time as is asked for."""

    def __init__(self, batches: ArrayBatches, number: int) -> None:
        self.batches, self.rows, self.size = batches, batches.rows, min(batches.batch_size, batches.rows)
        self.order = None if batches.seed is None else _permutation(batches.seed, number, batches.rows)
        self.start = 0
        self._buffers: list[np.ndarray | None] = [None] * len(batches.arrays)

    def take(self, count: int) -> tuple[Batch, int] | None:
        """The rows of the next ``count`` batches, or of fewer, and how many they are: a power of two.

        A last batch that is not whole comes alone. None at the end. What was taken before is overwritten.
        """
        left = self.rows - self.start
        if left <= 0:
            return None
        count = 1 << max(1, min(count, left // self.size)).bit_length() - 1
        rows = slice(self.start, self.start + min(count * self.size, left))
        self.start = rows.stop
        return tuple(self._part(k, rows) for k in range(len(self._buffers))), count

    def _part(self, k: int, rows: slice) -> np.ndarray | None:
        array, dtype = self.batches.arrays[k], self.batches.dtypes[k]
        if array is None or dtype is None:
            return None
        if self.order is None:
            return np.ascontiguousarray(array[rows], dtype)
        chosen = self.order[rows]
        buffer = self._buffers[k]
        if buffer is None or len(buffer) < len(chosen):
            buffer = self._buffers[k] = np.empty((len(chosen), *array.shape[1:]), array.dtype)
        # mode="raise" would gather into a copy first; the indices are a permutation, so they are in range
        found = np.take(array, chosen, axis=0, out=buffer[: len(chosen)], mode="clip")
        return found if found.dtype == dtype else found.astype(dtype)


def _permutation(seed: int, epoch: int, rows: int) -> np.ndarray:
    return np.random.default_rng([seed or 0, epoch]).permutation(rows)


class IterableBatches:
    """Batches that somebody else makes: a data loader, a list of pairs, a generator that ends.

    Parameters
    ----------
    source : gives x, (x,), (x, y) or (x, y, sample_weight) in each round, arrays or tensors.
    width : how many arrays a batch is filled up to with None.
    """

    def __init__(self, source: Iterable[Any], width: int = 3) -> None:
        self.source = source
        self.width = width

    def __len__(self) -> int:
        return len(self.source)  # type: ignore[arg-type]  # TypeError where unknown, which the loop asks for

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self.epoch(0)

    def epoch(self, number: int) -> Iterator[tuple[Any, ...]]:
        """The batches of one pass over the source."""
        for item in self.source:
            parts = tuple(item) if isinstance(item, tuple | list) else (item,)
            yield parts + (None,) * (self.width - len(parts))
