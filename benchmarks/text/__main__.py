"""``python -m benchmarks.text``: recurrent and attention networks beside the peers."""

from __future__ import annotations

from benchmarks import family, summary
from benchmarks.text import report, workloads

CONTENDERS = ("gradloom", "torch", "jax", "tensorflow", "onnxruntime")

if __name__ == "__main__":
    summary.update(family.main("text", __doc__, CONTENDERS, workloads, report).out)
