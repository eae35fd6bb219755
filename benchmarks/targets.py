"""What gradloom sets out to reach, each target computed from the results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PEERS = ("torch", "jax", "tensorflow", "onnxruntime", "numpy")
MODELS = ("mlp32", "mlp_big")
LARGE_MATMULS = ("matmul_1024", "matmul_1000", "matmul_1023")
OTHER_MATMULS = ("matmul_17x4096x300", "matmul_64_of_64")


@dataclass(frozen=True)
class Target:
    """One target: ``value`` should be at most (or, with ``least``, at least) ``bound``. None: not measured."""

    title: str
    value: float | None
    bound: float
    least: bool = False

    @property
    def reached(self) -> bool | None:
        """Whether it is; None where something to compare with is missing."""
        if self.value is None:
            return None
        return self.value >= self.bound if self.least else self.value <= self.bound


class Results:
    """Look-ups in what was measured; a missing figure is None and makes everything computed from it None."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def ms(self, workload: str, contenders: str | tuple[str, ...], *modes: str, key: str = "ms") -> float | None:
        """Milliseconds of the quickest of some modes (all of them by default) of one or several contenders."""
        names = (contenders,) if isinstance(contenders, str) else contenders
        times = [
            row[key]
            for row in self.data.get("timings", [])
            if row["workload"] == workload
            and row["contender"] in names
            and key in row
            and (not modes or row["mode"] in modes)
        ]
        return min(times, default=None)

    def fresh(self, table: str, workload: str, contender: str, mode: str) -> dict[str, Any]:
        """A row of the fresh processes' tables, or an empty one."""
        for row in self.data.get(table, []):
            if (row["workload"], row["contender"], row["mode"]) == (workload, contender, mode) and "missing" not in row:
                return row
        return {}

    def floor(self, workload: str) -> float | None:
        """Milliseconds below which a workload cannot go."""
        return self.data.get("floors", {}).get(workload)

    def import_seconds(self, module: str) -> float | None:
        """Seconds of an import."""
        return next((r.get("seconds") for r in self.data.get("imports", []) if r["module"] == module), None)


def ratio(a: float | None, b: float | None) -> float | None:
    """a / b, or None where one is missing."""
    return None if a is None or not b else a / b


def targets(data: dict[str, Any]) -> list[Target]:
    """All targets."""
    r = Results(data)
    return [*_steps(r), *_ops(r), *_fresh(r), *_beside_others(r)]


def _steps(r: Results) -> list[Target]:
    loop, fit = r.ms("mlp32", "gradloom", "loop"), r.ms("mlp32", "gradloom", "fit")
    eager, jit = r.ms("mlp32", "torch", "eager", "eager_fused"), r.ms("mlp32", "jax")
    keras = r.ms("mlp32", "tensorflow", "train_on_batch")
    big, session = r.ms("mlp_big", "gradloom"), r.ms("infer_mlp32", "onnxruntime")
    return [
        Target("small step, loop: time over PyTorch eager's", ratio(loop, eager), 0.5),
        Target("small step, loop: time over JAX's jitted", ratio(loop, jit), 1.0),
        Target("small step, fit: time over JAX's jitted", ratio(fit, jit), 0.5),
        Target("small step, fit: time over Keras' train_on_batch", ratio(fit, keras), 0.1),
        Target("large step: time over the fastest peer's", ratio(big, r.ms("mlp_big", PEERS)), 1.0),
        Target("large step: share of the floor", ratio(r.floor("mlp_big"), big), 0.9, least=True),
        Target("one image: time over ONNX Runtime's", ratio(r.ms("infer_mlp32", "gradloom"), session), 1.3),
    ]


def _ops(r: Results) -> list[Target]:
    found = []
    for name in LARGE_MATMULS:
        share = ratio(r.floor(name), r.ms(name, "gradloom"))
        found.append(Target(f"{name}: share of the peak", share, 0.85, least=True))
    for name in LARGE_MATMULS + OTHER_MATMULS:
        over = ratio(r.ms(name, "gradloom"), r.ms(name, ("numpy", "torch")))
        found.append(Target(f"{name}: time over the better of NumPy's and PyTorch's", over, 1.0))
    for name in ("chain_16m", "softmax", "layernorm"):
        share = ratio(r.floor(name), r.ms(name, "gradloom"))
        found.append(Target(f"{name}: share of the copy's bandwidth", share, 0.85, least=True))
    return found


def _fresh(r: Results) -> list[Target]:
    found = [Target("import, seconds", r.import_seconds("gradloom"), 0.2)]
    for name in MODELS:
        for mode in ("loop", "train_on_batch"):
            row, title = r.fresh("first_steps", name, "gradloom", mode), f"{name} {mode}: first step"
            found.append(Target(f"{title}, empty cache, seconds", row.get("cold", {}).get("first"), 1.0))
            found.append(Target(f"{title}, filled cache, seconds", row.get("warm", {}).get("first"), 0.3))
    return found


def _beside_others(r: Results) -> list[Target]:
    found = []
    for name in MODELS:
        times = ratio(r.ms(name, "gradloom", "loop", key="busy_ms"), r.ms(name, "gradloom", "loop"))
        found.append(Target(f"{name} beside a busy process: times the quiet time", times, 2.2))
    for name in MODELS:
        ours, theirs = (r.fresh("memory", name, *who) for who in (("gradloom", "loop"), ("torch", "eager")))
        over = ratio(ours.get("peak_mib"), theirs.get("peak_mib"))
        found.append(Target(f"{name}: peak memory over PyTorch eager's", over, 1.0))
    return found
