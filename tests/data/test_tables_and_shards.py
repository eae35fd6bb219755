"""Files of data: tables, arrays on disk, tar shards, padding; and the report on data."""

from __future__ import annotations

import gzip
import io
import tarfile

import numpy as np
import pytest

import gradloom as gl
from gradloom.data import (
    BalancedSampler,
    BucketBatchSampler,
    DataLoader,
    DistributedSampler,
    MemoryMapDataset,
    ShardDataset,
    TableDataset,
    TensorDataset,
    examine,
    pad_collate,
    read_table,
    write_shards,
)
from gradloom.errors import DTypeError, FileError, ShapeError, StateError

CSV = "size,colour,weight,kind\n1,red,2.5,a\n2,blue,,b\n3,red,4.5,a\n"


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(CSV)
    return path


def test_columns_have_types(csv, tmp_path):
    table = read_table(csv)
    assert {k: v.dtype.kind for k, v in table.items()} == {"size": "i", "colour": "U", "weight": "f", "kind": "U"}
    np.testing.assert_array_equal(table["weight"], [2.5, np.nan, 4.5])
    (tmp_path / "t.tsv").write_text('a\tb\n"1\n2"\tx\n')
    assert read_table(tmp_path / "t.tsv")["a"].tolist() == ["1\n2"]
    (tmp_path / "s.csv").write_text("a;b\n1;2\n")
    assert read_table(tmp_path / "s.csv")["b"].tolist() == [2]


def test_text_files_of_other_kinds(tmp_path):
    with gzip.open(tmp_path / "t.csv.gz", "wt") as file:
        file.write("a,b\n 1,2.5\n")
    assert {k: v.tolist() for k, v in read_table(tmp_path / "t.csv.gz").items()} == {"a": [1], "b": [2.5]}
    (tmp_path / "bare.csv").write_text("1,x\n2,y\n")
    assert read_table(tmp_path / "bare.csv", names=["n", "t"])["n"].tolist() == [1, 2]
    (tmp_path / "old.csv").write_bytes("a,b\n1,é\n".encode("latin-1"))
    assert read_table(tmp_path / "old.csv", encoding="latin-1")["b"].tolist() == ["é"]
    (tmp_path / "long.csv").write_text("id,n\n12345678901234567890,1\n")
    assert read_table(tmp_path / "long.csv")["id"].tolist() == ["12345678901234567890"]


def test_a_table_as_tensors(csv):
    data = TableDataset(csv, "kind", missing="mean")
    assert data.names == ["size", "colour=blue", "colour=red", "weight"] and data.classes == ["a", "b"]
    x, y = data.tensors
    assert x.dtype is gl.float32 and y.dtype is gl.int64
    np.testing.assert_array_equal(x.numpy(), [[1, 0, 1, 2.5], [2, 1, 0, 3.5], [3, 0, 1, 4.5]])
    other = {"size": [9], "colour": ["green"], "weight": [np.nan], "kind": ["b"]}
    later = TableDataset(other, "kind", missing="mean", like=data)
    np.testing.assert_array_equal(later.tensors[0].numpy(), [[9, 0, 0, 3.5]])
    assert later.tensors[1].tolist() == [1]
    numbers = TableDataset({"a": [1.0], "b": [2.5]}, "b")
    assert numbers.tensors[1].dtype is gl.float32


def test_frames_of_other_libraries():
    pandas = pytest.importorskip("pandas")
    data = TableDataset(pandas.DataFrame({"a": [1, 2], "t": ["x", "y"]}), "t")
    assert data.tensors[0].tolist() == [[1.0], [2.0]]


def test_parquet(tmp_path):
    parquet, pyarrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    parquet.write_table(pyarrow.table({"a": [1, 2], "b": ["x", "y"]}), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet")["a"].tolist() == [1, 2]
    table = pyarrow.table({"a": [1, None], "b": ["x", "y"]})
    for name, begin in (("t.arrow", pyarrow.ipc.new_file), ("t.arrows", pyarrow.ipc.new_stream)):
        with begin(str(tmp_path / name), table.schema) as writer:
            writer.write_table(table)
        assert read_table(tmp_path / name)["b"].tolist() == ["x", "y"]
    for name in ("t.parquet", "t.arrow", "t.arrows"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(FileError, match="damaged"):
            read_table(tmp_path / name)
    assert TableDataset(pyarrow.table({"a": [1, 2], "t": ["x", "y"]}), "t").tensors[1].tolist() == [0, 1]


TABLES = {
    "fields": (FileError, "line 3: 1 fields", lambda p: read_table(put(p, "a,b\n1,2\n3\n"))),
    "empty": (FileError, "is empty", lambda p: read_table(put(p, ""))),
    "twice": (FileError, "twice", lambda p: read_table(put(p, "a,a\n1,2\n"))),
    "heading": (FileError, "numbers where the names", lambda p: read_table(put(p, "1,2\n3,4\n"))),
    "encoding": (FileError, "no text in utf-8", lambda p: read_table(put(p, "a\né\n", "latin-1"))),
    "packed": (FileError, "damaged", lambda p: read_table(put(p, "a\n1\n").rename(p / "x.csv.gz"))),
    "column": (StateError, "no column 'z'", lambda p: TableDataset(put(p, CSV), "z")),
    "missing": (StateError, "'weight' has no number in row 1", lambda p: TableDataset(put(p, CSV), "kind")),
    "target": (StateError, "missing in row 1", lambda p: TableDataset(put(p, CSV), "weight")),
    "classes": (DTypeError, "training set has not: c", lambda p: TableDataset(
        {"x": [1], "k": ["c"]}, "k", like=TableDataset({"x": [1], "k": ["a"]}, "k"))),
    "source": (TypeError, "a table is", lambda p: TableDataset(3, "k")),
    "mode": (ValueError, "missing is", lambda p: TableDataset(put(p, CSV), "kind", missing="zero")),
}  # fmt: skip


def put(folder, text, encoding="utf-8"):
    path = folder / "x.csv"
    path.write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize("error, text, call", TABLES.values(), ids=TABLES)
def test_tables_that_are_refused(error, text, call, tmp_path):
    with pytest.raises(error, match=text):
        call(tmp_path)


def test_arrays_on_disk(tmp_path):
    x, y = np.arange(40.0).reshape(10, 4), np.arange(10)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    data = MemoryMapDataset(tmp_path / "x.npy", tmp_path / "y.npy")
    for how in ({}, {"num_workers": 2}, {"num_workers": 1, "multiprocessing_context": "spawn"}):
        batches = list(DataLoader(data, 4, shuffle=True, **how))
        order = np.concatenate([b.numpy() for _, b in batches])
        assert sorted(order) == list(range(10))
        np.testing.assert_array_equal(np.concatenate([a.numpy() for a, _ in batches]), x[order])
    np.save(tmp_path / "z.npy", y[:3])
    with pytest.raises(ShapeError, match="different numbers of rows"):
        MemoryMapDataset(tmp_path / "x.npy", tmp_path / "z.npy")


def shards(tmp_path, count=23):
    samples = ({"npy": np.full((2, 2), k), "cls": k, "json": {"k": k}, "raw": bytes([k])} for k in range(count))
    return write_shards(samples, str(tmp_path / "s-{:03d}.tar"), size=5)


def test_shards_there_and_back(tmp_path):
    assert len(shards(tmp_path)) == 5
    samples = list(ShardDataset(str(tmp_path / "s-*.tar")))
    assert [s["cls"] for s in samples] == list(range(23))
    assert samples[7]["json"] == {"k": 7} and samples[7]["raw"] == b"\x07" and samples[7]["__key__"] == "000000007"
    np.testing.assert_array_equal(samples[7]["npy"], np.full((2, 2), 7))
    assert next(iter(ShardDataset(str(tmp_path / "s-*.tar"), decode=False)))["cls"] == b"0"
    assert next(iter(ShardDataset(str(tmp_path / "s-*.tar"), decode={"raw": len})))["raw"] == 1


@pytest.mark.parametrize("how", [{}, {"num_workers": 2}, {"num_workers": 2, "multiprocessing_context": "fork"}])
def test_shards_in_a_loader(tmp_path, how):
    shards(tmp_path)
    parts = []
    for rank in (0, 1):
        data = ShardDataset(str(tmp_path / "s-*.tar"), shuffle=6, num_replicas=2, rank=rank, seed=3)
        epochs = [[int(k) for b in DataLoader(data, 4, **how) for k in b["cls"]] for _ in range(1)]
        again = ShardDataset(str(tmp_path / "s-*.tar"), shuffle=6, num_replicas=2, rank=rank, seed=3)
        assert [int(k) for b in DataLoader(again, 4, **how) for k in b["cls"]] == epochs[0]
        parts += epochs[0]
    assert sorted(parts) == list(range(23)) and parts != sorted(parts)


def test_shards_that_are_refused(tmp_path):
    paths = shards(tmp_path)
    paths[0].write_bytes(paths[0].read_bytes()[:700])
    with pytest.raises(FileError, match="not a whole tar file"):
        list(ShardDataset([paths[0]]))
    with pytest.raises(FileError, match="no file fits"):
        ShardDataset(str(tmp_path / "none-*.tar"))
    with pytest.raises(ValueError, match="place for the number"):
        write_shards([], "one.tar")
    with pytest.raises(TypeError, match="must be bytes"):
        write_shards([{"jpg": 3}], str(tmp_path / "{}.tar"))
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        member = tarfile.TarInfo("a.cls")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(FileError, match="part 'cls' of sample 'a'"):
        list(ShardDataset([tmp_path / "bad.tar"]))


def test_padding_and_buckets():
    data = [(np.arange(n), n % 3) for n in (3, 1, 5, 2, 2, 4, 1, 3)]
    lengths = [len(a) for a, _ in data]
    sampler = BucketBatchSampler(lengths, 2, shuffle=False)
    batches = list(DataLoader(data, batch_sampler=sampler, collate_fn=pad_collate))
    assert [b[0].shape for b in batches] == [(2, 1), (2, 2), (2, 3), (2, 5)]
    x, label, n = batches[3]
    assert n.tolist() == [4, 5] and label.tolist() == [1, 2] and x[0].tolist() == [0, 1, 2, 3, 0]
    with pytest.raises(ShapeError, match="longer than 3"):
        pad_collate(data, length=3)
    shuffled = BucketBatchSampler(lengths * 20, 4, max_tokens=12, pool=5, generator=1)
    batches = list(shuffled)
    assert sorted(i for b in batches for i in b) == list(range(160))
    assert len(shuffled) == len(batches) and all(max((lengths * 20)[i] for i in b) * len(b) <= 12 for b in batches)
    shuffled.set_epoch(1)
    assert list(shuffled) != batches
    for options in ({"batch_size": 0}, {"batch_size": 2, "max_tokens": 4}):
        with pytest.raises(ValueError, match=r"positive|max_tokens"):
            BucketBatchSampler(lengths, **options)


def test_balanced_and_distributed_samplers():
    labels = [0] * 90 + [1] * 8 + [2] * 2
    drawn = np.array(labels)[list(BalancedSampler(labels, 300, generator=0))]
    assert np.bincount(drawn).tolist() == [100, 100, 100]
    parts = [list(DistributedSampler(range(10), 3, rank, seed=2)) for rank in range(3)]
    assert [len(p) for p in parts] == [4, 4, 4] and set(sum(parts, [])) == set(range(10))  # noqa: RUF017
    short = [list(DistributedSampler(range(10), 3, rank, shuffle=False, drop_last=True)) for rank in range(3)]
    assert short == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    with pytest.raises(RuntimeError, match="num_replicas"):
        DistributedSampler(range(10))
    with pytest.raises(ValueError, match="rank"):
        DistributedSampler(range(10), 2, 2)


def data_of(x, y):
    return TensorDataset(gl.tensor(np.asarray(x)), gl.tensor(np.asarray(y)))


RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3)).astype(np.float32)
Y = np.tile([0, 1, 2], 20)


def test_good_data_gives_no_problems():
    report = examine(data_of(X[:40], Y[:40]), data_of(X[40:], Y[40:]), classes=3)
    assert not report and report.parts["train"]["labels"]["counts"][0] == 14
    assert "nothing suspicious" in str(report) and "3 classes" in str(report)


def test_loaders_and_arrays_are_looked_through_by_sample():
    wanted = str(examine(spoiled(x7=np.nan)))
    x = X.copy()
    x[7] = np.nan
    assert str(examine(DataLoader(spoiled(x7=np.nan), 16, shuffle=True))) == str(examine((x, Y))) == wanted


def spoiled(**changes):
    x, y = X.copy(), Y.copy()
    for place, value in changes.items():
        (x if place[0] == "x" else y)[int(place[1:])] = value
    return data_of(x, y)


PROBLEMS = {
    "nan": (lambda: examine(spoiled(x7=np.nan)), "NaN or infinite in 1 samples (7)"),
    "range": (lambda: examine(spoiled(y5=3), classes=3), "label 3 is not below 3, the number of classes (5)"),
    "negative": (lambda: examine(spoiled(y5=-1)), "label -1 is negative (5)"),
    "repeat": (lambda: examine(spoiled(x9=X[3], y9=Y[3])), "1 samples come again (3 = 9)"),
    "torn": (lambda: examine(spoiled(x9=X[4])), "1 inputs have different targets (4 and 9)"),
    "leak": (lambda: examine(data_of(X, Y), data_of(X[50:], Y[50:])), "10 inputs are in train and in validation"),
    "imbalance": (lambda: examine(data_of(X, [0] * 57 + [1, 1, 2])), "class 0 has 57 samples, class 2 has 1"),
    "one": (lambda: examine(data_of(X, Y * 0)), "all samples have the label 0"),
    "from one": (lambda: examine(data_of(X, Y + 1)), "do labels start at 1?"),
    "new class": (lambda: examine(data_of(X[:30], Y[:30]), None, data_of(X[30:], Y[30:] + 1)), "test has classes"),
    "scale": (lambda: examine(data_of(np.abs(X) * 90, Y)), "scale it"),
    "same": (lambda: examine(data_of(X * 0 + 1, Y)), "the same in every sample"),
    "dtype": (lambda: examine(data_of(X, Y.astype("f")), classes=3), "losses of classes take int64"),
    "empty": (lambda: examine([]), "train has no samples"),
    "targets": (lambda: examine(data_of(X, np.where(Y, np.nan, 1.0))), "targets are NaN"),
}


@pytest.mark.parametrize("call, text", PROBLEMS.values(), ids=PROBLEMS)
def test_problems_are_told(call, text):
    report = call()
    assert report and any(text in problem for problem in report.problems), report.problems
    assert f"! {report.problems[0]}" in str(report)
