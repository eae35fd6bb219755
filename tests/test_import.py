"""A fresh process that imports gradloom says nothing, and loads neither compiler nor what only some programs need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# not before the first compilation, the first progress bar, the first file; the last ones never
HEAVY = (
    "llvmlite",
    "rich",
    "safetensors",
    "matplotlib",
    "scipy",
    "torch",
    "tensorflow",
    "jax",
    "keras",
    "onnxruntime",
    "urllib.request",
    "multiprocessing",
)


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a new interpreter; the tests' own imports do not reach it."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("module", ["gradloom", "gradloom.nn", "gradloom.optim", "gradloom.datasets", "gradloom.keras"])
def test_import_is_silent_and_light(module: str, tmp_path: Path) -> None:
    listing = tmp_path / "modules"
    done = run(
        f"import sys, {module}; from pathlib import Path; Path({str(listing)!r}).write_text(' '.join(sys.modules))"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""
    loaded = set(listing.read_text().split())
    assert module in loaded
    assert not loaded.intersection(HEAVY)


def test_attributes_of_the_two_first_programs_are_there_after_a_bare_import() -> None:
    names = ["relu", "optim.Adam", "utils.data.DataLoader", "keras.Sequential", "keras.layers.Dense", "nn.Linear"]
    done = run("import gradloom as g; " + "; ".join(f"g.{name}" for name in names))
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""


def test_import_leaves_the_process_as_it_was() -> None:
    code = (
        "import os, signal, sys, threading, warnings, locale; import numpy as np\n"
        "def state(): return (dict(os.environ), signal.getsignal(signal.SIGINT), threading.active_count(),"
        " list(warnings.filters), np.get_printoptions(), np.geterr(), sys.path[:], os.getcwd())\n"
        "before = state()\n"
        "import gradloom\n"
        "for a, b in zip(before, state()): assert a == b, (a, b)\n"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr
