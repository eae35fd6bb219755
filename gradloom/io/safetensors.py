"""Weights in safetensors files: a name, a dtype, a shape and bytes for each tensor, and nothing that can be executed.

A file is written beside its destination and moved over it in one step, so whoever reads the destination sees the old
file or the new one, never half of one, and a save that fails (a full disk, an interrupt) leaves the old file.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gradloom import dtypes
from gradloom.errors import DTypeError
from gradloom.tensor import Tensor, from_numpy

# the names that the format gives to dtypes
_DTYPES = {
    "BOOL": dtypes.bool_,
    "U8": dtypes.uint8,
    "I8": dtypes.int8,
    "I16": dtypes.int16,
    "I32": dtypes.int32,
    "I64": dtypes.int64,
    "F16": dtypes.float16,
    "BF16": dtypes.bfloat16,
    "F32": dtypes.float32,
    "F64": dtypes.float64,
}


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
    """
    from safetensors.numpy import save as to_bytes

    # safetensors writes the memory as it lies, so a transposed array must be laid out first
    arrays = {name: np.asarray(tensor.detach().numpy(), order="C") for name, tensor in tensors.items()}
    write_atomically(path, to_bytes(arrays, dict(metadata) if metadata else None))


def load(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file.

    Returns
    -------
    dict : name to tensor, in the order of the names in the file; each owns its memory.

    Raises
    ------
    FileNotFoundError : there is no such file.
    ValueError : the file is damaged or not a safetensors file.
    DTypeError : it holds a dtype that gradloom does not have.
    """
    from safetensors import SafetensorError, deserialize

    place = Path(path)
    try:
        entries = deserialize(place.read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{place} is no intact safetensors file: {error}") from error
    found: dict[str, Tensor] = {}
    for name, entry in entries:
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None:
            raise DTypeError(
                f"{place}: {name!r} has dtype {entry['dtype']}",
                code="io.dtype",
                hint=f"dtypes that can be read: {', '.join(_DTYPES)}",
            )
        # a copy of its own: the bytes of the file are not aligned, and cannot be written to
        found[name] = from_numpy(np.frombuffer(entry["data"], dtype.numpy).reshape(entry["shape"]).copy())
    return found


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Put ``data`` at ``path`` in one step: a file beside it is written, flushed to the disk and moved over it."""
    place = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{place.name}.", suffix=".part", dir=place.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, place.stat().st_mode & 0o777 if place.exists() else 0o666 & ~_umask())
        os.replace(temporary, place)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
