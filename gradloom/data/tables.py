"""Tables and arrays on disk: CSV, Parquet and Arrow files as tensors, .npy files without reading them whole."""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradloom.data.collate import stack
from gradloom.data.dataset import Dataset, TensorDataset
from gradloom.errors import DTypeError, FileError, NotSupportedError, ShapeError, StateError
from gradloom.tensor import tensor

MISSING = {"", "na", "nan", "null", "none", "n/a"}


def read_table(
    path: str | os.PathLike[str], separator: str | None = None, *, names: Sequence[str] | None = None,
    encoding: str = "utf-8-sig",
) -> dict[str, np.ndarray]:  # fmt: skip
    """The columns of a file by name: .csv, .tsv, also .gz; .parquet, .feather, .arrow and .arrows with pyarrow.

    A column is int64 where all of it are whole numbers, float64 where all are numbers or missing (NaN), else text with
    "" for what is missing.

    Parameters
    ----------
    path : file
    separator : str, optional
        Of a text file; found out from its first lines unless given.
    names : sequence of str, optional
        Of the columns of a text file that has no heading.
    encoding : str
        Of a text file.

    Raises
    ------
    FileError
        For a row with more or fewer fields than the heading, named by its line; for an empty file, another encoding,
        a heading that is numbers, a damaged file.
    """
    path = Path(path)
    if path.suffix in (".parquet", ".feather", ".arrow", ".arrows"):
        return _arrow(path)
    opened: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", newline="", encoding=encoding) as file:
            return _read_text(file, path, separator, names)
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path} is no text in {encoding}: {error}", code="file.csv", hint='encoding="latin-1" reads any file',
        ) from None  # fmt: skip
    except (csv.Error, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileError(f"{path} is damaged: {error}", code="file.csv") from None


def _read_text(
    file: Any, path: Path, separator: str | None, given: Sequence[str] | None
) -> dict[str, np.ndarray]:  # fmt: skip
    sample = file.read(8192)
    file.seek(0)
    if separator is None:
        separator = "\t" if ".tsv" in path.suffixes else _separator(sample)
    rows = csv.reader(file, delimiter=separator)
    names = list(given) if given is not None else next(rows, None)
    if not names:
        raise FileError(f"{path} is empty: a heading with the names of the columns is expected", code="file.csv")
    if len(set(names)) < len(names):
        raise FileError(f"{path}: the heading names a column twice: {names}", code="file.csv")
    if given is None and all(_is_number(name) for name in names):
        raise FileError(
            f"{path} has numbers where the names of the columns are expected: {names[:5]}", code="file.csv",
            hint="names=[…] names the columns of a file without a heading",
        )  # fmt: skip
    columns: list[list[str]] = [[] for _ in names]
    for row in rows:
        if not row:
            continue
        if len(row) != len(names):
            raise FileError(
                f"{path}, line {rows.line_num}: {len(row)} fields, the heading has {len(names)}", code="file.csv",
                hint="separator=… says what stands between fields",
            )  # fmt: skip
        for column, field in zip(columns, row):
            column.append(field)
    return {name: _typed(column) for name, column in zip(names, columns)}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip().lower() not in MISSING


def _separator(sample: str) -> str:
    first = sample.splitlines()[0] if sample else ""
    return max(",;\t|", key=first.count)


def _typed(fields: list[str]) -> np.ndarray:
    texts = np.char.strip(np.array(fields, dtype=np.str_)) if fields else np.zeros(0, np.str_)
    try:
        return texts.astype(np.int64)
    except OverflowError:  # whole numbers of more than 19 digits: as text no digit is lost
        return texts
    except ValueError:  # a fraction, a missing field, text
        missing = np.isin(np.char.lower(texts), list(MISSING))
    try:
        return np.where(missing, "nan", texts).astype(np.float64)
    except ValueError:
        return texts


def _arrow(path: Path) -> dict[str, np.ndarray]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise NotSupportedError(
            f"{path.suffix} files are read by pyarrow, which is not installed", code="data.pyarrow",
            hint="pip install pyarrow",
        ) from None  # fmt: skip
    try:
        if path.suffix == ".parquet":
            found = pyarrow.parquet.read_table(path)
        else:
            with path.open("rb") as file:
                whole = file.read(6) == b"ARROW1"  # else a stream
                file.seek(0)
                found = (pyarrow.ipc.open_file if whole else pyarrow.ipc.open_stream)(file).read_all()
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise FileError(f"{path} is damaged, or of another format: {error}", code="file.arrow") from None
    return {name: found.column(name).to_numpy() for name in found.column_names}


def _columns(source: Any) -> dict[str, np.ndarray]:
    """The columns of a path, a mapping, or a data frame (pandas, Polars, Arrow)."""
    if isinstance(source, (str, os.PathLike)):
        return read_table(source)
    if isinstance(source, Mapping):
        return {str(name): np.asarray(values) for name, values in source.items()}
    names = getattr(source, "column_names", None) or getattr(source, "columns", None)
    if names is None:
        raise TypeError(f"a table is a path, a dict of columns or a data frame; got {type(source).__name__}")
    return {str(name): np.asarray(source[name]) for name in names}


class TableDataset(TensorDataset):
    """A table as two tensors: features (N, F), float32, and targets.

    Parameters
    ----------
    source : path, dict of columns, or data frame
    target : str
        The column that is to be predicted. Text and bools become class numbers (int64, `classes`), whole numbers int64,
        other numbers float32.
    features : sequence of str, optional
        The columns that it is predicted from; all others unless given.
    missing : {"refuse", "mean"} or float
        What stands for missing numbers: an error, the column's mean, or a number.
    like : TableDataset, optional
        Another part of the same data, whose categories, classes and means are used: the training set's.

    Notes
    -----
    A text column becomes one column for each of its categories, 1 where it has it. A category that `like` has not seen
    is 0 in all. `names` tells what the features are.

    Raises
    ------
    StateError
        For a column that is not there, and for missing numbers where they are refused: with column and row.
    """

    def __init__(
        self, source: Any, target: str, features: Sequence[str] | None = None, missing: str | float = "refuse",
        like: TableDataset | None = None,
    ) -> None:  # fmt: skip
        columns = _columns(source)
        chosen = [name for name in columns if name != target] if features is None else list(features)
        for name in [target, *chosen]:
            if name not in columns:
                raise StateError(
                    f"there is no column {name!r} among {', '.join(columns)}",
                    code="data.column",
                    hint="check the spelling",
                )
        if isinstance(missing, str) and missing not in ("refuse", "mean"):
            raise ValueError(f'missing is "refuse", "mean" or a number; got {missing!r}')
        self.missing: str | float = missing
        self.categories: dict[str, list[str]] = {}
        self.means: dict[str, float] = {}
        self.names: list[str] = []
        self.classes: list[Any] | None = None
        parts = [self._feature(name, columns[name], like) for name in chosen]
        rows = len(columns[target])
        matrix = np.concatenate(parts, 1) if parts else np.zeros((rows, 0), np.float32)
        super().__init__(tensor(matrix), tensor(self._target(target, columns[target], like)))

    def _feature(self, name: str, values: np.ndarray, like: TableDataset | None) -> np.ndarray:
        if values.dtype.kind in "biuf":
            numbers = values.astype(np.float64)
            gaps = np.isnan(numbers)
            if gaps.any():
                if self.missing == "refuse":
                    raise StateError(
                        f"column {name!r} has no number in row {int(gaps.argmax())} ({int(gaps.sum())} are missing)",
                        code="data.missing", hint='missing="mean" or a number fills them',
                    )  # fmt: skip
                if self.missing == "mean":
                    known = like.means.get(name) if like is not None else None
                    fill = float(numbers[~gaps].mean()) if known is None else known
                else:
                    fill = float(self.missing)
                numbers = np.where(gaps, fill, numbers)
            self.means[name] = float(numbers.mean()) if like is None else like.means.get(name, float(numbers.mean()))
            self.names.append(name)
            return numbers.astype(np.float32)[:, None]
        text = np.array(["" if v is None else str(v) for v in values], dtype=np.str_)
        kinds = like.categories.get(name) if like is not None else None
        kinds = [str(k) for k in np.unique(text)] if kinds is None else kinds
        self.categories[name] = kinds
        self.names += [f"{name}={kind}" for kind in kinds]
        return (text[:, None] == np.array(kinds, dtype=np.str_)[None]).astype(np.float32)

    def _target(self, name: str, values: np.ndarray, like: TableDataset | None) -> np.ndarray:
        if values.dtype.kind in "iu":
            return values.astype(np.int64)
        if values.dtype.kind == "f":
            if np.isnan(values).any():
                raise StateError(
                    f"the target {name!r} is missing in row {int(np.isnan(values).argmax())}", code="data.missing",
                    hint="leave such rows out",
                )  # fmt: skip
            return values.astype(np.float32)
        text = np.array([str(v) for v in values], dtype=np.str_)
        classes = like.classes if like is not None and like.classes is not None else [str(k) for k in np.unique(text)]
        self.classes = classes
        unknown = sorted(set(text.tolist()) - set(classes))
        if unknown:
            raise DTypeError(
                f"the target {name!r} has classes that the training set has not: {', '.join(unknown[:5])}",
                code="data.classes", hint="leave such rows out, or train with them",
            )  # fmt: skip
        return np.array([classes.index(t) for t in text.tolist()], np.int64)


class MemoryMapDataset(Dataset):
    """The rows of .npy files of equal length, read from disk when they are asked for.

    Parameters
    ----------
    *paths : files written by `numpy.save`, each (N, ...); pickled objects are refused
    """

    def __init__(self, *paths: str | os.PathLike[str]) -> None:
        if not paths:
            raise ValueError("MemoryMapDataset needs at least one file")
        self.paths = [Path(p) for p in paths]
        self.arrays = [np.load(p, mmap_mode="r", allow_pickle=False) for p in self.paths]
        sizes = {p.name: a.shape[0] if a.ndim else None for p, a in zip(self.paths, self.arrays)}
        if len(set(sizes.values())) > 1 or None in sizes.values():
            raise ShapeError(
                f"the files have different numbers of rows: {sizes}", code="shape.dataset",
                hint="each file has one entry for each sample on its first axis",
            )  # fmt: skip

    def __len__(self) -> int:
        return int(self.arrays[0].shape[0])

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        return tuple(np.array(a[index]) for a in self.arrays)

    def __getitems__(self, indices: list[int]) -> list[tuple[np.ndarray, ...]]:
        """Several rows, read in the order of the file."""
        order = np.argsort(indices, kind="stable")
        rows: list[Any] = [None] * len(indices)
        for k in order.tolist():
            rows[k] = self[indices[k]]
        return rows

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(*state["paths"])  # type: ignore[misc]


def pad_collate(batch: Sequence[Any], padding: float = 0, length: int | None = None) -> Any:
    """Samples whose arrays differ in length along their first axis, as one batch, padded at the end.

    A sample is an array or a tuple of arrays and numbers; arrays of rank 1 and more are padded to the longest, or to
    `length`. The true lengths of the first part come last: (..., lengths).

    Raises ShapeError where an array is longer than `length`.
    """
    from gradloom.data.collate import default_convert

    samples = [s if isinstance(s, (tuple, list)) else (s,) for s in batch]
    parts: list[Any] = []
    lengths: np.ndarray | None = None
    for column in zip(*samples, strict=True):
        arrays = [np.asarray(v) for v in column]
        if arrays[0].ndim == 0:
            parts.append(stack(column))
            continue
        sizes = np.array([len(a) for a in arrays], np.int64)
        longest = int(sizes.max()) if length is None else length
        if int(sizes.max()) > longest:
            raise ShapeError(f"a sample of length {int(sizes.max())} is longer than {longest}", code="shape.collate")
        out = np.full((len(arrays), longest, *arrays[0].shape[1:]), padding, arrays[0].dtype)
        for row, array in zip(out, arrays):
            row[: len(array)] = array
        parts.append(out)
        lengths = sizes if lengths is None else lengths
    return default_convert([*parts, lengths] if lengths is not None else parts)
