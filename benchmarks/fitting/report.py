"""Tables of the training loops."""

from __future__ import annotations

from typing import Any

from benchmarks.fitting.workloads import BY_NAME, STEPS, Workload
from benchmarks.images.report import best, rows_of

OVERHEAD = 15.0  # microseconds above the program that a step of `fit` may take


def _base(data: dict[str, Any], w: Workload) -> float | None:
    return next((r["ms"] for r in rows_of(data, w.name) if (r["contender"], r["mode"]) == w.base and "ms" in r), None)


def _step_us(data: dict[str, Any], mode: str) -> float | None:
    """Microseconds of the quickest round: differences of some microseconds drown in the spread of medians."""
    rows = rows_of(data, "step")
    return next((1e3 * r["low"] for r in rows if r["mode"] == mode and "ms" in r), None)


def targets(data: dict[str, Any]) -> list[tuple[str, float | None, float, str]]:
    """What was set out for: the words, the figure, what it may be at most, and its unit."""
    found: list[tuple[str, float | None, float, str]] = []
    peers = [w for w in BY_NAME.values() if w.name.startswith("epoch_keras")]
    for w in peers:
        ours, base = best(rows_of(data, w.name), "gradloom"), _base(data, w)
        over = ours["ms"] / base if ours and base else None
        found.append((f"{w.title}: time over Keras'", over, 0.1, ""))
    program, rows = _step_us(data, "program"), _step_us(data, "rows")
    for mode, title in (
        ("fit_in_order", "a step of `fit` above its program, rows in order"),
        ("fit", "a step of `fit` above its program, rows shuffled: reading them from memory included"),
    ):
        took = _step_us(data, mode)
        found.append((title, took - program if took and program else None, OVERHEAD, " µs"))
    took = _step_us(data, "fit")
    less = took - program - rows if took and program and rows else None
    found.append(("a step of `fit` above its program and the reading of its shuffled rows", less, OVERHEAD, " µs"))
    return found


def line(w: Workload, data: dict[str, Any]) -> str:
    """A workload for the terminal."""
    rows = rows_of(data, w.name)
    parts = [f"{r['contender']} {r['mode']} {r['ms']:.4f}" for r in rows if "ms" in r]
    parts += [f"{r['contender']} {r['mode']} missing: {r['missing']}" for r in rows if "missing" in r]
    return f"{w.name}: ms {', '.join(parts)}"


def overview(data: dict[str, Any]) -> str:
    """The targets, and the epochs."""
    lines = ["| target | found | wanted | |", "| --- " * 4 + "|"]
    for title, value, bound, unit in targets(data):
        if value is None:
            lines.append(f"| {title} | not measured | at most {bound:g}{unit} | |")
            continue
        reached = "reached" if value <= bound else "**missed**"
        lines.append(f"| {title} | {value:.3g}{unit} | at most {bound:g}{unit} | {reached} |")
    return "\n".join(lines)


def table(data: dict[str, Any], w: Workload) -> list[str]:
    """All rows of a workload."""
    base = _base(data, w)
    steps = w.kind in ("epoch", "step")
    last = "seconds an epoch" if steps else "MB"
    head = (
        f"| | mode | {'µs a step' if steps else 'ms'} | rounds, least to most | over {w.base[0]} {w.base[1]} | {last} |"
    )
    lines = [head, "| --- " * 6 + "|"]
    for r in rows_of(data, w.name):
        if "missing" in r:
            lines.append(f"| {r['contender']} | {r['mode']} | not available: {r['missing'].replace('|', '/')} | | | |")
            continue
        unit = 1e3 if steps else 1.0
        over = f"{r['ms'] / base:.2f}" if base else ""
        tail = f"{r['ms'] * STEPS / 1e3:.2f}" if steps else f"{r['bytes'] / 1e6:.1f}"
        noisy = f" (noisy: others took {r['other_cores']:.2f} cores)" if r["noisy"] else ""
        lines.append(
            f"| {r['contender']} | {r['mode']} | {r['ms'] * unit:.1f} | {r['low'] * unit:.1f} to {r['high'] * unit:.1f}"
            f"{noisy} | {over} | {tail} |"
        )
    return lines


def markdown(data: dict[str, Any]) -> str:
    """Everything in one page."""
    m = data["machine"]
    lines = [
        "# Training loops",
        "",
        "Written by `python -m benchmarks.fitting`; do not edit. How it was measured: [the method](../README.md).",
        "",
        f"{data['date']}, {m['processor']}, {data['threads']} threads of {m['cores']} cores, {m['memory_gib']} GiB, "
        f"{m['system']}, Python {m['python']}; {data['rounds']} rounds of an epoch each.",
        "",
        f"Versions: {', '.join(f'{k} {v}' for k, v in data['versions'].items())}.",
        "",
        "What is compared stands in one table and was timed in turn. Of a step: `program` is the native program alone,",
        "on one batch again and again; `rows` the gathering of shuffled batches alone (0.1 MB each, from 188 MB); the",
        "others are whole epochs divided by their steps. `trainer_own` trains a module of the user's own, whose Python",
        "runs in every step. What a step of `fit` takes above its program is told of the quickest rounds.",
        "",
        overview(data),
    ]
    for name, w in BY_NAME.items():
        if rows_of(data, name):
            lines += ["", f"## {name}: {w.title}", "", *table(data, w)]
    return "\n".join(lines) + "\n"
