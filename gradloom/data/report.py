"""A look at data before it is trained on: labels, imbalance, missing values, repeats, and leaks between the parts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from gradloom.data.collate import stack
from gradloom.data.dataset import TensorDataset
from gradloom.data.loader import DataLoader
from gradloom.tensor import Tensor, from_numpy

SHOWN = 5  # examples of a finding


@dataclass
class Report:
    """What :func:`examine` found. `problems` are texts; printing a report shows all of it."""

    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there are problems."""
        return bool(self.problems)

    def __str__(self) -> str:
        lines = []
        for name, part in self.parts.items():
            lines.append(f"{name}: {part['samples']:,} samples")
            for place, array in part["inputs"].items():
                spread = f", {array['least']:.4g} to {array['largest']:.4g}" if array["least"] is not None else ""
                lines.append(f"  {place}: {array['dtype']} {array['shape']}{spread}")
            labels = part["labels"]
            if labels is not None and labels["counts"] is not None:
                total = sum(labels["counts"].values())
                lines.append(f"  labels: {len(labels['counts'])} classes, {labels['dtype']}")
                shown = labels["counts"].most_common(10)
                longest = max(len(str(k)) for k, _ in shown)
                for key, number in shown:
                    bar = "█" * max(1, round(30 * number / shown[0][1]))
                    lines.append(f"    {key!s:>{longest}} {number:>8,} {100 * number / total:5.1f} %  {bar}")
                if len(labels["counts"]) > 10:
                    lines.append(f"    … and {len(labels['counts']) - 10} more")
            elif labels is not None:
                lines.append(f"  targets: {labels['dtype']}, {labels['least']:.4g} to {labels['largest']:.4g}")
        lines.append("")
        lines += [f"! {problem}" for problem in self.problems] or ["nothing suspicious was found"]
        return "\n".join(lines)


def examine(
    train: Any, validation: Any = None, test: Any = None, *, classes: int | None = None, limit: int | None = None,
    imbalance: float = 10.0,
) -> Report:  # fmt: skip
    """Look through data sets of (input, …, target) and tell what is likely to be a mistake.

    Looked for: labels out of range, of a wrong dtype, or of classes that another part has not; classes much rarer than
    others; NaN and infinite values; inputs that never change; inputs of integers to 255 that were not scaled; samples
    that come twice, with equal or different labels; samples of one part that are in another.

    Parameters
    ----------
    train, validation, test : data sets with `[index]`, loaders of them, tuples of arrays, or iterables of samples
        Samples are tuples or lists whose last part is the target; others are inputs alone.
    classes : int, optional
        How many classes there are: labels must be 0 <= label < classes.
    limit : int, optional
        Look at so many samples of each part at the most.
    imbalance : float
        How many times more frequent the commonest class may be than the rarest.

    Returns
    -------
    Report
        `report.problems` is empty where nothing was found; `print(report)` shows a table of each part.
    """
    report = Report()
    seen: dict[str, dict[bytes, list[tuple[int, Any]]]] = {}
    for name, data in (("train", train), ("validation", validation), ("test", test)):
        if data is not None:
            seen[name] = _part(report, name, data, classes, limit, imbalance)
    names = list(seen)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            common = [(seen[a][key][0][0], seen[b][key][0][0]) for key in seen[a].keys() & seen[b].keys()]
            if common:
                pairs = ", ".join(f"{x} = {y}" for x, y in sorted(common)[:SHOWN])
                report.problems.append(
                    f"{len(common):,} inputs are in {a} and in {b} ({pairs}): what is measured on {b} is too good"
                )
            one, other = (report.parts[n]["labels"] for n in (a, b))
            if one and other and one["counts"] is not None and other["counts"] is not None:
                new = sorted(set(other["counts"]) - set(one["counts"]))[:SHOWN]
                if new:
                    report.problems.append(f"{b} has classes that {a} has not: {', '.join(map(str, new))}")
    return report


def _samples(data: Any) -> Iterable[Any]:
    if isinstance(data, DataLoader):
        data = data.dataset
    if isinstance(data, tuple) and data and all(isinstance(part, np.ndarray | Tensor) for part in data):
        data = TensorDataset(*(part if isinstance(part, Tensor) else from_numpy(part) for part in data))
    if type(data) is TensorDataset:
        return zip(*(t.detach().numpy() for t in data.tensors))
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return (data[i] for i in range(len(data)))
    return data  # type: ignore[no-any-return]


def _leaves(value: Any, place: str = "input") -> dict[str, np.ndarray]:
    if isinstance(value, dict):
        return {k: a for key, part in value.items() for k, a in _leaves(part, f"{place}[{key!r}]").items()}
    if isinstance(value, (tuple, list)):
        if len(value) == 1:
            return _leaves(value[0], place)
        return {k: a for n, part in enumerate(value) for k, a in _leaves(part, f"{place}[{n}]").items()}
    array = value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
    return {place: array}


class _Column:
    """What is gathered of one array of the inputs."""

    def __init__(self, first: np.ndarray) -> None:
        self.dtype, self.shapes, self.numbers = first.dtype, {first.shape}, first.dtype.kind in "biuf"
        self.least, self.largest = np.inf, -np.inf
        self.broken: list[int] = []
        self.first, self.varies = first, False

    def add(self, index: int, array: np.ndarray) -> None:
        self.shapes.add(array.shape)
        if not self.numbers or not array.size:
            return
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            self.broken.append(index)
            array = array[np.isfinite(array)]
        if array.size:
            self.least, self.largest = min(self.least, array.min()), max(self.largest, array.max())
        if not self.varies:
            self.varies = array.shape != self.first.shape or not np.array_equal(array, self.first)


def _part(
    report: Report, name: str, data: Any, classes: int | None, limit: int | None, imbalance: float
) -> dict[bytes, list[tuple[int, Any]]]:
    columns: dict[str, _Column] = {}
    targets: list[Any] = []
    places: dict[bytes, list[tuple[int, Any]]] = {}
    count = 0
    for index, sample in enumerate(islice(_samples(data), limit)):
        count += 1
        pair = isinstance(sample, (tuple, list)) and len(sample) > 1
        inputs, target = (sample[:-1], sample[-1]) if pair else (sample, None)
        digest = hashlib.blake2b(digest_size=16)
        for place, array in _leaves(inputs).items():
            columns.setdefault(place, _Column(array)).add(index, array)
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes() if array.dtype != object else repr(array).encode())
        label = _label(target)
        if pair:
            targets.append(target)
        places.setdefault(digest.digest(), []).append((index, label))
    if not count:
        report.problems.append(f"{name} has no samples")
    tell = report.problems.append
    inputs_found: dict[str, Any] = {}
    for place, column in columns.items():
        shape = str(next(iter(column.shapes))) if len(column.shapes) == 1 else f"of {len(column.shapes)} shapes"
        finite = column.numbers and np.isfinite(column.least)
        inputs_found[place] = {
            "dtype": column.dtype.name, "shape": shape,
            "least": float(column.least) if finite else None, "largest": float(column.largest) if finite else None,
        }  # fmt: skip
        if column.broken:
            tell(f"{name}: {place} is NaN or infinite in {len(column.broken):,} samples ({_some(column.broken)})")
        if column.numbers and count > 1 and not column.varies:
            tell(f"{name}: {place} is the same in every sample")
        if column.dtype == np.uint8 or (
            column.dtype.kind == "f" and finite and 100 < column.largest <= 255 and column.least >= 0
        ):
            tell(f"{name}: {place} runs to {column.largest:.4g}: scale it (x / 255), or normalise it in the model")
    report.parts[name] = {
        "samples": count,
        "inputs": inputs_found,
        "labels": _labels(report, name, targets, classes, imbalance),
    }
    _repeats(report, name, places)
    return places


def _label(target: Any) -> Any:
    array = np.asarray(target.detach().numpy() if isinstance(target, Tensor) else target)
    return array.item() if array.ndim == 0 else array.tobytes()


def _repeats(report: Report, name: str, places: dict[bytes, list[tuple[int, Any]]]) -> None:
    again = [found for found in places.values() if len(found) > 1]
    torn = [found for found in again if len({label for _, label in found}) > 1]
    if again:
        extra = sum(len(found) - 1 for found in again)
        pairs = ", ".join(f"{found[0][0]} = {found[1][0]}" for found in again[:SHOWN])
        report.problems.append(f"{name}: {extra:,} samples come again ({pairs})")
    if torn:
        pairs = ", ".join(f"{found[0][0]} and {found[1][0]}" for found in torn[:SHOWN])
        report.problems.append(f"{name}: {len(torn):,} inputs have different targets ({pairs})")


def _labels(
    report: Report, name: str, targets: list[Any], classes: int | None, imbalance: float
) -> dict[str, Any] | None:
    if not targets:
        return None
    try:
        values = np.asarray(stack(targets))
    except (TypeError, ValueError):
        return None  # targets of several parts, or of several shapes
    tell = report.problems.append
    if values.ndim != 1:
        return None
    dtype = values.dtype.name
    if values.dtype.kind == "f":
        whole = np.isfinite(values)
        if not whole.all():
            wrong = np.flatnonzero(~whole)
            tell(f"{name}: targets are NaN or infinite in {len(wrong):,} samples ({_some(wrong)})")
        known = values[whole]
        if classes is not None:
            tell(f"{name}: labels are {dtype}; losses of classes take int64: y.long(), or astype('int64')")
        ends = (float(known.min()), float(known.max())) if known.size else (np.nan, np.nan)
        return {"dtype": dtype, "counts": None, "least": ends[0], "largest": ends[1]}
    counts: Counter[Any] = Counter(values.tolist())
    if values.dtype.kind in "iu":
        low, high = int(values.min()), int(values.max())
        if low < 0:
            tell(f"{name}: label {low} is negative ({_some(np.flatnonzero(values < 0))})")
        if classes is not None and high >= classes:
            wrong = np.flatnonzero(values >= classes)
            tell(f"{name}: label {high} is not below {classes}, the number of classes ({_some(wrong)})")
        wanted = classes if classes is not None else high + 1
        absent = [k for k in range(wanted) if k not in counts] if wanted <= 10_000 else []
        if absent:
            hint = ": do labels start at 1?" if absent == [0] else ""
            tell(f"{name}: {len(absent)} of {wanted} classes have no sample ({_some(absent)}){hint}")
    most, rarest = counts.most_common(1)[0], min(counts.items(), key=lambda item: item[1])
    if len(counts) == 1:
        tell(f"{name}: all samples have the label {most[0]}")
    elif most[1] > imbalance * rarest[1]:
        tell(
            f"{name}: class {most[0]} has {most[1]:,} samples, class {rarest[0]} has {rarest[1]:,}: weigh the classes, "
            "draw them evenly (BalancedSampler), and judge by more than accuracy"
        )
    return {"dtype": dtype, "counts": counts}


def _some(indices: Any) -> str:
    shown = ", ".join(str(int(i)) for i in list(indices)[:SHOWN])
    return f"{shown}, …" if len(indices) > SHOWN else shown
