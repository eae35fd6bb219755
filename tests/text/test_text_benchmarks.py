"""The arithmetic and the tables of the benchmarks of text; what they measure is not tested here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.text import report, workloads
from benchmarks.text.workloads import BY_NAME, WORKLOADS


def test_work() -> None:
    assert len(BY_NAME) == len(WORKLOADS) == 10
    tokens = 32 * 100
    assert BY_NAME["lstm_classifier"].flops == 3 * 2 * tokens * 4 * 128 * (128 + 128)
    bert = 2 * 128 * 12 * (4 * 768**2 + 2 * 768 * 3072) + 4 * 12 * 128**2 * 768
    assert BY_NAME["bert_infer_1x128"].flops == bert and BY_NAME["bert_train_4x128"].flops == 3 * 4 * bert
    for w in WORKLOADS:
        full, quick = workloads.modes(w, False), workloads.modes(w, True)
        assert len(full["gradloom"]) == 1 and set(quick) <= set(full) and quick["torch"]


def test_data_is_the_same_each_time() -> None:
    w = BY_NAME["bilstm_packed"]
    (x, lengths, tags), _ = workloads.tagged(w)
    assert x.shape == (16, 80, 128) and (np.diff(lengths) <= 0).all() and lengths[0] == 80 and lengths[-1] == 20
    assert ((tags == -100).sum(1) == 80 - lengths).all()
    ids = workloads.ids(BY_NAME["gru_chars"])
    assert ids[0].shape == (32, 65) and ids[0].max() < 96
    np.testing.assert_array_equal(ids[1], workloads.ids(BY_NAME["gru_chars"])[1])
    a, b = workloads.value("head.weight", (3, 4)), workloads.value("head.weight", (3, 4))
    assert a.dtype == np.float32 and (a == b).all() and (a != workloads.value("other.weight", (3, 4))).any()
    assert abs(workloads.value("norm.weight", (100,)).mean() - 1) < 0.1


def test_table() -> None:
    row = {"workload": "gpt_128", "low": 9.0, "high": 12.0, "floor": 5.0, "discarded": 0, "noisy": False}
    data: dict[str, Any] = {
        "timings": [
            {**row, "contender": "gradloom", "mode": "loop", "ms": 10.0, "check": [2.0, 1.0]},
            {**row, "contender": "torch", "mode": "eager", "ms": 20.0, "check": [2.0, 1.0]},
            {"workload": "gpt_128", "contender": "jax", "mode": "jit", "missing": "not here", "floor": 5.0},
        ],
        "date": "2000-01-01", "threads": 2, "rounds": 3, "seconds": 1, "quick": True, "versions": {"torch": "2"},
        "machine": {"processor": "P", "cores": 2, "memory_gib": 8, "system": "S", "python": "3"},
        "ceilings_how": "C", "peak_gflops": 200.0,
    }  # fmt: skip
    assert report.ratio(data, BY_NAME["gpt_128"]) == pytest.approx(0.5)
    assert report.ratio(data, BY_NAME["gpt_1024"]) is None
    assert "ratio 0.50 (wanted 0.80)" in report.line(BY_NAME["gpt_128"], data)
    page = report.markdown(data)
    assert "| reached |" in page and "0.50 of 1" in page and "not available: not here" in page and "quick run" in page
