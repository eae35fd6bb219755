"""Connectionist temporal classification: the likelihood of a labelling that has no alignment (Graves et al. 2006).

A labelling of S labels is read along 2S + 1 states, a blank before, between and behind its labels. ``ctc_loss`` adds up
all paths through them by the forward recursion, ``ctc_posterior`` is how often a path is expected to show each class
at each time (forward times backward), and ``ctc_curvature`` how that changes along a direction. All in logarithms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gradloom.graph.node import Aval
from gradloom.ops.core import Primitive

__all__ = ["ctc_curvature", "ctc_loss", "ctc_posterior"]

Array = np.ndarray


class _States(NamedTuple):
    """What the recursions walk along: emissions (T, N, L) and the class, use and skips of each state (N, L)."""

    emitted: Array
    classes: Array
    used: Array
    skips: Array
    times: Array
    lengths: Array


def _states(scores: Array, targets: Array, times: Array, lengths: Array, blank: int) -> _States:
    """Targets (N, S), or all of them one after the other (total,)."""
    steps, n, count = scores.shape
    times, lengths = times.astype(np.int64), lengths.astype(np.int64)
    if targets.ndim == 1:
        longest = int(lengths.max(initial=0))
        padded = np.full((n, longest), blank, np.int64)
        start = 0
        for k, length in enumerate(lengths):
            own = targets[start : start + length]
            padded[k, : len(own)] = own
            start += int(length)
        targets = padded
    lengths = np.clip(lengths, 0, targets.shape[1])  # what is out of range was refused by the program's checks
    classes = np.full((n, 2 * targets.shape[1] + 1), blank, np.int64)
    classes[:, 1::2] = targets
    used = np.arange(classes.shape[1]) < 2 * lengths[:, None] + 1
    classes = np.where(used, np.clip(classes, 0, max(count - 1, 0)), blank)
    skips = np.zeros_like(used)
    # from label to label past the blank between, where they differ; a label that is the blank's class counts as one
    skips[:, 3::2] = classes[:, 3::2] != classes[:, 1:-2:2]
    emitted = np.take_along_axis(scores, np.broadcast_to(classes, (steps, *classes.shape)), 2) if count else scores
    return _States(emitted, classes, used, skips, times, lengths)


def _join(values: Array, slopes: Array | None) -> tuple[Array, Array | None]:
    """Logarithm of the sum of exponentials along axis 0; slopes: their derivatives along a direction."""
    top = values.max(0)
    top = np.where(np.isneginf(top), 0.0, top)
    parts = np.exp(values - top)
    total = parts.sum(0)
    with np.errstate(divide="ignore"):
        joined = np.log(total) + top
    if slopes is None:
        return joined, None
    return joined, np.where(total > 0, (parts * slopes).sum(0) / np.where(total > 0, total, 1.0), 0.0)


def _shifted(x: Array, by: int, fill: float) -> Array:
    """States moved along by ``by`` places, to higher numbers or lower ones."""
    out = np.full_like(x, fill)
    if by > 0:
        out[:, by:] = x[:, :-by]
    else:
        out[:, :by] = x[:, -by:]
    return out


def _predecessors(x: Array, skips: Array, fill: float, back: bool) -> Array:
    """What may stand one step before each state (behind it where ``back``): itself, its neighbour, the one beyond."""
    if x.shape[1] < 2:
        return x[None]
    if back:
        beyond = _shifted(np.where(skips, x, fill), -2, fill)
        return np.stack([x, _shifted(x, -1, fill), beyond])
    return np.stack([x, _shifted(x, 1, fill), np.where(skips, _shifted(x, 2, fill), fill)])


def _forward(s: _States, along: Array | None) -> tuple[Array, Array | None, Array, Array | None]:
    """Log-likelihood of all beginnings (T, N, L), of the whole (N,), and their derivatives along a direction."""
    steps, n, count = s.emitted.shape
    a = np.full((steps, n, count), -np.inf)
    da = None if along is None else np.zeros_like(a)
    for t in range(steps):
        if t == 0:
            a[0, :, :2] = s.emitted[0, :, :2]
            if da is not None and along is not None:
                da[0, :, :2] = along[0, :, :2]
        else:
            slopes = None if da is None else _predecessors(da[t - 1], s.skips, 0.0, False)
            joined, slope = _join(_predecessors(a[t - 1], s.skips, -np.inf, False), slopes)
            a[t] = joined + s.emitted[t]
            if da is not None and along is not None:
                da[t] = slope + along[t]
        a[t][~s.used] = -np.inf
    rows = np.arange(n)
    at = np.clip(s.times - 1, 0, max(steps - 1, 0))
    ends = np.stack([2 * s.lengths, np.maximum(2 * s.lengths - 1, 0)])
    last, slopes = np.full((2, n), -np.inf), None if da is None else np.zeros((2, n))
    for k in range(2):
        there = (s.times > 0) & ((k == 0) | (s.lengths > 0))
        if steps:
            last[k] = np.where(there, a[at, rows, ends[k]], -np.inf)
            if slopes is not None and da is not None:
                slopes[k] = np.where(there, da[at, rows, ends[k]], 0.0)
    whole, dwhole = _join(last, slopes)
    whole = np.where(s.times > 0, whole, np.where(s.lengths == 0, 0.0, -np.inf))
    return a, da, whole, dwhole


def _backward(s: _States, along: Array | None) -> tuple[Array, Array | None]:
    """Log-likelihood of what comes behind each state (T, N, L), and its derivative."""
    steps, n, count = s.emitted.shape
    b = np.full((steps, n, count), -np.inf)
    db = None if along is None else np.zeros_like(b)
    state = np.arange(count)
    final = (state == 2 * s.lengths[:, None]) | ((state == 2 * s.lengths[:, None] - 1) & (s.lengths[:, None] > 0))
    for t in range(steps - 1, -1, -1):
        if t + 1 < steps:
            slopes = None
            if db is not None and along is not None:
                slopes = _predecessors(db[t + 1] + along[t + 1], s.skips, 0.0, True)
            b[t], slope = _join(_predecessors(b[t + 1] + s.emitted[t + 1], s.skips, -np.inf, True), slopes)
            if db is not None:
                db[t] = slope
        ending = (s.times - 1 == t)[:, None]
        b[t] = np.where(ending, np.where(final, 0.0, -np.inf), np.where(t < s.times[:, None], b[t], -np.inf))
        if db is not None:
            db[t] = np.where(ending, 0.0, db[t])
    return b, db


def _by_class(weights: Array, s: _States, shape: tuple[int, ...]) -> Array:
    """Weights of states (T, N, L) added up by class (T, N, C)."""
    out = np.zeros(shape)
    rows = np.arange(shape[1])
    for k in range(weights.shape[2]):
        out[:, rows, s.classes[:, k]] += weights[:, :, k]
    return out


def _loss(arrays: Sequence[Array], attrs: tuple, aval: Aval) -> Array:
    scores, targets, times, lengths = arrays
    s = _states(np.asarray(scores, np.float64), targets, times, lengths, attrs[0])
    return (-_forward(s, None)[2]).astype(aval.dtype.numpy)


def _expected(s: _States, shape: tuple[int, ...], lost: float, along: Array | None) -> Array:
    with np.errstate(invalid="ignore"):
        a, da, whole, dwhole = _forward(s, along)
        b, db = _backward(s, along)
        possible = ~np.isneginf(whole)
        share = np.exp(a + b - np.where(possible, whole, 0.0)[:, None])
        share = np.where(possible[:, None], share, lost)
        if da is not None and db is not None and dwhole is not None:
            share = share * (da + db - dwhole[:, None])
        share = np.where((np.arange(shape[0])[:, None] < s.times)[..., None], share, 0.0)
    return _by_class(share, s, shape)


def _posterior(arrays: Sequence[Array], attrs: tuple, aval: Aval) -> Array:
    scores, targets, times, lengths = arrays
    blank, lost = attrs
    s = _states(np.asarray(scores, np.float64), targets, times, lengths, blank)
    return _expected(s, scores.shape, lost, None).astype(aval.dtype.numpy)


def _curvature(arrays: Sequence[Array], attrs: tuple, aval: Aval) -> Array:
    scores, direction, targets, times, lengths = arrays
    blank, lost = attrs
    s = _states(np.asarray(scores, np.float64), targets, times, lengths, blank)
    wide = np.asarray(direction, np.float64)
    along = np.take_along_axis(wide, np.broadcast_to(s.classes, (wide.shape[0], *s.classes.shape)), 2)
    return _expected(s, scores.shape, lost, along).astype(aval.dtype.numpy)


def _rows(avals: Sequence[Aval], attrs: tuple) -> Aval:
    return Aval((avals[0].shape[1],), avals[0].dtype)


def _like_scores(avals: Sequence[Aval], attrs: tuple) -> Aval:
    return Aval(avals[0].shape, avals[0].dtype)


ctc_loss = Primitive("ctc_loss", _loss, _rows)
"""operands: log-probabilities (T, N, C), targets, times (N,), target lengths (N,). attrs: (blank, lost). (N,)"""
ctc_posterior = Primitive("ctc_posterior", _posterior, _like_scores)
"""operands as ``ctc_loss``. lost: what stands for rows without any path, NaN or 0. (T, N, C)"""
ctc_curvature = Primitive("ctc_curvature", _curvature, _like_scores)
"""operands: log-probabilities, a direction (T, N, C), then as ``ctc_loss``."""


def GRADIENTS() -> None:
    """Bind the gradient rules to the public functions."""
    from gradloom import functions as G

    def loss_vjp(ct: Any, out: Any, ins: Any, attrs: tuple) -> Any:
        scores, times = ins[0], ins[2]
        expected = G.apply(ctc_posterior, tuple(ins), attrs)
        steps = G.reshape(G.arange(scores.shape[0]), (scores.shape[0], 1, 1))
        running = steps < G.reshape(times, (1, times.shape[0], 1))
        # as PyTorch: the derivative by the scores before log_softmax, which log_softmax's own rule leaves as it is
        shown = G.where(running, G.exp(scores), 0.0)
        row = G.reshape(ct, (1, ct.shape[0], 1))
        if attrs[1] == 0.0:
            lost = G.reshape(G.isinf(out), (1, ct.shape[0], 1))
            shown, row = G.where(lost, 0.0, shown), G.where(lost, 0.0, row)
        return (shown - expected) * row, None, None, None

    def posterior_vjp(ct: Any, out: Any, ins: Any, attrs: tuple) -> Any:
        # the matrix of second derivatives is symmetric, so a cotangent is pulled back along it as a direction
        return G.apply(ctc_curvature, (ins[0], ct, *ins[1:]), attrs), None, None, None

    ctc_loss.vjp = loss_vjp
    ctc_posterior.vjp = posterior_vjp
