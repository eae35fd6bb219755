"""Sound files: every sample format there and back, headers of other programs, damaged and foreign files."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

import gradloom as gl
from gradloom import audio
from gradloom.errors import ArgumentError, DTypeError, FileError, NotSupportedError, ShapeError

RNG = np.random.default_rng(0)
SOUND = RNG.uniform(-1, 1, (2, 101)).astype("f")


def riff(
    tag: int, bits: int, body: bytes, channels: int = 1, extra: bytes = b"", data_size: int | None = None
) -> bytes:
    step = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, 8000, 8000 * step, step, bits) + extra
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"LIST" + struct.pack("<I", 3) + b"abc\0"
    chunks += b"data" + struct.pack("<I", len(body) if data_size is None else data_size) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.mark.parametrize(
    ("encoding", "bits", "tolerance"),
    [("PCM_S", 8, 2**-7), ("PCM_S", 16, 2**-15), ("PCM_S", 24, 2**-23), ("PCM_S", 32, 1e-7), ("PCM_F", 32, 0),
     ("PCM_F", 64, 0)],
)  # fmt: skip
def test_there_and_back(encoding: str, bits: int, tolerance: float, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    audio.save(path, gl.tensor(SOUND), 11025, encoding=encoding, bits_per_sample=bits)
    x, rate = audio.load(path)
    assert rate == 11025 and x.dtype == gl.float32 and x.shape == (2, 101)
    np.testing.assert_allclose(x.numpy(), SOUND, atol=tolerance, rtol=0)
    about = audio.info(path)
    kind = "PCM_U" if bits == 8 else encoding
    assert about == audio.AudioMetaData(11025, 101, 2, bits, kind)
    if bits != 24:  # SciPy reads it the same
        other_rate, other = wavfile.read(path)
        raw = audio.load(path, normalize=False, channels_first=False)[0].numpy()
        assert other_rate == 11025
        np.testing.assert_array_equal(raw, other)


def test_the_standard_library_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    audio.save(path, SOUND, 8000)
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, 8000, 101)
        raw = np.frombuffer(file.readframes(101), "<i2").reshape(101, 2)
    np.testing.assert_array_equal(raw.T, audio.load(path, normalize=False)[0].numpy())


def test_parts_channels_and_open_files(tmp_path: Path) -> None:
    file = io.BytesIO()
    audio.save(file, SOUND.T, 8000, channels_first=False, encoding="PCM_F", bits_per_sample=32)
    content = file.getvalue()
    x, _ = audio.load(io.BytesIO(content), frame_offset=10, num_frames=20, channels_first=False)
    np.testing.assert_array_equal(x.numpy(), SOUND.T[10:30])
    assert audio.load(io.BytesIO(content), frame_offset=200)[0].shape == (2, 0)
    (tmp_path / "one.wav").write_bytes(b"")
    audio.save(tmp_path / "one.wav", SOUND[0], 8000)
    assert audio.load(tmp_path / "one.wav")[0].shape == (1, 101)


def test_what_is_loud_is_clipped_and_int16_is_kept(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", np.float32([-3.0, 0.0, 3.0]), 8000)
    assert audio.load(tmp_path / "a.wav", normalize=False)[0].numpy().ravel().tolist() == [-32768, 0, 32767]
    whole = np.arange(-5, 5, dtype=np.int16)
    audio.save(tmp_path / "b.wav", whole, 8000)
    assert audio.load(tmp_path / "b.wav", normalize=False)[0].numpy()[0].tolist() == whole.tolist()


def test_telephone_codes() -> None:
    codes = np.arange(256, dtype=np.uint8)
    torch = pytest.importorskip("torch")
    u = audio.load(io.BytesIO(riff(7, 8, codes.tobytes())))[0].numpy()[0]
    # G.711: the loudest codes, silence, and symmetry
    assert u[0] == -32124 / 32768 and u[128] == 32124 / 32768 and u[127] == u[255] == 0
    assert torch.tensor(u[:128]).diff().min() > 0
    a = audio.load(io.BytesIO(riff(6, 8, codes.tobytes())))[0].numpy()[0] * 32768
    assert a[0xD5] == 8 and a[0x55] == -8 and a[0xAA] == 32256 and a[0x2A] == -32256
    np.testing.assert_array_equal(a[:128], -a[128:])


def test_headers_of_other_programs() -> None:
    body = np.arange(6, dtype="<i2").tobytes()
    guid = struct.pack("<HHIH", 22, 16, 4, 1) + b"\0" * 14  # WAVE_FORMAT_EXTENSIBLE
    extended = riff(0xFFFE, 16, body, extra=guid)
    streamed = riff(1, 16, body, data_size=0xFFFFFFFF)
    for content in (extended, streamed, riff(1, 16, body)):
        assert audio.load(io.BytesIO(content), normalize=False)[0].numpy()[0].tolist() == list(range(6))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"RIFF\0\0\0\0AVI ", "of kind b'AVI '"),
        (b"RIFF\0\0\0\0WAVE", "no samples"),
        (riff(1, 16, b"\0" * 10, data_size=20), "20 bytes of samples are announced, 10 are there"),
        (riff(1, 12, b"\0" * 10), "format 1 with 12 bits"),
        (riff(2, 16, b"\0" * 10), "format 2 with 16 bits"),
        (b"RIFF\0\0\0\0WAVEdata\4\0\0\0abcd", "before the format"),
        (b"RIFF\0\0\0\0WAVEfmt \4\0\0\0abcd", "a format of 4 bytes"),
        (riff(1, 16, b"", channels=0), "0 channels"),
    ],
)
def test_damaged_files(content: bytes, said: str) -> None:
    with pytest.raises(FileError, match=said):
        audio.load(io.BytesIO(content))


def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.flac").write_bytes(b"fLaC and more")
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(NotSupportedError, match="brings soundfile"):
        audio.load(tmp_path / "a.flac")
    with pytest.raises(FileNotFoundError):
        audio.load(tmp_path / "b.wav")
    with pytest.raises(ArgumentError, match="frame_offset -1"):
        audio.load(tmp_path / "a.flac", -1)
    with pytest.raises(DTypeError, match="'rb'"):
        audio.load(io.StringIO("RIFF"))  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match="int64"):
        audio.save(tmp_path / "c.wav", np.arange(3), 8000)
    with pytest.raises(ShapeError, match=r"\(1, 1, 1\)"):
        audio.save(tmp_path / "c.wav", np.zeros((1, 1, 1), "f"), 8000)
    with pytest.raises(ArgumentError, match="of 12 bits"):
        audio.save(tmp_path / "c.wav", SOUND, 8000, bits_per_sample=12)


def test_other_formats_through_soundfile(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "a.flac"
    soundfile.write(path, SOUND.T, 16000, subtype="PCM_16")
    x, rate = audio.load(path)
    assert rate == 16000
    np.testing.assert_allclose(x.numpy(), SOUND, atol=2**-15)
    assert audio.info(path) == audio.AudioMetaData(16000, 101, 2, 16, "PCM_16")
    np.testing.assert_array_equal(audio.load(path, 5, 7)[0].numpy(), x.numpy()[:, 5:12])
