"""``python -m benchmarks.text``: recurrent and attention networks beside the peers."""

from __future__ import annotations

from benchmarks import family
from benchmarks.text import report, workloads

CONTENDERS = ("gradloom", "torch", "jax", "tensorflow", "onnxruntime")

if __name__ == "__main__":
    family.main("text", __doc__, CONTENDERS, workloads, report)
