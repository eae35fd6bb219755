"""``python -m benchmarks.memory``: peak resident memory of training ResNet-50 on images of 224 x 224 pixels.

Every contender trains in a fresh process; what counts is the highest resident memory (the kernel's high-water mark)
above what the process held after its imports.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks import summary
from benchmarks.bench import machine
from benchmarks.processes import child

MODES = (
    ("gradloom", "loop"),
    ("gradloom", "checkpoint"),
    ("torch", "channels_last"),
    ("torch", "eager"),
    ("torch", "checkpoint"),
)


def train(contender: str, mode: str, batch: int, steps: int) -> dict[str, Any]:
    """Runs in the child: mebibytes, seconds of the quickest step, the losses."""
    from benchmarks.fresh import _status
    from benchmarks.images.workloads import MEMORY
    from benchmarks.worker import load

    module = load(contender, "images")
    imported = _status("VmRSS")
    task = module.make(dataclasses.replace(MEMORY, batch=batch), mode)
    made, times, losses = _status("VmHWM"), [], []
    for number in range(steps):
        start = time.perf_counter()
        handle = task.step(number)
        task.sync(handle)
        times.append(time.perf_counter() - start)
        losses.append(float(handle.item()))
        del handle
    return {
        "import_mib": imported,
        "made_mib": made - imported,
        "peak_mib": _status("VmHWM") - imported,
        "step_s": min(times),
        "losses": losses,
    }


def overview(data: dict[str, Any]) -> str:
    """The table."""
    least = min((r["peak_mib"] for r in data["rows"] if r["contender"] == "torch" and r["mode"] != "checkpoint"
                 and "peak_mib" in r), default=None)  # fmt: skip
    lines = [
        f"ResNet-50, 224x224, batch {data['batch']}, {data['steps']} steps; {data['date']}.",
        "",
        "| | mode | peak above the imports, MiB | over PyTorch's better plain mode | imports, MiB | quickest step, s |",
        "| --- " * 6 + "|",
    ]
    for r in data["rows"]:
        head = f"| {r['contender']} | {r['mode']} |"
        if "missing" in r:
            lines.append(f"{head} not available: {r['missing']} | | | |")
            continue
        over = f"{r['peak_mib'] / least:.2f}" if least else ""
        lines.append(f"{head} {r['peak_mib']:.0f} | {over} | {r['import_mib']:.0f} | {r['step_s']:.2f} |")
    firsts = [r["losses"][0] for r in data["rows"] if "losses" in r]
    if firsts and max(firsts) - min(firsts) > 1e-3 * abs(max(firsts)):
        lines += ["", f"**First losses differ: {firsts}**"]
    return "\n".join(lines)


def main() -> None:
    """Measure, then write memory.json and memory.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--modes", nargs="+", choices=[f"{c}:{m}" for c, m in MODES], help="these, instead of all")
    parser.add_argument("--out", type=Path, default=summary.RESULTS)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.child:
        print(json.dumps(train(*o.child, o.batch, o.steps)), flush=True)
        return
    rows = []
    for contender, mode in MODES:
        if o.modes and f"{contender}:{mode}" not in o.modes:
            continue
        arguments = ["--child", contender, mode, "--batch", str(o.batch), "--steps", str(o.steps)]
        rows.append(
            {"contender": contender, "mode": mode, **child("benchmarks.memory", contender, arguments, o.threads)}
        )
        print(rows[-1], flush=True)
    data = {"date": time.strftime("%Y-%m-%d"), "batch": o.batch, "steps": o.steps, "threads": o.threads,
            "machine": machine(), "rows": rows}  # fmt: skip
    (o.out / "memory.json").write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    note = "Written by `python -m benchmarks.memory`; do not edit."
    (o.out / "memory.md").write_text(f"# Peak memory\n\n{note}\n\n{overview(data)}\n", "utf-8")
    summary.update(o.out)
    print(overview(data))


if __name__ == "__main__":
    main()
