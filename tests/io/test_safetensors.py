"""Weight files: what is written is read, also by the safetensors library, and a failed save changes nothing."""

from __future__ import annotations

import os

import ml_dtypes
import numpy as np
import pytest
from safetensors.torch import load_file as load_torch

from gradloom.io import load, save
from gradloom.tensor import from_numpy, tensor


def test_round_trip_and_the_library_reads_it(tmp_path):
    path = tmp_path / "w.safetensors"
    arrays = {
        "a.kernel": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32),
        "b": np.arange(5),
        "c": np.array(2.5, np.float64),
        "d": np.array([True, False]),
        "h": np.arange(4, dtype=np.float32).astype(ml_dtypes.bfloat16),
    }
    save({name: from_numpy(a) for name, a in arrays.items()}, path, {"note": "x"})
    found = {name: t.numpy() for name, t in load(path).items()}
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array), name
    theirs = load_torch(path)
    assert set(theirs) == set(arrays)
    for name, array in arrays.items():
        assert np.array_equal(theirs[name].double().numpy(), array.astype(np.float64)), name


def test_transposed_tensors_are_laid_out(tmp_path):
    t = tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    save({"t": t.T}, tmp_path / "t.safetensors")
    assert load(tmp_path / "t.safetensors")["t"].tolist() == [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "w.safetensors"
    save({"a": tensor([1.0])}, path)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space"):
        save({"a": tensor([2.0])}, path)
    monkeypatch.undo()
    assert load(path)["a"].tolist() == [1.0]
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_damaged_file_is_named(tmp_path):
    path = tmp_path / "w.safetensors"
    save({"a": tensor(np.ones(100, np.float32))}, path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"w\.safetensors is no intact"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.safetensors")


def test_dtypes_that_are_not_ours_are_refused(tmp_path):
    header = b'{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,2]}}'
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"12")
    with pytest.raises(TypeError, match="'a' has dtype F4"):
        load(path)
