"""``python -m benchmarks.audio``: Whisper tiny on 10 s of sound beside the peers."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.audio import report
from benchmarks.audio.workloads import WORKLOADS, modes
from benchmarks.bench import machine
from benchmarks.ceilings import Ceilings
from benchmarks.summary import RESULTS

CONTENDERS = ("gradloom", "torch", "onnxruntime")
INDUCTOR = Path(__file__).resolve().parent.parent / ".build" / "inductor"


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audio", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="workloads whose name contains one of these")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--rounds", type=int, help="quiet rounds for each mode (7; quick: 3)")
    parser.add_argument("--seconds", type=float, help="length of a round, one call at least (0.8; quick: 0.4)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="for everybody (all cores)")
    parser.add_argument("--quick", action="store_true", help="PyTorch eager alone, shorter rounds, no repeats")
    parser.add_argument("--out", type=Path, default=RESULTS)
    o = parser.parse_args()
    o.rounds = o.rounds or (3 if o.quick else 7)
    o.seconds = o.seconds or (0.4 if o.quick else 0.8)
    return o


def main() -> None:
    """Measure, then write audio.json and audio.md."""
    o = options()
    start = time.monotonic()
    data = run(o, lambda text: print(f"[{time.monotonic() - start:5.0f} s] {text}", flush=True))
    (o.out / "audio.json").write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    (o.out / "audio.md").write_text(report.markdown(data), "utf-8")
    print(report.overview(data))


def run(o: argparse.Namespace, say: Any) -> dict[str, Any]:
    """All that was asked for."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: o.threads])  # the contenders inherit it
    wanted = [w for w in WORKLOADS if not o.only or any(part in w.name for part in o.only)]
    ceilings = Ceilings(o.threads)
    ceilings.measure()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(INDUCTOR))
    field = measure.Field(o.contenders, o.threads, say, "audio")
    data: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"), "threads": o.threads, "rounds": o.rounds, "seconds": o.seconds,
        "quick": o.quick, "machine": machine(), "ceilings_how": ceilings.how, "timings": [],
        "versions": {name: c.version or f"not available: {c.missing}" for name, c in field.contenders.items()},
    }  # fmt: skip
    field.contenders = {name: c for name, c in field.contenders.items() if c.version is not None}
    try:
        for w in wanted:
            say(w.title)
            rows = field.time(
                w, o.rounds, o.seconds, modes=modes(w, o.quick), patience=1 if o.quick else 2, warm=0.2, least=1
            )
            ceilings.measure()
            data["peak_gflops"] = ceilings.best()["peak_gflops"]
            data["timings"] += [{**row, "floor": w.flops / data["peak_gflops"] / 1e6} for row in rows]
            say("  " + report.line(w, data))
    finally:
        field.close()
    return data


if __name__ == "__main__":
    main()
