"""A contender's process: obeys commands on standard input, one JSON object a line, and answers likewise.

``{"do": "prepare", "workload": .., "mode": ..}`` builds a task, checks it and warms it up; ``{"do": "round", ..,
"seconds": ..}`` times it; ``{"do": "drop"}`` lets go of all tasks. While a process waits for a command it is idle, so
that the contenders' rounds alternate. What cannot be done is answered with ``{"missing": reason}``.

``python -m benchmarks.worker CONTENDER [SUITE]``: a suite is a package with workloads and contenders of its own.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import traceback
from typing import Any

from benchmarks.task import Timer

CONTENDERS = ("gradloom", "torch", "jax", "tensorflow", "onnxruntime", "numpy")


def load(contender: str, suite: str = "contenders") -> Any:
    """The module of a contender: ``VERSION`` and ``make(workload, mode)``."""
    return importlib.import_module(f"benchmarks.{suite}.with_{contender}")


def table(suite: str = "contenders") -> dict[str, Any]:
    """The workloads of a suite by name."""
    place = "benchmarks.workloads" if suite == "contenders" else f"benchmarks.{suite}.workloads"
    return importlib.import_module(place).BY_NAME


def reason(error: BaseException) -> str:
    """One line that says what went wrong and where."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]} ({os.path.basename(where.filename)}:{where.lineno})"


def main() -> None:
    # what a library prints must not end up between the answers
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    timers: dict[tuple[str, str], Timer] = {}
    module = None

    def obey(command: dict[str, Any]) -> dict[str, Any]:
        nonlocal module
        if module is None:
            module = load(*sys.argv[1:])
        if command["do"] == "hello":
            return {"version": module.VERSION}
        if command["do"] == "drop":
            timers.clear()
            gc.collect()
            return {}
        workload, mode = table(*sys.argv[2:])[command["workload"]], command["mode"]
        if command["do"] == "prepare":
            task = module.make(workload, mode)
            check = task.check() if task.check else None
            timers[workload.name, mode] = Timer(task, command.get("warm", 0.4))
            return {"check": check, **task.facts}
        return timers[workload.name, mode].round(command["seconds"], command.get("least", 3))

    for line in sys.stdin:
        try:
            answer = obey(json.loads(line))
        except Exception as error:
            answer = {"missing": reason(error)}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
