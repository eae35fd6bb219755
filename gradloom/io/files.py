"""``save`` and ``load``: any nested value of tensors and plain data in one file, and PyTorch's files read.

The file is a safetensors file: its tensors stand under their paths in the value (``model.0.weight``), readable by every
program that knows the format, and the rest of the value is JSON in its header.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import IO, Any

import numpy as np

from gradloom.devices import resolve
from gradloom.errors import FileError, NotSupportedError
from gradloom.io import safetensors, torch_files
from gradloom.io.values import pack, unpack

__all__ = ["load", "save"]

_KEY = "gradloom"
_VERSION = 1


def save(obj: Any, f: str | os.PathLike[str] | IO[bytes]) -> None:
    """Write a value to a file: tensors, numbers, texts, and lists, tuples, sets and dicts of them, nested.

    Parameters
    ----------
    obj: the value; for a model its ``state_dict()``. A tensor that occurs twice is written once.
    f: a path, or a file open for writing bytes. A path is written beside its place and moved there in one step, so a
    save that fails leaves the old file as it was.

    Raises
    ------
    DTypeError: something in it is no data, such as a model. FileError: its structure takes more than 100 MB.
    OSError: the file could not be written.
    """
    structure, tensors = pack(obj)
    note = {_KEY: json.dumps({"version": _VERSION, "value": structure}, ensure_ascii=False, separators=(",", ":"))}
    if hasattr(f, "write"):
        safetensors.write_to(f, tensors, note)  # type: ignore[arg-type]
    else:
        with safetensors.written_atomically(f) as file:  # type: ignore[arg-type]
            safetensors.write_to(file, tensors, note)


def load(
    f: str | os.PathLike[str] | IO[bytes],
    map_location: Any = None,
    *,
    weights_only: bool = True,
    mmap: bool | None = None,
) -> Any:
    """The value that a file holds: one of :func:`save`, any safetensors file, or one of ``torch.save``.

    Parameters
    ----------
    f: a path, or a file open for reading bytes. map_location: ``"cpu"`` or None; wherever the tensors were, they come
    to this machine's memory. weights_only: must be true: nothing in a file is ever run. mmap: leave the tensors in the
    file, which is read as they are looked at and must stay as it is; only for a path. What is written to them stays in
    memory.

    Raises
    ------
    FileError: (a ValueError) the file is damaged, of another format, or asks for more than data.
    DTypeError: it holds a dtype that gradloom does not have. FileNotFoundError: there is none.
    """
    if not weights_only:
        raise NotSupportedError(
            "load(weights_only=False) would run code that the file brings; files are read as data only",
            code="io.unsafe", hint="save the model's state_dict() and load that",
        )  # fmt: skip
    _check_location(map_location)
    if hasattr(f, "read"):
        if mmap:
            raise FileError("mmap=True needs a path, not an open file", code="io.mmap")
        data = f.read()
        if isinstance(data, str):
            raise FileError("the file is open as text", code="io.text", hint="open it with mode 'rb'")
        return _read(io.BytesIO(data), len(data), "the file")
    place = Path(f)
    size = place.stat().st_size
    mapped = np.asarray(np.memmap(place, np.uint8, "c")) if mmap and size else None
    with place.open("rb") as file:
        return _read(file, size, str(place), mapped)


def _check_location(where: Any) -> None:
    targets = list(where.values()) if isinstance(where, dict) else [] if callable(where) or where is None else [where]
    for t in targets:
        resolve(t)


def _read(file: IO[bytes], size: int, where: str, mapped: np.ndarray | None = None) -> Any:
    head = file.read(64)
    file.seek(0)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return torch_files.read_zip(file, mapped)
    if head[8:9] != b"{" or any(head[5:8]):  # a safetensors file says how long its header is, then begins it
        if torch_files.is_legacy(head):
            return torch_files.read_legacy(file.read())
        if head[:1] == b"\x80":
            raise FileError(f"{where} is pickled, but not by torch.save", code="io.format")
        raise FileError(
            f"{where} is none of the formats that are read", code="io.format",
            hint="read are files of gradloom.save, safetensors files and files of torch.save",
        )  # fmt: skip
    tensors, note = safetensors.read_from(file, size, where, mapped)
    if _KEY not in note:
        return tensors
    try:
        said = json.loads(note[_KEY])
        version, structure = said["version"], said["value"]
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise FileError(f"{where}: its structure is damaged ({e})", code="io.structure") from None
    if version != _VERSION:
        raise FileError(
            f"{where} is of version {version} of the format, this gradloom reads {_VERSION}", code="io.version",
            hint="read it with a newer gradloom",
        )  # fmt: skip
    return unpack(structure, tensors)
