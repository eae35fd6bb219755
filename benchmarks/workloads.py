"""What is measured: sizes, data, initial weights and work, the same for every contender."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

BATCHES = 8  # distinct batches in memory that a training loop goes round
CHECK_STEPS = 5  # training steps in which all must have the same losses; Adam makes rounding errors grow later


@dataclass(frozen=True)
class Workload:
    """One thing to time.

    Attributes
    ----------
    name : as in the results.
    kind : "train" (a step: forward, backward, Adam), "infer" (one call) or "op" (one expression).
    sizes : for train and infer: features in, of each layer, out.
    batch : rows of one call, for train and infer.
    shapes : for op: the inputs' shapes.
    flops : floating-point operations of one call that no way of computing it can avoid.
    stream : number of float32 values read once and written once by an op bound by memory, else 0.
    update : number of parameters that Adam updates where they do not fit the cache, else 0.
    """

    name: str
    kind: Literal["train", "infer", "op"]
    title: str
    sizes: tuple[int, ...] = ()
    batch: int = 0
    shapes: tuple[tuple[int, ...], ...] = ()
    flops: float = 0.0
    stream: int = 0
    update: int = 0


def _mlp_flops(sizes: tuple[int, ...], batch: int, train: bool) -> float:
    """Products forward; when training also weights' gradients, and inputs' gradients for all layers but the first."""
    pairs = [a * b for a, b in pairwise(sizes)]
    return 2.0 * batch * (2 * sum(pairs) + sum(pairs[1:]) if train else sum(pairs))


def _train(name: str, sizes: tuple[int, ...], batch: int) -> Workload:
    parameters = sum(a * b + b for a, b in pairwise(sizes))
    title = f"training step, {'-'.join(map(str, sizes))}, batch {batch}, Adam"
    return Workload(
        name,
        "train",
        title,
        sizes=sizes,
        batch=batch,
        flops=_mlp_flops(sizes, batch, True),
        update=parameters if parameters > 1_000_000 else 0,
    )


def _matmul(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> Workload:
    flops = 2.0 * np.prod(a, dtype=float) * b[-1]
    times = " x ".join("(" + ", ".join(map(str, s)) + ")" for s in (a, b))
    return Workload(name, "op", f"matmul {times}", shapes=(a, b), flops=float(flops))


CHAIN = 16 * 1024**2

WORKLOADS = (
    _train("mlp32", (784, 128, 10), 32),
    _train("mlp_big", (784, 2048, 2048, 10), 256),
    Workload(
        "infer_mlp32",
        "infer",
        "inference, 784-128-10, batch 1",
        sizes=(784, 128, 10),
        batch=1,
        flops=_mlp_flops((784, 128, 10), 1, False),
    ),
    _matmul("matmul_1024", (1024, 1024), (1024, 1024)),
    _matmul("matmul_1000", (1000, 1000), (1000, 1000)),
    _matmul("matmul_1023", (1023, 1023), (1023, 1023)),
    _matmul("matmul_17x4096x300", (17, 4096), (4096, 300)),
    _matmul("matmul_64_of_64", (64, 64, 64), (64, 64, 64)),
    Workload("chain_16m", "op", "gelu(x*1.5+0.25)*sigmoid(x), 16M values", shapes=((CHAIN,),), stream=CHAIN),
    Workload("softmax", "op", "softmax over rows of (4096, 1000)", shapes=((4096, 1000),), stream=4096 * 1000),
    Workload("layernorm", "op", "layer norm of (8192, 1024)", shapes=((8192, 1024),), stream=8192 * 1024),
)
BY_NAME = {w.name: w for w in WORKLOADS}


def weights(w: Workload) -> list[tuple[np.ndarray, np.ndarray]]:
    """Initial weights (features in, features out) and biases of every layer, float32."""
    draw = np.random.default_rng(1)
    result = []
    for a, b in pairwise(w.sizes):
        bound = a**-0.5
        result.append((draw.uniform(-bound, bound, (a, b)).astype("f4"), draw.uniform(-bound, bound, b).astype("f4")))
    return result


def batches(w: Workload) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images (batch, features) float32 and labels (batch,) int64. The labels can be learnt, so the loss falls."""
    draw = np.random.default_rng(2)
    teacher = draw.standard_normal((w.sizes[0], w.sizes[-1]), dtype="f4")
    result = []
    for _ in range(BATCHES if w.kind == "train" else 1):
        x = draw.standard_normal((w.batch, w.sizes[0]), dtype="f4")
        result.append((x, (x @ teacher).argmax(1).astype("i8")))
    return result


def inputs(w: Workload) -> list[np.ndarray]:
    """Arguments of an op, float32, standard normal."""
    draw = np.random.default_rng(3)
    return [draw.standard_normal(shape, dtype="f4") for shape in w.shapes]


def probe(output: np.ndarray) -> list[float]:
    """A few values of an output, by which contenders are compared."""
    flat = np.asarray(output).reshape(-1)
    return [float(v) for v in flat[np.linspace(0, flat.size - 1, 9).astype(int)]]
