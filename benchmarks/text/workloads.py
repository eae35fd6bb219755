"""What is timed: which network, training, inference or decoding, and the arithmetic that is needed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

BATCHES = 2  # distinct batches in memory that a training loop goes round
CHECK_STEPS = 2  # training steps whose losses are compared
DECODED = 32  # tokens of one call of decoding
PROMPT = 32


@dataclass(frozen=True)
class Workload:
    """One network at work.

    Attributes
    ----------
    name : as in the results. kind : "train", "infer" or "decode".
    net : the network. batch, length : of what goes in. sizes : of the network, by name.
    goal : gradloom's time over that of the fastest peer that is wanted; 1 / 1.2 is 1.2 times its speed.
    flops : floating-point operations of a step, a call, or a token.
    """

    name: str
    kind: str
    net: str
    title: str
    batch: int
    length: int
    sizes: dict[str, int]
    goal: float
    flops: float


def _recurrent(gates: int, inner: int, outer: int, tokens: float, ways: int = 1) -> float:
    """Forward of a recurrent layer: products with the input and with the state."""
    return 2.0 * tokens * ways * gates * outer * (inner + outer)


def _attention(layers: int, width: int, inner: int, batch: int, length: int) -> float:
    """Forward of layers with attention: projections, inner product, scores and their sums."""
    products = 2.0 * batch * length * layers * (4 * width * width + 2 * width * inner)
    return products + 4.0 * batch * layers * length * length * width


_CLASSIFIER = {"vocabulary": 10000, "width": 128, "hidden": 128, "classes": 2}
_CHARS = {"vocabulary": 96, "width": 64, "hidden": 256}
_TAGS = {"width": 128, "hidden": 256, "classes": 16}
_GPT = {"vocabulary": 1000, "width": 256, "inner": 1024, "layers": 4, "heads": 4}
_BERT = {"vocabulary": 30522, "width": 768, "inner": 3072, "layers": 12, "heads": 12, "classes": 2}
_TRANSLATION = {"vocabulary": 8000, "width": 256, "inner": 1024, "layers": 3, "heads": 4}
_GPT2 = {"vocabulary": 50257, "width": 768, "inner": 3072, "layers": 12, "heads": 12}


def _bert(kind: str, batch: int, length: int, goal: float) -> Workload:
    flops = _attention(12, 768, 3072, batch, length)
    title = f"BERT-base, {'fine-tuning step' if kind == 'train' else 'inference'}, batch {batch}, length {length}"
    name = f"bert_{kind}_{batch}x{length}"
    return Workload(name, kind, "bert", title, batch, length, _BERT, goal, flops * (3 if kind == "train" else 1))


def _gpt(batch: int, length: int) -> Workload:
    flops = 3 * (_attention(4, 256, 1024, batch, length) + 2.0 * batch * length * 256 * 1000)
    title = f"GPT, 4 layers of 256, training step, batch {batch}, length {length}"
    return Workload(f"gpt_{length}", "train", "gpt", title, batch, length, _GPT, 0.8, flops)


WORKLOADS = (
    Workload(
        "lstm_classifier", "train", "classifier",
        "LSTM classifier, 10,000 words, 128, training step, batch 32, length 100", 32, 100, _CLASSIFIER,
        0.65, 3 * _recurrent(4, 128, 128, 32 * 100),
    ),
    Workload(
        "gru_chars", "train", "chars", "GRU character model, 256, 64 steps, training step, batch 32", 32, 64, _CHARS,
        0.65,
        3 * (_recurrent(3, 64, 256, 32 * 64) + 2.0 * 32 * 64 * 256 * 96),
    ),
    Workload(
        "bilstm_packed", "train", "tagger",
        "2-layer bidirectional LSTM 256, packed lengths 20 to 80, training step, batch 16", 16, 80, _TAGS, 0.65,
        3 * (_recurrent(4, 128, 256, 16 * 50, 2) + _recurrent(4, 512, 256, 16 * 50, 2)),
    ),
    _gpt(8, 128),
    _gpt(1, 1024),
    _bert("infer", 1, 128, 0.9),
    _bert("infer", 8, 128, 0.9),
    _bert("train", 4, 128, 0.8),
    Workload(
        "translation", "train", "translation",
        "Transformer for translation, 3 + 3 layers of 256, training step, batch 16, length 32", 16, 32, _TRANSLATION,
        0.8,
        3 * (2.4 * _attention(3, 256, 1024, 16, 32) + 2.0 * 16 * 32 * 256 * 8000),
    ),
    Workload(
        "gpt2_decode", "decode", "gpt2",
        f"GPT-2 small, a token of {DECODED} behind a prompt of {PROMPT}, keys and values kept", 1, PROMPT, _GPT2,
        1 / 1.2, 2.0 * (12 * 12 * 768 * 768 + 768 * 50257),
    ),
)  # fmt: skip
BY_NAME = {w.name: w for w in WORKLOADS}

# compiled first: where that takes too long and the process is ended, a new one has the other modes still before it
_MODES: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {"gradloom": ("loop",), "torch": ("compile", "eager")},
    "infer": {"gradloom": ("compile",), "torch": ("compile", "eager"), "onnxruntime": ("session",)},
    "decode": {"gradloom": ("generate",), "torch": ("compile", "eager")},
}
_JAX = {"classifier", "chars", "gpt"}
_KERAS = {"classifier", "chars"}


def modes(w: Workload, quick: bool) -> dict[str, tuple[str, ...]]:
    """Contenders' modes. A quick run leaves out compiled PyTorch where compiling takes a minute and more, and JAX."""
    found = dict(_MODES[w.kind])
    if w.net in _KERAS:
        found["tensorflow"] = ("function",) if quick else ("function", "xla")
    if w.net in _JAX and not quick:
        found["jax"] = ("jit",)
    if quick and w.net in ("tagger", "translation", "bert", "gpt2"):
        found["torch"] = ("eager",)
    return found


def ids(w: Workload) -> list[np.ndarray]:
    """Batches of token ids (batch, length), int64, and one id more for what comes next."""
    draw = np.random.default_rng(2)
    count = BATCHES if w.kind == "train" else 1
    return [draw.integers(3, w.sizes["vocabulary"], (w.batch, w.length + 1)) for _ in range(count)]


def labels(w: Workload) -> list[np.ndarray]:
    """Classes of rows (batch,), int64, for each batch."""
    draw = np.random.default_rng(3)
    return [draw.integers(0, w.sizes["classes"], w.batch) for _ in range(BATCHES)]


def tagged(w: Workload) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Features (batch, length, width) float32, falling lengths, tags (batch, length) with -100 behind the lengths."""
    draw = np.random.default_rng(4)
    found = []
    for _ in range(BATCHES):
        lengths = np.sort(np.linspace(20, w.length, w.batch).astype("i8"))[::-1].copy()
        tags = draw.integers(0, w.sizes["classes"], (w.batch, w.length))
        tags[np.arange(w.length) >= lengths[:, None]] = -100
        x = draw.standard_normal((w.batch, w.length, w.sizes["width"]), dtype="f4")
        found.append((x, lengths, tags))
    return found


def value(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The initial values of a parameter by its name, float32: norms and biases near their usual ones."""
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    x = draw.standard_normal(shape, dtype="f4")
    if len(shape) > 1:
        return x * np.float32(0.02 if "embedding" in name or "table" in name else shape[-1] ** -0.5)
    return x * np.float32(0.02) + np.float32(name.endswith("weight"))
