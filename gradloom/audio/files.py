"""Sound files: WAV by a reader of our own, other formats through the package ``soundfile``."""

from __future__ import annotations

import importlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from gradloom.errors import ArgumentError, DTypeError, FileError, NotSupportedError, ShapeError
from gradloom.tensor import Tensor, tensor

__all__ = ["AudioMetaData", "info", "load", "save"]

_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_ENCODINGS = {_PCM: "PCM_S", _FLOAT: "PCM_F", _ALAW: "ALAW", _ULAW: "ULAW"}
_UNKNOWN = (0, 0xFFFFFFFF)  # what programs that write into a pipe put where a length belongs


@dataclass(frozen=True)
class AudioMetaData:
    """What a file's header says: sample_rate in Hz, num_frames (samples of a channel), num_channels, bits, encoding."""

    sample_rate: int
    num_frames: int
    num_channels: int
    bits_per_sample: int
    encoding: str


def info(uri: str | os.PathLike[str] | IO[bytes]) -> AudioMetaData:
    """What a sound file holds. Raises FileError for a damaged one."""
    data, where = _bytes(uri)
    if data[:4] != b"RIFF":
        kind = _soundfile(where).info(_again(uri, data))
        bits = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 32, "DOUBLE": 64}
        return AudioMetaData(kind.samplerate, kind.frames, kind.channels, bits.get(kind.subtype, 0), kind.subtype)
    head, body = _chunks(data, where)
    return AudioMetaData(head.rate, len(body) // head.step, head.channels, head.bits, head.encoding)


def load(
    uri: str | os.PathLike[str] | IO[bytes],
    frame_offset: int = 0,
    num_frames: int = -1,
    normalize: bool = True,
    channels_first: bool = True,
) -> tuple[Tensor, int]:
    """Read sound, (channels, time) as float32 within [-1, 1], and its sample rate in Hz.

    Parameters
    ----------
    uri : a path or a binary file. WAV: PCM of 8, 16, 24 and 32 bits, float 32 and 64, A-law, µ-law.
    frame_offset, num_frames : where to begin, and how many samples of each channel; -1 for all.
    normalize : False gives integers as the file has them (uint8, int16, int32; 24 bits in the upper ones of int32).
    channels_first : False gives (time, channels).

    Raises
    ------
    FileError : damaged, or an encoding that is not read.
    NotSupportedError : another format, without the package ``soundfile``.
    """
    if frame_offset < 0 or num_frames < -1 or num_frames == 0:
        raise ArgumentError(
            f"load: frame_offset {frame_offset} and num_frames {num_frames}", hint="from 0 on; -1 reads to the end"
        )
    data, where = _bytes(uri)
    if data[:4] == b"RIFF":
        head, body = _chunks(data, where)
        stop = len(body) if num_frames < 0 else (frame_offset + num_frames) * head.step
        samples, rate = _decoded(head, body[frame_offset * head.step : stop], normalize), head.rate
    else:
        kind = "float32" if normalize else "int32"
        samples, rate = _soundfile(where).read(
            _again(uri, data), frames=num_frames, start=frame_offset, dtype=kind, always_2d=True
        )
    out = samples.T if channels_first else samples
    return tensor(np.ascontiguousarray(out)), int(rate)


def save(
    uri: str | os.PathLike[str] | IO[bytes],
    src: Tensor | np.ndarray,
    sample_rate: int,
    channels_first: bool = True,
    *,
    encoding: str = "PCM_S",
    bits_per_sample: int = 16,
) -> None:
    """Write a WAV file.

    Parameters
    ----------
    src : (channels, time), or (time, channels) without ``channels_first``, or (time,). Floats are clipped to [-1, 1]
        for PCM_S; int16 is written as it is.
    encoding : "PCM_S" with 8, 16, 24 or 32 bits_per_sample, "PCM_F" with 32 or 64.
    """
    x = np.asarray(src.detach().numpy() if isinstance(src, Tensor) else src)
    if x.ndim not in (1, 2):
        raise ShapeError(f"save: sound of shape {x.shape}", code="shape.audio", hint="(channels, time) or (time,)")
    x = x[:, None] if x.ndim == 1 else x.T if channels_first else x
    allowed = {"PCM_S": (8, 16, 24, 32), "PCM_F": (32, 64)}
    if bits_per_sample not in allowed.get(encoding, ()):
        raise ArgumentError(f"save: {encoding!r} of {bits_per_sample} bits", hint=f"one of {allowed}")
    if int(sample_rate) < 1:
        raise ArgumentError(f"save: a sample rate of {sample_rate}")
    if x.dtype == np.int16 and (encoding, bits_per_sample) == ("PCM_S", 16):
        body = x.astype("<i2").tobytes()
    elif x.dtype.kind != "f":
        raise DTypeError(
            f"save: samples of dtype {x.dtype}", code="dtype.audio", hint="floats within [-1, 1], or int16"
        )
    else:
        body = _encoded(x, encoding, bits_per_sample)
    width = bits_per_sample // 8
    form = struct.pack(
        "<HHIIHH", _PCM if encoding == "PCM_S" else _FLOAT, x.shape[1], int(sample_rate),
        int(sample_rate) * x.shape[1] * width, x.shape[1] * width, bits_per_sample,
    )  # fmt: skip
    if encoding == "PCM_F":  # other than PCM: the size of an extension, and a chunk that counts samples
        form += struct.pack("<H", 0)
    parts = [(b"fmt ", form), *([(b"fact", struct.pack("<I", len(x)))] if encoding == "PCM_F" else []), (b"data", body)]
    content = b"WAVE" + b"".join(n + struct.pack("<I", len(b)) + b + b"\0" * (len(b) % 2) for n, b in parts)
    whole = b"RIFF" + struct.pack("<I", len(content)) + content
    if isinstance(uri, (str, os.PathLike)):
        Path(uri).write_bytes(whole)
    else:
        uri.write(whole)


# -- the container -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Head:
    tag: int
    channels: int
    rate: int
    step: int
    bits: int

    @property
    def encoding(self) -> str:
        return "PCM_U" if (self.tag, self.bits) == (_PCM, 8) else _ENCODINGS[self.tag]


def _bytes(uri: Any) -> tuple[bytes, str]:
    if isinstance(uri, (str, os.PathLike)):
        return Path(uri).read_bytes(), os.fspath(uri)
    data = uri.read()
    if not isinstance(data, bytes):
        raise DTypeError(f"a file that reads {type(data).__name__}", code="dtype.audio", hint="open it with 'rb'")
    return data, getattr(uri, "name", "the file")


def _again(uri: Any, data: bytes) -> Any:
    import io

    return os.fspath(uri) if isinstance(uri, (str, os.PathLike)) else io.BytesIO(data)


def _soundfile(where: str) -> Any:
    try:
        return importlib.import_module("soundfile")
    except ImportError:
        raise NotSupportedError(
            f"{where} is no WAV file",
            code="unsupported.audio",
            hint="pip install 'gradloom[audio]' brings soundfile, which reads FLAC, Ogg, MP3, …",
        ) from None


def _chunks(data: bytes, where: str) -> tuple[_Head, bytes]:
    """What the header says, and the bytes of whole frames. Reference: Microsoft and IBM, RIFF 1991 and 2002."""
    if data[8:12] != b"WAVE":
        raise FileError(f"{where}: a RIFF file, but of kind {data[8:12]!r}", code="io.wav")
    at, head = 12, None
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        at += 8
        if name == b"data":
            if head is None:
                raise FileError(f"{where}: samples come before the format", code="io.wav")
            body = data[at:] if size in _UNKNOWN else data[at : at + size]
            if size not in _UNKNOWN and len(body) < size:
                raise FileError(
                    f"{where}: {size} bytes of samples are announced, {len(body)} are there", code="io.wav",
                    hint="the file was cut off",
                )  # fmt: skip
            return head, body[: len(body) // head.step * head.step]
        if name == b"fmt ":
            head = _format(data[at : at + size], where)
        at += size + size % 2
    raise FileError(f"{where}: no samples in it", code="io.wav", hint="the file was cut off, or is none")


def _format(chunk: bytes, where: str) -> _Head:
    if len(chunk) < 16:
        raise FileError(f"{where}: a format of {len(chunk)} bytes", code="io.wav")
    tag, channels, rate, _, step, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        tag = struct.unpack_from("<H", chunk, 24)[0]  # the format proper begins its identifier
    allowed = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64), _ALAW: (8,), _ULAW: (8,)}
    if bits not in allowed.get(tag, ()):
        raise FileError(
            f"{where}: samples of format {tag} with {bits} bits are not read", code="io.wav",
            hint="PCM of 8, 16, 24, 32 bits, float of 32, 64, A-law and µ-law are",
        )  # fmt: skip
    if not channels or not rate or step != channels * bits // 8:
        raise FileError(f"{where}: {channels} channels, {rate} Hz, {step} bytes a frame", code="io.wav")
    return _Head(tag, channels, rate, step, bits)


def _decoded(head: _Head, body: bytes, normalize: bool) -> np.ndarray:
    """Samples (time, channels)."""
    if head.tag == _FLOAT:
        x = np.frombuffer(body, f"<f{head.bits // 8}").astype(np.float32)
    elif head.tag in (_ALAW, _ULAW):
        table = _alaw_table() if head.tag == _ALAW else _ulaw_table()
        x = table[np.frombuffer(body, np.uint8)]
    elif head.bits == 24:
        wide = np.zeros((len(body) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(body, np.uint8).reshape(-1, 3)
        x = wide.reshape(-1).view("<i4")
    else:
        x = np.frombuffer(body, {8: "u1", 16: "<i2", 32: "<i4"}[head.bits])
    if normalize and x.dtype.kind != "f":
        scale = 2.0 ** (x.dtype.itemsize * 8 - 1)
        x = ((x.astype(np.float64) - (128.0 if x.dtype.kind == "u" else 0.0)) / scale).astype(np.float32)
    return x.reshape(-1, head.channels)


def _encoded(x: np.ndarray, encoding: str, bits: int) -> bytes:
    if encoding == "PCM_F":
        return x.astype(f"<f{bits // 8}").tobytes()
    top = 2.0 ** (bits - 1)
    whole = np.clip(np.rint(x.astype(np.float64) * top), -top, top - 1).astype("<i8")
    if bits == 8:
        return (whole + 128).astype(np.uint8).tobytes()
    return np.ascontiguousarray(whole.reshape(*whole.shape, 1).view(np.uint8)[..., : bits // 8]).tobytes()


def _ulaw_table() -> np.ndarray:
    """int16 values of the 256 codes (ITU-T G.711)."""
    code = ~np.arange(256).astype(np.uint8)
    value = (((code & 15).astype(np.int32) << 3) + 132 << ((code >> 4) & 7)) - 132
    return np.where(code & 128, -value, value).astype(np.int16)


def _alaw_table() -> np.ndarray:
    """int16 values of the 256 codes (ITU-T G.711)."""
    code = (np.arange(256) ^ 0x55).astype(np.int32)
    step, value = (code >> 4) & 7, ((code & 15) << 4) + 8
    value = np.where(step > 0, value + 256 << np.maximum(step - 1, 0), value)
    return np.where(code & 128, value, -value).astype(np.int16)
