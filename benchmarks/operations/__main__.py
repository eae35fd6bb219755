"""``python -m benchmarks.operations``: time the operations, gradloom, PyTorch and NumPy in turn, and write tables."""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.bench import machine
from benchmarks.operations.table import OPERATIONS, SIZES
from benchmarks.operations.worker import MODES
from benchmarks.processes import ROOT, environment, interpreter

LIBRARIES = ("gradloom", "torch", "numpy")
TARGET, WORST = 0.8, 1.5


class Worker:
    """A library's process."""

    def __init__(self, library: str, threads: int, **more: str) -> None:
        self.process = subprocess.Popen(
            [interpreter(library), "-m", "benchmarks.operations.worker", library],
            cwd=ROOT, env=environment(threads, **more), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and wait for the answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline() or '{"error": "the process died"}')


def main() -> None:
    """Measure and write ``operations.json`` and ``operations.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operations", description=__doc__)
    parser.add_argument("--only", nargs="+", help="operations whose name contains one of these")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.04, help="length of a round")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results")
    o = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as cache:
        workers = {
            name: Worker(name, o.threads, **({"GRADLOOM_CACHE_DIR": cache} if name == "gradloom" else {}))
            for name in LIBRARIES
        }
        for number, op in enumerate(OPERATIONS):
            if o.only and not any(part in op.name for part in o.only):
                continue
            for size, label in enumerate(SIZES):
                row = measure(workers, number, size, o)
                rows.append({"name": op.name, "kind": op.kind, "size": label, "shapes": op.shapes[size], **row})
                print(line(rows[-1]), flush=True)
    data = {"date": time.strftime("%Y-%m-%d"), "threads": o.threads, "machine": machine(), "rows": rows}
    if not o.only:
        (o.out / "operations.json").write_text(json.dumps(data, indent=1) + "\n", "utf-8")
        (o.out / "operations.md").write_text(markdown(data), "utf-8")
    print(summary(rows))


def measure(workers: dict[str, Worker], number: int, size: int, o: argparse.Namespace) -> dict[str, Any]:
    """Microseconds of each mode: the first call, the median of the rounds and their spread."""
    row: dict[str, Any] = {}
    sums: dict[str, float] = {}
    ready = []
    for name, worker in workers.items():
        answer = worker.ask(do="prepare", op=number, size=size)
        if "error" in answer:
            row.setdefault("missing", {})[name] = answer["error"]
            continue
        ready.append(name)
        row[f"{name} first"] = answer["first_us"]
        if answer.get("sum") is not None:
            sums[name] = answer["sum"]
    times: dict[str, list[float]] = {}
    for k in range(o.rounds):
        for name in ready if k % 2 == 0 else reversed(ready):
            for mode in MODES[name]:
                times.setdefault(mode, []).append(workers[name].ask(do="time", mode=mode, seconds=o.seconds)["us"])
                time.sleep(0.005)  # let the threads of the one before stop spinning
    for mode, found in times.items():
        row[mode] = statistics.median(found)
        row[f"{mode} spread"] = [min(found), max(found)]
    if "gradloom" in sums and "torch" in sums and not math.isclose(sums["gradloom"], sums["torch"], rel_tol=2e-3):
        row["differs"] = sums
    return row


def ratio(row: dict[str, Any], mode: str = "compile") -> float | None:
    """Time over PyTorch eager's."""
    return row[mode] / row["eager"] if mode in row and "eager" in row else None


def geometric(values: list[float]) -> float:
    """The geometric mean."""
    return math.exp(statistics.fmean(map(math.log, values))) if values else math.nan


def line(row: dict[str, Any]) -> str:
    """A row for the terminal."""
    parts = [f"{row['name']:<26} {row['size']:<7}"]
    parts += [
        f"{mode} {row[mode]:9.1f}" if mode in row else f"{mode} {'-':>9}"
        for mode in ("compile", "call", "eager", "numpy")
    ]
    r = ratio(row)
    parts.append(f"ratio {r:5.2f}" if r is not None else str(row.get("missing", ""))[:120])
    return "  ".join(parts) + ("  DIFFERS " + str(row["differs"]) if "differs" in row else "")


def summary(rows: list[dict[str, Any]]) -> str:
    """Geometric means of the ratios, by size and in all."""
    out = []
    for mode in ("compile", "call"):
        for label in (*SIZES, None):
            found = [r for row in rows if label in (None, row["size"]) and (r := ratio(row, mode)) is not None]
            out.append(f"{mode}, {label or 'all'}: {geometric(found):.2f} of {len(found)}")
    return "; ".join(out)


def markdown(data: dict[str, Any]) -> str:
    """The table, and what was slower than wanted."""
    m, rows = data["machine"], data["rows"]
    lines = [
        "# Operations", "",
        "Written by `python -m benchmarks.operations`; do not edit. Microseconds, medians of the rounds; the ratio is",
        "gradloom's compiled call over PyTorch eager's. First: the first call, with an empty cache folder.", "",
        f"{data['date']}, {m['processor']}, {data['threads']} threads, {m['system']}.", "",
        f"Geometric means of the ratios (wanted: at most {TARGET} compiled): {summary(rows)}.", "",
        "| operation | shapes | first | compiled | call | PyTorch | NumPy | ratio |",
        "| --- " * 8 + "|",
    ]  # fmt: skip
    for row in rows:
        shapes = " ".join("x".join(map(str, s)) or "()" for s in row["shapes"])
        cells = [f"{row[k]:.1f}" if k in row else "" for k in ("gradloom first", "compile", "call", "eager", "numpy")]
        r = ratio(row)
        mark = "" if r is None else f"**{r:.2f}**" if r > WORST else f"{r:.2f}"
        lines.append("| " + " | ".join([row["name"], shapes, *cells, mark]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
