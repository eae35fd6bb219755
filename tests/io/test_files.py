"""``save`` and ``load``: every kind of value comes back, PyTorch's files are read, and bad files are refused."""

from __future__ import annotations

import io
import math
import os
import random
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import gradloom as gl
from gradloom.errors import DeviceError, DTypeError, FileError, GradloomError, NotSupportedError

t32 = gl.tensor([[1.0, 2.0], [3.0, 4.0]])


def same(a, b):
    assert type(a) is type(b), (type(a), type(b))
    if isinstance(a, gl.Tensor):
        assert a.dtype is b.dtype and a.shape == b.shape and a.requires_grad == b.requires_grad
        assert np.array_equal(a.numpy(), b.numpy(), equal_nan=a.dtype.is_floating)
    elif isinstance(a, np.ndarray | np.generic):
        assert a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for k in a:
            same(a[k], b[k])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    elif isinstance(a, float) and math.isnan(a):
        assert math.isnan(b)
    else:
        assert a == b


VALUES = {
    "numbers": [
        0,
        -1,
        2**70,
        1.5,
        -0.0,
        math.inf,
        -math.inf,
        math.nan,
        True,
        None,
        "text",
        "ünï\u2028",
        b"\x00\xff",
        2 + 3j,
    ],
    "containers": {"a": (1, [2, (3,)]), 1: {2.5: None}, None: set(), (1, "x"): {1, 2}, False: frozenset({3})},
    "ordered": OrderedDict([("z", 1), ("a", t32)]),
    "kinds": [gl.Size([1, 2]), gl.float32, gl.bfloat16, gl.bool, bytearray(b"ab"), gl.device("cuda:1")],
    "arrays": [np.arange(6).reshape(2, 3), np.float32(2.5), np.zeros((0, 3)), np.array(True)],
    "tensors": [t32, t32.T, gl.tensor(3), gl.zeros(0, 2), gl.tensor([True]), gl.tensor([1.5], dtype=gl.bfloat16)],
    "grad": {"w": gl.tensor([1.0], requires_grad=True), "p": gl.nn.Parameter(gl.ones(2)), "q": gl.ones(1)},
    "alone": t32,
    "nothing": None,
    "odd names": {"__metadata__": gl.ones(1), "": gl.zeros(1), "a.b": gl.ones(2), "a": {"b": gl.zeros(2)}},
    "keys": {"tensor": 1, "dict": {"list": []}},
}


@pytest.mark.parametrize("name", VALUES)
def test_round_trip(name, tmp_path):
    path = tmp_path / "value.gl"
    gl.save(VALUES[name], path)
    same(VALUES[name], gl.load(path))
    memory = io.BytesIO()
    gl.save(VALUES[name], memory)
    memory.seek(0)
    same(VALUES[name], gl.load(memory, map_location="cpu"))


def test_shared_tensors_stay_shared_and_others_can_read_them(tmp_path):
    w = gl.nn.Parameter(gl.ones(2, 2))
    gl.save({"a": w, "b": [w]}, tmp_path / "v")
    found = gl.load(tmp_path / "v")
    assert found["a"] is found["b"][0] and isinstance(found["a"], gl.nn.Parameter)
    assert {k: v.shape for k, v in load_file(tmp_path / "v").items()} == {"a": (2, 2)}


def test_model_and_optimiser(tmp_path):
    model = gl.nn.Sequential(gl.nn.Linear(3, 4), gl.nn.ReLU(), gl.nn.Linear(4, 2))
    opt = gl.optim.Adam(model.parameters(), lr=0.01)
    model(gl.ones(5, 3)).sum().backward()
    opt.step()
    gl.save({"model": model.state_dict(), "opt": opt.state_dict(), "epoch": 3}, tmp_path / "c")
    found = gl.load(tmp_path / "c")
    other = gl.nn.Sequential(gl.nn.Linear(3, 4), gl.nn.ReLU(), gl.nn.Linear(4, 2))
    other.load_state_dict(found["model"])
    second = gl.optim.Adam(other.parameters(), lr=1.0)
    second.load_state_dict(found["opt"])
    for m, o in ((model, opt), (other, second)):
        o.zero_grad()
        m(gl.ones(5, 3)).sum().backward()
        o.step()
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert np.array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "v"
    gl.save([1], path)
    monkeypatch.setattr(os, step, lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        gl.save([2], path)
    assert gl.load(path) == [1] and os.listdir(tmp_path) == ["v"]
    with pytest.raises(DTypeError, match=r"a\.1"):
        gl.save({"a": [1, object()]}, path)
    assert gl.load(path) == [1] and os.listdir(tmp_path) == ["v"]


def test_what_is_refused(tmp_path):
    with pytest.raises(DTypeError, match="state_dict"):
        gl.save(gl.nn.Linear(1, 1), tmp_path / "m")
    loop: list = []
    loop.append(loop)
    with pytest.raises(FileError, match="within itself"):
        gl.save(loop, tmp_path / "m")
    gl.save(t32, tmp_path / "v")
    with pytest.raises(NotSupportedError, match="run code"):
        gl.load(tmp_path / "v", weights_only=False)
    with pytest.raises(DeviceError, match="cuda"):
        gl.load(tmp_path / "v", map_location="cuda:0")
    with pytest.raises(FileNotFoundError):
        gl.load(tmp_path / "none")
    with pytest.raises(FileError, match="none of the formats"):
        gl.load(io.BytesIO(b"hello, this is no file of weights at all"))


# -- PyTorch's files --------------------------------------------------------------------------------------

OLD = [False, True]


def through_torch(value, old=False, **kwargs):
    memory = io.BytesIO()
    torch.save(value, memory, _use_new_zipfile_serialization=not old, **kwargs)
    return gl.load(io.BytesIO(memory.getvalue()))


DTYPES = [d.name for d in gl.dtypes.ALL if hasattr(torch, d.name)]


@pytest.mark.parametrize("old", OLD)
@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_dtypes(dtype, old):
    kind = getattr(torch, dtype)
    x = torch.arange(12).reshape(3, 4).to(kind)
    values = [x, x.T, x[1:, ::2], x[2, 3], x[:0], torch.zeros(1, dtype=kind).expand(2, 3)]
    for given, got in zip(values, through_torch(values, old), strict=True):
        assert got.dtype.name == dtype and tuple(got.shape) == tuple(given.shape)
        wide = torch.complex128 if kind.is_complex else torch.float64
        assert np.array_equal(got.numpy().astype(np.complex128), given.to(wide).numpy().astype(np.complex128))


@pytest.mark.parametrize("old", OLD)
def test_torch_checkpoint(old):
    torch.manual_seed(0)
    m = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    o = torch.optim.Adam(m.parameters(), amsgrad=True)
    m(torch.randn(5, 3)).sum().backward()
    o.step()
    s = torch.optim.lr_scheduler.StepLR(o, 2)
    value = {"m": m.state_dict(), "o": o.state_dict(), "s": s.state_dict(), "epoch": 3, "best": 0.5, "x": None}
    got = through_torch(value, old)
    assert isinstance(got["m"], OrderedDict) and list(got["m"]) == list(value["m"])
    for k, v in value["m"].items():
        assert np.array_equal(got["m"][k].numpy(), v.numpy())
    assert got["o"]["param_groups"] == value["o"]["param_groups"]
    assert np.array_equal(got["o"]["state"][0]["exp_avg"].numpy(), value["o"]["state"][0]["exp_avg"].numpy())
    assert got["epoch"] == 3 and got["best"] == 0.5 and got["x"] is None


@pytest.mark.parametrize("old", OLD)
def test_torch_tied_tensors_share_and_parameters_are_parameters(old):
    w = torch.nn.Parameter(torch.ones(2, 3))
    got = through_torch({"a": w.data, "b": w.data, "c": w.detach(), "p": w, "row": w.data[1]}, old)
    assert got["row"].tolist() == [1.0, 1.0, 1.0]
    got["a"].mul_(2)
    assert got["b"].tolist() == got["c"].tolist() == [[2.0] * 3] * 2
    assert isinstance(got["p"], gl.nn.Parameter) and got["p"].requires_grad


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_torch_plain_values(protocol):
    value = {
        "size": torch.Size([1, 2]), "dtype": torch.float32, "device": torch.device("cpu"), "c": 1 + 2j, "set": {1, 2},
        "bytes": b"a\xffb", "bytearray": bytearray(b"xy"), "tuple": (1, (2.5, "s")), "big": 2**100, "neg": -(2**40),
        "np": np.float64(1.5), "arr": np.arange(6, dtype=np.int32).reshape(2, 3), "u": "ü" * 300, "list": [[], {}, ()],
        "f": frozenset({1}), "flags": [True, False, None],
    }  # fmt: skip
    got = through_torch(value, pickle_protocol=protocol)
    assert got["size"] == gl.Size([1, 2]) and got["dtype"] is gl.float32 and got["device"] == gl.device("cpu")
    for k in ("c", "set", "bytes", "bytearray", "tuple", "big", "neg", "u", "list", "f", "flags"):
        assert got[k] == value[k] and type(got[k]) is type(value[k]), k
    assert got["np"] == 1.5 and np.array_equal(got["arr"], value["arr"])


def test_mapped_files(tmp_path):
    value = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3, dtype=torch.bfloat16), "e": torch.zeros(0)}
    torch.save(value, tmp_path / "t.pt")
    gl.save({k: gl.from_dlpack(v) for k, v in value.items()}, tmp_path / "g.gl")
    for name in ("t.pt", "g.gl"):
        got = gl.load(tmp_path / name, mmap=True)
        for k, v in value.items():
            assert got[k].tolist() == v.tolist()
        got["w"].add_(1)
        got["w"].numpy()[0, 0] = 9
        assert gl.load(tmp_path / name)["w"].tolist() == value["w"].tolist()
    with pytest.raises(FileError, match="path"):
        gl.load(io.BytesIO(b"x" * 50), mmap=True)


class Evil:
    def __init__(self, fn, *args):
        self.fn, self.args = fn, args

    def __reduce__(self):
        return self.fn, self.args


@pytest.mark.parametrize("old", OLD)
@pytest.mark.parametrize(
    ("fn", "args"), [(os.system, ("touch {}",)), (eval, ("open('{}','w')",)), (getattr, (int, "x")), (print, ("x",))]
)
def test_code_in_a_file_is_not_run(tmp_path, old, fn, args):
    mark = tmp_path / "ran"
    memory = io.BytesIO()
    bad = Evil(fn, *(a.format(mark) if isinstance(a, str) else a for a in args))
    torch.save({"w": torch.ones(2), "x": bad}, memory, _use_new_zipfile_serialization=not old)
    with pytest.raises(FileError, match="asks for") as e:
        gl.load(io.BytesIO(memory.getvalue()))
    assert e.value.code == "io.unsafe" and not mark.exists()


def test_a_whole_model_is_refused_with_a_hint():
    memory = io.BytesIO()
    torch.save(torch.nn.Linear(1, 1), memory)
    with pytest.raises(FileError, match=r"torch\.nn\.modules\.linear\.Linear.*\n.*state_dict"):
        gl.load(io.BytesIO(memory.getvalue()))


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02cbuiltins\neval\n(S'1'\ntR.", b"\x80\x02cgradloom.io.files\nload\n.", b"\x80\x02cos\nsystem\n.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", b"\x80\x02(i__main__\nX\n.", b"\x80\x02ctorch\nload\n.",
        b"\x80\x02" + b"(" * 1000 + b".", b"\x80\x02" + b")" + b"\x85" * 5000 + b".",
        b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.", b"\x80\x02\x8b\xff\xff\xff\x7f.", b"\x80\x02h\x07.", b".",
        b"\x80\x02X\xff\xff\xff\xffab.", b"\x80\x02}(]K\x01u.", b"\x80\x09.", b"\x80\x02K\x01K\x02.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", b"\x80\x02I" + b"9" * 5000 + b"9999\n.",
    ],
)  # fmt: skip
def test_pickles_that_are_no_data(program):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as z:
        z.writestr("a/data.pkl", program)
    with pytest.raises(GradloomError):
        gl.load(io.BytesIO(memory.getvalue()))


def test_expanded_tensors_cannot_fill_the_memory():
    with pytest.raises(FileError, match="expanded"):
        through_torch(torch.zeros(1).expand(10**6, 10**6))


def samples():
    value = {
        "m": OrderedDict(w=torch.ones(3, 4), b=torch.arange(3)),
        "k": [1, 2.5, "x"],
        "v": torch.ones(4, 4)[1:, ::2],
    }
    for old in OLD:
        memory = io.BytesIO()
        torch.save(value, memory, _use_new_zipfile_serialization=not old)
        yield memory.getvalue()
    memory = io.BytesIO()
    gl.save({"m": {"w": t32, "b": [1, (2,)]}, "k": None}, memory)
    yield memory.getvalue()


@pytest.mark.parametrize("method", [0, 8, 9, 12, 14, 95], ids=lambda m: f"compression {m}")
def test_a_part_said_to_be_compressed_is_named_as_damaged(method):
    memory = io.BytesIO()
    torch.save({"w": torch.ones(3)}, memory)
    data = bytearray(memory.getvalue())
    at = 0
    while (at := data.find(b"PK\x01\x02", at)) >= 0:  # the method of each part, in the directory and before the part
        header = int.from_bytes(data[at + 42 : at + 46], "little")
        data[at + 10 : at + 12] = data[header + 8 : header + 10] = method.to_bytes(2, "little")
        at += 4
    if method == 0:
        assert gl.load(io.BytesIO(bytes(data)))["w"].numpy().sum() == 3
        return
    with pytest.raises(FileError, match="no intact zip file"):
        gl.load(io.BytesIO(bytes(data)))


@pytest.mark.parametrize("k", range(3))
def test_damaged_files_raise_errors_of_ours_or_still_hold_data(k):
    good = list(samples())[k]
    rng = random.Random(k)
    for trial in range(400):
        data = bytearray(good)
        if trial % 2:
            del data[rng.randrange(len(data)) :]
        else:
            for _ in range(rng.randrange(1, 6)):
                data[rng.randrange(min(len(data), 1500))] = rng.randrange(256)
        try:
            gl.load(io.BytesIO(bytes(data)))
        except GradloomError:
            pass
