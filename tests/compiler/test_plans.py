"""Programs kept on disk: found again by a new process's eyes, refused where anything is not as it was."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import gradloom as gl
import gradloom.nn.functional as F
from gradloom import nn
from gradloom.compiler import kernels, plans, sources
from gradloom.compiler.kernels import clear_memory_cache
from gradloom.compiler.program import HostCall
from gradloom.tape import TAPE


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("GRADLOOM_PLAN_CACHE", "1")
    monkeypatch.setattr(sources, "_SINCE", float("inf"))  # whatever somebody edits while the tests run
    sources.sources_hash.cache_clear()
    anew()
    yield tmp_path / "kernels"
    sources.sources_hash.cache_clear()


def anew():
    """As in a new process: nothing is in memory."""
    clear_memory_cache()
    TAPE.forget()


def kept(folder):
    return sorted(folder.glob("p*.o"))


class Counts:
    def __init__(self):
        self.now()

    def now(self):
        s = kernels.stats()
        got = (s.compiled, s.disk_hits, s.programs_from_disk)
        before, self.before = getattr(self, "before", got), got
        return tuple(a - b for a, b in zip(got, before, strict=True))


def small_net(batch=4):
    gl.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 5))
    x = np.random.default_rng(0).standard_normal((batch, 3, 8, 8), "f4")
    return net, x, np.arange(batch) % 5


def trained(batch=4):
    """Losses of three steps and the parameters after them."""
    net, x, y = small_net(batch)
    optimizer = gl.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    out = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(gl.tensor(x)), gl.tensor(y))
        loss.backward()
        optimizer.step()
        out.append(loss.item())
    return [np.asarray(out), *(p.detach().numpy().copy() for p in net.parameters())]


_once = {}


@pytest.fixture
def first(folder, tmp_path_factory):
    """What :func:`trained` gives, run before by somebody who filled the folder."""
    if not _once:
        _once["gives"], _once["folder"] = trained(), tmp_path_factory.mktemp("filled")
        shutil.copytree(folder, _once["folder"], dirs_exist_ok=True)
    else:
        shutil.copytree(_once["folder"], folder)
    return _once["gives"]


def test_a_training_step_is_planned_once(folder, first):
    stored = kept(folder)
    assert stored
    anew()
    counts = Counts()
    again = trained()
    compiled, from_disk, programs = counts.now()
    assert compiled == 0 and from_disk > 0 and programs == len(stored)
    assert kept(folder) == stored
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_inference_keeps_what_parameters_alone_decide(folder, monkeypatch):
    monkeypatch.setattr(plans, "LEAST", 1)

    def predicted():
        net, x, _ = small_net()
        net.eval()
        with gl.no_grad():
            a = [net(gl.tensor(x)).numpy().copy() for _ in range(3)]
            net[4].bias.add_(1.0)  # what was computed once is wrong now
            return [*a, net(gl.tensor(x)).numpy().copy()]

    first = predicted()
    anew()
    counts = Counts()
    again = predicted()
    compiled, _, programs = counts.now()
    assert compiled == 0 and programs > 0
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(again[3] - again[0], 1.0, rtol=0, atol=1e-5)


def test_another_batch_size_shares_most_kernels(folder, first):
    anew()
    trained()
    counts = Counts()
    trained(batch=3)
    assert counts.now()[0] <= len(list(folder.glob("k*.o"))) // 3
    anew()
    trained(batch=3)
    assert counts.now()[0] == 0


def loops():
    gl.manual_seed(1)
    net = nn.LSTM(6, 7, num_layers=2)
    x = gl.tensor(np.random.default_rng(1).standard_normal((9, 3, 6), "f4"))
    out, _ = net(x)
    out.sum().backward()
    return [out.detach().numpy().copy(), *(p.grad.numpy().copy() for p in net.parameters())]


def wide_loops():
    """Loops that are taken apart by rows."""
    net = nn.GRU(6, 7, bidirectional=True)
    x = gl.tensor(np.random.default_rng(1).standard_normal((9, 35, 6), "f4"))
    for p in net.parameters():
        gl.nn.init.constant_(p, 0.1)
    out, _ = net(x)
    out.square().sum().backward()
    return [out.detach().numpy().copy(), *(p.grad.numpy().copy() for p in net.parameters())]


def hosts():
    """Work that NumPy does, with attributes and several dtypes, between kernels."""
    x = gl.tensor(np.random.default_rng(2).standard_normal((6, 6)))
    a = x @ x.T + gl.eye(6, dtype=gl.float64)
    q = gl.linalg.cholesky(a)
    v = gl.linalg.eigvalsh(a).flip(0) * 2.0
    i = gl.sort(x.flatten(), descending=True)
    return [t.numpy().copy() for t in (q + 1, v, i.values * 3, i.indices + 1, gl.fft.fft(x).abs())]


@pytest.mark.parametrize("program", [loops, wide_loops, hosts])
def test_loops_and_host_calls_come_back(folder, monkeypatch, program):
    monkeypatch.setattr(plans, "LEAST", 1)
    first = program()
    assert kept(folder)
    anew()
    counts = Counts()
    again = program()
    compiled, _, programs = counts.now()
    assert compiled == 0 and programs > 0
    for a, b in zip(first, again, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_the_host_call_that_is_read_is_the_one_that_was_written(folder, monkeypatch):
    monkeypatch.setattr(plans, "LEAST", 1)

    def run():
        gl.linalg.cholesky(gl.eye(3, dtype=gl.float64) * 4).numpy()
        return [s for s in TAPE.latest.exe._parts.segments if isinstance(s, HostCall)]

    first = run()
    anew()
    counts = Counts()
    again = run()
    assert counts.now()[2] > 0 and first
    for a, b in zip(first, again, strict=True):
        assert (a.node.prim, a.node.attrs, a.node.aval) == (b.node.prim, b.node.attrs, b.node.aval)
        assert (a.args, a.out) == (b.args, b.out)


def rewrite(path, change):
    """Change the content of an entry, its checksum included."""
    import hashlib

    data = path.read_bytes()
    text = change(data[36:])
    path.write_bytes(data[:4] + hashlib.sha256(text).digest() + text)


def without(key):
    def change(text):
        data = json.loads(text)
        del data[key]
        return json.dumps(data).encode()

    return change


@pytest.mark.parametrize(
    "harm",
    [
        lambda p: p.write_bytes(b""),
        lambda p: p.write_bytes(p.read_bytes()[:-100]),
        lambda p: p.write_bytes(p.read_bytes()[:-9] + b"x" + p.read_bytes()[-8:]),
        lambda p: rewrite(p, lambda text: b"[1, 2"),
        lambda p: rewrite(p, lambda text: b"[]"),
        lambda p: rewrite(p, lambda text: b"\xff\xfe"),
        lambda p: rewrite(p, without("segments")),
        lambda p: rewrite(p, without("kernels")),
        lambda p: rewrite(p, without("notes")),
    ],
    ids=["empty", "cut", "flipped", "no JSON", "a list", "no text", "no segments", "no kernels", "no notes"],
)
def test_a_damaged_plan_is_planned_anew(folder, first, harm):
    stored = kept(folder)
    good = [p.read_bytes() for p in stored]
    for p in stored:
        harm(p)
    anew()
    counts = Counts()
    again = trained()
    assert counts.now()[0] == 0  # the kernels are still good
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [p.read_bytes() for p in stored] == good  # and the entries are right again


def test_a_plan_whose_kernels_were_removed_is_planned_anew(folder, first):
    gone = sorted(folder.glob("k*.o"))[::3]
    for p in gone:
        p.unlink()
    anew()
    counts = Counts()
    again = trained()
    assert counts.now()[0] == len(gone)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


def graph_of(run):
    run()
    return TAPE.latest.graph


def test_names_tell_programs_apart(folder, monkeypatch):
    monkeypatch.setattr(plans, "LEAST", 1)
    x, y = gl.tensor([1.0, 2.0]), gl.tensor([3.0, 4.0])
    programs = {
        "sum": lambda: (x + y).numpy(),
        "difference": lambda: (x - y).numpy(),
        "other order": lambda: ((x + 0) - (y - x)).numpy(),
        "times one": lambda: (x * gl.ones(2)).numpy(),
        "times zero": lambda: (x * gl.zeros(2)).numpy(),
        "times minus zero": lambda: (x * gl.full((2,), -0.0)).numpy(),
        "axis": lambda: gl.sum(gl.ones(2, 2), 0).numpy(),
        "other axis": lambda: gl.sum(gl.ones(2, 2), 1).numpy(),
        "float64": lambda: gl.sum(gl.ones(2, 2, dtype=gl.float64), 1).numpy(),
    }
    names = {k: plans.name_of(graph_of(p), ()) for k, p in programs.items()}
    assert None not in names.values() and len(set(names.values())) == len(names)
    graph = graph_of(programs["sum"])
    here = plans.name_of(graph, ())
    assert plans.name_of(graph_of(programs["sum"]), ()) == here  # another graph, the same program
    assert plans.name_of(graph, (0,)) != here
    monkeypatch.setattr(plans, "sources_hash", lambda *places: "another compiler")
    assert plans.name_of(graph, ()) != here


def test_other_settings_find_other_plans(folder, monkeypatch):
    monkeypatch.setattr(plans, "LEAST", 1)
    graph = graph_of(lambda: (gl.tensor([1.0, 2.0]) * 3).numpy())
    here = plans.name_of(graph, ())
    mode = gl.get_default_dtype()
    try:
        gl.set_default_dtype(gl.float64)
        assert plans.name_of(graph, ()) != here
    finally:
        gl.set_default_dtype(mode)
    monkeypatch.setattr(plans, "get_memory_limit", lambda: 1 << 20)
    assert plans.name_of(graph, ()) is None
    monkeypatch.undo()
    assert plans.name_of(graph, ()) is None  # too small


def test_what_has_no_text_is_not_kept(folder, monkeypatch):
    from gradloom.graph.node import Graph, Node
    from gradloom.ops.core import Primitive

    monkeypatch.setattr(plans, "LEAST", 1)
    graph = graph_of(lambda: (gl.tensor([1.0, 2.0]) + 3).numpy())
    node = graph.nodes[-1]
    assert plans.name_of(graph, ()) is not None

    def having(prim, attrs):
        new = Node(prim, node.ins, attrs, node.aval)
        return Graph(graph.inputs, [*graph.nodes[:-1], new], [new])

    assert plans.name_of(having(node.prim, (lambda: 1,)), ()) is None
    strange = Primitive.__new__(Primitive)  # not declared with the others
    strange.name, strange.reference = node.prim.name, node.prim.reference
    assert plans.name_of(having(strange, ()), ()) is None


def test_switched_off(folder, monkeypatch):
    monkeypatch.setenv("GRADLOOM_PLAN_CACHE", "0")
    trained()
    assert list(folder.glob("k*.o")) and not kept(folder)


def test_sources_that_change_under_way_keep_nothing(tmp_path, monkeypatch):
    file = tmp_path / "a.py"
    file.write_text("1", "utf-8")
    monkeypatch.setattr(sources, "_SINCE", file.stat().st_mtime + 1)
    sources.sources_hash.cache_clear()
    before = sources.sources_hash(tmp_path)
    assert before is not None
    file.write_text("2", "utf-8")
    assert sources.sources_hash(tmp_path) == before  # asked once
    sources.sources_hash.cache_clear()
    assert sources.sources_hash(tmp_path) not in (before, None)
    monkeypatch.setattr(sources, "_SINCE", file.stat().st_mtime - 1)
    sources.sources_hash.cache_clear()
    assert sources.sources_hash(tmp_path) is None
    assert sources.sources_hash(tmp_path / "absent.py") is None
    sources.sources_hash.cache_clear()


def test_describe_tells_of_the_kernels_of_a_program_from_disk(folder, monkeypatch):
    monkeypatch.setattr(plans, "LEAST", 1)

    def run():
        (gl.tensor([1.0, 2.0]) * 3 + 1).sum().numpy()
        return TAPE.latest.exe

    first = run().describe()
    anew()
    counts = Counts()
    exe = run()
    assert counts.now()[2] == 1 and exe.describe() == first
