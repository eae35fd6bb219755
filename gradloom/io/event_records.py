"""Event files: records with checksums, each a protocol-buffer message, put together by hand.

A record is its length (8 bytes), that length's masked CRC-32C, the data, and theirs. The messages are ``Event``,
``Summary`` and what they hold, as TensorFlow's ``event.proto`` and ``summary.proto`` number their fields.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import numpy as np

__all__ = ["blob", "crc32c", "double", "doubles", "event", "fixed", "number", "png", "record", "text"]


def _table() -> list[int]:
    out = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        out.append(n)
    return out


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum (RFC 3720, B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(data: bytes) -> bytes:
    """One record of an event file."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


# -- protocol buffers ---------------------------------------------------------------------------------------


def _varint(n: int) -> bytes:
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def number(field: int, n: int) -> bytes:
    """An integer field."""
    return _varint(field << 3) + _varint(n)


def double(field: int, x: float) -> bytes:
    """A field of 64 bits."""
    return _varint(field << 3 | 1) + struct.pack("<d", x)


def fixed(field: int, x: float) -> bytes:
    """A field of 32 bits."""
    with np.errstate(over="ignore"):
        return _varint(field << 3 | 5) + np.float32(x).tobytes()


def blob(field: int, data: bytes) -> bytes:
    """A field of bytes, or another message."""
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def text(field: int, value: str) -> bytes:
    """A field of text."""
    return blob(field, value.encode())


def doubles(field: int, values: Iterable[float]) -> bytes:
    """A packed field of 64-bit numbers."""
    return blob(field, np.asarray(list(values), "<f8").tobytes())


def event(wall: float, step: int | None, *, version: str | None = None, summary: bytes | None = None) -> bytes:
    """An ``Event``: a time, a step, and the file's version or a ``Summary``."""
    out = double(1, wall)
    if step is not None:
        out += number(2, int(step))
    if version is not None:
        out += text(3, version)
    if summary is not None:
        out += blob(5, summary)
    return out


# -- images ---------------------------------------------------------------------------------------------------


def png(image: np.ndarray) -> bytes:
    """A PNG file of uint8 pixels of shape (height, width, 1, 3 or 4)."""
    height, width, channels = image.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, width * channels)], 1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 6))
        + chunk(b"IEND", b"")
    )
