"""A library's process: prepares an operation, says how long its first call took, and times rounds when asked.

Commands and answers are lines of JSON. Modes of gradloom: ``call``, an ordinary call whose result is then looked at,
and ``compile``, a callable made with ``gradloom.compile``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.operations.table import OPERATIONS, function, inputs

MODES = {"gradloom": ("compile", "call"), "torch": ("eager",), "numpy": ("numpy",)}


def prepare(library: str, mode: str, number: int, size: int) -> tuple[Callable[[], Any], Any]:
    """A call without arguments, and what turns its result into an array."""
    op = OPERATIONS[number]
    arrays = inputs(op, size)
    fn = function(op, library)
    if fn is None:
        raise NotImplementedError(f"{library} has no one-line form")
    if library == "numpy":
        return (lambda: fn(*arrays)), np.asarray
    if library == "torch":
        import torch

        tensors = [torch.from_numpy(a) for a in arrays]
        return (lambda: fn(*tensors)), lambda r: r.numpy()
    import gradloom

    given = [gradloom.tensor(a) for a in arrays]
    if mode == "compile":
        compiled = gradloom.compile(fn)
        return (lambda: compiled(*given)._buffer()), None
    return (lambda: fn(*given)._buffer()), None


def timed(call: Callable[[], Any], seconds: float) -> float:
    """Median microseconds of a call, over groups of about two milliseconds."""
    start = time.perf_counter()
    call()
    once = max(time.perf_counter() - start, 1e-7)
    group = max(1, int(0.002 / once))
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        for _ in range(group):
            call()
        times.append((time.perf_counter() - start) / group)
    return float(np.median(times) * 1e6)


def main() -> None:
    """Answer commands until the input ends."""
    library = sys.argv[1]
    threads = int(os.environ["BENCH_THREADS"])
    if library == "torch":
        import torch

        torch.set_num_threads(threads)
    kept: dict[str, Callable[[], Any]] = {}
    for line in sys.stdin:
        command = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if command["do"] == "prepare":
                kept.clear()
                for mode in MODES[library]:
                    call, to_array = prepare(library, mode, command["op"], command["size"])
                    start = time.perf_counter()
                    result = call()
                    answer.setdefault("first_us", (time.perf_counter() - start) * 1e6)
                    kept[mode] = call
                    if mode != "compile":
                        array = to_array(result) if to_array else _array(command, call)
                        answer["sum"] = (
                            float(np.abs(np.asarray(array, np.float64)).sum()) if array.dtype.kind in "fiub" else None
                        )
            else:
                answer = {"us": timed(kept[command["mode"]], command["seconds"])}
        except Exception as e:
            answer = {"error": f"{type(e).__name__}: {e}"[:300]}
        print(json.dumps(answer), flush=True)


def _array(command: dict[str, Any], call: Callable[[], Any]) -> np.ndarray:
    """The result of a gradloom operation as an array."""
    import gradloom

    op = OPERATIONS[command["op"]]
    fn = function(op, "gradloom")
    assert fn is not None
    result: Any = fn(*(gradloom.tensor(a) for a in inputs(op, command["size"])))
    return result.numpy()


if __name__ == "__main__":
    main()
