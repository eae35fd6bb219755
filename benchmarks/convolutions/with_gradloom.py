"""gradloom's three convolutions on images that lie channels-last, as they do between a network's layers."""

from __future__ import annotations

import numpy as np

import gradloom as gl
from benchmarks.convolutions.workloads import Workload, operands
from benchmarks.task import Task
from benchmarks.workloads import probe
from gradloom.functions.base import apply
from gradloom.ops.convolution import Geometry, convolve, convolve_filter, convolve_input

VERSION = getattr(gl, "__version__", "")


def make(w: Workload, mode: str) -> Task:
    s = w.shape
    x, f, y = operands(w)
    g = Geometry((s.stride,) * 2, ((s.padding,) * 2,) * 2, (s.dilation,) * 2, s.groups)
    x, y = (gl.tensor(np.ascontiguousarray(a.transpose(0, 2, 3, 1))) for a in (x, y))
    f = gl.tensor(np.ascontiguousarray(f.transpose(2, 3, 1, 0)))
    # the filter's transpose has the first axes of its gradient in PyTorch's order again
    primitive, given, size, back = {
        "forward": (convolve, (x, f), (), (0, 3, 1, 2)),
        "input": (convolve_input, (y, f), (s.size, s.size), (0, 3, 1, 2)),
        "filter": (convolve_filter, (x, y), (s.kernel, s.kernel), (3, 2, 0, 1)),
    }[w.direction]
    call = gl.compile(lambda a, b: apply(primitive, (a, b), (g, size)))
    return Task(
        lambda _: call(*given)._buffer(),
        each=True,
        check=lambda: probe(np.ascontiguousarray(call(*given).numpy().transpose(back))),
    )
