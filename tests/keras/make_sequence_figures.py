"""Makes `sequence_figures.npz` with real Keras 3 on TensorFlow, as `make_figures.py`. No test runs it."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from layer_table import cotangent_of, weights_of
from sequence_table import TABLE, build, call, inputs_of

found = {}
for row in TABLE:
    name = row[0]
    layer, xs = build(keras.layers, row), [tf.constant(x) for x in inputs_of(name, row[4])]
    call(layer, row, xs)
    layer.set_weights(weights_of(name, layer.get_weights()))
    trained = [v.value for v in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(xs)
        ys = tf.nest.flatten(call(layer, row, xs))
        loss = sum(tf.reduce_sum(y * cotangent_of(f"{name}{k}", y.shape)) for k, y in enumerate(ys))
    keys = [f"{name}/x{k}" for k in range(len(xs))] + [f"{name}/w{k}" for k in range(len(trained))]
    for k, y in enumerate(ys):
        found[f"{name}/y{k}"] = y.numpy()
    for key, g, v in zip(keys, tape.gradient(loss, [*xs, *trained]), [*xs, *trained]):
        found[key] = np.zeros(v.shape, np.float32) if g is None else g.numpy()
np.savez_compressed(Path(__file__).with_name("sequence_figures.npz"), **found)
