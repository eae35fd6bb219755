"""Reading data: gradloom's loader beside PyTorch's, with the same number of workers, an epoch of each in turn.

    python -m benchmarks.loading [--rounds 5]

Every batch is looked at (its first number is read). PyTorch's workers are processes; gradloom's are threads, and
processes too. All figures are of one process, in which the loaders take turns.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"


class Rows:
    """Rows of an array, one by one, as arrays."""

    def __init__(self, size: int = 8192) -> None:
        self.x = np.random.default_rng(0).normal(size=(size, 784)).astype(np.float32)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.x[index], index % 10


class Pictures:
    """PNG files in memory, read by Pillow, mirrored and cropped at random by NumPy."""

    def __init__(self, size: int = 512) -> None:
        from PIL import Image

        rng = np.random.default_rng(0)
        self.files = []
        for _ in range(16):
            out = io.BytesIO()
            smooth = rng.integers(0, 255, (16, 16, 3), np.uint8)
            Image.fromarray(smooth).resize((160, 160)).save(out, "PNG")
            self.files.append(out.getvalue())
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        from PIL import Image

        picture = np.array(Image.open(io.BytesIO(self.files[index % 16])).convert("RGB"))
        top, left = index * 7 % 32, index * 5 % 32
        part = picture[top : top + 128, left : left + 128]
        return np.ascontiguousarray(part[:, ::-1].transpose(2, 0, 1)).astype(np.float32) / 255, index % 10


class Python:
    """Samples computed by Python itself, which holds its lock all the while."""

    def __len__(self) -> int:
        return 1024

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        total = 0
        for k in range(4000):
            total += k ^ index
        return np.full(64, total % 97, np.float32), index % 10


def epoch(loader: Iterable[Any]) -> float:
    """Seconds for all batches."""
    start = time.perf_counter()
    for x, _ in loader:
        x.flatten()[0].item()
    return time.perf_counter() - start


def contenders() -> dict[str, dict[str, Callable[[], Iterable[Any]]]]:
    """Of each workload, the loaders by name."""
    import torch
    from torch.utils import data as theirs

    import gradloom as gl
    from gradloom import data as ours

    rows = Rows(32768)
    tensors = ours.TensorDataset(gl.tensor(rows.x), gl.tensor(np.arange(len(rows.x)) % 10))
    others = theirs.TensorDataset(torch.tensor(rows.x), torch.tensor(np.arange(len(rows.x)) % 10))
    fork: dict[str, Any] = {"multiprocessing_context": "fork"}
    small, pictures, python = Rows(), Pictures(), Python()
    table = {
        "tensors in memory, batch 32, no worker": {
            "gradloom": lambda: ours.DataLoader(tensors, 32, shuffle=True),
            "PyTorch": lambda: theirs.DataLoader(others, 32, shuffle=True),
        }
    }
    for name, data, workers, kinds in (
        ("rows one by one, batch 64", small, 0, {"gradloom": {}}),
        ("rows one by one, batch 64", small, 2, {"gradloom, threads": {}, "gradloom, processes": fork}),
        ("pictures, batch 32", pictures, 0, {"gradloom": {}}),
        ("pictures, batch 32", pictures, 2, {"gradloom, threads": {}, "gradloom, processes": fork}),
        ("samples made by Python, batch 32", python, 2, {"gradloom, threads": {}, "gradloom, processes": fork}),
    ):
        batch = int(name.rsplit(" ", 1)[1])
        row: dict[str, Callable[[], Iterable[Any]]] = {
            label: lambda d=data, b=batch, w=workers, k=kind: ours.DataLoader(d, b, shuffle=True, num_workers=w, **k)
            for label, kind in kinds.items()
        }
        row["PyTorch"] = lambda d=data, b=batch, w=workers: theirs.DataLoader(d, b, shuffle=True, num_workers=w)
        table[f"{name}, {workers or 'no'} worker{'s' if workers > 1 else ''}"] = row
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    lines = ["| workload | loader | seconds an epoch (least to most) | over PyTorch |", "| --- | --- | --- | --- |"]
    found: dict[str, Any] = {}
    for name, row in contenders().items():
        times: dict[str, list[float]] = {label: [] for label in row}
        for make in row.values():
            epoch(make())  # once, untimed
        for _ in range(rounds):
            for label, make in row.items():
                times[label].append(epoch(make()))
        base = statistics.median(times["PyTorch"])
        found[name] = times
        for label, values in times.items():
            middle = statistics.median(values)
            spread = f"{middle:.3f} ({min(values):.3f} to {max(values):.3f})"
            lines.append(f"| {name} | {label} | {spread} | {middle / base:.2f} |")
            print(lines[-1], flush=True)
    (RESULTS / "loading.json").write_text(json.dumps(found, indent=1))
    (RESULTS / "loading.md").write_text("# Reading data\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
