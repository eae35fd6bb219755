"""``python -m benchmarks.convolutions``: time single convolutions, gradloom and PyTorch in turn, and write tables."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks import measure, summary
from benchmarks.bench import machine
from benchmarks.ceilings import Ceilings
from benchmarks.convolutions import report
from benchmarks.convolutions.workloads import BY_NAME, DIRECTIONS, SHAPES, WORKLOADS, Workload

CONTENDERS = ("gradloom", "direct", "torch")


def main() -> None:
    """Measure, then write convolutions.json and convolutions.md; a part replaces only its own rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.convolutions", description=__doc__)
    parser.add_argument("--only", nargs="+", type=int, choices=range(len(SHAPES)), help="these shapes, by number")
    parser.add_argument("--directions", nargs="+", choices=DIRECTIONS, default=DIRECTIONS)
    parser.add_argument("--rounds", type=int, help="quiet rounds of each (5; quick: 3)")
    parser.add_argument("--seconds", type=float, help="length of a round (0.15; quick: 0.06)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="shorter rounds, no repeats of disturbed ones")
    parser.add_argument("--out", type=Path, default=summary.RESULTS)
    parser.add_argument("--report", action="store_true", help="only write tables again from convolutions.json")
    o = parser.parse_args()
    o.rounds = o.rounds or (3 if o.quick else 5)
    o.seconds = o.seconds or (0.06 if o.quick else 0.15)
    raw = o.out / "convolutions.json"
    data = json.loads(raw.read_text("utf-8")) if o.report else run(o, raw)
    raw.write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    (o.out / "convolutions.md").write_text(report.markdown(data), "utf-8")
    summary.update(o.out)
    print(report.overview(data))


def winograd_may_be_taken(w: Workload) -> bool:
    """Only then is the direct sum timed by itself."""
    s = w.shape
    return (s.kernel, s.stride, s.groups, s.dilation) == (3, 1, 1, 1) and min(s.channels, s.out) >= 32


def run(o: argparse.Namespace, raw: Path) -> dict[str, Any]:
    """All that was asked for."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: o.threads])
    start = time.monotonic()
    ceilings = Ceilings(o.threads)
    ceilings.measure()
    field = measure.Field(CONTENDERS, o.threads, lambda text: None, "convolutions")
    whole = o.only is None and tuple(o.directions) == DIRECTIONS
    data: dict[str, Any] = {"timings": []} if whole or not raw.exists() else json.loads(raw.read_text("utf-8"))
    data.update(
        date=time.strftime("%Y-%m-%d"), threads=o.threads, rounds=o.rounds, seconds=o.seconds, machine=machine(),
        versions={name: c.version or f"not available: {c.missing}" for name, c in field.contenders.items()},
    )  # fmt: skip
    try:
        for w in WORKLOADS:
            if w.direction not in o.directions or (o.only is not None and w.number not in o.only):
                continue
            names = [n for n in CONTENDERS if n != "direct" or winograd_may_be_taken(w)]
            rows = field.time(
                w, o.rounds, o.seconds, modes={name: ("call",) for name in names}, patience=1 if o.quick else 2,
                warm=0.06, least=2, settle=0.05,
            )  # fmt: skip
            if w.direction == DIRECTIONS[-1] and w.number % 5 == 4:
                ceilings.measure()
            peak = ceilings.best(last=2)["peak_gflops"]
            data["timings"] = [r for r in data["timings"] if r["workload"] != w.name]
            data["timings"] += [{**row, "peak": peak} for row in rows]
            print(f"[{time.monotonic() - start:4.0f} s] {report.line(w, data)}", flush=True)
    finally:
        field.close()
    data["peak_gflops"] = ceilings.best()["peak_gflops"]
    order = {name: k for k, name in enumerate(BY_NAME)}
    data["timings"].sort(key=lambda r: order[r["workload"]])
    return data


if __name__ == "__main__":
    main()
