"""Pipelines: the values that TensorFlow 2.21 gave for the same programs, order from seed and pass, resuming."""

from __future__ import annotations

import threading
from itertools import chain

import numpy as np
import pytest

import gradloom as gl
from gradloom.data import DataLoader, Dataset, TensorDataset, as_pipeline
from gradloom.errors import ShapeError

D = gl.data.Dataset
X, Y = np.arange(24, dtype=np.float32).reshape(12, 2), np.arange(12)


def lists(ds):
    def plain(v):
        if isinstance(v, dict):
            return {k: plain(a) for k, a in v.items()}
        return [plain(a) for a in v] if isinstance(v, tuple) else np.asarray(v).tolist()

    return [plain(e) for e in ds.as_numpy_iterator()]


def growing():
    for i in range(5):
        yield np.arange(i, dtype=np.float32), i


TYPES = (gl.float32, gl.int32)
PADDED = [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0] * 6, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]]

# each row: a pipeline, what TensorFlow gave for it
TABLE = {
    "take, skip": (D.range(10).skip(3).take(4), [3, 4, 5, 6]),
    "shard": (D.range(10).shard(3, 1), [1, 4, 7]),
    "repeat": (D.range(3).repeat(2).batch(4), [[0, 1, 2, 0], [1, 2]]),
    "endless": (D.range(3).repeat().take(7), [0, 1, 2, 0, 1, 2, 0]),
    "concatenate": (D.range(3).concatenate(D.range(5, 7)), [0, 1, 2, 5, 6]),
    "enumerate": (D.range(5, 8).enumerate(2), [[2, 5], [3, 6], [4, 7]]),
    "zip": (D.zip((D.range(3), D.range(5, 10))), [[0, 5], [1, 6], [2, 7]]),
    "zip by name": (
        D.zip({"a": D.range(3), "b": (D.range(2), D.range(9))}), [{"a": 0, "b": [0, 0]}, {"a": 1, "b": [1, 1]}],
    ),
    "interleave": (
        D.range(1, 6).interleave(lambda i: D.from_tensors(i).repeat(6), cycle_length=2, block_length=4),
        [1] * 4 + [2] * 4 + [1, 1, 2, 2] + [3] * 4 + [4] * 4 + [3, 3, 4, 4] + [5] * 6,
    ),
    "interleave three": (
        D.range(1, 6).interleave(lambda i: D.range(i), cycle_length=3, block_length=2),
        [0, 0, 1, 0, 1, 0, 1, 2, 2, 3, 0, 1, 2, 3, 4],
    ),
    "flat_map": (D.range(4).flat_map(lambda i: D.range(i)), [0, 0, 1, 0, 1, 2]),
    "windows as batches": (
        D.range(6).window(3, 1, drop_remainder=True).flat_map(lambda w: w.batch(3)),
        [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]],
    ),
    "unbatch": (D.from_tensor_slices((X, Y)).batch(5).unbatch().skip(10), [[[20.0, 21.0], 10], [[22.0, 23.0], 11]]),
    "rebatch": (D.range(10).batch(4).rebatch(3), [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]),
    "filter, map": (D.range(10).filter(lambda i: i % 2 == 1).map(lambda i: i * i), [1, 9, 25, 49, 81]),
    "take_while": (D.range(10).take_while(lambda i: i < 4), [0, 1, 2, 3]),
    "scan": (D.range(5).scan(np.int64(0), lambda s, e: (s + e, s + e)), [0, 1, 3, 6, 10]),
    "cache": (D.range(5).map(lambda i: i + 1).cache().repeat(2), [1, 2, 3, 4, 5] * 2),
    "text": (D.from_tensor_slices(["a", "b", "c"]).batch(2), [["a", "b"], ["c"]]),
    "dict": (D.from_tensor_slices({"a": X[:2], "b": Y[:2]}).batch(2), [{"a": X[:2].tolist(), "b": [0, 1]}]),
    "structure": (
        D.from_tensor_slices({"a": X, "b": Y}).map(lambda d: (d["a"] * 2, d["b"])).take(2),
        [[[0.0, 2.0], 0], [[4.0, 6.0], 1]],
    ),
    "padded": (
        D.from_generator(growing, output_types=TYPES).padded_batch(2, ([None], []), (-1.0, 0)),
        [[[[-1.0], [0.0]], [0, 1]], [[[0.0, 1.0, -1.0], [0.0, 1.0, 2.0]], [2, 3]], [[[0.0, 1.0, 2.0, 3.0]], [4]]],
    ),
    "padded to a length": (
        D.from_generator(growing, output_types=TYPES).padded_batch(3, ([6], [])).take(1), [[PADDED, [0, 1, 2]]],
    ),
    "buckets": (
        D.from_generator(growing, output_types=TYPES).bucket_by_sequence_length(
            lambda a, b: a.shape[0], [2, 4], [2, 2, 2]
        ),
        [[[[0.0], [0.0]], [0, 1]], [[[0.0, 1.0, 0.0], [0.0, 1.0, 2.0]], [2, 3]], [[[0.0, 1.0, 2.0, 3.0]], [4]]],
    ),
    "prefetch": (D.range(5).batch(2).prefetch(1), [[0, 1], [2, 3], [4]]),
    "threads": (D.range(50).map(lambda i: np.asarray(i) * 2, num_parallel_calls=3), list(range(0, 100, 2))),
    "apply": (D.range(4).apply(lambda d: d.map(lambda i: i + 1)), [1, 2, 3, 4]),
}  # fmt: skip


@pytest.mark.parametrize("ds, wanted", TABLE.values(), ids=TABLE)
def test_values_and_resuming(ds, wanted):
    assert lists(ds) == wanted
    if ds.cardinality() >= 0:
        assert ds.cardinality() == len(ds) == len(wanted)
    for place in (1, len(wanted) - 1):
        passing = ds.as_numpy_iterator()
        for _ in range(place):
            next(passing)
        state = ds.state_dict()
        passing.close()
        ds.load_state_dict(state)
        assert lists(ds) == wanted[place:]


def test_windows():
    def windows(*args):
        return [[int(v) for v in w] for w in D.range(10).window(*args)]

    assert windows(3) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert windows(3, 4, 2) == [[0, 2, 4], [4, 6, 8], [8]]
    assert windows(2, 5, 1) == [[0, 1], [5, 6]]
    assert windows(2, 3, 1, True) == [[0, 1], [3, 4], [6, 7]]


def test_cardinality():
    sizes = [D.range(5), D.range(5).repeat(), D.range(5).filter(lambda i: i > 2), D.range(10).batch(3, True)]
    assert [ds.cardinality() for ds in [*sizes, D.range(10).skip(20), D.range(3).repeat(0)]] == [5, -1, -2, 3, 0, 0]
    for ds in sizes[1:3]:
        with pytest.raises(TypeError):
            len(ds)


@pytest.mark.parametrize("buffer", [5, 100])
@pytest.mark.parametrize("source", ["rows", "elements"])
def test_shuffling_is_a_function_of_seed_and_pass(buffer, source):
    def made():
        ds = D.range(40) if source == "rows" else D.range(40).map(lambda i: np.asarray(i))
        return ds.shuffle(buffer).batch(8)

    gl.manual_seed(1)
    a = made()
    first, second = lists(a), lists(a)
    assert sorted(chain(*first)) == list(range(40)) and first != second
    gl.manual_seed(1)
    b = made()
    passing = iter(b)
    next(passing)
    next(passing)
    resumed = made()
    resumed.load_state_dict(b.state_dict())
    assert [e.tolist() for e in passing] == lists(resumed) == first[2:]
    assert lists(resumed) == second
    fixed = D.range(40).shuffle(buffer, seed=4, reshuffle_each_iteration=False)
    assert lists(fixed) == lists(fixed)
    twice = lists(D.range(20).shuffle(20).repeat(2))
    assert twice[:20] != twice[20:] and sorted(twice[:20]) == sorted(twice[20:]) == list(range(20))


def test_what_a_map_draws_depends_on_the_place_alone():
    def noisy(x):
        return np.asarray(x) + gl.vision.transforms.draws.uniform()

    def made(threads):
        gl.manual_seed(2)
        return D.range(9).map(noisy, num_parallel_calls=threads)

    one, several = made(None), made(4)
    assert lists(one) == lists(several)
    assert lists(one) != lists(made(None))  # the next pass draws anew
    state = {"seed": 2, "pass": 0, "element": 4}
    several.load_state_dict(state)
    assert lists(several) == lists(made(None))[4:]


def test_functions_of_tensors_stay_in_the_asking_thread():
    seen = set()

    def work(x):
        seen.add(threading.get_ident())
        return x * 2

    assert lists(D.range(20).map(work, num_parallel_calls=3).batch(4).prefetch(2))[-1] == [32, 34, 36, 38]
    assert seen == {threading.get_ident()}
    seen.clear()
    lists(D.range(20).map(lambda x: (seen.add(threading.get_ident()), np.asarray(x))[1]).prefetch(2))
    assert len(seen) == 2


def test_elements_are_tensors_and_files_are_found(tmp_path):
    x, y = next(iter(D.from_tensor_slices((X, Y)).batch(3)))
    assert isinstance(x, gl.Tensor) and x.dtype is gl.float32 and y.dtype is gl.int64
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name)
    found = D.list_files(str(tmp_path / "*.txt"), shuffle=False).map(lambda p: open(p).read())
    assert list(found) == ["a", "b"]
    with pytest.raises(FileNotFoundError, match="nothing"):
        D.list_files(str(tmp_path / "nothing*"))


def test_a_cache_on_disk_is_read_by_the_next_program(tmp_path):
    calls = []
    path = str(tmp_path / "cache")

    def made():
        return D.range(4).map(lambda i: (calls.append(1), {"a": np.asarray(i) * 1.5, "b": "text"})[1]).cache(path)

    first = lists(made())
    assert lists(made()) == first and len(calls) == 4


def test_mixed_sources():
    mixed = D.sample_from_datasets([D.range(200), D.range(1000, 1200)], [0.25, 0.75], stop_on_empty_dataset=True)
    values = lists(mixed)
    assert 0.1 < np.mean(np.asarray(values) < 1000) < 0.4
    assert sorted(lists(D.sample_from_datasets([D.range(3), D.range(4, 6)]))) == [0, 1, 2, 4, 5]


def test_loader_training_and_other_data_sets():
    ds = D.from_tensor_slices((X, Y % 3)).shuffle(12).batch(4)
    assert sorted(int(v) for _, y in DataLoader(ds, None) for v in y) == [0] * 4 + [1] * 4 + [2] * 4
    model = gl.keras.Sequential([gl.keras.layers.Dense(3)])
    model.compile("sgd", gl.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(ds, validation_data=ds, epochs=2, verbose=0)
    assert len(history.history["val_loss"]) == 2
    of = as_pipeline(TensorDataset(gl.tensor(X), gl.tensor(Y))).batch(5)
    np.testing.assert_array_equal(np.concatenate([x for x, _ in of.as_numpy_iterator()]), X)
    assert as_pipeline(of) is of
    assert int(D.range(5).reduce(0, lambda a, b: a + b)) == 10
    assert int(D.range(1).get_single_element()) == 0


REFUSED = {
    "lengths": (ShapeError, "first axes differ", lambda: D.from_tensor_slices((X, Y[:3]))),
    "number": (ShapeError, "no rows", lambda: D.from_tensor_slices(3.0)),
    "shapes": (ShapeError, "padded_batch", lambda: lists(D.from_generator(growing).batch(3))),
    "too long": (ShapeError, "larger than", lambda: lists(D.from_generator(growing).padded_batch(5, ([2], [])))),
    "generator": (TypeError, "must be a Python callable", lambda: D.from_generator(growing())),
    "iterator": (TypeError, "once only", lambda: as_pipeline(growing())),
    "size": (ValueError, "batch_size must be positive", lambda: D.range(3).batch(0)),
    "buffer": (ValueError, "buffer_size", lambda: D.range(3).shuffle(0)),
    "shard": (ValueError, "num_shards", lambda: D.range(3).shard(2, 2)),
    "buckets": (ValueError, "one batch size", lambda: D.range(3).bucket_by_sequence_length(int, [2], [1])),
    "no data set": (TypeError, "must return a data set", lambda: lists(D.range(3).flat_map(lambda i: [i]))),
    "zip": (TypeError, "zip takes", lambda: D.zip((D.range(3), [1]))),
    "single": (ValueError, "more than one", lambda: D.range(2).get_single_element()),
    "weights": (ValueError, "weight", lambda: D.sample_from_datasets([D.range(2)], [-1.0])),
    "error inside": (KeyError, "lost", lambda: lists(D.range(3).map(lambda i: {}["lost"]).prefetch(1))),
}


@pytest.mark.parametrize("error, text, call", REFUSED.values(), ids=REFUSED)
def test_refusals(error, text, call):
    with pytest.raises(error, match=text):
        call()


def test_datasets_of_both_kinds_share_a_name():
    class Mine(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return float(i)

    assert lists(as_pipeline(Mine()).batch(3)) == [[0.0, 1.0, 2.0]]
