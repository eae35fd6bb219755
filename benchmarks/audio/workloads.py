"""What is timed: Whisper tiny's features, its encoder, and the whole way from sound to tokens."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

RATE, SECONDS, TOKENS = 16000, 10, 40
START = (50257, 50362)  # the transcript begins, without times
MELS, FRAMES, CONTEXT, WIDTH, HEADS, LAYERS, VOCABULARY, TEXT = 80, 3000, 1500, 384, 6, 4, 51864, 448


@dataclass(frozen=True)
class Workload:
    """One way to use the model. name : as in the results. flops : floating-point operations of a call."""

    name: str
    title: str
    flops: float


def _encoder() -> float:
    convolutions = 2.0 * FRAMES * 3 * MELS * WIDTH + 2.0 * CONTEXT * 3 * WIDTH * WIDTH
    return convolutions + LAYERS * (24.0 * CONTEXT * WIDTH * WIDTH + 4.0 * CONTEXT * CONTEXT * WIDTH)


def _decoder() -> float:
    keys = LAYERS * 4.0 * CONTEXT * WIDTH * WIDTH
    token = LAYERS * (28.0 * WIDTH * WIDTH + 4.0 * CONTEXT * WIDTH) + 2.0 * WIDTH * VOCABULARY
    return keys + (TOKENS + len(START) - 1) * token


_MEL = 2.0 * FRAMES * 201 * MELS
WORKLOADS = (
    Workload("whisper_mel", f"Whisper's features of {SECONDS} s of sound, filled up to 30 s", _MEL),
    Workload("whisper_encode", "Whisper tiny's encoder, one window", _encoder()),
    Workload(
        "whisper_tokens", f"Whisper tiny, {SECONDS} s of sound to {TOKENS} tokens, greedily, keys and values kept",
        _MEL + _encoder() + _decoder(),
    ),
)  # fmt: skip
BY_NAME = {w.name: w for w in WORKLOADS}


def modes(w: Workload, quick: bool) -> dict[str, tuple[str, ...]]:
    """Contenders' modes. PyTorch is compiled where shapes stay the same."""
    compiled = ("compile", "eager") if w.name == "whisper_encode" and not quick else ("eager",)
    found = {"gradloom": ("call",), "torch": compiled}
    return {**found, "onnxruntime": ("session",)} if w.name == "whisper_encode" else found


def sound() -> np.ndarray:
    """Tones that glide, and noise, (RATE * SECONDS,) float32."""
    t = np.arange(RATE * SECONDS) / RATE
    tones = sum(np.sin(2 * np.pi * (f + 40 * np.sin(3 * t)) * t) / k for k, f in enumerate((180, 700, 2100), 1))
    noise = np.random.default_rng(0).standard_normal(len(t))
    return (0.2 * tones + 0.01 * noise).astype(np.float32)


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Values for parameters by name, the same for all; positions of the encoder are left as they are."""
    found = {}
    for name, shape in shapes.items():
        draw = np.random.default_rng(zlib.crc32(name.encode()))
        if name == "encoder.positional_embedding":
            continue
        norm = "ln" in name.split(".")[-2] or "_ln." in name
        x = draw.standard_normal(shape, dtype=np.float32)
        fan = np.prod(shape[1:]) if len(shape) > 1 else 1.0
        found[name] = x * 0.02 + 1.0 if norm and name.endswith("weight") else x * np.float32(0.8 / np.sqrt(fan))
    return found


def mel_bank() -> np.ndarray:
    """Slaney's triangles of one area, (80, 201) float32; written here so that peers need no package for it."""
    step, split = 200.0 / 3.0, 15.0

    def hz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel < split, mel * step, 1000.0 * np.exp(np.log(6.4) / 27.0 * (mel - split)))

    corners = hz(np.linspace(0.0, split + np.log(8.0) / (np.log(6.4) / 27.0), MELS + 2))
    f = np.linspace(0, 8000, 201)[None]
    left, middle, right = (corners[k : k + MELS, None] for k in range(3))
    bank = np.maximum(0.0, np.minimum((f - left) / (middle - left), (right - f) / (right - middle)))
    return (bank * 2.0 / (right - left)).astype(np.float32)
