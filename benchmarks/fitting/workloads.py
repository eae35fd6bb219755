"""What is timed: epochs of Fashion-MNIST, what a step of a loop is made of, and checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIZES = (784, 128, 10)
BATCH = 32
ROWS = 60_000
STEPS = ROWS // BATCH
BIG = (784, 2048, 2048, 10)  # the model whose checkpoints are written: 5.8 million parameters, and Adam's two means
DATA = Path(__file__).resolve().parent.parent / ".build" / "fashion_mnist.npz"


@dataclass(frozen=True)
class Workload:
    """One table.

    Attributes
    ----------
    name : as in the results. title : in words. kind : "epoch", "step", "save" or "load".
    modes : of each contender. base : whose time the others are compared with, contender and mode.
    goal : gradloom's best time over the peers' best that is wanted, where something is.
    flops : of a training step; no bound for checkpoints.
    """

    name: str
    title: str
    kind: str
    modes: dict[str, tuple[str, ...]]
    base: tuple[str, str]
    goal: float | None = None
    flops: float = 0.0


_EPOCH = "an epoch of Fashion-MNIST, 784-128-10, batch 32, Adam"
_FLOPS = 2.0 * BATCH * (2 * (784 * 128 + 128 * 10) + 128 * 10)
_KERAS = {"keras_tensorflow": "TensorFlow", "keras_jax": "JAX", "keras_torch": "PyTorch"}
WORKLOADS = (
    *(
        Workload(
            f"epoch_{name}", f"{_EPOCH}: `fit` beside Keras' on {backend}", "epoch",
            {"gradloom": ("fit",), name: ("fit",)}, (name, "fit"), 0.1, _FLOPS,
        )
        for name, backend in _KERAS.items()
    ),
    Workload(
        "epoch_torch", f"{_EPOCH}: beside loops in PyTorch", "epoch",
        {"gradloom": ("fit", "trainer", "loop"), "torch": ("loop", "loop_fused", "sliced_fused", "sliced_compiled")},
        ("torch", "loop"), None, _FLOPS,
    ),
    Workload(
        "step", "a step of that epoch, and what it is made of", "step",
        {"gradloom": ("program", "rows", "fit_in_order", "fit", "trainer_in_order", "trainer", "trainer_own", "loop")},
        ("gradloom", "program"), None, _FLOPS,
    ),
    *(
        Workload(
            f"checkpoint_{kind}", f"{kind} model and Adam's state, 784-2048-2048-10 (70 MB of numbers)", kind,
            {"gradloom": ("trainer", "file", "keras"), "torch": ("file",), "keras_tensorflow": ("keras",)},
            ("torch", "file"),
        )
        for kind in ("save", "load")
    ),
)  # fmt: skip
BY_NAME = {w.name: w for w in WORKLOADS}


def modes(w: Workload, quick: bool) -> dict[str, tuple[str, ...]]:
    """Who takes part, and how."""
    return w.modes


def write_data() -> None:
    """Put the images where every contender's interpreter can read them."""
    if DATA.exists():
        return
    from gradloom.datasets import fashion_mnist

    (x, y), _ = fashion_mnist.load_data()
    DATA.parent.mkdir(exist_ok=True)
    np.savez(DATA, x=x, y=y)


def data() -> tuple[np.ndarray, np.ndarray]:
    """Images (60000, 784) float32 from 0 to 1, labels (60000,) int64."""
    found = np.load(DATA)
    return found["x"].reshape(ROWS, -1).astype(np.float32) / 255, found["y"].astype(np.int64)
