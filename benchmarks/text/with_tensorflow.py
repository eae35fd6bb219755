"""Keras on TensorFlow: its recurrent layers in a step of ``tf.function``, with and without XLA."""

from __future__ import annotations

import os

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="")

from typing import Any

import keras
import tensorflow as tf

from benchmarks.task import Task
from benchmarks.text.workloads import Workload, ids, labels

VERSION = f"{tf.__version__}, Keras {keras.__version__}"
tf.config.threading.set_intra_op_parallelism_threads(int(os.environ["BENCH_THREADS"]))
tf.config.threading.set_inter_op_parallelism_threads(int(os.environ["BENCH_THREADS"]))


def make(w: Workload, mode: str) -> Task:
    s, layers = w.sizes, keras.layers
    if w.net == "classifier":
        inner, out, wanted = layers.LSTM(s["hidden"]), s["classes"], labels(w)
    else:
        inner, out = layers.GRU(s["hidden"], return_sequences=True), s["vocabulary"]
        wanted = [x[:, 1:] for x in ids(w)]
    parts = [layers.Embedding(s["vocabulary"], s["width"]), inner, layers.Dense(out)]
    model = keras.Sequential([keras.Input((w.length,), dtype="int64"), *parts])
    optimizer = keras.optimizers.Adam(1e-4, epsilon=1e-8)
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    data = [(tf.constant(x[:, :-1]), tf.constant(y)) for x, y in zip(ids(w), wanted)]

    @tf.function(jit_compile=mode == "xla")
    def update(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return Task(lambda number: update(*data[number % len(data)]), lambda loss: float(loss))
