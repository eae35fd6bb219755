"""Data sets and the loader: every sample once, one order for one seed, workers alike, resumable."""

from __future__ import annotations

import traceback
from collections import namedtuple
from itertools import chain

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ShapeError, SizesError
from gradloom.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

N = 23
X, Y = np.arange(N * 2, dtype=np.float32).reshape(N, 2), np.arange(N)


def whole() -> TensorDataset:
    return TensorDataset(gl.tensor(X), gl.tensor(Y))


class Slow(Dataset):
    """A data set of Python numbers and arrays."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        if i == 1000:
            raise KeyError("missing file")
        return X[i], i


def labels(loader: DataLoader) -> list[list[int]]:
    return [y.tolist() for _, y in loader]


@pytest.mark.parametrize("data", [whole, Slow])
def test_in_order(data: object) -> None:
    loader = DataLoader(data(), batch_size=5)
    batches = list(loader)
    assert len(loader) == len(batches) == 5
    np.testing.assert_array_equal(np.concatenate([x.numpy() for x, _ in batches]), X)
    np.testing.assert_array_equal(np.concatenate([y.numpy() for _, y in batches]), Y)
    assert batches[0][0].dtype.name == "float32" and batches[0][1].dtype.name == "int64"
    assert len(DataLoader(data(), 5, drop_last=True)) == len(labels(DataLoader(data(), 5, drop_last=True))) == 4


def test_batches_own_their_memory() -> None:
    loader = DataLoader(whole(), batch_size=4)
    first = next(iter(loader))[0]
    first.zero_()
    np.testing.assert_array_equal(next(iter(loader))[0].numpy(), X[:4])


def test_shuffle_is_a_function_of_seed_and_epoch() -> None:
    gl.manual_seed(7)
    a = DataLoader(whole(), 4, shuffle=True)
    first, second = labels(a), labels(a)
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(N))
    assert first != second
    gl.manual_seed(7)
    b = DataLoader(Slow(), 4, shuffle=True)
    assert [labels(b), labels(b)] == [first, second]
    assert labels(DataLoader(whole(), 4, shuffle=True, generator=8)) != first


def test_workers_give_the_same_batches() -> None:
    expected = labels(DataLoader(Slow(), 3, shuffle=True, generator=1))
    assert labels(DataLoader(Slow(), 3, shuffle=True, generator=1, num_workers=2)) == expected


def test_a_workers_error_comes_with_its_traceback() -> None:
    loader = DataLoader(Slow(), batch_sampler=[[0, 1], [2, 1000], [3]], num_workers=2)
    batches = iter(loader)
    assert next(batches)[1].tolist() == [0, 1]
    with pytest.raises(KeyError, match="missing file") as caught:
        next(batches)
    assert "__getitem__" in "".join(traceback.format_tb(caught.value.__traceback__))


@pytest.mark.parametrize("data", [whole, Slow])
@pytest.mark.parametrize("done", [0, 3, 6])
def test_resumed_equals_not_interrupted(data: object, done: int) -> None:
    gl.manual_seed(3)
    loader = DataLoader(data(), 4, shuffle=True)
    expected = labels(loader) + labels(loader)
    gl.manual_seed(3)
    broken = DataLoader(data(), 4, shuffle=True)
    batches = iter(broken)
    seen = [next(batches)[1].tolist() for _ in range(done)]
    state = broken.state_dict()
    gl.manual_seed(99)
    resumed = DataLoader(data(), 4, shuffle=True)
    resumed.load_state_dict(state)
    seen += labels(resumed)
    seen += labels(resumed)
    assert [b for b in seen if b] == expected


def test_subsets_and_splits() -> None:
    parts = random_split(whole(), [0.7, 0.3], generator=0)
    assert [len(p) for p in parts] == [17, 6]
    assert sorted(parts[0].indices + parts[1].indices) == list(range(N))
    assert random_split(whole(), [17, 6], generator=0)[1].indices == parts[1].indices
    fast, slow = DataLoader(parts[1], 4), DataLoader(Subset(Slow(), parts[1].indices), 4)
    assert labels(fast) == labels(slow)
    nested = Subset(Subset(whole(), [5, 6, 7]), [2, 0])
    assert labels(DataLoader(nested, 2)) == [[7, 5]]
    joined = ConcatDataset([Slow(), Subset(Slow(), [3])])
    assert len(joined) == N + 1 and joined[-1][1] == 3 and joined[N - 1][1] == N - 1
    with pytest.raises(IndexError):
        joined[N + 1]
    with pytest.raises(ValueError, match="sum"):
        random_split(whole(), [3, 4])


def test_samplers() -> None:
    assert sorted(RandomSampler(range(10), generator=0)) == list(range(10))
    drawn = list(RandomSampler(range(10), num_samples=25, generator=0))
    assert len(drawn) == 25 and min(drawn.count(i) for i in range(10)) >= 2
    weighted = list(WeightedRandomSampler([0.0, 1.0, 3.0], 4000, generator=0))
    assert 0 not in weighted and abs(weighted.count(2) / 4000 - 0.75) < 0.03
    assert list(BatchSampler(range(5), 2, False)) == [[0, 1], [2, 3], [4]]
    assert labels(DataLoader(whole(), 2, sampler=[4, 2, 0])) == [[4, 2], [0]]


def test_structures_are_stacked() -> None:
    Pair = namedtuple("Pair", "a b")

    class Mixed(Dataset):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, i: int) -> dict:
            return {"pair": Pair(np.float32(i), True), "name": f"n{i}", "half": i / 2, "row": gl.tensor(X[i])}

    (batch,) = DataLoader(Mixed(), 2)
    assert batch["pair"].a.tolist() == [0.0, 1.0] and batch["pair"].b.dtype.name == "bool"
    assert batch["name"] == ["n0", "n1"]
    assert batch["half"].tolist() == [0.0, 0.5]
    np.testing.assert_array_equal(batch["row"].numpy(), X[:2])


def test_collate_fn_batch_size_none_and_streams() -> None:
    assert list(DataLoader(Slow(), 2, collate_fn=len, drop_last=True)) == [2] * 11
    assert next(iter(DataLoader(Slow(), None)))[1] == 0

    class Stream(IterableDataset):
        def __iter__(self) -> object:
            return iter(range(5))

    assert [b.tolist() for b in DataLoader(Stream(), 2)] == [[0, 1], [2, 3], [4]]
    assert [b.tolist() for b in DataLoader(Stream(), 2, drop_last=True)] == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="own order"):
        DataLoader(Stream(), shuffle=True)


def test_refusals() -> None:
    with pytest.raises(SizesError, match="first axes"):
        TensorDataset(gl.zeros(3), gl.zeros(4))
    with pytest.raises(ValueError, match="batch_size"):
        DataLoader(whole(), 0)
    with pytest.raises(ValueError, match="sampler"):
        DataLoader(whole(), shuffle=True, sampler=[1])

    class Ragged(Slow):
        def __getitem__(self, i: int) -> np.ndarray:
            return np.zeros(i)

    with pytest.raises(ShapeError, match="collate_fn"):
        next(iter(DataLoader(Ragged(), 2)))
