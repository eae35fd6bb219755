"""Sets of pictures and drawing: files of every format written here, read back, and damaged."""

from __future__ import annotations

import gzip
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.data import DataLoader
from gradloom.datasets.idx import write_idx
from gradloom.errors import ArgumentError, DTypeError, FileError, NotSupportedError, ShapeError, StateError
from gradloom.vision import datasets as D
from gradloom.vision import transforms as T
from gradloom.vision import utils as U

Image = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(11)


# -- folders ------------------------------------------------------------------------------------------------
@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for k, name in enumerate(["b/1.png", "b/deep/2.PNG", "a/x.png", "a/notes.txt"]):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("txt"):
            path.write_text("no picture")
        else:
            Image.fromarray(np.full((4, 5, 3), 10 * k, np.uint8)).save(path)
    return tmp_path


def test_image_folder(folder: Path) -> None:
    found = D.ImageFolder(folder)
    assert found.classes == ["a", "b"] and found.class_to_idx == {"a": 0, "b": 1}
    assert found.targets == [0, 1, 1] and len(found) == 3 and found.imgs == found.samples
    picture, target = found[1]
    assert picture.mode == "RGB" and picture.size == (5, 4) and target == 1
    both = D.ImageFolder(str(folder), transform=T.ToTensor(), target_transform=lambda k: k + 5)
    images, targets = next(iter(DataLoader(both, batch_size=3)))
    assert tuple(images.shape) == (3, 3, 4, 5) and targets.tolist() == [5, 6, 6]
    assert "Number of datapoints: 3" in repr(both) and "Transform: ToTensor()" in repr(both)


def test_folders_of_anything(folder: Path) -> None:
    texts = D.DatasetFolder(folder, lambda p: Path(p).read_text(), (".txt",), allow_empty=True)
    assert list(texts) == [("no picture", 0)]
    chosen = D.ImageFolder(folder, is_valid_file=lambda p: p.endswith(".PNG"), allow_empty=True)
    assert [Path(p).name for p, _ in chosen.samples] == ["2.PNG"]


def test_what_is_wrong_with_folders_is_named(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
        D.ImageFolder(folder / "nowhere")
    with pytest.raises(FileNotFoundError, match="has no folders"):
        D.ImageFolder(folder / "a")
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"for the classes empty; allow_empty=True"):
        D.ImageFolder(folder)
    assert len(D.ImageFolder(folder, allow_empty=True).classes) == 3
    (folder / "empty" / "bad.png").write_bytes(b"not a picture")
    with pytest.raises(FileError, match=r"bad\.png cannot be read as a picture"):
        D.ImageFolder(folder)[3]
    with pytest.raises(ArgumentError, match="either extensions or is_valid_file"):
        D.make_dataset(folder, {"a": 0})
    with pytest.raises(ArgumentError, match="together with"):
        D.VisionDataset(folder, transforms=lambda x, y: (x, y), transform=lambda x: x)


def test_joint_transforms_and_fake_data() -> None:
    fake = D.FakeData(size=4, image_size=(3, 6, 5), num_classes=3)
    assert fake[2][0].size == (5, 6) and 0 <= fake[2][1] < 3 and len(list(fake)) == 4
    assert np.array_equal(np.asarray(fake[1][0]), np.asarray(D.FakeData(4, (3, 6, 5), 3)[1][0]))
    assert np.array_equal(np.asarray(fake[1][0]), np.asarray(D.FakeData(4, (3, 6, 5), 3, random_offset=1)[0][0]))
    with pytest.raises(IndexError):
        fake[4]
    fake.transforms = lambda x, y: (y, x)
    assert isinstance(fake[0][0], int)


# -- MNIST's format -----------------------------------------------------------------------------------------
def write_parts(folder: Path, names: tuple[str, str], images: np.ndarray, labels: np.ndarray, zipped: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(names, (images, labels)):
        data = write_idx(array)
        (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(data) if zipped else data)


DIGITS = RNG.integers(0, 256, (7, 28, 28), dtype=np.uint8)
LABELS = np.arange(7, dtype=np.uint8)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("kind", [D.MNIST, D.KMNIST, D.FashionMNIST])
def test_mnist_and_its_kin(tmp_path: Path, kind: Any, train: bool, zipped: bool) -> None:
    part = "train" if train else "t10k"
    names = (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
    write_parts(tmp_path / kind.__name__ / "raw", names, DIGITS, LABELS, zipped)
    found = kind(tmp_path, train=train)
    np.testing.assert_array_equal(found.data.numpy(), DIGITS)
    assert found.targets.dtype == gl.int64 and found.targets.tolist() == list(range(7))
    picture, target = found[3]
    assert picture.mode == "L" and type(target) is int and target == 3
    np.testing.assert_array_equal(np.asarray(picture), DIGITS[3])
    assert len(found.classes) == 10 and found.class_to_idx[found.classes[2]] == 2
    assert len(list(found)) == 7 and ("Train" if train else "Test") in repr(found)


def test_fashion_mnist_is_shipped(tmp_path: Path) -> None:
    found = D.FashionMNIST(tmp_path, train=False, download=True)
    assert tuple(found.data.shape) == (10000, 28, 28) and found.classes[int(found[0][1])] == "Ankle boot"
    assert not list(tmp_path.iterdir())


def test_emnist_and_qmnist(tmp_path: Path) -> None:
    names = ("emnist-letters-train-images-idx3-ubyte", "emnist-letters-train-labels-idx1-ubyte")
    write_parts(tmp_path / "EMNIST" / "raw", names, DIGITS, LABELS + 1, False)
    letters = D.EMNIST(tmp_path, "letters")
    assert letters[0][1] == 1 and letters.classes[1] == "a"
    assert [len(v) for v in D.EMNIST.classes_split_dict.values()] == [62, 47, 47, 27, 10, 10]
    with pytest.raises(ArgumentError, match="byclass"):
        D.EMNIST(tmp_path, "capitals")
    facts = np.stack([LABELS.astype(np.int32) * k for k in range(1, 9)], 1)
    names = ("qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int")
    write_parts(tmp_path / "QMNIST" / "raw", names, DIGITS, facts, True)
    assert D.QMNIST(tmp_path, train=False)[2][1] == 2
    assert D.QMNIST(tmp_path, "test", compat=False)[2][1].tolist() == [2 * k for k in range(1, 9)]
    assert len(D.QMNIST(tmp_path, "test10k")) == 7 and len(D.QMNIST(tmp_path, "test50k")) == 0


def test_what_is_wrong_with_idx_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="train-images-idx3-ubyte is missing") as caught:
        D.MNIST(tmp_path)
    assert "download=True" in str(caught.value) and isinstance(caught.value, RuntimeError)
    folder, names = tmp_path / "MNIST" / "raw", ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    write_parts(folder, names, DIGITS, LABELS[:5], True)
    with pytest.raises(FileError, match="7 pictures, 5 targets"):
        D.MNIST(tmp_path)
    whole = (folder / f"{names[0]}.gz").read_bytes()
    (folder / f"{names[0]}.gz").write_bytes(whole[:200])
    with pytest.raises(FileError, match=r"train-images-idx3-ubyte\.gz is damaged"):
        D.MNIST(tmp_path)


def test_downloads_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    from gradloom.datasets.download import DownloadError

    place, names = tmp_path / "place", ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    write_parts(place, names, DIGITS, LABELS, True)
    sums = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in place.iterdir()}
    monkeypatch.setattr(D.MNIST, "mirrors", [place.as_uri() + "/"])
    with pytest.raises(DownloadError, match="wrong content"):
        D.MNIST(tmp_path / "root", download=True)
    monkeypatch.setattr(D.MNIST, "resources", sums)
    assert len(D.MNIST(tmp_path / "root", download=True)) == 7
    monkeypatch.setattr(D.MNIST, "mirrors", ["file:///nowhere/"])
    assert len(D.MNIST(tmp_path / "root", download=True)) == 7  # what is there is not fetched again

    archive = tmp_path / "gzip.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for name, array in (("images-idx3", DIGITS), ("labels-idx1", LABELS)):
            out.writestr(f"gzip/emnist-digits-train-{name}-ubyte.gz", gzip.compress(write_idx(array)))
    monkeypatch.setattr(D.EMNIST, "url", archive.as_uri())
    monkeypatch.setattr(D.EMNIST, "sha256", hashlib.sha256(archive.read_bytes()).hexdigest())
    assert len(D.EMNIST(tmp_path / "root", "digits", download=True)) == 7

    write_cifar(tmp_path / "made", D.CIFAR10, 2)
    archive = tmp_path / "cifar.tar.gz"
    with tarfile.open(archive, "w:gz") as out:
        out.add(tmp_path / "made" / D.CIFAR10.base_folder, D.CIFAR10.base_folder)
    monkeypatch.setattr(D.CIFAR10, "url", archive.as_uri())
    monkeypatch.setattr(D.CIFAR10, "sha256", hashlib.sha256(archive.read_bytes()).hexdigest())
    assert len(D.CIFAR10(tmp_path / "root", download=True)) == 10


# -- CIFAR --------------------------------------------------------------------------------------------------
def binstring(data: bytes) -> bytes:
    """How Python 2 wrote a string."""
    return b"T" + len(data).to_bytes(4, "little") + data


def python2_batch(pixels: np.ndarray, labels: list[int], key: str) -> bytes:
    """A batch as Python 2's protocol 2 wrote CIFAR's, instruction by instruction."""
    integer = lambda k: b"J" + int(k).to_bytes(4, "little", signed=True)  # noqa: E731
    dtype = b"cnumpy\ndtype\n" + binstring(b"u1") + integer(0) + integer(1) + b"\x87R"
    dtype += b"(" + integer(3) + binstring(b"|") + b"NNN" + integer(-1) + integer(-1) + integer(0) + b"tb"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + integer(0) + b"\x85" + binstring(b"b") + b"\x87R"
    )
    shape = integer(len(pixels)) + integer(pixels.shape[1]) + b"\x86"
    array += b"(" + integer(1) + shape + dtype + b"\x89" + binstring(pixels.tobytes()) + b"tb"
    numbers = b"](" + b"".join(integer(k) for k in labels) + b"e"
    return b"\x80\x02}(" + binstring(b"data") + array + binstring(key.encode()) + numbers + b"u."


def write_cifar(root: Path, kind: Any, rows: int, protocol: int | None = None) -> list[np.ndarray]:
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    written = []
    for name in (*kind.train_list, *kind.test_list):
        pixels = RNG.integers(0, 256, (rows, 3072), dtype=np.uint8)
        labels = [int(k) for k in RNG.integers(0, 3, rows)]
        if protocol is None:
            data = python2_batch(pixels, labels, kind.labels)
        else:
            data = pickle.dumps({b"data": pixels, kind.labels.encode(): labels}, protocol=protocol)
        (folder / name).write_bytes(data)
        written.append(pixels)
    (folder / kind.meta[0]).write_bytes(pickle.dumps({kind.meta[1]: ["cat", "dog", "eel"]}, protocol=protocol or 2))
    return written


@pytest.mark.parametrize("protocol", [None, 2])
@pytest.mark.parametrize("kind", [D.CIFAR10, D.CIFAR100])
def test_cifar(tmp_path: Path, kind: Any, protocol: int | None) -> None:
    written = write_cifar(tmp_path, kind, 4, protocol)
    train, test = kind(tmp_path), kind(tmp_path, train=False)
    assert train.data.shape == (4 * (len(written) - 1), 32, 32, 3) and train.data.dtype == np.uint8
    expected = np.concatenate(written[:-1]).reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal(train.data.transpose(0, 3, 1, 2), expected)
    np.testing.assert_array_equal(test.data.transpose(0, 3, 1, 2).reshape(4, -1), written[-1])
    picture, target = test[1]
    assert picture.mode == "RGB" and type(target) is int and test.targets[1] == target
    assert train.classes == ["cat", "dog", "eel"] and train.class_to_idx["eel"] == 2


class Evil:
    def __reduce__(self) -> Any:
        return print, ("run",)


def test_cifar_runs_no_code_and_names_what_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StateError, match="data_batch_1 is missing"):
        D.CIFAR10(tmp_path)
    write_cifar(tmp_path, D.CIFAR10, 2)
    batch = tmp_path / D.CIFAR10.base_folder / "data_batch_3"
    whole = batch.read_bytes()
    for data, words in (
        (pickle.dumps({"data": Evil()}), r"data_batch_3: the file asks for builtins\.print"),
        (whole[:3000], "data_batch_3"),
        (b"", "data_batch_3"),
        (pickle.dumps([1]), "holds no batch"),
        (pickle.dumps({"data": 3, "labels": []}), "'data' is not a uint8 array"),
        (whole.replace(b"labels", b"labelz"), "'labels' is not a list of 2"),
    ):
        batch.write_bytes(data)
        with pytest.raises(FileError, match=words):
            D.CIFAR10(tmp_path)
    assert "run" not in capsys.readouterr().out


def test_stl10(tmp_path: Path) -> None:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    pixels = RNG.integers(0, 256, (12, 3, 96, 96), dtype=np.uint8)
    for part in ("train", "test", "unlabeled"):
        pixels.transpose(0, 1, 3, 2).tofile(folder / f"{part}_X.bin")
        (np.arange(12, dtype=np.uint8) % 3 + 1).tofile(folder / f"{part}_y.bin")
    (folder / "class_names.txt").write_text("airplane\nbird\ncar\n")
    (folder / "fold_indices.txt").write_text("\n".join(f"{k} {k + 1} " for k in range(10)))
    train = D.STL10(tmp_path)
    np.testing.assert_array_equal(train.data, pixels)
    np.testing.assert_array_equal(np.asarray(train[4][0]), pixels[4].transpose(1, 2, 0))
    assert train[4][1] == 1 and train.classes[1] == "bird"
    assert D.STL10(tmp_path, folds=3).labels.tolist() == [0, 1]
    both = D.STL10(tmp_path, "train+unlabeled")
    assert len(both) == 24 and both[20][1] == -1
    with pytest.raises(ArgumentError, match="folds=2"):
        D.STL10(tmp_path, "test", folds=2)
    (folder / "test_X.bin").write_bytes(b"123")
    with pytest.raises(FileError, match=r"test_X\.bin is cut short"):
        D.STL10(tmp_path, "test")


def test_absent_sets_say_why() -> None:
    with pytest.raises(NotSupportedError, match="SVHN: its files are MATLAB's"):
        D.SVHN  # noqa: B018
    with pytest.raises(AttributeError, match="there are"):
        D.Nothing  # noqa: B018


# -- utils --------------------------------------------------------------------------------------------------
def test_grids() -> None:
    x = RNG.random((5, 3, 4, 6)).astype(np.float32)
    grid = U.make_grid(gl.tensor(x), nrow=3, padding=1, pad_value=0.5).numpy()
    assert grid.shape == (3, 11, 22)
    np.testing.assert_array_equal(grid[:, 6:10, 8:14], x[4])
    assert (grid[:, 0] == 0.5).all() and (grid[:, 6:10, 15:21] == 0.5).all()
    one = U.make_grid([gl.tensor(x[0, :1]), gl.tensor(x[1, :1])], padding=0, normalize=True).numpy()
    assert one.shape == (3, 4, 12) and one.min() == 0 and one.max() == 1
    each = U.make_grid(gl.tensor(x), normalize=True, scale_each=True, padding=0, nrow=5).numpy()
    assert all(each[:, :, 6 * k : 6 * k + 6].max() == 1 for k in range(5))
    fixed = U.make_grid(gl.tensor(x), normalize=True, value_range=(0.25, 0.75), padding=0, nrow=5).numpy()
    np.testing.assert_allclose(fixed[:, :, :6], (x[0].clip(0.25, 0.75) - 0.25) * 2, rtol=1e-6)
    assert tuple(U.make_grid(gl.tensor(x[0, 0])).shape) == (3, 4, 6)
    with pytest.raises(ShapeError):
        U.make_grid(gl.zeros(0, 3, 2, 2))
    with pytest.raises(DTypeError, match="normalize"):
        U.make_grid(gl.zeros(2, 3, 2, 2, dtype=gl.uint8), normalize=True)


def test_saved_pictures(tmp_path: Path) -> None:
    x = RNG.random((3, 5, 4)).astype(np.float32)
    U.save_image(gl.tensor(x), tmp_path / "x.png")
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "x.png")), (x * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
    )


BLACK = gl.zeros(3, 20, 20, dtype=gl.uint8)


def test_boxes_are_drawn() -> None:
    out = U.draw_bounding_boxes(BLACK, gl.tensor([[2, 3, 10, 12]]), colors="red").numpy()
    assert out[0, 3, 2:11].tolist() == [255] * 9 and out[0, 3:13, 10].tolist() == [255] * 10
    assert not out[1:].any() and out[0].sum() == 255 * (2 * 9 + 2 * 8)
    filled = U.draw_bounding_boxes(BLACK, gl.tensor([[2, 3, 10, 12]]), colors=[(0, 255, 0)], fill=True).numpy()
    assert 90 <= filled[1, 7, 7] <= 110
    labelled = U.draw_bounding_boxes(
        BLACK, gl.tensor([[0, 0, 19, 19]]), ["x"], colors="red", label_colors="blue"
    ).numpy()
    assert labelled[2].any()
    floats = U.draw_bounding_boxes(gl.zeros(1, 20, 20), gl.tensor([[2, 3, 10, 12]]), colors="red")
    assert floats.dtype == gl.float32 and floats.max().item() == 1.0
    np.testing.assert_array_equal(U.draw_bounding_boxes(BLACK, gl.zeros(0, 4)).numpy(), 0)
    for boxes, options, error in (
        (gl.tensor([[5, 5, 2, 9]]), {}, ArgumentError),
        (gl.tensor([5, 5, 2, 9]), {}, ShapeError),
        (gl.tensor([[1, 1, 2, 2]]), {"labels": ["a", "b"]}, ArgumentError),
        (gl.tensor([[1, 1, 2, 2]]), {"colors": []}, ArgumentError),
    ):
        with pytest.raises(error):
            U.draw_bounding_boxes(BLACK, boxes, **options)


def test_masks_and_points_are_drawn() -> None:
    masks = np.zeros((2, 20, 20), bool)
    masks[0, :10], masks[1, 5:15] = True, True
    image = gl.full((3, 20, 20), 100, dtype=gl.uint8)
    out = U.draw_segmentation_masks(image, gl.tensor(masks), 0.5, ["red", "blue"]).numpy()
    assert out[:, 0, 0].tolist() == [177, 50, 50] and out[:, 12, 0].tolist() == [50, 50, 177]
    assert out[:, 7, 0].tolist() == [113, 50, 113] and out[:, 19, 0].tolist() == [100] * 3
    with pytest.raises(DTypeError, match="expected bool"):
        U.draw_segmentation_masks(image, gl.zeros(20, 20))
    with pytest.raises(ShapeError, match="masks of shape"):
        U.draw_segmentation_masks(image, gl.tensor(masks[:, :4]))
    points = gl.tensor([[[5, 5], [15, 5]]])
    out = U.draw_keypoints(BLACK, points, [(0, 1)], "red", radius=1, width=1).numpy()
    assert out[:, 5, 5].tolist()[0] == 255 and out[:, 5, 10].tolist() == [255] * 3 and not out[:, 10].any()
    hidden = U.draw_keypoints(BLACK, points, [(0, 1)], visibility=gl.tensor([[True, False]])).numpy()
    assert hidden[:, 5, 5].any() and not hidden[:, 5, 10].any() and not hidden[:, 5, 15].any()
