"""A family of workloads beside the peers: the command line and the run of `benchmarks.images`, `.text` and `.audio`.

A family is a package with ``workloads`` (``WORKLOADS``, ``BY_NAME``, ``modes``) and ``report`` (``line``, ``overview``,
``markdown``); its contenders live in ``with_*.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import measure, summary
from benchmarks.bench import machine
from benchmarks.ceilings import Ceilings

INDUCTOR = Path(__file__).resolve().parent / ".build" / "inductor"
SLOW = 2e10  # one step of more than this is long enough to be a round


def steps(w: Any) -> tuple[float, int]:
    """Seconds of warming up, and the least number of calls in a round."""
    return (0.1, 1) if w.flops > SLOW or w.kind == "decode" else (0.3, 3)


def options(name: str, text: str | None, contenders: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=text)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="workloads whose name contains one of these")
    parser.add_argument("--contenders", nargs="+", choices=contenders, default=contenders)
    parser.add_argument("--rounds", type=int, help="quiet rounds for each mode (7; quick: 3)")
    parser.add_argument("--seconds", type=float, help="length of a round, one step at least (0.8; quick: 0.4)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="for everybody (all cores)")
    parser.add_argument("--quick", action="store_true", help="fewer modes of the peers, shorter rounds, no repeats")
    parser.add_argument("--out", type=Path, default=summary.RESULTS)
    parser.add_argument("--report", action="store_true", help=f"only write the tables again from {name}.json")
    o = parser.parse_args()
    o.rounds = o.rounds or (3 if o.quick else 7)
    o.seconds = o.seconds or (0.4 if o.quick else 0.8)
    return o


def main(
    name: str, text: str | None, contenders: Sequence[str], workloads: Any, report: Any,
    pace: Callable[[Any], tuple[float, int]] = steps,
) -> argparse.Namespace:  # fmt: skip
    """Measure, then write NAME.json and NAME.md; a part replaces only its own rows."""
    o = options(name, text, contenders)
    raw = o.out / f"{name}.json"
    if not o.report:
        start = time.monotonic()
        say = lambda line: print(f"[{time.monotonic() - start:5.0f} s] {line}", flush=True)  # noqa: E731
        run(name, o, say, raw, workloads, report, pace)
    data = json.loads(raw.read_text("utf-8"))
    (o.out / f"{name}.md").write_text(report.markdown(data), "utf-8")
    print(report.overview(data))
    return o


def run(name: str, o: argparse.Namespace, say: Any, raw: Path, workloads: Any, report: Any, pace: Any) -> None:
    """All that was asked for. What is there already is written after each workload, so that nothing is lost."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: o.threads])  # the contenders inherit it
    wanted = [w for w in workloads.WORKLOADS if not o.only or any(part in w.name for part in o.only)]
    ceilings = Ceilings(o.threads)
    ceilings.measure()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(INDUCTOR))  # minutes the first time
    field = measure.Field(o.contenders, o.threads, say, name)
    data: dict[str, Any] = json.loads(raw.read_text("utf-8")) if o.only and raw.exists() else {"timings": []}
    data.update(
        date=time.strftime("%Y-%m-%d"), threads=o.threads, rounds=o.rounds, seconds=o.seconds, quick=o.quick,
        machine=machine(), ceilings_how=ceilings.how,
        versions=data.get("versions", {})
        | {name: c.version or f"not available: {c.missing}" for name, c in field.contenders.items()},
    )  # fmt: skip
    field.contenders = {name: c for name, c in field.contenders.items() if c.version is not None}
    order = {name: k for k, name in enumerate(workloads.BY_NAME)}
    try:
        for w in wanted:
            say(w.title)
            warm, least = pace(w)
            rows = field.time(
                w, o.rounds, o.seconds, modes=workloads.modes(w, o.quick), patience=1 if o.quick else 2, warm=warm,
                least=least,
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
