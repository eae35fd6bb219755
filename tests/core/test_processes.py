"""Whole programs in processes of their own: narrower hosts, killed runs, broken and shared cache folders, threads.

Each process trains the same small network and prints the bits of what it learnt.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gradloom.compiler.llvm.host import detect_name

PROGRAM = """
import sys, hashlib
import numpy as np
import gradloom as torch
import gradloom.nn as nn

torch.manual_seed(0)
r = np.random.default_rng(0)
x, y = torch.tensor(r.standard_normal((120, 20), dtype=np.float32)), torch.tensor(r.integers(0, 5, 120))
model = nn.Sequential(nn.Linear(20, 33), nn.GELU(), nn.Dropout(0.1), nn.Linear(33, 5))
loss_fn, optimizer = nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters(), lr=0.01)
for step in range(30):
    if step == 1:
        print("compiled", flush=True)
    at = slice(step % 4 * 32, step % 4 * 32 + 32)  # the fourth batch has 24 rows
    loss = loss_fn(model(x[at]), y[at])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
h = hashlib.sha256()
for p in model.parameters():
    h.update(p.detach().numpy().tobytes())
np.save(sys.argv[1], np.concatenate([p.detach().numpy().ravel() for p in model.parameters()]))
print("weights", h.hexdigest(), flush=True)
"""


def start(folder: Path, out: Path, **environment: str) -> subprocess.Popen[str]:
    env = {**os.environ, "GRADLOOM_CACHE_DIR": str(folder), "GRADLOOM_NUM_THREADS": "2", **environment}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(out)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def digest(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return out.split("weights ")[1].split()[0]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, np.ndarray, Path]:
    """What an undisturbed run learnt, and the cache folder that it filled."""
    folder = tmp_path_factory.mktemp("cache")
    out = folder / "weights.npy"
    return digest(start(folder, out)), np.load(out), folder


@pytest.mark.parametrize("host", ["avx512", "avx2", "sse4"])
def test_narrower_hosts_learn_the_same(host: str, quiet: tuple[str, np.ndarray, Path], tmp_path: Path) -> None:
    order = ["avx512", "avx2", "sse4"]
    if detect_name() not in order or order.index(host) < order.index(detect_name()):
        pytest.skip(f"this machine has no {host}")
    out = tmp_path / "weights.npy"
    digest(start(tmp_path / "cache", out, GRADLOOM_HOST=host))
    np.testing.assert_allclose(np.load(out), quiet[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_number_of_threads_changes_no_bit(threads: str, quiet: tuple[str, np.ndarray, Path]) -> None:
    assert digest(start(quiet[2], quiet[2] / "other.npy", GRADLOOM_NUM_THREADS=threads)) == quiet[0]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.parametrize("after", [0.25, 0.45])
def test_a_killed_process_leaves_a_cache_that_the_next_one_uses(
    after: float, quiet: tuple[str, np.ndarray, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    victim = start(folder, tmp_path / "a.npy")
    time.sleep(after)  # while kernels are compiled and written
    victim.kill()
    victim.communicate()
    assert digest(start(folder, tmp_path / "b.npy")) == quiet[0]


def test_processes_fill_one_cache_together(quiet: tuple[str, np.ndarray, Path], tmp_path: Path) -> None:
    several = [start(tmp_path / "cache", tmp_path / f"{k}.npy") for k in range(3)]
    assert {digest(p) for p in several} == {quiet[0]}


def test_a_corrupted_cache_is_made_again(quiet: tuple[str, np.ndarray, Path], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    assert digest(start(folder, tmp_path / "a.npy")) == quiet[0]
    kernels = [p for p in folder.rglob("*") if p.is_file()]
    assert kernels
    for k, path in enumerate(kernels):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] if k % 2 else bytes(255 - b for b in data))
    assert digest(start(folder, tmp_path / "b.npy")) == quiet[0]


def test_no_cache_folder_can_be_made(quiet: tuple[str, np.ndarray, Path], tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert digest(start(blocked / "cache", tmp_path / "a.npy")) == quiet[0]
