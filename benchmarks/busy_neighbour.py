"""What a busy neighbour costs: one plan, alone and beside a process that keeps one core busy.

A plan of 40 commands of 8 chunks each, with a short serial command between them, is run for a while on one thread and
on all. Printed are the median, 95th percentile and mean of a run, and the share of a core that the neighbour got. On
two cores a fair outcome beside a neighbour is no worse than one thread alone.

    python benchmarks/busy_neighbour.py [seconds per line]
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradloom.compiler.kernels import addresses
from gradloom.compiler.llvm.text import Module
from gradloom.runtime.runner import Command, Plan
from gradloom.runtime.threads import default_num_threads, set_num_threads


@dataclass(frozen=True)
class Multiply:
    """``x[chunk] = x[chunk] * 0.5 + 1``, ``rounds`` times: about a nanosecond a round."""

    rounds: int

    def emit(self, module: Module, name: str, host: Any) -> None:
        args = [("ptr", "bufs"), ("ptr", "ints"), ("ptr", "scratch"), ("i64", "begin"), ("i64", "end")]
        f = module.function(name, "void", args)
        x = f.load("ptr", f.arg("bufs"))
        with f.loop(f.arg("begin"), f.arg("end")) as it:
            p = f.gep(x, "double", it.i)
            with f.loop(0, self.rounds, carry=[f.load("double", p)]) as turn:
                turn.next([f.fadd(f.fmul(turn.vals[0], f.const("double", 0.5)), f.const("double", 1.0))])
            f.store(turn.results[0], p)
        f.ret()


def neighbour(start: Any, stop: Any, share: Any) -> None:
    """Keep a core busy; report the share of it that was had."""
    start.set()
    begin, used = time.perf_counter(), time.process_time()
    while not stop.is_set():
        for _ in range(100_000):
            pass
    share.value = (time.process_time() - used) / (time.perf_counter() - begin)


def measure(plan: Plan, seconds: float) -> np.ndarray:
    """Microseconds of each run, for so long."""
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter_ns()
        plan.run()
        times.append((time.perf_counter_ns() - start) / 1000)
    return np.array(times)


def main(seconds: float) -> None:
    work, little = addresses([Multiply(4000), Multiply(500)])
    x = np.ones(64)
    commands = [Command(work, [(0, 0)], [], 8), Command(little, [(0, 0)], [], 1)] * 40
    plan = Plan(commands, 1)
    plan.table[0] = x.ctypes.data
    for threads in sorted({1, default_num_threads()}):
        set_num_threads(threads)
        for busy in (False, True):
            start, stop, share = multiprocessing.Event(), multiprocessing.Event(), multiprocessing.Value("d", 0.0)
            other = multiprocessing.Process(target=neighbour, args=(start, stop, share))
            if busy:
                other.start()
                start.wait()
            plan.run()
            times = measure(plan, seconds)
            stop.set()
            told = ""
            if busy:
                other.join()
                told = f", neighbour got {100 * share.value:.0f} % of a core"
            print(
                f"{threads} thread{'s' * (threads > 1)}, {'busy' if busy else 'quiet'}: "
                f"median {np.median(times):.0f} us, "
                f"95th percentile {np.percentile(times, 95):.0f} us, mean {times.mean():.0f} us{told}"
            )


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)
