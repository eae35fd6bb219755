"""The benchmarks' own arithmetic and protocol; what they measure is not tested here."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import compile_time, measure, memory, processes, report, summary, targets
from benchmarks.convolutions import report as convolution_report
from benchmarks.convolutions import workloads as convolutions
from benchmarks.fitting import report as fitting_report
from benchmarks.fitting import workloads as fitting
from benchmarks.images import networks
from benchmarks.images import report as image_report
from benchmarks.images import workloads as images
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


def test_networks_have_the_sizes_of_their_papers() -> None:
    wanted = {  # parameters in millions, multiplications of one image in GF, both known from torchvision's models
        "lenet": (1.199882, None),
        "resnet18": (11.173962, None),
        "mobilenet224": (3.504872, 0.6015),
        "resnet50": (25.557032, 8.178),
    }
    for name, (parameters, flops) in wanted.items():
        net = networks.NETWORKS[name]()
        assert sum(v[k].size for v in net.weights() for k in ("weight", "bias") if k in v) == round(parameters * 1e6)
        if flops:
            assert net.flops(train=False) / 1e9 == pytest.approx(flops, rel=1e-3)
            assert 2.9 < net.flops(train=True) / net.flops(train=False) < 3
    for name, make in networks.NETWORKS.items():
        net = make()
        for cut in net.cuts:  # only the last value may be used behind a cut
            used = {i for step in net.steps[cut:] for i in step.inputs}
            assert all(i >= net.steps[cut - 1].output for i in used), name


def test_a_network_is_the_same_in_gradloom_and_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_THREADS", "1")
    pytest.importorskip("onnxruntime")
    from benchmarks.images import with_gradloom, with_onnxruntime

    w = images.BY_NAME["lenet_infer_1"]
    ours, theirs = (module.make(w, "").check() for module in (with_gradloom, with_onnxruntime))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    losses = with_gradloom.make(dataclasses.replace(images.BY_NAME["lenet_train_64"], batch=2), "loop").check()
    assert len(losses) == images.CHECK_STEPS
    assert losses[0] == pytest.approx(3.4509, abs=1e-3)  # as PyTorch, JAX and TensorFlow have it


def test_quick_runs_keep_the_goals_peers() -> None:
    for w in images.WORKLOADS:
        quick, full = images.modes(w, True), images.modes(w, False)
        assert "channels_last" in quick["torch"]
        assert w.kind == "train" or "onnxruntime" in quick
        assert all(set(ms) <= set(full[name]) for name, ms in quick.items())


def _row(workload: str, contender: str, mode: str, ms: float, **more: Any) -> dict[str, Any]:
    found = {"workload": workload, "contender": contender, "mode": mode, "ms": ms, "low": ms * 0.9, "high": ms * 1.1}
    return found | {"discarded": 0, "noisy": False, "check": [1.0, 2.0]} | more


def test_tables_of_images() -> None:
    name = "resnet18_infer_1"
    data = {k: DATA[k] for k in ("date", "threads", "machine", "versions", "ceilings_how")}
    data |= {"rounds": 3, "seconds": 0.4, "quick": True, "peak_gflops": 200.0}
    data["timings"] = [
        _row(name, "gradloom", "compile", 4.0, floor=3.0),
        _row(name, "onnxruntime", "session", 8.0, floor=3.0, check=[1.0, 2.1]),
        _row(name, "openvino", "latency", 5.0, floor=3.0),
        {"workload": name, "contender": "torch", "mode": "compile", "floor": 3.0, "missing": "no | compiler"},
    ]
    text = image_report.markdown(data)
    assert "| 4.000 | 3.000 | 0.75 | openvino latency 5.000 | 0.80 | onnxruntime 8.000 | 0.50 |" in text
    assert "| 0.41 to 0.61 | 0.9 | reached |" in text
    assert "inference over ONNX Runtime 0.50 of 1" in text
    assert "**differs from the others by" in text
    assert "not available: no / compiler" in text
    train = images.BY_NAME["unet_train_8"]
    found = image_report.against(
        train, [_row(train.name, "gradloom", "loop", 4.0), _row(train.name, "jax", "jit", 2.0)]
    )
    assert found["ratio"] == 2.0


def test_convolutions_are_described_and_tabled() -> None:
    assert len(convolutions.SHAPES) == 25
    s = convolutions.SHAPES[6]
    assert (s.places, s.flops) == (112, 2.0 * 8 * 112**2 * 64 * 3 * 49)
    w = convolutions.BY_NAME["20_filter"]
    assert [a.shape for a in convolutions.operands(w)] == [(8, 144, 56, 56), (144, 1, 3, 3), (8, 144, 56, 56)]
    w = convolutions.BY_NAME["1_forward"]
    ms = w.shape.flops / 1e6 / 100  # 100 GF/s
    rows = [
        _row(w.name, "gradloom", "call", ms / 3, peak=200.0),
        _row(w.name, "direct", "call", ms, peak=200.0),
        _row(w.name, "torch", "call", ms / 2, peak=200.0),
    ]
    data = {"date": "", "threads": 2, "machine": DATA["machine"], "rounds": 1, "seconds": 1.0, "peak_gflops": 200.0}
    text = convolution_report.markdown(data | {"timings": rows})
    assert "| 300 | 100 | 200 | 0.50 | 0.67 |" in text
    assert "| forward | 1 | 0.67 |" in text
    assert "0.50 to 0.50 (wanted 0.9)" in text


def test_training_loops_are_tabled() -> None:
    jax = fitting.BY_NAME["epoch_keras_jax"]
    assert fitting.modes(jax, False) == {"gradloom": ("fit",), "keras_jax": ("fit",)}
    steps = {"program": 0.100, "rows": 0.016, "fit_in_order": 0.110, "fit": 0.140}
    rows = [_row("step", "gradloom", mode, ms) | {"low": ms} for mode, ms in steps.items()]
    rows += [_row(jax.name, "gradloom", "fit", 0.2), _row(jax.name, "keras_jax", "fit", 0.4)]
    rows += [_row("checkpoint_save", "gradloom", "file", 80.0) | {"bytes": 7e7}]
    rows += [{"workload": "checkpoint_save", "contender": "torch", "mode": "file", "missing": "no | disk"}]
    data = {key: DATA[key] for key in ("date", "threads", "machine", "versions")} | {"rounds": 3, "timings": rows}
    text = fitting_report.markdown(data)
    assert "time over Keras' | 0.5 | at most 0.1 | **missed** |" in text
    assert "rows in order | 10 µs | at most 15 µs | reached |" in text
    assert "reading them from memory included | 40 µs | at most 15 µs | **missed** |" in text
    assert "reading of its shuffled rows | 24 µs | at most 15 µs | **missed** |" in text
    assert "| gradloom | fit | 200.0 | 180.0 to 220.0 | 0.50 | 0.38 |" in text
    assert "| gradloom | file | 80.0 | 72.0 to 88.0 |  | 70.0 |" in text
    assert "not available: no / disk" in text


def test_overviews_of_text_and_sound_reach_the_page(tmp_path: Path) -> None:
    text_rows = [
        _row("gpt_128", "gradloom", "loop", 8.0, floor=5.0),
        _row("gpt_128", "torch", "eager", 16.0, floor=5.0),
    ]
    audio_rows = [_row("whisper_mel", "gradloom", "call", 3.0, floor=1.0), _row("whisper_mel", "torch", "eager", 4.0)]
    for name, rows in (("text", text_rows), ("audio", audio_rows)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"timings": rows}), "utf-8")
    readme = tmp_path / "README.md"
    readme.write_text(summary.README.read_text("utf-8"), "utf-8")
    summary.update(tmp_path, readme)
    page = readme.read_text("utf-8")
    assert "batch 8, length 128 | 8.000 | 5.000 | torch eager 16.0 | 0.50 | 0.41 to 0.61 | 0.80 | reached |" in page
    assert "| 3.000 | 1.000 | torch eager 4.000 | 0.75 | 0.61 to 0.92 |" in page
    before = summary.README.read_text("utf-8")
    summary.update(tmp_path)  # not the published results: the page stays
    assert summary.README.read_text("utf-8") == before


def test_memory_and_compile_time_tables() -> None:
    row = {"import_mib": 30.0, "peak_mib": 500.0, "step_s": 1.5, "losses": [2.0]}
    rows = [
        {"contender": "gradloom", "mode": "loop", **row},
        {"contender": "torch", "mode": "eager", **row, "peak_mib": 1000.0, "losses": [2.5]},
    ]
    text = memory.overview({"date": "", "batch": 16, "steps": 3, "rows": rows})
    assert "| gradloom | loop | 500 | 0.50 | 30 | 1.50 |" in text
    assert "**First losses differ" in text
    counts = {"compiled": 7, "from_disk": 0, "again": 1, "seconds": 2.0}
    run = {"contender": "gradloom", "mode": "loop", "cache": "cold", "import": 0.1, "make": 0.2}
    run |= {"steps": [3.0, 1.5, 1.0], "kernels": counts}
    text = compile_time.overview({"date": "", "rows": [run]})
    assert "| gradloom | loop | cold | 0.10 | 0.20 | 3.00 | 1.50 | 1.00 | 2.50 | 7, 0, 1 | 2.00 |" in text


def test_summaries_are_put_between_their_marks() -> None:
    text = "a\n<!-- images: begin -->\nold\n<!-- images: end -->\nb"
    assert summary.between(text, "images", "new\n") == text.replace("old", "new")
    with pytest.raises(ValueError, match="no marks"):
        summary.between(text, "memory", "new")
    readme = summary.README.read_text("utf-8")
    for name in ("images", "convolutions", "memory", "compile_time", "fitting", "text", "audio"):
        assert summary.between(readme, name, "x") != readme
