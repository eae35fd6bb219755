"""``python -m benchmarks.fitting``: epochs of `fit` beside Keras on three backends and loops in PyTorch.

Interpreters: ``BENCH_PYTHON_KERAS_TENSORFLOW``, ``BENCH_PYTHON_KERAS_JAX``, ``BENCH_PYTHON_KERAS_TORCH`` and
``BENCH_PYTHON_TORCH``, else ``BENCH_PYTHON``.
"""

from __future__ import annotations

from typing import Any

from benchmarks import family, summary
from benchmarks.fitting import report, workloads

CONTENDERS = ("gradloom", "torch", "keras_tensorflow", "keras_jax", "keras_torch")


def pace(w: Any) -> tuple[float, int]:
    """An epoch is long enough to be a round."""
    return (0.0, 1) if w.kind == "epoch" else (0.1, 1)


if __name__ == "__main__":
    workloads.write_data()
    summary.update(family.main("fitting", __doc__, CONTENDERS, workloads, report, pace).out)
