"""Tables of the convolutions' timings."""

from __future__ import annotations

import math
import statistics
from typing import Any

from benchmarks.convolutions.workloads import BY_NAME, DIRECTIONS, SHAPES, Workload
from benchmarks.report import AGREEMENT, _cell, _ms, deviation

GOAL = 0.9  # share of the peak, summed directly, of 3x3 filters over 64 channels and more


def cells_of(data: dict[str, Any], w: Workload) -> dict[str, dict[str, Any]]:
    """A workload's rows by contender: gradloom, direct (gradloom without Winograd's way), torch."""
    return {row["contender"]: row for row in data["timings"] if row["workload"] == w.name}


def rate(row: dict[str, Any], w: Workload) -> float:
    """GF/s, as if summed directly."""
    return w.shape.flops / row["ms"] / 1e6


def direct(rows: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The row of the direct sum: gradloom's own where Winograd's way was not taken."""
    found = rows.get("direct", rows.get("gradloom"))
    return found if found and "ms" in found else None


def ratio(rows: dict[str, dict[str, Any]]) -> float | None:
    """gradloom's time over PyTorch's."""
    ours, theirs = rows.get("gradloom", {}), rows.get("torch", {})
    return ours["ms"] / theirs["ms"] if "ms" in ours and "ms" in theirs else None


def line(w: Workload, data: dict[str, Any]) -> str:
    """A workload for the terminal."""
    rows = cells_of(data, w)
    parts = [f"{name} {rate(r, w):.0f} GF/s" for name, r in rows.items() if "ms" in r]
    r = ratio(rows)
    return f"{w.shape.label:<44} {w.direction:<8} {', '.join(parts)}" + (f", ratio {r:.2f}" if r else "")


def overview(data: dict[str, Any]) -> str:
    """Means by direction, and the goal of the direct sums."""
    lines = [
        "| direction | shapes | time over PyTorch's, geometric mean | worst | behind PyTorch by more than 1.1 |"
        " 3x3 over 64 channels and more, summed directly: share of the peak, least to most |",
        "| --- " * 6 + "|",
    ]
    for direction in DIRECTIONS:
        found = [(w, cells_of(data, w)) for w in BY_NAME.values() if w.direction == direction]
        ratios = {w: r for w, rows in found if (r := ratio(rows)) is not None}
        if not ratios:
            continue
        worst = max(ratios, key=ratios.__getitem__)
        dense = [
            rate(row, w) / row["peak"]
            for w, rows in found
            if w.shape.kernel == 3 and w.shape.groups == 1 and w.shape.channels >= 64 and (row := direct(rows))
        ]
        share = f"{min(dense):.2f} to {max(dense):.2f} (wanted {GOAL})" if dense else ""
        lines.append(
            f"| {direction} | {len(ratios)} | {math.exp(statistics.fmean(map(math.log, ratios.values()))):.2f} "
            f"| {ratios[worst]:.2f}: {worst.shape.label} | {sum(r > 1.1 for r in ratios.values())} | {share} |"
        )
    return "\n".join(lines)


def markdown(data: dict[str, Any]) -> str:
    """Everything in one page."""
    m = data["machine"]
    lines = [
        "# Single convolutions",
        "",
        "Written by `python -m benchmarks.convolutions`; do not edit. How it was measured: [the method](../README.md).",
        "",
        f"{data['date']}, {m['processor']}, {data['threads']} threads, {m['system']}; {data['rounds']} rounds of "
        f"{data['seconds']} s. Peak {data['peak_gflops']:.0f} GF/s.",
        "",
        "Images lie channels-last for both. GF/s count the direct sum, so that Winograd's way (chosen by gradloom for",
        'some 3x3 filters) can exceed the peak; "direct" is gradloom with it switched off. The ratio is gradloom\'s',
        "time over PyTorch's; bold where it is above 1.1.",
        "",
        overview(data),
    ]
    for direction in DIRECTIONS:
        lines += [
            "",
            f"## {direction.capitalize()}",
            "",
            "| from | shape | gradloom, ms | gradloom, GF/s | direct, GF/s | PyTorch, GF/s | direct over peak | ratio |"
            " slowest over quickest round, both | notes |",
            "| --- " * 10 + "|",
        ]
        for k in range(len(SHAPES)):
            w = BY_NAME[f"{k}_{direction}"]
            if rows := cells_of(data, w):
                lines.append(_row(w, rows))
    return "\n".join(lines) + "\n"


def _row(w: Workload, rows: dict[str, dict[str, Any]]) -> str:
    ours, theirs, plain, r = rows.get("gradloom", {}), rows.get("torch", {}), direct(rows), ratio(rows)
    notes = [f"{name} not available: {_cell(row['missing'])}" for name, row in rows.items() if "missing" in row]
    apart = max((deviation(row, list(rows.values())) for row in rows.values()), default=0.0)
    notes += [f"**results differ by {apart:.1e}**"] if apart > AGREEMENT else []
    notes += ["noisy"] if any(row.get("noisy") for row in rows.values()) else []
    spread = [f"{row['high'] / row['low']:.2f}" for row in (ours, theirs) if "ms" in row]
    cells = [
        w.shape.where,
        w.shape.label,
        _ms(ours["ms"]) if "ms" in ours else "",
        f"{rate(ours, w):.0f}" if "ms" in ours else "",
        f"{rate(plain, w):.0f}" if plain else "",
        f"{rate(theirs, w):.0f}" if "ms" in theirs else "",
        f"{rate(plain, w) / plain['peak']:.2f}" if plain else "",
        "" if r is None else f"**{r:.2f}**" if r > 1.1 else f"{r:.2f}",
        ", ".join(spread),
        "; ".join(notes),
    ]
    return "| " + " | ".join(cells) + " |"
