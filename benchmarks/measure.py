"""The measurements: alternating rounds of long-lived processes, and repeated fresh ones."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import Any

from benchmarks.processes import Contender, fresh

NOISE = 0.1  # cores that other processes may take during a round before it is discarded
PATIENCE = 3  # times the number of rounds that are tried to get that many quiet ones
SETTLE = 0.25  # seconds after which the threads of the one before have stopped spinning

MODES: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "gradloom": ("loop", "train_on_batch", "fit"),
        "torch": ("eager", "eager_fused", "compile"),
        "jax": ("jit",),
        "tensorflow": ("function", "xla", "train_on_batch", "fit"),
    },
    "infer": {
        "gradloom": ("compile", "call"),
        "torch": ("eager", "compile"),
        "jax": ("jit",),
        "tensorflow": ("function", "xla"),
        "onnxruntime": ("session",),
    },
    "op": {
        "gradloom": ("call", "compile"),
        "torch": ("eager", "compile"),
        "jax": ("jit",),
        "tensorflow": ("function", "xla"),
        "numpy": ("matmul",),
    },
}
IMPORTS = {
    "numpy": "numpy",
    "gradloom": "gradloom",
    "torch": "torch",
    "jax": "jax",
    "tensorflow": "tensorflow",
    "keras": "tensorflow",
    "onnxruntime": "onnxruntime",
}  # module: whose interpreter has it
FIRST = (
    ("gradloom", "loop"),
    ("gradloom", "train_on_batch"),
    ("torch", "eager"),
    ("torch", "compile"),
    ("jax", "jit"),
    ("tensorflow", "function"),
    ("tensorflow", "train_on_batch"),
)


class Field:
    """The contenders that are there, each with its process."""

    def __init__(
        self, names: Iterable[str], threads: int, say: Callable[[str], None], suite: str = "contenders"
    ) -> None:
        self.say = say
        self.threads = threads
        self.contenders = {name: Contender(name, threads, suite) for name in names}
        for contender in self.contenders.values():
            say(f"{contender.name}: {contender.version or contender.missing}")

    def pairs(self, w: Any, modes: dict[str, tuple[str, ...]] | None = None) -> list[tuple[str, str]]:
        """Contender and mode of everybody that takes part in a workload."""
        table = MODES[w.kind] if modes is None else modes
        return [
            (name, mode)
            for name in self.contenders
            if name != "numpy" or w.name.startswith("matmul")
            for mode in table.get(name, ())
        ]

    def close(self) -> None:
        """End all processes."""
        for contender in self.contenders.values():
            contender.close()

    def time(
        self, w: Any, rounds: int, seconds: float, busy_rounds: int = 0,
        modes: dict[str, tuple[str, ...]] | None = None, patience: int = PATIENCE, settle: float = SETTLE,
        **more: float,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Time a workload in every mode, one round each in turn, until everybody has ``rounds`` quiet rounds.

        modes : of each contender, instead of those of the workload's kind. patience : times as many rounds are tried.
        settle : seconds of rest before a round.
        more : ``warm`` seconds before the first round, ``least`` groups of calls in a round.

        Returns
        -------
        one row for each contender and mode: ``missing``, or ``ms`` (median of the rounds' medians), ``low`` and
        ``high`` (quickest and slowest round), ``rounds``, ``discarded``, ``noisy`` (too few quiet rounds were had: all
        were counted), ``check``; with ``busy_rounds`` also ``busy_ms``, beside one busy process.
        """
        rows = []
        for name, mode in self.pairs(w, modes):
            start = time.perf_counter()
            answer = self.contenders[name].ask({"do": "prepare", "workload": w.name, "mode": mode, **more})
            row = {"workload": w.name, "contender": name, "mode": mode, "prepare_s": time.perf_counter() - start}
            rows.append({**row, **answer, "quiet": [], "noisy_rounds": [], "busy": []})
            self.say(f"  {name} {mode}: {answer.get('missing', 'ready')}")
        active = [row for row in rows if "missing" not in row]
        for turn in range(rounds * patience):
            waiting = [row for row in active if len(row["quiet"]) < rounds]
            if not waiting:
                break
            for row in _rotated(waiting, turn):
                self._round(row, seconds, settle=settle, **more)
        if busy_rounds and active:
            with busy_process():
                for turn in range(busy_rounds):
                    for row in _rotated(active, turn):
                        self._round(row, seconds, busy=True)
        for contender in {row["contender"] for row in rows}:
            self.contenders[contender].ask({"do": "drop"})
        return [_summary(row, rounds) for row in rows]

    def _round(
        self, row: dict[str, Any], seconds: float, busy: bool = False, settle: float = SETTLE, **more: float
    ) -> None:
        if "missing" in row:
            return
        time.sleep(settle)
        command = {"do": "round", "workload": row["workload"], "mode": row["mode"], "seconds": seconds, **more}
        answer = self.contenders[row["contender"]].ask(command)
        if "missing" in answer:
            row["missing"] = answer["missing"]
        elif busy:
            row["busy"].append(answer)
        else:
            row["quiet" if answer["other_cores"] <= NOISE else "noisy_rounds"].append(answer)


def _rotated(rows: list[dict[str, Any]], turn: int) -> list[dict[str, Any]]:
    """Another one starts each time, so nobody always follows the same neighbour's traces in the caches."""
    cut = turn % len(rows)
    return rows[cut:] + rows[:cut]


def _summary(row: dict[str, Any], wanted: int) -> dict[str, Any]:
    quiet, others, busy = row.pop("quiet"), row.pop("noisy_rounds"), row.pop("busy")
    if "missing" in row:
        return row
    noisy = len(quiet) < (wanted + 1) // 2
    counted = quiet + others if noisy else quiet
    times = [r["ms"] for r in counted]
    row.update(
        ms=statistics.median(times),
        low=min(times),
        high=max(times),
        best_ms=min(r["best_ms"] for r in counted),
        own_cores=statistics.median(r["own_cores"] for r in counted),
        other_cores=statistics.median(r["other_cores"] for r in counted),
        rounds=len(counted),
        discarded=0 if noisy else len(others),
        noisy=noisy,
    )
    if busy:
        row["busy_ms"] = statistics.median(r["ms"] for r in busy)
        row["busy_worst_ms"] = max(r["ms"] for r in busy)
    return row


@contextmanager
def busy_process() -> Any:
    """One process beside the measured one that does nothing but use a core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    time.sleep(0.3)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def imports(contenders: Iterable[str], threads: int, rounds: int) -> list[dict[str, Any]]:
    """Seconds that an import takes in a fresh process, files in the system's cache: median of alternating rounds."""
    modules = [m for m, owner in IMPORTS.items() if owner in contenders or m == "numpy"]
    times: dict[str, list[float]] = {m: [] for m in modules}
    missing: dict[str, str] = {}
    for turn in range(rounds + 1):
        for module in modules:
            owner = IMPORTS[module] if IMPORTS[module] in contenders else "gradloom"
            answer = fresh(owner, ["import", module], threads)
            if "missing" in answer:
                missing[module] = answer["missing"]
            elif turn:  # the first round reads the files from disk
                times[module].append(answer["seconds"])
    return [
        {"module": m, "missing": missing[m]} if m in missing else {"module": m, **_spread(times[m])} for m in modules
    ]


def first_steps(contenders: Iterable[str], workloads: Iterable[str], threads: int, rounds: int) -> list[dict[str, Any]]:
    """Seconds to the first step of a fresh process: with an empty cache folder, then with the one that run filled."""
    pairs = [(name, mode, w) for w in workloads for name, mode in FIRST if name in contenders]
    found: dict[tuple[str, str, str, str], list[dict[str, float]]] = {}
    missing: dict[tuple[str, str, str], str] = {}
    for _ in range(rounds):
        for name, mode, w in pairs:
            with tempfile.TemporaryDirectory() as folder:
                for state in ("cold", "warm"):
                    answer = fresh(name, ["first", name, w, mode], threads, **_caches(folder))
                    if "missing" in answer:
                        missing[name, mode, w] = answer["missing"]
                        break
                    found.setdefault((name, mode, w, state), []).append(answer)
    rows = []
    for name, mode, w in pairs:
        row: dict[str, Any] = {"contender": name, "mode": mode, "workload": w}
        if (name, mode, w) in missing:
            row["missing"] = missing[name, mode, w]
        else:
            for state in ("cold", "warm"):
                runs = found[name, mode, w, state]
                row[state] = {part: statistics.median(run[part] for run in runs) for part in runs[0]}
        rows.append(row)
    return rows


def memory(contenders: Iterable[str], workloads: Iterable[str], threads: int) -> list[dict[str, Any]]:
    """Peak of resident memory of a fresh process that trains."""
    rows = []
    for w in workloads:
        for name, mode in FIRST:
            if name in contenders:
                answer = fresh(name, ["memory", name, w, mode], threads)
                rows.append({"contender": name, "mode": mode, "workload": w, **answer})
    return rows


def _caches(folder: str) -> dict[str, str]:
    """Every contender's cache of compiled code, in one place."""
    return {
        "GRADLOOM_CACHE_DIR": folder,
        "TORCHINDUCTOR_CACHE_DIR": folder,
        "JAX_COMPILATION_CACHE_DIR": folder,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def _spread(times: list[float]) -> dict[str, float]:
    return {"seconds": statistics.median(times), "low": min(times), "high": max(times)}
