"""Recurrent steps and whole layers of them: one scan over time, whatever the length, in one or two directions.

The input's product with its weight is one matmul of all times in front of the scan, and so, going back, are the
gradients of the weights (:mod:`gradloom.autodiff.loops` takes care of that for any scan). Sequences of different
lengths run together: a mask leaves the state of those that have ended as it is, so lengths compile nothing.

Hochreiter and Schmidhuber 1997, Gers et al. 2000 (LSTM); Cho et al. 2014 (GRU, in the form with the reset gate behind
the product); Sak et al. 2014 (projections). Order of gates and names are PyTorch's.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradloom import functions as G
from gradloom.autodiff.control import scan
from gradloom.functions.pieces import chunk
from gradloom.nn.utils.rnn import rows_of
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = ["GATES", "cell", "layer", "states_of"]

GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}
"""Rows of the weights, in hidden sizes."""


def states_of(mode: str) -> int:
    """How many tensors the state is."""
    return 2 if mode == "LSTM" else 1


class _Weights:
    """The parameters of one direction: input and recurrent weight, biases or none, projection or none."""

    def __init__(self, given: Sequence[Tensor], bias: bool, projected: bool) -> None:
        self.given, self.recurrent = G.transpose(given[0], 0, 1), G.transpose(given[1], 0, 1)
        self.biases = tuple(given[2:4]) if bias else ()
        self.projection = G.transpose(given[-1], 0, 1) if projected else None


def _inputs(mode: str, x: Tensor, w: _Weights) -> Tensor:
    """The part of the gates that hangs on the input."""
    z = G.matmul(x, w.given)
    if not w.biases:
        return z
    return z + w.biases[0] if mode == "GRU" else z + (w.biases[0] + w.biases[1])


def _step(mode: str, z: Tensor, state: Sequence[Tensor], w: _Weights) -> list[Tensor]:
    """The next state, from the part of the gates that hangs on the input."""
    h = state[0]
    y = G.matmul(h, w.recurrent)
    if mode == "GRU":
        if w.biases:
            y = y + w.biases[1]
        (r, u, n), (yr, yu, yn) = (chunk(a, 3, -1) for a in (z, y))
        r, u = G.sigmoid(r + yr), G.sigmoid(u + yu)
        n = G.tanh(n + r * yn)
        return [n + u * (h - n)]
    z = z + y
    if mode != "LSTM":
        return [G.tanh(z) if mode == "RNN_TANH" else G.relu(z)]
    i, f, g, o = chunk(z, 4, -1)
    c = G.sigmoid(f) * state[1] + G.sigmoid(i) * G.tanh(g)
    h = G.sigmoid(o) * G.tanh(c)
    return [h if w.projection is None else G.matmul(h, w.projection), c]


@composite
def cell(mode: str, bias: bool, x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """One step: (batch, input) and states (batch, hidden), then weights, to the new states."""
    n = states_of(mode)
    w = _Weights(tensors[n:], bias, False)
    return tuple(_step(mode, _inputs(mode, x, w), tensors[:n], w))


@composite
def layer(
    mode: str, directions: int, bias: bool, projected: bool, packed: bool, x: Tensor, *tensors: Tensor
) -> tuple[Tensor, ...]:
    """A layer over (time, batch, input), or over packed rows (rows, input).

    tensors: for each direction its states (batch, hidden); for each its weights; where ``packed`` the rows of the steps
    (time, batch), the steps of the rows (rows,), counted time first, and which steps are there (time, batch, 1).
    Returns the outputs, (…, directions * hidden), then the last states.
    """
    s = states_of(mode)
    start, rest = tensors[: s * directions], tensors[s * directions :]
    each = 2 + 2 * bias + projected
    weights = [_Weights(rest[each * d : each * (d + 1)], bias, projected) for d in range(directions)]
    seqs = [_inputs(mode, x, w) for w in weights]
    masks: list[Tensor] = []
    if packed:
        rows, places, mask = rest[-3:]
        seqs = [rows_of(z, rows) for z in seqs]
        masks = [mask] * directions
    if directions == 2:  # the other way round: sequences are read from their ends
        seqs[1], masks[1:] = G.flip(seqs[1], (0,)), [G.flip(m, (0,)) for m in masks[1:]]

    def step(state: tuple[Tensor, ...], row: list[Tensor]) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        new: list[Tensor] = []
        for d, w in enumerate(weights):
            old = state[s * d : s * (d + 1)]
            now = _step(mode, row[d], old, w)
            new += [G.where(row[directions + d], a, b) for a, b in zip(now, old, strict=True)] if packed else now
        return tuple(new), [new[s * d] for d in range(directions)]

    last, ys = scan(step, start, [*seqs, *masks])
    out = ys[0] if directions == 1 else G.cat([ys[0], G.flip(ys[1], (0,))], -1)
    if packed:
        out = rows_of(G.reshape(out, (-1, out.shape[-1])), places)
    return (out, *last)
