"""JAX with optax: the whole step in one jitted function; recurrent layers by ``lax.scan``."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from benchmarks.task import Task
from benchmarks.text.workloads import CHECK_STEPS, Workload, ids, labels, value

VERSION = jax.__version__


def parameters(w: Workload) -> dict[str, Any]:
    """The common initial values under the names of the model in PyTorch's manner."""
    s = w.sizes
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (s["vocabulary"], s["width"])}
    if w.net == "gpt":
        width, inner = s["width"], s["inner"]
        shapes |= {"table": (w.length, width), "norm.weight": (width,), "norm.bias": (width,)}
        shapes["head.weight"] = (s["vocabulary"], width)
        for n in range(s["layers"]):
            sides = {"qkv": (3 * width, width), "out": (width, width), "up": (inner, width), "down": (width, inner)}
            for name, shape in sides.items():
                shapes |= {f"blocks.{n}.{name}.weight": shape, f"blocks.{n}.{name}.bias": shape[:1]}
            for name in ("norm1", "norm2"):
                shapes |= {f"blocks.{n}.{name}.weight": (width,), f"blocks.{n}.{name}.bias": (width,)}
    else:
        name, gates = ("lstm", 4) if w.net == "classifier" else ("gru", 3)
        rows, out = gates * s["hidden"], s.get("classes", s["vocabulary"])
        shapes |= {f"{name}.weight_ih_l0": (rows, s["width"]), f"{name}.weight_hh_l0": (rows, s["hidden"])}
        shapes |= {f"{name}.bias_ih_l0": (rows,), f"{name}.bias_hh_l0": (rows,)}
        shapes |= {"head.weight": (out, s["hidden"]), "head.bias": (out,)}
    return {k: jnp.asarray(value(k, shape)) for k, shape in shapes.items()}


def lstm(p: dict[str, Any], x: jax.Array) -> jax.Array:
    """The states of all times, (length, batch, hidden), of x (length, batch, width)."""
    into = x @ p["lstm.weight_ih_l0"].T + p["lstm.bias_ih_l0"] + p["lstm.bias_hh_l0"]
    zero = jnp.zeros((x.shape[1], p["lstm.weight_hh_l0"].shape[1]))

    def step(state: Any, a: jax.Array) -> Any:
        h, c = state
        i, f, g, o = jnp.split(a + h @ p["lstm.weight_hh_l0"].T, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return lax.scan(step, (zero, zero), into)[1]


def gru(p: dict[str, Any], x: jax.Array) -> jax.Array:
    """The states of all times, (length, batch, hidden), of x (length, batch, width)."""
    into = x @ p["gru.weight_ih_l0"].T + p["gru.bias_ih_l0"]

    def step(h: jax.Array, a: jax.Array) -> Any:
        r, z, n = jnp.split(a, 3, -1)
        hr, hz, hn = jnp.split(h @ p["gru.weight_hh_l0"].T + p["gru.bias_hh_l0"], 3, -1)
        r, z = jax.nn.sigmoid(r + hr), jax.nn.sigmoid(z + hz)
        h = (1 - z) * jnp.tanh(n + r * hn) + z * h
        return h, h

    return lax.scan(step, jnp.zeros((x.shape[1], p["gru.weight_hh_l0"].shape[1])), into)[1]


def gpt(p: dict[str, Any], x: jax.Array, layers: int, heads: int) -> jax.Array:
    """Logits of ids (batch, length)."""

    def norm(x: jax.Array, name: str) -> jax.Array:
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) * lax.rsqrt(var + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]

    def product(x: jax.Array, name: str) -> jax.Array:
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    x = p["embedding.weight"][x] + p["table"]
    for n in range(layers):
        at = f"blocks.{n}"
        parts = jnp.split(product(norm(x, f"{at}.norm1"), f"{at}.qkv"), 3, -1)
        q, k, v = (y.reshape(*y.shape[:2], heads, -1) for y in parts)
        y = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape)
        x = x + product(y, f"{at}.out")
        inner = jax.nn.gelu(product(norm(x, f"{at}.norm2"), f"{at}.up"), approximate=False)
        x = x + product(inner, f"{at}.down")
    return norm(x, "norm") @ p["head.weight"].T


def make(w: Workload, mode: str) -> Task:
    def logits(p: dict[str, Any], x: jax.Array) -> jax.Array:
        if w.net == "gpt":
            return gpt(p, x, w.sizes["layers"], w.sizes["heads"])
        embedded = p["embedding.weight"][x.T]
        if w.net == "classifier":
            return lstm(p, embedded)[-1] @ p["head.weight"].T + p["head.bias"]
        return gru(p, embedded).transpose(1, 0, 2) @ p["head.weight"].T + p["head.bias"]

    def loss_of(p: dict[str, Any], x: jax.Array, y: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(logits(p, x), y).mean()

    transform = optax.adam(1e-4)
    p = parameters(w)
    state = [p, transform.init(p)]
    wanted: list[np.ndarray] = labels(w) if w.net == "classifier" else [x[:, 1:] for x in ids(w)]
    data = [(jnp.asarray(x[:, :-1]), jnp.asarray(y)) for x, y in zip(ids(w), wanted)]

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(p: dict[str, Any], moments: Any, x: jax.Array, y: jax.Array) -> tuple[Any, ...]:
        loss, gradients = jax.value_and_grad(loss_of)(p, x, y)
        changes, moments = transform.update(gradients, moments, p)
        return optax.apply_updates(p, changes), moments, loss

    def step(number: int) -> jax.Array:
        *state[:], loss = update(*state, *data[number % len(data)])
        return loss

    return Task(step, lambda loss: float(loss), check=lambda: [float(step(i)) for i in range(CHECK_STEPS)])
