"""Puts the overviews of measurements into README.md, between marks."""

from __future__ import annotations

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- {}: begin -->", "<!-- {}: end -->"


def update(folder: Path, readme: Path = README) -> None:
    """Write what the result files in ``folder`` say; only where they are the published ones."""
    from benchmarks import compile_time, memory
    from benchmarks.audio import report as audio
    from benchmarks.convolutions import report as convolutions
    from benchmarks.fitting import report as fitting
    from benchmarks.images import report as images
    from benchmarks.text import report as text_report

    if folder.resolve() != RESULTS.resolve() and readme == README:
        return
    text = readme.read_text("utf-8")
    parts = {
        "images": images.overview,
        "convolutions": convolutions.overview,
        "memory": memory.overview,
        "compile_time": compile_time.overview,
        "fitting": fitting.overview,
        "text": text_report.overview,
        "audio": audio.overview,
    }
    for name, overview in parts.items():
        source = folder / f"{name}.json"
        if source.exists():
            text = between(text, name, overview(json.loads(source.read_text("utf-8"))))
    readme.write_text(text, "utf-8")


def between(text: str, name: str, new: str) -> str:
    """The text with what stands between the marks of ``name`` replaced."""
    begin, end = BEGIN.format(name), END.format(name)
    if begin not in text or end not in text:
        raise ValueError(f"README.md has no marks {begin} and {end}")
    head, tail = text.split(begin, 1)
    return f"{head}{begin}\n{new.strip()}\n{end}{tail.split(end, 1)[1]}"
