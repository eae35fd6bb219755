"""Tables of the networks' timings."""

from __future__ import annotations

import math
import statistics
from typing import Any

from benchmarks.images.workloads import BY_NAME, Workload
from benchmarks.report import AGREEMENT, _cell, _ms, deviation

TRAIN_GOAL, INFER_GOAL = 0.8, 0.9


def rows_of(data: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """A workload's rows, the quickest first."""
    rows = [row for row in data["timings"] if row["workload"] == name]
    return sorted(rows, key=lambda row: row.get("ms", math.inf))


def best(rows: list[dict[str, Any]], *contenders: str) -> dict[str, Any] | None:
    """The quickest row of these contenders, of all but gradloom where none is named."""
    return next(
        (
            r
            for r in rows
            if "ms" in r and (r["contender"] in contenders if contenders else r["contender"] != "gradloom")
        ),
        None,
    )


def against(w: Workload, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """gradloom's time over the peer's that the goal names: the fastest, or for inference ONNX Runtime. With the
    smallest and largest quotient that the rounds allow."""
    ours, fastest = best(rows, "gradloom"), best(rows)
    named = fastest if w.kind == "train" else best(rows, "onnxruntime")
    found: dict[str, Any] = {"ours": ours, "fastest": fastest, "named": named}
    if ours and named:
        found["ratio"] = ours["ms"] / named["ms"]
        found["spread"] = (ours["low"] / named["high"], ours["high"] / named["low"])
    if ours and fastest:
        found["over_fastest"] = ours["ms"] / fastest["ms"]
    return found


def goal(w: Workload) -> float:
    """At most this ratio is wanted."""
    return TRAIN_GOAL if w.kind == "train" else INFER_GOAL


def line(w: Workload, data: dict[str, Any]) -> str:
    """A workload for the terminal."""
    rows = rows_of(data, w.name)
    found = against(w, rows)
    parts = [f"{r['contender']} {r['mode']} {_ms(r['ms'])}" for r in rows if "ms" in r]
    ratio = f"ratio {found['ratio']:.2f} (wanted {goal(w)})" if "ratio" in found else "no ratio"
    return f"{w.name}: {ratio}; floor {_ms(rows[0]['floor'])}; ms: {', '.join(parts)}"


def overview(data: dict[str, Any]) -> str:
    """One row a workload."""
    lines = [
        "| workload | gradloom, ms | floor, ms | share of the floor | fastest peer, ms | over it | goal's peer | "
        "ratio | from the rounds' spread | wanted | |",
        "| --- " * 11 + "|",
    ]
    for name, w in BY_NAME.items():
        if not (rows := rows_of(data, name)):
            continue
        f = against(w, rows)
        ours, fastest, named = f["ours"], f["fastest"], f["named"]
        cells = [
            w.title,
            _ms(ours["ms"]) if ours else "",
            _ms(rows[0]["floor"]),
            f"{rows[0]['floor'] / ours['ms']:.2f}" if ours else "",
            f"{fastest['contender']} {fastest['mode']} {_ms(fastest['ms'])}" if fastest else "",
            f"{f['over_fastest']:.2f}" if "over_fastest" in f else "",
            f"{named['contender']} {_ms(named['ms'])}" if named else "",
        ]
        if "ratio" in f:
            low, high = f["spread"]
            mark = "reached" if f["ratio"] <= goal(w) else "**missed**"
            cells += [f"{f['ratio']:.2f}", f"{low:.2f} to {high:.2f}", f"{goal(w)}", mark]
        else:
            cells += ["", "", f"{goal(w)}", "not measured"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", means(data)])


def means(data: dict[str, Any]) -> str:
    """Geometric means of the ratios."""
    parts = []
    for kind, title in (("train", "training over the fastest peer"), ("infer", "inference over ONNX Runtime")):
        found = [against(w, rows_of(data, w.name)) for w in BY_NAME.values() if w.kind == kind]
        ratios = [f["ratio"] for f in found if "ratio" in f]
        if ratios:
            parts.append(f"{title} {math.exp(statistics.fmean(map(math.log, ratios))):.2f} of {len(ratios)}")
    return f"Geometric means: {'; '.join(parts)}." if parts else ""


def markdown(data: dict[str, Any]) -> str:
    """Everything in one page."""
    m = data["machine"]
    quick = (
        " A quick run: fewer modes of the peers, no repeats of rounds that others disturbed." if data["quick"] else ""
    )
    lines = [
        "# Convolutional networks",
        "",
        "Written by `python -m benchmarks.images`; do not edit. How it was measured: [the method](../README.md).",
        "",
        f"{data['date']}, {m['processor']}, {data['threads']} threads of {m['cores']} cores, {m['memory_gib']} GiB, "
        f"{m['system']}, Python {m['python']}; {data['rounds']} rounds of {data['seconds']} s.{quick}",
        "",
        f"Versions: {', '.join(f'{k} {v}' for k, v in data['versions'].items())}. Peak {data['peak_gflops']:.0f} GF/s",
        f"({data['ceilings_how']}). A floor is the arithmetic, convolutions summed directly, at the peak measured just",
        "before and after; Winograd's way goes below it. Memory traffic is not counted.",
        "",
        overview(data),
    ]
    for name, w in BY_NAME.items():
        if rows := rows_of(data, name):
            lines += ["", f"## {name}: {w.title}", "", *table(rows)]
    return "\n".join(lines) + "\n"


def table(rows: list[dict[str, Any]]) -> list[str]:
    """All modes of one workload."""
    ours = best(rows, "gradloom")
    lines = [
        "| | mode | ms, median | quickest to slowest round | share of the floor | over gradloom's | notes |",
        "| --- " * 7 + "|",
    ]
    for row in rows:
        if "missing" in row:
            lines.append(f"| {row['contender']} | {row['mode']} | | | | | not available: {_cell(row['missing'])} |")
            continue
        notes = [f"{row['discarded']} rounds discarded"] if row["discarded"] else []
        if row["noisy"]:
            notes.append(f"noisy: others took {row['other_cores']:.2f} cores")
        if (apart := deviation(row, rows)) > AGREEMENT:
            notes.append(f"**differs from the others by {apart:.1e}**")
        over = f"{row['ms'] / ours['ms']:.2f}" if ours else ""
        lines.append(
            f"| {row['contender']} | {row['mode']} | {_ms(row['ms'])} | {_ms(row['low'])} to {_ms(row['high'])} "
            f"| {row['floor'] / row['ms']:.2f} | {over} | {', '.join(notes)} |"
        )
    return lines
