"""gradloom: `fit` of both faces, the loop by hand, the program of a step alone, and checkpoints."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import gradloom as gl
from benchmarks.fitting import keras_style, torch_style
from benchmarks.fitting.workloads import BATCH, BIG, SIZES, STEPS, Workload, data
from benchmarks.task import Task
from gradloom.replay import Replay
from gradloom.train import ArrayBatches, Trainer
from gradloom.train.checkpoints import Folder

VERSION = gl.__version__


def make(w: Workload, mode: str) -> Task:
    if w.kind in ("save", "load"):
        return keras_style.make(gl.keras, w, mode) if mode == "keras" else _file(w, mode)
    if mode.startswith("fit"):
        return keras_style.make(gl.keras, w, mode)
    if mode == "program":
        return _program()
    x, y = data()
    if mode == "rows":
        batches = ArrayBatches([x, y], BATCH, seed=1)
        return Task(lambda epoch: [None for _ in batches.epoch(epoch)], steps=STEPS)
    tensors = gl.data.TensorDataset(gl.tensor(x), gl.tensor(y))
    loader = gl.data.DataLoader(tensors, BATCH, shuffle=mode != "trainer_in_order")
    model = torch_style.own(gl.nn) if mode == "trainer_own" else torch_style.mlp(gl.nn, SIZES)
    optimizer = gl.optim.Adam(model.parameters())
    if mode == "loop":
        return Task(lambda _: torch_style.loop(gl, model, optimizer, loader), steps=STEPS)
    trainer = Trainer(model, optimizer, gl.nn.CrossEntropyLoss())
    return Task(lambda epoch: trainer.fit(loader, epoch + 1, verbose=0), steps=STEPS)


def _program() -> Task:
    """What `fit` runs natively, on the same batch again and again."""
    x, y = data()
    model = keras_style.model_of(gl.keras, SIZES)
    seen: list[Replay] = []
    run = Replay.run

    def watched(self: Replay, *arguments: Any) -> bool:
        seen[:] = [self]
        return run(self, *arguments)

    Replay.run = watched  # type: ignore[method-assign]
    model.fit(x[: 20 * BATCH], y[: 20 * BATCH], batch_size=BATCH, verbose=0)
    Replay.run = run  # type: ignore[method-assign]
    plan = seen[0]._plan
    assert plan is not None, "the step is not replayed"
    return Task(lambda _: plan.exe.run(plan.pointers))


def _file(w: Workload, mode: str) -> Task:
    model = torch_style.mlp(gl.nn, BIG)
    trainer = Trainer(model, gl.optim.Adam(model.parameters()), gl.nn.CrossEntropyLoss())
    rows = gl.tensor(np.zeros((4, BIG[0]), np.float32)), gl.tensor(np.zeros(4, np.int64))
    trainer.fit([rows], 1, verbose=0)
    place = Path(tempfile.mkdtemp())
    if mode == "trainer":  # the whole state of the run, as fit(checkpoint=...) writes and reads it
        folder = Folder(place, None, None)
        folder.write(trainer.state_dict())
        size = sum(f.stat().st_size for f in place.iterdir())
        save: Any = lambda _: folder.write(trainer.state_dict())  # noqa: E731
        load: Any = lambda _: trainer.load_state_dict(folder.read() or {})  # noqa: E731
    else:
        path = place / "state.ckpt"

        def save(_: int) -> None:
            gl.save({"model": model.state_dict(), "optimizer": trainer.optimizer.state_dict()}, path)

        def load(_: int) -> None:
            state = gl.load(path)
            model.load_state_dict(state["model"])
            trainer.optimizer.load_state_dict(state["optimizer"])

        save(0)
        size = path.stat().st_size
    return Task(save if w.kind == "save" else load, facts={"bytes": size})
