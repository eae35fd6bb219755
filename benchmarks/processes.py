"""The driver's side of a contender: which interpreter runs it, its long-lived process, and fresh processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PREPARE_SECONDS = 240.0


def interpreter(contender: str) -> str:
    """``BENCH_PYTHON_<CONTENDER>``, else ``BENCH_PYTHON``, else the interpreter that runs the driver."""
    names = (f"BENCH_PYTHON_{contender.upper()}", "BENCH_PYTHON")
    return next((os.environ[n] for n in names if os.environ.get(n)), sys.executable)


def environment(threads: int, **more: str) -> dict[str, str]:
    """The same number of threads for everybody; nothing that an accelerator would need."""
    count = str(threads)
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BENCH_THREADS": count,
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONDONTWRITEBYTECODE": "",  # modules are compiled once, as in any usual installation
        **more,
    }


class Contender:
    """A contender's process. Whatever goes wrong in it is an answer, never an exception.

    Attributes
    ----------
    name : the contender. suite : the package with its program and workloads.
    version : what it says of itself, or None where it cannot be imported.
    missing : why not.
    """

    def __init__(self, name: str, threads: int, suite: str = "contenders") -> None:
        self.name, self.suite = name, suite
        self._threads = threads
        self._process: subprocess.Popen[str] | None = None
        answer = self.ask({"do": "hello"})
        self.version: str | None = answer.get("version")
        self.missing: str | None = answer.get("missing")

    def ask(self, command: dict[str, Any], timeout: float = PREPARE_SECONDS) -> dict[str, Any]:
        """Send a command, wait for the answer; a process that died or hangs is ended and made anew next time."""
        if self._process is None:
            self._process = subprocess.Popen(
                [interpreter(self.name), "-m", "benchmarks.worker", self.name, self.suite],
                cwd=ROOT,
                env=environment(self._threads),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        process = self._process
        watchdog = threading.Timer(timeout, process.kill)
        watchdog.start()
        try:
            process.stdin.write(json.dumps(command) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = ""
        finally:
            watchdog.cancel()
        if not line:
            code = process.wait()
            self._process = None
            return {"missing": f"its process ended with {code} during {command['do']} {command.get('workload', '')}"}
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


def fresh(contender: str, arguments: list[str], threads: int, **more: str) -> dict[str, Any]:
    """Run ``benchmarks.fresh`` in a new process and give back what it says."""
    return child("benchmarks.fresh", contender, arguments, threads, **more)


def child(module: str, contender: str, arguments: list[str], threads: int, **more: str) -> dict[str, Any]:
    """Run a module in a new process of the contender's interpreter and give back the JSON object it prints last."""
    try:
        done = subprocess.run(
            [interpreter(contender), "-m", module, *arguments],
            cwd=ROOT,
            env=environment(threads, **more),
            capture_output=True,
            text=True,
            timeout=PREPARE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"missing": f"not done after {PREPARE_SECONDS:.0f} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"')]
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return {"missing": last[:300]}
    return json.loads(lines[-1])
