"""The machine's ceilings: from a small C program where there is a compiler, else estimated with NumPy."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.workloads import Workload

_HERE = Path(__file__).parent
_BUILD = _HERE / ".build"
MEMORY_VALUES = 16 << 20  # float32 values in an array that no cache holds
UPDATE_BYTES = 28  # Adam: read gradient, weight and both moments, write weight and both moments


class Ceilings:
    """Every measurement of this run, in order: shared machines are quicker at one time than at another, so a workload
    is compared with what was measured just before and just after it.

    Attributes
    ----------
    how : "C" or "NumPy".
    measured : of each call of :meth:`measure`, names such as ``peak_gflops`` or ``copy_gbs_16777216`` and values.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.measured: list[dict[str, float]] = []
        self._program = _compile()
        self.how = "C" if self._program else "NumPy"

    def measure(self) -> None:
        """Measure once more; about two seconds."""
        if self._program:
            done = subprocess.run([self._program, str(self.threads)], capture_output=True, text=True, check=True)
            self.measured.append(json.loads(done.stdout))
        else:
            self.measured.append(_estimate())

    def best(self, last: int = 0) -> dict[str, float]:
        """The highest value of each ceiling in the last few measurements (in all by default)."""
        names = self.measured[0]
        return {name: max(found[name] for found in self.measured[-last:]) for name in names}

    def floor_ms(self, w: Workload) -> float | None:
        """Milliseconds below which a workload cannot go by the last two measurements: arithmetic at the peak, and
        traffic that the caches cannot hold at the bandwidth of memory. None where what is measured is overhead.
        """
        if w.kind == "infer":
            return None
        best = self.best(last=2)
        if w.stream:
            return w.stream * 8 / best[f"copy_gbs_{MEMORY_VALUES}"] / 1e6
        update = w.update * UPDATE_BYTES / best[f"triad_gbs_{MEMORY_VALUES}"] / 1e6
        return w.flops / best["peak_gflops"] / 1e6 + update


def _compile() -> str | None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    _BUILD.mkdir(exist_ok=True)
    program = _BUILD / "ceilings"
    flags = ["-O3", "-march=native", "-ffp-contract=fast", "-pthread"]
    done = subprocess.run(
        [compiler, *flags, str(_HERE / "ceilings.c"), "-o", str(program)], capture_output=True, check=False
    )
    return str(program) if done.returncode == 0 else None


def _estimate() -> dict[str, float]:
    """The best matrix product and copies that NumPy manages: below the true ceilings."""

    def best(call: Callable[[], object], count: int = 5) -> float:
        times = []
        for _ in range(count):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return min(times)

    a = np.ones((1536, 1536), "f4")
    found = {"peak_gflops": 2 * 1536**3 / best(lambda: a @ a) / 1e9}
    for size in (4096 * 1000, 8192 * 1024, MEMORY_VALUES):
        x, y = np.ones(size, "f4"), np.ones(size, "f4")
        found[f"copy_gbs_{size}"] = 8 * size / best(partial(np.copyto, y, x)) / 1e9
        found[f"triad_gbs_{size}"] = 12 * size / best(partial(np.add, x, y, out=y)) / 1e9
    return found
