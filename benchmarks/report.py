"""Results as tables in Markdown and as a plot."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.targets import PEERS, Results, targets
from benchmarks.workloads import BY_NAME

AGREEMENT = 1e-3  # how far contenders' losses or values may lie apart, relative to the largest


def write(data: dict[str, Any], folder: Path) -> list[Path]:
    """Write results.md and, where matplotlib is there, results.png beside the JSON."""
    table = folder / "results.md"
    table.write_text(markdown(data), "utf-8")
    written = [table]
    try:
        import matplotlib
    except ImportError:
        return written
    matplotlib.use("Agg")
    return [*written, plot(data, folder / "results.png")]


def markdown(data: dict[str, Any]) -> str:
    """Everything in one page."""
    m = data["machine"]
    versions = ", ".join(f"{name} {version or 'not available'}" for name, version in data["versions"].items())
    ceilings = ", ".join(f"{name} {value:.1f}" for name, value in sorted(data["ceilings"].items()))
    lines = [
        "# Results",
        "",
        "Written by `make bench`; do not edit. How it was measured: [the method](../README.md).",
        "",
        f"{data['date']}, {m['processor']}, {data['threads']} threads of {m['cores']} cores, {m['memory_gib']} GiB, "
        f"{m['system']}, Python {m['python']}.",
        "",
        f"Versions: {versions}.",
        "",
        f"Ceilings, the highest of the whole run ({data['ceilings_how']}): {ceilings}.",
        "Floors are computed from what was measured just before and after a workload.",
        "",
    ]
    lines += ["## Targets", "", "| target | wanted | found | |", "| --- | --- | --- | --- |"]
    for t in targets(data):
        value = "not measured" if t.value is None else f"{t.value:.3g}"
        mark = {True: "reached", False: "**missed**", None: ""}[t.reached]
        lines.append(f"| {t.title} | {'at least' if t.least else 'at most'} {t.bound:g} | {value} | {mark} |")
    for name in dict.fromkeys(row["workload"] for row in data["timings"]):
        lines += ["", *_timing_table(data, name)]
    lines += ["", *_busy_table(data), *_fresh_tables(data)]
    return "\n".join(lines).rstrip() + "\n"


def _timing_table(data: dict[str, Any], name: str) -> list[str]:
    w, rows = BY_NAME[name], [row for row in data["timings"] if row["workload"] == name]
    floor, ours = data["floors"].get(name), Results(data).ms(name, "gradloom")
    lines = [f"## {name}: {w.title}", ""]
    if floor:
        lines += [f"Floor: {_ms(floor)} ms.", ""]
    lines += [
        "| | mode | ms, median | quickest to slowest round | share of the floor | over gradloom's best | notes |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in sorted(rows, key=lambda row: row.get("ms", float("inf"))):
        if "missing" in row:
            lines.append(f"| {row['contender']} | {row['mode']} | | | | | not available: {_cell(row['missing'])} |")
            continue
        share = f"{floor / row['ms']:.2f}" if floor else ""
        over = f"{row['ms'] / ours:.2f}" if ours else ""
        notes = [f"{row['discarded']} rounds discarded"] if row["discarded"] else []
        if row["noisy"]:
            notes.append(f"noisy: others took {row['other_cores']:.2f} cores")
        if (apart := deviation(row, rows)) > AGREEMENT:
            notes.append(f"**differs from the others by {apart:.1e}**")
        lines.append(
            f"| {row['contender']} | {row['mode']} | {_ms(row['ms'])} | {_ms(row['low'])} to {_ms(row['high'])} "
            f"| {share} | {over} | {', '.join(notes)} |"
        )
    return lines


def deviation(row: dict[str, Any], rows: list[dict[str, Any]]) -> float:
    """How far a contender's check values lie from the median of all, relative to the largest; 0 if it has none."""
    if not row.get("check"):
        return 0.0
    common = [statistics.median(values) for values in zip(*(r["check"] for r in rows if r.get("check")))]
    return max(abs(a - b) for a, b in zip(row["check"], common)) / max(abs(v) for v in common)


def _busy_table(data: dict[str, Any]) -> list[str]:
    rows = [row for row in data["timings"] if "busy_ms" in row]
    if not rows:
        return []
    lines = [
        "## Beside one busy process",
        "",
        "| workload | | mode | quiet, ms | beside it, ms | times |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {r['workload']} | {r['contender']} | {r['mode']} | {_ms(r['ms'])} | {_ms(r['busy_ms'])} "
        f"| {r['busy_ms'] / r['ms']:.2f} |"
        for r in rows
    ]
    return [*lines, ""]


def _fresh_tables(data: dict[str, Any]) -> list[str]:
    lines = []
    if data.get("imports"):
        lines += ["## Import", "", "| module | seconds | quickest to slowest |", "| --- | --- | --- |"]
        for r in data["imports"]:
            if "missing" in r:
                lines.append(f"| {r['module']} | | not available: {_cell(r['missing'])} |")
            else:
                lines.append(f"| {r['module']} | {r['seconds']:.3f} | {r['low']:.3f} to {r['high']:.3f} |")
        lines.append("")
    if data.get("first_steps"):
        lines += [
            "## First step of a fresh process, seconds",
            "",
            "Import, making the model and the first step, with an empty cache folder and with the one that run filled.",
            "",
            "| workload | | mode | import | make | first, empty | first, filled | second |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for r in data["first_steps"]:
            head = f"| {r['workload']} | {r['contender']} | {r['mode']} |"
            if "missing" in r:
                lines.append(f"{head} | | | | not available: {_cell(r['missing'])} |")
                continue
            cold, warm = r["cold"], r["warm"]
            lines.append(
                f"{head} {warm['import']:.2f} | {warm['make']:.3f} | {cold['first']:.3f} | {warm['first']:.3f} "
                f"| {warm['second']:.4f} |"
            )
        lines.append("")
    if data.get("memory"):
        lines += [
            "## Peak memory of a process that trains, MiB",
            "",
            "| workload | | mode | peak | of it after the import |",
            "| --- | --- | --- | --- | --- |",
        ]
        for r in data["memory"]:
            head = f"| {r['workload']} | {r['contender']} | {r['mode']} |"
            if "missing" in r:
                lines.append(f"{head} | not available: {_cell(r['missing'])} |")
            else:
                lines.append(f"{head} {r['peak_mib']:.0f} | {r['import_mib']:.0f} |")
    return lines


def _ms(value: float) -> str:
    return f"{value:.4f}" if value < 0.1 else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def plot(data: dict[str, Any], path: Path) -> Path:
    """Bars: every contender's best mode in every workload, as a multiple of the best peer's time. Shorter is better."""
    import matplotlib.pyplot as plt

    r = Results(data)
    names = [n for n in dict.fromkeys(row["workload"] for row in data["timings"]) if r.ms(n, PEERS)]
    colours = dict(zip(("gradloom", *PEERS), ("#d1495b", "#ee964b", "#4c78a8", "#f4c95d", "#72b7b2", "#9d9d9d")))
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.85 * len(names)), layout="constrained")
    ticks = []
    for place, name in enumerate(names):
        best, floor = r.ms(name, PEERS), data["floors"].get(name)
        times = {c: t for c in colours if (t := r.ms(name, c)) is not None}
        height = 0.84 / len(times)
        for number, (contender, t) in enumerate(times.items()):
            y = place - 0.42 + (number + 0.5) * height
            shown = min(t / best, 4.0)
            axes.barh(y, shown, height * 0.9, color=colours[contender])
            axes.text(shown + 0.03, y, f"{_ms(t)} ms", va="center", fontsize=6)
        if floor:
            axes.plot([floor / best] * 2, [place - 0.45, place + 0.45], color="black", linewidth=1, linestyle=":")
        ticks.append(BY_NAME[name].title)
    axes.set_yticks(range(len(names)), ticks, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(0, 4.5)
    axes.axvline(1, color="black", linewidth=0.6)
    axes.set_xlabel("time, as a multiple of the best peer's (bars end at 4; dotted: the machine's floor)")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
    figure.legend(handles, colours, loc="outside upper center", ncols=6, fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path
