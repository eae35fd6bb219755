"""The benchmarks' own arithmetic and protocol; what they measure is not tested here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import measure, processes, report, targets
from benchmarks.task import Task, Timer
from benchmarks.workloads import BY_NAME, batches, inputs, weights

DATA: dict[str, Any] = {
    "date": "2000-01-01",
    "threads": 2,
    "machine": {"processor": "P", "cores": 2, "memory_gib": 8, "system": "S", "python": "3"},
    "versions": {"gradloom": "1", "torch": "2", "jax": None},
    "ceilings": {"peak_gflops": 200.0},
    "ceilings_how": "C",
    "floors": {"mlp_big": 45.0},
    "timings": [
        {"workload": "mlp_big", "contender": "gradloom", "mode": "loop", "ms": 50.0, "low": 49.0, "high": 51.0}
        | {"busy_ms": 90.0, "discarded": 1, "noisy": False, "check": [2.0, 1.0]},
        {"workload": "mlp_big", "contender": "torch", "mode": "eager", "ms": 60.0, "low": 59.0, "high": 61.0}
        | {"discarded": 0, "noisy": True, "other_cores": 0.5, "check": [2.0, 1.0]},
        {"workload": "mlp_big", "contender": "jax", "mode": "jit", "ms": 70.0, "low": 59.0, "high": 71.0}
        | {"discarded": 0, "noisy": False, "check": [2.0, 1.1]},
        {"workload": "mlp_big", "contender": "tensorflow", "mode": "xla", "missing": "it is | not\nhere"},
    ],
}


def test_work_of_the_workloads() -> None:
    big = BY_NAME["mlp_big"]
    inner = 2048 * 2048 + 2048 * 10
    assert big.flops == 2 * 256 * (2 * (784 * 2048 + inner) + inner)
    assert big.update == 784 * 2048 + 2048 * 2048 + 2048 * 10 + 2048 + 2048 + 10
    assert BY_NAME["matmul_17x4096x300"].flops == 2 * 17 * 4096 * 300
    assert BY_NAME["matmul_64_of_64"].flops == 2 * 64**4
    assert [w.shape for w, _ in weights(big)] == [(784, 2048), (2048, 2048), (2048, 10)]
    assert [x.shape for x, _ in batches(BY_NAME["mlp32"])] == [(32, 784)] * 8
    assert [a.shape for a in inputs(BY_NAME["softmax"])] == [(4096, 1000)]
    np.testing.assert_array_equal(inputs(BY_NAME["softmax"])[0], inputs(BY_NAME["softmax"])[0])


def test_targets_are_computed_and_missing_ones_are_said_to_be() -> None:
    found = {t.title: t for t in targets.targets(DATA)}
    over = found["large step: time over the fastest peer's"]
    assert over.value == pytest.approx(50 / 60)
    assert over.reached
    share = found["large step: share of the floor"]
    assert share.value == pytest.approx(0.9)
    assert share.reached
    assert found["mlp_big beside a busy process: times the quiet time"].value == pytest.approx(1.8)
    assert found["import, seconds"].reached is None
    assert targets.Target("", 1.1, 1.0).reached is False
    assert targets.Target("", 0.8, 0.9, least=True).reached is False


def test_report(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "results.json").write_text(json.dumps(DATA))
    names = [path.name for path in report.write(DATA, tmp_path)]
    assert names == ["results.md", "results.png"]
    text = (tmp_path / "results.md").read_text()
    assert "| gradloom | loop | 50.0 | 49.0 to 51.0 | 0.90 | 1.00 | 1 rounds discarded |" in text
    assert "| torch | eager | 60.0 | 59.0 to 61.0 | 0.75 | 1.20 | noisy: others took 0.50 cores |" in text
    assert "**differs from the others by 5.0e-02**" in text
    assert "not available: it is / not here" in text
    assert "| mlp_big | gradloom | loop | 50.0 | 90.0 | 1.80 |" in text
    assert (tmp_path / "results.png").stat().st_size > 5000


def test_timer_counts_steps() -> None:
    calls: list[int] = []
    synced: list[int] = []

    def step(number: int) -> int:
        calls.append(number)
        return number

    timer = Timer(Task(step, synced.append, steps=10), warm=0.01)
    timer.group = 5
    before = len(calls)
    found = timer.round(0.0)
    assert calls == list(range(len(calls))), "every call has the next number"
    assert len(calls) - before == 15
    assert synced[-3:] == [calls[-11], calls[-6], calls[-1]], "one wait at the end of a group"
    assert 0 < found["best_ms"] <= found["ms"]


def test_a_contender_obeys_and_its_faults_are_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_PYTHON", raising=False)
    contender = processes.Contender("numpy", 1)
    try:
        assert contender.version == np.__version__
        ask = {"workload": "matmul_64_of_64", "mode": "matmul"}
        a, b = inputs(BY_NAME["matmul_64_of_64"])
        answer = contender.ask({"do": "prepare", **ask})
        assert answer["check"][0] == pytest.approx(float((a @ b)[0, 0, 0]), rel=1e-5)
        assert contender.ask({"do": "round", "seconds": 0.02, **ask})["ms"] > 0
        assert "ValueError" in contender.ask({"do": "prepare", "workload": "softmax", "mode": "matmul"})["missing"]
        contender._process.kill()
        assert "its process ended with -9" in contender.ask({"do": "round", "seconds": 0.02, **ask})["missing"]
        assert contender.ask({"do": "hello"})["version"] == np.__version__, "a new process takes its place"
    finally:
        contender.close()


def test_noisy_rounds_are_discarded_while_there_are_quiet_ones() -> None:
    def rounds(*times: float) -> list[dict[str, float]]:
        return [{"ms": t, "best_ms": t, "own_cores": 1.0, "other_cores": 0.0} for t in times]

    row = {"workload": "w", "quiet": rounds(1, 2, 3), "noisy_rounds": rounds(50), "busy": rounds(4, 6)}
    found = measure._summary(row, 3)
    assert (found["ms"], found["low"], found["high"], found["discarded"]) == (2, 1, 3, 1)
    assert (found["busy_ms"], found["noisy"]) == (5, False)
    found = measure._summary({"quiet": rounds(1), "noisy_rounds": rounds(50, 60), "busy": []}, 5)
    assert (found["ms"], found["discarded"], found["noisy"]) == (50, 0, True)
