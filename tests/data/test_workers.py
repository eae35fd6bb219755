"""Workers of the loader: threads and processes give the same batches, fail loudly and leave nothing behind."""

from __future__ import annotations

import os
import random
import signal
import time
from itertools import chain

import numpy as np
import pytest

import gradloom as gl
from gradloom.random import default_generator
from gradloom.utils.data import ChainDataset, DataLoader, Dataset, IterableDataset, get_worker_info

KINDS = {"alone": {}, "threads": {"num_workers": 3}, "processes": {"num_workers": 2, "multiprocessing_context": "fork"}}
WORKERS = {name: how for name, how in KINDS.items() if how}


def kinds(table=KINDS):
    return pytest.mark.parametrize("how", table.values(), ids=table)


class Noisy(Dataset):
    """Samples with random parts, of Python numbers, arrays small and large, and text."""

    def __len__(self):
        return 23

    def __getitem__(self, i):
        seed, stream = default_generator.draw()
        large = np.full((200, 90), i, np.float32)
        return {"i": i, "drawn": stream * 1000 + seed % 1000, "large": large, "name": f"n{i}"}


class Python(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, i):
        return random.random(), np.random.rand()


class Count(IterableDataset):
    def __init__(self, stop):
        self.stop = stop

    def __iter__(self):
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(first, self.stop, step))


def first_of(samples):
    return [s["i"] for s in samples], os.getpid()


@kinds()
def test_batches_and_what_is_drawn_do_not_depend_on_workers(how):
    gl.manual_seed(3)
    found = list(DataLoader(Noisy(), 4, shuffle=True, **how))
    gl.manual_seed(3)
    wanted = list(DataLoader(Noisy(), 4, shuffle=True))
    assert len(found) == 6
    for a, b in zip(found, wanted, strict=True):
        assert a["name"] == b["name"]
        for key in ("i", "drawn", "large"):
            np.testing.assert_array_equal(a[key].numpy(), b[key].numpy())
        assert isinstance(a["large"], gl.Tensor)
    drawn = np.concatenate([b["drawn"].numpy() for b in found])
    assert len(set(drawn.tolist())) == 23  # not the same numbers for each batch


def test_processes_seed_the_generators_of_python_and_numpy():
    def epoch(workers):
        gl.manual_seed(5)
        loader = DataLoader(Python(), 3, num_workers=workers, multiprocessing_context="fork")
        return np.concatenate([np.stack([a.numpy(), b.numpy()]) for a, b in loader], 1)

    np.testing.assert_array_equal(epoch(1), epoch(2))
    assert len(np.unique(epoch(2))) == 24


@kinds()
def test_streams_are_read_once(how):
    batches = [b.tolist() for b in DataLoader(Count(17), 4, **how)]
    assert sorted(chain(*batches)) == list(range(17))
    again = [b.tolist() for b in DataLoader(Count(17), 4, **how)]
    assert again == batches
    full = [b.tolist() for b in DataLoader(Count(17), 4, drop_last=True, **how)]
    assert all(len(b) == 4 for b in full)
    loader = DataLoader(Count(17), 4, **how)
    next(iter(loader))
    state = loader.state_dict()
    resumed = DataLoader(Count(17), 4, **how)
    resumed.load_state_dict(state)
    assert [b.tolist() for b in resumed] == batches[1:]


def test_a_stream_that_knows_of_workers_is_whole_and_one_that_does_not_comes_from_each():
    class All(IterableDataset):
        def __iter__(self):
            return iter(range(3))

    assert sorted(int(x) for x in DataLoader(All(), None, num_workers=2)) == [0, 0, 1, 1, 2, 2]
    assert [b.tolist() for b in DataLoader(ChainDataset([All(), All()]), 4)] == [[0, 1, 2, 0], [1, 2]]


@kinds()
def test_single_samples_and_functions_of_ones_own(how):
    assert [s["name"] for s in DataLoader(Noisy(), None, **how)] == [f"n{i}" for i in range(23)]
    found = list(DataLoader(Noisy(), 8, collate_fn=first_of, **how))
    assert [i for part, _ in found for i in part] == list(range(23))
    assert ({pid for _, pid in found} != {os.getpid()}) is ("multiprocessing_context" in how)


class Failing(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, i):
        if i == 7:
            raise KeyError("missing file")
        return i


@kinds()
def test_an_error_comes_where_its_batch_is_due(how):
    got = []
    with pytest.raises(KeyError, match="missing file") as caught:
        for batch in DataLoader(Failing(), 2, **how):
            got.append(batch.tolist())
    assert got == [[0, 1], [2, 3], [4, 5]]
    if "multiprocessing_context" in how:
        assert "in __getitem__" in str(caught.value.__cause__)


def fail_in(worker):
    if worker == 1:
        raise OSError("no disk")


@kinds(WORKERS)
def test_workers_are_told_apart_and_their_start_may_fail(how):
    with pytest.raises(OSError, match="no disk"):
        list(DataLoader(Noisy(), 4, worker_init_fn=fail_in, **how))


class Seen(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        info = get_worker_info()
        return info.id, info.num_workers, len(info.dataset)


@kinds(WORKERS)
def test_the_data_set_may_ask_who_reads(how):
    batches = [[t.numpy() for t in b] for b in DataLoader(Seen(), 1, **how)]
    ids, counts, sizes = (np.concatenate(part) for part in zip(*batches, strict=True))
    assert set(ids) == set(range(how["num_workers"])) and set(counts) == {how["num_workers"]} and set(sizes) == {8}
    assert get_worker_info() is None


class Sleepy(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        time.sleep(30 if i == 2 else 0)
        return i


def test_a_timeout_says_so():
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"within timeout=0\.5 seconds"):
        list(DataLoader(Sleepy(), 1, num_workers=1, timeout=0.5, multiprocessing_context="fork"))
    assert time.monotonic() - start < 20


class Deadly(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        if i == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return i


def test_a_killed_process_is_noticed():
    with pytest.raises(RuntimeError, match="killed by signal 9"):
        list(DataLoader(Deadly(), 1, num_workers=1, multiprocessing_context="fork"))


@kinds(WORKERS)
def test_workers_that_persist_serve_all_epochs(how):
    loader = DataLoader(Noisy(), 4, shuffle=True, persistent_workers=True, **how)
    first = [b["i"].tolist() for b in loader]
    workers = loader._kept[1]
    second = iter(loader)
    next(second)
    second.close()  # broken off in the middle
    third = [b["i"].tolist() for b in loader]
    assert loader._kept[1] is workers
    assert sorted(chain(*third)) == sorted(chain(*first)) == list(range(23)) and third != first


def test_broken_off_iterations_leave_no_files_and_no_processes():
    loader = DataLoader(Noisy(), 8, num_workers=2, multiprocessing_context="fork")
    batches = iter(loader)
    next(batches)
    frame = batches.gi_frame.f_locals["batches"]
    workers = frame.gi_frame.f_locals["workers"]
    batches.close()
    frame.close()
    assert not os.path.exists(workers.folder.path)
    assert all(not p.is_alive() for p in workers.processes)


def test_out_of_order_gives_every_batch_once():
    found = [b["i"].tolist() for b in DataLoader(Noisy(), 4, num_workers=3, in_order=False)]
    assert sorted(chain(*found)) == list(range(23))


REFUSED = {
    "workers": ({"num_workers": -1}, "num_workers"),
    "timeout": ({"num_workers": 1, "timeout": -1}, "timeout"),
    "timeout alone": ({"timeout": 5}, "num_workers is 0"),
    "prefetch alone": ({"prefetch_factor": 2}, "num_workers is 0"),
    "prefetch": ({"prefetch_factor": 0, "num_workers": 1}, "at least 1"),
    "persistent": ({"persistent_workers": True}, "num_workers is 0"),
    "context": ({"multiprocessing_context": "fork"}, "num_workers is 0"),
}


@pytest.mark.parametrize("options, text", REFUSED.values(), ids=REFUSED)
def test_refusals(options, text):
    with pytest.raises(ValueError, match=text):
        DataLoader(Noisy(), 2, **options)


def test_pinned_memory_is_said_to_change_nothing():
    with pytest.warns(UserWarning, match="pin_memory"):
        DataLoader(Noisy(), 2, pin_memory=True)
