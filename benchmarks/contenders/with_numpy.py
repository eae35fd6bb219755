"""NumPy, for the matrix products: what its BLAS does."""

from __future__ import annotations

import numpy as np

from benchmarks.task import Task
from benchmarks.workloads import Workload, inputs, probe

VERSION = np.__version__


def make(w: Workload, mode: str) -> Task:
    a, b = inputs(w)
    return Task(lambda _: a @ b, check=lambda: probe(a @ b))
