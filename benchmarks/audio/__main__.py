"""``python -m benchmarks.audio``: Whisper tiny on 10 s of sound beside the peers."""

from __future__ import annotations

from benchmarks import family, summary
from benchmarks.audio import report, workloads

CONTENDERS = ("gradloom", "torch", "onnxruntime")

if __name__ == "__main__":
    summary.update(family.main("audio", __doc__, CONTENDERS, workloads, report, pace=lambda w: (0.2, 1)).out)
