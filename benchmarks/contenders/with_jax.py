"""JAX with optax: the whole step in one jitted function, parameters and optimiser state donated."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.task import Task
from benchmarks.workloads import CHECK_STEPS, Workload, batches, inputs, probe, weights

VERSION = jax.__version__


def forward(layers: list[Any], x: jax.Array) -> jax.Array:
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def make(w: Workload, mode: str) -> Task:
    if w.kind == "train":
        return _training(w)
    if w.kind == "infer":
        layers, x = jax.tree.map(jnp.asarray, weights(w)), jnp.asarray(batches(w)[0][0])
        call = jax.jit(forward)
        return Task(lambda _: np.asarray(call(layers, x)), check=lambda: probe(call(layers, x)))
    function = jax.jit(_function(w))
    arguments = [jnp.asarray(a) for a in inputs(w)]
    return Task(
        lambda _: function(*arguments),
        lambda y: y.block_until_ready(),
        each=True,
        check=lambda: probe(function(*arguments)),
    )


def _training(w: Workload) -> Task:
    layers = jax.tree.map(jnp.asarray, weights(w))
    transform = optax.adam(1e-3)
    state = [layers, transform.init(layers)]
    data = [(jnp.asarray(x), jnp.asarray(y)) for x, y in batches(w)]

    def loss_of(layers: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(forward(layers, x), y).mean()

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(layers: Any, moments: Any, x: jax.Array, y: jax.Array) -> tuple[Any, Any, jax.Array]:
        loss, gradients = jax.value_and_grad(loss_of)(layers, x, y)
        changes, moments = transform.update(gradients, moments, layers)
        return optax.apply_updates(layers, changes), moments, loss

    def step(number: int) -> jax.Array:
        state[0], state[1], loss = update(*state, *data[number % len(data)])
        return loss

    return Task(step, lambda loss: float(loss), check=lambda: [float(step(i)) for i in range(CHECK_STEPS)])


def _function(w: Workload) -> Any:
    if w.name.startswith("matmul"):
        return lambda a, b: a @ b
    if w.name == "chain_16m":
        return lambda x: jax.nn.gelu(x * 1.5 + 0.25, approximate=False) * jax.nn.sigmoid(x)
    if w.name == "softmax":
        return lambda x: jax.nn.softmax(x, -1)

    def layer_norm(x: jax.Array) -> jax.Array:
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * gain + shift

    gain, shift = jnp.ones(w.shapes[0][-1]), jnp.zeros(w.shapes[0][-1])
    return layer_norm
