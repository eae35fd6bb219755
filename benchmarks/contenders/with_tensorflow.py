"""TensorFlow: a step in tf.function, with and without XLA; Keras' train_on_batch and fit."""

from __future__ import annotations

import os

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="")

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.task import Task
from benchmarks.workloads import CHECK_STEPS, Workload, batches, inputs, probe, weights

VERSION = f"{tf.__version__}, Keras {keras.__version__}"
FIT_STEPS = 400
tf.config.threading.set_intra_op_parallelism_threads(int(os.environ["BENCH_THREADS"]))
tf.config.threading.set_inter_op_parallelism_threads(int(os.environ["BENCH_THREADS"]))


def make(w: Workload, mode: str) -> Task:
    if w.kind == "train":
        return _keras(w, mode) if mode in ("train_on_batch", "fit") else _training(w, mode)
    if w.kind == "infer":
        model, x = _model(w), tf.constant(batches(w)[0][0])
        call = tf.function(lambda x: model(x, training=False), jit_compile=mode == "xla")
        return Task(lambda _: call(x).numpy(), check=lambda: probe(call(x)))
    function, arguments = tf.function(_function(w), jit_compile=mode == "xla"), [tf.constant(a) for a in inputs(w)]
    # a small slice is taken of the result: it can only be had once the whole is computed
    return Task(
        lambda _: function(*arguments),
        lambda y: y[..., :1].numpy(),
        each=True,
        check=lambda: probe(function(*arguments)),
    )


def _model(w: Workload) -> Any:
    *hidden, last = w.sizes[1:]
    layers = [keras.layers.Dense(n, activation="relu") for n in hidden]
    model = keras.Sequential([keras.Input((w.sizes[0],)), *layers, keras.layers.Dense(last)])
    model.set_weights([array for pair in weights(w) for array in pair])
    return model


def _training(w: Workload, mode: str) -> Task:
    model, optimizer = _model(w), keras.optimizers.Adam(1e-3, epsilon=1e-8)
    data = [(tf.constant(x), tf.constant(y)) for x, y in batches(w)]
    variables = model.trainable_variables
    optimizer.build(variables)

    @tf.function(jit_compile=mode == "xla")
    def update(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=model(x, training=True))
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def step(number: int) -> tf.Tensor:
        return update(*data[number % len(data)])

    return Task(step, lambda loss: loss.numpy(), check=lambda: [float(step(i)) for i in range(CHECK_STEPS)])


def _keras(w: Workload, mode: str) -> Task:
    model, data = _model(w), batches(w)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-3, epsilon=1e-8), loss=loss)
    if mode == "train_on_batch":

        def check() -> list[float]:
            return [float(model.train_on_batch(*data[i % len(data)])) for i in range(CHECK_STEPS)]

        return Task(lambda i: model.train_on_batch(*data[i % len(data)]), check=check)
    steps = FIT_STEPS if w.name == "mlp32" else len(data)
    x, y = (np.concatenate([pair[k] for pair in data] * (steps // len(data))) for k in (0, 1))
    return Task(lambda _: model.fit(x, y, batch_size=w.batch, epochs=1, verbose=0), steps=steps)


def _function(w: Workload) -> Any:
    if w.name.startswith("matmul"):
        return lambda a, b: a @ b
    if w.name == "chain_16m":
        return lambda x: tf.nn.gelu(x * 1.5 + 0.25, approximate=False) * tf.sigmoid(x)
    if w.name == "softmax":
        return tf.nn.softmax
    gain, shift = tf.ones(w.shapes[0][-1]), tf.zeros(w.shapes[0][-1])

    def layer_norm(x: tf.Tensor) -> tf.Tensor:
        mean, variance = tf.nn.moments(x, -1, keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, shift, gain, 1e-5)

    return layer_norm
