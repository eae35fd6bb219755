"""TensorFlow: a step in tf.function, with and without XLA, channels last; Keras' optimisers."""

from __future__ import annotations

import os

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="")

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.images.networks import Network, Step
from benchmarks.images.workloads import CHECK_STEPS, Workload, batches, channels_first, last
from benchmarks.task import Task

VERSION = f"{tf.__version__}, Keras {keras.__version__}"
tf.config.threading.set_intra_op_parallelism_threads(int(os.environ["BENCH_THREADS"]))
tf.config.threading.set_inter_op_parallelism_threads(int(os.environ["BENCH_THREADS"]))


def parameters(net: Network, train: bool) -> list[dict[str, Any]]:
    """Weights of every step in TensorFlow's layout: variables when training, else constants, which the graph folds."""
    found = []
    for before, s, values in zip([None, *net.steps], net.steps, net.weights()):
        v = dict(values)
        if s.op == "conv":
            v["weight"] = v["weight"].transpose((2, 3, 0, 1) if s.groups > 1 else (2, 3, 1, 0))
        elif s.op == "deconv":
            v["weight"] = v["weight"].transpose(2, 3, 1, 0)
        elif s.op == "linear":
            if before is not None and before.op == "flatten":
                c, h, w = before.before
                v["weight"] = v["weight"].reshape(-1, c, h, w).transpose(0, 2, 3, 1).reshape(len(v["weight"]), -1)
            v["weight"] = v["weight"].T
        make = (lambda a, k: keras.Variable(a, trainable=k not in ("mean", "var"))) if train else None
        found.append({k: make(a, k) if make else tf.constant(np.ascontiguousarray(a)) for k, a in v.items()})
    return found


def convolution(s: Step, x: tf.Tensor, weight: Any) -> tf.Tensor:
    sides = [[0, 0], [s.padding] * 2, [s.padding] * 2, [0, 0]]
    if s.stride == 1 and 2 * s.padding == s.kernel - 1:
        sides = "SAME"
    elif s.padding == 0:
        sides = "VALID"
    if s.groups > 1:
        return tf.nn.depthwise_conv2d(x, weight, (1, s.stride, s.stride, 1), sides)
    return tf.nn.conv2d(x, weight, s.stride, sides)


def norm(x: tf.Tensor, p: dict[str, Any], train: bool) -> tf.Tensor:
    fused = tf.compat.v1.nn.fused_batch_norm
    if not train:
        return fused(x, p["weight"], p["bias"], p["mean"], p["var"], epsilon=1e-5, is_training=False)[0]
    y, mean, var = fused(x, p["weight"].value, p["bias"].value, epsilon=1e-5, is_training=True)
    for old, new in ((p["mean"], mean), (p["var"], var)):
        old.assign(0.9 * old + 0.1 * new)
    return y


def forward(steps: list[Step], weights: list[dict[str, Any]], x: tf.Tensor, train: bool) -> tf.Tensor:
    values = {0: x}
    for s, p in zip(steps, weights):
        x = values[s.inputs[0]]
        weight = p.get("weight")
        weight = weight.value if train and weight is not None else weight
        if s.op == "conv":
            x = convolution(s, x, weight)
        elif s.op == "deconv":
            c, h, w = s.after
            x = tf.nn.conv2d_transpose(x, weight, (x.shape[0], h, w, c), s.stride, "VALID")
        elif s.op == "linear":
            x = tf.matmul(x, weight)
        elif s.op == "norm":
            x = norm(x, p, train)
        elif s.op == "maxpool":
            sides = [[0, 0], [s.padding] * 2, [s.padding] * 2, [0, 0]] if s.padding else "VALID"
            x = tf.nn.max_pool2d(x, s.kernel, s.stride, sides)
        elif s.op in ("relu", "relu6"):
            x = tf.nn.relu(x) if s.op == "relu" else tf.nn.relu6(x)
        elif s.op == "mean":
            x = tf.reduce_mean(x, (1, 2))
        elif s.op == "flatten":
            x = tf.reshape(x, (x.shape[0], -1))
        elif s.op == "add":
            x = x + values[s.inputs[1]]
        else:
            x = tf.concat([x, values[s.inputs[1]]], -1)
        if s.bias:
            x = tf.nn.bias_add(x, p["bias"].value if train else p["bias"])
        values[s.output] = x
    return x


def make(w: Workload, mode: str) -> Task:
    steps, weights = w.net.steps, parameters(w.net, w.kind == "train")
    if w.kind == "infer":
        x = tf.constant(last(batches(w)[0][0]))
        call = tf.function(lambda x: forward(steps, weights, x, False), jit_compile=mode == "xla")
        return Task(lambda _: call(x).numpy(), each=True, check=lambda: channels_first(call(x)))
    optimizers = keras.optimizers
    optimizer = optimizers.Adam(1e-3, epsilon=1e-8) if w.adam else optimizers.SGD(0.01, momentum=0.9)
    variables = [v for p in weights for k, v in p.items() if k in ("weight", "bias")]
    optimizer.build(variables)
    data = [(tf.constant(last(x)), tf.constant(y)) for x, y in batches(w)]

    @tf.function(jit_compile=mode == "xla")
    def update(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            y_hat = forward(steps, weights, x, True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=y_hat))
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss

    def step(number: int) -> tf.Tensor:
        return update(*data[number % len(data)])

    return Task(step, lambda loss: loss.numpy(), check=lambda: [float(step(i)) for i in range(CHECK_STEPS)])
