"""``python -m benchmarks.text``: recurrent and attention networks beside the peers."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.bench import machine
from benchmarks.ceilings import Ceilings
from benchmarks.summary import RESULTS
from benchmarks.text import report
from benchmarks.text.workloads import BY_NAME, WORKLOADS, modes

CONTENDERS = ("gradloom", "torch", "jax", "tensorflow", "onnxruntime")
INDUCTOR = Path(__file__).resolve().parent.parent / ".build" / "inductor"
SLOW = 2e10  # one step of more than this is long enough to be a round


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.text", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="workloads whose name contains one of these")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--rounds", type=int, help="quiet rounds for each mode (7; quick: 3)")
    parser.add_argument("--seconds", type=float, help="length of a round, one step at least (0.8; quick: 0.4)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="for everybody (all cores)")
    parser.add_argument("--quick", action="store_true", help="fewer modes of the peers, shorter rounds, no repeats")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true", help="only write the tables again from text.json")
    o = parser.parse_args()
    o.rounds = o.rounds or (3 if o.quick else 7)
    o.seconds = o.seconds or (0.4 if o.quick else 0.8)
    return o


def main() -> None:
    """Measure, then write text.json and text.md; a part replaces only its own rows."""
    o = options()
    raw = o.out / "text.json"
    if not o.report:
        start = time.monotonic()
        run(o, lambda text: print(f"[{time.monotonic() - start:5.0f} s] {text}", flush=True), raw)
    data = json.loads(raw.read_text("utf-8"))
    (o.out / "text.md").write_text(report.markdown(data), "utf-8")
    print(report.overview(data))


def run(o: argparse.Namespace, say: Any, raw: Path) -> None:
    """All that was asked for. What is there already is written after each workload, so that nothing is lost."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: o.threads])  # the contenders inherit it
    wanted = [w for w in WORKLOADS if not o.only or any(part in w.name for part in o.only)]
    ceilings = Ceilings(o.threads)
    ceilings.measure()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(INDUCTOR))  # minutes the first time
    field = measure.Field(o.contenders, o.threads, say, "text")
    data: dict[str, Any] = json.loads(raw.read_text("utf-8")) if o.only and raw.exists() else {"timings": []}
    data.update(
        date=time.strftime("%Y-%m-%d"), threads=o.threads, rounds=o.rounds, seconds=o.seconds, quick=o.quick,
        machine=machine(), ceilings_how=ceilings.how,
        versions={name: c.version or f"not available: {c.missing}" for name, c in field.contenders.items()},
    )  # fmt: skip
    field.contenders = {name: c for name, c in field.contenders.items() if c.version is not None}
    order = {name: k for k, name in enumerate(BY_NAME)}
    try:
        for w in wanted:
            say(w.title)
            slow = w.flops > SLOW or w.kind == "decode"
            rows = field.time(
                w, o.rounds, o.seconds, modes=modes(w, o.quick), patience=1 if o.quick else 2,
                warm=0.1 if slow else 0.3, least=1 if slow else 3,
            )  # fmt: skip
            ceilings.measure()
            floor = w.flops / ceilings.best(last=2)["peak_gflops"] / 1e6
            data["timings"] = [r for r in data["timings"] if r["workload"] != w.name]
            data["timings"] += [{**row, "floor": floor} for row in rows]
            data["timings"].sort(key=lambda r: order[r["workload"]])
            data["peak_gflops"] = ceilings.best()["peak_gflops"]
            say("  " + report.line(w, data))
            raw.write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    finally:
        field.close()


if __name__ == "__main__":
    main()
