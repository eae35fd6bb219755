"""gradloom: the loop written by hand, Keras' train_on_batch and fit, the compiled call."""

from __future__ import annotations

import numpy as np

import gradloom as gl
from benchmarks.contenders import torch_style
from benchmarks.task import Task
from benchmarks.workloads import CHECK_STEPS, Workload, batches, probe, weights

VERSION = getattr(gl, "__version__", "")
FIT_STEPS = 400


def make(w: Workload, mode: str) -> Task:
    if w.kind == "train":
        return torch_style.training(gl, gl.nn, w) if mode == "loop" else _keras(w, mode)
    if w.kind == "infer":
        model = torch_style.mlp(gl, gl.nn, w).eval()
        call = gl.compile(model) if mode == "compile" else model
        x = gl.tensor(batches(w)[0][0])

        def step(_: int) -> np.ndarray:
            with gl.no_grad():
                return call(x).numpy()

        return Task(step, check=lambda: probe(step(0)))
    function, arguments = torch_style.expression(gl, gl.nn.functional, w)
    call = gl.compile(function) if mode == "compile" else function

    def done(y: gl.Tensor) -> gl.Tensor:
        y.numpy()  # a look at the value is what makes it computed; it costs no copy
        return y

    return torch_style.op_task(call, arguments, done)


def _keras(w: Workload, mode: str) -> Task:
    layers = gl.keras.layers
    *hidden, last = w.sizes[1:]
    model = gl.keras.Sequential(
        [layers.Input((w.sizes[0],)), *(layers.Dense(n, activation="relu") for n in hidden), layers.Dense(last)]
    )
    loss = gl.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=gl.keras.optimizers.Adam(epsilon=1e-8), loss=loss)
    model.set_weights([array for pair in weights(w) for array in pair])
    data = batches(w)
    if mode == "train_on_batch":

        def check() -> list[float]:
            return [float(model.train_on_batch(*data[i % len(data)])) for i in range(CHECK_STEPS)]

        return Task(lambda i: model.train_on_batch(*data[i % len(data)]), check=check)
    steps = FIT_STEPS if w.name == "mlp32" else len(data)
    x, y = (np.concatenate([pair[k] for pair in data] * (steps // len(data))) for k in (0, 1))
    return Task(lambda _: model.fit(x, y, batch_size=w.batch, epochs=1, verbose=0), steps=steps)
