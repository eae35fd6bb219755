"""Data sets: what is shipped is the real thing, caches may break, downloads resume and are checked."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gradloom.datasets import cache, fashion_mnist
from gradloom.datasets.download import DownloadError, fetch
from gradloom.datasets.idx import read_idx, write_idx
from gradloom.datasets.packed import pack, unpack

# --- IDX and the packed form -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
def test_idx_round_trip(dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    back = read_idx(write_idx(array))
    assert back.dtype == array.dtype
    assert back.dtype.isnative
    np.testing.assert_array_equal(back, array)


def test_idx_is_big_endian() -> None:
    assert write_idx(np.array([[1, 258]], np.int16)) == bytes.fromhex("00000b02 00000001 00000002 0001 0102")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an IDX file"),
        (b"\x1f\x8b\x08\x00", "not an IDX file"),
        (b"\0\0\x08\x02\0\0\0\x01", "cut short"),
        (b"\0\0\x08\x01\0\0\0\x03ab", "should hold 3 bytes of values, but holds 2"),
        (b"\0\0\x08\x01\0\0\0\x03abcd", "should hold 3 bytes of values, but holds 4"),
    ],
)
def test_idx_refuses_damage(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_idx(data)


def test_idx_refuses_other_dtypes() -> None:
    with pytest.raises(ValueError, match="not complex64"):
        write_idx(np.zeros(3, np.complex64))


def test_packed_round_trip_and_damage(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (25, 4, 3), np.uint8)
    paths = pack(array, tmp_path, "x", rows=10)
    assert [p.name for p in paths] == ["x-0.idx.xz", "x-1.idx.xz", "x-2.idx.xz"]
    np.testing.assert_array_equal(unpack(tmp_path, "x"), array)
    paths[1].write_bytes(paths[1].read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"x-1\.idx\.xz is damaged"):
        unpack(tmp_path, "x")
    with pytest.raises(FileNotFoundError, match="not whole"):
        unpack(tmp_path, "y")


# --- Fashion-MNIST ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that one decoding has filled."""
    folder = tmp_path_factory.mktemp("fashion")
    fashion_mnist.load_data(source="shipped", folder=folder)
    return folder


def test_shipped_data_is_the_real_thing(kept: Path) -> None:
    (x_train, y_train), (x_test, y_test) = fashion_mnist.load_data(folder=kept)
    for x, y, count in ((x_train, y_train, 60000), (x_test, y_test, 10000)):
        assert x.shape == (count, 28, 28)
        assert y.shape == (count,)
        assert x.dtype == y.dtype == np.uint8
        np.testing.assert_array_equal(np.bincount(y), np.full(10, count // 10))
    # known of the data set: the first nine labels, and the mean and deviation that everybody normalises with
    assert y_train[:9].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5]
    assert x_train.mean() / 255 == pytest.approx(0.2860, abs=5e-5)
    assert x_train.std() / 255 == pytest.approx(0.3530, abs=5e-5)
    assert len(fashion_mnist.LABELS) == 10


def test_second_load_maps_the_decoded_copy(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "unpack", lambda *_: pytest.fail("decoded again"))
    (x, _), _ = fashion_mnist.load_data(folder=kept)
    assert isinstance(x.base, np.memmap)


def test_writing_to_the_arrays_leaves_the_copy_alone(kept: Path) -> None:
    (x, _), _ = fashion_mnist.load_data(folder=kept)
    x[0] = 7
    (again, _), _ = fashion_mnist.load_data(folder=kept)
    assert again[0].max() > 7


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "pickle"])
def test_a_damaged_copy_is_noticed_and_replaced(kept: Path, damage: str) -> None:
    path = kept / "test-labels.npy"
    good = path.read_bytes()
    bad = {"flip": good[:-1] + bytes([good[-1] ^ 1]), "cut": good[:500], "empty": b"", "pickle": b"\x80\x04]\x94."}
    path.write_bytes(bad[damage])
    _, (_, y) = fashion_mnist.load_data(folder=kept)
    assert cache.digest(y) == hashlib.sha256(good[-10000:]).hexdigest()
    assert path.read_bytes() == good


def test_a_folder_that_cannot_be_made_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert not cache.save_array(tmp_path / "file" / "x.npy", np.zeros(3))
    assert cache.load_array(tmp_path / "file" / "x.npy", "0" * 64) is None


def test_atomic_write_leaves_no_trace_of_a_failure(tmp_path: Path) -> None:
    with pytest.raises(KeyError), cache.atomic_write(tmp_path / "x") as file:
        file.write(b"half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", str(tmp_path))
    assert cache.folder("a") == tmp_path / "datasets" / "a"
    monkeypatch.delenv("GRADLOOM_CACHE_DIR")
    if os.name == "posix" and os.uname().sysname == "Linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert cache.folder("a") == tmp_path / "xdg" / "gradloom" / "datasets" / "a"


def test_unknown_source() -> None:
    with pytest.raises(ValueError, match="source='web': choose one of 'auto', 'shipped', 'system', 'download'"):
        fashion_mnist.load_data(source="web")


@pytest.mark.skipif(not fashion_mnist.SYSTEM_FOLDER.is_dir(), reason="Debian's package is not installed")
def test_system_files_equal_the_shipped(kept: Path) -> None:
    for ours, theirs in zip(fashion_mnist.load_data(folder=kept), fashion_mnist.load_data(source="system")):
        for a, b in zip(ours, theirs):
            np.testing.assert_array_equal(a, b)


def test_system_files_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match="dataset-fashion-mnist"):
        fashion_mnist.load_data(source="system")


def test_values_of_another_data_set_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(write_idx(np.zeros((3, 28, 28), np.uint8))))
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"is not Fashion-MNIST's: shape \(3, 28, 28\)"):
        fashion_mnist.load_data(source="system")


# --- downloads, from a server on this machine ------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files`` by path; ``break_after`` cuts that many answers off half way; ``ranges`` turns resuming off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.break_answers = 0
        self.ranges = True
        self.log: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.log.append((self.path, wanted))
        data = self.server.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        start = 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start:]
        if self.server.break_answers:
            self.server.break_answers -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


BODY = np.random.default_rng(1).bytes(600_000)
SUM = hashlib.sha256(BODY).hexdigest()


def test_fetch_once(server: Server, tmp_path: Path) -> None:
    server.files["/f"] = BODY
    seen: list[tuple[int, int | None]] = []
    path = fetch(
        [server.url + "f"], tmp_path / "new" / "f", SUM, progress=lambda done, total: seen.append((done, total))
    )
    assert path.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    fetch([server.url + "f"], path, SUM)
    fetch([server.url + "f"], path, f"sha256:{SUM.upper()}")
    assert len(server.log) == 1, "a whole file is not fetched again"
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        fetch([server.url + "f"], path, SUM[:-1])
    assert [p.name for p in path.parent.iterdir()] == ["f"]


def test_fetch_resumes_what_broke_off(server: Server, tmp_path: Path) -> None:
    server.files["/f"] = BODY
    server.break_answers = 1
    assert fetch([server.url + "f"], tmp_path / "f", SUM).read_bytes() == BODY
    assert server.log == [("/f", None), ("/f", f"bytes={len(BODY) // 2}-")]


def test_fetch_resumes_in_a_later_call(server: Server, tmp_path: Path) -> None:
    server.files["/f"] = BODY
    server.break_answers = 1
    with pytest.raises(DownloadError, match="broke off, 300000 bytes missing"):
        fetch([server.url + "f"], tmp_path / "f", SUM, attempts=1)
    assert [p.name for p in tmp_path.iterdir()] == ["f.part"]
    fetch([server.url + "f"], tmp_path / "f", SUM)
    assert server.log[-1] == ("/f", "bytes=300000-")


def test_fetch_from_a_place_that_does_not_resume(server: Server, tmp_path: Path) -> None:
    server.files["/f"] = BODY
    server.ranges = False
    server.break_answers = 1
    assert fetch([server.url + "f"], tmp_path / "f", SUM).read_bytes() == BODY


@pytest.mark.parametrize("stale", [BODY + b"more", b"x" * len(BODY), b"other"], ids=["longer", "as long", "shorter"])
def test_fetch_recovers_from_a_stale_part(server: Server, tmp_path: Path, stale: bytes) -> None:
    server.files["/f"] = BODY
    (tmp_path / "f.part").write_bytes(stale)
    assert fetch([server.url + "f"], tmp_path / "f", SUM).read_bytes() == BODY
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_fetch_goes_on_to_the_next_mirror(server: Server, tmp_path: Path) -> None:
    server.files["/bad/f"] = b"an error page"
    server.files["/good/f"] = BODY
    urls = [server.url + folder + "f" for folder in ("gone/", "bad/", "good/")]
    assert fetch(urls, tmp_path / "f", SUM).read_bytes() == BODY
    assert [path for path, _ in server.log] == ["/gone/f", "/bad/f", "/good/f"]


def test_fetch_says_what_each_place_answered(server: Server, tmp_path: Path) -> None:
    server.files["/bad/f"] = b"an error page"
    with pytest.raises(DownloadError) as caught:
        fetch([server.url + "gone/f", server.url + "bad/f", "http://127.0.0.1:9/f"], tmp_path / "f", SUM, attempts=1)
    text = str(caught.value)
    assert "could not fetch f. Put the file at" in text
    assert "HTTP Error 404" in text
    assert "wrong content, SHA-256" in text
    assert "refused" in text
    assert list(tmp_path.iterdir()) == []


def test_fetch_replaces_a_damaged_file(server: Server, tmp_path: Path) -> None:
    server.files["/f"] = BODY
    (tmp_path / "f").write_bytes(b"damaged")
    assert fetch([server.url + "f"], tmp_path / "f", SUM).read_bytes() == BODY


@pytest.mark.skipif(os.name != "posix", reason="needs file locks")
def test_fetch_beside_another_fetch(server: Server, tmp_path: Path) -> None:
    import fcntl

    server.files["/f"] = BODY
    with open(tmp_path / "f.part", "wb") as other:
        other.write(b"half")
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        assert fetch([server.url + "f"], tmp_path / "f", SUM).read_bytes() == BODY
        assert (tmp_path / "f.part").read_bytes() == b"half", "the other's part is left alone"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", "f.part"]


def _original(part: fashion_mnist._Part, kept: Path) -> bytes:
    """An original file, rebuilt from the shipped values. gzip's output is not the original's, so its sum differs."""
    values = np.load(kept / f"{part.name}.npy")
    head = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    return gzip.compress(head + values.tobytes(), compresslevel=1)


def test_download_of_the_four_files(
    server: Server, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = []
    for part in fashion_mnist._PARTS:
        data = _original(part, kept)
        server.files["/data/" + part.file] = data
        parts.append(part._replace(file_sha256=hashlib.sha256(data).hexdigest()))
    monkeypatch.setattr(fashion_mnist, "_PARTS", tuple(parts))
    mirrors = [server.url + "gone/", server.url + "data/"]
    loaded = fashion_mnist.load_data(source="download", folder=tmp_path, mirrors=mirrors)
    for ours, theirs in zip(fashion_mnist.load_data(folder=kept), loaded):
        for a, b in zip(ours, theirs):
            np.testing.assert_array_equal(a, b)
    asked = len(server.log)
    fashion_mnist.load_data(source="download", folder=tmp_path, mirrors=mirrors)
    assert len(server.log) == asked, "what was fetched is kept"
    monkeypatch.setattr(fashion_mnist, "unpack", lambda *_: pytest.fail("decoded again"))
    fashion_mnist.load_data(folder=tmp_path)


def test_mirrors_end_in_a_slash() -> None:
    assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in fashion_mnist.MIRRORS)
