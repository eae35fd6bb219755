"""Epochs and files of Keras, on whichever backend the environment names."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.fitting.workloads import BATCH, BIG, SIZES, STEPS, Workload, data
from benchmarks.task import Task


def model_of(keras: Any, sizes: tuple[int, ...]) -> Any:
    """The compiled model."""
    *hidden, last = sizes[1:]
    layers = [keras.layers.Dense(n, activation="relu") for n in hidden]
    model = keras.Sequential([keras.Input((sizes[0],)), *layers, keras.layers.Dense(last)])
    model.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def make(keras: Any, w: Workload, mode: str) -> Task:
    """`fit` for an epoch, or `model.save` and `load_model`."""
    x, y = data()
    if w.kind == "epoch" or w.kind == "step":
        model = model_of(keras, SIZES)
        shuffle = mode != "fit_in_order"
        return Task(
            lambda _: model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0, shuffle=shuffle), steps=STEPS
        )  # fmt: skip
    model = model_of(keras, BIG)
    model.fit(x[:64], y[:64], verbose=0)
    path = Path(tempfile.mkdtemp()) / "model.keras"
    model.save(path)
    task = (lambda _: model.save(path)) if w.kind == "save" else (lambda _: keras.models.load_model(path))
    return Task(task, facts={"bytes": os.path.getsize(path)})
