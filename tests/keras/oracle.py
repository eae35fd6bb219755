"""Dense networks and optimisers written again in NumPy, in double precision: what the tests compare with."""

from __future__ import annotations

import numpy as np


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Dense2:
    """relu(x @ w1 + b1) @ w2 + b2, softmax, cross-entropy; its loss and gradients."""

    def __init__(self, weights):
        self.w = [np.asarray(a, np.float64) for a in weights]

    def scores(self, x):
        w1, b1, w2, b2 = self.w
        return np.maximum(x @ w1 + b1, 0) @ w2 + b2

    def loss(self, x, y, weight=None):
        p = softmax(self.scores(x))[np.arange(len(y)), y]
        return float((-np.log(p) * (1 if weight is None else weight)).mean())

    def gradients(self, x, y, weight=None):
        w1, b1, w2, _ = self.w
        h = np.maximum(x @ w1 + b1, 0)
        d = softmax(self.scores(x))
        d[np.arange(len(y)), y] -= 1
        d = d / len(y) * (1 if weight is None else np.asarray(weight)[:, None])
        dh = (d @ w2.T) * (h > 0)
        return [x.T @ dh, dh.sum(0), h.T @ d, d.sum(0)]


def adam(rate=0.001, b1=0.9, b2=0.999, eps=1e-7, decay=0.0, amsgrad=False):
    state = {}

    def step(i, p, g, t):
        p = p - p * decay * rate
        m, v, top = state.get(i, (0.0, 0.0, 0.0))
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        top = np.maximum(top, v)
        state[i] = (m, v, top)
        alpha = rate * np.sqrt(1 - b2**t) / (1 - b1**t)
        return p - alpha * m / (np.sqrt(top if amsgrad else v) + eps)

    return step


def sgd(rate=0.01, momentum=0.0, nesterov=False):
    state = {}

    def step(i, p, g, t):
        v = momentum * state.get(i, 0.0) - rate * g
        state[i] = v
        return p + (momentum * v - rate * g if nesterov else v)

    return step


def rmsprop(rate=0.001, rho=0.9, momentum=0.0, eps=1e-7, centered=False):
    state = {}

    def step(i, p, g, t):
        v, a, c = state.get(i, (0.0, 0.0, 0.0))
        v = rho * v + (1 - rho) * g * g
        a = rho * a + (1 - rho) * g
        c = momentum * c + rate * g / np.sqrt(v + eps - (a * a if centered else 0.0))
        state[i] = (v, a, c)
        return p - c

    return step
