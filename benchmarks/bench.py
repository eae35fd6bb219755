"""Measure gradloom and its peers in one run: ``make bench``, or ``python -m benchmarks.bench --help``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from benchmarks import measure, report
from benchmarks.ceilings import Ceilings
from benchmarks.worker import CONTENDERS
from benchmarks.workloads import BY_NAME

FRESH = ("imports", "first_steps", "memory")
BUSY = ("mlp32", "mlp_big")  # also timed beside a busy process


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*BY_NAME, *FRESH], help="these measurements, instead of all")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--rounds", type=int, default=7, help="quiet rounds for each mode (7)")
    parser.add_argument("--seconds", type=float, default=0.4, help="length of a round (0.4)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="for everybody (all cores)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--report", action="store_true", help="only write tables and plot again from results.json")
    return parser.parse_args()


def main() -> None:
    """Measure, then write results.json, results.md and results.png."""
    o = options()
    o.out.mkdir(parents=True, exist_ok=True)
    raw = o.out / "results.json"
    if o.report:
        data = json.loads(raw.read_text("utf-8"))
    else:
        start = time.monotonic()
        data = run(o, lambda text: print(f"[{time.monotonic() - start:5.0f} s] {text}", flush=True))
        raw.write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    for path in [raw, *report.write(data, o.out)]:
        print(os.path.relpath(path))


def run(o: argparse.Namespace, say: Any) -> dict[str, Any]:
    """All that was asked for."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: o.threads])  # the contenders inherit it
    wanted = o.only or [*BY_NAME, *FRESH]
    ceilings = Ceilings(o.threads)
    say(f"ceilings: {ceilings.how}")
    ceilings.measure()
    field = measure.Field(o.contenders, o.threads, say)
    data: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "threads": o.threads,
        "rounds": o.rounds,
        "seconds": o.seconds,
        "machine": machine(),
        "versions": {name: contender.version for name, contender in field.contenders.items()},
        "timings": [],
        "floors": {},
    }
    try:
        for name in (n for n in BY_NAME if n in wanted):
            say(BY_NAME[name].title)
            busy = max(3, o.rounds // 2) if name in BUSY else 0
            data["timings"] += field.time(BY_NAME[name], o.rounds, o.seconds, busy)
            ceilings.measure()
            if (floor := ceilings.floor_ms(BY_NAME[name])) is not None:
                data["floors"][name] = floor
    finally:
        field.close()
    there = [name for name, version in data["versions"].items() if version is not None]
    if "imports" in wanted:
        say("imports")
        data["imports"] = measure.imports(there, o.threads, o.rounds)
    if "first_steps" in wanted:
        say("first steps of fresh processes")
        data["first_steps"] = measure.first_steps(there, BUSY, o.threads, max(1, min(3, o.rounds // 2)))
    if "memory" in wanted:
        say("peak memory")
        data["memory"] = measure.memory(there, BUSY, o.threads)
    data["ceilings"], data["ceilings_how"], data["ceilings_all"] = ceilings.best(), ceilings.how, ceilings.measured
    say("done")
    return data


def machine() -> dict[str, Any]:
    """What the figures depend on; nothing that names the machine."""
    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            found = dict(line.strip().split("\t: ", 1) for line in file if "\t: " in line)
        processor = found.get("model name\t", found.get("model name", processor))
        if "avx512f" in found.get("flags\t\t", found.get("flags", "")).split():
            processor += " (AVX-512)"
    except OSError:
        pass
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
