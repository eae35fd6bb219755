"""Tables of the timings of recurrent and attention networks."""

from __future__ import annotations

import math
import statistics
from typing import Any

from benchmarks.images.report import best, rows_of, table
from benchmarks.report import _ms
from benchmarks.text.workloads import BY_NAME, Workload


def ratio(data: dict[str, Any], w: Workload) -> float | None:
    """gradloom's time over the fastest peer's, where both were measured."""
    rows = rows_of(data, w.name)
    ours, fastest = best(rows, "gradloom"), best(rows)
    return ours["ms"] / fastest["ms"] if ours and fastest else None


def spread(rows: list[dict[str, Any]]) -> str:
    """The smallest and largest quotient over the fastest peer that the rounds allow."""
    ours, fastest = best(rows, "gradloom"), best(rows)
    if not ours or not fastest:
        return ""
    return f"{ours['low'] / fastest['high']:.2f} to {ours['high'] / fastest['low']:.2f}"


def line(w: Workload, data: dict[str, Any]) -> str:
    """A workload for the terminal."""
    rows, found = rows_of(data, w.name), ratio(data, w)
    parts = [f"{r['contender']} {r['mode']} {_ms(r['ms'])}" for r in rows if "ms" in r]
    parts += [f"{r['contender']} {r['mode']} missing: {r['missing']}" for r in rows if "missing" in r]
    over = "no ratio" if found is None else f"ratio {found:.2f} (wanted {w.goal:.2f})"
    return f"{w.name}: {over}; floor {_ms(rows[0]['floor'])}; ms: {', '.join(parts)}"


def overview(data: dict[str, Any]) -> str:
    """One row a workload, and the geometric mean."""
    head = "| workload | gradloom, ms | floor, ms | fastest peer, ms | over it | from the rounds' spread | wanted | |"
    lines = [head, "| --- " * 8 + "|"]
    ratios = []
    for name, w in BY_NAME.items():
        if not (rows := rows_of(data, name)):
            continue
        ours, fastest, found = best(rows, "gradloom"), best(rows), ratio(data, w)
        cells = [
            w.title,
            _ms(ours["ms"]) if ours else "",
            _ms(rows[0]["floor"]),
            f"{fastest['contender']} {fastest['mode']} {_ms(fastest['ms'])}" if fastest else "",
        ]
        if found is None:
            cells += ["", "", f"{w.goal:.2f}", "not measured"]
        else:
            ratios.append(found)
            cells += [f"{found:.2f}", spread(rows), f"{w.goal:.2f}", "reached" if found <= w.goal else "**missed**"]
        lines.append("| " + " | ".join(cells) + " |")
    if ratios:
        mean = math.exp(statistics.fmean(map(math.log, ratios)))
        lines += ["", f"Geometric mean over the fastest peer: {mean:.2f} of {len(ratios)}."]
    return "\n".join(lines)


def markdown(data: dict[str, Any]) -> str:
    """Everything in one page."""
    m = data["machine"]
    quick = " A quick run: fewer modes of the peers, no repeats of disturbed rounds." if data["quick"] else ""
    lines = [
        "# Recurrent and attention networks",
        "",
        "Written by `python -m benchmarks.text`; do not edit. How it was measured: [the method](../README.md).",
        "",
        f"{data['date']}, {m['processor']}, {data['threads']} threads of {m['cores']} cores, {m['memory_gib']} GiB, "
        f"{m['system']}, Python {m['python']}; {data['rounds']} rounds of {data['seconds']} s.{quick}",
        "",
        f"Versions: {', '.join(f'{k} {v}' for k, v in data['versions'].items())}. Peak {data['peak_gflops']:.0f} GF/s",
        f"({data['ceilings_how']}). A floor is the arithmetic of the products at that peak; for decoding, where all",
        "weights are read for each token, memory sets a higher one. Decoding is told in milliseconds for a token.",
        "",
        overview(data),
    ]
    for name, w in BY_NAME.items():
        if rows := rows_of(data, name):
            lines += ["", f"## {name}: {w.title}", "", *table(rows)]
    return "\n".join(lines) + "\n"
