"""What only a new process can tell: how long an import takes, how long the first step, how much memory training needs.

``python -m benchmarks.fresh import MODULE`` / ``first CONTENDER WORKLOAD MODE`` / ``memory CONTENDER WORKLOAD MODE``
prints one JSON object.
"""

from __future__ import annotations

import importlib
import json
import sys
import time

MEMORY_STEPS = 60


def import_time(module: str) -> dict[str, float]:
    """Seconds that ``import module`` takes in an interpreter that has only started."""
    start = time.perf_counter()
    importlib.import_module(module)
    return {"seconds": time.perf_counter() - start}


def first_steps(contender: str, workload: str, mode: str) -> dict[str, float]:
    """Seconds for the import, for making model, optimiser and data, for the first step and for the second."""
    start = time.perf_counter()
    from benchmarks.worker import load
    from benchmarks.workloads import BY_NAME

    module = load(contender)
    imported = time.perf_counter()
    task = module.make(BY_NAME[workload], mode)
    made = time.perf_counter()
    task.sync(task.step(0))
    first = time.perf_counter()
    task.sync(task.step(1))
    return {
        "import": imported - start,
        "make": made - imported,
        "first": first - made,
        "second": time.perf_counter() - first,
    }


def memory(contender: str, workload: str, mode: str) -> dict[str, float]:
    """Mebibytes of resident memory at most, and after the import, for some steps of training."""
    from benchmarks.worker import load
    from benchmarks.workloads import BY_NAME

    module = load(contender)
    imported = _status("VmHWM")
    task = module.make(BY_NAME[workload], mode)
    for number in range(-(-MEMORY_STEPS // task.steps)):
        task.sync(task.step(number))
    return {"peak_mib": _status("VmHWM"), "import_mib": imported}


def _status(field: str) -> float:
    """A field of this process's status. getrusage would count the memory of the process that started this one."""
    with open("/proc/self/status") as file:
        return next(float(line.split()[1]) / 1024 for line in file if line.startswith(field))


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    print(json.dumps({"import": import_time, "first": first_steps, "memory": memory}[what](*rest)), flush=True)
