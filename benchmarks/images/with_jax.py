"""JAX with optax: the whole step in one jitted function, channels last, parameters and optimiser state donated."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from benchmarks.images.networks import Network, Step
from benchmarks.images.workloads import CHECK_STEPS, Workload, batches, channels_first, last
from benchmarks.task import Task

VERSION = jax.__version__
AXES = ("NHWC", "HWIO", "NHWC")
Tree = list[dict[str, Any]]


def parameters(net: Network) -> tuple[Tree, Tree]:
    """What is trained, and the running statistics, of every step, in JAX's layout."""
    trained, running = [], []
    for before, s, values in zip([None, *net.steps], net.steps, net.weights()):
        found = dict(values)
        running.append({k: jnp.asarray(found.pop(k)) for k in ("mean", "var") if k in found})
        if s.op == "conv":
            found["weight"] = found["weight"].transpose(2, 3, 1, 0)
        elif s.op == "deconv":
            found["weight"] = found["weight"].transpose(2, 3, 0, 1)
        elif s.op == "linear":
            found["weight"] = linear(found["weight"], before)
        trained.append({k: jnp.asarray(v) for k, v in found.items()})
    return trained, running


def linear(weight: np.ndarray, before: Step | None) -> np.ndarray:
    """(in, out); after a flattened image, in the order of an image whose channels are last."""
    if before is not None and before.op == "flatten":
        c, h, w = before.before
        weight = weight.reshape(-1, c, h, w).transpose(0, 2, 3, 1).reshape(len(weight), -1)
    return np.ascontiguousarray(weight.T)


def forward(steps: list[Step], trained: Tree, running: Tree, x: jax.Array, train: bool) -> tuple[jax.Array, Tree]:
    """Outputs, and the running statistics after this batch."""
    values, after = {0: x}, []
    for s, p, r in zip(steps, trained, running):
        x = values[s.inputs[0]]
        if s.op == "conv":
            sides = [(s.padding, s.padding)] * 2
            x = lax.conv_general_dilated(
                x, p["weight"], (s.stride,) * 2, sides, dimension_numbers=AXES, feature_group_count=s.groups
            )
        elif s.op == "deconv":
            x = lax.conv_transpose(x, p["weight"][::-1, ::-1], (s.stride,) * 2, "VALID", dimension_numbers=AXES)
        elif s.op == "linear":
            x = x @ p["weight"]
        elif s.op == "norm":
            mean, var = r["mean"], r["var"]
            if train:
                mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
                n = x.size // x.shape[-1]
                r = {"mean": 0.9 * r["mean"] + 0.1 * mean, "var": 0.9 * r["var"] + 0.1 * var * (n / (n - 1))}
            x = (x - mean) * (lax.rsqrt(var + 1e-5) * p["weight"]) + p["bias"]
        elif s.op == "maxpool":
            sides = ((0, 0), (s.padding,) * 2, (s.padding,) * 2, (0, 0))
            window = (1, s.kernel, s.kernel, 1)
            x = lax.reduce_window(x, -jnp.inf, lax.max, window, (1, s.stride, s.stride, 1), sides)
        elif s.op in ("relu", "relu6"):
            x = jax.nn.relu(x) if s.op == "relu" else jax.nn.relu6(x)
        elif s.op == "mean":
            x = x.mean((1, 2))
        elif s.op == "flatten":
            x = x.reshape(len(x), -1)
        elif s.op == "add":
            x = x + values[s.inputs[1]]
        else:
            x = jnp.concatenate([x, values[s.inputs[1]]], -1)
        if s.bias:
            x = x + p["bias"]
        values[s.output] = x
        after.append(r)
    return x, after


def make(w: Workload, mode: str) -> Task:
    steps = w.net.steps
    trained, running = parameters(w.net)
    if w.kind == "infer":
        x = jnp.asarray(last(batches(w)[0][0]))
        call = jax.jit(lambda t, r, x: forward(steps, t, r, x, False)[0])

        def infer(_: int) -> np.ndarray:
            return np.asarray(call(trained, running, x))

        return Task(infer, each=True, check=lambda: channels_first(infer(0)))
    transform = optax.adam(1e-3) if w.adam else optax.sgd(0.01, momentum=0.9)
    state = [trained, running, transform.init(trained)]
    data = [(jnp.asarray(last(x)), jnp.asarray(y)) for x, y in batches(w)]

    def loss_of(trained: Tree, running: Tree, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Tree]:
        y_hat, running = forward(steps, trained, running, x, True)
        return optax.softmax_cross_entropy_with_integer_labels(y_hat, y).mean(), running

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def update(trained: Tree, running: Tree, moments: Any, x: jax.Array, y: jax.Array) -> tuple[Any, ...]:
        (loss, running), gradients = jax.value_and_grad(loss_of, has_aux=True)(trained, running, x, y)
        changes, moments = transform.update(gradients, moments, trained)
        return optax.apply_updates(trained, changes), running, moments, loss

    def step(number: int) -> jax.Array:
        *state[:], loss = update(*state, *data[number % len(data)])
        return loss

    return Task(step, lambda loss: float(loss), check=lambda: [float(step(i)) for i in range(CHECK_STEPS)])
