"""Tables of Whisper's timings."""

from __future__ import annotations

from typing import Any

from benchmarks.audio.workloads import BY_NAME, Workload
from benchmarks.images.report import best, rows_of, table
from benchmarks.report import _ms
from benchmarks.text.report import spread


def line(w: Workload, data: dict[str, Any]) -> str:
    """A workload for the terminal."""
    rows = rows_of(data, w.name)
    parts = [f"{r['contender']} {r['mode']} {_ms(r['ms'])}" for r in rows if "ms" in r]
    parts += [f"{r['contender']} {r['mode']} missing: {r['missing']}" for r in rows if "missing" in r]
    return f"{w.name}: floor {_ms(rows[0]['floor'])}; ms: {', '.join(parts)}"


def overview(data: dict[str, Any]) -> str:
    """One row a workload."""
    head = "| workload | gradloom, ms | floor, ms | fastest peer, ms | over it | from the rounds' spread |"
    lines = [head, "| --- " * 6 + "|"]
    for name, w in BY_NAME.items():
        if rows := rows_of(data, name):
            ours, fastest = best(rows, "gradloom"), best(rows)
            cells = [w.title, _ms(ours["ms"]) if ours else "", _ms(rows[0]["floor"])]
            cells.append(f"{fastest['contender']} {fastest['mode']} {_ms(fastest['ms'])}" if fastest else "")
            cells.append(f"{ours['ms'] / fastest['ms']:.2f}" if ours and fastest else "not measured")
            cells.append(spread(rows))
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def markdown(data: dict[str, Any]) -> str:
    """Everything in one page."""
    m = data["machine"]
    quick = " A quick run: fewer modes of the peers, no repeats of disturbed rounds." if data["quick"] else ""
    lines = [
        "# Whisper tiny",
        "",
        "Written by `python -m benchmarks.audio`; do not edit. How it was measured: [the method](../README.md).",
        "",
        f"{data['date']}, {m['processor']}, {data['threads']} threads of {m['cores']} cores, {m['memory_gib']} GiB, "
        f"{m['system']}, Python {m['python']}; {data['rounds']} rounds of {data['seconds']} s.{quick}",
        "",
        f"Versions: {', '.join(f'{k} {v}' for k, v in data['versions'].items())}. Peak {data['peak_gflops']:.0f} GF/s",
        f"({data['ceilings_how']}). A floor is the arithmetic of the products at that peak.",
        "",
        overview(data),
    ]
    for name, w in BY_NAME.items():
        if rows := rows_of(data, name):
            lines += ["", f"## {name}: {w.title}", "", *table(rows)]
    return "\n".join(lines) + "\n"
