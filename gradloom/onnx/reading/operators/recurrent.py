"""RNN, GRU and LSTM: by the compiled loop of ``nn`` where it does the same, else step by step as the standard says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
from gradloom.nn.recurrent_functions import layer
from gradloom.onnx.reading.table import Call, op

F = gl.nn.functional
L: Any = gl
_ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "relu": lambda x, a, b: F.relu(x),
    "tanh": lambda x, a, b: L.tanh(x),
    "sigmoid": lambda x, a, b: L.sigmoid(x),
    "affine": lambda x, a, b: a * x + b,
    "leakyrelu": lambda x, a, b: F.leaky_relu(x, 0.01 if a is None else a),
    "thresholdedrelu": lambda x, a, b: L.where(x > (1.0 if a is None else a), x, L.zeros_like(x)),
    "scaledtanh": lambda x, a, b: a * L.tanh(b * x),
    "hardsigmoid": lambda x, a, b: L.clamp((0.2 if a is None else a) * x + (0.5 if b is None else b), 0, 1),
    "elu": lambda x, a, b: F.elu(x, 1.0 if a is None else a),
    "softsign": lambda x, a, b: F.softsign(x),
    "softplus": lambda x, a, b: F.softplus(x),
}


class _Layer:
    """What the three have in common: directions, layouts, lengths, clipping, activations."""

    def __init__(self, call: Call, x: Any, w: Any, r: Any, b: Any, lengths: Any, gates: int, names: list[str]) -> None:
        self.call, self.gates = call, gates
        self.batch_first = bool(call("layout", 0))
        self.x = x.transpose(0, 1) if self.batch_first else x
        self.w, self.r = w, r
        self.size = r.shape[-1]
        self.b = gl.zeros(w.shape[0], 2 * gates * self.size, dtype=x.dtype) if b is None else b
        self.lengths = lengths
        self.direction = call("direction", "forward")
        self.names = [n.lower() for n in (call("activations") or names * w.shape[0])]
        self.alpha, self.beta = call("activation_alpha") or [], call("activation_beta") or []
        self.clip = call("clip")

    def usual(self, names: list[str]) -> bool:
        """Whether ``nn``'s own layer does the same: its activations, every step of every sequence, nothing clipped."""
        plain = not (self.clip or self.alpha or self.beta) and self.lengths is None and self.direction != "reverse"
        return plain and self.names == names * self.w.shape[0] and self.x.shape[0] > 0

    def native(self, mode: str, order: list[int], initial: list[Any]) -> Any:
        """Run the loop of ``nn``. mode: "LSTM", "GRU", "RNN_TANH". order: where each of its gates stands here."""
        n, directions = self.size, self.w.shape[0]

        def gates(v: Any) -> Any:
            return gl.cat([v[g * n : (g + 1) * n] for g in order])

        weights: list[Any] = []
        for k in range(directions):
            of_x, of_h = self.b[k].chunk(2)
            weights += [gates(self.w[k]), gates(self.r[k]), gates(of_x), gates(of_h)]
        parts = self.first(initial)
        states = [p[k] for k in range(directions) for p in parts]
        y, *ends = layer(mode, directions, True, False, False, self.x, *states, *weights)
        y = y.reshape(*y.shape[:2], directions, n).transpose(1, 2)
        count = len(initial)
        lasts = [gl.stack([ends[d * count + j] for d in range(directions)]) for j in range(count)]
        return self.laid_out(y, lasts)

    def first(self, initial: list[Any]) -> list[Any]:
        """The first states, (directions, batch, size) each."""
        parts = []
        for given in initial:
            if given is None:
                parts.append(gl.zeros(self.w.shape[0], self.x.shape[1], self.size, dtype=self.x.dtype))
            else:
                parts.append(given.transpose(0, 1) if self.batch_first else given)
        return parts

    def laid_out(self, y: Any, ends: list[Any]) -> Any:
        """Outputs (length, directions, batch, size) and last states as the node asks for them."""
        if self.batch_first:
            return (y.permute(2, 0, 1, 3), *(e.transpose(0, 1) for e in ends))
        return (y, *ends)

    def activations(self, k: int) -> list[Callable[[Any], Any]]:
        """Those of direction ``k``."""
        each = len(self.names) // self.w.shape[0]
        made: list[Callable[[Any], Any]] = []
        for at in range(k * each, (k + 1) * each):
            a = self.alpha[at] if at < len(self.alpha) else None
            b = self.beta[at] if at < len(self.beta) else None

            def run(x: Any, fn: Any = _ACTIVATIONS[self.names[at]], a: Any = a, b: Any = b) -> Any:
                if self.clip:
                    x = gl.clamp(x, -self.clip, self.clip)
                return fn(x, a, b)

            made.append(run)
        return made

    def run(self, initial: list[Any], step: Callable[..., tuple[Any, ...]]) -> Any:
        """All directions; initial: for each part of the state (directions, batch, size) or None."""
        length, batch = self.x.shape[:2]
        parts = self.first(initial)
        outputs, lasts = [], []
        for k in range(self.w.shape[0]):
            back = self.direction == "reverse" or k == 1
            state = tuple(p[k] for p in parts)
            own: list[Any] = [None] * length
            for t in range(length)[::-1] if back else range(length):
                new = step(k, self.activations(k), self.x[t], state)
                if self.lengths is not None:
                    alive = (self.lengths.to(gl.int64) > t).reshape(batch, 1)
                    own[t] = gl.where(alive, new[0], gl.zeros_like(new[0]))
                    new = tuple(gl.where(alive, a, b) for a, b in zip(new, state, strict=True))
                else:
                    own[t] = new[0]
                state = new
            outputs.append(gl.stack(own))
            lasts.append(state)
        y = gl.stack(outputs, 1)  # (length, directions, batch, size)
        ends = [gl.stack([last[j] for last in lasts]) for j in range(len(initial))]
        return self.laid_out(y, ends)


@op("RNN")
def _rnn(call: Call, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None) -> Any:
    own = _Layer(call, x, w, r, b, lengths, 1, ["Tanh"])
    if own.usual(["tanh"]):
        return own.native("RNN_TANH", [0], [h])

    def step(k: int, acts: Any, x: Any, state: Any) -> Any:
        wb, rb = own.b[k].chunk(2)
        return (acts[0](x @ own.w[k].T + state[0] @ own.r[k].T + wb + rb),)

    return own.run([h], step)


@op("GRU")
def _gru(call: Call, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None) -> Any:
    own = _Layer(call, x, w, r, b, lengths, 3, ["Sigmoid", "Tanh"])
    if own.usual(["sigmoid", "tanh"]) and call("linear_before_reset", 0):
        return own.native("GRU", [1, 0, 2], [h])
    n = own.size

    def step(k: int, acts: Any, x: Any, state: Any) -> Any:
        f, g = acts
        (h,) = state
        wb, rb = own.b[k].chunk(2)
        a = x @ own.w[k].T + wb
        of_h = own.r[k]
        z = f(a[:, :n] + h @ of_h[:n].T + rb[:n])
        reset = f(a[:, n : 2 * n] + h @ of_h[n : 2 * n].T + rb[n : 2 * n])
        if call("linear_before_reset", 0):
            new = g(a[:, 2 * n :] + reset * (h @ of_h[2 * n :].T + rb[2 * n :]))
        else:
            new = g(a[:, 2 * n :] + (reset * h) @ of_h[2 * n :].T + rb[2 * n :])
        return ((1 - z) * new + z * h,)

    return own.run([h], step)


@op("LSTM")
def _lstm(
    call: Call, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, c: Any = None, p: Any = None
) -> Any:
    own = _Layer(call, x, w, r, b, lengths, 4, ["Sigmoid", "Tanh", "Tanh"])
    if own.usual(["sigmoid", "tanh", "tanh"]) and p is None and not call("input_forget", 0):
        return own.native("LSTM", [0, 2, 3, 1], [h, c])
    n = own.size

    def step(k: int, acts: Any, x: Any, state: Any) -> Any:
        f, g, last = acts
        h, c = state
        wb, rb = own.b[k].chunk(2)
        i, o, forget, cell = (x @ own.w[k].T + h @ own.r[k].T + wb + rb).chunk(4, -1)
        if p is not None:
            pi, po, pf = p[k][:n], p[k][n : 2 * n], p[k][2 * n :]
            i, forget = i + pi * c, forget + pf * c
        i = f(i)
        forget = 1 - i if call("input_forget", 0) else f(forget)
        new = forget * c + i * g(cell)
        o = f(o + po * new) if p is not None else f(o)
        return o * last(new), new

    return own.run([h, c], step)
