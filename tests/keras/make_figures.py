"""Makes `figures.npz` with real Keras 3: `KERAS_BACKEND=tensorflow python make_figures.py`. No test runs it."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from layer_table import TABLE, cotangent_of, inputs_of, weights_of

found = {}
for name, cls, options, shapes in TABLE:
    layer = getattr(keras.layers, cls)(**options)
    xs = [tf.constant(x) for x in inputs_of(name, shapes)]
    given = xs if len(xs) > 1 else xs[0]
    layer(given)
    layer.set_weights(weights_of(name, layer.get_weights()))
    trained = [v.value for v in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(xs)
        y = layer(given)
        loss = tf.reduce_sum(y * cotangent_of(name, y.shape))
    keys = [f"{name}/x{k}" for k in range(len(xs))] + [f"{name}/w{k}" for k in range(len(trained))]
    found[f"{name}/y"] = y.numpy()
    for key, g, v in zip(keys, tape.gradient(loss, [*xs, *trained]), [*xs, *trained]):
        found[key] = np.zeros(v.shape, np.float32) if g is None else g.numpy()
np.savez_compressed(Path(__file__).with_name("figures.npz"), **found)
