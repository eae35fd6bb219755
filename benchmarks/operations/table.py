"""The operations: one expression for gradloom and PyTorch, which share their names, and one for NumPy.

``T`` is the framework, ``F`` its ``nn.functional``; ``np`` is NumPy. ``x``, ``y`` … are the inputs, in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Shapes = tuple[tuple[int, ...], ...]
SIZES = ("small", "middle", "large")


@dataclass(frozen=True)
class Operation:
    """One operation. shapes: for each size the shapes of its inputs; draw: one letter an input, see :func:`inputs`."""

    name: str
    torch: str
    numpy: str | None
    shapes: tuple[Shapes, Shapes, Shapes]
    draw: str = "n"
    kind: str = "elementwise"


def _flat(count: int = 1) -> tuple[Shapes, Shapes, Shapes]:
    return tuple(((n,),) * count for n in (256, 65_536, 4_194_304))  # type: ignore[return-value]


def _square(count: int = 1) -> tuple[Shapes, Shapes, Shapes]:
    return tuple(((n, n),) * count for n in (16, 256, 2048))  # type: ignore[return-value]


def _matrices(small: Shapes, middle: Shapes, large: Shapes) -> tuple[Shapes, Shapes, Shapes]:
    return small, middle, large


def _e(name: str, torch: str, numpy: str | None, count: int = 1, draw: str = "n") -> Operation:
    return Operation(name, torch, numpy, _flat(count), draw * count if len(draw) == 1 else draw)


def _r(name: str, torch: str, numpy: str | None, draw: str = "n", kind: str = "reduction") -> Operation:
    return Operation(name, torch, numpy, _square(), draw, kind)


_ROWS = "x - x.max(-1, keepdims=True)"
OPERATIONS = (
    _e("add", "x + y", "x + y", 2),
    _e("multiply by a number", "x * 1.5", "x * np.float32(1.5)"),
    _e("divide", "x / y", "x / y", 2, "pp"),
    _e("maximum", "T.maximum(x, y)", "np.maximum(x, y)", 2),
    _e("compare", "x > y", "x > y", 2),
    _e("where", "T.where(x > 0, x, y)", "np.where(x > 0, x, y)", 2),
    _e("clamp", "T.clamp(x, -1.0, 1.0)", "np.clip(x, -1, 1)"),
    _e("square root", "T.sqrt(x)", "np.sqrt(x)", draw="p"),
    _e("exp", "T.exp(x)", "np.exp(x)"),
    _e("log", "T.log(x)", "np.log(x)", draw="p"),
    _e("sin", "T.sin(x)", "np.sin(x)"),
    _e("tanh", "T.tanh(x)", "np.tanh(x)"),
    _e("erf", "T.erf(x)", None),
    _e("pow", "T.pow(x, 2.5)", "np.power(x, np.float32(2.5))", draw="p"),
    _e("sigmoid", "T.sigmoid(x)", "1 / (1 + np.exp(-x))"),
    _e("relu", "T.relu(x)", "np.maximum(x, 0)"),
    _e("gelu", "F.gelu(x)", None),
    _e("softplus", "F.softplus(x)", "np.logaddexp(x, 0)"),
    _e("float to int", "x.to(T.int32)", "x.astype(np.int32)"),
    _e("integer add", "x + y", "x + y", 2, "ii"),
    _e("integer remainder", "x % 7", "x % 7", draw="i"),
    _e("chain of 5", "T.tanh(x * y + x) * T.sigmoid(y)", "np.tanh(x * y + x) / (1 + np.exp(-y))", 2),
    _e("mean squared error", "F.mse_loss(x, y)", "((x - y) ** 2).mean()", 2),
    Operation("add a row", "x + y", "x + y", (((16, 16), (16,)), ((256, 256), (256,)), ((2048, 2048), (2048,))), "nn"),
    Operation(
        "outer sum", "x + y", "x + y", (((16, 1), (16,)), ((256, 1), (256,)), ((2048, 1), (2048,))), "nn"
    ),
    _r("sum of all", "x.sum()", "x.sum()"),
    _r("sum of rows", "x.sum(1)", "x.sum(1)"),
    _r("sum of columns", "x.sum(0)", "x.sum(0)"),
    _r("mean of rows", "x.mean(1)", "x.mean(1)"),
    _r("variance of rows", "x.var(1)", "x.var(1, ddof=1)"),
    _r("largest of rows", "x.amax(1)", "x.max(1)"),
    _r("argmax of rows", "x.argmax(1)", "x.argmax(1)"),
    _r("norm", "T.linalg.vector_norm(x)", "np.linalg.norm(x)"),
    _r("softmax", "T.softmax(x, 1)", f"(e := np.exp({_ROWS})) / e.sum(-1, keepdims=True)"),
    _r("log-softmax", "T.log_softmax(x, 1)", f"(z := {_ROWS}) - np.log(np.exp(z).sum(-1, keepdims=True))"),
    _r("log-sum-exp", "T.logsumexp(x, 1)", None),
    _r("layer norm", "F.layer_norm(x, (x.shape[1],))", None),
    _r("any", "(x > 5).any()", "(x > 5).any()"),
    _r("cumulative sum of rows", "T.cumsum(x, 1)", "np.cumsum(x, 1)", kind="scan"),
    _r("cumulative sum of columns", "T.cumsum(x, 0)", "np.cumsum(x, 0)", kind="scan"),
    _r("cumulative maximum", "T.cummax(x, 1)[0]", "np.maximum.accumulate(x, 1)", kind="scan"),
    _r("sort rows", "T.sort(x, 1)[0]", "np.sort(x, 1)", kind="sort"),
    _r("argsort rows", "T.argsort(x, 1)", "np.argsort(x, 1)", kind="sort"),
    _r("ten largest of rows", "T.topk(x, 10, 1)[0]", "-np.partition(-x, 9, 1)[:, :10]", kind="sort"),
    _r("median of rows", "T.median(x, 1)[0]", "np.median(x, 1)", kind="sort"),
    Operation("sort", "T.sort(x)[0]", "np.sort(x)", (((256,),), ((65_536,),), ((1_048_576,),)), "n", "sort"),
    Operation("unique", "T.unique(x)", "np.unique(x)", (((256,),), ((65_536,),), ((1_048_576,),)), "i", "sort"),
    Operation(
        "search in sorted", "T.searchsorted(x, y)", "np.searchsorted(x, y)",
        (((256,), (256,)), ((65_536,), (65_536,)), ((1_048_576,), (1_048_576,))), "sn", "sort",
    ),
    _r("transpose, copied", "x.t().contiguous() + 0", "np.ascontiguousarray(x.T)", kind="movement"),
    _r("flip", "T.flip(x, (1,))", "np.ascontiguousarray(x[:, ::-1])", kind="movement"),
    _r("roll", "T.roll(x, 3, 1)", "np.roll(x, 3, 1)", kind="movement"),
    _r("upper triangle", "T.triu(x)", "np.triu(x)", kind="movement"),
    Operation("concatenate", "T.cat((x, y), 1)", "np.concatenate((x, y), 1)", _square(2), "nn", "movement"),
    Operation("stack", "T.stack((x, y), 1)", "np.stack((x, y), 1)", _square(2), "nn", "movement"),
    _r("slice with steps", "x[::2, 1::3] + 0", "x[::2, 1::3].copy()", kind="indexing"),
    _r("rows by index", "x[y]", None, kind="indexing"),
    Operation(
        "rows by index", "x[y]", "x[y]", (((100, 16), (64,)), ((1000, 128), (2000,)), ((50_000, 256), (20_000,))),
        "nk", "indexing",
    ),
    Operation("gather", "T.gather(x, 1, y)", "np.take_along_axis(x, y, 1)", _square(2), "nk", "indexing"),
    Operation(
        "add rows at index", "T.index_add(x, 0, y, z)", None,
        (((100, 16), (64,), (64, 16)), ((1000, 128), (2000,), (2000, 128)), ((50_000, 256), (20_000,), (20_000, 256))),
        "nkn", "indexing",
    ),
    _r("elements by mask", "x[x > 1]", "x[x > 1]", kind="indexing"),
    _r("one-hot", "F.one_hot(x.argmax(1), x.shape[1])", None, kind="indexing"),
    Operation("matrix product", "x @ y", "x @ y", _square(2), "nn", "product"),
    Operation(
        "matrix by vector", "x @ y", "x @ y", (((16, 16), (16,)), ((256, 256), (256,)), ((2048, 2048), (2048,))), "nn",
        "product",
    ),
    Operation(
        "batched product", "x @ y", "x @ y",
        (((8, 8, 8),) * 2, ((16, 64, 64),) * 2, ((64, 256, 256),) * 2), "nn", "product",
    ),
    Operation(
        "linear, relu", "T.relu(F.linear(x, y, z))", "np.maximum(x @ y.T + z, 0)",
        (((8, 16), (32, 16), (32,)), ((64, 256), (512, 256), (512,)), ((512, 2048), (2048, 2048), (2048,))), "nnn",
        "product",
    ),
    Operation(
        "einsum bhid,bhjd->bhij", "T.einsum('bhid,bhjd->bhij', x, y)", "np.matmul(x, y.swapaxes(-1, -2))",
        (((1, 2, 8, 8),) * 2, ((4, 4, 64, 32),) * 2, ((8, 8, 256, 64),) * 2), "nn", "product",
    ),
    Operation("solve", "T.linalg.solve(x, y)", "np.linalg.solve(x, y)", _matrices(
        ((8, 8), (8, 8)), ((128, 128), (128, 128)), ((1000, 1000), (1000, 1000))), "wn", "linear algebra"),
    Operation("singular values", "T.linalg.svdvals(x)", "np.linalg.svd(x, compute_uv=False)", _matrices(
        ((8, 8),), ((96, 96),), ((512, 512),)), "n", "linear algebra"),
    Operation("fft", "T.fft.rfft(x)", "np.fft.rfft(x)", (((16, 16),), ((256, 256),), ((2048, 2048),)), "n", "fft"),
)  # fmt: skip
OPERATIONS = tuple(o for o in OPERATIONS if not (o.name == "rows by index" and o.numpy is None))


def inputs(op: Operation, size: int) -> list[np.ndarray]:
    """n: standard normal, p: positive, i: integers below 1000, s: sorted, w: well conditioned, k: indices of x."""
    rng = np.random.default_rng(size)
    made: list[np.ndarray] = []
    for letter, shape in zip(op.draw, op.shapes[size], strict=True):
        if letter == "i":
            a = rng.integers(0, 1000, shape, dtype=np.int64)
        elif letter == "k":
            a = rng.integers(0, made[0].shape[1] if op.name == "gather" else made[0].shape[0], shape)
        else:
            a = rng.standard_normal(shape, dtype=np.float32)
            if letter == "p":
                a = np.abs(a) + np.float32(0.1)
            if letter == "s":
                a = np.sort(a)
            if letter == "w":
                a = a + np.eye(shape[0], dtype=np.float32) * np.float32(2 * shape[0] ** 0.5)
        made.append(a)
    return made


def function(op: Operation, library: str) -> Callable[..., object] | None:
    """The operation in a library, of its inputs."""
    text = op.numpy if library == "numpy" else op.torch
    if text is None:
        return None
    names = {"np": np}
    if library == "torch":
        import torch

        names = {"T": torch, "F": torch.nn.functional}
    if library == "gradloom":
        import gradloom
        from gradloom.nn import functional

        names = {"T": gradloom, "F": functional}
    arguments = ", ".join("xyz"[: len(op.draw)])
    return eval(f"lambda {arguments}: {text}", names)  # our own text, from above
