"""Processes under PyTorch's name: tensors as copies, spawn, errors of the first that fails."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import gradloom as gl
import gradloom.multiprocessing as mp
from gradloom import nn
from gradloom.errors import ArgumentError, NotSupportedError


def _train(place: int, model: nn.Module, folder: str) -> None:
    gl.manual_seed(place)
    optimizer = gl.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(gl.ones(2, 3)).sum().backward()
        optimizer.step()
    gl.save(model.state_dict(), f"{folder}/{place}.pt")


def _answer(asked: Any, answers: Any) -> None:
    while (t := asked.get()) is not None:
        answers.put(t * 2)


def _fail(place: int, folder: str) -> None:
    if place == 1:
        raise ValueError("the second goes wrong")
    time.sleep(60)
    Path(folder, "late").touch()


def _killed(place: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _leave(place: int) -> None:
    os._exit(3)


def test_models_are_trained_in_processes(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    before = model.weight.clone()
    mp.spawn(_train, args=(model, str(tmp_path)), nprocs=2)
    states = [gl.load(tmp_path / f"{k}.pt") for k in range(2)]
    assert gl.allclose(states[0]["weight"], before - 0.6)
    assert gl.equal(states[0]["weight"], states[1]["weight"])
    assert gl.equal(model.weight, before)  # each trained its copy


def test_tensors_go_through_queues() -> None:
    context = mp.get_context("spawn")
    asked, answers = context.Queue(), context.Queue()
    worker = context.Process(target=_answer, args=(asked, answers))
    worker.start()
    t = gl.arange(6, dtype=gl.bfloat16).view(2, 3)
    asked.put(t)
    back = answers.get(timeout=60)
    asked.put(None)
    worker.join(60)
    assert worker.exitcode == 0
    assert back.dtype is gl.bfloat16
    assert gl.equal(back, t * 2)


def test_the_first_error_ends_the_others(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(mp.ProcessRaisedException, match="ValueError: the second goes wrong") as raised:
        mp.spawn(_fail, args=(str(tmp_path),), nprocs=2)
    assert time.monotonic() - began < 30
    assert raised.value.error_index == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fn", "code", "name", "text"), [(_killed, -9, "SIGKILL", "signal SIGKILL"), (_leave, 3, None, "exit code 3")]
)
def test_processes_that_leave(fn: Any, code: int, name: str | None, text: str) -> None:
    context = mp.start_processes(fn, nprocs=1, join=False, start_method="fork")
    assert len(context.pids()) == 1
    with pytest.raises(mp.ProcessExitedException, match=text) as raised:
        while not context.join(timeout=60):
            pass
    assert (raised.value.exit_code, raised.value.signal_name) == (code, name)
    assert not any(map(os.path.exists, context.error_files))


def test_refusals() -> None:
    with pytest.raises(ArgumentError, match="nprocs must be at least 1, got 0"):
        mp.spawn(_leave, nprocs=0)
    with pytest.raises(ArgumentError, match="start_processes"):
        mp.spawn(_leave, start_method="fork")
    with pytest.raises(NotSupportedError, match="not shared between processes"):
        gl.ones(2).share_memory_()
