"""``python -m benchmarks.images``: training steps and inference of convolutional networks beside the peers."""

from __future__ import annotations

from benchmarks import family, summary
from benchmarks.images import report, workloads

CONTENDERS = ("gradloom", "torch", "jax", "tensorflow", "onnxruntime", "openvino")

if __name__ == "__main__":
    summary.update(family.main("images", __doc__, CONTENDERS, workloads, report).out)
