"""The IDX format of MNIST and its kin: a magic word, the extents as big-endian integers, the values in C order.

Reference: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", section "File formats".
"""

from __future__ import annotations

import math
import struct

import numpy as np

__all__ = ["read_idx", "write_idx"]

# code -> dtype as it stands in the file; multi-byte values are big-endian
_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CODES = {np.dtype(name): code for code, name in _DTYPES.items()}


def read_idx(data: bytes) -> np.ndarray:
    """The array in an IDX file's bytes.

    Parameters
    ----------
    data : the whole file, already decompressed.

    Returns
    -------
    array of the file's shape, native byte order; for uint8 a read-only view of ``data``.

    Raises
    ------
    ValueError : the bytes are no IDX file, or there are fewer or more of them than the extents say.
    """
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _DTYPES:
        raise ValueError(f"not an IDX file: it starts with {data[:4]!r}")
    dtype, ndim = np.dtype(_DTYPES[data[2]]), data[3]
    start = 4 + 4 * ndim
    if len(data) < start:
        raise ValueError(f"IDX file cut short: {ndim} extents promised, {len(data)} bytes in all")
    shape = struct.unpack(f">{ndim}I", data[4:start])
    size = math.prod(shape) * dtype.itemsize
    if len(data) - start != size:
        raise ValueError(f"IDX file of shape {shape} should hold {size} bytes of values, but holds {len(data) - start}")
    array = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def write_idx(array: np.ndarray) -> bytes:
    """The IDX file of an array: the inverse of :func:`read_idx`.

    Raises
    ------
    ValueError : IDX has no code for the dtype.
    """
    stored = array.dtype.newbyteorder(">")
    if stored not in _CODES:
        raise ValueError(f"IDX files hold uint8, int8, int16, int32, float32 and float64, not {array.dtype}")
    head = bytes((0, 0, _CODES[stored], array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(stored, copy=False).tobytes()
