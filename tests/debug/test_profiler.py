"""Profiles: kernels with times, arithmetic and bytes, as a table and a trace; PyTorch's schedule."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom.errors import DeviceError, StateError
from gradloom.profiler import (
    ProfilerActivity,
    machine_limits,
    profile,
    record_function,
    schedule,
    tensorboard_trace_handler,
)
from gradloom.tape import TAPE


def work() -> float:
    a = gl.ones(64, 32)
    return (gl.relu(a @ gl.ones(32, 16)).sum()).item()


def test_kernels_are_counted():
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, with_stack=True, profile_memory=True) as p:
        for _ in range(3):
            with record_function("mine"):
                assert work() == 64 * 16 * 32
    assert TAPE.target == "cpu" and TAPE.runner is None
    averages = {(a.key, a.kind): a for a in p.key_averages()}
    assert averages["mine", "user"].count == 3
    dots = [a for a in averages.values() if a.kind == "kernel" and a.key.startswith("dot")]
    assert dots and dots[0].flops >= 3 * 2 * 64 * 32 * 16 and dots[0].count == 3
    assert all(a.cpu_time_total > 0 for a in dots)
    total = p.key_averages().total_average()
    assert total.count >= 3 and total.cpu_time_total > 0
    text = p.key_averages(group_by_input_shape=True).table(sort_by="cpu_time_total", row_limit=5)
    assert "dot" in text and "of limit" in text and "Self CPU time total" in text and __file__ in text
    with pytest.raises(ValueError, match="cpu_time_total"):
        p.key_averages().table(sort_by="speed")


def test_a_sum_has_the_time_of_all_its_steps():
    """Parts of a long sum are added by one kernel, their sums by another: both are called what they are."""
    x = gl.ones(1 << 20, 4)
    x.numpy()
    with profile() as p:
        assert (x * 2.0).sum(0).numpy().tolist() == [2.0**21] * 4
    kernels = [e for e in p.events() if e.kind == "kernel"]
    assert len(kernels) > 1 and {e.name for e in kernels} == {"mul sum"}
    assert sum(e.nbytes > 0 for e in kernels) == 1  # their work is counted once


def test_host_work_is_seen():
    with profile() as p:
        gl.sort(gl.tensor([3.0, 1.0, 2.0]))[0].numpy()
    assert any(e.kind in ("host", "kernel") for e in p.events())


def test_trace(tmp_path):
    with profile() as p, record_function("outer"):
        work()
    p.export_chrome_trace(tmp_path / "t.json")
    trace = json.loads((tmp_path / "t.json").read_text())
    events = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    outer = next(e for e in events if e["name"] == "outer")
    kernels = [e for e in events if e["cat"] == "kernel"]
    assert kernels and min(e["ts"] for e in events) == 0
    for e in kernels:
        assert outer["ts"] <= e["ts"] and e["ts"] + e["dur"] <= outer["ts"] + outer["dur"] + 1


@pytest.mark.filterwarnings("ignore:Profiler won't be using warmup")
def test_schedule_is_pytorchs():
    for args in [
        {"wait": 1, "warmup": 1, "active": 2}, {"wait": 0, "warmup": 1, "active": 1, "repeat": 2, "skip_first": 3},
        {"wait": 2, "warmup": 0, "active": 3, "repeat": 1},
    ]:  # fmt: skip
        ours, theirs = schedule(**args), torch.profiler.schedule(**args)
        for step in range(20):
            assert ours(step).name == theirs(step).name, (args, step)
    with pytest.raises(ValueError, match="active=0"):
        schedule(wait=1, warmup=1, active=0)


def test_steps(tmp_path):
    seen = []
    with profile(
        schedule=schedule(wait=1, warmup=1, active=2, repeat=2), on_trace_ready=lambda p: seen.append(len(p.events()))
    ) as p:
        for _ in range(8):
            work()
            p.step()
    assert len(seen) == 2 and all(n > 0 for n in seen)
    with profile(on_trace_ready=tensorboard_trace_handler(tmp_path / "log", "w")):
        work()
    (file,) = (tmp_path / "log").iterdir()
    assert file.name.startswith("w.") and file.name.endswith(".pt.trace.json")


def test_results_are_the_same_and_refusals():
    x = gl.tensor(np.linspace(-1, 1, 1000, dtype=np.float32))
    plain = gl.tanh(x).cumsum(0).numpy()
    with profile():
        assert np.array_equal(gl.tanh(x).cumsum(0).numpy(), plain)
        with pytest.raises(StateError, match="open already"):
            profile().start()
    with pytest.raises(DeviceError, match="CPU"):
        profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
    limits = machine_limits()
    assert limits.flops > 1e8 and limits.nbytes > 1e8
    assert limits.least(limits.flops, 0) == 1 and limits.least(0, 100) == 0 and limits.least(0, 1e9) > 0
