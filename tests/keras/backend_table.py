"""Calls of `keras.backend`, made with gradloom and by make_backend_figures.py with TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

r = np.random.RandomState(0)
x, y, im = r.rand(2, 3, 4).astype("f"), r.rand(2, 4, 5).astype("f"), r.rand(2, 6, 6, 3).astype("f")
w, v = r.rand(3, 3, 3, 2).astype("f"), r.rand(2, 3).astype("f")
p = x / x.sum(-1, keepdims=True)
labels, steps, lengths = np.array([[0, 1], [2, 0]]), np.array([[3], [3]]), np.array([[2], [1]])


def calls(tf: Any) -> dict[str, Callable[[], Any]]:
    """The calls by name, of ``import tensorflow as tf`` or ``import gradloom as tf``."""
    K, C = tf.keras.backend, tf.convert_to_tensor
    start = [C(np.zeros((2, 4), "f"))]
    mask = C(np.array([[True, False, True], [True, True, False]]))

    def add(row: Any, states: Any) -> Any:
        return row + states[0], [row + states[0]]

    return {
        "batch_dot": lambda: K.batch_dot(C(x), C(y)),
        "batch_dot2": lambda: K.batch_dot(C(v), C(v), axes=1),
        "batch_dot3": lambda: K.batch_dot(C(x), C(x), axes=2),
        "batch_dot4": lambda: K.batch_dot(C(x), C(v), axes=(1, 1)),
        "dot": lambda: K.dot(C(x), C(y[0])),
        "bflat": lambda: K.batch_flatten(C(x)),
        "flat": lambda: K.flatten(C(x)),
        "l2": lambda: K.l2_normalize(C(x), -1),
        "l2n": lambda: K.l2_normalize(C(x)),
        "perm": lambda: K.permute_dimensions(C(x), (0, 2, 1)),
        "rep": lambda: K.repeat(C(v), 3),
        "repe": lambda: K.repeat_elements(C(x), 2, 1),
        "conc": lambda: K.concatenate([C(x), C(x)]),
        "tp": lambda: K.temporal_padding(C(x), (1, 2)),
        "sp": lambda: K.spatial_2d_padding(C(im)),
        "hs": lambda: K.hard_sigmoid(C(x * 8 - 4)),
        "rl": lambda: K.relu(C(x - 0.5), alpha=0.1, max_value=0.3),
        "clip": lambda: K.clip(C(x), 0.2, 0.6),
        "bn": lambda: K.batch_normalization(
            C(im), C(w[0, 0, :, 0]), C(w[0, 0, :, 1]), C(w[0, 1, :, 0]), C(w[0, 1, :, 1])
        ),
        "sw2": lambda: K.switch(C(True), lambda: C(x), lambda: C(-x)),
        "c2": lambda: K.conv2d(C(im), C(w), padding="same"),
        "c1": lambda: K.conv1d(C(x), C(np.repeat(w[:2, 0], 2, 1)[:, :4]), padding="causal"),
        "pool": lambda: K.pool2d(C(im), (2, 2), strides=(2, 2), pool_mode="avg"),
        "poolm": lambda: K.pool2d(C(im), (2, 2)),
        "ri": lambda: K.resize_images(C(im), 2, 3, "channels_last"),
        "oh": lambda: K.one_hot(C(labels), 4),
        "itk": lambda: K.in_top_k(C(v), C(np.array([1, 0])), 1),
        "ctc": lambda: K.ctc_batch_cost(C(labels), C(p), C(steps), C(lengths)),
        "dec": lambda: K.ctc_decode(C(p), C(np.array([3, 3])))[0][0],
        "dec2": lambda: K.ctc_decode(C(p), C(np.array([3, 3])))[1],
        "cce": lambda: K.categorical_crossentropy(C(p), C(p)),
        "bce": lambda: K.binary_crossentropy(C(p), C(p)),
        "scce": lambda: K.sparse_categorical_crossentropy(C(np.array([1, 2])), C(p[:, 0])),
        "mean": lambda: K.mean(C(x), axis=-1),
        "meanb": lambda: K.mean(C(x > 0.5)),
        "std": lambda: K.std(C(x)),
        "mx": lambda: K.max(C(x), axis=[1, 2], keepdims=True),
        "am": lambda: K.argmax(C(x)),
        "gat": lambda: K.gather(C(x), C(np.array([1, 0]))),
        "rev": lambda: K.reverse(C(x), 1),
        "rnn": lambda: K.rnn(add, C(x), start)[1],
        "rnnm": lambda: K.rnn(add, C(x), start, mask=mask)[1],
        "foldl": lambda: K.foldl(lambda a, b: a * 2 + b, C(x)),
        "const": lambda: K.constant([1, 2]),
        "eye": lambda: K.eye(3),
        "mf": lambda: K.map_fn(lambda r: r * 2, C(x)),
        "sm": lambda: K.softmax(C(x)),
        "tr": lambda: K.transpose(C(v)),
        "stk": lambda: K.stack([C(v), C(v)], 1),
        "pw": lambda: K.pow(C(x), 3),
        "eq": lambda: K.equal(C(v), C(v)),
        "til": lambda: K.tile(C(v), [1, 2]),
        "ar": lambda: K.arange(0, 4),
        "cs": lambda: K.cumsum(C(x), 1),
        "lp": lambda: K.softplus(C(x)),
        "ed": lambda: K.expand_dims(C(v)),
        "sq": lambda: K.squeeze(C(v[:, :1]), 1),
        "rd": lambda: K.round(C(x * 9)),
        "exp": lambda: K.exp(C(x)),
        "dtype": lambda: np.array(K.dtype(C(x)) == "float32"),
        "ish": lambda: np.array(K.int_shape(C(x))),
        "gv": lambda: K.get_value(K.variable(v)),
        "zl": lambda: K.zeros_like(C(v)),
        "on": lambda: K.ones((2, 3)),
        "cast": lambda: K.cast(C(v), "int32"),
        "sg": lambda: K.sigmoid(C(v)),
        "mul": lambda: K.maximum(C(v), 0.5),
        "ab": lambda: K.any(C(v > 0.5), axis=1),
        "sgn": lambda: K.sign(C(v - 0.5)),
        "prod": lambda: K.prod(C(v)),
        "mau": lambda: K.get_value(K.moving_average_update(K.variable(v), C(v * 2), 0.9)),
    }
