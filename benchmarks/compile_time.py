"""``python -m benchmarks.compile_time``: the first steps of ResNet-18 (32 x 32, batch 32) in a fresh process.

Cold: with an empty cache folder; warm: a new process with the folder that run filled. What compiling costs is the first
steps' time above that of a later step.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import summary
from benchmarks.bench import machine
from benchmarks.measure import _caches
from benchmarks.processes import child

WORKLOAD = "resnet18_train_32"
MODES = (("gradloom", "loop"), ("torch", "compile"), ("jax", "jit"), ("tensorflow", "function"))
GOALS = {"cold": 6.0, "warm": 1.0}
STEPS = 6


def first_steps(contender: str, mode: str) -> dict[str, Any]:
    """Runs in the child: seconds of the import, of making model and data, and of each step; gradloom's kernels."""
    start = time.perf_counter()
    from benchmarks.images.workloads import BY_NAME
    from benchmarks.worker import load

    module = load(contender, "images")
    imported = time.perf_counter()
    task = module.make(BY_NAME[WORKLOAD], mode)
    made = time.perf_counter()
    times = []
    for number in range(STEPS):
        begin = time.perf_counter()
        task.sync(task.step(number))
        times.append(time.perf_counter() - begin)
    found: dict[str, Any] = {"import": imported - start, "make": made - imported, "steps": times}
    if contender == "gradloom":
        from gradloom.compiler import kernels

        s = kernels.stats()
        found["kernels"] = {
            "compiled": s.compiled,
            "from_disk": s.disk_hits,
            "again": s.memory_hits,
            "seconds": s.seconds,
        }
    return found


def overhead(run: dict[str, Any]) -> float:
    """Seconds that all steps took above the quickest."""
    return sum(run["steps"]) - len(run["steps"]) * min(run["steps"])


def overview(data: dict[str, Any]) -> str:
    """The table."""
    lines = [
        f"ResNet-18, 32x32, batch 32, first {STEPS} steps; {data['date']}. Wanted: the first step cold under "
        f"{GOALS['cold']:g} s, warm under {GOALS['warm']:g} s.",
        "",
        "| | mode | cache | import, s | make, s | first step, s | second, s | quickest, s | all above the quickest, s |"
        " kernels compiled, from disk, seen before | seconds of compiling |",
        "| --- " * 11 + "|",
    ]
    for r in data["rows"]:
        head = f"| {r['contender']} | {r['mode']} | {r['cache']} |"
        if "missing" in r:
            lines.append(f"{head} not available: {r['missing']} | | | | | | | |")
            continue
        k = r.get("kernels")
        count = f"{k['compiled']}, {k['from_disk']}, {k['again']} | {k['seconds']:.2f}" if k else "|"
        first, second = r["steps"][:2]
        lines.append(
            f"{head} {r['import']:.2f} | {r['make']:.2f} | {first:.2f} | {second:.2f} | {min(r['steps']):.2f} "
            f"| {overhead(r):.2f} | {count} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, then write compile_time.json and compile_time.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compile_time", description=__doc__)
    parser.add_argument("--contenders", nargs="+", choices=[c for c, _ in MODES], default=["gradloom"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=summary.RESULTS)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.child:
        print(json.dumps(first_steps(*o.child)), flush=True)
        return
    rows = []
    for contender, mode in MODES:
        if contender not in o.contenders:
            continue
        with tempfile.TemporaryDirectory() as folder:
            for cache in ("cold", "warm"):
                found = child("benchmarks.compile_time", contender, ["--child", contender, mode], o.threads,
                              **_caches(folder))  # fmt: skip
                rows.append({"contender": contender, "mode": mode, "cache": cache, **found})
                print(rows[-1], flush=True)
    data = {"date": time.strftime("%Y-%m-%d"), "threads": o.threads, "machine": machine(), "rows": rows}
    (o.out / "compile_time.json").write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    note = "Written by `python -m benchmarks.compile_time`; do not edit."
    (o.out / "compile_time.md").write_text(f"# Time to the first step\n\n{note}\n\n{overview(data)}\n", "utf-8")
    summary.update(o.out)
    print(overview(data))


if __name__ == "__main__":
    main()
