"""Weights in safetensors files: a name, a dtype, a shape and bytes for each tensor, and nothing that can be executed.

A file is written beside its destination and moved over it in one step, so whoever reads the destination sees the old
file or the new one, never half of one, and a save that fails (a full disk, an interrupt) leaves the old file.

The format: eight bytes with the length of the header, little-endian; the header, a JSON object; the tensors' bytes, one
after the other. https://huggingface.co/docs/safetensors describes it.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import DType
from gradloom.errors import DTypeError, FileError
from gradloom.runtime.buffers import allocate, as_numpy
from gradloom.tensor import Tensor, from_numpy

__all__ = ["load", "read_from", "save", "write_atomically", "write_to", "written_atomically"]

MAX_HEADER = 100_000_000
"""Bytes of a header, at the most; the format's own limit."""

_NAMES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32",
    "uint64": "U64", "int64": "I64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "complex64": "C64", "complex128": "C128",
}  # fmt: skip


def _dtypes() -> dict[str, DType]:
    return {_NAMES[d.name]: d for d in dtypes.ALL if d.name in _NAMES}


def save(
    tensors: Mapping[str, Tensor], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors to a safetensors file, atomically.

    Parameters
    ----------
    tensors : names and values; any shape, any dtype that safetensors knows.
    path : the file; its folder must exist.
    metadata : short texts kept in the header of the file.

    Raises
    ------
    OSError : the file could not be written; what was at ``path`` before is still there.
    FileError : the names and texts are more than the format's header holds (100 MB).
    """
    with written_atomically(path) as file:
        write_to(file, tensors, metadata)


def write_to(file: IO[bytes], tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors to an open binary file."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    arrays = {}
    at = 0
    # wide elements first, so that all are aligned
    for name, t in sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        dtype = t.dtype
        if dtype.name not in _NAMES:
            raise DTypeError(f"{name!r}: the format knows no dtype {dtype.name}", code="io.dtype")
        a = np.asarray(t.detach().numpy(), dtype.numpy, order="C")
        arrays[name] = a
        header[name] = {"dtype": _NAMES[dtype.name], "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise FileError(
            f"names, shapes and structure take {len(text)} bytes, the format holds {MAX_HEADER}", code="io.header",
            hint="put long lists and texts into tensors, or into several files",
        )  # fmt: skip
    file.write(len(text).to_bytes(8, "little") + text)
    for a in arrays.values():
        if a.size:
            file.write(a.reshape(-1).view(np.uint8).data)


def load(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file.

    Returns
    -------
    dict : name to tensor, in the order of the names in the file; each owns its memory.

    Raises
    ------
    FileNotFoundError : there is no such file.
    FileError : (a ValueError) the file is damaged or not a safetensors file.
    DTypeError : it holds a dtype that gradloom does not have.
    """
    place = Path(path)
    with place.open("rb") as file:
        return read_from(file, place.stat().st_size, str(place))[0]


def read_from(
    file: IO[bytes], size: int, where: str = "the file", mapped: np.ndarray | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of an open file of ``size`` bytes; every offset is checked before it is used.

    mapped: the bytes of the file, where tensors are to lie in them rather than in memory of their own.
    """

    def bad(text: str) -> FileError:
        return FileError(f"{where} is no intact safetensors file: {text}", code="io.safetensors")

    lead = file.read(8)
    length = int.from_bytes(lead, "little")
    if len(lead) < 8 or length > min(MAX_HEADER, size - 8):
        raise bad(f"a header of {length} bytes in a file of {size}")
    try:
        header = json.loads(file.read(length).decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as e:
        raise bad(f"its header is not JSON ({str(e)[:100]})") from None
    if not isinstance(header, dict):
        raise bad("its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise bad("its metadata are no texts")
    known = _dtypes()
    places = []
    for name, entry in header.items():
        try:
            code, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
        except (TypeError, KeyError, ValueError):
            raise bad(f"{name!r} lacks dtype, shape or place") from None
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in [*shape, start, stop]):
            raise bad(f"{name!r} has no proper shape or place")
        if not isinstance(code, str) or code not in known:
            raise DTypeError(
                f"{where}: {name!r} has dtype {code}", code="io.dtype",
                hint=f"dtypes that can be read: {', '.join(known)}",
            )  # fmt: skip
        count = 1
        for n in shape:
            count *= n
        if stop - start != count * known[code].itemsize or len(shape) > 64:
            raise bad(
                f"{name!r} of shape {shape} takes {count * known[code].itemsize} bytes, its place has {stop - start}"
            )
        places.append((start, stop, name, tuple(shape), known[code]))
    at = 0
    for start, stop, name, _, _ in sorted(places, key=lambda p: p[:2]):
        if start != at:
            raise bad(f"{name!r} begins at byte {start} of the data, not at {at}")
        at = stop
    if at != size - 8 - length:
        raise bad(f"{size - 8 - length} bytes of data, {at} expected")
    found: dict[str, Tensor] = dict.fromkeys(header)  # type: ignore[assignment]
    for start, stop, name, shape, dtype in sorted(places, key=lambda p: p[:2]):
        if mapped is not None and stop > start:
            body = 8 + length
            found[name] = from_numpy(mapped[body + start : body + stop].view(dtype.numpy).reshape(shape))
        else:
            found[name] = _read_tensor(file, shape, dtype, bad)
    return found, metadata


def _read_tensor(file: IO[bytes], shape: tuple[int, ...], dtype: DType, bad: Any) -> Tensor:
    n = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if not n:
        return from_numpy(np.empty(shape, dtype.numpy))
    raw = as_numpy(allocate(n), np.uint8, (n,))
    read = getattr(file, "readinto", None)
    if read is not None:
        got = 0
        while got < n:
            k = read(raw[got:].data)
            if not k:
                raise bad("it is cut off")
            got += k
    else:
        data = file.read(n)
        if len(data) != n:
            raise bad("it is cut off")
        raw[:] = np.frombuffer(data, np.uint8)
    if dtype is dtypes.bool_ and raw.max() > 1:
        raw = (raw != 0).view(np.uint8)
    return from_numpy(raw.view(dtype.numpy).reshape(shape))


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


@contextlib.contextmanager
def written_atomically(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write that is at ``path`` only when all is done: it stands beside it, is flushed and moved over it."""
    place = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{place.name}.", suffix=".part", dir=place.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, place.stat().st_mode & 0o777 if place.exists() else 0o666 & ~_umask())
        os.replace(temporary, place)
    except BaseException:
        os.unlink(temporary)
        raise


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Put ``data`` at ``path`` in one step."""
    with written_atomically(path) as file:
        file.write(data)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
