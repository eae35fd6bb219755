"""Data sets: anything with a length and `[index]`, and a few ways to put them together."""

from __future__ import annotations

import builtins
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.data.random import permutation, seed_of
from gradloom.errors import SizesError
from gradloom.tensor import Tensor

if TYPE_CHECKING:
    from gradloom.data.pipeline import Pipeline


class Dataset:
    """A map from 0 <= index < len(self) to a sample. Subclasses give `__getitem__` and `__len__`."""

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__")

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])

    # `tf.data.Dataset`'s ways to make one; see :mod:`gradloom.data.pipeline`

    @staticmethod
    def from_tensor_slices(tensors: Any, name: str | None = None) -> Pipeline:
        """A pipeline over the rows of tensors, arrays or lists."""
        from gradloom.data import pipeline

        return pipeline.from_tensor_slices(tensors, name)

    @staticmethod
    def from_tensors(tensors: Any, name: str | None = None) -> Pipeline:
        """A pipeline of one element."""
        from gradloom.data import pipeline

        return pipeline.from_tensors(tensors, name)

    @staticmethod
    def from_generator(*args: Any, **kwargs: Any) -> Pipeline:
        """A pipeline over what a function gives: :func:`gradloom.data.pipeline.from_generator`."""
        from gradloom.data import pipeline

        return pipeline.from_generator(*args, **kwargs)

    @staticmethod
    def range(*args: int, output_type: Any = None, name: str | None = None) -> Pipeline:
        """A pipeline over the numbers of Python's `range`."""
        from gradloom.data import pipeline

        return pipeline.range(*args, output_type=output_type)

    @staticmethod
    def zip(*args: Any, datasets: Any = None, name: str | None = None) -> Pipeline:
        """Pipelines side by side."""
        from gradloom.data import pipeline

        return pipeline.zip(*args, datasets=datasets)

    @staticmethod
    def list_files(file_pattern: Any, shuffle: bool | None = None, seed: int | None = None) -> Pipeline:
        """A pipeline over the names of files that fit a pattern."""
        from gradloom.data import pipeline

        return pipeline.list_files(file_pattern, shuffle, seed)

    @staticmethod
    def sample_from_datasets(*args: Any, **kwargs: Any) -> Pipeline:
        """Elements drawn from several pipelines: :func:`gradloom.data.pipeline.sample_from_datasets`."""
        from gradloom.data import pipeline

        return pipeline.sample_from_datasets(*args, **kwargs)


class IterableDataset(Dataset):
    """Samples from `__iter__` only, for streams. It has no length and cannot be shuffled."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} has no __iter__")

    def __add__(self, other: Dataset) -> ChainDataset:  # type: ignore[override]
        return ChainDataset([self, other])


class ChainDataset(IterableDataset):
    """Several streams, one after the other."""

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        self.datasets = datasets

    def __iter__(self) -> Iterator[Any]:
        for dataset in self.datasets:
            if not isinstance(dataset, IterableDataset):
                raise TypeError(f"ChainDataset only supports IterableDataset, got {type(dataset).__name__}")
            yield from dataset

    def __len__(self) -> int:
        return sum(len(dataset) for dataset in self.datasets)  # type: ignore[arg-type, misc]


class TensorDataset(Dataset):
    """Samples along the first axis of several tensors.

    Parameters
    ----------
    *tensors : Tensor
        Each of shape (N, ...).

    Raises
    ------
    ValueError, AssertionError
        If the first axes differ in length.
    """

    tensors: tuple[Tensor, ...]

    def __init__(self, *tensors: Tensor) -> None:
        if not tensors:
            raise ValueError("TensorDataset needs at least one tensor")
        shapes = [tuple(t.shape) for t in tensors]
        if any(not shape or shape[0] != shapes[0][0] for shape in shapes):
            raise SizesError(
                f"TensorDataset: the first axes differ: {', '.join(map(str, shapes))}",
                code="shape.dataset",
                hint="each tensor has one entry for each sample on its first axis",
            )
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].shape[0]


class StackDataset(Dataset):
    """Data sets of equal length side by side: tuples of their samples, or dicts where they are given by name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if bool(args) == bool(kwargs):
            raise ValueError("StackDataset takes data sets either by position or by name, at least one")
        self.datasets: Any = args or kwargs
        sizes = [len(d) for d in (args or kwargs.values())]
        if len(set(sizes)) > 1:
            raise ValueError(f"Size mismatch between datasets: {sizes}")
        self._length = sizes[0]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(self.datasets, dict):
            return {name: dataset[index] for name, dataset in self.datasets.items()}
        return tuple(dataset[index] for dataset in self.datasets)

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """The samples at several indices; asked of the data sets at once where they can."""

        def several(dataset: Any) -> Any:
            many = getattr(dataset, "__getitems__", None)
            return many(indices) if callable(many) else [dataset[i] for i in indices]

        if isinstance(self.datasets, dict):
            columns = {name: several(dataset) for name, dataset in self.datasets.items()}
            return [{name: column[k] for name, column in columns.items()} for k in range(len(indices))]
        return list(builtins.zip(*map(several, self.datasets)))

    def __len__(self) -> int:
        return self._length


class Subset(Dataset):
    """The samples of a data set at some indices."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, (list, slice, np.ndarray)):
            chosen = self.indices[index] if isinstance(index, slice) else [self.indices[int(i)] for i in index]
            return self.dataset[list(chosen)]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """The samples at several indices; asked of the data set at once where it can."""
        chosen = [self.indices[i] for i in indices]
        many = getattr(self.dataset, "__getitems__", None)
        return many(chosen) if callable(many) else [self.dataset[i] for i in chosen]  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset):
    """Several data sets, one after the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise SizesError("ConcatDataset needs at least one data set")
        self.cumulative_sizes: list[int] = []
        total = 0
        for dataset in self.datasets:
            if isinstance(dataset, IterableDataset):
                raise SizesError("ConcatDataset joins data sets with a length; an IterableDataset has none")
            total += len(dataset)
            self.cumulative_sizes.append(total)

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        length = len(self)
        if index < -length:
            raise ValueError(f"index {index} is below the first of {length} samples")
        if index >= length:
            raise IndexError(f"index {index} is out of range for {length} samples")
        index %= length
        which = bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]


def random_split(dataset: Any, lengths: Sequence[int | float], generator: Any = None) -> list[Subset]:
    """Cut a data set at random into parts that do not overlap.

    Parameters
    ----------
    lengths : sequence of int, or of float that sum to 1
        Sizes or shares. What rounding leaves goes to the first parts, one each.
    generator : Generator, optional
        Whose seed is used; otherwise the seed of `gradloom.manual_seed`.

    Raises
    ------
    ValueError
        If the sizes do not sum to the length of the data set.
    """
    total = len(dataset)
    sizes = [int(n) for n in lengths]
    if math.isclose(sum(lengths), 1.0) and all(0.0 <= n <= 1.0 for n in lengths):
        sizes = [math.floor(total * share) for share in lengths]
        for i in range(total - sum(sizes)):
            sizes[i % len(sizes)] += 1
    if sum(sizes) != total or min(sizes, default=0) < 0:
        raise ValueError(f"the sizes {list(lengths)} do not sum to the {total} samples of the data set")
    order = permutation(total, seed_of(generator), 0, stream=1)
    cuts = np.cumsum([0, *sizes])
    return [Subset(dataset, order[a:b].tolist()) for a, b in pairwise(cuts)]
