"""What is timed: which network, training or inference, how many images; data, and the arithmetic that is needed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from benchmarks.images.networks import NETWORKS, Network
from benchmarks.workloads import probe

BATCHES = 2  # distinct batches in memory that a training loop goes round
CHECK_STEPS = 2  # training steps whose losses are compared
COMPILED = {"lenet", "resnet18"}  # compiled by PyTorch even in a quick run
LARGE = {"mobilenet224", "resnet50", "unet"}  # PyTorch channels-last only in a quick run


@dataclass(frozen=True)
class Workload:
    """One network at work.

    Attributes
    ----------
    network : a name of ``NETWORKS``. kind : "train" or "infer". batch : images of a step or call.
    """

    network: str
    kind: str
    batch: int
    title: str

    @property
    def name(self) -> str:
        """As in the results."""
        return f"{self.network}_{self.kind}_{self.batch}"

    @cached_property
    def net(self) -> Network:
        """Its description."""
        return NETWORKS[self.network]()

    @property
    def flops(self) -> float:
        """Of a step or call, convolutions summed directly."""
        return self.batch * self.net.flops(self.kind == "train")

    @property
    def adam(self) -> bool:
        """Adam for the smallest, else SGD with momentum."""
        return self.network == "lenet"


_TITLES = (
    ("lenet", "LeNet-like, 28x28", 64),
    ("resnet18", "ResNet-18, 32x32", 32),
    ("mobilenet32", "MobileNetV2, 32x32", 32),
    ("mobilenet224", "MobileNetV2, 224x224", 8),
    ("resnet50", "ResNet-50, 224x224", 8),
    ("unet", "U-Net 32 to 512 wide, 128x128", 8),
)
_TRAIN = tuple(Workload(n, "train", b, f"training step, {t}, batch {b}") for n, t, b in _TITLES)
_INFER = tuple(Workload(n, "infer", b, f"inference, {t}, batch {b}") for n, t, _ in _TITLES for b in (1, 32))
WORKLOADS = _TRAIN + _INFER
BY_NAME = {w.name: w for w in WORKLOADS}
MEMORY = replace(BY_NAME["resnet50_train_8"], batch=16, title="training step, ResNet-50, 224x224, batch 16")

# compiled first: where that takes too long and the process is ended, a new one has the other modes still before it
MODES: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "gradloom": ("loop",),
        "torch": ("compile", "channels_last", "eager"),
        "jax": ("jit",),
        "tensorflow": ("function", "xla"),
    },
    "infer": {
        "gradloom": ("compile",),
        "torch": ("compile", "channels_last", "eager"),
        "jax": ("jit",),
        "tensorflow": ("function", "xla"),
        "onnxruntime": ("session",),
        "openvino": ("latency",),
    },
}


def modes(w: Workload, quick: bool) -> dict[str, tuple[str, ...]]:
    """Contenders' modes. A quick run leaves out what takes long to start and has not been the fastest peer: JAX, XLA
    and compiled PyTorch for most networks, and TensorFlow beside the two inference engines."""
    found = MODES[w.kind]
    if not quick:
        return found
    torch = ("channels_last",) if w.kind == "infer" or w.network in LARGE else ("channels_last", "eager")
    if w.network in COMPILED and w.batch > 1:
        torch = ("compile", *torch)
    short = {"torch": torch, "tensorflow": ("function",)}
    left_out = {"infer": ("jax", "tensorflow"), "train": () if w.network == "lenet" else ("jax",)}[w.kind]
    return {name: short.get(name, ms) for name, ms in found.items() if name not in left_out}


def batches(w: Workload) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images (batch, C, H, W) float32, standard normal, and labels int64: (batch,), or (batch, H, W) of pixels."""
    draw = np.random.default_rng(2)
    last = w.net.steps[-1].after
    found = []
    for _ in range(BATCHES if w.kind == "train" else 1):
        x = draw.standard_normal((w.batch, *w.net.shapes[0]), dtype="f4")
        found.append((x, draw.integers(0, last[0], (w.batch, *last[1:]))))
    return found


def last(x: np.ndarray) -> np.ndarray:
    """Images with their channels last."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def channels_first(y: np.ndarray) -> list[float]:
    """A few values of an output that may have its channels last, by which contenders are compared."""
    y = np.asarray(y)
    return probe(np.ascontiguousarray(y.transpose(0, 3, 1, 2)) if y.ndim == 4 else y)
