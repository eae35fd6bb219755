"""Event files: read back record by record, by a reader of our own and by TensorBoard where it is installed."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

import gradloom as gl
from gradloom.errors import ShapeError
from gradloom.io.event_records import crc32c
from gradloom.utils.tensorboard import SummaryWriter


def fields(data: bytes):
    """The fields of a message: number to the list of its values."""
    out: dict[int, list] = {}
    at = 0

    def varint():
        nonlocal at
        n = shift = 0
        while True:
            b = data[at]
            at += 1
            n |= (b & 127) << shift
            shift += 7
            if b < 128:
                return n

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            value: object = varint()
        elif kind == 2:
            size = varint()
            value = data[at : at + size]
            at += size
        else:
            size = 8 if kind == 1 else 4
            (value,) = struct.unpack("<d" if kind == 1 else "<f", data[at : at + size])
            at += size
        out.setdefault(key >> 3, []).append(value)
    return out


def events(folder):
    (path,) = [p for p in folder.iterdir() if p.is_file()]
    data, out = path.read_bytes(), []
    while data:
        (n,) = struct.unpack("<Q", data[:8])
        body = data[12 : 12 + n]
        for part, crc in ((data[:8], data[8:12]), (body, data[12 + n : 16 + n])):
            c = crc32c(part)
            assert struct.unpack("<I", crc)[0] == ((c >> 15 | c << 17) + 0xA282EAD8) & 0xFFFFFFFF
        out.append(fields(body))
        data = data[16 + n :]
    return out


def values(folder):
    found = {}
    for e in events(folder)[1:]:
        v = fields(fields(e[5][0])[1][0])
        found[v[1][0].decode()] = (e.get(2, [None])[0], v)
    return found


def test_checksum():
    assert crc32c(b"123456789") == 0xE3069283


def test_everything_is_read_back(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=1000)
    image = rng.integers(0, 256, (3, 5, 7), dtype=np.uint8)
    with SummaryWriter(tmp_path) as w:
        w.add_scalar("loss", gl.tensor(1.5), 3, walltime=12.5)
        w.add_scalar("wide", 0.1, 4, new_style=True, double_precision=True)
        w.add_histogram("weights", gl.tensor(x), 5)
        w.add_image("picture", gl.tensor(image), 6)
        w.add_images("batch", np.ones((9, 1, 2, 2), np.float32), 7)
        w.add_text("note", "**hello**", 8)
        assert w.get_logdir() == str(tmp_path)
    first = events(tmp_path)[0]
    assert first[3] == [b"brain.Event:2"]
    found = values(tmp_path)
    assert found["loss"][0] == 3 and found["loss"][1][2] == [1.5] and events(tmp_path)[1][1] == [12.5]
    tensor = fields(found["wide"][1][8][0])
    assert tensor[1] == [2] and np.frombuffer(tensor[6][0], "<f8").tolist() == [0.1]
    h = fields(found["weights"][1][5][0])
    counts, limits = np.frombuffer(h[7][0], "<f8"), np.frombuffer(h[6][0], "<f8")
    assert counts.sum() == h[3][0] == 1000 and len(counts) == len(limits) and h[1][0] == x.min() and h[4][0] == x.sum()
    for k in range(1, len(limits)):
        assert counts[k] == ((x >= limits[k - 1]) & (x < limits[k])).sum()
    p = fields(found["picture"][1][4][0])
    assert (p[1], p[2], p[3]) == ([5], [7], [3])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(p[4][0]))), image.transpose(1, 2, 0))
    b = fields(found["batch"][1][4][0])
    assert np.asarray(Image.open(io.BytesIO(b[4][0]))).shape == (4, 16)
    note = found["note/text_summary"][1]
    assert fields(note[8][0])[8] == [b"**hello**"] and fields(fields(note[9][0])[1][0])[1] == [b"text"]


def test_scalars_figures_and_refusals(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    w = SummaryWriter(tmp_path, max_queue=0)
    w.add_scalars("run", {"a": 1.0, "b": 2.0}, 0)
    figure = pyplot.figure(figsize=(1, 1), dpi=50)
    w.add_figure("figure", figure, 1)
    assert fields(values(tmp_path)["figure"][1][4][0])[1] == [50]
    with pytest.raises(ShapeError, match="more than one"):
        w.add_scalar("x", [1.0, 2.0])
    with pytest.raises(ShapeError, match="CHW"):
        w.add_image("x", np.ones((2, 2)))
    with pytest.raises(ShapeError, match="2 channels"):
        w.add_image("x", np.ones((2, 4, 4)))
    with pytest.raises(ValueError, match="finite"):
        w.add_histogram("x", [float("nan")])
    with pytest.raises(AttributeError, match="add_text"):
        w.add_graph(None)
    w.close()
    w.close()
    with pytest.raises(ValueError, match="closed"):
        w.add_scalar("x", 1.0)
    assert values(tmp_path / "run_a")["run"][1][2] == [1.0]


def test_tensorboard_reads_it(tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with SummaryWriter(tmp_path) as w:
        w.add_scalar("loss", 0.5, 1)
        w.add_histogram("h", np.arange(10.0), 1)
    seen = loader.EventAccumulator(str(tmp_path))
    seen.Reload()
    assert seen.Scalars("loss")[0].value == 0.5 and seen.Histograms("h")
